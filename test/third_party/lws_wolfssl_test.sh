#!/usr/bin/env bash
# Makes certificates as the web has them (an RSA root, an ECDSA intermediate, leaves of each kind) and
# lets lws_wolfssl_test use them: lws_wolfssl_test.sh PROGRAM
set -euo pipefail
command -v openssl > /dev/null || {
  echo "no openssl here to make certificates: skipped"
  exit 77
}
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
program=$1
cd "$t"

key() { # $1: name, the rest: kind
  openssl genpkey -quiet -out "$1.key" "${@:2}" 2> /dev/null ||
    openssl genpkey -out "$1.key" "${@:2}" 2> log
}

root() { # $1: name
  openssl req -x509 -new -key "$1.key" -subj "/CN=$1" -days 30 -out "$1.pem" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2> log
}

signed() { # $1: name, $2: key, $3: issuer, $4: serial, $5: days, stdin: extensions
  openssl req -new -key "$2.key" -subj "/CN=$1" -out csr 2> log
  openssl x509 -req -in csr -CA "$3.pem" -CAkey "$3.key" -set_serial "$4" -days "$5" \
    -sha384 -extfile /dev/stdin -out "$1.pem" 2> log
}

leaf() { # $1: name, $2: key, $3: serial, $4: days
  signed "$1" "$2" middle "$3" "$4" << 'EXT'
subjectAltName=DNS:relay.test,DNS:localhost,DNS:*.wild.test,IP:127.0.0.1,IP:::1
extendedKeyUsage=serverAuth
EXT
  cat middle.pem >> "$1.pem"
}

key root -algorithm RSA -pkeyopt rsa_keygen_bits:4096
key stranger -algorithm EC -pkeyopt ec_paramgen_curve:P-256
key middle -algorithm EC -pkeyopt ec_paramgen_curve:P-384
key rsa -algorithm RSA -pkeyopt rsa_keygen_bits:2048
key p256 -algorithm EC -pkeyopt ec_paramgen_curve:P-256
key p384 -algorithm EC -pkeyopt ec_paramgen_curve:P-384
root root
root stranger
signed middle middle root 9 20 <<< 'basicConstraints=critical,CA:TRUE,pathlen:0'
leaf rsa rsa 1 10
leaf p256 p256 2 10
leaf p384 p384 3 10
leaf expired p256 4 -1
"$program" "$t"
