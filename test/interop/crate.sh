#!/usr/bin/env bash
# Makes a program of iroh's own available: a crate, built by the machine's own cargo once into a
# cache outside the tree. Prints the path of the program.
#
#   crate.sh iroh-relay|iroh-dns-server [VERSION]
#
# VERSION, instead of the one that is tested with as a rule, is taken from the cache, and built with
# KM_INTEROP_OLD=1 only.
#
#   KM_CACHE_DIR                  where it is put (default: $XDG_CACHE_HOME/keymesh)
#   KM_IROH_RELAY_REQUIRED        1: where iroh-relay cannot be had it is a failure, not a skip
#   KM_IROH_DNS_SERVER_REQUIRED   1: the same for iroh-dns-server
#
# Status 77: there is no cargo, it is too old, or the crate cannot be had or built here.
set -euo pipefail
crate=$1
current=1.4.1
oldest_cargo=1.91
features=()
case $crate in
  iroh-relay)
    required=${KM_IROH_RELAY_REQUIRED:-0}
    features=(--features server)
    ;;
  iroh-dns-server) required=${KM_IROH_DNS_SERVER_REQUIRED:-0} ;;
  *)
    printf 'crate.sh: %s is no crate that it knows\n' "$crate" >&2
    exit 2
    ;;
esac
version=${2:-$current}

skip() {
  printf '\n!!!!! SKIPPED: %s\n!!!!! Nothing was proven against the real %s.\n\n' "$*" "$crate" >&2
  [ "$required" = 1 ] && exit 1
  exit 77
}

cache=${KM_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/keymesh}
root=$cache/$crate-$version
program=$root/bin/$crate
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
exec 9> "$cache/.$crate.lock"
flock 9
if [ ! -x "$program" ]; then
  printf '== building %s %s, minutes the first time; log in %s\n' "$crate" "$version" \
    "$cache/$crate.log" >&2
  CARGO_TARGET_DIR=$cache/bench-target cargo install --locked "$crate" --version "$version" \
    "${features[@]}" --bin "$crate" --root "$root" > "$cache/$crate.log" 2>&1 < /dev/null || {
    tail -n 20 "$cache/$crate.log" >&2
    skip "cargo cannot build $crate $version here"
  }
fi
printf '%s\n' "$program"
