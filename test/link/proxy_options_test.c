/* test/link/proxy_options.c: the command line of km-udp-proxy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/link/proxy_options.h"

enum { MAX_ARGS = 24 };

static int parse(proxy_options *ret, km_errinfo *err, const char *const *args) {
  char *argv[MAX_ARGS] = {"km-udp-proxy"};
  int argc = 1;
  for (; args[argc - 1] != NULL; argc++) {
    argv[argc] = (char *)(uintptr_t)args[argc - 1];
  }
  return proxy_options_parse(ret, argc, argv, err);
}

#define ADDRESSES "--listen", "127.0.0.1:0", "--to", "[::1]:4433"

static void everything_is_read(void **state) {
  (void)state;
  proxy_options o;
  const char *const args[] = {ADDRESSES,   "--loss", "0.25",   "--delay", "20",        "--jitter",
                              "2.5",       "--dup",  "1%",     "--json",  "--reorder", "50%",
                              "--rate",    "100",    "--seed", "77",      "--queue",   "1000",
                              "--corrupt", "1",      NULL};
  assert_int_equal(parse(&o, NULL, args), 0);
  assert_int_equal(o.listen.family, 4);
  assert_int_equal(o.listen.port, 0);
  assert_int_equal(o.to.family, 6);
  assert_int_equal(o.to.port, 4433);
  assert_true(o.link.loss == 0.25);
  assert_true(o.link.dup == 0.01);
  assert_true(o.link.reorder == 0.5);
  assert_true(o.link.corrupt == 1);
  assert_true(o.link.delay_ns == 20000000 && o.link.jitter_ns == 2500000);
  assert_true(o.link.rate_bps == 100000000);
  assert_int_equal(o.link.queue_bytes, 1000);
  assert_int_equal(o.seed, 77);
  assert_true(o.json);
}

static void nothing_is_perfect_by_default(void **state) {
  (void)state;
  proxy_options o;
  const char *const args[] = {ADDRESSES, NULL};
  assert_int_equal(parse(&o, NULL, args), 0);
  assert_true(o.link.loss == 0 && o.link.dup == 0 && o.link.corrupt == 0 && o.link.reorder == 0);
  assert_true(o.link.delay_ns == 0 && o.link.jitter_ns == 0 && o.link.rate_bps == 0);
  assert_false(o.json);
}

static void nonsense_is_refused_with_a_sentence(void **state) {
  (void)state;
  static const char *const bad[][8] = {
      {NULL},
      {"--listen", "127.0.0.1:1", NULL},
      {"--to", "127.0.0.1:1", NULL},
      {ADDRESSES, "--loss", NULL},
      {ADDRESSES, "--loss", "10", NULL},
      {ADDRESSES, "--loss", "-0.1", NULL},
      {ADDRESSES, "--loss", "nan", NULL},
      {ADDRESSES, "--loss", "", NULL},
      {ADDRESSES, "--loss", "101%", NULL},
      {ADDRESSES, "--dup", "0.1x", NULL},
      {ADDRESSES, "--reorder", "x", NULL},
      {ADDRESSES, "--corrupt", "2", NULL},
      {ADDRESSES, "--delay", "-1", NULL},
      {ADDRESSES, "--jitter", "1e9", NULL},
      {ADDRESSES, "--rate", "inf", NULL},
      {ADDRESSES, "--seed", "-1", NULL},
      {ADDRESSES, "--seed", "99999999999999999999", NULL},
      {ADDRESSES, "--queue", "1e3", NULL},
      {ADDRESSES, "--unknown", "1", NULL},
      {"--listen", "localhost:1", "--to", "127.0.0.1:1", NULL},
      {"--listen", "127.0.0.1:1", "--to", "127.0.0.1", NULL},
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    proxy_options o;
    km_errinfo err = {0};
    assert_int_equal(parse(&o, &err, bad[i]), KM_ERR_INVALID);
    assert_true(err.text[0] != '\0');
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(everything_is_read),
      cmocka_unit_test(nothing_is_perfect_by_default),
      cmocka_unit_test(nonsense_is_refused_with_a_sentence),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
