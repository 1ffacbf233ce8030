#!/usr/bin/env bash
# Checks what operators install (Dockerfile, compose.yaml, ops/), as far as it can be checked without running it, and ends
# with `N passed, M failed`.
#
# Prometheus' own promtool judges its configuration, and runs the cases for the alerts; the model of docs/scaling.md is
# held against a simulation. promtool is taken from PROMTOOL, the path, or the distribution's package (.dev/prometheus).
# What else is here is used, and named when it is not: docker compose, hadolint, shellcheck, systemd-analyze. That alerts
# and dashboards name metrics that exist is checked by `make test-it` (tests/it/ops.rs).
set -uo pipefail
cd "$(dirname "$0")/.." || exit
. scripts/lib.sh

passed=0
failed=0
skipped=

# try NAME COMMAND...: what it says is only shown when it fails.
try() {
    local name=$1 said
    shift
    if said=$("$@" 2>&1); then
        passed=$((passed + 1))
        echo "ok      $name"
    else
        failed=$((failed + 1))
        echo "FAILED  $name"
        printf "    %s\n" "${said//$'\n'/$'\n'    }"
    fi
}

have() {
    command -v "$1" >/dev/null && return 0
    skipped="$skipped $1"
    return 1
}

promtool_runs() { "$1" --version >/dev/null 2>&1; }

find_promtool() {
    for promtool in "${PROMTOOL:-}" "$(command -v promtool)" "$PWD/.dev/prometheus/promtool"; do
        if [ -n "$promtool" ] && promtool_runs "$promtool"; then return 0; fi
    done
    scripts/debian.sh prometheus prometheus usr/bin/promtool && promtool=$PWD/.dev/prometheus/promtool && promtool_runs "$promtool"
}

model() { (cd ops/scaling && python3 -B -m unittest); }

json() { for file in ops/grafana/dashboards/*.json; do python3 -m json.tool "$file" >/dev/null || return 1; done; }

# Compose wants the files of the secrets to be named, not to be there; a name for TLS it wants.
composed() { SERVER_NAME=chat.example.org docker compose "$@" config --quiet; }

# Of ten; what is open is told, with reasons, in docs/operations.md.
exposure() { systemd-analyze security --offline=true --threshold=15 --no-pager ops/systemd/parlance.service; }

if find_promtool; then
    try "prometheus.yml and its rules" "$promtool" check config ops/prometheus/prometheus.yml
    try "cases for the alerts" "$promtool" test rules ops/prometheus/tests/parlance.yml
else
    skipped="$skipped promtool"
fi
try "dashboards are JSON" json
try "the model of docs/scaling.md" model
if docker compose version >/dev/null 2>&1; then
    try "compose.yaml" composed --file compose.yaml
    for more in ops/compose/*.yaml; do try "compose.yaml with $more" composed --file compose.yaml --file "$more"; done
else
    skipped="$skipped docker-compose"
fi
if have hadolint; then try "Dockerfile" hadolint Dockerfile; fi
if have shellcheck; then try "scripts of ops/" shellcheck -x scripts/ops.sh scripts/secrets.sh ops/backup/dump.sh ops/backup/restore.sh; fi
# Older ones cannot judge a file.
if have systemd-analyze && systemd-analyze --help | grep -q -e --threshold; then try "parlance.service is closed enough" exposure; fi

[ -z "$skipped" ] || echo "Not here, so not asked:$skipped"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
