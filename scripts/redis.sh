#!/bin/sh
# Finds a redis-server for the tests, or puts one into .dev/redis, and prints its path.
#
# First REDIS_SERVER, then the one on PATH, then .dev/redis. Where there is none, the distribution's
# package is unpacked there (debian.sh), with or without root. Running it again does nothing.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

runs() { "$1" --version >/dev/null 2>&1; }

find_program redis redis-server usr/bin/redis-server REDIS_SERVER "${REDIS_SERVER:-}" "version 7 or newer"
