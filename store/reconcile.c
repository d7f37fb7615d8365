#include "store/reconcile.h"

#include <sodium.h>
#include <string.h>

#include "store/reconcile_wire.h"

enum {
  FIRST_LIST = 8,       /* the newest items, listed in the first message */
  FIRST_RANGE = 128,    /* items of the fingerprint before them, */
  FIRST_GROWTH = 8,     /* and how much longer each one before that is */
  LIST_MAX = 8,         /* a range of ours that differs and is no longer than this is listed */
  LIST_PART_MAX = 1,    /* a part of a split range that is no longer than this too */
  SPLIT = 4,            /* parts of a range that differs */
  SPLIT_MUCH = 16,      /* when there is much that differs, to save rounds */
  MUCH = 65536,         /* bytes of a message that tell of much */
  SEARCHES = 16,        /* times that all of ours are looked through for single ones */
  FIRST_OUT_CAP = 1024, /* bytes */
  FIRST_NEEDS_CAP = 64  /* short names */
};

#define NONE SIZE_MAX

struct km_reconcile {
  const km_env *env;
  km_reconcile_config config;
  km_item *items;
  size_t count;
  uint64_t *sums;    /* count + 1: of the keyed hashes of all items before */
  uint64_t *marks;   /* a bit an item: the other side lacks it */
  size_t mark_words; /* of them, behind which no bit is set */
  size_t listed;     /* items from here on were never listed by us */

  uint8_t *needs;
  size_t need_count, need_at, need_cap;
  size_t need_sorted; /* need_count when they were sorted, and none was there twice */
  bool left_out;      /* there were more */
  bool cut_short;     /* the last message was not answered, though it had to be */

  uint64_t compared; /* items that were gone through for lists, no more than there are, */
  uint64_t searched; /* and for single ones */

  /* A hash table from short names to items, made when the first one is looked up: item + 1. */
  uint32_t *slots;
  unsigned slot_bits;
  uint64_t salt; /* odd */

  uint8_t *out;
  size_t out_cap;
  uint32_t rounds;
};

/* The answer as it is written. */
typedef struct answer {
  km_reconcile *r;
  km_wr wr;
  km_item written;   /* where the last range written ends */
  km_item list_from; /* a list that may still grow: it is written when what follows is known */
  km_bound list_end;
  size_t list_lo, list_hi; /* NONE: there is no such list */
  unsigned split;
} answer;

/* --- Items --- */

static uint64_t keyed_hash(const uint8_t key[KM_RECONCILE_KEY_BYTES], const km_item *item) {
  uint8_t in[8 + KM_ENTRY_HASH_BYTES], out[crypto_shorthash_BYTES];
  km_wr wr = km_wr_init(in, sizeof in);
  km_wr_be(&wr, item->clock, 8);
  km_wr_bytes(&wr, item->hash, sizeof item->hash);
  (void)crypto_shorthash(out, in, sizeof in, key); /* always 0 */
  uint64_t value = 0;
  for (unsigned i = 0; i < 8; i++) {
    value |= (uint64_t)out[i] << (8 * i);
  }
  return value;
}

static uint64_t hash_at(const km_reconcile *r, size_t i) {
  return r->sums[i + 1] - r->sums[i];
}

#define NAME_MASK ((UINT64_C(1) << (8 * KM_SHORT_NAME_BYTES)) - 1)

static uint64_t name_at(const km_reconcile *r, size_t i) {
  return hash_at(r, i) & NAME_MASK;
}

static uint64_t read_name(const uint8_t *bytes) {
  km_rd rd = km_rd_init(bytes, KM_SHORT_NAME_BYTES);
  return km_rd_be(&rd, KM_SHORT_NAME_BYTES);
}

/* The first of our items that is not below the bound. */
static size_t index_of(const km_reconcile *r, const km_bound *bound) {
  size_t lo = 0, hi = r->count;
  if (bound->endless) {
    return hi;
  }
  while (lo < hi) {
    size_t mid = lo + (hi - lo) / 2;
    if (km_item_compare(&r->items[mid], &bound->at) < 0) {
      lo = mid + 1;
    } else {
      hi = mid;
    }
  }
  return lo;
}

/* --- Life --- */

static bool make_sums(km_reconcile *r) {
  r->sums = km_env_zalloc(r->env, r->count + 1, sizeof *r->sums);
  r->marks = km_env_zalloc(r->env, r->count / 64 + 1, sizeof *r->marks);
  if (r->sums == NULL || r->marks == NULL) {
    return false;
  }
  for (size_t i = 0; i < r->count; i++) {
    r->sums[i + 1] = r->sums[i] + keyed_hash(r->config.key, &r->items[i]);
  }
  return true;
}

int km_reconcile_new(km_reconcile **ret, const km_reconcile_config *config, km_item *items,
                     size_t count) {
  const km_env *env = config->env;
  int rv = KM_ERR_INVALID;
  km_reconcile *r = NULL;
  if (config->max_message >= KM_RECONCILE_MESSAGE_MIN) {
    rv = count < UINT32_MAX ? KM_ERR_NOMEM : KM_ERR_LIMIT;
  }
  if (rv == KM_ERR_NOMEM) {
    r = km_env_zalloc(env, 1, sizeof *r);
  }
  if (r == NULL) {
    km_env_free(env, items);
    return rv;
  }
  r->env = env;
  r->config = *config;
  r->items = items;
  r->count = count;
  if (!make_sums(r)) {
    km_reconcile_free(r);
    return KM_ERR_NOMEM;
  }
  *ret = r;
  return 0;
}

void km_reconcile_free(km_reconcile *r) {
  if (r == NULL) {
    return;
  }
  const km_env *env = r->env;
  km_env_free(env, r->items);
  km_env_free(env, r->sums);
  km_env_free(env, r->marks);
  km_env_free(env, r->needs);
  km_env_free(env, r->slots);
  km_env_free(env, r->out);
  sodium_memzero(r, sizeof *r); /* the session's key */
  km_env_free(env, r);
}

/* --- What the other side lacks --- */

static void mark(km_reconcile *r, size_t i) {
  r->marks[i / 64] |= UINT64_C(1) << (i % 64);
  if (r->mark_words < i / 64 + 1) {
    r->mark_words = i / 64 + 1;
  }
}

static bool is_marked(const km_reconcile *r, size_t i) {
  return (r->marks[i / 64] >> (i % 64) & 1) != 0;
}

static void unmark(km_reconcile *r, size_t i) {
  r->marks[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

/* From lo to before hi, a word at a time. */
static void mark_all(km_reconcile *r, size_t lo, size_t hi) {
  while (lo < hi) {
    size_t count = lo % 64 == 0 && hi - lo >= 64 ? 64 : 1;
    mark(r, lo);
    if (count == 64) {
      r->marks[lo / 64] = UINT64_MAX;
    }
    lo += count;
  }
}

static size_t highest_bit(uint64_t bits) {
  size_t i = 63;
  while ((bits >> i & 1) == 0) {
    i--;
  }
  return i;
}

static size_t newest_marked(km_reconcile *r) {
  while (r->mark_words > 0 && r->marks[r->mark_words - 1] == 0) {
    r->mark_words--;
  }
  size_t word = r->mark_words;
  return word > 0 ? (word - 1) * 64 + highest_bit(r->marks[word - 1]) : NONE;
}

bool km_reconcile_newest_have(km_reconcile *r, km_item *ret) {
  size_t i = newest_marked(r);
  if (i == NONE) {
    return false;
  }
  *ret = r->items[i];
  return true;
}

bool km_reconcile_next_have(km_reconcile *r, km_item *ret) {
  size_t i = newest_marked(r);
  if (i == NONE) {
    return false;
  }
  *ret = r->items[i];
  unmark(r, i);
  return true;
}

uint64_t km_reconcile_have_bound(km_reconcile *r) {
  size_t i = newest_marked(r);
  size_t end = i == NONE ? 0 : i + 1;
  end = end > r->listed ? end : r->listed;
  return end > 0 ? r->items[end - 1].clock : 0;
}

uint64_t km_reconcile_newest_common(const km_reconcile *r) {
  for (size_t i = r->count; i-- > 0;) {
    if (!is_marked(r, i)) {
      return r->items[i].clock;
    }
  }
  return 0;
}

/* --- What we lack --- */

static int need(km_reconcile *r, uint64_t name, km_errinfo *err) {
  if (r->need_count >= r->config.max_needs) {
    r->left_out = true;
    return 0;
  }
  if (r->need_count == r->need_cap) {
    size_t cap = r->need_cap > 0 ? r->need_cap * 2 : FIRST_NEEDS_CAP;
    uint8_t *grown = km_env_realloc(r->env, r->needs, cap, KM_SHORT_NAME_BYTES);
    if (grown == NULL) {
      return km_fail(err, KM_ERR_NOMEM, NULL);
    }
    r->needs = grown;
    r->need_cap = cap;
  }
  km_wr wr = km_wr_init(r->needs + r->need_count * KM_SHORT_NAME_BYTES, KM_SHORT_NAME_BYTES);
  km_wr_be(&wr, name, KM_SHORT_NAME_BYTES);
  r->need_count++;
  return 0;
}

static int compare_names(const void *a, const void *b) {
  return memcmp(a, b, KM_SHORT_NAME_BYTES);
}

/* What lies behind a full message is listed again, so names can have come twice. */
static void sort_needs(km_reconcile *r) {
  if (r->need_sorted == r->need_count) {
    return;
  }
  uint8_t *names = r->needs + r->need_at * KM_SHORT_NAME_BYTES, *last = names;
  size_t count = r->need_count - r->need_at, kept = 1;
  qsort(names, count, KM_SHORT_NAME_BYTES, compare_names);
  for (size_t i = 1; i < count; i++) {
    const uint8_t *name = names + i * KM_SHORT_NAME_BYTES;
    if (compare_names(last, name) != 0) {
      last += KM_SHORT_NAME_BYTES;
      memmove(last, name, KM_SHORT_NAME_BYTES);
      kept++;
    }
  }
  r->need_count = r->need_sorted = r->need_at + kept;
}

size_t km_reconcile_needs(km_reconcile *r) {
  sort_needs(r);
  return r->need_count - r->need_at;
}

bool km_reconcile_left_out(const km_reconcile *r) {
  return r->left_out || r->cut_short;
}

bool km_reconcile_cut_short(const km_reconcile *r) {
  return r->cut_short;
}

size_t km_reconcile_items(const km_reconcile *r) {
  return r->count;
}

uint64_t km_reconcile_looked_at(const km_reconcile *r) {
  return r->compared + r->searched;
}

bool km_reconcile_next_need(km_reconcile *r, uint8_t ret[KM_SHORT_NAME_BYTES]) {
  if (km_reconcile_needs(r) == 0) {
    return false;
  }
  memcpy(ret, r->needs + r->need_at * KM_SHORT_NAME_BYTES, KM_SHORT_NAME_BYTES);
  r->need_at++;
  return true;
}

static size_t slot_of(const km_reconcile *r, uint64_t name) {
  return (size_t)(name * r->salt >> (64 - r->slot_bits));
}

static bool make_slots(km_reconcile *r) {
  r->slot_bits = 4;
  while ((UINT64_C(1) << r->slot_bits) < (uint64_t)r->count * 2) {
    r->slot_bits++;
  }
  r->slots = km_env_zalloc(r->env, (size_t)1 << r->slot_bits, sizeof *r->slots);
  if (r->slots == NULL) {
    return false;
  }
  size_t mask = ((size_t)1 << r->slot_bits) - 1;
  km_env_random(r->env, &r->salt, sizeof r->salt); /* nobody can aim at one slot */
  r->salt |= 1;
  for (size_t i = 0; i < r->count; i++) {
    size_t at = slot_of(r, name_at(r, i));
    while (r->slots[at] != 0) {
      at = (at + 1) & mask;
    }
    r->slots[at] = (uint32_t)(i + 1);
  }
  return true;
}

/* The next of our items with that name; NONE: no more. `*slot` is slot_of the name at first. */
static size_t next_named(const km_reconcile *r, uint64_t name, size_t *slot) {
  size_t mask = ((size_t)1 << r->slot_bits) - 1;
  while (r->slots[*slot] != 0) {
    size_t i = r->slots[*slot] - 1;
    *slot = (*slot + 1) & mask;
    if (name_at(r, i) == name) {
      return i;
    }
  }
  return NONE;
}

int km_reconcile_want(km_reconcile *r, const uint8_t name[KM_SHORT_NAME_BYTES]) {
  uint64_t wanted = read_name(name);
  int found = 0;
  if (r->slots == NULL && !make_slots(r)) {
    return KM_ERR_NOMEM;
  }
  size_t slot = slot_of(r, wanted);
  for (size_t i; (i = next_named(r, wanted, &slot)) != NONE; found++) {
    mark(r, i);
  }
  return found;
}

/* --- A list of theirs against ours --- */

/* One name of their list: how often it stands there, how many of our items have it, and one of
 * these. */
typedef struct listed {
  uint64_t name;
  uint32_t theirs, ours;
  size_t at;
  bool marked; /* before */
} listed;

static int compare_listed(const void *a, const void *b) {
  uint64_t x = ((const listed *)a)->name, y = ((const listed *)b)->name;
  return x < y ? -1 : x > y;
}

/* Sorted and without repeats. */
static size_t read_list(listed *list, const km_range *range) {
  for (size_t i = 0; i < range->count; i++) {
    uint64_t name = read_name(range->names + i * KM_SHORT_NAME_BYTES);
    list[i] = (listed){.name = name, .theirs = 1};
  }
  qsort(list, range->count, sizeof *list, compare_listed);
  size_t count = 0;
  for (size_t i = 0; i < range->count; i++) {
    if (count > 0 && list[count - 1].name == list[i].name) {
      list[count - 1].theirs++;
    } else {
      list[count++] = list[i];
    }
  }
  return count;
}

static listed *find_listed(listed *list, size_t count, uint64_t name) {
  listed key = {.name = name};
  return count > 0 ? bsearch(&key, list, count, sizeof *list, compare_listed) : NULL;
}

/* Both have it. A name that either side has twice says nothing: all with that name are sent. */
static bool is_common(const listed *l) {
  return l->theirs == 1 && l->ours == 1;
}

static void take_ours(listed *l, size_t i) {
  l->ours++;
  l->at = i;
}

static void go_through(const km_reconcile *r, listed *list, size_t count, size_t lo, size_t hi) {
  for (size_t i = lo; i < hi; i++) {
    listed *l = find_listed(list, count, name_at(r, i));
    if (l != NULL) {
      take_ours(l, i);
    }
  }
}

static void look_up(const km_reconcile *r, listed *list, size_t count, size_t lo, size_t hi) {
  for (size_t k = 0; k < count; k++) {
    size_t slot = slot_of(r, list[k].name);
    for (size_t i; (i = next_named(r, list[k].name, &slot)) != NONE;) {
      if (i >= lo && i < hi) {
        take_ours(&list[k], i);
      }
    }
  }
}

/* Finds ours in the list. A list settles its range: each item of ours is gone through once, unless
 * the other side could not answer all and lists some again. That, however often, costs as much as
 * the names that come. */
static int find_ours(km_reconcile *r, listed *list, size_t count, size_t lo, size_t hi) {
  if (r->compared + (hi - lo) <= r->count) {
    r->compared += hi - lo;
    go_through(r, list, count, lo, hi);
    return 0;
  }
  if (count > 0 && r->slots == NULL && !make_slots(r)) {
    return KM_ERR_NOMEM;
  }
  look_up(r, list, count, lo, hi);
  return 0;
}

/* The other side lacks all but those that both have. */
static void mark_others(km_reconcile *r, listed *list, size_t count, size_t lo, size_t hi) {
  for (size_t i = 0; i < count; i++) {
    list[i].marked = !is_common(&list[i]) || is_marked(r, list[i].at);
  }
  mark_all(r, lo, hi);
  for (size_t i = 0; i < count; i++) {
    if (!list[i].marked) {
      unmark(r, list[i].at);
    }
  }
}

static int compare_list(km_reconcile *r, listed *list, size_t count, size_t lo, size_t hi,
                        km_errinfo *err) {
  if (find_ours(r, list, count, lo, hi) != 0) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  mark_others(r, list, count, lo, hi);
  for (size_t i = 0; i < count; i++) {
    int rv = is_common(&list[i]) ? 0 : need(r, list[i].name, err);
    if (rv != 0) {
      return rv;
    }
  }
  return 0;
}

static int take_list(km_reconcile *r, const km_range *range, size_t lo, size_t hi,
                     km_errinfo *err) {
  if (range->count == 0) {
    return compare_list(r, NULL, 0, lo, hi, err);
  }
  listed *list = km_env_zalloc(r->env, range->count, sizeof *list);
  if (list == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  int rv = compare_list(r, list, read_list(list, range), lo, hi, err);
  km_env_free(r->env, list);
  return rv;
}

/* --- Answers --- */

static size_t room(const answer *a) {
  return (size_t)(a->wr.end - a->wr.at);
}

/* What is between the last range written and `from` is skipped. */
static void put_skip(answer *a, const km_item *from) {
  if (km_item_compare(&a->written, from) < 0) {
    km_bound end = {*from, false};
    km_range_put_head(&a->wr, KM_RANGE_SKIP, &a->written, &end);
    a->written = *from;
  }
}

static void flush_list(answer *a) {
  if (a->list_lo == NONE) {
    return;
  }
  put_skip(a, &a->list_from);
  km_range_put_head(&a->wr, KM_RANGE_LIST, &a->written, &a->list_end);
  km_wr_varint(&a->wr, a->list_hi - a->list_lo);
  for (size_t i = a->list_lo; i < a->list_hi; i++) {
    km_wr_be(&a->wr, name_at(a->r, i), KM_SHORT_NAME_BYTES);
  }
  if (a->list_hi > a->list_lo && a->list_hi > a->r->listed) {
    a->r->listed = a->list_hi;
  }
  a->written = a->list_end.at;
  a->list_lo = NONE;
}

static void put_list(answer *a, const km_item *from, const km_bound *end, size_t lo, size_t hi) {
  if (a->list_lo != NONE && km_item_compare(&a->list_end.at, from) == 0) {
    a->list_end = *end;
    a->list_hi = hi;
    return;
  }
  flush_list(a);
  a->list_from = *from;
  a->list_end = *end;
  a->list_lo = lo;
  a->list_hi = hi;
}

static void put_fingerprint(answer *a, const km_item *from, const km_bound *end, size_t lo,
                            size_t hi) {
  flush_list(a);
  put_skip(a, from);
  km_range_put_head(&a->wr, KM_RANGE_FINGERPRINT, &a->written, end);
  km_wr_be(&a->wr, a->r->sums[hi] - a->r->sums[lo], 8);
  a->written = end->at;
}

static void put_part(answer *a, const km_item *from, const km_bound *end, size_t lo, size_t hi) {
  if (hi - lo <= LIST_PART_MAX) {
    put_list(a, from, end, lo, hi);
  } else {
    put_fingerprint(a, from, end, lo, hi);
  }
}

/* Equal parts; where the range holds our newest items these are listed, since it is most often the
 * newest ones that differ. */
static void put_split(answer *a, const km_item *from, const km_bound *end, size_t lo, size_t hi) {
  const km_item *items = a->r->items;
  km_item begin = *from;
  size_t parts_end = hi == a->r->count ? hi - FIRST_LIST : hi;
  for (unsigned part = a->split; part > 0 && lo < hi; part--) {
    size_t mid = lo + (parts_end - lo) / part;
    if (mid == hi) {
      put_part(a, &begin, end, lo, hi);
      return;
    }
    if (mid > lo) {
      km_bound bound = km_bound_between(&items[mid - 1], &items[mid]);
      put_part(a, &begin, &bound, lo, mid);
      begin = bound.at;
      lo = mid;
    }
  }
  put_list(a, &begin, end, lo, hi);
}

/* A search saves messages, no more. Sides that find out all in few messages have enough of them. */
static bool may_search(km_reconcile *r, size_t count) {
  if (count <= LIST_MAX) {
    return true;
  }
  if (r->searched + count > (uint64_t)r->count * SEARCHES) {
    return false;
  }
  r->searched += count;
  return true;
}

/* The single item of ours in the range that the other side lacks, if that is all that differs. */
static size_t find_single(km_reconcile *r, uint64_t extra, size_t lo, size_t hi) {
  if (!may_search(r, hi - lo)) {
    return NONE;
  }
  for (size_t i = lo; i < hi; i++) {
    if (hash_at(r, i) == extra) {
      return i;
    }
  }
  return NONE;
}

static void take_fingerprint(answer *a, const km_range *range, const km_item *from, size_t lo,
                             size_t hi) {
  km_reconcile *r = a->r;
  uint64_t extra = r->sums[hi] - r->sums[lo] - range->fingerprint;
  if (extra == 0) {
    return;
  }
  size_t single = find_single(r, extra, lo, hi);
  if (single != NONE) {
    mark(r, single);
  } else if (hi - lo <= LIST_MAX) {
    put_list(a, from, &range->end, lo, hi);
  } else {
    put_split(a, from, &range->end, lo, hi);
  }
}

/* Room for the most that one range makes, and for the pending list and the last fingerprint. */
enum {
  RANGE_MAX = KM_RANGE_HEAD_MAX + 9 + (LIST_MAX + 1) * KM_SHORT_NAME_BYTES,
  STEP_MAX = (SPLIT_MUCH + 8) * RANGE_MAX
};
_Static_assert(FIRST_LIST <= LIST_MAX, "what is split is longer");
_Static_assert(STEP_MAX <= KM_RECONCILE_MESSAGE_MIN, "a message has room for one step at least");

/* Sees to room for `more` bytes, within max_message. 1; 0: there is none; KM_ERR_NOMEM. */
static int answer_room(answer *a, size_t more) {
  km_reconcile *r = a->r;
  if (room(a) >= more) {
    return 1;
  }
  size_t used = (size_t)(a->wr.at - r->out);
  size_t cap = r->out_cap > 0 ? r->out_cap * 2 : FIRST_OUT_CAP;
  while (cap < used + more) {
    cap *= 2;
  }
  cap = cap < r->config.max_message ? cap : r->config.max_message;
  if (cap < used + more) {
    return 0;
  }
  uint8_t *grown = km_env_realloc(r->env, r->out, cap, 1);
  if (grown == NULL) {
    return KM_ERR_NOMEM;
  }
  r->out = grown;
  r->out_cap = cap;
  a->wr = km_wr_init(r->out + used, cap - used);
  return 1;
}

static answer answer_begin(km_reconcile *r, unsigned split) {
  return (answer){.r = r, .wr = km_wr_init(r->out, r->out_cap), .list_lo = NONE, .split = split};
}

static int64_t answer_end(answer *a, uint8_t **ret) {
  flush_list(a);
  *ret = a->r->out;
  return a->r->out != NULL ? a->wr.at - a->r->out : 0;
}

/* Answers one range. 1: go on; 0: the message is full, the rest was put into one range. */
static int take_range(answer *a, const km_range *range, const km_item *from, km_errinfo *err) {
  km_reconcile *r = a->r;
  km_bound begin = {*from, false};
  size_t lo = index_of(r, &begin), hi = index_of(r, &range->end);
  if (range->mode == KM_RANGE_LIST) {
    int rv = take_list(r, range, lo, hi, err);
    return rv != 0 ? rv : 1;
  }
  if (range->mode == KM_RANGE_SKIP) {
    return 1;
  }
  /* A list that grows by ranges of up to LIST_MAX items is written out before it gets long. */
  if (a->list_lo != NONE && a->list_hi - a->list_lo > LIST_MAX) {
    flush_list(a);
  }
  int rv = answer_room(a, STEP_MAX);
  if (rv < 0) {
    return km_fail(err, rv, NULL);
  }
  if (rv == 0) {
    km_bound endless = {{0, {0}}, true};
    put_fingerprint(a, from, &endless, lo, r->count);
    return 0;
  }
  take_fingerprint(a, range, from, lo, hi);
  return 1;
}

int64_t km_reconcile_step(km_reconcile *r, const uint8_t *msg, size_t len, uint8_t **ret,
                          km_errinfo *err) {
  answer a = answer_begin(r, len > MUCH ? SPLIT_MUCH : SPLIT);
  km_rd rd = km_rd_init(msg, len);
  km_item from = {0, {0}};
  km_range range = {.mode = KM_RANGE_SKIP};
  if (++r->rounds > r->config.max_rounds) {
    return km_fail(err, KM_ERR_BAD_PACKET, "the reconciliation did not end within %u rounds",
                   r->config.max_rounds);
  }
  int rv = 1;
  while (rv > 0 && km_rd_left(&rd) > 0) {
    if (range.end.endless) {
      return km_fail(err, KM_ERR_BAD_PACKET, "a reconciliation goes on behind its end");
    }
    rv = km_range_read(&range, &rd, &from, err);
    rv = rv == 0 ? take_range(&a, &range, &from, err) : rv;
    from = range.end.at;
  }
  int64_t answer_len = rv < 0 ? rv : answer_end(&a, ret);
  if (answer_len > 0 && r->rounds == r->config.max_rounds) {
    r->cut_short = true;
    return 0;
  }
  return answer_len;
}

/* --- The first message --- */

/* The sizes of its ranges from the newest on: a list, then fingerprints that grow. */
static size_t first_size(size_t number, size_t left) {
  size_t size = number == 0 ? FIRST_LIST : FIRST_RANGE;
  for (size_t i = 1; i < number && size < left; i++) {
    size *= FIRST_GROWTH;
  }
  return size < left ? size : left;
}

int64_t km_reconcile_begin(km_reconcile *r, uint8_t **ret) {
  size_t edges[16], count = 0; /* where ranges begin, from the newest on; 2^32 items take 11 */
  for (size_t left = r->count; left > 0 && count < 16; count++) {
    left -= first_size(count, left);
    edges[count] = left;
  }
  answer a = answer_begin(r, SPLIT);
  if (answer_room(&a, FIRST_OUT_CAP) < 1) {
    return KM_ERR_NOMEM;
  }
  km_item from = {0, {0}};
  km_bound endless = {{0, {0}}, true};
  for (size_t i = count; i-- > 1;) {
    size_t next = edges[i - 1];
    km_bound bound = km_bound_between(&r->items[next - 1], &r->items[next]);
    put_part(&a, &from, &bound, edges[i], next);
    from = bound.at;
  }
  put_list(&a, &from, &endless, count > 0 ? edges[0] : 0, r->count);
  return answer_end(&a, ret);
}
