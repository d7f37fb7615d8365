/* Seals and opens the session tickets that an accepting endpoint hands out. Pure.
 *
 * A ticket carries TLS state and the id of the peer it was given to, because a resumed TLS session
 * has no certificate to read it from. Every ticket works once (RFC 8446 section 8.1), which is
 * what makes 0-RTT data safe against replay: used numbers are remembered until the key changes,
 * and the key changes before there are too many of them or they are too old.
 *
 *   name (16) = key number (8) | ticket number (8)        not secret
 *   iv   (16)                                             random
 *   body      = XChaCha20-Poly1305(TLS state | peer id (32)), nonce = iv | ticket number,
 *               name | ALPN as associated data; tag in the first 16 of the 32 MAC bytes
 *
 * The ALPN is bound in because early data belongs to one protocol (RFC 8446 section 4.2.10): a
 * ticket of another one does not open, and the handshake is a full one.
 */
#ifndef KM_ENDPOINT_TICKET_GUARD_H
#define KM_ENDPOINT_TICKET_GUARD_H

#include "base/env.h"

#define KM_TICKET_NAME_BYTES 16
#define KM_TICKET_IV_BYTES 16
#define KM_TICKET_MAC_BYTES 32
#define KM_TICKET_OVERHEAD KM_ID_BYTES /* what sealing adds to the body */
#define KM_TICKET_LIFETIME_S 86400u    /* as iroh */
#define KM_TICKET_MAX_USED 65536u      /* numbers remembered for one key: at most 1 MiB */

typedef struct km_ticket_guard km_ticket_guard;

KM_NODISCARD int km_ticket_guard_new(km_ticket_guard **ret, const km_env *env, km_ts now);
void km_ticket_guard_free(km_ticket_guard *guard);

/* Seals `len` bytes of state in place; `body` has room for KM_TICKET_OVERHEAD more. `alpn` has at
 * most 255 bytes. */
void km_ticket_guard_seal(km_ticket_guard *guard, const km_id *peer, const char *alpn,
                          uint8_t *body, size_t len, uint8_t name[KM_TICKET_NAME_BYTES],
                          uint8_t iv[KM_TICKET_IV_BYTES], uint8_t mac[KM_TICKET_MAC_BYTES],
                          km_ts now);

/* Opens a ticket in place without using it up; `len` counts the sealed body. False when it is
 * forged, of a forgotten key, for another ALPN, or used. `ret_number` names it for
 * km_ticket_guard_use. */
bool km_ticket_guard_open(km_ticket_guard *guard, const char *alpn, uint8_t *body, size_t len,
                          const uint8_t name[KM_TICKET_NAME_BYTES],
                          const uint8_t iv[KM_TICKET_IV_BYTES],
                          const uint8_t mac[KM_TICKET_MAC_BYTES], km_ts now, km_id *ret_peer,
                          uint64_t *ret_number);

/* Uses a ticket up. False when it was used before, is of a forgotten key, or could not be
 * remembered: do not resume. */
KM_NODISCARD bool km_ticket_guard_use(km_ticket_guard *guard, uint64_t number);

#endif /* KM_ENDPOINT_TICKET_GUARD_H */
