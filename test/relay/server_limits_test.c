/* What the relay server allows one client, one address, and all of them together. docs/limits.md
 * names these tests. */
#include "test/relay/server_lab.h"

#include <unistd.h>

/* How many of them the server still has open. */
static unsigned open_ones(const lab_raw *r, unsigned count) {
  unsigned open = 0;
  for (unsigned i = 0; i < count; i++) {
    open += !r[i].ended;
  }
  return open;
}

static void close_all(lab_raw *r, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    lab_raw_close(&r[i]);
  }
}

/* --- connections ----------------------------------------------------------------------------- */

static void connections_are_bounded(void **state) {
  (void)state;
  lab_server server;
  lab_raw r[10] = {0};
  lab_server_init(&server);
  server.config.limits.connections = 4;
  lab_server_open(&server);
  for (unsigned i = 0; i < COUNT_OF(r); i++) {
    lab_raw_open(&r[i], server.port, (int)i + 1); /* each from another address */
    LAB_WAIT_FOR(lab_stats(&server).accepted == i + 1);
  }
  LAB_WAIT_FOR(open_ones(r, COUNT_OF(r)) == 4);
  assert_int_equal(lab_stats(&server).refused_limit, 6);
  assert_int_equal(lab_stats(&server).connections, 4);
  lab_raw_close(&r[1]);
  LAB_WAIT_FOR(lab_stats(&server).connections == 3);
  lab_raw_login(&r[1], server.port, KM_RELAY_V2); /* there is room again */
  close_all(r, COUNT_OF(r));
  lab_server_close(&server);
}

static void connections_of_an_address_are_bounded(void **state) {
  (void)state;
  lab_server server;
  lab_raw r[6] = {0}, other = {0};
  lab_server_init(&server);
  server.config.limits.connections_per_addr = 3;
  lab_server_open(&server);
  for (unsigned i = 0; i < COUNT_OF(r); i++) {
    lab_raw_open(&r[i], server.port, 2);
    LAB_WAIT_FOR(lab_stats(&server).accepted == i + 1);
  }
  LAB_WAIT_FOR(open_ones(r, COUNT_OF(r)) == 3);
  assert_int_equal(lab_stats(&server).refused_limit, 3);
  lab_raw_open(&other, server.port, 3);
  lab_raw_login(&other, server.port, KM_RELAY_V2);
  for (unsigned i = 0; i < COUNT_OF(r); i++) {
    lab_raw_close(&r[i]);
  }
  LAB_WAIT_FOR(lab_stats(&server).connections == 1);
  lab_raw_open(&r[0], server.port, 2);
  lab_raw_login(&r[0], server.port, KM_RELAY_V2);
  lab_raw_exchange(&r[0], &other);
  lab_raw_close(&r[0]);
  lab_raw_close(&other);
  lab_server_close(&server);
}

static void accepts_have_a_rate(void **state) {
  (void)state;
  lab_server server;
  lab_raw r[8] = {0}, late = {0};
  lab_server_init(&server);
  server.config.limits.accepts_per_second = 1;
  server.config.limits.accept_burst = 3;
  lab_server_open(&server);
  km_ts before = km_clock_now();
  for (unsigned i = 0; i < COUNT_OF(r); i++) {
    lab_raw_open(&r[i], server.port, 0);
    LAB_WAIT_FOR(lab_stats(&server).accepted == i + 1);
  }
  uint64_t seconds = (km_clock_now() - before) / KM_NS_PER_S;
  uint64_t in = COUNT_OF(r) - lab_stats(&server).refused_limit;
  assert_in_range(in, 3, 3 + seconds + 1);
  close_all(r, COUNT_OF(r));
  /* Whoever comes later gets in. */
  do {
    assert_true(km_clock_now() - before < 30 * KM_NS_PER_S);
    lab_raw_close(&late);
    uint64_t refused = lab_stats(&server).refused_limit, n = lab_stats(&server).accepted;
    late = (lab_raw){0};
    lab_raw_open(&late, server.port, 0);
    LAB_WAIT_FOR(lab_stats(&server).accepted == n + 1);
    if (lab_stats(&server).refused_limit == refused) {
      break;
    }
    usleep(100000);
  } while (true);
  lab_raw_login(&late, server.port, KM_RELAY_V2);
  lab_raw_close(&late);
  lab_server_close(&server);
}

static void one_address_has_a_share_of_the_accepts(void **state) {
  (void)state;
  enum { SHARE = 64, TRIES = 200 };
  lab_server server;
  static lab_raw r[TRIES];
  memset(r, 0, sizeof r);
  lab_server_init(&server);
  server.config.limits.accepts_per_second = 100000;
  server.config.limits.accept_burst = 4 * SHARE;
  lab_server_open(&server);
  km_ts before = km_clock_now();
  for (unsigned i = 0; i < TRIES; i++) {
    lab_raw_open(&r[i], server.port, 0);
    LAB_WAIT_FOR(lab_stats(&server).accepted == i + 1);
  }
  uint64_t seconds = (km_clock_now() - before) / KM_NS_PER_S;
  uint64_t in = TRIES - lab_stats(&server).refused_limit;
  assert_in_range(in, SHARE, SHARE * (seconds + 2) < TRIES ? SHARE * (seconds + 2) : TRIES);
  close_all(r, TRIES);
  lab_server_close(&server);
}

/* --- the time of a handshake ----------------------------------------------------------------- */

static void a_handshake_has_a_deadline(void **state) {
  (void)state;
  lab_server server;
  lab_raw silent = {0}, started = {0}, unproven = {0}, client = {0}, lingering = {0};
  lab_server_init(&server);
  server.config.limits.establish_timeout_ms = 3000;
  lab_server_open(&server);
  lab_raw_login(&client, server.port, KM_RELAY_V2);
  km_ts before = km_clock_now();
  lab_raw_open(&silent, server.port, 0);
  lab_raw_open(&started, server.port, 0);
  assert_true(lab_raw_text(&started, "GET /relay HTTP/1.1\r\nHost: a\r\n"));
  lab_raw_open(&unproven, server.port, 0);
  assert_int_equal(lab_raw_upgrade(&unproven, "iroh-relay-v2", ""), 101);
  lab_raw_await_challenge(&unproven);
  lab_raw_open(&lingering, server.port, 0); /* after a request, too */
  assert_true(lab_raw_text(&lingering, "GET /ping HTTP/1.1\r\nHost: a\r\n\r\n"));
  assert_int_equal(lab_raw_status(&lingering), 200);
  /* A header byte by byte is no life. */
  static const char slowly[] =
      "X-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
  for (size_t i = 0; !started.ended; i++) {
    (void)lab_raw_put(&started, &slowly[i % (sizeof slowly - 1)], 1);
    usleep(10000);
    km_loop_run_once(lab_loop, 0);
    assert_true(km_clock_now() - before < 30 * KM_NS_PER_S);
  }
  assert_true(km_clock_now() - before >= 2900 * KM_NS_PER_MS);
  LAB_WAIT_FOR(silent.ended && unproven.ended && lingering.ended);
  assert_int_equal(lab_stats(&server).timeouts_establish, 4);
  assert_int_equal(lab_stats(&server).connections, 1);
  assert_true(lab_raw_send_to(&client, &client.id, "still here"));
  lab_raw_expect_text(&client, &client.id, "still here");
  lab_raw_close(&silent);
  lab_raw_close(&started);
  lab_raw_close(&unproven);
  lab_raw_close(&lingering);
  lab_raw_close(&client);
  lab_server_close(&server);
}

static void never_decide(void *ctx, km_relay_server *server, const km_relay_login *login) {
  *(uint64_t *)ctx = login->number;
  (void)server;
}

static void so_has_a_decision(void **state) {
  (void)state;
  lab_server server;
  lab_raw r = {0};
  uint64_t number = 0;
  lab_server_init(&server);
  server.config.limits.establish_timeout_ms = 1000;
  server.config.authorize = never_decide;
  server.config.ctx = &number;
  lab_server_open(&server);
  lab_raw_open(&r, server.port, 0);
  lab_raw_key(&r, NULL);
  if (lab_raw_upgrade(&r, "iroh-relay-v2", "") == 101) {
    lab_raw_await_challenge(&r);
    lab_raw_prove(&r);
  }
  lab_raw_await_end(&r);
  assert_int_equal(lab_stats(&server).timeouts_establish, 1);
  km_relay_server_decide(server.s, number, NULL); /* too late */
  assert_int_equal(lab_stats(&server).clients, 0);
  lab_raw_close(&r);
  lab_server_close(&server);
}

/* More of them than libwebsockets likes to have at once: nobody waits for those who dawdle. */
static void many_half_requests_keep_nobody_waiting(void **state) {
  (void)state;
  enum { MANY = 1200 };
  lab_server server;
  if (!lab_many_files()) {
    skip();
  }
  lab_raw *all = calloc(MANY, sizeof *all), a = {0}, b = {0};
  lab_server_init(&server);
  server.config.limits.establish_timeout_ms = 300000; /* however slow this machine is */
  lab_server_open(&server);
  for (unsigned i = 0; i < MANY; i++) {
    lab_raw_open(&all[i], server.port, 0);
    assert_true(lab_raw_text(&all[i], "GET /relay HTTP/1.1\r\nHost: a\r\nX: "));
  }
  LAB_WAIT_FOR(lab_stats(&server).connections == MANY);
  lab_raw_login(&a, server.port, KM_RELAY_V2);
  lab_raw_login(&b, server.port, KM_RELAY_V1);
  lab_raw_exchange(&a, &b);
  assert_int_equal(open_ones(all, MANY), MANY);
  lab_raw_close(&a);
  lab_raw_close(&b);
  close_all(all, MANY);
  LAB_WAIT_FOR(lab_stats(&server).connections == 0);
  free(all);
  lab_server_close(&server);
}

static void a_request_has_a_size(void **state) {
  (void)state;
  lab_server server;
  lab_raw r = {0};
  lab_server_init(&server);
  lab_server_open(&server);
  lab_raw_open(&r, server.port, 0);
  assert_true(lab_raw_text(&r, "GET /relay HTTP/1.1\r\nHost: a\r\n"));
  unsigned lines = 0;
  while (lines < 10000 &&
         lab_raw_text(&r, "X-Long: 0123456789012345678901234567890123456789\r\n")) {
    lines++;
    km_loop_run_once(lab_loop, 0);
  }
  lab_raw_await_end(&r);
  assert_int_equal(lab_stats(&server).timeouts_establish, 0);
  lab_raw_close(&r);
  LAB_WAIT_FOR(lab_stats(&server).connections == 0);
  lab_server_close(&server);
}

/* --- what a client sends --------------------------------------------------------------------- */

static void a_client_has_a_rate(void **state) {
  (void)state;
  enum { PACKETS = 120, LEN = 1000, RATE = 100000, BURST = 20000 };
  for (km_relay_version version = KM_RELAY_V1; version <= KM_RELAY_V2; version++) {
    lab_server server;
    lab_raw a = {0}, b = {0};
    uint8_t data[LEN] = {0};
    unsigned got = 0;
    lab_server_init(&server);
    server.config.limits.rx_bytes_per_second = RATE;
    server.config.limits.rx_burst = BURST;
    lab_server_open(&server);
    lab_raw_login(&a, server.port, version);
    lab_raw_login(&b, server.port, KM_RELAY_V2);
    km_ts before = km_clock_now();
    for (int i = 0; i < PACKETS; i++) {
      data[0] = (uint8_t)i;
      assert_true(lab_raw_send(
          &a, (km_relay_frame){
                  .type = KM_RELAY_TO_RELAY, .peer = b.id, .data = data, .len = sizeof data}));
    }
    while (got < PACKETS) { /* nothing is lost, nothing is out of order */
      km_relay_frame f = lab_raw_expect(&b, KM_RELAY_TO_CLIENT);
      assert_int_equal(f.data[0], got);
      got++;
    }
    /* What is read at once may be 64 KiB more than the bucket holds. */
    km_ts least = (km_ts)(PACKETS * LEN - BURST - 65536) * KM_NS_PER_S / RATE;
    assert_true(km_clock_now() - before >= least);
    km_relay_server_stats stats = lab_stats(&server);
    assert_true(stats.rate_limited >= 1);
    assert_int_equal(stats.dropped_full, 0);
    assert_int_equal(stats.clients, 2);
    if (version == KM_RELAY_V2) {
      assert_int_equal(lab_raw_expect(&a, KM_RELAY_STATUS).status, KM_RELAY_RATE_LIMITED);
    }
    assert_true(lab_raw_send_to(&b, &a.id, "others go on"));
    lab_raw_expect_text(&a, &b.id, "others go on"); /* and it was told once, if at all */
    lab_raw_close(&a);
    lab_raw_close(&b);
    lab_server_close(&server);
  }
}

/* The rate is kept however little is allowed at once, and no pong is missed over it: a ping of ours
 * goes out while what the client said is not read yet. */
/* Otherwise whoever pays nothing for a key could keep us busy with them. */
static void websocket_pings_count_towards_the_rate(void **state) {
  (void)state;
  enum { PINGS = 200, LEN = 125, PING = 0x89, RATE = 10000, BURST = 1000 };
  lab_server server;
  lab_raw a = {0};
  static const uint8_t payload[LEN];
  lab_server_init(&server);
  server.config.limits.rx_bytes_per_second = RATE;
  server.config.limits.rx_burst = BURST;
  lab_server_open(&server);
  lab_raw_login(&a, server.port, KM_RELAY_V2);
  uint64_t before = lab_stats(&server).bytes_rx;
  for (int i = 0; i < PINGS; i++) {
    assert_true(lab_raw_frame(&a, PING, payload, LEN));
  }
  LAB_WAIT_FOR(lab_stats(&server).rate_limited >= 1);
  assert_true(lab_stats(&server).bytes_rx - before > BURST);
  lab_raw_close(&a);
  lab_server_close(&server);
}

static void the_rate_needs_no_burst(void **state) {
  (void)state;
  lab_server server;
  lab_raw a = {0};
  lab_server_init(&server);
  server.config.limits.rx_bytes_per_second = 50000; /* the burst: a tenth */
  lab_server_open(&server);
  lab_raw_login(&a, server.port, KM_RELAY_V2);
  for (int i = 0; i < 100; i++) {
    uint8_t data[500] = {0};
    assert_true(lab_raw_send(
        &a, (km_relay_frame){
                .type = KM_RELAY_TO_RELAY, .peer = a.id, .data = data, .len = sizeof data}));
  }
  assert_int_equal(lab_raw_expect(&a, KM_RELAY_TO_CLIENT).len, 500);
  LAB_WAIT_FOR(lab_stats(&server).datagrams == 100);
  assert_true(lab_stats(&server).rate_limited >= 1);
  lab_raw_close(&a);
  lab_server_close(&server);
}

/* --- what waits for a client ----------------------------------------------------------------- */

/* Fills what the kernel and the server keep for `deaf`; gives back how many were sent. */
static unsigned flood(lab_server *server, lab_raw *from, const lab_raw *deaf,
                      uint64_t until_dropped) {
  static uint8_t data[1200];
  unsigned sent = 0;
  while (lab_stats(server).dropped_full < until_dropped && lab_stats(server).timeouts_write == 0) {
    assert_true(lab_raw_send(
        from, (km_relay_frame){
                  .type = KM_RELAY_TO_RELAY, .peer = deaf->id, .data = data, .len = sizeof data}));
    sent++;
    if (sent % 64 == 0) {
      km_loop_run_once(lab_loop, 0);
    }
  }
  return sent;
}

static void a_client_that_never_reads_is_cut_off(void **state) {
  (void)state;
  lab_server server;
  lab_raw deaf = {0}, sender = {0}, a = {0}, b = {0};
  lab_server_init(&server);
  server.config.limits.write_timeout_ms = 1500;
  lab_server_open(&server);
  lab_raw_login(&deaf, server.port, KM_RELAY_V2);
  lab_raw_login(&sender, server.port, KM_RELAY_V2);
  lab_raw_login(&a, server.port, KM_RELAY_V2);
  lab_raw_login(&b, server.port, KM_RELAY_V1);
  lab_raw_deaf(&deaf);
  size_t before = server.memory.bytes;
  (void)flood(&server, &sender, &deaf, 1000);
  /* 512 packets, in blocks; and as much as one block that lws holds. */
  size_t most = 512 * (1200 + 38) + 3 * 16384 + 16384;
  assert_true(lab_stats(&server).queued_bytes <= most);
  assert_true(server.memory.bytes - before <= most + 65536);
  lab_raw_exchange(&a, &b); /* the others do not notice */
  LAB_WAIT_FOR(lab_stats(&server).timeouts_write == 1);
  LAB_WAIT_FOR(lab_stats(&server).clients == 3);
  LAB_WAIT_FOR(lab_stats(&server).connections == 3);
  assert_int_equal(lab_stats(&server).queued_bytes, 0);
  assert_int_equal(lab_stats(&server).disconnects, 1);
  lab_raw_exchange(&a, &b);
  lab_raw_close(&deaf);
  lab_raw_close(&sender);
  lab_raw_close(&a);
  lab_raw_close(&b);
  lab_server_close(&server);
}

static void a_slow_client_is_no_dead_one(void **state) {
  (void)state;
  lab_server server;
  lab_raw slow = {0}, sender = {0};
  lab_server_init(&server);
  server.config.limits.write_timeout_ms = 20000;
  lab_server_open(&server);
  lab_raw_login(&slow, server.port, KM_RELAY_V2);
  lab_raw_login(&sender, server.port, KM_RELAY_V2);
  lab_raw_deaf(&slow);
  unsigned sent = flood(&server, &sender, &slow, 1);
  LAB_WAIT_FOR(lab_stats(&server).datagrams + lab_stats(&server).dropped_full == sent);
  uint64_t expected = lab_stats(&server).datagrams;
  slow.deaf = false; /* wakes up */
  assert_int_equal(km_poll_set(slow.poll, KM_POLL_READ), 0);
  for (uint64_t i = 0; i < expected; i++) {
    assert_int_equal(lab_raw_expect(&slow, KM_RELAY_TO_CLIENT).len, 1200);
  }
  LAB_WAIT_FOR(lab_stats(&server).queued_bytes == 0);
  assert_int_equal(lab_stats(&server).timeouts_write, 0);
  lab_raw_exchange(&slow, &sender);
  lab_raw_close(&slow);
  lab_raw_close(&sender);
  lab_server_close(&server);
}

static void what_waits_for_all_is_bounded(void **state) {
  (void)state;
  enum { DEAF = 6, MOST = 400000 };
  lab_server server;
  lab_raw deaf[DEAF] = {0}, sender = {0}, a = {0}, b = {0};
  lab_server_init(&server);
  server.config.limits.queued_bytes = MOST;
  server.config.limits.write_timeout_ms = 60000;
  lab_server_open(&server);
  lab_raw_login(&sender, server.port, KM_RELAY_V2);
  lab_raw_login(&a, server.port, KM_RELAY_V2);
  lab_raw_login(&b, server.port, KM_RELAY_V2);
  for (int i = 0; i < DEAF; i++) {
    lab_raw_login(&deaf[i], server.port, KM_RELAY_V2);
    lab_raw_deaf(&deaf[i]);
    (void)flood(&server, &sender, &deaf[i], (uint64_t)(i + 1) * 100);
    assert_true(lab_stats(&server).queued_bytes <= MOST);
    assert_true(lab_stats(&server).queued_bytes > 10000);
  }
  for (int i = 0; i < 20; i++) {
    lab_raw_exchange(&a, &b); /* there is always something left for those who read */
  }
  for (int i = 0; i < DEAF; i++) {
    lab_raw_close(&deaf[i]);
  }
  LAB_WAIT_FOR(lab_stats(&server).queued_bytes == 0);
  lab_raw_close(&sender);
  lab_raw_close(&a);
  lab_raw_close(&b);
  lab_server_close(&server);
}

/* What libwebsockets keeps, as the kernel did not take it, counts as well. */
static void what_lws_keeps_counts_as_waiting(void **state) {
  (void)state;
  enum { LEN = 60000 };
  lab_server server;
  lab_raw deaf = {0}, sender = {0};
  static uint8_t data[LEN];
  uint64_t sent = 0;
  lab_server_init(&server);
  server.config.limits.write_timeout_ms = 60000;
  lab_server_open(&server);
  lab_raw_login(&deaf, server.port, KM_RELAY_V2);
  lab_raw_login(&sender, server.port, KM_RELAY_V2);
  lab_raw_deaf(&deaf);
  uint64_t before = lab_stats(&server).bytes_tx;
  while (lab_stats(&server).queued_bytes == 0) {
    assert_true(lab_raw_send(&sender, (km_relay_frame){.type = KM_RELAY_TO_RELAY,
                                                       .peer = deaf.id,
                                                       .data = data,
                                                       .len = sizeof data}));
    sent++;
    LAB_WAIT_FOR(lab_stats(&server).datagrams == sent);
    km_loop_run_once(lab_loop, 0); /* the end of that turn wrote it */
  }
  assert_int_equal(lab_stats(&server).bytes_tx - before, sent * (LEN + 34 + 4)); /* no queue */
  assert_int_equal(lab_stats(&server).queued_bytes, LEN + 34 + 4);
  lab_raw_close(&deaf);
  LAB_WAIT_FOR(lab_stats(&server).queued_bytes == 0);
  lab_raw_close(&sender);
  lab_server_close(&server);
}

/* --- messages in parts ----------------------------------------------------------------------- */

/* The beginning of a long message, and no end. */
static void begin_message(lab_raw *r, const km_id *to, size_t len) {
  uint8_t *part = calloc(1, len);
  part[0] = KM_RELAY_TO_RELAY;
  memcpy(part + 1, to->bytes, 32);
  assert_true(lab_raw_frame(r, 0x02, part, len)); /* not the final fragment */
  free(part);
}

static void parts_of_messages_are_bounded(void **state) {
  (void)state;
  enum { MOST = 40000, HOLDERS = 4 };
  lab_server server;
  lab_raw holders[HOLDERS] = {0}, a = {0}, b = {0};
  lab_server_init(&server);
  server.config.limits.partial_bytes = MOST;
  lab_server_open(&server);
  lab_raw_login(&a, server.port, KM_RELAY_V2);
  lab_raw_login(&b, server.port, KM_RELAY_V2);
  for (unsigned i = 0; i < HOLDERS; i++) {
    lab_raw_login(&holders[i], server.port, KM_RELAY_V2);
    begin_message(&holders[i], &a.id, 10000); /* takes 16 KiB */
    if (i < 2) {
      LAB_WAIT_FOR(lab_stats(&server).partial_bytes == 16384 * (i + 1));
    } else {
      LAB_WAIT_FOR(holders[i - 2].ended); /* the oldest made room */
    }
    assert_true(lab_stats(&server).partial_bytes <= MOST);
  }
  assert_int_equal(lab_stats(&server).partial_cut, 2);
  /* Somebody who is quick gets through all the same. */
  begin_message(&a, &b.id, 10000);
  assert_true(lab_raw_frame(&a, 0x80, "end", 3));
  km_relay_frame f = lab_raw_expect(&b, KM_RELAY_TO_CLIENT);
  assert_int_equal(f.len, 10000 - 34 + 3);
  assert_memory_equal(f.data + f.len - 3, "end", 3);
  LAB_WAIT_FOR(holders[2].ended);
  assert_false(holders[3].ended);
  assert_int_equal(lab_stats(&server).partial_cut, 3);
  /* One message that is more than all may hold. */
  begin_message(&b, &a.id, 50000);
  LAB_WAIT_FOR(b.ended);
  LAB_WAIT_FOR(lab_stats(&server).partial_bytes == 0); /* the last holder went first */
  for (unsigned i = 0; i < HOLDERS; i++) {
    lab_raw_close(&holders[i]);
  }
  lab_raw_close(&a);
  lab_raw_close(&b);
  lab_server_close(&server);
}

static void before_the_login_messages_are_short(void **state) {
  (void)state;
  lab_server server;
  lab_raw r = {0};
  uint8_t part[1200] = {0};
  lab_server_init(&server);
  lab_server_open(&server);
  lab_raw_open(&r, server.port, 0);
  assert_int_equal(lab_raw_upgrade(&r, "iroh-relay-v2", ""), 101);
  lab_raw_await_challenge(&r);
  assert_true(lab_raw_frame(&r, 0x02, part, 1000));
  LAB_WAIT_FOR(lab_stats(&server).partial_bytes == 2048);
  (void)lab_raw_frame(&r, 0x00, part, 200);
  lab_raw_await_end(&r);
  LAB_WAIT_FOR(lab_stats(&server).partial_bytes == 0);
  lab_raw_close(&r);
  lab_server_close(&server);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(connections_are_bounded),
      cmocka_unit_test(connections_of_an_address_are_bounded),
      cmocka_unit_test(accepts_have_a_rate),
      cmocka_unit_test(one_address_has_a_share_of_the_accepts),
      cmocka_unit_test(a_handshake_has_a_deadline),
      cmocka_unit_test(so_has_a_decision),
      cmocka_unit_test(many_half_requests_keep_nobody_waiting),
      cmocka_unit_test(a_request_has_a_size),
      cmocka_unit_test(a_client_has_a_rate),
      cmocka_unit_test(the_rate_needs_no_burst),
      cmocka_unit_test(websocket_pings_count_towards_the_rate),
      cmocka_unit_test(a_client_that_never_reads_is_cut_off),
      cmocka_unit_test(a_slow_client_is_no_dead_one),
      cmocka_unit_test(what_waits_for_all_is_bounded),
      cmocka_unit_test(what_lws_keeps_counts_as_waiting),
      cmocka_unit_test(parts_of_messages_are_bounded),
      cmocka_unit_test(before_the_login_messages_are_short),
  };
  return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
