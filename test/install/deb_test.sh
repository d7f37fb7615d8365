#!/usr/bin/env bash
# cpack makes a Debian package that holds what a user expects and depends on what it needs.
set -euo pipefail
cpack=$1
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT

fail() {
  printf 'FAILED: %s\n' "$*" >&2
  exit 1
}

(cd "$KM_BUILD_DIR" && "$cpack" -G DEB -B "$t") > "$t/log" 2>&1 || { cat "$t/log" && fail cpack; }
deb=$(find "$t" -maxdepth 1 -name 'keymesh_*.deb')
[ -n "$deb" ] || fail "no package"
dpkg-deb --contents "$deb" > "$t/contents"
for file in usr/include/keymesh/keymesh.h libkeymesh.a libkeymesh.so.0 pkgconfig/keymesh.pc \
  KeyMeshConfig.cmake; do
  grep -q "/$file" "$t/contents" || fail "no $file in the package"
done
if [ -x "$KM_BIN_DIR/km-node" ]; then
  grep -q '/usr/bin/km-node' "$t/contents" || fail "no km-node in the package"
fi
! grep -E 'test|wolfssl|ngtcp2' "$t/contents" || fail "things that do not belong into the package"
depends=$(dpkg-deb --field "$deb" Depends)
[[ $depends == *libsodium* ]] || fail "it does not depend on libsodium"
dpkg-deb --extract "$deb" "$t/root"
pc=$(dirname "$(find "$t/root/usr" -name keymesh.pc)")
for module in $(sed -n 's/^Requires.private: *//p' "$pc/keymesh.pc" | tr ',' ' '); do
  case $module in
    libsodium) package=libsodium-dev ;;
    libuv) package=libuv1-dev ;;
    miniupnpc) package=libminiupnpc-dev ;;
    sqlite3) package=libsqlite3-dev ;;
    libcjson) package=libcjson-dev ;;
    *) fail "which package has the module $module of keymesh.pc?" ;;
  esac
  [[ ", $depends," == *", $package"[,\ ]* ]] ||
    fail "keymesh.pc needs $module, and the package does not depend on $package: $depends"
done
cflags=$(PKG_CONFIG_PATH=$pc pkg-config --cflags keymesh)
include=${cflags%% *}
[ -e "${include#-I}/keymesh/keymesh.h" ] ||
  fail "keymesh.pc of the package gives '$cflags'"
echo 'all good'
