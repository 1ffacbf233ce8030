#!/usr/bin/env bash
# Checks the files of nginx/ in each form that an operator can render: nginx accepts it, and gixy
# finds nothing above `low`. Where shellcheck is there, it checks the renderer. Takes seconds;
# nothing is started.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

nginx=$(scripts/nginx.sh)
ensure_venv gixy
work=$(mktemp -d "${TMPDIR:-/tmp}/parlance-nginx.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

passed=0
failed=0
verdict() {
    if [ "$1" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "failed: $2"; fi
}

# Warnings of nginx are failures, with one exception. From 1.25.1 on, `http2` should be a directive
# of its own, which 1.22 does not know. As long as both are supported, the older form stays.
http2='the "listen ... http2" directive is deprecated, use the "http2" directive instead'

# A form, and the settings that make it.
check() {
    local kind=$1 said
    shift
    env NGINX_RUN_DIR="$work/run" NGINX_STATUS_LISTEN=127.0.0.1:58090 NGINX_LISTEN=127.0.0.1:58000 "$@" nginx/render "$work/$kind"
    said=$("$nginx" -t -e stderr -c "$work/$kind/nginx.conf" 2>&1) &&
        ! grep -E '\[(warn|alert|crit|emerg)\]' <<<"$said" | grep -vF "$http2"
    verdict $? "nginx -t of $kind: $said"
    said=$(cd "$work/$kind" && "$OLDPWD/.dev/gixy/bin/gixy" -ll nginx.conf 2>&1)
    verdict $? "gixy on $kind: $said"
}

openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout "$work/key.pem" -out "$work/certificate.pem" 2>/dev/null ||
    die "openssl is needed to make a certificate"
tls=(NGINX_TLS_LISTEN=127.0.0.1:58443 "NGINX_TLS_CERTIFICATE=$work/certificate.pem" "NGINX_TLS_KEY=$work/key.pem")
set +e
check plain
check tls "${tls[@]}"
check nodes "NGINX_NODES=10.0.0.1:8080 10.0.0.2:8080 10.0.0.3:8080" "NGINX_TRUSTED_PROXIES=10.1.0.0/16"
check agents "${tls[@]}" NGINX_REFUSE_AGENTS=on NGINX_LIMITS=off NGINX_ACCESS_LOG=off
if command -v shellcheck >/dev/null; then
    shellcheck nginx/render
    verdict $? "shellcheck on nginx/render"
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
