/* Streams between two endpoints: back-pressure, priority, reset, stop, lent bytes. */
#include "endpoint/conn_impl.h"
#include "test/endpoint/tap.h"

typedef struct pair {
  lab l;
  lab_endpoint *server, *client;
  lab_conn *c, *s;
} pair;

static void connect_pair(pair *p, const km_endpoint_options *options, lab_mode mode) {
  lab_open(&p->l);
  p->server = lab_server_open(&p->l, options, mode);
  p->client = lab_endpoint_open(&p->l, options);
  p->c = lab_connect(p->client, p->server, NULL);
  p->s = p->server->accepted[0];
}

static void a_full_buffer_holds_the_writer_back(void **state) {
  (void)state;
  km_endpoint_options opt;
  pair p;
  lab_options(&opt);
  opt.send_buffer = 64 << 10;
  opt.stream_window = 32 << 10;
  connect_pair(&p, &opt, LAB_HOLD);
  static uint8_t data[256 << 10];
  lab_stream *a = lab_stream_open(p.c, true);
  size_t taken = 0;
  assert_int_equal(km_stream_writable(a->stream), 64 << 10);
  assert_int_equal(km_stream_write(a->stream, data, sizeof data, true, &taken, NULL), 0);
  assert_int_equal(taken, 64 << 10);
  assert_int_equal(km_stream_writable(a->stream), 0);
  assert_int_equal(km_stream_write(a->stream, data, 1, false, &taken, NULL), 0);
  assert_int_equal(taken, 0); /* not an error */
  LAB_WAIT(&p.l, p.s->stream_count == 1 && p.s->streams[0]->received == 32 << 10);
  lab_run_for(&p.l, 200); /* the reader gives no credit: nothing more comes */
  lab_stream *b = p.s->streams[0];
  assert_int_equal(b->received, 32 << 10);
  assert_int_equal(b->fins, 0);
  km_stream_consume(b->stream, 1 << 10); /* drops are saved up: under half a window is not told */
  km_stream_consume(b->stream, 19 << 10);
  LAB_WAIT(&p.l, b->received == 52 << 10);
  km_stream_consume(b->stream, 20 << 10);
  LAB_WAIT(&p.l, b->received == 64 << 10);
  LAB_WAIT(&p.l, a->on_writable > 0);
  assert_int_equal(km_stream_write(a->stream, data, 10, true, &taken, NULL), 0);
  assert_int_equal(taken, 10);
  km_stream_consume(b->stream, SIZE_MAX); /* more than was given counts as all */
  LAB_WAIT(&p.l, b->fins == 1);
  assert_int_equal(b->received, (64 << 10) + 10);
  lab_close(&p.l);
}

static void held_credit_comes_back_when_the_hold_ends(void **state) {
  (void)state;
  km_endpoint_options opt;
  pair p;
  lab_options(&opt);
  opt.stream_window = 16 << 10;
  connect_pair(&p, &opt, LAB_HOLD);
  lab_stream *a = lab_stream_open(p.c, false);
  lab_stream_send(a, 200000, true);
  LAB_WAIT(&p.l, p.s->stream_count == 1 && p.s->streams[0]->received == 16 << 10);
  km_stream_hold_credit(p.s->streams[0]->stream, false);
  LAB_WAIT(&p.l, a->closed && p.s->streams[0]->closed);
  lab_expect_pattern(p.s->streams[0], 200000);
  lab_close(&p.l);
}

static void end_hold(lab_conn *c) {
  km_stream_hold_credit(c->streams[0]->stream, false);
}

/* The same, asked for in a callback that has nothing to do with the stream. */
static void a_hold_can_end_in_any_callback(void **state) {
  (void)state;
  km_endpoint_options opt;
  pair p;
  lab_options(&opt);
  opt.stream_window = 16 << 10;
  connect_pair(&p, &opt, LAB_HOLD);
  p.s->datagram_hook = end_hold;
  lab_stream *a = lab_stream_open(p.c, false);
  lab_stream_send(a, 200000, true);
  LAB_WAIT(&p.l, p.s->stream_count == 1 && p.s->streams[0]->received == 16 << 10);
  assert_int_equal(km_conn_send_datagram(p.c->conn, "go on", 5), 0);
  LAB_WAIT_S(&p.l, 10, a->closed && p.s->streams[0]->closed);
  lab_expect_pattern(p.s->streams[0], 200000);
  lab_close(&p.l);
}

static void the_connection_window_bounds_all_streams(void **state) {
  (void)state;
  km_endpoint_options opt;
  pair p;
  lab_options(&opt);
  opt.stream_window = 64 << 10;
  opt.connection_window = 100 << 10;
  connect_pair(&p, &opt, LAB_HOLD);
  for (int i = 0; i < 4; i++) {
    lab_stream_send(lab_stream_open(p.c, false), 64 << 10, true);
  }
  lab_run_for(&p.l, 300);
  uint64_t received = 0;
  for (size_t i = 0; i < p.s->stream_count; i++) {
    received += p.s->streams[i]->received;
  }
  assert_int_equal(received, 100 << 10);
  lab_close(&p.l);
}

static void reset_and_stop_carry_their_codes(void **state) {
  (void)state;
  pair p;
  connect_pair(&p, NULL, LAB_RECORD);
  lab_stream *a = lab_stream_open(p.c, true);
  lab_stream_write_text(a, "begun", false);
  LAB_WAIT(&p.l, p.s->stream_count == 1 && p.s->streams[0]->received == 5);
  lab_stream *b = p.s->streams[0];
  assert_int_equal(km_stream_reset(a->stream, 77), 0);
  assert_int_equal(km_stream_reset(a->stream, 78), 0); /* again: nothing */
  LAB_WAIT(&p.l, b->reset);
  assert_int_equal(b->reset_code, 77);
  assert_int_equal(b->fins, 0);
  km_errinfo err = {0};
  size_t taken;
  assert_int_equal(km_stream_write(a->stream, "x", 1, false, &taken, &err), KM_ERR_STREAM_FINISHED);
  assert_int_equal(km_stream_stop(a->stream, 99), 0);
  assert_int_equal(km_stream_stop(a->stream, 98), 0);
  LAB_WAIT(&p.l, b->stopped);
  assert_int_equal(b->stop_code, 99);
  if (b->stream != NULL) {
    assert_int_equal(km_stream_write(b->stream, "x", 1, false, &taken, &err),
                     KM_ERR_STREAM_STOPPED);
    assert_int_equal(err.peer_code, 99);
    assert_true(err.text[0] != '\0');
  }
  LAB_WAIT(&p.l, a->closed && b->closed);
  assert_int_equal(a->error, KM_ERR_STREAM_RESET);
  assert_true(b->error == KM_ERR_STREAM_RESET || b->error == KM_ERR_STREAM_STOPPED);
  lab_close(&p.l);
}

/* A stopped writer need not do anything: its stream ends by itself. */
static void a_stopped_sender_ends(void **state) {
  (void)state;
  pair p;
  connect_pair(&p, NULL, LAB_HOLD);
  lab_stream *a = lab_stream_open(p.c, false);
  lab_stream_send(a, 10 << 20, true);
  LAB_WAIT(&p.l, p.s->stream_count == 1 && p.s->streams[0]->received > 0);
  assert_int_equal(km_stream_stop(p.s->streams[0]->stream, 5), 0);
  LAB_WAIT(&p.l, a->closed && p.s->streams[0]->closed);
  assert_true(a->stopped);
  assert_int_equal(a->stop_code, 5);
  assert_int_equal(a->error, KM_ERR_STREAM_STOPPED);
  lab_close(&p.l);
}

/* What a stopped or reset stream held of the connection's window comes back. */
static void broken_streams_give_their_credit_back(void **state) {
  (void)state;
  km_endpoint_options opt;
  pair p;
  lab_options(&opt);
  opt.stream_window = opt.connection_window = 64 << 10;
  connect_pair(&p, &opt, LAB_HOLD);
  for (size_t i = 0; i < 8; i++) {
    lab_stream *a = lab_stream_open(p.c, false);
    lab_stream_send(a, 64 << 10, false);
    LAB_WAIT(&p.l, p.s->stream_count == i + 1);
    lab_stream *b = p.s->streams[i];
    LAB_WAIT(&p.l, b->received == 64 << 10);
    if (i % 2 == 0) {
      assert_int_equal(km_stream_reset(a->stream, 1), 0);
    } else {
      assert_int_equal(km_stream_stop(b->stream, 1), 0);
    }
    LAB_WAIT(&p.l, a->closed && b->closed);
  }
  lab_close(&p.l);
}

static void one_way_streams_have_one_way(void **state) {
  (void)state;
  pair p;
  connect_pair(&p, NULL, LAB_RECORD);
  lab_stream *a = lab_stream_open(p.c, false);
  lab_stream_write_text(a, "x", false);
  LAB_WAIT(&p.l, p.s->stream_count == 1);
  km_stream *b = p.s->streams[0]->stream;
  size_t taken;
  assert_int_equal(km_stream_write(b, "y", 1, false, &taken, NULL), KM_ERR_INVALID);
  assert_int_equal(km_stream_reset(b, 0), KM_ERR_INVALID);
  assert_int_equal(km_stream_stop(a->stream, 0), KM_ERR_INVALID);
  assert_int_equal(km_stream_writable(b), 0);
  lab_close(&p.l);
}

static void a_stream_nobody_takes_is_reset(void **state) {
  (void)state;
  pair p;
  lab_open(&p.l);
  p.server = lab_server_open(&p.l, NULL, LAB_ECHO);
  p.server->refuse_streams = true;
  p.client = lab_endpoint_open(&p.l, NULL);
  lab_conn *c = lab_connect(p.client, p.server, NULL);
  lab_stream *a = lab_stream_open(c, true);
  lab_stream_write_text(a, "hello?", true);
  LAB_WAIT(&p.l, a->closed);
  assert_true(a->reset || a->stopped);
  assert_int_equal(a->reset_code | a->stop_code, 0);
  assert_int_equal(c->closed, 0);
  lab_close(&p.l);
}

static void higher_priority_goes_first(void **state) {
  (void)state;
  enum { COUNT = 5, BYTES = 2 << 20 };
  km_endpoint_options opt;
  pair p;
  lab_options(&opt);
  opt.send_buffer = 4 << 20; /* all of a stream waits at once, so only the order decides */
  opt.stream_window = 4 << 20;
  connect_pair(&p, &opt, LAB_RECORD);
  static const int8_t priorities[COUNT] = {-3, 0, 100, 5, -100};
  static const size_t order[COUNT] = {2, 3, 1, 0, 4};
  lab_stream *streams[COUNT];
  for (size_t i = 0; i < COUNT; i++) {
    streams[i] = lab_stream_open(p.c, false);
    assert_int_equal(km_stream_priority(streams[i]->stream), 0);
    km_stream_set_priority(streams[i]->stream, priorities[i]);
    assert_int_equal(km_stream_priority(streams[i]->stream), priorities[i]);
    lab_stream_send(streams[i], BYTES, true);
    assert_true(streams[i]->sent == BYTES);
  }
  for (size_t i = 0; i < COUNT; i++) {
    LAB_WAIT(&p.l, streams[order[i]]->closed);
    assert_true(i == 0 || streams[order[i - 1]]->closed_order < streams[order[i]]->closed_order);
  }
  lab_close(&p.l);
}

/* --- lent bytes ------------------------------------------------------------------------------ */

typedef struct lent {
  unsigned released;
  const void *data;
  size_t len;
} lent;

static void release(void *ctx, const void *data, size_t len) {
  lent *l = ctx;
  l->released++;
  assert_ptr_equal(data, l->data);
  assert_int_equal(len, l->len);
}

static void lent_bytes_come_back_after_delivery(void **state) {
  (void)state;
  static const char text[] = "lent and not copied";
  pair p;
  connect_pair(&p, NULL, LAB_RECORD);
  lab_stream *a = lab_stream_open(p.c, false);
  lent l = {0, text, sizeof text - 1};
  assert_int_equal(km_stream_write_ref(a->stream, text, l.len, true, release, &l, NULL), 0);
  assert_int_equal(l.released, 0);
  LAB_WAIT(&p.l, a->closed && p.s->stream_count == 1 && p.s->streams[0]->closed);
  assert_int_equal(l.released, 1);
  assert_memory_equal(p.s->streams[0]->first, text, l.len);
  lab_close(&p.l);
}

static void lent_bytes_come_back_when_the_connection_ends(void **state) {
  (void)state;
  static uint8_t data[100000];
  km_endpoint_options opt;
  pair p;
  lab_options(&opt);
  opt.stream_window = 1024;
  connect_pair(&p, &opt, LAB_HOLD);
  lab_stream *a = lab_stream_open(p.c, false);
  lab_stream *b = lab_stream_open(p.c, false);
  lent l = {0, data, sizeof data}, m = l;
  assert_int_equal(km_stream_write_ref(a->stream, data, l.len, true, release, &l, NULL), 0);
  assert_int_equal(km_stream_write_ref(b->stream, data, m.len, true, release, &m, NULL), 0);
  assert_int_equal(km_stream_write_ref(b->stream, data, m.len, true, release, &m, NULL),
                   KM_ERR_STREAM_FINISHED);
  assert_int_equal(km_stream_reset(b->stream, 0), 0);
  lab_run_for(&p.l, 50);
  assert_int_equal(l.released, 0);
  lab_conn_close(p.c, 0, NULL);
  assert_int_equal(l.released, 1);
  assert_int_equal(m.released, 1);
  lab_close(&p.l);
}

/* A release function that writes again, while its stream ends. */
typedef struct stubborn {
  km_stream *stream;
  unsigned released;
  uint8_t data[50000];
} stubborn;

static void release_and_write(void *ctx, const void *data, size_t len) {
  stubborn *s = ctx;
  s->released++;
  if (s->released == 1) {
    s->released +=
        km_stream_write_ref(s->stream, data, len, false, release_and_write, s, NULL) != 0;
  }
}

static void writing_from_a_release_is_refused_at_the_end(void **state) {
  (void)state;
  km_endpoint_options opt;
  pair p;
  lab_options(&opt);
  opt.stream_window = 1024;
  connect_pair(&p, &opt, LAB_HOLD);
  lab_stream *a = lab_stream_open(p.c, false);
  stubborn *s = lab_alloc(&p.l, sizeof *s);
  s->stream = a->stream;
  assert_int_equal(
      km_stream_write_ref(a->stream, s->data, sizeof s->data, false, release_and_write, s, NULL),
      0);
  lab_run_for(&p.l, 50);
  lab_conn_close(p.c, 0, NULL);
  assert_int_equal(s->released, 2); /* given back once, and the second write failed */
  lab_close(&p.l);
}

/* --- frames in flight ------------------------------------------------------------------------ */

/* ngtcp2 reports bytes in order: when the first frame was lost, its repetition acknowledges all at
 * once. Then nothing is in flight, and nothing but this could wake the stream. */
static void a_stream_goes_on_when_all_frames_are_acknowledged_at_once(void **state) {
  (void)state;
  enum { BYTES = KM_STREAM_MAX_FRAMES + 1 };
  static const char data[BYTES];
  pair p;
  size_t taken;
  connect_pair(&p, NULL, LAB_RECORD);
  lab_stream *a = lab_stream_open(p.c, true);
  km_stream *s = a->stream;
  assert_int_equal(km_stream_write(s, data, BYTES, false, &taken, NULL), 0);
  for (int i = 0; i < KM_STREAM_MAX_FRAMES; i++) { /* one byte each */
    km_send_queue_sent(&s->send, 1);
    s->frames_new++;
  }
  km_stream_sched_remove(&s->conn->sched, &s->sched);
  km_stream_data_acked(s, 0, KM_STREAM_MAX_FRAMES);
  assert_false(km_stream_frames_full(s));
  assert_true(s->sched.queued);
  lab_close(&p.l);
}

/* A byte a packet, and no acknowledgement. */
static void frames_in_flight_are_bounded(void **state) {
  (void)state;
  enum { BYTES = KM_STREAM_MAX_FRAMES + 500 };
  pair p;
  size_t taken;
  lab_open(&p.l);
  p.server = lab_server_open(&p.l, NULL, LAB_RECORD);
  lab_tap *tap = lab_tap_open(&p.l, &p.server->addr, NULL);
  p.c = lab_connect(lab_endpoint_open(&p.l, NULL), p.server, &tap->addr);
  lab_stream *first = lab_stream_open(p.c, false);
  lab_stream_send(first, 16 << 20, true); /* opens the congestion window */
  LAB_WAIT(&p.l, first->closed);
  lab_stream *a = lab_stream_open(p.c, false);
  lab_tap_blackhole(tap, true);
  for (int i = 0; i < BYTES; i++) {
    assert_int_equal(km_stream_write(a->stream, "x", 1, false, &taken, NULL), 0);
    km_endpoint_flush(p.c->conn->ep);
  }
  const km_stream *s = a->stream;
  assert_int_equal(s->frames_old + s->frames_new, KM_STREAM_MAX_FRAMES);
  assert_int_equal(km_send_queue_waiting(&s->send), BYTES - KM_STREAM_MAX_FRAMES);
  lab_tap_blackhole(tap, false);
  assert_int_equal(km_stream_write(a->stream, NULL, 0, true, NULL, NULL), 0);
  LAB_WAIT(&p.l, a->closed);
  assert_int_equal(a->error, 0);
  LAB_WAIT(&p.l, p.server->accepted[0]->streams[1]->received == BYTES);
  lab_close(&p.l);
}

/* The peer stops reading with one code and resets with another: a writer hears of the first. */
static void a_reset_leaves_the_code_of_a_stop(void **state) {
  (void)state;
  pair p;
  km_errinfo err = {0};
  connect_pair(&p, NULL, LAB_RECORD);
  lab_stream *a = lab_stream_open(p.c, true);
  lab_stream_write_text(a, "x", false);
  LAB_WAIT(&p.l, p.s->stream_count == 1);
  lab_stream *b = p.s->streams[0];
  km_stream_was_stopped(a->stream, 11);
  km_stream_was_reset(a->stream, 22);
  assert_int_equal(km_stream_write(a->stream, NULL, 0, false, NULL, &err), KM_ERR_STREAM_STOPPED);
  assert_int_equal(err.peer_code, 11);
  assert_non_null(strstr(err.text, "11"));
  assert_false(b->closed);
  lab_close(&p.l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_full_buffer_holds_the_writer_back),
      cmocka_unit_test(held_credit_comes_back_when_the_hold_ends),
      cmocka_unit_test(a_hold_can_end_in_any_callback),
      cmocka_unit_test(the_connection_window_bounds_all_streams),
      cmocka_unit_test(reset_and_stop_carry_their_codes),
      cmocka_unit_test(a_stopped_sender_ends),
      cmocka_unit_test(broken_streams_give_their_credit_back),
      cmocka_unit_test(one_way_streams_have_one_way),
      cmocka_unit_test(a_stream_nobody_takes_is_reset),
      cmocka_unit_test(higher_priority_goes_first),
      cmocka_unit_test(lent_bytes_come_back_after_delivery),
      cmocka_unit_test(lent_bytes_come_back_when_the_connection_ends),
      cmocka_unit_test(writing_from_a_release_is_refused_at_the_end),
      cmocka_unit_test(a_stream_goes_on_when_all_frames_are_acknowledged_at_once),
      cmocka_unit_test(frames_in_flight_are_bounded),
      cmocka_unit_test(a_reset_leaves_the_code_of_a_stop),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
