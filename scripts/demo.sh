#!/bin/sh
# Makes a believable year of a workspace in a data directory of its own, serves it, and prints how
# to log in.
#
#   make demo                               a million messages
#   scripts/demo.sh --messages 20000        fewer; also --seed N, --people N
#
# The data is in ./data-demo, or where DEMO_DIR says. A year that is there already is only served;
# remove the directory for another one.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

command -v cargo >/dev/null || die "cargo is not installed; see https://rustup.rs"
ensure_postgres
if [ -z "${DEMO_DIR:-}" ]; then
    DEMO_DIR=$PWD/data-demo
    reachable "$DEMO_DIR" || DEMO_DIR=/var/lib/parlance-demo
fi
# A database of its own, whatever .env says: what is set here wins, and empty counts as not set.
export DATA_DIR="$DEMO_DIR" DATABASE_URL='' REDIS_URL=''
echo "The data of the demo is in $DEMO_DIR"
cargo build --release --bin parlance
exec "$(target_directory)/release/parlance" demo "$@"
