/* PCP's packets, byte by byte (RFC 6887). */
#include "holepunch/pcp.h"

#include "test/base/test_env.h"

static const uint8_t nonce[KM_PCP_NONCE_LEN] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

/* A good answer to MAP: 7,200 s, epoch 258, port 4433 is 203.0.113.9:50000. */
static const uint8_t answer[KM_PCP_MAP_LEN] = {
    2,    0x81, 0,    0,    0, 0, 0x1c, 0x20, 0, 0, 1, 2, 0, 0,  0,    0,    0,   0, 0,   0,
    0,    0,    0,    0,    1, 2, 3,    4,    5, 6, 7, 8, 9, 10, 11,   12,   17,  0, 0,   0,
    0x11, 0x51, 0xc3, 0x50, 0, 0, 0,    0,    0, 0, 0, 0, 0, 0,  0xff, 0xff, 203, 0, 113, 9};

static void a_request(void **state) {
  (void)state;
  const km_udp_addr client = {.family = 4, .ip = {192, 168, 1, 7}};
  km_pcp_map map = {.internal_port = 4433};
  uint8_t bytes[KM_PCP_MAP_LEN];
  memcpy(map.nonce, nonce, sizeof nonce);
  km_pcp_map_request(bytes, &map, &client, 7200);
  uint8_t want[KM_PCP_MAP_LEN] = {2, 1, 0, 0, 0, 0, 0x1c, 0x20};
  static const uint8_t own[6] = {0xff, 0xff, 192, 168, 1, 7};
  memcpy(want + 18, own, sizeof own);
  memcpy(want + 24, nonce, sizeof nonce);
  want[36] = 17;
  want[40] = 0x11;
  want[41] = 0x51;
  want[54] = want[55] = 0xff; /* any IPv4 address, any port */
  assert_memory_equal(bytes, want, sizeof want);

  map.external = (km_udp_addr){.family = 4, .port = 0xc350, .ip = {203, 0, 113, 9}};
  km_pcp_map_request(bytes, &map, &client, 0);
  memset(want + 4, 0, 4); /* deletes */
  memcpy(want + 42, answer + 42, 18);
  assert_memory_equal(bytes, want, sizeof want);
}

static void a_request_over_ipv6(void **state) {
  (void)state;
  const km_udp_addr client = {.family = 6, .ip = {0x20, 1, 0x0d, 0xb8, [15] = 7}};
  const km_pcp_map map = {.internal_port = 4433};
  static const uint8_t any[16] = {0};
  uint8_t bytes[KM_PCP_MAP_LEN];
  km_pcp_map_request(bytes, &map, &client, 7200);
  assert_memory_equal(bytes + 8, client.ip, 16);
  assert_memory_equal(bytes + 44, any, 16);
}

static void a_good_answer(void **state) {
  (void)state;
  km_pcp_answer a;
  assert_true(km_pcp_read(&a, answer, sizeof answer));
  assert_int_equal(a.kind, KM_PCP_MAP);
  assert_int_equal(a.result, KM_PCP_SUCCESS);
  assert_int_equal(a.lifetime_s, 7200);
  assert_int_equal(a.epoch_s, 258);
  assert_memory_equal(a.map.nonce, nonce, sizeof nonce);
  assert_int_equal(a.map.internal_port, 4433);
  const km_udp_addr want = {.family = 4, .port = 50000, .ip = {203, 0, 113, 9}};
  assert_true(km_udp_addr_equal(&a.map.external, &want));
}

/* One thing about the answer is changed. */
static void answers_of_other_kinds(void **state) {
  (void)state;
  static const struct {
    const char *what;
    size_t at;
    uint8_t value;
    bool read;
    km_pcp_kind kind;
  } cases[] = {
      {"an error of MAP", 3, KM_PCP_NOT_AUTHORIZED, true, KM_PCP_MAP},
      {"an error that is not known", 3, 200, true, KM_PCP_MAP},
      {"no answer but a request", 1, 1, false, 0},
      {"an answer to PEER", 1, 0x82, false, 0},
      {"an announcement", 1, 0x80, true, KM_PCP_ANNOUNCE},
      {"NAT-PMP", 0, 0, false, 0},
      {"a later version", 0, 3, false, 0},
      {"of TCP", 36, 6, false, 0},
      {"a wrong version was asked with", 3, KM_PCP_UNSUPP_VERSION, true, KM_PCP_OTHER_VERSION},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    uint8_t bytes[sizeof answer];
    km_pcp_answer a;
    memcpy(bytes, answer, sizeof answer);
    bytes[cases[i].at] = cases[i].value;
    print_message("%s\n", cases[i].what);
    assert_int_equal(km_pcp_read(&a, bytes, sizeof bytes), cases[i].read);
    assert_true(!cases[i].read || a.kind == cases[i].kind);
  }
}

static void lengths(void **state) {
  (void)state;
  uint8_t bytes[KM_PCP_MAX_LEN + 4] = {0};
  km_pcp_answer a;
  memcpy(bytes, answer, sizeof answer);
  for (size_t len = 0; len <= sizeof bytes; len++) {
    uint8_t *copy = malloc(len + 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    bool want = len >= sizeof answer && len <= KM_PCP_MAX_LEN && len % 4 == 0; /* options follow */
    assert_int_equal(km_pcp_read(&a, copy, len), want);
    copy[0] = 1;
    if (len >= 4) { /* an older server's refusal has the length of its own answers */
      copy[3] = KM_PCP_UNSUPP_VERSION;
      assert_true(km_pcp_read(&a, copy, len));
      assert_int_equal(a.kind, KM_PCP_OTHER_VERSION);
      assert_int_equal(a.version, 1);
    }
    free(copy);
  }
}

/* As miniupnpd 2.3.1 sends it when it starts. */
static void an_announcement(void **state) {
  (void)state;
  static const uint8_t bytes[24] = {2, 0x80};
  km_pcp_answer a;
  assert_true(km_pcp_read(&a, bytes, sizeof bytes));
  assert_int_equal(a.kind, KM_PCP_ANNOUNCE);
  assert_int_equal(a.epoch_s, 0);
  assert_false(km_pcp_read(&a, bytes, 20));
}

static void an_external_ipv6_address(void **state) {
  (void)state;
  uint8_t bytes[sizeof answer];
  km_pcp_answer a;
  memcpy(bytes, answer, sizeof answer);
  bytes[44] = 0x20;
  assert_true(km_pcp_read(&a, bytes, sizeof bytes));
  assert_int_equal(a.map.external.family, 6);
  assert_memory_equal(a.map.external.ip, bytes + 44, 16);
}

static void names(void **state) {
  (void)state;
  assert_string_equal(km_pcp_result_name(KM_PCP_NOT_AUTHORIZED), "NOT_AUTHORIZED");
  assert_string_equal(km_pcp_result_name(KM_PCP_EXCESSIVE_REMOTE_PEERS), "EXCESSIVE_REMOTE_PEERS");
  assert_string_equal(km_pcp_result_name(14), "?");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_request),
      cmocka_unit_test(a_request_over_ipv6),
      cmocka_unit_test(a_good_answer),
      cmocka_unit_test(answers_of_other_kinds),
      cmocka_unit_test(lengths),
      cmocka_unit_test(an_announcement),
      cmocka_unit_test(an_external_ipv6_address),
      cmocka_unit_test(names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
