#include "store/sync.h"

#include <sodium.h>
#include <string.h>

#include "store/sync_impl.h"

enum {
  ITEM_SLICE = 4096,      /* items read in one slice of work */
  ENTRY_SLICE = 1024,     /* entries of the peer's own that are applied in one slice, */
  VERIFY_COST = 8,        /* of which each costs so many that has to be verified */
  MAX_ITEMS = 10000000,   /* default of max_items */
  MAX_NEEDS = 1000000,    /* default of max_needs */
  MAX_BUFFERED = 1114112, /* default of max_buffered: 1 MiB + 64 KiB */
  MAX_MESSAGE = 262144,   /* default of max_message */
  MAX_ROUNDS = 512,       /* default of max_rounds */
  FIRST_CAP = 4096
};

/* What a slice of work came to. */
enum { STEP_NOTHING, STEP_MORE, STEP_LATER };

/* --- Life --- */

static int init_share(km_sync *s) {
  const char *share = s->config.share;
  int rv = share == NULL ? KM_ERR_INVALID : km_share_name_check(share, strlen(share), NULL);
  if (rv != 0) {
    return rv;
  }
  memcpy(s->share, share, strlen(share) + 1);
  s->config.share = s->share;
  if (!s->config.may_read(s->config.ctx, s->share)) {
    return KM_ERR_PERMISSION;
  }
  km_env_random(s->env, s->key, sizeof s->key);
  s->part = KM_SYNC_READS_ITEMS;
  s->our_turn = true;
  return 0;
}

int km_sync_new(km_sync **ret, const km_sync_config *config) {
  km_sync *s = km_env_zalloc(config->env, 1, sizeof *s);
  if (s == NULL) {
    return KM_ERR_NOMEM;
  }
  s->env = config->env;
  s->config = *config;
  s->config.max_items = config->max_items > 0 ? config->max_items : MAX_ITEMS;
  s->config.max_needs = config->max_needs > 0 ? config->max_needs : MAX_NEEDS;
  s->config.max_buffered = config->max_buffered > 0 ? config->max_buffered : MAX_BUFFERED;
  s->config.max_message = config->max_message > 0 ? config->max_message : MAX_MESSAGE;
  s->config.max_rounds = config->max_rounds > 0 ? config->max_rounds : MAX_ROUNDS;
  int rv = config->initiator ? init_share(s) : 0;
  if (rv != 0) {
    km_sync_free(s);
    return rv;
  }
  *ret = s;
  return 0;
}

void km_sync_free(km_sync *s) {
  if (s == NULL) {
    return;
  }
  const km_env *env = s->env;
  km_reconcile_free(s->reconcile);
  km_env_free(env, s->items);
  km_env_free(env, s->in);
  km_env_free(env, s->out);
  sodium_memzero(s, sizeof *s); /* the session's key */
  km_env_free(env, s);
}

int km_sync_fail(km_sync *s, const km_errinfo *err) {
  s->error = *err;
  s->part = KM_SYNC_OVER;
  s->out_more = false;
  s->in_at = s->in_len = 0;
  return err->code;
}

km_sync_state km_sync_get_state(const km_sync *s) {
  if (s->error.code != 0) {
    return KM_SYNC_FAILED;
  }
  return s->part == KM_SYNC_OVER ? KM_SYNC_DONE : KM_SYNC_RUNNING;
}

int km_sync_error(const km_sync *s, km_errinfo *err) {
  if (s->error.code != 0 && err != NULL) {
    *err = s->error;
  }
  return s->error.code;
}

void km_sync_get_stats(const km_sync *s, km_sync_stats *ret) {
  *ret = s->stats;
}

const char *km_sync_share(const km_sync *s) {
  return s->share[0] != '\0' ? s->share : NULL;
}

void km_sync_check_over(km_sync *s) {
  bool sent = s->end_sent && s->out_at == s->out_len;
  if (sent && s->end_received && s->in_at == s->in_len && s->error.code == 0) {
    s->part = KM_SYNC_OVER;
  }
}

bool km_sync_must_wait(const km_sync *s) {
  return s->config.store->kv->batch != KM_KV_BATCH_NONE;
}

/* What they sent before is applied: what replaces ours is here. */
static void lower_floor(km_sync *s, uint64_t floor) {
  s->their_floor = floor;
}

/* --- Reading the items --- */

static int grow_items(km_sync *s, km_errinfo *err) {
  if (s->item_cap - s->item_count >= ITEM_SLICE) {
    return 0;
  }
  size_t cap = s->item_cap > 0 ? s->item_cap * 2 : ITEM_SLICE;
  km_item *grown = km_env_realloc(s->env, s->items, cap, sizeof *grown);
  if (grown == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  s->items = grown;
  s->item_cap = cap;
  return 0;
}

/* Puts `more` among the items, where they are not there yet. There is room. */
static void merge_items(km_sync *s, const km_item *more, size_t count) {
  size_t total = s->item_count + count;
  size_t at = total, ours = s->item_count;
  while (count > 0) {
    int order = ours == 0 ? -1 : km_item_compare(&s->items[ours - 1], &more[count - 1]);
    s->items[--at] = order > 0 ? s->items[--ours] : more[count - 1];
    count -= order > 0 ? 0 : 1;
    ours -= order == 0 ? 1 : 0;
  }
  memmove(s->items + ours, s->items + at, (total - at) * sizeof *s->items);
  s->not_ours = ours + total - at - s->item_count;
  s->item_count += s->not_ours;
}

/* What the peer has and was refused before: as if it were ours, it does not come again. */
static int add_refused(km_sync *s, km_errinfo *err) {
  const km_sync_config *c = &s->config;
  const km_item *more = NULL;
  int64_t count =
      c->refused == NULL ? 0 : km_refused_list(c->refused, s->share, c->may_write, c->ctx, &more);
  if (count <= 0) {
    return count < 0 ? km_fail(err, (int)count, NULL) : 0;
  }
  size_t cap = s->item_count + (size_t)count;
  km_item *grown = km_env_realloc(s->env, s->items, cap, sizeof *grown);
  if (grown == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  s->items = grown;
  s->item_cap = cap;
  merge_items(s, more, (size_t)count);
  return 0;
}

static int begin_reconciling(km_sync *s, km_errinfo *err) {
  km_reconcile_config config = {.env = s->env,
                                .max_message = s->config.max_message,
                                .max_rounds = s->config.max_rounds,
                                .max_needs = s->config.max_needs};
  memcpy(config.key, s->key, sizeof config.key);
  int rv = add_refused(s, err);
  if (rv != 0) {
    return rv;
  }
  rv = km_reconcile_new(&s->reconcile, &config, s->items, s->item_count);
  s->items = NULL;
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  s->part = KM_SYNC_RECONCILES;
  if (!s->config.initiator) {
    return 0; /* the message lies in OPEN, which is still in the input */
  }
  uint8_t *message;
  int64_t len = km_reconcile_begin(s->reconcile, &message);
  if (len < 0) {
    return km_fail(err, (int)len, NULL);
  }
  s->message = message;
  s->message_len = (size_t)len;
  return 0;
}

static int read_items(km_sync *s, km_errinfo *err) {
  if (s->item_count == 0) {
    s->seq = km_kv_seq(s->config.store);
  }
  int rv = grow_items(s, err);
  if (rv != 0) {
    return rv;
  }
  const km_item *after = s->item_count > 0 ? &s->items[s->item_count - 1] : NULL;
  int64_t count =
      km_kv_items(s->config.store, s->share, after, s->items + s->item_count, ITEM_SLICE, err);
  if (count < 0) {
    return (int)count;
  }
  s->item_count += (size_t)count;
  s->stats.items_read += (uint64_t)count;
  if (s->item_count > s->config.max_items) {
    return km_fail(err, KM_ERR_LIMIT, "the share %s has more than %zu entries", s->share,
                   s->config.max_items);
  }
  return count < ITEM_SLICE ? begin_reconciling(s, err) : 0;
}

/* --- Frames --- */

static int out_of_turn(km_errinfo *err, const char *what) {
  return km_fail(err, KM_ERR_BAD_PACKET, "%s out of turn in a synchronization", what);
}

static int take_message(km_sync *s, const uint8_t *message, size_t len, km_errinfo *err) {
  uint8_t *answer;
  int64_t rv = km_reconcile_step(s->reconcile, message, len, &answer, err);
  if (rv < 0) {
    return (int)rv;
  }
  s->stats.rounds++;
  s->our_turn = true;
  s->message = answer;
  s->message_len = (size_t)rv;
  if (rv == 0) {
    s->part = KM_SYNC_EXCHANGES; /* the WANT tells the other side */
  }
  return 0;
}

static int open_share(km_sync *s, const km_sync_open *open, km_errinfo *err) {
  if (open->version != KM_SYNC_VERSION) {
    return km_fail(err, KM_ERR_UNSUPPORTED, "version %u of synchronization, %u is spoken here",
                   open->version, KM_SYNC_VERSION);
  }
  /* The same sentence whether there is such a share or not. */
  if (!s->config.may_read(s->config.ctx, open->share)) {
    return km_fail(err, KM_ERR_PERMISSION, "no share of that name is open to this peer");
  }
  memcpy(s->share, open->share, sizeof s->share);
  memcpy(s->key, open->key, sizeof s->key);
  s->part = KM_SYNC_READS_ITEMS;
  return 0;
}

/* Twice: to learn which share, and when its items are there. 1: the frame must stay. */
static int take_open(km_sync *s, const km_sync_frame *frame, km_errinfo *err) {
  km_sync_open open;
  if (s->config.initiator || s->opened) {
    return out_of_turn(err, "OPEN");
  }
  int rv = km_sync_open_read(&open, frame->body, err);
  if (rv == 0 && s->part == KM_SYNC_AWAITS_OPEN) {
    rv = open_share(s, &open, err);
    return rv == 0 ? 1 : rv;
  }
  if (rv == 0) {
    s->opened = true;
    rv = take_message(s, open.message, open.message_len, err);
  }
  return rv;
}

static int take_reconcile(km_sync *s, const km_sync_frame *frame, km_errinfo *err) {
  if (!s->opened || s->our_turn || s->part != KM_SYNC_RECONCILES) {
    return out_of_turn(err, "RECONCILE");
  }
  return take_message(s, frame->body.at, km_rd_left(&frame->body), err);
}

static int take_want(km_sync *s, const km_sync_frame *frame, km_errinfo *err) {
  if (!s->opened || s->wants_received || s->our_turn) {
    return out_of_turn(err, "WANT");
  }
  km_rd rd = frame->body;
  uint8_t more = km_rd_u8(&rd);
  uint64_t floor = km_rd_varint(&rd, 64);
  size_t left = km_rd_left(&rd);
  if (rd.failed || more > 1 || left % KM_SHORT_NAME_BYTES != 0 || (more == 1 && left == 0)) {
    return km_fail(err, KM_ERR_BAD_PACKET, "a WANT frame is malformed");
  }
  s->part = KM_SYNC_EXCHANGES;
  s->wanted += left / KM_SHORT_NAME_BYTES;
  /* Older versions ask twice for what they were told twice. */
  if (s->wanted > 2 * km_reconcile_items(s->reconcile)) {
    return km_fail(err, KM_ERR_BAD_PACKET, "the peer asks for more entries than there are");
  }
  for (; left > 0; left -= KM_SHORT_NAME_BYTES) {
    int rv = km_reconcile_want(s->reconcile, km_rd_bytes(&rd, KM_SHORT_NAME_BYTES));
    if (rv < 0) {
      return km_fail(err, rv, NULL);
    }
  }
  if (more == 0) {
    s->wants_received = true;
    s->our_turn = true;
    s->their_floor = floor;
    s->common = km_reconcile_newest_common(s->reconcile);
  }
  return 0;
}

static int take_done(km_sync *s, const km_sync_frame *frame, km_errinfo *err) {
  km_rd rd = frame->body;
  uint64_t count = km_rd_varint(&rd, 64);
  if (!s->wants_received || s->done_received) {
    return out_of_turn(err, "DONE");
  }
  if (rd.failed || km_rd_left(&rd) > 0 || count != s->received) {
    return km_fail(err, KM_ERR_BAD_PACKET, "the peer miscounted the entries it sent");
  }
  s->done_received = true;
  lower_floor(s, 0);
  return 0;
}

static int take_end(km_sync *s, const km_sync_frame *frame, km_errinfo *err) {
  km_rd rd = frame->body;
  uint8_t complete = km_rd_u8(&rd);
  if (!s->done_received || !s->done_sent || s->end_received) {
    return out_of_turn(err, "END");
  }
  if (rd.failed || km_rd_left(&rd) > 0 || complete > 1) {
    return km_fail(err, KM_ERR_BAD_PACKET, "an END frame is malformed");
  }
  s->end_received = true;
  /* It took all that it knew of. */
  bool all = complete == 1 && !km_reconcile_cut_short(s->reconcile);
  return all ? km_kv_synced(s->config.store, s->share, &s->config.peer, s->seq, err) : 0;
}

static int begin_entries(km_sync *s, const km_sync_frame *frame, km_errinfo *err) {
  km_rd rd = frame->body;
  uint64_t floor = km_rd_varint(&rd, 64);
  if (!s->wants_received || s->done_received) {
    return out_of_turn(err, "ENTRIES");
  }
  s->entries_left = km_rd_left(&rd);
  if (rd.failed || floor > s->their_floor || (s->entries_left == 0 && floor == s->their_floor)) {
    return km_fail(err, KM_ERR_BAD_PACKET, "an ENTRIES frame is malformed or brings nothing");
  }
  s->in_at += frame->size - s->entries_left;
  s->next_floor = floor;
  if (s->entries_left == 0) {
    lower_floor(s, floor);
  }
  return 1;
}

/* 0: the frame is done; 1: it stays, or in_at was moved into it. */
static int take_frame(km_sync *s, const km_sync_frame *frame, km_errinfo *err) {
  switch (frame->type) {
  case KM_SYNC_OPEN:
    return take_open(s, frame, err);
  case KM_SYNC_RECONCILE:
    return take_reconcile(s, frame, err);
  case KM_SYNC_WANT:
    return take_want(s, frame, err);
  case KM_SYNC_ENTRIES:
    return begin_entries(s, frame, err);
  case KM_SYNC_DONE_SENDING:
    return take_done(s, frame, err);
  case KM_SYNC_END:
    return take_end(s, frame, err);
  default:
    s->refused = true;
    return km_sync_refuse_read(frame->body, err);
  }
}

/* --- Entries --- */

/* What is from the future is no item that a store could have. */
static void remember_refused(km_sync *s, const km_entry *e, const km_id *author) {
  const km_store *store = s->config.store;
  km_hlc clock = {0};
  if (s->config.refused != NULL &&
      km_hlc_see(&clock, e->clock, km_store_wall(store), store->options.max_skew_ms) == 0) {
    km_item item = {.clock = e->clock};
    km_entry_hash(e, item.hash);
    km_refused_add(s->config.refused, s->share, &item, author);
  }
}

static int apply_one(km_sync *s, const km_entry *e, km_errinfo *err) {
  const km_sync_config *c = &s->config;
  if (++s->received > c->max_items) {
    return km_fail(err, KM_ERR_LIMIT, "the peer sends more than %zu entries", c->max_items);
  }
  const km_store_options *limits = &c->store->options;
  bool fits = e->key_len <= limits->max_key && e->value_len <= limits->max_value;
  if (!fits || !c->may_write(c->ctx, s->share, &e->author)) {
    s->stats.entries_forbidden++;
    remember_refused(s, e, fits ? &e->author : NULL);
    return 0;
  }
  int verdict = km_kv_apply(c->store, e, &c->peer, err);
  s->stats.entries_new += verdict == KM_KV_NEW;
  s->stats.entries_old += verdict == KM_KV_KNOWN || verdict == KM_KV_OLD;
  s->stats.entries_forged += verdict == KM_KV_FORGED;
  s->stats.entries_future += verdict == KM_KV_FUTURE;
  s->stats.entries_forbidden += verdict == KM_KV_FORBIDDEN;
  return verdict < 0 ? verdict : 0;
}

static int apply_slice(km_sync *s, km_errinfo *err) {
  km_rd rd = km_rd_init(s->in + s->in_at, s->entries_left);
  int rv = 0;
  for (unsigned cost = 0; rv == 0 && cost < ENTRY_SLICE && km_rd_left(&rd) > 0;) {
    km_entry e;
    /* Who passes on what is larger than we take may have other limits. */
    rv = km_entry_decode(&e, &rd, s->share, strlen(s->share), KM_KV_KEY_MAX, KM_KV_VALUE_MAX, err);
    if (rv == 0) {
      rv = apply_one(s, &e, err);
      cost += km_id_equal(&e.author, &s->config.peer) ? 1 : VERIFY_COST;
    }
  }
  size_t used = s->entries_left - km_rd_left(&rd);
  s->in_at += used;
  s->entries_left -= used;
  if (s->entries_left == 0) {
    lower_floor(s, s->next_floor);
  }
  return rv;
}

/* In one transaction. */
static int apply_entries(km_sync *s, km_errinfo *err) {
  int rv = km_kv_begin(s->config.store, err);
  if (rv != 0) {
    return rv;
  }
  rv = apply_slice(s, err);
  /* What was good before a bad entry is kept. */
  km_errinfo commit_err;
  int committed = km_kv_commit(s->config.store, &commit_err);
  if (committed != 0 && rv == 0) {
    *err = commit_err;
    return committed;
  }
  return rv;
}

/* --- Slices of work --- */

/* No frame is whole. Nothing may be left out when the stream ends. */
static int check_fin(const km_sync *s, km_errinfo *err) {
  if (s->fin_received && (s->in_at < s->in_len || !s->end_received)) {
    return km_fail(err, KM_ERR_BAD_PACKET, "the peer ended the synchronization too early");
  }
  return 0;
}

static int frame_step(km_sync *s, km_errinfo *err) {
  km_sync_frame frame;
  if (s->end_received && s->in_at < s->in_len) {
    return km_fail(err, KM_ERR_BAD_PACKET, "the peer goes on behind the end of a synchronization");
  }
  int rv = s->in_at == s->in_len
               ? 0
               : km_sync_frame_read(&frame, s->in + s->in_at, s->in_len - s->in_at,
                                    s->config.max_buffered, err);
  if (rv <= 0) {
    return rv < 0 ? rv : check_fin(s, err);
  }
  rv = take_frame(s, &frame, err);
  if (rv == 0) {
    s->in_at += frame.size;
    km_sync_check_over(s);
  }
  return rv < 0 ? rv : STEP_MORE;
}

/* STEP_NOTHING, STEP_MORE, STEP_LATER or an error. */
static int step(km_sync *s, km_errinfo *err) {
  int rv = STEP_NOTHING;
  bool needs_store = s->part == KM_SYNC_READS_ITEMS || s->entries_left > 0;
  if (needs_store && km_sync_must_wait(s)) {
    return STEP_LATER;
  }
  if (s->part == KM_SYNC_READS_ITEMS) {
    rv = read_items(s, err);
    return rv == 0 ? STEP_MORE : rv;
  }
  if (s->entries_left > 0) {
    rv = apply_entries(s, err);
    return rv == 0 ? STEP_MORE : rv;
  }
  return s->part == KM_SYNC_OVER ? STEP_NOTHING : frame_step(s, err);
}

static int step_or_fail(km_sync *s, km_errinfo *err) {
  int rv = step(s, err);
  return rv < 0 ? km_sync_fail(s, err) : rv;
}

bool km_sync_work(km_sync *s, km_errinfo *err) {
  km_errinfo e = {0};
  int rv = step_or_fail(s, &e);
  (void)km_sync_error(s, err);                            /* told by the state */
  bool looks_on = s->out_more && s->out_at == s->out_len; /* not before the last frame is gone */
  return s->part != KM_SYNC_OVER && (rv != STEP_NOTHING || looks_on);
}

static int buffer(km_sync *s, const uint8_t *data, size_t len, km_errinfo *err) {
  if (s->in_at > 0) {
    memmove(s->in, s->in + s->in_at, s->in_len - s->in_at);
    s->in_len -= s->in_at;
    s->in_at = 0;
  }
  if (s->in_cap - s->in_len < len) {
    size_t cap = s->in_cap > 0 ? s->in_cap : FIRST_CAP;
    while (cap - s->in_len < len) {
      cap *= 2;
    }
    uint8_t *grown = km_env_realloc(s->env, s->in, cap, 1);
    if (grown == NULL) {
      return km_fail(err, KM_ERR_NOMEM, NULL);
    }
    s->in = grown;
    s->in_cap = cap;
  }
  if (len > 0) {
    memcpy(s->in + s->in_len, data, len);
    s->in_len += len;
  }
  return 0;
}

/* Whoever sends more than we keep makes us work at once. */
static int work_off(km_sync *s, km_errinfo *err) {
  int rv = STEP_MORE;
  while (rv == STEP_MORE &&
         s->in_len - s->in_at > s->config.max_buffered + KM_SYNC_FRAME_HEAD_MAX) {
    rv = step(s, err);
  }
  if (rv >= 0 && rv != STEP_MORE) {
    return km_fail(err, KM_ERR_LIMIT, "the peer sends faster than its entries can be stored");
  }
  return rv < 0 ? rv : 0;
}

int km_sync_receive(km_sync *s, const uint8_t *data, size_t len, bool fin, km_errinfo *err) {
  km_errinfo e = {0};
  int rv = 0;
  if (s->error.code != 0) {
    return km_sync_error(s, err); /* what comes behind an error is passed over */
  }
  s->stats.received_bytes += len;
  s->fin_received = s->fin_received || fin;
  if (s->part == KM_SYNC_OVER && len > 0) {
    rv = km_fail(&e, KM_ERR_BAD_PACKET, "the peer goes on behind the end of a synchronization");
  } else {
    rv = buffer(s, data, len, &e);
  }
  rv = rv == 0 ? work_off(s, &e) : rv;
  if (rv != 0) {
    (void)km_sync_fail(s, &e); /* told below */
  }
  return km_sync_error(s, err);
}
