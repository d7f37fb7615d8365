#include "relay/client_core.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* --- states ---------------------------------------------------------------------------------- */

static void begin_attempt(km_relay_core *c, km_ts now) {
  c->state = KM_RELAY_CLIENT_CONNECTING;
  c->attempt_began = c->answered_at = now;
  c->attempt_deadline = now + c->patience;
  c->round_trip = 0;
  c->upgraded = false;
  c->had_pong = false;
  c->reply_len = 0;
  c->pong_due = c->ping_due = false;
  km_relay_client_handshake_init(&c->hs);
  km_relay_ping_init(&c->ping, now);
  c->todo |= KM_RELAY_TODO_DIAL;
}

void km_relay_core_init(km_relay_core *c, const km_env *env, const km_secret_key *key, km_ts now) {
  memset(c, 0, sizeof *c);
  c->env = env;
  c->key = key;
  c->down_since = now;
  c->patience = KM_RELAY_ATTEMPT_DEADLINE;
  begin_attempt(c, now);
}

static uint64_t ms(uint32_t value, uint32_t most) {
  return (uint64_t)(value < most ? value : most) * KM_NS_PER_MS;
}

/* For a while, without another endpoint that took our id: two of them would throw each other out of
 * a relay that keeps one connection only, over and over. */
static bool has_worked(const km_relay_core *c, km_ts now, bool was_connected) {
  return was_connected && c->had_pong && !c->elsewhere &&
         now - c->connected_at >= KM_RELAY_SHORT_SESSION;
}

/* How long to wait after an end: as the relay asked for when it restarts, hardly at all when the
 * connection had worked, else longer each time. */
static uint64_t choose_wait(km_relay_core *c, km_ts now, bool was_connected) {
  if (c->restarting) {
    uint64_t wait = km_relay_jitter(c->env, ms(c->reconnect_in_ms, KM_RELAY_RESTART_WAIT_MAX_MS));
    c->restarting = false;
    c->restart_until = now + wait + ms(c->try_for_ms, KM_RELAY_RESTART_TRY_MAX_MS);
    c->backoff.tries = 0;
    return wait;
  }
  if (now < c->restart_until) {
    return km_relay_backoff_next(&c->backoff, c->env, KM_RELAY_BACKOFF_SHORT);
  }
  if (has_worked(c, now, was_connected)) {
    c->backoff.tries = 0;
    return km_relay_jitter(c->env, KM_RELAY_AGAIN_MAX);
  }
  if (was_connected && c->elsewhere && c->backoff.tries < KM_RELAY_CONTESTED_TRIES) {
    c->backoff.tries = KM_RELAY_CONTESTED_TRIES;
  }
  return km_relay_backoff_next(&c->backoff, c->env,
                               now - c->down_since < KM_RELAY_MISSED_FOR ? KM_RELAY_BACKOFF_MISSED
                                                                         : KM_RELAY_BACKOFF_MAX);
}

void km_relay_core_lost(km_relay_core *c, km_ts now, const km_errinfo *why) {
  if (c->state == KM_RELAY_CLIENT_WAITING) {
    return;
  }
  bool was_connected = c->state == KM_RELAY_CLIENT_CONNECTED;
  c->down_since = was_connected ? now : c->down_since;
  c->failures++;
  c->why = *why;
  c->state = KM_RELAY_CLIENT_WAITING;
  c->retry_at = now + choose_wait(c, now, was_connected);
  c->todo &= ~(unsigned)(KM_RELAY_TODO_DIAL | KM_RELAY_TODO_SEND);
  c->todo |= KM_RELAY_TODO_CLOSE | KM_RELAY_TODO_TELL;
}

static void lose(km_relay_core *c, km_ts now, int code, const char *text) {
  km_errinfo why;
  (void)km_fail(&why, code, "%s", text);
  km_relay_core_lost(c, now, &why);
}

static void retry(km_relay_core *c, km_ts now) {
  memset(&c->why, 0, sizeof c->why);
  begin_attempt(c, now);
  c->todo |= KM_RELAY_TODO_TELL;
}

/* --- the handshake --------------------------------------------------------------------------- */

static km_ts later_of(km_ts a, km_ts b) {
  return a > b ? a : b;
}

void km_relay_core_answered(km_relay_core *c, km_ts now) {
  if (c->state != KM_RELAY_CLIENT_CONNECTING) {
    return;
  }
  uint64_t took = now > c->answered_at ? now - c->answered_at : 1;
  if (c->round_trip == 0) { /* the first one */
    c->patience = km_relay_patience(KM_RELAY_ATTEMPT_DEADLINE, KM_RELAY_TRIPS, took,
                                    KM_RELAY_FIRST_ANSWER_MAX);
    c->attempt_deadline = c->attempt_began + KM_RELAY_ATTEMPT_DEADLINE;
  }
  c->round_trip = took;
  c->answered_at = now;
  km_ts most = c->attempt_began + KM_RELAY_ATTEMPT_MAX;
  km_ts at = now + km_relay_patience(0, KM_RELAY_TRIPS, took, KM_RELAY_ATTEMPT_MAX);
  c->attempt_deadline = later_of(c->attempt_deadline, at < most ? at : most);
}

void km_relay_core_upgraded(km_relay_core *c, km_ts now, km_relay_version version) {
  km_relay_core_answered(c, now);
  km_relay_ping_expect(&c->ping, c->round_trip);
  c->upgraded = true;
  c->version = version;
  c->last_rx = now;
}

static void send_ping(km_relay_core *c, km_ts now, uint64_t patience) {
  km_relay_ping_start(&c->ping, c->env, now, patience);
  c->ping_due = true;
  c->todo |= KM_RELAY_TODO_SEND;
}

static void become_connected(km_relay_core *c, km_ts now) {
  memset(&c->why, 0, sizeof c->why);
  c->state = KM_RELAY_CLIENT_CONNECTED;
  c->connected_at = now;
  c->connects++;
  c->restarting = false;
  c->restart_until = 0;
  c->elsewhere = false;
  c->todo |= KM_RELAY_TODO_TELL;
  send_ping(c, now, 0);
}

static void read_handshake(km_relay_core *c, km_ts now, const uint8_t *msg, size_t len) {
  km_errinfo err;
  if (km_relay_client_handshake_read(&c->hs, c->key, msg, len, c->reply, &c->reply_len, &err) !=
      0) {
    km_relay_core_lost(c, now, &err);
  } else if (c->hs.state == KM_RELAY_HS_DONE) {
    become_connected(c, now);
  } else if (c->reply_len > 0) {
    c->todo |= KM_RELAY_TODO_SEND;
  }
}

/* --- messages -------------------------------------------------------------------------------- */

static km_relay_event read_status(km_relay_core *c, const km_relay_frame *frame) {
  if (frame->status == KM_RELAY_SAME_ID) {
    c->elsewhere = true;
    return KM_RELAY_EVENT_ELSEWHERE;
  }
  if (frame->status == KM_RELAY_HEALTHY && c->elsewhere) {
    c->elsewhere = false;
    return KM_RELAY_EVENT_ALONE;
  }
  return KM_RELAY_EVENT_NONE;
}

/* Version 1 tells it in words, and says nothing when it is over. */
static km_relay_event read_health(km_relay_core *c, const km_relay_frame *frame) {
  if (frame->len == 0) {
    bool was = c->elsewhere;
    c->elsewhere = false;
    return was ? KM_RELAY_EVENT_ALONE : KM_RELAY_EVENT_NONE;
  }
  static const char words[] = "same";
  for (size_t i = 0; i + sizeof words - 1 <= frame->len; i++) {
    if (memcmp(frame->data + i, words, sizeof words - 1) == 0) {
      c->elsewhere = true;
      return KM_RELAY_EVENT_ELSEWHERE;
    }
  }
  return KM_RELAY_EVENT_NONE;
}

/* An empty datagram says nothing; a segment of 0 or more than all is all. */
static km_relay_event read_datagrams(km_relay_frame *frame) {
  if (frame->len == 0) {
    return KM_RELAY_EVENT_NONE;
  }
  if (frame->segment == 0 || frame->segment > frame->len) {
    frame->segment = (uint16_t)frame->len;
  }
  return KM_RELAY_EVENT_DATAGRAMS;
}

/* Frames with an id that is no point of the curve end the connection, as they do with iroh. */
static bool has_bad_peer(const km_relay_frame *frame) {
  km_id id;
  return km_id_from_bytes(&id, frame->peer.bytes) != 0;
}

static km_relay_event handle_frame(km_relay_core *c, km_ts now, km_relay_frame *frame) {
  switch (frame->type) {
  case KM_RELAY_TO_CLIENT:
  case KM_RELAY_TO_CLIENT_BATCH:
    return read_datagrams(frame);
  case KM_RELAY_ENDPOINT_GONE:
    if (has_bad_peer(frame)) {
      lose(c, now, KM_ERR_RELAY_PROTOCOL, "the relay names an endpoint that cannot be");
      return KM_RELAY_EVENT_NONE;
    }
    return KM_RELAY_EVENT_GONE;
  case KM_RELAY_PING:
    memcpy(c->pong, frame->data, sizeof c->pong);
    c->pong_due = true;
    c->todo |= KM_RELAY_TODO_SEND;
    return KM_RELAY_EVENT_NONE;
  case KM_RELAY_PONG:
    c->had_pong = km_relay_ping_pong(&c->ping, now, frame->data) || c->had_pong;
    return KM_RELAY_EVENT_NONE;
  case KM_RELAY_RESTARTING:
    c->restarting = true;
    c->reconnect_in_ms = frame->reconnect_in_ms;
    c->try_for_ms = frame->try_for_ms;
    return KM_RELAY_EVENT_NONE;
  case KM_RELAY_STATUS:
    return read_status(c, frame);
  case KM_RELAY_HEALTH:
    return read_health(c, frame);
  default:
    return KM_RELAY_EVENT_NONE;
  }
}

km_relay_event km_relay_core_message(km_relay_core *c, km_ts now, const uint8_t *msg, size_t len,
                                     km_relay_frame *frame) {
  c->last_rx = now;
  if (c->state == KM_RELAY_CLIENT_CONNECTING && c->upgraded) {
    read_handshake(c, now, msg, len);
    return KM_RELAY_EVENT_NONE;
  }
  if (c->state != KM_RELAY_CLIENT_CONNECTED) {
    return KM_RELAY_EVENT_NONE;
  }
  km_relay_ping_heard(&c->ping, now);
  km_errinfo err;
  if (km_relay_frame_read(frame, KM_RELAY_READ_CLIENT, c->version, msg, len, &err) != 0) {
    km_relay_core_lost(c, now, &err);
    return KM_RELAY_EVENT_NONE;
  }
  return handle_frame(c, now, frame);
}

/* --- time ------------------------------------------------------------------------------------ */

static void watch_pings(km_relay_core *c, km_ts now) {
  if (km_relay_ping_is_lost(&c->ping, now)) {
    lose(c, now, KM_ERR_RELAY_LOST, "the relay does not answer a ping any more");
  } else if (km_relay_ping_is_due(&c->ping, now)) {
    send_ping(c, now, 0);
  }
}

static void watch_attempt(km_relay_core *c, km_ts now) {
  char text[80];
  if (now < c->attempt_deadline) {
    return;
  }
  if (c->round_trip == 0) {
    c->patience = KM_RELAY_FIRST_ANSWER_MAX;
  }
  (void)snprintf(text, sizeof text, "%s within %" PRIu64 " s",
                 c->upgraded ? "the relay did not finish its handshake"
                             : "no connection to the relay",
                 (c->attempt_deadline - c->attempt_began) / KM_NS_PER_S);
  lose(c, now, KM_ERR_RELAY_UNREACHABLE, text);
}

void km_relay_core_timer(km_relay_core *c, km_ts now) {
  switch (c->state) {
  case KM_RELAY_CLIENT_CONNECTING:
    watch_attempt(c, now);
    break;
  case KM_RELAY_CLIENT_CONNECTED:
    watch_pings(c, now);
    break;
  case KM_RELAY_CLIENT_WAITING:
    if (now >= c->retry_at) {
      retry(c, now);
    }
    break;
  }
}

km_ts km_relay_core_deadline(const km_relay_core *c) {
  switch (c->state) {
  case KM_RELAY_CLIENT_CONNECTING:
    return c->attempt_deadline;
  case KM_RELAY_CLIENT_CONNECTED:
    return km_relay_ping_deadline(&c->ping);
  default:
    return c->retry_at;
  }
}

/* --- the user -------------------------------------------------------------------------------- */

uint64_t km_relay_core_round_trip(const km_relay_core *c) {
  return c->ping.rtt != 0 ? c->ping.rtt : c->round_trip;
}

void km_relay_core_check(km_relay_core *c, km_ts now, uint64_t patience) {
  if (c->state == KM_RELAY_CLIENT_CONNECTED && !c->ping.checking) {
    send_ping(c, now, patience > 0 ? patience : 1);
  }
}

void km_relay_core_network_changed(km_relay_core *c, km_ts now, bool stranded) {
  c->backoff.tries = 0;
  c->patience = KM_RELAY_ATTEMPT_DEADLINE;
  if (stranded && c->state == KM_RELAY_CLIENT_CONNECTED) {
    lose(c, now, KM_ERR_RELAY_LOST, "the network that the connection to the relay used is gone");
  }
  switch (c->state) {
  case KM_RELAY_CLIENT_CONNECTING: /* its sockets belong to the old network */
    c->todo |= KM_RELAY_TODO_CLOSE;
    begin_attempt(c, now);
    break;
  case KM_RELAY_CLIENT_CONNECTED:
    km_relay_core_check(c, now, km_relay_ping_timeout(&c->ping));
    break;
  case KM_RELAY_CLIENT_WAITING:
    retry(c, now);
    break;
  }
}

size_t km_relay_core_next_frame(km_relay_core *c, uint8_t ret[KM_RELAY_HANDSHAKE_MAX]) {
  km_relay_frame frame = {.len = KM_RELAY_PING_LEN};
  if (c->reply_len > 0) {
    size_t len = c->reply_len;
    memcpy(ret, c->reply, len);
    c->reply_len = 0;
    return len;
  }
  if (c->pong_due) {
    c->pong_due = false;
    frame.type = KM_RELAY_PONG;
    frame.data = c->pong;
  } else if (c->ping_due) {
    c->ping_due = false;
    frame.type = KM_RELAY_PING;
    frame.data = c->ping.bytes;
  } else {
    return 0;
  }
  int len = km_relay_frame_write(ret, KM_RELAY_HANDSHAKE_MAX, &frame);
  return len > 0 ? (size_t)len : 0;
}
