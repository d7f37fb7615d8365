/* Streams that the other side opens: bidirectional ones are echoed, all are hashed and reported. */
#include "peer.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* What cannot be echoed at once waits in `waiting`. Its size is bounded by the stream's window,
 * because only echoed bytes are credited to the sender. */
typedef struct served {
  peer_conn *pc;
  bool bidi, fin, reported;
  uint64_t bytes;
  crypto_hash_sha256_state hash;
  uint8_t *waiting;
  size_t waiting_len, waiting_cap;
} served;

static void report(served *s, const char *end, const uint64_t *code) {
  uint8_t digest[crypto_hash_sha256_BYTES];
  char text[2 * sizeof digest + 1];
  if (s->reported)
    return;
  s->reported = true;
  crypto_hash_sha256_final(&s->hash, digest);
  sodium_bin2hex(text, sizeof text, digest, sizeof digest);
  cJSON *line = peer_event("stream");
  cJSON_AddNumberToObject(line, "conn", s->pc->number);
  cJSON_AddBoolToObject(line, "bidi", s->bidi);
  peer_add_u64(line, "bytes", s->bytes);
  cJSON_AddStringToObject(line, "sha256", text);
  cJSON_AddStringToObject(line, "end", end);
  if (code)
    peer_add_code(line, "code", *code);
  else
    cJSON_AddNullToObject(line, "code");
  peer_send(line);
}

static void keep(served *s, const uint8_t *data, size_t len) {
  if (s->waiting_len + len > s->waiting_cap) {
    s->waiting_cap = 2 * (s->waiting_len + len);
    s->waiting = realloc(s->waiting, s->waiting_cap);
    if (!s->waiting)
      abort();
  }
  memcpy(s->waiting + s->waiting_len, data, len);
  s->waiting_len += len;
}

/* Echoes what the stream takes of `data`; returns how much that was. */
static size_t echo(const served *s, km_stream *stream, const uint8_t *data, size_t len) {
  size_t accepted = 0;
  if (km_stream_write(stream, data, len, s->fin, &accepted, NULL) != 0)
    return 0;
  km_stream_consume(stream, accepted);
  return accepted;
}

static void on_data(void *ctx, km_stream *stream, const void *data, size_t len, bool fin) {
  served *s = ctx;
  crypto_hash_sha256_update(&s->hash, data, len);
  s->bytes += len;
  s->fin = fin;
  if (!s->bidi) {
    km_stream_consume(stream, len);
    return;
  }
  size_t echoed = s->waiting_len == 0 ? echo(s, stream, data, len) : 0;
  if (echoed < len)
    keep(s, (const uint8_t *)data + echoed, len - echoed);
}

static void on_writable(void *ctx, km_stream *stream) {
  served *s = ctx;
  if (s->waiting_len == 0)
    return;
  size_t echoed = echo(s, stream, s->waiting, s->waiting_len);
  s->waiting_len -= echoed;
  memmove(s->waiting, s->waiting + echoed, s->waiting_len);
}

static void on_reset(void *ctx, km_stream *stream, uint64_t code) {
  served *s = ctx;
  report(s, "reset", &code);
  if (s->bidi)
    (void)km_stream_reset(stream, 0);
}

static void on_stopped(void *ctx, km_stream *stream, uint64_t code) {
  report(ctx, "stop", &code);
  (void)km_stream_stop(stream, 0);
}

static void on_closed(void *ctx, km_stream *stream, int error) {
  served *s = ctx;
  (void)stream;
  if (error == 0)
    report(s, "fin", NULL);
  free(s->waiting);
  free(s);
}

void peer_serve_stream(peer_conn *pc, km_stream *stream) {
  static const km_stream_callbacks callbacks = {
      .size = sizeof callbacks,
      .on_data = on_data,
      .on_writable = on_writable,
      .on_reset = on_reset,
      .on_stopped = on_stopped,
      .on_closed = on_closed,
  };
  served *s = calloc(1, sizeof *s);
  if (!s)
    abort();
  s->pc = pc;
  s->bidi = km_stream_is_bidi(stream);
  crypto_hash_sha256_init(&s->hash);
  km_stream_hold_credit(stream, true);
  km_stream_set_callbacks(stream, &callbacks, s);
}
