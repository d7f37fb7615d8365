/* Who may ask for the status page. */
#include "cmd/node/page/page_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define S KM_NS_PER_S

static km_udp_addr at(const char *text) {
  km_udp_addr addr = {0};
  assert_int_equal(km_udp_addr_parse(&addr, text, strlen(text), NULL), 0);
  return addr;
}

static void hosts_that_are_ours(void **state) {
  (void)state;
  static const struct {
    const char *field, *local, *configured;
  } rows[] = {
      {"127.0.0.1:52180", "127.0.0.1:52180", "127.0.0.1"},
      {"localhost:52180", "127.0.0.1:52180", "127.0.0.1"},
      {"LocalHost:52180", "127.0.0.1:52180", "127.0.0.1"},
      {"[::1]:52180", "[::1]:52180", "::1"},
      {"[0:0:0:0:0:0:0:1]:52180", "[::1]:52180", "::1"},
      {"127.0.0.2:52180", "127.0.0.1:52180", "127.0.0.1"},
      {"192.0.2.7:52180", "192.0.2.7:52180", "0.0.0.0"},
      {"192.0.2.7:52180", "[::ffff:192.0.2.7]:52180", "::"},
      {"[2001:db8::7]:52180", "[2001:db8::7]:52180", "::"},
      {"localhost", "127.0.0.1:80", "127.0.0.1"},
      {"[::1]", "[::1]:80", "::1"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    km_udp_addr local = at(rows[i].local);
    assert_true(page_host_is_ours(rows[i].field, &local, rows[i].configured));
  }
}

static void hosts_of_others(void **state) {
  (void)state;
  static const char *const fields[] = {
      "",
      ":52180",
      "evil.example:52180",
      "evil.example",
      "localhost",
      "localhost:80",
      "localhost:52181",
      "localhost.:52180",
      "localhost.evil.example:52180",
      "127.0.0.1.evil.example:52180",
      "evil.example:52180@127.0.0.1:52180",
      "127.0.0.1:52180,evil.example",
      "127.0.0.1:52180 ",
      " 127.0.0.1:52180",
      "127.0.0.1:052180",
      "127.0.0.1:+52180",
      "127.0.0.1:117716", /* 52180 + 65536 */
      "127.0.0.1:",
      "127.1:52180",
      "0x7f.0.0.1:52180",
      "2130706433:52180",
      "192.0.2.8:52180",
      "0.0.0.0:52180",
      "[::1:52180",
      "[::1]52180",
      "[]:52180",
      "::1:52180",
      "[::2]:52180",
      "[::ffff:192.0.2.8]:52180",
  };
  km_udp_addr local = at("127.0.0.1:52180");
  for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
    assert_false(page_host_is_ours(fields[i], &local, "127.0.0.1"));
  }
}

static void origins(void **state) {
  (void)state;
  assert_true(page_origin_is("http://127.0.0.1:52180", "127.0.0.1:52180"));
  assert_true(page_origin_is("http://LOCALHOST:52180", "localhost:52180"));
  assert_false(page_origin_is("https://127.0.0.1:52180", "127.0.0.1:52180"));
  assert_false(page_origin_is("http://localhost:52180", "127.0.0.1:52180"));
  assert_false(page_origin_is("http://127.0.0.1:3000", "127.0.0.1:52180"));
  assert_false(page_origin_is("http://evil.example", "127.0.0.1:52180"));
  assert_false(page_origin_is("null", "127.0.0.1:52180"));
  assert_false(page_origin_is("", ""));
}

static void loopback(void **state) {
  (void)state;
  static const char *const yes[] = {"127.0.0.1:1", "127.9.8.7:1", "[::1]:1",
                                    "[::ffff:127.0.0.1]:1"};
  static const char *const no[] = {"0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1",
                                   "[fe80::1]:1"};
  for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
    km_udp_addr addr = at(yes[i]);
    assert_true(page_is_loopback(&addr));
  }
  for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
    km_udp_addr addr = at(no[i]);
    assert_false(page_is_loopback(&addr));
  }
}

static void tokens_and_their_cookies(void **state) {
  (void)state;
  page_token t, other, again;
  page_token_init(&t, "correct horse");
  page_token_init(&again, "correct horse");
  page_token_init(&other, "battery staple");
  assert_true(page_token_is(&t, "correct horse"));
  assert_false(page_token_is(&t, "correct hors"));
  assert_false(page_token_is(&t, "correct horse "));
  assert_false(page_token_is(&t, ""));
  /* A restart keeps pages open; the token cannot be read off a cookie, nor used as one. */
  assert_string_equal(t.cookie, again.cookie);
  assert_true(page_cookie_is(&t, again.cookie));
  assert_false(page_cookie_is(&t, other.cookie));
  assert_false(page_cookie_is(&t, "correct horse"));
  assert_false(page_cookie_is(&t, ""));
  assert_false(page_token_is(&t, t.cookie));
  assert_null(strstr(t.cookie, "horse"));
}

static void wrong_tokens_are_counted_by_source(void **state) {
  (void)state;
  static page_guesses g;
  km_udp_addr guesser = at("192.0.2.1:1"), port = at("192.0.2.1:2");
  page_guesses_init(&g, &km_env_system, 5 * S);
  for (int i = 0; i < PAGE_GUESS_BURST; i++) {
    assert_true(page_guesses_may(&g, &guesser, 5 * S));
    page_guesses_wrong(&g, &guesser, 5 * S);
  }
  assert_false(page_guesses_may(&g, &guesser, 5 * S));
  assert_false(page_guesses_may(&g, &port, 5 * S));
  /* Asking is free; one more a second. */
  assert_false(page_guesses_may(&g, &guesser, 5 * S + S / 2));
  assert_true(page_guesses_may(&g, &guesser, 6 * S));
  page_guesses_wrong(&g, &guesser, 6 * S);
  assert_false(page_guesses_may(&g, &guesser, 6 * S));
  /* Nearly everybody else is let try: a few may share the slot. */
  int may = 0;
  for (uint8_t i = 0; i < 200; i++) {
    km_udp_addr other = {.family = 4, .port = 1, .ip = {198, 51, 100, i}};
    may += page_guesses_may(&g, &other, 6 * S);
  }
  assert_true(may > 180);
}

static void a_v6_network_is_one_source(void **state) {
  (void)state;
  static page_guesses g;
  km_udp_addr a = at("[2001:db8:1:2::1]:1"), b = at("[2001:db8:1:2:ffff::9]:1");
  page_guesses_init(&g, &km_env_system, 0);
  for (int i = 0; i < PAGE_GUESS_BURST; i++) {
    page_guesses_wrong(&g, &a, 0);
  }
  assert_false(page_guesses_may(&g, &b, 0));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(hosts_that_are_ours),
      cmocka_unit_test(hosts_of_others),
      cmocka_unit_test(origins),
      cmocka_unit_test(loopback),
      cmocka_unit_test(tokens_and_their_cookies),
      cmocka_unit_test(wrong_tokens_are_counted_by_source),
      cmocka_unit_test(a_v6_network_is_one_source),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
