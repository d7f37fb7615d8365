/* What the tests of a km_discovery and its own sources share: a loop, a folder, a log that is
 * counted, peers by number, and a source whose answers the test gives. */
#ifndef KM_TEST_DISCOVERY_CORE_LAB_H
#define KM_TEST_DISCOVERY_CORE_LAB_H

#include <keymesh/discovery.h>

#include "base/io/loop_io.h"
#include "discovery/ways.h"
#include "test/base/test_env.h"

#define LAB_LIMIT_NS (60 * KM_NS_PER_S) /* only reached when something is wrong */

typedef struct lab {
  km_loop *loop;
  km_discovery *d;
  char dir[64];
  char log[64][256]; /* the first entries, "event text" */
  size_t log_count;
  char seen[65536]; /* what callbacks and sources were told, in order */
} lab;

static inline void lab_see(lab *l, const char *fmt, ...) KM_PRINTF(2, 3);
static inline void lab_see(lab *l, const char *fmt, ...) {
  size_t len = strlen(l->seen);
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(l->seen + len, sizeof l->seen - len, fmt, args);
  va_end(args);
  assert_true(n >= 0 && (size_t)n < sizeof l->seen - len);
}

/* What was seen since the last time. */
static inline void lab_expect(lab *l, const char *want) {
  assert_string_equal(l->seen, want);
  l->seen[0] = '\0';
}

static inline void lab_log(void *ctx, const km_log_entry *entry) {
  lab *l = ctx;
  if (l->log_count < COUNT_OF(l->log)) {
    (void)snprintf(l->log[l->log_count], sizeof l->log[0], "%s %s", entry->event, entry->text);
  }
  l->log_count++;
}

static inline size_t lab_logged(const lab *l, const char *text) {
  size_t count = 0;
  for (size_t i = 0; i < l->log_count && i < COUNT_OF(l->log); i++) {
    count += strstr(l->log[i], text) != NULL ? 1 : 0;
  }
  return count;
}

static inline char *lab_path(const lab *l, const char *name) {
  static char path[2][128];
  static size_t turn;
  char *ret = path[turn++ % 2];
  (void)snprintf(ret, sizeof path[0], "%s/%s", l->dir, name);
  return ret;
}

static inline void lab_init(lab *l) {
  memset(l, 0, sizeof *l);
  assert_int_equal(km_loop_new(&l->loop), 0);
  const char *base = getenv("TMPDIR");
  (void)snprintf(l->dir, sizeof l->dir, "%s/km-disc-XXXXXX", base != NULL ? base : "/tmp");
  assert_non_null(mkdtemp(l->dir));
}

/* With a state file of this name in the folder; NULL: none. */
static inline int lab_try_open(lab *l, const char *state, const km_secret_key *key,
                               km_errinfo *err) {
  km_discovery_options o = {.size = sizeof o, .secret_key = key, .log = lab_log, .log_ctx = l};
  o.state_file = state == NULL ? NULL : lab_path(l, state);
  return km_discovery_new(&l->d, l->loop, &o, err);
}

static inline void lab_open(lab *l, const char *state, const km_secret_key *key) {
  km_errinfo err = {0};
  if (lab_try_open(l, state, key, &err) != 0) {
    fail_msg("%s", err.text);
  }
}

static inline void lab_close(lab *l) {
  km_discovery_free(l->d);
  l->d = NULL;
}

static inline void lab_clear(lab *l) {
  lab_close(l);
  assert_int_equal(km_loop_free(l->loop), 0); /* nothing was left open on it */
  char command[128];
  (void)snprintf(command, sizeof command, "rm -rf '%s'", l->dir);
  assert_int_equal(system(command), 0);
}

/* All that can be done now. */
static inline void lab_turn(lab *l) {
  for (int i = 0; i < 5; i++) {
    assert_int_equal(km_loop_run_nowait(l->loop), 0);
  }
}

/* Runs until `text` was seen. */
static inline void lab_await(lab *l, const char *text) {
  km_ts give_up = km_clock_now() + LAB_LIMIT_NS;
  while (strstr(l->seen, text) == NULL && km_clock_now() < give_up) {
    assert_int_equal(km_loop_run_once(l->loop, 50), 0);
  }
  if (strstr(l->seen, text) == NULL) {
    fail_msg("'%s' never came, only '%s'", text, l->seen);
  }
}

/* --- peers ------------------------------------------------------------------------------------ */

static inline km_secret_key *lab_key(uint32_t number) {
  uint8_t seed[KM_SECRET_KEY_BYTES] = {0};
  memcpy(seed, &number, sizeof number);
  km_secret_key *key;
  assert_int_equal(km_secret_key_from_bytes(&key, seed), 0);
  return key;
}

static inline km_id lab_id(uint32_t number) {
  km_secret_key *key = lab_key(number);
  km_id id;
  km_secret_key_id(key, &id);
  km_secret_key_free(key);
  return id;
}

static inline km_addr *lab_addr(uint32_t number, const char *ways) {
  km_id id = lab_id(number);
  km_addr *addr;
  assert_int_equal(km_addr_new(&addr, &id), 0);
  km_ways_read(addr, ways);
  return addr;
}

static inline void lab_put(lab *l, uint32_t number, const char *ways, const char *user_data) {
  km_addr *addr = lab_addr(number, ways);
  assert_int_equal(km_discovery_put(l->d, addr, user_data), 0);
  km_addr_free(addr);
}

static inline void lab_worked(lab *l, uint32_t number, const char *ways) {
  km_addr *addr = lab_addr(number, ways);
  km_discovery_worked(l->d, addr);
  km_addr_free(addr);
}

/* --- look-ups --------------------------------------------------------------------------------- */

static inline void lab_see_found(lab *l, const km_found *found) {
  char ways[4096];
  km_ways_write(found->addr, ways, sizeof ways);
  assert_true(found->size >= sizeof *found);
  lab_see(l, "%s: %s", found->source, ways);
  if (found->user_data != NULL) {
    lab_see(l, " '%s'", found->user_data);
  }
  lab_see(l, "%s%s; ", found->proven ? " proven" : "", found->worked ? " worked" : "");
}

static inline void lab_on_found(void *ctx, km_lookup *lookup, const km_found *found) {
  (void)lookup;
  lab_see_found(ctx, found);
}

static inline void lab_on_done(void *ctx, km_lookup *lookup, size_t found, const km_errinfo *err) {
  (void)lookup;
  if (err->code == 0) {
    assert_string_equal(err->text, "");
    lab_see(ctx, "done %zu", found);
  } else {
    lab_see(ctx, "done %zu %s: %s", found, km_error_name(err->code), err->text);
  }
}

static const km_lookup_callbacks lab_lookup_callbacks = {
    .size = sizeof(km_lookup_callbacks), .on_found = lab_on_found, .on_done = lab_on_done};

static inline km_lookup *lab_lookup(lab *l, uint32_t number) {
  km_id id = lab_id(number);
  km_lookup *lookup;
  assert_int_equal(km_discovery_lookup(l->d, &lookup, &id, &lab_lookup_callbacks, l, NULL), 0);
  return lookup;
}

/* Looks up, and expects this; for sources that answer at once. */
static inline void lab_expect_lookup(lab *l, uint32_t number, const char *want) {
  (void)lab_lookup(l, number);
  lab_await(l, "done");
  lab_expect(l, want);
}

/* --- a source --------------------------------------------------------------------------------- */

typedef struct fake {
  lab *l;
  km_discovery *d;
  km_source *source;
  const char *ways;                             /* answered from within resolve; NULL: nothing is */
  const char *error;                            /* of KM_ERR_NOT_FOUND, said from within */
  bool late;                                    /* is not done from within */
  km_query *query;                              /* the last one that is not done */
  uint32_t number;                              /* the peer that its answers are about */
  void (*in_resolve)(struct fake *f);           /* called first */
  void (*in_cancel)(struct fake *, km_query *); /* the same */
  void *arg;
} fake;

static inline void fake_say(fake *f, km_query *query, const char *ways) {
  km_addr *addr = lab_addr(f->number, ways);
  const km_found found = {.size = sizeof found, .addr = addr, .source = "liar"};
  km_query_found(query, &found);
  km_addr_free(addr);
}

static inline void fake_fail(km_query *query, int code, const char *text) {
  km_errinfo err = {.code = code};
  (void)snprintf(err.text, sizeof err.text, "%s", text);
  km_query_done(query, &err);
}

static inline void fake_resolve(void *ctx, km_query *query, const km_id *id) {
  fake *f = ctx;
  (void)id;
  f->query = query;
  if (f->in_resolve != NULL) {
    f->in_resolve(f);
    if (f->query == NULL) {
      return;
    }
  }
  if (f->ways != NULL) {
    fake_say(f, query, f->ways);
  }
  if (f->error != NULL) {
    fake_fail(query, KM_ERR_NOT_FOUND, f->error);
  } else if (!f->late) {
    km_query_done(query, NULL);
  }
}

static inline void fake_cancel(void *ctx, km_query *query) {
  fake *f = ctx;
  assert_ptr_equal(f->query, query);
  f->query = NULL;
  lab_see(f->l, "cancel; ");
  if (f->in_cancel != NULL) {
    f->in_cancel(f, query);
  }
}

static inline void fake_close(void *ctx) {
  fake *f = ctx;
  lab_see(f->l, "close; ");
}

static inline void fake_add(fake *f, lab *l, const char *name) {
  const km_source_ops ops = {.size = sizeof ops,
                             .name = name,
                             .resolve = fake_resolve,
                             .cancel = fake_cancel,
                             .close = fake_close};
  f->l = l;
  f->d = l->d;
  assert_int_equal(km_discovery_add(l->d, &f->source, &ops, f, NULL), 0);
}

#endif /* KM_TEST_DISCOVERY_CORE_LAB_H */
