/* The cache as a source: what was learnt is written in batches, a second apart; what waits counts
 * already. Without its tables it goes on with what waits.
 *
 * Only what peers said with their signature, and where they were reached, is worth a place in the
 * tables. Whatever else was heard are claims, of whom nobody knows: they are kept in memory, for a
 * short time. */
#include <stdio.h>
#include <string.h>

#include "base/addr_impl.h"
#include "base/list.h"
#include "discovery/cache.h"
#include "discovery/ways.h"

#define DEFAULT_PEERS 4096
#define BATCH_EVERY KM_NS_PER_S
#define RETRY_MAX (60 * KM_NS_PER_S)
#define EXPIRE_EVERY (3600 * KM_NS_PER_S)
#define HEARD_WAITING_MAX 256 /* items; beyond, what is only heard is dropped */
#define CLAIMS_MAX 256        /* items; the oldest makes room */
#define WAITING_MAX 1024
#define TOUCHED_MAX 256

typedef struct waiting {
  km_list node;
  km_cache_item item;
} waiting;

typedef struct claim {
  km_list node;
  km_cache_item item;
  int64_t since, until; /* Unix time in seconds */
} claim;

typedef struct cache {
  const km_env *env;
  km_loop *loop;
  km_cache_store *store;
  km_wall (*wall)(void);
  bool has_own_id;
  km_id own_id;
  km_list waiting;
  size_t waiting_count;
  km_list claims; /* the oldest first */
  size_t claim_count;
  km_id touched[TOUCHED_MAX]; /* looked up, and cold in the tables */
  size_t touched_count;
  km_deadline *timer; /* of the next batch */
  km_ts retry;        /* how long to wait after a failure */
  km_ts not_before;   /* of the next batch */
  km_ts expire_at;
  bool troubled; /* it was logged that the tables fail */
} cache;

static int64_t now_s(const cache *c) {
  return c->wall().unix_ns / (int64_t)KM_NS_PER_S;
}

/* One line until it works again. */
static void note(cache *c, int rv, const km_errinfo *why) {
  if (rv < 0 && !c->troubled) {
    KM_LOG(&c->env->logger, KM_LOG_WARN, KM_LOGC_STORE, NULL, NULL, "cache-degraded",
           "%s; it goes on in memory", why->text);
  } else if (rv >= 0 && c->troubled) {
    KM_LOG(&c->env->logger, KM_LOG_INFO, KM_LOGC_STORE, NULL, NULL, "cache-stored-again", "%s", "");
  }
  c->troubled = rv < 0;
}

/* --- what waits ------------------------------------------------------------------------------- */

static void delete_waiting(cache *c, waiting *w) {
  km_list_remove(&w->node);
  c->waiting_count--;
  km_env_free(c->env, w->item.ways);
  km_env_free(c->env, w);
}

static void delete_all_waiting(cache *c) {
  while (!km_list_empty(&c->waiting)) {
    delete_waiting(c, KM_LIST_ITEM(c->waiting.next, waiting, node));
  }
}

static void schedule(cache *c) {
  km_ts now = km_loop_now(c->loop);
  km_deadline_set(c->timer, now > c->not_before ? now : c->not_before);
}

/* The later of the two is enough: what a source says replaces what it said; what worked adds up. */
static bool same_place(const km_cache_item *a, const km_cache_item *b) {
  return km_id_equal(&a->id, &b->id) && a->worked == b->worked &&
         strcmp(a->source, b->source) == 0 && (!a->worked || strcmp(a->ways, b->ways) == 0);
}

static waiting *find_waiting(const cache *c, const km_cache_item *item) {
  for (km_list *n = c->waiting.next; n != &c->waiting; n = n->next) {
    waiting *w = KM_LIST_ITEM(n, waiting, node);
    if (same_place(&w->item, item)) {
      return w;
    }
  }
  return NULL;
}

/* Takes item->ways. */
static void add_waiting(cache *c, const km_cache_item *item) {
  waiting *old = find_waiting(c, item);
  size_t max = item->worked ? WAITING_MAX : HEARD_WAITING_MAX;
  waiting *w = old == NULL && c->waiting_count >= max ? NULL : km_env_zalloc(c->env, 1, sizeof *w);
  if (w == NULL) {
    km_env_free(c->env, item->ways);
    return;
  }
  if (old != NULL) {
    delete_waiting(c, old);
  }
  w->item = *item;
  km_list_init(&w->node);
  km_list_append(&c->waiting, &w->node);
  c->waiting_count++;
  schedule(c);
}

/* --- claims ----------------------------------------------------------------------------------- */

static void delete_claim(cache *c, claim *of) {
  km_list_remove(&of->node);
  c->claim_count--;
  km_env_free(c->env, of->item.ways);
  km_env_free(c->env, of);
}

/* Those that are over, or that a clock which was set back would keep; and `said`, which is said
 * anew. */
static void drop_claims(cache *c, const km_cache_item *said) {
  int64_t now = now_s(c);
  for (km_list *n = c->claims.next, *next; n != &c->claims; n = next) {
    next = n->next;
    claim *of = KM_LIST_ITEM(n, claim, node);
    if (now < of->since || now >= of->until || (said != NULL && same_place(&of->item, said))) {
      delete_claim(c, of);
    }
  }
}

/* Takes item->ways. */
static void add_claim(cache *c, const km_cache_item *item, uint32_t valid_s) {
  drop_claims(c, item);
  claim *of = item->ways[0] != '\0' ? km_env_zalloc(c->env, 1, sizeof *of) : NULL;
  if (of == NULL) {
    km_env_free(c->env, item->ways);
    return;
  }
  if (c->claim_count == CLAIMS_MAX) {
    delete_claim(c, KM_LIST_ITEM(c->claims.next, claim, node));
  }
  of->item = *item;
  of->since = now_s(c);
  bool known = valid_s > 0 && valid_s < KM_CACHE_MAX_CLAIM_S;
  of->until = of->since + (known ? (int64_t)valid_s : KM_CACHE_MAX_CLAIM_S);
  km_list_init(&of->node);
  km_list_append(&c->claims, &of->node);
  c->claim_count++;
}

/* --- batches ---------------------------------------------------------------------------------- */

/* Most of what is heard is known: looking first keeps the file from being written all the time. */
static int drop_known(cache *c, int64_t now, km_errinfo *err) {
  for (km_list *n = c->waiting.next, *next; n != &c->waiting; n = next) {
    next = n->next;
    waiting *w = KM_LIST_ITEM(n, waiting, node);
    int rv = km_cache_store_is_new(c->store, &w->item, now, err);
    if (rv < 0) {
      return rv;
    }
    if (rv == 0) {
      delete_waiting(c, w);
    }
  }
  return 0;
}

static int write_all(cache *c, km_errinfo *err) {
  int rv = km_cache_store_begin(c->store, err);
  if (rv != 0) {
    return rv;
  }
  for (size_t i = 0; rv == 0 && i < c->touched_count; i++) {
    rv = km_cache_store_touch(c->store, &c->touched[i], err);
  }
  for (km_list *n = c->waiting.next; rv == 0 && n != &c->waiting; n = n->next) {
    rv = km_cache_store_put(c->store, &KM_LIST_ITEM(n, waiting, node)->item, err);
  }
  return rv == 0 ? km_cache_store_end(c->store, err) : rv;
}

static int flush(cache *c, km_errinfo *err) {
  int64_t now = now_s(c);
  int rv = 0;
  if (km_loop_now(c->loop) >= c->expire_at) {
    rv = km_cache_store_expire(c->store, now, err);
    if (rv == 0) {
      c->expire_at = km_loop_now(c->loop) + EXPIRE_EVERY;
    }
  }
  if (rv == 0) {
    rv = drop_known(c, now, err);
  }
  if (rv == 0 && (c->waiting_count > 0 || c->touched_count > 0)) {
    rv = write_all(c, err);
  }
  if (rv == 0) {
    delete_all_waiting(c);
    c->touched_count = 0;
  }
  return rv;
}

static void on_timer(void *ctx) {
  cache *c = ctx;
  km_errinfo err = {0};
  int rv = flush(c, &err);
  note(c, rv, &err);
  km_ts wait = BATCH_EVERY;
  if (rv != 0) {
    c->retry = c->retry * 2 < RETRY_MAX ? c->retry * 2 : RETRY_MAX;
    wait = c->retry;
  } else {
    c->retry = BATCH_EVERY;
  }
  c->not_before = km_loop_now(c->loop) + wait;
  if (rv != 0) {
    schedule(c);
  }
}

/* --- learning --------------------------------------------------------------------------------- */

/* What is always there anyway, and goes when it is taken out there. */
static bool is_local(const char *source) {
  return strcmp(source, "memory") == 0 || strcmp(source, "file") == 0;
}

static char *ways_of(const cache *c, const km_addr *addr) {
  char text[KM_CACHE_WAYS_CAP];
  km_ways_write(addr, text, sizeof text);
  return km_env_strdup(c->env, text);
}

static void learn(void *ctx, const km_found *found, bool worked) {
  cache *c = ctx;
  const km_id *id = km_addr_id(found->addr);
  if ((!worked && is_local(found->source)) || (c->has_own_id && km_id_equal(id, &c->own_id))) {
    return;
  }
  km_cache_item item = {.id = *id,
                        .worked = worked,
                        .at = now_s(c) - (worked ? 0 : (int64_t)found->age_s),
                        .ways = ways_of(c, found->addr),
                        .published_ms = found->published_ms,
                        .proven = found->proven};
  if (item.ways == NULL || (worked && item.ways[0] == '\0')) {
    km_env_free(c->env, item.ways);
    return;
  }
  if (!worked) {
    (void)snprintf(item.source, sizeof item.source, "%s", found->source);
    (void)snprintf(item.user_data, sizeof item.user_data, "%s",
                   found->user_data != NULL ? found->user_data : "");
  }
  if (worked || found->proven) {
    add_waiting(c, &item);
  } else {
    add_claim(c, &item, found->valid_s);
  }
}

/* --- answering -------------------------------------------------------------------------------- */

/* What worked comes first, as one answer; then one for what was signed at each source; claims come
 * last. */
typedef struct answers {
  cache *c;
  km_query *query;
  int64_t now;
  km_addr *worked;
  int64_t worked_at; /* of the latest */
  bool worked_sent;
} answers;

static uint32_t age_of(const answers *a, int64_t at) {
  int64_t age = a->now > at ? a->now - at : 0;
  return age < UINT32_MAX ? (uint32_t)age : UINT32_MAX;
}

static void send_worked(answers *a) {
  if (!a->worked_sent && (km_addr_udp_count(a->worked) > 0 || km_addr_relay_count(a->worked) > 0)) {
    const km_found found = {
        .size = sizeof found, .addr = a->worked, .age_s = age_of(a, a->worked_at), .worked = true};
    km_query_found(a->query, &found);
  }
  a->worked_sent = true;
}

static void send_heard(answers *a, const km_cache_item *item, uint32_t valid_s) {
  km_addr *addr;
  if (km_addr_new_in(&addr, a->c->env, &item->id) != 0) {
    return;
  }
  km_ways_read(addr, item->ways);
  const km_found found = {.size = sizeof found,
                          .addr = addr,
                          .user_data = item->user_data,
                          .published_ms = item->published_ms,
                          .age_s = age_of(a, item->at),
                          .valid_s = valid_s,
                          .proven = item->proven};
  if (item->ways[0] != '\0') {
    km_query_found(a->query, &found);
  }
  km_addr_free(addr);
}

static void add_worked(answers *a, const km_cache_item *item) {
  km_ways_read(a->worked, item->ways);
  a->worked_at = item->at > a->worked_at ? item->at : a->worked_at;
}

static void on_stored(void *ctx, const km_cache_item *item) {
  answers *a = ctx;
  if (item->worked) {
    add_worked(a, item);
    return;
  }
  send_worked(a);
  if (find_waiting(a->c, item) == NULL) {
    send_heard(a, item, 0);
  }
}

static void send_claims(answers *a, const km_id *id) {
  drop_claims(a->c, NULL);
  for (km_list *n = a->c->claims.next; n != &a->c->claims; n = n->next) {
    const claim *of = KM_LIST_ITEM(n, claim, node);
    if (km_id_equal(&of->item.id, id)) {
      send_heard(a, &of->item, (uint32_t)(of->until - a->now));
    }
  }
}

/* Asks the tables, and says whether this was a use that they should remember. */
static void ask_store(answers *a, const km_id *id) {
  cache *c = a->c;
  km_errinfo err = {0};
  int rv = km_cache_store_read(c->store, id, a->now, on_stored, a, &err);
  if (rv == 0) {
    rv = km_cache_store_is_cold(c->store, id, &err);
  }
  if (rv > 0 && c->touched_count < TOUCHED_MAX) {
    c->touched[c->touched_count++] = *id;
    schedule(c);
  }
  if (rv < 0) {
    note(c, rv, &err);
  }
}

static void resolve(void *ctx, km_query *query, const km_id *id) {
  cache *c = ctx;
  answers a = {.c = c, .query = query, .now = now_s(c)};
  if (km_addr_new_in(&a.worked, c->env, id) != 0) {
    km_query_done(query, NULL);
    return;
  }
  for (km_list *n = c->waiting.next; n != &c->waiting; n = n->next) {
    const km_cache_item *item = &KM_LIST_ITEM(n, waiting, node)->item;
    if (item->worked && km_id_equal(&item->id, id)) {
      add_worked(&a, item);
    }
  }
  ask_store(&a, id);
  send_worked(&a);
  for (km_list *n = c->waiting.next; n != &c->waiting; n = n->next) {
    const km_cache_item *item = &KM_LIST_ITEM(n, waiting, node)->item;
    if (!item->worked && km_id_equal(&item->id, id)) {
      send_heard(&a, item, 0);
    }
  }
  send_claims(&a, id);
  km_addr_free(a.worked);
  km_query_done(query, NULL);
}

/* --- life ------------------------------------------------------------------------------------- */

static void close_cache(void *ctx) {
  cache *c = ctx;
  km_errinfo err = {0};
  if (c->store != NULL && (c->waiting_count > 0 || c->touched_count > 0)) {
    note(c, flush(c, &err), &err);
  }
  delete_all_waiting(c);
  while (!km_list_empty(&c->claims)) {
    delete_claim(c, KM_LIST_ITEM(c->claims.next, claim, node));
  }
  km_deadline_free(c->timer);
  km_cache_store_free(c->store);
  km_env_free(c->env, c);
}

static int set_up(cache *c, km_discovery *d, size_t max_peers, km_errinfo *err) {
  const km_secret_key *key = km_discovery_key(d);
  c->has_own_id = key != NULL;
  if (key != NULL) {
    km_secret_key_id(key, &c->own_id);
  }
  int rv = km_deadline_new(&c->timer, c->loop, on_timer, c);
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  km_db *db = km_discovery_state_db(km_discovery_get_state(d));
  return km_cache_store_new(&c->store, c->env, db, max_peers, err);
}

int km_cache_add(km_discovery *d, size_t max_peers, km_wall (*wall)(void), km_errinfo *err) {
  static const km_source_ops ops = {.size = sizeof ops,
                                    .name = "cache",
                                    .resolve = resolve,
                                    .learn = learn,
                                    .close = close_cache};
  if (km_discovery_has(d, ops.name)) {
    return km_fail(err, KM_ERR_STATE, "there is a cache already");
  }
  cache *c = km_env_zalloc(km_discovery_env(d), 1, sizeof *c);
  if (c == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  c->env = km_discovery_env(d);
  c->loop = km_discovery_loop(d);
  c->wall = wall;
  c->retry = BATCH_EVERY;
  km_list_init(&c->waiting);
  km_list_init(&c->claims);
  int rv = set_up(c, d, max_peers > 0 ? max_peers : DEFAULT_PEERS, err);
  if (rv == 0) {
    rv = km_discovery_add(d, NULL, &ops, c, err);
  }
  if (rv != 0) {
    close_cache(c);
    return rv;
  }
  schedule(c); /* forgets what is too old */
  return 0;
}

int km_discovery_add_cache(km_discovery *discovery, size_t max_peers, km_errinfo *err) {
  return discovery == NULL ? km_fail(err, KM_ERR_INVALID, NULL)
                           : km_cache_add(discovery, max_peers, km_clock_wall, err);
}
