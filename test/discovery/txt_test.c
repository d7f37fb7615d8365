#include "discovery/txt.h"

#include <string.h>

#include "base/wire.h"
#include "discovery/dns_message.h"
#include "test/relay/hex.h"

#define ID "79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664"
#define Z32 "xg4icmwxh3kx1odasrjqtkcmw6eb9bj4h4k57i9yhqeozmer131y"
#define OTHER "47pjoycnsrfmxikm95jh13y88e8qnhzu5kungjpxyepgt7a8krpy"
#define OWNER "_iroh." Z32 ".dns.example"
#define RECORD_OWNER "_kmrecord." Z32 ".dns.example"

static km_id make_id(void) {
  km_id id;
  assert_int_equal(km_id_parse(&id, ID, strlen(ID), NULL), 0);
  return id;
}

/* --- an answer ---------------------------------------------------------------------------------*/

typedef struct answer {
  uint8_t bytes[65536];
  km_wr wr;
} answer;

static void begin(answer *a) {
  a->wr = km_wr_init(a->bytes, sizeof a->bytes);
  km_wr_be(&a->wr, 0x1234, 2);
  km_wr_be(&a->wr, 0x8180, 2);
  km_wr_be(&a->wr, 0, 8);
}

static size_t size_of(const answer *a) {
  assert_false(a->wr.failed);
  return (size_t)(a->wr.at - a->bytes);
}

/* As the text has it, letters in capitals too. */
static void put_name(answer *a, const char *text) {
  while (*text != '\0') {
    size_t n = strcspn(text, ".");
    km_wr_u8(&a->wr, (uint8_t)n);
    km_wr_bytes(&a->wr, text, n);
    text += n;
    text += *text == '.';
  }
  km_wr_u8(&a->wr, 0);
}

/* `section`: 1 answer, 2 authority, 3 additional. */
static void put_head(answer *a, int section, const char *owner, uint16_t type, uint16_t class_,
                     uint32_t ttl_s) {
  put_name(a, owner);
  km_wr_be(&a->wr, type, 2);
  km_wr_be(&a->wr, class_, 2);
  km_wr_be(&a->wr, ttl_s, 4);
  uint8_t *count = a->bytes + 4 + 2 * section;
  uint16_t n = (uint16_t)((count[0] << 8 | count[1]) + 1);
  count[0] = (uint8_t)(n >> 8);
  count[1] = (uint8_t)n;
}

static void put_txt(answer *a, const char *owner, uint32_t ttl_s, const char *text) {
  put_head(a, 1, owner, 16, 1, ttl_s);
  km_wr_be(&a->wr, strlen(text) + 1, 2);
  km_wr_u8(&a->wr, (uint8_t)strlen(text));
  km_wr_bytes(&a->wr, text, strlen(text));
}

static void put_cname(answer *a, const char *owner, uint32_t ttl_s, const char *target) {
  put_head(a, 1, owner, 5, 1, ttl_s);
  km_wr_be(&a->wr, strlen(target) + 2, 2);
  put_name(a, target);
}

/* Reads and gives back the ports of the addresses that were found, "1 2 3". */
static int ports(char ret[256], km_details *d, const answer *a, const char *origin) {
  km_id id = make_id();
  size_t at = 0;
  assert_int_equal(km_details_init(d, &km_env_system, &id), 0);
  int rv = km_txt_read(d, a->bytes, size_of(a), origin, NULL);
  ret[0] = '\0';
  for (size_t i = 0; i < km_addr_udp_count(d->addr); i++) {
    at += (size_t)snprintf(ret + at, 256 - at, "%s%u", i > 0 ? " " : "",
                           km_addr_udp_at(d->addr, i)->port);
  }
  return rv;
}

static void expect_at(const answer *a, const char *origin, const char *wanted) {
  km_details d;
  char text[256];
  assert_int_equal(ports(text, &d, a, origin), 0);
  assert_string_equal(text, wanted);
  assert_int_equal(d.any, wanted[0] != '\0');
  km_details_clear(&d);
}

static void expect(const answer *a, const char *wanted) {
  expect_at(a, "dns.example", wanted);
}

/* --- tests -------------------------------------------------------------------------------------*/

static void test_owner(void **state) {
  (void)state;
  static answer a;
  begin(&a);
  put_txt(&a, OWNER, 30, "addr=192.0.2.1:1");
  put_txt(&a, "_IROH." Z32 ".DNS.Example", 30, "addr=192.0.2.1:2");
  put_txt(&a, "_iroh.XG4ICMWXH3KX1ODASRJQTKCMW6EB9BJ4H4K57I9YHQEOZMER131Y.dns.example", 30,
          "addr=192.0.2.1:3");
  put_txt(&a, "_iroh." OTHER ".dns.example", 30, "addr=192.0.2.1:10");
  put_txt(&a, "_iroh." Z32 ".dns.example.org", 30, "addr=192.0.2.1:11");
  put_txt(&a, "_iroh." Z32, 30, "addr=192.0.2.1:12");
  put_txt(&a, "x._iroh." Z32 ".dns.example", 30, "addr=192.0.2.1:13");
  put_txt(&a, Z32 ".dns.example", 30, "addr=192.0.2.1:14");
  put_txt(&a, "_irohx." Z32 ".dns.example", 30, "addr=192.0.2.1:15");
  put_head(&a, 2, OWNER, 16, 1, 30); /* authority and additional are no answers */
  km_wr_bytes(&a.wr,
              "\0\x12\x11"
              "addr=192.0.2.1:16",
              20);
  expect(&a, "1 2 3");
  expect_at(&a, "dns.example.", "1 2 3");
  expect_at(&a, "DNS.EXAMPLE", "1 2 3");
  expect_at(&a, "", "12");
  expect_at(&a, ".", "12");
  expect_at(&a, "example", "");
  char longest[300];
  memset(longest, 'x', sizeof longest);
  longest[299] = '\0';
  expect_at(&a, longest, "");
}

static void test_type_and_class(void **state) {
  (void)state;
  static answer a;
  begin(&a);
  put_head(&a, 1, OWNER, 16, 3, 30); /* CHAOS */
  km_wr_bytes(&a.wr,
              "\0\x11\x10"
              "addr=192.0.2.1:1",
              19);
  put_head(&a, 1, OWNER, 99, 1, 30); /* SPF, which looks like TXT */
  km_wr_bytes(&a.wr,
              "\0\x11\x10"
              "addr=192.0.2.1:2",
              19);
  put_head(&a, 1, OWNER, 1, 1, 30);
  km_wr_bytes(&a.wr, "\0\4\1\2\3\4", 6);
  expect(&a, "");
  put_txt(&a, OWNER, 30, "addr=192.0.2.1:3");
  expect(&a, "3");
}

static void test_strings(void **state) {
  (void)state;
  static answer a;
  begin(&a);
  put_head(&a, 1, OWNER, 16, 1, 30);
  km_wr_bytes(&a.wr,
              "\0\x15\x05"
              "addr=\0\x0a"
              "192.0.2.1:\x02"
              "17",
              23);
  expect(&a, "17");
  /* Longer than any attribute: no harm, and no end of the reading. */
  begin(&a);
  put_head(&a, 1, OWNER, 16, 1, 30);
  km_wr_be(&a.wr, 256 * 20, 2);
  for (int i = 0; i < 20; i++) {
    uint8_t string[256];
    memset(string, 'x', sizeof string);
    string[0] = 255;
    km_wr_bytes(&a.wr, string, sizeof string);
  }
  put_txt(&a, OWNER, 30, "addr=192.0.2.1:3");
  expect(&a, "3");
}

static void test_record(void **state) {
  (void)state;
  static answer a;
  km_details d;
  char text[256];
  begin(&a);
  put_txt(&a, RECORD_OWNER, 20, "addr=192.0.2.1:1"); /* there only records are looked at */
  put_txt(&a, RECORD_OWNER, 20, "kmrecord");
  put_txt(&a, RECORD_OWNER, 20, "kmrecord1=AAEC");
  put_txt(&a, OWNER, 30, "addr=192.0.2.1:2");
  assert_int_equal(ports(text, &d, &a, "dns.example"), 0);
  assert_string_equal(text, "2");
  assert_int_equal(d.record_len, 3);
  assert_memory_equal(d.record, "\0\1\2", 3);
  assert_int_equal(d.ttl_s, 20);
  km_details_clear(&d);
}

static void test_ttl(void **state) {
  (void)state;
  static answer a;
  km_details d;
  char text[256];
  begin(&a);
  put_txt(&a, "_iroh." OTHER ".dns.example", 1, "addr=192.0.2.1:1");
  put_txt(&a, OWNER, 300, "addr=192.0.2.1:2");
  put_txt(&a, OWNER, 40, "addr=192.0.2.1:3");
  put_txt(&a, OWNER, 50, "unknown=1");
  assert_int_equal(ports(text, &d, &a, "dns.example"), 0);
  assert_int_equal(d.ttl_s, 40);
  /* A second answer for the same peer. */
  begin(&a);
  put_txt(&a, RECORD_OWNER, 90, "kmrecord1=AAEC");
  assert_int_equal(km_txt_read(&d, a.bytes, size_of(&a), "dns.example", NULL), 0);
  assert_int_equal(d.ttl_s, 40);
  begin(&a);
  put_txt(&a, RECORD_OWNER, 9, "kmrecord1=AAEC");
  assert_int_equal(km_txt_read(&d, a.bytes, size_of(&a), "dns.example", NULL), 0);
  assert_int_equal(d.ttl_s, 9);
  km_details_clear(&d);
  /* Nothing there: no time either. */
  begin(&a);
  assert_int_equal(ports(text, &d, &a, "dns.example"), 0);
  assert_int_equal(d.ttl_s, 0);
  assert_false(d.any);
  km_details_clear(&d);
}

static void test_cname(void **state) {
  (void)state;
  static answer a;
  km_details d;
  char text[256];
  begin(&a);
  put_txt(&a, "else.example.org", 30, "addr=192.0.2.1:1");
  put_cname(&a, "Other.Example.org", 7, "ELSE.example.org");
  put_cname(&a, OWNER, 30, "other.example.org");
  put_txt(&a, "nobody.example.org", 30, "addr=192.0.2.1:2");
  assert_int_equal(ports(text, &d, &a, "dns.example"), 0);
  assert_string_equal(text, "1");
  assert_int_equal(d.ttl_s, 7);
  km_details_clear(&d);
  /* The first alias counts, and only in the class of the Internet. */
  begin(&a);
  put_head(&a, 1, OWNER, 5, 3, 30);
  km_wr_bytes(&a.wr, "\0\3\1x", 5);
  put_cname(&a, OWNER, 30, "a.example");
  put_cname(&a, OWNER, 30, "b.example");
  put_txt(&a, "x", 30, "addr=192.0.2.1:1");
  put_txt(&a, "a.example", 30, "addr=192.0.2.1:2");
  put_txt(&a, "b.example", 30, "addr=192.0.2.1:3");
  expect(&a, "2");
  /* The last of eight counts, a ninth does not. */
  for (int n = 8; n <= 9; n++) {
    char from[32], to[32];
    begin(&a);
    for (int i = 0; i < n; i++) {
      (void)snprintf(to, sizeof to, "n%d.example", i);
      put_cname(&a, i == 0 ? OWNER : from, 30, to);
      memcpy(from, to, sizeof from);
    }
    put_txt(&a, to, 30, "addr=192.0.2.1:5");
    expect(&a, n == 8 ? "5" : "");
  }
}

static void test_cname_loops(void **state) {
  (void)state;
  static answer a;
  begin(&a);
  put_cname(&a, OWNER, 30, OWNER);
  expect(&a, "");
  put_txt(&a, OWNER, 30, "addr=192.0.2.1:1"); /* both at one name is against RFC 1034: taken once */
  expect(&a, "1");
  begin(&a);
  put_cname(&a, OWNER, 30, "a.example");
  put_cname(&a, "a.example", 30, "b.example");
  put_cname(&a, "b.example", 30, "a.example");
  expect(&a, "");
  /* A name that points into itself. */
  begin(&a);
  put_head(&a, 1, OWNER, 5, 1, 30);
  km_wr_be(&a.wr, 2, 2);
  km_wr_be(&a.wr, 0xc000 | size_of(&a), 2);
  km_details d;
  char text[256];
  assert_int_equal(ports(text, &d, &a, "dns.example"), KM_ERR_BAD_PACKET);
  km_details_clear(&d);
}

static void test_damaged(void **state) {
  (void)state;
  static answer a;
  km_id id = make_id();
  begin(&a);
  put_cname(&a, OWNER, 30, "else.example");
  put_txt(&a, "else.example", 30, "addr=192.0.2.1:1");
  put_txt(&a, RECORD_OWNER, 30, "kmrecord1=AAEC");
  size_t len = size_of(&a);
  for (size_t cut = 0; cut <= len; cut++) {
    uint8_t *exact = malloc(cut + 1);
    memcpy(exact, a.bytes, cut);
    km_details d;
    km_errinfo err = {0};
    assert_int_equal(km_details_init(&d, &km_env_system, &id), 0);
    int rv = km_txt_read(&d, exact, cut, "dns.example", &err);
    assert_int_equal(rv, cut < len ? KM_ERR_BAD_PACKET : 0);
    assert_int_equal(err.code, rv);
    assert_true((strstr(err.text, "damaged") != NULL) == (rv != 0));
    km_details_clear(&d);
    free(exact);
  }
  /* A TXT record whose strings do not fill it. */
  begin(&a);
  put_head(&a, 1, OWNER, 16, 1, 30);
  km_wr_bytes(&a.wr, "\0\3\5ab", 5);
  km_details d;
  char text[256];
  assert_int_equal(ports(text, &d, &a, "dns.example"), KM_ERR_BAD_PACKET);
  km_details_clear(&d);
}

/* Records without end cost nothing: 512 are read, more are refused before the first. */
static void test_flood(void **state) {
  (void)state;
  static answer a;
  static const uint8_t cname[] = {0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 30, 0, 2, 0xc0, 12};
  begin(&a);
  put_txt(&a, OWNER, 30, "addr=192.0.2.1:1");
  for (unsigned n = 2; size_of(&a) + sizeof cname <= KM_DNSMSG_MAX; n++) {
    km_wr_bytes(&a.wr, cname, sizeof cname);
    a.bytes[6] = (uint8_t)(n >> 8);
    a.bytes[7] = (uint8_t)n;
    if (n == 512) {
      expect(&a, "1");
    } else if (n == 513 || n == 4000) {
      km_details d;
      char text[256];
      assert_int_equal(ports(text, &d, &a, "dns.example"), KM_ERR_BAD_PACKET);
      assert_string_equal(text, "");
      km_details_clear(&d);
    }
  }
  a.bytes[6] = 1; /* 511 answers and 2 additional records are too many, too */
  a.bytes[7] = 255;
  a.bytes[11] = 2;
  km_details d;
  char text[256];
  assert_int_equal(ports(text, &d, &a, "dns.example"), KM_ERR_BAD_PACKET);
  km_details_clear(&d);
}

static void test_no_memory(void **state) {
  (void)state;
  static answer a;
  test_env t;
  test_env_init(&t);
  km_id id = make_id();
  km_details d;
  km_errinfo err = {0};
  begin(&a);
  put_txt(&a, OWNER, 30, "relay=https://a.example/");
  assert_int_equal(km_details_init(&d, &t.env, &id), 0);
  t.fail_after = 0;
  assert_int_equal(km_txt_read(&d, a.bytes, size_of(&a), "dns.example", &err), KM_ERR_NOMEM);
  assert_int_equal(err.code, KM_ERR_NOMEM);
  km_details_clear(&d);
  assert_int_equal(t.live, 0);
}

static void test_name(void **state) {
  (void)state;
  km_id id = make_id();
  char text[KM_TXT_NAME_CAP];
  static const struct {
    const char *origin, *name;
  } cases[] = {
      {"", "_iroh." Z32},
      {".", "_iroh." Z32},
      {"dns.iroh.link", "_iroh." Z32 ".dns.iroh.link"},
      {"dns.iroh.link.", "_iroh." Z32 ".dns.iroh.link"},
      {"a..b", NULL},
      {".a", NULL},
      {"a..", NULL},
      {"..", NULL},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    int rv = km_txt_name(text, KM_TXT_NAME, &id, cases[i].origin);
    assert_int_equal(rv, cases[i].name != NULL ? 0 : KM_ERR_LIMIT);
    if (rv == 0) {
      assert_string_equal(text, cases[i].name);
    }
  }
  /* 6 + 53 bytes are taken: 194 of origin make 253, the most there is. */
  char origin[300];
  memset(origin, 'o', sizeof origin);
  for (size_t i = 60; i < 190; i += 61) {
    origin[i] = '.';
  }
  origin[194] = '\0';
  assert_int_equal(km_txt_name(text, KM_TXT_NAME, &id, origin), 0);
  assert_int_equal(strlen(text), 253);
  origin[194] = 'o';
  for (size_t len = 195; len < sizeof origin; len++) {
    origin[len] = '\0';
    assert_int_equal(km_txt_name(text, KM_TXT_NAME, &id, origin), KM_ERR_LIMIT);
    origin[len] = 'o';
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_owner),       cmocka_unit_test(test_type_and_class),
      cmocka_unit_test(test_strings),     cmocka_unit_test(test_record),
      cmocka_unit_test(test_ttl),         cmocka_unit_test(test_cname),
      cmocka_unit_test(test_cname_loops), cmocka_unit_test(test_damaged),
      cmocka_unit_test(test_flood),       cmocka_unit_test(test_no_memory),
      cmocka_unit_test(test_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
