#include <keymesh/id.h>

#include "base/enc.h"
#include "test/base/test_env.h"
#include "test/base/vectors.h"

static km_id id_of(const char *hex) {
  km_id id;
  assert_int_equal(km_id_parse(&id, hex, strlen(hex), NULL), 0);
  return id;
}

static void assert_form(const km_id *id, km_id_form form, const char *expected) {
  char text[KM_ID_TEXT_CAP];
  int len = (int)strlen(expected);
  assert_int_equal(km_id_format(id, form, text, sizeof text), len);
  assert_string_equal(text, expected);
  /* A buffer of just the right size, and one byte less. */
  assert_int_equal(km_id_format(id, form, text, (size_t)len + 1), len);
  assert_int_equal(km_id_format(id, form, text, (size_t)len), KM_ERR_BUFFER);
  assert_int_equal(km_id_format(id, form, text, 0), KM_ERR_BUFFER);
}

static void prints_every_form_as_the_binding_does(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT_OF(key_vectors); i++) {
    km_id id = id_of(key_vectors[i].id);
    assert_form(&id, KM_ID_HEX, key_vectors[i].id);
    assert_form(&id, KM_ID_BASE32, key_vectors[i].base32);
    assert_form(&id, KM_ID_Z32, key_vectors[i].z32);
    assert_form(&id, KM_ID_SHORT, key_vectors[i].id_short);
    assert_form(&id, KM_ID_TLS_NAME, key_vectors[i].tls_name);
    km_id back = id_of(key_vectors[i].base32);
    assert_true(km_id_equal(&id, &back));
    back.bytes[31] ^= 1;
    assert_false(km_id_equal(&id, &back));
    char text[KM_ID_TEXT_CAP];
    assert_int_equal(km_id_format(&id, (km_id_form)99, text, sizeof text), KM_ERR_INVALID);
  }
}

/* Computed with another implementation: SHA-256 of 302a300506032b6570032100 and the id. */
static void the_fingerprint_is_over_the_spki(void **state) {
  (void)state;
  km_id id = id_of(key_vectors[0].id);
  assert_form(&id, KM_ID_FINGERPRINT,
              "sha256:339e2ff917630507b6a423b5ce084e285d1fa65d93b3e27a6195d3bbebc9ae23");
}

static void takes_and_refuses_the_texts_that_the_binding_does(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT_OF(id_parse_vectors); i++) {
    km_id id;
    memset(&id, 0xa5, sizeof id);
    km_errinfo err = {0};
    const char *text = id_parse_vectors[i].text;
    int rv = km_id_parse(&id, text, strlen(text), &err);
    assert_int_equal(rv, id_parse_vectors[i].ok ? 0 : KM_ERR_BAD_ID);
    if (!id_parse_vectors[i].ok) {
      assert_int_equal(err.code, KM_ERR_BAD_ID);
      assert_true(strlen(err.text) > 20);
      assert_int_equal(id.bytes[0], 0xa5);
    }
  }
}

static void refuses_other_lengths_and_forms(void **state) {
  (void)state;
  km_id id;
  char text[200];
  memset(text, 'a', sizeof text);
  for (size_t len = 0; len < sizeof text; len++) {
    if (len != KM_ID_HEX_LEN && len != KM_ID_BASE32_LEN) {
      assert_int_equal(km_id_parse(&id, text, len, NULL), KM_ERR_BAD_ID);
    }
  }
  const char *z32 = key_vectors[1].z32;
  assert_int_equal(km_id_parse(&id, z32, strlen(z32), NULL), KM_ERR_BAD_ID);
  /* The text need not end in a NUL. */
  memcpy(text, key_vectors[0].id, KM_ID_HEX_LEN);
  assert_int_equal(km_id_parse(&id, text, KM_ID_HEX_LEN, NULL), 0);
}

/* Which bytes decompress to a point, by RFC 8032 section 5.1.3 without its rule against
 * non-canonical y; computed with big integers. */
static const struct {
  const char *bytes;
  bool ok;
} points[] = {
    {"0000000000000000000000000000000000000000000000000000000000000000", true},
    {"0100000000000000000000000000000000000000000000000000000000000000", true},
    {"0200000000000000000000000000000000000000000000000000000000000000", false},
    {"0300000000000000000000000000000000000000000000000000000000000000", true},
    {"0400000000000000000000000000000000000000000000000000000000000000", true},
    {"0500000000000000000000000000000000000000000000000000000000000000", true},
    {"0600000000000000000000000000000000000000000000000000000000000000", true},
    {"0700000000000000000000000000000000000000000000000000000000000000", false},
    {"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", true},
    {"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", true},
    {"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", true},
    {"efffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", false},
    {"f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", true},
    {"f1ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", true},
    {"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", true},
    {"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", true},
    {"0000000000000000000000000000000000000000000000000000000000000080", true},
    {"0100000000000000000000000000000000000000000000000000000000000080", true},
    {"0200000000000000000000000000000000000000000000000000000000000080", false},
    {"0300000000000000000000000000000000000000000000000000000000000080", true},
    {"0400000000000000000000000000000000000000000000000000000000000080", true},
    {"0500000000000000000000000000000000000000000000000000000000000080", true},
    {"0600000000000000000000000000000000000000000000000000000000000080", true},
    {"0700000000000000000000000000000000000000000000000000000000000080", false},
    {"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", true},
    {"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", true},
    {"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", true},
    {"efffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", false},
    {"f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", true},
    {"f1ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", true},
    {"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", true},
    {"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", true},
    {"0202020202020202020202020202020202020202020202020202020202020202", false},
    {"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", true},
    {"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d", false},
    {"4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a", true},
    {"dbc1b4c900ffe48d575b5da5c638040125f65db0fe3e24494b76ea986457d986", false},
    {"084fed08b978af4d7d196a7446a86b58009e636b611db16211b65a9aadff29c5", true},
    {"e52d9c508c502347344d8c07ad91cbd6068afc75ff6292f062a09ca381c89e71", false},
    {"e77b9a9ae9e30b0dbdb6f510a264ef9de781501d7b6b92ae89eb059c5ab743db", false},
    {"67586e98fad27da0b9968bc039a1ef34c939b9b8e523a8bef89d478608c5ecf6", true},
    {"ca358758f6d27e6cf45272937977a748fd88391db679ceda7dc7bf1f005ee879", true},
};

static void takes_every_point_that_decompresses(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT_OF(points); i++) {
    uint8_t bytes[KM_ID_BYTES];
    assert_true(km_hex_decode(bytes, sizeof bytes, points[i].bytes, 64));
    km_id id;
    memset(&id, 0xa5, sizeof id);
    int rv = km_id_from_bytes(&id, bytes);
    assert_int_equal(rv, points[i].ok ? 0 : KM_ERR_BAD_ID);
    if (points[i].ok) {
      assert_memory_equal(id.bytes, bytes, sizeof bytes); /* never made canonical */
    } else {
      assert_int_equal(id.bytes[0], 0xa5);
    }
  }
}

static void verifies_the_signatures_of_the_binding(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT_OF(key_vectors); i++) {
    km_id id = id_of(key_vectors[i].id);
    uint8_t sig[KM_SIGNATURE_BYTES];
    assert_true(km_hex_decode(sig, sizeof sig, key_vectors[i].sig_message, 128));
    const size_t len = sizeof VECTOR_MESSAGE - 1;
    assert_int_equal(km_id_verify(&id, VECTOR_MESSAGE, len, sig), 0);
    assert_int_equal(km_id_verify(&id, VECTOR_MESSAGE, len - 1, sig), KM_ERR_CRYPTO);
    for (size_t bit = 0; bit < 8 * sizeof sig; bit += 37) {
      sig[bit / 8] ^= (uint8_t)(1 << bit % 8);
      assert_int_equal(km_id_verify(&id, VECTOR_MESSAGE, len, sig), KM_ERR_CRYPTO);
      sig[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_true(km_hex_decode(sig, sizeof sig, key_vectors[i].sig_empty, 128));
    assert_int_equal(km_id_verify(&id, "", 0, sig), 0);
  }
}

/* sig[32..64) plus the group order: the same scalar, but not the one accepted spelling. */
static void add_group_order(uint8_t sig[KM_SIGNATURE_BYTES]) {
  static const uint8_t order[32] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,       0xd6,
                                    0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, [31] = 0x10};
  unsigned carry = 0;
  for (int i = 0; i < 32; i++) {
    carry += sig[32 + i] + (unsigned)order[i];
    sig[32 + i] = (uint8_t)carry;
    carry >>= 8;
  }
}

static void verification_is_strict(void **state) {
  (void)state;
  km_id id = id_of(key_vectors[1].id);
  uint8_t sig[KM_SIGNATURE_BYTES];
  assert_true(km_hex_decode(sig, sizeof sig, key_vectors[1].sig_empty, 128));
  add_group_order(sig);
  assert_int_equal(km_id_verify(&id, "", 0, sig), KM_ERR_CRYPTO);

  /* With the neutral element as key and as R, and a scalar of 0, the equation holds for every
   * message; the key is an id all the same. */
  uint8_t neutral[KM_ID_BYTES] = {1};
  assert_int_equal(km_id_from_bytes(&id, neutral), 0);
  memset(sig, 0, sizeof sig);
  sig[0] = 1;
  assert_int_equal(km_id_verify(&id, "any", 3, sig), KM_ERR_CRYPTO);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(prints_every_form_as_the_binding_does),
      cmocka_unit_test(the_fingerprint_is_over_the_spki),
      cmocka_unit_test(takes_and_refuses_the_texts_that_the_binding_does),
      cmocka_unit_test(refuses_other_lengths_and_forms),
      cmocka_unit_test(takes_every_point_that_decompresses),
      cmocka_unit_test(verifies_the_signatures_of_the_binding),
      cmocka_unit_test(verification_is_strict),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
