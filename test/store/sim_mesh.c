#include "test/store/sim_mesh.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/kv_sync.h"
#include "store/store_impl.h"
#include "test/store/sim_pair.h"

enum { KEYS = 8, RECENT = 16, PAIRS = 6, PUSHES = 24, ACKS = 512, PUSH_CAP = 1024 };

#define START_MS INT64_C(1700000000000)
#define DAY_MS INT64_C(86400000)

typedef struct node {
  sim_mesh *mesh;
  unsigned number;
  km_secret_key *key;
  km_store *store;
  char path[128]; /* "" in memory */
  unsigned generation;
  int64_t skew_ms; /* of its wall clock */
  bool batch;
  unsigned batch_acks; /* acknowledged when the batch is committed */
  km_item recent[RECENT];
  unsigned recent_count;
} node;

/* A push on its way. */
typedef struct push {
  unsigned from, to;
  size_t len;
  uint8_t bytes[PUSH_CAP];
} push;

/* What a node was told to have been written. */
typedef struct ack {
  unsigned key, node;
  uint64_t clock;
  bool deleted;
  bool done; /* not while its batch is open */
} ack;

typedef struct running {
  bool any;
  unsigned node[2];
  sim_pair pair;
} running;

struct sim_mesh {
  uint64_t rng;
  km_env env;
  const char *dir;
  int64_t now_ms;
  char share[32];
  node nodes[SIM_NODES_MAX];
  unsigned count; /* of nodes that take part */
  running pairs[PAIRS];
  push pushes[PUSHES];
  unsigned push_count;
  ack acks[ACKS];
  unsigned ack_count;
  sim_totals totals;
  char failure[512];
};

/* --- Chance --- */

static uint64_t next_random(sim_mesh *m) {
  uint64_t z = m->rng += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

static unsigned below(sim_mesh *m, unsigned bound) {
  return (unsigned)(next_random(m) % bound);
}

static void env_random(void *ctx, void *buf, size_t len) {
  uint8_t *bytes = buf;
  for (size_t i = 0; i < len; i++) {
    bytes[i] = (uint8_t)next_random(ctx);
  }
}

static void fail(sim_mesh *m, const char *fmt, ...) KM_PRINTF(2, 3);
static void fail(sim_mesh *m, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  if (m->failure[0] == '\0') {
    (void)vsnprintf(m->failure, sizeof m->failure, fmt, args);
  }
  va_end(args);
}

/* --- Nodes --- */

static km_wall node_wall(void *ctx) {
  const node *n = ctx;
  return (km_wall){.unix_ns = (n->mesh->now_ms + n->skew_ms) * (int64_t)KM_NS_PER_MS};
}

static void on_change(void *ctx, const char *share, const km_item *item, const km_id *from) {
  node *n = ctx;
  (void)from;
  if (strcmp(share, n->mesh->share) == 0) {
    n->recent[n->recent_count++ % RECENT] = *item;
  }
}

static void open_store(node *n) {
  km_store_options o;
  km_errinfo err;
  km_store_options_default(&o);
  o.secret_key = n->key;
  o.durability = KM_DURABLE_PROCESS;
  o.path = n->path[0] != '\0' ? n->path : NULL;
  if (km_store_open_with(&n->store, &o, &n->mesh->env, node_wall, n, &err) != 0) {
    (void)fprintf(stderr, "a store cannot be opened: %s\n", err.text);
    abort();
  }
  km_kv_on_change(n->store, on_change, n);
}

static void set_path(node *n) {
  if (n->mesh->dir != NULL) {
    (void)snprintf(n->path, sizeof n->path, "%s/node%u-%u.db", n->mesh->dir, n->number,
                   n->generation);
  }
}

static void copy_file(const char *from, const char *to) {
  char buf[65536];
  FILE *in = fopen(from, "rb"), *out = in != NULL ? fopen(to, "wb") : NULL;
  size_t len;
  if (in != NULL && out == NULL) {
    perror(to);
    abort();
  }
  while (in != NULL && (len = fread(buf, 1, sizeof buf, in)) > 0) {
    if (fwrite(buf, 1, len, out) != len) {
      perror(to);
      abort();
    }
  }
  if (in != NULL && (fclose(in) != 0 || fclose(out) != 0)) {
    abort();
  }
}

static const char *const suffixes[] = {"", "-wal", "-shm"};

static void remove_files(const char *path) {
  for (unsigned i = 0; i < 3; i++) {
    char name[160];
    (void)snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
    (void)remove(name); /* not all are there */
  }
}

/* The file as it is at this moment, opened by a new process; what the old one had only in memory is
 * gone. */
static void crash_on_disk(node *n) {
  char old[sizeof n->path];
  km_store *old_store = n->store;
  memcpy(old, n->path, sizeof old);
  n->generation++;
  set_path(n);
  for (unsigned i = 0; i < 2; i++) {
    char from[160], to[160];
    (void)snprintf(from, sizeof from, "%s%s", old, suffixes[i]);
    (void)snprintf(to, sizeof to, "%s%s", n->path, suffixes[i]);
    copy_file(from, to);
  }
  open_store(n);
  km_kv_on_change(old_store, NULL, NULL);
  km_store_close(old_store);
  remove_files(old);
}

sim_mesh *sim_mesh_new(const char *dir) {
  sim_mesh *m = calloc(1, sizeof *m);
  if (m == NULL) {
    abort();
  }
  m->env = km_env_system;
  m->env.ctx = m;
  m->env.random = env_random;
  m->dir = dir;
  m->now_ms = START_MS;
  for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
    uint8_t seed[KM_SECRET_KEY_BYTES] = {(uint8_t)(i + 1)};
    node *n = &m->nodes[i];
    n->mesh = m;
    n->number = i;
    if (km_secret_key_from_bytes(&n->key, seed) != 0) {
      abort();
    }
    set_path(n);
    open_store(n);
  }
  return m;
}

void sim_mesh_free(sim_mesh *m) {
  for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
    km_store_close(m->nodes[i].store);
    km_secret_key_free(m->nodes[i].key);
    remove_files(m->nodes[i].path);
  }
  free(m);
}

const sim_totals *sim_mesh_totals(const sim_mesh *m) {
  return &m->totals;
}

/* --- Writing --- */

static void acknowledge(node *n, unsigned key, bool deleted) {
  sim_mesh *m = n->mesh;
  if (m->ack_count == ACKS) {
    fail(m, "too many writes for the simulator");
    return;
  }
  m->acks[m->ack_count++] = (ack){key, n->number, n->store->clock.last, deleted, !n->batch};
  n->batch_acks += n->batch;
}

static void event_write(sim_mesh *m, node *n, bool deletes) {
  char key[8], value[64];
  km_errinfo err;
  unsigned k = below(m, KEYS);
  (void)snprintf(key, sizeof key, "k%u", k);
  (void)snprintf(value, sizeof value, "node %u at %llu", n->number,
                 (unsigned long long)next_random(m));
  int rv = deletes ? km_kv_delete(n->store, m->share, key, &err)
                   : km_kv_put(n->store, m->share, key, value, strlen(value), &err);
  bool may_fail = rv == KM_ERR_LIMIT || (deletes && rv == KM_ERR_NOT_FOUND);
  if (rv == 0) {
    acknowledge(n, k, deletes);
    m->totals.writes++;
    m->totals.deletes += deletes;
  } else if (!may_fail) {
    fail(m, "node %u cannot write: %s", n->number, err.text);
  }
}

static void end_batch(node *n, bool kept) {
  sim_mesh *m = n->mesh;
  for (unsigned i = m->ack_count; i-- > 0 && n->batch_acks > 0;) {
    ack *a = &m->acks[i];
    if (a->node == n->number && !a->done) {
      a->done = kept;
      n->batch_acks--;
      if (!kept) {
        *a = m->acks[--m->ack_count];
      }
    }
  }
  n->batch = false;
}

static void event_batch(sim_mesh *m, node *n) {
  km_errinfo err;
  if (!n->batch) {
    n->batch = km_kv_begin(n->store, &err) == 0;
    m->totals.batches++;
  } else if (below(m, 4) > 0) {
    if (km_kv_commit(n->store, &err) != 0) {
      fail(m, "node %u cannot commit: %s", n->number, err.text);
    }
    end_batch(n, true);
  } else {
    km_kv_rollback(n->store);
    end_batch(n, false);
    m->totals.undone++;
  }
}

/* --- Synchronizations --- */

static void end_pair(sim_mesh *m, running *r) {
  for (unsigned i = 0; i < 2 && r->any; i++) {
    m->totals.future += sim_pair_stats(&r->pair, i).entries_future;
  }
  if (r->any) {
    sim_pair_free(&r->pair);
  }
  r->any = false;
}

static void begin_pair(sim_mesh *m, running *r, unsigned a, unsigned b) {
  km_sync_config config[2];
  r->any = true;
  r->node[0] = a;
  r->node[1] = b;
  sim_pair_init(&r->pair, m->nodes[a].store, m->nodes[b].store);
  for (unsigned i = 0; i < 2; i++) {
    const sim_end *e = &r->pair.end[i];
    config[i] = (km_sync_config){.env = &m->env,
                                 .store = e->store,
                                 .peer = *km_store_id(r->pair.end[1 - i].store),
                                 .initiator = i == 0,
                                 .share = i == 0 ? m->share : NULL,
                                 .may_read = e->may_read,
                                 .may_write = e->may_write};
  }
  sim_pair_begin_with(&r->pair, &config[0], &config[1]);
  m->totals.syncs++;
}

/* All are honest: no session may fail. */
static void check_pair(sim_mesh *m, running *r) {
  for (unsigned i = 0; i < 2; i++) {
    if (km_sync_get_state(r->pair.end[i].sync) == KM_SYNC_FAILED) {
      km_errinfo err = {0};
      (void)km_sync_error(r->pair.end[i].sync, &err);
      fail(m, "the sync of nodes %u and %u failed at %u: %s", r->node[0], r->node[1], r->node[i],
           err.text);
    }
  }
}

static void event_begin(sim_mesh *m) {
  running *r = &m->pairs[below(m, PAIRS)];
  unsigned a = below(m, m->count), b = below(m, m->count);
  if (!r->any && a != b) {
    begin_pair(m, r, a, b);
  }
}

static void event_move(sim_mesh *m) {
  static const unsigned pieces[] = {1, 7, 60, 500, 5000, 100000};
  running *r = &m->pairs[below(m, PAIRS)];
  unsigned moves = r->any ? 1 + below(m, 24) : 0;
  for (unsigned i = 0; i < moves; i++) {
    unsigned end = below(m, 2), piece = pieces[below(m, 6)];
    switch (below(m, 3)) {
    case 0:
      (void)sim_pair_work(&r->pair, end);
      break;
    case 1:
      (void)sim_pair_send(&r->pair, end, piece);
      break;
    default:
      (void)sim_pair_deliver(&r->pair, end, piece);
      break;
    }
  }
  if (r->any) {
    check_pair(m, r);
    if (sim_pair_done(&r->pair)) {
      end_pair(m, r);
    }
  }
}

static void event_cut(sim_mesh *m) {
  running *r = &m->pairs[below(m, PAIRS)];
  m->totals.cuts += r->any;
  end_pair(m, r);
}

static void cut_all_of(sim_mesh *m, unsigned node_number) {
  for (unsigned i = 0; i < PAIRS; i++) {
    if (m->pairs[i].node[0] == node_number || m->pairs[i].node[1] == node_number) {
      end_pair(m, &m->pairs[i]);
    }
  }
}

/* --- Pushes --- */

static void event_push(sim_mesh *m, node *n) {
  unsigned known = n->recent_count < RECENT ? n->recent_count : RECENT;
  if (known == 0 || m->push_count == PUSHES || n->batch) {
    return;
  }
  push *p = &m->pushes[m->push_count];
  km_entry e;
  km_errinfo err;
  int rv = km_kv_find(n->store, m->share, &n->recent[below(m, known)], &e, &err);
  *p = (push){.from = n->number, .to = below(m, m->count)};
  if (rv != 0 || p->to == p->from) {
    return; /* replaced meanwhile */
  }
  km_wr wr = km_wr_init(p->bytes, sizeof p->bytes);
  km_entry_encode(&e, &wr);
  p->len = (size_t)(wr.at - p->bytes);
  m->push_count++;
}

/* Any of them, so out of order; often lost, often not for the last time. */
static void event_deliver(sim_mesh *m) {
  if (m->push_count == 0) {
    return;
  }
  unsigned i = below(m, m->push_count);
  push *p = &m->pushes[i];
  km_rd rd = km_rd_init(p->bytes, p->len);
  km_entry e;
  km_errinfo err;
  const km_store_options *o = &m->nodes[p->to].store->options;
  int rv = km_entry_decode(&e, &rd, m->share, strlen(m->share), o->max_key, o->max_value, &err);
  if (rv == 0 && below(m, 4) > 0) {
    rv = km_kv_apply(m->nodes[p->to].store, &e, km_store_id(m->nodes[p->from].store), &err);
    m->totals.future += rv == KM_KV_FUTURE;
    m->totals.pushes++;
  }
  if (rv < 0 || rv == KM_KV_FORGED || rv == KM_KV_FORBIDDEN) {
    fail(m, "node %u cannot take a push: %d", p->to, rv);
  }
  if (below(m, 3) > 0) {
    *p = m->pushes[--m->push_count];
  }
}

/* --- Faults and time --- */

static void event_crash(sim_mesh *m, node *n) {
  cut_all_of(m, n->number);
  if (m->dir != NULL) {
    crash_on_disk(n);
  } else {
    km_kv_rollback(n->store);
  }
  end_batch(n, false);
  m->totals.crashes++;
}

static void event_clock(sim_mesh *m, node *n) {
  n->skew_ms = (int64_t)below(m, 360000) - 180000;
}

static void check_some(sim_mesh *m, node *n) {
  km_errinfo err;
  if (!n->batch && km_kv_check_some(n->store, 1 + below(m, 8), &err) < 0) {
    fail(m, "node %u cannot check: %s", n->number, err.text);
  }
}

static void collect(sim_mesh *m, node *n) {
  km_errinfo err;
  if (n->batch) {
    return;
  }
  int64_t count = km_kv_collect(n->store, &err);
  if (count < 0) {
    fail(m, "node %u cannot collect: %s", n->number, err.text);
  }
  m->totals.collected += count > 0 ? (uint64_t)count : 0;
}

/* Nothing is on its way for so long. */
static void event_days(sim_mesh *m) {
  m->now_ms += 2 * DAY_MS;
  m->push_count = 0;
  for (unsigned i = 0; i < m->count; i++) {
    cut_all_of(m, i);
    if (below(m, 3) > 0) {
      collect(m, &m->nodes[i]);
    }
  }
}

static void event(sim_mesh *m) {
  unsigned what = below(m, 100);
  node *n = &m->nodes[below(m, m->count)];
  m->now_ms += below(m, 20) == 0 ? below(m, 30000) : below(m, 20);
  if (what < 14) {
    event_write(m, n, what < 3);
  } else if (what < 20) {
    event_batch(m, n);
  } else if (what < 23) {
    event_clock(m, n);
  } else if (what < 33) {
    event_begin(m);
  } else if (what < 75) {
    event_move(m);
  } else if (what < 77) {
    event_cut(m);
  } else if (what < 85) {
    event_push(m, n);
  } else if (what < 94) {
    event_deliver(m);
  } else if (what < 96) {
    event_crash(m, n);
  } else if (what < 99) {
    check_some(m, n);
  } else {
    event_days(m);
  }
}

/* --- The end --- */

static void sync_whole(sim_mesh *m, unsigned a, unsigned b) {
  running *r = &m->pairs[0];
  begin_pair(m, r, a, b);
  sim_pair_run(&r->pair, 100000);
  check_pair(m, r);
  if (!sim_pair_done(&r->pair)) {
    fail(m, "the sync of nodes %u and %u stands still", a, b);
  }
  end_pair(m, r);
}

static void heal(sim_mesh *m) {
  km_errinfo err;
  m->now_ms += 600000;
  m->push_count = 0;
  for (unsigned i = 0; i < m->count; i++) {
    cut_all_of(m, i);
    m->nodes[i].skew_ms = 0;
    if (m->nodes[i].batch) {
      if (km_kv_commit(m->nodes[i].store, &err) != 0) {
        fail(m, "node %u cannot commit: %s", i, err.text);
      }
      end_batch(&m->nodes[i], true);
    }
  }
}

static bool all_equal(sim_mesh *m) {
  uint8_t first[KM_KV_HASH_BYTES], other[KM_KV_HASH_BYTES];
  km_errinfo err;
  for (unsigned i = 0; i < m->count; i++) {
    if (km_kv_hash(m->nodes[i].store, m->share, i == 0 ? first : other, &err) != 0) {
      fail(m, "node %u has no hash: %s", i, err.text);
      return false;
    }
    if (i > 0 && memcmp(first, other, sizeof first) != 0) {
      return false;
    }
  }
  return true;
}

typedef struct found {
  bool any[KEYS];
  uint64_t clock[KEYS];
  km_id author[KEYS];
} found;

static void note_found(void *ctx, const km_kv_entry *e) {
  found *f = ctx;
  unsigned key = (unsigned)(e->key[1] - '0');
  f->any[key] = true;
  f->clock[key] = e->clock;
  f->author[key] = e->author;
}

static const km_id *node_id(const sim_mesh *m, unsigned number) {
  return km_store_id(m->nodes[number].store);
}

static int compare_stamps(uint64_t a, const km_id *a_author, uint64_t b, const km_id *b_author) {
  return a != b ? (a < b ? -1 : 1) : memcmp(a_author->bytes, b_author->bytes, KM_ID_BYTES);
}

/* The latest write of a key that was acknowledged; NULL: none. */
static const ack *latest_ack(const sim_mesh *m, unsigned key) {
  const ack *latest = NULL;
  for (unsigned i = 0; i < m->ack_count; i++) {
    const ack *a = &m->acks[i];
    if (a->key == key &&
        (latest == NULL || compare_stamps(a->clock, node_id(m, a->node), latest->clock,
                                          node_id(m, latest->node)) > 0)) {
      latest = a;
    }
  }
  return latest;
}

/* It, or a later one, is there. A deletion may have been forgotten. */
static void check_acks(sim_mesh *m, unsigned node_number) {
  found f = {0};
  km_errinfo err;
  const km_kv_query all = {.size = sizeof all, .with_deleted = true};
  if (km_kv_list(m->nodes[node_number].store, m->share, &all, note_found, &f, &err) < 0) {
    fail(m, "node %u cannot list: %s", node_number, err.text);
  }
  for (unsigned key = 0; key < KEYS; key++) {
    const ack *a = latest_ack(m, key);
    bool ok = a == NULL || (a->deleted && !f.any[key]);
    if (!ok && f.any[key]) {
      ok = compare_stamps(f.clock[key], &f.author[key], a->clock, node_id(m, a->node)) >= 0;
    }
    if (!ok) {
      fail(m, "node %u lost the %s of k%u by node %u", node_number, a->deleted ? "deletion" : "put",
           key, a->node);
    }
  }
}

static void finish(sim_mesh *m) {
  heal(m);
  for (unsigned round = 0; round < m->count && m->failure[0] == '\0'; round++) {
    for (unsigned i = 0; i + 1 < m->count; i++) {
      sync_whole(m, i, i + 1);
    }
  }
  if (m->failure[0] == '\0' && !all_equal(m)) {
    fail(m, "the stores are not equal in the end");
  }
  for (unsigned i = 0; i < m->count && m->failure[0] == '\0'; i++) {
    check_acks(m, i);
  }
}

static void begin_run(sim_mesh *m, uint64_t seed) {
  km_id ids[SIM_NODES_MAX];
  km_errinfo err;
  m->rng = seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
  m->count = 3 + below(m, SIM_NODES_MAX - 2);
  m->failure[0] = '\0';
  m->ack_count = m->push_count = 0;
  /* So that what earlier runs left in the clocks is long past. */
  m->now_ms = START_MS + (int64_t)(seed % 100000) * 30 * DAY_MS;
  (void)snprintf(m->share, sizeof m->share, "run%llu", (unsigned long long)seed);
  for (unsigned i = 0; i < m->count; i++) {
    m->nodes[i].skew_ms = 0;
    m->nodes[i].recent_count = 0;
  }
  for (unsigned i = 0; i < m->count; i++) {
    unsigned others = 0;
    for (unsigned j = 0; j < m->count; j++) {
      if (j != i) {
        ids[others++] = *node_id(m, j);
      }
    }
    if (km_kv_set_readers(m->nodes[i].store, m->share, ids, others, &err) != 0) {
      fail(m, "node %u: %s", i, err.text);
    }
  }
}

const char *sim_mesh_run(sim_mesh *m, uint64_t seed) {
  begin_run(m, seed);
  unsigned events = 40 + below(m, 160);
  for (unsigned i = 0; i < events && m->failure[0] == '\0'; i++) {
    event(m);
  }
  if (m->failure[0] == '\0') {
    finish(m);
  }
  for (unsigned i = 0; i < PAIRS; i++) {
    end_pair(m, &m->pairs[i]);
  }
  return m->failure[0] != '\0' ? m->failure : NULL;
}
