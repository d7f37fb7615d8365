/* What a source said, kept for those it is delivered to; and what an endpoint says of itself. */
#ifndef KM_DISCOVERY_ANSWER_H
#define KM_DISCOVERY_ANSWER_H

#include <keymesh/discovery.h>

#include "base/env.h"

#define KM_ANSWER_HASH_KEY 32

typedef struct km_answer {
  const km_env *env;
  unsigned refs;
  const km_source *source; /* who said it; NULL: an endpoint, of what it reached */
  uint64_t hash;           /* of what is said, not of when; never 0 */
  km_found found;          /* points into the rest */
  km_addr *addr;
  char user_data[KM_USER_DATA_MAX + 1];
  uint8_t record[KM_RECORD_BYTES_MAX];
} km_answer;

/* Copies `found`; user data and records that break their limits are left out. 0 or KM_ERR_NOMEM. */
KM_NODISCARD int km_answer_new(km_answer **ret, const km_env *env,
                               const uint8_t hash_key[KM_ANSWER_HASH_KEY], const km_source *source,
                               const char *name, const km_found *found);
km_answer *km_answer_ref(km_answer *answer);
void km_answer_unref(km_answer *answer); /* NULL does nothing */

bool km_addr_has_way(const km_addr *addr);
bool km_addr_same(const km_addr *a, const km_addr *b);
/* At most KM_USER_DATA_MAX bytes of UTF-8. */
bool km_user_data_is_valid(const char *text);

/* A km_peer_info that owns what it says. */
typedef struct km_info {
  const km_env *env;
  unsigned refs;
  km_addr *addr; /* NULL: none (yet) */
  bool has_user_data;
  char user_data[KM_USER_DATA_MAX + 1];
  uint8_t record[KM_RECORD_BYTES_MAX];
  size_t record_len;
} km_info;

/* Copies the address. 0 or KM_ERR_NOMEM. */
KM_NODISCARD int km_info_new(km_info **ret, const km_env *env, const km_addr *addr);
void km_info_unref(km_info *info); /* NULL does nothing */
/* Both were checked; NULL or nothing in it: none. */
void km_info_set_user_data(km_info *info, const char *text);
void km_info_set_record(km_info *info, const uint8_t *record, size_t len);
bool km_info_same(const km_info *a, const km_info *b); /* both may be NULL */
void km_info_view(const km_info *info, km_peer_info *ret);

#endif /* KM_DISCOVERY_ANSWER_H */
