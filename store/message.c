/* On the wire, integers big-endian:
 *
 *   version 1 | nonce 16 | sender 32 | to 32 | sent 8 | expires 8 | length 1 | type
 *   | length 4 | body | signature 64
 *
 * The digest is BLAKE2b-512 of all that stands before the signature. Signed is DOMAIN with its NUL,
 * then the digest; the id is the digest's first 16 bytes, so that nobody can give a message of his
 * own the id of somebody else's. */
#include "store/message.h"

#include <sodium.h>
#include <string.h>

#include "base/env.h"
#include "store/json_text.h"

#define VERSION 1
#define DOMAIN "KeyMesh message 1"
#define TTL_MAX_MS INT64_C(2592000000)
#define SENT_MAX_MS INT64_C(253402128000000) /* years have four digits */
#define DIGEST_BYTES crypto_generichash_BYTES_MAX
#define FIXED_BYTES                                                                                \
  (1 + KM_MESSAGE_ID_BYTES + KM_ID_BYTES + KM_ID_BYTES + 8 + 8 + 1 + 4 + KM_SIGNATURE_BYTES)

_Static_assert(FIXED_BYTES + KM_MESSAGE_TYPE_MAX <= KM_MESSAGE_OVERHEAD_MAX,
               "what stands beside the body fits");

size_t km_message_size(const km_message *m) {
  return FIXED_BYTES + strlen(m->type) + m->body_len;
}

static bool type_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

int km_message_type_check(const char *type, size_t len, km_errinfo *err) {
  if (len == 0 || len > KM_MESSAGE_TYPE_MAX) {
    return km_fail(err, KM_ERR_INVALID, "a message's type has 1 to %d bytes, this one has %zu",
                   KM_MESSAGE_TYPE_MAX, len);
  }
  for (size_t i = 0; i < len; i++) {
    if (!type_char(type[i])) {
      return km_fail(err, KM_ERR_INVALID,
                     "a message's type is made of a-z, A-Z, 0-9, '.', '_', '-'");
    }
  }
  return 0;
}

int km_message_body_check(const char *body, size_t len, km_errinfo *err) {
  if (len > KM_MESSAGE_BODY_MAX) {
    return km_fail(err, KM_ERR_INVALID, "a message has at most %d bytes of JSON, this one has %zu",
                   KM_MESSAGE_BODY_MAX, len);
  }
  if (!km_json_text_ok(body, len)) {
    return km_fail(
        err, KM_ERR_INVALID,
        "the message is not JSON: one value in UTF-8, nested at most %d deep; text needs "
        "double quotes",
        KM_JSON_DEPTH_MAX);
  }
  return 0;
}

/* What is wrong with its receiver and times, NULL: nothing. */
static const char *fault_of(const km_message *m) {
  bool nobody = sodium_is_zero(m->to.bytes, KM_ID_BYTES) == 1;
  km_id to;
  if (m->broadcast != nobody || (!nobody && km_id_from_bytes(&to, m->to.bytes) != 0)) {
    return "a message to nobody";
  }
  if (km_id_equal(&m->sender, &m->to)) {
    return "a message to its sender";
  }
  if (m->sent_ms <= 0 || m->sent_ms > SENT_MAX_MS || m->expires_ms <= m->sent_ms ||
      m->expires_ms - m->sent_ms > TTL_MAX_MS) {
    return "a message of no possible time";
  }
  return NULL;
}

static void digest_of(const uint8_t *bytes, size_t len, uint8_t ret[DIGEST_BYTES]) {
  (void)crypto_generichash(ret, DIGEST_BYTES, bytes, len, NULL, 0); /* fails for no such length */
}

#define SIGNED_BYTES (sizeof DOMAIN + DIGEST_BYTES)

static void signed_bytes(const uint8_t digest[DIGEST_BYTES], uint8_t ret[SIGNED_BYTES]) {
  memcpy(ret, DOMAIN, sizeof DOMAIN);
  memcpy(ret + sizeof DOMAIN, digest, DIGEST_BYTES);
}

int km_message_encode(km_message *m, const km_secret_key *key, km_wr *wr, km_errinfo *err) {
  km_secret_key_id(key, &m->sender);
  size_t type_len = strlen(m->type);
  int rv = km_message_type_check(m->type, type_len, err);
  if (rv == 0) {
    rv = km_message_body_check(m->body, m->body_len, err);
  }
  const char *fault = fault_of(m);
  if (rv == 0 && fault != NULL) {
    rv = km_fail(err, KM_ERR_INVALID, "%s", fault);
  }
  if (rv != 0) {
    return rv;
  }
  const uint8_t *from = wr->at;
  km_wr_u8(wr, VERSION);
  km_wr_bytes(wr, m->id, KM_MESSAGE_ID_BYTES);
  km_wr_bytes(wr, m->sender.bytes, KM_ID_BYTES);
  km_wr_bytes(wr, m->to.bytes, KM_ID_BYTES);
  km_wr_be(wr, (uint64_t)m->sent_ms, 8);
  km_wr_be(wr, (uint64_t)m->expires_ms, 8);
  km_wr_u8(wr, (uint8_t)type_len);
  km_wr_bytes(wr, m->type, type_len);
  km_wr_be(wr, m->body_len, 4);
  km_wr_bytes(wr, m->body, m->body_len);
  if (wr->failed) {
    return km_fail(err, KM_ERR_INVALID, "the buffer is too small for the message");
  }
  uint8_t digest[DIGEST_BYTES], text[SIGNED_BYTES], sig[KM_SIGNATURE_BYTES];
  digest_of(from, (size_t)(wr->at - from), digest);
  signed_bytes(digest, text);
  km_secret_key_sign(key, text, sizeof text, sig);
  km_wr_bytes(wr, sig, sizeof sig);
  memcpy(m->id, digest, KM_MESSAGE_ID_BYTES);
  return wr->failed ? km_fail(err, KM_ERR_INVALID, "the buffer is too small for the message") : 0;
}

static const char *copy_text(char **scratch, const uint8_t *bytes, size_t len) {
  char *text = *scratch;
  memcpy(text, bytes, len);
  text[len] = '\0';
  *scratch = text + len + 1;
  return text;
}

/* Everything but the signature and the body's syntax. */
static int read_message(km_message *ret, const uint8_t *bytes, size_t len, char *scratch,
                        km_errinfo *err) {
  km_rd rd = km_rd_init(bytes, len);
  km_message m = {0};
  uint8_t version = km_rd_u8(&rd);
  const uint8_t *nonce = km_rd_bytes(&rd, KM_MESSAGE_ID_BYTES);
  const uint8_t *sender = km_rd_bytes(&rd, KM_ID_BYTES);
  const uint8_t *to = km_rd_bytes(&rd, KM_ID_BYTES);
  uint64_t sent = km_rd_be(&rd, 8);
  uint64_t expires = km_rd_be(&rd, 8);
  size_t type_len = km_rd_u8(&rd);
  const uint8_t *type = km_rd_bytes(&rd, type_len);
  m.body_len = (size_t)km_rd_be(&rd, 4);
  const uint8_t *body = km_rd_bytes(&rd, m.body_len);
  const uint8_t *sig = km_rd_bytes(&rd, KM_SIGNATURE_BYTES);
  if (rd.failed || nonce == NULL || sender == NULL || to == NULL || type == NULL || body == NULL ||
      sig == NULL || km_rd_left(&rd) > 0 || sent > INT64_MAX || expires > INT64_MAX) {
    return km_fail(err, KM_ERR_BAD_PACKET, "a message that is cut short or too long");
  }
  if (version != VERSION || m.body_len > KM_MESSAGE_BODY_MAX ||
      km_message_type_check((const char *)type, type_len, NULL) != 0) {
    return km_fail(err, KM_ERR_BAD_PACKET,
                   "a message of another version, too long, or with a bad type");
  }
  m.type = copy_text(&scratch, type, type_len);
  m.body = copy_text(&scratch, body, m.body_len);
  memcpy(m.sender.bytes, sender, KM_ID_BYTES);
  memcpy(m.to.bytes, to, KM_ID_BYTES);
  m.broadcast = sodium_is_zero(to, KM_ID_BYTES) == 1;
  m.sent_ms = (int64_t)sent;
  m.expires_ms = (int64_t)expires;
  const char *fault = fault_of(&m);
  if (fault != NULL) {
    return km_fail(err, KM_ERR_BAD_PACKET, "%s", fault);
  }
  *ret = m;
  return 0;
}

int km_message_read(km_message *ret, const uint8_t *bytes, size_t len, char *scratch,
                    km_errinfo *err) {
  int rv = read_message(ret, bytes, len, scratch, err);
  if (rv == 0) {
    uint8_t digest[DIGEST_BYTES];
    digest_of(bytes, len - KM_SIGNATURE_BYTES, digest);
    memcpy(ret->id, digest, KM_MESSAGE_ID_BYTES);
  }
  return rv;
}

int km_message_decode(km_message *ret, const uint8_t *bytes, size_t len, char *scratch,
                      km_errinfo *err) {
  km_message m = {.body = NULL};
  uint8_t digest[DIGEST_BYTES], text[SIGNED_BYTES];
  int rv = read_message(&m, bytes, len, scratch, err);
  if (rv != 0) {
    return rv;
  }
  digest_of(bytes, len - KM_SIGNATURE_BYTES, digest);
  signed_bytes(digest, text);
  if (km_id_verify(&m.sender, text, sizeof text, bytes + len - KM_SIGNATURE_BYTES) != 0) {
    return km_fail(err, KM_ERR_CRYPTO, "a message whose signature is wrong");
  }
  if (!km_json_text_ok(m.body, m.body_len)) {
    return km_fail(err, KM_ERR_BAD_PACKET, "a message that is not JSON");
  }
  memcpy(m.id, digest, KM_MESSAGE_ID_BYTES);
  *ret = m;
  return 0;
}
