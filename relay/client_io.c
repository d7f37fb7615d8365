/* A relay client on its sockets: does what the core asks for, and moves datagrams. */
#include <string.h>
#include <unistd.h>

#include "relay/client_core.h"
#include "relay/client_link_io.h"
#include "relay/client_queue.h"
#include "relay/connect_io.h"

struct km_relay_client {
  km_relay_clients *all;
  char *url_text;
  km_relay_url url;
  char *token; /* NULL: none */
  km_relay_client_callbacks cb;
  km_relay_core core;
  km_deadline *timer;
  km_defer *later; /* on_state runs there, outside of everything that may not be freed */
  km_relay_dial *dial;
  km_relay_link *link;
  km_udp_addr remote; /* of the link */
  km_udp_addr bad;    /* an address that connected and then did no good: tried last */
  bool held;          /* messages wait until on_state has told of the connection */
  bool wants_room;    /* a send was refused */
  bool tell;
  km_relay_client_state told;
  int warned; /* the failure that is in the log already */
  km_relay_queue queue;
  km_relay_client_stats stats;
};

/* --- the log --------------------------------------------------------------------------------- */

static const char *state_name(km_relay_client_state state) {
  switch (state) {
  case KM_RELAY_CLIENT_CONNECTING:
    return "connecting";
  case KM_RELAY_CLIENT_CONNECTED:
    return "connected";
  default:
    return "waiting";
  }
}

/* A failure is news once; a relay that is down for an hour is not told of at every attempt. */
static void log_state(km_relay_client *c) {
  const km_logger *logger = &c->all->env->logger;
  const km_relay_core *core = &c->core;
  if (core->state == KM_RELAY_CLIENT_WAITING && core->why.code != c->warned) {
    KM_LOG(logger, KM_LOG_WARN, KM_LOGC_RELAY, NULL, c->url_text, "relay-lost", "%s",
           core->why.text);
    c->warned = core->why.code;
  }
  if (core->state == KM_RELAY_CLIENT_CONNECTED) {
    c->warned = 0;
    KM_LOG(logger, KM_LOG_INFO, KM_LOGC_RELAY, NULL, c->url_text, "relay-connected",
           "version=%d challenged=%d", (int)core->version, (int)core->hs.challenged);
  } else {
    /* Every attempt: at debug, once the failure was told. */
    km_log_level level = c->warned == 0 ? KM_LOG_INFO : KM_LOG_DEBUG;
    KM_LOG(logger, level, KM_LOGC_RELAY, NULL, c->url_text, "relay-state", "%s failures=%llu",
           state_name(core->state), (unsigned long long)core->failures);
  }
}

/* --- sending --------------------------------------------------------------------------------- */

static bool can_send(const km_relay_client *c) {
  return c->link != NULL && km_relay_link_is_free(c->link);
}

static void trace_frame(const km_relay_client *c, const char *direction, unsigned type,
                        size_t len) {
  KM_LOG(&c->all->env->logger, KM_LOG_TRACE, KM_LOGC_RELAY, NULL, c->url_text, direction,
         "type=%u len=%zu", type, len);
}

/* Our own frames go first: pings are not to wait behind a queue. */
static void send_own(km_relay_client *c) {
  uint8_t *buf = c->all->tx + LWS_PRE;
  while (can_send(c)) {
    size_t len = km_relay_core_next_frame(&c->core, buf);
    if (len == 0) {
      return;
    }
    trace_frame(c, "tx", buf[0], len);
    if (!km_relay_link_send(c->link, buf, len)) {
      return;
    }
  }
}

static void send_queue(km_relay_client *c) {
  size_t len = 0;
  uint8_t *frame;
  while (can_send(c) && (frame = km_relay_queue_first(&c->queue, &len)) != NULL) {
    bool sent = km_relay_link_send(c->link, frame, len);
    km_relay_queue_drop_first(&c->queue);
    if (!sent) {
      return;
    }
  }
}

static void flush(km_relay_client *c) {
  send_own(c);
  send_queue(c);
  if (c->wants_room && c->core.state == KM_RELAY_CLIENT_CONNECTED && c->told == c->core.state &&
      km_relay_queue_has_room(&c->queue, 1, KM_RELAY_MAX_BODY)) {
    c->wants_room = false;
    if (c->cb.on_writable != NULL) {
      c->cb.on_writable(c->cb.ctx, c);
    }
  }
}

static bool enqueue(km_relay_client *c, const uint8_t *header, size_t header_len,
                    const uint8_t *data, size_t len) {
  uint8_t *frame = km_relay_queue_add(&c->queue, header_len + len);
  if (frame == NULL) {
    return false;
  }
  memcpy(frame, header, header_len);
  memcpy(frame + header_len, data, len);
  return true;
}

/* One frame, at once when nothing is before it and the socket takes it. */
static bool send_frame(km_relay_client *c, const km_id *peer, uint8_t ecn, const uint8_t *data,
                       size_t len, size_t segment) {
  uint8_t header[KM_RELAY_MAX_HEADER];
  uint16_t batch = segment < len ? (uint16_t)segment : 0;
  size_t header_len = km_relay_datagram_header(header, KM_RELAY_TO_RELAY, peer, ecn, batch, len);
  trace_frame(c, "tx", header[0], header_len + len);
  if (c->queue.count > 0 || !can_send(c)) {
    return enqueue(c, header, header_len, data, len);
  }
  uint8_t *buf = c->all->tx + LWS_PRE;
  memcpy(buf, header, header_len);
  memcpy(buf + header_len, data, len);
  (void)km_relay_link_send(c->link, buf, header_len + len); /* a broken one tells by on_closed */
  return true;
}

int km_relay_client_send(km_relay_client *c, const km_id *peer, uint8_t ecn, const uint8_t *data,
                         size_t len, size_t segment) {
  if (len == 0) {
    return KM_ERR_INVALID;
  }
  segment = segment == 0 || segment > len ? len : segment;
  if (segment > KM_RELAY_MAX_PAYLOAD) {
    return KM_ERR_INVALID; /* a datagram that fits into no frame */
  }
  size_t most = len <= KM_RELAY_MAX_PAYLOAD ? len : KM_RELAY_MAX_PAYLOAD / segment * segment;
  size_t frames = (len + most - 1) / most;
  if (c->core.state != KM_RELAY_CLIENT_CONNECTED || frames > KM_RELAY_QUEUE_FRAMES ||
      !km_relay_queue_has_room(&c->queue, (unsigned)frames, len + frames * KM_RELAY_MAX_HEADER)) {
    c->stats.tx_refused++;
    c->wants_room = true;
    return KM_ERR_AGAIN;
  }
  for (size_t at = 0; at < len; at += most) {
    size_t part = len - at < most ? len - at : most;
    if (!send_frame(c, peer, ecn, data + at, part, segment)) {
      if (at == 0) { /* out of memory; packets may be lost, but not half of what was taken */
        c->stats.tx_refused++;
        c->wants_room = true;
        return KM_ERR_AGAIN;
      }
      break;
    }
  }
  c->stats.tx_packets += (len + segment - 1) / segment;
  c->stats.tx_bytes += len;
  return 0;
}

/* --- what the core wants --------------------------------------------------------------------- */

static void note_bad(km_relay_client *c) {
  if (!c->core.had_pong) {
    c->bad = c->remote;
  }
}

static void drop_connection(km_relay_client *c) {
  if (c->link != NULL) {
    note_bad(c);
  }
  km_relay_dial_free(c->dial);
  c->dial = NULL;
  km_relay_link *link = c->link;
  c->link = NULL;
  c->held = false;
  km_relay_queue_free(&c->queue); /* its packets are late, its memory may be much */
  km_relay_link_close(link, false);
}

static void lose(km_relay_client *c, const km_errinfo *why) {
  km_relay_core_lost(&c->core, km_loop_now(c->all->loop), why);
}

static void on_dialled(void *ctx, int fd, const km_udp_addr *remote, const km_errinfo *err);

static void begin_dial(km_relay_client *c) {
  km_relay_proxy proxy;
  km_errinfo err;
  if (km_relay_clients_proxy(&proxy, &c->url, &err) != 0) {
    lose(c, &err);
    return;
  }
  const km_relay_dial_config config = {
      .env = c->all->env, .loop = c->all->loop, .url = &c->url, .proxy = &proxy, .last = c->bad};
  int rv = km_relay_dial_new(&c->dial, &config, on_dialled, c);
  if (rv != 0) {
    (void)km_fail(&err, rv, NULL);
    lose(c, &err);
  }
}

/* Messages that come along with the confirmation wait until its on_state has run. */
static void announce(km_relay_client *c) {
  log_state(c);
  if (c->core.state == KM_RELAY_CLIENT_CONNECTED && c->link != NULL) {
    c->held = true;
    km_relay_link_let_in(c->link, false);
    c->bad.family = 0;
  }
  c->tell = true;
  km_defer_run(c->later);
}

static void do_todo(km_relay_client *c) {
  while (c->core.todo != 0) {
    unsigned todo = c->core.todo;
    c->core.todo = 0;
    if ((todo & KM_RELAY_TODO_CLOSE) != 0) {
      drop_connection(c);
    }
    if ((todo & KM_RELAY_TODO_DIAL) != 0) {
      begin_dial(c);
    }
    if ((todo & KM_RELAY_TODO_SEND) != 0) {
      send_own(c);
    }
    if ((todo & KM_RELAY_TODO_TELL) != 0) {
      announce(c);
    }
  }
  km_deadline_set(c->timer, km_relay_core_deadline(&c->core));
}

/* --- the link -------------------------------------------------------------------------------- */

static void on_answered(km_relay_client *c) {
  km_relay_core_answered(&c->core, km_loop_now(c->all->loop));
}

/* Without TLS it goes out at once, and nothing was answered. */
static void on_request(void *ctx) {
  km_relay_client *c = ctx;
  if (c->url.tls) {
    on_answered(c);
    do_todo(c);
  }
}

static void on_upgraded(void *ctx, km_relay_version version) {
  km_relay_client *c = ctx;
  km_relay_core_upgraded(&c->core, km_loop_now(c->all->loop), version);
  do_todo(c);
}

static void give_datagrams(km_relay_client *c, const km_relay_frame *frame) {
  c->stats.rx_packets += (frame->len + frame->segment - 1) / frame->segment;
  c->stats.rx_bytes += frame->len;
  if (c->cb.on_datagrams == NULL) {
    return;
  }
  c->cb.on_datagrams(c->cb.ctx, c, &frame->peer, frame->ecn, frame->data, frame->len,
                     frame->segment);
}

static void on_message(void *ctx, const uint8_t *msg, size_t len) {
  km_relay_client *c = ctx;
  km_relay_frame frame;
  trace_frame(c, "rx", len > 0 ? msg[0] : 0, len);
  km_relay_event event =
      km_relay_core_message(&c->core, km_loop_now(c->all->loop), msg, len, &frame);
  switch (event) {
  case KM_RELAY_EVENT_DATAGRAMS:
    give_datagrams(c, &frame);
    break;
  case KM_RELAY_EVENT_GONE:
    if (c->cb.on_gone != NULL) {
      c->cb.on_gone(c->cb.ctx, c, &frame.peer);
    }
    break;
  case KM_RELAY_EVENT_ELSEWHERE:
  case KM_RELAY_EVENT_ALONE:
    if (c->cb.on_same_id != NULL) {
      c->cb.on_same_id(c->cb.ctx, c, event == KM_RELAY_EVENT_ELSEWHERE);
    }
    break;
  case KM_RELAY_EVENT_NONE:
    break;
  }
  do_todo(c);
}

static void on_link_writable(void *ctx) {
  flush(ctx);
}

static void on_closed(void *ctx, const km_errinfo *why) {
  km_relay_client *c = ctx;
  c->link = NULL;
  note_bad(c);
  lose(c, why);
  do_todo(c);
}

static void on_dialled(void *ctx, int fd, const km_udp_addr *remote, const km_errinfo *err) {
  km_relay_client *c = ctx;
  km_relay_dial_free(c->dial);
  c->dial = NULL;
  km_errinfo why;
  int rv = 0;
  if (fd >= 0) {
    const km_relay_link_config config = {
        .url = &c->url, .token = c->token, .fd = fd, .remote = *remote};
    const km_relay_link_callbacks cb = {.on_request = on_request,
                                        .on_upgraded = on_upgraded,
                                        .on_message = on_message,
                                        .on_writable = on_link_writable,
                                        .on_closed = on_closed,
                                        .ctx = c};
    c->remote = *remote;
    on_answered(c);
    rv = km_relay_link_new(&c->link, c->all, &config, &cb, &why);
  } else {
    why = *err;
    rv = why.code;
  }
  if (rv != 0) {
    lose(c, &why);
  }
  do_todo(c);
}

static void on_timer(void *ctx) {
  km_relay_client *c = ctx;
  km_relay_core_timer(&c->core, km_loop_now(c->all->loop));
  do_todo(c);
}

/* Tells of the state as it is now. The client may be freed by it. */
static void on_later(void *ctx) {
  km_relay_client *c = ctx;
  if (c->tell) {
    c->tell = false;
    c->told = c->core.state;
    if (c->held) {
      c->held = false;
      km_relay_link_let_in(c->link, true);
    }
    if (c->wants_room && c->told == KM_RELAY_CLIENT_CONNECTED) {
      km_defer_run(c->later); /* on_writable after it */
    }
    const km_errinfo why = c->core.why;
    c->cb.on_state(c->cb.ctx, c, c->told, why.code != 0 ? &why : NULL);
    return;
  }
  flush(c);
}

/* --- for the user ---------------------------------------------------------------------------- */

static int copy_url(km_relay_client *c, const char *url, km_errinfo *err) {
  int rv = km_relay_url_read(&c->url, url, err);
  if (rv != 0) {
    return rv;
  }
  c->url_text = km_env_strdup(c->all->env, url);
  return c->url_text != NULL ? 0 : km_fail(err, KM_ERR_NOMEM, NULL);
}

int km_relay_client_new(km_relay_client **ret, km_relay_clients *all, const char *url,
                        const km_relay_client_callbacks *cb, km_errinfo *err) {
  km_relay_client *c = km_env_zalloc(all->env, 1, sizeof *c);
  if (c == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  c->all = all;
  c->cb = *cb;
  km_relay_queue_init(&c->queue, all->env);
  int rv = copy_url(c, url, err);
  if (rv == 0) {
    rv = km_deadline_new(&c->timer, all->loop, on_timer, c);
    rv = rv == 0 ? km_defer_new(&c->later, all->loop, on_later, c) : rv;
    rv = rv == 0 ? 0 : km_fail(err, rv, NULL); /* descriptors, or memory */
  }
  if (rv != 0) {
    km_relay_client_free(c);
    return rv;
  }
  km_relay_core_init(&c->core, all->env, all->key, km_loop_now(all->loop));
  c->told = c->core.state;
  do_todo(c);
  *ret = c;
  return 0;
}

void km_relay_client_free(km_relay_client *c) {
  if (c == NULL) {
    return;
  }
  km_relay_link_close(c->link, true);
  km_relay_dial_free(c->dial);
  km_relay_queue_free(&c->queue);
  km_defer_free(c->later);
  km_deadline_free(c->timer);
  km_env_free(c->all->env, c->url_text);
  km_env_free(c->all->env, c->token);
  km_env_free(c->all->env, c);
}

int km_relay_client_set_token(km_relay_client *c, const char *token, km_errinfo *err) {
  if (!km_relay_token_is_valid(token)) {
    return km_fail(err, KM_ERR_INVALID, "a relay's token is 1 to %d visible ASCII characters",
                   KM_RELAY_TOKEN_MAX);
  }
  char *copy = km_env_strdup(c->all->env, token);
  if (copy == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  km_env_free(c->all->env, c->token);
  c->token = copy;
  return 0;
}

km_relay_client_state km_relay_client_get_state(const km_relay_client *c) {
  return c->core.state;
}

const char *km_relay_client_url(const km_relay_client *c) {
  return c->url_text;
}

uint64_t km_relay_client_rtt(const km_relay_client *c) {
  return c->core.ping.rtt;
}

uint64_t km_relay_client_round_trip(const km_relay_client *c) {
  return km_relay_core_round_trip(&c->core);
}

km_ts km_relay_client_last_rx(const km_relay_client *c) {
  return c->core.last_rx;
}

void km_relay_client_check(km_relay_client *c, uint64_t deadline_ns) {
  km_relay_core_check(&c->core, km_loop_now(c->all->loop), deadline_ns);
  do_todo(c);
}

void km_relay_client_network_changed(km_relay_client *c,
                                     bool (*is_ours)(void *ctx, const km_udp_addr *addr),
                                     void *ctx) {
  km_udp_addr local;
  bool stranded = is_ours != NULL && c->link != NULL && km_relay_link_local(c->link, &local) &&
                  !is_ours(ctx, &local);
  km_relay_core_network_changed(&c->core, km_loop_now(c->all->loop), stranded);
  do_todo(c);
}

void km_relay_client_get_stats(const km_relay_client *c, km_relay_client_stats *ret) {
  *ret = c->stats;
  ret->connects = c->core.connects;
  ret->failures = c->core.failures;
}
