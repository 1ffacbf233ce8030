#!/usr/bin/env bash
# Runs the tests and ends with one line that counts them all: `N passed, M failed`.
#
#   scripts/test.sh [all|pure|it|browser|conformance|schemathesis|nginx|ops]
#   scripts/test.sh pure|it NAME...        only those whose name contains one of these
#
# Everything is built once: one profile (dev), one feature set (all), all packages. The integration
# tests share a PostgreSQL that is started here with the server's own code (`parlance database`) and
# removed at the end. Each test makes a database of its own in it. TEST_DATABASE_URL names another
# server, whose account must be allowed to make databases. A runner that fails without a count
# (because it did not build, say) counts as one failure.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
. scripts/lib.sh

what=${1:-all}
[ $# = 0 ] || shift
case $what in all | pure | it | browser | conformance | schemathesis | nginx | ops) ;; *) die "usage: $0 [all|pure|it|browser|conformance|schemathesis|nginx|ops]" ;; esac
wanted() { [ "$what" = all ] || [ "$what" = "$1" ]; }

passed=0
failed=0
work=$(mktemp -d "${TMPDIR:-/tmp}/parlance-test.XXXXXX")
chmod 755 "$work" # PostgreSQL may run as an account of its own.
log=$work/log
database=

finish() {
    if [ -n "$database" ]; then
        kill -TERM "$database" 2>/dev/null
        wait "$database" 2>/dev/null
    fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# Runs a command, adds the numbers that it reports, and prints how long it took.
count() {
    local name=$1 began=$SECONDS
    echo "--- $name"
    shift
    "$@" 2>&1 | tee "$log"
    local status=$? sum p f
    sum=$(python3 - "$log" <<'PYTHON'
import re, sys
text = re.sub(r"\x1b\[[0-9;]*m", "", open(sys.argv[1], errors="replace").read())
def last(pattern):
    found = re.findall(pattern, text, re.M)
    return int(found[-1]) if found else 0
cargo = re.findall(r"^test result: \w+\. (\d+) passed; (\d+) failed", text, re.M)
nextest = re.findall(r"^\s*Summary .*$", text, re.M)
plain = re.findall(r"^(?:\w+: )?(\d+) passed, (\d+) failed", text, re.M)
if cargo:
    p, f = (sum(int(pair[i]) for pair in cargo) for i in (0, 1))
elif nextest:
    number = lambda word: sum(int(n) for n in re.findall(r"(\d+) " + word, nextest[-1]))
    p, f = number("passed"), number("failed") + number("timed out") + number("exec failed")
elif plain:
    p, f = map(int, plain[-1])
else:
    p, f = last(r"^\s*(\d+) passed"), last(r"^\s*(\d+) failed")
print(p, f)
PYTHON
    ) || sum="0 0"
    read -r p f <<<"$sum"
    if [ "$status" != 0 ] && [ "$f" = 0 ]; then f=1; fi
    passed=$((passed + p))
    failed=$((failed + f))
    echo "--- $name: $p passed, $f failed, $((SECONDS - began)) s"
}

# Runs the tests of some cargo targets of all packages, with nextest where it is there. Names of
# tests may follow. Without nextest all tests are threads of one process and share its fault points,
# so they run one after the other.
cargo_tests() {
    local target=$1
    shift
    if cargo nextest --version >/dev/null 2>&1; then
        # shellcheck disable=SC2086 # The target is words.
        cargo nextest run --workspace --all-features --no-tests=fail $target "$@"
    else
        # shellcheck disable=SC2086
        cargo test --workspace --all-features $target -- --test-threads=1 "$@"
    fi
}

# Starts the PostgreSQL that integration tests share, and exports its address.
start_database() {
    # Built with the tests, so that dependencies are built once, with the same features.
    cargo test --quiet --workspace --all-features --test it --no-run || return 1
    ensure_postgres || return 1
    REDIS_SERVER=$(scripts/redis.sh) || return 1
    NGINX_SERVER=$(scripts/nginx.sh) || return 1
    export REDIS_SERVER NGINX_SERVER
    # Without it one fault of the soak is left out, and its report says so.
    if FAKETIME_LIBRARY=$(scripts/faketime.sh); then export FAKETIME_LIBRARY; fi
    [ -z "${TEST_DATABASE_URL:-}" ] || return 0
    local address=
    # Every test has a pool of its own.
    env -u DATABASE_URL DATA_DIR="$work/data" DATABASE_POOL_SIZE=400 LOG_FORMAT=pretty \
        target/debug/parlance database >"$work/address" 2>"$work/database.log" &
    database=$!
    for _ in $(seq 600); do
        address=$(cat "$work/address")
        [ -n "$address" ] && break
        kill -0 "$database" 2>/dev/null || break
        sleep 0.1
    done
    if [ -z "$address" ]; then
        cat "$work/database.log"
        return 1
    fi
    export TEST_DATABASE_URL=$address
}

# Searches the logs of all servers of the tests: no address, password, token, key or invitation of
# the tests may be there.
search_logs() {
    if [ -z "$(cat "$TEST_LOG_DIR"/*.log 2>/dev/null | head -c 1)" ]; then
        echo "The tests have left no log."
        return 1
    fi
    if grep -hnEi 'canary|@example\.org|eyJ[a-z0-9_-]{8,}\.|pk_[a-z0-9_-]{20}|argon2id\$' "$TEST_LOG_DIR"/*.log | cut -c 1-400 | head -n 20 |
        grep .; then
        echo "0 passed, 1 failed"
        return 1
    fi
    echo "$(cat "$TEST_LOG_DIR"/*.log | wc -l) lines"
    echo "1 passed, 0 failed"
}

if wanted pure; then count "pure tests" cargo_tests "--lib --bins" "$@"; fi

if wanted it; then
    if start_database; then
        export TEST_LOG_DIR=$work/logs
        mkdir "$TEST_LOG_DIR"
        count "integration tests" cargo_tests "--test it" "$@"
        count "secrets in their log" search_logs
    else
        echo "What the integration tests need (PostgreSQL, Redis, nginx) could not be started."
        failed=$((failed + 1))
    fi
fi

browser_tests() {
    scripts/browser.sh && (cd tests/browser && npm test --silent)
}

if wanted browser && { [ -x scripts/browser.sh ] || [ "$what" = browser ]; }; then
    ensure_postgres
    count "browser tests" browser_tests
fi

if wanted conformance && { [ -x scripts/conformance.sh ] || [ "$what" = conformance ]; }; then
    count "WebSocket conformance" scripts/conformance.sh
    count "WebSocket conformance through nginx" env VIA=nginx scripts/conformance.sh
fi

if wanted nginx; then count "the files of nginx/" scripts/nginx-check.sh; fi

if wanted schemathesis && { [ -x scripts/schemathesis.sh ] || [ "$what" = schemathesis ]; }; then
    ensure_postgres
    count "REST against its document" scripts/schemathesis.sh
fi

if wanted ops; then count "what operators install" scripts/ops.sh; fi

echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
