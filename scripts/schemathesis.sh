#!/usr/bin/env bash
# Compares the REST interface with its own document, /openapi.json.
#
# Schemathesis makes requests from the document: valid ones, ones at and beyond every bound, broken
# ones, and sequences in which the id of one response is used in the next request. No response may
# be a 5xx. None may have a status, a type or a shape that the document does not name. The server
# may not accept what the document forbids, nor serve anybody without credentials.
#
# There are three rounds: as an owner, as a guest of one conversation, and as nobody. They go to the
# real program, with a database of its own and without limits. Each operation of each round counts
# as one test. The seed is fixed and printed, so a failure can be repeated; SCHEMATHESIS_SEED=N
# tries another one. It takes about a minute and is ended after three.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

seed=${SCHEMATHESIS_SEED:-20261122}
root=$PWD
venv=.dev/schemathesis
work=$(mktemp -d "${TMPDIR:-/tmp}/parlance-schemathesis.XXXXXX")
chmod 755 "$work" # The embedded PostgreSQL may run as an account of its own.
server=

finish() {
    status=$?
    trap - EXIT
    if [ -n "$server" ]; then
        kill -TERM "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    if [ "$status" -ne 0 ] && [ -f "$work/server.log" ]; then
        echo "--- the end of the server's log" >&2
        grep -v '"level":"\(INFO\|DEBUG\)"' "$work/server.log" | tail -n 20 >&2 || true
    fi
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

ensure_venv schemathesis
start_server "$work"

# People, a conversation with a message in it, and a way for a guest to get there.
python3 - "$site" "$work" <<'PYTHON'
import json, sys, urllib.request, uuid
site, work = sys.argv[1:]
def ask(path, body, token=None):
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(site + path, json.dumps(body).encode(), headers)
    return json.load(urllib.request.urlopen(request, timeout=10))
owner = ask("/auth/register", {"email": "owner@example.org", "password": "canary-password harbour", "name": "Owner"})["access_token"]
conversation = ask("/api/conversations", {"title": "First"}, owner)["id"]
ask(f"/api/conversations/{conversation}/messages", {"id": str(uuid.uuid4()), "body": "Hello"}, owner)
invite = ask(f"/api/conversations/{conversation}/invites", {}, owner)["code"]
ask("/auth/register", {"email": "member@example.org", "password": "canary-password harbour", "name": "Member", "invite": invite})
guest = ask("/auth/guest", {"name": "Guest", "invite": invite})["access_token"]
for name, token in {"owner": owner, "guest": guest}.items():
    open(f"{work}/{name}", "w").write(token)
PYTHON

# A round of requests as somebody. Its result is counted from its report, at the end.
round() {
    name=$1
    shift
    echo "--- as $name, seed $seed"
    header=()
    [ ! -f "$work/$name" ] || header=(--header "Authorization: Bearer $(cat "$work/$name")")
    # The document cannot state every rule for valid input: bytes and not characters, dates in the
    # future, one parameter of several. So a refusal of what looks valid is no failure. Schemathesis
    # leaves a directory behind where it runs.
    (
        cd "$work" || exit
        timeout 60 "$root/$venv/bin/schemathesis" --config-file "$root/scripts/schemathesis.toml" \
            run "$site/openapi.json" --seed "$seed" --generation-database none --no-color --continue-on-failure --no-shrink \
            --exclude-checks positive_data_acceptance --report junit --report-junit-path "$work/$name.xml" \
            "${header[@]}" "$@" >"$work/$name.out" 2>&1
    ) || true
    sed -n '/FAILURES ==/,$p; /ERRORS ==/,$p; /^Test cases:/,+1p' "$work/$name.out" | cut -c 1-400 | head -n 200
}
# Signing out would end the credentials of the round, so only nobody asks for it.
round owner --exclude-path-regex '^/auth/' --max-examples 25
round guest --exclude-path-regex '^/auth/' --phases coverage,fuzzing --max-examples 5
round nobody --phases coverage,fuzzing --max-examples 5

curl --silent --fail --max-time 5 "$site/health/ready" >/dev/null || die "the server is not ready any more"
grep -q '"Panic' "$work/server.log" && die "something panicked"
python3 - "$work" <<'PYTHON'
import sys, xml.etree.ElementTree as xml
passed = failed = 0
for name in ["owner", "guest", "nobody"]:
    try:
        cases = list(xml.parse(f"{sys.argv[1]}/{name}.xml").iter("testcase"))
    except (OSError, xml.ParseError) as error:
        print(f"{name}: no report: {error}", open(f"{sys.argv[1]}/{name}.out").read()[-2000:], sep="\n")
        cases, failed = [], failed + 1
    bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    print(f"as {name}: {len(cases)} operations, {len(bad)} with failures")
    passed, failed = passed + len(cases) - len(bad), failed + len(bad)
print(f"{passed} passed, {failed} failed")
sys.exit(failed != 0 or passed < 60)
PYTHON
