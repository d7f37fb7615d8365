#!/usr/bin/env bash
# The example programs against each other: both clients at both servers, short and long input, many
# at once, and what they say when something is wrong. Each side is under 120 lines.
set -u
bin=$KM_BIN_DIR
tmp=$(mktemp -d)
servers=()
failures=0

cleanup() {
  for pid in "${servers[@]}"; do
    kill "$pid" 2> /dev/null && wait "$pid" 2> /dev/null
  done
  rm -rf "$tmp"
}
trap cleanup EXIT

check() { # $1: what, then a command that must succeed
  local what=$1
  shift
  if "$@"; then
    echo "ok: $what"
  else
    echo "FAILED: $what"
    failures=$((failures + 1))
  fi
}

# Starts a server, its ticket in $ticket, its process in $server.
start() { # $1: loop or blocking
  "$bin/echo_server_$1" 127.0.0.1:0 > "$tmp/ticket" 2> "$tmp/server.err" &
  server=$!
  servers+=("$server")
  local i
  for i in $(seq 600); do
    ticket=$(head -n 1 "$tmp/ticket")
    [ -n "$ticket" ] && return
    kill -0 "$server" 2> /dev/null || break
    sleep 0.1
  done
  echo "no ticket from echo_server_$1" && cat "$tmp/server.err"
  exit 1
}

stop() { # a signal ends a server in good order
  kill -TERM "$server" && wait "$server"
}

echoes() { # $1: client, $2: file
  timeout 120 "$bin/echo_client_$1" "$ticket" < "$2" > "$tmp/echo" && cmp "$2" "$tmp/echo"
}

echoes_piped() { # input that comes bit by bit
  (printf a && sleep 0.2 && printf b) | timeout 120 "$bin/echo_client_$1" "$ticket" > "$tmp/echo" &&
    [ "$(cat "$tmp/echo")" = ab ]
}

many_at_once() { # $1: client
  local i pids=() failed=0
  for i in 1 2 3 4 5 6 7 8; do
    timeout 120 "$bin/echo_client_$1" "$ticket" < "$tmp/medium" > "$tmp/echo.$i" &
    pids+=($!)
  done
  for i in "${!pids[@]}"; do
    wait "${pids[$i]}" && cmp "$tmp/medium" "$tmp/echo.$((i + 1))" || failed=1
  done
  return $failed
}

refuses() { # $1: a sentence to be found on stderr, then a command that must fail
  local sentence=$1
  shift
  if timeout 60 "$@" < /dev/null > /dev/null 2> "$tmp/err"; then
    return 1
  fi
  grep -qi -- "$sentence" "$tmp/err" || { cat "$tmp/err" && return 1; }
}

: > "$tmp/empty"
printf 'hello' > "$tmp/short"
head -c 1000000 /dev/urandom > "$tmp/medium"
head -c 20000000 /dev/urandom > "$tmp/long"

for kind in loop blocking; do
  start "$kind"
  for client in loop blocking; do
    for file in empty short medium long; do
      check "echo_client_$client at echo_server_$kind, $file" echoes "$client" "$tmp/$file"
    done
    check "echo_client_$client at echo_server_$kind, from a pipe" echoes_piped "$client"
    check "eight echo_client_$client at echo_server_$kind" many_at_once "$client"
  done
  check "echo_server_$kind ends at SIGTERM" stop
done

for client in loop blocking; do
  check "echo_client_$client: no ticket" refuses ticket "$bin/echo_client_$client"
  check "echo_client_$client: bad ticket" refuses ticket "$bin/echo_client_$client" nonsense
done
for kind in loop blocking; do
  check "echo_server_$kind: bad address" refuses IP:PORT "$bin/echo_server_$kind" nonsense
done

for file in "$KM_SOURCE_DIR"/docs/examples/echo_{client,server}_*.c; do
  check "$(basename "$file") is under 120 lines" test "$(wc -l < "$file")" -lt 120
done
check "echo_by_id.c, both sides in one, is under 160 lines" \
  test "$(wc -l < "$KM_SOURCE_DIR/docs/examples/echo_by_id.c")" -lt 160
[ "$failures" = 0 ]
