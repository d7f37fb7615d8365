/* STUN messages: the vectors of RFC 5769, and what a server must not do. */
#include "holepunch/stun.h"

#include "base/wire.h"
#include "test/relay/hex.h"

#define MAX 2000
#define ID "b7e7a701bc34d686fa87dfae"
#define COOKIE "2112a442"

/* RFC 5769 section 2.1, which has ICE's PRIORITY: an attribute that has to be understood. */
static const char ice_request[] =
    "00010058" COOKIE ID "802200105354554e207465737420636c69656e74002400046e0001ff80290008932ff9b1"
    "51263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004e57a3bcf";
/* Sections 2.2 and 2.3. */
static const char v4_response[] =
    "0101003c" COOKIE ID "8022000b7465737420766563746f7220002000080001a147e112a643000800142b91f599"
    "fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
static const char v6_response[] =
    "01010048" COOKIE ID "8022000b7465737420766563746f7220002000140002a1470113a9faa5d3f179bc25f4b5"
    "bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c";

static km_udp_addr addr_of(const char *text) {
  km_udp_addr ret;
  assert_int_equal(km_udp_addr_parse(&ret, text, strlen(text), NULL), 0);
  return ret;
}

static void id_of(uint8_t ret[KM_STUN_ID_LEN]) {
  assert_int_equal(from_hex(ret, KM_STUN_ID_LEN, ID), KM_STUN_ID_LEN);
}

static bool read_hex(km_stun_message *ret, const char *hex) {
  static uint8_t bytes[MAX]; /* the message points into it */
  return km_stun_read(ret, bytes, from_hex(bytes, sizeof bytes, hex));
}

/* --- vectors --------------------------------------------------------------------------------- */

static void the_vectors_of_rfc_5769(void **state) {
  (void)state;
  static const struct {
    const char *hex, *addr;
  } responses[] = {{v4_response, "192.0.2.1:32853"},
                   {v6_response, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"}};
  uint8_t id[KM_STUN_ID_LEN], bytes[MAX];
  id_of(id);
  for (size_t i = 0; i < COUNT_OF(responses); i++) {
    km_udp_addr wanted = addr_of(responses[i].addr), got;
    km_stun_message msg;
    size_t len = from_hex(bytes, sizeof bytes, responses[i].hex);
    assert_true(km_stun_read(&msg, bytes, len));
    assert_int_equal(msg.cls, KM_STUN_SUCCESS);
    assert_int_equal(msg.method, KM_STUN_BINDING);
    assert_true(msg.fingerprint);
    assert_memory_equal(msg.id, id, sizeof id);
    assert_int_equal(msg.software_len, strlen("test vector"));
    assert_memory_equal(msg.software, "test vector", msg.software_len);
    assert_int_equal(km_stun_response_read(&got, id, bytes, len, NULL), 0);
    assert_true(km_udp_addr_equal(&got, &wanted));
  }
  km_stun_message msg;
  assert_true(read_hex(&msg, ice_request));
  assert_int_equal(msg.cls, KM_STUN_REQUEST);
  assert_true(msg.fingerprint);
  assert_int_equal(msg.unknown_count, 1);
  assert_int_equal(msg.unknown[0], 0x0024);
}

static void every_flipped_bit_is_noticed(void **state) {
  (void)state;
  uint8_t bytes[MAX];
  km_stun_message msg;
  size_t len = from_hex(bytes, sizeof bytes, ice_request);
  for (size_t bit = 0; bit < len * 8; bit++) {
    bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    /* A flip may hide the fingerprint in another attribute: then it is none that was checked. */
    assert_false(km_stun_read(&msg, bytes, len) && msg.fingerprint);
    bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
  assert_true(km_stun_read(&msg, bytes, len));
}

static void no_prefix_is_a_message(void **state) {
  (void)state;
  uint8_t bytes[MAX];
  km_stun_message msg;
  size_t len = from_hex(bytes, sizeof bytes, v6_response);
  for (size_t i = 0; i < len; i++) {
    uint8_t *exact = malloc(i + 1); /* its end is watched */
    assert_non_null(exact);
    memcpy(exact, bytes, i);
    assert_false(km_stun_read(&msg, exact, i));
    free(exact);
  }
  bytes[len] = 0;
  assert_false(km_stun_read(&msg, bytes, len + 1));
}

/* --- reading --------------------------------------------------------------------------------- */

static void what_is_no_stun(void **state) {
  (void)state;
  static const char *const hex[] = {
      "",
      "00",
      "00010000" COOKIE "b7e7a701bc34d686fa87df", /* short */
      "00010000" COOKIE ID "00",                  /* long */
      "00010000"
      "2112a443" ID,                                   /* another cookie: RFC 3489 */
      "40010000" COOKIE ID,                            /* the first two bits */
      "80010000" COOKIE ID,                            /* ... as QUIC's long header */
      "00010001" COOKIE ID "00",                       /* length not a multiple of 4 */
      "00010004" COOKIE ID "00240004",                 /* an attribute beyond the end */
      "00010008" COOKIE ID "0024000500000000",         /* its padding beyond the end */
      "00010004" COOKIE ID "0024ffff",                 /* as long as can be */
      "01010008" COOKIE ID "0020000400011111",         /* an address cut short */
      "0101000c" COOKIE ID "002000080003a147e112a643", /* of an unknown family */
      "0101000c" COOKIE ID "002000080002a147e112a643", /* IPv6 in 4 bytes */
      "01110008" COOKIE ID "0009000400000214",         /* error 220 */
      "01110008" COOKIE ID "0009000400000464",         /* error 4.100 */
      "01110008" COOKIE ID "0009000300000414",         /* error in 3 bytes */
      "00010008" COOKIE ID "8028000400000000",         /* a wrong fingerprint */
      "00010010" COOKIE ID "802800040cb778e1"
      "8022000400000000",                      /* not at the end */
      "00010008" COOKIE ID "8028000300000000", /* of a wrong length */
  };
  km_stun_message msg;
  for (size_t i = 0; i < COUNT_OF(hex); i++) {
    assert_false(read_hex(&msg, hex[i]));
  }
}

static void classes_and_methods(void **state) {
  (void)state;
  static const struct {
    const char *type;
    km_stun_class cls;
    uint16_t method;
  } types[] = {{"0001", KM_STUN_REQUEST, 1},     {"0011", KM_STUN_INDICATION, 1},
               {"0101", KM_STUN_SUCCESS, 1},     {"0111", KM_STUN_ERROR, 1},
               {"0003", KM_STUN_REQUEST, 3},     {"0020", KM_STUN_REQUEST, 0x10},
               {"0200", KM_STUN_REQUEST, 0x080}, {"3eef", KM_STUN_REQUEST, 0xfff},
               {"3fff", KM_STUN_ERROR, 0xfff}};
  for (size_t i = 0; i < COUNT_OF(types); i++) {
    char hex[64];
    km_stun_message msg;
    (void)snprintf(hex, sizeof hex, "%s0000" COOKIE ID, types[i].type);
    assert_true(read_hex(&msg, hex));
    assert_int_equal(msg.cls, types[i].cls);
    assert_int_equal(msg.method, types[i].method);
  }
}

static void the_first_of_several_counts(void **state) {
  (void)state;
  km_stun_message msg;
  km_udp_addr one = addr_of("192.0.2.1:32853"), other = addr_of("10.0.0.1:5");
  const char *xor1 = "002000080001a147e112a643", *plain = "00010008000100050a000001";
  char hex[200];
  (void)snprintf(hex, sizeof hex, "01010018" COOKIE ID "%s%s", plain, xor1);
  assert_true(read_hex(&msg, hex));
  assert_true(km_udp_addr_equal(&msg.mapped, &one)); /* XOR-MAPPED-ADDRESS goes first */
  (void)snprintf(hex, sizeof hex, "01010018" COOKIE ID "%s%s", xor1, plain);
  assert_true(read_hex(&msg, hex));
  assert_true(km_udp_addr_equal(&msg.mapped, &one));
  (void)snprintf(hex, sizeof hex, "0101000c" COOKIE ID "%s", plain);
  assert_true(read_hex(&msg, hex));
  assert_true(km_udp_addr_equal(&msg.mapped, &other));
  /* Behind MESSAGE-INTEGRITY nothing counts. */
  (void)snprintf(hex, sizeof hex, "01010024" COOKIE ID "00080014%040d%s", 0, plain);
  assert_true(read_hex(&msg, hex));
  assert_int_equal(msg.mapped.family, 0);
}

static void unknown_attributes_are_kept_once_and_bounded(void **state) {
  (void)state;
  km_stun_message msg;
  assert_true(read_hex(&msg, "0001000c" COOKIE ID "7fff00007fff000080000000"));
  assert_int_equal(msg.unknown_count, 1);
  assert_int_equal(msg.unknown[0], 0x7fff);
  char hex[400] = "0001004c" COOKIE ID;
  for (unsigned i = 0; i < 19; i++) {
    (void)snprintf(hex + strlen(hex), sizeof hex - strlen(hex), "70%02x0000", i);
  }
  assert_true(read_hex(&msg, hex));
  assert_int_equal(msg.unknown_count, KM_STUN_MAX_UNKNOWN);
}

/* --- answering ------------------------------------------------------------------------------- */

static void an_answer_is_what_a_client_reads(void **state) {
  (void)state;
  static const char *const addrs[] = {"192.0.2.1:32853", "0.0.0.0:1", "255.255.255.255:65535",
                                      "[2001:db8:1234:5678:11:2233:4455:6677]:32853", "[::]:1"};
  uint8_t id[KM_STUN_ID_LEN], request[KM_STUN_REQUEST_LEN], answer[KM_STUN_MAX_ANSWER];
  id_of(id);
  km_stun_request(request, id);
  for (size_t i = 0; i < COUNT_OF(addrs); i++) {
    km_stun_message msg, back;
    km_udp_addr from = addr_of(addrs[i]), got;
    assert_true(km_stun_read(&msg, request, sizeof request));
    assert_true(msg.fingerprint);
    size_t len = km_stun_answer(answer, &msg, &from);
    assert_int_equal(km_stun_response_read(&got, id, answer, len, NULL), 0);
    assert_true(km_udp_addr_equal(&got, &from));
    assert_true(km_stun_read(&back, answer, len));
    assert_true(back.fingerprint);
  }
}

static void a_fingerprint_only_for_who_has_one(void **state) {
  (void)state;
  uint8_t answer[KM_STUN_MAX_ANSWER];
  km_stun_message msg, back;
  km_udp_addr from = addr_of("192.0.2.1:32853");
  assert_true(read_hex(&msg, "00010000" COOKIE ID));
  size_t len = km_stun_answer(answer, &msg, &from);
  uint8_t wanted[64];
  size_t wanted_len =
      from_hex(wanted, sizeof wanted, "0101000c" COOKIE ID "002000080001a147e112a643");
  assert_int_equal(len, wanted_len);
  assert_memory_equal(answer, wanted, len);
  assert_true(km_stun_read(&back, answer, len));
  assert_false(back.fingerprint);
}

static void only_binding_requests_are_answered(void **state) {
  (void)state;
  static const char *const types[] = {"0011", "0101", "0111", "0003", "0002", "3eef"};
  uint8_t answer[KM_STUN_MAX_ANSWER];
  km_udp_addr from = addr_of("192.0.2.1:32853");
  for (size_t i = 0; i < COUNT_OF(types); i++) {
    char hex[64];
    km_stun_message msg;
    (void)snprintf(hex, sizeof hex, "%s0000" COOKIE ID, types[i]);
    assert_true(read_hex(&msg, hex));
    assert_int_equal(km_stun_answer(answer, &msg, &from), 0);
  }
  km_stun_message msg;
  assert_true(read_hex(&msg, "00010000" COOKIE ID));
  assert_int_equal(km_stun_answer(answer, &msg, &(km_udp_addr){.family = 0}), 0);
}

static void unknown_attributes_give_420(void **state) {
  (void)state;
  uint8_t answer[KM_STUN_MAX_ANSWER], id[KM_STUN_ID_LEN];
  km_stun_message msg, back;
  km_udp_addr from = addr_of("192.0.2.1:32853"), got;
  km_errinfo err = {0};
  id_of(id);
  assert_true(read_hex(&msg, ice_request));
  size_t len = km_stun_answer(answer, &msg, &from);
  assert_true(km_stun_read(&back, answer, len));
  assert_int_equal(back.cls, KM_STUN_ERROR);
  assert_int_equal(back.error, 420);
  assert_true(back.fingerprint);
  assert_int_equal(back.mapped.family, 0);
  /* UNKNOWN-ATTRIBUTES, one of them, and padding. */
  uint8_t wanted[8];
  assert_int_equal(from_hex(wanted, sizeof wanted, "000a000200240000"), sizeof wanted);
  assert_memory_equal(answer + len - 16, wanted, sizeof wanted);
  assert_int_equal(km_stun_response_read(&got, id, answer, len, &err), KM_ERR_REFUSED);
  assert_int_equal(err.peer_code, 420);
}

/* A request with so many unknown attributes, as short as it can be. */
static size_t make_request(uint8_t ret[MAX], unsigned unknown) {
  uint8_t id[KM_STUN_ID_LEN] = {0};
  km_wr wr = km_wr_init(ret, MAX);
  km_wr_be(&wr, 1, 2);
  km_wr_be(&wr, 4 * unknown, 2);
  km_wr_be(&wr, 0x2112A442, 4);
  km_wr_bytes(&wr, id, sizeof id);
  for (unsigned i = 0; i < unknown; i++) {
    km_wr_be(&wr, 0x7000 + i, 2);
    km_wr_be(&wr, 0, 2);
  }
  assert_false(wr.failed);
  return (size_t)(wr.at - ret);
}

static void no_answer_is_much_longer_than_its_request(void **state) {
  (void)state;
  uint8_t request[MAX], answer[KM_STUN_MAX_ANSWER];
  for (unsigned unknown = 0; unknown < 60; unknown++) {
    for (unsigned family = 4; family <= 6; family += 2) {
      km_stun_message msg;
      km_udp_addr from = {.family = (uint8_t)family, .port = 9};
      size_t len = make_request(request, unknown);
      size_t headers = (family == 4 ? 20 : 40) + 8; /* IP and UDP */
      assert_true(km_stun_read(&msg, request, len));
      for (int fingerprint = 0; fingerprint <= 1; fingerprint++) {
        msg.fingerprint = fingerprint == 1;
        size_t request_len = headers + len + (msg.fingerprint ? 8 : 0);
        size_t answer_len = headers + km_stun_answer(answer, &msg, &from);
        assert_true(answer_len > headers);
        assert_true(10 * answer_len <= 14 * request_len);
      }
    }
  }
}

/* --- RFC 5780 --------------------------------------------------------------------------------- */

static void change_request(void **state) {
  (void)state;
  for (int ip = 0; ip < 2; ip++) {
    for (int port = 0; port < 2; port++) {
      uint8_t id[KM_STUN_ID_LEN], bytes[KM_STUN_MAX_REQUEST];
      km_stun_message msg;
      id_of(id);
      size_t len = km_stun_request_change(bytes, id, ip == 1, port == 1);
      assert_int_equal(len, KM_STUN_MAX_REQUEST);
      assert_true(km_stun_read(&msg, bytes, len));
      assert_true(msg.fingerprint);
      assert_int_equal(msg.change_ip, ip);
      assert_int_equal(msg.change_port, port);
      assert_int_equal(bytes[27], ip * 4 + port * 2);
      /* To who cannot do it, it is an attribute that is not known. */
      assert_int_equal(msg.unknown_count, 1);
      assert_int_equal(msg.unknown[0], 3);
      km_stun_allow_change(&msg);
      assert_int_equal(msg.unknown_count, 0);
    }
  }
}

static void allowing_change_allows_nothing_else(void **state) {
  (void)state;
  km_stun_message msg;
  assert_true(read_hex(&msg, "00010010" COOKIE ID "70010000000300040000000670020000"));
  assert_true(msg.change_ip && msg.change_port);
  assert_int_equal(msg.unknown_count, 3);
  km_stun_allow_change(&msg);
  assert_int_equal(msg.unknown_count, 2);
  assert_int_equal(msg.unknown[0], 0x7001);
  assert_int_equal(msg.unknown[1], 0x7002);
}

static void a_bad_change_request_is_no_message(void **state) {
  (void)state;
  km_stun_message msg;
  assert_false(read_hex(&msg, "00010004" COOKIE ID "00030000"));
  assert_false(read_hex(&msg, "0001000c" COOKIE ID "000300080000000600000000"));
}

static void long_answers(void **state) {
  (void)state;
  static const char *const addrs[][3] = {
      {"192.0.2.1:32853", "198.51.100.1:3478", "198.51.100.2:3479"},
      {"[2001:db8::1]:32853", "[2001:db8::2]:3478", "[2001:db8::3]:3479"}};
  for (size_t i = 0; i < COUNT_OF(addrs); i++) {
    uint8_t id[KM_STUN_ID_LEN], request[KM_STUN_REQUEST_LEN], answer[KM_STUN_MAX_LONG_ANSWER];
    km_stun_message msg, back;
    const km_udp_addr from = addr_of(addrs[i][0]), origin = addr_of(addrs[i][1]),
                      other = addr_of(addrs[i][2]);
    id_of(id);
    km_stun_request(request, id);
    assert_true(km_stun_read(&msg, request, sizeof request));
    size_t len = km_stun_answer_long(answer, &msg, &from, &origin, &other);
    assert_int_equal(len, i == 0 ? 64 : 100);
    assert_true(km_stun_read(&back, answer, len));
    assert_true(back.fingerprint);
    assert_int_equal(back.unknown_count, 0);
    assert_true(km_udp_addr_equal(&back.mapped, &from));
    assert_true(km_udp_addr_equal(&back.origin, &origin));
    assert_true(km_udp_addr_equal(&back.other, &other));
    assert_int_equal(km_stun_response_check(&back, id, NULL), 0);
    /* Less than 2.1 times what was asked, IP and UDP headers included. */
    size_t headers = i == 0 ? 28 : 48;
    assert_true(10 * (headers + len - 8) <= 21 * (headers + KM_STUN_HEADER_LEN));
    msg.unknown[msg.unknown_count++] = 0x7000;
    len = km_stun_answer_long(answer, &msg, &from, &origin, &other);
    assert_true(km_stun_read(&back, answer, len));
    assert_int_equal(back.error, 420);
    assert_int_equal(back.other.family, 0);
  }
}

static void addresses_that_may_be_skipped_spoil_nothing(void **state) {
  (void)state;
  km_stun_message msg;
  /* OTHER-ADDRESS of an unknown family, then a good one; RESPONSE-ORIGIN cut short. */
  assert_true(read_hex(&msg, "0101002c" COOKIE ID "002000080001a147e112a643"
                             "802c00080009000101020304"
                             "802b000400010001"
                             "802c00080001000101020304"));
  assert_int_equal(msg.mapped.port, 32853);
  assert_int_equal(msg.origin.family, 0);
  assert_int_equal(msg.other.family, 4);
  assert_int_equal(msg.other.port, 1);
}

/* SOURCE-ADDRESS and CHANGED-ADDRESS, in answers only. */
static void servers_of_rfc_3489_are_understood(void **state) {
  (void)state;
  uint8_t id[KM_STUN_ID_LEN];
  km_stun_message msg;
  id_of(id);
  assert_true(read_hex(&msg, "01010024" COOKIE ID "002000080001a147e112a643"
                             "000400080001000101020304"
                             "000500080001000101020304"));
  assert_int_equal(km_stun_response_check(&msg, id, NULL), 0);
  assert_true(read_hex(&msg, "0001000c" COOKIE ID "000400080001000101020304"));
  assert_int_equal(msg.unknown_count, 1);
}

/* --- the client's half ----------------------------------------------------------------------- */

static void answers_to_others_are_not_ours(void **state) {
  (void)state;
  uint8_t id[KM_STUN_ID_LEN], bytes[MAX];
  km_udp_addr got = {0};
  km_errinfo err = {0};
  id_of(id);
  size_t len = from_hex(bytes, sizeof bytes, v4_response);
  id[0] ^= 1;
  assert_int_equal(km_stun_response_read(&got, id, bytes, len, &err), KM_ERR_INVALID);
  id[0] ^= 1;
  km_stun_request(bytes, id);
  assert_int_equal(km_stun_response_read(&got, id, bytes, KM_STUN_REQUEST_LEN, &err),
                   KM_ERR_INVALID);
  len = from_hex(bytes, sizeof bytes, "01010000" COOKIE ID);
  assert_int_equal(km_stun_response_read(&got, id, bytes, len, &err), KM_ERR_UNSUPPORTED);
  len = from_hex(bytes, sizeof bytes, "01010010" COOKIE ID "002000080001a147e112a64370000000");
  assert_int_equal(km_stun_response_read(&got, id, bytes, len, &err), KM_ERR_UNSUPPORTED);
  len = from_hex(bytes, sizeof bytes, "01110008" COOKIE ID "0009000400000300");
  assert_int_equal(km_stun_response_read(&got, id, bytes, len, &err), KM_ERR_REFUSED);
  assert_int_equal(err.peer_code, 300);
  assert_int_equal(got.family, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_vectors_of_rfc_5769),
      cmocka_unit_test(every_flipped_bit_is_noticed),
      cmocka_unit_test(no_prefix_is_a_message),
      cmocka_unit_test(what_is_no_stun),
      cmocka_unit_test(classes_and_methods),
      cmocka_unit_test(the_first_of_several_counts),
      cmocka_unit_test(unknown_attributes_are_kept_once_and_bounded),
      cmocka_unit_test(an_answer_is_what_a_client_reads),
      cmocka_unit_test(a_fingerprint_only_for_who_has_one),
      cmocka_unit_test(only_binding_requests_are_answered),
      cmocka_unit_test(unknown_attributes_give_420),
      cmocka_unit_test(no_answer_is_much_longer_than_its_request),
      cmocka_unit_test(change_request),
      cmocka_unit_test(allowing_change_allows_nothing_else),
      cmocka_unit_test(a_bad_change_request_is_no_message),
      cmocka_unit_test(long_answers),
      cmocka_unit_test(addresses_that_may_be_skipped_spoil_nothing),
      cmocka_unit_test(servers_of_rfc_3489_are_understood),
      cmocka_unit_test(answers_to_others_are_not_ours),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
