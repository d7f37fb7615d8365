/* TXT attributes and signatures of announcements. */
#include "discovery/mdns_sign.h"

#include "test/base/test_env.h"

#define DAY_MS INT64_C(86400000)

static km_secret_key *key;

static int setup(void **state) {
  (void)state;
  uint8_t seed[KM_SECRET_KEY_BYTES];
  memset(seed, 0x2a, sizeof seed);
  return km_secret_key_from_bytes(&key, seed);
}

static int teardown(void **state) {
  (void)state;
  km_secret_key_free(key);
  return 0;
}

static km_mdns_text text_of(const char *text) {
  return (km_mdns_text){text, strlen(text)};
}

static km_mdns_details full(void) {
  km_mdns_details d = {.user_data = text_of("hello"), .relay_count = 2};
  km_secret_key_id(key, &d.id);
  d.relays[0] = text_of("https://a.test/");
  d.relays[1] = text_of("https://b.test/");
  km_mdns_add_addr(&d, &(km_udp_addr){.family = 6, .port = 5, .ip = {0x20, 1}});
  km_mdns_add_addr(&d, &(km_udp_addr){.family = 4, .port = 9, .ip = {10, 0, 0, 1}});
  km_mdns_add_addr(&d, &(km_udp_addr){.family = 4, .port = 8, .ip = {10, 0, 0, 1}});
  km_mdns_add_addr(&d, &(km_udp_addr){.family = 4, .port = 9, .ip = {10, 0, 0, 1}}); /* again */
  return d;
}

static km_mdns_details read_txt(const uint8_t *txt, size_t len) {
  km_mdns_details d = {0};
  km_mdns_item item = {.type = KM_MDNS_TXT, .data = txt, .len = (uint16_t)len};
  km_mdns_read_attributes(&d, &item);
  return d;
}

static void addresses_are_sorted(void **state) {
  (void)state;
  km_mdns_details d = full();
  assert_int_equal(d.addr_count, 3);
  assert_int_equal(d.addrs[0].port, 8);
  assert_int_equal(d.addrs[1].port, 9);
  assert_int_equal(d.addrs[2].family, 6);
  for (unsigned i = 0; i < 100; i++) {
    km_mdns_add_addr(&d, &(km_udp_addr){.family = 4, .port = (uint16_t)(1000 - i), .ip = {1}});
  }
  assert_int_equal(d.addr_count, KM_ADDR_MAX_DIRECT);
  for (size_t i = 1; i < d.addr_count; i++) {
    assert_true(d.addrs[i - 1].family < d.addrs[i].family ||
                memcmp(d.addrs[i - 1].ip, d.addrs[i].ip, 16) < 0 ||
                d.addrs[i - 1].port < d.addrs[i].port);
  }
}

static void attributes_come_back(void **state) {
  (void)state;
  uint8_t txt[KM_MDNS_TXT_MAX];
  km_mdns_details d = full();
  size_t plain = km_mdns_write_attributes(&d, txt);
  static const char expected[] = "\x15relay=https://a.test/\x15relay=https://b.test/"
                                 "\x0fuser-data=hello";
  assert_int_equal(plain, sizeof expected - 1);
  assert_memory_equal(txt, expected, plain);
  km_mdns_sign(&d, key, UINT64_C(1700000000123));
  size_t len = km_mdns_write_attributes(&d, txt);
  assert_memory_equal(txt + plain, "\x15km-time=1700000000123\x6ekm-sig=", 30);
  km_mdns_details read = read_txt(txt, len);
  assert_int_equal(read.relay_count, 2);
  assert_int_equal(read.relays[1].len, 15);
  assert_memory_equal(read.relays[1].at, "https://b.test/", 15);
  assert_int_equal(read.user_data.len, 5);
  assert_true(read.has_time && read.has_signature);
  assert_int_equal(read.time_ms, UINT64_C(1700000000123));
  assert_memory_equal(read.signature, d.signature, sizeof d.signature);
}

static void odd_attributes(void **state) {
  (void)state;
  static const char txt[] = "\x09"
                            "something"
                            "\x0b"
                            "user-data=1"
                            "\x0b"
                            "user-data=2"
                            "\x07"
                            "relay=a"
                            "\x07"
                            "relay=b"
                            "\x07"
                            "relay=c"
                            "\x08"
                            "km-time="
                            "\x09"
                            "km-time=x"
                            "\x19"
                            "km-time=12345678901234567"
                            "\x09"
                            "km-time=7"
                            "\x09"
                            "km-time=8"
                            "\x09"
                            "km-sig=ab"
                            "\x03"
                            "=xy"
                            "\x00"
                            "\x05"
                            "relay";
  km_mdns_details d = read_txt((const uint8_t *)txt, sizeof txt - 1);
  assert_int_equal(d.user_data.len, 1);
  assert_int_equal(d.user_data.at[0], '1');
  assert_int_equal(d.relay_count, KM_MDNS_RELAYS_MAX);
  assert_int_equal(d.relays[1].at[0], 'b');
  assert_true(d.has_time);
  assert_int_equal(d.time_ms, 7);
  assert_false(d.has_signature);
}

static void empty_user_data_is_not_none(void **state) {
  (void)state;
  km_mdns_details d = read_txt((const uint8_t *)"\x0auser-data=", 11);
  assert_non_null(d.user_data.at);
  assert_int_equal(d.user_data.len, 0);
  km_mdns_details none = read_txt((const uint8_t *)"", 1);
  assert_null(none.user_data.at);
}

static void attributes_that_are_too_long(void **state) {
  (void)state;
  uint8_t txt[KM_MDNS_TXT_MAX];
  char url[300];
  km_mdns_details d = {.relay_count = 1};
  memset(url, 'u', sizeof url);
  d.relays[0] = (km_mdns_text){url, KM_MDNS_RELAY_URL_MAX};
  assert_int_equal(km_mdns_write_attributes(&d, txt), 256);
  assert_int_equal(txt[0], 255);
  d.relays[0].len++;
  assert_int_equal(km_mdns_write_attributes(&d, txt), 0);
}

static void signature_covers_everything(void **state) {
  (void)state;
  km_mdns_details d = full(), e;
  km_mdns_sign(&d, key, 1000);
  assert_true(km_mdns_verify(&d));
  e = d;
  e.time_ms++;
  assert_false(km_mdns_verify(&e));
  e = d;
  e.addrs[1].port++;
  assert_false(km_mdns_verify(&e));
  e = d;
  e.addrs[2].ip[15]++;
  assert_false(km_mdns_verify(&e));
  e = d;
  e.addr_count--;
  assert_false(km_mdns_verify(&e));
  e = d;
  e.relay_count--;
  assert_false(km_mdns_verify(&e));
  e = d;
  e.relays[0] = text_of("https://c.test/");
  assert_false(km_mdns_verify(&e));
  e = d;
  e.user_data = text_of("hallo");
  assert_false(km_mdns_verify(&e));
  e = d;
  e.user_data.at = NULL;
  assert_false(km_mdns_verify(&e));
  e = d;
  e.id.bytes[0] ^= 1;
  assert_false(km_mdns_verify(&e));
  e = d;
  e.signature[5] ^= 1;
  assert_false(km_mdns_verify(&e));
  e = d;
  e.has_signature = false;
  assert_false(km_mdns_verify(&e));
  e = d;
  e.has_time = false;
  assert_false(km_mdns_verify(&e));
}

/* A signature for one purpose is none for another. */
static void queries_are_something_else(void **state) {
  (void)state;
  km_mdns_details d = {0};
  km_secret_key_id(key, &d.id);
  km_mdns_sign(&d, key, 1000);
  assert_true(km_mdns_verify(&d));
  assert_false(km_mdns_verify_query(&d));
  km_mdns_sign_query(&d, key, 1000);
  assert_false(km_mdns_verify(&d));
  assert_true(km_mdns_verify_query(&d));
  assert_false(km_mdns_verify_goodbye(&d));
  d.time_ms++;
  assert_false(km_mdns_verify_query(&d));
  km_mdns_sign_goodbye(&d, key, 1000);
  assert_true(km_mdns_verify_goodbye(&d));
  assert_false(km_mdns_verify_query(&d));
  assert_false(km_mdns_verify(&d));
}

/* docs/protocol-mdns.md has these bytes. */
static void signed_bytes_are_as_documented(void **state) {
  (void)state;
  static const char context[] = "keymesh mdns announcement 1";
  uint8_t bytes[256];
  km_mdns_details d = {.relay_count = 1, .user_data = text_of("hi")};
  size_t n = sizeof context; /* with its NUL */
  km_secret_key_id(key, &d.id);
  km_mdns_add_addr(&d, &(km_udp_addr){.family = 4, .port = 4433, .ip = {192, 0, 2, 1}});
  d.relays[0] = text_of("https://r.test/");
  memcpy(bytes, context, n);
  memcpy(bytes + n, d.id.bytes, 32);
  n += 32;
  static const uint8_t rest[] = {0,   0,   0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x7b, /* time */
                                 1,   4,   192,  0,    2,    1,    0x11, 0x51, /* address */
                                 1,   0,   15,   'h',  't',  't',  'p',  's',  ':', '/', '/', 'r',
                                 '.', 't', 'e',  's',  't',  '/',  1,    0,    2,   'h', 'i'};
  memcpy(bytes + n, rest, sizeof rest);
  n += sizeof rest;
  km_mdns_sign(&d, key, UINT64_C(1700000000123));
  assert_int_equal(km_id_verify(&d.id, bytes, n, d.signature), 0);
}

static void digests(void **state) {
  (void)state;
  uint8_t a[KM_MDNS_DIGEST_BYTES], b[KM_MDNS_DIGEST_BYTES];
  km_mdns_details d = full();
  km_mdns_sign(&d, key, 1000);
  km_mdns_digest(&d, a);
  km_mdns_digest(&d, b);
  assert_memory_equal(a, b, sizeof a);
  d.signature[0] ^= 1;
  km_mdns_digest(&d, b);
  assert_memory_not_equal(a, b, sizeof a);
  d.signature[0] ^= 1;
  d.addrs[0].port++;
  km_mdns_digest(&d, b);
  assert_memory_not_equal(a, b, sizeof a);
}

static void freshness(void **state) {
  (void)state;
  km_wall wall = {.unix_ns = INT64_C(1700000000) * 1000000000};
  uint64_t now = UINT64_C(1700000000000);
  assert_int_equal(km_mdns_time(wall), now);
  assert_int_equal(km_mdns_time((km_wall){.unix_ns = -5}), 0);
  assert_true(km_mdns_is_fresh(now, wall));
  assert_true(km_mdns_is_fresh(now - DAY_MS, wall));
  assert_false(km_mdns_is_fresh(now - DAY_MS - 1, wall));
  assert_true(km_mdns_is_fresh(now + DAY_MS, wall));
  assert_false(km_mdns_is_fresh(now + DAY_MS + 1, wall));
  assert_false(km_mdns_is_fresh(UINT64_MAX, wall));
  assert_false(km_mdns_is_fresh(0, wall));
  assert_true(km_mdns_is_recent(now - 60000, wall));
  assert_false(km_mdns_is_recent(now - 60001, wall));
  assert_true(km_mdns_is_recent(now + 60000, wall));
  assert_false(km_mdns_is_recent(now + 60001, wall));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(addresses_are_sorted),
      cmocka_unit_test(attributes_come_back),
      cmocka_unit_test(odd_attributes),
      cmocka_unit_test(empty_user_data_is_not_none),
      cmocka_unit_test(attributes_that_are_too_long),
      cmocka_unit_test(signature_covers_everything),
      cmocka_unit_test(queries_are_something_else),
      cmocka_unit_test(signed_bytes_are_as_documented),
      cmocka_unit_test(digests),
      cmocka_unit_test(freshness),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
