#include "discovery/answer.h"

#include <sodium/crypto_generichash.h>
#include <string.h>

#include "discovery/details.h"

bool km_addr_has_way(const km_addr *addr) {
  return km_addr_udp_count(addr) > 0 || km_addr_relay_count(addr) > 0;
}

bool km_addr_same(const km_addr *a, const km_addr *b) {
  if (!km_id_equal(km_addr_id(a), km_addr_id(b)) || km_addr_udp_count(a) != km_addr_udp_count(b) ||
      km_addr_relay_count(a) != km_addr_relay_count(b)) {
    return false;
  }
  for (size_t i = 0; i < km_addr_udp_count(a); i++) {
    if (!km_udp_addr_equal(km_addr_udp_at(a, i), km_addr_udp_at(b, i))) {
      return false;
    }
  }
  for (size_t i = 0; i < km_addr_relay_count(a); i++) {
    if (strcmp(km_addr_relay_at(a, i), km_addr_relay_at(b, i)) != 0) {
      return false;
    }
  }
  return true;
}

bool km_user_data_is_valid(const char *text) {
  return km_user_data_valid(text, strnlen(text, KM_USER_DATA_MAX + 1));
}

/* --- answers ---------------------------------------------------------------------------------- */

static void add(crypto_generichash_state *state, const void *bytes, size_t len) {
  uint32_t framed = (uint32_t)len;
  (void)crypto_generichash_update(state, (const uint8_t *)&framed, sizeof framed);
  (void)crypto_generichash_update(state, bytes, len);
}

static void add_addr(crypto_generichash_state *state, const km_addr *addr) {
  for (size_t i = 0; i < km_addr_udp_count(addr); i++) {
    const km_udp_addr *udp = km_addr_udp_at(addr, i);
    add(state, &udp->family, sizeof udp->family);
    add(state, &udp->port, sizeof udp->port);
    add(state, udp->ip, sizeof udp->ip);
  }
  add(state, "", 0);
  for (size_t i = 0; i < km_addr_relay_count(addr); i++) {
    const char *url = km_addr_relay_at(addr, i);
    add(state, url, strlen(url));
  }
}

static uint64_t hash_of(const km_found *found, const uint8_t key[KM_ANSWER_HASH_KEY]) {
  crypto_generichash_state state;
  uint8_t hash[crypto_generichash_BYTES_MIN];
  uint64_t ret;
  (void)crypto_generichash_init(&state, key, KM_ANSWER_HASH_KEY, sizeof hash); /* all always 0 */
  add_addr(&state, found->addr);
  add(&state, found->user_data, found->user_data == NULL ? 0 : strlen(found->user_data) + 1);
  add(&state, found->record, found->record_len);
  uint8_t rank = (found->proven ? 1 : 0) | (found->worked ? 2 : 0);
  add(&state, &rank, sizeof rank);
  (void)crypto_generichash_final(&state, hash, sizeof hash);
  memcpy(&ret, hash, sizeof ret);
  return ret == 0 ? 1 : ret;
}

static void copy_found(km_answer *a, const km_found *found, const char *name) {
  memcpy(&a->found, found, found->size < sizeof a->found ? found->size : sizeof a->found);
  a->found.size = sizeof a->found;
  a->found.source = name;
  a->found.addr = a->addr;
  if (a->found.user_data != NULL) {
    bool valid = a->found.user_data[0] != '\0' && km_user_data_is_valid(a->found.user_data);
    if (valid) {
      memcpy(a->user_data, a->found.user_data, strlen(a->found.user_data) + 1);
    }
    a->found.user_data = valid ? a->user_data : NULL;
  }
  if (a->found.record == NULL || a->found.record_len == 0 ||
      a->found.record_len > sizeof a->record) {
    a->found.record = NULL;
    a->found.record_len = 0;
  } else {
    memcpy(a->record, a->found.record, a->found.record_len);
    a->found.record = a->record;
  }
}

int km_answer_new(km_answer **ret, const km_env *env, const uint8_t hash_key[KM_ANSWER_HASH_KEY],
                  const km_source *source, const char *name, const km_found *found) {
  km_answer *a = km_env_zalloc(env, 1, sizeof *a);
  if (a == NULL || km_addr_copy(&a->addr, found->addr) != 0) {
    km_env_free(env, a);
    return KM_ERR_NOMEM;
  }
  a->env = env;
  a->refs = 1;
  a->source = source;
  copy_found(a, found, name);
  a->hash = hash_of(&a->found, hash_key);
  *ret = a;
  return 0;
}

km_answer *km_answer_ref(km_answer *answer) {
  answer->refs++;
  return answer;
}

void km_answer_unref(km_answer *answer) {
  if (answer != NULL && --answer->refs == 0) {
    km_addr_free(answer->addr);
    km_env_free(answer->env, answer);
  }
}

/* --- what is published ------------------------------------------------------------------------ */

int km_info_new(km_info **ret, const km_env *env, const km_addr *addr) {
  km_info *info = km_env_zalloc(env, 1, sizeof *info);
  if (info == NULL || km_addr_copy(&info->addr, addr) != 0) {
    km_env_free(env, info);
    return KM_ERR_NOMEM;
  }
  info->env = env;
  info->refs = 1;
  *ret = info;
  return 0;
}

void km_info_unref(km_info *info) {
  if (info != NULL && --info->refs == 0) {
    km_addr_free(info->addr);
    km_env_free(info->env, info);
  }
}

void km_info_set_user_data(km_info *info, const char *text) {
  info->has_user_data = text != NULL && text[0] != '\0';
  memset(info->user_data, 0, sizeof info->user_data);
  if (info->has_user_data) {
    memcpy(info->user_data, text, strlen(text));
  }
}

void km_info_set_record(km_info *info, const uint8_t *record, size_t len) {
  info->record_len = record == NULL ? 0 : len;
  if (info->record_len > 0) {
    memcpy(info->record, record, len);
  }
}

bool km_info_same(const km_info *a, const km_info *b) {
  if (a == NULL || b == NULL) {
    return a == b;
  }
  return km_addr_same(a->addr, b->addr) && a->has_user_data == b->has_user_data &&
         strcmp(a->user_data, b->user_data) == 0 && a->record_len == b->record_len &&
         memcmp(a->record, b->record, a->record_len) == 0;
}

void km_info_view(const km_info *info, km_peer_info *ret) {
  *ret = (km_peer_info){.size = sizeof *ret,
                        .addr = info->addr,
                        .user_data = info->has_user_data ? info->user_data : NULL,
                        .record = info->record_len > 0 ? info->record : NULL,
                        .record_len = info->record_len};
}
