#!/usr/bin/env bash
# Writes a backup of Parlance's database while it is in use, and what it takes to prove a restore complete.
#
#   ops/backup/dump.sh DIRECTORY            # of DATABASE_URL, or of the file DATABASE_URL_FILE names
#
# Makes DIRECTORY/parlance-TIME.dump (pg_dump's own format, compressed) and, beside it, .manifest: for every table the
# number of its rows and a checksum over all of them, of the very moment of the dump. Both read one snapshot, so they
# agree whatever is written meanwhile; restore.sh compares. Nobody is blocked but who changes the schema; dead rows are
# kept for as long as it runs. A file gets its name when it is complete: what ends with .part is none.
#
# Needs psql and pg_dump of the server's major version or newer, and the account that owns the tables. It is a copy of one
# moment: for losing less than the time between two of them, archive the log (docs/operations.md). The signing key is not
# in the database, and Redis has nothing to keep.
set -euo pipefail
# shellcheck source=ops/backup/lib.sh
. "$(dirname "$0")/lib.sh"

[ $# = 1 ] || die "usage: $0 DIRECTORY"
mkdir -p "$1"
take_address
name=$1/parlance-$(date -u +%Y%m%dT%H%M%SZ)
umask 077

# A session that holds a snapshot, for as long as both read it.
coproc KEEPER { psql_here; }
keeper=$KEEPER_PID
trap 'kill "$keeper" 2>/dev/null || true; rm -f "$name".*.part' EXIT
trap 'exit 130' INT TERM
printf '%s\n' 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;' 'SELECT pg_export_snapshot();' >&"${KEEPER[1]}"
IFS= read -r snapshot <&"${KEEPER[0]}" || die "the database did not answer"

pg_dump --format=custom --compress=6 --no-owner --no-privileges --extension=vector \
    --snapshot="$snapshot" --lock-wait-timeout=30s --file="$name.dump.part" --dbname="$address"

psql_here --single-transaction --command="SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY" \
    --command="SET TRANSACTION SNAPSHOT '$snapshot'" --file=- <<<"$manifest_sql" >"$name.manifest.part"
grep -q '^messages|' "$name.manifest.part" || die "this is no database of Parlance's"

mv "$name.manifest.part" "$name.manifest"
mv "$name.dump.part" "$name.dump"
echo "$name.dump: $(stat -c %s "$name.dump") bytes, $(sed -n 's/^messages|\([0-9]*\)|.*/\1/p' "$name.manifest") messages"
