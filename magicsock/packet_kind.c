#include "magicsock/packet_kind.h"

#include <string.h>

enum {
  FORM_BIT = 0x80,
  FIXED_BIT = 0x40,
  STUN_MASK = 0xfc, /* RFC 9443 gives STUN the first bytes 0 to 3 */
  STUN_HEADER = 20,
  DISCO = 0x01
};

/* RFC 8489 section 5: the cookie, and a length that is a multiple of 4 and fits the datagram. */
static bool is_stun(const uint8_t *data, size_t len) {
  static const uint8_t cookie[4] = {0x21, 0x12, 0xa4, 0x42};
  if ((data[0] & STUN_MASK) != 0 || len < STUN_HEADER) {
    return false;
  }
  size_t body = (size_t)data[2] << 8 | data[3];
  return memcmp(data + 4, cookie, sizeof cookie) == 0 && body % 4 == 0 && STUN_HEADER + body <= len;
}

km_packet_kind km_packet_kind_of(const uint8_t *data, size_t len) {
  if (len == 0) {
    return KM_PACKET_EMPTY;
  }
  bool is_long = (data[0] & FORM_BIT) != 0;
  if (is_long && len >= 5 && (data[1] | data[2] | data[3] | data[4]) == 0) {
    return KM_PACKET_QUIC_VERSION_NEGOTIATION;
  }
  if ((data[0] & FIXED_BIT) != 0) {
    return is_long ? KM_PACKET_QUIC_LONG : KM_PACKET_QUIC_SHORT;
  }
  if (is_stun(data, len)) {
    return KM_PACKET_STUN;
  }
  return data[0] == DISCO && len >= KM_DISCO_MIN_BYTES ? KM_PACKET_DISCO : KM_PACKET_UNKNOWN;
}

static bool quic_at(const uint8_t *data, size_t len, size_t segment, size_t at) {
  return km_packet_is_quic(data + at, len - at < segment ? len - at : segment);
}

size_t km_packet_run(const uint8_t *data, size_t len, size_t segment, size_t *offset,
                     uint64_t *skipped) {
  size_t begin = *offset;
  while (begin < len && !quic_at(data, len, segment, begin)) {
    begin += segment;
    (*skipped)++;
  }
  if (begin >= len) {
    *offset = len;
    return 0;
  }
  size_t end = begin + segment;
  while (end < len && quic_at(data, len, segment, end)) {
    end += segment;
  }
  *offset = begin;
  return (end < len ? end : len) - begin;
}
