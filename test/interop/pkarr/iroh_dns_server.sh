#!/usr/bin/env bash
# iroh_dns_server.sh PEER: the real iroh-dns-server takes our signed packets, key name records too,
# gives them back as they were, and its DNS answers are read as what was signed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
peer=$1
if [ -z "${KM_IN_NAMESPACE:-}" ]; then
  server=$("$here/../crate.sh" iroh-dns-server) || exit $?
  export KM_IROH_DNS_SERVER=$server KM_IN_NAMESPACE=1
  for flags in -n -rn; do
    if unshare $flags ip link set lo up 2> /dev/null; then
      # shellcheck disable=SC2016
      exec unshare $flags sh -c 'ip link set lo up && exec "$@"' sh "$0" "$peer"
    fi
  done
  echo "SKIPPED: no network namespace to be had, and the server's ports are fixed" >&2
  exit 77
fi
command -v curl > /dev/null || { echo "SKIPPED: there is no curl" >&2 && exit 77; }

work=$(mktemp -d)
server_pid=
finish() {
  [ -z "$server_pid" ] || { kill "$server_pid" && wait "$server_pid"; } 2> /dev/null || true
  rm -rf "$work"
}
trap finish EXIT
fail() {
  printf 'FAILED: %s\n' "$*" >&2
  tail -n 20 "$work/server.log" >&2
  exit 1
}

cat > "$work/config.toml" << 'END'
pkarr_put_rate_limit = "disabled"
[http]
port = 8080
bind_addr = "127.0.0.1"
[dns]
port = 5300
bind_addr = "127.0.0.1"
default_soa = "ns.test.example hostmaster.test.example 0 10800 3600 604800 3600"
default_ttl = 900
origins = ["test.example.", "."]
[mainline]
enabled = false
[metrics]
disabled = true
END
IROH_DNS_DATA_DIR=$work/data "$KM_IROH_DNS_SERVER" --config "$work/config.toml" \
  > "$work/server.log" 2>&1 &
server_pid=$!
url=http://127.0.0.1:8080
for _ in $(seq 100); do
  ! curl -sf -o "$work/health" $url/healthcheck || break
  kill -0 $server_pid 2> /dev/null || fail "the server ended"
  sleep 0.1
done

# The key of docs/protocol-record.md.
secret=0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20
id=79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664
z32=xg4icmwxh3kx1odasrjqtkcmw6eb9bj4h4k57i9yhqeozmer131y

put() { # name, time, attribute...: HTTP status
  local name=$1 time=$2
  shift 2
  "$peer" sign $secret "$time" 30 "$@" | tr -d '\n' | tr a-f A-F |
    basenc --base16 -d > "$work/$name"
  curl -s -o "$work/answer" -w '%{http_code}' -X PUT --data-binary @"$work/$name" $url/pkarr/$z32
}

query() { # name: a TXT question
  local label
  printf '\0\1\1\0\0\1\0\0\0\0\0\0'
  for label in ${1//./ }; do
    printf "\\x$(printf %02x ${#label})%s" "$label"
  done
  printf '\0\0\20\0\1'
}

ask() { # name: the DNS answer in hex, over HTTP
  query "$1" | curl -sf -H 'content-type: application/dns-message' --data-binary @- \
    $url/dns-query | od -An -v -tx1 | tr -d ' \n'
}

expect() { # what, got, wanted
  [ "$2" = "$3" ] || fail "$1: got '$2', not '$3'"
  printf 'ok: %s\n' "$1"
}

now=$(date +%s)000000
record=$(printf 'ab%.0s' $(seq 400))
expect "a packet with everything is taken" \
  "$(put first "$now" relay=https://a.example/ addr=192.0.2.1:5 user-data=hi record="$record")" 204
curl -sf -o "$work/got" $url/pkarr/$z32 || fail "it cannot be had"
cmp "$work/first" "$work/got" || fail "it is not what was put"
expect "its TXT records are read" "$("$peer" answer $id test.example "$(ask _iroh.$z32.test.example)")" \
  '{"ttl":30,"relays":["https://a.example/"],"addrs":["192.0.2.1:5"],"userData":"hi","record":""}'
expect "so is its record" "$("$peer" answer $id test.example "$(ask _kmrecord.$z32.test.example)")" \
  "{\"ttl\":30,\"relays\":[],\"addrs\":[],\"userData\":\"\",\"record\":\"$record\"}"
expect "under the root too" "$("$peer" answer $id . "$(ask _iroh.$z32)")" \
  '{"ttl":30,"relays":["https://a.example/"],"addrs":["192.0.2.1:5"],"userData":"hi","record":""}'

# An older one is said to be taken, and is not (iroh-dns-server answers so).
expect "an older packet" "$(put older $((now - 1)) relay=https://b.example/)" 204
curl -sf -o "$work/got" $url/pkarr/$z32 || fail "it cannot be had"
cmp "$work/first" "$work/got" || fail "an older packet replaced a newer one"
expect "a newer packet" "$(put newer $((now + 1)) relay=https://b.example/)" 204
curl -sf -o "$work/got" $url/pkarr/$z32 || fail "it cannot be had"
cmp "$work/newer" "$work/got" || fail "a newer packet did not replace an older one"
expect "it is what DNS says" "$("$peer" answer $id test.example "$(ask _iroh.$z32.test.example)")" \
  '{"ttl":30,"relays":["https://b.example/"],"addrs":[],"userData":"","record":""}'
