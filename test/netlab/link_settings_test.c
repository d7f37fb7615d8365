/* test/netlab/link_settings.c: what may be said to the link emulator. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/env.h"
#include "test/netlab/link_settings.h"

static int say(pipe_options *ab, pipe_options *ba, const char *text) {
  char line[256];
  km_errinfo err = {0};
  (void)snprintf(line, sizeof line, "%s", text);
  int rv = settings_line(ab, ba, line, &err);
  assert_int_equal(err.text[0] != '\0', rv != 0); /* a refusal says why */
  return rv;
}

static void every_setting_arrives(void **state) {
  (void)state;
  pipe_options ab, ba;
  pipe_options_default(&ab);
  ba = ab;
  assert_int_equal(say(&ab, &ba,
                       "delay=20 jitter=2.5 loss=8% burst=4 reorder=0.01 hold=7 dup=1% corrupt=0.5 "
                       "rate=12.5 queue=1000 buffer=2000 max=1280 cut=on"),
                   0);
  assert_int_equal(ab.link.delay_ns, 20000000);
  assert_int_equal(ab.link.jitter_ns, 2500000);
  assert_true(ab.link.loss > 0.0799 && ab.link.loss < 0.0801);
  assert_true(ab.burst > 3.9 && ab.burst < 4.1);
  assert_true(ab.link.reorder > 0.0099 && ab.link.reorder < 0.0101);
  assert_int_equal(ab.link.reorder_hold_ns, 7000000);
  assert_true(ab.link.dup > 0.0099 && ab.link.dup < 0.0101);
  assert_true(ab.link.corrupt > 0.49 && ab.link.corrupt < 0.51);
  assert_int_equal(ab.link.rate_bps, 12500000);
  assert_int_equal(ab.link.queue_bytes, 1000);
  assert_int_equal(ab.buffer_bytes, 2000);
  assert_int_equal(ab.max_len, 1280);
  assert_true(ab.blackhole);
  assert_int_equal(memcmp(&ab.link, &ba.link, sizeof ab.link), 0);
}

static void directions_are_told_apart(void **state) {
  (void)state;
  pipe_options ab, ba;
  pipe_options_default(&ab);
  ba = ab;
  assert_int_equal(say(&ab, &ba, "ab delay=1"), 0);
  assert_int_equal(say(&ab, &ba, "ba delay=2"), 0);
  assert_int_equal(ab.link.delay_ns, 1000000);
  assert_int_equal(ba.link.delay_ns, 2000000);
  assert_int_equal(say(&ab, &ba, "both cut=on"), 0);
  assert_true(ab.blackhole && ba.blackhole);
  assert_int_equal(say(&ab, &ba, "ba cut=off"), 0);
  assert_true(ab.blackhole && !ba.blackhole);
  assert_int_equal(say(&ab, &ba, ""), 0); /* nothing said, nothing changed */
  assert_true(ab.blackhole && !ba.blackhole);
}

static void a_bad_word_changes_nothing(void **state) {
  (void)state;
  static const char *const bad[] = {
      "delay",     "delay=",    "delay=-1",  "delay=1e9",         "delay=20ms",
      "delay=nan", "loss=1.1",  "loss=101%", "loss=-1%",          "loss=%",
      "rate=1e9",  "burst=1e9", "queue=1.5", "buffer=2000000000", "max=x",
      "cut=yes",   "cut=",      "speed=3",   "ab ba delay=1",     "delay=1 stats",
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    pipe_options ab, ba, before;
    char line[128];
    pipe_options_default(&before);
    ab = ba = before;
    (void)snprintf(line, sizeof line, "jitter=5 %s", bad[i]);
    assert_int_equal(say(&ab, &ba, line), KM_ERR_INVALID);
    assert_int_equal(ab.link.jitter_ns, before.link.jitter_ns);
    assert_int_equal(ba.link.jitter_ns, before.link.jitter_ns);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_setting_arrives),
      cmocka_unit_test(directions_are_told_apart),
      cmocka_unit_test(a_bad_word_changes_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
