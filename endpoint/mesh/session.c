#include "endpoint/mesh/session.h"

#include <stdio.h>
#include <string.h>

/* Heartbeats under way whose times are remembered. */
enum { SENT_MAX = 16 };

/* Of a peer's own interval, so that none keeps us waiting for good. */
#define INTERVAL_MAX_MS 3600000

/* More frames than that within the time are a flood. */
#define FLOOD_NS (10 * KM_NS_PER_S)
#define FLOOD_FRAMES 1000

typedef enum state { WAIT_HELLO, WAIT_ACK, UP, OVER } state;

struct km_session {
  km_session_config config;
  state state;
  km_frame_reader reader;
  uint8_t *pending; /* came behind the frame of an event, not looked at yet */
  size_t pending_len;
  uint8_t *out;
  size_t out_len, out_cap;

  km_control peer; /* its HELLO or ACK */
  char reason[KM_CONTROL_REASON_MAX + 1];
  int64_t hello_ms, ack_ms, heartbeat_ms;

  km_ts deadline; /* of HELLO or ACK; once up, of the next heartbeat of theirs */
  km_ts next_beat;
  uint64_t seq, measured; /* ours: the last sent, the last whose echo was measured */
  km_ts sent_at[SENT_MAX];
  uint64_t their_seq;
  km_ts their_seq_at;
  uint64_t rtt_us, jitter_us, last_sample_us;
  uint64_t in, out_count;

  uint32_t frames; /* in the present window */
  km_ts window_ends;
};

static int64_t to_ms(km_wall wall) {
  return wall.unix_ns / (int64_t)KM_NS_PER_MS;
}

/* --- out ------------------------------------------------------------------------------------- */

static int put(km_session *s, const km_control *c) {
  const km_env *env = s->config.env;
  uint8_t *frame = NULL;
  int64_t len = km_control_encode(env, c, &frame);
  if (len < 0) {
    return (int)len;
  }
  if (s->out_len + (size_t)len > s->out_cap) {
    uint8_t *grown = km_env_realloc(env, s->out, s->out_len + (size_t)len, 1);
    if (grown == NULL) {
      km_env_free(env, frame);
      return KM_ERR_NOMEM;
    }
    s->out = grown;
    s->out_cap = s->out_len + (size_t)len;
  }
  memcpy(s->out + s->out_len, frame, (size_t)len);
  s->out_len += (size_t)len;
  km_env_free(env, frame);
  return 0;
}

static km_control introduction(const km_session *s, km_control_type type) {
  km_control c = {.type = type, .instance = s->config.instance};
  (void)snprintf(c.node_id, sizeof c.node_id, "%s", s->config.node_id);
  (void)snprintf(c.version, sizeof c.version, "%s", KM_MESH_VERSION);
  return c;
}

static int put_hello(km_session *s) {
  km_control c = introduction(s, KM_CONTROL_HELLO);
  c.caps = *s->config.caps;
  return put(s, &c);
}

/* A refused peer is not told what there is, nor who: a name has to be there. */
static int put_ack(km_session *s, const char *refusal) {
  km_control c = introduction(s, KM_CONTROL_ACK);
  c.ok = refusal == NULL;
  if (c.ok) {
    c.caps = *s->config.caps;
  } else {
    (void)snprintf(c.reason, sizeof c.reason, "%s", refusal);
    (void)snprintf(c.node_id, sizeof c.node_id, "-");
    c.instance = 0;
  }
  return put(s, &c);
}

static int put_heartbeat(km_session *s, km_ts now, km_wall wall) {
  km_control c = {.type = KM_CONTROL_HEARTBEAT,
                  .ts = wall.unix_ns < 0 ? 0 : (uint64_t)wall.unix_ns / KM_NS_PER_S,
                  .seq = s->seq + 1,
                  .echo = s->their_seq,
                  .echo_delay_us = s->their_seq == 0 ? 0 : (now - s->their_seq_at) / 1000,
                  .interval_ms = s->config.heartbeat_ns / KM_NS_PER_MS};
  int rv = put(s, &c);
  if (rv != 0) {
    return rv;
  }
  s->seq++;
  s->sent_at[s->seq % SENT_MAX] = now;
  s->out_count++;
  s->next_beat = now + s->config.heartbeat_ns;
  return 0;
}

/* --- in -------------------------------------------------------------------------------------- */

static km_session_event broken(km_session *s, km_errinfo *err, int code, const char *text) {
  s->state = OVER;
  (void)km_fail(err, code, "%s", text);
  return KM_SESSION_BROKEN;
}

static km_session_event no_memory(km_session *s, km_errinfo *err) {
  return broken(s, err, KM_ERR_NOMEM, "out of memory");
}

/* Heartbeats before that of the first interval: the side that dialled sends one at once, and each
 * side answers the first one it gets, so that both know the round trip soon. */
static km_session_event come_up(km_session *s, km_ts now, km_wall wall, km_errinfo *err) {
  s->state = UP;
  s->deadline = now + s->config.silence_ns;
  s->next_beat = now + s->config.heartbeat_ns;
  if (s->config.initiator && put_heartbeat(s, now, wall) != 0) {
    return no_memory(s, err);
  }
  return KM_SESSION_UP;
}

static km_session_event refused(km_session *s, km_errinfo *err, const char *reason) {
  s->state = OVER;
  (void)snprintf(s->reason, sizeof s->reason, "%s", reason);
  (void)km_fail(err, KM_ERR_REFUSED, "%s", reason);
  return KM_SESSION_REFUSED;
}

static void keep_peer(km_session *s, km_control *c) {
  km_control_free(s->config.env, &s->peer);
  s->peer = *c;
  c->caps = (km_capabilities){0};
}

static km_session_event on_hello(km_session *s, km_control *c, km_ts now, km_wall wall,
                                 km_errinfo *err) {
  char mismatch[KM_CONTROL_REASON_MAX + 1];
  const char *refusal = NULL;
  keep_peer(s, c);
  s->hello_ms = s->ack_ms = to_ms(wall);
  if (!km_version_fits(KM_MESH_VERSION, s->peer.version)) {
    (void)snprintf(mismatch, sizeof mismatch,
                   "incompatible version: this node speaks %s, the other one %s", KM_MESH_VERSION,
                   s->peer.version);
    refusal = mismatch;
  } else if (s->config.refuse != NULL) {
    refusal = s->config.refuse(s->config.ctx, &s->peer);
  }
  int rv = put_ack(s, refusal);
  if (rv != 0) {
    return broken(s, err, rv, km_strerror(rv));
  }
  return refusal == NULL ? come_up(s, now, wall, err) : refused(s, err, refusal);
}

static km_session_event on_ack(km_session *s, km_control *c, km_ts now, km_wall wall,
                               km_errinfo *err) {
  char mismatch[KM_CONTROL_REASON_MAX + 1];
  keep_peer(s, c);
  s->ack_ms = to_ms(wall);
  if (!s->peer.ok) {
    return refused(s, err, s->peer.reason[0] == '\0' ? "no reason given" : s->peer.reason);
  }
  if (s->peer.version[0] != '\0' && !km_version_fits(KM_MESH_VERSION, s->peer.version)) {
    (void)snprintf(mismatch, sizeof mismatch,
                   "incompatible version: this node speaks %s, the other one %s", KM_MESH_VERSION,
                   s->peer.version);
    return refused(s, err, mismatch);
  }
  return come_up(s, now, wall, err);
}

/* RFC 6298 section 2 for the mean, RFC 3550 section 6.4.1 for the jitter, of round trips. */
static void measure(km_session *s, const km_control *c, km_ts now) {
  if (c->echo <= s->measured || c->echo > s->seq || s->seq - c->echo >= SENT_MAX) {
    return;
  }
  uint64_t took_us = (now - s->sent_at[c->echo % SENT_MAX]) / 1000;
  if (c->echo_delay_us > took_us) {
    return; /* it cannot have lain there longer than it was away */
  }
  uint64_t sample = took_us - c->echo_delay_us;
  sample = sample == 0 ? 1 : sample; /* 0 is "not measured" */
  if (s->measured == 0) {
    s->rtt_us = sample;
  } else {
    uint64_t change =
        sample > s->last_sample_us ? sample - s->last_sample_us : s->last_sample_us - sample;
    s->rtt_us = (7 * s->rtt_us + sample + 4) / 8;
    s->jitter_us = (15 * s->jitter_us + change + 8) / 16;
  }
  s->measured = c->echo;
  s->last_sample_us = sample;
}

/* A peer that beats slower than we do is not silent. */
static uint64_t patience(const km_session *s, uint64_t interval_ms) {
  uint64_t interval = interval_ms < INTERVAL_MAX_MS ? interval_ms : INTERVAL_MAX_MS;
  uint64_t theirs = 3 * interval * KM_NS_PER_MS;
  return theirs > s->config.silence_ns ? theirs : s->config.silence_ns;
}

static km_session_event on_heartbeat(km_session *s, const km_control *c, km_ts now, km_wall wall,
                                     km_errinfo *err) {
  s->in++;
  s->heartbeat_ms = to_ms(wall);
  s->deadline = now + patience(s, c->interval_ms);
  measure(s, c, now);
  if (c->seq > s->their_seq) {
    s->their_seq = c->seq;
    s->their_seq_at = now;
  }
  if (s->in == 1 && put_heartbeat(s, now, wall) != 0) {
    return no_memory(s, err);
  }
  return KM_SESSION_NOTHING;
}

static const char *type_name(km_control_type type) {
  static const char *const names[] = {"HELLO", "ACK", "HEARTBEAT", "an unknown frame"};
  return names[type];
}

static km_session_event unexpected(km_session *s, const km_control *c, km_errinfo *err) {
  static const char *const when[] = {"before HELLO", "before ACK", "after the handshake", ""};
  char text[64];
  (void)snprintf(text, sizeof text, "%s %s", type_name(c->type), when[s->state]);
  return broken(s, err, KM_ERR_BAD_PACKET, text);
}

static km_session_event on_control(km_session *s, km_control *c, km_ts now, km_wall wall,
                                   km_errinfo *err) {
  if (s->state == WAIT_HELLO && c->type == KM_CONTROL_HELLO) {
    return on_hello(s, c, now, wall, err);
  }
  if (s->state == WAIT_ACK && c->type == KM_CONTROL_ACK) {
    return on_ack(s, c, now, wall, err);
  }
  if (s->state == UP && c->type == KM_CONTROL_HEARTBEAT) {
    return on_heartbeat(s, c, now, wall, err);
  }
  if (s->state == UP && c->type == KM_CONTROL_UNKNOWN) {
    return KM_SESSION_NOTHING;
  }
  return unexpected(s, c, err);
}

static km_session_event on_frame(km_session *s, const uint8_t *json, size_t len, km_ts now,
                                 km_wall wall, km_errinfo *err) {
  if (now >= s->window_ends) {
    s->frames = 0;
    s->window_ends = now + FLOOD_NS;
  }
  if (++s->frames > FLOOD_FRAMES) {
    return broken(s, err, KM_ERR_LIMIT, "a flood of control frames");
  }
  km_control c;
  int rv = km_control_decode(s->config.env, &c, json, len, err);
  if (rv != 0) {
    s->state = OVER;
    return KM_SESSION_BROKEN;
  }
  km_session_event event = on_control(s, &c, now, wall, err);
  km_control_free(s->config.env, &c);
  return event;
}

/* Reads frames until an event; `*used` bytes of `data` were read then. */
static km_session_event read_frames(km_session *s, const uint8_t *data, size_t len, size_t *used,
                                    km_ts now, km_wall wall, km_errinfo *err) {
  *used = 0;
  while (s->state != OVER && *used < len) {
    const uint8_t *json;
    size_t n, json_len;
    int rv = km_frame_read(&s->reader, data + *used, len - *used, &n, &json, &json_len);
    *used += n;
    if (rv < 0) {
      return broken(s, err, rv,
                    rv == KM_ERR_NOMEM ? "out of memory" : "the length of a frame is out of range");
    }
    km_session_event event =
        rv == 0 ? KM_SESSION_NOTHING : on_frame(s, json, json_len, now, wall, err);
    if (event != KM_SESSION_NOTHING) {
      return event;
    }
  }
  return KM_SESSION_NOTHING;
}

/* Takes the rest of what came for the next call. */
static bool keep_rest(km_session *s, const uint8_t *data, size_t len) {
  if (len == 0 || s->state == OVER) {
    return true;
  }
  uint8_t *grown = km_env_realloc(s->config.env, s->pending, s->pending_len + len, 1);
  if (grown == NULL) {
    return false;
  }
  memcpy(grown + s->pending_len, data, len);
  s->pending = grown;
  s->pending_len += len;
  return true;
}

static km_session_event read_pending(km_session *s, km_ts now, km_wall wall, km_errinfo *err) {
  size_t used;
  km_session_event event = read_frames(s, s->pending, s->pending_len, &used, now, wall, err);
  s->pending_len -= used;
  memmove(s->pending, s->pending + used, s->pending_len);
  return event;
}

km_session_event km_session_receive(km_session *s, const uint8_t *data, size_t len, km_ts now,
                                    km_wall wall, km_errinfo *err) {
  km_session_event event = KM_SESSION_NOTHING;
  size_t used = 0;
  if (s->pending_len > 0) {
    event = read_pending(s, now, wall, err);
  }
  if (event == KM_SESSION_NOTHING && len > 0) {
    event = read_frames(s, data, len, &used, now, wall, err);
  }
  if (len > used && !keep_rest(s, data + used, len - used)) {
    return no_memory(s, err);
  }
  return event;
}

km_session_event km_session_tick(km_session *s, km_ts now, km_wall wall, km_errinfo *err) {
  if (s->state == OVER) {
    return KM_SESSION_NOTHING;
  }
  if (now >= s->deadline) {
    static const char *const missed[] = {"no HELLO came in time", "no ACK came in time",
                                         "its heartbeats stopped", ""};
    const char *what = missed[s->state];
    s->state = OVER;
    (void)km_fail(err, KM_ERR_TIMEOUT, "%s", what);
    return KM_SESSION_SILENT;
  }
  if (s->state == UP && now >= s->next_beat && put_heartbeat(s, now, wall) != 0) {
    return no_memory(s, err);
  }
  return KM_SESSION_NOTHING;
}

km_ts km_session_next(const km_session *s) {
  if (s->state == OVER) {
    return KM_TS_NEVER;
  }
  return s->state == UP && s->next_beat < s->deadline ? s->next_beat : s->deadline;
}

size_t km_session_output(km_session *s, const uint8_t **ret) {
  *ret = s->out;
  return s->out_len;
}

void km_session_sent(km_session *s, size_t len) {
  len = len < s->out_len ? len : s->out_len;
  s->out_len -= len;
  if (s->out_len > 0) {
    memmove(s->out, s->out + len, s->out_len);
  }
}

/* --- life ------------------------------------------------------------------------------------ */

int km_session_new(km_session **ret, const km_session_config *config, km_ts now, km_wall wall) {
  km_session *s = km_env_zalloc(config->env, 1, sizeof *s);
  if (s == NULL) {
    return KM_ERR_NOMEM;
  }
  s->config = *config;
  s->reader.env = config->env;
  s->state = config->initiator ? WAIT_ACK : WAIT_HELLO;
  s->deadline = now + config->hello_timeout_ns;
  s->next_beat = KM_TS_NEVER;
  if (config->initiator) {
    s->hello_ms = to_ms(wall);
    int rv = put_hello(s);
    if (rv != 0) {
      km_session_free(s);
      return rv;
    }
  }
  *ret = s;
  return 0;
}

void km_session_free(km_session *s) {
  if (s == NULL) {
    return;
  }
  const km_env *env = s->config.env;
  km_frame_reader_free(&s->reader);
  km_control_free(env, &s->peer);
  km_env_free(env, s->pending);
  km_env_free(env, s->out);
  km_env_free(env, s);
}

void km_session_get_info(const km_session *s, km_session_info *ret) {
  *ret = (km_session_info){.node_id = s->peer.node_id,
                           .version = s->peer.version,
                           .reason = s->reason,
                           .instance = s->peer.instance,
                           .caps = &s->peer.caps,
                           .hello_ms = s->hello_ms,
                           .ack_ms = s->ack_ms,
                           .heartbeat_ms = s->heartbeat_ms,
                           .rtt_us = s->rtt_us,
                           .jitter_us = s->jitter_us,
                           .heartbeats_in = s->in,
                           .heartbeats_out = s->out_count};
}
