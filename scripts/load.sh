#!/usr/bin/env bash
# Measures a fresh release server with parlance-load: every profile, beside what the project
# promises.
#
#   scripts/load.sh                  a short round of each
#   scripts/load.sh --full           every number as the median of five (about half an hour)
#   PROFILE=light scripts/load.sh    10 users at work for two minutes; medium: 50 for ten; heavy: 200
#                                    for thirty. DURATION=30 is shorter; REPORT names the page
#   VIA=nginx scripts/load.sh        only the shipped nginx in front of a server, beside the server alone
#
# Other arguments go to `parlance-load suite` (`--json`, `--only bus,reconnect-storm`). Servers,
# PostgreSQL, Redis and tool share this machine, as in the promises. The exit code is not 0 when a
# message was lost, doubled or out of order, or when a profile broke a promise.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

ensure_postgres
via=()
case ${VIA:-} in
    '') ;;
    nginx) via=(--nginx "$(scripts/nginx.sh)" --render nginx/render --only nginx) ;;
    *) die "VIA is nginx or nothing, not $VIA" ;;
esac
cargo build --release --package parlance --package parlance-load
target=$(target_directory)/release

work=$(mktemp -d "${TMPDIR:-/tmp}/parlance-load.XXXXXX")
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

if [ -n "${PROFILE:-}" ]; then
    mkdir -p .dev/load
    duration=()
    [ -z "${DURATION:-}" ] || duration=(--duration "$DURATION")
    "$target/parlance-load" profile "$PROFILE" --server "$target/parlance" --data "$work" \
        --html "${REPORT:-.dev/load/$PROFILE.html}" "${duration[@]}" "$@"
    exit
fi
redis=$(scripts/redis.sh)
"$target/parlance-load" suite --server "$target/parlance" --redis "$redis" --data "$work" "${via[@]}" "$@"
