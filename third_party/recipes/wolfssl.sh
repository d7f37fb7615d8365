# shellcheck shell=bash
# How wolfSSL is configured. Sourced by third_party/provide.sh, which keys its cache on this text.
#
# Never --enable-keylog-export: it writes every secret to ./sslkeylog.log unasked. HAVE_SECRET_CALLBACK
# is what a key log on request needs.
recipe_seconds=60
recipe_tools='autoreconf libtoolize make'
recipe_provides=lib/libwolfssl.a

# wolfSSL seeds and tests a generator of its own for every connection and every HKDF call, which was
# 45 % of a handshake. The kernel's generator needs neither: CUSTOM_RAND_GENERATE_BLOCK.
write_random() { # $1: prefix of the .h and the .c
  cat > "$1.h" << 'C'
#ifndef __ASSEMBLER__
int km_wolfssl_random(unsigned char *output, unsigned int size);
#endif
C
  cat > "$1.c" << 'C'
#include <unistd.h>

int km_wolfssl_random(unsigned char *output, unsigned int size);
int wc_GenerateSeed(void *os, unsigned char *output, unsigned int size);

int km_wolfssl_random(unsigned char *output, unsigned int size) {
  while (size > 0) {
    unsigned int part = size < 256 ? size : 256; /* getentropy gives no more at once */
    if (getentropy(output, part) != 0) {
      return -1;
    }
    output += part;
    size -= part;
  }
  return 0;
}

int wc_GenerateSeed(void *os, unsigned char *output, unsigned int size) {
  (void)os;
  return km_wolfssl_random(output, size);
}
C
}

recipe_build() { # $1: source folder, $2: prefix; the working directory is empty and ours
  local asm=()
  case $("$CC" -dumpmachine) in
    x86_64-*) asm=(--enable-intelasm --enable-sp-asm) ;;
    aarch64-*) asm=(--enable-armasm --enable-sp-asm) ;;
  esac
  step configure
  [ -x "$1/configure" ] || (cd "$1" && ./autogen.sh)
  # TLS 1.3 is all we speak: raw Ed25519 keys between endpoints, web certificates (RSA, ECDSA) to
  # relays, also for addresses (WOLFSSL_IP_ALT_NAME). libwebsockets needs no OPENSSL_ALL.
  # WOLFSSL_HAPROXY makes the server's ALPN callback work without OPENSSL_ALL, which costs 3 KiB a
  # connection. The prefix map keeps the temporary folder out of the archive.
  write_random "$PWD/km_random"
  "$1/configure" --prefix="$2" --libdir="$2/lib" --enable-static --disable-shared \
    --enable-quic --enable-rpk --enable-ed25519 --enable-curve25519 --enable-mlkem \
    --enable-session-ticket --enable-ticket-nonce-malloc --enable-earlydata \
    --enable-keying-material --enable-alpn --enable-sni --enable-hkdf \
    --enable-aesgcm-stream --enable-aesctr --enable-aesecb --enable-harden \
    --disable-tlsv12 --disable-oldtls --disable-dh --disable-ocsp \
    --disable-sys-ca-certs --disable-examples --disable-crypttests --disable-benchmark \
    "${asm[@]}" CC="$CC" CFLAGS="-O3 -g -fPIC -ffile-prefix-map=$(dirname "$1")=/wolfssl \
-DHAVE_EX_DATA -DKEEP_PEER_CERT -DWOLFSSL_AES_DIRECT -DWOLFSSL_ALWAYS_VERIFY_CB \
-DHAVE_SECRET_CALLBACK -DWOLFSSL_HAPROXY -DWOLFSSL_IP_ALT_NAME \
-DWC_RESEED_INTERVAL=1000000 -DCUSTOM_RAND_GENERATE_BLOCK=km_wolfssl_random \
-include $PWD/km_random.h"
  step compile
  make -j"$KM_JOBS"
  step install
  make install
  "$CC" -O2 -fPIC -fvisibility=hidden -c km_random.c -o km_random.o
  "${AR:-ar}" r "${DESTDIR:-}$2/lib/libwolfssl.a" km_random.o
}
