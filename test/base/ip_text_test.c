#include "base/ip_text.h"

#include <arpa/inet.h>

#include "test/base/test_env.h"

static void ip4_has_one_spelling(void **state) {
  (void)state;
  static const char *const bad[] = {"",         "1",         "1.2.3",     "1.2.3.4.5", "1.2.3.4.",
                                    ".1.2.3.4", "1..2.3",    "256.1.1.1", "01.2.3.4",  "1.2.3.00",
                                    "1.2.3.4 ", " 1.2.3.4",  "0x1.2.3.4", "1.2.3.-4",  "1.2.3.1000",
                                    "1,2,3,4",  "1.2.3.4\n", "a.b.c.d"};
  uint8_t ip[4] = {9, 9, 9, 9};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    assert_false(km_ip4_parse(ip, bad[i], strlen(bad[i])));
    assert_int_equal(ip[0], 9);
  }
  static const char *const good[] = {"0.0.0.0", "255.255.255.255", "192.0.2.10", "1.20.100.0"};
  for (size_t i = 0; i < COUNT_OF(good); i++) {
    assert_true(km_ip4_parse(ip, good[i], strlen(good[i])));
    char text[KM_IP_TEXT_CAP];
    assert_int_equal(km_ip4_format(text, ip), strlen(good[i]));
    assert_string_equal(text, good[i]);
  }
}

/* What each text is printed as, in either style; NULL for texts that are refused. */
static const struct {
  const char *text, *rfc5952, *url;
} ip6[] = {
    {"::", "::", "::"},
    {"::1", "::1", "::1"},
    {"1::", "1::", "1::"},
    {"0:0:0:0:0:0:0:0", "::", "::"},
    {"2001:DB8::0001", "2001:db8::1", "2001:db8::1"},
    {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1", "2001:db8::1:0:0:1"},
    {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1", "2001:0:0:1::1"},
    {"1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"},
    {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:0"},
    {"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"},
    {"1:0:0:0:0:0:0:0", "1::", "1::"},
    {"::ffff:10.0.0.1", "::ffff:10.0.0.1", "::ffff:a00:1"},
    {"::ffff:0:1", "::ffff:0.0.0.1", "::ffff:0:1"},
    {"::1.2.3.4", "::102:304", "::102:304"},
    {"1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304", "1:2:3:4:5:6:102:304"},
    {"1::1.2.3.4", "1::102:304", "1::102:304"},
    {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    {"", NULL, NULL},
    {":", NULL, NULL},
    {":::", NULL, NULL},
    {"1", NULL, NULL},
    {":1", NULL, NULL},
    {"1:", NULL, NULL},
    {"1::2::3", NULL, NULL},
    {"1:::2", NULL, NULL},
    {"::1:", NULL, NULL},
    {"1:2:3:4:5:6:7", NULL, NULL},
    {"1:2:3:4:5:6:7:8:9", NULL, NULL},
    {"1:2:3:4:5:6:7:8::", NULL, NULL},
    {"1:2:3:4::5:6:7:8", NULL, NULL},
    {"12345::", NULL, NULL},
    {"g::", NULL, NULL},
    {"::1%1", NULL, NULL},
    {"1.2.3.4", NULL, NULL},
    {"1:2:3:4:5:6:7:1.2.3.4", NULL, NULL},
    {"1:2:3:4:5:6::1.2.3.4", NULL, NULL},
    {"::1.2.3.04", NULL, NULL},
    {"::1.2.3.256", NULL, NULL},
    {"::1.2.3", NULL, NULL},
    {"::1.2.3.4:1", NULL, NULL},
    {"::1 ", NULL, NULL},
    {"[::1]", NULL, NULL},
};

static void ip6_follows_rfc_4291_and_5952(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT_OF(ip6); i++) {
    uint8_t ip[16];
    memset(ip, 0xa5, sizeof ip);
    assert_int_equal(km_ip6_parse(ip, ip6[i].text, strlen(ip6[i].text)), ip6[i].rfc5952 != NULL);
    if (ip6[i].rfc5952 == NULL) {
      assert_int_equal(ip[0], 0xa5);
      continue;
    }
    char text[KM_IP_TEXT_CAP];
    assert_int_equal(km_ip6_format(text, ip, KM_IP6_RFC5952), strlen(ip6[i].rfc5952));
    assert_string_equal(text, ip6[i].rfc5952);
    (void)km_ip6_format(text, ip, KM_IP6_URL);
    assert_string_equal(text, ip6[i].url);
  }
}

/* The C library reads the same bytes out of whatever is printed. */
static void every_pattern_of_zero_groups_reads_back(void **state) {
  (void)state;
  for (unsigned pattern = 0; pattern < 256; pattern++) {
    uint8_t ip[16] = {0};
    for (unsigned group = 0; group < 8; group++) {
      if ((pattern >> group & 1) != 0) {
        ip[2 * group] = (uint8_t)(0xf0 >> group);
        ip[2 * group + 1] = (uint8_t)(group + 1);
      }
    }
    for (int style = KM_IP6_RFC5952; style <= KM_IP6_URL; style++) {
      char text[KM_IP_TEXT_CAP];
      size_t len = km_ip6_format(text, ip, (km_ip6_style)style);
      uint8_t ours[16];
      uint8_t theirs[16];
      assert_int_equal(inet_pton(AF_INET6, text, theirs), 1);
      assert_memory_equal(theirs, ip, sizeof ip);
      assert_true(km_ip6_parse(ours, text, len));
      assert_memory_equal(ours, ip, sizeof ip);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ip4_has_one_spelling),
      cmocka_unit_test(ip6_follows_rfc_4291_and_5952),
      cmocka_unit_test(every_pattern_of_zero_groups_reads_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
