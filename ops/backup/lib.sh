# Sourced by dump.sh and restore.sh (bash): what both need.
# shellcheck shell=bash

die() {
    echo "$(basename "$0"): $1" >&2
    exit 1
}

# Sets `address`, that of the database as Parlance itself is told it, but for the password, which goes to the programs by
# their environment: everybody on the machine can read command lines. Times, bytes and numbers are written the same way
# everywhere, so that checksums of them can be compared.
take_address() {
    if [ -n "${DATABASE_URL_FILE:-}" ]; then
        [ -z "${DATABASE_URL:-}" ] || die "DATABASE_URL and DATABASE_URL_FILE are both set; use one of them"
        DATABASE_URL=$(cat "$DATABASE_URL_FILE")
    fi
    address=${DATABASE_URL:?is not set, and DATABASE_URL_FILE is not either}
    if [[ $address =~ ^(postgres(ql)?://[^:/@]*):([^@]*)@(.*)$ ]]; then
        address=${BASH_REMATCH[1]}@${BASH_REMATCH[4]}
        local password=${BASH_REMATCH[3]}
        # What is escaped as in every URL.
        PGPASSWORD=$(printf '%b' "${password//%/\\x}")
        export PGPASSWORD
    fi
    export PGTZ=UTC PGDATESTYLE=ISO
    export PGOPTIONS="-c bytea_output=hex -c extra_float_digits=1 -c statement_timeout=0 -c idle_in_transaction_session_timeout=0"
    unset DATABASE_URL
}

# psql for scripts: nothing of the user's, rows only, the first error ends it.
psql_here() {
    psql --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 --dbname="$address" "$@"
}

# SQL that lists every table of ours with the number of its rows and a checksum over them: the sum of each row's MD5, cut to
# 64 bits, which does not depend on the order in which rows lie. \gexec runs what the first statement makes.
# shellcheck disable=SC2034 # They use it.
manifest_sql=$(
    cat <<'SQL'
SELECT format(
    'SELECT %L, count(*), coalesce(sum((''x'' || left(md5(t::text), 16))::bit(64)::bigint::numeric), 0) FROM %I.%I AS t',
    c.relname, n.nspname, c.relname)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relkind = 'r'
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')
ORDER BY c.relname \gexec
SQL
)
