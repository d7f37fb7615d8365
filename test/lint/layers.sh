#!/usr/bin/env bash
# Arrows point down only: base < holepunch, relay < store < discovery, magicsock < endpoint < cmd.
# A header of a dependency is seen only where the design allows it.
. "$(dirname "$0")/lib.sh"

layers=(base holepunch relay store discovery magicsock endpoint cmd)

# Which layer an include belongs to; empty for anything outside the tree.
layer_of() { # $1: include as written, without its brackets or quotes
  local layer
  for layer in "${layers[@]}"; do
    case $1 in
      "$layer"/*) echo "$layer" && return ;;
      keymesh/*) [ -e "$layer/include/$1" ] && echo "$layer" && return ;;
    esac
  done
}

rank() {
  local i
  for i in "${!layers[@]}"; do
    [ "${layers[$i]}" != "$1" ] || echo "$i"
  done
}

# Dependencies whose headers only some files may include: pattern of the header, pattern of the file.
allowed() { # $1: file, $2: include
  case $2 in
    wolfssl/*) [[ $1 =~ ^endpoint/(quic_|conn_impl|version) || $1 =~ ^(relay|discovery|cmd/node/project)/.*_io\.[ch]$ || $1 =~ ^test/ ]] ;;
    libwebsockets.h) [[ $1 =~ ^(base/io|relay|discovery|cmd/relay|cmd/node/page)/.*_io\.[ch]$ || $1 =~ ^test/ ]] ;;
    ares*.h) [[ $1 =~ ^discovery/ || $1 =~ ^test/ ]] ;;
    sqlite3.h) [[ $1 =~ ^store/.*_io\.[ch]$ || $1 =~ ^test/ ]] ;;
    qrencode.h) [[ $1 =~ ^cmd/ ]] ;;
    blake3.h) [[ $1 == relay/auth.c ]] ;;
    ngtcp2/*) [[ $1 =~ ^endpoint/(quic_|conn_impl|endpoint_impl|version) || $1 =~ ^test/ ]] ;;
    uv.h) [[ $1 =~ _io\.[ch]$ || $1 =~ ^base/(io/|include/keymesh/uv\.h) || $1 =~ ^(cmd|docs|test)/ ]] ;;
    cjson/* | cJSON.h) [[ $1 =~ ^(cmd|test)/ || $1 =~ ^(store/message|endpoint/mesh/control)\.c$ ]] ;;
    yaml.h) [[ $1 =~ ^cmd/ ]] ;;
    histedit.h | editline/*) [[ $1 =~ ^cmd/node/ctl/.*_io\.c$ ]] ;;
    cmocka.h) [[ $1 =~ ^test/ ]] ;;
    sys/socket.h | sys/epoll.h | sys/poll.h | poll.h | netdb.h | ifaddrs.h | sys/random.h)
      # struct sockaddr as a plain value is no I/O
      [[ $1 =~ _io\.[ch]$ || $1 =~ ^(base/udp_addr|magicsock/(sockaddr|path))\.[ch]$ ]] ||
        [[ $1 =~ ^(cmd|docs|test)/ ]]
      ;;
  esac
}

while IFS=: read -r file number include; do
  own=${file%%/*}
  target=$(layer_of "$include")
  if [ -n "$target" ] && [ -n "$(rank "$own")" ] && [ "$(rank "$target")" -gt "$(rank "$own")" ]; then
    finding "$file:$number: $own/ must not know $include of $target/"
  fi
  allowed "$file" "$include" || finding "$file:$number: <$include> does not belong here"
done < <(own_c_files | grep -v '^third_party/' | xargs grep -nHE '^ *# *include' |
  sed -E 's/^([^:]*):([0-9]+): *# *include *[<"]([^>"]*)[>"].*/\1:\2:\3/')
finish
