/* km-bench-kv: what test/bench/kv/run drives. Writes COUNT entries, of which every fourth replaces
 * an earlier one, and prints how fast, as JSON.
 *
 *   PEER BATCH COUNT VALUE FILE [full]
 *
 * PEER is km (our store), raw (SQLite alone, with the same table, indices and settings) or plain
 * (SQLite alone, with a table of key and value). BATCH is how many go in one transaction; 1 is one
 * put after the other, acknowledged each. VALUE is the bytes of a value. full: as with
 * KM_DURABLE_POWER, else as with KM_DURABLE_PROCESS. */
#include <keymesh/kv.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "store/store_impl.h"

enum { VALUE_MAX = 65536, KEY_CAP = 32, HASH_BYTES = 16 };

typedef struct task {
  size_t batch, count, value_len;
  const char *path;
  bool full;
} task;

typedef struct put {
  char key[KEY_CAP];
  uint8_t value[VALUE_MAX];
  uint8_t hash[HASH_BYTES];
} put;

static void die(const char *what) {
  (void)fprintf(stderr, "km-bench-kv: %s\n", what);
  exit(1);
}

static uint64_t mix(uint64_t x) { /* splitmix64 */
  uint64_t z = x * UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

/* The same for every peer. Keys come in no order. */
static void make_put(put *p, uint64_t number, size_t value_len) {
  uint64_t of = number % 4 == 3 ? mix(number) % number : number;
  (void)snprintf(p->key, sizeof p->key, "part/%016llx", (unsigned long long)mix(of));
  uint64_t words[2] = {mix(number), mix(~number)};
  memcpy(p->hash, words, sizeof p->hash);
  memcpy(p->value, words, value_len < sizeof words ? value_len : sizeof words);
}

static double seconds(clockid_t clock) {
  struct timespec t;
  (void)clock_gettime(clock, &t); /* cannot fail with these clocks */
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- our store -------------------------------------------------------------------------------- */

static void check(int rv, const km_errinfo *err) {
  if (rv != 0) {
    die(err->text);
  }
}

static void *open_km(const task *t) {
  static const uint8_t seed[KM_SECRET_KEY_BYTES] = {1};
  km_store_options o;
  km_secret_key *key;
  km_store *store;
  km_errinfo err = {0};
  km_store_options_default(&o);
  o.path = t->path;
  o.max_value = VALUE_MAX;
  o.durability = t->full ? KM_DURABLE_POWER : KM_DURABLE_PROCESS;
  check(km_secret_key_from_bytes(&key, seed), &err);
  o.secret_key = key;
  check(km_store_open(&store, &o, &err), &err);
  km_secret_key_free(key);
  return store;
}

static void begin_km(void *store) {
  km_errinfo err = {0};
  check(km_kv_begin(store, &err), &err);
}

static void commit_km(void *store) {
  km_errinfo err = {0};
  check(km_kv_commit(store, &err), &err);
}

static void put_km(void *store, const put *p, size_t value_len, uint64_t number) {
  km_errinfo err = {0};
  (void)number;
  check(km_kv_put(store, "bench", p->key, p->value, value_len, &err), &err);
}

static void close_km(void *store) {
  km_store_close(store);
}

/* --- SQLite alone ----------------------------------------------------------------------------- */

typedef struct raw {
  sqlite3 *db;
  sqlite3_stmt *begin, *commit, *put;
} raw;

static void must(raw *r, int rc) {
  if (rc != SQLITE_OK) {
    die(sqlite3_errmsg(r->db));
  }
}

static void step(raw *r, sqlite3_stmt *stmt) {
  if (sqlite3_step(stmt) != SQLITE_DONE) {
    die(sqlite3_errmsg(r->db));
  }
  must(r, sqlite3_reset(stmt));
}

static void prepare(raw *r, sqlite3_stmt **ret, const char *sql) {
  must(r, sqlite3_prepare_v3(r->db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL));
}

/* As store_io.c and db_io.c set it. */
static raw *open_sqlite(const task *t, const char *schema, const char *sql) {
  raw *r = calloc(1, sizeof *r);
  char settings[256];
  if (r == NULL) {
    die("out of memory");
  }
  must(r, sqlite3_open_v2(t->path, &r->db,
                          SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL));
  (void)snprintf(settings, sizeof settings,
                 "PRAGMA locking_mode=EXCLUSIVE;PRAGMA temp_store=MEMORY;PRAGMA cell_size_check=ON;"
                 "PRAGMA cache_size=-16384;PRAGMA synchronous=%s;PRAGMA journal_mode=WAL;"
                 "PRAGMA journal_size_limit=4194304",
                 t->full ? "FULL" : "NORMAL");
  must(r, sqlite3_exec(r->db, settings, NULL, NULL, NULL));
  must(r, sqlite3_exec(r->db, schema, NULL, NULL, NULL));
  prepare(r, &r->begin, "BEGIN IMMEDIATE");
  prepare(r, &r->commit, "COMMIT");
  prepare(r, &r->put, sql);
  return r;
}

static void *open_raw(const task *t) {
  return open_sqlite(
      t, km_store_migrations[0],
      "INSERT OR REPLACE INTO kv_entry(seq, share, clock, flags, state, hash, author,"
      " key, sig, value) VALUES(?,1,?,0,2,?,?,?,NULL,?)");
}

static void *open_plain(const task *t) {
  return open_sqlite(t, "CREATE TABLE kv(key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID",
                     "INSERT OR REPLACE INTO kv(key, value) VALUES(?,?)");
}

static void begin_raw(void *ctx) {
  raw *r = ctx;
  step(r, r->begin);
}

static void commit_raw(void *ctx) {
  raw *r = ctx;
  step(r, r->commit);
}

static void put_raw(void *ctx, const put *p, size_t value_len, uint64_t number) {
  static const uint8_t author[KM_ID_BYTES] = {1};
  raw *r = ctx;
  must(r, sqlite3_bind_int64(r->put, 1, (int64_t)number + 1));
  must(r, sqlite3_bind_int64(r->put, 2, (int64_t)number + (INT64_C(1760000000000) << 16)));
  must(r, sqlite3_bind_blob(r->put, 3, p->hash, HASH_BYTES, SQLITE_STATIC));
  must(r, sqlite3_bind_blob(r->put, 4, author, sizeof author, SQLITE_STATIC));
  must(r, sqlite3_bind_blob(r->put, 5, p->key, (int)strlen(p->key), SQLITE_STATIC));
  must(r, sqlite3_bind_blob(r->put, 6, p->value, (int)value_len, SQLITE_STATIC));
  step(r, r->put);
}

static void put_plain(void *ctx, const put *p, size_t value_len, uint64_t number) {
  raw *r = ctx;
  (void)number;
  must(r, sqlite3_bind_blob(r->put, 1, p->key, (int)strlen(p->key), SQLITE_STATIC));
  must(r, sqlite3_bind_blob(r->put, 2, p->value, (int)value_len, SQLITE_STATIC));
  step(r, r->put);
}

static void close_raw(void *ctx) {
  raw *r = ctx;
  must(r, sqlite3_finalize(r->begin));
  must(r, sqlite3_finalize(r->commit));
  must(r, sqlite3_finalize(r->put));
  must(r, sqlite3_close(r->db));
  free(r);
}

/* --- a run ------------------------------------------------------------------------------------ */

typedef struct peer {
  const char *name;
  void *(*open)(const task *t);
  void (*begin)(void *ctx);
  void (*put)(void *ctx, const put *p, size_t value_len, uint64_t number);
  void (*commit)(void *ctx);
  void (*close)(void *ctx);
} peer;

static const peer peers[] = {
    {"km", open_km, begin_km, put_km, commit_km, close_km},
    {"raw", open_raw, begin_raw, put_raw, commit_raw, close_raw},
    {"plain", open_plain, begin_raw, put_plain, commit_raw, close_raw},
};

static void run(const peer *p, const task *t) {
  static put one;
  void *ctx = p->open(t);
  double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID), from = seconds(CLOCK_MONOTONIC);
  for (size_t i = 0; i < t->count; i++) {
    make_put(&one, i, t->value_len);
    if (t->batch > 1 && i % t->batch == 0) {
      p->begin(ctx);
    }
    p->put(ctx, &one, t->value_len, i);
    if (t->batch > 1 && (i % t->batch == t->batch - 1 || i == t->count - 1)) {
      p->commit(ctx);
    }
  }
  cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
  from = seconds(CLOCK_MONOTONIC) - from;
  p->close(ctx);
  struct stat st;
  if (stat(t->path, &st) != 0) {
    die("the database is gone");
  }
  (void)printf("{\"per_second\": %.1f, \"per_cpu_second\": %.1f, \"disk_bytes_per_put\": %.1f}\n",
               (double)t->count / from, (double)t->count / cpu,
               (double)st.st_size / (double)t->count);
}

int main(int argc, char **argv) {
  if (argc < 6) {
    die("usage: km-bench-kv km|raw|plain BATCH COUNT VALUE FILE [full]");
  }
  const task t = {.batch = strtoul(argv[2], NULL, 10),
                  .count = strtoul(argv[3], NULL, 10),
                  .value_len = strtoul(argv[4], NULL, 10),
                  .path = argv[5],
                  .full = argc > 6 && strcmp(argv[6], "full") == 0};
  if (t.batch == 0 || t.count == 0 || t.value_len > VALUE_MAX) {
    die("BATCH and COUNT are 1 or more, VALUE is at most 65536");
  }
  for (size_t i = 0; i < sizeof peers / sizeof peers[0]; i++) {
    if (strcmp(argv[1], peers[i].name) == 0) {
      run(&peers[i], &t);
      return 0;
    }
  }
  die("unknown peer");
}
