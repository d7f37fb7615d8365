/* NAT-PMP's packets, byte by byte (RFC 6886). */
#include "holepunch/natpmp.h"

#include "test/base/test_env.h"

static void requests(void **state) {
  (void)state;
  static const uint8_t map[] = {0, 1, 0, 0, 0x11, 0x51, 0xc3, 0x50, 0, 0, 0x1c, 0x20};
  uint8_t bytes[KM_NATPMP_MAP_LEN] = {9, 9};
  km_natpmp_address_request(bytes);
  assert_memory_equal(bytes, "\0\0", 2);
  km_natpmp_map_request(bytes, 4433, 50000, 7200);
  assert_memory_equal(bytes, map, sizeof map);
}

static void answers(void **state) {
  (void)state;
  static const struct {
    const char *what;
    uint8_t bytes[16];
    size_t min; /* shorter than this it is none */
    bool read;
    km_natpmp_answer want;
  } cases[] = {
      {"the address",
       {0, 128, 0, 0, 0, 0, 1, 2, 203, 0, 113, 9},
       12,
       true,
       {.kind = KM_NATPMP_ADDRESS, .epoch_s = 258, .ip = {203, 0, 113, 9}}},
      {"a mapping",
       {0, 129, 0, 0, 0, 0, 1, 2, 0x11, 0x51, 0xc3, 0x50, 0, 0, 0x1c, 0x20},
       16,
       true,
       {.kind = KM_NATPMP_MAP,
        .op = 1,
        .epoch_s = 258,
        .internal_port = 4433,
        .external_port = 50000,
        .lifetime_s = 7200}},
      {"a refusal",
       {0, 129, 0, 2, 0, 0, 1, 2},
       8,
       true,
       {.kind = KM_NATPMP_FAILED, .op = 1, .result = KM_NATPMP_NOT_AUTHORIZED, .epoch_s = 258}},
      {"one that is not known",
       {0, 128, 1, 0, 0, 0, 0, 0},
       8,
       true,
       {.kind = KM_NATPMP_FAILED, .result = 256}},
      {"the answer to PCP",
       {0, 129, 0, 1, 0, 0, 0, 9},
       8,
       true,
       {.kind = KM_NATPMP_FAILED, .op = 1, .result = KM_NATPMP_UNSUPP_VERSION, .epoch_s = 9}},
      {"a mapping of TCP", {0, 130}, 0, false, {0}},
      {"a request", {0, 1}, 0, false, {0}},
      {"PCP", {2, 129}, 0, false, {0}},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    print_message("%s\n", cases[i].what);
    for (size_t len = 0; len <= 16; len++) {
      uint8_t *copy = malloc(len + 1);
      km_natpmp_answer a = {0};
      assert_non_null(copy);
      memcpy(copy, cases[i].bytes, len);
      assert_int_equal(km_natpmp_read(&a, copy, len), cases[i].read && len >= cases[i].min);
      free(copy);
      if (cases[i].read && len >= cases[i].min) {
        const km_natpmp_answer *want = &cases[i].want;
        assert_int_equal(a.kind, want->kind);
        assert_int_equal(a.result, want->result);
        assert_int_equal(a.op, want->op);
        assert_int_equal(a.epoch_s, want->epoch_s);
        assert_memory_equal(a.ip, want->ip, sizeof a.ip);
        assert_int_equal(a.internal_port, want->internal_port);
        assert_int_equal(a.external_port, want->external_port);
        assert_int_equal(a.lifetime_s, want->lifetime_s);
      }
    }
  }
}

static void names(void **state) {
  (void)state;
  assert_string_equal(km_natpmp_result_name(KM_NATPMP_NO_RESOURCES), "NO_RESOURCES");
  assert_string_equal(km_natpmp_result_name(6), "?");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(requests),
      cmocka_unit_test(answers),
      cmocka_unit_test(names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
