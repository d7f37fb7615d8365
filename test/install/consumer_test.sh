#!/usr/bin/env bash
# Installs into a temporary prefix and builds a user of the library: by pkg-config and by
# find_package, shared and static.
set -euo pipefail
cmake=$1 cc=$2 nm=$3
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
source=$KM_SOURCE_DIR/test/install/consumer

fail() {
  printf 'FAILED: %s\n' "$*" >&2
  exit 1
}

"$cmake" --install "$KM_BUILD_DIR" --prefix "$t/prefix" > "$t/install.log"
for file in include/keymesh/keymesh.h include/keymesh/error.def; do
  [ -e "$t/prefix/$file" ] || fail "$file was not installed"
done
lib=$(dirname "$(find "$t/prefix" -name libkeymesh.a)")
[ -e "$lib/libkeymesh.so.0" ] || fail "no libkeymesh.so.0 beside libkeymesh.a"
! grep -rqF "$t" "$lib/cmake" || fail "the package config names the folder it was installed to"
! grep -rqF "$KM_BUILD_DIR" "$lib/cmake" "$lib/pkgconfig" || fail "the build folder is named"
export PKG_CONFIG_PATH=$lib/pkgconfig

uses_shared() { [[ $(ldd "$1") == *libkeymesh.so.0* ]]; }
run() { LD_LIBRARY_PATH=$lib "$@" || fail "$1 does not run"; }

# shellcheck disable=SC2046 # flags are words
"$cc" -o "$t/pc_shared" "$source/consumer.c" $(pkg-config --cflags --libs keymesh)
uses_shared "$t/pc_shared" || fail "pkg-config did not give the shared library"
run "$t/pc_shared"

# shellcheck disable=SC2046
"$cc" -o "$t/pc_static" "$source/consumer.c" $(pkg-config --cflags keymesh) \
  $(pkg-config --static --libs keymesh | sed 's/-lkeymesh/-l:libkeymesh.a/')
! uses_shared "$t/pc_static" || fail "the static one needs libkeymesh.so"
run "$t/pc_static"

"$cmake" -S "$source" -B "$t/build" -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$t/prefix" > "$t/log" ||
  { cat "$t/log" && fail "find_package"; }
"$cmake" --build "$t/build" > "$t/log" || { cat "$t/log" && fail "build by find_package"; }
uses_shared "$t/build/shared" || fail "KeyMesh::keymesh is not shared"
run "$t/build/shared"
! uses_shared "$t/build/static" || fail "KeyMesh::keymesh_static is not static"
run "$t/build/static"

[[ $("$nm" -D --defined-only "$lib/libkeymesh.so") == *' km_version@'* ]] || fail "no km_version"
echo 'all good'
