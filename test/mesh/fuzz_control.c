/* The bytes of a control stream, in pieces whose size the first byte says: no crash; what a session
 * makes of them does not depend on the pieces; what can be decoded can be encoded, and is the same
 * when it is decoded again. */
#include <stdlib.h>
#include <string.h>

#include "endpoint/mesh/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

static void same_lists(char *const *a, size_t a_count, char *const *b, size_t b_count) {
  check(a_count == b_count);
  for (size_t i = 0; i < a_count; i++) {
    check(strcmp(a[i], b[i]) == 0);
  }
}

static void check_again(const km_control *c) {
  const km_env *env = &km_env_system;
  uint8_t *frame;
  km_control again;
  km_errinfo err;
  int64_t frame_len =
      c->type == KM_CONTROL_UNKNOWN ? KM_ERR_NOMEM : km_control_encode(env, c, &frame);
  if (frame_len < 0) {
    return; /* escapes can make it too long, and an ACK without a version has none to say */
  }
  if (c->type != KM_CONTROL_ACK || c->version[0] != '\0') {
    check(km_control_decode(env, &again, frame + 4, (size_t)frame_len - 4, &err) == 0);
    check(again.type == c->type && again.ok == c->ok && again.instance == c->instance);
    check(strcmp(again.node_id, c->node_id) == 0 && strcmp(again.version, c->version) == 0);
    check(strcmp(again.reason, c->reason) == 0);
    check(again.ts == c->ts && again.seq == c->seq && again.echo == c->echo);
    same_lists(again.caps.shares, again.caps.share_count, c->caps.shares, c->caps.share_count);
    same_lists(again.caps.features, again.caps.feature_count, c->caps.features,
               c->caps.feature_count);
    km_control_free(env, &again);
  }
  km_env_free(env, frame);
}

static void check_frames(const uint8_t *data, size_t len) {
  km_frame_reader r = {.env = &km_env_system};
  size_t used;
  const uint8_t *json;
  size_t json_len;
  for (int rv = 1; rv == 1; data += used, len -= used) {
    rv = km_frame_read(&r, data, len, &used, &json, &json_len);
    check(used <= len);
    km_control c;
    km_errinfo err = {0};
    if (rv == 1 && km_control_decode(&km_env_system, &c, json, json_len, &err) == 0) {
      check(strlen(c.node_id) <= KM_NODE_ID_MAX && strlen(c.reason) <= KM_CONTROL_REASON_MAX);
      check_again(&c);
      km_control_free(&km_env_system, &c);
    } else if (rv == 1) {
      check(err.code == KM_ERR_BAD_PACKET && err.text[0] != '\0');
    }
  }
  km_frame_reader_free(&r);
}

/* The events of a session that gets the bytes in pieces, as one number. */
static unsigned run(const uint8_t *data, size_t len, size_t piece, bool initiator) {
  static const km_capabilities none = {0};
  const km_session_config config = {.env = &km_env_system,
                                    .initiator = initiator,
                                    .node_id = "fuzz",
                                    .instance = 1,
                                    .caps = &none,
                                    .heartbeat_ns = KM_NS_PER_S,
                                    .silence_ns = 3 * KM_NS_PER_S,
                                    .hello_timeout_ns = KM_NS_PER_S};
  km_session *s;
  const km_wall wall = {1};
  unsigned events = 0;
  check(km_session_new(&s, &config, 1, wall) == 0);
  for (size_t at = 0; at < len; at += piece) {
    km_errinfo err = {0};
    size_t n = piece < len - at ? piece : len - at;
    km_session_event event = km_session_receive(s, data + at, n, 1, wall, &err);
    for (; event != KM_SESSION_NOTHING; event = km_session_receive(s, NULL, 0, 1, wall, &err)) {
      events = events * 8 + (unsigned)event;
      check(event == KM_SESSION_UP || err.text[0] != '\0');
    }
  }
  km_session_free(s);
  return events;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  if (len == 0) {
    return 0;
  }
  size_t piece = 1 + (size_t)(data[0] & 0x7f) * 16;
  bool initiator = (data[0] & 0x80) != 0;
  check_frames(data + 1, len - 1);
  check(run(data + 1, len - 1, piece, initiator) == run(data + 1, len - 1, len, initiator));
  return 0;
}
