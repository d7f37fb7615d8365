#!/usr/bin/env bash
# A good system package is taken and nothing is built; one that lacks a feature is told apart from
# its headers. The packages that this build made play the system ones, found through pkg-config.
# libwebsockets is never a system package; its build for these wolfSSL goes to the ordinary cache.
set -euo pipefail
cmake=$1 cc=$2 wolfssl=$3 ngtcp2=$4
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT

fail() {
  printf 'FAILED: %s\n' "$*" >&2
  sed 's/^/  | /' "$t/out" >&2
  exit 1
}

configure() { # $1: pkg-config path; the rest goes to cmake
  local path=$1
  shift
  rm -rf "$t/build"
  PKG_CONFIG_PATH=$path "$cmake" -S "$KM_SOURCE_DIR" -B "$t/build" \
    -DCMAKE_C_COMPILER="$cc" -DKM_TESTS=OFF "$@" > "$t/out" 2>&1
}

configure "$wolfssl/lib/pkgconfig:$ngtcp2/lib/pkgconfig" || fail "cmake refused good packages"
grep -q 'wolfssl [0-9.]*: system package' "$t/out" || fail "wolfSSL of the system not taken"
grep -q 'ngtcp2 [0-9.]*: system package' "$t/out" || fail "ngtcp2 of the system not taken"
for name in wolfssl ngtcp2; do
  [ ! -e "$t/build/third_party-$name.txt" ] || fail "$name was provided all the same"
done
[ -e "$t/build/third_party-libwebsockets.txt" ] || fail "libwebsockets was not provided"

# The same wolfSSL without raw public keys.
mkdir "$t/poor"
cp -r "$wolfssl/include" "$wolfssl/lib" "$t/poor/"
sed -i '/define HAVE_RPK/d' "$t/poor/include/wolfssl/options.h"
sed -i "s|^prefix=.*|prefix=$t/poor|" "$t/poor/lib/pkgconfig/wolfssl.pc"
configure "$t/poor/lib/pkgconfig" -DKM_DEPS=SYSTEM && fail "a wolfSSL without HAVE_RPK was taken"
grep -q 'lacks HAVE_RPK' "$t/out" || fail "it does not say what is lacking"

# Too old by its own word.
sed -i 's/^Version:.*/Version: 5.5.4/' "$t/poor/lib/pkgconfig/wolfssl.pc"
configure "$t/poor/lib/pkgconfig" -DKM_DEPS=SYSTEM && fail "wolfSSL 5.5.4 was taken"
grep -q 'no wolfssl that fits' "$t/out" || fail "it does not say that none fits"
echo 'all good'
