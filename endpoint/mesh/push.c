/* The stream out: changes, messages, statements and confirmations, each when there is room. */
#include <stdio.h>
#include <string.h>

#include "endpoint/mesh/push_impl.h"

static bool queue_add(km_push *p, km_push_queue *q, const void *item, size_t max) {
  const km_env *env = p->link->mesh->env;
  if (q->count == max) {
    return false;
  }
  if (q->first + q->count == q->cap) {
    if (q->first > 0) {
      memmove(q->at, q->at + q->first * q->size, q->count * q->size);
      q->first = 0;
    } else {
      size_t cap = q->cap == 0 ? 16 : 2 * q->cap;
      uint8_t *at = km_env_realloc(env, q->at, cap, q->size);
      if (at == NULL) {
        return false;
      }
      q->at = at;
      q->cap = cap;
    }
  }
  memcpy(q->at + (q->first + q->count) * q->size, item, q->size);
  q->count++;
  return true;
}

/* Valid until the next queue_add. NULL: empty. */
static const void *queue_take(km_push_queue *q) {
  if (q->count == 0) {
    return NULL;
  }
  const void *item = q->at + q->first * q->size;
  q->first++;
  q->count--;
  return item;
}

static void queue_clear(km_push_queue *q) {
  q->first = q->count = 0;
}

/* Room for one frame with a body of `len` bytes, its header written. A failed writer: no memory. */
static km_wr begin_frame(km_push *p, uint8_t type, size_t len) {
  size_t need = len + KM_PUSH_HEAD_MAX;
  if (p->frame_cap < need) {
    uint8_t *frame = km_env_realloc(p->link->mesh->env, p->frame, need, 1);
    if (frame == NULL) {
      return (km_wr){.failed = true};
    }
    p->frame = frame;
    p->frame_cap = need;
  }
  km_wr wr = km_wr_init(p->frame, p->frame_cap);
  km_push_head(&wr, type, len);
  return wr;
}

static bool end_frame(km_push *p, const km_wr *wr) {
  p->frame_at = 0;
  p->frame_len = wr->failed ? 0 : (size_t)(wr->at - p->frame);
  return !wr->failed;
}

static bool put_bytes(km_push *p, uint8_t type, const void *bytes, size_t len) {
  km_wr wr = begin_frame(p, type, len);
  km_wr_bytes(&wr, bytes, len);
  return end_frame(p, &wr);
}

/* Messages go no faster than the peer takes them without holding credit back, which would hold up
 * the entries beside them. */
static bool may_go(km_push *p, km_ts now) {
  km_ts when = km_token_bucket_when(&p->link->peer->pace, now);
  if (when > now) {
    p->paced_until = when;
  }
  return when <= now;
}

static void read_statements(km_push *p);

/* They are few and must not be late: they count, and do not wait. */
static bool put_statement(km_push *p) {
  bool news = p->news.count > 0;
  if (!news && p->statements.count == 0 && p->statements_more) {
    read_statements(p);
  }
  const km_push_statement_bytes *s = queue_take(news ? &p->news : &p->statements);
  if (s == NULL) {
    return false;
  }
  (void)km_token_bucket_spend(&p->link->peer->pace, news ? KM_PACE_A_MESSAGE : 1,
                              km_loop_now(p->link->mesh->loop));
  return put_bytes(p, KM_PUSH_STATEMENT, s->bytes, s->len);
}

static bool put_confirm(km_push *p) {
  const km_push_answer *a = queue_take(&p->confirms);
  if (a == NULL || !a->too_large) {
    return a != NULL && put_bytes(p, KM_PUSH_CONFIRM, a->id, KM_MESSAGE_ID_BYTES);
  }
  uint8_t body[KM_MESSAGE_ID_BYTES + KM_PUSH_REASON_MAX];
  char *why = (char *)body + KM_MESSAGE_ID_BYTES;
  memcpy(body, a->id, KM_MESSAGE_ID_BYTES);
  (void)snprintf(why, KM_PUSH_REASON_MAX, "longer than the %u bytes that are taken there",
                 (unsigned)p->link->mesh->options.max_message);
  return put_bytes(p, KM_PUSH_REFUSED, body, KM_MESSAGE_ID_BYTES + strlen(why));
}

static bool put_message(km_push *p) {
  km_mesh *m = p->link->mesh;
  const uint8_t *bytes;
  size_t len;
  uint8_t id[KM_MESSAGE_ID_BYTES];
  km_errinfo err;
  km_ts now = km_loop_now(m->loop);
  if (!may_go(p, now)) {
    return false;
  }
  int rv = km_outbox_next(m->store, &p->link->peer->id, p->outbox_at, &p->outbox_at, &bytes, &len,
                          id, &err);
  if (rv != 0) {
    p->outbox_more = false;
    if (rv != KM_ERR_NOT_FOUND) {
      KM_LOG(&m->env->logger, KM_LOG_WARN, KM_LOGC_MESH, &p->link->peer->id, NULL, "outbox",
             "cannot read the outbox: %s", err.text);
    }
    return false;
  }
  if (!put_bytes(p, KM_PUSH_MESSAGE, bytes, len)) {
    return false;
  }
  (void)km_token_bucket_spend(&p->link->peer->pace, KM_PACE_A_MESSAGE, now);
  p->unconfirmed++;
  p->link->peer->messages_out++;
  m->stats.messages_out++;
  return true;
}

/* False: this one is not to be sent (replaced meanwhile); the next may be. */
static bool put_entry(km_push *p, const km_push_change_note *note) {
  km_mesh *m = p->link->mesh;
  const char *share = m->options.shares[note->share].name;
  size_t name_len = strlen(share);
  km_entry e;
  km_errinfo err;
  if (!km_link_shares(p->link, share) || km_kv_find(m->store, share, &note->item, &e, &err) != 0) {
    return false;
  }
  km_wr wr = begin_frame(p, KM_PUSH_ENTRY, 1 + name_len + km_entry_size(&e));
  km_wr_u8(&wr, (uint8_t)name_len);
  km_wr_bytes(&wr, share, name_len);
  km_entry_encode(&e, &wr);
  if (!end_frame(p, &wr)) {
    return false;
  }
  p->link->peer->entries_out++;
  m->stats.entries_out++;
  return true;
}

static bool put_change(km_push *p) {
  const km_push_change_note *note;
  while ((note = queue_take(&p->changes)) != NULL) {
    if (put_entry(p, note)) {
      return true;
    }
  }
  return false;
}

static bool put_next(km_push *p) {
  if (p->ask_statements) {
    p->ask_statements = false;
    return put_bytes(p, KM_PUSH_STATEMENTS_PLEASE, NULL, 0);
  }
  return put_statement(p) || put_confirm(p) || put_change(p) || (p->outbox_more && put_message(p));
}

void km_push_pump(km_push *p) {
  while (p->out != NULL) {
    if (p->frame_at == p->frame_len && !put_next(p)) {
      break;
    }
    size_t taken = 0;
    km_errinfo err;
    if (km_stream_write(p->out, p->frame + p->frame_at, p->frame_len - p->frame_at, false, &taken,
                        &err) != 0) {
      return; /* its on_closed follows */
    }
    p->frame_at += taken;
    if (p->frame_at < p->frame_len) {
      return;
    }
  }
  if (p->paced_until != KM_TS_NEVER) {
    km_link_service_set(p->link);
  }
  if (p->overflowed && p->changes.count == 0) {
    p->overflowed = false;
    (void)km_sync_streams_now(p->link);
  }
}

static void on_writable(void *ctx, km_stream *stream) {
  (void)stream;
  km_push_pump(ctx);
}

static int open_out(km_push *p);

/* Once, when it was too early the first time: all that was sent is lost, and goes again. */
static void open_again(km_push *p) {
  if (p->out != NULL || !p->too_early || p->link->closing) {
    return;
  }
  p->too_early = false;
  if (open_out(p) != 0) {
    return; /* the connection is ending */
  }
  p->frame_at = p->frame_len = 0;
  p->outbox_at = 0;
  p->outbox_more = p->overflowed = true;
  p->unconfirmed = 0;
  queue_clear(&p->changes);
  km_push_all_statements(p);
  km_defer_run(p->link->mesh->work);
}

static void on_out_closed(void *ctx, km_stream *stream, int error) {
  (void)stream;
  (void)error;
  km_push *p = ctx;
  p->out = NULL;
  if (p->link->proven) {
    open_again(p);
  }
}

void km_push_proven(km_link *l) {
  if (l->push != NULL) {
    open_again(l->push);
  }
}

static int open_out(km_push *p) {
  static const km_stream_callbacks callbacks = {
      .size = sizeof callbacks, .on_writable = on_writable, .on_closed = on_out_closed};
  const uint8_t kind = KM_STREAM_PUSH;
  size_t taken;
  int rv = km_conn_open_stream(p->link->conn, &p->out, false, &callbacks, p);
  return rv != 0 ? rv : km_stream_write(p->out, &kind, 1, false, &taken, NULL);
}

int km_push_start(km_link *l) {
  km_push *p = km_env_zalloc(l->mesh->env, 1, sizeof *p);
  if (p == NULL) {
    return KM_ERR_NOMEM;
  }
  p->link = l;
  p->held_until = p->paced_until = KM_TS_NEVER;
  p->changes.size = sizeof(km_push_change_note);
  p->confirms.size = sizeof(km_push_answer);
  p->news.size = p->statements.size = sizeof(km_push_statement_bytes);
  p->outbox_more = true;
  p->too_early = !l->dialled && !l->proven;
  l->push = p;
  int rv = open_out(p);
  if (rv != 0) {
    km_push_stop(l);
    return rv;
  }
  km_push_all_statements(p);
  km_push_pump(p);
  return 0;
}

void km_push_stop(km_link *l) {
  km_push *p = l->push;
  if (p == NULL) {
    return;
  }
  const km_env *env = l->mesh->env;
  l->push = NULL;
  if (p->out != NULL) {
    km_stream_set_callbacks(p->out, NULL, NULL);
  }
  km_push_in_free(p);
  km_env_free(env, p->frame);
  km_env_free(env, p->changes.at);
  km_env_free(env, p->confirms.at);
  km_env_free(env, p->news.at);
  km_env_free(env, p->statements.at);
  km_env_free(env, p);
}

static size_t share_of(const km_mesh *m, const char *name) {
  size_t i = 0;
  while (i < m->options.share_count && strcmp(m->options.shares[i].name, name) != 0) {
    i++;
  }
  return i;
}

void km_push_change(km_mesh *m, const char *share, const km_item *item, const km_id *from) {
  size_t place = share_of(m, share);
  if (place == m->options.share_count) {
    return;
  }
  const km_push_change_note note = {.share = (uint16_t)place, .item = *item};
  for (km_link *l = m->links; l != NULL; l = l->next) {
    km_push *p = l->push;
    if (p == NULL || (from != NULL && km_id_equal(from, &l->peer->id)) ||
        !km_link_shares(l, share)) {
      continue;
    }
    if (p->overflowed) {
      continue; /* the synchronization will bring it */
    }
    if (!queue_add(p, &p->changes, &note, KM_PUSH_ENTRIES_MAX)) {
      queue_clear(&p->changes);
      p->overflowed = true;
    }
    if (from != NULL) {
      m->stats.entries_relayed++;
    }
    km_defer_run(m->work);
  }
}

void km_push_outbox(km_mesh *m, const km_id *to) {
  for (km_link *l = m->links; l != NULL; l = l->next) {
    if (l->push != NULL && (to == NULL || km_id_equal(to, &l->peer->id))) {
      l->push->outbox_more = true;
      km_defer_run(m->work);
    }
  }
}

static bool add_statement(km_push *p, km_push_queue *q, const km_statement *s) {
  km_push_statement_bytes b = {0};
  int len = km_statement_encode(s, b.bytes, sizeof b.bytes);
  if (len <= 0) {
    return true;
  }
  b.len = (uint16_t)len;
  return queue_add(p, q, &b, KM_PUSH_STATEMENTS_MAX);
}

void km_push_statement(km_mesh *m, const km_statement *s, const km_id *from) {
  for (km_link *l = m->links; l != NULL; l = l->next) {
    if (l->push != NULL && (from == NULL || !km_id_equal(from, &l->peer->id))) {
      if (!add_statement(l->push, &l->push->news, s)) {
        km_push_all_statements(l->push); /* those that are kept, in place of the news */
      }
      km_defer_run(m->work);
    }
  }
}

static void add_one(void *ctx, const km_statement *s) {
  km_push *p = ctx;
  (void)add_statement(p, &p->statements, s);
}

static void read_statements(km_push *p) {
  km_errinfo err;
  int64_t count = km_trust_statements_next(p->link->mesh->store, &p->statements_at,
                                           KM_PUSH_STATEMENTS_MAX, add_one, p, &err);
  bool later = count == KM_ERR_STATE; /* somebody is reading them */
  p->statements_more = later || count == KM_PUSH_STATEMENTS_MAX;
  if (count < 0 && !later) {
    KM_LOG(&p->link->mesh->env->logger, KM_LOG_WARN, KM_LOGC_MESH, &p->link->peer->id, NULL,
           "statements", "cannot read them: %s", err.text);
  }
}

void km_push_all_statements(km_push *p) {
  queue_clear(&p->statements); /* those that wait are among them */
  p->statements_at = (km_statement_place){.begun = false};
  p->statements_more = true;
}

void km_push_request_statements(km_link *l) {
  if (l->push != NULL) {
    l->push->ask_statements = true;
    km_push_pump(l->push);
  }
}

static void answer(km_push *p, const uint8_t id[KM_MESSAGE_ID_BYTES], bool too_large) {
  km_push_answer a = {.too_large = too_large};
  memcpy(a.id, id, sizeof a.id);
  /* One that does not fit is asked for again by its sender's next delivery. */
  (void)queue_add(p, &p->confirms, &a, KM_PUSH_CONFIRMS_MAX);
}

void km_push_confirm(km_push *p, const uint8_t id[KM_MESSAGE_ID_BYTES]) {
  answer(p, id, false);
}

void km_push_refuse_message(km_push *p, const uint8_t id[KM_MESSAGE_ID_BYTES]) {
  answer(p, id, true);
}

void km_push_work(km_link *l) {
  if (l->push != NULL) {
    km_push_in_work(l->push);
    km_push_pump(l->push);
  }
}
