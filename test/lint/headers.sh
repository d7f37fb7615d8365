#!/usr/bin/env bash
# Each public header compiles alone, as C11 and as C++17, without a warning.
. "$(dirname "$0")/lib.sh"
cc=$1
uv=$2
case $cc in
  *clang*) cxx=${cc/clang/clang++} ;;
  *gcc*) cxx=${cc/gcc/g++} ;;
  *) cxx=$(dirname "$cc")/c++ ;;
esac
includes=()
for dir in */include/keymesh; do
  includes+=("-I${dir%/keymesh}")
done
warnings=(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror)

# Twice, so that the guard is tried too; the declaration keeps the translation unit from being empty.
unit() { printf '#include <%s>\n#include <%s>\nextern int km_lint;\n' "$1" "$1"; }

seen=0
for header in */include/keymesh/*.h; do
  name=keymesh/${header##*/}
  seen=$((seen + 1))
  standard=c11
  [ "$name" != keymesh/uv.h ] || standard=gnu11 # libuv's own header wants POSIX types
  unit "$name" |
    "$cc" -std=$standard "${warnings[@]}" "${includes[@]}" -isystem "$uv" -fsyntax-only -x c - ||
    finding "$header: does not compile alone as C11"
  if command -v "$cxx" > /dev/null; then
    unit "$name" |
      "$cxx" -std=c++17 "${warnings[@]}" "${includes[@]}" -fsyntax-only -x c++ - ||
      finding "$header: does not compile alone as C++17"
  fi
done
[ "$seen" -gt 0 ] || finding "no public header found"
command -v "$cxx" > /dev/null || echo "no $cxx here: C++17 was not checked"
finish
