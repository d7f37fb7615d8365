/* An entry as it is signed, hashed and sent; the rules for names. Pure. docs/protocol-mesh.md. */
#ifndef KM_STORE_ENTRY_H
#define KM_STORE_ENTRY_H

#include <keymesh/kv.h>

#include "base/wire.h"

#define KM_ENTRY_HASH_BYTES 16
#define KM_ENTRY_DELETED 0x01

typedef struct km_entry {
  const char *share; /* not NUL-terminated */
  const char *key;   /* not NUL-terminated */
  const uint8_t *value;
  uint32_t share_len, key_len, value_len;
  uint64_t clock;
  km_id author;
  uint8_t flags;
  const uint8_t *sig; /* KM_SIGNATURE_BYTES; NULL: not signed yet (own) */
} km_entry;

/* 0 or KM_ERR_INVALID with the sentence. */
KM_NODISCARD int km_share_name_check(const char *name, size_t len, km_errinfo *err);
KM_NODISCARD int km_entry_key_check(const char *key, size_t len, size_t max, km_errinfo *err);

/* Bytes that km_entry_encode writes. */
size_t km_entry_size(const km_entry *e);
/* On the wire within a share's stream: flags, clock, author, key, value, signature. The share's
 * name is not in it, but is signed. */
void km_entry_encode(const km_entry *e, km_wr *wr);
/* Reads one entry of `share`; points into the reader's bytes. KM_ERR_BAD_PACKET: cut short, a limit
 * exceeded, unknown flags, a bad key, a deletion with a value. */
KM_NODISCARD int km_entry_decode(km_entry *ret, km_rd *rd, const char *share, size_t share_len,
                                 size_t max_key, size_t max_value, km_errinfo *err);

/* The first 16 bytes of the BLAKE2b-256 that is signed: names the content, whatever signature. */
void km_entry_hash(const km_entry *e, uint8_t ret[KM_ENTRY_HASH_BYTES]);
void km_entry_sign(const km_entry *e, const km_secret_key *key, uint8_t ret[KM_SIGNATURE_BYTES]);
KM_NODISCARD int km_entry_verify(const km_entry *e); /* 0 or KM_ERR_CRYPTO */

/* Who wins: > 0 when a does. By clock, then author, then hash (two entries of one author with one
 * clock are a fault of the author's; the order stays total). 0: the same entry. */
int km_entry_compare(uint64_t a_clock, const km_id *a_author, const uint8_t *a_hash,
                     uint64_t b_clock, const km_id *b_author, const uint8_t *b_hash);

#endif /* KM_STORE_ENTRY_H */
