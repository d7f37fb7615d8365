/* km-netlab-mesh-hostile ID ADDRESS:PORT SEED
 *
 * Commands come on stdin, events go to stdout as JSON. Keys are made from SEED: the same number is
 * the same peer. A test program, never installed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "test/netlab/mesh_hostile.h"

#define BEAT_MS 300
#define BEAT "{\"type\":\"HEARTBEAT\",\"ts\":1}"

_Noreturn void hostile_die(const char *what) {
  fprintf(stderr, "km-netlab-mesh-hostile: %s\n", what);
  exit(2);
}

void hostile_tell(const char *name, cJSON *more) {
  cJSON *o = more != NULL ? more : cJSON_CreateObject();
  cJSON_AddStringToObject(o, "event", name);
  char *text = cJSON_PrintUnformatted(o);
  if (text == NULL) {
    hostile_die("out of memory");
  }
  puts(text);
  fflush(stdout);
  cJSON_free(text);
  cJSON_Delete(o);
}

static cJSON *of_peer(const hostile_peer *p) {
  cJSON *o = cJSON_CreateObject();
  cJSON_AddNumberToObject(o, "peer", (double)(p - p->owner->peers));
  return o;
}

void hostile_add(hostile_bytes *to, const void *bytes, size_t len) {
  if (to->cap - to->len < len) {
    to->cap = (to->len + len) * 2;
    to->bytes = realloc(to->bytes, to->cap);
  }
  if (to->bytes == NULL && len > 0) {
    hostile_die("out of memory");
  }
  if (len > 0) {
    memcpy(to->bytes + to->len, bytes, len);
  }
  to->len += len;
}

/* --- streams --------------------------------------------------------------------------------- */

static void pump(hostile_stream *s) {
  size_t taken = 0;
  while (s->stream != NULL && s->out_at < s->out.len) {
    if (km_stream_write(s->stream, s->out.bytes + s->out_at, s->out.len - s->out_at, false, &taken,
                        NULL) != 0 ||
        taken == 0) {
      return;
    }
    s->out_at += taken;
  }
  s->out.len = s->out_at = 0;
}

void hostile_send(hostile_stream *s, const void *bytes, size_t len) {
  hostile_add(&s->out, bytes, len);
  pump(s);
}

/* The secret may come in pieces. */
static void look_for_secret(hostile_stream *s, const uint8_t *data, size_t len) {
  hostile *h = s->peer->owner;
  hostile_bytes all = {0};
  size_t secret = strlen(h->secret);
  hostile_add(&all, s->tail, s->tail_len);
  hostile_add(&all, data, len);
  for (size_t i = 0; secret > 0 && i + secret <= all.len; i++) {
    h->saw_secret = h->saw_secret || memcmp(all.bytes + i, h->secret, secret) == 0;
  }
  s->tail_len = all.len < sizeof s->tail ? all.len : sizeof s->tail;
  memcpy(s->tail, all.bytes + all.len - s->tail_len, s->tail_len);
  free(all.bytes);
}

static void on_data(void *ctx, km_stream *stream, const void *data, size_t len, bool fin) {
  hostile_stream *s = ctx;
  (void)stream;
  (void)fin;
  s->peer->owner->bytes_in += len;
  if (len > 0) {
    look_for_secret(s, data, len);
    hostile_received(s, data, len);
  }
}

static void on_writable(void *ctx, km_stream *stream) {
  (void)stream;
  pump(ctx);
}

static void on_reset(void *ctx, km_stream *stream, uint64_t code) {
  hostile_stream *s = ctx;
  (void)stream;
  (void)code;
  s->peer->owner->resets++;
}

/* One that is reset, and what is left of which nobody reads, is at its end. */
static void on_stopped(void *ctx, km_stream *stream, uint64_t code) {
  hostile_stream *s = ctx;
  s->peer->owner->stops++;
  s->peer->push = s->peer->push == s ? NULL : s->peer->push;
  (void)km_stream_reset(stream, code);
}

static void on_stream_closed(void *ctx, km_stream *stream, int error) {
  hostile_stream *s = ctx;
  hostile_peer *p = s->peer;
  (void)stream;
  (void)error;
  p->control = p->control == s ? NULL : p->control;
  p->push = p->push == s ? NULL : p->push;
  if (s->endless) {
    p->owner->sessions++;
    p->owner->refusals += s->refused;
    hostile_endless_next(p);
  }
  free(s->in.bytes);
  free(s->out.bytes);
  free(s);
}

static const km_stream_callbacks stream_callbacks = {.size = sizeof stream_callbacks,
                                                     .on_data = on_data,
                                                     .on_writable = on_writable,
                                                     .on_reset = on_reset,
                                                     .on_stopped = on_stopped,
                                                     .on_closed = on_stream_closed};

static hostile_stream *stream_new(hostile_peer *p, hostile_role role) {
  hostile_stream *s = calloc(1, sizeof *s);
  if (s == NULL) {
    hostile_die("out of memory");
  }
  s->peer = p;
  s->role = role;
  return s;
}

hostile_stream *hostile_open(hostile_peer *p, hostile_role role, bool bidi) {
  if (p->conn == NULL) {
    return NULL;
  }
  hostile_stream *s = stream_new(p, role);
  if (km_conn_open_stream(p->conn, &s->stream, bidi, &stream_callbacks, s) != 0) {
    free(s);
    return NULL;
  }
  return s;
}

void hostile_control(hostile_peer *p, const char *json) {
  uint8_t head[4] = {0};
  size_t len = strlen(json);
  head[2] = (uint8_t)(len >> 8);
  head[3] = (uint8_t)len;
  if (p->control != NULL) {
    hostile_send(p->control, head, sizeof head);
    hostile_send(p->control, json, len);
  }
}

/* --- connections ----------------------------------------------------------------------------- */

static void on_connected(void *ctx, km_conn *conn) {
  (void)conn;
  hostile_tell("connected", of_peer(ctx));
}

static void on_stream(void *ctx, km_conn *conn, km_stream *stream) {
  hostile_stream *s = stream_new(ctx, ROLE_THEIRS);
  (void)conn;
  s->stream = stream;
  km_stream_set_callbacks(stream, &stream_callbacks, s);
}

static void on_conn_closed(void *ctx, km_conn *conn, const km_close_info *info) {
  hostile_peer *p = ctx;
  char reason[256];
  (void)conn;
  (void)snprintf(reason, sizeof reason, "%.*s", (int)info->reason_len, (const char *)info->reason);
  cJSON *o = of_peer(p);
  cJSON_AddNumberToObject(o, "code", info->application ? (double)info->code : -1);
  cJSON_AddStringToObject(o, "reason", reason);
  cJSON_AddStringToObject(o, "text", info->text);
  p->conn = NULL;
  p->said_hello = false;
  hostile_tell("closed", o);
}

void hostile_dial(hostile_peer *p) {
  static const km_conn_callbacks callbacks = {.size = sizeof callbacks,
                                              .on_connected = on_connected,
                                              .on_stream = on_stream,
                                              .on_closed = on_conn_closed};
  km_errinfo err = {0};
  if (km_endpoint_dial(p->endpoint, &p->conn, p->owner->victim, "keymesh/1", &callbacks, p, NULL,
                       &err) != 0) {
    hostile_die(err.text);
  }
  p->control = hostile_open(p, ROLE_CONTROL, true);
}

static void on_endpoint_closed(void *ctx, km_endpoint *endpoint) {
  (void)endpoint;
  ((hostile_peer *)ctx)->endpoint = NULL;
}

km_secret_key *hostile_key(const hostile *h, uint32_t index) {
  uint8_t seed[KM_SECRET_KEY_BYTES] = "no good";
  uint32_t number = h->seed + index;
  km_secret_key *key;
  memcpy(seed + 8, &number, sizeof number);
  if (km_secret_key_from_bytes(&key, seed) != 0) {
    hostile_die("no key");
  }
  return key;
}

void hostile_dial_new(hostile *h) {
  km_endpoint_options opt;
  km_errinfo err = {0};
  if (h->peer_count == HOSTILE_PEERS) {
    hostile_die("too many peers");
  }
  hostile_peer *p = &h->peers[h->peer_count];
  p->owner = h;
  p->key = hostile_key(h, (uint32_t)h->peer_count++);
  km_endpoint_options_default(&opt);
  opt.bind = &h->from;
  opt.bind_count = 1;
  opt.relay_mode = KM_RELAY_MODE_DISABLED;
  opt.callbacks =
      (km_endpoint_callbacks){.size = sizeof opt.callbacks, .on_closed = on_endpoint_closed};
  opt.ctx = p;
  opt.secret_key = p->key;
  if (km_endpoint_open(&p->endpoint, h->loop, &opt, &err) != 0) {
    hostile_die(err.text);
  }
  hostile_dial(p);
}

static void beat(void *ctx) {
  hostile *h = ctx;
  km_timer *timer;
  for (size_t i = 0; i < h->peer_count && !h->quiet; i++) {
    if (h->peers[i].said_hello) {
      hostile_control(&h->peers[i], BEAT);
    }
  }
  if (!h->over && km_timer_start(&timer, h->loop, BEAT_MS, beat, h) != 0) {
    hostile_die("no timer");
  }
}

/* --- the process ----------------------------------------------------------------------------- */

void hostile_close(hostile *h) {
  h->over = true;
  km_poll_free(h->input);
  h->input = NULL;
  for (size_t i = 0; i < h->peer_count; i++) {
    if (h->peers[i].endpoint != NULL) {
      km_endpoint_close(h->peers[i].endpoint);
    }
  }
}

static void on_input(void *ctx, int events) {
  hostile *h = ctx;
  char buf[4096];
  (void)events;
  ssize_t len = read(STDIN_FILENO, buf, sizeof buf);
  if (len < 0 && (errno == EINTR || errno == EAGAIN)) {
    return;
  }
  if (len <= 0) {
    hostile_close(h);
    return;
  }
  for (ssize_t i = 0; i < len && !h->over; i++) {
    if (buf[i] != '\n') {
      hostile_add(&h->line, &buf[i], 1);
      continue;
    }
    hostile_add(&h->line, "", 1);
    h->line.len = 0;
    hostile_command(h, (char *)h->line.bytes);
  }
}

static bool open_endpoints(const hostile *h) {
  for (size_t i = 0; i < h->peer_count; i++) {
    if (h->peers[i].endpoint != NULL) {
      return true;
    }
  }
  return false;
}

static void free_all(hostile *h) {
  for (size_t i = 0; i < h->peer_count; i++) {
    km_secret_key_free(h->peers[i].key);
  }
  for (size_t i = 0; i < h->recorded_count; i++) {
    free(h->recorded[i].bytes);
  }
  free(h->line.bytes);
  km_addr_free(h->victim);
  while (km_loop_free(h->loop) != 0) {
    (void)km_loop_run_once(h->loop, 10);
  }
}

static int read_words(hostile *h, char **argv) {
  km_id id;
  km_udp_addr udp;
  h->seed = (uint32_t)strtoul(argv[3], NULL, 10);
  if (km_id_parse(&id, argv[1], strlen(argv[1]), NULL) != 0 ||
      km_udp_addr_parse(&udp, argv[2], strlen(argv[2]), NULL) != 0 ||
      km_addr_new(&h->victim, &id) != 0) {
    return -1;
  }
  return km_addr_add_udp(h->victim, &udp);
}

int main(int argc, char **argv) {
  static hostile h = {.from = {.family = 4}};
  if (argc != 4 || sodium_init() < 0 || read_words(&h, argv) != 0 || km_loop_new(&h.loop) != 0 ||
      km_poll_new(&h.input, h.loop, STDIN_FILENO, on_input, &h) != 0 ||
      km_poll_set(h.input, KM_POLL_READ) != 0) {
    hostile_die("usage: km-netlab-mesh-hostile ID ADDRESS:PORT SEED");
  }
  hostile_tell("ready", NULL);
  beat(&h);
  while (!h.over || open_endpoints(&h)) {
    (void)km_loop_run_once(h.loop, 100);
  }
  free_all(&h);
  return 0;
}
