#include "relay/switchboard.h"

#include <sodium/crypto_shorthash.h>
#include <string.h>

#define FIRST_BUCKETS 64
/* A ping follows 15 s of silence and from 1 to 5 s more. */
#define PING_JITTER_MIN KM_NS_PER_S
#define PING_JITTER_SPAN (4 * KM_NS_PER_S)

static const char same_id_text[] =
    "another endpoint with the same id is connected: this one receives nothing any more";
static const char healthy_text[] = "";

/* --- the table ------------------------------------------------------------------------------- */

int km_switchboard_init(km_switchboard *sb, const km_env *env, size_t max_queued) {
  memset(sb, 0, sizeof *sb);
  sb->env = env;
  sb->bucket_count = FIRST_BUCKETS;
  sb->buckets = km_env_zalloc(env, sb->bucket_count, sizeof(km_switch_client *));
  if (sb->buckets == NULL) {
    return KM_ERR_NOMEM;
  }
  km_switch_pool_init(&sb->pool, env, max_queued);
  km_env_random(env, sb->hash_key, sizeof sb->hash_key);
  return 0;
}

void km_switchboard_clear(km_switchboard *sb) {
  if (sb->env != NULL) {
    km_switch_pool_clear(&sb->pool);
    km_env_free(sb->env, sb->buckets);
    sb->buckets = NULL;
  }
}

/* Ids are chosen by clients: under a random key they cannot choose the bucket. */
static size_t bucket_of(const km_switchboard *sb, const km_id *id) {
  uint8_t hash[crypto_shorthash_BYTES];
  uint64_t number;
  _Static_assert(sizeof hash == sizeof number, "SipHash-2-4 gives 64 bits");
  crypto_shorthash(hash, id->bytes, sizeof id->bytes, sb->hash_key);
  memcpy(&number, hash, sizeof number);
  return (size_t)number & (sb->bucket_count - 1);
}

static km_switch_client **find(const km_switchboard *sb, const km_id *id) {
  km_switch_client **link = &sb->buckets[bucket_of(sb, id)];
  while (*link != NULL && !km_id_equal(&(*link)->id, id)) {
    link = &(*link)->next_in_bucket;
  }
  return link;
}

/* Without room for more buckets the chains just get longer. */
static void grow(km_switchboard *sb) {
  size_t count = sb->bucket_count * 2;
  km_switch_client **bigger = km_env_zalloc(sb->env, count, sizeof(km_switch_client *));
  if (bigger == NULL) {
    return;
  }
  km_switch_client **old = sb->buckets;
  size_t old_count = sb->bucket_count;
  sb->buckets = bigger;
  sb->bucket_count = count;
  for (size_t i = 0; i < old_count; i++) {
    for (km_switch_client *c = old[i], *next; c != NULL; c = next) {
      size_t b = bucket_of(sb, &c->id);
      next = c->next_in_bucket;
      c->next_in_bucket = bigger[b];
      bigger[b] = c;
    }
  }
  km_env_free(sb->env, old);
}

/* --- output ---------------------------------------------------------------------------------- */

void km_switchboard_mark(km_switchboard *sb, km_switch_client *c) {
  if (c->dirty) {
    return;
  }
  c->dirty = true;
  c->next_dirty = NULL;
  c->prev_dirty = sb->dirty_last;
  if (sb->dirty_last == NULL) {
    sb->dirty_first = c;
  } else {
    sb->dirty_last->next_dirty = c;
  }
  sb->dirty_last = c;
}

static void forget_dirty(km_switchboard *sb, km_switch_client *c) {
  if (!c->dirty) {
    return;
  }
  *(c->prev_dirty == NULL ? &sb->dirty_first : &c->prev_dirty->next_dirty) = c->next_dirty;
  *(c->next_dirty == NULL ? &sb->dirty_last : &c->next_dirty->prev_dirty) = c->prev_dirty;
  c->dirty = false;
}

km_switch_client *km_switchboard_next_dirty(km_switchboard *sb) {
  km_switch_client *c = sb->dirty_first;
  if (c != NULL) {
    forget_dirty(sb, c);
  }
  return c;
}

static bool say(km_switchboard *sb, km_switch_client *c, const km_relay_frame *frame) {
  uint8_t msg[256];
  int len = km_relay_frame_write(msg, sizeof msg, frame);
  if (len < 0 || !km_switch_queue_add(&c->out, &sb->pool, false, msg, (size_t)len, NULL, 0)) {
    sb->stats.dropped_others++;
    return false;
  }
  sb->stats.others++;
  km_switchboard_mark(sb, c);
  return true;
}

/* A code in version 2, a sentence in version 1. */
static void tell_status(km_switchboard *sb, km_switch_client *c, uint8_t code, const char *text) {
  km_relay_frame frame = {.type = KM_RELAY_STATUS, .status = code};
  if (c->version == KM_RELAY_V1) {
    frame = (km_relay_frame){
        .type = KM_RELAY_HEALTH, .data = (const uint8_t *)text, .len = strlen(text)};
  }
  (void)say(sb, c, &frame); /* counted when there is no room */
}

/* --- correspondents -------------------------------------------------------------------------- */

static void remember(km_switchboard *sb, km_switch_client *c, const km_id *to) {
  if (c->correspondents == NULL) {
    c->correspondents = km_env_alloc(sb->env, KM_SWITCH_CORRESPONDENTS * sizeof(km_id));
    if (c->correspondents == NULL) {
      return; /* that one will not be told */
    }
  }
  for (unsigned i = 0; i < c->correspondent_count; i++) {
    if (km_id_equal(&c->correspondents[i], to)) {
      return;
    }
  }
  c->correspondents[c->correspondent_next] = *to;
  c->correspondent_next = (c->correspondent_next + 1) % KM_SWITCH_CORRESPONDENTS;
  if (c->correspondent_count < KM_SWITCH_CORRESPONDENTS) {
    c->correspondent_count++;
  }
}

/* Of two clients of one id, the one that stays tells the peers of both. */
static void inherit(km_switchboard *sb, km_switch_client *heir, const km_switch_client *c) {
  for (unsigned i = 0; i < c->correspondent_count; i++) {
    remember(sb, heir, &c->correspondents[i]);
  }
}

static void tell_gone(km_switchboard *sb, const km_switch_client *c) {
  const km_relay_frame frame = {.type = KM_RELAY_ENDPOINT_GONE, .peer = c->id};
  for (unsigned i = 0; !sb->restarting && i < c->correspondent_count; i++) {
    km_switch_client *peer = *find(sb, &c->correspondents[i]);
    if (peer != NULL && say(sb, peer, &frame)) {
      sb->stats.gone_sent++;
    }
  }
}

/* --- coming and going ------------------------------------------------------------------------ */

int km_switchboard_enter(km_switchboard *sb, km_switch_client *c, const km_id *id,
                         km_relay_version version, km_ts now) {
  if (sb->ids >= sb->bucket_count) {
    grow(sb);
  }
  c->id = *id;
  c->version = version;
  km_switch_client **link = find(sb, id);
  km_switch_client *former = *link;
  c->entered = c->active = true;
  c->older = former;
  c->newer = NULL;
  c->next_in_bucket = former == NULL ? NULL : former->next_in_bucket;
  *link = c;
  sb->epoch++;
  sb->stats.clients++;
  if (former == NULL) {
    sb->ids++;
  } else {
    former->active = false;
    former->newer = c;
    former->next_in_bucket = NULL;
    sb->stats.replaced++;
    tell_status(sb, former, KM_RELAY_SAME_ID, same_id_text);
  }
  sb->stats.ids = sb->ids;
  km_relay_ping_init(&c->ping, now);
  c->ping_jitter = PING_JITTER_MIN + km_env_random_below(sb->env, PING_JITTER_SPAN);
  c->ping.next = now + KM_RELAY_PING_INTERVAL + c->ping_jitter;
  return 0;
}

static void unlink_active(km_switchboard *sb, km_switch_client *c) {
  km_switch_client **link = find(sb, &c->id);
  km_switch_client *next = c->older;
  if (next == NULL) {
    *link = c->next_in_bucket;
    sb->ids--;
    tell_gone(sb, c);
    return;
  }
  inherit(sb, next, c);
  next->active = true;
  next->newer = NULL;
  sb->stats.restored++;
  next->next_in_bucket = c->next_in_bucket;
  *link = next;
  tell_status(sb, next, KM_RELAY_HEALTHY, healthy_text);
}

static void unlink_older(km_switchboard *sb, km_switch_client *c) {
  inherit(sb, c->newer, c);
  c->newer->older = c->older;
  if (c->older != NULL) {
    c->older->newer = c->newer;
  }
}

void km_switchboard_leave(km_switchboard *sb, km_switch_client *c) {
  if (c->entered) {
    if (c->active) {
      unlink_active(sb, c);
    } else {
      unlink_older(sb, c);
    }
    c->entered = c->active = false;
    sb->epoch++;
    sb->stats.clients--;
    sb->stats.ids = sb->ids;
  }
  forget_dirty(sb, c);
  km_switch_queue_clear(&c->out, &sb->pool);
  km_env_free(sb->env, c->correspondents);
  c->correspondents = NULL;
  c->correspondent_count = 0;
}

/* --- packets --------------------------------------------------------------------------------- */

/* Most packets go where the last one went. */
static km_switch_client *destination(km_switchboard *sb, km_switch_client *c, const km_id *id) {
  if (c->last_to != NULL && c->last_to_epoch == sb->epoch && km_id_equal(&c->last_to->id, id)) {
    return c->last_to;
  }
  km_switch_client *to = *find(sb, id);
  if (to != NULL) {
    c->last_to = to;
    c->last_to_epoch = sb->epoch;
    remember(sb, c, id);
  }
  return to;
}

static void forward(km_switchboard *sb, km_switch_client *c, const km_relay_frame *f) {
  km_switch_client *to = destination(sb, c, &f->peer);
  if (to == NULL) {
    sb->stats.dropped_absent++;
    return;
  }
  uint8_t head[KM_RELAY_MAX_HEADER];
  size_t head_len =
      km_relay_datagram_header(head, KM_RELAY_TO_CLIENT, &c->id, f->ecn, f->segment, f->len);
  if (!km_switch_queue_add(&to->out, &sb->pool, true, head, head_len, f->data, f->len)) {
    sb->stats.dropped_full++;
    return;
  }
  sb->stats.datagrams++;
  sb->stats.datagram_bytes += f->len;
  km_switchboard_mark(sb, to);
}

int km_switchboard_receive(km_switchboard *sb, km_switch_client *c, const uint8_t *msg, size_t len,
                           km_ts now, km_errinfo *err) {
  km_relay_frame f;
  sb->stats.rx_messages++;
  int rv = km_relay_frame_read(&f, KM_RELAY_READ_SERVER, c->version, msg, len, err);
  if (rv != 0) {
    sb->stats.bad_messages++;
    return rv;
  }
  km_switchboard_heard(c, now);
  switch (f.type) {
  case KM_RELAY_PING:
    sb->stats.pings_rx++;
    (void)say(sb, c, &(km_relay_frame){.type = KM_RELAY_PONG, .data = f.data, .len = f.len});
    break;
  case KM_RELAY_PONG:
    sb->stats.pongs_rx++;
    (void)km_relay_ping_pong(&c->ping, now, f.data);
    break;
  default:
    if (f.len > 0) {
      forward(sb, c, &f);
    }
    break;
  }
  return 0;
}

bool km_switchboard_read(km_switchboard *sb, km_switch_client *c, uint64_t bytes, km_ts now) {
  sb->stats.rx_bytes += bytes;
  if (km_token_bucket_spend(&c->rx, bytes, now)) {
    c->in_debt = false;
    return true;
  }
  sb->stats.rate_limited += !c->in_debt;
  c->in_debt = true;
  if (!c->rate_limited) {
    c->rate_limited = true;
    sb->stats.rate_limited_clients++;
    if (c->version == KM_RELAY_V2) { /* version 1 knows no such word */
      tell_status(sb, c, KM_RELAY_RATE_LIMITED, "");
    }
  }
  return false;
}

/* --- time ------------------------------------------------------------------------------------ */

void km_switchboard_heard(km_switch_client *c, km_ts now) {
  km_relay_ping_heard(&c->ping, now);
  c->ping.next += c->ping_jitter;
}

bool km_switchboard_tick(km_switchboard *sb, km_switch_client *c, km_ts now) {
  if (km_relay_ping_is_lost(&c->ping, now)) {
    return false;
  }
  if (km_relay_ping_is_due(&c->ping, now)) {
    km_relay_ping_start(&c->ping, sb->env, now, 0);
    sb->stats.pings_tx++;
    (void)say(sb, c,
              &(km_relay_frame){
                  .type = KM_RELAY_PING, .data = c->ping.bytes, .len = sizeof c->ping.bytes});
  }
  return true;
}

km_ts km_switchboard_deadline(const km_switch_client *c) {
  return km_relay_ping_deadline(&c->ping);
}

void km_switchboard_restarting(km_switchboard *sb, uint32_t reconnect_in_ms, uint32_t try_for_ms) {
  const km_relay_frame frame = {
      .type = KM_RELAY_RESTARTING, .reconnect_in_ms = reconnect_in_ms, .try_for_ms = try_for_ms};
  sb->restarting = true;
  for (size_t i = 0; i < sb->bucket_count; i++) {
    for (km_switch_client *head = sb->buckets[i]; head != NULL; head = head->next_in_bucket) {
      for (km_switch_client *c = head; c != NULL; c = c->older) {
        (void)say(sb, c, &frame);
      }
    }
  }
}
