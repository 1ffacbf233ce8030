#!/usr/bin/env bash
# Checks or formats the code of the page and of its tests: `static/` without `static/vendor/`, and
# `tests/browser/`.
#
#   scripts/page.sh check     prettier, eslint, and TypeScript over the JSDoc types
#   scripts/page.sh format    prettier, in place
#
# The settings are in .prettierrc, eslint.config.mjs and jsconfig.json, where editors look for them.
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:-check}
scripts/node.sh
export PATH=$PWD/tests/browser/node_modules/.bin:$PATH
files=('static/**/*.{js,css,html,json}' 'tests/browser/**/*.{js,json}' eslint.config.mjs jsconfig.json '!static/vendor/**')

case $what in
check)
    prettier --check --log-level warn "${files[@]}"
    eslint --max-warnings 0 static tests/browser
    tsc --project jsconfig.json
    ;;
format) prettier --write --log-level warn "${files[@]}" ;;
*)
    echo "usage: $0 [check|format]" >&2
    exit 2
    ;;
esac
