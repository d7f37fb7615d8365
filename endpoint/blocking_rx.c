#include "endpoint/blocking_rx.h"

#include <string.h>

#include "base/env.h"

/* A stream that carries one short message costs little, one that carries much has few chunks. */
#define FIRST_CHUNK_BYTES ((size_t)2048)
#define CHUNK_BYTES ((size_t)16384)

static km_brx_chunk *new_chunk(size_t cap) {
  km_brx_chunk *chunk = km_env_alloc(&km_env_system, sizeof *chunk + cap);
  if (chunk != NULL) {
    chunk->next = NULL;
    chunk->cap = cap;
    chunk->start = chunk->end = 0;
  }
  return chunk;
}

static void push(km_brx_chunk *chunk, const uint8_t *data, size_t len) {
  if (len > 0) {
    memcpy(chunk->data + chunk->end, data, len);
    chunk->end += len;
  }
}

int km_brx_append(km_brx *rx, const void *data, size_t len) {
  const uint8_t *bytes = data;
  size_t room = rx->tail == NULL ? 0 : rx->tail->cap - rx->tail->end;
  size_t first = len < room ? len : room;
  size_t rest = len - first;
  km_brx_chunk *chunk = NULL;
  if (rest > 0) {
    size_t least = rx->head == NULL ? FIRST_CHUNK_BYTES : CHUNK_BYTES;
    chunk = new_chunk(rest > least ? rest : least);
    if (chunk == NULL) {
      return KM_ERR_NOMEM;
    }
    push(chunk, bytes + first, rest);
  }
  if (first > 0) {
    push(rx->tail, bytes, first);
  }
  if (chunk != NULL) {
    if (rx->tail == NULL) {
      rx->head = chunk;
    } else {
      rx->tail->next = chunk;
    }
    rx->tail = chunk;
  }
  rx->len += len;
  return 0;
}

size_t km_brx_take(km_brx *rx, void *buf, size_t cap, km_brx_chunk **ret_whole) {
  km_brx_chunk **end = ret_whole;
  size_t taken = 0;
  *ret_whole = NULL;
  while (rx->head != NULL && rx->head->end - rx->head->start <= cap - taken) {
    km_brx_chunk *chunk = rx->head;
    rx->head = chunk->next;
    chunk->next = NULL;
    taken += chunk->end - chunk->start;
    *end = chunk;
    end = &chunk->next;
  }
  if (rx->head == NULL) {
    rx->tail = NULL;
  } else if (cap > taken) {
    memcpy((uint8_t *)buf + taken, rx->head->data + rx->head->start, cap - taken);
    rx->head->start += cap - taken;
    taken = cap;
  }
  rx->len -= taken;
  return taken;
}

void km_brx_copy_whole(km_brx_chunk *whole, void *buf) {
  uint8_t *to = buf;
  while (whole != NULL) {
    km_brx_chunk *next = whole->next;
    memcpy(to, whole->data + whole->start, whole->end - whole->start);
    to += whole->end - whole->start;
    km_env_free(&km_env_system, whole);
    whole = next;
  }
}

void km_brx_clear(km_brx *rx) {
  while (rx->head != NULL) {
    km_brx_chunk *next = rx->head->next;
    km_env_free(&km_env_system, rx->head);
    rx->head = next;
  }
  *rx = (km_brx){0};
}
