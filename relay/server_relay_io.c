/* The relay protocol on an upgraded connection: login, messages in, messages out. */
#include <string.h>

#include "base/text.h"
#include "relay/server_impl.h"

/* --- out ------------------------------------------------------------------------------------- */

/* Writes queued messages, framed already, until the socket is full. lws keeps what the kernel did
 * not take; nothing more may be written until it is gone. */
static int write_queue(km_server_conn *c) {
  km_relay_server *s = c->s;
  size_t len;
  uint8_t *bytes;
  while (lws_partial_buffered(c->wsi) == 0 &&
         (bytes = km_switch_queue_first(&c->client.out, &len)) != NULL) {
    /* Of the kinds that lws passes on as they are, this one is for an HTTP body. */
    if (lws_write(c->wsi, bytes, len, LWS_WRITE_HTTP) < 0) {
      return -1;
    }
    s->stats.bytes_tx += len;
    km_switch_queue_pop(&c->client.out, &s->sb.pool);
  }
  if (lws_partial_buffered(c->wsi) != 0 || !km_switch_queue_empty(&c->client.out)) {
    if (c->blocked_since == KM_TS_NEVER) {
      c->blocked_since = km_server_now(s);
      km_server_conn_arm(c);
    }
    (void)lws_callback_on_writable(c->wsi);
  } else if (c->blocked_since != KM_TS_NEVER) {
    c->blocked_since = KM_TS_NEVER;
    km_server_conn_arm(c);
  }
  return 0;
}

void km_server_flush(km_relay_server *s) {
  km_switch_client *client;
  while ((client = km_switchboard_next_dirty(&s->sb)) != NULL) {
    km_server_conn *c = KM_SERVER_CLIENT(client);
    if (c->blocked_since == KM_TS_NEVER && write_queue(c) != 0) {
      km_server_conn_kill(c);
    }
  }
}

int km_server_writable(km_server_conn *c) {
  if (c->blocked_since != KM_TS_NEVER) {
    c->blocked_since = km_server_now(c->s); /* it moved: a slow reader, not a dead one */
  }
  if (write_queue(c) != 0) {
    return -1;
  }
  bool done = lws_partial_buffered(c->wsi) == 0 && km_switch_queue_empty(&c->client.out);
  return c->state == KM_SERVER_CLOSING && done ? -1 : 0;
}

/* A message before the client is known to the switchboard. */
static bool send_early(km_server_conn *c, const uint8_t *msg, size_t len) {
  return km_switch_queue_add(&c->client.out, &c->s->sb.pool, false, msg, len, NULL, 0) &&
         write_queue(c) == 0;
}

/* What waits is written, then it ends; the client is given a moment to read it. */
static int close_soon(km_server_conn *c) {
  c->state = KM_SERVER_CLOSING;
  c->established_by = km_server_now(c->s) + c->s->config.limits.write_timeout_ms * KM_NS_PER_MS;
  km_server_conn_arm(c);
  (void)lws_callback_on_writable(c->wsi);
  return 0;
}

/* --- login ----------------------------------------------------------------------------------- */

static void ask(km_server_conn *c) {
  km_relay_server *s = c->s;
  c->state = KM_SERVER_DECIDING;
  c->login = ++s->last_login;
  if (s->config.authorize == NULL) {
    km_server_decided(c, NULL);
    return;
  }
  const km_relay_login login = {
      .number = c->login, .id = c->hs.id, .remote = c->remote, .token = c->token};
  s->config.authorize(s->config.ctx, s, &login);
}

int km_server_upgraded(km_server_conn *c) {
  uint8_t random[KM_RELAY_CHALLENGE_LEN], out[KM_RELAY_HANDSHAKE_MAX];
  km_relay_server *s = c->s;
  bool v2 = strcmp(lws_get_protocol(c->wsi)->name, KM_RELAY_PROTOCOL_V2) == 0;
  c->version = v2 ? KM_RELAY_V2 : KM_RELAY_V1;
  s->stats.upgrades_v2 += v2;
  s->stats.upgrades_v1 += !v2;
  c->state = KM_SERVER_HANDSHAKE;
  km_env_random(s->config.env, random, sizeof random);
  size_t len =
      km_relay_server_handshake_init(&c->hs, c->header_proven ? &c->proven : NULL, random, out);
  if (c->hs.state == KM_RELAY_HS_DECIDING) {
    s->stats.logins_header++;
    ask(c);
    return 0;
  }
  return send_early(c, out, len) ? 0 : -1;
}

static int read_proof(km_server_conn *c, const uint8_t *msg, size_t len) {
  uint8_t out[KM_RELAY_HANDSHAKE_MAX];
  size_t out_len;
  int rv = km_relay_server_handshake_read(&c->hs, msg, len, out, &out_len, NULL);
  if (rv == 0) {
    c->s->stats.logins_challenge++;
    ask(c);
    return 0;
  }
  c->s->stats.logins_failed++;
  return out_len > 0 && send_early(c, out, out_len) ? close_soon(c) : -1;
}

/* The login is over: nothing of it is needed any more. */
static void forget_token(km_server_conn *c) {
  km_env_free(c->s->config.env, c->token);
  c->token = NULL;
}

void km_server_decided(km_server_conn *c, const char *denial) {
  km_relay_server *s = c->s;
  uint8_t out[KM_RELAY_HANDSHAKE_MAX];
  km_ts now = km_server_now(s);
  size_t len = km_relay_server_handshake_decide(&c->hs, denial, out);
  forget_token(c);
  if (denial != NULL) {
    s->stats.logins_denied++;
  }
  if (!send_early(c, out, len)) {
    km_server_conn_kill(c);
    return;
  }
  if (denial != NULL) {
    (void)close_soon(c);
    return;
  }
  km_token_bucket_init(&c->client.rx, s->config.limits.rx_bytes_per_second,
                       s->config.limits.rx_burst, now);
  if (km_switchboard_enter(&s->sb, &c->client, &c->hs.id, c->version, now) != 0) {
    km_server_conn_kill(c);
    return;
  }
  c->state = KM_SERVER_RELAYING;
  c->established_by = KM_TS_NEVER;
  km_server_conn_arm(c);
  KM_LOG(&s->config.env->logger, KM_LOG_DEBUG, KM_LOGC_RELAY, &c->client.id, NULL, "client-in",
         "version=%d", (int)c->version);
  km_defer_run(s->flush); /* one that it replaced may have been told */
}

/* --- in -------------------------------------------------------------------------------------- */

static int take_message(km_server_conn *c, const uint8_t *msg, size_t len) {
  km_relay_server *s = c->s;
  km_errinfo err;
  switch (c->state) {
  case KM_SERVER_HANDSHAKE:
    return read_proof(c, msg, len);
  case KM_SERVER_RELAYING:
    break;
  case KM_SERVER_CLOSING:
    return 0;
  default:
    s->stats.logins_failed++; /* speaks before it was let in */
    return -1;
  }
  if (km_switchboard_receive(&s->sb, &c->client, msg, len, km_server_now(s), &err) != 0) {
    KM_LOG(&s->config.env->logger, KM_LOG_DEBUG, KM_LOGC_RELAY, &c->client.id, NULL, "bad-message",
           "%s", err.text);
    return -1;
  }
  km_defer_run(s->flush);
  return 0;
}

/* Appends to the message that is being collected. */
static bool collect(km_server_conn *c, const uint8_t *bytes, size_t len) {
  size_t need = c->part_len + len;
  if (need > KM_RELAY_MAX_MESSAGE) {
    c->s->sb.stats.bad_messages++;
    return false;
  }
  if (need > c->part_cap) {
    size_t cap = need < 4096 ? 4096 : need < 16384 ? 16384 : KM_RELAY_MAX_MESSAGE;
    uint8_t *part = km_env_realloc(c->s->config.env, c->part, cap, 1);
    if (part == NULL) {
      return false;
    }
    c->part = part;
    c->part_cap = cap;
  }
  memcpy(c->part + c->part_len, bytes, len);
  c->part_len = need;
  return true;
}

static void pause_reading(km_server_conn *c) {
  km_relay_server *s = c->s;
  (void)lws_rx_flow_control(c->wsi, 0);
  c->paused_until = km_token_bucket_when(&c->client.rx, km_server_now(s));
  km_server_conn_arm(c);
  km_defer_run(s->flush);
}

int km_server_received(km_server_conn *c, const uint8_t *bytes, size_t len) {
  km_relay_server *s = c->s;
  if (c->state == KM_SERVER_RELAYING && c->paused_until == KM_TS_NEVER &&
      !km_switchboard_read(&s->sb, &c->client, len, km_server_now(s))) {
    pause_reading(c);
  }
  if (!lws_frame_is_binary(c->wsi)) {
    return 0; /* text says nothing here; iroh passes it over, too */
  }
  bool last = lws_remaining_packet_payload(c->wsi) == 0 && lws_is_final_fragment(c->wsi);
  if (last && c->part_len == 0) {
    return take_message(c, bytes, len);
  }
  if (!collect(c, bytes, len)) {
    return -1;
  }
  if (!last) {
    return 0;
  }
  int rv = take_message(c, c->part, c->part_len);
  c->part_len = 0;
  if (c->part_cap > 16384) { /* who sends one long message need not send another */
    km_env_free(s->config.env, c->part);
    c->part = NULL;
    c->part_cap = 0;
  }
  return rv;
}

/* --- time ------------------------------------------------------------------------------------ */

bool km_server_relay_tick(km_server_conn *c, km_ts now) {
  km_relay_server *s = c->s;
  if (c->paused_until <= now) {
    c->paused_until = KM_TS_NEVER;
    (void)lws_rx_flow_control(c->wsi, 1);
    km_lws_touch(s->lws);
  }
  if (c->state == KM_SERVER_RELAYING && c->paused_until == KM_TS_NEVER) {
    if (!km_switchboard_tick(&s->sb, &c->client, now)) {
      s->stats.timeouts_ping++;
      return false;
    }
    km_defer_run(s->flush);
  }
  return true;
}
