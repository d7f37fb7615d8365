/* What a node says about itself or others, signed: a name, a recommendation, a revocation. Pure.
 * docs/protocol-mesh.md. */
#ifndef KM_STORE_STATEMENT_H
#define KM_STORE_STATEMENT_H

#include <keymesh/trust.h>

#include "base/wire.h"

typedef enum km_statement_kind {
  KM_STATEMENT_ANNOUNCE = 1,  /* subject = author; text = its name */
  KM_STATEMENT_RECOMMEND = 2, /* text = the subject's name, may be empty */
  KM_STATEMENT_WITHDRAW = 3,  /* takes a recommendation back */
  KM_STATEMENT_REVOKE = 4     /* text = the reason, may be empty */
} km_statement_kind;

typedef struct km_statement {
  km_statement_kind kind;
  km_id author, subject;
  int64_t at; /* UNIX seconds, by the author's clock; of two of one author about one subject the
                      later one counts (announce apart from the others) */
  int64_t expires;  /* UNIX seconds; 0 = never (revocations) */
  const char *text; /* not NUL-terminated; UTF-8 without control characters */
  size_t text_len;
  uint8_t sig[KM_SIGNATURE_BYTES];
} km_statement;

#define KM_STATEMENT_MAX 512 /* bytes encoded */

/* Whether a name or note has at most `max` bytes of UTF-8 without control characters. */
bool km_peer_text_ok(const char *text, size_t len, size_t max);

/* Sets author and sig. */
void km_statement_sign(km_statement *s, const km_secret_key *key);
/* The length, or KM_ERR_BUFFER, KM_ERR_INVALID. */
int km_statement_encode(const km_statement *s, uint8_t *buf, size_t cap);
/* Points into `bytes`. KM_ERR_BAD_PACKET (form) or KM_ERR_CRYPTO (signature). Unknown kinds are
 * KM_ERR_UNSUPPORTED, to be passed over. */
KM_NODISCARD int km_statement_decode(km_statement *ret, const uint8_t *bytes, size_t len,
                                     km_errinfo *err);
/* The same without looking at the signature, for bytes that were decoded before. */
KM_NODISCARD int km_statement_read(km_statement *ret, const uint8_t *bytes, size_t len,
                                   km_errinfo *err);
/* Which of two statements of one author about one subject counts: > 0: a does. By `at`, then kind
 * (the stricter one), then signature, so that all nodes keep the same. */
int km_statement_compare(const km_statement *a, const km_statement *b);

#endif /* KM_STORE_STATEMENT_H */
