/* Bounded cursors over bytes. The first read or write that does not fit makes the cursor fail, and
 * it stays failed: check `failed` once at the end. A failed read gives 0. */
#ifndef KM_BASE_WIRE_H
#define KM_BASE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct km_rd {
  const uint8_t *at;
  const uint8_t *end;
  bool failed;
} km_rd;

typedef struct km_wr {
  uint8_t *at;
  uint8_t *end;
  bool failed;
} km_wr;

km_rd km_rd_init(const uint8_t *bytes, size_t len);
size_t km_rd_left(const km_rd *rd);
uint8_t km_rd_u8(km_rd *rd);
/* `len` bytes in place, NULL when fewer are left. */
const uint8_t *km_rd_bytes(km_rd *rd, uint64_t len);
/* postcard's varint of an unsigned integer of 16, 32 or 64 bits: little-endian groups of 7 bits.
 * Longer forms of a value are taken as postcard takes them, values of more bits are not. */
uint64_t km_rd_varint(km_rd *rd, unsigned bits);
/* QUIC's varint (RFC 9000 section 16): 1, 2, 4 or 8 bytes; longer forms of a value are taken. */
uint64_t km_rd_quic_varint(km_rd *rd);
/* A big-endian integer of `bytes` bytes, 1 to 8. */
uint64_t km_rd_be(km_rd *rd, unsigned bytes);

km_wr km_wr_init(uint8_t *bytes, size_t cap);
void km_wr_u8(km_wr *wr, uint8_t value);
void km_wr_bytes(km_wr *wr, const void *bytes, size_t len);
void km_wr_varint(km_wr *wr, uint64_t value);
/* The low `bytes` bytes of `value`, 1 to 8, big-endian. */
void km_wr_be(km_wr *wr, uint64_t value, unsigned bytes);
/* Bytes that km_wr_varint writes for `value`, 1 to 10. */
size_t km_varint_len(uint64_t value);

#endif /* KM_BASE_WIRE_H */
