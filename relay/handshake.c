#include "relay/handshake.h"

#include <string.h>

#include "base/env.h"
#include "base/text.h"

static size_t write_frame(uint8_t ret[KM_RELAY_HANDSHAKE_MAX], const km_relay_frame *frame) {
  int len = km_relay_frame_write(ret, KM_RELAY_HANDSHAKE_MAX, frame);
  return len > 0 ? (size_t)len : 0;
}

/* --- client ---------------------------------------------------------------------------------- */

void km_relay_client_handshake_init(km_relay_client_handshake *hs) {
  memset(hs, 0, sizeof *hs);
}

static size_t answer_challenge(const km_secret_key *key, const uint8_t *challenge,
                               uint8_t ret[KM_RELAY_HANDSHAKE_MAX]) {
  uint8_t signature[KM_RELAY_SIGNATURE_LEN];
  km_relay_frame auth = {.type = KM_RELAY_CLIENT_AUTH, .data = signature, .len = sizeof signature};
  km_secret_key_id(key, &auth.peer);
  km_relay_challenge_sign(signature, key, challenge);
  return write_frame(ret, &auth);
}

static int be_denied(km_relay_client_handshake *hs, const km_relay_frame *f, km_errinfo *err) {
  size_t len = f->len < sizeof hs->denial ? f->len : sizeof hs->denial - 1;
  if (len > 0) {
    memcpy(hs->denial, f->data, len);
  }
  hs->denial[len] = '\0';
  km_text_clean(hs->denial);
  hs->state = KM_RELAY_HS_FAILED;
  return km_fail(err, KM_ERR_RELAY_DENIED, "the relay denies access: %s", hs->denial);
}

int km_relay_client_handshake_read(km_relay_client_handshake *hs, const km_secret_key *key,
                                   const uint8_t *msg, size_t len,
                                   uint8_t ret[KM_RELAY_HANDSHAKE_MAX], size_t *ret_len,
                                   km_errinfo *err) {
  *ret_len = 0;
  km_relay_frame f = {0};
  int rv = hs->state != KM_RELAY_HS_WAITING
               ? km_fail(err, KM_ERR_STATE, NULL)
               : km_relay_frame_read_handshake(&f, KM_RELAY_READ_CLIENT, msg, len, err);
  if (rv != 0) {
    hs->state = KM_RELAY_HS_FAILED;
    return rv;
  }
  if (f.type == KM_RELAY_SERVER_CONFIRMS) {
    hs->state = KM_RELAY_HS_DONE;
    return 0;
  }
  if (f.type == KM_RELAY_SERVER_DENIES) {
    return be_denied(hs, &f, err);
  }
  if (hs->challenged) {
    hs->state = KM_RELAY_HS_FAILED;
    return km_fail(err, KM_ERR_RELAY_PROTOCOL, "the relay gave a second challenge");
  }
  hs->challenged = true;
  *ret_len = answer_challenge(key, f.data, ret);
  return 0;
}

/* --- server ---------------------------------------------------------------------------------- */

size_t km_relay_server_handshake_init(km_relay_server_handshake *hs, const km_id *proven,
                                      const uint8_t random[KM_RELAY_CHALLENGE_LEN],
                                      uint8_t ret[KM_RELAY_HANDSHAKE_MAX]) {
  memset(hs, 0, sizeof *hs);
  if (proven != NULL) {
    hs->id = *proven;
    hs->state = KM_RELAY_HS_DECIDING;
    return 0;
  }
  memcpy(hs->challenge, random, sizeof hs->challenge);
  return write_frame(ret, &(km_relay_frame){.type = KM_RELAY_SERVER_CHALLENGE,
                                            .data = hs->challenge,
                                            .len = sizeof hs->challenge});
}

static size_t write_denial(const char *reason, uint8_t ret[KM_RELAY_HANDSHAKE_MAX]) {
  size_t len = strnlen(reason, KM_RELAY_DENIAL_MAX);
  return write_frame(ret, &(km_relay_frame){.type = KM_RELAY_SERVER_DENIES,
                                            .data = (const uint8_t *)reason,
                                            .len = len});
}

int km_relay_server_handshake_read(km_relay_server_handshake *hs, const uint8_t *msg, size_t len,
                                   uint8_t ret[KM_RELAY_HANDSHAKE_MAX], size_t *ret_len,
                                   km_errinfo *err) {
  *ret_len = 0;
  km_relay_frame f;
  if (hs->state != KM_RELAY_HS_WAITING) {
    hs->state = KM_RELAY_HS_FAILED;
    return km_fail(err, KM_ERR_RELAY_PROTOCOL, "a second message before the handshake's end");
  }
  int rv = km_relay_frame_read_handshake(&f, KM_RELAY_READ_SERVER, msg, len, err);
  if (rv != 0) {
    hs->state = KM_RELAY_HS_FAILED;
    return rv;
  }
  if (!km_relay_challenge_verify(&f.peer, hs->challenge, f.data)) {
    hs->state = KM_RELAY_HS_FAILED;
    *ret_len = write_denial("signature invalid", ret);
    return km_fail(err, KM_ERR_RELAY_DENIED, "the client does not hold the key of its id");
  }
  hs->id = f.peer;
  hs->state = KM_RELAY_HS_DECIDING;
  return 0;
}

size_t km_relay_server_handshake_decide(km_relay_server_handshake *hs, const char *denial,
                                        uint8_t ret[KM_RELAY_HANDSHAKE_MAX]) {
  if (hs->state != KM_RELAY_HS_DECIDING) {
    return 0;
  }
  hs->state = denial == NULL ? KM_RELAY_HS_DONE : KM_RELAY_HS_FAILED;
  return denial != NULL ? write_denial(denial, ret)
                        : write_frame(ret, &(km_relay_frame){.type = KM_RELAY_SERVER_CONFIRMS});
}
