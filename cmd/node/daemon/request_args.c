/* Arguments of requests. */
#include <math.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/enc.h"
#include "cmd/node/daemon/request_impl.h"

int arg_text(const cJSON *args, const char *name, bool needed, const char **ret, km_errinfo *err) {
  const cJSON *arg = cJSON_GetObjectItemCaseSensitive(args, name);
  *ret = NULL;
  if (arg == NULL || cJSON_IsNull(arg)) {
    return needed ? km_fail(err, KM_ERR_INVALID, "'%s' is missing", name) : 0;
  }
  if (!cJSON_IsString(arg)) {
    return km_fail(err, KM_ERR_INVALID, "'%s' must be a text", name);
  }
  *ret = arg->valuestring;
  return 0;
}

int arg_number(const cJSON *args, const char *name, double fallback, double min, double max,
               double *ret, km_errinfo *err) {
  const cJSON *arg = cJSON_GetObjectItemCaseSensitive(args, name);
  *ret = fallback;
  if (arg == NULL || cJSON_IsNull(arg)) {
    return 0;
  }
  if (!cJSON_IsNumber(arg) || !(arg->valuedouble >= min && arg->valuedouble <= max) ||
      floor(arg->valuedouble) != arg->valuedouble) {
    return km_fail(err, KM_ERR_INVALID, "'%s' must be a whole number from %.0f to %.0f", name, min,
                   max);
  }
  *ret = arg->valuedouble;
  return 0;
}

int arg_flag(const cJSON *args, const char *name, bool *ret, km_errinfo *err) {
  const cJSON *arg = cJSON_GetObjectItemCaseSensitive(args, name);
  if (arg != NULL && !cJSON_IsNull(arg) && !cJSON_IsBool(arg)) {
    return km_fail(err, KM_ERR_INVALID, "'%s' must be true or false", name);
  }
  *ret = cJSON_IsTrue(arg);
  return 0;
}

/* --- bytes ------------------------------------------------------------------------------------ */

static int decode_base64(const char *text, const char *name, uint8_t **ret, size_t *ret_len,
                         km_errinfo *err) {
  size_t text_len = strlen(text);
  uint8_t *bytes = malloc(text_len / 4 * 3 + 3);
  if (bytes == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  if (sodium_base642bin(bytes, text_len / 4 * 3 + 3, text, text_len, NULL, ret_len, NULL,
                        sodium_base64_VARIANT_ORIGINAL) != 0) {
    free(bytes);
    return km_fail(err, KM_ERR_INVALID, "'%s_b64' is not base64 (RFC 4648 section 4, padded)",
                   name);
  }
  *ret = bytes;
  return 0;
}

int arg_bytes(const cJSON *args, const char *name, uint8_t **ret, size_t *ret_len,
              km_errinfo *err) {
  char name64[32];
  const char *text = NULL, *text64 = NULL;
  (void)snprintf(name64, sizeof name64, "%s_b64", name);
  int rv = arg_text(args, name, false, &text, err);
  rv = rv != 0 ? rv : arg_text(args, name64, false, &text64, err);
  if (rv != 0) {
    return rv;
  }
  if ((text == NULL) == (text64 == NULL)) {
    return km_fail(err, KM_ERR_INVALID,
                   "%s: give '%s' (a text) or '%s' (base64, for bytes that are no text)",
                   text == NULL ? "nothing to write" : "two values", name, name64);
  }
  if (text64 != NULL) {
    return decode_base64(text64, name, ret, ret_len, err);
  }
  *ret_len = text == NULL ? 0 : strlen(text);
  *ret = malloc(*ret_len + 1);
  if (*ret == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  if (*ret_len > 0) {
    memcpy(*ret, text, *ret_len);
  }
  return 0;
}

/* --- peers ------------------------------------------------------------------------------------ */

#define MIN_PREFIX 6

/* A peer that is looked for by a name. */
typedef enum rank {
  RANK_CONFIGURED, /* keymesh.yaml */
  RANK_TRUSTED,    /* names that were given, or seen and approved, here */
  RANK_BLOCKED,
  RANK_DIGITS,
  RANK_OWN,     /* what peers that are let in call themselves */
  RANK_PENDING, /* and those that are not */
  RANKS
} rank;

/* A peer that is looked for by a name. Anybody may call itself by any name: what others say never
 * stands against what was decided here. */
typedef struct search {
  const char *text;
  km_id found[RANKS];
  unsigned matches[RANKS]; /* different ids */
} search;

static void match(search *s, rank at, const km_id *id) {
  if (s->matches[at] == 0 || !km_id_equal(&s->found[at], id)) {
    s->matches[at]++;
    s->found[at] = *id;
  }
}

static bool is_called(const search *s, const char *name) {
  return name != NULL && strcmp(name, s->text) == 0;
}

static void look_at(search *s, rank at, const km_id *id, const char *name, const char *other) {
  char hex[KM_ID_TEXT_CAP];
  size_t len = strlen(s->text);
  (void)km_id_format(id, KM_ID_HEX, hex, sizeof hex);
  if (is_called(s, name) || is_called(s, other)) {
    match(s, at, id);
  }
  if (len >= MIN_PREFIX && strncmp(hex, s->text, len) == 0) {
    match(s, RANK_DIGITS, id);
  }
}

static void on_peer(void *ctx, const km_peer_status *peer) {
  rank at = peer->configured || peer->state == KM_PEER_CONNECTED ? RANK_OWN : RANK_PENDING;
  look_at(ctx, at, &peer->id, peer->name, peer->node_id);
}

static rank rank_of(const km_trust_info *info) {
  switch (info->state) {
  case KM_TRUST_TRUSTED: /* on first use, or by others: with the name it came with */
    return info->origin == KM_TRUST_BY_HAND || info->origin == KM_TRUST_BY_APPROVAL ? RANK_TRUSTED
                                                                                    : RANK_OWN;
  case KM_TRUST_BLOCKED:
    return RANK_BLOCKED;
  default:
    return RANK_PENDING;
  }
}

static void on_trust(void *ctx, const km_trust_info *info) {
  look_at(ctx, rank_of(info), &info->id, info->name, NULL);
}

static int look_everywhere(const request *r, search *s, km_errinfo *err) {
  const project *p = r->node->project;
  for (size_t i = 0; p != NULL && i < p->peer_count; i++) {
    if (p->peers[i].has_id) {
      look_at(s, RANK_CONFIGURED, &p->peers[i].id, p->peers[i].name, p->peers[i].id_text);
    }
  }
  if (r->node->mesh != NULL) {
    (void)km_peer_list(r->node->mesh, on_peer, s);
  }
  int64_t count = km_trust_list(r->node->store, KM_TRUST_UNKNOWN, on_trust, s, err);
  return count < 0 ? (int)count : 0;
}

static int find_by_name(const request *r, const char *text, rank last, km_id *ret,
                        km_errinfo *err) {
  char hex[KM_ID_TEXT_CAP];
  search s = {.text = text};
  int rv = look_everywhere(r, &s, err);
  unsigned at = 0;
  if (rv != 0) {
    return rv;
  }
  while (at < RANKS && s.matches[at] == 0) {
    at++;
  }
  if (at == RANKS) {
    return km_fail(err, KM_ERR_NOT_FOUND,
                   "no peer '%.64s': give an id, a ticket, a name, or the first digits of an id",
                   text);
  }
  if (s.matches[at] > 1) {
    return km_fail(err, KM_ERR_INVALID, "'%.64s' is more than one peer: give the id", text);
  }
  if (at > (unsigned)last) {
    (void)km_id_format(&s.found[at], KM_ID_HEX, hex, sizeof hex);
    return km_fail(err, KM_ERR_INVALID, "'%.64s' is only what %s calls itself: give the id", text,
                   hex);
  }
  *ret = s.found[at];
  return 0;
}

/* Of a ticket. */
static int take_ticket(const char *text, km_id *ret, km_addr **ret_addr, km_errinfo *err) {
  km_addr *addr = NULL;
  int rv = km_ticket_parse(&addr, text, strlen(text), err);
  if (rv != 0 || addr == NULL) {
    return rv;
  }
  *ret = *km_addr_id(addr);
  if (ret_addr != NULL) {
    *ret_addr = addr;
  } else {
    km_addr_free(addr);
  }
  return 0;
}

static int find_peer(const request *r, const cJSON *args, rank last, km_id *ret, km_addr **ret_addr,
                     km_errinfo *err) {
  const char *text = NULL;
  *ret = (km_id){0};
  int rv = arg_text(args, "peer", true, &text, err);
  if (rv != 0 || text == NULL) {
    return rv;
  }
  if (km_id_parse(ret, text, strlen(text), NULL) == 0) {
    return 0;
  }
  if (strncmp(text, "endpoint", 8) == 0 && take_ticket(text, ret, ret_addr, err) == 0) {
    return 0;
  }
  return find_by_name(r, text, last, ret, err);
}

int arg_peer(const request *r, const cJSON *args, km_id *ret, km_addr **ret_addr, km_errinfo *err) {
  if (ret_addr != NULL) {
    *ret_addr = NULL;
  }
  return find_peer(r, args, RANK_OWN, ret, ret_addr, err);
}

int arg_peer_decided(const request *r, const cJSON *args, km_id *ret, km_errinfo *err) {
  return find_peer(r, args, RANK_DIGITS, ret, NULL, err);
}
