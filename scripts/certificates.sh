#!/bin/sh
# Makes an authority, and certificates for PostgreSQL and Redis of compose.yaml, in ./secrets. Used
# with ops/compose/data-tls.yaml.
#
# The authority is for these two servers and nothing else, so its key is not kept: for other
# certificates, make another. Files that are there stay; to renew, remove data_ca and run it again.
# They are good for ten years.
set -eu
cd "$(dirname "$0")/.."

directory=${1:-secrets}
[ -s "$directory/database_url" ] || {
    echo "There are no secrets in $directory; run scripts/secrets.sh first." >&2
    exit 1
}
if [ -s "$directory/data_ca" ]; then
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

# A key that everybody may read inside the closed directory: as the other secrets.
key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

key "$work/ca.key"
openssl req -x509 -new -key "$work/ca.key" -days 3650 -subj "/CN=Parlance data" \
    -addext "keyUsage=critical,keyCertSign" -out "$work/data_ca"
for name in postgres redis; do
    key "$work/${name}_key"
    printf 'subjectAltName=DNS:%s,DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' "$name" \
        >"$work/extensions"
    openssl req -new -key "$work/${name}_key" -subj "/CN=$name" -out "$work/request"
    openssl x509 -req -in "$work/request" -CA "$work/data_ca" -CAkey "$work/ca.key" -days 3650 \
        -extfile "$work/extensions" -out "$work/${name}_certificate" 2>/dev/null
done

# The addresses with TLS. The certificate of the authority is a secret of the containers.
printf '%s?sslmode=verify-full&sslrootcert=/run/secrets/data_ca' "$(cat "$directory/database_url")" \
    >"$work/database_url_tls"
sed 's|^redis://|rediss://|' "$directory/redis_url" >"$work/redis_url_tls"
sed 's|"redis://|"rediss://|g' "$directory/redis_exporter_passwords" >"$work/redis_exporter_passwords_tls"

for name in postgres_certificate postgres_key redis_certificate redis_key database_url_tls redis_url_tls \
    redis_exporter_passwords_tls data_ca; do
    chmod 444 "$work/$name"
    mv -f "$work/$name" "$directory/$name"
    echo "made $directory/$name"
done
