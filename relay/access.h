/* Who may use a relay. Ids that log in have proven themselves; this says whether they are wanted.
 * Pure; asking somebody else over HTTP is access_http_io.h. */
#ifndef KM_RELAY_ACCESS_H
#define KM_RELAY_ACCESS_H

#include <keymesh/id.h>

#include "base/env.h"

typedef enum km_relay_access_kind {
  KM_RELAY_ACCESS_EVERYONE,
  KM_RELAY_ACCESS_ALLOWLIST,
  KM_RELAY_ACCESS_DENYLIST,
  KM_RELAY_ACCESS_TOKEN, /* whoever knows one of the shared tokens */
  KM_RELAY_ACCESS_HTTP   /* somebody else decides */
} km_relay_access_kind;

#define KM_RELAY_TOKEN_DIGEST_LEN 32
#define KM_RELAY_NOT_AUTHORIZED "not authorized" /* what a client is told, as by iroh-relay */

typedef struct km_relay_token {
  uint8_t digest[KM_RELAY_TOKEN_DIGEST_LEN]; /* the token itself is not kept */
} km_relay_token;

typedef struct km_relay_access {
  const km_env *env;
  km_relay_access_kind kind;
  km_id *ids;
  size_t id_count, id_cap;
  km_relay_token *tokens;
  size_t token_count, token_cap;
} km_relay_access;

void km_relay_access_init(km_relay_access *a, const km_env *env, km_relay_access_kind kind);
void km_relay_access_clear(km_relay_access *a);
/* 0 or KM_ERR_NOMEM. The same again is harmless. */
KM_NODISCARD int km_relay_access_add_id(km_relay_access *a, const km_id *id);
/* 0, KM_ERR_INVALID (an empty token would let everybody in) or KM_ERR_NOMEM. */
KM_NODISCARD int km_relay_access_add_token(km_relay_access *a, const char *token, km_errinfo *err);
/* After the last id: lookups are by bisection. */
void km_relay_access_seal(km_relay_access *a);

typedef enum km_relay_verdict { KM_RELAY_DENY, KM_RELAY_ALLOW, KM_RELAY_ASK } km_relay_verdict;

/* `token`: what the client presents, NULL for none. Takes the same time for every wrong token of
 * one length. KM_RELAY_ASK for KM_RELAY_ACCESS_HTTP only. */
km_relay_verdict km_relay_access_judge(const km_relay_access *a, const km_id *id,
                                       const char *token);

#endif /* KM_RELAY_ACCESS_H */
