#include "base/secret_key.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/enc.h"
#include "test/base/test_env.h"
#include "test/base/vectors.h"

static km_secret_key *key_of(const char *text) {
  km_secret_key *key;
  assert_int_equal(km_secret_key_parse(&key, text, strlen(text), NULL), 0);
  return key;
}

static void assert_seed(const km_secret_key *key, const char *hex) {
  uint8_t seed[KM_SECRET_KEY_BYTES];
  km_secret_key_bytes(key, seed);
  assert_memory_equal(km_secret_key_seed(key), seed, sizeof seed);
  char text[2 * sizeof seed + 1];
  km_hex_encode(text, seed, sizeof seed);
  assert_string_equal(text, hex);
}

static void ids_and_signatures_are_those_of_the_binding(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT_OF(key_vectors); i++) {
    km_secret_key *key = key_of(key_vectors[i].secret);
    assert_seed(key, key_vectors[i].secret);
    km_id id;
    km_secret_key_id(key, &id);
    char text[2 * KM_SIGNATURE_BYTES + 1];
    assert_int_equal(km_id_format(&id, KM_ID_HEX, text, sizeof text), KM_ID_HEX_LEN);
    assert_string_equal(text, key_vectors[i].id);
    uint8_t sig[KM_SIGNATURE_BYTES];
    km_secret_key_sign(key, VECTOR_MESSAGE, sizeof VECTOR_MESSAGE - 1, sig);
    km_hex_encode(text, sig, sizeof sig);
    assert_string_equal(text, key_vectors[i].sig_message);
    km_secret_key_sign(key, "", 0, sig);
    km_hex_encode(text, sig, sizeof sig);
    assert_string_equal(text, key_vectors[i].sig_empty);
    km_secret_key_free(key);
  }
}

static void every_form_reads_back(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT_OF(key_vectors); i++) {
    km_secret_key *key = key_of(key_vectors[i].secret);
    for (int form = KM_KEY_HEX; form <= KM_KEY_PEM; form++) {
      char text[KM_SECRET_KEY_TEXT_CAP];
      int len = km_secret_key_format(key, (km_key_form)form, text, sizeof text);
      assert_true(len > 0);
      assert_int_equal(len, strlen(text));
      km_secret_key *back = key_of(text);
      assert_seed(back, key_vectors[i].secret);
      km_secret_key_free(back);
      assert_int_equal(km_secret_key_format(key, (km_key_form)form, text, (size_t)len + 1), len);
      assert_int_equal(km_secret_key_format(key, (km_key_form)form, text, (size_t)len),
                       KM_ERR_BUFFER);
      assert_int_equal(km_secret_key_format(key, (km_key_form)form, text, 0), KM_ERR_BUFFER);
    }
    char text[KM_SECRET_KEY_TEXT_CAP];
    assert_int_equal(km_secret_key_format(key, (km_key_form)99, text, sizeof text), KM_ERR_INVALID);
    km_secret_key_free(key);
  }
}

/* As openssl writes the key of RFC 8032 test 1 (openssl pkey -inform DER). */
#define PEM_BODY "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g"
#define PEM_HEAD "-----BEGIN PRIVATE KEY-----"
#define PEM_TAIL "-----END PRIVATE KEY-----"

static void reads_and_writes_the_pem_of_openssl(void **state) {
  (void)state;
  static const char pem[] = PEM_HEAD "\n" PEM_BODY "\n" PEM_TAIL "\n";
  static const char *const good[] = {
      pem,
      "\n \t" PEM_HEAD "\r\n" PEM_BODY "\r\n" PEM_TAIL "\r\n\r\n ",
      PEM_HEAD "\n" PEM_BODY "\n" PEM_TAIL,
  };
  for (size_t i = 0; i < COUNT_OF(good); i++) {
    km_secret_key *key = key_of(good[i]);
    assert_seed(key, key_vectors[2].secret);
    char text[KM_SECRET_KEY_TEXT_CAP];
    assert_int_equal(km_secret_key_format(key, KM_KEY_PEM, text, sizeof text), sizeof pem - 1);
    assert_string_equal(text, pem);
    km_secret_key_free(key);
  }
}

/* RFC 8410 section 10.3: version 2 with attributes is not read, with the public key alone it is. */
static void reads_version_2_when_its_public_key_fits(void **state) {
  (void)state;
  static const char fits[] =
      PEM_HEAD "\nMFECAQEwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
               "gSEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n" PEM_TAIL "\n";
  km_secret_key *key = key_of(fits);
  assert_seed(key, key_vectors[2].secret);
  km_secret_key_free(key);
  char other[sizeof fits];
  memcpy(other, fits, sizeof fits);
  strstr(other, "gSEA1")[4] = '2'; /* another public key */
  assert_int_equal(km_secret_key_parse(&key, other, strlen(other), NULL), KM_ERR_BAD_KEY);
}

static void refuses_what_is_no_key_and_never_repeats_it(void **state) {
  (void)state;
  static const char *const bad[] = {
      "",
      " ",
      "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f6",
      "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f6g",
      "9D61B19DEFFD5A60BA844AF492EC2CC44449C5697B326919703BAC031CAE7F60",
      "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60\n",
      " 9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
      "tvq3dhpp7vngboueqr6r2zbmmrceuszfu4wjsgkyb27fdy2e4vtkb7777777",
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
      PEM_HEAD,
      PEM_HEAD PEM_TAIL,
      PEM_HEAD "\n" PEM_TAIL,
      PEM_HEAD "\n" PEM_BODY "\n",
      PEM_BODY,
      PEM_HEAD "\n" PEM_BODY "\n" PEM_TAIL "\nx",
      "x" PEM_HEAD "\n" PEM_BODY "\n" PEM_TAIL,
      PEM_HEAD "\n" PEM_BODY "====\n" PEM_TAIL,
      PEM_HEAD "\n" PEM_BODY "AAAA\n" PEM_TAIL,
      PEM_HEAD "\n*" PEM_BODY "\n" PEM_TAIL,
      "-----BEGIN EC PRIVATE KEY-----\n" PEM_BODY "\n-----END EC PRIVATE KEY-----",
      /* X25519 instead of Ed25519; and a seed of 31 bytes. */
      PEM_HEAD "\nMC4CAQAwBQYDK2VuBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n" PEM_TAIL,
      PEM_HEAD "\nMC0CAQAwBQYDK2VwBCEEH51hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn8=\n" PEM_TAIL,
  };
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    km_secret_key *key = NULL;
    km_errinfo err = {0};
    assert_int_equal(km_secret_key_parse(&key, bad[i], strlen(bad[i]), &err), KM_ERR_BAD_KEY);
    assert_null(key);
    assert_int_equal(err.code, KM_ERR_BAD_KEY);
    assert_null(strstr(err.text, "9d61"));
    assert_null(strstr(err.text, "MC4C"));
  }
  char longer[5000];
  memset(longer, 'a', sizeof longer);
  km_secret_key *key;
  assert_int_equal(km_secret_key_parse(&key, longer, sizeof longer, NULL), KM_ERR_BAD_KEY);
  /* A PEM block of more base64 than any key has. */
  memcpy(longer, PEM_HEAD, sizeof PEM_HEAD - 1);
  memcpy(longer + sizeof longer - (sizeof PEM_TAIL - 1), PEM_TAIL, sizeof PEM_TAIL - 1);
  assert_int_equal(km_secret_key_parse(&key, longer, sizeof longer, NULL), KM_ERR_BAD_KEY);
}

static void generated_keys_differ_and_copies_do_not(void **state) {
  (void)state;
  km_secret_key *a;
  km_secret_key *b;
  km_secret_key *copy;
  assert_int_equal(km_secret_key_generate(&a), 0);
  assert_int_equal(km_secret_key_generate(&b), 0);
  assert_int_equal(km_secret_key_copy(&copy, a), 0);
  km_id id_a;
  km_id id_b;
  km_secret_key_id(a, &id_a);
  km_secret_key_id(b, &id_b);
  assert_false(km_id_equal(&id_a, &id_b));
  km_secret_key_free(a); /* the copy does not lean on it */
  km_id id_copy;
  km_secret_key_id(copy, &id_copy);
  assert_true(km_id_equal(&id_a, &id_copy));
  uint8_t sig[KM_SIGNATURE_BYTES];
  km_secret_key_sign(copy, "m", 1, sig);
  assert_int_equal(km_id_verify(&id_a, "m", 1, sig), 0);
  assert_int_equal(km_id_verify(&id_b, "m", 1, sig), KM_ERR_CRYPTO);
  km_secret_key_free(copy);
  km_secret_key_free(b);
  km_secret_key_free(NULL);
}

/* A daemon forks after it has loaded its key. */
static void a_key_works_in_a_forked_child(void **state) {
  (void)state;
  km_secret_key *key = key_of(key_vectors[1].secret);
  uint8_t expected[KM_SIGNATURE_BYTES];
  km_secret_key_sign(key, "m", 1, expected);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    uint8_t sig[KM_SIGNATURE_BYTES];
    km_secret_key_sign(key, "m", 1, sig);
    _exit(memcmp(sig, expected, sizeof sig) == 0 ? 0 : 1);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  km_secret_key_free(key);
}

/* Sanitizers and valgrind reserve address space of their own: no limit can be set there. */
#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                               \
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
static bool can_limit_memory(void) {
  return false;
}
#else
static bool can_limit_memory(void) {
  const char *preload = getenv("LD_PRELOAD");
  return preload == NULL || strstr(preload, "vgpreload") == NULL;
}
#endif

static int allocate_until_refused(void) {
  const struct rlimit limit = {.rlim_cur = (rlim_t)64 << 20, .rlim_max = (rlim_t)64 << 20};
  if (setrlimit(RLIMIT_AS, &limit) != 0) {
    return 77;
  }
  const uint8_t seed[KM_SECRET_KEY_BYTES] = {1};
  for (int i = 0; i < 100000; i++) {
    km_secret_key *key = NULL;
    int rv = km_secret_key_from_bytes(&key, seed);
    if (rv != 0) {
      return rv == KM_ERR_NOMEM && key == NULL ? 0 : 1;
    }
  }
  return 2; /* never refused */
}

static void running_out_of_memory_is_reported(void **state) {
  (void)state;
  if (!can_limit_memory()) {
    skip();
  }
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    _exit(allocate_until_refused());
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
    skip();
  }
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ids_and_signatures_are_those_of_the_binding),
      cmocka_unit_test(every_form_reads_back),
      cmocka_unit_test(reads_and_writes_the_pem_of_openssl),
      cmocka_unit_test(reads_version_2_when_its_public_key_fits),
      cmocka_unit_test(refuses_what_is_no_key_and_never_repeats_it),
      cmocka_unit_test(generated_keys_differ_and_copies_do_not),
      cmocka_unit_test(a_key_works_in_a_forked_child),
      cmocka_unit_test(running_out_of_memory_is_reported),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
