#include "discovery/peer_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/addr_impl.h"
#include "base/ticket_impl.h"
#include "discovery/ways.h"

#define TICKET "endpoint"

void km_peer_file_init(km_peer_file *f, const km_env *env, char *text, size_t len) {
  static const char mark[] = "\xef\xbb\xbf"; /* U+FEFF, which some editors begin a file with */
  *f = (km_peer_file){.env = env, .text = text, .len = len};
  if (len >= sizeof mark - 1 && memcmp(text, mark, sizeof mark - 1) == 0) {
    f->at = sizeof mark - 1;
  }
}

void km_peer_file_clear(km_peer_file *f) {
  if (f->env != NULL) {
    km_env_free(f->env, f->text);
    km_env_free(f->env, f->lines);
  }
  *f = (km_peer_file){0};
}

/* --- a line ----------------------------------------------------------------------------------- */

/* The next word, none where a comment begins. */
static size_t next_word(const char **at, const char *end, const char **ret) {
  size_t len = km_ways_word(at, end, ret);
  return len > 0 && (*ret)[0] == '#' ? 0 : len;
}

static int parse_ways(km_addr *addr, const char *at, const char *end, km_errinfo *err) {
  const char *word;
  for (size_t len; (len = next_word(&at, end, &word)) > 0;) {
    int rv = km_ways_add(addr, word, len, err);
    if (rv == KM_ERR_LIMIT) {
      return km_fail(err, rv, "more addresses than one peer can have");
    }
    if (rv != 0) {
      return rv;
    }
  }
  if (km_addr_udp_count(addr) == 0 && km_addr_relay_count(addr) == 0) {
    return km_fail(err, KM_ERR_NO_ADDRESS, "no address: write IP:PORT or a relay's url behind it");
  }
  return 0;
}

/* 0 with *ret NULL: there is nothing on it. */
static int parse_line(const km_env *env, const char *at, const char *end, km_addr **ret,
                      km_errinfo *err) {
  const char *word;
  *ret = NULL;
  size_t len = next_word(&at, end, &word);
  if (len == 0) {
    return 0;
  }
  km_addr *addr = NULL;
  int rv;
  if (len >= sizeof TICKET - 1 && memcmp(word, TICKET, sizeof TICKET - 1) == 0) {
    rv = km_ticket_parse_in(&addr, env, word, len, err);
  } else {
    km_id id;
    rv = km_id_parse(&id, word, len, err);
    if (rv == 0) {
      rv = km_addr_new_in(&addr, env, &id);
    }
  }
  if (rv == 0) {
    rv = parse_ways(addr, at, end, err);
  }
  if (rv != 0) {
    km_addr_free(addr);
    return rv;
  }
  *ret = addr;
  return 0;
}

/* --- all lines -------------------------------------------------------------------------------- */

static int add_line(km_peer_file *f, const km_id *id, size_t at, size_t len) {
  if (f->count == KM_PEER_FILE_MAX_LINES) {
    return KM_ERR_LIMIT;
  }
  if (f->count == f->cap) {
    size_t cap = f->cap == 0 ? 64 : f->cap * 2;
    km_peer_line *lines = km_env_realloc(f->env, f->lines, cap, sizeof *lines);
    if (lines == NULL) {
      return KM_ERR_NOMEM;
    }
    f->lines = lines;
    f->cap = cap;
  }
  f->lines[f->count++] =
      (km_peer_line){.id = *id, .at = (uint32_t)at, .len = (uint32_t)len, .number = f->number};
  return 0;
}

static int read_line(km_peer_file *f, size_t len, km_peer_file_bad_fn on_bad, void *ctx) {
  km_addr *addr;
  km_errinfo err = {0};
  int rv = parse_line(f->env, f->text + f->at, f->text + f->at + len, &addr, &err);
  if (rv == KM_ERR_NOMEM) {
    return rv;
  }
  if (rv != 0) {
    f->bad++;
    on_bad(ctx, f->number, err.text);
    return 0;
  }
  if (addr != NULL) {
    rv = add_line(f, km_addr_id(addr), f->at, len);
    km_addr_free(addr);
  }
  return rv;
}

static int compare(const void *a, const void *b) {
  const km_peer_line *x = a, *y = b;
  int order = memcmp(x->id.bytes, y->id.bytes, sizeof x->id.bytes);
  return order != 0 ? order : x->number < y->number ? -1 : x->number > y->number ? 1 : 0;
}

int km_peer_file_step(km_peer_file *f, size_t lines, km_peer_file_bad_fn on_bad, void *ctx) {
  for (; f->at < f->len && lines > 0; lines--) {
    const char *newline = memchr(f->text + f->at, '\n', f->len - f->at);
    size_t len = newline == NULL ? f->len - f->at : (size_t)(newline - (f->text + f->at));
    f->number++;
    int rv = read_line(f, len, on_bad, ctx);
    if (rv != 0) {
      return rv;
    }
    f->at += len + (newline == NULL ? 0 : 1);
  }
  if (f->at < f->len) {
    return 1;
  }
  if (f->count > 1) {
    qsort(f->lines, f->count, sizeof f->lines[0], compare);
  }
  return 0;
}

/* --- asking ----------------------------------------------------------------------------------- */

size_t km_peer_file_find(const km_peer_file *f, const km_id *id) {
  size_t low = 0, high = f->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (memcmp(f->lines[middle].id.bytes, id->bytes, sizeof id->bytes) < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < f->count && km_id_equal(&f->lines[low].id, id) ? low : f->count;
}

size_t km_peer_file_next(const km_peer_file *f, size_t index) {
  size_t next = index + 1;
  while (next < f->count && km_id_equal(&f->lines[next].id, &f->lines[index].id)) {
    next++;
  }
  return next;
}

int km_peer_file_addr(const km_peer_file *f, size_t index, km_addr **ret) {
  km_addr *all;
  int rv = km_addr_new_in(&all, f->env, &f->lines[index].id);
  size_t end = km_peer_file_next(f, index);
  for (size_t i = index; rv == 0 && i < end; i++) {
    const char *text = f->text + f->lines[i].at;
    km_addr *one = NULL;
    rv = parse_line(f->env, text, text + f->lines[i].len, &one, NULL);
    if (rv == 0 && one != NULL) {
      km_ways_merge(all, one);
    }
    km_addr_free(one);
    if (rv != 0) {
      km_addr_free(all);
    }
  }
  if (rv != 0) {
    return KM_ERR_NOMEM; /* the lines were read before */
  }
  *ret = all;
  return 0;
}
