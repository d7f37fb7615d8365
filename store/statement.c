/* On the wire, integers big-endian:
 *
 *   version 1 | kind 1 | author 32 | subject 32 | at 8 | expires 8 | length 2 | text | signature 64
 *
 * Signed is DOMAIN with its NUL, then all that stands before the signature. */
#include "store/statement.h"

#include <sodium.h>
#include <string.h>

#include "base/env.h"
#include "base/text.h"

#define VERSION 1
#define DOMAIN "KeyMesh statement 1"
#define AT_MAX INT64_C(253402128000) /* years have four digits */
#define HEAD_BYTES (1 + 1 + KM_ID_BYTES + KM_ID_BYTES + 8 + 8 + 2)

_Static_assert(HEAD_BYTES + KM_PEER_NOTE_MAX + KM_SIGNATURE_BYTES <= KM_STATEMENT_MAX,
               "a statement with the longest text fits");

bool km_peer_text_ok(const char *text, size_t len, size_t max) {
  if (len > max) {
    return false;
  }
  for (size_t at = 0, n; at < len; at += n) {
    n = km_utf8_sequence(text + at, len - at);
    if (n == 0 || km_utf8_is_control(text + at, n)) {
      return false;
    }
  }
  return true;
}

/* What is wrong with it, NULL: nothing. */
static const char *fault_of(const km_statement *s) {
  bool own = km_id_equal(&s->author, &s->subject);
  bool never = s->expires == 0;
  size_t max = s->kind == KM_STATEMENT_REVOKE ? KM_PEER_NOTE_MAX : KM_PEER_NAME_MAX;
  if (s->kind < KM_STATEMENT_ANNOUNCE || s->kind > KM_STATEMENT_REVOKE) {
    return "of an unknown kind";
  }
  if (own != (s->kind == KM_STATEMENT_ANNOUNCE)) {
    return "about the wrong subject";
  }
  if (s->at <= 0 || s->at > AT_MAX || s->expires > AT_MAX || (!never && s->expires <= s->at)) {
    return "of no possible time";
  }
  if (never && (s->kind == KM_STATEMENT_RECOMMEND || s->kind == KM_STATEMENT_WITHDRAW)) {
    return "without an end";
  }
  if (!km_peer_text_ok(s->text, s->text_len, max) ||
      (s->kind == KM_STATEMENT_ANNOUNCE && s->text_len == 0) ||
      (s->kind == KM_STATEMENT_WITHDRAW && s->text_len > 0)) {
    return "with a bad text";
  }
  km_id subject;
  return km_id_from_bytes(&subject, s->subject.bytes) != 0 ? "about no key" : NULL;
}

static void write_unsigned(const km_statement *s, km_wr *wr) {
  km_wr_u8(wr, VERSION);
  km_wr_u8(wr, (uint8_t)s->kind);
  km_wr_bytes(wr, s->author.bytes, KM_ID_BYTES);
  km_wr_bytes(wr, s->subject.bytes, KM_ID_BYTES);
  km_wr_be(wr, (uint64_t)s->at, 8);
  km_wr_be(wr, (uint64_t)s->expires, 8);
  km_wr_be(wr, s->text_len, 2);
  km_wr_bytes(wr, s->text, s->text_len);
}

/* The bytes that are signed; 0: they do not fit. */
static size_t signed_bytes(const km_statement *s, uint8_t buf[sizeof DOMAIN + KM_STATEMENT_MAX]) {
  km_wr wr = km_wr_init(buf, sizeof DOMAIN + KM_STATEMENT_MAX);
  km_wr_bytes(&wr, DOMAIN, sizeof DOMAIN);
  write_unsigned(s, &wr);
  return wr.failed ? 0 : (size_t)(wr.at - buf);
}

void km_statement_sign(km_statement *s, const km_secret_key *key) {
  uint8_t buf[sizeof DOMAIN + KM_STATEMENT_MAX];
  km_secret_key_id(key, &s->author);
  size_t len = signed_bytes(s, buf);
  memset(s->sig, 0, sizeof s->sig);
  if (len > 0) { /* else km_statement_encode will refuse it */
    km_secret_key_sign(key, buf, len, s->sig);
  }
}

int km_statement_encode(const km_statement *s, uint8_t *buf, size_t cap) {
  if (fault_of(s) != NULL) {
    return KM_ERR_INVALID;
  }
  km_wr wr = km_wr_init(buf, cap);
  write_unsigned(s, &wr);
  km_wr_bytes(&wr, s->sig, sizeof s->sig);
  return wr.failed ? KM_ERR_BUFFER : (int)(wr.at - buf);
}

int km_statement_read(km_statement *ret, const uint8_t *bytes, size_t len, km_errinfo *err) {
  km_rd rd = km_rd_init(bytes, len);
  uint8_t version = km_rd_u8(&rd);
  uint8_t kind = km_rd_u8(&rd);
  if (rd.failed || len > KM_STATEMENT_MAX) {
    return km_fail(err, KM_ERR_BAD_PACKET, "a statement of %zu bytes", len);
  }
  if (version != VERSION || kind < KM_STATEMENT_ANNOUNCE || kind > KM_STATEMENT_REVOKE) {
    return km_fail(err, KM_ERR_UNSUPPORTED, "a statement of version %u, kind %u", version, kind);
  }
  const uint8_t *author = km_rd_bytes(&rd, KM_ID_BYTES);
  const uint8_t *subject = km_rd_bytes(&rd, KM_ID_BYTES);
  uint64_t at = km_rd_be(&rd, 8);
  uint64_t expires = km_rd_be(&rd, 8);
  size_t text_len = (size_t)km_rd_be(&rd, 2);
  const uint8_t *text = km_rd_bytes(&rd, text_len);
  const uint8_t *sig = km_rd_bytes(&rd, KM_SIGNATURE_BYTES);
  if (rd.failed || author == NULL || subject == NULL || sig == NULL || km_rd_left(&rd) > 0 ||
      at > INT64_MAX || expires > INT64_MAX) {
    return km_fail(err, KM_ERR_BAD_PACKET, "a statement that is cut short or too long");
  }
  km_statement s = {.kind = (km_statement_kind)kind,
                    .at = (int64_t)at,
                    .expires = (int64_t)expires,
                    .text = (const char *)text,
                    .text_len = text_len};
  memcpy(s.author.bytes, author, KM_ID_BYTES);
  memcpy(s.subject.bytes, subject, KM_ID_BYTES);
  memcpy(s.sig, sig, KM_SIGNATURE_BYTES);
  const char *fault = fault_of(&s);
  if (fault != NULL) {
    return km_fail(err, KM_ERR_BAD_PACKET, "a statement %s", fault);
  }
  *ret = s;
  return 0;
}

int km_statement_decode(km_statement *ret, const uint8_t *bytes, size_t len, km_errinfo *err) {
  km_statement s = {.text = NULL};
  uint8_t buf[sizeof DOMAIN + KM_STATEMENT_MAX];
  int rv = km_statement_read(&s, bytes, len, err);
  if (rv != 0) {
    return rv;
  }
  size_t n = signed_bytes(&s, buf);
  if (n == 0 || km_id_verify(&s.author, buf, n, s.sig) != 0) {
    return km_fail(err, KM_ERR_CRYPTO, "a statement whose signature is wrong");
  }
  *ret = s;
  return 0;
}

int km_statement_compare(const km_statement *a, const km_statement *b) {
  if (a->at != b->at) {
    return a->at > b->at ? 1 : -1;
  }
  if (a->kind != b->kind) {
    return a->kind > b->kind ? 1 : -1;
  }
  return memcmp(a->sig, b->sig, sizeof a->sig);
}
