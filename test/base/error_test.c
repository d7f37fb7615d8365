#include <errno.h>

#include "test/base/test_env.h"

/* Numbers are part of the interface: a code is never given another number, and a number never
 * another meaning. Append new codes here. */
static const struct {
  const char *name;
  int code;
} frozen[] = {
    {"OK", 0},
    {"INVALID", -1},
    {"NOMEM", -2},
    {"CLOSED", -3},
    {"LIMIT", -4},
    {"TIMEOUT", -5},
    {"AGAIN", -6},
    {"UNSUPPORTED", -7},
    {"STATE", -8},
    {"THREAD", -9},
    {"INTERNAL", -10},
    {"NOT_FOUND", -11},
    {"CANCELLED", -12},
    {"BUFFER", -13},
    {"SYSTEM", -100},
    {"ADDR_IN_USE", -101},
    {"ADDR_NOT_AVAILABLE", -102},
    {"PERMISSION", -103},
    {"NO_SPACE", -104},
    {"FILE_NOT_FOUND", -105},
    {"FILE_EXISTS", -106},
    {"IO", -107},
    {"NO_NETWORK", -108},
    {"UNREACHABLE", -200},
    {"NO_ADDRESS", -201},
    {"NO_PATH", -202},
    {"IDLE_TIMEOUT", -203},
    {"PATH_REFUSED", -204},
    {"NO_DIRECT_PATH", -205},
    {"BAD_ID", -300},
    {"BAD_KEY", -301},
    {"BAD_KEY_FILE", -302},
    {"KEY_FILE_MODE", -303},
    {"WRONG_PEER", -304},
    {"BAD_TICKET", -305},
    {"BAD_ADDR", -306},
    {"BAD_RELAY_URL", -307},
    {"SELF_DIAL", -308},
    {"CRYPTO", -309},
    {"TLS", -310},
    {"KEY_SEALED", -311},
    {"ALPN_REFUSED", -400},
    {"BAD_ALPN", -401},
    {"REFUSED", -402},
    {"RESET_BY_PEER", -403},
    {"CLOSED_BY_PEER", -404},
    {"TRANSPORT", -405},
    {"VERSION", -406},
    {"STREAM_STOPPED", -407},
    {"STREAM_RESET", -408},
    {"STREAM_FINISHED", -409},
    {"STREAM_LIMIT", -410},
    {"DATAGRAM_TOO_LARGE", -411},
    {"EARLY_DATA_REJECTED", -412},
    {"RELAY_PROTOCOL", -500},
    {"RELAY_DENIED", -501},
    {"RELAY_TLS", -502},
    {"RELAY_UNREACHABLE", -503},
    {"RELAY_HTTP", -504},
    {"RELAY_LOST", -505},
    {"BAD_PACKET", -600},
    {"BAD_RECORD", -601},
    {"RECORD_EXPIRED", -602},
    {"STALE_PACKET", -603},
    {"SERVER_UNREACHABLE", -604},
    {"SERVER_HTTP", -605},
    {"SERVER_TLS", -606},
    {"DNS", -607},
    {"STORE", -700},
    {"STORE_DAMAGED", -701},
    {"STORE_BUSY", -702},
};

static void numbers_and_names_are_frozen(void **state) {
  (void)state;
  static const int all[] = {
      KM_OK,
#define KM_ERR(name, number, sentence, hint) KM_ERR_##name,
#include <keymesh/error.def>
#undef KM_ERR
  };
  assert_int_equal(COUNT_OF(all), COUNT_OF(frozen));
  for (size_t i = 0; i < COUNT_OF(frozen); i++) {
    assert_int_equal(all[i], frozen[i].code);
    assert_string_equal(km_error_name(frozen[i].code), frozen[i].name);
    for (size_t j = 0; j < i; j++) {
      assert_int_not_equal(all[i], all[j]);
    }
  }
}

static void every_code_has_a_sentence_that_fits(void **state) {
  (void)state;
  km_errinfo err;
  for (size_t i = 1; i < COUNT_OF(frozen); i++) {
    const char *sentence = km_strerror(frozen[i].code);
    assert_true(strlen(sentence) > 0 && strlen(sentence) < sizeof err.text);
    assert_true(strlen(km_error_hint(frozen[i].code)) > 0);
    assert_int_equal(km_fail(&err, frozen[i].code, NULL), frozen[i].code);
    assert_string_equal(err.text, sentence);
  }
  assert_string_equal(km_error_name(1), "UNKNOWN");
  assert_string_equal(km_error_name(-99999), "UNKNOWN");
  assert_string_equal(km_strerror(1), "unknown error");
  assert_string_equal(km_error_hint(1), "");
  assert_string_equal(km_strerror(0), "success");
}

static void fail_fills_all_of_the_info(void **state) {
  (void)state;
  km_errinfo err;
  memset(&err, 0xa5, sizeof err);
  assert_int_equal(km_fail(&err, KM_ERR_LIMIT, "%d of %s", 3, "x\ny\x1b"), KM_ERR_LIMIT);
  assert_int_equal(err.code, KM_ERR_LIMIT);
  assert_int_equal(err.sys_errno, 0);
  assert_true(err.peer_code == 0);
  assert_string_equal(err.text, "3 of x?y?");
  assert_int_equal(km_fail(NULL, KM_ERR_LIMIT, "%s", "x"), KM_ERR_LIMIT);
  /* An argument may be the old text itself. */
  assert_int_equal(km_fail(&err, KM_ERR_STATE, "again: %s", err.text), KM_ERR_STATE);
  assert_string_equal(err.text, "again: 3 of x?y?");
}

static void long_texts_are_cut_between_characters(void **state) {
  (void)state;
  km_errinfo err;
  char text[400];
  memset(text, 'a', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  memcpy(text + sizeof err.text - 2, "\xe2\x82\xac", 3); /* its first byte is the last that fits */
  assert_int_equal(km_fail(&err, KM_ERR_IO, "%s", text), KM_ERR_IO);
  assert_int_equal(strlen(err.text), sizeof err.text - 2);
}

static void errno_becomes_a_code(void **state) {
  (void)state;
  static const struct {
    int sys_errno, code;
  } cases[] = {
      {0, KM_OK},
      {ENOMEM, KM_ERR_NOMEM},
      {EAGAIN, KM_ERR_AGAIN},
      {ETIMEDOUT, KM_ERR_TIMEOUT},
      {EADDRINUSE, KM_ERR_ADDR_IN_USE},
      {EADDRNOTAVAIL, KM_ERR_ADDR_NOT_AVAILABLE},
      {EACCES, KM_ERR_PERMISSION},
      {EPERM, KM_ERR_PERMISSION},
      {EROFS, KM_ERR_PERMISSION},
      {ENOSPC, KM_ERR_NO_SPACE},
      {EDQUOT, KM_ERR_NO_SPACE},
      {ENOENT, KM_ERR_FILE_NOT_FOUND},
      {ENOTDIR, KM_ERR_FILE_NOT_FOUND},
      {EEXIST, KM_ERR_FILE_EXISTS},
      {EIO, KM_ERR_IO},
      {EISDIR, KM_ERR_IO},
      {ENETUNREACH, KM_ERR_NO_NETWORK},
      {EHOSTUNREACH, KM_ERR_NO_NETWORK},
      {ENETDOWN, KM_ERR_NO_NETWORK},
      {EAFNOSUPPORT, KM_ERR_UNSUPPORTED},
      {ENOSYS, KM_ERR_UNSUPPORTED},
      {EMFILE, KM_ERR_SYSTEM},
      {99999, KM_ERR_SYSTEM},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    assert_int_equal(km_error_from_errno(cases[i].sys_errno), cases[i].code);
  }
}

static void errno_is_told_in_words(void **state) {
  (void)state;
  km_errinfo err;
  assert_int_equal(km_fail_errno(&err, EACCES, "cannot bind %s", "127.0.0.1:443"),
                   KM_ERR_PERMISSION);
  assert_string_equal(err.text, "cannot bind 127.0.0.1:443: permission denied");
  assert_int_equal(err.code, KM_ERR_PERMISSION);
  assert_int_equal(err.sys_errno, EACCES);
  assert_int_equal(km_fail_errno(&err, ENOSPC, NULL), KM_ERR_NO_SPACE);
  assert_string_equal(err.text, "no space left on device");
  assert_int_equal(km_fail_errno(NULL, ENOSPC, "x"), KM_ERR_NO_SPACE);
  /* However long the rest is, the reason stays readable. */
  char path[400];
  memset(path, 'p', sizeof path - 1);
  path[sizeof path - 1] = '\0';
  assert_int_equal(km_fail_errno(&err, ENOENT, "%s", path), KM_ERR_FILE_NOT_FOUND);
  assert_non_null(strstr(err.text, "pp: no such file or directory"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(numbers_and_names_are_frozen),
      cmocka_unit_test(every_code_has_a_sentence_that_fits),
      cmocka_unit_test(fail_fills_all_of_the_info),
      cmocka_unit_test(long_texts_are_cut_between_characters),
      cmocka_unit_test(errno_becomes_a_code),
      cmocka_unit_test(errno_is_told_in_words),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
