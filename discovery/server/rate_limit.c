#include "discovery/server/rate_limit.h"

#include <sodium.h>
#include <string.h>

/* A source is looked for in one set of a few slots, so that sources which hash alike do not share
 * at once. A slot is given to another source only when it says nothing any more: a flood of forged
 * addresses cannot make the table forget whom it limits. When a whole set is in use, a new source
 * shares the slot that has most left. */
#define SETS 16384 /* with 4 slots of 16 bytes: 1 MiB */
#define WAYS 4

/* The generic cell rate algorithm (ITU-T I.371): one number says how full the bucket is. */
typedef struct slot {
  uint64_t prefix;
  km_ts full_at; /* when all of the burst is there again */
} slot;

struct km_rate_limit {
  const km_env *env;
  uint64_t interval, tolerance; /* nanoseconds of one, of the burst; interval 0: no limit */
  uint8_t key[crypto_shorthash_KEYBYTES];
  slot *slots;
};

static int limit_new(km_rate_limit **ret, const km_env *env, uint64_t interval, uint32_t burst) {
  km_rate_limit *l = km_env_zalloc(env, 1, sizeof *l);
  if (l == NULL) {
    return KM_ERR_NOMEM;
  }
  l->env = env;
  l->interval = interval;
  l->tolerance = interval * (burst > 0 ? burst : 1);
  if (interval != 0) {
    km_env_random(env, l->key, sizeof l->key);
    l->slots = km_env_zalloc(env, (size_t)SETS * WAYS, sizeof *l->slots);
    if (l->slots == NULL) {
      km_env_free(env, l);
      return KM_ERR_NOMEM;
    }
  }
  *ret = l;
  return 0;
}

static uint64_t interval_of(uint64_t period, uint32_t count) {
  uint64_t interval = count > 0 ? period / count : 0;
  return count > 0 && interval == 0 ? 1 : interval;
}

int km_rate_limit_new(km_rate_limit **ret, const km_env *env, uint32_t per_second, uint32_t burst) {
  return limit_new(ret, env, interval_of(KM_NS_PER_S, per_second), burst);
}

/* A burst above what the clock can count is as good as none. */
int km_rate_limit_new_per_minute(km_rate_limit **ret, const km_env *env, uint32_t per_minute,
                                 uint32_t burst) {
  const uint32_t most = 1u << 26;
  return limit_new(ret, env, interval_of(60 * KM_NS_PER_S, per_minute),
                   burst < most ? burst : most);
}

void km_rate_limit_free(km_rate_limit *l) {
  if (l != NULL) {
    km_env_free(l->env, l->slots);
    km_env_free(l->env, l);
  }
}

/* The network of an IPv6 address; an IPv4 address, also a mapped one,
 * in the documentation prefix, which no source has. */
static uint64_t prefix_of(const km_udp_addr *source) {
  static const uint8_t v4_prefix[4] = {0x20, 0x01, 0x0d, 0xb8};
  static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
  uint8_t bytes[8] = {0};
  memcpy(bytes, v4_prefix, sizeof v4_prefix);
  if (source->family == 4) {
    memcpy(bytes + 4, source->ip, 4);
  } else if (memcmp(source->ip, mapped, sizeof mapped) == 0) {
    memcpy(bytes + 4, source->ip + 12, 4);
  } else {
    memcpy(bytes, source->ip, KM_DNS_SOURCE_V6_BYTES);
  }
  uint64_t prefix;
  memcpy(&prefix, bytes, sizeof prefix);
  return prefix;
}

static slot *slot_of(km_rate_limit *l, uint64_t prefix, km_ts now) {
  uint8_t hash[crypto_shorthash_BYTES];
  uint64_t h;
  crypto_shorthash(hash, (const uint8_t *)&prefix, sizeof prefix, l->key);
  memcpy(&h, hash, sizeof h);
  slot *set = l->slots + (h % SETS) * WAYS;
  slot *least = set;
  for (size_t i = 0; i < WAYS; i++) {
    if (set[i].prefix == prefix) {
      return &set[i];
    }
    if (set[i].full_at < least->full_at) {
      least = &set[i];
    }
  }
  if (least->full_at <= now) {
    least->prefix = prefix;
  }
  return least;
}

bool km_rate_limit_take(km_rate_limit *l, const km_udp_addr *source, km_ts now) {
  if (l->interval == 0) {
    return true;
  }
  slot *s = slot_of(l, prefix_of(source), now);
  km_ts from = s->full_at > now ? s->full_at : now;
  if (from - now + l->interval > l->tolerance) {
    return false;
  }
  s->full_at = from + l->interval;
  return true;
}
