#!/bin/sh
# Finds libfaketime for the soak, or puts it into .dev/faketime, and prints its path.
#
# It lets a program see another wall clock than the machine's, so that the clock of one node can
# jump. First FAKETIME_LIBRARY, then the system's, then .dev/faketime. Where there is none, the
# distribution's package is unpacked there (debian.sh), with or without root. Running it again does
# nothing.
set -eu
cd "$(dirname "$0")/.."

found() {
    for library; do
        [ -f "$library" ] || continue
        echo "$library"
        exit 0
    done
    return 1
}

[ -z "${FAKETIME_LIBRARY:-}" ] || found "$FAKETIME_LIBRARY" || {
    echo "FAKETIME_LIBRARY is set to $FAKETIME_LIBRARY, which is not there." >&2
    exit 1
}
fetched=$PWD/.dev/faketime/root/usr/lib
found /usr/lib/*/faketime/libfaketime.so.1 /usr/lib/faketime/libfaketime.so.1 "$fetched"/*/faketime/libfaketime.so.1 || true
scripts/debian.sh faketime libfaketime || {
    echo "Install libfaketime, or set FAKETIME_LIBRARY to the path of its library." >&2
    exit 1
}
found "$fetched"/*/faketime/libfaketime.so.1 || true
echo "There is no libfaketime.so.1 in its package." >&2
exit 1
