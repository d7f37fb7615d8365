/* The relay server and those who mean it harm: whatever they do ends their own connection, and two
 * others go on exchanging packets all the while. */
#include "test/relay/server_lab.h"

#include <unistd.h>

static lab_server server;
static lab_raw good[2];

static int setup(void **state) {
  (void)state;
  lab_server_init(&server);
  server.config.limits.establish_timeout_ms = 300000; /* however slow this machine is */
  lab_server_open(&server);
  for (int i = 0; i < 2; i++) {
    good[i] = (lab_raw){0};
    lab_raw_login(&good[i], server.port, i == 0 ? KM_RELAY_V2 : KM_RELAY_V1);
  }
  return 0;
}

static int teardown(void **state) {
  (void)state;
  lab_raw_exchange(&good[0], &good[1]);
  LAB_WAIT_FOR(lab_stats(&server).connections == 2);
  assert_int_equal(lab_stats(&server).queued_bytes, 0);
  assert_int_equal(lab_stats(&server).partial_bytes, 0);
  lab_raw_close(&good[0]);
  lab_raw_close(&good[1]);
  lab_server_close(&server);
  return 0;
}

/* --- upgrades -------------------------------------------------------------------------------- */

#define UP "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define KEY "Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define PROTOCOL "Sec-WebSocket-Protocol: iroh-relay-v2\r\n"

static void bad_upgrades_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *request;
    int status; /* 0: closed without a word */
  } cases[] = {
      {"GET /relay HTTP/1.1\r\nHost: a\r\n" UP KEY PROTOCOL "Sec-WebSocket-Version: 12\r\n\r\n",
       400},
      {"GET /relay HTTP/1.1\r\nHost: a\r\n" UP KEY PROTOCOL "Sec-WebSocket-Version: 130\r\n\r\n",
       400},
      {"GET /relay HTTP/1.1\r\nHost: a\r\n" UP KEY PROTOCOL "\r\n", 400},
      {"GET /relay HTTP/1.1\r\nHost: a\r\n" UP VERSION PROTOCOL "\r\n", 400},
      {"GET /relay HTTP/1.1\r\nHost: a\r\n" UP VERSION PROTOCOL "Sec-WebSocket-Key: AAEC\r\n\r\n",
       400},
      {"GET /relay HTTP/1.1\r\nHost: a\r\n" UP KEY VERSION "\r\n", 400},
      {"GET /relay HTTP/1.1\r\nHost: a\r\n" UP KEY VERSION "Sec-WebSocket-Protocol: chat\r\n\r\n",
       400},
      {"GET /relay HTTP/1.1\r\nHost: a\r\n" UP KEY VERSION
       "Sec-WebSocket-Protocol: Iroh-Relay-v2\r\n\r\n",
       400},
      {"GET /relay HTTP/1.1\r\nHost: a\r\n" UP KEY VERSION "Sec-WebSocket-Protocol: (http)\r\n\r\n",
       400},
      {"GET /relay HTTP/1.1\r\nHost: a\r\n" UP KEY VERSION
       "Sec-WebSocket-Protocol: iroh-relay-v2, a/b\r\n\r\n",
       400},
      {"GET /relay HTTP/1.1\r\nHost: a\r\n" UP KEY VERSION "Sec-WebSocket-Protocol: iroh-relay-v2, "
       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"
       "\r\n",
       400},
      {"GET /relay HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n" KEY VERSION PROTOCOL "\r\n", 400},
      {"GET /relay HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: close\r\n" KEY VERSION
           PROTOCOL "\r\n",
       400},
      {"GET /relay HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n" KEY VERSION
           PROTOCOL "\r\n",
       400},
      {"GET /relay HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n" KEY VERSION PROTOCOL "\r\n",
       400},
      {"GET /relay HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 400},
      {"GET /ping HTTP/1.1\r\nHost: a\r\n" UP KEY VERSION PROTOCOL "\r\n", 400},
      {"GET /relay2 HTTP/1.1\r\nHost: a\r\n" UP KEY VERSION PROTOCOL "\r\n", 400},
      {"POST /relay HTTP/1.1\r\nHost: a\r\n" UP KEY VERSION PROTOCOL "\r\n", 0},
      {"GET /relay HTTP/1.1\r\n" UP KEY VERSION PROTOCOL "\r\n", 400}, /* no host */
  };
  uint64_t bad = 0;
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    lab_raw r = {0};
    lab_raw_open(&r, server.port, 0);
    assert_true(lab_raw_text(&r, cases[i].request));
    int status = lab_raw_status(&r);
    if (status != cases[i].status) {
      fail_msg("case %zu: %d", i, status);
    }
    if (status == 0) {
      lab_raw_await_end(&r);
    }
    lab_raw_close(&r);
    assert_int_equal(lab_stats(&server).bad_upgrades, ++bad);
  }
}

/* libwebsockets answers upgrades it has never heard of itself. */
static void an_unknown_upgrade_is_refused(void **state) {
  (void)state;
  lab_raw r = {0};
  lab_raw_open(&r, server.port, 0);
  assert_true(lab_raw_text(&r, "GET /relay HTTP/1.1\r\nHost: a\r\nUpgrade: gopher\r\n"
                               "Connection: Upgrade\r\n\r\n"));
  assert_int_equal(lab_raw_status(&r), 403);
  lab_raw_await_end(&r);
  assert_int_equal(r.rx_len, 0); /* one answer */
  lab_raw_close(&r);
}

static void noise_instead_of_http(void **state) {
  (void)state;
  static const char *const noise[] = {"\x16\x03\x01\x02",
                                      "\r\n\r\n\r\n",
                                      "GET\r\n\r\n",
                                      "NONSENSE / HTTP/1.1\r\n\r\n",
                                      "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
                                      "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
                                      "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
                                      "GET /../../x HTTP/1.1\r\nHost: a\r\n\r\n",
                                      "GET ///////// HTTP/9.9\r\nHost: a\r\n\r\n"};
  for (size_t i = 0; i < COUNT_OF(noise); i++) {
    lab_raw r = {0};
    lab_raw_open(&r, server.port, 0);
    (void)lab_raw_text(&r, noise[i]);
    for (int n = 0; n < 20 && !r.ended; n++) {
      km_loop_run_once(lab_loop, 1);
    }
    lab_raw_close(&r);
    lab_raw_exchange(&good[0], &good[1]);
  }
  uint8_t junk[3000];
  for (int i = 0; i < 50; i++) {
    lab_raw r = {0};
    lab_raw_open(&r, server.port, 0);
    km_env_random(&km_env_system, junk, sizeof junk);
    (void)lab_raw_put(&r, junk, sizeof junk);
    lab_raw_close(&r);
    lab_raw_exchange(&good[0], &good[1]);
  }
}

/* --- logins ---------------------------------------------------------------------------------- */

static void open_until_challenge(lab_raw *r) {
  *r = (lab_raw){0};
  lab_raw_open(r, server.port, 0);
  lab_raw_key(r, NULL);
  assert_int_equal(lab_raw_upgrade(r, "iroh-relay-v2", ""), 101);
  lab_raw_await_challenge(r);
}

static void expect_denial(lab_raw *r, const char *reason) {
  unsigned opcode;
  const uint8_t *msg;
  size_t len;
  km_relay_frame f;
  assert_true(lab_raw_next(r, &opcode, &msg, &len));
  assert_int_equal(km_relay_frame_read_handshake(&f, KM_RELAY_READ_CLIENT, msg, len, NULL), 0);
  assert_int_equal(f.type, KM_RELAY_SERVER_DENIES);
  assert_int_equal(f.len, strlen(reason));
  assert_memory_equal(f.data, reason, f.len);
  lab_raw_await_end(r);
}

static void a_replayed_proof_is_none(void **state) {
  (void)state;
  lab_raw first, second;
  open_until_challenge(&first);
  open_until_challenge(&second);
  assert_memory_not_equal(first.challenge, second.challenge, sizeof first.challenge);
  memcpy(second.challenge, first.challenge, sizeof first.challenge);
  lab_raw_prove(&second); /* as it was heard on the first */
  expect_denial(&second, "signature invalid");
  /* Somebody else's id, with a signature of one's own. */
  lab_raw third;
  open_until_challenge(&third);
  third.id = good[0].id;
  lab_raw_prove(&third);
  expect_denial(&third, "signature invalid");
  assert_int_equal(lab_stats(&server).logins_failed, 2);
  assert_int_equal(lab_stats(&server).clients, 2);
  lab_raw_close(&first);
  lab_raw_close(&second);
  lab_raw_close(&third);
}

static void wrong_messages_instead_of_a_proof(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t len;
  } cases[] = {{"", 0},
               {"\x01", 1},
               {"\x00", 17},
               {"\x02", 1},
               {"\x03\x01x", 3},
               {"\x09"
                "12345678",
                9},
               {"\x04", 60},
               {"\x40", 1},
               {"\xff", 1}};
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    lab_raw r;
    char msg[128] = {0};
    memcpy(msg, cases[i].bytes, cases[i].len < 17 ? cases[i].len : 1);
    open_until_challenge(&r);
    (void)lab_raw_frame(&r, 0x82, msg, cases[i].len);
    lab_raw_await_end(&r);
    assert_int_equal(r.rx_len, 0); /* without a word */
    lab_raw_close(&r);
    assert_int_equal(lab_stats(&server).logins_failed, i + 1);
  }
  lab_raw r; /* a proof, and something behind it */
  open_until_challenge(&r);
  uint8_t msg[99] = {1};
  memcpy(msg + 1, r.id.bytes, 32);
  msg[33] = 64;
  km_relay_challenge_sign(msg + 34, r.key, r.challenge);
  (void)lab_raw_frame(&r, 0x82, msg, 99);
  lab_raw_await_end(&r);
  lab_raw_close(&r);
  assert_int_equal(lab_stats(&server).clients, 2);
}

static void a_flood_without_a_login_changes_nothing(void **state) {
  (void)state;
  enum { ROUNDS = 200 };
  size_t before = server.memory.bytes;
  for (int i = 0; i < ROUNDS; i++) {
    lab_raw r;
    open_until_challenge(&r);
    for (int n = 0; n < 20; n++) { /* packets, as if it were in */
      (void)lab_raw_send_to(&r, &good[0].id, "let me in");
    }
    if (i % 2 == 0) {
      lab_raw_await_end(&r);
    }
    lab_raw_reset(&r);
    lab_raw_exchange(&good[0], &good[1]);
  }
  LAB_WAIT_FOR(lab_stats(&server).connections == 2);
  assert_int_equal(lab_stats(&server).upgrades_v2, ROUNDS + 1);
  assert_int_equal(lab_stats(&server).logins_challenge, 2);
  assert_true(lab_stats(&server).logins_failed >= ROUNDS / 2);
  assert_in_range(server.memory.bytes, 1, before + 300000); /* spare blocks at most */
}

/* --- after the login ------------------------------------------------------------------------- */

static void oversized_messages_end_it(void **state) {
  (void)state;
  static uint8_t big[70000] = {KM_RELAY_TO_RELAY};
  memcpy(big + 1, good[0].id.bytes, 32);
  static const struct {
    size_t len, pieces;
    bool taken;
  } cases[] = {{65537, 1, true}, {65538, 1, false}, {70000, 1, false},
               {65537, 7, true}, {65538, 7, false}, {70000, 700, false}};
  uint64_t bad = 0;
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    lab_raw r = {0};
    lab_raw_login(&r, server.port, KM_RELAY_V2);
    size_t piece = (cases[i].len + cases[i].pieces - 1) / cases[i].pieces;
    for (size_t at = 0; at < cases[i].len; at += piece) {
      bool last = at + piece >= cases[i].len;
      (void)lab_raw_frame(&r, (at == 0 ? 2u : 0u) | (last ? 0x80u : 0u), big + at,
                          last ? cases[i].len - at : piece);
    }
    if (cases[i].taken) {
      km_relay_frame f = lab_raw_expect(&good[0], KM_RELAY_TO_CLIENT);
      assert_int_equal(f.len, cases[i].len - 34);
      assert_true(km_id_equal(&f.peer, &r.id));
    } else {
      lab_raw_await_end(&r);
      bad++;
    }
    lab_raw_close(&r);
    assert_int_equal(lab_stats(&server).bad_messages, bad);
    if (cases[i].taken) {
      lab_raw_expect(&good[0], KM_RELAY_ENDPOINT_GONE);
    }
    lab_raw_exchange(&good[0], &good[1]);
  }
  /* A length of 2^63 - 1, and as much as is let through of it. */
  lab_raw r = {0};
  lab_raw_login(&r, server.port, KM_RELAY_V2);
  assert_true(lab_raw_put(&r, "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 14));
  while (lab_raw_put(&r, big, sizeof big)) {
    km_loop_run_once(lab_loop, 0);
  }
  lab_raw_await_end(&r);
  lab_raw_close(&r);
}

static void garbage_after_the_login_ends_it(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t len;
  } cases[] = {
      {"\xf2\x81\0\0\0\0x", 7},      /* reserved bits */
      {"\x83\x81\0\0\0\0x", 7},      /* reserved opcode */
      {"\x00\x81\0\0\0\0x", 7},      /* a continuation of nothing */
      {"\x82\x80\0\0\0\0", 6},       /* an empty message */
      {"\x82\x81\0\0\0\0\x0e", 7},   /* an unknown frame type */
      {"\x82\x82\0\0\0\0\x0d\0", 8}, /* one that only servers send */
      {"\x82\x88\0\0\0\0\x09"
       "1234567",
       14},                            /* a ping that is too short */
      {"\x89\xfe\xff\xff\0\0\0\0", 8}, /* a WebSocket ping of 65,535 bytes */
      {"GET /relay HTTP/1.1\r\n\r\n", 23},
      {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 16},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    lab_raw r = {0};
    lab_raw_login(&r, server.port, KM_RELAY_V2);
    unsigned opcode = 0;
    const uint8_t *msg;
    size_t len;
    assert_true(lab_raw_put(&r, cases[i].bytes, cases[i].len));
    while (opcode != 8 && lab_raw_next(&r, &opcode, &msg, &len)) {
      assert_true(opcode == 8 || opcode == 2); /* a goodbye, or the end right away */
    }
    lab_raw_close(&r);
    lab_raw_exchange(&good[0], &good[1]);
  }
  assert_int_equal(lab_stats(&server).bad_messages, 4);
  assert_int_equal(lab_stats(&server).disconnects, COUNT_OF(cases));
  uint8_t junk[2000];
  for (int i = 0; i < 100; i++) {
    lab_raw r = {0};
    lab_raw_login(&r, server.port, KM_RELAY_V2);
    km_env_random(&km_env_system, junk, sizeof junk);
    (void)lab_raw_put(&r, junk, sizeof junk);
    lab_raw_close(&r);
    lab_raw_exchange(&good[0], &good[1]);
  }
}

static void what_is_odd_but_allowed_is_tolerated(void **state) {
  (void)state;
  lab_raw r = {0};
  unsigned opcode;
  const uint8_t *msg;
  size_t len;
  lab_raw_login(&r, server.port, KM_RELAY_V2);
  assert_true(lab_raw_frame(&r, 0x81, "text says nothing", 17));
  assert_true(lab_raw_frame(&r, 0x01, "nor in ", 7));
  assert_true(lab_raw_frame(&r, 0x80, "parts", 5));
  assert_true(lab_raw_frame(&r, 0x89, "are you there?", 14));
  assert_true(lab_raw_next(&r, &opcode, &msg, &len));
  assert_int_equal(opcode, 10);
  assert_int_equal(len, 14);
  assert_memory_equal(msg, "are you there?", 14);
  assert_true(lab_raw_frame(&r, 0x8a, "unasked", 7));
  /* A message in fragments, a control frame between them, in segments of one byte each. */
  uint8_t frame[64] = {0x02, 0x80 | 33, 0, 0, 0, 0, KM_RELAY_TO_RELAY};
  memcpy(frame + 7, r.id.bytes, 32);
  for (int i = 0; i < 39; i++) {
    assert_true(lab_raw_put(&r, &frame[i], 1));
    km_loop_run_once(lab_loop, 0);
  }
  assert_true(lab_raw_put(&r, "\x89\x80\0\0\0\0", 6));
  assert_true(lab_raw_put(&r,
                          "\x80\x84\0\0\0\0\x02"
                          "abc",
                          10));
  bool ponged = false, echoed = false;
  while (!ponged || !echoed) { /* in either order */
    assert_true(lab_raw_next(&r, &opcode, &msg, &len));
    if (opcode == 10) {
      assert_int_equal(len, 0);
      ponged = true;
    } else {
      static const uint8_t rest[] = {2, 'a', 'b', 'c'};
      assert_int_equal(len, 33 + sizeof rest);
      assert_int_equal(msg[0], KM_RELAY_TO_CLIENT);
      assert_memory_equal(msg + 1, r.id.bytes, 32);
      assert_memory_equal(msg + 33, rest, sizeof rest);
      echoed = true;
    }
  }
  /* A goodbye is answered. */
  assert_true(lab_raw_frame(&r, 0x88, "\x03\xe8", 2));
  assert_true(lab_raw_next(&r, &opcode, &msg, &len));
  assert_int_equal(opcode, 8);
  lab_raw_await_end(&r);
  lab_raw_close(&r);
}

/* --- many ------------------------------------------------------------------------------------ */

static void a_thousand_connects_disturb_nobody(void **state) {
  (void)state;
  enum { MANY = 1000 };
  if (!lab_many_files()) {
    skip();
  }
  lab_raw *all = calloc(MANY, sizeof *all);
  lab_raw_exchange(&good[0], &good[1]);
  size_t before = server.memory.bytes;
  for (int i = 0; i < MANY; i++) {
    lab_raw_open(&all[i], server.port, 1 + i % 200);
    switch (i % 4) {
    case 0:
      break; /* says nothing */
    case 1:
      (void)lab_raw_text(&all[i], "GET /relay HTTP/1.1\r\nHost: a\r\n");
      break;
    case 2:
      assert_int_equal(lab_raw_upgrade(&all[i], "iroh-relay-v2", ""), 101);
      break;
    default:
      lab_raw_login(&all[i], server.port, KM_RELAY_V2);
      break;
    }
    lab_raw_exchange(&good[0], &good[1]);
    for (int k = 3; i % 100 == 0 && k < i; k += 4) { /* they do not answer pings */
      assert_true(lab_raw_frame(&all[k], 0x82, "\x0a a word", 9));
    }
  }
  LAB_WAIT_FOR(lab_stats(&server).connections == MANY + 2);
  assert_int_equal(lab_stats(&server).clients, MANY / 4 + 2);
  assert_in_range((server.memory.bytes - before) / MANY, 1, 4096);
  for (int i = 0; i < MANY; i++) {
    if (i % 3 == 0) {
      lab_raw_reset(&all[i]);
    } else {
      lab_raw_close(&all[i]);
    }
    if (i % 10 == 0) {
      lab_raw_exchange(&good[0], &good[1]);
    }
  }
  LAB_WAIT_FOR(lab_stats(&server).connections == 2);
  assert_int_equal(lab_stats(&server).refused_limit, 0);
  /* What stays are tables that grew, and spare blocks. */
  assert_in_range(server.memory.bytes, 1, before + 200000);
  free(all);
}

/* One id, again and again: the newest has it, and the others are not leaked. */
static void takeovers_in_a_row(void **state) {
  (void)state;
  enum { MANY = 100 };
  lab_raw *all = calloc(MANY, sizeof *all);
  lab_raw_key(&all[0], NULL);
  for (int i = 0; i < MANY; i++) {
    if (i > 0) {
      lab_raw_key(&all[i], &all[0]);
    }
    lab_raw_login(&all[i], server.port, KM_RELAY_V2);
    lab_raw_exchange(&good[0], &all[i]);
    if (i > 0) {
      assert_int_equal(lab_raw_expect(&all[i - 1], KM_RELAY_STATUS).status, KM_RELAY_SAME_ID);
    }
  }
  assert_int_equal(lab_stats(&server).replaced, MANY - 1);
  assert_int_equal(lab_stats(&server).ids, 3);
  for (int i = 0; i < MANY; i += 2) {
    lab_raw_reset(&all[i]);
  }
  LAB_WAIT_FOR(lab_stats(&server).clients == 2 + MANY / 2);
  lab_raw_exchange(&good[0], &all[MANY - 1]);
  for (int i = 1; i < MANY; i += 2) {
    lab_raw_close(&all[i]);
  }
  LAB_WAIT_FOR(lab_stats(&server).clients == 2);
  lab_raw_expect(&good[0], KM_RELAY_ENDPOINT_GONE);
  free(all);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(bad_upgrades_are_refused),
      TEST(an_unknown_upgrade_is_refused),
      TEST(noise_instead_of_http),
      TEST(a_replayed_proof_is_none),
      TEST(wrong_messages_instead_of_a_proof),
      TEST(a_flood_without_a_login_changes_nothing),
      TEST(oversized_messages_end_it),
      TEST(garbage_after_the_login_ends_it),
      TEST(what_is_odd_but_allowed_is_tolerated),
      TEST(a_thousand_connects_disturb_nobody),
      TEST(takeovers_in_a_row),
  };
  return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
