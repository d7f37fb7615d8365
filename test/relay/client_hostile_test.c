/* The relay client and relays that mean harm: whatever they send or do not send is bounded, in
 * memory and in time, and ends with a sentence. */
#include "test/relay/client_lab.h"

static km_id peer_id;

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
    km_errinfo why = lab_fail_with(&r);
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
    for (int n = 0; n < 100 && !lab_has_failed(&l); n++) {
      km_loop_run_once(lab_loop, 20);
    }
    if (!lab_has_failed(&l)) {
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
    for (int n = 0; n < 70 && !lab_has_failed(&l); n++) {
      lab_relay_put(&r, bytes, sizeof bytes);
      km_loop_run_once(lab_loop, 1);
    }
    LAB_WAIT_FOR(lab_has_failed(&l));
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
    for (size_t n = 0; n < 40000 && !lab_has_failed(&l); n++) {
      lab_relay_put(&r, cases[i].more, cases[i].more_len);
      if (n % 50 == 0) {
        km_loop_run_nowait(lab_loop);
        assert_in_range(env.live, 0, live + 1);
      }
    }
    if (cases[i].first[0] == 2) {
      LAB_WAIT_FOR(lab_has_failed(&l));
      assert_int_equal(l.why.code, KM_ERR_RELAY_PROTOCOL);
    } else {
      assert_false(lab_has_failed(&l)); /* text says nothing, however long it is */
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
  LAB_WAIT_FOR(lab_is_up(&l));
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
  assert_false(lab_has_failed(&l));
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
    LAB_WAIT_FOR(lab_has_failed(&cases[i].l));
    assert_false(lab_is_up(&cases[i].l));
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
  unsigned before = lab_count_fds();
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
  LAB_WAIT_FOR(lab_is_up(&l));
  lab_fill_queue(&l, &sent);
  km_relay_client_free(l.c);
  l.c = NULL;
  LAB_WAIT_FOR(lab_count_fds() == before + 1); /* the relay's end */
  lab_relay_drop(&r);
  assert_int_equal(lab_count_fds(), before);
  lab_client_close(&l);
  lab_relay_close(&r);
}

int main(void) {
  peer_id = lab_peer();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(answers_have_a_limit),
      cmocka_unit_test(broken_websocket_ends_the_connection),
      cmocka_unit_test(great_lengths_are_refused),
      cmocka_unit_test(pieces_have_a_limit),
      cmocka_unit_test(floods_take_no_memory),
      cmocka_unit_test(every_step_has_a_deadline),
      cmocka_unit_test(leaving_does_not_wait_for_the_relay),
  };
  return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
