#include "discovery/pkarr.h"

#include <string.h>

#include "discovery/dns_message.h"
#include "discovery/txt.h"
#include "test/relay/hex.h"

#define NOW_US UINT64_C(1754900000123456)

/* --- vectors -----------------------------------------------------------------------------------*/

/* Made by the pkarr code of the real iroh 1.x (keys and texts too). */
typedef struct vector {
  const char *secret;
  uint64_t timestamp_us;
  const char *relay, *addrs[2], *user_data;
  const char *signature;
  const char *dns;
} vector;

static const vector vectors[] = {
    {"0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20",
     UINT64_C(1700000000000000),
     "https://use1-1.relay.n0.iroh.link./",
     {NULL, NULL},
     NULL,
     "f84f87feed936b249b7829ea0849e77524153988e9e8818105128f8d263d5be4"
     "3acb2f0816ea82e911ff52150f88df14ed19c11a7be306863fa753cfa0767901",
     "000080000000000100000000055f69726f683478673469636d777868336b78316f646173726a71746b636d773665"
     "6239626a3468346b35376939796871656f7a6d65723133317900001000010000001e002a2972656c61793d687474"
     "70733a2f2f757365312d312e72656c61792e6e302e69726f682e6c696e6b2e2f"},
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     UINT64_C(1754900000123456),
     "https://relay.example.com/",
     {"192.0.2.1:1234", "[2001:db8::1]:4433"},
     "hello",
     "3352a537e561c77924981e99264168a9f0c436881875b0332ae4317f4baad6ac"
     "607d41632785ae135e79e8bc0c3abd08ae8b5e680e66a3ae8b8d7c6847fd590f",
     "000080000000000400000000055f69726f68343437706a6f79636e7372666d78696b6d39356a6831337938386538"
     "716e687a75356b756e676a707879657067743761386b72707900001000010000001e00212072656c61793d687474"
     "70733a2f2f72656c61792e6578616d706c652e636f6d2fc00c001000010000001e001413616464723d3139322e30"
     "2e322e313a31323334c00c001000010000001e001817616464723d5b323030313a6462383a3a315d3a34343333c0"
     "0c001000010000001e00100f757365722d646174613d68656c6c6f"},
    {"2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a",
     1,
     NULL,
     {NULL, NULL},
     NULL,
     "4df19ef4541a34e18f5aa1f7e05cbe3ff798fe7cb346c7acc0e22b4fe1729d69"
     "d644df7737cccd1fc2f8a08683519b09f4e007a629a61a9bb53dbe57561f820b",
     "000080000000000000000000"},
};

static km_secret_key *make_key(const char *hex) {
  km_secret_key *key;
  assert_int_equal(km_secret_key_parse(&key, hex, strlen(hex), NULL), 0);
  return key;
}

static km_addr *make_addr(const km_secret_key *key) {
  km_id id;
  km_addr *addr;
  km_secret_key_id(key, &id);
  assert_int_equal(km_addr_new(&addr, &id), 0);
  return addr;
}

static void add_udp(km_addr *addr, const char *text) {
  km_udp_addr udp;
  assert_int_equal(km_udp_addr_parse(&udp, text, strlen(text), NULL), 0);
  assert_int_equal(km_addr_add_udp(addr, &udp), 0);
}

static void add_relay(km_addr *addr, const char *url) {
  assert_int_equal(km_addr_add_relay(addr, url, strlen(url), NULL), 0);
}

static km_addr *vector_addr(const vector *v, const km_secret_key *key) {
  km_addr *addr = make_addr(key);
  if (v->relay != NULL) {
    add_relay(addr, v->relay);
  }
  for (size_t i = 0; i < 2 && v->addrs[i] != NULL; i++) {
    add_udp(addr, v->addrs[i]);
  }
  return addr;
}

static bool same_addr(const km_addr *a, const km_addr *b) {
  if (km_addr_udp_count(a) != km_addr_udp_count(b) ||
      km_addr_relay_count(a) != km_addr_relay_count(b)) {
    return false;
  }
  for (size_t i = 0; i < km_addr_udp_count(a); i++) {
    if (!km_udp_addr_equal(km_addr_udp_at(a, i), km_addr_udp_at(b, i))) {
      return false;
    }
  }
  for (size_t i = 0; i < km_addr_relay_count(a); i++) {
    if (strcmp(km_addr_relay_at(a, i), km_addr_relay_at(b, i)) != 0) {
      return false;
    }
  }
  return true;
}

static void test_vectors(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT_OF(vectors); i++) {
    const vector *v = &vectors[i];
    km_secret_key *key = make_key(v->secret);
    km_addr *addr = vector_addr(v, key);
    km_peer_info info = {.size = sizeof info, .addr = addr, .user_data = v->user_data};
    uint8_t payload[KM_PKARR_PAYLOAD_MAX], wanted[KM_PKARR_PAYLOAD_MAX];
    km_pkarr p, again;
    size_t len = from_hex(wanted, sizeof wanted, v->signature);
    for (int n = 0; n < 8; n++) {
      wanted[len++] = (uint8_t)(v->timestamp_us >> (56 - 8 * n));
    }
    len += from_hex(wanted + len, sizeof wanted - len, v->dns);

    assert_int_equal(km_pkarr_from_info(&p, key, v->timestamp_us, &info, true, 30, NULL), 0);
    assert_true(km_id_equal(&p.id, km_addr_id(addr)));
    assert_int_equal(km_pkarr_write(&p, payload), len);
    assert_memory_equal(payload, wanted, len);

    assert_int_equal(km_pkarr_read(&again, km_addr_id(addr), wanted, len, NULL), 0);
    assert_int_equal(again.timestamp_us, v->timestamp_us);
    assert_true(km_id_equal(&again.id, km_addr_id(addr)));
    assert_int_equal(km_pkarr_compare(&p, &again), 0);

    km_details d;
    assert_int_equal(km_details_init(&d, &km_env_system, km_addr_id(addr)), 0);
    assert_int_equal(km_pkarr_details(&again, &d), 0);
    assert_true(same_addr(d.addr, addr));
    assert_string_equal(d.user_data, v->user_data != NULL ? v->user_data : "");
    assert_int_equal(d.any, v->relay != NULL);
    assert_int_equal(d.ttl_s, v->relay != NULL ? 30 : 0);
    km_details_clear(&d);
    km_addr_free(addr);
    km_secret_key_free(key);
  }
}

/* --- reading -----------------------------------------------------------------------------------*/

static size_t sample(uint8_t payload[KM_PKARR_PAYLOAD_MAX], km_id *ret_id) {
  km_secret_key *key = make_key(vectors[1].secret);
  km_addr *addr = vector_addr(&vectors[1], key);
  km_peer_info info = {.size = sizeof info, .addr = addr, .user_data = "x"};
  km_pkarr p;
  assert_int_equal(km_pkarr_from_info(&p, key, NOW_US, &info, true, 30, NULL), 0);
  *ret_id = *km_addr_id(addr);
  km_addr_free(addr);
  km_secret_key_free(key);
  return km_pkarr_write(&p, payload);
}

static void refuse(const km_id *id, const uint8_t *payload, size_t len, const char *why) {
  static km_pkarr p;
  km_errinfo err = {0};
  uint8_t *exact = malloc(len > 0 ? len : 1);
  memcpy(exact, payload, len);
  assert_int_equal(km_pkarr_read(&p, id, exact, len, &err), KM_ERR_BAD_PACKET);
  assert_int_equal(err.code, KM_ERR_BAD_PACKET);
  if (strstr(err.text, why) == NULL) {
    fail_msg("'%s' does not say '%s'", err.text, why);
  }
  free(exact);
}

static void test_truncated(void **state) {
  (void)state;
  uint8_t payload[KM_PKARR_PAYLOAD_MAX + 1] = {0};
  km_id id;
  size_t len = sample(payload, &id);
  for (size_t cut = 0; cut < len; cut++) {
    refuse(&id, payload, cut, cut < KM_PKARR_HEADER ? "72 to 1072 bytes" : "signature is wrong");
  }
  refuse(&id, payload, len + 1, "signature is wrong");
  refuse(&id, payload, KM_PKARR_PAYLOAD_MAX, "signature is wrong");
  refuse(&id, payload, KM_PKARR_PAYLOAD_MAX + 1, "not 1073");
}

static void test_each_bit(void **state) {
  (void)state;
  uint8_t payload[KM_PKARR_PAYLOAD_MAX];
  km_id id;
  size_t len = sample(payload, &id);
  for (size_t bit = 0; bit < 8 * len; bit++) {
    payload[bit / 8] ^= (uint8_t)(1 << bit % 8);
    refuse(&id, payload, len, "signature is wrong");
    payload[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
  km_pkarr p;
  assert_int_equal(km_pkarr_read(&p, &id, payload, len, NULL), 0);
}

static void test_wrong_key(void **state) {
  (void)state;
  uint8_t payload[KM_PKARR_PAYLOAD_MAX];
  km_id id, small = {{1}}; /* the neutral point, for which anybody can sign unless one is strict */
  size_t len = sample(payload, &id);
  id.bytes[0] ^= 1;
  refuse(&id, payload, len, "signature is wrong");
  memset(payload, 0, KM_SIGNATURE_BYTES);
  payload[0] = 1;
  refuse(&small, payload, len, "signature is wrong");
}

/* Signed well, but no DNS: by the key's owner, who may be hostile too. */
static void test_signed_nonsense(void **state) {
  (void)state;
  static const char *const messages[] = {
      "",
      "0000",
      "0000800000000001000000",       /* a byte short of a header */
      "000080000000000100000000",     /* a record promised */
      "000080000000ffff00000000",     /* many */
      "000080000000000100000000c00c", /* a loop */
      "000080000000000100000000c00c0010000100000000000161",
      "00008000000000010000000000001000010000001e00020561", /* TXT that is none */
      "00008000000000010000000000001000010000001e0000",     /* TXT without a string */
      "00008000000000000000000100001000010000001e00020561", /* in the additional section */
      "00008000000000010000000000001000010000001e00050161", /* cut */
  };
  km_secret_key *key = make_key(vectors[0].secret);
  km_id id;
  km_secret_key_id(key, &id);
  for (size_t i = 0; i < COUNT_OF(messages); i++) {
    uint8_t dns[64], payload[KM_PKARR_PAYLOAD_MAX], text[128];
    km_pkarr p = {.timestamp_us = 5};
    size_t len = from_hex(dns, sizeof dns, messages[i]);
    assert_int_equal(km_pkarr_sign(&p, key, 5, dns, len), KM_ERR_INVALID);
    /* So sign it here, as BEP 44 says. */
    int head = snprintf((char *)text, sizeof text, "3:seqi5e1:v%zu:", len);
    memcpy(text + head, dns, len);
    km_secret_key_sign(key, text, (size_t)head + len, p.signature);
    memcpy(p.dns, dns, len);
    p.dns_len = (uint16_t)len;
    refuse(&id, payload, km_pkarr_write(&p, payload), "no DNS message");
  }
  km_secret_key_free(key);
}

/* The time and the length are part of what is signed, as decimal numbers. */
static void test_signed_string(void **state) {
  (void)state;
  static const uint64_t times[] = {0, 1, 999, NOW_US, INT64_MAX, UINT64_MAX};
  static const char *const texts[] = {
      "0", "1", "999", "1754900000123456", "9223372036854775807", "18446744073709551615"};
  km_secret_key *key = make_key(vectors[0].secret);
  uint8_t dns[KM_PKARR_DNS_MAX + 1] = {0, 0, 0x80};
  km_id id;
  km_secret_key_id(key, &id);
  for (size_t i = 0; i < COUNT_OF(times); i++) {
    for (size_t len = 12; len <= KM_PKARR_DNS_MAX; len = len == 12 ? 99 : len * 10 + 10) {
      char text[KM_PKARR_DNS_MAX + 64];
      uint8_t payload[KM_PKARR_PAYLOAD_MAX];
      km_pkarr p, again;
      int head = snprintf(text, sizeof text, "3:seqi%se1:v%zu:", texts[i], len);
      memcpy(text + head, dns, len);
      assert_int_equal(km_pkarr_sign(&p, key, times[i], dns, len), 0);
      assert_int_equal(km_id_verify(&id, text, (size_t)head + len, p.signature), 0);
      size_t n = km_pkarr_write(&p, payload);
      assert_int_equal(n, 72 + len);
      assert_int_equal(km_pkarr_read(&again, &id, payload, n, NULL), 0);
      assert_true(again.timestamp_us == times[i]);
    }
  }
  km_pkarr p;
  assert_int_equal(km_pkarr_sign(&p, key, 1, dns, KM_PKARR_DNS_MAX), 0);
  assert_int_equal(km_pkarr_sign(&p, key, 1, dns, KM_PKARR_DNS_MAX + 1), KM_ERR_LIMIT);
  km_secret_key_free(key);
}

/* What makes no sense to us, and is DNS nevertheless: a relay's store keeps it. */
static void test_other_dns(void **state) {
  (void)state;
  static const char *const messages[] = {
      "000080000000000000000000",                             /* nothing */
      "0000000000010000000000000000100001",                   /* a question for TXT */
      "00008000000000010000000000ff010001000000050003ffffff", /* an unknown type */
      "00008000000000010000000000001000010000001e000100",     /* TXT that says nothing */
      "000080000000000000000000ffff",                         /* bytes behind the end */
  };
  km_secret_key *key = make_key(vectors[0].secret);
  km_id id;
  km_secret_key_id(key, &id);
  for (size_t i = 0; i < COUNT_OF(messages); i++) {
    uint8_t dns[64], payload[KM_PKARR_PAYLOAD_MAX];
    km_pkarr p, again;
    km_details d;
    size_t len = from_hex(dns, sizeof dns, messages[i]);
    assert_int_equal(km_pkarr_sign(&p, key, 5, dns, len), 0);
    len = km_pkarr_write(&p, payload);
    assert_int_equal(km_pkarr_read(&again, &id, payload, len, NULL), 0);
    assert_int_equal(km_details_init(&d, &km_env_system, &id), 0);
    assert_int_equal(km_pkarr_details(&again, &d), 0);
    assert_false(d.any);
    km_details_clear(&d);
  }
  km_secret_key_free(key);
}

static void test_compare(void **state) {
  (void)state;
  static km_pkarr a, b;
  static const struct {
    uint64_t a_time, b_time;
    const char *a_dns, *b_dns;
    int order;
  } cases[] = {
      {1, 2, "ff", "00", -1},       {2, 1, "00", "ff", 1},      {1, UINT64_MAX, "", "", -1},
      {5, 5, "00", "00", 0},        {5, 5, "0001", "0002", -1}, {5, 5, "80", "7f", 1},
      {5, 5, "0001", "000100", -1}, {5, 5, "02", "0100", 1},    {5, 5, "", "00", -1},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    a.timestamp_us = cases[i].a_time;
    b.timestamp_us = cases[i].b_time;
    a.dns_len = (uint16_t)from_hex(a.dns, sizeof a.dns, cases[i].a_dns);
    b.dns_len = (uint16_t)from_hex(b.dns, sizeof b.dns, cases[i].b_dns);
    int order = km_pkarr_compare(&a, &b), back = km_pkarr_compare(&b, &a);
    assert_int_equal((order > 0) - (order < 0), cases[i].order);
    assert_int_equal((back > 0) - (back < 0), -cases[i].order);
  }
}

/* --- building ----------------------------------------------------------------------------------*/

typedef struct summary {
  size_t relays, addrs, records;
  size_t record_len;
  size_t user_data_len;
  size_t dns_len;
} summary;

/* Signs and reads again, through everything. */
static int round_trip(summary *ret, const km_secret_key *key, const km_peer_info *info, bool direct,
                      km_details *ret_details) {
  uint8_t payload[KM_PKARR_PAYLOAD_MAX];
  km_pkarr p, again;
  km_errinfo err = {0};
  km_dnsmsg m;
  km_dnsmsg_rr rr;
  int rv = km_pkarr_from_info(&p, key, NOW_US, info, direct, 77, &err);
  if (rv != 0) {
    assert_int_equal(err.code, rv);
    assert_true(err.text[0] != '\0');
    return rv;
  }
  size_t len = km_pkarr_write(&p, payload);
  assert_int_equal(km_pkarr_read(&again, km_addr_id(info->addr), payload, len, NULL), 0);
  assert_int_equal(km_details_init(ret_details, &km_env_system, km_addr_id(info->addr)), 0);
  assert_int_equal(km_pkarr_details(&again, ret_details), 0);
  *ret = (summary){.relays = km_addr_relay_count(ret_details->addr),
                   .addrs = km_addr_udp_count(ret_details->addr),
                   .record_len = ret_details->record_len,
                   .user_data_len = strlen(ret_details->user_data),
                   .dns_len = again.dns_len};
  assert_int_equal(km_dnsmsg_open(&m, again.dns, again.dns_len), 0);
  ret->records = m.left[KM_DNSMSG_ANSWER];
  for (size_t i = 0; i < ret->records; i++) {
    assert_int_equal(km_dnsmsg_next(&m, &rr), 1);
    assert_int_equal(rr.ttl_s, 77);
  }
  assert_int_equal(m.at, again.dns_len);
  return 0;
}

static void expect_built(const km_secret_key *key, const km_peer_info *info, bool direct,
                         size_t relays, size_t addrs) {
  summary s;
  km_details d;
  assert_int_equal(round_trip(&s, key, info, direct, &d), 0);
  assert_int_equal(s.relays, relays);
  assert_int_equal(s.addrs, addrs);
  assert_int_equal(s.user_data_len, info->user_data != NULL ? strlen(info->user_data) : 0);
  assert_int_equal(s.record_len, info->record_len);
  assert_int_equal(s.records, s.relays + s.addrs + (s.user_data_len > 0) + (s.record_len > 0));
  if (s.record_len > 0) {
    assert_memory_equal(d.record, info->record, s.record_len);
  }
  km_details_clear(&d);
}

static void test_direct_or_not(void **state) {
  (void)state;
  km_secret_key *key = make_key(vectors[1].secret);
  km_addr *addr = vector_addr(&vectors[1], key);
  uint8_t record[200] = {1, 2, 3};
  km_peer_info info = {.size = sizeof info, .addr = addr};
  expect_built(key, &info, true, 1, 2);
  expect_built(key, &info, false, 1, 0);
  info.record = record;
  info.record_len = sizeof record;
  info.user_data = "u";
  expect_built(key, &info, true, 1, 2);
  expect_built(key, &info, false, 1, 0);
  km_addr_free(addr);
  info.addr = addr = make_addr(key); /* nothing but the record: its owner is written in full */
  info.user_data = NULL;
  expect_built(key, &info, true, 0, 0);
  info.record_len = 0; /* none */
  expect_built(key, &info, true, 0, 0);
  km_addr_free(addr);
  km_secret_key_free(key);
}

/* Relays, user data and a record of the largest size have room together only if they are short;
 * addresses take what is left. */
static void test_room(void **state) {
  (void)state;
  km_secret_key *key = make_key(vectors[1].secret);
  km_addr *addr = make_addr(key);
  char user_data[KM_USER_DATA_MAX + 1];
  uint8_t record[KM_RECORD_BYTES_MAX + 1] = {0};
  km_peer_info info = {.size = sizeof info, .addr = addr, .record = record};
  summary s;
  km_details d;
  memset(user_data, 'u', sizeof user_data);
  user_data[sizeof user_data - 1] = '\0';
  for (int i = 0; i < KM_ADDR_MAX_DIRECT; i++) {
    char text[64];
    (void)snprintf(text, sizeof text, "[2001:db8:ffff:ffff:ffff:ffff:ffff:%x]:54321", 0xf000 + i);
    add_udp(addr, text);
  }
  /* 12 of the header; 64 each with a pointer as owner; the first one's owner takes 58 more. */
  info.record_len = 0;
  expect_built(key, &info, true, 0, (KM_PKARR_DNS_MAX - 12 - 58) / 64);
  add_relay(addr, "https://use1-1.relay.n0.iroh.link./");
  info.record_len = KM_RECORD_BYTES_MAX;
  expect_built(key, &info, true, 1, 0);
  expect_built(key, &info, false, 1, 0);
  info.record_len = 400;
  expect_built(key, &info, true, 1, 4); /* 12 + 112 + 569, and 307 are left */
  info.record_len = KM_RECORD_BYTES_MAX;
  info.user_data = user_data;
  assert_int_equal(round_trip(&s, key, &info, true, &d), KM_ERR_LIMIT);
  info.record_len = 300;
  expect_built(key, &info, true, 1, 2); /* 12 + 112 + 434 + 268, and 174 are left */
  info.record_len = KM_RECORD_BYTES_MAX + 1;
  info.user_data = NULL;
  assert_int_equal(round_trip(&s, key, &info, true, &d), KM_ERR_LIMIT);
  km_addr_free(addr);
  km_secret_key_free(key);
}

/* To the byte: an url that just fits, and one letter more. */
static void test_exact_fit(void **state) {
  (void)state;
  km_secret_key *key = make_key(vectors[1].secret);
  char url[1000];
  memset(url, 'p', sizeof url);
  memcpy(url, "https://a.example/", 18);
  /* 12 + 60 + 10, "relay=", and a length byte a string of 255: 908 bytes of url. */
  for (size_t len = 900; len < 920; len++) {
    km_addr *addr = make_addr(key);
    km_peer_info info = {.size = sizeof info, .addr = addr};
    summary s;
    km_details d;
    assert_int_equal(km_addr_add_relay(addr, url, len, NULL), 0);
    int rv = round_trip(&s, key, &info, false, &d);
    assert_int_equal(rv, len <= 908 ? 0 : KM_ERR_LIMIT);
    if (rv == 0) {
      assert_int_equal(strlen(km_addr_relay_at(d.addr, 0)), len);
      km_details_clear(&d);
    }
    km_addr_free(addr);
  }
  km_secret_key_free(key);
}

static size_t strings_size(size_t len) {
  return len + (len + 254) / 255;
}

/* One address is left out exactly when it does not fit, and nothing else ever is. */
static void expect_exact(const km_secret_key *key, size_t url_len, size_t user_len,
                         size_t record_len) {
  uint8_t record[KM_RECORD_BYTES_MAX] = {0};
  char user_data[KM_USER_DATA_MAX + 1], url[1000];
  km_addr *addr = make_addr(key);
  km_peer_info info = {.size = sizeof info, .addr = addr, .user_data = user_data};
  size_t owner = 58; /* what the first name takes beyond a pointer */
  size_t ours = 12 + 2 + 10 + strings_size(10 + user_len);
  size_t with_addr = 2 + 10 + strings_size(strlen("addr=192.0.2.1:1"));
  ours += 1 + 9 + 2 + 10 + strings_size(10 + (record_len * 4 + 2) / 3) + owner;
  memset(user_data, 'u', user_len);
  user_data[user_len] = '\0';
  memset(url, 'p', sizeof url);
  memcpy(url, "https://a.example/", 18);
  info.record = record;
  info.record_len = record_len;
  add_udp(addr, "192.0.2.1:1");
  if (url_len > 0) {
    assert_int_equal(km_addr_add_relay(addr, url, url_len, NULL), 0);
    ours += 2 + 10 + strings_size(6 + url_len);
  }
  summary s;
  km_details d;
  int rv = round_trip(&s, key, &info, true, &d);
  assert_int_equal(rv, ours <= KM_PKARR_DNS_MAX ? 0 : KM_ERR_LIMIT);
  if (rv == 0) {
    assert_int_equal(s.addrs, ours + with_addr <= KM_PKARR_DNS_MAX);
    assert_int_equal(s.dns_len, ours + (s.addrs == 1 ? with_addr : 0));
    assert_int_equal(s.user_data_len, user_len);
    assert_int_equal(s.record_len, record_len);
    km_details_clear(&d);
  }
  km_addr_free(addr);
}

static void test_exact_room(void **state) {
  (void)state;
  km_secret_key *key = make_key(vectors[1].secret);
  for (size_t len = 480; len < 640; len++) {
    expect_exact(key, len, 2, 200);
  }
  for (size_t len = 1; len <= KM_USER_DATA_MAX; len++) {
    expect_exact(key, 0, len, 500);
  }
  for (size_t len = 300; len <= 420; len++) {
    expect_exact(key, 60, 200, len);
  }
  km_secret_key_free(key);
}

static void test_refused_info(void **state) {
  (void)state;
  km_secret_key *key = make_key(vectors[1].secret);
  km_secret_key *other = make_key(vectors[0].secret);
  km_addr *addr = vector_addr(&vectors[1], key);
  km_peer_info info = {.size = sizeof info, .addr = addr};
  km_pkarr p;
  km_errinfo err = {0};
  assert_int_equal(km_pkarr_from_info(&p, other, 1, &info, true, 30, &err), KM_ERR_INVALID);
  assert_non_null(strstr(err.text, "key"));
  info.user_data = "\xff";
  assert_int_equal(km_pkarr_from_info(&p, key, 1, &info, true, 30, &err), KM_ERR_INVALID);
  assert_non_null(strstr(err.text, "user data"));
  km_addr_free(addr);
  km_secret_key_free(key);
  km_secret_key_free(other);
}

/* --- any info ----------------------------------------------------------------------------------*/

static uint32_t next_random(uint32_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 17;
  *state ^= *state << 5;
  return *state;
}

static void random_addr(km_addr *addr, uint32_t *seed) {
  char text[400];
  for (uint32_t n = next_random(seed) % 4; n > 0; n--) {
    int len = snprintf(text, sizeof text, "https://r%u.example/%0*u", next_random(seed) % 9999,
                       (int)(next_random(seed) % 300), 1);
    assert_int_equal(km_addr_add_relay(addr, text, (size_t)len, NULL), 0);
  }
  for (uint32_t n = next_random(seed) % KM_ADDR_MAX_DIRECT; n > 0; n--) {
    km_udp_addr udp = {.family = next_random(seed) % 2 == 0 ? 4 : 6};
    udp.port = (uint16_t)(next_random(seed) % 65535 + 1);
    for (int i = 0; i < (udp.family == 4 ? 4 : 16); i++) {
      udp.ip[i] = (uint8_t)next_random(seed);
    }
    assert_int_equal(km_addr_add_udp(addr, &udp), 0);
  }
}

/* Addresses of `addr` that are missing in `read` have no room in a message of that length. */
static void expect_full(const km_addr *addr, const km_addr *read, size_t dns_len) {
  for (size_t i = 0; i < km_addr_udp_count(addr); i++) {
    const km_udp_addr *udp = km_addr_udp_at(addr, i);
    char text[KM_UDP_ADDR_TEXT_CAP];
    bool found = false;
    for (size_t n = 0; n < km_addr_udp_count(read) && !found; n++) {
      found = km_udp_addr_equal(udp, km_addr_udp_at(read, n));
    }
    size_t len = (size_t)km_udp_addr_format(udp, text, sizeof text);
    assert_true(found || dns_len + 2 + 10 + 1 + 5 + len > KM_PKARR_DNS_MAX);
  }
}

/* What is read is what was signed; addresses may be missing only when the packet is full. */
static void test_any_info(void **state) {
  (void)state;
  uint32_t seed = 5;
  size_t built = 0, cut = 0;
  km_secret_key *key = make_key(vectors[1].secret);
  for (int i = 0; i < 600; i++) {
    km_addr *addr = make_addr(key);
    char user_data[KM_USER_DATA_MAX + 1] = "";
    uint8_t record[KM_RECORD_BYTES_MAX];
    for (size_t n = 0; n < sizeof record; n++) {
      record[n] = (uint8_t)next_random(&seed);
    }
    memset(user_data, 'd', next_random(&seed) % 2 * (next_random(&seed) % KM_USER_DATA_MAX));
    random_addr(addr, &seed);
    km_peer_info info = {.size = sizeof info, .addr = addr, .user_data = user_data};
    info.record = record;
    info.record_len = next_random(&seed) % 2 * (next_random(&seed) % KM_RECORD_BYTES_MAX);
    summary s;
    km_details d;
    if (round_trip(&s, key, &info, true, &d) == 0) {
      built++;
      assert_int_equal(s.relays, km_addr_relay_count(addr));
      assert_string_equal(d.user_data, user_data);
      assert_int_equal(d.record_len, info.record_len);
      assert_memory_equal(d.record, record, d.record_len);
      if (s.addrs == km_addr_udp_count(addr)) {
        assert_true(same_addr(d.addr, addr));
      } else {
        cut++;
        expect_full(addr, d.addr, s.dns_len);
      }
      km_details_clear(&d);
    }
    km_addr_free(addr);
  }
  assert_true(built > 200 && built < 600);
  assert_true(cut > 20 && cut < built);
  km_secret_key_free(key);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_vectors),         cmocka_unit_test(test_truncated),
      cmocka_unit_test(test_each_bit),        cmocka_unit_test(test_wrong_key),
      cmocka_unit_test(test_signed_nonsense), cmocka_unit_test(test_signed_string),
      cmocka_unit_test(test_other_dns),       cmocka_unit_test(test_compare),
      cmocka_unit_test(test_direct_or_not),   cmocka_unit_test(test_room),
      cmocka_unit_test(test_exact_fit),       cmocka_unit_test(test_exact_room),
      cmocka_unit_test(test_refused_info),    cmocka_unit_test(test_any_info),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
