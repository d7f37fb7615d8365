/* km-bench-sync: what test/bench/sync/run drives. Prints one line of JSON.
 *
 *   initial own|others|raw COUNT VALUE BATCH FOLDER
 *                                            COUNT entries into an empty store in a file: over a
 *                                            synchronization with their author, with somebody who
 *                                            has them of others, or by SQLite alone in transactions
 *                                            of BATCH, the same rows into the same table
 *   bytes KIND COUNT DIFFER VALUE            what a synchronization of two stores with COUNT
 *                                            entries sends both ways; KIND is new, missing, updates
 *
 * VALUE is the bytes of a value. Sender and receiver of a synchronization share one thread here. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/store_impl.h"
#include "test/store/sim_pair.h"

enum { VALUE_MAX = 65536, PIECE = 65536 };

static void die(const char *what) {
  (void)fprintf(stderr, "km-bench-sync: %s\n", what);
  exit(1);
}

static void check(int64_t rv, const km_errinfo *err) {
  if (rv < 0) {
    die(err->text);
  }
}

static double read_clock(clockid_t clock) {
  struct timespec t;
  (void)clock_gettime(clock, &t); /* cannot fail with these clocks */
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double now(void) {
  return read_clock(CLOCK_MONOTONIC);
}

static double cpu_now(void) {
  return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

static uint64_t mix(uint64_t x) { /* splitmix64 */
  uint64_t z = x * UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

/* --- Stores --- */

static int64_t wall_ms = INT64_C(1760000000000);

static km_wall wall(void *ctx) {
  (void)ctx;
  return (km_wall){.unix_ns = wall_ms * (int64_t)KM_NS_PER_MS};
}

static km_store *open_store(uint8_t number, const char *path) {
  uint8_t seed[KM_SECRET_KEY_BYTES] = {number};
  km_store_options o;
  km_secret_key *key;
  km_store *store;
  km_errinfo err = {0};
  km_store_options_default(&o);
  o.path = path;
  check(km_secret_key_from_bytes(&key, seed), &err);
  o.secret_key = key;
  check(km_store_open_with(&store, &o, &km_env_system, wall, NULL, &err), &err);
  km_secret_key_free(key);
  return store;
}

/* Entries with these numbers, a second and a half apart. */
static void put_range(km_store *store, size_t from, size_t to, size_t value_len) {
  static uint8_t value[VALUE_MAX];
  km_errinfo err = {0};
  check(km_kv_begin(store, &err), &err);
  for (size_t i = from; i < to; i++) {
    char key[32];
    (void)snprintf(key, sizeof key, "part/%016llx", (unsigned long long)mix(i));
    wall_ms += (int64_t)(mix(~i) % 3000);
    memcpy(value, &i, value_len < sizeof i ? value_len : sizeof i);
    check(km_kv_put(store, "bench", key, value, value_len, &err), &err);
  }
  check(km_kv_commit(store, &err), &err);
}

/* So that signing, which happens once whoever is synchronized with, is not measured. */
static void sign_all(km_store *store) {
  km_errinfo err = {0};
  int64_t left;
  while ((left = km_kv_check_some(store, 1000, &err)) > 0) {
  }
  check(left, &err);
}

/* --- A synchronization --- */

typedef struct cost {
  double seconds[2]; /* of the sender, of the receiver */
  double cpu;        /* of both */
  uint64_t bytes;
} cost;

static void add_since(double *sum, double from) {
  *sum += now() - from;
}

/* The first store begins. */
static cost synchronize(km_store *a, km_store *b) {
  sim_pair p;
  cost c = {0};
  double cpu = cpu_now();
  sim_pair_init(&p, a, b);
  sim_pair_begin(&p, "bench");
  for (bool moved = true; moved;) {
    moved = false;
    for (unsigned i = 0; i < 2; i++) {
      double from = now();
      moved = sim_pair_work(&p, i) || moved;
      moved = sim_pair_send(&p, i, PIECE) || moved;
      add_since(&c.seconds[i], from);
      from = now();
      moved = sim_pair_deliver(&p, i, PIECE) || moved;
      add_since(&c.seconds[1 - i], from);
    }
  }
  if (!sim_pair_done(&p)) {
    die(p.end[0].err.code != 0 ? p.end[0].err.text : p.end[1].err.text);
  }
  c.cpu = cpu_now() - cpu;
  km_sync_stats stats = sim_pair_stats(&p, 0);
  c.bytes = stats.sent_bytes + stats.received_bytes;
  sim_pair_free(&p);
  return c;
}

/* --- SQLite alone --- */

typedef struct row {
  uint64_t clock;
  km_id author;
  uint8_t hash[KM_ENTRY_HASH_BYTES], sig[KM_SIGNATURE_BYTES];
  uint32_t key_len, value_len;
  uint8_t bytes[]; /* key, value */
} row;

typedef struct rows {
  row **row;
  size_t count;
} rows;

static row *make_row(const km_entry *e, const km_item *item) {
  row *r = malloc(sizeof *r + e->key_len + e->value_len);
  if (r == NULL) {
    die("out of memory");
  }
  r->clock = e->clock;
  r->author = e->author;
  r->key_len = e->key_len;
  r->value_len = e->value_len;
  memcpy(r->hash, item->hash, sizeof r->hash);
  memcpy(r->sig, e->sig, sizeof r->sig);
  memcpy(r->bytes, e->key, e->key_len);
  if (e->value_len > 0) {
    memcpy(r->bytes + e->key_len, e->value, e->value_len);
  }
  return r;
}

static km_item *all_items(km_store *store, size_t count) {
  km_errinfo err = {0};
  km_item *items = malloc((count + 1) * sizeof *items);
  if (items == NULL) {
    die("out of memory");
  }
  int64_t got = km_kv_items(store, "bench", NULL, items, count + 1, &err);
  check(got, &err);
  if ((size_t)got != count) {
    die("a store has not the entries it should");
  }
  return items;
}

static rows read_rows(km_store *store, size_t count) {
  km_errinfo err = {0};
  km_item *items = all_items(store, count);
  rows all = {malloc(count * sizeof(row *)), count};
  if (all.row == NULL) {
    die("out of memory");
  }
  for (size_t i = 0; i < count; i++) {
    km_entry e;
    check(km_kv_find(store, "bench", &items[i], &e, &err), &err);
    all.row[i] = make_row(&e, &items[i]);
  }
  free(items);
  return all;
}

static void must(sqlite3 *db, int rc) {
  if (rc != SQLITE_OK) {
    die(sqlite3_errmsg(db));
  }
}

static void must_exec(sqlite3 *db, const char *sql) {
  must(db, sqlite3_exec(db, sql, NULL, NULL, NULL));
}

static void insert_row(sqlite3 *db, sqlite3_stmt *put, const row *r, size_t number) {
  must(db, sqlite3_bind_int64(put, 1, (int64_t)number + 1));
  must(db, sqlite3_bind_int64(put, 2, (int64_t)r->clock));
  must(db, sqlite3_bind_blob(put, 3, r->hash, sizeof r->hash, SQLITE_STATIC));
  must(db, sqlite3_bind_blob(put, 4, r->author.bytes, KM_ID_BYTES, SQLITE_STATIC));
  must(db, sqlite3_bind_blob(put, 5, r->bytes, (int)r->key_len, SQLITE_STATIC));
  must(db, sqlite3_bind_blob(put, 6, r->sig, sizeof r->sig, SQLITE_STATIC));
  must(db, sqlite3_bind_blob(put, 7, r->bytes + r->key_len, (int)r->value_len, SQLITE_STATIC));
  if (sqlite3_step(put) != SQLITE_DONE) {
    die(sqlite3_errmsg(db));
  }
  must(db, sqlite3_reset(put));
}

/* With the settings of a store. The newest first, as a synchronization sends them. */
static cost insert_raw(const char *path, const rows *all, size_t batch) {
  sqlite3 *db;
  sqlite3_stmt *put;
  must(NULL, sqlite3_open(path, &db));
  must_exec(db, "PRAGMA locking_mode=EXCLUSIVE;PRAGMA temp_store=MEMORY;PRAGMA cell_size_check=ON;"
                "PRAGMA cache_size=-16384;PRAGMA synchronous=FULL;PRAGMA journal_mode=WAL;"
                "PRAGMA journal_size_limit=4194304");
  must_exec(db, km_store_migrations[0]);
  must(db, sqlite3_prepare_v2(db,
                              "INSERT OR REPLACE INTO kv_entry(seq, share, clock, flags, state, "
                              "hash, author, key, sig, value) VALUES(?,1,?,0,0,?,?,?,?,?)",
                              -1, &put, NULL));
  cost c = {0};
  double from = now(), cpu = cpu_now();
  for (size_t i = 0; i < all->count; i++) {
    if (i % batch == 0) {
      must_exec(db, i == 0 ? "BEGIN IMMEDIATE" : "COMMIT;BEGIN IMMEDIATE");
    }
    insert_row(db, put, all->row[all->count - 1 - i], i);
  }
  must_exec(db, "COMMIT");
  add_since(&c.seconds[1], from);
  c.cpu = cpu_now() - cpu;
  must(db, sqlite3_finalize(put));
  must(db, sqlite3_close(db));
  return c;
}

/* --- An empty store --- */

/* All but every one that was chosen, as if the second store had missed those. */
static void copy_all_but(km_store *a, km_store *b, size_t count, size_t missing) {
  km_errinfo err = {0};
  km_item *items = all_items(a, count);
  check(km_kv_begin(b, &err), &err);
  for (size_t i = 0; i < count; i++) {
    km_entry e;
    if (missing > 0 && mix(i) % (count / missing) == 0) {
      continue;
    }
    check(km_kv_find(a, "bench", &items[i], &e, &err), &err);
    check(km_kv_apply(b, &e, km_store_id(a), &err), &err);
  }
  check(km_kv_commit(b, &err), &err);
  free(items);
}

/* Entries that four others wrote. */
static void fill_by_others(km_store *a, size_t count, size_t value_len) {
  enum { AUTHORS = 4 };
  for (size_t i = 0; i < AUTHORS; i++) {
    size_t from = count * i / AUTHORS, to = count * (i + 1) / AUTHORS;
    km_store *author = open_store((uint8_t)(10 + i), NULL);
    put_range(author, from, to, value_len);
    sign_all(author);
    copy_all_but(author, a, to - from, 0);
    km_store_close(author);
  }
}

static void initial(const char *peer, size_t count, size_t value_len, size_t batch,
                    const char *folder) {
  char path[512];
  (void)snprintf(path, sizeof path, "%s/%s.db", folder, peer);
  km_store *a = open_store(1, NULL);
  if (strcmp(peer, "others") == 0) {
    fill_by_others(a, count, value_len);
  } else {
    put_range(a, 0, count, value_len);
  }
  sign_all(a);
  if (strcmp(peer, "raw") == 0) {
    rows all = read_rows(a, count);
    cost c = insert_raw(path, &all, batch);
    (void)printf("{\"per_second\": %.1f, \"per_cpu_second\": %.1f}\n", (double)count / c.seconds[1],
                 (double)count / c.cpu);
    for (size_t i = 0; i < count; i++) {
      free(all.row[i]);
    }
    free(all.row);
  } else {
    km_store *b = open_store(2, path);
    cost c = synchronize(a, b);
    free(all_items(b, count));
    (void)printf("{\"per_second\": %.1f, \"per_cpu_second\": %.1f, "
                 "\"receiver_per_second\": %.1f, \"bytes_per_entry\": %.1f}\n",
                 (double)count / (c.seconds[0] + c.seconds[1]), (double)count / c.cpu,
                 (double)count / c.seconds[1], (double)c.bytes / (double)count);
    km_store_close(b);
  }
  km_store_close(a);
}

/* --- Bytes --- */

/* Entries of `a` that `b` has not, as bytes: no protocol can send less. */
static uint64_t bound_of(km_store *a, km_store *b, size_t count, size_t *differ) {
  km_errinfo err = {0};
  km_item *items = all_items(a, count);
  uint64_t bytes = 0;
  for (size_t i = 0; i < count; i++) {
    km_entry e;
    if (km_kv_find(b, "bench", &items[i], &e, &err) == KM_ERR_NOT_FOUND) {
      check(km_kv_find(a, "bench", &items[i], &e, &err), &err);
      bytes += km_entry_size(&e);
      ++*differ;
    }
  }
  free(items);
  return bytes;
}

static void bytes(const char *kind, size_t count, size_t differ, size_t value_len) {
  bool is_new = strcmp(kind, "new") == 0, missing = strcmp(kind, "missing") == 0;
  km_store *a = open_store(1, NULL), *b = open_store(2, NULL);
  put_range(a, 0, is_new ? count - differ : count, value_len);
  copy_all_but(a, b, is_new ? count - differ : count, missing ? differ : 0);
  if (is_new) {
    put_range(a, count - differ, count, value_len);
  } else if (!missing) {
    for (size_t i = 0; i < differ; i++) {
      size_t at = mix(i + 7) % count;
      put_range(a, at, at + 1, value_len);
    }
  }
  size_t found = 0;
  uint64_t bound = bound_of(a, b, count, &found);
  cost c = synchronize(b, a); /* whoever is behind begins; the other way round is about the same */
  (void)printf("{\"bytes\": %llu, \"bound\": %llu, \"times\": %.3f, \"differ\": %zu}\n",
               (unsigned long long)c.bytes, (unsigned long long)bound,
               (double)c.bytes / (double)bound, found);
  km_store_close(a);
  km_store_close(b);
}

static size_t number(const char *text) {
  return strtoul(text, NULL, 10);
}

int main(int argc, char **argv) {
  if (argc == 7 && strcmp(argv[1], "initial") == 0 && number(argv[3]) > 0 &&
      number(argv[4]) <= VALUE_MAX && number(argv[5]) > 0) {
    initial(argv[2], number(argv[3]), number(argv[4]), number(argv[5]), argv[6]);
  } else if (argc == 6 && strcmp(argv[1], "bytes") == 0 && number(argv[4]) > 0 &&
             number(argv[3]) >= number(argv[4]) && number(argv[5]) <= VALUE_MAX) {
    bytes(argv[2], number(argv[3]), number(argv[4]), number(argv[5]));
  } else {
    die("usage: km-bench-sync initial own|others|raw COUNT VALUE BATCH FOLDER\n"
        "       km-bench-sync bytes new|missing|updates COUNT DIFFER VALUE");
  }
  return 0;
}
