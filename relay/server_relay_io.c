/* The relay protocol on an upgraded connection: login, messages in, messages out. */
#include <string.h>
#include <sys/socket.h>

#include "relay/server_impl.h"

/* --- out ------------------------------------------------------------------------------------- */

static bool is_written(const km_server_conn *c) {
  return lws_partial_buffered(c->conn.wsi) == 0 && km_switch_queue_empty(&c->client.out);
}

/* lws has a copy of what the kernel did not take: it counts as queued until it is gone. */
static void count_held(km_server_conn *c, size_t bytes) {
  km_switch_pool_let_go(&c->s->sb.pool, c->lws_holds);
  c->lws_holds = lws_partial_buffered(c->conn.wsi) != 0 ? bytes : 0;
  km_switch_pool_hold(&c->s->sb.pool, c->lws_holds);
}

/* Writes queued messages, framed already, until the socket is full. Nothing more may be written
 * while lws keeps some of it. */
static int write_queue(km_server_conn *c) {
  km_relay_server *s = c->s;
  size_t len;
  uint8_t *bytes;
  count_held(c, c->lws_holds);
  while (lws_partial_buffered(c->conn.wsi) == 0 &&
         (bytes = km_switch_queue_first(&c->client.out, &len)) != NULL) {
    /* Of the kinds that lws passes on as they are, this one is for an HTTP body. */
    if (lws_write(c->conn.wsi, bytes, len, LWS_WRITE_HTTP) < 0) {
      return -1;
    }
    s->stats.bytes_tx += len;
    km_switch_queue_pop(&c->client.out, &s->sb.pool);
    count_held(c, len);
  }
  if (!is_written(c)) {
    if (c->blocked_since == KM_TS_NEVER) {
      c->blocked_since = km_server_now(s);
      c->write_ns = km_server_write_patience(c);
      km_server_conn_arm(c);
    }
    (void)lws_callback_on_writable(c->conn.wsi);
  } else if (c->blocked_since != KM_TS_NEVER) {
    c->blocked_since = KM_TS_NEVER;
    km_server_conn_arm(c);
  }
  return 0;
}

void km_server_let_go(km_server_conn *c) {
  km_switch_pool_let_go(&c->s->sb.pool, c->lws_holds);
  c->lws_holds = 0;
  km_assembly_reset(&c->part, &c->s->parts);
}

void km_server_flush(km_relay_server *s) {
  km_switch_client *client;
  while ((client = km_switchboard_next_dirty(&s->sb)) != NULL) {
    km_server_conn *c = KM_SERVER_CLIENT(client);
    if (c->paused_until != KM_TS_NEVER && !c->deaf) {
      c->deaf = true;
      (void)lws_rx_flow_control(c->conn.wsi, 0);
    }
    if (c->blocked_since == KM_TS_NEVER && write_queue(c) != 0) {
      km_server_conn_kill(c);
    }
  }
}

/* Ends what is written for good. A plain socket is not closed before the other side has closed:
 * what it sent meanwhile would be answered by a reset, which may take away what it has not read.
 * TLS says goodbye by itself. */
static int say_goodbye(km_server_conn *c) {
  if (lws_is_ssl(c->conn.wsi)) {
    return -1;
  }
  if (!c->said_goodbye) {
    c->said_goodbye = true;
    (void)shutdown(lws_get_socket_fd(c->conn.wsi), SHUT_WR);
  }
  return 0;
}

int km_server_writable(km_server_conn *c) {
  if (c->blocked_since != KM_TS_NEVER) {
    c->blocked_since = km_server_now(c->s); /* it moved: a slow reader, not a dead one */
  }
  if (write_queue(c) != 0) {
    return -1;
  }
  return c->state == KM_SERVER_CLOSING && is_written(c) ? say_goodbye(c) : 0;
}

/* A message before the client is known to the switchboard. */
static bool send_early(km_server_conn *c, const uint8_t *msg, size_t len) {
  return km_switch_queue_add(&c->client.out, &c->s->sb.pool, false, msg, len, NULL, 0) &&
         write_queue(c) == 0;
}

/* What waits is written, then it ends; the client is given a moment to read it. */
static int close_soon(km_server_conn *c) {
  c->state = KM_SERVER_CLOSING;
  c->established_by = km_server_now(c->s) + km_server_write_patience(c);
  km_server_conn_arm(c);
  (void)lws_callback_on_writable(c->conn.wsi);
  return 0;
}

/* --- login ----------------------------------------------------------------------------------- */

static void remember_login(km_server_conn *c) {
  km_relay_server *s = c->s;
  c->login = ++s->login_count;
  c->prev_login = s->last_login;
  c->next_login = NULL;
  *(s->last_login == NULL ? &s->first_login : &s->last_login->next_login) = c;
  s->last_login = c;
}

void km_server_forget_login(km_server_conn *c) {
  km_relay_server *s = c->s;
  if (c->login == 0) {
    return;
  }
  *(c->prev_login == NULL ? &s->first_login : &c->prev_login->next_login) = c->next_login;
  *(c->next_login == NULL ? &s->last_login : &c->next_login->prev_login) = c->prev_login;
  c->login = 0;
}

static void ask(km_server_conn *c) {
  km_relay_server *s = c->s;
  c->state = KM_SERVER_DECIDING;
  remember_login(c);
  if (s->config.authorize == NULL) {
    km_server_decided(c, NULL);
    return;
  }
  const km_relay_login login = {
      .number = c->login, .id = c->hs.id, .remote = c->conn.remote, .token = c->token};
  s->config.authorize(s->config.ctx, s, &login);
}

int km_server_upgraded(km_server_conn *c) {
  uint8_t random[KM_RELAY_CHALLENGE_LEN], out[KM_RELAY_HANDSHAKE_MAX];
  km_relay_server *s = c->s;
  s->stats.upgrades_v2 += c->version == KM_RELAY_V2;
  s->stats.upgrades_v1 += c->version == KM_RELAY_V1;
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
  km_server_forget_login(c);
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
  km_relay_ping_expect(&c->client.ping, km_server_round_trip(c));
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

/* Appends to the message that is being collected. Who began one earliest and did not end it makes
 * room when there is none. */
static int collect(km_server_conn *c, const uint8_t *bytes, size_t len) {
  km_relay_server *s = c->s;
  size_t max = c->state == KM_SERVER_HANDSHAKE ? KM_RELAY_HANDSHAKE_MAX : KM_RELAY_MAX_MESSAGE;
  int rv;
  while ((rv = km_assembly_add(&c->part, &s->parts, bytes, len, max)) == KM_ERR_LIMIT) {
    km_assembly *oldest = s->parts.oldest;
    s->stats.partial_cut++;
    if (oldest == NULL || oldest == &c->part) {
      return -1;
    }
    km_server_conn_kill(KM_SERVER_PART(oldest));
  }
  s->sb.stats.bad_messages += rv == KM_ERR_RELAY_PROTOCOL;
  return rv == 0 ? 0 : -1;
}

enum { FRAME_HEADER = 6 }; /* of the shortest frame of a client (RFC 6455 section 5.2) */

/* Reading stops at the end of the turn only: lws would have to keep what it has read already. */
static void count_read(km_server_conn *c, size_t len) {
  km_relay_server *s = c->s;
  if (c->state == KM_SERVER_RELAYING &&
      !km_switchboard_read(&s->sb, &c->client, len, km_server_now(s))) {
    c->paused_until = km_token_bucket_when(&c->client.rx, km_server_now(s));
    km_server_conn_arm(c);
    km_switchboard_mark(&s->sb, &c->client);
    km_defer_run(s->flush);
  }
}

void km_server_control_frame(km_server_conn *c, size_t len) {
  count_read(c, FRAME_HEADER + len);
}

int km_server_received(km_server_conn *c, const uint8_t *bytes, size_t len) {
  count_read(c, len > 0 ? len : FRAME_HEADER);
  if (c->state == KM_SERVER_CLOSING || !lws_frame_is_binary(c->conn.wsi)) {
    return 0; /* text says nothing here; iroh passes it over, too */
  }
  bool last = lws_remaining_packet_payload(c->conn.wsi) == 0 && lws_is_final_fragment(c->conn.wsi);
  if (last && km_assembly_is_empty(&c->part)) {
    return take_message(c, bytes, len);
  }
  int rv = collect(c, bytes, len);
  if (rv == 0 && last) {
    rv = take_message(c, km_assembly_bytes(&c->part), c->part.len);
    km_assembly_reset(&c->part, &c->s->parts);
  }
  return rv;
}

/* --- time ------------------------------------------------------------------------------------ */

bool km_server_relay_tick(km_server_conn *c, km_ts now) {
  km_relay_server *s = c->s;
  if (c->paused_until <= now) {
    c->paused_until = KM_TS_NEVER;
    if (c->deaf) {
      c->deaf = false;
      (void)lws_rx_flow_control(c->conn.wsi, 1);
      km_lws_touch(s->lws);
    }
    km_switchboard_heard(&c->client, now); /* its pong may wait behind what was not read */
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
