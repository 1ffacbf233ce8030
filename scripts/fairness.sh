#!/usr/bin/env bash
# A neighbour's latencies on a fresh release server with its limits as delivered: on the quiet node,
# and while one tenant with many accounts does its worst in each of some ways. Prints a table.
#
#   scripts/fairness.sh                                   a hundred accounts, half a minute of each
#   scripts/fairness.sh --accounts 20 --seconds 10        a short round
#   scripts/fairness.sh --only pages,snapshots            these ways
#
# Other arguments go to `parlance-load fairness` (`--tolerance`, `--floor-ms`, `--json`). Server,
# PostgreSQL, attackers and neighbour share this machine. The exit code is 1 when the neighbour had
# to wait more than twice as long as on the quiet node, or was refused.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

ensure_postgres
cargo build --release --package parlance --package parlance-load
target=$(target_directory)/release

work=$(mktemp -d "${TMPDIR:-/tmp}/parlance-fairness.XXXXXX")
chmod 755 "$work" # The embedded PostgreSQL may run as an account of its own.
finish() {
    status=$?
    trap - EXIT
    if [ "$status" -ge 2 ] && [ -f "$work/data.log" ]; then
        echo "--- the end of the server's log" >&2
        tail -n 20 "$work/data.log" >&2
    fi
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

"$target/parlance-load" fairness --server "$target/parlance" --data "$work/data" "$@"
