#!/usr/bin/env bash
# What the browser tests need: what scripts/node.sh installs, a Chromium of the system, and an emoji
# font.
#
# Safe to run any number of times; it does nothing where everything is there. The browser is the
# distribution's own, because downloads of prebuilt browsers are not possible everywhere. Without
# root it says what to install and stops.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

missing=()
command -v chromium >/dev/null || [ -n "${CHROMIUM:-}" ] || missing+=(chromium)
if command -v fc-list >/dev/null; then
    [ -n "$(fc-list ':family=Noto Color Emoji' 2>/dev/null)" ] || missing+=(fonts-noto-color-emoji)
else
    missing+=(fontconfig fonts-noto-color-emoji)
fi
install_missing "The browser tests need" "${missing[@]}" || {
    echo "A Chromium that is elsewhere can be named by CHROMIUM." >&2
    exit 1
}

scripts/node.sh
