#!/usr/bin/env bash
# What the page's code is checked and tested with: Node, npm, and the packages of tests/browser
# (prettier, eslint, TypeScript, Playwright), pinned by its package-lock.json.
#
# Safe to run any number of times. It does nothing where everything is there. Where Node or npm is
# missing it installs them as root on Debian, and says so elsewhere.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

missing=()
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
install_missing "The page's checks and tests need" "${missing[@]}" || exit 1

node -e 'const [major, minor] = process.versions.node.split(".").map(Number);
process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)' ||
    die "Node 20.19 or newer is needed; found $(node --version)."

cd tests/browser
if ! cmp -s package-lock.json node_modules/.parlance-lock 2>/dev/null; then
    npm ci --no-audit --no-fund --loglevel=error
    cp package-lock.json node_modules/.parlance-lock
fi
