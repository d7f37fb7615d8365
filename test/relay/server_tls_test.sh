#!/usr/bin/env bash
# Makes certificates and lets relay_server_tls_test use them: server_tls_test.sh PROGRAM
set -euo pipefail
command -v openssl > /dev/null || {
  echo "no openssl here to make certificates: skipped"
  exit 77
}
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
program=$1
cd "$t"

# Two authorities, each with one certificate for the same server.
for name in first second; do
  openssl ecparam -name prime256v1 -genkey -noout -out "$name-root.key" 2> log
  openssl req -x509 -new -key "$name-root.key" -subj "/CN=$name root" -days 30 \
    -out "$name-root.pem" -addext basicConstraints=critical,CA:TRUE \
    -addext keyUsage=critical,keyCertSign 2> log
  openssl ecparam -name prime256v1 -genkey -noout -out "$name.key" 2> log
  openssl req -new -key "$name.key" -subj "/CN=localhost" -out csr 2> log
  printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' > ext
  openssl x509 -req -in csr -CA "$name-root.pem" -CAkey "$name-root.key" -CAcreateserial \
    -days 10 -sha256 -extfile ext -out "$name.pem" 2> log
done
echo 'not a certificate' > garbage.pem
"$program" "$t"
