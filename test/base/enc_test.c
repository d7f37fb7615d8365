#include "base/enc.h"

#include "test/base/test_env.h"

/* RFC 4648 section 10, lower case and without padding. */
static const struct {
  const char *plain, *hex, *base32, *base32hex;
} rfc4648[] = {
    {"", "", "", ""},
    {"f", "66", "my", "co"},
    {"fo", "666f", "mzxq", "cpng"},
    {"foo", "666f6f", "mzxw6", "cpnmu"},
    {"foob", "666f6f62", "mzxw6yq", "cpnmuog"},
    {"fooba", "666f6f6261", "mzxw6ytb", "cpnmuoj1"},
    {"foobar", "666f6f626172", "mzxw6ytboi", "cpnmuoj1e8"},
};

static void encodes_the_examples_of_rfc_4648(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT_OF(rfc4648); i++) {
    const uint8_t *plain = (const uint8_t *)rfc4648[i].plain;
    size_t len = strlen(rfc4648[i].plain);
    char text[32];
    km_hex_encode(text, plain, len);
    assert_string_equal(text, rfc4648[i].hex);
    km_base32_encode(KM_BASE32_RFC4648, text, plain, len);
    assert_string_equal(text, rfc4648[i].base32);
    assert_int_equal(strlen(text), KM_BASE32_LEN(len));
    km_base32_encode(KM_BASE32_HEX, text, plain, len);
    assert_string_equal(text, rfc4648[i].base32hex);
  }
}

static void decodes_what_it_encodes(void **state) {
  (void)state;
  static const km_base32 alphabets[] = {KM_BASE32_RFC4648, KM_BASE32_HEX, KM_BASE32_Z};
  uint8_t bytes[40];
  for (size_t len = 0; len <= sizeof bytes; len++) {
    for (size_t i = 0; i < len; i++) {
      bytes[i] = (uint8_t)(i * 37 + len * 11);
    }
    for (size_t a = 0; a < COUNT_OF(alphabets); a++) {
      char text[KM_BASE32_LEN(sizeof bytes) + 1];
      uint8_t back[sizeof bytes];
      km_base32_encode(alphabets[a], text, bytes, len);
      assert_int_equal(KM_BASE32_BYTES(strlen(text)), len);
      assert_true(km_base32_decode(alphabets[a], back, text, strlen(text)));
      assert_memory_equal(back, bytes, len);
    }
  }
}

static void every_symbol_has_its_value(void **state) {
  (void)state;
  static const char *const symbols[] = {[KM_BASE32_RFC4648] = "abcdefghijklmnopqrstuvwxyz234567",
                                        [KM_BASE32_HEX] = "0123456789abcdefghijklmnopqrstuv",
                                        [KM_BASE32_Z] = "ybndrfg8ejkmcpqxot1uwisza345h769"};
  for (int alphabet = KM_BASE32_RFC4648; alphabet <= KM_BASE32_Z; alphabet++) {
    for (int c = 0; c < 256; c++) {
      /* Eight symbols are five bytes; the last symbol fills the low bits of the last byte. */
      char text[8];
      memset(text, symbols[alphabet][0], sizeof text);
      text[7] = (char)c;
      int folded = alphabet == KM_BASE32_RFC4648 && c >= 'A' && c <= 'Z' ? c + 32 : c;
      const char *at = c != 0 ? strchr(symbols[alphabet], folded) : NULL;
      uint8_t bytes[5];
      assert_int_equal(km_base32_decode((km_base32)alphabet, bytes, text, 8), at != NULL);
      if (at != NULL) {
        assert_int_equal(bytes[4], at - symbols[alphabet]);
      }
    }
  }
}

static void hex_takes_lower_case_digits_only(void **state) {
  (void)state;
  for (int c = 0; c < 256; c++) {
    const char text[2] = {'0', (char)c};
    uint8_t byte = 0xff;
    const char *at = c != 0 ? strchr("0123456789abcdef", c) : NULL;
    assert_int_equal(km_hex_decode(&byte, 1, text, 2), at != NULL);
    if (at != NULL) {
      assert_int_equal(byte, c <= '9' ? c - '0' : c - 'a' + 10);
    }
  }
}

static void refuses_impossible_lengths_and_trailing_bits(void **state) {
  (void)state;
  uint8_t bytes[8];
  assert_false(km_hex_decode(bytes, 1, "abc", 3));
  assert_false(km_hex_decode(bytes, 2, "ab", 2));
  assert_false(km_hex_decode(bytes, 1, "ab0", 3));
  assert_true(km_hex_decode(bytes, 0, "", 0));
  static const struct {
    const char *text;
    bool ok;
  } cases[] = {
      {"a", false},         {"aa", true},        {"aaa", false},      {"aaaa", true},
      {"aaaaa", true},      {"aaaaaa", false},   {"aaaaaaa", true},   {"aaaaaaaa", true},
      {"aaaaaaaaa", false}, {"ab", false},       {"ae", true},        {"aaab", false},
      {"aaaq", true},       {"aaaab", false},    {"aaaac", true},     {"aaaaaab", false},
      {"aaaaaai", true},    {"mzxw6===", false}, {"mz xw6yq", false},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    const char *text = cases[i].text;
    assert_int_equal(km_base32_decode(KM_BASE32_RFC4648, bytes, text, strlen(text)), cases[i].ok);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(encodes_the_examples_of_rfc_4648),
      cmocka_unit_test(decodes_what_it_encodes),
      cmocka_unit_test(every_symbol_has_its_value),
      cmocka_unit_test(hex_takes_lower_case_digits_only),
      cmocka_unit_test(refuses_impossible_lengths_and_trailing_bits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
