#!/usr/bin/env bash
# Makes the npm package pkarr available: what package-lock.json pins, with its checksums, installed
# once into a cache outside the tree. Prints the directory that holds node_modules.
#
#   KM_CACHE_DIR          where it is put (default: $XDG_CACHE_HOME/keymesh)
#   KM_INTEROP_REQUIRED   1: an impossible installation is a failure, not a skip
#
# Status 77: there is no node or npm, or the packages cannot be had or loaded here.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

skip() {
  printf '\n!!!!! SKIPPED: %s\n!!!!! Nothing was proven against the npm package pkarr.\n\n' "$*" >&2
  [ "${KM_INTEROP_REQUIRED:-0}" = 1 ] && exit 1
  exit 77
}

command -v node > /dev/null || skip "there is no node (Debian: apt-get install nodejs npm)"
command -v npm > /dev/null || skip "there is no npm (Debian: apt-get install npm)"

cache=${KM_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/keymesh}
key=$(cat "$here/package.json" "$here/package-lock.json" | sha256sum | cut -c1-12)
dir=$cache/interop-pkarr-$(node -p 'process.platform + "-" + process.arch')-$key
if [ -e "$dir/.complete" ]; then
  printf '%s\n' "$dir"
  exit 0
fi

mkdir -p "$cache" 2> /dev/null && [ -w "$cache" ] || skip "$cache cannot be written"
exec 9> "$cache/.interop-pkarr.lock"
flock 9 # several tests start at once; the first one installs
if [ -e "$dir/.complete" ]; then
  printf '%s\n' "$dir"
  exit 0
fi

work=$(mktemp -d "$cache/.interop-pkarr.XXXXXX")
trap 'rm -rf "$work"' EXIT
cp "$here/package.json" "$here/package-lock.json" "$work/"
printf '== installing pkarr from npm into %s\n' "$dir" >&2
(cd "$work" && timeout 300 npm ci --ignore-scripts --no-audit --no-fund --fetch-retries=1 \
  --fetch-timeout=60000) > "$work/npm.log" 2>&1 < /dev/null || {
  tail -n 20 "$work/npm.log" >&2
  if grep -q EINTEGRITY "$work/npm.log"; then
    printf 'interop: a package is not the one that package-lock.json pins\n' >&2
    exit 1
  fi
  skip "npm cannot install pkarr here"
}
(cd "$work" && node --input-type=module -e 'import "pkarr/lib/signed_packet.js"') \
  > "$work/load.log" 2>&1 || {
  tail -n 5 "$work/load.log" >&2
  skip "pkarr does not load on this machine ($(uname -m), node $(node --version))"
}
chmod 755 "$work"
touch "$work/.complete"
rm -rf "$dir"
mv "$work" "$dir"
trap - EXIT
printf '%s\n' "$dir"
