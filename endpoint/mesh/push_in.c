/* The stream in: what a peer pushes is checked, stored, and passed on by the store's hooks. */
#include <stdio.h>
#include <string.h>

#include "base/enc.h"
#include "base/text.h"
#include "endpoint/mesh/push_impl.h"
#include "store/kv_impl.h"

#define STOP_READING 1 /* application code of STOP_SENDING */

enum {
  A_TURN = 128,        /* entries that are taken in one turn of the loop, */
  LAST_TURN = 1024,    /* and when the connection ended: there is no other turn, */
  COST_OF_OTHERS = 16, /* of which a message costs so many: each is written to the disk alone */
  RX_KEPT = 65536      /* bytes of memory that stay when all is taken */
};

static void take_entry(km_link *l, km_rd *rd, bool *in_batch) {
  km_mesh *m = l->mesh;
  const km_store_options *limits = &m->store->options;
  uint8_t name_len = km_rd_u8(rd);
  const uint8_t *name = km_rd_bytes(rd, name_len);
  km_entry e;
  km_errinfo err = {0};
  char share[KM_SHARE_NAME_MAX + 1];
  if (name == NULL || km_share_name_check((const char *)name, name_len, &err) != 0 ||
      km_entry_decode(&e, rd, (const char *)name, name_len, KM_KV_KEY_MAX, KM_KV_VALUE_MAX, &err) !=
          0 ||
      km_rd_left(rd) != 0) {
    (void)km_link_fault(l, KM_FAULT_MALFORMED, "a pushed entry that cannot be read");
    return;
  }
  memcpy(share, name, name_len);
  share[name_len] = '\0';
  if (!km_link_shares(l, share)) {
    (void)km_link_fault(l, KM_FAULT_FORBIDDEN, "an entry of a share that it may not read");
    return;
  }
  if (e.key_len > limits->max_key || e.value_len > limits->max_value) {
    (void)km_link_fault(l, KM_FAULT_UNWELCOME, "an entry that is larger than it may be here");
    return;
  }
  if (km_gate_access(m, &e.author, share, NULL) != KM_ACCESS_WRITE) {
    /* Neither who passes it on nor a reader that wrote it knows whom we let write. */
    (void)km_link_fault(l, KM_FAULT_UNWELCOME, "an entry whose author may not write the share");
    return;
  }
  if (!*in_batch) {
    *in_batch = km_kv_begin(m->store, &err) == 0; /* without one it is stored by itself */
  }
  int verdict = km_kv_apply(m->store, &e, &l->peer->id, &err);
  switch (verdict) {
  case KM_KV_NEW:
    l->peer->entries_in++;
    m->stats.entries_in++;
    return;
  case KM_KV_FORGED:
    (void)km_link_fault(l, KM_FAULT_FORGED, "an entry with a wrong signature");
    return;
  case KM_KV_FUTURE:
    (void)km_link_fault(l, KM_FAULT_FUTURE, "an entry from the future");
    return;
  case KM_KV_FORBIDDEN:
    (void)km_link_fault(l, KM_FAULT_FORBIDDEN, "an entry that its author may not write");
    return;
  default:
    break;
  }
  if (verdict < 0) {
    KM_LOG(&m->env->logger, KM_LOG_ERROR, KM_LOGC_MESH, &l->peer->id, NULL, "store",
           "an entry could not be stored: %s", err.text);
  }
}

static void *room(const km_env *env, void *at, size_t *cap, size_t need) {
  if (*cap >= need) {
    return at;
  }
  void *more = km_env_realloc(env, at, need, 1);
  if (more != NULL) {
    *cap = need;
  }
  return more;
}

/* Of a message's sender: one that may talk to us itself may also do so through others. */
static bool is_welcome(km_link *l, const km_message *msg) {
  return km_id_equal(&msg->sender, &l->peer->id) ||
         (msg->broadcast && km_gate_lets_in(l->mesh, &msg->sender));
}

static void got_message(km_link *l, const km_message *msg) {
  km_mesh *m = l->mesh;
  km_mpeer *p = l->peer;
  p->messages_in++;
  m->stats.messages_in++;
  if (msg->broadcast) {
    m->stats.messages_relayed++;
    km_push_outbox(m, NULL);
  }
  if (m->options.callbacks.on_message != NULL) {
    m->options.callbacks.on_message(m->options.ctx, m, msg);
  }
}

static void take_message(km_link *l, const km_rd *rd) {
  km_mesh *m = l->mesh;
  km_push *p = l->push;
  size_t len = km_rd_left(rd);
  char *scratch = room(m->env, p->scratch, &p->scratch_cap, len + 2);
  if (scratch == NULL) {
    return; /* not confirmed: it comes again */
  }
  p->scratch = scratch;
  km_message msg;
  km_errinfo err = {0};
  int rv = km_message_decode(&msg, rd->at, len, scratch, &err);
  if (rv != 0) {
    (void)km_link_fault(l, rv == KM_ERR_CRYPTO ? KM_FAULT_FORGED : KM_FAULT_MALFORMED, err.text);
    return;
  }
  if (km_id_equal(&msg.sender, km_store_id(m->store))) {
    return;
  }
  if (!is_welcome(l, &msg)) {
    (void)km_link_fault(l, msg.broadcast ? KM_FAULT_UNWELCOME : KM_FAULT_FORBIDDEN,
                        "a message of somebody who is not let in");
    return;
  }
  if (msg.body_len > m->options.max_message) {
    km_push_refuse_message(p, msg.id);
    return;
  }
  int verdict = km_inbox_take(m->store, &msg, rd->at, len, &l->peer->id, &err);
  if (verdict < 0) {
    KM_LOG(&m->env->logger, KM_LOG_ERROR, KM_LOGC_MESH, &l->peer->id, NULL, "store",
           "a message could not be stored: %s", err.text);
    return;
  }
  if (verdict != KM_INBOX_REFUSED) {
    km_push_confirm(p, msg.id);
  }
  if (verdict == KM_INBOX_NEW) {
    got_message(l, &msg);
  }
}

/* The peer is over a rate: what came is paid for with credit held back. */
static void hold(km_link *l, km_ts now) {
  l->mesh->stats.faults.flooded++;
  l->push->held_until = km_guard_when(&l->peer->guard, now);
}

static void take_statement(km_link *l, const km_rd *rd) {
  km_mesh *m = l->mesh;
  km_statement s;
  km_errinfo err = {0};
  km_ts now = km_loop_now(m->loop);
  int rv = km_statement_decode(&s, rd->at, km_rd_left(rd), &err);
  if (rv == KM_ERR_UNSUPPORTED) {
    if (!km_guard_statement(&l->peer->guard, true, now)) {
      hold(l, now);
    }
    return;
  }
  if (rv != 0) {
    (void)km_link_fault(l, rv == KM_ERR_CRYPTO ? KM_FAULT_FORGED : KM_FAULT_MALFORMED, err.text);
    return;
  }
  rv = km_trust_take(m->store, &s, km_gate_counts(m, &s.author), km_gate_takes_revocations(m),
                     km_gate_is_configured(m, &s.subject), &err);
  bool cheap = rv == KM_STATEMENT_KNOWN || km_id_equal(&s.author, km_store_id(m->store));
  if (!km_guard_statement(&l->peer->guard, cheap, now)) {
    hold(l, now);
  }
  if (rv == KM_STATEMENT_NEW) {
    km_push_statement(m, &s, &l->peer->id);
  } else if (rv < 0) {
    KM_LOG(&m->env->logger, KM_LOG_ERROR, KM_LOGC_MESH, &l->peer->id, NULL, "store",
           "a statement could not be stored: %s", err.text);
  }
}

/* Confirmed, or refused with a reason. */
static void take_answer(km_link *l, km_rd *rd, bool refused) {
  const uint8_t *id = km_rd_bytes(rd, KM_MESSAGE_ID_BYTES);
  size_t len = km_rd_left(rd);
  km_errinfo err;
  if (id == NULL || len > (refused ? KM_PUSH_REASON_MAX : 0) || l->push->unconfirmed == 0) {
    (void)km_link_fault(l, KM_FAULT_MALFORMED, "a confirmation of nothing");
    return;
  }
  l->push->unconfirmed--;
  char reason[KM_PUSH_REASON_MAX + 1];
  (void)snprintf(reason, sizeof reason, "%.*s", (int)len, (const char *)rd->at);
  km_text_clean(reason);
  km_store *store = l->mesh->store;
  int rv = refused ? km_outbox_refused(store, &l->peer->id, id, reason, &err)
                   : km_outbox_confirmed(store, &l->peer->id, id, &err);
  if (rv == 0 && refused) {
    char hex[2 * KM_MESSAGE_ID_BYTES + 1], why[KM_TEXT_QUOTED_CAP(KM_PUSH_REASON_MAX)];
    km_hex_encode(hex, id, KM_MESSAGE_ID_BYTES);
    KM_LOG(&l->mesh->env->logger, KM_LOG_WARN, KM_LOGC_MESH, &l->peer->id, NULL, "message_refused",
           "message=%s why=%s", hex, km_text_quote(why, sizeof why, reason));
  } else if (rv != 0) {
    KM_LOG(&l->mesh->env->logger, KM_LOG_WARN, KM_LOGC_MESH, &l->peer->id, NULL, "outbox", "%s",
           err.text);
  }
}

/* False: over the rate. */
static bool rate(km_link *l, uint8_t type, km_ts now) {
  km_guard *g = &l->peer->guard;
  bool within = true;
  if (type == KM_PUSH_ENTRY) {
    within = km_guard_entry(g, now);
  } else if (type == KM_PUSH_MESSAGE || type == KM_PUSH_STATEMENTS_PLEASE) {
    within = km_guard_message(g, now);
  }
  if (!within) {
    hold(l, now);
  }
  return within;
}

static void commit(km_link *l, bool *in_batch) {
  km_errinfo err;
  if (*in_batch && km_kv_commit(l->mesh->store, &err) != 0) {
    KM_LOG(&l->mesh->env->logger, KM_LOG_ERROR, KM_LOGC_MESH, &l->peer->id, NULL, "store",
           "entries could not be stored: %s", err.text);
    (void)km_sync_streams_now(l);
  }
  *in_batch = false;
}

static void take_frame(km_link *l, uint8_t type, km_rd *rd, bool within, bool *in_batch) {
  if (type == KM_PUSH_ENTRY) {
    take_entry(l, rd, in_batch);
    return;
  }
  commit(l, in_batch); /* the other stores have transactions of their own */
  switch (type) {
  case KM_PUSH_MESSAGE:
    take_message(l, rd);
    break;
  case KM_PUSH_CONFIRM:
    take_answer(l, rd, false);
    break;
  case KM_PUSH_REFUSED:
    take_answer(l, rd, true);
    break;
  case KM_PUSH_STATEMENT:
    take_statement(l, rd);
    break;
  case KM_PUSH_STATEMENTS_PLEASE:
    if (within) { /* all of them are many: asked for too often, they do not come */
      km_push_all_statements(l->push);
    }
    break;
  default: /* of a later version */
    break;
  }
}

/* Whatever our own limits are: others may have larger ones. */
static size_t frame_max(void) {
  size_t entry = (size_t)KM_KV_KEY_MAX + KM_KV_VALUE_MAX + 512;
  size_t message = (size_t)KM_MESSAGE_BODY_MAX + KM_MESSAGE_OVERHEAD_MAX + 1;
  return entry > message ? entry : message;
}

/* Takes frames that lie whole in `rx`, for as much as `budget`: `in_more` is set when there may be
 * others. False: they cannot be read. The link may be closing afterwards. */
static bool take_frames(km_push *p, unsigned budget) {
  km_link *l = p->link;
  size_t at = 0, used, want;
  bool in_batch = false;
  km_ts now = km_loop_now(l->mesh->loop);
  int rv = 1;
  while (!l->closing && budget > 0) {
    uint8_t type;
    km_rd body;
    rv = km_push_frame(p->rx + at, p->rx_len - at, frame_max(), &used, &want, &type, &body);
    if (rv <= 0) {
      break;
    }
    unsigned cost = type == KM_PUSH_ENTRY ? 1 : COST_OF_OTHERS;
    bool within = rate(l, type, now);
    take_frame(l, type, &body, within, &in_batch);
    at += used;
    budget -= cost < budget ? cost : budget;
  }
  commit(l, &in_batch);
  p->in_more = rv > 0;
  p->rx_len -= at;
  memmove(p->rx, p->rx + at, p->rx_len);
  return rv >= 0;
}

/* Keeps what came until it is worked off; no more than the stream's window, as there is no credit
 * before that, and the beginning of a frame. */
static bool keep(km_push *p, const uint8_t *data, size_t len) {
  size_t need = p->rx_len + len;
  uint8_t *rx = p->rx;
  if (need > p->rx_cap) {
    rx = room(p->link->mesh->env, p->rx, &p->rx_cap, need + need / 2);
  }
  if (rx == NULL) {
    return len == 0;
  }
  p->rx = rx;
  memcpy(rx + p->rx_len, data, len);
  p->rx_len += len;
  return true;
}

static void read_no_more(km_push *p) {
  p->deaf = true;
  p->rx_len = 0;
  if (p->in != NULL) {
    (void)km_stream_stop(p->in, STOP_READING);
  }
}

static void take_some(km_push *p, unsigned budget) {
  if (p->rx_len > 0 && !p->link->closing && !take_frames(p, budget)) {
    read_no_more(p);
    (void)km_link_fault(p->link, KM_FAULT_MALFORMED, "a frame on the push stream that cannot be");
  }
}

/* Credit for what was taken, now or when its rate allows. */
static void give_credit(km_push *p, km_ts now) {
  if (p->held_until != KM_TS_NEVER && now < p->held_until) {
    km_link_service_set(p->link);
    return;
  }
  p->held_until = KM_TS_NEVER;
  if (p->in != NULL) {
    km_stream_consume(p->in, (size_t)p->held);
  }
  p->held = 0;
}

/* Each connection has a window of its own: what another one of the peer owes is paid for before
 * anything of this one is taken. What this one owes itself holds up its credit alone. */
static bool must_wait(km_push *p, km_ts now) {
  if (p->held_until != KM_TS_NEVER && now < p->held_until) {
    return p->waits;
  }
  km_ts when = km_guard_when(&p->link->peer->guard, now);
  p->waits = when > now;
  if (p->waits) {
    p->held_until = when;
  }
  return p->waits;
}

/* Of all that came in a turn: what is stored together is written to the disk once. */
void km_push_in_work(km_push *p) {
  km_link *l = p->link;
  bool any = p->rx_len > 0;
  if (any && must_wait(p, km_loop_now(l->mesh->loop))) {
    km_link_service_set(l);
    return;
  }
  take_some(p, A_TURN);
  if (l->closing || p->deaf || !any) {
    return;
  }
  if (p->in_more) {
    km_defer_run(l->mesh->work);
    return;
  }
  if (p->rx_len == 0 && p->rx_cap > RX_KEPT) {
    km_env_free(l->mesh->env, p->rx);
    p->rx = NULL;
    p->rx_cap = 0;
  }
  give_credit(p, km_loop_now(l->mesh->loop));
}

static void on_data(void *ctx, km_stream *stream, const void *data, size_t len, bool fin) {
  (void)fin;
  (void)stream;
  km_push *p = ctx;
  km_link *l = p->link;
  if (l->closing || p->deaf) {
    return;
  }
  if (!keep(p, data, len)) {
    read_no_more(p);
    return;
  }
  p->held += len;
  km_defer_run(l->mesh->work);
}

static void on_in_closed(void *ctx, km_stream *stream, int error) {
  (void)stream;
  km_push *p = ctx;
  p->in = NULL;
  km_ts now = km_loop_now(p->link->mesh->loop);
  if (error == KM_ERR_CLOSED && km_guard_when(&p->link->peer->guard, now) <= now) {
    /* Whoever says something and goes away did say it. What a peer in debt said comes again. */
    take_some(p, LAST_TURN);
  }
}

void km_push_stream(km_link *l, km_stream *stream, const uint8_t *data, size_t len, bool fin) {
  static const km_stream_callbacks callbacks = {
      .size = sizeof callbacks, .on_data = on_data, .on_closed = on_in_closed};
  km_push *p = l->push;
  if (p == NULL || p->in_came) {
    (void)km_stream_stop(stream, STOP_READING);
    (void)km_link_fault(l, KM_FAULT_MALFORMED, "a second push stream");
    return;
  }
  p->in = stream;
  p->in_came = true;
  km_stream_set_callbacks(stream, &callbacks, p);
  km_stream_hold_credit(stream, true);
  p->held = 1; /* the stream's first byte */
  on_data(p, stream, data, len, fin);
}

void km_push_in_free(km_push *p) {
  const km_env *env = p->link->mesh->env;
  if (p->in != NULL) {
    km_stream_set_callbacks(p->in, NULL, NULL);
    km_stream_hold_credit(p->in, false);
  }
  km_env_free(env, p->rx);
  km_env_free(env, p->scratch);
}

km_ts km_push_next(const km_link *l) {
  const km_push *p = l->push;
  if (p == NULL) {
    return KM_TS_NEVER;
  }
  km_ts held = p->held > 0 ? p->held_until : KM_TS_NEVER;
  return p->paced_until < held ? p->paced_until : held;
}

void km_push_tick(km_link *l, km_ts now) {
  km_push *p = l->push;
  if (p != NULL && p->held > 0 && now >= p->held_until) {
    if (p->rx_len > 0) { /* is taken first */
      p->held_until = KM_TS_NEVER;
      km_defer_run(l->mesh->work);
    } else {
      give_credit(p, now);
    }
  }
  if (p != NULL && now >= p->paced_until) {
    p->paced_until = KM_TS_NEVER;
    km_push_pump(p);
  }
}
