#!/bin/sh
# Finds an nginx for the tests and tools, or puts one into .dev/nginx, and prints its path.
#
# First NGINX_SERVER, then the one on PATH, then .dev/nginx. Where there is none, or one that is too
# old for the files in nginx/, the distribution's package is unpacked there (debian.sh), with or
# without root. Nothing is installed and no service starts. Running it again does nothing.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

# 1.22 or newer. It says its version on stderr.
runs() {
    nginx_version=$("$1" -v 2>&1 | sed -n 's|^nginx version: [a-z]*/\([0-9]*\.[0-9]*\).*|\1|p')
    [ -n "$nginx_version" ] || return 1
    [ "${nginx_version%.*}" -gt 1 ] || { [ "${nginx_version%.*}" = 1 ] && [ "${nginx_version#*.}" -ge 22 ]; }
}

# Ordinary accounts often do not have the directories of administrators on their path.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
find_program nginx nginx usr/sbin/nginx NGINX_SERVER "${NGINX_SERVER:-}" "version 1.22 or newer"
