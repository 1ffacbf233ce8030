#!/usr/bin/env bash
# The long soak: nginx, two nodes, PostgreSQL and Redis under load, random faults, and a verdict
# (docs/soak.md).
#
#   SOAK_MINUTES=30 SOAK_SEED=… scripts/soak.sh
#
# SOAK_MINUTES is how long faults go on (30 unless set). SOAK_SEED repeats the schedule of an
# earlier run, which prints it at its beginning and end. The exit code is not 0 when anything was
# found.
#
# The soak is an ignored test in the binary of the integration tests. It starts everything itself;
# the programs that it needs are found or fetched here. Some faults need more: a file system to fill
# needs the right to mount, the clock needs libfaketime. Where that is missing, the fault is left
# out, and the report says so.
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
