#!/usr/bin/env bash
# Makes certificates and lets discovery_http_tls_test use them: http_tls_test.sh PROGRAM
set -euo pipefail
for tool in openssl python3; do
  command -v $tool > /dev/null || {
    echo "no $tool here: skipped"
    exit 77
  }
done
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
program=$1
cd "$t"

root() { # $1: name
  openssl ecparam -name prime256v1 -genkey -noout -out "$1.key" 2> log
  openssl req -x509 -new -key "$1.key" -subj "/CN=$1" -days 30 -out "$1.pem" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2> log
}

leaf() { # $1: name, $2: days, $3: subjectAltName
  openssl req -new -key key.pem -subj "/CN=$1" -out csr 2> log
  printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "$3" > ext
  openssl x509 -req -in csr -CA root.pem -CAkey root.key -CAcreateserial -days "$2" \
    -sha256 -extfile ext -out "$1.pem" 2> log
}

root root
root stranger
openssl ecparam -name prime256v1 -genkey -noout -out key.pem 2> log
leaf good 10 DNS:localhost,IP:127.0.0.1
leaf other 10 DNS:other.test,DNS:ocalhost,DNS:*.localhost,IP:127.0.0.2
leaf expired -1 DNS:localhost,IP:127.0.0.1
echo 'not a certificate' > garbage.pem
"$program" "$t"
