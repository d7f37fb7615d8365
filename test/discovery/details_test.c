#include "discovery/details.h"

#include <keymesh/record.h>
#include <string.h>

#include "test/relay/hex.h"

#define ID "79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664"

static km_id make_id(void) {
  km_id id;
  assert_int_equal(km_id_parse(&id, ID, strlen(ID), NULL), 0);
  return id;
}

static void make(km_details *d, const km_env *env) {
  km_id id = make_id();
  assert_int_equal(km_details_init(d, env, &id), 0);
}

/* What is known, as lines. */
static void show(char *ret, size_t cap, const km_details *d) {
  km_found found;
  size_t at = 0;
  km_details_found(d, &found);
  ret[0] = '\0';
  for (size_t i = 0; i < km_addr_relay_count(found.addr); i++) {
    at += (size_t)snprintf(ret + at, cap - at, "relay %s\n", km_addr_relay_at(found.addr, i));
  }
  for (size_t i = 0; i < km_addr_udp_count(found.addr); i++) {
    char text[KM_UDP_ADDR_TEXT_CAP];
    assert_true(km_udp_addr_format(km_addr_udp_at(found.addr, i), text, sizeof text) > 0);
    at += (size_t)snprintf(ret + at, cap - at, "addr %s\n", text);
  }
  if (found.user_data != NULL) {
    at += (size_t)snprintf(ret + at, cap - at, "user %s\n", found.user_data);
  }
  if (found.record != NULL) {
    at += (size_t)snprintf(ret + at, cap - at, "record %zu\n", found.record_len);
  }
  assert_true(at < cap);
}

typedef struct read_case {
  const char *texts[4];
  const char *shown;
  bool any;
} read_case;

static const read_case read_cases[] = {
    {{NULL}, "", false},
    {{""}, "", false},
    {{"relay=https://use1-1.relay.n0.iroh.link./"},
     "relay https://use1-1.relay.n0.iroh.link./\n",
     true},
    {{"relay=HTTPS://Relay.Example.com:443"}, "relay https://relay.example.com/\n", true},
    {{"relay=https://b.example/", "relay=https://a.example/", "relay=https://b.example/"},
     "relay https://a.example/\nrelay https://b.example/\n",
     true},
    /* The value is all behind the first '='. */
    {{"relay=https://a.example/?token=x=y"}, "relay https://a.example/?token=x=y\n", true},
    {{"user-data=a=b=c"}, "user a=b=c\n", true},
    {{"addr=192.0.2.1:1234", "addr=[2001:db8::1]:4433"},
     "addr 192.0.2.1:1234\naddr [2001:db8::1]:4433\n",
     true},
    {{"addr=[fe80::1%3]:1"}, "addr [fe80::1]:1\n", true}, /* as iroh: the scope is ours to know */
    /* What cannot be read is left out, the others count. */
    {{"relay=", "relay=nonsense", "relay=https://a.example/"}, "relay https://a.example/\n", true},
    {{"addr=192.0.2.1", "addr=192.0.2.1:0", "addr= 192.0.2.1:5", "addr=192.0.2.1:6"},
     "addr 192.0.2.1:6\n",
     true},
    {{"addr=192.0.2.1:1 192.0.2.2:2"}, "", false},
    {{"addr=192.0.2.1:1 "}, "", false},
    {{"addr="}, "", false},
    {{"addr=tor:0011aabb"}, "", false}, /* a transport of iroh's that we do not have */
    /* Keys are in lower case; others are a newer peer's. */
    {{"RELAY=https://a.example/", "Addr=192.0.2.1:1", "relay"}, "", false},
    {{"relay =https://a.example/", " addr=192.0.2.1:1", "=x"}, "", false},
    {{"future=1", "addr=192.0.2.1:1", "user-datum=x"}, "addr 192.0.2.1:1\n", true},
    /* User data: the first that is some. */
    {{"user-data=one", "user-data=two"}, "user one\n", true},
    {{"user-data=", "user-data=two"}, "user two\n", true},
    {{"user-data="}, "", true},
    {{"user-data=\xff", "user-data=\xc3\xa4 \xf0\x9f\x90\x9f"},
     "user \xc3\xa4 \xf0\x9f\x90\x9f\n",
     true},
    {{"user-data=\x1b[31m\n\t"}, "user \x1b[31m\n\t\n", true}, /* who prints it cleans it */
    /* A record: base64url without padding. */
    {{"kmrecord1=AAEC"}, "record 3\n", true},
    {{"kmrecord1=-_8"}, "record 2\n", true},
    {{"kmrecord1=AAEC", "kmrecord1=AA"}, "record 3\n", true},
    {{"kmrecord1="}, "", false},
    {{"kmrecord1=A"}, "", false},
    {{"kmrecord1=AB"}, "", false},    /* bits behind the last byte */
    {{"kmrecord1=AA=="}, "", false},  /* padding */
    {{"kmrecord1=+/8"}, "", false},   /* the other alphabet */
    {{"kmrecord1=AA EC"}, "", false}, /* white space */
    {{"kmrecord2=AAEC"}, "", false},
};

static void test_read(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT_OF(read_cases); i++) {
    const read_case *c = &read_cases[i];
    km_details d;
    char text[1024];
    make(&d, &km_env_system);
    for (size_t n = 0; n < COUNT_OF(c->texts) && c->texts[n] != NULL; n++) {
      assert_int_equal(km_details_add(&d, c->texts[n], strlen(c->texts[n])), 0);
    }
    show(text, sizeof text, &d);
    if (strcmp(text, c->shown) != 0 || d.any != c->any) {
      fail_msg("'%s', ...: '%s', any %d", c->texts[0], text, d.any);
    }
    km_details_clear(&d);
  }
}

/* No attribute needs a NUL behind it, and none may have one within. */
static void test_bounds(void **state) {
  (void)state;
  km_details d;
  char text[600];
  make(&d, &km_env_system);
  assert_int_equal(km_details_add(&d, "addr=192.0.2.1:12345", 17), 0);
  assert_int_equal(km_addr_udp_at(d.addr, 0)->port, 12);
  assert_int_equal(km_details_add(&d,
                                  "addr=192.0.2.1:1\0"
                                  "2",
                                  18),
                   0);
  assert_int_equal(km_addr_udp_count(d.addr), 1);
  assert_int_equal(km_details_add(&d, "user-data=a\0b", 13), 0);
  assert_string_equal(d.user_data, "");
  /* 245 bytes of user data are some, 246 are none. */
  memcpy(text, "user-data=", 10);
  memset(text + 10, 'u', sizeof text - 10);
  assert_int_equal(km_details_add(&d, text, 10 + KM_USER_DATA_MAX + 1), 0);
  assert_string_equal(d.user_data, "");
  assert_int_equal(km_details_add(&d, text, 10 + KM_USER_DATA_MAX), 0);
  assert_int_equal(strlen(d.user_data), KM_USER_DATA_MAX);
  /* A sequence that the end cuts. */
  assert_false(km_user_data_valid("\xc3\xa4", 1));
  assert_true(km_user_data_valid("\xc3\xa4", 2));
  assert_false(km_user_data_valid("x\xc3\xa4", 2));
  km_details_clear(&d);
}

static void test_record_sizes(void **state) {
  (void)state;
  uint8_t record[KM_RECORD_BYTES_MAX + 3];
  for (size_t i = 0; i < sizeof record; i++) {
    record[i] = (uint8_t)(i * 7);
  }
  for (size_t len = 1; len <= KM_RECORD_BYTES_MAX; len++) {
    km_details d;
    char text[KM_RECORD_ATTRIBUTE_CAP];
    size_t n = km_record_attribute(text, record, len);
    assert_int_equal(n, strlen(text));
    make(&d, &km_env_system);
    assert_int_equal(km_details_add(&d, text, n), 0);
    assert_int_equal(d.record_len, len);
    assert_memory_equal(d.record, record, len);
    km_details_clear(&d);
  }
  /* One character group more than there is room for. */
  km_details d;
  char text[KM_RECORD_ATTRIBUTE_CAP + 4];
  size_t n = km_record_attribute(text, record, KM_RECORD_BYTES_MAX);
  memcpy(text + n, "AAAA", 4);
  make(&d, &km_env_system);
  assert_int_equal(km_details_add(&d, text, n + 4), 0);
  assert_int_equal(km_details_add(&d, text, n + 2), 0);
  assert_int_equal(d.record_len, 0);
  assert_false(d.any);
  km_details_clear(&d);
}

static size_t signed_record(uint8_t *ret, const km_secret_key *key, int64_t issued_s) {
  const km_record record = {
      .size = sizeof record, .issued_s = issued_s, .expires_s = issued_s + 300};
  int len = km_record_sign(&record, key, ret, NULL);
  assert_true(len > 0);
  return (size_t)len;
}

static void add_bytes(km_details *d, const uint8_t *record, size_t len) {
  char text[KM_RECORD_ATTRIBUTE_CAP];
  assert_int_equal(km_details_add(d, text, km_record_attribute(text, record, len)), 0);
}

/* Whatever else stands there does not hide the record of the key. */
static void test_several_records(void **state) {
  (void)state;
  static const uint8_t seeds[2][KM_SECRET_KEY_BYTES] = {{1}, {2}};
  uint8_t old[KM_RECORD_BYTES_MAX], new[KM_RECORD_BYTES_MAX], other[KM_RECORD_BYTES_MAX];
  uint8_t forged[KM_RECORD_BYTES_MAX];
  km_secret_key *keys[2];
  km_details d;
  km_id id;
  for (size_t i = 0; i < 2; i++) {
    assert_int_equal(km_secret_key_from_bytes(&keys[i], seeds[i]), 0);
  }
  km_secret_key_id(keys[0], &id);
  assert_int_equal(km_details_init(&d, &km_env_system, &id), 0);
  size_t len = signed_record(old, keys[0], 1000);
  assert_int_equal(signed_record(new, keys[0], 2000), len);
  size_t other_len = signed_record(other, keys[1], 3000);
  memcpy(forged, new, len);
  forged[len - 1] ^= 1;
  add_bytes(&d, other, other_len);
  assert_memory_equal(d.record, other, other_len); /* the first, as long as there is nothing else */
  add_bytes(&d, forged, len);
  assert_memory_equal(d.record, other, other_len);
  add_bytes(&d, old, len);
  assert_int_equal(d.record_len, len);
  assert_memory_equal(d.record, old, len);
  add_bytes(&d, new, len);
  assert_memory_equal(d.record, new, len);
  add_bytes(&d, old, len);
  add_bytes(&d, forged, len);
  add_bytes(&d, other, other_len);
  assert_memory_equal(d.record, new, len);
  km_details_clear(&d);
  /* Checking has an end. */
  assert_int_equal(km_details_init(&d, &km_env_system, &id), 0);
  for (int i = 0; i < KM_DETAILS_MAX_RECORDS - 1; i++) {
    add_bytes(&d, forged, len);
  }
  add_bytes(&d, old, len);
  add_bytes(&d, new, len);
  assert_memory_equal(d.record, old, len);
  km_details_clear(&d);
  for (size_t i = 0; i < 2; i++) {
    km_secret_key_free(keys[i]);
  }
}

/* More than a km_addr holds: what came first stays. */
static void test_limits(void **state) {
  (void)state;
  km_details d;
  make(&d, &km_env_system);
  for (int i = 0; i < 100; i++) {
    char text[64];
    int len = snprintf(text, sizeof text, "relay=https://r%02d.example/", i);
    assert_int_equal(km_details_add(&d, text, (size_t)len), 0);
    len = snprintf(text, sizeof text, "addr=192.0.2.1:%d", i + 1);
    assert_int_equal(km_details_add(&d, text, (size_t)len), 0);
  }
  assert_int_equal(km_addr_relay_count(d.addr), KM_ADDR_MAX_RELAYS);
  assert_int_equal(km_addr_udp_count(d.addr), KM_ADDR_MAX_DIRECT);
  assert_string_equal(km_addr_relay_at(d.addr, 7), "https://r07.example/");
  assert_int_equal(km_addr_udp_at(d.addr, 31)->port, 32);
  km_details_clear(&d);
}

static void test_no_memory(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t);
  km_id id = make_id();
  km_details d;
  t.fail_after = 0;
  assert_int_equal(km_details_init(&d, &t.env, &id), KM_ERR_NOMEM);
  t.fail_after = 1;
  assert_int_equal(km_details_init(&d, &t.env, &id), 0);
  assert_int_equal(km_details_add(&d, "relay=https://a.example/", 24), KM_ERR_NOMEM);
  assert_false(d.any);
  t.fail_after = -1;
  assert_int_equal(km_details_add(&d, "relay=https://a.example/", 24), 0);
  km_details_clear(&d);
  km_details_clear(&d); /* once more does nothing */
  assert_int_equal(t.live, 0);
}

/* --- writing -----------------------------------------------------------------------------------*/

typedef struct written {
  char text[4096];
  size_t at;
  int end_after; /* -1: never */
} written;

static int collect(void *ctx, const char *text, size_t len) {
  written *w = ctx;
  if (w->end_after == 0) {
    return 17;
  }
  w->end_after--;
  assert_true(w->at + len + 1 < sizeof w->text);
  memcpy(w->text + w->at, text, len);
  w->at += len;
  w->text[w->at++] = '\n';
  w->text[w->at] = '\0';
  return 0;
}

static km_addr *make_addr(void) {
  km_id id = make_id();
  km_addr *addr;
  km_udp_addr udp;
  assert_int_equal(km_addr_new(&addr, &id), 0);
  assert_int_equal(km_udp_addr_parse(&udp, "[2001:db8::1]:4433", 18, NULL), 0);
  assert_int_equal(km_addr_add_udp(addr, &udp), 0);
  assert_int_equal(km_udp_addr_parse(&udp, "192.0.2.1:1234", 14, NULL), 0);
  assert_int_equal(km_addr_add_udp(addr, &udp), 0);
  assert_int_equal(km_addr_add_relay(addr, "https://b.example/", 18, NULL), 0);
  assert_int_equal(km_addr_add_relay(addr, "https://a.example/", 18, NULL), 0);
  return addr;
}

#define RELAYS "relay=https://a.example/\nrelay=https://b.example/\n"
#define ADDRS "addr=192.0.2.1:1234\naddr=[2001:db8::1]:4433\n"

static void test_write(void **state) {
  (void)state;
  km_addr *addr = make_addr();
  km_peer_info info = {.size = sizeof info, .addr = addr, .user_data = "hello=1"};
  static const struct {
    const char *user_data;
    bool direct;
    const char *text;
  } cases[] = {
      {"hello=1", true, RELAYS ADDRS "user-data=hello=1\n"},
      {"hello=1", false, RELAYS "user-data=hello=1\n"},
      {"", true, RELAYS ADDRS},
      {NULL, false, RELAYS},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    written w = {.end_after = -1};
    info.user_data = cases[i].user_data;
    assert_int_equal(km_details_write(&info, cases[i].direct, collect, &w), 0);
    assert_string_equal(w.text, cases[i].text);
  }
  /* Whatever the callback says ends it, at each of the five. */
  info.user_data = "x";
  for (int n = 0; n < 5; n++) {
    written w = {.end_after = n};
    assert_int_equal(km_details_write(&info, true, collect, &w), 17);
  }
  written w = {.end_after = 5};
  assert_int_equal(km_details_write(&info, true, collect, &w), 0);
  char text[KM_USER_DATA_MAX + 2];
  memset(text, 'x', sizeof text);
  text[sizeof text - 1] = '\0';
  info.user_data = text;
  assert_int_equal(km_details_write(&info, true, collect, &w), KM_ERR_INVALID);
  info.user_data = "\xe2\x82";
  assert_int_equal(km_details_write(&info, true, collect, &w), KM_ERR_INVALID);
  km_addr_free(addr);
}

/* The longest url there is passes through. */
static void test_long_url(void **state) {
  (void)state;
  km_id id = make_id();
  km_addr *addr;
  char url[KM_RELAY_URL_MAX + 1];
  memset(url, 'p', sizeof url);
  memcpy(url, "https://a.example/", 18);
  url[sizeof url - 1] = '\0';
  assert_int_equal(km_addr_new(&addr, &id), 0);
  assert_int_equal(km_addr_add_relay(addr, url, KM_RELAY_URL_MAX, NULL), 0);
  km_peer_info info = {.size = sizeof info, .addr = addr};
  written w = {.end_after = -1};
  assert_int_equal(km_details_write(&info, true, collect, &w), 0);
  assert_int_equal(w.at, 6 + KM_RELAY_URL_MAX + 1);
  km_details d;
  make(&d, &km_env_system);
  assert_int_equal(km_details_add(&d, w.text, w.at - 1), 0);
  assert_string_equal(km_addr_relay_at(d.addr, 0), url);
  km_details_clear(&d);
  km_addr_free(addr);
}

static void test_found(void **state) {
  (void)state;
  km_details d;
  km_found found;
  make(&d, &km_env_system);
  memset(&found, 0xff, sizeof found);
  d.ttl_s = 30;
  km_details_found(&d, &found);
  assert_int_equal(found.size, sizeof found);
  assert_null(found.source);
  assert_ptr_equal(found.addr, d.addr);
  assert_null(found.user_data);
  assert_null(found.record);
  assert_int_equal(found.record_len, 0);
  assert_int_equal(found.published_ms, 0);
  assert_int_equal(found.age_s, 0);
  assert_int_equal(found.valid_s, 30);
  assert_false(found.proven);
  km_details_clear(&d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_read),
      cmocka_unit_test(test_bounds),
      cmocka_unit_test(test_limits),
      cmocka_unit_test(test_record_sizes),
      cmocka_unit_test(test_several_records),
      cmocka_unit_test(test_no_memory),
      cmocka_unit_test(test_write),
      cmocka_unit_test(test_long_url),
      cmocka_unit_test(test_found),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
