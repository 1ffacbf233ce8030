#!/usr/bin/env bash
# Shows what a change costs: measures the server of an earlier revision and that of this tree in
# turns.
#
#   scripts/compare.sh [--rounds N] REVISION [NAME=VALUE...]
#
# Settings after the revision are for this tree's server only. REVISION may be HEAD, to compare
# settings alone. Each round sends for some seconds as fast as acknowledgements allow (10 rooms of
# 100), on one server and then on the other. So a machine that is slow for a while is slow for both.
# It prints the medians and their ratio: deliveries per second, the server's CPU seconds per million
# deliveries, latencies and memory. The CPU says most on a machine that others use too.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

rounds=5
if [ "${1:-}" = --rounds ]; then
    rounds=${2:-}
    shift 2
fi
{ [ $# -ge 1 ] && [ "$rounds" -ge 1 ]; } 2>/dev/null || die "usage: $0 [--rounds N] REVISION [NAME=VALUE...]"
revision=$(git rev-parse --verify --quiet "$1^{commit}") || die "there is no revision $1"
shift

ensure_postgres
work=$(mktemp -d "${TMPDIR:-/tmp}/parlance-compare.XXXXXX")
chmod 755 "$work" # The embedded PostgreSQL may run as an account of its own.
server=
finish() {
    status=$?
    trap - EXIT
    [ -z "$server" ] || { kill -TERM "$server" 2>/dev/null && wait "$server"; }
    git worktree remove --force "$work/before" 2>/dev/null
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# Both are built into the same place, so that they share their dependencies. The revision may be
# older than the workspace: only its server is built. The tool that measures is always this tree's.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
git worktree add --quiet --detach "$work/before" "$revision"
(cd "$work/before" && cargo build --quiet --release --bin parlance)
cp "$CARGO_TARGET_DIR/release/parlance" "$work/parlance-before"
# Cargo tells the two trees apart by the times of files alone, and those just checked out are newer
# than these. Without this, it would take the library of the revision for that of this tree.
touch build.rs src/lib.rs src/main.rs crates/*/src/*.rs
cargo build --quiet --release --package parlance --package parlance-load
cp "$CARGO_TARGET_DIR/release/parlance" "$work/parlance-after"

# Starts one of the two, measures it, stops it. The data is fresh every time, because a larger table
# would cost more.
measure() {
    local side=$1
    shift
    rm -rf "$work/data"
    # All sockets come from this machine. A revision from before this setting would refuse its name.
    local cap=()
    if "$work/parlance-$side" config | grep -q '^PARLANCE_CONNECTIONS_PER_ADDRESS='; then
        cap=(PARLANCE_CONNECTIONS_PER_ADDRESS=1000000)
    fi
    env -u DATABASE_URL "${cap[@]}" RATE_LIMIT_ENABLED=false BIND=127.0.0.1:0 DATA_DIR="$work/data" LOG_FORMAT=json "$@" \
        "$work/parlance-$side" serve >"$work/log" 2>&1 &
    server=$!
    local address=
    for _ in $(seq 600); do
        address=$(sed -n 's/.*"address":"\([^"]*\)".*/\1/p' "$work/log" | head -n 1)
        [ -n "$address" ] && break
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    [ -n "$address" ] || { tail -n 5 "$work/log" >&2; die "the server did not start"; }
    "$CARGO_TARGET_DIR/release/parlance-load" --address "$address" --pid "$server" --quiet --json \
        fanout --rooms 10 --members 100 --writers 4 --seconds 6 >>"$work/$side.jsonl"
    kill -TERM "$server"
    wait "$server"
    server=
}

for round in $(seq "$rounds"); do
    echo "round $round of $rounds" >&2
    measure before
    measure after "$@"
done

python3 - "$work" <<'PYTHON'
import json, statistics, sys
def value(line, path):
    found = json.loads(line)
    for name in path.split("."):
        found = found[name]
    return found
def median(side, path):
    return statistics.median(value(line, path) for line in open(f"{sys.argv[1]}/{side}.jsonl"))
for path, name, unit, digits in (
    ("deliveries_per_s", "deliveries/s", 1, 0),
    ("server_cpu_s_per_million", "server CPU s per million deliveries", 1, 3),
    ("delivery.p50_ms", "delivery p50, ms", 1, 1),
    ("delivery.p99_ms", "delivery p99, ms", 1, 1),
    ("ack.p50_ms", "acknowledgement p50, ms", 1, 1),
    ("ack.p99_ms", "acknowledgement p99, ms", 1, 1),
    ("server_rss_bytes", "server memory, MiB", 1 << 20, 0),
):
    before, after = median("before", path) / unit, median("after", path) / unit
    print(f"  {name:<38} before {before:>12,.{digits}f}   after {after:>12,.{digits}f}   ratio {after / before:.3f}")
PYTHON
