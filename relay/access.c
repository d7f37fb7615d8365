#include "relay/access.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

void km_relay_access_init(km_relay_access *a, const km_env *env, km_relay_access_kind kind) {
  *a = (km_relay_access){.env = env, .kind = kind};
}

void km_relay_access_clear(km_relay_access *a) {
  km_env_free(a->env, a->ids);
  km_env_free(a->env, a->tokens);
  km_relay_access_init(a, a->env, KM_RELAY_ACCESS_EVERYONE);
}

/* Room for one more element. */
static void *grow(const km_env *env, void *array, size_t count, size_t *cap, size_t size) {
  if (count < *cap) {
    return array;
  }
  size_t wanted = *cap > 0 ? *cap * 2 : 16;
  void *grown = km_env_realloc(env, array, wanted, size);
  if (grown != NULL) {
    *cap = wanted;
  }
  return grown;
}

int km_relay_access_add_id(km_relay_access *a, const km_id *id) {
  km_id *ids = grow(a->env, a->ids, a->id_count, &a->id_cap, sizeof *ids);
  if (ids == NULL) {
    return KM_ERR_NOMEM;
  }
  a->ids = ids;
  a->ids[a->id_count++] = *id;
  return 0;
}

/* Digests are compared instead of tokens: all have one length, and where two differ says nothing
 * about where the tokens do. */
static void digest_of(km_relay_token *ret, const char *token) {
  (void)crypto_generichash(ret->digest, sizeof ret->digest, (const unsigned char *)token,
                           strlen(token), NULL, 0); /* fails for wrong lengths only */
}

int km_relay_access_add_token(km_relay_access *a, const char *token, km_errinfo *err) {
  if (*token == '\0') {
    return km_fail(err, KM_ERR_INVALID, "a shared token must not be empty");
  }
  km_relay_token *tokens = grow(a->env, a->tokens, a->token_count, &a->token_cap, sizeof *tokens);
  if (tokens == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  a->tokens = tokens;
  digest_of(&a->tokens[a->token_count++], token);
  return 0;
}

static int compare_ids(const void *a, const void *b) {
  return memcmp(((const km_id *)a)->bytes, ((const km_id *)b)->bytes, KM_ID_BYTES);
}

void km_relay_access_seal(km_relay_access *a) {
  if (a->id_count > 1) {
    qsort(a->ids, a->id_count, sizeof *a->ids, compare_ids);
  }
}

static bool listed(const km_relay_access *a, const km_id *id) {
  return a->id_count > 0 && bsearch(id, a->ids, a->id_count, sizeof *a->ids, compare_ids) != NULL;
}

/* Looks at all of them, whichever fits. */
static bool token_fits(const km_relay_access *a, const char *token) {
  if (token == NULL || *token == '\0') {
    return false;
  }
  km_relay_token shown;
  bool fits = false;
  digest_of(&shown, token);
  for (size_t i = 0; i < a->token_count; i++) {
    fits |= sodium_memcmp(shown.digest, a->tokens[i].digest, sizeof shown.digest) == 0;
  }
  return fits;
}

km_relay_verdict km_relay_access_judge(const km_relay_access *a, const km_id *id,
                                       const char *token) {
  bool allowed = false;
  switch (a->kind) {
  case KM_RELAY_ACCESS_EVERYONE:
    allowed = true;
    break;
  case KM_RELAY_ACCESS_ALLOWLIST:
    allowed = listed(a, id);
    break;
  case KM_RELAY_ACCESS_DENYLIST:
    allowed = !listed(a, id);
    break;
  case KM_RELAY_ACCESS_TOKEN:
    allowed = token_fits(a, token);
    break;
  case KM_RELAY_ACCESS_HTTP:
    return KM_RELAY_ASK;
  }
  return allowed ? KM_RELAY_ALLOW : KM_RELAY_DENY;
}
