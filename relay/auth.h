/* How a client proves its id to a relay: by a signature over the server's challenge, or, sparing a
 * round trip, over keying material of the TLS session in a header of the upgrade request.
 * iroh-relay/src/protos/handshake.rs. Pure. */
#ifndef KM_RELAY_AUTH_H
#define KM_RELAY_AUTH_H

#include <keymesh/id.h>

#include "relay/frame.h"

#define KM_RELAY_AUTH_HEADER "x-iroh-relay-client-auth-v1"
#define KM_RELAY_EXPORTER_LABEL "iroh-relay handshake v1" /* context: the client's 32-byte id */
#define KM_RELAY_EXPORTED_LEN 32
#define KM_RELAY_AUTH_HEADER_LEN 151 /* characters of the header's value */

/* The signature that answers a challenge. */
void km_relay_challenge_sign(uint8_t ret[KM_RELAY_SIGNATURE_LEN], const km_secret_key *key,
                             const uint8_t challenge[KM_RELAY_CHALLENGE_LEN]);
bool km_relay_challenge_verify(const km_id *id, const uint8_t challenge[KM_RELAY_CHALLENGE_LEN],
                               const uint8_t signature[KM_RELAY_SIGNATURE_LEN]);

/* The header's value, for keying material exported under our id. */
void km_relay_auth_header_write(char ret[KM_RELAY_AUTH_HEADER_LEN + 1], const km_secret_key *key,
                                const uint8_t exported[KM_RELAY_EXPORTED_LEN]);

/* A header taken apart; nothing is proven yet. */
typedef struct km_relay_auth_header {
  km_id id;
  uint8_t signature[KM_RELAY_SIGNATURE_LEN];
  uint8_t suffix[KM_RELAY_EXPORTED_LEN / 2];
} km_relay_auth_header;

/* 0, or KM_ERR_RELAY_PROTOCOL for what is no such header: the connection is not worth keeping. */
KM_NODISCARD int km_relay_auth_header_read(km_relay_auth_header *ret, const char *text, size_t len);
/* True when it belongs to this TLS session, whose keying material was exported under header->id.
 * False (someone terminates TLS in between, say) means: challenge the client instead. */
bool km_relay_auth_header_verify(const km_relay_auth_header *header,
                                 const uint8_t exported[KM_RELAY_EXPORTED_LEN]);

#endif /* KM_RELAY_AUTH_H */
