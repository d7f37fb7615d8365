/* What a synchronization sends: the next frame is made when the one before is gone. */
#include <string.h>

#include "store/sync_impl.h"

enum {
  FRAME_TARGET = 262144, /* bytes of a frame with entries or names, unless one entry is longer */
  FLOOR_MAX = 10,
  ENTRIES_AT =
      KM_SYNC_FRAME_HEAD_MAX + FLOOR_MAX, /* where they are put before the floor is known */
  LOOKUPS = 1024                          /* entries looked up for one frame */
};

static int send_room(km_sync *s, size_t body, km_errinfo *err) {
  size_t need = KM_SYNC_FRAME_HEAD_MAX + body;
  if (s->out_cap < need) {
    size_t cap = s->out_cap * 2 > need ? s->out_cap * 2 : need;
    uint8_t *grown = km_env_realloc(s->env, s->out, cap, 1);
    if (grown == NULL) {
      return km_fail(err, KM_ERR_NOMEM, NULL);
    }
    s->out = grown;
    s->out_cap = cap;
  }
  return 0;
}

static km_wr body_begin(km_sync *s) {
  return km_wr_init(s->out + KM_SYNC_FRAME_HEAD_MAX, s->out_cap - KM_SYNC_FRAME_HEAD_MAX);
}

static int body_end(km_sync *s, const km_wr *wr, km_sync_type type, km_errinfo *err) {
  uint8_t *body = s->out + KM_SYNC_FRAME_HEAD_MAX;
  size_t len = (size_t)(wr->at - body);
  if (wr->failed) {
    return km_fail(err, KM_ERR_INTERNAL, NULL);
  }
  size_t head = km_sync_frame_put_head(body, len, type);
  s->out_at = KM_SYNC_FRAME_HEAD_MAX - head;
  s->out_len = KM_SYNC_FRAME_HEAD_MAX + len;
  return 0;
}

static int send_message(km_sync *s, km_errinfo *err) {
  bool open = !s->opened;
  km_sync_open o = {
      .version = KM_SYNC_VERSION, .message = s->message, .message_len = s->message_len};
  int rv = send_room(s, sizeof o + s->message_len, err);
  if (rv != 0) {
    return rv;
  }
  km_wr wr = body_begin(s);
  if (open) {
    memcpy(o.share, s->share, sizeof o.share);
    memcpy(o.key, s->key, sizeof o.key);
    km_sync_open_write(&wr, &o);
  } else {
    km_wr_bytes(&wr, s->message, s->message_len);
  }
  s->opened = true;
  s->our_turn = false;
  s->message_len = 0;
  return body_end(s, &wr, open ? KM_SYNC_OPEN : KM_SYNC_RECONCILE, err);
}

/* Who names first does not know yet what the other side will name. */
static uint64_t own_floor(km_sync *s) {
  km_item newest;
  if (!s->wants_received) {
    return km_reconcile_have_bound(s->reconcile);
  }
  return km_reconcile_newest_have(s->reconcile, &newest) ? newest.clock : 0;
}

static int send_want(km_sync *s, km_errinfo *err) {
  enum { NAMES_MAX = FRAME_TARGET / KM_SHORT_NAME_BYTES };
  size_t left = km_reconcile_needs(s->reconcile);
  size_t count = left < NAMES_MAX ? left : NAMES_MAX;
  int rv = send_room(s, 16 + count * KM_SHORT_NAME_BYTES, err);
  if (rv != 0) {
    return rv;
  }
  km_wr wr = body_begin(s);
  s->floor = own_floor(s);
  km_wr_u8(&wr, left > count);
  km_wr_varint(&wr, s->floor);
  for (size_t i = 0; i < count; i++) {
    uint8_t name[KM_SHORT_NAME_BYTES];
    if (km_reconcile_next_need(s->reconcile, name)) {
      km_wr_bytes(&wr, name, sizeof name);
    }
  }
  if (left == count) {
    s->wants_sent = true;
    s->our_turn = false;
  }
  return body_end(s, &wr, KM_SYNC_WANT, err);
}

/* May an item with this clock go now, or could the other side still send what replaces it? */
static bool may_go(const km_sync *s, uint64_t clock) {
  return clock >= s->their_floor || clock > s->common || s->turns >= KM_SYNC_TURNS_MAX;
}

/* The entry of the newest item behind the `*used` bytes of entries that the frame has. 1: it is in,
 * or gone from the store; 0: it has to wait for the next frame. */
static int put_entry(km_sync *s, const km_item *item, size_t *used, km_errinfo *err) {
  km_entry e;
  km_item taken;
  int rv = km_kv_find(s->config.store, s->share, item, &e, err);
  size_t size = rv == 0 ? km_entry_size(&e) : 0;
  if (rv != 0 && rv != KM_ERR_NOT_FOUND) {
    return rv;
  }
  if (*used > 0 && *used + size > FRAME_TARGET) {
    return 0;
  }
  int room = send_room(s, FLOOR_MAX + *used + size, err);
  if (room != 0) {
    return room;
  }
  (void)km_reconcile_next_have(s->reconcile, &taken); /* is `item` */
  if (rv != 0 && s->not_ours > 0) {
    km_refused_drop(s->config.refused, s->share, item); /* the peer asked for it */
  }
  if (rv == 0) {
    km_wr wr = km_wr_init(s->out + ENTRIES_AT + *used, size);
    km_entry_encode(&e, &wr);
    s->stats.entries_sent++;
    *used += size;
  }
  return 1;
}

static int put_entries(km_sync *s, size_t *used, km_errinfo *err) {
  km_item item;
  int rv = 1;
  unsigned lookups = 0;
  s->out_more = false;
  while (rv > 0 && km_reconcile_newest_have(s->reconcile, &item) && may_go(s, item.clock)) {
    if (lookups++ == LOOKUPS) {
      s->out_more = true;
      break;
    }
    s->turns += s->waited; /* it is our turn again */
    s->waited = false;
    rv = put_entry(s, &item, used, err);
  }
  return rv < 0 ? rv : 0;
}

/* 1: a frame was made; 0: nothing can go now. */
static int send_entries(km_sync *s, km_errinfo *err) {
  size_t used = 0;
  s->out_more = km_sync_must_wait(s);
  if (s->out_more) {
    return 0;
  }
  int rv = send_room(s, FLOOR_MAX, err);
  rv = rv == 0 ? put_entries(s, &used, err) : rv;
  if (rv != 0) {
    return rv;
  }
  uint64_t floor = own_floor(s);
  if (used == 0 && (floor == s->floor || floor == 0)) {
    s->waited = s->waited || (floor != 0 && !s->out_more);
    return 0;
  }
  s->floor = floor;
  km_wr wr = body_begin(s);
  km_wr_varint(&wr, floor);
  memmove(wr.at, s->out + ENTRIES_AT, used);
  wr.at += used;
  rv = body_end(s, &wr, KM_SYNC_ENTRIES, err);
  return rv == 0 ? 1 : rv;
}

static int send_number(km_sync *s, km_sync_type type, uint64_t number, km_errinfo *err) {
  int rv = send_room(s, 16, err);
  if (rv != 0) {
    return rv;
  }
  km_wr wr = body_begin(s);
  km_wr_varint(&wr, number);
  return body_end(s, &wr, type, err);
}

static int send_exchange(km_sync *s, km_errinfo *err) {
  km_item item;
  if (!s->done_sent) {
    int rv = send_entries(s, err);
    if (rv != 0 || s->out_more || km_reconcile_newest_have(s->reconcile, &item)) {
      return rv < 0 ? rv : 0;
    }
    s->done_sent = true;
    return send_number(s, KM_SYNC_DONE_SENDING, s->stats.entries_sent, err);
  }
  if (s->done_received && !s->end_sent) {
    const km_sync_stats *st = &s->stats;
    s->end_sent = true;
    s->fin_ready = true;
    uint64_t refused = st->entries_forged + st->entries_future + st->entries_forbidden;
    bool all = refused == 0 && s->not_ours == 0 && !km_reconcile_left_out(s->reconcile);
    return send_number(s, KM_SYNC_END, all, err);
  }
  return 0;
}

static int send_refusal(km_sync *s, km_errinfo *err) {
  size_t len = strlen(s->error.text);
  int rv = send_room(s, 1 + len, err);
  if (rv != 0) {
    return rv;
  }
  km_wr wr = body_begin(s);
  km_wr_u8(&wr, (uint8_t)km_sync_refusal_of(s->error.code));
  km_wr_bytes(&wr, s->error.text, len);
  s->fin_ready = true;
  return body_end(s, &wr, KM_SYNC_REFUSE, err);
}

static int make_frame(km_sync *s, km_errinfo *err) {
  if (s->error.code != 0 && !s->refused && !s->fin_ready) {
    return send_refusal(s, err);
  }
  if (s->part == KM_SYNC_RECONCILES && s->our_turn && s->message_len > 0) {
    return send_message(s, err);
  }
  if (s->part == KM_SYNC_EXCHANGES && s->our_turn && !s->wants_sent) {
    return send_want(s, err);
  }
  if (s->part == KM_SYNC_EXCHANGES && s->wants_sent && s->wants_received) {
    return send_exchange(s, err);
  }
  return 0;
}

size_t km_sync_output(km_sync *s, const uint8_t **ret, bool *ret_fin) {
  if (s->out_at == s->out_len) {
    km_errinfo err = {0};
    s->out_at = s->out_len = 0;
    if (make_frame(s, &err) != 0) {
      s->refused = s->error.code != 0; /* not even the refusal */
      (void)km_sync_fail(s, &err);     /* told by the state */
      s->out_at = s->out_len = 0;
    }
  }
  *ret = s->out != NULL ? s->out + s->out_at : NULL;
  *ret_fin = s->fin_ready;
  return s->out_len - s->out_at;
}

void km_sync_sent(km_sync *s, size_t len) {
  s->out_at += len;
  s->stats.sent_bytes += len;
  km_sync_check_over(s);
}
