/* Bounds of docs/limits.md that ngtcp2 keeps, seen from outside: connection ids, packets that come
 * too early, acknowledgement ranges, frames that mean nothing. */
#include <ngtcp2/ngtcp2.h>

#include "endpoint/cid_table.h"
#include "test/endpoint/frames.h"
#include "test/endpoint/tap.h"
#include "test/endpoint/wrap.h"

enum { INTERNAL_ERROR = 0x01, CONNECTION_ID_LIMIT_ERROR = 0x09 };
enum { GIVEN_IDS = 8, TAKEN_IDS = 7, EARLY_PACKETS = 4, MORE_RANGES = 32, ODD_FRAMES = 10000 };

/* --- connection ids -------------------------------------------------------------------------- */

static void highest_id(void *ctx, plain_packet *packet) {
  uint64_t *highest = ctx;
  const uint8_t *at = packet->data, *end = packet->data + packet->len;
  frame f;
  while (frame_next(&at, end, &f)) {
    if (f.type == FRAME_NEW_CONNECTION_ID && f.first > *highest) {
      *highest = f.first;
    }
  }
}

/* The client says that it takes 64, and gives up when it gets more than it really takes. */
static void eight_connection_ids_are_given_out(void **state) {
  (void)state;
  lab l;
  uint64_t highest = 0;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  packets_allow_cids(64);
  packets_watch(highest_id, &highest);
  lab_conn *c = lab_dial(lab_endpoint_open(&l, NULL), server, NULL);
  LAB_WAIT(&l, c->closed == 1);
  assert_int_equal(highest, GIVEN_IDS - 1); /* they are numbered from 0 */
  packets_allow_cids(0);
  lab_expect_echo(lab_connect(lab_endpoint_open(&l, NULL), server, NULL), 1000);
  assert_int_equal(highest, GIVEN_IDS - 1);
  lab_close(&l);
}

static size_t put_new_id(uint8_t *ret, uint64_t seq, uint64_t retire_prior_to) {
  uint8_t *at = ret;
  *at++ = FRAME_NEW_CONNECTION_ID;
  at = put_varint(at, seq);
  at = put_varint(at, retire_prior_to);
  *at++ = KM_CID_LEN;
  memset(at, (int)(0x40 + seq), KM_CID_LEN + 16); /* the id and its reset token */
  return (size_t)(at + KM_CID_LEN + 16 - ret);
}

static void a_peer_gives_seven_connection_ids(void **state) {
  (void)state;
  lab l;
  uint8_t frames[64];
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, NULL), server, NULL);
  lab_expect_echo(c, 1000); /* by now it has given all that it may: 0 to 6 */
  lab_conn *accepted = server->accepted[0];
  packets_forge(c, frames, put_new_id(frames, TAKEN_IDS, 0));
  LAB_WAIT(&l, accepted->closed == 1 && c->closed == 1);
  assert_int_equal(c->info.code, CONNECTION_ID_LIMIT_ERROR);
  assert_false(c->info.application);
  assert_int_equal(c->info.origin, KM_CLOSE_REMOTE_TRANSPORT);
  lab_close(&l);
}

/* --- packets before their keys --------------------------------------------------------------- */

static bool is_long(void *ctx, const uint8_t *data, size_t len) {
  (void)len;
  unsigned *swallow = ctx;
  if (*swallow == 0 || (data[0] & 0x80) == 0) {
    return false;
  }
  --*swallow;
  return true;
}

/* The end of the client's handshake is lost once, with the packets in the same datagram. Those that
 * come before it is repeated wait, or not. None of them is ever sent again. */
static void packets_before_their_keys_are_bounded(void **state) {
  (void)state;
  enum { SENT = 12, BYTES = 1000 };
  static const uint8_t data[BYTES];
  lab l;
  unsigned swallow = 0;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_tap *tap = lab_tap_open(&l, &server->addr, NULL);
  lab_conn *c = lab_dial(lab_endpoint_open(&l, NULL), server, &tap->addr);
  LAB_WAIT(&l, tap->recorded_count > 0); /* the first packet is through */
  tap->lost = is_long;
  tap->lost_ctx = &swallow;
  swallow = UINT32_MAX;
  LAB_WAIT(&l, c->connected == 1);
  for (size_t i = 0; i < SENT; i++) {
    assert_int_equal(km_conn_send_datagram(c->conn, data, sizeof data), 0);
  }
  lab_run_for(&l, 20);
  assert_int_equal(server->accepted_count, 0);
  swallow = 0;
  LAB_WAIT(&l, server->accepted_count == 1 && server->accepted[0]->datagrams > 0);
  lab_expect_echo(c, 1000);
  assert_int_equal(server->accepted[0]->datagrams, EARLY_PACKETS);
  lab_close(&l);
}

/* --- acknowledgement ranges ------------------------------------------------------------------ */

static bool every_other(void *ctx, const uint8_t *data, size_t len) {
  unsigned *count = ctx;
  (void)data;
  (void)len;
  return ++*count % 2 == 0;
}

static void most_ranges(void *ctx, plain_packet *packet) {
  uint64_t *most = ctx;
  frame f;
  if ((frame_find(packet->data, packet->len, FRAME_ACK, &f) ||
       frame_find(packet->data, packet->len, FRAME_ACK_ECN, &f)) &&
      f.ranges > *most) {
    *most = f.ranges;
  }
}

/* What the client hears would let the server forget what it acknowledged: it hears nothing. */
static void acknowledged_ranges_are_bounded(void **state) {
  (void)state;
  enum { SENT = 4 * MORE_RANGES };
  static const uint8_t data[10];
  lab l;
  unsigned count = 0;
  uint64_t most = 0;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_tap *tap = lab_tap_open(&l, &server->addr, NULL);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, NULL), server, &tap->addr);
  lab_expect_echo(c, 1000);
  tap->down.blackhole = true;
  tap->lost = every_other;
  tap->lost_ctx = &count;
  packets_watch(most_ranges, &most);
  for (size_t i = 0; i < SENT; i++) {
    unsigned before = count;
    assert_int_equal(km_conn_send_datagram(c->conn, data, sizeof data), 0);
    LAB_WAIT(&l, count > before);
  }
  tap->lost = NULL;
  tap->down.blackhole = false;
  lab_expect_echo(c, 1000);
  assert_int_equal(most, MORE_RANGES + 1); /* beside the first */
  lab_close(&l);
}

/* --- frames that mean nothing ---------------------------------------------------------------- */

/* Fills `ret` with MAX_STREAM_DATA of stream 0 that raise nothing; how many. */
static size_t put_odd(uint8_t ret[FORGED_MAX]) {
  static const uint8_t odd[3] = {0x11, 0, 1};
  for (size_t i = 0; i < FORGED_MAX / sizeof odd; i++) {
    memcpy(ret + i * sizeof odd, odd, sizeof odd);
  }
  return FORGED_MAX / sizeof odd;
}

static void send_odd(lab_conn *c, size_t packets) {
  uint8_t frames[FORGED_MAX];
  size_t count = put_odd(frames);
  for (size_t i = 0; i < packets && c->conn != NULL; i++) {
    packets_forge(c, frames, count * 3);
    lab_run_for(c->lab, 1);
  }
}

static void odd_frames_have_a_budget(void **state) {
  (void)state;
  enum { A_PACKET = FORGED_MAX / 3, WITHIN = ODD_FRAMES / A_PACKET - 2 };
  lab l;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, NULL), server, NULL);
  lab_stream *s = lab_stream_open(c, true);
  lab_stream_write_text(s, "here", false); /* stream 0 stays open */
  LAB_WAIT(&l, s->received == 4);
  send_odd(c, WITHIN);
  lab_expect_echo(c, 1000);
  assert_int_equal(c->closed, 0);
  send_odd(c, 3 * (size_t)ODD_FRAMES / A_PACKET); /* more than come back meanwhile */
  LAB_WAIT(&l, c->closed == 1);
  assert_int_equal(c->info.code, INTERNAL_ERROR);
  assert_int_equal(c->info.origin, KM_CLOSE_REMOTE_TRANSPORT);
  lab_expect_echo(lab_connect(lab_endpoint_open(&l, NULL), server, NULL), 1000);
  lab_close(&l);
}

static int let_packets_pass(void **state) {
  (void)state;
  packets_watch(NULL, NULL);
  packets_allow_cids(0);
  return 0;
}

int main(int argc, char **argv) {
  cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(eight_connection_ids_are_given_out, let_packets_pass),
      cmocka_unit_test_teardown(a_peer_gives_seven_connection_ids, let_packets_pass),
      cmocka_unit_test_teardown(packets_before_their_keys_are_bounded, let_packets_pass),
      cmocka_unit_test_teardown(acknowledged_ranges_are_bounded, let_packets_pass),
      cmocka_unit_test_teardown(odd_frames_have_a_budget, let_packets_pass),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
