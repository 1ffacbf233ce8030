#!/bin/sh
# Finds a redis-server for the tests, or puts one into .dev/redis, and prints its path.
#
# First REDIS_SERVER, then the one on PATH, then .dev/redis. Where there is none, the distribution's package and those of
# its libraries that are missing are downloaded and unpacked there, with or without root: they are not installed, because
# Debian's package would start a service that nobody asked for. Running it again does nothing.
set -eu
cd "$(dirname "$0")/.."

home=$PWD/.dev/redis
program=$home/redis-server

found() {
    "$1" --version >/dev/null 2>&1 || return 1
    echo "$1"
    exit 0
}

[ -z "${REDIS_SERVER:-}" ] || found "$REDIS_SERVER" || {
    echo "REDIS_SERVER is set to $REDIS_SERVER, which does not run." >&2
    exit 1
}
if path=$(command -v redis-server); then found "$path" || true; fi
[ ! -x "$program" ] || found "$program" || true

fail() {
    echo "There is no redis-server, and it could not be fetched: $1" >&2
    echo "Either install one (on Debian: sudo apt-get install redis-server), or set REDIS_SERVER to the path of one," >&2
    echo "version 6 or newer." >&2
    exit 1
}

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail "this is not a Debian or one like it"

# What an installation would bring: the program, and only those of its libraries that are not there.
missing() { LC_ALL=C apt-get install --simulate --no-install-recommends redis-server 2>/dev/null | sed -n 's/^Inst \([^ ]*\) .*/\1/p'; }
packages=$(missing)
if [ -z "$packages" ] && [ "$(id -u)" = 0 ]; then
    apt-get update -qq >&2 || fail "apt-get update did not work"
    packages=$(missing)
fi
# Removed but still known to be installed, or the package lists are empty.
[ -n "$packages" ] || fail "apt knows no package redis-server that it could install (the lists may be empty: apt-get update)"

work=$(mktemp -d "${TMPDIR:-/tmp}/parlance-redis.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
mkdir "$work/root"
echo "Fetching" $packages "..." >&2
# As root, apt would download as an account of its own, which has to get in.
chmod 755 "$work"
# shellcheck disable=SC2086 # They are words.
(cd "$work" && apt-get download -qq -o APT::Sandbox::User=root $packages >&2) || fail "apt-get download did not work"
for package in "$work"/*.deb; do
    dpkg-deb -x "$package" "$work/root" || fail "$package could not be unpacked"
done

# A starter that finds the libraries beside it and becomes the server: its process id is the server's.
libraries=
for directory in "$work"/root/usr/lib/*-linux-* "$work"/root/lib/*-linux-*; do
    [ ! -d "$directory" ] || libraries="$libraries\$home/root${directory#"$work/root"}:"
done
cat >"$work/redis-server" <<STARTER
#!/bin/sh
home=\$(dirname "\$0")
LD_LIBRARY_PATH=$libraries\${LD_LIBRARY_PATH:-} exec "\$home/root/usr/bin/redis-server" "\$@"
STARTER
chmod 755 "$work/redis-server"
"$work/redis-server" --version >/dev/null || fail "the program does not run here"

mkdir -p "$home"
rm -rf "$home/root"
mv "$work/root" "$home/root"
mv "$work/redis-server" "$program"
found "$program" || fail "the program does not run here"
