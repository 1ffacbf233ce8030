# Sourced by the other scripts: what more than one of them needs.

die() {
    echo "$1" >&2
    exit 1
}

# Whether the account that PostgreSQL runs as can get to a directory, existing or not. Where we are root, PostgreSQL
# runs as an unprivileged account, and a checkout under /root is out of its reach.
reachable() {
    [ "$(id -u)" != 0 ] && return 0
    reach_dir=$1
    while [ ! -d "$reach_dir" ]; do reach_dir=$(dirname "$reach_dir"); done
    reach_dir=$(cd "$reach_dir" && pwd -P)
    while :; do
        # The last digit of the mode is what others may do; odd means enter.
        case $(stat -c %a "$reach_dir" 2>/dev/null || stat -f %Lp "$reach_dir") in *[1357]) ;; *) return 1 ;; esac
        [ "$reach_dir" = / ] && return 0
        reach_dir=$(dirname "$reach_dir")
    done
}

# Makes sure that there is a PostgreSQL with pgvector to run, and that it can be run by whoever will run it.
ensure_postgres() {
    [ -n "${POSTGRES_BIN_DIR:-}" ] && return 0
    if reachable "$PWD"; then
        scripts/postgres.sh
    else
        mkdir -p /var/lib/parlance
        chmod 755 /var/lib/parlance
        scripts/postgres.sh /var/lib/parlance
    fi
}
