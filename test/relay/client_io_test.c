/* The relay client on real sockets, without TLS: how it connects, how attempts fail, what ends a
 * connection, and that it comes back. */
#include "test/relay/client_lab.h"

#include <unistd.h>

static km_id peer_id;

static void connects_and_pings_at_once(void **state) {
  (void)state;
  lab_relay r = {0};
  lab_client l = {0};
  char url[256];
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, NULL, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
  assert_int_equal(km_relay_client_get_state(l.c), KM_RELAY_CLIENT_CONNECTING);
  assert_string_equal(km_relay_client_url(l.c), url);
  LAB_WAIT_FOR(km_relay_client_rtt(l.c) > 0);
  assert_int_equal(l.states[KM_RELAY_CLIENT_CONNECTED], 1);
  assert_int_equal(r.pings, 1);
  assert_int_equal(r.by_challenge, 1);
  assert_true(km_relay_client_last_rx(l.c) > 0);
  assert_non_null(strstr(r.request, "GET /relay HTTP/1.1\r\n"));
  assert_non_null(strstr(r.request, "Sec-WebSocket-Protocol: iroh-relay-v2, iroh-relay-v1\r\n"));
  assert_non_null(strstr(r.request, "user-agent: lab/1\r\n"));
  km_relay_client_stats stats;
  km_relay_client_get_stats(l.c, &stats);
  assert_int_equal(stats.connects, 1);
  assert_int_equal(stats.failures, 0);
  km_relay_client_free(l.c); /* says goodbye */
  l.c = NULL;
  LAB_WAIT_FOR(r.close_code != 0);
  assert_int_equal(r.close_code, 1000);
  lab_client_close(&l);
  lab_relay_close(&r);
}

static void keeps_the_token_and_speaks_version_1(void **state) {
  (void)state;
  lab_relay r = {.protocol = KM_RELAY_PROTOCOL_V1};
  lab_client l = {0};
  char url[256], text[300];
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, NULL, NULL);
  snprintf(text, sizeof text, "%sx?a=1&token=secret&b=2", lab_url(url, "ws", "127.0.0.1", r.port));
  lab_client_dial(&l, text);
  LAB_WAIT_FOR(lab_is_up(&l));
  assert_non_null(strstr(r.request, "GET /relay?token=secret HTTP/1.1\r\n"));
  /* Health exists in version 1 only, Status in version 2 only. */
  lab_relay_send(&r, 2,
                 "\x0b"
                 "Another endpoint connected with the same endpoint id",
                 53);
  LAB_WAIT_FOR(l.elsewhere == 1);
  lab_relay_send(&r, 2, "\x0d\x01", 2);
  LAB_WAIT_FOR(lab_has_failed(&l));
  assert_int_equal(l.why.code, KM_ERR_RELAY_PROTOCOL);
  lab_client_close(&l);
  lab_relay_close(&r);
}

/* Version 1 tells of another endpoint in words, and by empty words that it left. */
static void version_1_tells_of_the_same_id_in_words(void **state) {
  (void)state;
  lab_relay r = {.protocol = KM_RELAY_PROTOCOL_V1};
  lab_client l = {0};
  char url[256];
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, NULL, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
  LAB_WAIT_FOR(r.pings == 1);
  lab_relay_send(&r, 2, "\x0b", 1); /* nothing was wrong */
  lab_relay_send(&r, 2, "\x0bthe weather is bad", 19);
  lab_relay_send(&r, 2, "\x0bsame endpoint id", 17);
  lab_relay_send(&r, 2, "\x0b", 1);
  LAB_WAIT_FOR(l.alone == 1);
  assert_int_equal(l.elsewhere, 1);
  assert_false(lab_has_failed(&l));
  lab_client_close(&l);
  lab_relay_close(&r);
}

static void moves_datagrams_both_ways(void **state) {
  (void)state;
  lab_relay r = {.echo = true};
  lab_client l = {0};
  char url[256];
  uint8_t data[KM_RELAY_MAX_PAYLOAD];
  memset(data, 0x5a, sizeof data);
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, NULL, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
  assert_int_equal(km_relay_client_send(l.c, &peer_id, 2, data, 10, 10), KM_ERR_AGAIN);
  LAB_WAIT_FOR(l.writable > 0); /* it was refused, so it is told */
  assert_true(lab_is_up(&l));

  assert_int_equal(km_relay_client_send(l.c, &peer_id, 2, data, 1200, 1200), 0);
  LAB_WAIT_FOR(l.batches == 1);
  assert_int_equal(l.bytes, 1200);
  assert_int_equal(l.segment, 1200);
  assert_int_equal(l.ecn, 2);
  assert_int_equal(l.first, 0x5a);
  assert_true(km_id_equal(&l.peer, &peer_id));
  assert_int_equal(r.last[0], KM_RELAY_TO_RELAY);

  assert_int_equal(km_relay_client_send(l.c, &peer_id, 0, data, 5000, 1200), 0);
  LAB_WAIT_FOR(l.batches == 2);
  assert_int_equal(l.bytes, 6200);
  assert_int_equal(l.segment, 1200);
  assert_int_equal(r.last[0], KM_RELAY_TO_RELAY_BATCH);
  assert_int_equal(r.last[34] << 8 | r.last[35], 1200);

  assert_int_equal(km_relay_client_send(l.c, &peer_id, 0, data, sizeof data, 1300), 0);
  LAB_WAIT_FOR(l.batches == 3);
  assert_int_equal(l.bytes, 6200 + sizeof data);
  km_relay_client_stats stats;
  km_relay_client_get_stats(l.c, &stats);
  assert_int_equal(stats.tx_packets, 1 + 5 + 51);
  assert_int_equal(stats.rx_packets, stats.tx_packets);
  assert_int_equal(stats.tx_bytes, 6200 + sizeof data);
  assert_int_equal(stats.rx_bytes, stats.tx_bytes);
  assert_int_equal(stats.tx_refused, 1);
  lab_client_close(&l);
  lab_relay_close(&r);
}

static void tells_of_the_connection_before_its_data(void **state) {
  (void)state;
  uint8_t datagram[64];
  km_relay_frame f = {
      .type = KM_RELAY_TO_CLIENT, .peer = peer_id, .data = (const uint8_t *)"hello", .len = 5};
  int n = km_relay_frame_write(datagram, sizeof datagram, &f);
  lab_relay r = {.with_confirm = datagram, .with_confirm_len = (size_t)n};
  lab_client l = {0};
  char url[256];
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, NULL, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
  LAB_WAIT_FOR(l.batches == 1);
  assert_false(l.data_before_state);
  assert_int_equal(l.first, 'h');
  lab_client_close(&l);
  lab_relay_close(&r);
}

/* --- how it connects ------------------------------------------------------------------------- */

static void a_name_is_looked_up(void **state) {
  (void)state;
  lab_relay r = {0};
  lab_client l = {0};
  char url[256];
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, NULL, NULL);
  lab_client_dial(&l, lab_url(url, "http", "localhost", r.port));
  LAB_WAIT_FOR(lab_is_up(&l));
  assert_non_null(strstr(r.request, "Host: localhost:"));
  lab_client_close(&l);
  lab_relay_close(&r);
}

static void a_dead_port_is_unreachable(void **state) {
  (void)state;
  lab_client l = {0};
  char url[256];
  lab_client_open(&l, NULL, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", lab_dead_port()));
  LAB_WAIT_FOR(l.states[KM_RELAY_CLIENT_WAITING] >= 3); /* it goes on trying */
  assert_int_equal(l.why.code, KM_ERR_RELAY_UNREACHABLE);
  assert_non_null(strstr(l.why.text, "Connection refused"));
  assert_int_equal(l.states[KM_RELAY_CLIENT_CONNECTED], 0);
  lab_client_close(&l);
}

static void an_unknown_name_is_unreachable(void **state) {
  (void)state;
  lab_client l = {0};
  lab_client_open(&l, NULL, NULL);
  lab_client_dial(&l, "http://no-such-host.invalid/");
  LAB_WAIT_FOR(lab_has_failed(&l));
  assert_int_equal(l.why.code, KM_ERR_RELAY_UNREACHABLE);
  assert_non_null(strstr(l.why.text, "no-such-host.invalid"));
  lab_client_close(&l);
}

static void freed_while_the_name_is_looked_up(void **state) {
  (void)state;
  for (int turns = 0; turns < 3; turns++) {
    lab_client l = {0};
    lab_client_open(&l, NULL, NULL);
    lab_client_dial(&l, "http://no-such-host.invalid/");
    for (int i = 0; i < turns; i++) {
      km_loop_run_nowait(lab_loop);
    }
    lab_client_close(&l);
  }
}

/* --- attempts that fail ---------------------------------------------------------------------- */

static void garbage_is_no_websocket_server(void **state) {
  (void)state;
  lab_relay r = {.raw_answer = "SSH-2.0-OpenSSH_9.2\r\n\r\n", .hang_up = true};
  km_errinfo why = lab_fail_with(&r);
  assert_int_equal(why.code, KM_ERR_RELAY_HTTP);
  assert_non_null(strstr(why.text, "127.0.0.1"));
}

static void a_status_is_named(void **state) {
  (void)state;
  lab_relay r = {.raw_answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"};
  km_errinfo why = lab_fail_with(&r);
  assert_int_equal(why.code, KM_ERR_RELAY_HTTP);
  assert_int_equal(why.peer_code, 404);
  assert_non_null(strstr(why.text, "404"));
  lab_relay moved = {.raw_answer = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n"
                                   "Content-Length: 0\r\n\r\n"};
  why = lab_fail_with(&moved);
  assert_int_equal(why.code, KM_ERR_RELAY_HTTP);
  assert_int_equal(why.peer_code, 302);
  lab_relay denied = {.raw_answer = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"};
  why = lab_fail_with(&denied);
  assert_int_equal(why.peer_code, 401);
}

static void hanging_up_is_no_answer(void **state) {
  (void)state;
  lab_relay r = {.raw_answer = "", .hang_up = true};
  assert_int_equal(lab_fail_with(&r).code, KM_ERR_RELAY_HTTP);
}

static void an_unknown_sub_protocol_is_refused(void **state) {
  (void)state;
  static const char *const wrong[] = {"iroh-relay-v3", "iroh-relay-v", "chat", ""};
  for (size_t i = 0; i < COUNT_OF(wrong); i++) {
    lab_relay r = {.protocol = wrong[i]};
    assert_int_equal(lab_fail_with(&r).code, KM_ERR_RELAY_PROTOCOL);
  }
}

static void a_denial_has_its_reason(void **state) {
  (void)state;
  lab_relay r = {.deny = "not au\x1b[31mthorized"};
  km_errinfo why = lab_fail_with(&r);
  assert_int_equal(why.code, KM_ERR_RELAY_DENIED);
  assert_non_null(strstr(why.text, "not au?[31mthorized"));
}

static void a_second_challenge_is_not_answered(void **state) {
  (void)state;
  lab_relay r = {.same_challenge = true, .unconfirmed = true};
  assert_int_equal(lab_fail_with(&r).code, KM_ERR_RELAY_PROTOCOL);
  assert_in_range(r.by_challenge, 0, 1); /* the first one's answer may die with the connection */
}

/* --- what ends a connection ------------------------------------------------------------------ */

typedef struct bad_message {
  const char *what;
  const char *msg;
  size_t len;
} bad_message;

static void bad_messages_end_the_connection(void **state) {
  (void)state;
  static const bad_message bad[] = {
      {"status without a code", "\x0d", 1},
      {"health in version 2", "\x0bsick", 5},
      {"unknown type", "\x0e", 1},
      {"restarting, too short", "\x0c\0\0\0\0", 5},
      {"gone, short id", "\x08xx", 3},
      {"ping, 7 bytes",
       "\x09"
       "1234567",
       8},
      {"no type", "", 0},
      {"handshake again", "\x02", 1},
      {"a client's frame", "\x04", 1},
  };
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    lab_relay r = {0};
    lab_client l = {0};
    char url[256];
    lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
    lab_client_open(&l, NULL, NULL);
    lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
    LAB_WAIT_FOR(r.pings == 1);
    lab_relay_send(&r, 2, bad[i].msg, bad[i].len);
    LAB_WAIT_FOR(lab_has_failed(&l));
    if (l.why.code != KM_ERR_RELAY_PROTOCOL) {
      fail_msg("%s: %d %s", bad[i].what, l.why.code, l.why.text);
    }
    LAB_WAIT_FOR(l.states[KM_RELAY_CLIENT_CONNECTED] == 2); /* and it comes back */
    lab_client_close(&l);
    lab_relay_close(&r);
  }
}

static void tolerates_what_iroh_tolerates(void **state) {
  (void)state;
  lab_relay r = {0};
  lab_client l = {0};
  char url[256];
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, NULL, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
  LAB_WAIT_FOR(r.pings == 1);
  lab_relay_send(&r, 2, "\x0d\x63 and more", 11); /* an unknown status */
  lab_relay_send(&r, 1, "some text", 9);          /* a text message */
  lab_relay_send(&r, 9, "websocket ping", 14);    /* a WebSocket ping */
  lab_relay_send(&r, 2,
                 "\x0a"
                 "87654321",
                 9);                            /* a pong nobody asked for */
  lab_relay_send(&r, 2, "\x0d\x01", 2);         /* same id, elsewhere, */
  lab_relay_send(&r, 2, "\x0d\x00", 2);         /* and gone again */
  uint8_t odd[40] = {KM_RELAY_TO_CLIENT_BATCH}; /* segment 0, ecn 9 */
  memcpy(odd + 1, peer_id.bytes, 32);
  odd[33] = 9;
  lab_relay_send(&r, 2, odd, 36); /* without payload */
  lab_relay_send(&r, 2, odd, 40);
  uint8_t gone[33] = {KM_RELAY_ENDPOINT_GONE};
  memcpy(gone + 1, peer_id.bytes, 32);
  lab_relay_send(&r, 2, gone, sizeof gone);
  lab_relay_send(&r, 2,
                 "\x40\x09"
                 "abcdefgh",
                 10); /* a ping, its type in two bytes */
  LAB_WAIT_FOR(r.pongs == 1);
  assert_int_equal(l.elsewhere, 1);
  assert_int_equal(l.alone, 1);
  assert_int_equal(l.batches, 1);
  assert_int_equal(l.segment, 4);
  assert_int_equal(l.ecn, 0);
  assert_int_equal(l.gone, 1);
  assert_true(km_id_equal(&l.peer, &peer_id));
  assert_false(lab_has_failed(&l));
  lab_client_close(&l);
  lab_relay_close(&r);
}

static void messages_have_a_limit(void **state) {
  (void)state;
  uint8_t *msg = malloc(KM_RELAY_MAX_MESSAGE + 1);
  memset(msg, 7, KM_RELAY_MAX_MESSAGE + 1);
  msg[0] = KM_RELAY_TO_CLIENT;
  memcpy(msg + 1, peer_id.bytes, 32);
  lab_relay r = {0};
  lab_client l = {0};
  char url[256];
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, NULL, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
  LAB_WAIT_FOR(r.pings == 1);
  lab_relay_send(&r, 2, msg, KM_RELAY_MAX_MESSAGE);
  LAB_WAIT_FOR(l.batches == 1);
  assert_int_equal(l.bytes, KM_RELAY_MAX_MESSAGE - 34);
  lab_relay_send(&r, 2, msg, KM_RELAY_MAX_MESSAGE + 1);
  LAB_WAIT_FOR(lab_has_failed(&l));
  assert_int_equal(l.why.code, KM_ERR_RELAY_PROTOCOL);
  assert_int_equal(l.batches, 1);
  lab_client_close(&l);
  lab_relay_close(&r);
  free(msg);
}

/* WebSocket fragments, RFC 6455 section 5.4. */
static void a_message_may_come_in_pieces(void **state) {
  (void)state;
  lab_relay r = {0};
  lab_client l = {0};
  char url[256];
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, NULL, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
  LAB_WAIT_FOR(r.pings == 1);
  uint8_t frames[128] = {0x02, 20}; /* binary, not final */
  frames[2] = KM_RELAY_TO_CLIENT;
  memcpy(frames + 3, peer_id.bytes, 19);
  frames[22] = 0x80; /* continuation, final */
  frames[23] = 19;
  memcpy(frames + 24, peer_id.bytes + 19, 13);
  frames[37] = 1;
  memcpy(frames + 38, "pieces", 5);
  for (size_t i = 0; i < LAB_CONNS; i++) {
    if (r.conns[i].fd >= 0) {
      assert_int_equal(write(r.conns[i].fd, frames, 43), 43);
    }
  }
  LAB_WAIT_FOR(l.batches == 1);
  assert_int_equal(l.bytes, 5);
  assert_int_equal(l.first, 'p');
  assert_true(km_id_equal(&l.peer, &peer_id));
  lab_client_close(&l);
  lab_relay_close(&r);
}

static void a_relay_without_pongs_is_given_up(void **state) {
  (void)state;
  lab_relay r = {.no_pong = true};
  lab_client l = {0};
  char url[256];
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, NULL, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
  LAB_WAIT_FOR(lab_is_up(&l));
  km_relay_client_check(l.c, 200 * KM_NS_PER_MS);
  km_ts asked = km_clock_now();
  LAB_WAIT_FOR(lab_has_failed(&l));
  assert_int_equal(l.why.code, KM_ERR_RELAY_LOST);
  assert_true(km_clock_now() - asked >= 200 * KM_NS_PER_MS);
  assert_int_equal(r.pings, 2); /* at once after connecting, and the check */
  lab_client_close(&l);
  lab_relay_close(&r);
}

static void a_killed_relay_is_dialled_again(void **state) {
  (void)state;
  lab_relay r = {.echo = true};
  lab_client l = {0};
  char url[256];
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  uint16_t port = r.port;
  lab_client_open(&l, NULL, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", port));
  LAB_WAIT_FOR(km_relay_client_rtt(l.c) > 0);
  lab_relay_close(&r);
  LAB_WAIT_FOR(l.states[KM_RELAY_CLIENT_WAITING] >= 3);
  lab_relay again = {.echo = true};
  lab_relay_open(&again, "127.0.0.1", port, NULL, NULL);
  km_relay_client_network_changed(l.c, NULL, NULL); /* drops the back-off */
  LAB_WAIT_FOR(l.states[KM_RELAY_CLIENT_CONNECTED] == 2);
  assert_int_equal(km_relay_client_send(l.c, &peer_id, 0, (const uint8_t *)"x", 1, 1), 0);
  LAB_WAIT_FOR(l.batches == 1);
  km_relay_client_stats stats;
  km_relay_client_get_stats(l.c, &stats);
  assert_int_equal(stats.connects, 2);
  assert_true(stats.failures >= 3);
  lab_client_close(&l);
  lab_relay_close(&again);
}

/* kill -9 in the middle of a transfer: the write itself finds out, in the middle of a send. */
static void a_send_may_find_the_connection_broken(void **state) {
  (void)state;
  lab_relay r = {.echo = true};
  lab_client l = {0};
  char url[256];
  uint8_t data[60000];
  memset(data, 1, sizeof data);
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, NULL, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
  LAB_WAIT_FOR(km_relay_client_rtt(l.c) > 0);
  lab_relay_drop(&r);
  for (int i = 0; i < 3; i++) { /* without a turn of the loop in between */
    assert_int_equal(km_relay_client_send(l.c, &peer_id, 0, data, sizeof data, 1200), 0);
    assert_int_equal(km_relay_client_get_state(l.c), KM_RELAY_CLIENT_CONNECTED);
  }
  LAB_WAIT_FOR(l.states[KM_RELAY_CLIENT_CONNECTED] == 2);
  LAB_WAIT_FOR(km_relay_client_rtt(l.c) > 0);
  assert_int_equal(l.batches, 0); /* what was queued for the old connection is lost */
  assert_int_equal(km_relay_client_send(l.c, &peer_id, 0, data, 10, 10), 0);
  LAB_WAIT_FOR(l.batches == 1);
  lab_client_close(&l);
  lab_relay_close(&r);
}

/* --- freeing --------------------------------------------------------------------------------- */

static void free_client(lab_client *l, km_relay_client_state state) {
  if (state == KM_RELAY_CLIENT_CONNECTED) {
    km_relay_client_free(l->c);
    l->c = NULL;
  }
}

static void free_all(lab_client *l, km_relay_client_state state) {
  if (state != KM_RELAY_CLIENT_CONNECTING) {
    km_relay_client_free(l->c);
    l->c = NULL;
    km_relay_clients_free(l->all);
    l->all = NULL;
  }
}

static void may_be_freed_in_on_state(void **state) {
  (void)state;
  for (int i = 0; i < 3; i++) {
    lab_relay r = {.deny = i == 2 ? "no" : NULL};
    lab_client l = {.on_state = i == 0 ? free_client : free_all};
    char url[256];
    lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
    lab_client_open(&l, NULL, NULL);
    lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
    LAB_WAIT_FOR(l.c == NULL);
    unsigned told = l.states[0] + l.states[1] + l.states[2];
    for (int n = 0; n < 20; n++) {
      km_loop_run_once(lab_loop, 5);
    }
    assert_int_equal(l.states[0] + l.states[1] + l.states[2], told);
    lab_client_close(&l);
    lab_relay_close(&r);
  }
}

static void may_be_freed_at_any_time(void **state) {
  (void)state;
  for (unsigned turns = 0; turns < 24; turns++) {
    lab_relay r = {0};
    lab_client l = {0};
    char url[256];
    lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
    lab_client_open(&l, NULL, NULL);
    lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
    for (unsigned i = 0; i < turns; i++) {
      km_loop_run_nowait(lab_loop);
    }
    lab_client_close(&l);
    lab_relay_close(&r);
  }
}

static void bad_urls_are_refused(void **state) {
  (void)state;
  lab_client l = {0};
  km_errinfo err;
  km_relay_client *c;
  const km_relay_client_callbacks cb = {.ctx = NULL};
  lab_client_open(&l, NULL, NULL);
  assert_int_equal(km_relay_client_new(&c, l.all, "nonsense", &cb, &err), KM_ERR_BAD_RELAY_URL);
  lab_client_close(&l);
}

int main(void) {
  peer_id = lab_peer();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(connects_and_pings_at_once),
      cmocka_unit_test(keeps_the_token_and_speaks_version_1),
      cmocka_unit_test(version_1_tells_of_the_same_id_in_words),
      cmocka_unit_test(moves_datagrams_both_ways),
      cmocka_unit_test(tells_of_the_connection_before_its_data),
      cmocka_unit_test(a_name_is_looked_up),
      cmocka_unit_test(a_dead_port_is_unreachable),
      cmocka_unit_test(an_unknown_name_is_unreachable),
      cmocka_unit_test(freed_while_the_name_is_looked_up),
      cmocka_unit_test(garbage_is_no_websocket_server),
      cmocka_unit_test(a_status_is_named),
      cmocka_unit_test(hanging_up_is_no_answer),
      cmocka_unit_test(an_unknown_sub_protocol_is_refused),
      cmocka_unit_test(a_denial_has_its_reason),
      cmocka_unit_test(a_second_challenge_is_not_answered),
      cmocka_unit_test(bad_messages_end_the_connection),
      cmocka_unit_test(tolerates_what_iroh_tolerates),
      cmocka_unit_test(messages_have_a_limit),
      cmocka_unit_test(a_message_may_come_in_pieces),
      cmocka_unit_test(a_relay_without_pongs_is_given_up),
      cmocka_unit_test(a_killed_relay_is_dialled_again),
      cmocka_unit_test(a_send_may_find_the_connection_broken),
      cmocka_unit_test(may_be_freed_in_on_state),
      cmocka_unit_test(may_be_freed_at_any_time),
      cmocka_unit_test(bad_urls_are_refused),
  };
  return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
