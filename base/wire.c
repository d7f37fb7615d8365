#include "base/wire.h"

#include <string.h>

km_rd km_rd_init(const uint8_t *bytes, size_t len) {
  return (km_rd){.at = bytes, .end = len > 0 ? bytes + len : bytes};
}

size_t km_rd_left(const km_rd *rd) {
  return rd->failed ? 0 : (size_t)(rd->end - rd->at);
}

const uint8_t *km_rd_bytes(km_rd *rd, uint64_t len) {
  if (len > km_rd_left(rd)) {
    rd->failed = true;
  }
  if (rd->failed) {
    return NULL;
  }
  const uint8_t *bytes = rd->at;
  if (len > 0) {
    rd->at += len;
  }
  return bytes;
}

uint8_t km_rd_u8(km_rd *rd) {
  const uint8_t *byte = km_rd_bytes(rd, 1);
  return byte != NULL ? *byte : 0;
}

uint64_t km_rd_varint(km_rd *rd, unsigned bits) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < bits; shift += 7) {
    uint8_t byte = km_rd_u8(rd);
    unsigned room = bits - shift;
    if (room < 7 && (byte & 0x7f) >> room != 0) {
      break;
    }
    value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) {
      return rd->failed ? 0 : value;
    }
  }
  rd->failed = true;
  return 0;
}

uint64_t km_rd_be(km_rd *rd, unsigned bytes) {
  const uint8_t *at = km_rd_bytes(rd, bytes);
  uint64_t value = 0;
  for (unsigned i = 0; at != NULL && i < bytes; i++) {
    value = value << 8 | at[i];
  }
  return value;
}

uint64_t km_rd_quic_varint(km_rd *rd) {
  uint8_t first = km_rd_u8(rd);
  unsigned more = (1u << (first >> 6)) - 1;
  uint64_t value = first & 0x3f;
  if (more > 0) {
    value = value << (8 * more) | km_rd_be(rd, more);
  }
  return rd->failed ? 0 : value;
}

km_wr km_wr_init(uint8_t *bytes, size_t cap) {
  return (km_wr){.at = bytes, .end = cap > 0 ? bytes + cap : bytes};
}

void km_wr_bytes(km_wr *wr, const void *bytes, size_t len) {
  if (wr->failed || len > (size_t)(wr->end - wr->at)) {
    wr->failed = true;
    return;
  }
  if (len > 0) {
    memcpy(wr->at, bytes, len);
    wr->at += len;
  }
}

void km_wr_u8(km_wr *wr, uint8_t value) {
  km_wr_bytes(wr, &value, 1);
}

void km_wr_varint(km_wr *wr, uint64_t value) {
  while (value >= 0x80) {
    km_wr_u8(wr, (uint8_t)(value | 0x80));
    value >>= 7;
  }
  km_wr_u8(wr, (uint8_t)value);
}

void km_wr_be(km_wr *wr, uint64_t value, unsigned bytes) {
  for (unsigned i = bytes; i-- > 0;) {
    km_wr_u8(wr, (uint8_t)(value >> (8 * i)));
  }
}

size_t km_varint_len(uint64_t value) {
  size_t len = 1;
  while (value >= 0x80) {
    value >>= 7;
    len++;
  }
  return len;
}
