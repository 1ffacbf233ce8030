#!/bin/sh
# Makes the secrets that compose.yaml hands to its containers as files: random values in ./secrets.
#
# Each file holds one secret and goes only to the containers that need it. Compose mounts a file
# with the mode that it has here, and the containers run as different accounts. So everybody may
# read the files, and nobody else may enter the directory. Files that are there stay, so running
# this again after an upgrade adds only what is new. Before you replace a secret, read "Rotating
# secrets" in docs/operations.md: removing its file is not enough.
set -eu
cd "$(dirname "$0")/.."

directory=${1:-secrets}
umask 022
mkdir -p "$directory"
chmod 700 "$directory"

# 32 random bytes in hexadecimal. Nothing in it needs escaping in an address, a shell or a
# configuration.
random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

# put NAME writes its input to a file, unless the file is there.
put() {
    if [ -s "$directory/$1" ]; then
        cat >/dev/null
        return
    fi
    cat >"$directory/$1.new"
    chmod 444 "$directory/$1.new"
    mv "$directory/$1.new" "$directory/$1"
    echo "made $directory/$1"
}

secret() { cat "$directory/$1"; }
digest() { secret "$1" | sha256sum | cut -d ' ' -f 1; }

for name in jwt_secret postgres_password parlance_password postgres_exporter_password redis_password \
    redis_exporter_password grafana_password; do
    random | put "$name"
done

# Files that are made from the secrets.
printf 'postgres://parlance:%s@postgres:5432/parlance' "$(secret parlance_password)" | put database_url
printf 'redis://parlance:%s@redis:6379/0' "$(secret redis_password)" | put redis_url
# With and without the account: versions of the exporter look for one or the other.
printf '{"redis://exporter@redis:6379": "%s", "redis://redis:6379": "%s"}' \
    "$(secret redis_exporter_password)" "$(secret redis_exporter_password)" | put redis_exporter_passwords
# Redis knows only digests. Parlance gets its own keys and channels. Of the commands for
# administration it gets only INFO, by which it sees whether this is the Redis that it wrote to.
# Without a password one may only ask whether Redis lives.
put redis_users <<ACL
user default on nopass resetkeys resetchannels -@all +ping
user parlance on #$(digest redis_password) resetkeys ~parlance:* resetchannels &parlance:* +@all -@admin -@dangerous +info
user exporter on #$(digest redis_exporter_password) resetkeys resetchannels -@all +ping +info +client|setname +config|get +latency|latest +latency|histogram +slowlog|len +slowlog|get
ACL
