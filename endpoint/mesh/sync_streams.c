/* Synchronizations of a link: one stream and one store/sync.h session each. The side with the lower
 * id begins, a share after the other; the other side begins one only when it must (its push queue
 * overflowed). */
#include <string.h>

#include "base/text.h"
#include "endpoint/mesh/mesh_impl.h"
#include "store/store_impl.h"

#define MAX_THEIRS 2 /* sessions that a peer has open with us at once */
#define STANDSTILL (60 * KM_NS_PER_S)
#define CODE_REFUSED 1
#define CODE_BROKEN 2
#define CODE_STANDSTILL 3

typedef struct session {
  km_sync_streams *owner;
  struct session *next;
  km_stream *stream; /* NULL: closed */
  km_sync *sync;
  bool ours, fin_sent, ended;
  int close_error; /* of the stream, when it is closed */
  uint64_t held;   /* bytes without credit, until they are worked off */
  km_ts moved;
} session;

struct km_sync_streams {
  km_link *link;
  session *sessions;
  size_t theirs;
  bool *due;    /* of the mesh's shares: ours to begin */
  bool running; /* one of ours */
  km_refused *refused;
};

static bool may_read(void *ctx, const char *share) {
  const session *s = ctx;
  return km_link_shares(s->owner->link, share);
}

static bool may_write(void *ctx, const char *share, const km_id *author) {
  const session *s = ctx;
  return km_gate_access(s->owner->link->mesh, author, share, NULL) == KM_ACCESS_WRITE;
}

static void pump(session *s);

/* What a synchronization that the peer began has cost us. */
static void charge(const session *s, bool failed) {
  km_guard *guard = &s->owner->link->peer->guard;
  km_ts now = km_loop_now(s->owner->link->mesh->loop);
  km_sync_stats stats;
  km_sync_get_stats(s->sync, &stats);
  km_guard_sync_read(guard, stats.items_read, now);
  if (failed) {
    km_guard_sync_failed(guard, now);
  }
}

static void session_free(session *s) {
  km_sync_streams *y = s->owner;
  if (!s->ours && !s->ended) {
    charge(s, true); /* the connection ended first */
  }
  session **at = &y->sessions;
  while (*at != s) {
    at = &(*at)->next;
  }
  *at = s->next;
  if (s->ours) {
    y->running = false;
  } else {
    y->theirs--;
  }
  if (s->stream != NULL) {
    km_stream_set_callbacks(s->stream, NULL, NULL);
    km_stream_hold_credit(s->stream, false);
    (void)km_stream_stop(s->stream, 0); /* the peer need not have ended its side */
  }
  km_sync_free(s->sync);
  km_env_free(y->link->mesh->env, s);
}

/* Refusals that the session counted. Wrong signatures are the peer's faults; what we asked for and
 * then could not take, each time anew, is not. */
static void count_faults(session *s, const km_sync_stats *stats) {
  km_link *l = s->owner->link;
  for (uint64_t i = 0; i < stats->entries_forged && !l->closing; i++) {
    (void)km_link_fault(l, KM_FAULT_FORGED, "a synchronized entry with a wrong signature");
  }
  l->peer->guard.faults.forbidden += stats->entries_forbidden;
  l->mesh->stats.faults.forbidden += stats->entries_forbidden;
  l->peer->guard.faults.future += stats->entries_future;
  l->mesh->stats.faults.future += stats->entries_future;
}

static void report(session *s, int error, const km_errinfo *err) {
  km_link *l = s->owner->link;
  km_mesh *m = l->mesh;
  km_sync_stats stats;
  km_sync_get_stats(s->sync, &stats);
  const char *share = km_sync_share(s->sync);
  m->stats.syncs++;
  m->stats.syncs_failed += error != 0;
  m->stats.entries_in += stats.entries_new;
  m->stats.entries_out += stats.entries_sent;
  l->peer->entries_in += stats.entries_new;
  l->peer->entries_out += stats.entries_sent;
  if (error == 0) {
    l->peer->last_sync_ms = km_store_wall(m->store).unix_ns / (int64_t)KM_NS_PER_MS;
    KM_LOG(&m->env->logger, KM_LOG_DEBUG, KM_LOGC_MESH, &l->peer->id, NULL, "synced",
           "share=%s received=%llu sent=%llu bytes=%llu", share == NULL ? "" : share,
           (unsigned long long)stats.entries_new, (unsigned long long)stats.entries_sent,
           (unsigned long long)(stats.sent_bytes + stats.received_bytes));
  } else {
    char why[KM_TEXT_QUOTED_CAP(sizeof err->text)]; /* it may be the peer's */
    KM_LOG(&m->env->logger, KM_LOG_WARN, KM_LOGC_MESH, &l->peer->id, NULL, "sync_failed",
           "share=%s why=%s", share == NULL ? "" : share,
           km_text_quote(why, sizeof why, err->text));
  }
  if (m->options.callbacks.on_sync != NULL) {
    m->options.callbacks.on_sync(m->options.ctx, m, &l->peer->id, share == NULL ? "" : share, error,
                                 stats.entries_new, stats.entries_sent);
  }
  count_faults(s, &stats);
}

/* Once a session. What the peer did wrong is a fault of its; what went wrong here is not. */
static void end(session *s, int error, const km_errinfo *err) {
  km_link *l = s->owner->link;
  if (s->ended) {
    return;
  }
  pump(s); /* a refusal says why */
  s->ended = true;
  if (!s->ours) {
    charge(s, error != 0);
  }
  report(s, error, err);
  if (error == KM_ERR_BAD_PACKET && !l->closing) {
    (void)km_link_fault(l, KM_FAULT_MALFORMED, err->text);
  } else if (error == KM_ERR_PERMISSION && !s->ours && !l->closing) {
    (void)km_link_fault(l, KM_FAULT_FORBIDDEN, "a synchronization of a share it may not read");
  }
  if (error != 0 && s->stream != NULL) {
    uint64_t code = error == KM_ERR_PERMISSION ? CODE_REFUSED : CODE_BROKEN;
    if (!s->fin_sent) {
      (void)km_stream_reset(s->stream, code);
    }
    (void)km_stream_stop(s->stream, code);
  }
  km_defer_run(l->mesh->work); /* the next one, and the end of this one's memory */
}

static void pump(session *s) {
  const uint8_t *bytes;
  bool fin = false;
  size_t len;
  while (s->stream != NULL && !s->ended && !s->fin_sent &&
         ((len = km_sync_output(s->sync, &bytes, &fin)) > 0 || fin)) {
    size_t taken = 0;
    km_errinfo err;
    if (km_stream_write(s->stream, bytes, len, fin, &taken, &err) != 0) {
      return; /* its on_closed follows */
    }
    km_sync_sent(s->sync, taken);
    s->moved = km_loop_now(s->owner->link->mesh->loop);
    if (taken < len) {
      return;
    }
    s->fin_sent = fin;
  }
}

static void check_end(session *s) {
  km_errinfo err = {0};
  km_sync_state state = km_sync_get_state(s->sync);
  if (state == KM_SYNC_FAILED) {
    end(s, km_sync_error(s->sync, &err), &err);
  } else if (state == KM_SYNC_DONE && (s->fin_sent || s->stream == NULL)) {
    end(s, 0, &err);
  }
}

static void on_data(void *ctx, km_stream *stream, const void *data, size_t len, bool fin) {
  (void)stream;
  session *s = ctx;
  km_errinfo err = {0};
  if (s->ended || s->owner->link->closing) {
    return;
  }
  s->held += len;
  s->moved = km_loop_now(s->owner->link->mesh->loop);
  int rv = km_sync_receive(s->sync, data, len, fin, &err);
  if (rv != 0) {
    end(s, rv, &err);
    return;
  }
  km_defer_run(s->owner->link->mesh->work);
}

static void on_writable(void *ctx, km_stream *stream) {
  (void)stream;
  session *s = ctx;
  pump(s);
  check_end(s);
  km_defer_run(s->owner->link->mesh->work); /* the next frame may take more than one look */
}

/* What came before the end may not be worked off yet: work() ends the session. */
static void on_closed(void *ctx, km_stream *stream, int error) {
  (void)stream;
  session *s = ctx;
  s->stream = NULL;
  s->close_error = error;
  km_defer_run(s->owner->link->mesh->work);
}

static const km_stream_callbacks session_callbacks = {.size = sizeof session_callbacks,
                                                      .on_data = on_data,
                                                      .on_writable = on_writable,
                                                      .on_closed = on_closed};

static session *session_new(km_sync_streams *y, bool ours, const char *share) {
  km_mesh *m = y->link->mesh;
  session *s = km_env_zalloc(m->env, 1, sizeof *s);
  if (s == NULL) {
    return NULL;
  }
  *s = (session){.owner = y, .ours = ours, .moved = km_loop_now(m->loop), .next = y->sessions};
  const km_sync_config config = {.env = m->env,
                                 .store = m->store,
                                 .peer = y->link->peer->id,
                                 .initiator = ours,
                                 .share = share,
                                 .may_read = may_read,
                                 .may_write = may_write,
                                 .ctx = s,
                                 .refused = y->refused};
  if (km_sync_new(&s->sync, &config) != 0) {
    km_env_free(m->env, s);
    return NULL;
  }
  y->sessions = s;
  if (ours) {
    y->running = true;
  } else {
    y->theirs++;
  }
  return s;
}

/* False: not now. */
static bool begin(km_sync_streams *y, const char *share) {
  const uint8_t kind = KM_STREAM_SYNC;
  size_t taken;
  session *s = session_new(y, true, share);
  if (s == NULL) {
    return false;
  }
  if (km_conn_open_stream(y->link->conn, &s->stream, true, &session_callbacks, s) != 0) {
    session_free(s);
    return false;
  }
  km_stream_hold_credit(s->stream, true);
  if (km_stream_write(s->stream, &kind, 1, false, &taken, NULL) != 0) {
    return true; /* its on_closed follows */
  }
  km_defer_run(y->link->mesh->work);
  return true;
}

static void begin_next(km_sync_streams *y) {
  const km_mesh *m = y->link->mesh;
  for (size_t i = 0; i < m->options.share_count && !y->running && !y->link->closing; i++) {
    if (!y->due[i]) {
      continue;
    }
    y->due[i] = false;
    if (km_link_shares(y->link, m->options.shares[i].name) &&
        !begin(y, m->options.shares[i].name)) {
      y->due[i] = true; /* when streams are to be had again: with the next interval */
      return;
    }
  }
}

int km_sync_streams_start(km_link *l) {
  km_sync_streams *y = km_env_zalloc(l->mesh->env, 1, sizeof *y);
  size_t count = l->mesh->options.share_count;
  if (y == NULL) {
    return KM_ERR_NOMEM;
  }
  y->link = l;
  y->due = km_env_zalloc(l->mesh->env, count + 1, sizeof *y->due);
  if (y->due == NULL || km_refused_new(&y->refused, l->mesh->env) != 0) {
    km_env_free(l->mesh->env, y->due);
    km_env_free(l->mesh->env, y);
    return KM_ERR_NOMEM;
  }
  l->syncs = y;
  if (memcmp(km_store_id(l->mesh->store), &l->peer->id, sizeof(km_id)) < 0) {
    return km_sync_streams_now(l);
  }
  return 0;
}

void km_sync_streams_stop(km_link *l) {
  km_sync_streams *y = l->syncs;
  if (y == NULL) {
    return;
  }
  while (y->sessions != NULL) {
    session_free(y->sessions);
  }
  l->syncs = NULL;
  km_refused_free(y->refused);
  km_env_free(l->mesh->env, y->due);
  km_env_free(l->mesh->env, y);
}

int km_sync_streams_now(km_link *l) {
  km_sync_streams *y = l->syncs;
  if (y == NULL) {
    return KM_ERR_STATE;
  }
  for (size_t i = 0; i < l->mesh->options.share_count; i++) {
    y->due[i] = true;
  }
  km_defer_run(l->mesh->work);
  return 0;
}

void km_sync_streams_incoming(km_link *l, km_stream *stream, const uint8_t *data, size_t len,
                              bool fin) {
  km_sync_streams *y = l->syncs;
  bool welcome = y != NULL && y->theirs < MAX_THEIRS &&
                 km_guard_may_sync(&l->peer->guard, km_loop_now(l->mesh->loop));
  session *s = welcome ? session_new(y, false, NULL) : NULL;
  if (s == NULL) {
    (void)km_stream_reset(stream, CODE_REFUSED);
    (void)km_stream_stop(stream, CODE_REFUSED);
    return;
  }
  s->stream = stream;
  s->held = 1; /* the stream's first byte */
  km_stream_set_callbacks(stream, &session_callbacks, s);
  km_stream_hold_credit(stream, true);
  on_data(s, stream, data, len, fin);
}

/* A slice of one session. True: it has more to do. */
static bool work(session *s) {
  km_errinfo err = {0};
  bool more = !s->ended && km_sync_work(s->sync, &err);
  if (!more && s->held > 0 && s->stream != NULL) {
    km_stream_consume(s->stream, (size_t)s->held);
    s->held = 0;
  }
  pump(s);
  if (!s->ended) {
    check_end(s);
  }
  if (!more && !s->ended && s->stream == NULL) {
    int code = s->close_error == 0 ? KM_ERR_BAD_PACKET : s->close_error;
    (void)km_fail(&err, code, "the peer ended the synchronization too early");
    end(s, code, &err);
  }
  return more && !s->ended;
}

bool km_sync_streams_work(km_link *l) {
  km_sync_streams *y = l->syncs;
  bool more = false;
  if (y == NULL || l->closing) {
    return false;
  }
  for (session *s = y->sessions, *next; s != NULL && !l->closing; s = next) {
    next = s->next;
    more = work(s) || more;
    if (s->ended) {
      session_free(s);
    }
  }
  begin_next(y);
  km_link_service_set(l);
  return more;
}

bool km_sync_streams_busy(const km_link *l) {
  return l->syncs != NULL && l->syncs->sessions != NULL;
}

km_ts km_sync_streams_next(const km_link *l) {
  km_ts next = KM_TS_NEVER;
  for (session *s = l->syncs == NULL ? NULL : l->syncs->sessions; s != NULL; s = s->next) {
    next = s->moved + STANDSTILL < next ? s->moved + STANDSTILL : next;
  }
  return next;
}

void km_sync_streams_tick(km_link *l, km_ts now) {
  km_errinfo err;
  for (session *s = l->syncs == NULL ? NULL : l->syncs->sessions; s != NULL; s = s->next) {
    if (!s->ended && now >= s->moved + STANDSTILL) {
      (void)km_fail(&err, KM_ERR_TIMEOUT, "the synchronization stood still for a minute");
      end(s, KM_ERR_TIMEOUT, &err);
    }
  }
}
