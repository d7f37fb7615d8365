/* Streams that we open: `transfer`, the stream of an early dial, `break`. */
#include "peer.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STAGE_BYTES 16384

/* One stream of a transfer. What it sends is made piece by piece, hashed as it is taken. */
typedef struct flow {
  peer_transfer *transfer;
  km_stream *stream;
  uint64_t sent, received;
  size_t staged, taken; /* bytes in `stage`, and how many of them were written */
  bool fin_sent, all_echoed, closed;
  crypto_hash_sha256_state sent_hash, received_hash;
  uint8_t stage[STAGE_BYTES];
} flow;

struct peer_transfer {
  peer_conn *pc;
  peer_transfer *next;
  int request;
  bool early; /* belongs to a dial */
  bool bidi, hold, released;
  int count, opened, echoed, ended;
  int error; /* the first one */
  uint64_t bytes;
  flow *flows;
};

static void hash_text(char *ret, crypto_hash_sha256_state *hash) {
  uint8_t digest[crypto_hash_sha256_BYTES];
  crypto_hash_sha256_final(hash, digest);
  sodium_bin2hex(ret, 2 * sizeof digest + 1, digest, sizeof digest);
}

static cJSON *flow_json(flow *f) {
  char text[2 * crypto_hash_sha256_BYTES + 1];
  cJSON *line = cJSON_CreateObject();
  peer_add_u64(line, "sent", f->sent);
  hash_text(text, &f->sent_hash);
  cJSON_AddStringToObject(line, "sent_sha256", text);
  peer_add_u64(line, "received", f->received);
  hash_text(text, &f->received_hash);
  cJSON_AddStringToObject(line, "received_sha256", f->transfer->bidi ? text : "");
  return line;
}

static void transfer_unlink(peer_transfer *t) {
  peer_transfer **at = &t->pc->transfers;
  while (*at != t)
    at = &(*at)->next;
  *at = t->next;
}

static void transfer_free(peer_transfer *t) {
  free(t->flows);
  free(t);
}

/* All streams that were opened have ended, and no more will be. */
static void transfer_end(peer_transfer *t) {
  transfer_unlink(t);
  if (t->early) {
    peer_early_ended(t->pc, flow_json(&t->flows[0]));
  } else if (t->error != 0) {
    peer_fail(t->request, t->error, NULL);
  } else {
    cJSON *line = peer_answer_to(t->request);
    cJSON *list = cJSON_AddArrayToObject(line, "flows");
    for (int i = 0; i < t->count; i++)
      cJSON_AddItemToArray(list, flow_json(&t->flows[i]));
    peer_send(line);
  }
  transfer_free(t);
}

static void flow_stage(flow *f) {
  uint64_t left = f->transfer->bytes - f->sent;
  f->staged = left < STAGE_BYTES ? (size_t)left : STAGE_BYTES;
  f->taken = 0;
  randombytes_buf(f->stage, f->staged);
}

static bool flow_may_finish(const flow *f) {
  return !f->transfer->hold || f->transfer->released;
}

/* Writes until the stream takes no more; what it refuses because it ended, on_closed reports. */
static void flow_pump(flow *f) {
  while (f->sent < f->transfer->bytes) {
    size_t accepted = 0;
    if (f->taken == f->staged)
      flow_stage(f);
    size_t len = f->staged - f->taken;
    bool fin = f->sent + len == f->transfer->bytes && flow_may_finish(f);
    const uint8_t *data = f->stage + f->taken;
    if (km_stream_write(f->stream, data, len, fin, &accepted, NULL) != 0)
      return;
    crypto_hash_sha256_update(&f->sent_hash, data, accepted);
    f->taken += accepted;
    f->sent += accepted;
    if (accepted < len)
      return;
    f->fin_sent = fin;
  }
  if (!f->fin_sent && flow_may_finish(f)) {
    f->fin_sent = km_stream_write(f->stream, NULL, 0, true, NULL, NULL) == 0;
  }
}

static void transfer_release(peer_transfer *t) {
  t->released = true;
  for (int i = 0; i < t->count; i++) {
    if (!t->flows[i].closed)
      flow_pump(&t->flows[i]);
  }
}

static void on_data(void *ctx, km_stream *stream, const void *data, size_t len, bool fin) {
  flow *f = ctx;
  peer_transfer *t = f->transfer;
  (void)stream;
  (void)fin;
  crypto_hash_sha256_update(&f->received_hash, data, len);
  f->received += len;
  if (!t->hold || f->all_echoed || f->received < t->bytes)
    return;
  f->all_echoed = true;
  if (++t->echoed == t->count)
    transfer_release(t);
}

static void on_writable(void *ctx, km_stream *stream) {
  (void)stream;
  flow_pump(ctx);
}

static void on_closed(void *ctx, km_stream *stream, int error) {
  flow *f = ctx;
  peer_transfer *t = f->transfer;
  (void)stream;
  f->closed = true;
  t->ended++;
  if (error != 0 && t->error == 0)
    t->error = error;
  // After a failure streams that were not opened yet never will be.
  if (t->ended == t->opened && (t->opened == t->count || t->error != 0))
    transfer_end(t);
}

static const km_stream_callbacks flow_callbacks = {
    .size = sizeof flow_callbacks,
    .on_data = on_data,
    .on_writable = on_writable,
    .on_closed = on_closed,
};

/* Opens streams while the peer allows it. Returns 0 or the error that stands in the way. */
static int transfer_open(peer_transfer *t) {
  while (t->opened < t->count && t->error == 0) {
    flow *f = &t->flows[t->opened];
    f->transfer = t;
    crypto_hash_sha256_init(&f->sent_hash);
    crypto_hash_sha256_init(&f->received_hash);
    int rc = km_conn_open_stream(t->pc->conn, &f->stream, t->bidi, &flow_callbacks, f);
    if (rc == KM_ERR_STREAM_LIMIT)
      return 0; // on_streams_available comes
    if (rc != 0)
      return rc;
    t->opened++;
    flow_pump(f);
  }
  return 0;
}

static int transfer_start(peer_conn *pc, const peer_transfer *plan) {
  peer_transfer *t = malloc(sizeof *t);
  if (!t)
    abort();
  *t = *plan;
  t->pc = pc;
  t->flows = calloc((size_t)t->count, sizeof *t->flows);
  if (!t->flows)
    abort();
  t->next = pc->transfers;
  pc->transfers = t;
  int rc = transfer_open(t);
  if (rc == 0)
    return 0;
  t->error = rc;
  if (t->opened > 0)
    return 0; // their on_closed ends it
  transfer_unlink(t);
  transfer_free(t);
  return rc;
}

void peer_transfer_request(peer *self, const cJSON *request) {
  peer_conn *pc = peer_conn_of(self, request);
  if (!pc)
    return;
  const peer_transfer plan = {
      .request = peer_int(request, "id", 0),
      .bidi = peer_flag(request, "bidi"),
      .hold = peer_flag(request, "hold"),
      .count = peer_int(request, "count", 1),
      .bytes = (uint64_t)peer_int(request, "bytes", 0),
  };
  int rc = transfer_start(pc, &plan);
  if (rc != 0)
    peer_fail(plan.request, rc, NULL);
}

int peer_transfer_early(peer_conn *pc, uint64_t bytes) {
  const peer_transfer plan = {.early = true, .bidi = true, .count = 1, .bytes = bytes};
  return transfer_start(pc, &plan);
}

void peer_transfer_resume(peer_conn *pc) {
  for (peer_transfer *t = pc->transfers; t; t = t->next) {
    int rc = transfer_open(t);
    if (rc != 0 && t->error == 0)
      t->error = rc;
  }
}

/* A `break` under way: the stream's echo is awaited. */
typedef struct breaking {
  int request;
  bool reset, answered;
  uint64_t code;
  size_t echoed;
} breaking;

static void break_on_data(void *ctx, km_stream *stream, const void *data, size_t len, bool fin) {
  breaking *b = ctx;
  (void)data;
  (void)fin;
  b->echoed += len;
  if (b->echoed < 4 || b->answered)
    return;
  b->answered = true;
  int rc = b->reset ? km_stream_reset(stream, b->code) : km_stream_stop(stream, b->code);
  if (rc != 0)
    peer_fail(b->request, rc, NULL);
  else
    peer_send(peer_answer_to(b->request));
}

static void break_on_closed(void *ctx, km_stream *stream, int error) {
  breaking *b = ctx;
  (void)stream;
  if (!b->answered)
    peer_fail(b->request, error, "the stream ended before its echo came");
  free(b);
}

void peer_break(peer *self, const cJSON *request) {
  static const km_stream_callbacks callbacks = {
      .size = sizeof callbacks, .on_data = break_on_data, .on_closed = break_on_closed};
  peer_conn *pc = peer_conn_of(self, request);
  if (!pc)
    return;
  breaking *b = calloc(1, sizeof *b);
  if (!b)
    abort();
  b->request = peer_int(request, "id", 0);
  b->reset = strcmp(peer_text(request, "how"), "reset") == 0;
  b->code = peer_code(request, "code");
  km_stream *stream;
  size_t accepted = 0;
  int rc = km_conn_open_stream(pc->conn, &stream, true, &callbacks, b);
  if (rc != 0) {
    peer_fail(b->request, rc, NULL);
    free(b);
    return;
  }
  rc = km_stream_write(stream, "\1\2\3\4", 4, false, &accepted, NULL);
  if (rc != 0 || accepted != 4)
    (void)fprintf(stderr, "break: the stream took no bytes\n");
}
