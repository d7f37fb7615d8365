#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "discovery/server/age_clock.h"
#include "discovery/server/packet_writer_io.h"

#define BATCH_MAX 4096             /* jobs in one transaction */
#define EVICT_EVERY_NS KM_NS_PER_S /* when nothing is written */
#define GATHER_NS (2 * KM_NS_PER_MS)
#define PROBE_EVERY_NS (5 * KM_NS_PER_S) /* whether the disk takes writes again */
#define GONE_MAX 1000000                 /* that are remembered, where packets have no limit */
#define GONE_LIVES 4                     /* how long: so many times as packets live */

/* Without rowid: a packet is found by its key and by nothing else. The index is for eviction. */
static const char *const migrations[] = {
    "CREATE TABLE packet (id BLOB PRIMARY KEY NOT NULL, timestamp_us INTEGER NOT NULL,"
    " stored_s INTEGER NOT NULL, payload BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX packet_by_stored ON packet (stored_s);",
    /* What was dropped. `again`: for want of room, so that the same one may come back. */
    "CREATE TABLE gone (id BLOB PRIMARY KEY NOT NULL, timestamp_us INTEGER NOT NULL,"
    " again INTEGER NOT NULL, gone_s INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX gone_by_time ON gone (gone_s);"};

const char *const *km_packet_migrations(size_t *ret_count) {
  *ret_count = sizeof migrations / sizeof migrations[0];
  return migrations;
}

typedef struct statements {
  km_db_stmt *find, *insert, *update, *oldest, *older, *drop, *count;
  km_db_stmt *find_gone, *add_gone, *drop_gone, *old_gone, *count_gone, *probe;
} statements;

struct km_packet_writer {
  const km_env *env;
  km_loop *loop;
  void (*on_done)(void *ctx);
  void *ctx;

  /* The thread's own. */
  km_db *db;
  statements sql;
  size_t max_packets;
  uint32_t max_age_s;
  uint64_t packets, gone;
  km_age_clock clock;
  km_ts probe_at;

  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t wake;
  /* Under the lock. */
  km_packet_job *todo, **todo_end;
  km_packet_job **done_end;
  km_packet_done done;
  bool stop;
  bool news;       /* `done` says something else than before */
  bool evict_more; /* as soon as what was dropped is taken */
  bool posted;     /* a call on the loop is under way: it holds the writer */
  bool delivering; /* loop thread: that call runs */
  bool stopped;    /* loop thread: nobody but that call knows the writer */
};

/* --- the database ----------------------------------------------------------------------------- */

static int read_count(km_db_stmt *s, uint64_t *ret, km_errinfo *err) {
  int rv = km_db_step(s, err);
  if (rv < 0) {
    return rv;
  }
  *ret = (uint64_t)km_db_int(s, 0);
  km_db_reset(s);
  return 0;
}

static int prepare(km_packet_writer *w, km_errinfo *err) {
  const struct {
    km_db_stmt **stmt;
    const char *text;
  } list[] = {
      {&w->sql.find, "SELECT timestamp_us FROM packet WHERE id = ?1"},
      {&w->sql.insert, "INSERT INTO packet (id, timestamp_us, stored_s, payload)"
                       " VALUES (?1, ?2, ?3, ?4)"},
      {&w->sql.update, "UPDATE packet SET timestamp_us = ?2, stored_s = ?3, payload = ?4"
                       " WHERE id = ?1"},
      {&w->sql.oldest, "SELECT id FROM packet ORDER BY stored_s LIMIT ?1"},
      {&w->sql.older, "SELECT id FROM packet WHERE stored_s < ?1 ORDER BY stored_s LIMIT ?2"},
      {&w->sql.drop, "DELETE FROM packet WHERE id = ?1"},
      {&w->sql.count, "SELECT count(*) FROM packet"},
      {&w->sql.find_gone, "SELECT timestamp_us, again FROM gone WHERE id = ?1"},
      {&w->sql.add_gone, "INSERT OR REPLACE INTO gone (id, timestamp_us, again, gone_s)"
                         " SELECT id, timestamp_us, ?2, ?3 FROM packet WHERE id = ?1"},
      {&w->sql.drop_gone, "DELETE FROM gone WHERE id = ?1"},
      {&w->sql.old_gone, "SELECT id, gone_s FROM gone ORDER BY gone_s LIMIT ?1"},
      {&w->sql.count_gone, "SELECT count(*) FROM gone"},
      {&w->sql.probe, "UPDATE packet SET stored_s = stored_s"
                      " WHERE id = (SELECT id FROM packet LIMIT 1)"},
  };
  for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
    int rv = km_db_prepare(w->db, list[i].stmt, list[i].text, err);
    if (rv != 0) {
      return rv;
    }
  }
  int rv = read_count(w->sql.count, &w->packets, err);
  return rv != 0 ? rv : read_count(w->sql.count_gone, &w->gone, err);
}

/* Timestamps above 2^63 are of no clock; they compare as what they are in SQLite's integers too. */
static int64_t as_signed(uint64_t value) {
  return (int64_t)(value ^ UINT64_C(0x8000000000000000));
}

/* How many packets there are, while a transaction may still fail. */
typedef struct counts {
  uint64_t packets, gone;
} counts;

/* Whether a packet as new was there and was dropped. 1, 0, or an error. */
static int was_there(km_packet_writer *w, const km_packet_job *job, int64_t timestamp,
                     counts *count, km_errinfo *err) {
  km_db_bind_bytes(w->sql.find_gone, 1, job->id.bytes, sizeof job->id.bytes);
  int rv = km_db_step(w->sql.find_gone, err);
  if (rv <= 0) {
    return rv;
  }
  int64_t last = km_db_int(w->sql.find_gone, 0);
  bool again = km_db_int(w->sql.find_gone, 1) != 0;
  km_db_reset(w->sql.find_gone);
  if (last > timestamp || (last == timestamp && !again)) {
    return 1;
  }
  km_db_bind_bytes(w->sql.drop_gone, 1, job->id.bytes, sizeof job->id.bytes);
  count->gone -= count->gone > 0;
  return km_db_run(w->sql.drop_gone, err);
}

/* The newest one wins here as well: whoever else may have written to the file, and what the other
 * connection could not read. */
static int write_job(km_packet_writer *w, km_packet_job *job, counts *count, km_errinfo *err) {
  km_db_bind_bytes(w->sql.find, 1, job->id.bytes, sizeof job->id.bytes);
  int found = km_db_step(w->sql.find, err);
  if (found < 0) {
    return found;
  }
  int64_t timestamp = as_signed(job->timestamp_us);
  int older = found > 0 && km_db_int(w->sql.find, 0) > timestamp;
  km_db_reset(w->sql.find);
  if (found == 0) {
    older = was_there(w, job, timestamp, count, err);
  }
  job->older = older > 0;
  if (older != 0) {
    return older < 0 ? older : 0;
  }
  km_db_stmt *s = found > 0 ? w->sql.update : w->sql.insert;
  km_db_bind_bytes(s, 1, job->id.bytes, sizeof job->id.bytes);
  km_db_bind_int(s, 2, timestamp);
  km_db_bind_int(s, 3, job->stored_s);
  km_db_bind_bytes(s, 4, job->payload, job->payload_len);
  count->packets += found == 0;
  return km_db_run(s, err);
}

static void roll_back(km_packet_writer *w) {
  int rv = km_db_exec(w->db, "ROLLBACK", NULL);
  (void)rv; /* after some errors SQLite did it already */
}

/* All of them or none. */
static int write_batch(km_packet_writer *w, km_packet_job *first, km_errinfo *err) {
  counts count = {w->packets, w->gone};
  bool any = false;
  for (const km_packet_job *j = first; j != NULL; j = j->next) {
    any |= j->write;
  }
  if (!any) {
    return 0;
  }
  int rv = km_db_exec(w->db, "BEGIN IMMEDIATE", err);
  for (km_packet_job *j = first; rv == 0 && j != NULL; j = j->next) {
    rv = j->write ? write_job(w, j, &count, err) : 0;
  }
  rv = rv == 0 ? km_db_exec(w->db, "COMMIT", err) : rv;
  if (rv == 0) {
    w->packets = count.packets;
    w->gone = count.gone;
  } else {
    roll_back(w);
  }
  return rv;
}

/* --- eviction --------------------------------------------------------------------------------- */

static int64_t age_now(km_packet_writer *w) {
  return km_age_clock_now(&w->clock, km_clock_wall().unix_ns / (int64_t)KM_NS_PER_S,
                          km_clock_now());
}

static int list_ids(km_db_stmt *s, km_id *ret, size_t *count, km_errinfo *err) {
  int rv;
  while ((rv = km_db_step(s, err)) > 0 && *count < KM_PACKET_EVICTED_MAX) {
    size_t len;
    const uint8_t *bytes = km_db_bytes(s, 0, &len);
    if (len == KM_ID_BYTES) {
      memcpy(ret[(*count)++].bytes, bytes, KM_ID_BYTES);
    }
  }
  km_db_reset(s);
  return rv < 0 ? rv : 0;
}

static int list_evicted(km_packet_writer *w, int64_t now_s, km_id *ret, size_t *ret_count,
                        bool *ret_by_age, km_errinfo *err) {
  *ret_count = 0;
  *ret_by_age = true;
  if (w->max_age_s > 0) {
    km_db_bind_int(w->sql.older, 1, now_s - w->max_age_s);
    km_db_bind_int(w->sql.older, 2, KM_PACKET_EVICTED_MAX);
    int rv = list_ids(w->sql.older, ret, ret_count, err);
    if (rv != 0 || *ret_count > 0) {
      return rv;
    }
  }
  *ret_by_age = false;
  if (w->max_packets == 0 || w->packets <= w->max_packets) {
    return 0;
  }
  uint64_t much = w->packets - w->max_packets;
  km_db_bind_int(w->sql.oldest, 1,
                 much < KM_PACKET_EVICTED_MAX ? (int64_t)much : KM_PACKET_EVICTED_MAX);
  return list_ids(w->sql.oldest, ret, ret_count, err);
}

/* What is remembered of dropped ones has its limits too. */
static int list_forgotten(km_packet_writer *w, int64_t now_s, km_id *ret, size_t *ret_count,
                          km_errinfo *err) {
  uint64_t most = w->max_packets > 0 ? w->max_packets : GONE_MAX;
  uint64_t much = w->gone > most ? w->gone - most : 0;
  int64_t before_s = now_s - (int64_t)GONE_LIVES * w->max_age_s;
  int rv;
  *ret_count = 0;
  km_db_bind_int(w->sql.old_gone, 1, KM_PACKET_EVICTED_MAX);
  while ((rv = km_db_step(w->sql.old_gone, err)) > 0 && *ret_count < KM_PACKET_EVICTED_MAX) {
    size_t len;
    const uint8_t *bytes = km_db_bytes(w->sql.old_gone, 0, &len);
    bool old = w->max_age_s > 0 && km_db_int(w->sql.old_gone, 1) < before_s;
    if (len != KM_ID_BYTES || (!old && *ret_count >= much)) {
      break;
    }
    memcpy(ret[(*ret_count)++].bytes, bytes, KM_ID_BYTES);
  }
  km_db_reset(w->sql.old_gone);
  return rv < 0 ? rv : 0;
}

static int drop(km_packet_writer *w, const km_id *id, bool by_age, int64_t now_s, km_errinfo *err) {
  km_db_bind_bytes(w->sql.add_gone, 1, id->bytes, sizeof id->bytes);
  km_db_bind_int(w->sql.add_gone, 2, !by_age);
  km_db_bind_int(w->sql.add_gone, 3, now_s);
  int rv = km_db_run(w->sql.add_gone, err);
  km_db_bind_bytes(w->sql.drop, 1, id->bytes, sizeof id->bytes);
  return rv != 0 ? rv : km_db_run(w->sql.drop, err);
}

static int forget(km_packet_writer *w, const km_id *id, km_errinfo *err) {
  km_db_bind_bytes(w->sql.drop_gone, 1, id->bytes, sizeof id->bytes);
  return km_db_run(w->sql.drop_gone, err);
}

static int end_step(km_packet_writer *w, int rv, km_errinfo *err) {
  rv = rv == 0 ? km_db_exec(w->db, "COMMIT", err) : rv;
  if (rv != 0) {
    roll_back(w);
  }
  return rv;
}

/* One step. What fails is tried again later. */
static int evict(km_packet_writer *w, km_id *ret, size_t *ret_count, bool *ret_by_age,
                 km_errinfo *err) {
  int64_t now_s = age_now(w);
  size_t forgotten = 0;
  km_id old[KM_PACKET_EVICTED_MAX];
  int rv = list_evicted(w, now_s, ret, ret_count, ret_by_age, err);
  rv = rv != 0 ? rv : list_forgotten(w, now_s, old, &forgotten, err);
  if (rv == 0 && *ret_count + forgotten > 0) {
    rv = km_db_exec(w->db, "BEGIN IMMEDIATE", err);
    for (size_t i = 0; rv == 0 && i < forgotten; i++) {
      rv = forget(w, &old[i], err);
    }
    for (size_t i = 0; rv == 0 && i < *ret_count; i++) {
      rv = drop(w, &ret[i], *ret_by_age, now_s, err);
    }
    rv = end_step(w, rv, err);
  }
  if (rv != 0) {
    *ret_count = 0;
    return rv;
  }
  w->packets -= *ret_count;
  w->gone += *ret_count - forgotten;
  return 0;
}

/* Writes something that changes nothing. */
static int probe(km_packet_writer *w, km_errinfo *err) {
  int rv = km_db_exec(w->db, "BEGIN IMMEDIATE", err);
  rv = rv != 0 ? rv : km_db_run(w->sql.probe, err);
  return end_step(w, rv, err);
}

/* --- the thread ------------------------------------------------------------------------------- */

static void deliver(void *ctx);

/* Under the lock. When the call cannot be posted, the next round tries again. */
static void tell(km_packet_writer *w) {
  bool something = w->done.jobs != NULL || w->done.evicted_count > 0 || w->news;
  if (something && !w->posted && !w->stop) {
    w->posted = km_loop_post(w->loop, deliver, w) == 0;
  }
}

/* Up to BATCH_MAX jobs, in their order; `ret_end` is where the next one would hang. Under the lock.
 *  */
static km_packet_job *take_batch(km_packet_writer *w, km_packet_job ***ret_end) {
  km_packet_job *first = w->todo, **end = &first;
  for (size_t i = 0; i < BATCH_MAX && *end != NULL; i++) {
    end = &(*end)->next;
  }
  if (first == NULL) {
    return NULL;
  }
  w->todo = *end;
  if (w->todo == NULL) {
    w->todo_end = &w->todo;
  }
  *end = NULL;
  *ret_end = end;
  return first;
}

static struct timespec after_ns(uint64_t ns) {
  struct timespec at;
  (void)clock_gettime(CLOCK_MONOTONIC, &at); /* the clock is there */
  ns += (uint64_t)at.tv_nsec;
  at.tv_sec += (time_t)(ns / KM_NS_PER_S);
  at.tv_nsec = (long)(ns % KM_NS_PER_S);
  return at;
}

/* Waits for work, or until it is time to evict. Under the lock. */
static void wait_for_work(km_packet_writer *w) {
  struct timespec until = after_ns(EVICT_EVERY_NS);
  int rv = 0;
  while (rv == 0 && w->todo == NULL && !w->stop && !(w->evict_more && w->done.evicted_count == 0)) {
    rv = pthread_cond_timedwait(&w->wake, &w->lock, &until);
  }
  /* The first one waits a little for company: a transaction of one costs as much as one of ten. */
  until = after_ns(GATHER_NS);
  for (rv = 0; rv == 0 && w->todo != NULL && !w->stop;) {
    rv = pthread_cond_timedwait(&w->wake, &w->lock, &until);
  }
}

/* Under the lock. */
static void set_fails(km_packet_writer *w, bool fails, const km_errinfo *err) {
  w->news |= w->done.write_fails != fails;
  w->done.write_fails = fails;
  if (fails) {
    w->done.err = *err;
    w->probe_at = km_clock_now() + PROBE_EVERY_NS;
  }
}

static void run_batch(km_packet_writer *w, km_packet_job *first, km_packet_job **end) {
  km_errinfo err = {0};
  int rv = write_batch(w, first, &err);
  for (km_packet_job *j = first; rv != 0 && j != NULL; j = j->next) {
    j->failed = true;
  }
  pthread_mutex_lock(&w->lock);
  *w->done_end = first;
  w->done_end = end;
  w->done.packets = w->packets;
  w->done.commits += rv == 0;
  set_fails(w, rv != 0, &err);
  tell(w);
  pthread_mutex_unlock(&w->lock);
}

/* What was dropped is told once; until it is taken nothing more is dropped. */
static void run_eviction(km_packet_writer *w) {
  pthread_mutex_lock(&w->lock);
  bool may = w->done.evicted_count == 0 && !w->stop;
  pthread_mutex_unlock(&w->lock);
  if (!may) {
    return;
  }
  bool by_age = false;
  km_id ids[KM_PACKET_EVICTED_MAX];
  size_t count = 0;
  km_errinfo err = {0};
  bool fails = evict(w, ids, &count, &by_age, &err) != 0;
  pthread_mutex_lock(&w->lock);
  memcpy(w->done.evicted, ids, count * sizeof ids[0]);
  w->done.evicted_count = count;
  *(by_age ? &w->done.evicted_age : &w->done.evicted_room) += count;
  w->done.packets = w->packets;
  w->evict_more = count == KM_PACKET_EVICTED_MAX;
  w->news |= w->done.evict_fails != fails;
  w->done.evict_fails = fails;
  if (fails) {
    w->done.evict_err = err;
  }
  tell(w);
  pthread_mutex_unlock(&w->lock);
}

/* Nobody may publish to a server that calls itself ill: it finds out alone when it is well. */
static void run_probe(km_packet_writer *w) {
  if (!w->done.write_fails || km_clock_now() < w->probe_at) { /* this thread alone sets them */
    return;
  }
  km_errinfo err = {0};
  bool fails = probe(w, &err) != 0;
  pthread_mutex_lock(&w->lock);
  set_fails(w, fails, &err);
  tell(w);
  pthread_mutex_unlock(&w->lock);
}

static void *run(void *arg) {
  km_packet_writer *w = arg;
  for (;;) {
    pthread_mutex_lock(&w->lock);
    wait_for_work(w);
    tell(w);
    km_packet_job **end = NULL, *first = take_batch(w, &end);
    bool over = first == NULL && w->stop;
    pthread_mutex_unlock(&w->lock);
    if (over) {
      return NULL;
    }
    if (first != NULL) {
      run_batch(w, first, end);
    }
    run_eviction(w);
    run_probe(w);
  }
}

/* --- the loop's side -------------------------------------------------------------------------- */

static void destroy(km_packet_writer *w) {
  (void)pthread_cond_destroy(&w->wake);
  (void)pthread_mutex_destroy(&w->lock);
  km_env_free(w->env, w);
}

static void deliver(void *ctx) {
  km_packet_writer *w = ctx;
  pthread_mutex_lock(&w->lock);
  w->posted = false;
  pthread_mutex_unlock(&w->lock);
  if (!w->stopped) {
    w->delivering = true;
    w->on_done(w->ctx);
    w->delivering = false;
  }
  if (w->stopped && !w->posted) {
    destroy(w);
  }
}

static void take_done(km_packet_writer *w, km_packet_done *ret) {
  *ret = w->done;
  w->done.jobs = NULL;
  w->done_end = &w->done.jobs;
  w->done.evicted_count = 0;
  w->news = false;
}

void km_packet_writer_take(km_packet_writer *w, km_packet_done *ret) {
  pthread_mutex_lock(&w->lock);
  take_done(w, ret);
  bool more = w->evict_more;
  pthread_mutex_unlock(&w->lock);
  if (more) {
    (void)pthread_cond_signal(&w->wake); /* always 0 */
  }
}

void km_packet_writer_add(km_packet_writer *w, km_packet_job *job) {
  job->next = NULL;
  job->failed = job->older = false;
  pthread_mutex_lock(&w->lock);
  bool idle = w->todo == NULL;
  *w->todo_end = job;
  w->todo_end = &job->next;
  pthread_mutex_unlock(&w->lock);
  if (idle) {
    (void)pthread_cond_signal(&w->wake); /* always 0 */
  }
}

void km_packet_writer_stop(km_packet_writer *w, km_packet_done *ret) {
  pthread_mutex_lock(&w->lock);
  w->stop = true;
  pthread_mutex_unlock(&w->lock);
  (void)pthread_cond_signal(&w->wake); /* always 0 */
  (void)pthread_join(w->thread, NULL); /* fails for no thread only */
  take_done(w, ret);
  w->stopped = true;
  if (!w->posted && !w->delivering) {
    destroy(w);
  }
}

static int start_thread(km_packet_writer *w) {
  sigset_t all, old;
  (void)sigfillset(&all);
  /* Signals are for the threads of the application. */
  (void)pthread_sigmask(SIG_SETMASK, &all, &old);
  int rv = pthread_create(&w->thread, NULL, run, w);
  (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
  return rv;
}

static int init_lock(km_packet_writer *w) {
  pthread_condattr_t attr;
  int rv = pthread_mutex_init(&w->lock, NULL);
  if (rv != 0 || (rv = pthread_condattr_init(&attr)) != 0) {
    return rv;
  }
  (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* it is one of those that can be set */
  rv = pthread_cond_init(&w->wake, &attr);
  (void)pthread_condattr_destroy(&attr);
  return rv;
}

int km_packet_writer_start(km_packet_writer **ret, const km_packet_writer_config *config,
                           km_errinfo *err) {
  km_packet_writer *w = km_env_zalloc(config->env, 1, sizeof *w);
  if (w == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  w->env = config->env;
  w->loop = config->loop;
  w->db = config->db;
  w->max_packets = config->max_packets;
  w->max_age_s = config->max_age_s;
  w->on_done = config->on_done;
  w->ctx = config->ctx;
  w->todo_end = &w->todo;
  w->done_end = &w->done.jobs;
  km_age_clock_init(&w->clock, km_clock_wall().unix_ns / (int64_t)KM_NS_PER_S, km_clock_now());
  int rv = prepare(w, err);
  if (rv != 0) {
    km_env_free(w->env, w);
    return rv;
  }
  w->done.packets = w->packets;
  int sys_errno = init_lock(w);
  if (sys_errno == 0) {
    sys_errno = start_thread(w);
  }
  if (sys_errno != 0) {
    km_env_free(w->env, w);
    return km_fail_errno(err, sys_errno, "cannot start the thread that writes packets");
  }
  *ret = w;
  return 0;
}
