#!/usr/bin/env bash
# What the browser tests need: Node, a Chromium of the system, an emoji font, and the packages of tests/browser.
#
# Safe to run any number of times; it does nothing where everything is there. The browser is the distribution's own,
# because downloads of prebuilt browsers are not possible everywhere. Without root it says what to install and stops.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
command -v chromium >/dev/null || [ -n "${CHROMIUM:-}" ] || missing+=(chromium)
if command -v fc-list >/dev/null; then
    [ -n "$(fc-list ':family=Noto Color Emoji' 2>/dev/null)" ] || missing+=(fonts-noto-color-emoji)
else
    missing+=(fontconfig fonts-noto-color-emoji)
fi

if [ "${#missing[@]}" -gt 0 ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing ${missing[*]}."
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq >/dev/null
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    else
        echo "The browser tests need: ${missing[*]}. Install them (on Debian: sudo apt-get install ${missing[*]})," >&2
        echo "or set CHROMIUM to the path of a Chromium you have." >&2
        exit 1
    fi
fi

node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 20 ? 0 : 1)' || {
    echo "Node 20 or newer is needed; found $(node --version)." >&2
    exit 1
}

cd tests/browser
if ! cmp -s package-lock.json node_modules/.parlance-lock 2>/dev/null; then
    npm ci --no-audit --no-fund --loglevel=error
    cp package-lock.json node_modules/.parlance-lock
fi
