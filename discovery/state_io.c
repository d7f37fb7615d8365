#include "discovery/state_io.h"

#include "discovery/id_map.h"

#define APPLICATION_ID UINT32_C(0x4b4d6473) /* "KMds" */
#define WAIT_MS 25                          /* for another process: the loop waits, too */

/* Times are seconds of Unix time, timestamps microseconds. The cache (cache_io.c) has `peer`, one
 * row a peer that is known, `used` counting upwards with each use, `worked` telling whether it was
 * ever reached; `worked`, the ways on which it was; `heard`, what it signed last, by the source
 * that had it. `stamp` is about our own packets, `newest` about those of others. */
static const char *const migrations[] = {
    "CREATE TABLE stamp(id BLOB PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE peer(id BLOB PRIMARY KEY, used INTEGER NOT NULL, worked INTEGER NOT NULL)"
    " WITHOUT ROWID;"
    "CREATE INDEX peer_order ON peer(worked, used);"
    "CREATE TABLE worked(id BLOB NOT NULL REFERENCES peer ON DELETE CASCADE, way TEXT NOT NULL,"
    " at INTEGER NOT NULL, PRIMARY KEY(id, way)) WITHOUT ROWID;"
    "CREATE TABLE heard(id BLOB NOT NULL REFERENCES peer ON DELETE CASCADE, source TEXT NOT NULL,"
    " at INTEGER NOT NULL, ways TEXT NOT NULL, user_data TEXT, published INTEGER NOT NULL,"
    " proven INTEGER NOT NULL, PRIMARY KEY(id, source)) WITHOUT ROWID;",
    /* What nobody proved is not stored any more. */
    "DELETE FROM heard WHERE NOT proven;"
    "ALTER TABLE heard DROP COLUMN proven;"
    "CREATE TABLE newest(id BLOB PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX newest_order ON newest(last);",
};

struct km_discovery_state {
  const km_env *env;
  km_db *db;
  km_db_stmt *stamp, *seen;
  km_db_stmt *get_newest, *put_newest, *trim_newest;
  km_id_map last; /* a key's last timestamp: right also where the disk fails */
  bool warned;
};

static int prepare(km_discovery_state *s, km_errinfo *err) {
  const struct {
    km_db_stmt **ret;
    const char *sql;
  } all[] = {
      {&s->stamp, "INSERT INTO stamp VALUES(?1, ?2) ON CONFLICT(id) DO UPDATE SET "
                  "last = max(excluded.last, last + 1) RETURNING last"},
      {&s->seen, "INSERT INTO stamp VALUES(?1, ?2) ON CONFLICT(id) DO UPDATE SET "
                 "last = max(excluded.last, last) RETURNING last"},
      {&s->get_newest, "SELECT last FROM newest WHERE id = ?1"},
      {&s->put_newest, "INSERT INTO newest VALUES(?1, ?2) ON CONFLICT(id) DO UPDATE SET "
                       "last = max(excluded.last, last)"},
      {&s->trim_newest, "DELETE FROM newest WHERE id IN (SELECT id FROM newest ORDER BY last "
                        "LIMIT max(0, (SELECT count(*) FROM newest) - ?1))"},
  };
  int rv = 0;
  for (size_t i = 0; rv == 0 && i < sizeof all / sizeof all[0]; i++) {
    rv = km_db_prepare(s->db, all[i].ret, all[i].sql, err);
  }
  return rv;
}

int km_discovery_state_open(km_discovery_state **ret, const km_env *env, const char *path,
                            km_errinfo *err) {
  km_discovery_state *s = km_env_zalloc(env, 1, sizeof *s);
  if (s == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  s->env = env;
  km_id_map_init(&s->last, env);
  const km_db_config config = {.env = env,
                               .path = path,
                               .application_id = APPLICATION_ID,
                               .wait_ms = WAIT_MS,
                               .migrations = migrations,
                               .migration_count = sizeof migrations / sizeof migrations[0]};
  int rv = km_db_open(&s->db, &config, err);
  if (rv == 0) {
    rv = prepare(s, err);
  }
  if (rv != 0) {
    km_discovery_state_close(s);
    return rv;
  }
  *ret = s;
  return 0;
}

void km_discovery_state_close(km_discovery_state *s) {
  if (s == NULL) {
    return;
  }
  size_t at = 0;
  for (km_id_slot *slot; (slot = km_id_map_next(&s->last, &at)) != NULL;) {
    km_env_free(s->env, slot->value);
  }
  km_id_map_clear(&s->last);
  km_db_close(s->db);
  km_env_free(s->env, s);
}

km_db *km_discovery_state_db(km_discovery_state *s) {
  return s->db;
}

static uint64_t last_of(const km_discovery_state *s, const km_id *id) {
  const uint64_t *last = km_id_map_get(&s->last, id);
  return last == NULL ? 0 : *last;
}

static void set_last(km_discovery_state *s, const km_id *id, uint64_t value) {
  uint64_t *last = km_id_map_get(&s->last, id);
  if (last == NULL) {
    last = km_env_alloc(s->env, sizeof *last);
    if (last == NULL || km_id_map_set(&s->last, id, last) != 0) {
      km_env_free(s->env, last);
      return; /* the database has it */
    }
  }
  *last = value;
}

/* One line, until it works again. */
static void note(km_discovery_state *s, const km_id *id, int rv, const km_errinfo *why) {
  if (rv != 0 && !s->warned) {
    KM_LOG(&s->env->logger, KM_LOG_WARN, KM_LOGC_STORE, id, NULL, "timestamp-not-stored", "%s",
           why->text);
  }
  s->warned = rv != 0;
}

/* Runs one of the two statements: puts `value`, and gives what stands there then. A power failure
 * must not take it back, which the rest of the file does not ask for. */
static int put(km_discovery_state *s, km_db_stmt *stmt, const km_id *id, uint64_t *value,
               km_errinfo *err) {
  int rv = km_db_exec(s->db, "PRAGMA synchronous=FULL", err);
  if (rv != 0) {
    return rv;
  }
  km_db_bind_bytes(stmt, 1, id->bytes, sizeof id->bytes);
  km_db_bind_int(stmt, 2, (int64_t)*value);
  uint64_t stored = 0;
  while ((rv = km_db_step(stmt, err)) > 0) {
    stored = (uint64_t)km_db_int(stmt, 0);
  }
  if (rv == 0) {
    *value = stored;
  }
  km_errinfo ignored;
  (void)(km_db_exec(s->db, "PRAGMA synchronous=NORMAL", &ignored) == 0);
  return rv;
}

uint64_t km_discovery_state_timestamp(km_discovery_state *s, const km_id *id, km_wall wall) {
  uint64_t now = wall.unix_ns > 0 ? (uint64_t)wall.unix_ns / 1000 : 0;
  uint64_t last = last_of(s, id);
  uint64_t value = now > last ? now : last + 1;
  km_errinfo err = {0};
  note(s, id, put(s, s->stamp, id, &value, &err), &err);
  set_last(s, id, value);
  return value;
}

void km_discovery_state_seen(km_discovery_state *s, const km_id *id, uint64_t timestamp_us) {
  /* The last one that can still be followed by others. */
  const uint64_t most = (uint64_t)INT64_MAX - UINT32_MAX;
  uint64_t value = timestamp_us < most ? timestamp_us : most;
  if (value <= last_of(s, id)) {
    return;
  }
  km_errinfo err = {0};
  note(s, id, put(s, s->seen, id, &value, &err), &err);
  set_last(s, id, value);
}

/* --- packets of others ------------------------------------------------------------------------ */

static uint64_t newest_of(km_discovery_state *s, const km_id *id) {
  km_errinfo err = {0};
  uint64_t newest = 0;
  int rv;
  km_db_bind_bytes(s->get_newest, 1, id->bytes, sizeof id->bytes);
  while ((rv = km_db_step(s->get_newest, &err)) > 0) {
    newest = (uint64_t)km_db_int(s->get_newest, 0);
  }
  if (rv < 0) {
    note(s, id, rv, &err);
  }
  return newest;
}

static void set_newest(km_discovery_state *s, const km_id *id, uint64_t timestamp_us) {
  km_errinfo err = {0};
  km_db_bind_bytes(s->put_newest, 1, id->bytes, sizeof id->bytes);
  km_db_bind_int(s->put_newest, 2, (int64_t)timestamp_us);
  int rv = km_db_run(s->put_newest, &err);
  if (rv == 0) {
    km_db_bind_int(s->trim_newest, 1, KM_DISCOVERY_NEWEST_MAX);
    rv = km_db_run(s->trim_newest, &err);
  }
  note(s, id, rv, &err);
}

bool km_discovery_state_newest(km_discovery_state *s, const km_id *id, uint64_t timestamp_us,
                               km_wall wall) {
  uint64_t now = wall.unix_ns > 0 ? (uint64_t)wall.unix_ns / 1000 : 0;
  uint64_t newest = newest_of(s, id);
  if (timestamp_us < newest) {
    return false;
  }
  uint64_t past = timestamp_us < now ? timestamp_us : now;
  if (past > newest) {
    set_newest(s, id, past);
  }
  return true;
}
