/* Who may use a relay. */
#include "relay/access.h"

#include <sodium.h>

#include "test/base/test_env.h"

static km_id id_of(unsigned number) {
  km_id ret;
  memset(&ret, 0, sizeof ret);
  for (size_t i = 0; i < 4; i++) {
    ret.bytes[i * 9] = (uint8_t)(number >> 8 * i);
  }
  return ret;
}

static bool allows(const km_relay_access *a, unsigned id, const char *token) {
  km_id who = id_of(id);
  km_relay_verdict v = km_relay_access_judge(a, &who, token);
  assert_int_not_equal(v, KM_RELAY_ASK);
  return v == KM_RELAY_ALLOW;
}

static void everyone_and_somebody_else(void **state) {
  (void)state;
  test_env t;
  km_relay_access a;
  km_id who = id_of(1);
  test_env_init(&t);
  km_relay_access_init(&a, &t.env, KM_RELAY_ACCESS_EVERYONE);
  assert_true(allows(&a, 1, NULL));
  assert_true(allows(&a, 2, "token"));
  km_relay_access_init(&a, &t.env, KM_RELAY_ACCESS_HTTP);
  assert_int_equal(km_relay_access_judge(&a, &who, NULL), KM_RELAY_ASK);
  km_relay_access_clear(&a);
  assert_int_equal(t.live, 0);
}

static void lists(void **state) {
  (void)state;
  static const unsigned sizes[] = {0, 1, 2, 3, 100};
  for (size_t s = 0; s < COUNT_OF(sizes); s++) {
    for (int kind = KM_RELAY_ACCESS_ALLOWLIST; kind <= KM_RELAY_ACCESS_DENYLIST; kind++) {
      test_env t;
      km_relay_access a;
      test_env_init(&t);
      km_relay_access_init(&a, &t.env, (km_relay_access_kind)kind);
      for (unsigned i = sizes[s]; i > 0; i--) { /* odd ones, the biggest first, each twice */
        km_id id = id_of(2 * i - 1);
        assert_int_equal(km_relay_access_add_id(&a, &id), 0);
        assert_int_equal(km_relay_access_add_id(&a, &id), 0);
      }
      km_relay_access_seal(&a);
      for (unsigned i = 0; i <= 2 * sizes[s] + 1; i++) {
        bool listed = i % 2 == 1 && i < 2 * sizes[s];
        assert_int_equal(allows(&a, i, "token"), listed == (kind == KM_RELAY_ACCESS_ALLOWLIST));
      }
      assert_false(allows(&a, 1u << 31, NULL) == (kind == KM_RELAY_ACCESS_ALLOWLIST));
      km_relay_access_clear(&a);
      assert_int_equal(t.live, 0);
    }
  }
}

static void tokens(void **state) {
  (void)state;
  test_env t;
  km_relay_access a;
  km_errinfo err = {0};
  test_env_init(&t);
  km_relay_access_init(&a, &t.env, KM_RELAY_ACCESS_TOKEN);
  assert_false(allows(&a, 1, "one"));
  assert_int_equal(km_relay_access_add_token(&a, "one", &err), 0);
  assert_int_equal(km_relay_access_add_token(&a, "Two.two", &err), 0);
  assert_int_equal(km_relay_access_add_token(&a, "", &err), KM_ERR_INVALID);
  assert_true(allows(&a, 1, "one") && allows(&a, 2, "one") && allows(&a, 1, "Two.two"));
  static const char *const wrong[] = {NULL, "", "on", "onee", "One", "two.two", " one", "one\n"};
  for (size_t i = 0; i < COUNT_OF(wrong); i++) {
    assert_false(allows(&a, 1, wrong[i]));
  }
  km_relay_access_clear(&a);
  assert_int_equal(t.live, 0);
}

/* Who reads our memory does not read the tokens. */
static void tokens_are_not_kept(void **state) {
  (void)state;
  static const char token[] = "a-token-that-is-32-bytes-long!!!";
  test_env t;
  km_relay_access a;
  test_env_init(&t);
  km_relay_access_init(&a, &t.env, KM_RELAY_ACCESS_TOKEN);
  assert_int_equal(km_relay_access_add_token(&a, token, NULL), 0);
  assert_memory_not_equal(a.tokens[0].digest, token, sizeof a.tokens[0].digest);
  km_relay_access_clear(&a);
}

static void without_memory(void **state) {
  (void)state;
  for (long may = 0; may < 3; may++) {
    test_env t;
    km_relay_access a;
    km_errinfo err = {0};
    unsigned added = 0;
    test_env_init(&t);
    t.fail_after = may;
    km_relay_access_init(&a, &t.env, KM_RELAY_ACCESS_ALLOWLIST);
    for (unsigned i = 0; i < 200; i++) {
      km_id id = id_of(i);
      int rv = km_relay_access_add_id(&a, &id);
      if (rv != 0) {
        assert_int_equal(rv, KM_ERR_NOMEM);
        break;
      }
      added++;
    }
    assert_true(added < 200);
    assert_int_equal(km_relay_access_add_token(&a, "t", &err), KM_ERR_NOMEM);
    assert_int_equal(err.code, KM_ERR_NOMEM);
    km_relay_access_seal(&a);
    for (unsigned i = 0; i < 200; i++) { /* what was added before is still right */
      assert_int_equal(allows(&a, i, NULL), i < added);
    }
    km_relay_access_clear(&a);
    assert_int_equal(t.live, 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(everyone_and_somebody_else),
      cmocka_unit_test(lists),
      cmocka_unit_test(tokens),
      cmocka_unit_test(tokens_are_not_kept),
      cmocka_unit_test(without_memory),
  };
  return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
