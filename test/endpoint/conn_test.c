/* Two endpoints on one loop over loopback: connecting, refusing, closing. */
#include "base/text.h"
#include "endpoint/endpoint_impl.h"
#include "test/endpoint/lab.h"

typedef struct pair {
  lab l;
  lab_endpoint *server, *client;
} pair;

static void open_pair(pair *p, lab_mode mode) {
  lab_open(&p->l);
  p->server = lab_server_open(&p->l, NULL, mode);
  p->client = lab_endpoint_open(&p->l, NULL);
}

static void echo_of_every_size(void **state) {
  (void)state;
  static const uint64_t sizes[] = {0, 1, 1000, 1001, 65536, 1250000, 1250001, 8 << 20};
  pair p;
  open_pair(&p, LAB_ECHO);
  lab_conn *c = lab_connect(p.client, p.server, NULL);
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    lab_expect_echo(c, sizes[i]);
  }
  km_conn_stats stats = {.size = sizeof stats};
  assert_int_equal(km_conn_get_stats(c->conn, &stats), 0);
  assert_true(stats.stream_tx_bytes == stats.stream_rx_bytes);
  assert_true(stats.rtt_us > 0 && stats.handshake_us > 0);
  assert_int_equal(stats.streams_open, 0);
  assert_non_null(strstr(stats.cipher, "TLS13-"));
  assert_string_equal(stats.group, "X25519");
  assert_false(stats.resumed);
  lab_close(&p.l);
}

static void both_sides_know_each_other(void **state) {
  (void)state;
  pair p;
  open_pair(&p, LAB_ECHO);
  lab_conn *c = lab_connect(p.client, p.server, NULL);
  lab_conn *s = p.server->accepted[0];
  assert_true(km_id_equal(km_conn_remote_id(c->conn), km_endpoint_id(p.server->ep)));
  assert_true(km_id_equal(km_conn_remote_id(s->conn), km_endpoint_id(p.client->ep)));
  assert_string_equal(km_conn_alpn(c->conn), LAB_ALPN);
  assert_string_equal(km_conn_alpn(s->conn), LAB_ALPN);
  assert_true(km_conn_is_client(c->conn));
  assert_false(km_conn_is_client(s->conn));
  assert_ptr_equal(km_conn_endpoint(c->conn), p.client->ep);
  assert_ptr_equal(km_conn_ctx(s->conn), s);
  km_path_info path;
  assert_int_equal(km_conn_path(c->conn, &path), 0);
  assert_int_equal(path.kind, KM_PATH_DIRECT);
  assert_true(path.selected);
  assert_true(km_udp_addr_equal(&path.remote, &p.server->addr));
  assert_int_equal(km_conn_path(s->conn, &path), 0);
  assert_true(km_udp_addr_equal(&path.remote, &p.client->addr));
  assert_int_equal(p.server->peers_seen, 1);
  assert_int_equal(lab_stats(p.server).accepted, 1);
  assert_int_equal(lab_stats(p.client).dialled, 1);
  assert_int_equal(lab_stats(p.server).connections, 1);
  assert_int_equal(lab_stats(p.server).half_open, 0);
  lab_close(&p.l);
}

static void streams_go_both_ways(void **state) {
  (void)state;
  pair p;
  open_pair(&p, LAB_RECORD);
  lab_conn *c = lab_connect(p.client, p.server, NULL);
  lab_conn *s = p.server->accepted[0];
  lab_stream *up = lab_stream_open(c, false), *down = lab_stream_open(s, false);
  assert_false(km_stream_is_bidi(up->stream));
  lab_stream_send(up, 300000, true);
  lab_stream_send(down, 200000, true);
  LAB_WAIT(&p.l, up->closed && down->closed && s->stream_count == 1 && c->stream_count == 1);
  LAB_WAIT(&p.l, s->streams[0]->closed && c->streams[0]->closed);
  assert_int_equal(up->error | down->error | s->streams[0]->error | c->streams[0]->error, 0);
  lab_expect_pattern(s->streams[0], 300000);
  lab_expect_pattern(c->streams[0], 200000);
  lab_close(&p.l);
}

static void streams_opened_before_the_handshake_wait_for_it(void **state) {
  (void)state;
  pair p;
  open_pair(&p, LAB_ECHO);
  lab_conn *c = lab_dial(p.client, p.server, NULL);
  assert_int_equal(c->connected, 0);
  lab_stream *a = lab_stream_open(c, true), *b = lab_stream_open(c, true);
  assert_true(km_stream_id(a->stream) == -1);
  lab_stream_send(a, 5000, true);
  lab_stream_send(b, 70000, true);
  LAB_WAIT(&p.l, a->closed && b->closed);
  lab_expect_pattern(a, 5000);
  lab_expect_pattern(b, 70000);
  assert_int_equal(km_conn_early_state(c->conn), KM_EARLY_NONE);
  lab_close(&p.l);
}

static void two_hundred_streams_at_once(void **state) {
  (void)state;
  enum { COUNT = 200, BYTES = 20000 };
  lab l;
  km_endpoint_options opt;
  lab_open(&l);
  lab_options(&opt);
  opt.max_streams_bidi = COUNT;
  lab_endpoint *server = lab_server_open(&l, &opt, LAB_ECHO);
  lab_endpoint *client = lab_endpoint_open(&l, NULL);
  lab_conn *c = lab_connect(client, server, NULL);
  lab_stream *streams[COUNT];
  for (size_t i = 0; i < COUNT; i++) {
    streams[i] = lab_stream_open(c, true);
    lab_stream_send(streams[i], BYTES, true);
  }
  for (size_t i = 0; i < COUNT; i++) {
    LAB_WAIT(&l, streams[i]->closed);
    assert_int_equal(streams[i]->error, 0);
    lab_expect_pattern(streams[i], BYTES);
  }
  lab_close(&l);
}

static void datagrams_are_echoed(void **state) {
  (void)state;
  pair p;
  open_pair(&p, LAB_ECHO);
  p.server->echo_datagrams = true;
  lab_conn *c = lab_connect(p.client, p.server, NULL);
  uint8_t big[2048];
  memset(big, 7, sizeof big);
  size_t max = km_conn_max_datagram(c->conn);
  assert_in_range(max, 1100, 1452);
  const size_t sizes[] = {0, 1, 500, max};
  for (unsigned i = 0; i < 4; i++) {
    assert_int_equal(km_conn_send_datagram(c->conn, big, sizes[i]), 0);
    LAB_WAIT(&p.l, c->datagrams == i + 1);
    assert_int_equal(c->datagram_len, sizes[i]);
    assert_memory_equal(c->datagram, big, sizes[i]);
  }
  km_conn_stats stats = {.size = sizeof stats};
  assert_int_equal(km_conn_get_stats(c->conn, &stats), 0);
  assert_int_equal(stats.datagrams_tx, 4);
  assert_int_equal(stats.datagrams_rx, 4);
  lab_close(&p.l);
}

/* --- closing --------------------------------------------------------------------------------- */

static void close_codes_reach_the_peer(void **state) {
  (void)state;
  static const uint64_t codes[] = {0, 42, (UINT64_C(1) << 62) - 1};
  for (size_t i = 0; i < 6; i++) {
    pair p;
    open_pair(&p, LAB_ECHO);
    lab_conn *c = lab_connect(p.client, p.server, NULL);
    lab_conn *s = p.server->accepted[0];
    lab_conn *from = i < 3 ? c : s, *to = i < 3 ? s : c;
    uint64_t code = codes[i % 3];
    const char *reason = i % 2 == 0 ? "because of \x01 this" : "";
    lab_conn_close(from, code, reason);
    assert_int_equal(from->info.origin, KM_CLOSE_LOCAL_APP);
    assert_int_equal(from->info.error, KM_OK);
    assert_true(from->info.code == code);
    LAB_WAIT(&p.l, to->closed > 0);
    assert_int_equal(to->info.origin, KM_CLOSE_REMOTE_APP);
    assert_int_equal(to->info.error, KM_ERR_CLOSED_BY_PEER);
    assert_true(to->info.application);
    assert_true(to->info.code == code);
    assert_int_equal(to->info.reason_len, strlen(reason));
    assert_memory_equal(to->reason, reason, strlen(reason));
    assert_null(strchr(to->info.text, '\x01')); /* sentences are for terminals */
    lab_close(&p.l);
  }
}

static void a_long_reason_is_cut_and_a_huge_code_capped(void **state) {
  (void)state;
  static char reason[5000];
  pair p;
  open_pair(&p, LAB_ECHO);
  lab_conn *c = lab_connect(p.client, p.server, NULL);
  memset(reason, 'r', sizeof reason);
  km_conn_close(c->conn, UINT64_MAX, reason, sizeof reason);
  lab_conn *s = p.server->accepted[0];
  LAB_WAIT(&p.l, s->closed > 0 && c->closed > 0);
  assert_true(s->info.code == (UINT64_C(1) << 62) - 1);
  assert_in_range(s->info.reason_len, 1, 1024);
  assert_memory_equal(s->reason, reason, s->info.reason_len);
  lab_close(&p.l);
}

static bool is_clean(const char *text) {
  size_t len = strlen(text);
  for (size_t at = 0; at < len;) {
    size_t n = km_utf8_sequence(text + at, len - at);
    if (n == 0 || km_utf8_is_control(text + at, n)) {
      return false;
    }
    at += n;
  }
  return true;
}

/* Whatever the peer says, the sentence is text: cut between characters, nothing that a terminal
 * would obey. */
static void any_reason_makes_a_clean_sentence(void **state) {
  (void)state;
  char long_reason[2][901];
  for (size_t i = 0; i < 2; i++) { /* one of them is cut within a character */
    memset(long_reason[i], 'x', sizeof long_reason[i]);
    for (size_t at = i; at + 2 < sizeof long_reason[i]; at += 2) {
      memcpy(long_reason[i] + at, "\xc3\xa9", 2);
    }
    long_reason[i][900] = '\0';
  }
  const char *const reasons[] = {long_reason[0],      long_reason[1], "csi \xc2\x9b 31m",
                                 "not \xff\xc0 text", "cut \xe2\x82", "bell \a escape \x1b["};
  for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
    pair p;
    open_pair(&p, LAB_ECHO);
    lab_conn *c = lab_connect(p.client, p.server, NULL);
    lab_conn_close(p.server->accepted[0], 7, reasons[i]);
    LAB_WAIT(&p.l, c->closed > 0);
    assert_true(is_clean(c->info.text));
    assert_non_null(strstr(c->info.text, "code 7"));
    assert_memory_equal(c->reason, reasons[i], strlen(reasons[i])); /* the bytes are kept */
    lab_close(&p.l);
  }
}

static void closing_cuts_streams_first(void **state) {
  (void)state;
  pair p;
  open_pair(&p, LAB_HOLD);
  lab_conn *c = lab_connect(p.client, p.server, NULL);
  lab_stream *a = lab_stream_open(c, true);
  lab_stream_send(a, 4 << 20, true);
  lab_conn *s = p.server->accepted[0];
  LAB_WAIT(&p.l, s->stream_count == 1 && s->streams[0]->received > 0);
  km_conn_close(c->conn, 1, NULL, 0);
  size_t taken;
  km_stream *other;
  assert_int_equal(c->closed, 0); /* never from inside a call */
  assert_int_equal(km_stream_write(a->stream, "x", 1, false, &taken, NULL), KM_ERR_CLOSED);
  assert_int_equal(km_conn_open_stream(c->conn, &other, true, NULL, NULL), KM_ERR_CLOSED);
  assert_int_equal(km_conn_send_datagram(c->conn, "x", 1), KM_ERR_CLOSED);
  km_conn_close(c->conn, 2, NULL, 0); /* again: nothing */
  LAB_WAIT(&p.l, c->closed > 0 && s->closed > 0);
  assert_true(a->closed);
  assert_int_equal(a->error, KM_ERR_CLOSED);
  assert_int_equal(s->streams[0]->error, KM_ERR_CLOSED);
  assert_true(s->info.code == 1);
  lab_close(&p.l);
}

/* iroh closes its endpoints with application code 0 and no reason. */
static void an_endpoint_closes_as_iroh_does(void **state) {
  (void)state;
  pair p;
  open_pair(&p, LAB_ECHO);
  lab_conn *c = lab_connect(p.client, p.server, NULL);
  lab_conn *s = p.server->accepted[0];
  km_endpoint_close(p.server->ep);
  km_endpoint_close(p.server->ep);
  km_addr *addr;
  assert_int_equal(km_endpoint_addr(p.server->ep, &addr), KM_ERR_CLOSED);
  LAB_WAIT(&p.l, c->closed > 0 && s->closed > 0);
  assert_int_equal(c->info.origin, KM_CLOSE_REMOTE_APP);
  assert_true(c->info.application && c->info.code == 0);
  assert_int_equal(c->info.reason_len, 0);
  LAB_WAIT(&p.l, p.server->ep == NULL);
  lab_close(&p.l);
}

static void a_closing_endpoint_refuses_new_connections(void **state) {
  (void)state;
  pair p;
  open_pair(&p, LAB_ECHO);
  lab_connect(p.client, p.server, NULL);
  km_addr *addr = lab_addr(p.server, NULL);
  km_endpoint_close(p.server->ep);
  lab_conn *late =
      lab_dial_with(p.client, addr, LAB_ALPN,
                    &(km_dial_options){.size = sizeof(km_dial_options), .timeout_ms = 1500});
  km_addr_free(addr);
  LAB_WAIT(&p.l, late->closed > 0);
  assert_int_equal(late->connected, 0);
  assert_true(late->info.error == KM_ERR_REFUSED || late->info.error == KM_ERR_UNREACHABLE);
  lab_close(&p.l);
}

/* --- refusals -------------------------------------------------------------------------------- */

static lab_conn *dial_and_fail(pair *p, const km_addr *addr, const char *alpn) {
  lab_conn *c = lab_dial_with(p->client, addr, alpn, NULL);
  LAB_WAIT(&p->l, c->closed > 0);
  assert_int_equal(c->connected, 0);
  return c;
}

static void another_alpn_is_refused(void **state) {
  (void)state;
  pair p;
  open_pair(&p, LAB_ECHO);
  km_addr *addr = lab_addr(p.server, NULL);
  lab_conn *c = dial_and_fail(&p, addr, "km/other/1");
  assert_int_equal(c->info.error, KM_ERR_ALPN_REFUSED);
  assert_int_equal(c->info.origin, KM_CLOSE_REMOTE_TRANSPORT);
  assert_true(c->info.code == 0x178); /* no_application_protocol (RFC 9001 section 8.1) */
  assert_non_null(strstr(c->info.text, "km/other/1"));
  assert_int_equal(p.server->accepted_count, 0);
  assert_int_equal(km_endpoint_remove_protocol(p.server->ep, LAB_ALPN), 0);
  assert_int_equal(km_endpoint_remove_protocol(p.server->ep, LAB_ALPN), KM_ERR_NOT_FOUND);
  c = dial_and_fail(&p, addr, LAB_ALPN); /* without protocols it accepts nobody */
  assert_true(c->info.error == KM_ERR_REFUSED || c->info.error == KM_ERR_ALPN_REFUSED);
  km_addr_free(addr);
  lab_close(&p.l);
}

static void each_protocol_has_its_callbacks(void **state) {
  (void)state;
  pair p;
  open_pair(&p, LAB_ECHO);
  lab_accept(p.server, "second");
  km_addr *addr = lab_addr(p.server, NULL);
  lab_conn *a = lab_dial_with(p.client, addr, "second", NULL);
  lab_conn *b = lab_dial_with(p.client, addr, LAB_ALPN, NULL);
  LAB_WAIT(&p.l, a->connected && b->connected && p.server->accepted_count == 2);
  int second = 0, first = 0;
  for (size_t i = 0; i < 2; i++) {
    second += strcmp(km_conn_alpn(p.server->accepted[i]->conn), "second") == 0;
    first += strcmp(km_conn_alpn(p.server->accepted[i]->conn), LAB_ALPN) == 0;
  }
  assert_int_equal(first, 1);
  assert_int_equal(second, 1);
  km_addr_free(addr);
  lab_close(&p.l);
}

static void another_key_than_dialled_is_an_error_of_its_own(void **state) {
  (void)state;
  pair p;
  open_pair(&p, LAB_ECHO);
  lab_endpoint *other = lab_endpoint_open(&p.l, NULL);
  km_addr *addr = lab_addr(other, &p.server->addr);
  lab_conn *c = dial_and_fail(&p, addr, LAB_ALPN);
  assert_int_equal(c->info.error, KM_ERR_WRONG_PEER);
  assert_int_equal(c->info.origin, KM_CLOSE_LOCAL_TRANSPORT);
  char want[KM_ID_TEXT_CAP], got[KM_ID_TEXT_CAP];
  km_id_format(km_endpoint_id(other->ep), KM_ID_SHORT, want, sizeof want);
  km_id_format(km_endpoint_id(p.server->ep), KM_ID_SHORT, got, sizeof got);
  assert_non_null(strstr(c->info.text, want));
  assert_non_null(strstr(c->info.text, got));
  lab_run_for(&p.l, 50);
  for (size_t i = 0; i < p.server->accepted_count; i++) {
    assert_int_equal(p.server->accepted[i]->stream_count, 0);
  }
  km_addr_free(addr);
  lab_close(&p.l);
}

static void a_peer_filter_refuses_keys(void **state) {
  (void)state;
  pair p;
  open_pair(&p, LAB_ECHO);
  p.server->refuse_peers = true;
  lab_conn *c = lab_dial(p.client, p.server, NULL);
  lab_stream *s = lab_stream_open(c, true);
  lab_stream_write_text(s, "let me in", true);
  LAB_WAIT(&p.l, c->closed > 0);
  assert_int_equal(c->info.error, KM_ERR_REFUSED);
  assert_int_equal(p.server->accepted_count, 0);
  assert_int_equal(p.server->peers_seen, 1);
  assert_true(s->closed);
  assert_int_equal(s->received, 0);
  lab_close(&p.l);
}

static bool close_the_endpoint(void *ctx, const km_id *peer, const char *alpn) {
  lab_endpoint *e = ctx;
  (void)peer;
  (void)alpn;
  e->peers_seen++;
  km_endpoint_close(e->ep);
  return true;
}

static void a_peer_filter_may_close_the_endpoint(void **state) {
  (void)state;
  pair p;
  open_pair(&p, LAB_ECHO);
  p.server->ep->opt.callbacks.on_peer = close_the_endpoint;
  lab_conn *c = lab_dial(p.client, p.server, NULL);
  LAB_WAIT_S(&p.l, 20, p.server->ep == NULL && c->closed > 0);
  assert_int_equal(p.server->peers_seen, 1);
  assert_int_equal(p.server->accepted_count, 0); /* nobody was shown to the application */
  lab_close(&p.l);
}

static void an_attempt_filter_refuses_retries_and_ignores(void **state) {
  (void)state;
  pair p;
  open_pair(&p, LAB_ECHO);
  km_addr *addr = lab_addr(p.server, NULL);
  p.server->verdict = KM_ACCEPT_REFUSE;
  lab_conn *c = dial_and_fail(&p, addr, LAB_ALPN);
  assert_int_equal(c->info.error, KM_ERR_REFUSED);
  assert_int_equal(lab_stats(p.server).refused, 1);

  p.server->verdict = KM_ACCEPT_RETRY;
  lab_connect(p.client, p.server, NULL);
  assert_int_equal(lab_stats(p.server).retries_sent, 1);
  assert_int_equal(p.server->incoming_validated, 1);

  p.server->verdict = KM_ACCEPT_IGNORE;
  c = lab_dial_with(p.client, addr, LAB_ALPN,
                    &(km_dial_options){.size = sizeof(km_dial_options), .timeout_ms = 500});
  LAB_WAIT(&p.l, c->closed > 0);
  assert_int_equal(c->info.error, KM_ERR_UNREACHABLE);
  assert_int_equal(lab_stats(p.server).half_open, 0);
  km_addr_free(addr);
  lab_close(&p.l);
}

static void nobody_there_is_unreachable(void **state) {
  (void)state;
  pair p;
  open_pair(&p, LAB_ECHO);
  km_addr *addr = lab_addr(p.server, NULL);
  lab_endpoint_close(p.server);
  uint64_t before = lab_now_ms();
  lab_conn *c =
      lab_dial_with(p.client, addr, LAB_ALPN,
                    &(km_dial_options){.size = sizeof(km_dial_options), .timeout_ms = 700});
  LAB_WAIT(&p.l, c->closed > 0);
  assert_int_equal(c->info.error, KM_ERR_UNREACHABLE);
  assert_true(lab_now_ms() - before >= 690);
  char text[KM_UDP_ADDR_TEXT_CAP];
  km_udp_addr_format(km_addr_udp_at(addr, 0), text, sizeof text);
  assert_non_null(strstr(c->info.text, text)); /* says where it knocked */
  km_addr_free(addr);
  lab_close(&p.l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(echo_of_every_size),
      cmocka_unit_test(both_sides_know_each_other),
      cmocka_unit_test(streams_go_both_ways),
      cmocka_unit_test(streams_opened_before_the_handshake_wait_for_it),
      cmocka_unit_test(two_hundred_streams_at_once),
      cmocka_unit_test(datagrams_are_echoed),
      cmocka_unit_test(close_codes_reach_the_peer),
      cmocka_unit_test(a_long_reason_is_cut_and_a_huge_code_capped),
      cmocka_unit_test(any_reason_makes_a_clean_sentence),
      cmocka_unit_test(closing_cuts_streams_first),
      cmocka_unit_test(an_endpoint_closes_as_iroh_does),
      cmocka_unit_test(a_closing_endpoint_refuses_new_connections),
      cmocka_unit_test(another_alpn_is_refused),
      cmocka_unit_test(each_protocol_has_its_callbacks),
      cmocka_unit_test(another_key_than_dialled_is_an_error_of_its_own),
      cmocka_unit_test(a_peer_filter_refuses_keys),
      cmocka_unit_test(a_peer_filter_may_close_the_endpoint),
      cmocka_unit_test(an_attempt_filter_refuses_retries_and_ignores),
      cmocka_unit_test(nobody_there_is_unreachable),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
