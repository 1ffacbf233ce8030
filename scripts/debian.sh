#!/bin/sh
# Puts a package of Debian (or one like it) and its missing libraries into .dev/NAME, with or
# without root.
#
#   scripts/debian.sh NAME PACKAGE [PROGRAM]...
#
# They are downloaded and unpacked under .dev/NAME/root, not installed. An installation needs root,
# and the package of a server would start a service. For each PROGRAM, a path in the package such as
# usr/bin/redis-server, .dev/NAME gets a starter of its name. It finds the libraries and becomes the
# program, so its process id is the program's. apt checks what it downloads against the signatures
# of the distribution. What was there before is replaced at the end, all of it or nothing. Only
# messages are printed, to stderr. The callers (redis.sh, nginx.sh) know whether anything has to be
# fetched.
set -eu
cd "$(dirname "$0")/.."

[ $# -ge 2 ] || {
    echo "usage: $0 NAME PACKAGE [PROGRAM]..." >&2
    exit 2
}
name=$1
wanted=$2
shift 2

fail() {
    echo "Debian's package $wanted could not be fetched: $1" >&2
    exit 1
}

{ command -v apt-get && command -v dpkg-deb; } >/dev/null || fail "this is not a Debian or one like it"

# What an installation would add: the package, and those that it needs and that are missing.
missing() { LC_ALL=C apt-get install --simulate --no-install-recommends "$wanted" 2>/dev/null | sed -n 's/^Inst \([^ ]*\) .*/\1/p'; }
packages=$(missing)
if [ -z "$packages" ] && [ "$(id -u)" = 0 ]; then
    apt-get update -qq >&2 || fail "apt-get update did not work"
    packages=$(missing)
fi
# It was removed but still counts as installed, or the package lists are empty.
[ -n "$packages" ] || fail "apt knows no package $wanted that it could install (the lists may be empty: apt-get update)"

mkdir -p .dev
work=$(mktemp -d "$PWD/.dev/.$name.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
# As root, apt downloads as an account of its own, and servers are started as another account.
chmod 755 "$work"
mkdir "$work/root" "$work/packages"
# shellcheck disable=SC2086 # They are words.
echo "Fetching" $packages "..." >&2
# shellcheck disable=SC2086
(cd "$work/packages" && apt-get download -qq -o APT::Sandbox::User=root $packages >&2) || fail "apt-get download did not work"
for package in "$work"/packages/*.deb; do
    dpkg-deb -x "$package" "$work/root" || fail "$package could not be unpacked"
done
rm -rf "$work/packages"

libraries=
for directory in "$work"/root/usr/lib/*-linux-* "$work"/root/lib/*-linux-*; do
    [ ! -d "$directory" ] || libraries="$libraries\$home/root${directory#"$work/root"}:"
done
for program; do
    [ -f "$work/root/$program" ] || fail "there is no $program in it"
    starter=$work/$(basename "$program")
    cat >"$starter" <<STARTER
#!/bin/sh
home=\$(dirname "\$0")
LD_LIBRARY_PATH=$libraries\${LD_LIBRARY_PATH:-} exec "\$home/root/$program" "\$@"
STARTER
    chmod 755 "$starter"
done

rm -rf ".dev/$name"
mv "$work" ".dev/$name"
