/* Frames of the control stream, put together from its bytes. */
#include <string.h>

#include "endpoint/mesh/control.h"

enum { HEADER = 4, FIRST_ROOM = 512 };

static size_t body_len(const km_frame_reader *r) {
  return (size_t)r->buf[0] << 24 | (size_t)r->buf[1] << 16 | (size_t)r->buf[2] << 8 | r->buf[3];
}

/* Room grows with the bytes that came, never with a length that was only claimed. */
static bool make_room(km_frame_reader *r, size_t len) {
  if (len <= r->cap) {
    return true;
  }
  size_t cap = r->cap == 0 ? FIRST_ROOM : r->cap;
  while (cap < len) {
    cap *= 2;
  }
  uint8_t *grown = km_env_realloc(r->env, r->buf, cap, 1);
  if (grown == NULL) {
    return false;
  }
  r->buf = grown;
  r->cap = cap;
  return true;
}

/* Takes bytes until `until` of them are there. */
static int take(km_frame_reader *r, size_t until, const uint8_t *data, size_t len, size_t *used) {
  size_t n = until - r->len < len - *used ? until - r->len : len - *used;
  if (n == 0) {
    return 0;
  }
  if (!make_room(r, r->len + n)) {
    return KM_ERR_NOMEM;
  }
  memcpy(r->buf + r->len, data + *used, n);
  r->len += n;
  *used += n;
  return 0;
}

int km_frame_read(km_frame_reader *r, const uint8_t *data, size_t len, size_t *used,
                  const uint8_t **ret, size_t *ret_len) {
  *used = 0;
  if (r->len >= HEADER && r->len == HEADER + body_len(r)) {
    r->len = 0; /* the frame that was given out last time */
  }
  if (r->len < HEADER && take(r, HEADER, data, len, used) != 0) {
    return KM_ERR_NOMEM;
  }
  if (r->len < HEADER) {
    return 0;
  }
  size_t body = body_len(r);
  if (body == 0 || body > KM_CONTROL_FRAME_MAX) {
    return KM_ERR_BAD_PACKET;
  }
  if (take(r, HEADER + body, data, len, used) != 0) {
    return KM_ERR_NOMEM;
  }
  if (r->len < HEADER + body) {
    return 0;
  }
  *ret = r->buf + HEADER;
  *ret_len = body;
  return 1;
}

void km_frame_reader_free(km_frame_reader *r) {
  km_env_free(r->env, r->buf);
  r->buf = NULL;
  r->len = r->cap = 0;
}
