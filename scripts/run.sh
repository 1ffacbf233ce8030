#!/bin/sh
# Starts Parlance on a machine that has only a Rust toolchain and Python: fetches PostgreSQL,
# builds, serves.
#
# It builds the development profile, which is fast enough for a few people. `RELEASE=1 make run`
# builds the release profile, which takes minutes.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

command -v cargo >/dev/null || die "cargo is not installed; see https://rustup.rs"

if [ -z "${DATABASE_URL:-}" ] && ! grep -qs '^DATABASE_URL=.' .env; then
    ensure_postgres
    # Only where DATA_DIR is not set, and only where the usual place is out of PostgreSQL's reach.
    if [ -z "${DATA_DIR:-}" ] && ! grep -qs '^DATA_DIR=.' .env && ! reachable "$PWD/data"; then
        export DATA_DIR=/var/lib/parlance
        echo "PostgreSQL does not run as root and cannot reach $PWD; the data is in $DATA_DIR"
    fi
fi

if [ "${RELEASE:-0}" = 1 ]; then
    cargo build --release --bin parlance
    exec target/release/parlance serve
fi
cargo build --bin parlance
exec target/debug/parlance serve
