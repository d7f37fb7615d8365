#!/usr/bin/env bash
# libkeymesh shows its public functions to the outside and nothing else: not a name of wolfSSL or
# ngtcp2, and no internal name of ours.
. "$(dirname "$0")/lib.sh"
nm=$1
shared=$2
static=$3

# The functions that the public headers export.
public=$(cat */include/keymesh/*.h | tr '\n' ' ' |
  grep -oE 'KM_EXPORT [^;{]*' | grep -oE '\bkm_[a-z0-9_]+ *\(' | tr -d ' (' | sort -u)

check() { # $1: library, $2...: nm options
  local library=$1 symbols symbol
  shift
  symbols=$("$nm" "$@" --defined-only "$library" | awk 'NF >= 3 && $2 ~ /[A-Z]/ { print $3 }' |
    sed 's/@.*//' | grep -v '^KEYMESH_0$' | sort -u)
  [ -n "$symbols" ] || finding "$library: no symbol at all"
  for symbol in $symbols; do
    grep -qx "$symbol" <<< "$public" || finding "$library: shows $symbol, which no public header has"
  done
  for symbol in $public; do
    grep -qx "$symbol" <<< "$symbols" || finding "$library: lacks $symbol of the public headers"
  done
}
check "$shared" -D
check "$static" -g
finish
