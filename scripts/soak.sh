#!/usr/bin/env bash
# The long soak: nginx, two nodes, PostgreSQL and Redis under load, random faults, and a verdict (docs/soak.md).
#
#   SOAK_MINUTES=30 SOAK_SEED=… scripts/soak.sh
#
# SOAK_MINUTES is how long faults go on (30 unless set); SOAK_SEED repeats the schedule of an earlier run, which has printed
# it first and last. The exit code is not 0 when anything was found. It is a test of the integration tests' binary, ignored
# there, with everything it starts its own; what it needs is found or fetched here. What cannot be had (a file system of
# its own to fill needs the right to mount, the clock needs libfaketime) is left out, and the report says so.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

ensure_postgres
REDIS_SERVER=$(scripts/redis.sh)
NGINX_SERVER=$(scripts/nginx.sh)
export REDIS_SERVER NGINX_SERVER
if FAKETIME_LIBRARY=$(scripts/faketime.sh); then
    export FAKETIME_LIBRARY
else
    unset FAKETIME_LIBRARY
    echo "No clock will jump in this soak." >&2
fi
exec cargo test --quiet --all-features --test it -- --ignored --exact --nocapture soak::long
