/* endpoint/ticket_guard.c: tickets that work once, for one peer and one protocol. */
#include "test_env.h"

#include <sodium.h>

#include "endpoint/ticket_guard.h"

enum { STATE = 200 };
#define LIFETIME (KM_TICKET_LIFETIME_S * KM_NS_PER_S)

static int start_sodium(void **state) {
  (void)state;
  return sodium_init() < 0 ? -1 : 0;
}

typedef struct ticket {
  uint8_t name[KM_TICKET_NAME_BYTES], iv[KM_TICKET_IV_BYTES], mac[KM_TICKET_MAC_BYTES];
  uint8_t body[STATE + KM_TICKET_OVERHEAD];
  size_t len;
} ticket;

static km_id peer_of(uint8_t n) {
  km_id id;
  memset(id.bytes, n, sizeof id.bytes);
  return id;
}

static void seal(km_ticket_guard *g, ticket *ret, uint8_t peer, const char *alpn, km_ts now) {
  km_id id = peer_of(peer);
  for (size_t i = 0; i < STATE; i++) {
    ret->body[i] = (uint8_t)i;
  }
  ret->len = sizeof ret->body;
  km_ticket_guard_seal(g, &id, alpn, ret->body, STATE, ret->name, ret->iv, ret->mac, now);
}

/* Opens a copy, so that a ticket can be tried again. */
static bool try_open(km_ticket_guard *g, const ticket *t, const char *alpn, km_ts now, km_id *peer,
                     uint64_t *number) {
  ticket copy = *t;
  if (!km_ticket_guard_open(g, alpn, copy.body, copy.len, copy.name, copy.iv, copy.mac, now, peer,
                            number)) {
    return false;
  }
  for (size_t i = 0; i < copy.len - KM_TICKET_OVERHEAD; i++) {
    assert_int_equal(copy.body[i], (uint8_t)i);
  }
  return true;
}

static bool opens(km_ticket_guard *g, const ticket *t, const char *alpn, km_ts now) {
  km_id peer;
  uint64_t number;
  return try_open(g, t, alpn, now, &peer, &number);
}

static void new_reports_lack_of_memory(void **state) {
  (void)state;
  test_env t;
  km_ticket_guard *g = NULL;
  test_env_init(&t, 1);
  t.fail_after = 0;
  assert_int_equal(km_ticket_guard_new(&g, &t.env, 0), KM_ERR_NOMEM);
  assert_null(g);
  km_ticket_guard_free(NULL);
}

static void what_was_sealed_opens_with_its_peer(void **state) {
  (void)state;
  test_env t;
  km_ticket_guard *g;
  ticket a, b;
  km_id peer, want = peer_of(7);
  uint64_t na, nb;
  test_env_init(&t, 1);
  assert_int_equal(km_ticket_guard_new(&g, &t.env, 5), 0);
  seal(g, &a, 7, "km/echo/1", 10);
  seal(g, &b, 8, "", 10); /* no ALPN is a protocol of its own */
  assert_memory_not_equal(a.name, b.name, sizeof a.name);
  assert_memory_not_equal(a.iv, b.iv, sizeof a.iv);
  assert_true(try_open(g, &a, "km/echo/1", 10, &peer, &na));
  assert_true(km_id_equal(&peer, &want));
  assert_true(try_open(g, &b, "", 10, &peer, &nb));
  assert_true(na != nb);
  assert_true(try_open(g, &a, "km/echo/1", 11, &peer, &na)); /* opening does not use it up */
  km_ticket_guard_free(g);
  assert_int_equal(t.live, 0);
}

static void a_ticket_is_used_once(void **state) {
  (void)state;
  test_env t;
  km_ticket_guard *g;
  ticket a;
  km_id peer;
  uint64_t number;
  test_env_init(&t, 1);
  assert_int_equal(km_ticket_guard_new(&g, &t.env, 0), 0);
  seal(g, &a, 7, "x", 0);
  assert_true(try_open(g, &a, "x", 0, &peer, &number));
  assert_true(km_ticket_guard_use(g, number));
  assert_false(km_ticket_guard_use(g, number)); /* two handshakes that opened it both */
  assert_false(opens(g, &a, "x", 0));
  assert_false(km_ticket_guard_use(g, 0));
  assert_false(km_ticket_guard_use(g, number + 1)); /* not given out yet */
  km_ticket_guard_free(g);
  assert_int_equal(t.live, 0);
}

static void every_flipped_bit_is_seen(void **state) {
  (void)state;
  test_env t;
  km_ticket_guard *g;
  ticket a;
  test_env_init(&t, 1);
  assert_int_equal(km_ticket_guard_new(&g, &t.env, 0), 0);
  seal(g, &a, 7, "x", 0);
  uint8_t *parts[] = {a.name, a.iv, a.mac, a.body};
  /* The tag has 16 bytes; wolfSSL's field for it has 32. */
  size_t lens[] = {sizeof a.name, sizeof a.iv, 16, sizeof a.body};
  for (size_t p = 0; p < 4; p++) {
    for (size_t bit = 0; bit < 8 * lens[p]; bit++) {
      parts[p][bit / 8] ^= (uint8_t)(1u << bit % 8);
      assert_false(opens(g, &a, "x", 0));
      parts[p][bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
  }
  assert_true(opens(g, &a, "x", 0));
  km_ticket_guard_free(g);
}

static void lengths_and_protocols_must_fit(void **state) {
  (void)state;
  test_env t;
  km_ticket_guard *g;
  ticket a;
  test_env_init(&t, 1);
  assert_int_equal(km_ticket_guard_new(&g, &t.env, 0), 0);
  seal(g, &a, 7, "x", 0);
  for (size_t len = 0; len < sizeof a.body; len++) {
    a.len = len;
    assert_false(opens(g, &a, "x", 0));
  }
  a.len = sizeof a.body;
  assert_false(opens(g, &a, "", 0));
  assert_false(opens(g, &a, "y", 0));
  assert_false(opens(g, &a, "xx", 0));
  char longest[256];
  memset(longest, 'l', 255);
  longest[255] = '\0';
  seal(g, &a, 7, longest, 0);
  assert_true(opens(g, &a, longest, 0));
  longest[254] = '\0';
  assert_false(opens(g, &a, longest, 0));
  km_ticket_guard_free(g);
}

static void another_endpoint_opens_nothing(void **state) {
  (void)state;
  test_env t;
  km_ticket_guard *g, *h;
  ticket a;
  test_env_init(&t, 1);
  assert_int_equal(km_ticket_guard_new(&g, &t.env, 0), 0);
  assert_int_equal(km_ticket_guard_new(&h, &t.env, 0), 0);
  seal(g, &a, 7, "x", 0);
  assert_false(opens(h, &a, "x", 0));
  km_ticket_guard_free(g);
  km_ticket_guard_free(h);
  assert_int_equal(t.live, 0);
}

static void a_key_lives_for_a_ticket_lifetime(void **state) {
  (void)state;
  test_env t;
  km_ticket_guard *g;
  ticket a, b;
  test_env_init(&t, 1);
  assert_int_equal(km_ticket_guard_new(&g, &t.env, 1000), 0);
  seal(g, &a, 7, "x", 1000);
  assert_true(opens(g, &a, "x", 1000 + LIFETIME - 1));
  assert_false(opens(g, &a, "x", 1000 + LIFETIME));
  seal(g, &b, 7, "x", 1000 + LIFETIME);
  assert_true(opens(g, &b, "x", 1000 + LIFETIME));
  assert_false(opens(g, &a, "x", 1000 + LIFETIME));
  seal(g, &a, 7, "x", 1000 + 3 * LIFETIME); /* sealing changes the key too */
  assert_false(opens(g, &b, "x", 1000 + 3 * LIFETIME));
  km_ticket_guard_free(g);
  assert_int_equal(t.live, 0);
}

/* Two handshakes open one ticket; the key changes before the second uses it. The set of used
 * numbers is gone by then, the ticket must be refused all the same. */
static void a_key_change_does_not_forgive(void **state) {
  (void)state;
  test_env t;
  km_ticket_guard *g;
  ticket a, other;
  km_id peer;
  uint64_t number;
  test_env_init(&t, 1);
  assert_int_equal(km_ticket_guard_new(&g, &t.env, 0), 0);
  seal(g, &a, 7, "x", 0);
  assert_true(try_open(g, &a, "x", 0, &peer, &number));
  assert_true(km_ticket_guard_use(g, number));
  for (int i = 0; i < 10; i++) {
    seal(g, &other, 7, "x", LIFETIME);
  }
  assert_false(km_ticket_guard_use(g, number));
  assert_true(opens(g, &other, "x", LIFETIME)); /* nor did it cost a new one its number */
  km_ticket_guard_free(g);
  assert_int_equal(t.live, 0);
}

static void without_memory_a_ticket_is_not_used(void **state) {
  (void)state;
  test_env t;
  km_ticket_guard *g;
  ticket a;
  km_id peer;
  uint64_t number = 0;
  test_env_init(&t, 1);
  assert_int_equal(km_ticket_guard_new(&g, &t.env, 0), 0);
  seal(g, &a, 7, "x", 0);
  assert_true(try_open(g, &a, "x", 0, &peer, &number));
  t.fail_after = 0;
  assert_false(km_ticket_guard_use(g, number));
  t.fail_after = 1;
  assert_true(km_ticket_guard_use(g, number));
  for (int i = 0; i < 40; i++) { /* until the table must grow again */
    seal(g, &a, 7, "x", 0);
    bool used = try_open(g, &a, "x", 0, &peer, &number) && km_ticket_guard_use(g, number);
    assert_int_equal(used, i < 31);
  }
  t.fail_after = -1;
  assert_true(km_ticket_guard_use(g, number));
  km_ticket_guard_free(g);
  assert_int_equal(t.live, 0);
}

/* However many tickets come and go, what is remembered of them stays bounded. */
static void the_key_changes_before_too_many_are_used(void **state) {
  (void)state;
  test_env t;
  km_ticket_guard *g;
  ticket first, a;
  km_id peer;
  uint64_t number;
  test_env_init(&t, 1);
  assert_int_equal(km_ticket_guard_new(&g, &t.env, 0), 0);
  seal(g, &first, 7, "x", 0);
  for (uint32_t i = 0; i < KM_TICKET_MAX_USED; i++) {
    seal(g, &a, 7, "x", 0);
    assert_true(try_open(g, &a, "x", 0, &peer, &number));
    assert_true(km_ticket_guard_use(g, number));
  }
  assert_false(opens(g, &first, "x", 0)); /* a new key by now */
  assert_int_equal(t.live, 1);            /* and no numbers */
  seal(g, &a, 7, "x", 0);
  assert_true(try_open(g, &a, "x", 0, &peer, &number));
  assert_true(km_ticket_guard_use(g, number));
  km_ticket_guard_free(g);
  assert_int_equal(t.live, 0);
}

enum { TICKETS = 3000 };

static void behaves_like_flags(void **state) {
  (void)state;
  test_env t;
  test_rng rng = {.state = 77};
  km_ticket_guard *g;
  static ticket tickets[TICKETS];
  static bool used[TICKETS];
  test_env_init(&t, 2);
  assert_int_equal(km_ticket_guard_new(&g, &t.env, 0), 0);
  for (size_t i = 0; i < TICKETS; i++) {
    seal(g, &tickets[i], (uint8_t)i, "x", i);
  }
  for (int step = 0; step < 3 * TICKETS; step++) {
    size_t i = test_rng_below(&rng, TICKETS);
    km_id peer, want = peer_of((uint8_t)i);
    uint64_t number;
    bool open = try_open(g, &tickets[i], "x", 5000, &peer, &number);
    assert_int_equal(open, !used[i]);
    if (open) {
      assert_true(km_id_equal(&peer, &want));
      assert_true(km_ticket_guard_use(g, number));
      used[i] = true;
    }
  }
  km_ticket_guard_free(g);
  assert_int_equal(t.live, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(new_reports_lack_of_memory),
      cmocka_unit_test(what_was_sealed_opens_with_its_peer),
      cmocka_unit_test(a_ticket_is_used_once),
      cmocka_unit_test(every_flipped_bit_is_seen),
      cmocka_unit_test(lengths_and_protocols_must_fit),
      cmocka_unit_test(another_endpoint_opens_nothing),
      cmocka_unit_test(a_key_lives_for_a_ticket_lifetime),
      cmocka_unit_test(a_key_change_does_not_forgive),
      cmocka_unit_test(without_memory_a_ticket_is_not_used),
      cmocka_unit_test(the_key_changes_before_too_many_are_used),
      cmocka_unit_test(behaves_like_flags),
  };
  return cmocka_run_group_tests(tests, start_sodium, NULL);
}
