#!/usr/bin/env bash
# Checks what operators install (Dockerfile, compose.yaml, ops/), as far as that is possible without
# running it. Ends with `N passed, M failed`.
#
# promtool checks the configuration of Prometheus and runs the cases for the alerts. It is taken
# from PROMTOOL, the path, or the distribution's package (.dev/prometheus); without it the check
# fails. The model of docs/scaling.md is compared with a simulation. docker compose, hadolint,
# logrotate, systemd-analyze and shellcheck are used where they are there, and named where they are
# not. That alerts and dashboards name metrics that exist is checked by `make test-it`
# (tests/it/ops.rs).
set -uo pipefail
cd "$(dirname "$0")/.." || exit
. scripts/lib.sh

passed=0
failed=0
skipped=

# try NAME COMMAND...: the output is only shown when the command fails.
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

# Compose does not need the files of the secrets to exist. It needs a name for TLS.
composed() { SERVER_NAME=chat.example.org docker compose "$@" config --quiet; }

# Compares what compose.yaml says twice, and checks who waits for whom, in the form that docker
# compose resolves.
compose_agrees() {
    docker compose config --format json | python3 -c '
import json, sys
services = json.load(sys.stdin)["services"]
nginx = services["nginx"]
cpus = nginx["deploy"]["resources"]["limits"]["cpus"]
assert float(nginx["environment"]["NGINX_WORKERS"]) == float(cpus), "NGINX_WORKERS is not the processors of nginx"
for name in ("node-1", "node-2"):
    waits = services[name]["depends_on"].get("migrate", {}).get("condition")
    assert waits == "service_completed_successfully", name + " does not wait for migrate"
    address = services[name]["networks"]["front"]["ipv4_address"]
    assert address + ":8080" in nginx["environment"]["NGINX_NODES"], name + " is not known to nginx"
'
}

# A threshold in tenths. What is left open, and why, is in docs/operations.md.
exposure() { systemd-analyze security --offline=true --threshold="$2" --no-pager "ops/systemd/$1.service"; }

# logrotate refuses a file that others may write, and the files of a checkout may be such.
rotation() {
    local copy status
    copy=$(mktemp) && cp ops/logrotate/parlance-nginx "$copy" && chmod 644 "$copy"
    logrotate --debug --state /dev/null "$copy"
    status=$?
    rm "$copy"
    return $status
}

if find_promtool; then
    try "prometheus.yml and its rules" "$promtool" check config ops/prometheus/prometheus.yml
    try "cases for the alerts" "$promtool" test rules ops/prometheus/tests/parlance.yml
else
    failed=$((failed + 1))
    echo "FAILED  there is no promtool, and it could not be fetched: install Debian's prometheus, or set PROMTOOL"
fi
try "dashboards are JSON" json
try "the model of docs/scaling.md" model
if docker compose version >/dev/null 2>&1; then
    try "compose.yaml" composed --file compose.yaml
    try "compose.yaml agrees with itself" compose_agrees
    for more in ops/compose/*.yaml; do try "compose.yaml with $more" composed --file compose.yaml --file "$more"; done
else
    skipped="$skipped docker-compose"
fi
if have hadolint; then try "Dockerfile" hadolint Dockerfile; fi
if have shellcheck; then try "scripts" shellcheck -x scripts/*.sh ops/backup/*.sh nginx/render; fi
if have logrotate; then try "rotation of nginx's log" rotation; fi
# Older versions cannot check a file.
if have systemd-analyze && systemd-analyze --help | grep -q -e --threshold; then
    try "parlance.service is closed enough" exposure parlance 15
    try "parlance-nginx.service is closed enough" exposure parlance-nginx 40
fi

[ -z "$skipped" ] || echo "Not here, so not asked:$skipped"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
