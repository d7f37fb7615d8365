#!/usr/bin/env bash
# Compiles every block marked ```c in the guides: snippets_test.sh COMPILER. A block that starts at
# column 0 with a definition or a preprocessor line stands alone; any other is put into a function,
# with the names that the guides use declared around it.
set -u
cc=$1
docs=("$KM_SOURCE_DIR/docs/api.md" "$KM_SOURCE_DIR/docs/embedding.md")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
flags=(-std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -Wno-unused-parameter -Wno-unused-function
  -Wno-unused-variable -Wno-unused-but-set-variable -fsyntax-only)
for layer in base holepunch store discovery magicsock endpoint; do
  flags+=(-I"$KM_SOURCE_DIR/$layer/include")
done

awk -v tmp="$tmp" '
  FNR == 1 { n = split(FILENAME, parts, "/"); doc = parts[n] }
  /^```c$/ { inside = 1; file = sprintf("%s/%s.%d", tmp, doc, FNR); printf "" > file; next }
  /^```/ { if (inside) close(file); inside = 0; next }
  inside { print > file }
' "${docs[@]}"

prelude() {
  cat << 'END'
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>
#include <keymesh/keymesh.h>
#include <keymesh/uv.h>
END
}

names() {
  cat << 'END'
extern km_loop *loop; extern km_endpoint *endpoint; extern km_conn *conn; extern km_stream *stream;
extern km_addr *addr; extern km_endpoint_options opt; extern km_errinfo err; extern int rv;
extern km_blocking *b; extern km_bconn *c; extern km_bstream *s; extern bool running, closed;
extern km_discovery *discovery; extern const char *text, *path; extern char *data; extern size_t len, n, taken; extern void *ctx;
extern const km_conn_callbacks my_conn_callbacks; extern const km_stream_callbacks my_callbacks;
extern uv_loop_t *uv; extern const km_id peer_id;
extern const km_endpoint_callbacks my_endpoint_callbacks; extern const char *relay_url;
void tell_others(const km_addr *addr);
bool find_in_directory(void *directory, const km_id *id, km_addr **ret);
END
}

count=0
failed=0
for block in "$tmp"/*.md.*; do
  [ -e "$block" ] || break
  count=$((count + 1))
  prelude > "$tmp/unit.c"
  if grep -qE '^(static|#include|int main|void |typedef )' "$block"; then
    names >> "$tmp/unit.c"
    cat "$block" >> "$tmp/unit.c"
  else
    names >> "$tmp/unit.c"
    { echo 'int snippet(void);' && echo 'int snippet(void) {' && cat "$block" &&
      echo 'return 0; }'; } >> "$tmp/unit.c"
  fi
  if ! "$cc" "${flags[@]}" "$tmp/unit.c" 2> "$tmp/err"; then
    echo "FAILED: ${block##*/} (file and line of the block)"
    cat "$tmp/err"
    failed=$((failed + 1))
  fi
done
echo "$count blocks, $failed failed"
[ "$count" -gt 0 ] && [ "$failed" = 0 ]
