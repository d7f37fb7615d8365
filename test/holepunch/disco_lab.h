/* What the tests of disco share: keys made of one byte, addresses out of text, random messages. */
#ifndef KM_TEST_HOLEPUNCH_DISCO_LAB_H
#define KM_TEST_HOLEPUNCH_DISCO_LAB_H

#include "holepunch/disco.h"
#include "test/relay/hex.h"

/* Random enough for tests, and the same everywhere (splitmix64). */
static inline uint64_t lab_random(uint64_t *seed) {
  uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

static inline uint64_t lab_below(uint64_t *seed, uint64_t bound) {
  return lab_random(seed) % bound;
}

static inline km_secret_key *lab_key(uint8_t byte) {
  uint8_t seed[KM_SECRET_KEY_BYTES];
  km_secret_key *key;
  memset(seed, byte, sizeof seed);
  assert_int_equal(km_secret_key_from_bytes(&key, seed), 0);
  return key;
}

static inline km_id lab_id(uint8_t byte) {
  km_secret_key *key = lab_key(byte);
  km_id id;
  km_secret_key_id(key, &id);
  km_secret_key_free(key);
  return id;
}

static inline km_udp_addr lab_addr(const char *text) {
  km_udp_addr ret;
  assert_int_equal(km_udp_addr_parse(&ret, text, strlen(text), NULL), 0);
  return ret;
}

/* Only such as a reader takes. */
static inline km_udp_addr lab_random_addr(uint64_t *seed) {
  km_udp_addr addr;
  do {
    addr = (km_udp_addr){.family = lab_below(seed, 2) == 0 ? 4 : 6};
    addr.port = (uint16_t)lab_random(seed);
    for (size_t i = 0; i < (addr.family == 4 ? 4 : 16); i++) {
      addr.ip[i] = (uint8_t)lab_random(seed);
    }
  } while (!km_disco_may_probe(&addr));
  return addr;
}

static inline void lab_random_call(km_call_me_maybe *call, uint64_t *seed) {
  call->flags = (uint8_t)lab_random(seed);
  call->nat = (km_nat_info){.mapping4 = (uint8_t)lab_below(seed, 5),
                            .mapping6 = (uint8_t)lab_below(seed, 5),
                            .filtering4 = (uint8_t)lab_below(seed, 5),
                            .filtering6 = (uint8_t)lab_below(seed, 5),
                            .port_step = (int16_t)((int)lab_below(seed, 65536) - 32768)};
  call->count = lab_below(seed, KM_DISCO_MAX_CANDIDATES + 1);
  for (size_t i = 0; i < call->count; i++) {
    call->candidates[i].source = (uint8_t)lab_below(seed, 128);
    call->candidates[i].addr = lab_random_addr(seed);
  }
  size_t len = lab_below(seed, KM_DISCO_MAX_URL + 1);
  for (size_t i = 0; i < len; i++) {
    call->relay_url[i] = (char)('!' + lab_below(seed, '~' - '!' + 1));
  }
}

static inline km_disco_message lab_random_message(uint64_t *seed) {
  km_disco_message msg = {.type = (km_disco_type)(1 + lab_below(seed, 3))};
  if (msg.type == KM_DISCO_CALL_ME_MAYBE) {
    lab_random_call(&msg.call, seed);
    return msg;
  }
  for (size_t i = 0; i < sizeof msg.tx; i++) {
    msg.tx[i] = (uint8_t)lab_random(seed);
  }
  if (msg.type == KM_DISCO_PONG && lab_below(seed, 8) > 0) {
    msg.observed = lab_random_addr(seed);
  }
  return msg;
}

static inline void lab_assert_same(const km_disco_message *a, const km_disco_message *b) {
  assert_int_equal(a->type, b->type);
  assert_memory_equal(a->tx, b->tx, sizeof a->tx);
  assert_true(km_udp_addr_equal(&a->observed, &b->observed));
  assert_int_equal(a->call.flags, b->call.flags);
  assert_int_equal(a->call.nat.mapping4, b->call.nat.mapping4);
  assert_int_equal(a->call.nat.mapping6, b->call.nat.mapping6);
  assert_int_equal(a->call.nat.filtering4, b->call.nat.filtering4);
  assert_int_equal(a->call.nat.filtering6, b->call.nat.filtering6);
  assert_int_equal(a->call.nat.port_step, b->call.nat.port_step);
  assert_int_equal(a->call.count, b->call.count);
  for (size_t i = 0; i < a->call.count; i++) {
    assert_int_equal(a->call.candidates[i].source, b->call.candidates[i].source);
    assert_true(km_udp_addr_equal(&a->call.candidates[i].addr, &b->call.candidates[i].addr));
  }
  assert_string_equal(a->call.relay_url, b->call.relay_url);
}

#endif /* KM_TEST_HOLEPUNCH_DISCO_LAB_H */
