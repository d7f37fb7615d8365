/* An entry's bytes, hash and signature as docs/protocol-mesh.md has them, every refusal of the
 * decoder, the rules for names, and who wins. */
#include "store/entry.h"

#include <sodium.h>

#include "base/enc.h"
#include "test/base/test_env.h"

#define MAX_KEY 256
#define MAX_VALUE 65536

typedef struct sample {
  km_secret_key *key;
  km_entry entry;
  uint8_t sig[KM_SIGNATURE_BYTES];
  uint8_t bytes[512];
  size_t len;
} sample;

static void encode(sample *s) {
  km_wr wr = km_wr_init(s->bytes, sizeof s->bytes);
  km_entry_encode(&s->entry, &wr);
  assert_false(wr.failed);
  s->len = (size_t)(wr.at - s->bytes);
  assert_int_equal(s->len, km_entry_size(&s->entry));
}

/* The entry of the document: secret 01 02 ... 20. */
static int set_up(void **state) {
  sample *s = calloc(1, sizeof *s);
  assert_non_null(s);
  uint8_t seed[KM_SECRET_KEY_BYTES];
  for (uint8_t i = 0; i < sizeof seed; i++) {
    seed[i] = (uint8_t)(i + 1);
  }
  assert_int_equal(km_secret_key_from_bytes(&s->key, seed), 0);
  s->entry = (km_entry){.share = "notes",
                        .share_len = 5,
                        .key = "a/b",
                        .key_len = 3,
                        .value = (const uint8_t *)"hello",
                        .value_len = 5,
                        .clock = UINT64_C(0x0199a1b2c3d40007)};
  km_secret_key_id(s->key, &s->entry.author);
  km_entry_sign(&s->entry, s->key, s->sig);
  s->entry.sig = s->sig;
  encode(s);
  *state = s;
  return 0;
}

static int tear_down(void **state) {
  sample *s = *state;
  km_secret_key_free(s->key);
  free(s);
  return 0;
}

static void assert_hex(const uint8_t *bytes, size_t len, const char *want) {
  char hex[1200];
  assert_true(len * 2 < sizeof hex);
  km_hex_encode(hex, bytes, len);
  assert_string_equal(hex, want);
}

/* --- vectors ---------------------------------------------------------------------------------- */

static void test_vector(void **state) {
  const sample *s = *state;
  assert_hex(s->bytes, s->len,
             "00"
             "0199a1b2c3d40007"
             "79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664"
             "03"
             "612f62"
             "05"
             "68656c6c6f"
             "002a0ad4b8820c8a66c3c6e27efef5d52e9eddaf0604688940b8d04a7a6fd70a"
             "9b80dd336d2062c946eef5686c379cf3557f7928768c2466351e05b645952a04");
  uint8_t hash[KM_ENTRY_HASH_BYTES];
  km_entry_hash(&s->entry, hash);
  assert_hex(hash, sizeof hash, "dea68b4ce3814b8e536304c719fb1cc4");
}

/* The document's words, put together by hand. */
static void test_what_is_signed(void **state) {
  const sample *s = *state;
  uint8_t fields[] = "KeyMesh entry 1\0"
                     "\5notes\0\x01\x99\xa1\xb2\xc3\xd4\0\7"
                     "................................\0\3\0\0\0\5a/bhello";
  memcpy(fields + 31, s->entry.author.bytes, KM_ID_BYTES);
  uint8_t message[16 + 32];
  memcpy(message, "KeyMesh entry 1", 16);
  assert_int_equal(crypto_generichash(message + 16, 32, fields, sizeof fields - 1, NULL, 0), 0);
  uint8_t hash[KM_ENTRY_HASH_BYTES];
  km_entry_hash(&s->entry, hash);
  assert_memory_equal(hash, message + 16, sizeof hash);
  assert_int_equal(km_id_verify(&s->entry.author, message, sizeof message, s->sig), 0);
}

static void test_round_trip(void **state) {
  const sample *s = *state;
  km_entry e;
  km_rd rd = km_rd_init(s->bytes, s->len);
  assert_int_equal(km_entry_decode(&e, &rd, "notes", 5, MAX_KEY, MAX_VALUE, NULL), 0);
  assert_int_equal(km_rd_left(&rd), 0);
  assert_int_equal(e.clock, s->entry.clock);
  assert_int_equal(e.flags, 0);
  assert_int_equal(e.key_len, 3);
  assert_memory_equal(e.key, "a/b", 3);
  assert_int_equal(e.value_len, 5);
  assert_memory_equal(e.value, "hello", 5);
  assert_true(km_id_equal(&e.author, &s->entry.author));
  assert_int_equal(km_entry_verify(&e), 0);
}

static void test_two_in_a_row(void **state) {
  const sample *s = *state;
  uint8_t two[1024];
  memcpy(two, s->bytes, s->len);
  memcpy(two + s->len, s->bytes, s->len);
  km_entry e;
  km_rd rd = km_rd_init(two, s->len * 2);
  assert_int_equal(km_entry_decode(&e, &rd, "notes", 5, MAX_KEY, MAX_VALUE, NULL), 0);
  assert_int_equal(km_rd_left(&rd), s->len);
  assert_int_equal(km_entry_decode(&e, &rd, "notes", 5, MAX_KEY, MAX_VALUE, NULL), 0);
  assert_int_equal(km_rd_left(&rd), 0);
}

/* --- signature -------------------------------------------------------------------------------- */

static void assert_forged(const km_entry *e) {
  assert_int_equal(km_entry_verify(e), KM_ERR_CRYPTO);
}

/* Nothing of an entry can be changed, its share's name included. */
static void test_everything_is_signed(void **state) {
  const sample *s = *state;
  assert_int_equal(km_entry_verify(&s->entry), 0);
  for (int field = 0; field < 8; field++) {
    km_entry e = s->entry;
    switch (field) {
    case 0:
      e.share = "motes";
      break;
    case 1: /* a byte moves from the key to the share */
      e.share = "notesa";
      e.share_len = 6;
      e.key = "/b";
      e.key_len = 2;
      break;
    case 2:
      e.key = "a/c";
      break;
    case 3: /* a byte moves from the value to the key */
      e.key = "a/bh";
      e.key_len = 4;
      e.value++;
      e.value_len--;
      break;
    case 4:
      e.value = (const uint8_t *)"hallo";
      break;
    case 5:
      e.clock++;
      break;
    case 6:
      e.flags = KM_ENTRY_DELETED;
      break;
    default:
      e.author.bytes[0] ^= 1;
      break;
    }
    assert_forged(&e);
  }
}

static void test_unsigned(void **state) {
  const sample *s = *state;
  km_entry e = s->entry;
  e.sig = NULL;
  assert_forged(&e);
  uint8_t sig[KM_SIGNATURE_BYTES];
  for (size_t i = 0; i < sizeof sig; i++) {
    memcpy(sig, s->sig, sizeof sig);
    sig[i] ^= 0x80;
    e.sig = sig;
    assert_forged(&e);
  }
}

/* --- refusals --------------------------------------------------------------------------------- */

static void assert_refused(const uint8_t *bytes, size_t len, size_t max_key, size_t max_value,
                           const char *why) {
  km_entry e = {.clock = 4711};
  km_errinfo err = {0};
  /* On its own, so that a sanitizer sees every byte read too far. */
  uint8_t *copy = malloc(len + 1);
  assert_non_null(copy);
  uint8_t *exact = realloc(copy, len > 0 ? len : 1);
  assert_non_null(exact);
  memcpy(exact, bytes, len);
  km_rd rd = km_rd_init(exact, len);
  int rv = km_entry_decode(&e, &rd, "notes", 5, max_key, max_value, &err);
  assert_int_equal(rv, KM_ERR_BAD_PACKET);
  assert_int_equal(err.code, KM_ERR_BAD_PACKET);
  if (strstr(err.text, why) == NULL) {
    fail_msg("'%s' does not say '%s'", err.text, why);
  }
  assert_int_equal(e.clock, 4711);
  assert_ptr_equal(rd.at, exact);
  free(exact);
}

static void test_cut_short(void **state) {
  const sample *s = *state;
  for (size_t len = 0; len < s->len; len++) {
    assert_refused(s->bytes, len, MAX_KEY, MAX_VALUE, "cut short");
  }
}

static void test_flags(void **state) {
  sample *s = *state;
  for (unsigned flags = 2; flags < 256; flags++) {
    s->bytes[0] = (uint8_t)flags;
    assert_refused(s->bytes, s->len, MAX_KEY, MAX_VALUE, "unknown flags");
  }
  s->bytes[0] = KM_ENTRY_DELETED;
  assert_refused(s->bytes, s->len, MAX_KEY, MAX_VALUE, "a deletion has a value");
}

static void test_limits(void **state) {
  const sample *s = *state;
  assert_refused(s->bytes, s->len, 2, MAX_VALUE, "a key has 1 to 2 bytes, not 3");
  assert_refused(s->bytes, s->len, MAX_KEY, 4, "value has 5 bytes, 4 are allowed");
  km_entry e;
  km_rd rd = km_rd_init(s->bytes, s->len);
  assert_int_equal(km_entry_decode(&e, &rd, "notes", 5, 3, 5, NULL), 0);
}

/* Lengths have one form, and none is believed before so many bytes are there. */
static void test_lengths(void **state) {
  const sample *s = *state;
  static const uint8_t longer[][6] = {{0x83, 0x00}, {0x83, 0x80, 0x00}};
  for (size_t i = 0; i < COUNT_OF(longer); i++) {
    uint8_t bytes[600];
    size_t n = i + 2;
    memcpy(bytes, s->bytes, 41);
    memcpy(bytes + 41, longer[i], n);
    memcpy(bytes + 41 + n, s->bytes + 42, s->len - 42);
    assert_refused(bytes, s->len - 1 + n, MAX_KEY, MAX_VALUE, "length");
  }
  uint8_t huge[600];
  memcpy(huge, s->bytes, s->len);
  memset(huge + 41, 0xff, 4);
  huge[45] = 0x0f; /* 2^32 - 1 */
  assert_refused(huge, s->len, MAX_KEY, MAX_VALUE, "cut short");
  huge[45] = 0x1f; /* more than 32 bits */
  assert_refused(huge, s->len, MAX_KEY, MAX_VALUE, "cut short");
}

static void test_bad_key_refused(void **state) {
  sample *s = *state;
  s->bytes[42] = '\n';
  assert_refused(s->bytes, s->len, MAX_KEY, MAX_VALUE, "control character");
  memcpy(s->bytes + 42, "../", 3);
  assert_refused(s->bytes, s->len, MAX_KEY, MAX_VALUE, "no part of a key");
  s->entry.key_len = 0;
  encode(s);
  assert_refused(s->bytes, s->len, MAX_KEY, MAX_VALUE, "not 0");
}

static void test_empty_value_and_deletion(void **state) {
  sample *s = *state;
  km_entry e;
  for (uint8_t flags = 0; flags <= KM_ENTRY_DELETED; flags++) {
    s->entry.flags = flags;
    s->entry.value = NULL;
    s->entry.value_len = 0;
    km_entry_sign(&s->entry, s->key, s->sig);
    encode(s);
    km_rd rd = km_rd_init(s->bytes, s->len);
    assert_int_equal(km_entry_decode(&e, &rd, "notes", 5, MAX_KEY, MAX_VALUE, NULL), 0);
    assert_int_equal(e.flags, flags);
    assert_int_equal(e.value_len, 0);
    assert_int_equal(km_entry_verify(&e), 0);
  }
}

/* --- names ------------------------------------------------------------------------------------ */

static int share_check(const char *name) {
  return km_share_name_check(name, strlen(name), NULL);
}

static void test_share_names(void **state) {
  (void)state;
  static const char *const good[] = {"a", "Z", "0", "notes", "my-share_1.0", "a..b", "9-"};
  static const char *const bad[] = {"",    ".",   "..",  "_a",    "-a",       ".a", "a b",
                                    "a/b", "a\\", "a\n", "a\x7f", "\xc3\xa4", "a:", "a*"};
  char longest[KM_SHARE_NAME_MAX + 2];
  for (size_t i = 0; i < COUNT_OF(good); i++) {
    assert_int_equal(share_check(good[i]), 0);
  }
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    if (share_check(bad[i]) != KM_ERR_INVALID) {
      fail_msg("'%s' was taken", bad[i]);
    }
  }
  memset(longest, 'x', sizeof longest);
  assert_int_equal(km_share_name_check(longest, KM_SHARE_NAME_MAX, NULL), 0);
  assert_int_equal(km_share_name_check(longest, KM_SHARE_NAME_MAX + 1, NULL), KM_ERR_INVALID);
  assert_int_equal(km_share_name_check("a\0b", 3, NULL), KM_ERR_INVALID);
}

static int key_check(const char *key) {
  return km_entry_key_check(key, strlen(key), MAX_KEY, NULL);
}

static void test_keys(void **state) {
  (void)state;
  static const char *const good[] = {"a",
                                     "a/b/c",
                                     ".a",
                                     "..a",
                                     "a..",
                                     "a/...",
                                     "a b",
                                     "~",
                                     "a\\b",
                                     "C:",
                                     "\xc3\xa4",
                                     "\xe2\x82\xac/x",
                                     "\xf0\x9f\x98\x80",
                                     "a/.b"};
  static const char *const bad[] = {"",          "/",        "/a",           "a/",
                                    "a//b",      ".",        "..",           "./a",
                                    "../a",      "a/./b",    "a/../b",       "a/.",
                                    "a/..",      "a\nb",     "\t",           "\x1f",
                                    "a\x7f",     "\xc2\x85", "\xc2\x9b[2J",  "\xff",
                                    "\xc3",      "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                    "a\xe2\x82", "\x80"};
  for (size_t i = 0; i < COUNT_OF(good); i++) {
    if (key_check(good[i]) != 0) {
      fail_msg("'%s' was refused", good[i]);
    }
  }
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    if (key_check(bad[i]) != KM_ERR_INVALID) {
      fail_msg("number %zu, '%s', was taken", i, bad[i]);
    }
  }
  assert_int_equal(km_entry_key_check("a\0b", 3, MAX_KEY, NULL), KM_ERR_INVALID);
  char longest[MAX_KEY + 1];
  memset(longest, 'k', sizeof longest);
  assert_int_equal(km_entry_key_check(longest, MAX_KEY, MAX_KEY, NULL), 0);
  assert_int_equal(km_entry_key_check(longest, MAX_KEY + 1, MAX_KEY, NULL), KM_ERR_INVALID);
}

/* --- order ------------------------------------------------------------------------------------ */

static int compare(const uint8_t *a, const uint8_t *b) {
  km_id a_id = {{a[1]}}, b_id = {{b[1]}};
  uint8_t a_hash[KM_ENTRY_HASH_BYTES] = {a[2]}, b_hash[KM_ENTRY_HASH_BYTES] = {b[2]};
  return km_entry_compare(a[0], &a_id, a_hash, b[0], &b_id, b_hash);
}

/* By clock, author, hash: the order of the numbers abc below. */
static void test_order_is_total(void **state) {
  (void)state;
  for (unsigned i = 0; i < 27; i++) {
    for (unsigned j = 0; j < 27; j++) {
      const uint8_t a[] = {(uint8_t)(i / 9 * 100), (uint8_t)(i / 3 % 3 * 100),
                           (uint8_t)(i % 3 * 100)};
      const uint8_t b[] = {(uint8_t)(j / 9 * 100), (uint8_t)(j / 3 % 3 * 100),
                           (uint8_t)(j % 3 * 100)};
      int order = compare(a, b);
      assert_int_equal(order > 0, i > j);
      assert_int_equal(order < 0, i < j);
    }
  }
  km_id id = {{0}};
  uint8_t hash[KM_ENTRY_HASH_BYTES] = {0};
  assert_true(km_entry_compare(UINT64_MAX, &id, hash, 1, &id, hash) > 0);
  assert_true(km_entry_compare(0, &id, hash, UINT64_MAX, &id, hash) < 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_vector),
      TEST(test_what_is_signed),
      TEST(test_round_trip),
      TEST(test_two_in_a_row),
      TEST(test_everything_is_signed),
      TEST(test_unsigned),
      TEST(test_cut_short),
      TEST(test_flags),
      TEST(test_limits),
      TEST(test_lengths),
      TEST(test_bad_key_refused),
      TEST(test_empty_value_and_deletion),
      cmocka_unit_test(test_share_names),
      cmocka_unit_test(test_keys),
      cmocka_unit_test(test_order_is_total),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
