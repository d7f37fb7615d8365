#!/usr/bin/env bash
# Builds KeyMesh and shows its main job: one node dials another by ticket and moves data.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=third_party/system.sh
. third_party/system.sh

install_packages "${build_packages[@]}"

printf '== building into build/release\n'
cmake --preset release -DKM_TESTS=OFF
cmake --build --preset release
node=build/release/bin/km-node

work=$(mktemp -d)
node1=
cleanup() {
  [ -z "$node1" ] || kill -KILL "$node1" 2> /dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
  printf '!! %s\n' "$*" >&2
  [ ! -s "$work/node1" ] || { printf -- '-- what node1 said:\n' && cat "$work/node1"; } >&2
  exit 1
}

member() { # $1: name, $2: file of JSON lines; the first value of that member
  sed -n "s/.*\"$1\" *: *\"\([^\"]*\)\".*/\1/p" "$2" | head -n 1
}

printf '\n== node1 starts\n'
"$node" node1 --relay disabled --json > "$work/node1" 2>&1 &
node1=$!
for _ in $(seq 100); do
  grep -q '"ready"' "$work/node1" && break
  kill -0 "$node1" 2> /dev/null || fail "node1 ended before it was ready"
  sleep 0.1
done
ticket=$(member ticket "$work/node1")
[ -n "$ticket" ] || fail "node1 was not ready within 10 seconds"
printf 'id:     %s\nticket: %s\n' "$(member id "$work/node1")" "$ticket"

printf '\n== node2 dials the ticket and sends a text\n'
"$node" node2 "$ticket" --send 'Hello, public key!' || fail "node2 failed with status $?"

printf '\n== node2 sends a file of 16 MiB and checks the echo\n'
head -c 16777216 /dev/urandom > "$work/file"
"$node" node2 "$ticket" --file "$work/file" || fail "node2 failed with status $?"

printf '\n== node1 is asked to stop\n'
kill -TERM "$node1"
status=0
wait "$node1" || status=$?
node1=
[ "$status" = 0 ] || fail "node1 ended with status $status"
printf 'what node1 saw:\n'
cut -c1-160 "$work/node1"
printf '\n== it works\n'
