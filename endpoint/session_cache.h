/* What a dialling endpoint remembers of peers for a quicker next handshake: one session ticket
 * with the transport parameters it goes with (0-RTT), and one address validation token
 * (NEW_TOKEN, RFC 9000 section 8.1.3). Both are used once. Keyed by peer and ALPN; the least
 * recently stored entry goes first. Pure. */
#ifndef KM_ENDPOINT_SESSION_CACHE_H
#define KM_ENDPOINT_SESSION_CACHE_H

#include "base/env.h"

#define KM_SESSION_CACHE_MAX 256  /* entries; iroh's number (iroh/src/tls.rs) */
#define KM_SESSION_MAX_BYTES 4096 /* of one ticket or token; longer ones are not kept */

typedef struct km_session_cache km_session_cache;

/* Bytes that the taker owns and frees with km_env_free; ptr NULL when there is none. */
typedef struct km_session_bytes {
  uint8_t *ptr;
  size_t len;
} km_session_bytes;

KM_NODISCARD int km_session_cache_new(km_session_cache **ret, const km_env *env);
void km_session_cache_free(km_session_cache *cache);

/* Keeps copies, replacing what was there. Out of memory or too long: nothing is kept. */
void km_session_cache_put_ticket(km_session_cache *cache, const km_id *peer, const char *alpn,
                                 const uint8_t *ticket, size_t ticket_len, const uint8_t *params,
                                 size_t params_len);
void km_session_cache_put_token(km_session_cache *cache, const km_id *peer, const char *alpn,
                                const uint8_t *token, size_t token_len);

/* Takes out; false when there is none. */
bool km_session_cache_take_ticket(km_session_cache *cache, const km_id *peer, const char *alpn,
                                  km_session_bytes *ret_ticket, km_session_bytes *ret_params);
bool km_session_cache_take_token(km_session_cache *cache, const km_id *peer, const char *alpn,
                                 km_session_bytes *ret_token);

#endif /* KM_ENDPOINT_SESSION_CACHE_H */
