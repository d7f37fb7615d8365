/* The handshake after the WebSocket upgrade, both sides. Pure: messages in, messages out.
 *
 *   server                               client
 *   ServerChallenge      ->
 *                        <-              ClientAuth      (both left out after a good auth header)
 *   ServerConfirmsAuth   ->                              or ServerDeniesAuth with a reason
 */
#ifndef KM_RELAY_HANDSHAKE_H
#define KM_RELAY_HANDSHAKE_H

#include "relay/auth.h"

#define KM_RELAY_HANDSHAKE_MAX 1100 /* bytes of a message that either side writes */
#define KM_RELAY_DENIAL_MAX 1024    /* bytes of a reason */

typedef enum km_relay_handshake_state {
  KM_RELAY_HS_WAITING,  /* for the other side's message */
  KM_RELAY_HS_DECIDING, /* server: the id is proven, km_relay_server_handshake_decide comes next */
  KM_RELAY_HS_DONE,
  KM_RELAY_HS_FAILED
} km_relay_handshake_state;

typedef struct km_relay_client_handshake {
  km_relay_handshake_state state;
  bool challenged;  /* and answered */
  char denial[256]; /* what the server said, cleaned and cut; empty unless it denied */
} km_relay_client_handshake;

void km_relay_client_handshake_init(km_relay_client_handshake *hs);
/* A message of the server. `*ret_len` bytes are to be sent in answer, 0 for none.
 * 0; KM_ERR_RELAY_PROTOCOL; KM_ERR_RELAY_DENIED (err has the server's reason). */
KM_NODISCARD int km_relay_client_handshake_read(km_relay_client_handshake *hs,
                                                const km_secret_key *key, const uint8_t *msg,
                                                size_t len, uint8_t ret[KM_RELAY_HANDSHAKE_MAX],
                                                size_t *ret_len, km_errinfo *err);

typedef struct km_relay_server_handshake {
  km_relay_handshake_state state;
  uint8_t challenge[KM_RELAY_CHALLENGE_LEN];
  km_id id; /* from KM_RELAY_HS_DECIDING on */
} km_relay_server_handshake;

/* With a verified auth header (`proven` not NULL): goes to DECIDING, nothing to send (0). Otherwise
 * writes the challenge, whose random bytes the caller gives, and returns its length. */
size_t km_relay_server_handshake_init(km_relay_server_handshake *hs, const km_id *proven,
                                      const uint8_t random[KM_RELAY_CHALLENGE_LEN],
                                      uint8_t ret[KM_RELAY_HANDSHAKE_MAX]);
/* The client's answer. 0: DECIDING. KM_ERR_RELAY_DENIED: a denial is in `ret`, to be sent before
 * closing (the signature is wrong). KM_ERR_RELAY_PROTOCOL: close without a word. */
KM_NODISCARD int km_relay_server_handshake_read(km_relay_server_handshake *hs, const uint8_t *msg,
                                                size_t len, uint8_t ret[KM_RELAY_HANDSHAKE_MAX],
                                                size_t *ret_len, km_errinfo *err);
/* Ends it: confirms (`denial` NULL) or denies with a reason; returns the bytes to send. */
size_t km_relay_server_handshake_decide(km_relay_server_handshake *hs, const char *denial,
                                        uint8_t ret[KM_RELAY_HANDSHAKE_MAX]);

#endif /* KM_RELAY_HANDSHAKE_H */
