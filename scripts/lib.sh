# shellcheck shell=sh
# What several scripts need; sourced by them, from sh and from bash.

die() {
    echo "$1" >&2
    exit 1
}

# Installs the named packages of Debian where we may, and says which are missing where we may not,
# which is a failure.
#   install_missing WHO_NEEDS PACKAGE...
install_missing() {
    who_needs=$1
    shift
    [ $# -gt 0 ] || return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing $*."
        apt-get update -qq >/dev/null
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    else
        echo "$who_needs: $*. Install what is missing (on Debian: sudo apt-get install $*)." >&2
        return 1
    fi
}

# Whether the account that PostgreSQL runs as can get to a directory, which need not exist. For
# root, PostgreSQL runs as an unprivileged account, and a checkout under /root is out of its reach.
reachable() {
    [ "$(id -u)" != 0 ] && return 0
    reach_dir=$1
    while [ ! -d "$reach_dir" ]; do reach_dir=$(dirname "$reach_dir"); done
    reach_dir=$(cd "$reach_dir" && pwd -P)
    while :; do
        # The last digit of the mode is for others; if it is odd, they may enter.
        case $(stat -c %a "$reach_dir" 2>/dev/null || stat -f %Lp "$reach_dir") in *[1357]) ;; *) return 1 ;; esac
        [ "$reach_dir" = / ] && return 0
        reach_dir=$(dirname "$reach_dir")
    done
}

# Makes sure that root has an account to run PostgreSQL as that nothing else runs as.
ensure_account() {
    [ "$(id -u)" = 0 ] || return 0
    ! grep -qE '^(parlance-postgres|postgres):' /etc/passwd || return 0
    echo "PostgreSQL does not run as root: making the account parlance-postgres"
    useradd --system --no-create-home --shell /usr/sbin/nologin parlance-postgres 2>/dev/null ||
        adduser -S -H -D -s /sbin/nologin parlance-postgres
}

# Makes sure that there is a PostgreSQL with pgvector, in a place where its account can run it.
ensure_postgres() {
    ensure_account
    [ -n "${POSTGRES_BIN_DIR:-}" ] && return 0
    if reachable "$PWD"; then
        scripts/postgres.sh
    else
        mkdir -p /var/lib/parlance
        chmod 755 /var/lib/parlance
        scripts/postgres.sh /var/lib/parlance
    fi
}

# Installs the Python packages of scripts/NAME.txt, each pinned by its hash, into .dev/NAME.
ensure_venv() {
    cmp -s "scripts/$1.txt" ".dev/$1/requirements.txt" && return 0
    rm -rf ".dev/$1"
    mkdir -p .dev
    python3 -m venv ".dev/$1"
    ".dev/$1/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: -r "scripts/$1.txt"
    cp "scripts/$1.txt" ".dev/$1/requirements.txt"
}

# Prints the directory that cargo builds into.
target_directory() {
    cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])'
}

# Builds the server as the tests are built, so that dependencies are built once. Starts it on a free
# port, without limits, with its data and its log (server.log) in a directory. Sets `server` (its
# process) and `site` (its address).
#   start_server DIRECTORY
start_server() {
    ensure_postgres
    cargo test --quiet --workspace --all-features --test it --no-run
    server_binary=$(target_directory)/debug/parlance
    env -u DATABASE_URL -u REDIS_URL BIND=127.0.0.1:0 DATA_DIR="$1/data" LOG_FORMAT=json RATE_LIMIT_ENABLED=false \
        "$server_binary" serve >"$1/address" 2>"$1/server.log" &
    server=$!
    for _ in $(seq 600); do
        site=$(sed -n 's/^Parlance is at //p' "$1/address")
        [ -n "$site" ] && return 0
        kill -0 "$server" 2>/dev/null || die "the server ended before it was ready"
        sleep 0.1
    done
    die "the server was not ready within 60 s"
}

# Prints the path of a program: the one that a variable names, the one on PATH, the one in
# .dev/NAME, or that of the distribution's package, fetched into .dev/NAME. The caller defines `runs
# PATH`, which checks whether a program will do.
#   find_program NAME PACKAGE PROGRAM VARIABLE ITS_VALUE WHICH
find_program() {
    program_name=$(basename "$3")
    if [ -n "$5" ]; then
        runs "$5" || die "$4 is set to $5, which does not run or is not $6."
        echo "$5"
        return
    fi
    for program_path in "$(command -v "$program_name" || true)" "$PWD/.dev/$1/$program_name"; do
        if [ -x "$program_path" ] && runs "$program_path"; then
            echo "$program_path"
            return
        fi
    done
    if scripts/debian.sh "$1" "$2" "$3"; then
        if runs "$program_path"; then
            echo "$program_path"
            return
        fi
        echo "The program in Debian's package $2 does not run here, or is not $6." >&2
    fi
    die "There is no $program_name. Install one (on Debian: sudo apt-get install $2), or set $4 to the path of one, $6."
}

# Starts the shipped nginx in front of nodes (host:port, separated by spaces) on a free port, with
# its files in a directory. Its limits are off unless NGINX_LIMITS is on. Sets `nginx` (its process)
# and `site` (its address).
#   start_nginx DIRECTORY NODES
start_nginx() {
    nginx_program=$(scripts/nginx.sh)
    # nginx does not say which port it got for port 0.
    nginx_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    NGINX_LISTEN=127.0.0.1:$nginx_port NGINX_NODES=$2 NGINX_RUN_DIR=$1/run NGINX_ERROR_LOG=$1/error.log NGINX_STATUS_LISTEN='' \
        NGINX_LIMITS=${NGINX_LIMITS:-off} nginx/render "$1"
    "$nginx_program" -e stderr -c "$1/nginx.conf" -g 'daemon off;' 2>"$1/error.log" &
    nginx=$!
    site=http://127.0.0.1:$nginx_port
    for _ in $(seq 100); do
        kill -0 "$nginx" 2>/dev/null || die "nginx ended before it was ready: $(cat "$1/error.log")"
        if python3 -c "import socket; socket.create_connection(('127.0.0.1', $nginx_port), 1)" 2>/dev/null; then return 0; fi
        sleep 0.1
    done
    die "nginx was not ready within 10 s"
}
