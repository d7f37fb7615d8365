#include "relay/client_queue.h"

#include <string.h>

enum { FIRST_CAP = 128 << 10 };
/* What the ring may take: the frames, the room before them, and what is left over at its end. */
#define CAP_MAX (2u * KM_RELAY_QUEUE_BYTES)

void km_relay_queue_init(km_relay_queue *q, const km_env *env) {
  memset(q, 0, sizeof *q);
  q->env = env;
}

void km_relay_queue_free(km_relay_queue *q) {
  km_env_free(q->env, q->bytes);
  km_relay_queue_init(q, q->env);
}

bool km_relay_queue_has_room(const km_relay_queue *q, unsigned count, size_t bytes) {
  return count <= KM_RELAY_QUEUE_FRAMES - q->count && bytes <= KM_RELAY_QUEUE_BYTES - q->used;
}

static unsigned slot(const km_relay_queue *q, unsigned index) {
  return (q->first + index) % KM_RELAY_QUEUE_FRAMES;
}

/* Where `need` bytes in one piece are free, or SIZE_MAX. */
static size_t find_gap(const km_relay_queue *q, size_t need) {
  if (q->count == 0) {
    return need <= q->cap ? 0 : SIZE_MAX;
  }
  unsigned last = slot(q, q->count - 1);
  size_t begin = q->frames[q->first].at - KM_RELAY_QUEUE_ROOM;
  size_t end = q->frames[last].at + q->frames[last].len;
  if (end <= begin) { /* wrapped around: the gap is in the middle */
    return begin - end >= need ? end : SIZE_MAX;
  }
  if (q->cap - end >= need) {
    return end;
  }
  return begin >= need ? 0 : SIZE_MAX;
}

/* Moves everything to the beginning of a ring of twice the size. */
static bool grow(km_relay_queue *q, size_t need) {
  size_t cap = q->cap > 0 ? 2 * q->cap : FIRST_CAP;
  while (cap < q->used + (q->count + 1) * KM_RELAY_QUEUE_ROOM + need) {
    cap *= 2;
  }
  uint8_t *bytes = cap <= CAP_MAX ? km_env_alloc(q->env, cap) : NULL;
  if (bytes == NULL) {
    return false;
  }
  size_t at = KM_RELAY_QUEUE_ROOM;
  for (unsigned i = 0; i < q->count; i++) {
    size_t len = q->frames[slot(q, i)].len;
    memcpy(bytes + at, q->bytes + q->frames[slot(q, i)].at, len);
    q->frames[slot(q, i)].at = at;
    at += len + KM_RELAY_QUEUE_ROOM;
  }
  km_env_free(q->env, q->bytes);
  q->bytes = bytes;
  q->cap = cap;
  return true;
}

uint8_t *km_relay_queue_add(km_relay_queue *q, size_t len) {
  size_t need = len + KM_RELAY_QUEUE_ROOM;
  if (len == 0 || !km_relay_queue_has_room(q, 1, len)) {
    return NULL;
  }
  size_t at = find_gap(q, need);
  if (at == SIZE_MAX) {
    at = grow(q, need) ? find_gap(q, need) : SIZE_MAX;
  }
  if (at == SIZE_MAX) {
    return NULL;
  }
  unsigned i = slot(q, q->count++);
  q->frames[i].at = at + KM_RELAY_QUEUE_ROOM;
  q->frames[i].len = len;
  q->used += len;
  return q->bytes + q->frames[i].at;
}

uint8_t *km_relay_queue_first(km_relay_queue *q, size_t *ret_len) {
  if (q->count == 0) {
    return NULL;
  }
  *ret_len = q->frames[q->first].len;
  return q->bytes + q->frames[q->first].at;
}

void km_relay_queue_drop_first(km_relay_queue *q) {
  q->used -= q->frames[q->first].len;
  q->first = slot(q, 1);
  q->count--;
}
