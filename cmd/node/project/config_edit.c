#include "cmd/node/project/config_edit.h"

#include <string.h>

#include "base/env.h"
#include "cmd/cli/yaml.h"
#include "cmd/node/project/service_text.h"

#define KEY "peers"
#define INDENT "  "
#define INDENT_MAX 32

/* --- an entry --------------------------------------------------------------------------------- */

static void add_quoted(text_out *t, const char *text) {
  text_add(t, "\"");
  for (const char *p = text; *p != '\0'; p++) {
    if (*p == '"' || *p == '\\') {
      text_add(t, "\\");
    }
    text_add_char(t, *p);
  }
  text_add(t, "\"");
}

static void add_line(text_out *t, const char *indent, const char *key, const char *text) {
  text_add(t, indent);
  text_add(t, key);
  add_quoted(t, text);
  text_add(t, "\n");
}

static const char *addr_at(const km_addr *addr, size_t i, char buf[KM_UDP_ADDR_TEXT_CAP]) {
  (void)km_udp_addr_format(km_addr_udp_at(addr, i), buf, KM_UDP_ADDR_TEXT_CAP);
  return buf;
}

/* One stands alone, more are a list. */
static void add_addrs(text_out *t, const char *indent, const km_addr *addr, bool relays) {
  char buf[KM_UDP_ADDR_TEXT_CAP];
  size_t count = addr == NULL ? 0 : relays ? km_addr_relay_count(addr) : km_addr_udp_count(addr);
  if (count == 0) {
    return;
  }
  text_add(t, indent);
  text_add(t, relays ? "  relay: " : "  addr: ");
  text_add(t, count > 1 ? "[" : "");
  for (size_t i = 0; i < count; i++) {
    text_add(t, i > 0 ? ", " : "");
    add_quoted(t, relays ? km_addr_relay_at(addr, i) : addr_at(addr, i, buf));
  }
  text_add(t, count > 1 ? "]\n" : "\n");
}

static void add_grants(text_out *t, const char *indent, const km_mesh_peer *peer) {
  if (peer->grant_count == 0) {
    return;
  }
  text_add(t, indent);
  text_add(t, "  shares_access:\n");
  for (size_t i = 0; i < peer->grant_count; i++) {
    text_add(t, indent);
    text_add(t, "    - {share: ");
    add_quoted(t, peer->grants[i].share);
    text_add(t, peer->grants[i].access == KM_ACCESS_WRITE ? ", mode: rw}\n" : ", mode: ro}\n");
  }
}

static void add_entry(text_out *t, const km_mesh_peer *peer, const char *indent) {
  char hex[KM_ID_TEXT_CAP];
  (void)km_id_format(&peer->id, KM_ID_HEX, hex, sizeof hex);
  add_line(t, indent, "- id: ", hex);
  if (peer->name != NULL) {
    add_line(t, indent, "  name: ", peer->name);
  }
  add_addrs(t, indent, peer->addr, false);
  add_addrs(t, indent, peer->addr, true);
  add_grants(t, indent, peer);
}

char *config_peer_entry(const km_mesh_peer *peer, const char *indent) {
  text_out t = {0};
  char *ret = NULL;
  add_entry(&t, peer, indent);
  return text_take(&t, &ret, NULL) == 0 ? ret : NULL;
}

/* --- lines ------------------------------------------------------------------------------------ */

/* The beginning of the next line, or the end. */
static size_t next_line(const char *text, size_t len, size_t at) {
  const char *end = at < len ? memchr(text + at, '\n', len - at) : NULL;
  return end == NULL ? len : (size_t)(end - text) + 1;
}

static size_t spaces(const char *text, size_t len, size_t at) {
  size_t n = 0;
  while (at + n < len && text[at + n] == ' ') {
    n++;
  }
  return n;
}

static bool is_end(char c) {
  return c == '\n' || c == '\r' || c == '#';
}

/* Nothing, or a comment. */
static bool is_empty(const char *text, size_t len, size_t at) {
  size_t first = at + spaces(text, len, at);
  return first >= len || is_end(text[first]);
}

/* `peers` and its list, as lines. */
typedef struct place {
  size_t key;       /* where its line begins */
  size_t value;     /* behind the colon */
  size_t value_len; /* of "[]"; 0: nothing stands there */
  size_t list;      /* where the lines below it begin */
  size_t end;       /* behind the last line of the list; == list without one */
  size_t indent;    /* of its dashes */
} place;

/* What may stand behind the colon: nothing, or an empty list. */
static bool take_value(place *ret, const char *text, size_t len, size_t at) {
  static const char *const empty[] = {"[]", "[ ]", "~", "null"};
  size_t first = at + spaces(text, len, at);
  ret->value = at;
  ret->value_len = 0;
  for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++) {
    size_t n = strlen(empty[i]);
    if (len - first >= n && memcmp(text + first, empty[i], n) == 0) {
      ret->value_len = first + n - at;
    }
  }
  return is_empty(text, len, at + ret->value_len);
}

static bool find_key(place *ret, const char *text, size_t len) {
  size_t n = strlen(KEY);
  for (size_t at = 0; at < len; at = next_line(text, len, at)) {
    if (len - at > n && memcmp(text + at, KEY, n) == 0 && text[at + n] == ':') {
      ret->key = at;
      ret->list = next_line(text, len, at);
      return take_value(ret, text, len, at + n + 1);
    }
  }
  return false;
}

/* Lines of the list are indented, or begin with its dash. */
static void find_end(place *ret, const char *text, size_t len) {
  ret->end = ret->list;
  ret->indent = strlen(INDENT);
  bool first = true;
  for (size_t at = ret->list; at < len; at = next_line(text, len, at)) {
    size_t deep = spaces(text, len, at);
    if (is_empty(text, len, at)) {
      continue;
    }
    bool dash = text[at + deep] == '-' && at + deep + 1 < len && text[at + deep + 1] == ' ';
    if (deep == 0 && !dash) {
      break;
    }
    if (first) {
      ret->indent = deep;
    }
    first = false;
    ret->end = next_line(text, len, at);
  }
}

/* --- is it what was meant? -------------------------------------------------------------------- */

static bool same_tree(const tree *a, const tree *b) {
  if (a->kind != b->kind || a->count != b->count) {
    return false;
  }
  if (a->kind == TREE_SCALAR) {
    return a->quoted == b->quoted && strcmp(a->text, b->text) == 0;
  }
  bool same = true;
  for (size_t i = 0; same && i < a->count; i++) {
    same = (a->kind != TREE_MAP || strcmp(a->keys[i], b->keys[i]) == 0) &&
           same_tree(&a->items[i], &b->items[i]);
  }
  return same;
}

/* All but `peers`, in any order. */
static bool same_rest(const tree *a, const tree *b) {
  bool same = a->kind == TREE_MAP && b->kind == TREE_MAP;
  for (size_t i = 0; same && i < a->count; i++) {
    const tree *other = tree_get(b, a->keys[i]);
    same = strcmp(a->keys[i], KEY) == 0 || (other != NULL && same_tree(&a->items[i], other));
  }
  return same;
}

static size_t peers_of(const tree *t) {
  return t == NULL || t->kind != TREE_LIST ? 0 : t->count;
}

/* One list has all of the other, and one more at `index`. */
static bool is_one_more(const tree *less, const tree *more, size_t index) {
  size_t count = peers_of(less);
  bool same = peers_of(more) == count + 1 && index <= count;
  for (size_t i = 0; same && i < count; i++) {
    same = same_tree(&less->items[i], &more->items[i < index ? i : i + 1]);
  }
  return same;
}

static bool is_meant(const char *name, const char *before, size_t len, const char *after, size_t at,
                     bool added) {
  tree a = {0}, b = {0};
  km_errinfo err;
  bool ok = tree_parse(&a, name, before, len, &err) == 0 &&
            tree_parse(&b, name, after, strlen(after), &err) == 0 && same_rest(&a, &b) &&
            same_rest(&b, &a);
  if (ok) {
    const tree *of_a = tree_get(&a, KEY), *of_b = tree_get(&b, KEY);
    ok = added ? is_one_more(of_a, of_b, at) : is_one_more(of_b, of_a, at);
  }
  tree_free(&a);
  tree_free(&b);
  return ok;
}

static int by_hand(const char *name, km_errinfo *err) {
  return km_fail(err, KM_ERR_INVALID,
                 "`peers` of %.60s is written in a way that has to be changed by hand", name);
}

/* What is in `t`, if it is what was meant. */
static int take_meant(text_out *t, char **ret, const char *name, const char *text, size_t len,
                      size_t at, bool added, km_errinfo *err) {
  char *after;
  int rv = text_take(t, &after, err);
  if (rv != 0) {
    return rv;
  }
  if (!is_meant(name, text, len, after, at, added)) {
    km_env_free(&km_env_system, after);
    return by_hand(name, err);
  }
  *ret = after;
  return 0;
}

/* --- adding ----------------------------------------------------------------------------------- */

static void end_line(text_out *t, const char *text, size_t len) {
  if (len > 0 && text[len - 1] != '\n') {
    text_add(t, "\n");
  }
}

static void add_to_list(text_out *t, const char *text, size_t len, const place *p,
                        const km_mesh_peer *peer) {
  char indent[INDENT_MAX + 1] = "";
  memset(indent, ' ', p->indent);
  text_add_bytes(t, text, p->value);
  text_add_bytes(t, text + p->value + p->value_len, p->end - p->value - p->value_len);
  end_line(t, text, p->end);
  add_entry(t, peer, indent);
  text_add_bytes(t, text + p->end, len - p->end);
}

static void add_key(text_out *t, const char *text, size_t len, const km_mesh_peer *peer) {
  text_add_bytes(t, text, len);
  end_line(t, text, len);
  text_add(t, "\n" KEY ":\n");
  add_entry(t, peer, INDENT);
}

static int count_peers(const char *name, const char *text, size_t len, bool *ret_has, size_t *ret,
                       km_errinfo *err) {
  tree t = {0};
  int rv = tree_parse(&t, name, text, len, err);
  *ret_has = rv == 0 && tree_get(&t, KEY) != NULL;
  *ret = rv == 0 ? peers_of(tree_get(&t, KEY)) : 0;
  tree_free(&t);
  return rv;
}

int config_add_entry(char **ret, const char *name, const char *text, size_t len,
                     const km_mesh_peer *peer, km_errinfo *err) {
  text_out t = {0};
  place p;
  bool has;
  size_t count;
  int rv = count_peers(name, text, len, &has, &count, err);
  if (rv != 0) {
    return rv;
  }
  if (!has) {
    add_key(&t, text, len, peer);
    return take_meant(&t, ret, name, text, len, count, true, err);
  }
  if (!find_key(&p, text, len)) {
    return by_hand(name, err);
  }
  find_end(&p, text, len);
  if (p.indent > INDENT_MAX) {
    return by_hand(name, err);
  }
  add_to_list(&t, text, len, &p, peer);
  return take_meant(&t, ret, name, text, len, count, true, err);
}

/* --- removing --------------------------------------------------------------------------------- */

/* The lines from the dash of the entry at `index` to the dash of the next, or the list's end. */
static bool find_entry(const place *p, const char *text, size_t len, size_t index, size_t *ret,
                       size_t *ret_end) {
  size_t dashes = 0;
  *ret_end = p->end;
  for (size_t at = p->list; at < p->end; at = next_line(text, len, at)) {
    if (spaces(text, len, at) == p->indent && text[at + p->indent] == '-') {
      if (dashes == index) {
        *ret = at;
      } else if (dashes == index + 1) {
        *ret_end = at;
      }
      dashes++;
    }
  }
  return dashes > index;
}

int config_remove_entry(char **ret, const char *name, const char *text, size_t len, size_t index,
                        km_errinfo *err) {
  text_out t = {0};
  place p;
  bool has;
  size_t count, from = 0, to = 0;
  int rv = count_peers(name, text, len, &has, &count, err);
  if (rv != 0) {
    return rv;
  }
  if (!find_key(&p, text, len) || p.value_len > 0) {
    return by_hand(name, err);
  }
  find_end(&p, text, len);
  if (!find_entry(&p, text, len, index, &from, &to)) {
    return by_hand(name, err);
  }
  text_add_bytes(&t, text, p.value);
  text_add(&t, count == 1 ? " []" : "");
  text_add_bytes(&t, text + p.value, from - p.value);
  text_add_bytes(&t, text + to, len - to);
  return take_meant(&t, ret, name, text, len, index, false, err);
}
