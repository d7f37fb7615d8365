/* The relay client on real sockets, without TLS: how it connects, how attempts fail, what a relay
 * may do to it, and that it comes back. */
#include "test/relay/client_lab.h"

#include <dirent.h>
#include <unistd.h>

static km_id peer_id;

static km_id some_peer(void) {
  km_secret_key *key;
  km_id id;
  assert_int_equal(km_secret_key_generate(&key), 0);
  km_secret_key_id(key, &id);
  km_secret_key_free(key);
  return id;
}

static bool is_up(const lab_client *l) {
  return l->states[KM_RELAY_CLIENT_CONNECTED] > 0;
}

static bool has_failed(const lab_client *l) {
  return l->states[KM_RELAY_CLIENT_WAITING] > 0;
}

static void fill_queue(lab_client *l, size_t *ret_sent) {
  uint8_t data[30000];
  memset(data, 1, sizeof data);
  *ret_sent = 0;
  while (km_relay_client_send(l->c, &peer_id, 0, data, sizeof data, 1000) == 0) {
    if (++*ret_sent % 16 == 0) {
      km_loop_run_nowait(lab_loop);
    }
    assert_true(*ret_sent < 100000); /* kernel buffers and 4 MiB are less */
  }
}

static unsigned count_fds(void) {
  unsigned count = 0;
  DIR *dir = opendir("/proc/self/fd");
  assert_non_null(dir);
  while (readdir(dir) != NULL) {
    count++;
  }
  closedir(dir);
  return count;
}

/* Dials a relay of this kind and gives back how the first attempt ended. */
static km_errinfo fail_with(lab_relay *r) {
  lab_client l = {0};
  char url[256];
  lab_relay_open(r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, NULL, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r->port));
  LAB_WAIT_FOR(has_failed(&l));
  assert_false(is_up(&l));
  km_errinfo why = l.why;
  lab_client_close(&l);
  lab_relay_close(r);
  return why;
}

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
  LAB_WAIT_FOR(is_up(&l));
  assert_non_null(strstr(r.request, "GET /relay?token=secret HTTP/1.1\r\n"));
  /* Health exists in version 1 only, Status in version 2 only. */
  lab_relay_send(&r, 2,
                 "\x0b"
                 "Another endpoint connected with the same endpoint id",
                 53);
  LAB_WAIT_FOR(l.elsewhere == 1);
  lab_relay_send(&r, 2, "\x0d\x01", 2);
  LAB_WAIT_FOR(has_failed(&l));
  assert_int_equal(l.why.code, KM_ERR_RELAY_PROTOCOL);
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
  assert_true(is_up(&l));

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
  LAB_WAIT_FOR(is_up(&l));
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
  LAB_WAIT_FOR(has_failed(&l));
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
  km_errinfo why = fail_with(&r);
  assert_int_equal(why.code, KM_ERR_RELAY_HTTP);
  assert_non_null(strstr(why.text, "127.0.0.1"));
}

static void a_status_is_named(void **state) {
  (void)state;
  lab_relay r = {.raw_answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"};
  km_errinfo why = fail_with(&r);
  assert_int_equal(why.code, KM_ERR_RELAY_HTTP);
  assert_int_equal(why.peer_code, 404);
  assert_non_null(strstr(why.text, "404"));
  lab_relay moved = {.raw_answer = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n"
                                   "Content-Length: 0\r\n\r\n"};
  why = fail_with(&moved);
  assert_int_equal(why.code, KM_ERR_RELAY_HTTP);
  assert_int_equal(why.peer_code, 302);
  lab_relay denied = {.raw_answer = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"};
  why = fail_with(&denied);
  assert_int_equal(why.peer_code, 401);
}

static void hanging_up_is_no_answer(void **state) {
  (void)state;
  lab_relay r = {.raw_answer = "", .hang_up = true};
  assert_int_equal(fail_with(&r).code, KM_ERR_RELAY_HTTP);
}

static void an_unknown_sub_protocol_is_refused(void **state) {
  (void)state;
  static const char *const wrong[] = {"iroh-relay-v3", "iroh-relay-v", "chat", ""};
  for (size_t i = 0; i < COUNT_OF(wrong); i++) {
    lab_relay r = {.protocol = wrong[i]};
    assert_int_equal(fail_with(&r).code, KM_ERR_RELAY_PROTOCOL);
  }
}

static void a_denial_has_its_reason(void **state) {
  (void)state;
  lab_relay r = {.deny = "not au\x1b[31mthorized"};
  km_errinfo why = fail_with(&r);
  assert_int_equal(why.code, KM_ERR_RELAY_DENIED);
  assert_non_null(strstr(why.text, "not au?[31mthorized"));
}

static void a_second_challenge_is_not_answered(void **state) {
  (void)state;
  lab_relay r = {.same_challenge = true, .unconfirmed = true};
  assert_int_equal(fail_with(&r).code, KM_ERR_RELAY_PROTOCOL);
  assert_in_range(r.by_challenge, 0, 1); /* the first one's answer may die with the connection */
}

/* --- relays that mean harm ------------------------------------------------------------------- */

/* What people read has to be a line of text. */
static void check_sentence(const char *what, const km_errinfo *why) {
  bool clean = why->text[0] != '\0';
  for (const char *at = why->text; *at != '\0'; at++) {
    clean = clean && (uint8_t)*at >= ' ' && (uint8_t)*at < 0x7f;
  }
  if (!clean) {
    fail_msg("%s: '%s'", what, why->text);
  }
}

/* `count` times `piece`, after `start`. */
static char *repeat(const char *start, const char *piece, size_t count) {
  size_t len = strlen(start), step = strlen(piece);
  char *text = malloc(len + count * step + 1);
  assert_non_null(text);
  memcpy(text, start, len);
  for (size_t i = 0; i < count; i++) {
    memcpy(text + len + i * step, piece, step);
  }
  text[len + count * step] = '\0';
  return text;
}

static void answers_have_a_limit(void **state) {
  (void)state;
  static const struct {
    const char *what, *start, *piece;
  } cases[] = {
      {"headers without end", "HTTP/1.1 101 Switching Protocols\r\n", "X-More: and more\r\n"},
      {"a header without end", "HTTP/1.1 101 Switching Protocols\r\nX-Long: ", "longer, "},
      {"a name without end", "HTTP/1.1 101 Switching Protocols\r\n", "X-Name-"},
      {"a protocol without end", "HTTP/1.1 101 A\r\nSec-WebSocket-Protocol: ", "iroh-relay-v2, "},
      {"a reason without end", "HTTP/1.1 101 ", "because "},
      {"a number without end", "HTTP/1.1 ", "1"},
      {"blank lines without end", "", "\r\n"},
      {"bytes of no meaning", "\x01\x80\xff\x16\x03", "\xfe\x01"},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    char *text = repeat(cases[i].start, cases[i].piece, 20000);
    lab_relay r = {.raw_answer = text};
    km_errinfo why = fail_with(&r);
    check_sentence(cases[i].what, &why);
    if (why.code != KM_ERR_RELAY_HTTP) {
      fail_msg("%s: %d %s", cases[i].what, why.code, why.text);
    }
    free(text);
  }
}

/* RFC 6455 section 5: what no server may send. */
static void broken_websocket_ends_the_connection(void **state) {
  (void)state;
  static const struct {
    const char *what, *bytes;
    size_t len;
  } cases[] = {
      {"an opcode that is reserved", "\x83\x01x", 3},
      {"a control opcode that is reserved", "\x8b\x01x", 3},
      {"a bit that is reserved", "\xc2\x01x", 3},
      {"a mask", "\x82\x81mask\x01", 7},
      {"a length of 2^63", "\x82\x7f\x80\0\0\0\0\0\0\0xxxxxxxx", 18},
      {"more of nothing", "\x80\x03xyz", 5},
      {"a ping in pieces", "\x09\x01x", 3},
      {"a ping of 126 bytes", "\x89\x7e\0\x7e", 4},
      {"a close frame with a bad code", "\x88\x02\0\x01", 4},
      {"a close frame of one byte", "\x88\x01\x03", 3},
      {"a second message in the middle of one", "\x02\x02\x06x\x82\x01x", 7},
      {"a close frame", "\x88\x02\x03\xe9", 4},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    lab_relay r = {0};
    lab_client l = {0};
    char url[256];
    lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
    lab_client_open(&l, NULL, NULL);
    lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
    LAB_WAIT_FOR(r.pings == 1);
    lab_relay_put(&r, cases[i].bytes, cases[i].len);
    for (int n = 0; n < 100 && !has_failed(&l); n++) {
      km_loop_run_once(lab_loop, 20);
    }
    if (!has_failed(&l)) {
      fail_msg("%s does no harm", cases[i].what);
    }
    check_sentence(cases[i].what, &l.why);
    assert_int_equal(l.batches, 0);
    lab_client_close(&l);
    lab_relay_close(&r);
  }
}

/* A length that is not to be had; it is seen once there are as many bytes as a message may have. */
static void great_lengths_are_refused(void **state) {
  (void)state;
  static const char *const lengths[] = {"\x40\0\0\0\0\0\0\0", "\0\0\0\x01\0\0\0\0",
                                        "\0\0\0\0\0\x02\0\0"};
  for (size_t i = 0; i < COUNT_OF(lengths); i++) {
    lab_relay r = {0};
    lab_client l = {0};
    char url[256], bytes[1000] = {KM_RELAY_TO_CLIENT};
    lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
    lab_client_open(&l, NULL, NULL);
    lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
    LAB_WAIT_FOR(r.pings == 1);
    lab_relay_put(&r, "\x82\x7f", 2);
    lab_relay_put(&r, lengths[i], 8);
    for (int n = 0; n < 70 && !has_failed(&l); n++) {
      lab_relay_put(&r, bytes, sizeof bytes);
      km_loop_run_once(lab_loop, 1);
    }
    LAB_WAIT_FOR(has_failed(&l));
    assert_int_equal(l.why.code, KM_ERR_RELAY_PROTOCOL);
    assert_int_equal(l.batches, 0);
    lab_client_close(&l);
    lab_relay_close(&r);
  }
}

/* Pieces that never come to an end take no more memory than a message may. */
static void pieces_have_a_limit(void **state) {
  (void)state;
  static const struct {
    const char *what, *first, *more;
    size_t first_len, more_len;
  } cases[] = {
      {"pieces without end", "\x02\x02\x06x", "\x00\x05/more", 4, 7},
      {"text without end", "\x01\x02xx", "\x00\x05/more", 4, 7},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    test_env env;
    test_env_init(&env);
    lab_relay r = {0};
    lab_client l = {0};
    char url[256];
    lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
    lab_client_open(&l, &env.env, NULL);
    lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
    LAB_WAIT_FOR(km_relay_client_rtt(l.c) > 0);
    long live = env.live;
    lab_relay_put(&r, cases[i].first, cases[i].first_len);
    for (size_t n = 0; n < 40000 && !has_failed(&l); n++) {
      lab_relay_put(&r, cases[i].more, cases[i].more_len);
      if (n % 50 == 0) {
        km_loop_run_nowait(lab_loop);
        assert_in_range(env.live, 0, live + 1);
      }
    }
    if (cases[i].first[0] == 2) {
      LAB_WAIT_FOR(has_failed(&l));
      assert_int_equal(l.why.code, KM_ERR_RELAY_PROTOCOL);
    } else {
      assert_false(has_failed(&l)); /* text says nothing, however long it is */
    }
    lab_client_close(&l);
    assert_int_equal(env.live, 0);
    lab_relay_close(&r);
  }
}

/* Pings by the thousand, of both kinds, to a client whose answers nobody reads. */
static void floods_take_no_memory(void **state) {
  (void)state;
  test_env env;
  test_env_init(&env);
  lab_relay r = {.deaf = true};
  lab_client l = {0};
  char url[256];
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, &env.env, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
  LAB_WAIT_FOR(is_up(&l));
  for (int i = 0; i < 20; i++) {
    km_loop_run_nowait(lab_loop);
  }
  long live = env.live;
  uint8_t gone[33] = {KM_RELAY_ENDPOINT_GONE};
  memcpy(gone + 1, peer_id.bytes, 32);
  for (unsigned i = 0; i < 20000; i++) {
    lab_relay_send(&r, 2, "\x09\x01\x02\x03\x04\x05\x06\x07\x08", 9);
    lab_relay_send(&r, 9, "websocket", 9);
    lab_relay_send(&r, 2, gone, sizeof gone);
    lab_relay_send(&r, 2, "\x0d\x01", 2);
    if (i % 100 == 0) {
      km_loop_run_nowait(lab_loop);
      assert_in_range(env.live, 0, live + 1);
    }
  }
  LAB_WAIT_FOR(l.gone == 20000);
  assert_false(has_failed(&l));
  lab_client_close(&l);
  assert_int_equal(env.live, 0);
  lab_relay_close(&r);
}

/* --- deadlines ------------------------------------------------------------------------------- */

/* Every way to say nothing, all at once, since each takes the ten seconds of an attempt. */
static void every_step_has_a_deadline(void **state) {
  (void)state;
  static const char slow[] = "HTTP/1.1 101 Switching Protocols\r\n";
  struct {
    const char *what, *says;
    lab_relay r;
    lab_client l;
    const char *scheme;
  } cases[] = {
      {"does not accept", "no connection", {0}, {0}, "http"},
      {"says nothing", "no connection", {.silent = true}, {0}, "http"},
      {"says nothing of TLS", "no connection", {.silent = true}, {0}, "https"},
      {"a byte now and then", "no connection", {.raw_answer = slow, .drip_ms = 300}, {0}, "http"},
      {"does not confirm", "handshake", {.unconfirmed = true}, {0}, "http"},
      {"a proxy says nothing", "no connection", {.silent = true}, {0}, "proxy"},
  };
  char url[256];
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    lab_relay_open(&cases[i].r, "127.0.0.1", 0, NULL, NULL);
    lab_relay_hang(&cases[i].r, i == 0);
    lab_client_open(&cases[i].l, NULL, NULL);
    bool proxied = strcmp(cases[i].scheme, "proxy") == 0;
    lab_url(url, proxied ? "http" : cases[i].scheme, "127.0.0.1", cases[i].r.port);
    if (proxied) {
      setenv("http_proxy", url, 1);
    }
    lab_client_dial(&cases[i].l, proxied ? "http://relay.test/" : url);
    unsetenv("http_proxy");
  }
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    LAB_WAIT_FOR(has_failed(&cases[i].l));
    assert_false(is_up(&cases[i].l));
    check_sentence(cases[i].what, &cases[i].l.why);
    assert_int_equal(cases[i].l.why.code, KM_ERR_RELAY_UNREACHABLE);
    if (strstr(cases[i].l.why.text, cases[i].says) == NULL) {
      fail_msg("%s: %s", cases[i].what, cases[i].l.why.text);
    }
    lab_client_close(&cases[i].l);
    lab_relay_close(&cases[i].r);
  }
}

/* Whoever does not read cannot keep the connection, nor its descriptor, by not reading. */
static void leaving_does_not_wait_for_the_relay(void **state) {
  (void)state;
  lab_relay r = {.deaf = true};
  lab_client l = {0};
  char url[256];
  size_t sent = 0;
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, NULL, NULL);
  km_loop_run_nowait(lab_loop);
  unsigned before = count_fds();
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
  LAB_WAIT_FOR(is_up(&l));
  fill_queue(&l, &sent);
  km_relay_client_free(l.c);
  l.c = NULL;
  LAB_WAIT_FOR(count_fds() == before + 1); /* the relay's end */
  lab_relay_drop(&r);
  assert_int_equal(count_fds(), before);
  lab_client_close(&l);
  lab_relay_close(&r);
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
    LAB_WAIT_FOR(has_failed(&l));
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
  assert_false(has_failed(&l));
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
  LAB_WAIT_FOR(has_failed(&l));
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
  LAB_WAIT_FOR(is_up(&l));
  km_relay_client_check(l.c, 200 * KM_NS_PER_MS);
  km_ts asked = km_clock_now();
  LAB_WAIT_FOR(has_failed(&l));
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
  km_relay_client_network_changed(l.c); /* drops the back-off */
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

static void a_full_queue_may_find_the_connection_broken(void **state) {
  (void)state;
  lab_relay r = {.deaf = true};
  lab_client l = {0};
  char url[256];
  size_t sent = 0;
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, NULL, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
  LAB_WAIT_FOR(is_up(&l));
  fill_queue(&l, &sent);
  r.deaf = false;
  lab_relay_drop(&r);
  LAB_WAIT_FOR(l.states[KM_RELAY_CLIENT_CONNECTED] == 2);
  LAB_WAIT_FOR(l.writable > 0); /* the refused one is told of the new connection's room */
  assert_int_equal(r.datagrams, 0);
  lab_client_close(&l);
  lab_relay_close(&r);
}

static void a_full_queue_refuses_and_calls_back(void **state) {
  (void)state;
  lab_relay r = {.deaf = true};
  lab_client l = {0};
  char url[256];
  uint8_t data[30000];
  memset(data, 1, sizeof data);
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, NULL, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
  LAB_WAIT_FOR(is_up(&l));
  size_t sent = 0;
  fill_queue(&l, &sent);
  assert_int_equal(km_relay_client_send(l.c, &peer_id, 0, data, sizeof data, 1000), KM_ERR_AGAIN);
  for (int i = 0; i < 5; i++) {
    km_loop_run_nowait(lab_loop);
  }
  assert_int_equal(l.writable, 0);
  r.deaf = false;
  for (size_t i = 0; i < LAB_CONNS; i++) {
    if (r.conns[i].fd >= 0) {
      assert_int_equal(km_poll_set(r.conns[i].poll, KM_POLL_READ), 0);
    }
  }
  LAB_WAIT_FOR(l.writable > 0);
  LAB_WAIT_FOR(r.datagrams == sent); /* nothing that was taken is lost, in one piece each */
  assert_int_equal(r.datagram_bytes, sent * sizeof data);
  assert_int_equal(km_relay_client_send(l.c, &peer_id, 0, data, 1000, 1000), 0);
  LAB_WAIT_FOR(r.datagrams == sent + 1);
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

static void gives_back_all_memory(void **state) {
  (void)state;
  test_env env;
  test_env_init(&env);
  lab_relay r = {.echo = true};
  lab_client l = {0};
  char url[256];
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, &env.env, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
  LAB_WAIT_FOR(km_relay_client_rtt(l.c) > 0);
  long live = env.live;
  uint8_t data[1200] = {1};
  for (unsigned i = 1; i <= 500; i++) {
    assert_int_equal(km_relay_client_send(l.c, &peer_id, 0, data, sizeof data, sizeof data), 0);
    LAB_WAIT_FOR(l.batches == i);
  }
  assert_int_equal(env.live, live); /* packets take none */
  lab_client_close(&l);
  assert_int_equal(env.live, 0);
  lab_relay_close(&r);
}

static void survives_want_of_memory(void **state) {
  (void)state;
  lab_relay r = {0};
  char url[256];
  km_secret_key *key;
  assert_int_equal(km_secret_key_generate(&key), 0);
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_url(url, "http", "127.0.0.1", r.port);
  bool done = false;
  for (long n = 0; !done; n++) {
    assert_true(n < 100);
    test_env env;
    test_env_init(&env);
    env.fail_after = n;
    const km_relay_clients_config config = {
        .env = &env.env, .loop = lab_loop, .key = key, .user_agent = "lab"};
    lab_client l = {0};
    const km_relay_client_callbacks cb = {.ctx = &l};
    km_errinfo err;
    int rv = km_relay_clients_new(&l.all, &config, &err);
    rv = rv == 0 ? km_relay_client_new(&l.c, l.all, url, &cb, &err) : rv;
    done = rv == 0;
    if (!done) {
      assert_true(rv == KM_ERR_NOMEM || rv == KM_ERR_SYSTEM);
    }
    km_relay_client_free(l.c);
    km_relay_clients_free(l.all);
    assert_int_equal(env.live, 0);
  }
  km_secret_key_free(key);
  lab_relay_close(&r);
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
  peer_id = some_peer();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(connects_and_pings_at_once),
      cmocka_unit_test(keeps_the_token_and_speaks_version_1),
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
      cmocka_unit_test(answers_have_a_limit),
      cmocka_unit_test(broken_websocket_ends_the_connection),
      cmocka_unit_test(great_lengths_are_refused),
      cmocka_unit_test(pieces_have_a_limit),
      cmocka_unit_test(floods_take_no_memory),
      cmocka_unit_test(every_step_has_a_deadline),
      cmocka_unit_test(leaving_does_not_wait_for_the_relay),
      cmocka_unit_test(bad_messages_end_the_connection),
      cmocka_unit_test(tolerates_what_iroh_tolerates),
      cmocka_unit_test(messages_have_a_limit),
      cmocka_unit_test(a_message_may_come_in_pieces),
      cmocka_unit_test(a_relay_without_pongs_is_given_up),
      cmocka_unit_test(a_killed_relay_is_dialled_again),
      cmocka_unit_test(a_send_may_find_the_connection_broken),
      cmocka_unit_test(a_full_queue_may_find_the_connection_broken),
      cmocka_unit_test(a_full_queue_refuses_and_calls_back),
      cmocka_unit_test(may_be_freed_in_on_state),
      cmocka_unit_test(may_be_freed_at_any_time),
      cmocka_unit_test(gives_back_all_memory),
      cmocka_unit_test(survives_want_of_memory),
      cmocka_unit_test(bad_urls_are_refused),
  };
  return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
