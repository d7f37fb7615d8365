/* Datagrams: answers questions, asks them and checks the answers (PROTOCOL.md). */
#include "peer.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES 5
#define WINDOW 16
#define REPEAT_MS 250
#define MAX_REPEATS 10
#define MAX_DATAGRAM 65535
#define ANSWER_BYTES (HEADER_BYTES + crypto_hash_sha256_BYTES)

/* What became of a question. */
typedef struct question {
  bool answered;
  uint8_t repeats;
} question;

struct peer_asking {
  peer_conn *pc;
  km_timer *timer;
  int request;
  uint32_t count, next, answered, repeated;
  size_t size;
  question *questions;
};

static void fill(uint8_t *data, uint32_t number, size_t size) {
  data[0] = 0;
  for (unsigned i = 0; i < 4; i++)
    data[1 + i] = (uint8_t)(number >> (24 - 8 * i));
  for (size_t i = HEADER_BYTES; i < size; i++)
    data[i] = (uint8_t)(number * 31 + i * 7);
}

static void fill_answer(uint8_t answer[ANSWER_BYTES], const uint8_t *data, size_t len) {
  memcpy(answer, data, HEADER_BYTES);
  answer[0] = 1;
  (void)crypto_hash_sha256(answer + HEADER_BYTES, data, len);
}

void peer_asking_free(peer_conn *pc) {
  peer_asking *a = pc->asking;
  if (!a)
    return;
  pc->asking = NULL;
  km_timer_cancel(a->timer);
  free(a->questions);
  free(a);
}

static void give_up(peer_asking *a, int code, const char *what, uint32_t number) {
  char text[PEER_TEXT_CAP];
  (void)snprintf(text, sizeof text, "datagram %u %s", (unsigned)number, what);
  peer_fail(a->request, code, text);
  peer_asking_free(a->pc);
}

/* False when the request ended with a failure. A full queue is no failure: it counts as lost. */
static bool ask(peer_asking *a, uint32_t number) {
  uint8_t data[MAX_DATAGRAM];
  fill(data, number, a->size);
  int rc = km_conn_send_datagram(a->pc->conn, data, a->size);
  if (rc == 0 || rc == KM_ERR_AGAIN)
    return true;
  give_up(a, rc, km_strerror(rc), number);
  return false;
}

/* Keeps WINDOW questions open; answers the request when the last one is through. */
static void go_on(peer_asking *a) {
  while (a->next < a->count && a->next - a->answered < WINDOW) {
    if (!ask(a, a->next++))
      return;
  }
  if (a->answered < a->count)
    return;
  cJSON *line = peer_answer_to(a->request);
  peer_add_u64(line, "size", a->size);
  peer_add_u64(line, "answered", a->answered);
  peer_add_u64(line, "repeated", a->repeated);
  peer_send(line);
  peer_asking_free(a->pc);
}

static void on_timer(void *ctx) {
  peer_asking *a = ctx;
  a->timer = NULL;
  for (uint32_t i = 0; i < a->next; i++) {
    if (a->questions[i].answered)
      continue;
    if (++a->questions[i].repeats > MAX_REPEATS) {
      give_up(a, KM_ERR_TIMEOUT, "was never answered", i);
      return;
    }
    a->repeated++;
    if (!ask(a, i))
      return;
  }
  if (km_timer_start(&a->timer, a->pc->peer->loop, REPEAT_MS, on_timer, a) != 0)
    abort();
}

static void answer_came(peer_conn *pc, const uint8_t *data, size_t len) {
  uint8_t asked[MAX_DATAGRAM], expected[ANSWER_BYTES];
  peer_asking *a = pc->asking;
  uint32_t number = 0;
  for (unsigned i = 1; i < HEADER_BYTES; i++)
    number = number << 8 | data[i];
  // A late answer to a repeated question of this or the request before.
  if (!a || number >= a->next || a->questions[number].answered)
    return;
  fill(asked, number, a->size);
  fill_answer(expected, asked, a->size);
  if (len != ANSWER_BYTES || memcmp(data, expected, ANSWER_BYTES) != 0) {
    give_up(a, KM_ERR_INTERNAL, "did not arrive as it was sent", number);
    return;
  }
  a->questions[number].answered = true;
  a->answered++;
  go_on(a);
}

void peer_datagram_came(peer_conn *pc, const uint8_t *data, size_t len) {
  uint8_t answer[ANSWER_BYTES];
  if (len < HEADER_BYTES)
    return;
  if (data[0] != 0) {
    answer_came(pc, data, len);
    return;
  }
  fill_answer(answer, data, len);
  // What cannot be sent now counts as lost: the question will be repeated.
  int rc = km_conn_send_datagram(pc->conn, answer, sizeof answer);
  if (rc != 0 && rc != KM_ERR_AGAIN)
    (void)fprintf(stderr, "answer lost: %s\n", km_strerror(rc));
}

void peer_datagrams(peer *self, const cJSON *request) {
  peer_conn *pc = peer_conn_of(self, request);
  int id = peer_int(request, "id", 0);
  if (!pc)
    return;
  size_t size = (size_t)peer_int(request, "size", 0);
  if (size == 0)
    size = km_conn_max_datagram(pc->conn);
  if (pc->asking || size < HEADER_BYTES || size > MAX_DATAGRAM) {
    peer_fail(id, KM_ERR_STATE, "no datagrams of that size now");
    return;
  }
  peer_asking *a = calloc(1, sizeof *a);
  if (!a)
    abort();
  a->pc = pc;
  a->request = id;
  a->size = size;
  a->count = (uint32_t)peer_int(request, "count", 1);
  a->questions = calloc(a->count, sizeof *a->questions);
  if (!a->questions)
    abort();
  pc->asking = a;
  if (km_timer_start(&a->timer, self->loop, REPEAT_MS, on_timer, a) != 0)
    abort();
  go_on(a);
}
