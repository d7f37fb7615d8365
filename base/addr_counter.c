#include "base/addr_counter.h"

#include <sodium.h>
#include <string.h>

void km_addr_counter_init(km_addr_counter *counter, const km_env *env) {
  km_addr_counter_init_net(counter, env, 8);
}

void km_addr_counter_init_net(km_addr_counter *counter, const km_env *env, uint8_t v6_bytes) {
  memset(counter, 0, sizeof *counter);
  counter->env = env;
  counter->v6_bytes = v6_bytes;
  km_env_random(env, counter->key, sizeof counter->key);
}

void km_addr_counter_clear(km_addr_counter *counter) {
  km_env_free(counter->env, counter->slots);
  counter->slots = NULL;
  counter->cap = counter->used = 0;
}

/* An IPv4 address is put into the documentation prefix, which no IPv6 source has. */
static uint64_t prefix_of(const km_addr_counter *counter, const km_udp_addr *addr) {
  static const uint8_t v4_prefix[4] = {0x20, 0x01, 0x0d, 0xb8};
  uint8_t bytes[8] = {0};
  if (addr->family == 4) {
    memcpy(bytes, v4_prefix, 4);
    memcpy(bytes + 4, addr->ip, 4);
  } else {
    memcpy(bytes, addr->ip, counter->v6_bytes);
  }
  uint64_t prefix;
  memcpy(&prefix, bytes, sizeof prefix);
  return prefix;
}

static size_t home_of(const km_addr_counter *counter, uint64_t prefix) {
  uint8_t hash[crypto_shorthash_BYTES];
  uint64_t h;
  crypto_shorthash(hash, (const uint8_t *)&prefix, sizeof prefix, counter->key);
  memcpy(&h, hash, sizeof h);
  return (size_t)h & (counter->cap - 1);
}

static km_addr_count *probe(const km_addr_counter *counter, uint64_t prefix) {
  size_t i = home_of(counter, prefix);
  while (counter->slots[i].count != 0 && counter->slots[i].prefix != prefix) {
    i = (i + 1) & (counter->cap - 1);
  }
  return &counter->slots[i];
}

static int grow(km_addr_counter *counter) {
  km_addr_counter bigger = *counter;
  bigger.cap = counter->cap == 0 ? 64 : counter->cap * 2;
  bigger.slots = km_env_zalloc(counter->env, bigger.cap, sizeof *bigger.slots);
  if (bigger.slots == NULL) {
    return KM_ERR_NOMEM;
  }
  for (size_t i = 0; i < counter->cap; i++) {
    if (counter->slots[i].count != 0) {
      *probe(&bigger, counter->slots[i].prefix) = counter->slots[i];
    }
  }
  km_env_free(counter->env, counter->slots);
  *counter = bigger;
  return 0;
}

int km_addr_counter_add(km_addr_counter *counter, const km_udp_addr *addr) {
  if (counter->used + 1 > counter->cap / 2) {
    int rv = grow(counter);
    if (rv != 0) {
      return rv;
    }
  }
  uint64_t prefix = prefix_of(counter, addr);
  km_addr_count *slot = probe(counter, prefix);
  if (slot->count == 0) {
    slot->prefix = prefix;
    counter->used++;
  }
  slot->count++;
  return 0;
}

void km_addr_counter_remove(km_addr_counter *counter, const km_udp_addr *addr) {
  if (counter->cap == 0) {
    return;
  }
  km_addr_count *slot = probe(counter, prefix_of(counter, addr));
  if (slot->count == 0 || --slot->count != 0) {
    return;
  }
  counter->used--;
  size_t mask = counter->cap - 1;
  size_t gap = (size_t)(slot - counter->slots);
  for (size_t i = (gap + 1) & mask; counter->slots[i].count != 0; i = (i + 1) & mask) {
    size_t home = home_of(counter, counter->slots[i].prefix);
    if (((i - home) & mask) >= ((i - gap) & mask)) {
      counter->slots[gap] = counter->slots[i];
      counter->slots[i].count = 0;
      gap = i;
    }
  }
}

uint32_t km_addr_counter_get(const km_addr_counter *counter, const km_udp_addr *addr) {
  return counter->cap == 0 ? 0 : probe(counter, prefix_of(counter, addr))->count;
}
