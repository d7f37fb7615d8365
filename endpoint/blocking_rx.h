/* What a stream received and its reader did not take yet: bytes in chunks, first in, first out.
 * Its size is bounded by the stream's flow control window, which the owner gives credit for. */
#ifndef KM_ENDPOINT_BLOCKING_RX_H
#define KM_ENDPOINT_BLOCKING_RX_H

#include <stddef.h>
#include <stdint.h>

#include <keymesh/export.h>

typedef struct km_brx_chunk {
  struct km_brx_chunk *next;
  size_t cap, start, end; /* the bytes are data[start .. end) */
  uint8_t data[];
} km_brx_chunk;

/* All zero is empty. */
typedef struct km_brx {
  km_brx_chunk *head, *tail;
  size_t len;
} km_brx;

/* Returns 0, or KM_ERR_NOMEM with nothing appended. */
KM_NODISCARD int km_brx_append(km_brx *rx, const void *data, size_t len);

/* Takes min(cap, rx->len) bytes out and returns how many. What fills whole chunks is handed out in
 * `ret_whole`, to be copied to the start of `buf` by km_brx_copy_whole when no lock is held; the
 * part of a chunk that follows is in its place in `buf` already. */
size_t km_brx_take(km_brx *rx, void *buf, size_t cap, km_brx_chunk **ret_whole);

/* Copies and frees. */
void km_brx_copy_whole(km_brx_chunk *whole, void *buf);

void km_brx_clear(km_brx *rx);

#endif /* KM_ENDPOINT_BLOCKING_RX_H */
