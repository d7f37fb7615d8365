#!/usr/bin/env bash
# Makes the real iroh-relay available: the crate, built by the machine's own cargo once into a cache
# outside the tree. Prints the path of the program. $1: a version, instead of the one that is tested
# with as a rule; it is taken from the cache, and built with KM_INTEROP_OLD=1 only.
#
#   KM_CACHE_DIR             where it is put (default: $XDG_CACHE_HOME/keymesh)
#   KM_IROH_RELAY_REQUIRED   1: an impossible installation is a failure, not a skip
#
# Status 77: there is no cargo, it is too old, or the crate cannot be had or built here.
set -euo pipefail
current=1.4.1
version=${1:-$current}
oldest_cargo=1.91

skip() {
  printf '\n!!!!! SKIPPED: %s\n!!!!! Nothing was proven against the real iroh-relay.\n\n' "$*" >&2
  [ "${KM_IROH_RELAY_REQUIRED:-0}" = 1 ] && exit 1
  exit 77
}

cache=${KM_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/keymesh}
root=$cache/iroh-relay-$version
program=$root/bin/iroh-relay
if [ -x "$program" ]; then
  printf '%s\n' "$program"
  exit 0
fi
[ "$version" = $current ] || [ "${KM_INTEROP_OLD:-0}" = 1 ] || exit 77
command -v cargo > /dev/null || skip "there is no cargo"
have=$(cargo --version | cut -d' ' -f2)
[ "$(printf '%s\n' $oldest_cargo "$have" | sort -V | head -n 1)" = $oldest_cargo ] ||
  skip "cargo $have is older than $oldest_cargo"

mkdir -p "$cache" 2> /dev/null && [ -w "$cache" ] || skip "$cache cannot be written"
exec 9> "$cache/.iroh-relay.lock"
flock 9
if [ ! -x "$program" ]; then
  printf '== building iroh-relay %s, minutes the first time; log in %s\n' "$version" \
    "$cache/iroh-relay.log" >&2
  CARGO_TARGET_DIR=$cache/bench-target cargo install --locked iroh-relay --version "$version" \
    --features server --bin iroh-relay --root "$root" > "$cache/iroh-relay.log" 2>&1 < /dev/null || {
    tail -n 20 "$cache/iroh-relay.log" >&2
    skip "cargo cannot build iroh-relay $version here"
  }
fi
printf '%s\n' "$program"
