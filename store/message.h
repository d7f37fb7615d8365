/* A message as it is signed and sent. Pure. docs/protocol-mesh.md. */
#ifndef KM_STORE_MESSAGE_H
#define KM_STORE_MESSAGE_H

#include <keymesh/message.h>

#include "base/wire.h"

#define KM_MESSAGE_OVERHEAD_MAX 320 /* bytes beside the body */

/* Bytes that km_message_encode writes. */
size_t km_message_size(const km_message *m);
/* Signs. `m->id` goes in as 16 random bytes and comes out as the message's id, a hash of all of it;
 * `m->sender` comes out as the key's. 0 or KM_ERR_INVALID. */
KM_NODISCARD int km_message_encode(km_message *m, const km_secret_key *key, km_wr *wr,
                                   km_errinfo *err);
/* Reads and verifies. `type` and `body` point into `scratch`, which holds at least `len` + 2 bytes.
 * KM_ERR_BAD_PACKET (form, a bad type, a body that is no JSON) or KM_ERR_CRYPTO. */
KM_NODISCARD int km_message_decode(km_message *ret, const uint8_t *bytes, size_t len, char *scratch,
                                   km_errinfo *err);
/* The same without looking at the signature and the body, for bytes that were decoded before. */
KM_NODISCARD int km_message_read(km_message *ret, const uint8_t *bytes, size_t len, char *scratch,
                                 km_errinfo *err);
/* The rules for types and bodies: 0 or KM_ERR_INVALID. */
KM_NODISCARD int km_message_type_check(const char *type, size_t len, km_errinfo *err);
KM_NODISCARD int km_message_body_check(const char *body, size_t len, km_errinfo *err);

#endif /* KM_STORE_MESSAGE_H */
