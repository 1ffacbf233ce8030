#!/usr/bin/env bash
# WebSocket conformance: the Autobahn cases against an echo that goes through the session's own
# socket code.
#
# Builds the echo (`tests/conformance/echo.rs`, with all features, as the other tests are built) and
# starts it on a free port. Runs all cases but those of compression, which Parlance does not offer.
# Every case has to pass, and none may end with a wrong close code. That takes about 20 seconds.
# With an argument (ws://127.0.0.1:PORT/conformance) it tests that server instead of starting one.
# With VIA=nginx the shipped nginx is in front of it, with one location more for the echo, which is
# treated as the socket is.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

cases=301
venv=.dev/conformance
work=$(mktemp -d "${TMPDIR:-/tmp}/parlance-conformance.XXXXXX")
server=
nginx=

finish() {
    status=$?
    trap - EXIT
    if [ -n "$nginx" ]; then
        kill -TERM "$nginx" 2>/dev/null || true
        wait "$nginx" 2>/dev/null || true
    fi
    if [ -n "$server" ]; then
        kill -TERM "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    if [ "$status" -ne 0 ] && [ -f "$work/echo.log" ]; then
        echo "--- the end of the echo's log" >&2
        tail -n 20 "$work/echo.log" >&2
    fi
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# Sets `server`, the process of the echo, and `site`, its address.
start_echo() {
    cargo build --quiet --workspace --all-features --example conformance-echo
    local program
    program=$(target_directory)/debug/examples/conformance-echo
    : >"$work/address"
    "$program" >"$work/address" 2>"$work/echo.log" &
    server=$!
    for _ in $(seq 100); do
        site=$(sed -n 's/^The echo is at //p' "$work/address")
        [ -n "$site" ] && return 0
        kill -0 "$server" 2>/dev/null || die "the echo ended before it was ready"
        sleep 0.1
    done
    die "the echo was not ready within 10 s"
}

ensure_venv conformance

url=${1:-}
if [ -z "$url" ]; then
    start_echo
    if [ "${VIA:-}" = nginx ]; then
        mkdir -p "$work/nginx/local"
        echo 'location = /conformance { include websocket.conf; }' >"$work/nginx/local/conformance.conf"
        start_nginx "$work/nginx" "${site#http://}"
    fi
    url=ws://${site#http://}/conformance
fi

# The runner's exit status says only that something failed; its report says what, and how each
# connection ended.
failed=0
"$venv/bin/kosoku" "$url" -x '12.*' -x '13.*' -p 4 -o "$work/report" >"$work/run.log" 2>&1 || failed=$?
cat "$work/run.log"
python3 - "$work/report/index.json" "$cases" "$failed" <<'PYTHON'
import json, sys
report, expected, failed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
try:
    (results,) = json.load(open(report)).values()
except (OSError, ValueError) as error:
    sys.exit(f"the runner left no report: {error}")
good = {"OK", "NON-STRICT", "INFORMATIONAL"}
bad = {n: r for n, r in results.items() if r["behavior"] not in good or r["behaviorClose"] not in good}
for name, r in bad.items():
    print(f"{name}: {r['behavior']}, close {r['behaviorClose']} ({r['remoteCloseCode']})", file=sys.stderr)
lenient = sorted(n for n, r in results.items() if r["behavior"] == "NON-STRICT")
print(f"non-strict (allowed): {', '.join(lenient) or 'none'}")
print(f"{len(results) - len(bad)} passed, {len(bad)} failed")
if failed or bad or len(results) != expected:
    sys.exit(f"conformance: {expected} cases have to pass (report: {len(results)} cases)")
PYTHON
