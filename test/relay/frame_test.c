#include "relay/frame.h"

#include <string.h>

#include "test/relay/hex.h"

/* The public key of secret 2a x 32, as the vectors of the real iroh have it. */
#define PEER "197f6b23e16c8532c6abc838facd5ea789be0c76b2920334039bfa8b3d368d61"
#define HELLO "48656c6c6f20576f726c6421"

typedef struct vector {
  const char *hex;
  km_relay_reader reader;
  km_relay_version version;
  km_relay_frame frame; /* `data` and `peer` are compared apart */
  const char *data;     /* hex */
  bool has_peer;
} vector;

static const vector vectors[] = {
    {"0b48656c6c6f3f20596573207468697320697320646f672e",
     KM_RELAY_READ_CLIENT,
     KM_RELAY_V1,
     {.type = KM_RELAY_HEALTH},
     "48656c6c6f3f20596573207468697320697320646f672e",
     false},
    {"08" PEER, KM_RELAY_READ_CLIENT, KM_RELAY_V2, {.type = KM_RELAY_ENDPOINT_GONE}, "", true},
    {"092a2a2a2a2a2a2a2a",
     KM_RELAY_READ_SERVER,
     KM_RELAY_V2,
     {.type = KM_RELAY_PING},
     "2a2a2a2a2a2a2a2a",
     false},
    {"0a2a2a2a2a2a2a2a2a",
     KM_RELAY_READ_CLIENT,
     KM_RELAY_V1,
     {.type = KM_RELAY_PONG},
     "2a2a2a2a2a2a2a2a",
     false},
    {"07" PEER "030006" HELLO,
     KM_RELAY_READ_CLIENT,
     KM_RELAY_V2,
     {.type = KM_RELAY_TO_CLIENT_BATCH, .ecn = 3, .segment = 6},
     HELLO,
     true},
    {"06" PEER "03" HELLO,
     KM_RELAY_READ_CLIENT,
     KM_RELAY_V1,
     {.type = KM_RELAY_TO_CLIENT, .ecn = 3},
     HELLO,
     true},
    {"0c0000000a00000014",
     KM_RELAY_READ_CLIENT,
     KM_RELAY_V2,
     {.type = KM_RELAY_RESTARTING, .reconnect_in_ms = 10, .try_for_ms = 20},
     "",
     false},
    {"0d01",
     KM_RELAY_READ_CLIENT,
     KM_RELAY_V2,
     {.type = KM_RELAY_STATUS, .status = KM_RELAY_SAME_ID},
     "",
     false},
    {"0d02",
     KM_RELAY_READ_CLIENT,
     KM_RELAY_V2,
     {.type = KM_RELAY_STATUS, .status = KM_RELAY_RATE_LIMITED},
     "",
     false},
    {"05" PEER "030006" HELLO,
     KM_RELAY_READ_SERVER,
     KM_RELAY_V1,
     {.type = KM_RELAY_TO_RELAY_BATCH, .ecn = 3, .segment = 6},
     HELLO,
     true},
    {"04" PEER "03" HELLO,
     KM_RELAY_READ_SERVER,
     KM_RELAY_V2,
     {.type = KM_RELAY_TO_RELAY, .ecn = 3},
     HELLO,
     true},
};

static void assert_frame(const vector *v, const km_relay_frame *f) {
  uint8_t data[64], peer[32];
  size_t len = from_hex(data, sizeof data, v->data);
  assert_int_equal(f->type, v->frame.type);
  assert_int_equal(f->ecn, v->frame.ecn);
  assert_int_equal(f->segment, v->frame.segment);
  assert_int_equal(f->reconnect_in_ms, v->frame.reconnect_in_ms);
  assert_int_equal(f->try_for_ms, v->frame.try_for_ms);
  assert_int_equal(f->status, v->frame.status);
  assert_int_equal(f->len, len);
  assert_memory_equal(f->data == NULL ? data : f->data, data, len);
  if (v->has_peer) {
    (void)from_hex(peer, sizeof peer, PEER);
    assert_memory_equal(f->peer.bytes, peer, sizeof peer);
  }
}

static void frames_of_iroh_are_read_and_written(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT_OF(vectors); i++) {
    uint8_t msg[128], again[128];
    size_t len = from_hex(msg, sizeof msg, vectors[i].hex);
    km_relay_frame f;
    assert_int_equal(km_relay_frame_read(&f, vectors[i].reader, vectors[i].version, msg, len, NULL),
                     0);
    assert_frame(&vectors[i], &f);
    assert_int_equal(km_relay_frame_write(again, sizeof again, &f), (int)len);
    assert_memory_equal(again, msg, len);
    assert_int_equal(km_relay_frame_write(again, len - 1, &f), KM_ERR_BUFFER);
  }
}

static int read_hex(const char *hex, km_relay_reader reader, km_relay_version version,
                    km_relay_frame *ret) {
  static uint8_t msg[256];
  km_errinfo err = {0};
  int rv = km_relay_frame_read(ret, reader, version, msg, from_hex(msg, sizeof msg, hex), &err);
  assert_true(rv == 0 || (err.code == rv && err.text[0] != '\0'));
  return rv;
}

/* What the real client takes, and what makes it drop the connection. */
static void a_client_is_as_strict_as_irohs(void **state) {
  (void)state;
  static const struct {
    const char *hex;
    km_relay_version version;
    int rv;
  } cases[] = {
      {"0d63", KM_RELAY_V2, 0},               /* an unknown code */
      {"0d00616263", KM_RELAY_V2, 0},         /* and what may come behind it */
      {"06" PEER "00", KM_RELAY_V2, 0},       /* an empty datagram */
      {"06" PEER "ff41", KM_RELAY_V2, 0},     /* ECN bits beyond two */
      {"07" PEER "00000041", KM_RELAY_V2, 0}, /* no segment size */
      {"4006" PEER "0041", KM_RELAY_V2, 0},   /* a long type */
      {"0b", KM_RELAY_V1, 0},
      {"0d", KM_RELAY_V2, KM_ERR_RELAY_PROTOCOL},
      {"0d00", KM_RELAY_V1, KM_ERR_RELAY_PROTOCOL},
      {"0b41", KM_RELAY_V2, KM_ERR_RELAY_PROTOCOL},
      {"0e", KM_RELAY_V2, KM_ERR_RELAY_PROTOCOL},
      {"0c00000000", KM_RELAY_V2, KM_ERR_RELAY_PROTOCOL},
      {"0c0000000a0000001400", KM_RELAY_V2, KM_ERR_RELAY_PROTOCOL},
      {"080102", KM_RELAY_V2, KM_ERR_RELAY_PROTOCOL},
      {"08" PEER "00", KM_RELAY_V2, KM_ERR_RELAY_PROTOCOL},
      {"092a2a2a2a2a2a2a", KM_RELAY_V2, KM_ERR_RELAY_PROTOCOL},
      {"0a2a2a2a2a2a2a2a2a2a", KM_RELAY_V2, KM_ERR_RELAY_PROTOCOL},
      {"", KM_RELAY_V2, KM_ERR_RELAY_PROTOCOL},
      {"02", KM_RELAY_V2, KM_ERR_RELAY_PROTOCOL},
      {"04" PEER "0041", KM_RELAY_V2, KM_ERR_RELAY_PROTOCOL},
      {"05" PEER "00000141", KM_RELAY_V2, KM_ERR_RELAY_PROTOCOL},
      {"06" PEER, KM_RELAY_V2, KM_ERR_RELAY_PROTOCOL},
      {"07" PEER "0000", KM_RELAY_V2, KM_ERR_RELAY_PROTOCOL},
      {"ffffffffffffffff", KM_RELAY_V2, KM_ERR_RELAY_PROTOCOL},
      {"80", KM_RELAY_V2, KM_ERR_RELAY_PROTOCOL},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    km_relay_frame f;
    assert_int_equal(read_hex(cases[i].hex, KM_RELAY_READ_CLIENT, cases[i].version, &f),
                     cases[i].rv);
    assert_true(cases[i].rv != 0 || f.ecn == 0); /* what has too many bits says nothing */
  }
}

static void a_server_takes_four_types(void **state) {
  (void)state;
  static const bool taken[16] = {[4] = true, [5] = true, [9] = true, [10] = true};
  for (unsigned type = 0; type < COUNT_OF(taken); type++) {
    uint8_t msg[40] = {(uint8_t)type};
    size_t len = type == 9 || type == 10 ? 9 : sizeof msg;
    km_relay_frame f;
    int rv = km_relay_frame_read(&f, KM_RELAY_READ_SERVER, KM_RELAY_V2, msg, len, NULL);
    assert_int_equal(rv, taken[type] ? 0 : KM_ERR_RELAY_PROTOCOL);
  }
}

static void the_longest_message_has_65537_bytes(void **state) {
  (void)state;
  static uint8_t msg[KM_RELAY_MAX_MESSAGE + 1] = {KM_RELAY_TO_CLIENT};
  km_relay_frame f;
  assert_int_equal(
      km_relay_frame_read(&f, KM_RELAY_READ_CLIENT, KM_RELAY_V2, msg, sizeof msg - 1, NULL), 0);
  assert_int_equal(f.len, KM_RELAY_MAX_MESSAGE - 34);
  assert_int_equal(
      km_relay_frame_read(&f, KM_RELAY_READ_CLIENT, KM_RELAY_V2, msg, sizeof msg, NULL),
      KM_ERR_RELAY_PROTOCOL);
}

static void a_header_is_a_batchs_only_for_several(void **state) {
  (void)state;
  km_id peer = {{1, 2, 3}};
  uint8_t h[KM_RELAY_MAX_HEADER];
  assert_int_equal(km_relay_datagram_header(h, KM_RELAY_TO_RELAY, &peer, 2, 0, 1200), 34);
  assert_int_equal(h[0], KM_RELAY_TO_RELAY);
  assert_int_equal(h[33], 2);
  assert_int_equal(km_relay_datagram_header(h, KM_RELAY_TO_RELAY, &peer, 2, 1200, 1200), 34);
  assert_int_equal(km_relay_datagram_header(h, KM_RELAY_TO_CLIENT, &peer, 7, 1200, 1201), 36);
  assert_int_equal(h[0], KM_RELAY_TO_CLIENT_BATCH);
  assert_memory_equal(h + 1, peer.bytes, 32);
  assert_int_equal(h[33], 3);
  assert_int_equal(h[34] << 8 | h[35], 1200);
}

static void the_longest_payload_fits_every_reader(void **state) {
  (void)state;
  km_id peer = {{0}};
  uint8_t h[KM_RELAY_MAX_HEADER];
  size_t header = km_relay_datagram_header(h, KM_RELAY_TO_RELAY, &peer, 0, 1, KM_RELAY_MAX_PAYLOAD);
  assert_int_equal(header + KM_RELAY_MAX_PAYLOAD, 1 + KM_RELAY_MAX_BODY);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(frames_of_iroh_are_read_and_written),
      cmocka_unit_test(a_client_is_as_strict_as_irohs),
      cmocka_unit_test(a_server_takes_four_types),
      cmocka_unit_test(the_longest_message_has_65537_bytes),
      cmocka_unit_test(a_header_is_a_batchs_only_for_several),
      cmocka_unit_test(the_longest_payload_fits_every_reader),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
