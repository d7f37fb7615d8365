#include "endpoint/ticket_guard.h"

#include <sodium.h>
#include <string.h>

#define MIN_CAP 64u
#define AD_MAX (KM_TICKET_NAME_BYTES + 255)

struct km_ticket_guard {
  const km_env *env;
  uint8_t key[crypto_aead_xchacha20poly1305_ietf_KEYBYTES];
  uint8_t key_number[8];
  uint64_t first_number, next_number; /* of this key's tickets; never given out twice */
  km_ts made;                         /* when the key was */
  uint64_t *used;                     /* numbers, open addressing, 0 = free */
  size_t used_cap, used_count;
};

static void new_key(km_ticket_guard *g, km_ts now) {
  km_env_random(g->env, g->key, sizeof g->key);
  km_env_random(g->env, g->key_number, sizeof g->key_number);
  g->first_number = g->next_number;
  g->made = now;
  km_env_free(g->env, g->used);
  g->used = NULL;
  g->used_cap = g->used_count = 0;
}

int km_ticket_guard_new(km_ticket_guard **ret, const km_env *env, km_ts now) {
  km_ticket_guard *g = km_env_zalloc(env, 1, sizeof *g);
  if (g == NULL) {
    return KM_ERR_NOMEM;
  }
  g->env = env;
  g->next_number = 1;
  new_key(g, now);
  *ret = g;
  return 0;
}

void km_ticket_guard_free(km_ticket_guard *guard) {
  if (guard == NULL) {
    return;
  }
  km_env_free(guard->env, guard->used);
  sodium_memzero(guard->key, sizeof guard->key);
  km_env_free(guard->env, guard);
}

/* A key lives for one ticket lifetime, so a ticket lives for at most that, and often for less: a
 * client whose ticket is forgotten has a full handshake. */
static void rotate_if_due(km_ticket_guard *g, km_ts now) {
  if (now - g->made >= KM_TICKET_LIFETIME_S * KM_NS_PER_S || g->used_count >= KM_TICKET_MAX_USED) {
    new_key(g, now);
  }
}

static void nonce_of(uint8_t nonce[24], const uint8_t iv[KM_TICKET_IV_BYTES],
                     const uint8_t name[KM_TICKET_NAME_BYTES]) {
  memcpy(nonce, iv, 16);
  memcpy(nonce + 16, name + 8, 8);
}

/* What the tag covers beside the body. Returns its length. */
static size_t associated_data(uint8_t ad[AD_MAX], const uint8_t name[KM_TICKET_NAME_BYTES],
                              const char *alpn) {
  size_t len = strnlen(alpn, AD_MAX - KM_TICKET_NAME_BYTES);
  memcpy(ad, name, KM_TICKET_NAME_BYTES);
  memcpy(ad + KM_TICKET_NAME_BYTES, alpn, len);
  return KM_TICKET_NAME_BYTES + len;
}

void km_ticket_guard_seal(km_ticket_guard *g, const km_id *peer, const char *alpn, uint8_t *body,
                          size_t len, uint8_t name[KM_TICKET_NAME_BYTES],
                          uint8_t iv[KM_TICKET_IV_BYTES], uint8_t mac[KM_TICKET_MAC_BYTES],
                          km_ts now) {
  rotate_if_due(g, now);
  uint64_t number = g->next_number++;
  memcpy(name, g->key_number, 8);
  memcpy(name + 8, &number, 8);
  km_env_random(g->env, iv, KM_TICKET_IV_BYTES);
  memcpy(body + len, peer->bytes, KM_ID_BYTES);
  uint8_t nonce[24], ad[AD_MAX];
  size_t ad_len = associated_data(ad, name, alpn);
  nonce_of(nonce, iv, name);
  memset(mac, 0, KM_TICKET_MAC_BYTES);
  crypto_aead_xchacha20poly1305_ietf_encrypt_detached(body, mac, NULL, body, len + KM_ID_BYTES, ad,
                                                      ad_len, NULL, nonce, g->key);
}

static size_t slot_of(const km_ticket_guard *g, uint64_t number) {
  size_t i = (size_t)(number * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (g->used_cap - 1);
  while (g->used[i] != 0 && g->used[i] != number) {
    i = (i + 1) & (g->used_cap - 1);
  }
  return i;
}

static bool is_used(const km_ticket_guard *g, uint64_t number) {
  return g->used_cap != 0 && g->used[slot_of(g, number)] == number;
}

/* A number of the present key. One of an older key was forgotten, whether it was used or not. */
static bool is_ours(const km_ticket_guard *g, uint64_t number) {
  return number >= g->first_number && number < g->next_number;
}

bool km_ticket_guard_open(km_ticket_guard *g, const char *alpn, uint8_t *body, size_t len,
                          const uint8_t name[KM_TICKET_NAME_BYTES],
                          const uint8_t iv[KM_TICKET_IV_BYTES],
                          const uint8_t mac[KM_TICKET_MAC_BYTES], km_ts now, km_id *ret_peer,
                          uint64_t *ret_number) {
  rotate_if_due(g, now);
  if (len < KM_ID_BYTES || memcmp(name, g->key_number, 8) != 0) {
    return false;
  }
  uint64_t number;
  memcpy(&number, name + 8, 8);
  if (!is_ours(g, number) || is_used(g, number)) {
    return false;
  }
  uint8_t nonce[24], ad[AD_MAX];
  size_t ad_len = associated_data(ad, name, alpn);
  nonce_of(nonce, iv, name);
  if (crypto_aead_xchacha20poly1305_ietf_decrypt_detached(body, NULL, body, len, mac, ad, ad_len,
                                                          nonce, g->key) != 0) {
    return false;
  }
  memcpy(ret_peer->bytes, body + len - KM_ID_BYTES, KM_ID_BYTES);
  *ret_number = number;
  return true;
}

static bool grow(km_ticket_guard *g) {
  km_ticket_guard bigger = *g;
  bigger.used_cap = g->used_cap == 0 ? MIN_CAP : g->used_cap * 2;
  bigger.used = km_env_zalloc(g->env, bigger.used_cap, sizeof *bigger.used);
  if (bigger.used == NULL) {
    return false;
  }
  for (size_t i = 0; i < g->used_cap; i++) {
    if (g->used[i] != 0) {
      bigger.used[slot_of(&bigger, g->used[i])] = g->used[i];
    }
  }
  km_env_free(g->env, g->used);
  g->used = bigger.used;
  g->used_cap = bigger.used_cap;
  return true;
}

bool km_ticket_guard_use(km_ticket_guard *g, uint64_t number) {
  if (!is_ours(g, number) || is_used(g, number)) {
    return false;
  }
  if (g->used_count + 1 > g->used_cap / 2 && !grow(g)) {
    return false;
  }
  g->used[slot_of(g, number)] = number;
  g->used_count++;
  return true;
}
