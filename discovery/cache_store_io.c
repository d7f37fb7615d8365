/* The tables of the cache. What worked and what was signed, but maybe never tried, lie apart: many
 * keys, which cost nothing, neither replace nor push out what worked. */
#include <stdio.h>
#include <string.h>

#include "discovery/cache.h"

#define HEARD_AGAIN_S 3600 /* the same again is written after that long, so that it stays young */
#define WORKED_AGAIN_S 60

enum {
  SQL_GET_USED,
  SQL_GET_PEER,
  SQL_GET_WORKED,
  SQL_GET_HEARD,
  SQL_GET_ONE,
  SQL_PUT_PEER,
  SQL_TOUCH,
  SQL_TAME_WORKED,
  SQL_PUT_WORKED,
  SQL_TRIM_WORKED,
  SQL_PUT_HEARD,
  SQL_DROP_HEARD,
  SQL_TRIM_PEERS,
  SQL_COUNT_
};

static const char *const sql[SQL_COUNT_] = {
    [SQL_GET_USED] = "SELECT max(used) FROM peer",
    [SQL_GET_PEER] = "SELECT used FROM peer WHERE id = ?1",
    [SQL_GET_WORKED] = "SELECT way, at FROM worked WHERE id = ?1 ORDER BY at DESC, way",
    [SQL_GET_HEARD] = "SELECT source, at, ways, user_data, published FROM heard "
                      "WHERE id = ?1 ORDER BY at DESC, source",
    [SQL_GET_ONE] = "SELECT at, ways, user_data, published FROM heard "
                    "WHERE id = ?1 AND source = ?2",
    [SQL_PUT_PEER] = "INSERT INTO peer VALUES(?1, ?2, ?3) ON CONFLICT(id) DO UPDATE SET "
                     "used = excluded.used, worked = max(worked, excluded.worked)",
    [SQL_TOUCH] = "UPDATE peer SET used = ?2 WHERE id = ?1",
    /* After the clock was set back: what is of the future must not outlive what is new. */
    [SQL_TAME_WORKED] = "UPDATE worked SET at = ?2 WHERE id = ?1 AND at > ?2",
    [SQL_PUT_WORKED] = "INSERT INTO worked VALUES(?1, ?2, ?3) ON CONFLICT(id, way) DO UPDATE SET "
                       "at = excluded.at",
    [SQL_TRIM_WORKED] = "DELETE FROM worked WHERE id = ?1 AND way NOT IN (SELECT way FROM worked "
                        "WHERE id = ?1 ORDER BY at DESC LIMIT ?2)",
    [SQL_PUT_HEARD] = "INSERT INTO heard VALUES(?1, ?2, ?3, ?4, ?5, ?6) "
                      "ON CONFLICT(id, source) DO UPDATE SET at = excluded.at, "
                      "ways = excluded.ways, user_data = excluded.user_data, "
                      "published = excluded.published",
    [SQL_DROP_HEARD] = "DELETE FROM heard WHERE id = ?1 AND source = ?2",
    [SQL_TRIM_PEERS] = "DELETE FROM peer WHERE id IN (SELECT id FROM peer ORDER BY worked, used "
                       "LIMIT max(0, (SELECT count(*) FROM peer) - ?1))",
};

struct km_cache_store {
  const km_env *env;
  km_db *db;
  size_t max_peers;
  int64_t used; /* counts uses of peers */
  km_db_stmt *stmts[SQL_COUNT_];
};

static km_db_stmt *about(const km_cache_store *s, int which, const km_id *id) {
  km_db_bind_bytes(s->stmts[which], 1, id->bytes, sizeof id->bytes);
  return s->stmts[which];
}

/* Another process may count as well. */
static int read_used(km_cache_store *s, km_errinfo *err) {
  km_db_stmt *stmt = s->stmts[SQL_GET_USED];
  int rv;
  while ((rv = km_db_step(stmt, err)) > 0) {
    s->used = km_db_int(stmt, 0);
  }
  return rv;
}

int km_cache_store_new(km_cache_store **ret, const km_env *env, km_db *db, size_t max_peers,
                       km_errinfo *err) {
  km_cache_store *s = km_env_zalloc(env, 1, sizeof *s);
  if (s == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  *s = (km_cache_store){.env = env, .db = db, .max_peers = max_peers};
  int rv = 0;
  for (size_t i = 0; rv == 0 && i < SQL_COUNT_; i++) {
    rv = km_db_prepare(db, &s->stmts[i], sql[i], err);
  }
  rv = rv == 0 ? read_used(s, err) : rv;
  if (rv != 0) {
    km_cache_store_free(s);
    return rv;
  }
  *ret = s;
  return 0;
}

void km_cache_store_free(km_cache_store *s) {
  if (s != NULL) {
    km_env_free(s->env, s); /* statements go with the database */
  }
}

/* --- writing ---------------------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b) {
  return strcmp(a != NULL ? a : "", b != NULL ? b : "") == 0;
}

/* Against the row that SQL_GET_ONE is at. */
static bool heard_is_new(km_db_stmt *row, const km_cache_item *item, int64_t now) {
  int64_t at = km_db_int(row, 0), published = km_db_int(row, 3);
  if (item->published_ms < published) {
    return false; /* an older packet, sent again */
  }
  bool same =
      same_text(km_db_text(row, 1), item->ways) && same_text(km_db_text(row, 2), item->user_data);
  if (at > now) {
    return true; /* the clock was set back */
  }
  return item->at >= at && (!same || item->at - at >= HEARD_AGAIN_S);
}

static int is_new_heard(km_cache_store *s, const km_cache_item *item, int64_t now,
                        km_errinfo *err) {
  km_db_stmt *stmt = about(s, SQL_GET_ONE, &item->id);
  km_db_bind_text(stmt, 2, item->source);
  int rv = km_db_step(stmt, err);
  if (rv == 0) {
    return item->ways[0] != '\0' ? 1 : 0;
  }
  if (rv > 0) {
    rv = heard_is_new(stmt, item, now) ? 1 : 0;
    km_db_reset(stmt);
  }
  return rv;
}

/* A way of several is found in the text of all: ways hold no blanks. */
static bool has_way(const char *ways, const char *way) {
  size_t len = strlen(way);
  for (const char *at = ways; len > 0 && (at = strstr(at, way)) != NULL; at++) {
    if ((at == ways || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0')) {
      return true;
    }
  }
  return false;
}

static size_t count_ways(const char *ways) {
  size_t count = ways[0] != '\0' ? 1 : 0;
  for (; *ways != '\0'; ways++) {
    count += *ways == ' ' ? 1 : 0;
  }
  return count;
}

static int is_new_worked(km_cache_store *s, const km_cache_item *item, int64_t now,
                         km_errinfo *err) {
  km_db_stmt *stmt = about(s, SQL_GET_WORKED, &item->id);
  size_t fresh = 0;
  int rv;
  while ((rv = km_db_step(stmt, err)) > 0) {
    int64_t at = km_db_int(stmt, 1);
    const char *way = km_db_text(stmt, 0);
    bool young = at <= now && now - at < WORKED_AGAIN_S;
    fresh += young && way != NULL && has_way(item->ways, way) ? 1 : 0;
  }
  return rv < 0 ? rv : fresh < count_ways(item->ways) ? 1 : 0;
}

int km_cache_store_is_new(km_cache_store *s, const km_cache_item *item, int64_t now,
                          km_errinfo *err) {
  return item->worked ? is_new_worked(s, item, now, err) : is_new_heard(s, item, now, err);
}

static int roll_back(km_cache_store *s, int rv) {
  km_errinfo ignored; /* fails where SQLite has rolled back already */
  int again = km_db_exec(s->db, "ROLLBACK", &ignored);
  (void)again;
  return rv;
}

int km_cache_store_begin(km_cache_store *s, km_errinfo *err) {
  int rv = km_db_exec(s->db, "BEGIN IMMEDIATE", err);
  if (rv != 0) {
    return rv;
  }
  rv = read_used(s, err);
  return rv == 0 ? 0 : roll_back(s, rv);
}

static int put_peer(km_cache_store *s, const km_cache_item *item, km_errinfo *err) {
  km_db_stmt *stmt = about(s, SQL_PUT_PEER, &item->id);
  km_db_bind_int(stmt, 2, ++s->used);
  km_db_bind_int(stmt, 3, item->worked ? 1 : 0);
  return km_db_run(stmt, err);
}

static int put_heard(km_cache_store *s, const km_cache_item *item, km_errinfo *err) {
  bool keep = item->ways[0] != '\0';
  km_db_stmt *stmt = about(s, keep ? SQL_PUT_HEARD : SQL_DROP_HEARD, &item->id);
  km_db_bind_text(stmt, 2, item->source);
  if (keep) {
    km_db_bind_int(stmt, 3, item->at);
    km_db_bind_text(stmt, 4, item->ways);
    km_db_bind_text(stmt, 5, item->user_data[0] != '\0' ? item->user_data : NULL);
    km_db_bind_int(stmt, 6, item->published_ms);
  }
  return km_db_run(stmt, err);
}

static int put_way(km_cache_store *s, const km_cache_item *item, const char *way, size_t len,
                   km_errinfo *err) {
  char text[KM_CACHE_WAYS_CAP];
  memcpy(text, way, len); /* shorter than the text it is from, which has as many bytes at most */
  text[len] = '\0';
  km_db_stmt *stmt = about(s, SQL_PUT_WORKED, &item->id);
  km_db_bind_text(stmt, 2, text);
  km_db_bind_int(stmt, 3, item->at);
  return km_db_run(stmt, err);
}

static int put_worked(km_cache_store *s, const km_cache_item *item, km_errinfo *err) {
  km_db_stmt *stmt = about(s, SQL_TAME_WORKED, &item->id);
  km_db_bind_int(stmt, 2, item->at - 1);
  int rv = km_db_run(stmt, err);
  for (const char *way = item->ways; rv == 0 && *way != '\0';) {
    size_t len = strcspn(way, " ");
    rv = put_way(s, item, way, len, err);
    way += len + (way[len] == ' ' ? 1 : 0);
  }
  if (rv == 0) {
    stmt = about(s, SQL_TRIM_WORKED, &item->id);
    km_db_bind_int(stmt, 2, KM_CACHE_MAX_WORKED);
    rv = km_db_run(stmt, err);
  }
  return rv;
}

int km_cache_store_put(km_cache_store *s, const km_cache_item *item, km_errinfo *err) {
  int rv = put_peer(s, item, err);
  if (rv == 0) {
    rv = item->worked ? put_worked(s, item, err) : put_heard(s, item, err);
  }
  return rv == 0 ? 0 : roll_back(s, rv);
}

int km_cache_store_end(km_cache_store *s, km_errinfo *err) {
  km_db_stmt *stmt = s->stmts[SQL_TRIM_PEERS];
  km_db_bind_int(stmt, 1, s->max_peers < INT64_MAX ? (int64_t)s->max_peers : INT64_MAX);
  int rv = km_db_run(stmt, err);
  if (rv == 0) {
    rv = km_db_exec(s->db, "COMMIT", err);
  }
  return rv == 0 ? 0 : roll_back(s, rv);
}

int km_cache_store_expire(km_cache_store *s, int64_t now, km_errinfo *err) {
  char text[512];
  long long limit = now - KM_CACHE_MAX_AGE_S, present = now;
  (void)snprintf(text, sizeof text,
                 "BEGIN IMMEDIATE;"
                 "UPDATE worked SET at = %lld WHERE at > %lld;"
                 "UPDATE heard SET at = %lld WHERE at > %lld;"
                 "DELETE FROM worked WHERE at < %lld;"
                 "DELETE FROM heard WHERE at < %lld;"
                 "DELETE FROM peer WHERE id NOT IN "
                 "(SELECT id FROM worked UNION SELECT id FROM heard);"
                 "UPDATE peer SET worked = 0 WHERE worked AND id NOT IN (SELECT id FROM worked);"
                 "COMMIT",
                 present, present, present, present, limit, limit);
  int rv = km_db_exec(s->db, text, err);
  return rv == 0 ? 0 : roll_back(s, rv);
}

/* --- reading ---------------------------------------------------------------------------------- */

int km_cache_store_is_cold(km_cache_store *s, const km_id *id, km_errinfo *err) {
  km_db_stmt *stmt = about(s, SQL_GET_PEER, id);
  int rv = km_db_step(stmt, err);
  if (rv > 0) {
    /* The youngest quarter is in no danger: using it again need not be written down. */
    int64_t unused = s->used - km_db_int(stmt, 0);
    rv = unused > 0 && (uint64_t)unused > s->max_peers / 4 ? 1 : 0;
    km_db_reset(stmt);
  }
  return rv;
}

int km_cache_store_touch(km_cache_store *s, const km_id *id, km_errinfo *err) {
  km_db_stmt *stmt = about(s, SQL_TOUCH, id);
  km_db_bind_int(stmt, 2, ++s->used);
  int rv = km_db_run(stmt, err);
  return rv == 0 ? 0 : roll_back(s, rv);
}

static bool is_young(int64_t at, int64_t now) {
  return at > now || now - at <= KM_CACHE_MAX_AGE_S;
}

static void set_text(char *ret, size_t cap, const char *text) {
  (void)snprintf(ret, cap, "%s", text != NULL ? text : "");
}

static void read_heard(km_db_stmt *row, km_cache_item *item) {
  set_text(item->source, sizeof item->source, km_db_text(row, 0));
  set_text(item->user_data, sizeof item->user_data, km_db_text(row, 3));
  item->at = km_db_int(row, 1);
  item->ways = (char *)(uintptr_t)km_db_text(row, 2); /* only read */
  item->published_ms = km_db_int(row, 4);
  item->proven = true;
}

static void read_worked(km_db_stmt *row, km_cache_item *item) {
  item->ways = (char *)(uintptr_t)km_db_text(row, 0); /* only read */
  item->at = km_db_int(row, 1);
}

int km_cache_store_read(km_cache_store *s, const km_id *id, int64_t now, km_cache_item_fn fn,
                        void *ctx, km_errinfo *err) {
  int rv = 0;
  for (int which = SQL_GET_WORKED; rv >= 0 && which <= SQL_GET_HEARD; which++) {
    km_db_stmt *stmt = about(s, which, id);
    while ((rv = km_db_step(stmt, err)) > 0) {
      km_cache_item item = {.id = *id, .worked = which == SQL_GET_WORKED};
      if (item.worked) {
        read_worked(stmt, &item);
      } else {
        read_heard(stmt, &item);
      }
      if (item.ways != NULL && is_young(item.at, now)) {
        fn(ctx, &item);
      }
    }
  }
  return rv;
}
