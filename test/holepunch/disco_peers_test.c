/* As many peers as a box takes. Apart from the others, since this many keys take valgrind minutes.
 */
#include <sodium.h>

#include "holepunch/disco_box.h"
#include "test/holepunch/disco_lab.h"

/* The next of many distinct ids, cheaper than by keys: the curve's base point further on. */
static void next_id(km_id *id) {
  static const uint8_t base[32] = {0x58, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
                                   0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
                                   0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66};
  assert_int_equal(crypto_core_ed25519_add(id->bytes, id->bytes, base), 0);
}

static bool is_admitted(km_disco_box *box, const km_id *id) {
  km_disco_message ping = {.type = KM_DISCO_PING};
  uint8_t packet[KM_DISCO_PING_LEN];
  int rv = km_disco_box_seal(box, id, &ping, (km_wall){0}, packet, sizeof packet);
  assert_true(rv == KM_DISCO_PING_LEN || rv == KM_ERR_NOT_FOUND);
  return rv > 0;
}

static void many_peers_and_no_more(void **state) {
  (void)state;
  test_env env;
  km_disco_box *box;
  km_secret_key *key = lab_key(2);
  test_env_init(&env);
  assert_int_equal(km_disco_box_new(&box, &env.env, key), 0);
  km_secret_key_free(key);
  km_id first = lab_id(1), id = first;
  for (size_t i = 0; i < KM_DISCO_MAX_PEERS; i++) {
    assert_int_equal(km_disco_box_admit(box, &id), 0);
    next_id(&id);
  }
  /* No place for one more, but for one that is there already. */
  assert_int_equal(km_disco_box_admit(box, &id), KM_ERR_LIMIT);
  assert_false(is_admitted(box, &id));
  assert_int_equal(km_disco_box_admit(box, &first), 0);
  km_disco_box_dismiss(box, &first);
  assert_int_equal(km_disco_box_admit(box, &id), KM_ERR_LIMIT);
  km_disco_box_dismiss(box, &first);
  assert_int_equal(km_disco_box_admit(box, &id), 0);
  /* All are found, and go one by one. */
  km_id at = first;
  for (size_t i = 1; i < KM_DISCO_MAX_PEERS; i++) {
    next_id(&at);
    assert_true(i % 1000 != 0 || is_admitted(box, &at));
    km_disco_box_dismiss(box, &at);
    assert_false(is_admitted(box, &at));
  }
  assert_true(is_admitted(box, &id));
  km_disco_box_del(box);
  assert_int_equal(env.live, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(many_peers_and_no_more)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
