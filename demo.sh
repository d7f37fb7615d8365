#!/usr/bin/env bash
# Builds KeyMesh and shows its main job: one node dials another and moves data, by ticket, through a
# relay, and by id alone; then two nodes of a mesh keep a share in sync. The programs it starts talk
# to each other only.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=third_party/system.sh
. third_party/system.sh

install_packages "${build_packages[@]}"

printf '== building into build/release\n'
cmake --preset release -DKM_TESTS=OFF
cmake --build --preset release
node=build/release/bin/km-node
relay=build/release/bin/km-relay
dns=build/release/bin/km-dns

work=$(mktemp -d)
children=()
cleanup() {
  local child
  for child in "${children[@]}"; do
    kill -KILL "$child" 2> /dev/null || true
  done
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
  local log
  printf '!! %s\n' "$*" >&2
  for log in "$work"/*.log; do
    [ ! -s "$log" ] || { printf -- '-- what %s said:\n' "$(basename "$log" .log)" && cat "$log"; } >&2
  done
  exit 1
}

member() { # $1: name, $2: who said it; the first value of that member
  sed -n "s/.*\"$1\" *: *\"\([^\"]*\)\".*/\1/p" "$work/$2.log" | head -n 1
}

first() { # $1: name, $2: who said it; the first value of that list
  sed -n "s/.*\"$1\" *: *\[\"\([^\"]*\)\".*/\1/p" "$work/$2.log" | head -n 1
}

start() { # $1: name; the rest is the command. Returns when it said that it is ready.
  local name=$1
  shift
  "$@" --json > "$work/$name.log" 2>&1 &
  children+=($!)
  for _ in $(seq 100); do
    ! grep -q '"ready"' "$work/$name.log" || return 0
    kill -0 "${children[-1]}" 2> /dev/null || fail "$name ended before it was ready"
    sleep 0.1
  done
  fail "$name was not ready within 10 seconds"
}

stop_all() { # newest first
  local i status
  for ((i = ${#children[@]} - 1; i >= 0; i--)); do
    kill -TERM "${children[i]}"
    status=0
    wait "${children[i]}" || status=$?
    [ "$status" = 0 ] || fail "a program ended with status $status"
  done
  children=()
}

printf '\n== node1 starts\n'
start node1 "$node" node1 --mdns off --relay disabled
ticket=$(member ticket node1)
printf 'id:     %s\nticket: %s\n' "$(member id node1)" "$ticket"

printf '\n== node2 dials the ticket and sends a text\n'
"$node" node2 "$ticket" --mdns off --send 'Hello, public key!' || fail "node2 failed with status $?"

printf '\n== node2 sends a file of 16 MiB and checks the echo\n'
head -c 16777216 /dev/urandom > "$work/file"
"$node" node2 "$ticket" --mdns off --file "$work/file" || fail "node2 failed with status $?"

printf '\n== node1 is asked to stop\n'
stop_all
printf 'what node1 saw:\n'
cut -c1-160 "$work/node1.log"

printf '\n== a relay starts, and node1 with it as its home\n'
cat > "$work/relay.toml" << 'END'
http_bind_addr = "127.0.0.1:0"
enable_stun = false
enable_metrics = false
END
start relay "$relay" --config "$work/relay.toml"
url=http://$(grep -o '127\.0\.0\.1:[0-9]*' "$work/relay.log" | head -n 1)
start node1 "$node" node1 --mdns off --relay "$url"
printf 'relay: %s\nid:    %s\n' "$url" "$(member id node1)"

printf '\n== node2 dials the id; all it knows beside it is the relay\n'
"$node" node2 "$(member id node1)" --mdns off --relay "$url" --file "$work/file" ||
  fail "node2 failed with status $?"
stop_all

printf '\n== a discovery server starts, and node1 publishes there where it is, signed\n'
cat > "$work/dns.toml" << 'END'
origins = ["demo.test"]
dns.bind = "127.0.0.1:0"
http.bind = "127.0.0.1:0"
metrics.enable = false
store.memory = true
END
start dns "$dns" --config "$work/dns.toml"
url=http://$(first http dns)/pkarr
by_dns=(--mdns off --dns-origin demo.test --dns-server "$(first dns dns)")
start node1 "$node" node1 --mdns off --pkarr "$url" --publish-direct
id=$(member id node1)
for _ in $(seq 100); do
  ! "$node" resolve "$id" "${by_dns[@]}" > "$work/resolve.log" 2>&1 || break
  sleep 0.1
done
cat "$work/resolve.log"

printf '\n== node2 dials the id, which is all it knows: the DNS has the rest\n'
"$node" node2 "$id" "${by_dns[@]}" --file "$work/file" || fail "node2 failed with status $?"
stop_all

printf '\n== two nodes of a mesh start, and each is told to let the other in\n'
for name in office laptop; do
  "$node" init "$work/$name" --name "$name" > "$work/init.log"
  sed -i -e 's/mdns: true/mdns: false/' -e 's/port_mapping: true/port_mapping: false/' \
    "$work/$name/keymesh.yaml"
  start "$name" "$node" run --config "$work/$name" --status-port 0
done
"$node" peer add "$(member ticket laptop)" --name laptop --share common=rw --config "$work/office"
"$node" peer add "$(member ticket office)" --name office --share common=rw --config "$work/laptop"

printf '\n== what is written on one is there on the other\n'
"$node" kv put common motd 'Hello, mesh!' --config "$work/office"
for _ in $(seq 100); do
  ! "$node" kv get common motd --config "$work/laptop" > "$work/get.log" 2>&1 || break
  sleep 0.1
done
grep -q '^Hello, mesh!$' "$work/get.log" || fail 'the entry did not arrive'
"$node" kv list common --config "$work/laptop"
"$node" peers --config "$work/laptop"
stop_all
printf '\n== it works\n'
