#!/usr/bin/env bash
# Restores a backup that dump.sh made into an empty database, and proves that everything is there.
#
#   ops/backup/restore.sh FILE.dump         # into DATABASE_URL, or what the file DATABASE_URL_FILE names
#
# The database has to exist, without tables, with the extension vector in it unless the account may create that
# (docs/operations.md, PostgreSQL). Restoring over what is there is refused: a mistake in the address would cost the wrong database.
# All of it is one transaction, so a restore that fails leaves the database as empty as it was. Then every table is counted
# and summed again and compared with the manifest; the exit code is 0 only if all agree. Start nodes after that: a newer
# version migrates what it finds. People are signed out only if the signing key is another one, and sign in again by
# themselves; messages sent after the backup are gone, and clients that have seen them are told to begin anew.
set -euo pipefail
# shellcheck source=ops/backup/lib.sh
. "$(dirname "$0")/lib.sh"

{ [ $# = 1 ] && [ -f "$1" ]; } || die "usage: $0 FILE.dump"
manifest=${1%.dump}.manifest
[ -f "$manifest" ] || die "$manifest is missing: what was dumped could not be compared"
take_address

tables=$(psql_here --command="SELECT count(*) FROM pg_class AS c WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
    AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')")
[ "$tables" = 0 ] || die "there are $tables tables already; restore into an empty database"

pg_restore --exit-on-error --single-transaction --no-owner --no-privileges --no-comments --dbname="$address" "$1"
psql_here --command="SET client_min_messages = error" --command="ANALYZE"

if diff <(psql_here --file=- <<<"$manifest_sql") "$manifest" >&2; then
    echo "$1: restored; $(wc -l <"$manifest") tables agree in number and checksum," \
        "$(sed -n 's/^messages|\([0-9]*\)|.*/\1/p' "$manifest") messages among them"
else
    die "what was restored (<) is not what was dumped (>)"
fi
