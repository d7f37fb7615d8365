/* RFC 8489 and RFC 5780. Message: type 2, length 2, magic cookie 4, transaction id 12; then
 * attributes: type 2, length 2, value padded to 4. */
#include "holepunch/stun.h"

#include <string.h>

#include "base/env.h"
#include "base/wire.h"

#define COOKIE 0x2112A442U
#define FINGERPRINT_XOR 0x5354554EU /* "STUN", section 14.7 */

enum {
  ATTR_MAPPED_ADDRESS = 0x0001,
  ATTR_CHANGE_REQUEST = 0x0003,  /* RFC 5780 section 7.2 */
  ATTR_SOURCE_ADDRESS = 0x0004,  /* RFC 3489 only; some servers still say it */
  ATTR_CHANGED_ADDRESS = 0x0005, /* the same */
  ATTR_USERNAME = 0x0006,
  ATTR_MESSAGE_INTEGRITY = 0x0008,
  ATTR_ERROR_CODE = 0x0009,
  ATTR_UNKNOWN_ATTRIBUTES = 0x000A,
  ATTR_REALM = 0x0014,
  ATTR_NONCE = 0x0015,
  ATTR_MESSAGE_INTEGRITY_SHA256 = 0x001C,
  ATTR_PASSWORD_ALGORITHM = 0x001D,
  ATTR_USERHASH = 0x001E,
  ATTR_XOR_MAPPED_ADDRESS = 0x0020,
  ATTR_OPTIONAL = 0x8000, /* and above: may be skipped */
  ATTR_SOFTWARE = 0x8022,
  ATTR_FINGERPRINT = 0x8028,
  ATTR_RESPONSE_ORIGIN = 0x802B, /* RFC 5780 sections 7.3 and 7.4 */
  ATTR_OTHER_ADDRESS = 0x802C
};

enum { CHANGE_PORT = 2, CHANGE_IP = 4 };

#define FINGERPRINT_LEN 8 /* with its header */

/* --- fingerprint ----------------------------------------------------------------------------- */

/* CRC-32 of ITU V.42, four bits at a time. */
static uint32_t crc32(const uint8_t *bytes, size_t len) {
  static const uint32_t table[16] = {
      0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
      0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
      0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
  };
  uint32_t crc = UINT32_MAX;
  for (size_t i = 0; i < len; i++) {
    crc ^= bytes[i];
    crc = (crc >> 4) ^ table[crc & 15];
    crc = (crc >> 4) ^ table[crc & 15];
  }
  return ~crc;
}

static uint32_t fingerprint(const uint8_t *bytes, size_t len) {
  return crc32(bytes, len) ^ FINGERPRINT_XOR;
}

/* --- addresses ------------------------------------------------------------------------------- */

/* What an address is XORed with (section 14.2): the cookie, then the transaction id. */
static void mask_of(uint8_t ret[16], const uint8_t id[KM_STUN_ID_LEN]) {
  km_wr wr = km_wr_init(ret, 16);
  km_wr_be(&wr, COOKIE, 4);
  km_wr_bytes(&wr, id, KM_STUN_ID_LEN);
}

/* MAPPED-ADDRESS: a zero byte, family 1, port 2, address 4 or 16. False when it is none. */
static bool read_address(km_udp_addr *ret, const uint8_t mask[16], const uint8_t *value,
                         size_t len) {
  km_rd rd = km_rd_init(value, len);
  (void)km_rd_u8(&rd); /* to be ignored on receipt */
  uint8_t family = km_rd_u8(&rd);
  uint16_t port = (uint16_t)km_rd_be(&rd, 2);
  size_t ip_len = km_rd_left(&rd);
  if (!((family == 1 && ip_len == 4) || (family == 2 && ip_len == 16)) || rd.failed) {
    return false;
  }
  const uint8_t *ip = km_rd_bytes(&rd, ip_len);
  *ret = (km_udp_addr){.family = family == 1 ? 4 : 6};
  ret->port = (uint16_t)(port ^ (mask[0] << 8 | mask[1]));
  for (size_t i = 0; i < ip_len; i++) {
    ret->ip[i] = ip[i] ^ mask[i];
  }
  return true;
}

static void write_address(km_wr *wr, uint16_t type, const uint8_t mask[16],
                          const km_udp_addr *addr) {
  unsigned ip_len = addr->family == 4 ? 4 : 16;
  km_wr_be(wr, type, 2);
  km_wr_be(wr, 4 + ip_len, 2);
  km_wr_be(wr, addr->family == 4 ? 1 : 2, 2);
  km_wr_be(wr, (unsigned)(addr->port ^ (mask[0] << 8 | mask[1])), 2);
  for (size_t i = 0; i < ip_len; i++) {
    km_wr_u8(wr, addr->ip[i] ^ mask[i]);
  }
}

/* --- reading --------------------------------------------------------------------------------- */

typedef struct reading {
  km_stun_message *msg;
  const uint8_t *bytes; /* the whole message */
  bool xor_mapped;      /* found: MAPPED-ADDRESS does not count */
  bool signed_;         /* behind MESSAGE-INTEGRITY: only FINGERPRINT counts (section 14.5) */
  bool ended;           /* behind FINGERPRINT: nothing may follow */
} reading;

static const uint8_t no_mask[16] = {0};

static bool read_mapped(reading *r, uint16_t type, const uint8_t *value, size_t len) {
  uint8_t mask[16];
  if (type == ATTR_MAPPED_ADDRESS) {
    /* The same attribute again: the first counts (section 14). */
    return r->msg->mapped.family != 0 || read_address(&r->msg->mapped, no_mask, value, len);
  }
  if (r->xor_mapped) {
    return true;
  }
  r->xor_mapped = true;
  mask_of(mask, r->msg->id);
  return read_address(&r->msg->mapped, mask, value, len);
}

/* RESPONSE-ORIGIN, OTHER-ADDRESS: they may be skipped, so that a bad one spoils nothing. */
static void read_plain(km_udp_addr *ret, const uint8_t *value, size_t len) {
  if (ret->family == 0) {
    (void)read_address(ret, no_mask, value, len);
  }
}

/* 32 bits, of which two mean something. */
static bool read_change(km_stun_message *msg, const uint8_t *value, size_t len) {
  if (len != 4) {
    return false;
  }
  msg->change_ip = (value[3] & CHANGE_IP) != 0;
  msg->change_port = (value[3] & CHANGE_PORT) != 0;
  return true;
}

/* 21 bits to be ignored, class 3, number 8, then a phrase for people. */
static bool read_error(km_stun_message *msg, const uint8_t *value, size_t len) {
  if (msg->error != 0) {
    return true;
  }
  if (len < 4 || (value[2] & 7) < 3 || (value[2] & 7) > 6 || value[3] > 99) {
    return false;
  }
  msg->error = (uint16_t)((value[2] & 7) * 100 + value[3]);
  return true;
}

static void note_unknown(km_stun_message *msg, uint16_t type) {
  for (size_t i = 0; i < msg->unknown_count; i++) {
    if (msg->unknown[i] == type) {
      return;
    }
  }
  if (msg->unknown_count < KM_STUN_MAX_UNKNOWN) {
    msg->unknown[msg->unknown_count++] = type;
  }
}

/* What answers of old servers have beside the address. */
static bool is_of_rfc_3489(const km_stun_message *msg, uint16_t type) {
  return msg->cls == KM_STUN_SUCCESS &&
         (type == ATTR_SOURCE_ADDRESS || type == ATTR_CHANGED_ADDRESS);
}

/* `value` lies in the message, its header right before it. */
static bool read_fingerprint(reading *r, const uint8_t *value, size_t len) {
  size_t before = (size_t)(value - r->bytes) - 4;
  km_rd rd = km_rd_init(value, len);
  r->ended = true;
  r->msg->fingerprint = len == 4 && km_rd_be(&rd, 4) == fingerprint(r->bytes, before);
  return r->msg->fingerprint;
}

static bool read_attribute(reading *r, uint16_t type, const uint8_t *value, size_t len) {
  km_stun_message *msg = r->msg;
  if (type == ATTR_FINGERPRINT) {
    return read_fingerprint(r, value, len);
  }
  if (r->signed_) {
    return true;
  }
  switch (type) {
  case ATTR_MAPPED_ADDRESS:
  case ATTR_XOR_MAPPED_ADDRESS:
    return read_mapped(r, type, value, len);
  case ATTR_ERROR_CODE:
    return read_error(msg, value, len);
  case ATTR_MESSAGE_INTEGRITY:
  case ATTR_MESSAGE_INTEGRITY_SHA256:
    r->signed_ = true;
    return true;
  case ATTR_SOFTWARE:
    if (msg->software == NULL) {
      msg->software = value;
      msg->software_len = len;
    }
    return true;
  case ATTR_USERNAME:
  case ATTR_UNKNOWN_ATTRIBUTES:
  case ATTR_REALM:
  case ATTR_NONCE:
  case ATTR_PASSWORD_ALGORITHM:
  case ATTR_USERHASH:
    return true; /* known, and of no use here */
  case ATTR_RESPONSE_ORIGIN:
    read_plain(&msg->origin, value, len);
    return true;
  case ATTR_OTHER_ADDRESS:
    read_plain(&msg->other, value, len);
    return true;
  case ATTR_CHANGE_REQUEST:
    note_unknown(msg, type);
    return read_change(msg, value, len);
  default:
    if (type < ATTR_OPTIONAL && !is_of_rfc_3489(msg, type)) {
      note_unknown(msg, type);
    }
    return true;
  }
}

/* The type's bits: 00 MMMMM C MMM C MMMM (section 5). */
static bool read_header(km_stun_message *ret, km_rd *rd) {
  uint16_t type = (uint16_t)km_rd_be(rd, 2);
  uint16_t length = (uint16_t)km_rd_be(rd, 2);
  uint32_t cookie = (uint32_t)km_rd_be(rd, 4);
  const uint8_t *id = km_rd_bytes(rd, KM_STUN_ID_LEN);
  if (rd->failed || (type & 0xC000) != 0 || cookie != COOKIE || length % 4 != 0 ||
      length != km_rd_left(rd)) {
    return false;
  }
  ret->cls = (km_stun_class)((type >> 7 & 2) | (type >> 4 & 1));
  ret->method = (uint16_t)((type >> 2 & 0xF80) | (type >> 1 & 0x70) | (type & 0xF));
  memcpy(ret->id, id, KM_STUN_ID_LEN);
  return true;
}

bool km_stun_read(km_stun_message *ret, const uint8_t *bytes, size_t len) {
  *ret = (km_stun_message){.cls = KM_STUN_REQUEST};
  km_rd rd = km_rd_init(bytes, len);
  if (!read_header(ret, &rd)) {
    return false;
  }
  reading r = {.msg = ret, .bytes = bytes};
  while (km_rd_left(&rd) > 0) {
    uint16_t type = (uint16_t)km_rd_be(&rd, 2);
    uint16_t length = (uint16_t)km_rd_be(&rd, 2);
    const uint8_t *value = km_rd_bytes(&rd, length);
    (void)km_rd_bytes(&rd, (4U - length % 4U) % 4U);
    if (rd.failed || r.ended || !read_attribute(&r, type, value, length)) {
      return false;
    }
  }
  return true;
}

/* --- writing --------------------------------------------------------------------------------- */

static void write_header(km_wr *wr, km_stun_class cls, const uint8_t id[KM_STUN_ID_LEN]) {
  km_wr_be(wr, (unsigned)KM_STUN_BINDING | ((unsigned)cls & 2U) << 7 | ((unsigned)cls & 1U) << 4,
           2);
  km_wr_be(wr, 0, 2); /* the length, known at the end */
  km_wr_be(wr, COOKIE, 4);
  km_wr_bytes(wr, id, KM_STUN_ID_LEN);
}

/* Sets the length and, behind it, the fingerprint, which covers that length. */
static size_t finish(km_wr *wr, uint8_t *start, bool with_fingerprint) {
  size_t len = (size_t)(wr->at - start);
  size_t all = len + (with_fingerprint ? FINGERPRINT_LEN : 0);
  km_wr length = km_wr_init(start + 2, 2);
  km_wr_be(&length, all - KM_STUN_HEADER_LEN, 2);
  if (with_fingerprint) {
    km_wr_be(wr, ATTR_FINGERPRINT, 2);
    km_wr_be(wr, 4, 2);
    km_wr_be(wr, fingerprint(start, len), 4);
  }
  return wr->failed ? 0 : all;
}

/* 420 (section 14.8), and which attributes it was. The phrase is short for the sake of the answer's
 * size. */
static void write_unknown(km_wr *wr, const km_stun_message *request) {
  static const char phrase[8] = {'U', 'n', 'k', 'n', 'o', 'w', 'n', '.'};
  km_wr_be(wr, ATTR_ERROR_CODE, 2);
  km_wr_be(wr, 4 + sizeof phrase, 2);
  km_wr_be(wr, 4 << 8 | 20, 4);
  km_wr_bytes(wr, phrase, sizeof phrase);
  km_wr_be(wr, ATTR_UNKNOWN_ATTRIBUTES, 2);
  km_wr_be(wr, 2 * request->unknown_count, 2);
  for (size_t i = 0; i < request->unknown_count; i++) {
    km_wr_be(wr, request->unknown[i], 2);
  }
  if (request->unknown_count % 2 != 0) {
    km_wr_be(wr, 0, 2);
  }
}

void km_stun_allow_change(km_stun_message *request) {
  size_t kept = 0;
  for (size_t i = 0; i < request->unknown_count; i++) {
    if (request->unknown[i] != ATTR_CHANGE_REQUEST) {
      request->unknown[kept++] = request->unknown[i];
    }
  }
  request->unknown_count = kept;
}

/* `more`: RESPONSE-ORIGIN and OTHER-ADDRESS, or NULL. */
static size_t answer(uint8_t *ret, size_t cap, const km_stun_message *request,
                     const km_udp_addr *from, const km_udp_addr *const more[2]) {
  uint8_t mask[16];
  if (request->cls != KM_STUN_REQUEST || request->method != KM_STUN_BINDING ||
      (from->family != 4 && from->family != 6)) {
    return 0;
  }
  km_wr wr = km_wr_init(ret, cap);
  if (request->unknown_count > 0) {
    write_header(&wr, KM_STUN_ERROR, request->id);
    write_unknown(&wr, request);
    return finish(&wr, ret, request->fingerprint);
  }
  mask_of(mask, request->id);
  write_header(&wr, KM_STUN_SUCCESS, request->id);
  write_address(&wr, ATTR_XOR_MAPPED_ADDRESS, mask, from);
  if (more != NULL) {
    write_address(&wr, ATTR_RESPONSE_ORIGIN, no_mask, more[0]);
    write_address(&wr, ATTR_OTHER_ADDRESS, no_mask, more[1]);
  }
  return finish(&wr, ret, request->fingerprint);
}

size_t km_stun_answer(uint8_t ret[KM_STUN_MAX_ANSWER], const km_stun_message *request,
                      const km_udp_addr *from) {
  return answer(ret, KM_STUN_MAX_ANSWER, request, from, NULL);
}

size_t km_stun_answer_long(uint8_t ret[KM_STUN_MAX_LONG_ANSWER], const km_stun_message *request,
                           const km_udp_addr *from, const km_udp_addr *origin,
                           const km_udp_addr *other) {
  return answer(ret, KM_STUN_MAX_LONG_ANSWER, request, from,
                (const km_udp_addr *const[2]){origin, other});
}

void km_stun_request(uint8_t ret[KM_STUN_REQUEST_LEN], const uint8_t id[KM_STUN_ID_LEN]) {
  km_wr wr = km_wr_init(ret, KM_STUN_REQUEST_LEN);
  write_header(&wr, KM_STUN_REQUEST, id);
  (void)finish(&wr, ret, true);
}

size_t km_stun_request_change(uint8_t ret[KM_STUN_MAX_REQUEST], const uint8_t id[KM_STUN_ID_LEN],
                              bool change_ip, bool change_port) {
  km_wr wr = km_wr_init(ret, KM_STUN_MAX_REQUEST);
  write_header(&wr, KM_STUN_REQUEST, id);
  km_wr_be(&wr, ATTR_CHANGE_REQUEST, 2);
  km_wr_be(&wr, 4, 2);
  km_wr_be(&wr, (change_ip ? (unsigned)CHANGE_IP : 0) | (change_port ? (unsigned)CHANGE_PORT : 0),
           4);
  return finish(&wr, ret, true);
}

int km_stun_response_check(const km_stun_message *msg, const uint8_t id[KM_STUN_ID_LEN],
                           km_errinfo *err) {
  if (msg->method != KM_STUN_BINDING || memcmp(msg->id, id, KM_STUN_ID_LEN) != 0 ||
      (msg->cls != KM_STUN_SUCCESS && msg->cls != KM_STUN_ERROR)) {
    return km_fail(err, KM_ERR_INVALID, "this is not the answer to our STUN request");
  }
  if (msg->cls == KM_STUN_ERROR) {
    int rv = km_fail(err, KM_ERR_REFUSED, "the STUN server answered with error %u", msg->error);
    if (err != NULL) {
      err->peer_code = msg->error;
    }
    return rv;
  }
  if (msg->unknown_count > 0 || msg->mapped.family == 0) {
    return km_fail(err, KM_ERR_UNSUPPORTED,
                   msg->unknown_count > 0
                       ? "the STUN server's answer has attributes that KeyMesh does not know"
                       : "the STUN server's answer has no address in it");
  }
  return 0;
}

int km_stun_response_read(km_udp_addr *ret, const uint8_t id[KM_STUN_ID_LEN], const uint8_t *bytes,
                          size_t len, km_errinfo *err) {
  km_stun_message msg;
  if (!km_stun_read(&msg, bytes, len)) {
    return km_fail(err, KM_ERR_INVALID, "this is not the answer to our STUN request");
  }
  int rv = km_stun_response_check(&msg, id, err);
  if (rv == 0) {
    *ret = msg.mapped;
  }
  return rv;
}
