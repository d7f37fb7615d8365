/* Disco packets: bodies byte by byte, what is passed over and what is refused, seals. */
#include "holepunch/disco.h"

#include <sodium.h>

#include "base/secret_key.h"
#include "test/holepunch/disco_lab.h"

#define TX "000102030405060708090a0b"
#define PADDING "0000000000000000000000000000000000000000"
#define V4_ADDR "04000fa0c0000201000000000000000000000000" /* 192.0.2.1:4000 */
#define V6_ADDR "06000fa120010db8000000000000000000000001" /* [2001:db8::1]:4001 */
#define NO_NAT "000000000000"

static int read_hex(km_disco_message *ret, const char *hex) {
  uint8_t bytes[2000];
  size_t len = from_hex(bytes, sizeof bytes, hex);
  uint8_t *exact = malloc(len + 1); /* its end is watched */
  assert_non_null(exact);
  memcpy(exact, bytes, len);
  int rv = km_disco_read(ret, exact, len);
  free(exact);
  return rv;
}

static void assert_written(const km_disco_message *msg, const char *hex) {
  uint8_t wanted[2000], got[2000];
  size_t len = from_hex(wanted, sizeof wanted, hex);
  assert_int_equal(km_disco_write(msg, got, sizeof got), (int)len);
  assert_memory_equal(got, wanted, len);
}

static km_disco_message a_call(void) {
  km_disco_message msg = {.type = KM_DISCO_CALL_ME_MAYBE};
  msg.call.flags = KM_CALL_ANSWER;
  msg.call.nat = (km_nat_info){.mapping4 = KM_NAT_MAPPING_ENDPOINT_INDEPENDENT,
                               .mapping6 = KM_NAT_MAPPING_NONE,
                               .filtering4 = KM_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT,
                               .filtering6 = KM_NAT_FILTERING_ADDRESS_DEPENDENT,
                               .port_step = -2};
  msg.call.count = 2;
  msg.call.candidates[0] = (km_candidate){KM_CANDIDATE_REFLEXIVE, lab_addr("192.0.2.1:4000")};
  msg.call.candidates[1] =
      (km_candidate){KM_CANDIDATE_INTERFACE | KM_CANDIDATE_SEEN, lab_addr("[2001:db8::1]:4001")};
  memcpy(msg.call.relay_url, "https://r.test/", 16);
  return msg;
}

#define A_CALL                                                                                     \
  "0300"                                                                                           \
  "01"                                                                                             \
  "02010403fffe"                                                                                   \
  "02"                                                                                             \
  "02" V4_ADDR "09" V6_ADDR "000f68747470733a2f2f722e746573742f"

/* --- bodies ---------------------------------------------------------------------------------- */

static void bodies_byte_by_byte(void **state) {
  (void)state;
  km_disco_message messages[4] = {{.type = KM_DISCO_PING},
                                  {.type = KM_DISCO_PONG, .observed = lab_addr("192.0.2.1:4000")},
                                  {.type = KM_DISCO_PONG},
                                  a_call()};
  static const char *const hex[4] = {"0100" TX PADDING, "0200" TX V4_ADDR, "0200" TX PADDING,
                                     A_CALL};
  for (size_t i = 0; i < COUNT_OF(hex); i++) {
    km_disco_message back;
    for (size_t b = 0; messages[i].type != KM_DISCO_CALL_ME_MAYBE && b < KM_DISCO_TX_LEN; b++) {
      messages[i].tx[b] = (uint8_t)b;
    }
    assert_written(&messages[i], hex[i]);
    assert_int_equal(read_hex(&back, hex[i]), 0);
    lab_assert_same(&back, &messages[i]);
  }
  km_disco_message empty = {.type = KM_DISCO_CALL_ME_MAYBE}, back;
  assert_written(&empty, "030000" NO_NAT "000000");
  assert_int_equal(read_hex(&back, "030000" NO_NAT "000000"), 0);
  lab_assert_same(&back, &empty);
}

static void what_is_written_is_read_as_the_same(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 5000; seed++) {
    uint64_t random = seed;
    uint8_t bytes[KM_DISCO_MAX_PACKET];
    km_disco_message msg = lab_random_message(&random), back;
    int len = km_disco_write(&msg, bytes, sizeof bytes);
    assert_true(len > 0);
    assert_int_equal(km_disco_read(&back, bytes, (size_t)len), 0);
    lab_assert_same(&back, &msg);
  }
}

static void the_longest_message_fits_a_packet(void **state) {
  (void)state;
  km_disco_message msg = {.type = KM_DISCO_CALL_ME_MAYBE};
  uint8_t bytes[KM_DISCO_MAX_PACKET];
  msg.call.count = KM_DISCO_MAX_CANDIDATES;
  memset(msg.call.relay_url, 'u', KM_DISCO_MAX_URL);
  int len = km_disco_write(&msg, bytes, sizeof bytes);
  assert_int_equal(len, 2 + 1 + 6 + 1 + 32 * 21 + 2 + 256);
  assert_true(KM_DISCO_HEADER_LEN + len + KM_DISCO_TAG_LEN <= KM_DISCO_MAX_PACKET);
  for (size_t cap = 0; cap < (size_t)len; cap++) {
    assert_int_equal(km_disco_write(&msg, bytes, cap), KM_ERR_BUFFER);
  }
}

static void what_cannot_be_written(void **state) {
  (void)state;
  uint8_t bytes[2000];
  km_disco_message msg = a_call();
  msg.call.count = KM_DISCO_MAX_CANDIDATES + 1;
  assert_int_equal(km_disco_write(&msg, bytes, sizeof bytes), KM_ERR_INVALID);
  for (int type = -1; type <= 256; type++) {
    msg = (km_disco_message){.type = (km_disco_type)type};
    bool known = type >= KM_DISCO_PING && type <= KM_DISCO_CALL_ME_MAYBE;
    assert_int_equal(km_disco_write(&msg, bytes, sizeof bytes) > 0, known);
  }
  /* A url without an end is left out. */
  msg = (km_disco_message){.type = KM_DISCO_CALL_ME_MAYBE};
  memset(msg.call.relay_url, 'u', sizeof msg.call.relay_url);
  assert_written(&msg, "030000" NO_NAT "000000");
}

static void longer_messages_and_later_versions_are_read(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 500; seed++) {
    uint64_t random = seed;
    uint8_t bytes[KM_DISCO_MAX_PACKET + 64];
    km_disco_message msg = lab_random_message(&random), back;
    int len = km_disco_write(&msg, bytes, sizeof bytes);
    assert_true(len > 0);
    size_t more = lab_below(&random, 64);
    for (size_t i = 0; i < more; i++) {
      bytes[(size_t)len + i] = (uint8_t)lab_random(&random);
    }
    bytes[1] = (uint8_t)lab_random(&random);
    assert_int_equal(km_disco_read(&back, bytes, (size_t)len + more), 0);
    lab_assert_same(&back, &msg);
  }
}

static void types_of_the_future_are_told_apart(void **state) {
  (void)state;
  km_disco_message msg;
  uint8_t body[34] = {0};
  for (unsigned type = 0; type < 256; type++) {
    body[0] = (uint8_t)type;
    bool known = type >= KM_DISCO_PING && type <= KM_DISCO_CALL_ME_MAYBE;
    assert_int_equal(km_disco_read(&msg, body, sizeof body), known ? 0 : KM_ERR_UNSUPPORTED);
    assert_int_equal(km_disco_read(&msg, body, 2), known ? KM_ERR_INVALID : KM_ERR_UNSUPPORTED);
    assert_int_equal(km_disco_read(&msg, body, 1), KM_ERR_INVALID);
  }
}

static void no_prefix_is_a_message(void **state) {
  (void)state;
  static const char *const hex[] = {"0100" TX PADDING, "0200" TX V4_ADDR, A_CALL};
  for (size_t i = 0; i < COUNT_OF(hex); i++) {
    char cut[1000];
    size_t len = strlen(hex[i]);
    memcpy(cut, hex[i], len + 1);
    while (len > 0) {
      km_disco_message msg;
      len -= 2;
      cut[len] = '\0';
      assert_int_equal(read_hex(&msg, cut), KM_ERR_INVALID);
    }
  }
}

static void more_candidates_than_may_be_are_refused(void **state) {
  (void)state;
  uint8_t body[2 + 1 + 6 + 1 + 255 * 21 + 2] = {KM_DISCO_CALL_ME_MAYBE};
  for (unsigned count = 0; count < 256; count++) {
    km_disco_message msg;
    body[9] = (uint8_t)count;
    assert_int_equal(km_disco_read(&msg, body, sizeof body),
                     count <= KM_DISCO_MAX_CANDIDATES ? 0 : KM_ERR_INVALID);
  }
}

static void odd_values_are_read_as_unknown(void **state) {
  (void)state;
  km_disco_message msg;
  /* NAT values beyond the known ones; the step's extremes; reserved bits of a source. */
  assert_int_equal(read_hex(&msg, "030000"
                                  "0504ff04"
                                  "8000"
                                  "01"
                                  "ff" V4_ADDR "0000"),
                   0);
  assert_int_equal(msg.call.nat.mapping4, KM_NAT_MAPPING_UNKNOWN);
  assert_int_equal(msg.call.nat.mapping6, KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT);
  assert_int_equal(msg.call.nat.filtering4, KM_NAT_FILTERING_UNKNOWN);
  assert_int_equal(msg.call.nat.filtering6, KM_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT);
  assert_int_equal(msg.call.nat.port_step, INT16_MIN);
  assert_int_equal(msg.call.candidates[0].source, 0x7f);
  assert_int_equal(read_hex(&msg, "030000"
                                  "00000000"
                                  "7fff"
                                  "000000"),
                   0);
  assert_int_equal(msg.call.nat.port_step, INT16_MAX);
  /* The rest of an IPv4 address, and the reserved byte, mean nothing. */
  km_udp_addr wanted = lab_addr("192.0.2.1:4000");
  assert_int_equal(read_hex(&msg, "0200" TX "04ff0fa0c0000201ffffffffffffffffffffffff"), 0);
  assert_true(km_udp_addr_equal(&msg.observed, &wanted));
}

static void relay_urls(void **state) {
  (void)state;
  static const struct {
    const char *hex, *url;
  } cases[] = {
      {"0000", ""},         {"000161", "a"}, {"0003617e21", "a~!"}, {"00026120", ""}, /* a blank */
      {"000361006200", ""},                                                           /* a NUL */
      {"0002617f", ""},                                                               /* DEL */
      {"0002c3a9", ""}, /* not ASCII */
      {"00020a61", ""}, /* a newline */
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    char hex[200];
    km_disco_message msg;
    assert_true(snprintf(hex, sizeof hex, "030000" NO_NAT "00%s", cases[i].hex) > 0);
    assert_int_equal(read_hex(&msg, hex), 0);
    assert_string_equal(msg.call.relay_url, cases[i].url);
  }
  uint8_t body[12 + 65535] = {KM_DISCO_CALL_ME_MAYBE};
  static const struct { size_t len, kept; } lengths[] = {{256, 256}, {257, 0}, {65535, 0}};
  memset(body + 12, 'u', sizeof body - 12);
  for (size_t i = 0; i < COUNT_OF(lengths); i++) {
    km_disco_message msg;
    body[10] = (uint8_t)(lengths[i].len >> 8);
    body[11] = (uint8_t)lengths[i].len;
    assert_int_equal(km_disco_read(&msg, body, 12 + lengths[i].len), 0);
    assert_int_equal(strlen(msg.call.relay_url), lengths[i].kept);
    assert_int_equal(km_disco_read(&msg, body, 11 + lengths[i].len), KM_ERR_INVALID);
  }
}

/* --- addresses that others name --------------------------------------------------------------- */

static const struct {
  const char *text;
  bool may;
} probes[] = {
    {"192.0.2.1:1", true},
    {"192.0.2.1:65535", true},
    {"192.0.2.1:0", false},
    {"10.0.0.1:4000", true},
    {"127.0.0.1:4000", true},
    {"169.254.1.1:4000", true},
    {"0.0.0.0:4000", false},
    {"0.1.2.3:4000", false},
    {"1.0.0.0:4000", true},
    {"223.255.255.255:4000", true},
    {"224.0.0.1:4000", false},
    {"239.255.255.250:1900", false},
    {"240.0.0.1:4000", true},
    {"255.255.255.254:4000", true},
    {"255.255.255.255:4000", false},
    {"[2001:db8::1]:4000", true},
    {"[2001:db8::1]:0", false},
    {"[::1]:4000", true},
    {"[::]:4000", false},
    {"[fd00::1]:4000", true},
    {"[64:ff9b::c000:201]:4000", true},
    {"[::ffff:192.0.2.1]:4000", false},
    {"[::fffe:192.0.2.1]:4000", true},
    {"[fe80::1]:4000", false},
    {"[febf::1]:4000", false},
    {"[fe80::1%2]:4000", true},
    {"[fec0::1]:4000", true},
    {"[ff02::1]:4000", false},
    {"[ff0e::1]:4000", false},
    {"[fd15:70a:510b::1]:12345", false},
    {"[fd15:70a:510b:ffff::1]:12345", false},
    {"[fd15:70a:510c::1]:12345", true},
};

static void which_addresses_may_be_probed(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT_OF(probes); i++) {
    km_udp_addr addr = lab_addr(probes[i].text);
    if (km_disco_may_probe(&addr) != probes[i].may) {
      fail_msg("%s", probes[i].text);
    }
    addr.family = 0;
    assert_false(km_disco_may_probe(&addr));
    addr.family = 5;
    assert_false(km_disco_may_probe(&addr));
  }
}

static void what_may_not_be_probed_is_left_out(void **state) {
  (void)state;
  km_disco_message call = {.type = KM_DISCO_CALL_ME_MAYBE}, back;
  uint8_t bytes[KM_DISCO_MAX_PACKET];
  for (size_t i = 0; i < COUNT_OF(probes); i++) {
    km_udp_addr addr = lab_addr(probes[i].text);
    bool may = probes[i].may && addr.scope_id == 0; /* scopes are not on the wire */
    call.call.count = 3;
    call.call.candidates[0].addr = lab_addr("192.0.2.7:7");
    call.call.candidates[1].addr = addr;
    call.call.candidates[2].addr = lab_addr("192.0.2.9:9");
    int len = km_disco_write(&call, bytes, sizeof bytes);
    assert_int_equal(km_disco_read(&back, bytes, (size_t)len), 0);
    assert_int_equal(back.call.count, may ? 3 : 2);
    assert_true(km_udp_addr_equal(&back.call.candidates[back.call.count - 1].addr,
                                  &call.call.candidates[2].addr));
    km_disco_message pong = {.type = KM_DISCO_PONG, .observed = addr};
    len = km_disco_write(&pong, bytes, sizeof bytes);
    assert_int_equal(km_disco_read(&back, bytes, (size_t)len), 0);
    assert_int_equal(back.observed.family, may ? addr.family : 0);
  }
  /* A family that does not exist. */
  assert_int_equal(read_hex(&back, "0200" TX "05000fa0c0000201000000000000000000000000"), 0);
  assert_int_equal(back.observed.family, 0);
  assert_int_equal(back.observed.port, 0);
}

/* --- keys ------------------------------------------------------------------------------------ */

static void both_sides_have_the_same_key(void **state) {
  (void)state;
  uint8_t ab[KM_DISCO_KEY_LEN], ba[KM_DISCO_KEY_LEN], ac[KM_DISCO_KEY_LEN];
  km_secret_key *a = lab_key(1), *b = lab_key(2);
  km_id id_a = lab_id(1), id_b = lab_id(2), id_c = lab_id(3);
  assert_int_equal(km_disco_key(ab, a, &id_b), 0);
  assert_int_equal(km_disco_key(ba, b, &id_a), 0);
  assert_int_equal(km_disco_key(ac, a, &id_c), 0);
  assert_memory_equal(ab, ba, sizeof ab);
  assert_memory_not_equal(ab, ac, sizeof ab);
  km_secret_key_free(a);
  km_secret_key_free(b);
}

/* crypto_box's key: HSalsa20 over X25519's output (libsodium's own parts, put together here). */
static void the_key_is_that_of_crypto_box(void **state) {
  (void)state;
  static const uint8_t zero[16] = {0};
  uint8_t seed[KM_SECRET_KEY_BYTES], public[crypto_sign_PUBLICKEYBYTES];
  uint8_t expanded[crypto_sign_SECRETKEYBYTES];
  uint8_t scalar[32], point[32], product[32], wanted[32], got[KM_DISCO_KEY_LEN];
  km_secret_key *a = lab_key(1);
  km_id id_b = lab_id(2);
  memset(seed, 1, sizeof seed);
  assert_int_equal(crypto_sign_seed_keypair(public, expanded, seed), 0);
  assert_int_equal(crypto_sign_ed25519_sk_to_curve25519(scalar, expanded), 0);
  assert_int_equal(crypto_sign_ed25519_pk_to_curve25519(point, id_b.bytes), 0);
  assert_int_equal(crypto_scalarmult(product, scalar, point), 0);
  assert_int_equal(crypto_core_hsalsa20(wanted, zero, product, NULL), 0);
  assert_int_equal(km_disco_key(got, a, &id_b), 0);
  assert_memory_equal(got, wanted, sizeof wanted);
  km_secret_key_free(a);
}

static void ids_that_make_no_key(void **state) {
  (void)state;
  /* The eight points of small order, in hex of their y coordinate with the sign of x; encodings
   * that are not canonical; no point at all. */
  static const char *const ids[] = {
      "0100000000000000000000000000000000000000000000000000000000000000",
      "0000000000000000000000000000000000000000000000000000000000000000",
      "0000000000000000000000000000000000000000000000000000000000000080",
      "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
      "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
      "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
      "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
      "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
      "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
      "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
      "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
      "0200000000000000000000000000000000000000000000000000000000000000",
  };
  km_secret_key *own = lab_key(1);
  uint8_t key[KM_DISCO_KEY_LEN];
  km_id id;
  for (size_t i = 0; i < COUNT_OF(ids); i++) {
    assert_int_equal(from_hex(id.bytes, sizeof id.bytes, ids[i]), sizeof id.bytes);
    assert_int_equal(km_disco_key(key, own, &id), KM_ERR_BAD_ID);
  }
  /* A good point and one of order 8: an id that QUIC takes, outside of the main subgroup. */
  uint8_t small[32];
  km_id good = lab_id(2);
  assert_int_equal(from_hex(small, sizeof small, ids[4]), sizeof small);
  assert_int_equal(crypto_core_ed25519_add(id.bytes, good.bytes, small), 0);
  assert_int_equal(km_id_from_bytes(&id, id.bytes), 0);
  assert_int_equal(km_disco_key(key, own, &id), KM_ERR_BAD_ID);
  km_secret_key_free(own);
}

/* --- packets --------------------------------------------------------------------------------- */

static const km_disco_header some_header = {.time_ns = UINT64_C(1700000000123456789),
                                            .nonce = {9, 8, 7, 6, 5, 4, 3, 2, 1}};

/* From the key of ones to the key of twos. */
static size_t sealed(uint8_t *ret, size_t cap, const uint8_t *body, size_t body_len) {
  uint8_t key[KM_DISCO_KEY_LEN];
  km_secret_key *a = lab_key(1);
  km_id id_b = lab_id(2);
  km_disco_header header = some_header;
  km_secret_key_id(a, &header.sender);
  assert_int_equal(km_disco_key(key, a, &id_b), 0);
  int len = km_disco_seal(&header, key, body, body_len, ret, cap);
  assert_int_equal(len, (int)(KM_DISCO_HEADER_LEN + body_len + KM_DISCO_TAG_LEN));
  km_secret_key_free(a);
  return (size_t)len;
}

static void key_of_b(uint8_t ret[KM_DISCO_KEY_LEN]) {
  km_secret_key *b = lab_key(2);
  km_id id_a = lab_id(1);
  assert_int_equal(km_disco_key(ret, b, &id_a), 0);
  km_secret_key_free(b);
}

static void a_packet_is_opened_by_whom_it_is_for(void **state) {
  (void)state;
  for (size_t body_len = 0; body_len <= KM_DISCO_MAX_PACKET - 81; body_len += 1 + body_len / 8) {
    uint8_t packet[KM_DISCO_MAX_PACKET], body[KM_DISCO_MAX_PACKET], back[KM_DISCO_MAX_PACKET];
    uint8_t key[KM_DISCO_KEY_LEN];
    km_disco_header header;
    memset(body, 0x5a, sizeof body);
    key_of_b(key);
    size_t len = sealed(packet, sizeof packet, body, body_len);
    assert_true(km_disco_header_read(&header, packet, len));
    km_id id_a = lab_id(1);
    assert_true(km_id_equal(&header.sender, &id_a));
    assert_int_equal(header.time_ns, some_header.time_ns);
    assert_memory_equal(header.nonce, some_header.nonce, sizeof header.nonce);
    assert_int_equal(km_disco_open(packet, len, key, back, body_len), (int)body_len);
    assert_memory_equal(back, body, body_len);
    if (body_len > 0) {
      assert_int_equal(km_disco_open(packet, len, key, back, body_len - 1), KM_ERR_BUFFER);
    }
  }
}

static void a_body_may_lie_in_its_place(void **state) {
  (void)state;
  uint8_t apart[200], packet[200], body[34];
  memset(body, 0x5a, sizeof body);
  size_t len = sealed(apart, sizeof apart, body, sizeof body);
  memcpy(packet + KM_DISCO_HEADER_LEN, body, sizeof body);
  assert_int_equal(sealed(packet, sizeof packet, packet + KM_DISCO_HEADER_LEN, sizeof body), len);
  assert_memory_equal(packet, apart, len);
}

static void every_flipped_bit_is_noticed(void **state) {
  (void)state;
  uint8_t packet[KM_DISCO_MAX_PACKET], body[KM_DISCO_MAX_PACKET], back[KM_DISCO_MAX_PACKET];
  uint8_t key[KM_DISCO_KEY_LEN];
  km_disco_message msg = a_call();
  int body_len = km_disco_write(&msg, body, sizeof body);
  size_t len = sealed(packet, sizeof packet, body, (size_t)body_len);
  key_of_b(key);
  for (size_t bit = 0; bit < len * 8; bit++) {
    packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
    assert_int_equal(km_disco_open(packet, len, key, back, sizeof back), KM_ERR_INVALID);
    packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
  for (size_t cut = 0; cut < len; cut++) {
    assert_int_equal(km_disco_open(packet, cut, key, back, sizeof back), KM_ERR_INVALID);
  }
  packet[len] = 0;
  assert_int_equal(km_disco_open(packet, len + 1, key, back, sizeof back), KM_ERR_INVALID);
  assert_int_equal(km_disco_open(packet, len, key, back, sizeof back), body_len);
}

/* Both directions have one key: the sender in the header is what tells them apart. */
static void a_packet_thrown_back_is_refused(void **state) {
  (void)state;
  uint8_t packet[200], back[200], body[34] = {KM_DISCO_PING}, key[KM_DISCO_KEY_LEN];
  size_t len = sealed(packet, sizeof packet, body, sizeof body);
  km_id id_b = lab_id(2);
  key_of_b(key);
  memcpy(packet + 1, id_b.bytes, sizeof id_b.bytes);
  assert_int_equal(km_disco_open(packet, len, key, back, sizeof back), KM_ERR_INVALID);
}

static void what_is_no_packet(void **state) {
  (void)state;
  uint8_t packet[KM_DISCO_HEADER_LEN + KM_DISCO_TAG_LEN] = {0};
  km_disco_header header;
  for (unsigned magic = 0; magic < 256; magic++) {
    packet[0] = (uint8_t)magic;
    assert_int_equal(km_disco_header_read(&header, packet, sizeof packet), magic == KM_DISCO_MAGIC);
  }
  packet[0] = KM_DISCO_MAGIC;
  for (size_t len = 0; len < sizeof packet; len++) {
    assert_false(km_disco_header_read(&header, packet, len));
  }
}

static void sealing_needs_room(void **state) {
  (void)state;
  uint8_t packet[KM_DISCO_MAX_PACKET + 100], body[KM_DISCO_MAX_PACKET] = {0};
  uint8_t key[KM_DISCO_KEY_LEN] = {0};
  size_t least = KM_DISCO_HEADER_LEN + KM_DISCO_TAG_LEN;
  for (size_t cap = 0; cap < least + 10; cap++) {
    assert_int_equal(km_disco_seal(&some_header, key, body, 10, packet, cap), KM_ERR_BUFFER);
  }
  assert_int_equal(km_disco_seal(&some_header, key, body, 10, packet, least + 10), least + 10);
  size_t most = KM_DISCO_MAX_PACKET - least;
  assert_int_equal(km_disco_seal(&some_header, key, body, most, packet, sizeof packet),
                   KM_DISCO_MAX_PACKET);
  assert_int_equal(km_disco_seal(&some_header, key, body, most + 1, packet, sizeof packet),
                   KM_ERR_BUFFER);
}

static void a_ping_is_as_long_as_its_pong(void **state) {
  (void)state;
  km_disco_message ping = {.type = KM_DISCO_PING};
  km_disco_message pong = {.type = KM_DISCO_PONG, .observed = lab_addr("[2001:db8::1]:4001")};
  uint8_t bytes[200], packet[200];
  int ping_len = km_disco_write(&ping, bytes, sizeof bytes);
  assert_int_equal(km_disco_write(&pong, bytes, sizeof bytes), ping_len);
  assert_int_equal(sealed(packet, sizeof packet, bytes, (size_t)ping_len), KM_DISCO_PING_LEN);
}

/* --- the example of docs/protocol-disco.md ---------------------------------------------------- */

static void add_line(char *text, size_t cap, const char *name, const uint8_t *bytes, size_t len) {
  size_t used = strlen(text);
  char hex[2 * KM_DISCO_MAX_PACKET + 1];
  sodium_bin2hex(hex, sizeof hex, bytes, len);
  for (size_t at = 0; at < 2 * len; at += 64) {
    int n = snprintf(text + used, cap - used, "%-13s %.64s\n", at == 0 ? name : "", hex + at);
    assert_true(n > 0 && (size_t)n < cap - used);
    used += (size_t)n;
  }
}

static void read_doc(char *ret, size_t cap) {
  FILE *doc = fopen(KM_TEST_SOURCE_DIR "/docs/protocol-disco.md", "rb");
  assert_non_null(doc);
  size_t len = fread(ret, 1, cap - 1, doc);
  assert_true(len > 0 && len < cap - 1);
  ret[len] = '\0';
  assert_int_equal(fclose(doc), 0);
}

static void the_example_of_the_page(void **state) {
  (void)state;
  static char text[8000], doc[100000];
  km_secret_key *a = lab_key(1), *b = lab_key(2);
  km_id id_a = lab_id(1), id_b = lab_id(2);
  uint8_t key[KM_DISCO_KEY_LEN], body[200], packet[200], back[200];
  km_disco_message msg = {.type = KM_DISCO_PONG, .observed = lab_addr("192.0.2.1:4000")};
  km_disco_header header = {.sender = id_a, .time_ns = UINT64_C(1700000000000000000)};
  for (size_t i = 0; i < sizeof msg.tx; i++) {
    msg.tx[i] = (uint8_t)i;
  }
  for (size_t i = 0; i < sizeof header.nonce; i++) {
    header.nonce[i] = (uint8_t)(0x40 + i);
  }
  assert_int_equal(km_disco_key(key, a, &id_b), 0);
  int body_len = km_disco_write(&msg, body, sizeof body);
  int len = km_disco_seal(&header, key, body, (size_t)body_len, packet, sizeof packet);
  assert_int_equal(len, KM_DISCO_PING_LEN);
  add_line(text, sizeof text, "A's secret", km_secret_key_seed(a), KM_SECRET_KEY_BYTES);
  add_line(text, sizeof text, "A's id", id_a.bytes, sizeof id_a.bytes);
  add_line(text, sizeof text, "B's secret", km_secret_key_seed(b), KM_SECRET_KEY_BYTES);
  add_line(text, sizeof text, "B's id", id_b.bytes, sizeof id_b.bytes);
  add_line(text, sizeof text, "key", key, sizeof key);
  add_line(text, sizeof text, "body", body, (size_t)body_len);
  add_line(text, sizeof text, "magic", packet, 1);
  add_line(text, sizeof text, "sender", packet + 1, 32);
  add_line(text, sizeof text, "time", packet + 33, 8);
  add_line(text, sizeof text, "nonce", packet + 41, 24);
  add_line(text, sizeof text, "sealed body", packet + 65, (size_t)body_len);
  add_line(text, sizeof text, "tag", packet + 65 + body_len, KM_DISCO_TAG_LEN);
  read_doc(doc, sizeof doc);
  if (strstr(doc, text) == NULL) {
    fail_msg("docs/protocol-disco.md should have this block:\n%s", text);
  }
  assert_int_equal(km_disco_key(key, b, &id_a), 0);
  assert_int_equal(km_disco_open(packet, (size_t)len, key, back, sizeof back), body_len);
  assert_memory_equal(back, body, (size_t)body_len);
  km_secret_key_free(a);
  km_secret_key_free(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bodies_byte_by_byte),
      cmocka_unit_test(what_is_written_is_read_as_the_same),
      cmocka_unit_test(the_longest_message_fits_a_packet),
      cmocka_unit_test(what_cannot_be_written),
      cmocka_unit_test(longer_messages_and_later_versions_are_read),
      cmocka_unit_test(types_of_the_future_are_told_apart),
      cmocka_unit_test(no_prefix_is_a_message),
      cmocka_unit_test(more_candidates_than_may_be_are_refused),
      cmocka_unit_test(odd_values_are_read_as_unknown),
      cmocka_unit_test(relay_urls),
      cmocka_unit_test(which_addresses_may_be_probed),
      cmocka_unit_test(what_may_not_be_probed_is_left_out),
      cmocka_unit_test(both_sides_have_the_same_key),
      cmocka_unit_test(the_key_is_that_of_crypto_box),
      cmocka_unit_test(ids_that_make_no_key),
      cmocka_unit_test(a_packet_is_opened_by_whom_it_is_for),
      cmocka_unit_test(a_body_may_lie_in_its_place),
      cmocka_unit_test(every_flipped_bit_is_noticed),
      cmocka_unit_test(a_packet_thrown_back_is_refused),
      cmocka_unit_test(what_is_no_packet),
      cmocka_unit_test(sealing_needs_room),
      cmocka_unit_test(a_ping_is_as_long_as_its_pong),
      cmocka_unit_test(the_example_of_the_page),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
