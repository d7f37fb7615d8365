#include "discovery/server/packet_store_io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "discovery/server/age_clock.h"
#include "discovery/server/packet_cache.h"
#include "discovery/server/packet_writer_io.h"

/* Two connections to the database: one writes, on a thread of its own, this one reads what is not
 * in memory. What is put and not on disk yet stays in memory, so that a read never finds less than
 * what was put before. Without a file the memory is all there is. */

#define MAX_WAITING 32768 /* puts; also what `pending` of an entry can count */
#define USUAL_ENTRY_BYTES 320
#define READ_CACHE_KIB 8192 /* of SQLite's pages, for the connection that reads */
#define WRITE_CACHE_KIB 32768
#define LOCK_SUFFIX "-lock"
#define GONE_BUCKETS 16384
#define GONE_BYTES (8u << 20)             /* in memory: some 45,000 that were dropped */
#define READ_FAILED_NS (60 * KM_NS_PER_S) /* for so long one failure counts, and is told once */

typedef struct put {
  km_packet_job job; /* first */
  struct put *earlier, *later;
  km_packet_put result;
  km_packet_put_fn fn;
  void *ctx;
  uint8_t payload[];
} put;

struct km_packet_store {
  const km_env *env;
  km_loop *loop;
  size_t max_packets, cache_bytes;
  uint32_t max_age_s;
  km_packet_cache cache;
  km_age_clock clock;
  km_packet_store_stats stats;
  put *first, *last; /* that wait, in their order */
  size_t waiting;
  bool *closed_told; /* of a callback that runs: set when the store is closed meanwhile */

  /* With a file. */
  int lock_fd;
  km_db *write_db, *read_db;
  km_db_stmt *find;
  km_packet_writer *writer;
  bool write_fails, evict_fails;
  km_ts read_failed; /* KM_TS_NEVER: not yet */

  /* Without. */
  km_packet_cache gone; /* how new those were that were dropped; no records */
  km_defer *defer;
};

static int64_t wall_s(void) {
  return km_clock_wall().unix_ns / (int64_t)KM_NS_PER_S;
}

static uint32_t now_s(km_packet_store *s) {
  int64_t now = km_age_clock_now(&s->clock, wall_s(), km_clock_now());
  return now < 0 ? 0 : now > UINT32_MAX ? UINT32_MAX : (uint32_t)now;
}

/* --- reading ---------------------------------------------------------------------------------- */

static bool is_over(km_packet_store *s, uint32_t stored_s) {
  uint32_t now = now_s(s);
  return s->max_age_s > 0 && now > stored_s && now - stored_s > s->max_age_s;
}

/* A payload that was checked before it was written. */
static bool read_payload(km_pkarr *ret, const km_id *id, const uint8_t *payload, size_t len) {
  if (len < KM_PKARR_HEADER || len > KM_PKARR_PAYLOAD_MAX) {
    return false;
  }
  ret->id = *id;
  memcpy(ret->signature, payload, sizeof ret->signature);
  ret->timestamp_us = 0;
  for (size_t i = 0; i < 8; i++) {
    ret->timestamp_us = ret->timestamp_us << 8 | payload[KM_SIGNATURE_BYTES + i];
  }
  ret->dns_len = (uint16_t)(len - KM_PKARR_HEADER);
  memcpy(ret->dns, payload + KM_PKARR_HEADER, ret->dns_len);
  return true;
}

static bool read_fails(const km_packet_store *s) {
  return s->read_failed != KM_TS_NEVER && km_loop_now(s->loop) - s->read_failed < READ_FAILED_NS;
}

/* A flood of questions must not be one of log lines. */
static int fail_read(km_packet_store *s, const km_id *id, int code, const char *why) {
  s->stats.gets_failed++;
  if (!read_fails(s)) {
    KM_LOG(&s->env->logger, KM_LOG_ERROR, KM_LOGC_STORE, id, NULL, "packet-read-failed",
           "%s; more such within a minute are not told", why);
    s->read_failed = km_loop_now(s->loop);
  }
  return code;
}

/* 1; 0: it is not there; below 0: that cannot be known. */
static int load(km_packet_store *s, const km_id *id, km_pkarr *ret, uint32_t *ret_stored) {
  km_errinfo err = {0};
  km_db_bind_bytes(s->find, 1, id->bytes, sizeof id->bytes);
  int rv = km_db_step(s->find, &err);
  if (rv <= 0) {
    return rv == 0 ? 0 : fail_read(s, id, rv, err.text);
  }
  size_t len;
  const uint8_t *payload = km_db_bytes(s->find, 1, &len);
  *ret_stored = (uint32_t)km_db_int(s->find, 0);
  bool good = payload != NULL && read_payload(ret, id, payload, len);
  km_db_reset(s->find);
  return good ? 1 : fail_read(s, id, KM_ERR_STORE_DAMAGED, "a stored packet is damaged");
}

/* The entry of a key, fetched from disk if need be. 1; 0: there is none; or an error. */
static int find(km_packet_store *s, const km_id *id, km_packet_entry **ret) {
  *ret = km_packet_cache_find(&s->cache, id);
  if (*ret != NULL || s->read_db == NULL) {
    return *ret != NULL;
  }
  km_pkarr packet;
  uint32_t stored;
  int rv = load(s, id, &packet, &stored);
  if (rv > 0) {
    *ret = km_packet_cache_put(&s->cache, &packet, stored);
    rv = *ret != NULL ? 1 : KM_ERR_NOMEM;
  }
  return rv;
}

static int get_from_disk(km_packet_store *s, const km_id *id, km_pkarr *ret, int64_t *stored) {
  uint32_t stored_s = 0;
  int rv = load(s, id, ret, &stored_s);
  s->stats.gets_disk += rv > 0;
  if (rv < 0) {
    return rv;
  }
  if (rv == 0 || is_over(s, stored_s)) {
    s->stats.gets_absent++;
    return 0;
  }
  if (stored != NULL) {
    *stored = stored_s;
  }
  (void)km_packet_cache_put(&s->cache, ret, stored_s); /* memory is a help only */
  km_packet_cache_trim(&s->cache, s->cache_bytes);
  return 1;
}

int km_packet_store_get(km_packet_store *s, const km_id *id, km_pkarr *ret, int64_t *stored) {
  km_packet_entry *e = km_packet_cache_find(&s->cache, id);
  if (e == NULL && s->read_db != NULL) {
    return get_from_disk(s, id, ret, stored);
  }
  if (e == NULL || is_over(s, e->stored_s)) {
    s->stats.gets_absent++;
    return 0;
  }
  km_packet_entry_read(e, ret);
  if (stored != NULL) {
    *stored = e->stored_s;
  }
  s->stats.gets_memory++;
  if (s->read_db != NULL) { /* without a file the order is that of puts */
    km_packet_cache_touch(&s->cache, e);
  }
  return 1;
}

/* --- puts ------------------------------------------------------------------------------------- */

static void count_result(km_packet_store *s, km_packet_put result) {
  s->stats.puts_new += result == KM_PACKET_NEW;
  s->stats.puts_same += result == KM_PACKET_SAME;
  s->stats.puts_older += result == KM_PACKET_OLDER;
  s->stats.puts_failed += result == KM_PACKET_FAILED;
}

static void unlink_put(km_packet_store *s, put *p) {
  *(p->earlier != NULL ? &p->earlier->later : &s->first) = p->later;
  *(p->later != NULL ? &p->later->earlier : &s->last) = p->earlier;
  s->waiting--;
}

/* What was put is on disk, or is not: then memory must not say so either, unless another is on its
 * way. */
static void settle(km_packet_store *s, const put *p) {
  if (!p->job.write) {
    return;
  }
  km_packet_entry *e = km_packet_cache_find(&s->cache, &p->job.id);
  if (e == NULL || e->pending == 0) {
    return; /* cannot be: entries stay while puts of theirs wait */
  }
  e->pending--;
  if ((p->job.failed || p->job.older) && e->pending == 0) {
    km_packet_cache_remove(&s->cache, e);
  }
}

/* Tells one put's end. False: the store was closed meanwhile. */
static bool finish(km_packet_store *s, put *p, const km_errinfo *err) {
  km_packet_put result = p->job.failed  ? KM_PACKET_FAILED
                         : p->job.older ? KM_PACKET_OLDER
                                        : p->result;
  unlink_put(s, p);
  settle(s, p);
  count_result(s, result);
  km_packet_put_fn fn = p->fn;
  void *ctx = p->ctx;
  km_env_free(s->env, p);
  bool closed = false;
  bool *outer = s->closed_told;
  s->closed_told = &closed;
  if (fn != NULL) {
    fn(ctx, result, result == KM_PACKET_FAILED ? err : NULL);
  }
  if (!closed) {
    s->closed_told = outer;
  }
  return !closed;
}

static void drop_evicted(km_packet_store *s, const km_packet_done *done) {
  for (size_t i = 0; i < done->evicted_count; i++) {
    km_packet_entry *e = km_packet_cache_find(&s->cache, &done->evicted[i]);
    if (e != NULL && e->pending == 0) {
      km_packet_cache_remove(&s->cache, e);
    }
  }
}

#define LOG(s, level, event, ...)                                                                  \
  KM_LOG(&(s)->env->logger, level, KM_LOGC_STORE, NULL, NULL, event, __VA_ARGS__)

/* When it begins and when it is over. */
static void tell_failures(km_packet_store *s, const km_packet_done *done) {
  if (done->write_fails && !s->write_fails) {
    LOG(s, KM_LOG_ERROR, "packet-write-failed", "%s; until it works nothing new is stored",
        done->err.text);
  } else if (!done->write_fails && s->write_fails) {
    LOG(s, KM_LOG_INFO, "packet-write-works", "packets are stored again");
  }
  if (done->evict_fails && !s->evict_fails) {
    LOG(s, KM_LOG_ERROR, "packet-evict-failed", "%s; until it works nothing old is dropped",
        done->evict_err.text);
  } else if (!done->evict_fails && s->evict_fails) {
    LOG(s, KM_LOG_INFO, "packet-evict-works", "old packets are dropped again");
  }
  s->write_fails = done->write_fails;
  s->evict_fails = done->evict_fails;
}

static void on_done(void *ctx) {
  km_packet_store *s = ctx;
  km_packet_done done;
  km_packet_writer_take(s->writer, &done);
  tell_failures(s, &done);
  s->stats.packets = done.packets;
  s->stats.commits = done.commits;
  s->stats.evicted_age = done.evicted_age;
  s->stats.evicted_room = done.evicted_room;
  for (km_packet_job *j = done.jobs, *next; j != NULL; j = next) {
    next = j->next;
    if (!finish(s, (put *)j, &done.err)) {
      return; /* the others were freed with the store: they were still linked */
    }
  }
  drop_evicted(s, &done);
  km_packet_cache_trim(&s->cache, s->cache_bytes);
}

/* Without a file: all that waits is done. */
static void on_defer(void *ctx) {
  km_packet_store *s = ctx;
  for (put *end = s->last; end != NULL;) {
    put *p = s->first;
    bool last = p == end;
    if (!finish(s, p, NULL) || last) {
      break;
    }
  }
}

/* Remembers how new it was; the same one may come back if it had to make room. */
static void drop_oldest(km_packet_store *s, bool for_room) {
  km_packet_entry *e = s->cache.oldest;
  if (e == NULL) {
    return;
  }
  km_pkarr last = {.timestamp_us = e->timestamp_us, .id = e->id};
  if (!for_room || last.timestamp_us > 0) {
    last.timestamp_us -= for_room;
    (void)km_packet_cache_put(&s->gone, &last, 0); /* without memory it is forgotten */
  }
  km_packet_cache_remove(&s->cache, e);
  km_packet_cache_trim(&s->gone, GONE_BYTES);
}

/* In memory only: those not renewed for longest stand first. */
static void evict_in_memory(km_packet_store *s) {
  km_packet_cache *c = &s->cache;
  while (c->oldest != NULL && is_over(s, c->oldest->stored_s)) {
    drop_oldest(s, false);
    s->stats.evicted_age++;
  }
  while (s->max_packets > 0 && c->count > s->max_packets) {
    drop_oldest(s, true);
    s->stats.evicted_room++;
  }
  s->stats.packets = c->count;
}

static km_packet_put decide_absent(const km_packet_store *s, const km_pkarr *packet) {
  if (s->read_db != NULL) {
    return KM_PACKET_NEW; /* whether it was there before, the writer says */
  }
  const km_packet_entry *gone = km_packet_cache_find(&s->gone, &packet->id);
  return gone != NULL && packet->timestamp_us <= gone->timestamp_us ? KM_PACKET_OLDER
                                                                    : KM_PACKET_NEW;
}

/* `ret_write`: it has to be written, or what is being written of it may yet fail. */
static int decide(km_packet_store *s, const km_pkarr *packet, km_packet_put *ret, bool *ret_write) {
  km_packet_entry *e;
  int rv = find(s, &packet->id, &e);
  if (rv < 0) {
    return rv;
  }
  if (rv == 0) {
    *ret = decide_absent(s, packet);
  } else {
    int order = km_packet_entry_compare(e, packet);
    bool over = order == 0 && is_over(s, e->stored_s);
    *ret = order > 0 || over ? KM_PACKET_OLDER : order == 0 ? KM_PACKET_SAME : KM_PACKET_NEW;
  }
  *ret_write = *ret == KM_PACKET_NEW || (*ret == KM_PACKET_SAME && e->pending > 0);
  return 0;
}

static put *make_put(km_packet_store *s, const km_pkarr *packet, bool write) {
  size_t room = write ? (size_t)KM_PKARR_HEADER + packet->dns_len : 0;
  put *p = km_env_alloc(s->env, sizeof *p + room);
  if (p == NULL) {
    return NULL;
  }
  *p = (put){.job.write = write, .job.id = packet->id};
  p->job.stored_s = now_s(s);
  p->job.timestamp_us = packet->timestamp_us;
  if (write) {
    uint8_t payload[KM_PKARR_PAYLOAD_MAX];
    p->job.payload_len = (uint16_t)km_pkarr_write(packet, payload);
    memcpy(p->payload, payload, p->job.payload_len);
    p->job.payload = p->payload;
  }
  return p;
}

static void append(km_packet_store *s, put *p) {
  p->earlier = s->last;
  *(s->last != NULL ? &s->last->later : &s->first) = p;
  s->last = p;
  s->waiting++;
}

int km_packet_store_put(km_packet_store *s, const km_pkarr *packet, km_packet_put_fn fn, void *ctx,
                        km_errinfo *err) {
  if (s->waiting >= MAX_WAITING) {
    return km_fail(err, KM_ERR_LIMIT, "%d packets wait to be written: the disk is too slow",
                   MAX_WAITING);
  }
  km_packet_put result = KM_PACKET_FAILED;
  bool write = false;
  int rv = decide(s, packet, &result, &write);
  if (rv != 0) {
    return km_fail(err, rv, "what is stored of this key cannot be read: %s", km_strerror(rv));
  }
  put *p = make_put(s, packet, write && s->writer != NULL);
  km_packet_entry *e = NULL;
  if (p != NULL && write) {
    e = km_packet_cache_put(&s->cache, packet, p->job.stored_s);
  }
  if (p == NULL || (write && e == NULL)) {
    km_env_free(s->env, p);
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  p->result = result;
  p->fn = fn;
  p->ctx = ctx;
  append(s, p);
  if (s->writer == NULL) {
    evict_in_memory(s);
    km_defer_run(s->defer);
    return 0;
  }
  if (e != NULL) {
    e->pending++;
  }
  km_packet_writer_add(s->writer, &p->job);
  return 0;
}

void km_packet_store_forget(km_packet_store *s, const void *ctx) {
  for (put *p = s->first; p != NULL; p = p->later) {
    if (p->ctx == ctx) {
      p->fn = NULL;
    }
  }
}

void km_packet_store_get_stats(const km_packet_store *s, km_packet_store_stats *ret) {
  *ret = s->stats;
  ret->failing = s->write_fails || read_fails(s);
}

/* --- opening and closing ---------------------------------------------------------------------- */

static void free_store(km_packet_store *s) {
  for (put *p = s->first, *later; p != NULL; p = later) {
    later = p->later;
    km_env_free(s->env, p);
  }
  km_db_close(s->read_db); /* the one that writes is last: it tidies up */
  km_db_close(s->write_db);
  if (s->lock_fd >= 0) {
    (void)close(s->lock_fd); /* nothing was written through it */
  }
  km_defer_free(s->defer);
  km_packet_cache_clear(&s->cache);
  km_packet_cache_clear(&s->gone);
  km_env_free(s->env, s);
}

void km_packet_store_close(km_packet_store *s) {
  if (s == NULL) {
    return;
  }
  if (s->writer != NULL) {
    km_packet_done done;
    km_packet_writer_stop(s->writer, &done); /* its jobs are in our list too */
  }
  if (s->closed_told != NULL) {
    *s->closed_told = true;
  }
  free_store(s);
}

/* The database is not locked for one process by SQLite, for there are two connections; a file
 * beside it is. */
static int lock_file(km_packet_store *s, const char *path, km_errinfo *err) {
  size_t len = strlen(path);
  char *name = km_env_alloc(s->env, len + sizeof LOCK_SUFFIX);
  if (name == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  memcpy(name, path, len);
  memcpy(name + len, LOCK_SUFFIX, sizeof LOCK_SUFFIX);
  s->lock_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR);
  int rv = 0;
  if (s->lock_fd < 0) {
    rv = km_fail_errno(err, errno, "cannot make %s", name);
  } else if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0) {
    rv = errno == EWOULDBLOCK
             ? km_fail(err, KM_ERR_STORE_BUSY, "the database %s is held by another process", path)
             : km_fail_errno(err, errno, "cannot lock %s", name);
  }
  km_env_free(s->env, name);
  return rv;
}

static int open_file(km_packet_store *s, const km_packet_store_config *config, km_errinfo *err) {
  km_db_config db = {.env = config->env,
                     .path = config->path,
                     .application_id = KM_PACKET_DB_APPLICATION_ID,
                     .full_sync = config->full_sync,
                     .cache_kib = WRITE_CACHE_KIB};
  db.migrations = km_packet_migrations(&db.migration_count);
  int rv = lock_file(s, config->path, err);
  if (rv == 0) {
    rv = km_db_open(&s->write_db, &db, err);
  }
  if (rv == 0) {
    db.cache_kib = READ_CACHE_KIB;
    rv = km_db_open(&s->read_db, &db, err);
  }
  if (rv == 0) {
    rv = km_db_prepare(s->read_db, &s->find, "SELECT stored_s, payload FROM packet WHERE id = ?1",
                       err);
  }
  km_packet_writer_config writer = {.env = config->env,
                                    .loop = config->loop,
                                    .db = s->write_db,
                                    .max_packets = config->max_packets,
                                    .max_age_s = config->max_age_s,
                                    .on_done = on_done,
                                    .ctx = s};
  if (rv == 0) {
    rv = km_packet_writer_start(&s->writer, &writer, err);
  }
  if (rv == 0) {
    km_packet_done done;
    km_packet_writer_take(s->writer, &done);
    s->stats.packets = done.packets;
  }
  return rv;
}

int km_packet_store_open(km_packet_store **ret, const km_packet_store_config *config,
                         km_errinfo *err) {
  km_packet_store *s = km_env_zalloc(config->env, 1, sizeof *s);
  if (s == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  s->env = config->env;
  s->loop = config->loop;
  s->max_packets = config->max_packets;
  s->cache_bytes = config->cache_bytes;
  s->max_age_s = config->max_age_s;
  s->lock_fd = -1;
  s->read_failed = KM_TS_NEVER;
  s->gone.env = s->env;
  km_age_clock_init(&s->clock, wall_s(), km_clock_now());
  size_t expected =
      config->path != NULL ? config->cache_bytes / USUAL_ENTRY_BYTES : config->max_packets;
  int rv = km_packet_cache_init(&s->cache, s->env, expected);
  if (rv == 0 && config->path == NULL) {
    rv = km_packet_cache_init(&s->gone, s->env, GONE_BUCKETS);
  }
  if (rv == 0 && config->path == NULL) {
    rv = km_defer_new(&s->defer, config->loop, on_defer, s);
  }
  if (rv != 0) {
    rv = km_fail(err, rv, NULL);
  } else if (config->path != NULL) {
    rv = open_file(s, config, err);
  }
  if (rv != 0) {
    free_store(s);
    return rv;
  }
  *ret = s;
  return 0;
}
