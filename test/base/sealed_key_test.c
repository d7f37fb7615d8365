/* Keys under a passphrase. */
#include "base/sealed_key.h"

#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/enc.h"
#include "base/wire.h"
#include "test/base/test_env.h"

#define PASS "correct horse"
#define HEAD_BYTES 49

/* As cheap as Argon2id can be. */
static const km_sealed_config cheap = {
    .passes = 1, .memory_kib = 8, .salt = "0123456789abcde", .nonce = "0123456789abcdef0123456"};

static const uint8_t seed[KM_SECRET_KEY_BYTES] = {1, 2, 3};

static int decode(const char *text, const char *passphrase) {
  uint8_t back[KM_SECRET_KEY_BYTES];
  int rv = km_sealed_key_decode(back, text, strlen(text), passphrase, strlen(passphrase));
  if (rv == 0) {
    assert_memory_equal(back, seed, sizeof seed);
  }
  return rv;
}

static void seal(char text[KM_SEALED_TEXT_CAP]) {
  int len = km_sealed_key_encode(seed, PASS, strlen(PASS), &cheap, text, KM_SEALED_TEXT_CAP);
  assert_int_equal(len, (int)strlen(text));
}

static void a_sealed_key_opens_with_its_passphrase_alone(void **state) {
  (void)state;
  char text[KM_SEALED_TEXT_CAP];
  seal(text);
  assert_true(km_sealed_key_is(text, strlen(text)));
  assert_int_equal(decode(text, PASS), 0);
  static const char *const others[] = {"", "correct hors", "correct horse ", "Correct horse"};
  for (size_t i = 0; i < COUNT_OF(others); i++) {
    assert_int_equal(decode(text, others[i]), KM_ERR_CRYPTO);
  }
}

/* docs/protocol-keyfile.md, by hand. */
static void the_layout_is_the_documented_one(void **state) {
  (void)state;
  char text[KM_SEALED_TEXT_CAP], expected[KM_SEALED_TEXT_CAP], b64[160];
  uint8_t bytes[97], ad[21 + HEAD_BYTES], key[32];
  km_wr wr = km_wr_init(bytes, sizeof bytes);
  km_wr_u8(&wr, 1);
  km_wr_be(&wr, 1, 4);
  km_wr_be(&wr, 8, 4);
  km_wr_bytes(&wr, cheap.salt, 16);
  km_wr_bytes(&wr, cheap.nonce, 24);
  memcpy(ad, "KeyMesh sealed key 1", 21);
  memcpy(ad + 21, bytes, HEAD_BYTES);
  assert_int_equal(crypto_pwhash(key, sizeof key, PASS, strlen(PASS), cheap.salt, 1, 8192,
                                 crypto_pwhash_ALG_ARGON2ID13),
                   0);
  assert_int_equal(crypto_aead_xchacha20poly1305_ietf_encrypt(
                       bytes + HEAD_BYTES, NULL, seed, 32, ad, sizeof ad, NULL, cheap.nonce, key),
                   0);
  sodium_bin2base64(b64, sizeof b64, bytes, sizeof bytes, sodium_base64_VARIANT_ORIGINAL);
  (void)snprintf(expected, sizeof expected,
                 "-----BEGIN KEYMESH SEALED KEY-----\n%.64s\n%.64s\n%s\n"
                 "-----END KEYMESH SEALED KEY-----\n",
                 b64, b64 + 64, b64 + 128);
  seal(text);
  assert_string_equal(text, expected);
}

static void the_example_of_the_document_opens(void **state) {
  (void)state;
  static const uint8_t expected[KM_SECRET_KEY_BYTES] = {7};
  uint8_t back[KM_SECRET_KEY_BYTES];
  char text[400] = "", line[256];
  bool inside = false;
  FILE *file = fopen(KM_KEYFILE_DOCUMENT, "r");
  assert_non_null(file);
  while (fgets(line, sizeof line, file) != NULL) {
    inside = inside || strcmp(line, KM_SEALED_BEGIN "\n") == 0;
    if (inside) {
      size_t len = strlen(text);
      assert_true(snprintf(text + len, sizeof text - len, "%s", line) < (int)(sizeof text - len));
    }
    inside = inside && strcmp(line, KM_SEALED_END "\n") != 0;
  }
  assert_int_equal(fclose(file), 0);
  assert_int_equal(km_sealed_key_decode(back, text, strlen(text), "pass", 4), 0);
  assert_memory_equal(back, expected, sizeof back);
}

static void every_changed_character_is_noticed(void **state) {
  (void)state;
  char text[KM_SEALED_TEXT_CAP];
  seal(text);
  size_t len = strlen(text), begin = sizeof KM_SEALED_BEGIN;
  /* Behind version and parameters, which the next test is about: with others it would be dear. */
  for (size_t i = begin + 12; i < len - sizeof KM_SEALED_END; i++) {
    char was = text[i];
    if (was != '\n' && was != '=') {
      text[i] = was == 'A' ? 'B' : 'A';
      int rv = decode(text, PASS);
      assert_true(rv == KM_ERR_BAD_KEY || rv == KM_ERR_CRYPTO);
      text[i] = was;
    }
  }
  assert_int_equal(decode(text, PASS), 0);
}

/* A text with these parameters, as a hostile file may have it. */
static int decode_with(uint8_t version, uint32_t passes, uint32_t memory_kib, size_t len) {
  uint8_t bytes[128] = {0};
  char b64[256], text[400];
  km_wr wr = km_wr_init(bytes, sizeof bytes);
  km_wr_u8(&wr, version);
  km_wr_be(&wr, passes, 4);
  km_wr_be(&wr, memory_kib, 4);
  sodium_bin2base64(b64, sizeof b64, bytes, len, sodium_base64_VARIANT_ORIGINAL);
  (void)snprintf(text, sizeof text, "%s\n%s\n%s\n", KM_SEALED_BEGIN, b64, KM_SEALED_END);
  assert_true(km_sealed_key_is(text, strlen(text)));
  return decode(text, PASS);
}

static void a_file_cannot_ask_for_more_than_the_bounds(void **state) {
  (void)state;
  assert_int_equal(decode_with(1, 1, 8, 97), KM_ERR_CRYPTO);
  assert_int_equal(decode_with(1, 16, 8, 97), KM_ERR_CRYPTO);
  static const struct {
    uint8_t version;
    uint32_t passes, memory_kib;
    size_t len;
  } bad[] = {{0, 1, 8, 97},          {2, 1, 8, 97}, {1, 0, 8, 97}, {1, 17, 8, 97},
             {1, UINT32_MAX, 8, 97}, {1, 1, 7, 97}, {1, 1, 0, 97}, {1, 1, 1048577, 97},
             {1, 1, UINT32_MAX, 97}, {1, 1, 8, 96}, {1, 1, 8, 98}, {1, 1, 8, 0}};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    assert_int_equal(decode_with(bad[i].version, bad[i].passes, bad[i].memory_kib, bad[i].len),
                     KM_ERR_BAD_KEY);
  }
  char text[KM_SEALED_TEXT_CAP];
  km_sealed_config c = cheap;
  c.memory_kib = KM_SEALED_MEMORY_KIB_MAX + 1;
  assert_int_equal(km_sealed_key_encode(seed, PASS, 13, &c, text, sizeof text), KM_ERR_INVALID);
  c = cheap;
  c.passes = 0;
  assert_int_equal(km_sealed_key_encode(seed, PASS, 13, &c, text, sizeof text), KM_ERR_INVALID);
  seal(text);
  for (size_t cap = 0; cap <= strlen(text); cap++) {
    char small[KM_SEALED_TEXT_CAP];
    assert_int_equal(km_sealed_key_encode(seed, PASS, 13, &cheap, small, cap), KM_ERR_BUFFER);
  }
}

static void only_the_two_lines_make_a_sealed_key(void **state) {
  (void)state;
  char text[KM_SEALED_TEXT_CAP], more[KM_SEALED_TEXT_CAP + 8];
  seal(text);
  size_t len = strlen(text);
  assert_false(km_sealed_key_is("", 0));
  assert_false(km_sealed_key_is(text, len - 2)); /* without its last character */
  assert_false(km_sealed_key_is(text + 1, len - 1));
  (void)snprintf(more, sizeof more, "\r\n %s\n\t", text);
  assert_int_equal(decode(more, PASS), 0);
  (void)snprintf(more, sizeof more, "%sx", text);
  assert_int_equal(decode(more, PASS), KM_ERR_BAD_KEY);
}

/* --- files ------------------------------------------------------------------------------------ */

typedef struct fixture {
  char dir[64], path[96];
  km_secret_key *key;
} fixture;

static int set_up(void **state) {
  fixture *f = calloc(1, sizeof *f);
  assert_non_null(f);
  memcpy(f->dir, "km-sealed-test.XXXXXX", 22);
  assert_non_null(mkdtemp(f->dir));
  (void)snprintf(f->path, sizeof f->path, "%s/key", f->dir);
  assert_int_equal(km_secret_key_from_bytes(&f->key, seed), 0);
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  fixture *f = *state;
  (void)unlink(f->path);              /* not every test leaves one */
  assert_int_equal(rmdir(f->dir), 0); /* fails where something was left behind */
  km_secret_key_free(f->key);
  free(f);
  return 0;
}

static void write_file(const char *path, const char *text, mode_t mode) {
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  assert_true(fputs(text, file) >= 0);
  assert_int_equal(fclose(file), 0);
  assert_int_equal(chmod(path, mode), 0);
}

/* The real parameters: 256 MiB, three passes. */
static void a_saved_file_is_private_and_opens(void **state) {
  fixture *f = *state;
  char pass[] = "gr\xc3\xbc\xc3\x9f\0 dich"; /* any bytes */
  km_secret_key *key = NULL;
  km_errinfo err = {0};
  assert_int_equal(km_secret_key_save_sealed(f->key, f->path, pass, sizeof pass, &err), 0);
  struct stat st;
  assert_int_equal(stat(f->path, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0600);
  assert_true(km_secret_key_is_sealed(f->path));
  assert_int_equal(km_secret_key_load_sealed(&key, f->path, pass, sizeof pass, &err), 0);
  uint8_t back[KM_SECRET_KEY_BYTES];
  km_secret_key_bytes(key, back);
  assert_memory_equal(back, seed, sizeof seed);
  km_secret_key_free(key);
  assert_int_equal(km_secret_key_save_sealed(f->key, f->path, pass, sizeof pass, &err),
                   KM_ERR_FILE_EXISTS);
  /* What the file says it costs. */
  char line[128];
  uint8_t bytes[9];
  FILE *file = fopen(f->path, "r");
  assert_non_null(file);
  assert_non_null(fgets(line, sizeof line, file));
  assert_non_null(fgets(line, sizeof line, file));
  assert_int_equal(fclose(file), 0);
  assert_int_equal(sodium_base642bin(bytes, sizeof bytes, line, 12, NULL, NULL, NULL,
                                     sodium_base64_VARIANT_ORIGINAL),
                   0);
  static const uint8_t expected[] = {1, 0, 0, 0, 3, 0, 4, 0, 0};
  assert_memory_equal(bytes, expected, sizeof expected);
}

static void what_fails_says_what_to_do(void **state) {
  fixture *f = *state;
  char text[KM_SEALED_TEXT_CAP];
  km_secret_key *key = NULL;
  km_errinfo err = {0};
  seal(text);
  write_file(f->path, text, 0600);
  assert_int_equal(km_secret_key_load(&key, f->path, &err), KM_ERR_KEY_SEALED);
  assert_non_null(strstr(err.text, "sealed: it is opened with its passphrase"));
  assert_int_equal(km_secret_key_load_sealed(&key, f->path, "wrong", 5, &err), KM_ERR_KEY_SEALED);
  assert_non_null(strstr(err.text, "passphrase does not open"));
  assert_int_equal(km_secret_key_load_sealed(&key, f->path, "", 0, &err), KM_ERR_INVALID);
  assert_int_equal(km_secret_key_load_sealed(&key, f->path, PASS, 1025, &err), KM_ERR_INVALID);
  assert_int_equal(km_secret_key_load_sealed(&key, f->path, NULL, 3, &err), KM_ERR_INVALID);
  assert_int_equal(km_secret_key_save_sealed(f->key, "", PASS, 13, &err), KM_ERR_FILE_NOT_FOUND);
  assert_null(key);
  assert_int_equal(km_secret_key_load_sealed(&key, f->path, PASS, strlen(PASS), &err), 0);
  km_secret_key_free(key);
  key = NULL;

  assert_int_equal(chmod(f->path, 0644), 0);
  assert_false(km_secret_key_is_sealed(f->path));
  assert_int_equal(km_secret_key_load_sealed(&key, f->path, PASS, 13, &err), KM_ERR_KEY_FILE_MODE);
  assert_int_equal(unlink(f->path), 0);
  assert_false(km_secret_key_is_sealed(f->path));
  assert_int_equal(km_secret_key_load_sealed(&key, f->path, PASS, 13, &err), KM_ERR_FILE_NOT_FOUND);

  assert_int_equal(km_secret_key_save(f->key, f->path, NULL), 0);
  assert_false(km_secret_key_is_sealed(f->path));
  assert_int_equal(km_secret_key_load_sealed(&key, f->path, PASS, 13, &err), KM_ERR_BAD_KEY_FILE);
  assert_non_null(strstr(err.text, "not sealed"));
  assert_int_equal(unlink(f->path), 0);

  write_file(f->path, KM_SEALED_BEGIN "\nAAAA\n" KM_SEALED_END "\n", 0600);
  assert_int_equal(km_secret_key_load_sealed(&key, f->path, PASS, 13, &err), KM_ERR_BAD_KEY_FILE);
  assert_non_null(strstr(err.text, "damaged"));
  assert_null(key);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_sealed_key_opens_with_its_passphrase_alone),
      cmocka_unit_test(the_layout_is_the_documented_one),
      cmocka_unit_test(the_example_of_the_document_opens),
      cmocka_unit_test(every_changed_character_is_noticed),
      cmocka_unit_test(a_file_cannot_ask_for_more_than_the_bounds),
      cmocka_unit_test(only_the_two_lines_make_a_sealed_key),
      cmocka_unit_test_setup_teardown(a_saved_file_is_private_and_opens, set_up, tear_down),
      cmocka_unit_test_setup_teardown(what_fails_says_what_to_do, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
