#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "test/netlab/mesh_hostile.h"

enum { WORDS_MAX = 8, FRAME_MAX = 2 << 20 };

/* --- what comes ------------------------------------------------------------------------------ */

static void keep_rest(hostile_bytes *in, size_t used) {
  in->len -= used;
  if (used > 0) {
    memmove(in->bytes, in->bytes + used, in->len);
  }
}

static void take_control(hostile_stream *s) {
  while (s->in.len >= 4) {
    size_t len = (size_t)s->in.bytes[2] << 8 | s->in.bytes[3];
    if (s->in.len < 4 + len) {
      return;
    }
    cJSON *frame = cJSON_ParseWithLength((const char *)s->in.bytes + 4, len);
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItem(frame, "type"));
    if (type != NULL && strcmp(type, "HEARTBEAT") != 0) {
      cJSON *o = cJSON_CreateObject();
      cJSON_AddNumberToObject(o, "peer", (double)(s->peer - s->peer->owner->peers));
      cJSON_AddItemToObject(o, "frame", frame);
      frame = NULL;
      hostile_tell("control", o);
    }
    cJSON_Delete(frame);
    keep_rest(&s->in, 4 + len);
  }
}

static void take_sync(hostile_stream *s, uint8_t type, const km_rd *body) {
  hostile *h = s->peer->owner;
  if (type == KM_SYNC_REFUSE) {
    cJSON *o = cJSON_CreateObject();
    char text[256];
    size_t len = km_rd_left(body);
    cJSON_AddNumberToObject(o, "code", len > 0 ? body->at[0] : -1);
    (void)snprintf(text, sizeof text, "%.*s", len > 0 ? (int)len - 1 : 0,
                   (const char *)body->at + 1);
    cJSON_AddStringToObject(o, "text", text);
    s->refused = true;
    if (!s->endless) {
      hostile_tell("sync_refused", o);
    } else {
      cJSON_Delete(o);
    }
  } else if (s->endless) {
    hostile_bytes again = {0};
    h->rounds++;
    hostile_sync_again(&again);
    hostile_send(s, again.bytes, again.len);
    free(again.bytes);
  }
}

static void record(hostile *h, const uint8_t *frame, size_t len) {
  h->entries_in++;
  if (h->recorded_count < HOSTILE_RECORDED) {
    hostile_add(&h->recorded[h->recorded_count++], frame, len);
    hostile_tell("recorded", NULL);
  }
}

/* Frames of a push stream of theirs, or of a synchronization of ours. */
static void take_frames(hostile_stream *s) {
  size_t used, want, at = 0;
  uint8_t type;
  km_rd body;
  while (km_push_frame(s->in.bytes + at, s->in.len - at, FRAME_MAX, &used, &want, &type, &body) >
         0) {
    if (s->role == ROLE_SYNC) {
      take_sync(s, type, &body);
    } else if (type == KM_PUSH_ENTRY) {
      record(s->peer->owner, s->in.bytes + at, used);
    }
    at += used;
  }
  keep_rest(&s->in, at);
}

void hostile_received(hostile_stream *s, const uint8_t *data, size_t len) {
  bool pushed = s->role == ROLE_THEIRS && !km_stream_is_bidi(s->stream);
  size_t skip = pushed && !s->begun; /* the stream's first byte */
  s->begun = true;
  if (s->role == ROLE_THEIRS && !pushed) {
    return; /* their synchronizations are left to stand still */
  }
  hostile_add(&s->in, data + skip, len - skip);
  if (s->role == ROLE_CONTROL) {
    take_control(s);
  } else {
    take_frames(s);
  }
}

/* --- commands -------------------------------------------------------------------------------- */

static uint64_t number(char *const *words, size_t at) {
  return words[at] == NULL ? 1 : strtoull(words[at], NULL, 10);
}

static void do_dial(hostile *h, char *const *words) {
  for (uint64_t i = number(words, 1); i > 0; i--) {
    hostile_dial_new(h);
  }
}

/* With the same key, on a connection of its own; the old one is forgotten. */
static void do_redial(hostile *h, char *const *words) {
  (void)words;
  if (h->peers[0].conn == NULL) {
    hostile_dial(&h->peers[0]);
  }
}

static void do_from(hostile *h, char *const *words) {
  char text[80];
  (void)snprintf(text, sizeof text, "%s:0", words[1]);
  if (km_udp_addr_parse(&h->from, text, strlen(text), NULL) != 0) {
    hostile_die("from: no such address");
  }
}

/* hello SHARE...: of all that are connected and did not say it. */
static void do_hello(hostile *h, char *const *words) {
  cJSON *o = cJSON_CreateObject(), *caps = cJSON_CreateObject(), *shares = cJSON_CreateArray();
  for (size_t i = 1; words[i] != NULL; i++) {
    cJSON_AddItemToArray(shares, cJSON_CreateString(words[i]));
  }
  cJSON_AddStringToObject(o, "type", "HELLO");
  cJSON_AddStringToObject(o, "node_id", "mallory");
  cJSON_AddStringToObject(o, "version", "1.0");
  cJSON_AddItemToObject(caps, "shares", shares);
  cJSON_AddItemToObject(caps, "features", cJSON_CreateArray());
  cJSON_AddItemToObject(o, "capabilities", caps);
  char *text = cJSON_PrintUnformatted(o);
  for (size_t i = 0; i < h->peer_count; i++) {
    if (h->peers[i].conn != NULL && !h->peers[i].said_hello) {
      hostile_control(&h->peers[i], text);
      h->peers[i].said_hello = true;
    }
  }
  cJSON_free(text);
  cJSON_Delete(o);
}

static void push_bytes(hostile *h, const hostile_bytes *bytes) {
  static const uint8_t kind = KM_STREAM_PUSH;
  hostile_peer *p = &h->peers[0];
  if (p->push == NULL && (p->push = hostile_open(p, ROLE_PUSH, false)) != NULL) {
    hostile_send(p->push, &kind, 1);
  }
  if (p->push != NULL) {
    hostile_send(p->push, bytes->bytes, bytes->len);
  }
}

/* entry COUNT SHARE KEY VALUE-LEN AHEAD-MS AUTHOR [spoilt]: KEY has a number behind it when COUNT
 * is above 1; AUTHOR is `own` or an id. */
static void do_entry(hostile *h, char *const *words) {
  hostile_bytes out = {0};
  km_id author;
  uint64_t count = number(words, 1);
  bool own = words[6] == NULL || strcmp(words[6], "own") == 0;
  if (words[5] == NULL || (!own && km_id_parse(&author, words[6], strlen(words[6]), NULL) != 0)) {
    hostile_die("entry: what?");
  }
  for (uint64_t i = 0; i < count; i++) {
    char key[2048];
    (void)snprintf(key, sizeof key, count > 1 ? "%s%" PRIu64 : "%s", words[3], i);
    const hostile_entry e = {.share = words[2],
                             .key = key,
                             .value_len = number(words, 4),
                             .ahead_ms = strtoll(words[5], NULL, 10),
                             .author = own ? NULL : &author,
                             .spoil = own && words[6] != NULL && words[7] != NULL};
    hostile_entry_frame(&h->peers[0], &out, &e);
  }
  push_bytes(h, &out);
  free(out.bytes);
}

/* message COUNT */
static void do_message(hostile *h, char *const *words) {
  hostile_bytes out = {0};
  for (uint64_t i = number(words, 1); i > 0; i--) {
    hostile_message_frame(&h->peers[0], &out);
  }
  push_bytes(h, &out);
  free(out.bytes);
}

/* replay TIMES: all entries that were recorded. */
static void do_replay(hostile *h, char *const *words) {
  for (uint64_t i = number(words, 1); i > 0; i--) {
    for (size_t n = 0; n < h->recorded_count; n++) {
      push_bytes(h, &h->recorded[n]);
    }
  }
}

static void add_hex(hostile_bytes *to, const char *hex) {
  uint8_t bytes[1024];
  size_t len;
  if (hex == NULL || sodium_hex2bin(bytes, sizeof bytes, hex, strlen(hex), NULL, &len, NULL) != 0) {
    hostile_die("no hexadecimal digits");
  }
  hostile_add(to, bytes, len);
}

/* push HEX [TIMES]; control HEX; stream uni|bidi HEX [TIMES] */
static void do_push(hostile *h, char *const *words) {
  hostile_bytes out = {0};
  for (uint64_t i = number(words, 2); i > 0; i--) {
    add_hex(&out, words[1]);
  }
  push_bytes(h, &out);
  free(out.bytes);
}

static void do_control(hostile *h, char *const *words) {
  hostile_bytes out = {0};
  for (uint64_t i = number(words, 2); i > 0; i--) {
    add_hex(&out, words[1]);
  }
  if (h->peers[0].control != NULL) {
    hostile_send(h->peers[0].control, out.bytes, out.len);
  }
  free(out.bytes);
}

static void do_stream(hostile *h, char *const *words) {
  bool bidi = strcmp(words[1], "bidi") == 0;
  for (uint64_t i = number(words, 3); i > 0; i--) {
    hostile_stream *s = hostile_open(&h->peers[0], bidi ? ROLE_SYNC : ROLE_PUSH, bidi);
    hostile_bytes out = {0};
    add_hex(&out, words[2]);
    if (s != NULL) {
      hostile_send(s, out.bytes, out.len);
    }
    free(out.bytes);
  }
}

static void open_sync(hostile *h, const char *share, bool endless) {
  hostile_stream *s = hostile_open(&h->peers[0], ROLE_SYNC, true);
  hostile_bytes out = {0};
  if (s == NULL) {
    return;
  }
  s->endless = endless;
  hostile_sync_open(&out, share);
  hostile_send(s, out.bytes, out.len);
  free(out.bytes);
}

/* sync SHARE: as one that knows nothing would begin. */
static void do_sync(hostile *h, char *const *words) {
  open_sync(h, words[1], false);
}

/* endless SHARE TIMES, one after the other. */
static char endless_share[KM_SHARE_NAME_MAX + 1];

static void do_endless(hostile *h, char *const *words) {
  (void)snprintf(endless_share, sizeof endless_share, "%s", words[1]);
  h->peers[0].endless_left = (unsigned)number(words, 2);
  hostile_endless_next(&h->peers[0]);
}

void hostile_endless_next(hostile_peer *p) {
  if (p->endless_left == 0 || p->conn == NULL) {
    hostile_tell("endless_over", NULL);
    return;
  }
  p->endless_left--;
  open_sync(p->owner, endless_share, true);
}

static void do_quiet(hostile *h, char *const *words) {
  (void)words;
  h->quiet = true;
}

static void do_secret(hostile *h, char *const *words) {
  (void)snprintf(h->secret, sizeof h->secret, "%s", words[1]);
}

static void do_report(hostile *h, char *const *words) {
  cJSON *o = cJSON_CreateObject();
  size_t alive = 0;
  (void)words;
  for (size_t i = 0; i < h->peer_count; i++) {
    alive += h->peers[i].conn != NULL && km_conn_is_connected(h->peers[i].conn);
  }
  const hostile_stream *push = h->peers[0].push;
  cJSON_AddNumberToObject(o, "alive", (double)alive);
  cJSON_AddNumberToObject(o, "bytes_in", (double)h->bytes_in);
  cJSON_AddNumberToObject(o, "entries_in", (double)h->entries_in);
  cJSON_AddNumberToObject(o, "resets", (double)h->resets);
  cJSON_AddNumberToObject(o, "stops", (double)h->stops);
  cJSON_AddNumberToObject(o, "rounds", (double)h->rounds);
  cJSON_AddNumberToObject(o, "sessions", (double)h->sessions);
  cJSON_AddNumberToObject(o, "refusals", (double)h->refusals);
  cJSON_AddNumberToObject(o, "unsent", push == NULL ? 0 : (double)(push->out.len - push->out_at));
  cJSON_AddBoolToObject(o, "saw_secret", h->saw_secret);
  hostile_tell("report", o);
}

/* id [INDEX]: of a key, before anybody is dialled with it. */
static void do_id(hostile *h, char *const *words) {
  km_secret_key *key = hostile_key(h, words[1] == NULL ? 0 : (uint32_t)number(words, 1));
  km_id id;
  char text[KM_ID_TEXT_CAP];
  km_secret_key_id(key, &id);
  km_secret_key_free(key);
  (void)km_id_format(&id, KM_ID_HEX, text, sizeof text);
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "id", text);
  hostile_tell("id", o);
}

void hostile_command(hostile *h, char *line) {
  static const struct {
    const char *name;
    void (*fn)(hostile *h, char *const *words);
    size_t words;
  } commands[] = {{"id", do_id, 1},           {"dial", do_dial, 1},     {"redial", do_redial, 1},
                  {"from", do_from, 2},       {"hello", do_hello, 1},   {"entry", do_entry, 6},
                  {"message", do_message, 1}, {"replay", do_replay, 1}, {"push", do_push, 2},
                  {"control", do_control, 2}, {"stream", do_stream, 3}, {"sync", do_sync, 2},
                  {"endless", do_endless, 2}, {"quiet", do_quiet, 1},   {"secret", do_secret, 2},
                  {"report", do_report, 1}};
  char *words[WORDS_MAX + 1] = {NULL}, *rest = NULL;
  size_t count = 0;
  for (char *w = strtok_r(line, " ", &rest); w != NULL && count < WORDS_MAX;
       w = strtok_r(NULL, " ", &rest)) {
    words[count++] = w;
  }
  for (size_t i = 0; i < sizeof commands / sizeof commands[0] && count > 0; i++) {
    if (strcmp(commands[i].name, words[0]) == 0 && count >= commands[i].words) {
      commands[i].fn(h, words);
      return;
    }
  }
  hostile_die("no such command");
}
