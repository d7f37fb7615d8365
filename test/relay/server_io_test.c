/* The relay server on real sockets, without TLS: what decent clients of both versions get, logins,
 * pages, shutdown. */
#include "test/relay/server_lab.h"

static bool is_up(const lab_client *l) {
  return l->states[KM_RELAY_CLIENT_CONNECTED] > 0;
}

static void dial(lab_client *l, const lab_server *server, const char *query) {
  char url[256], text[300];
  lab_client_open(l, NULL, NULL);
  snprintf(text, sizeof text, "%s%s", lab_url(url, "http", "127.0.0.1", server->port), query);
  lab_client_dial(l, text);
}

static km_id id_of(const lab_client *l) {
  km_id id;
  km_secret_key_id(l->key, &id);
  return id;
}

/* --- relaying -------------------------------------------------------------------------------- */

static void real_clients_exchange_datagrams(void **state) {
  (void)state;
  lab_server server;
  lab_client a = {0}, b = {0};
  static uint8_t data[KM_RELAY_MAX_PAYLOAD];
  memset(data, 0x5a, sizeof data);
  lab_server_init(&server);
  lab_server_open(&server);
  dial(&a, &server, "");
  dial(&b, &server, "");
  LAB_WAIT_FOR(is_up(&a) && is_up(&b));
  km_id id_a = id_of(&a), id_b = id_of(&b);

  assert_int_equal(km_relay_client_send(a.c, &id_b, 2, data, 1200, 1200), 0);
  LAB_WAIT_FOR(b.batches == 1);
  assert_int_equal(b.bytes, 1200);
  assert_int_equal(b.ecn, 2);
  assert_int_equal(b.first, 0x5a);
  assert_true(km_id_equal(&b.peer, &id_a));
  assert_int_equal(km_relay_client_send(b.c, &id_a, 3, data, 12000, 1200), 0);
  LAB_WAIT_FOR(a.batches == 1);
  assert_int_equal(a.bytes, 12000);
  assert_int_equal(a.segment, 1200);
  assert_int_equal(a.ecn, 3);
  assert_int_equal(km_relay_client_send(a.c, &id_b, 0, data, sizeof data, sizeof data), 0);
  LAB_WAIT_FOR(b.batches == 2);
  assert_int_equal(b.bytes, 1200 + sizeof data);

  LAB_WAIT_FOR(km_relay_client_rtt(a.c) > 0 && km_relay_client_rtt(b.c) > 0);
  km_relay_server_stats stats = lab_stats(&server);
  assert_int_equal(stats.clients, 2);
  assert_int_equal(stats.ids, 2);
  assert_int_equal(stats.connections, 2);
  assert_int_equal(stats.accepted, 2);
  assert_int_equal(stats.upgrades_v2, 2);
  assert_int_equal(stats.upgrades_v1, 0);
  assert_int_equal(stats.logins_challenge, 2);
  assert_int_equal(stats.logins_header, 0);
  assert_int_equal(stats.datagrams, 3);
  assert_int_equal(stats.datagram_bytes, 1200 + 12000 + sizeof data);
  assert_int_equal(stats.pings_rx, 2);
  assert_int_equal(stats.messages_rx, 5);
  assert_true(stats.bytes_rx > stats.datagram_bytes && stats.bytes_tx > stats.datagram_bytes);

  lab_client_close(&b);      /* says goodbye */
  LAB_WAIT_FOR(a.gone == 1); /* b had written to it */
  assert_true(km_id_equal(&a.peer, &id_b));
  stats = lab_stats(&server);
  assert_int_equal(stats.gone_sent, 1);
  assert_int_equal(stats.disconnects, 1);
  assert_int_equal(stats.clients, 1);
  assert_int_equal(km_relay_client_send(a.c, &id_b, 0, data, 10, 10), 0);
  LAB_WAIT_FOR(lab_stats(&server).dropped_absent == 1);
  lab_client_close(&a);
  lab_server_close(&server);
}

static void both_versions_reach_each_other(void **state) {
  (void)state;
  lab_server server;
  lab_raw old = {0}, new = {0};
  lab_server_init(&server);
  lab_server_open(&server);
  lab_raw_login(&old, server.port, KM_RELAY_V1);
  lab_raw_login(&new, server.port, KM_RELAY_V2);
  lab_raw_exchange(&old, &new);
  uint8_t segments[2500];
  memset(segments, 7, sizeof segments);
  assert_true(lab_raw_send(&old, (km_relay_frame){.type = KM_RELAY_TO_RELAY_BATCH,
                                                  .peer = new.id,
                                                  .ecn = 1,
                                                  .segment = 1000,
                                                  .data = segments,
                                                  .len = sizeof segments}));
  km_relay_frame f = lab_raw_expect(&new, KM_RELAY_TO_CLIENT_BATCH);
  assert_int_equal(f.segment, 1000);
  assert_int_equal(f.ecn, 1);
  assert_int_equal(f.len, sizeof segments);
  assert_memory_equal(f.data, segments, sizeof segments);
  assert_true(lab_raw_send(
      &new,
      (km_relay_frame){.type = KM_RELAY_PING, .data = (const uint8_t *)"ABCDEFGH", .len = 8}));
  assert_memory_equal(lab_raw_expect(&new, KM_RELAY_PONG).data, "ABCDEFGH", 8);
  assert_int_equal(lab_stats(&server).upgrades_v1, 1);
  assert_int_equal(lab_stats(&server).upgrades_v2, 1);
  lab_raw_close(&old);
  lab_raw_close(&new);
  lab_server_close(&server);
}

static void the_highest_version_is_chosen(void **state) {
  (void)state;
  static const struct {
    const char *offer;
    km_relay_version version;
  } cases[] = {
      {"iroh-relay-v2, iroh-relay-v1", KM_RELAY_V2},
      {"iroh-relay-v1, iroh-relay-v2", KM_RELAY_V2},
      {"iroh-relay-v1,iroh-relay-v2", KM_RELAY_V2},
      {"iroh-relay-v3, iroh-relay-v1 , iroh-relay-v2", KM_RELAY_V2},
      {"http, iroh-relay-v1", KM_RELAY_V1},
      {"iroh-relay-v20, iroh-relay-v1", KM_RELAY_V1},
      {"x\r\nSec-WebSocket-Protocol: iroh-relay-v1\r\nSec-WebSocket-Protocol: iroh-relay-v2",
       KM_RELAY_V2},
  };
  lab_server server;
  lab_server_init(&server);
  lab_server_open(&server);
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    lab_raw r = {0};
    lab_raw_open(&r, server.port, 0);
    assert_int_equal(lab_raw_upgrade(&r, cases[i].offer, ""), 101);
    assert_int_equal(r.version, cases[i].version);
    lab_raw_await_challenge(&r);
    lab_raw_close(&r);
  }
  lab_server_close(&server);
}

static void both_families_are_served(void **state) {
  (void)state;
  static const km_udp_addr binds[] = {{.family = 6}, {.family = 6, .ip = {[15] = 1}}};
  for (size_t i = 0; i < COUNT_OF(binds); i++) {
    lab_server server;
    lab_client six = {0};
    lab_raw four = {0};
    char url[256];
    lab_server_init(&server);
    server.config.http = &binds[i];
    lab_server_open(&server);
    lab_client_open(&six, NULL, NULL);
    lab_client_dial(&six, lab_url(url, "http", "[::1]", server.port));
    LAB_WAIT_FOR(is_up(&six));
    if (i == 0) { /* the wildcard is for IPv4, too */
      lab_raw_login(&four, server.port, KM_RELAY_V2);
      km_id id = id_of(&six);
      assert_true(lab_raw_send_to(&four, &id, "four to six"));
      LAB_WAIT_FOR(six.bytes == 11);
      lab_raw_close(&four);
    }
    lab_client_close(&six);
    lab_server_close(&server);
  }
}

/* --- the same id ----------------------------------------------------------------------------- */

static void the_newest_of_an_id_takes_over(void **state) {
  (void)state;
  lab_server server;
  lab_raw peer = {0}, first = {0}, second = {0};
  lab_server_init(&server);
  lab_server_open(&server);
  lab_raw_login(&peer, server.port, KM_RELAY_V2);
  lab_raw_login(&first, server.port, KM_RELAY_V2);
  lab_raw_exchange(&peer, &first);
  lab_raw_key(&second, &first);
  lab_raw_login(&second, server.port, KM_RELAY_V1);
  assert_int_equal(lab_raw_expect(&first, KM_RELAY_STATUS).status, KM_RELAY_SAME_ID);
  lab_raw_exchange(&peer, &second);
  assert_true(lab_raw_send_to(&first, &peer.id, "still sending"));
  lab_raw_expect_text(&peer, &first.id, "still sending");
  assert_int_equal(lab_stats(&server).replaced, 1);
  assert_int_equal(lab_stats(&server).ids, 2);

  lab_raw_reset(&second); /* is gone without a word */
  assert_int_equal(lab_raw_expect(&first, KM_RELAY_STATUS).status, KM_RELAY_HEALTHY);
  lab_raw_exchange(&peer, &first);

  lab_raw_key(&second, &first);
  lab_raw_close(&first);
  LAB_WAIT_FOR(lab_stats(&server).clients == 1);
  lab_raw_expect(&peer, KM_RELAY_ENDPOINT_GONE);
  lab_raw_login(&second, server.port, KM_RELAY_V1);
  lab_raw_key(&first, &second);
  lab_raw_login(&first, server.port, KM_RELAY_V2);
  assert_true(lab_raw_expect(&second, KM_RELAY_HEALTH).len > 0); /* version 1: in words */
  lab_raw_close(&first);
  assert_int_equal(lab_raw_expect(&second, KM_RELAY_HEALTH).len, 0);
  lab_raw_close(&second);
  lab_raw_close(&peer);
  lab_server_close(&server);
}

static void a_real_client_is_told_of_its_double(void **state) {
  (void)state;
  lab_server server;
  lab_client real = {0};
  lab_server_init(&server);
  lab_server_open(&server);
  dial(&real, &server, "");
  LAB_WAIT_FOR(is_up(&real));
  lab_raw twin = {0};
  assert_int_equal(km_secret_key_copy(&twin.key, real.key), 0);
  twin.id = id_of(&real);
  lab_raw_login(&twin, server.port, KM_RELAY_V2);
  LAB_WAIT_FOR(real.elsewhere == 1);
  lab_raw_close(&twin);
  LAB_WAIT_FOR(real.alone == 1);
  lab_client_close(&real);
  lab_server_close(&server);
}

/* --- who is let in --------------------------------------------------------------------------- */

typedef struct gate {
  km_relay_server *server;
  const char *denial; /* NULL: let in */
  bool later;         /* the test decides */
  uint64_t numbers[8];
  km_id ids[8];
  char tokens[8][64];
  uint8_t last_ip; /* of the remote address */
  unsigned asked;
} gate;

static void on_login(void *ctx, km_relay_server *server, const km_relay_login *login) {
  gate *g = ctx;
  assert_true(g->asked < COUNT_OF(g->numbers));
  g->server = server;
  g->numbers[g->asked] = login->number;
  g->ids[g->asked] = login->id;
  snprintf(g->tokens[g->asked], sizeof g->tokens[0], "%s",
           login->token == NULL ? "(none)" : login->token);
  g->last_ip = login->remote.ip[3];
  g->asked++;
  if (!g->later) {
    km_relay_server_decide(server, login->number, g->denial);
  }
}

static void open_gated(lab_server *server, gate *g) {
  lab_server_init(server);
  server->config.authorize = on_login;
  server->config.ctx = g;
  lab_server_open(server);
}

static void a_denied_client_reads_why(void **state) {
  (void)state;
  lab_server server;
  gate g = {.denial = "not on the list"};
  lab_client real = {0};
  open_gated(&server, &g);
  dial(&real, &server, "");
  LAB_WAIT_FOR(real.states[KM_RELAY_CLIENT_WAITING] > 0);
  assert_int_equal(real.why.code, KM_ERR_RELAY_DENIED);
  assert_non_null(strstr(real.why.text, "not on the list"));
  assert_false(is_up(&real));
  km_id id = id_of(&real);
  assert_true(km_id_equal(&g.ids[0], &id));
  assert_int_equal(g.last_ip, 1);
  lab_client_close(&real);
  LAB_WAIT_FOR(lab_stats(&server).connections == 0);
  assert_int_equal(lab_stats(&server).logins_denied, g.asked);
  assert_int_equal(lab_stats(&server).clients, 0);

  /* One that goes on sending still gets to read it: it is not reset. */
  lab_raw r = {0};
  unsigned opcode;
  const uint8_t *msg;
  size_t len;
  g.later = true;
  g.asked = 0;
  lab_raw_open(&r, server.port, 0);
  lab_raw_key(&r, NULL);
  assert_int_equal(lab_raw_upgrade(&r, "iroh-relay-v2", ""), 101);
  lab_raw_await_challenge(&r);
  lab_raw_prove(&r);
  LAB_WAIT_FOR(g.asked == 1);
  km_relay_server_decide(server.s, g.numbers[0], "no");
  LAB_WAIT_FOR(r.ended); /* the server has said all it says */
  for (int i = 0; i < 10; i++) {
    (void)lab_raw_send_to(&r, &r.id, "more and more");
    km_loop_run_once(lab_loop, 1);
  }
  assert_true(lab_raw_next(&r, &opcode, &msg, &len));
  assert_memory_equal(msg, "\x03\x02no", 4);
  lab_raw_close(&r);
  lab_server_close(&server);
}

static void logins_may_be_decided_later(void **state) {
  (void)state;
  lab_server server;
  gate g = {.later = true};
  lab_raw r[4] = {0};
  open_gated(&server, &g);
  for (unsigned i = 0; i < COUNT_OF(r); i++) {
    lab_raw_open(&r[i], server.port, 0);
    lab_raw_key(&r[i], NULL);
    assert_int_equal(lab_raw_upgrade(&r[i], "iroh-relay-v2", ""), 101);
    lab_raw_await_challenge(&r[i]);
    lab_raw_prove(&r[i]);
    LAB_WAIT_FOR(g.asked == i + 1);
    assert_true(km_id_equal(&g.ids[i], &r[i].id));
  }
  assert_int_equal(lab_stats(&server).clients, 0);
  km_relay_server_decide(server.s, 0, NULL);                /* no such login */
  km_relay_server_decide(server.s, g.numbers[3] + 1, NULL); /* nor this */
  lab_raw_reset(&r[1]);
  LAB_WAIT_FOR(lab_stats(&server).connections == 3);
  km_relay_server_decide(server.s, g.numbers[1], NULL); /* it is gone */
  /* In any order. */
  km_relay_server_decide(server.s, g.numbers[3], NULL);
  km_relay_server_decide(server.s, g.numbers[0], NULL);
  km_relay_server_decide(server.s, g.numbers[0], "too late"); /* decided already */
  km_relay_server_decide(server.s, g.numbers[2], NULL);
  for (unsigned i = 0; i < COUNT_OF(r); i++) {
    unsigned opcode;
    const uint8_t *msg;
    size_t len;
    if (i != 1) {
      assert_true(lab_raw_next(&r[i], &opcode, &msg, &len));
      assert_int_equal(msg[0], KM_RELAY_SERVER_CONFIRMS);
    }
  }
  assert_int_equal(lab_stats(&server).clients, 3);
  lab_raw_exchange(&r[0], &r[3]);
  for (unsigned i = 0; i < COUNT_OF(r); i++) {
    lab_raw_close(&r[i]);
  }
  lab_server_close(&server);
}

static void who_speaks_before_it_is_let_in_is_cut_off(void **state) {
  (void)state;
  lab_server server;
  gate g = {.later = true};
  lab_raw r = {0};
  open_gated(&server, &g);
  lab_raw_open(&r, server.port, 0);
  lab_raw_key(&r, NULL);
  assert_int_equal(lab_raw_upgrade(&r, "iroh-relay-v2", ""), 101);
  lab_raw_await_challenge(&r);
  lab_raw_prove(&r);
  LAB_WAIT_FOR(g.asked == 1);
  (void)lab_raw_send_to(&r, &r.id, "impatient");
  lab_raw_await_end(&r);
  LAB_WAIT_FOR(lab_stats(&server).connections == 0);
  assert_int_equal(lab_stats(&server).logins_failed, 1);
  km_relay_server_decide(server.s, g.numbers[0], NULL);
  assert_int_equal(lab_stats(&server).clients, 0);
  lab_raw_close(&r);
  lab_server_close(&server);
}

static void tokens_come_by_header_or_query(void **state) {
  (void)state;
  static const struct {
    const char *path, *header, *token;
  } cases[] = {
      {"/relay", "", "(none)"},
      {"/relay", "authorization: Bearer sesame\r\n", "sesame"},
      {"/relay", "Authorization: bEaReR sesame\r\n", "sesame"},
      {"/relay?token=open", "", "open"},
      {"/relay?x=1&token=a%20b%2Bc&y=2", "", "a b+c"},
      {"/relay?token=open", "Authorization: Bearer sesame\r\n", "sesame"},
      {"/relay?token=open", "Authorization: Basic c2VzYW1l\r\n", "open"},
      {"/relay?tokens=open", "", "(none)"},
  };
  lab_server server;
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    char request[1024];
    gate g = {0};
    lab_raw r = {0};
    open_gated(&server, &g);
    lab_raw_open(&r, server.port, 0);
    lab_raw_key(&r, NULL);
    snprintf(request, sizeof request,
             "GET %s HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
             "Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\nSec-WebSocket-Version: 13\r\n"
             "Sec-WebSocket-Protocol: iroh-relay-v2\r\n%s\r\n",
             cases[i].path, cases[i].header);
    assert_true(lab_raw_text(&r, request));
    assert_int_equal(lab_raw_status(&r), 101);
    lab_raw_await_challenge(&r);
    lab_raw_prove(&r);
    LAB_WAIT_FOR(g.asked == 1);
    assert_string_equal(g.tokens[0], cases[i].token);
    lab_raw_close(&r);
    lab_server_close(&server);
  }
  for (size_t len = 1023; len <= 1024; len++) { /* a long one, and one that is too long */
    char header[1200] = "Authorization: Bearer ";
    gate long_one = {0};
    lab_raw r = {0};
    size_t at = strlen(header);
    memset(header + at, 'x', len - 7);
    memcpy(header + at + len - 7, "\r\n", 3);
    open_gated(&server, &long_one);
    lab_raw_open(&r, server.port, 0);
    lab_raw_key(&r, NULL);
    assert_int_equal(lab_raw_upgrade(&r, "iroh-relay-v2", header), 101);
    lab_raw_await_challenge(&r);
    lab_raw_prove(&r);
    LAB_WAIT_FOR(long_one.asked == 1);
    assert_int_equal(long_one.tokens[0][0], len == 1023 ? 'x' : '(');
    lab_raw_close(&r);
    lab_server_close(&server);
  }
  gate g = {0};
  lab_client real = {0};
  open_gated(&server, &g);
  dial(&real, &server, "?token=mellon");
  LAB_WAIT_FOR(is_up(&real));
  assert_string_equal(g.tokens[0], "mellon");
  lab_client_close(&real);
  lab_server_close(&server);
}

/* --- pages ----------------------------------------------------------------------------------- */

/* Status of one request on a connection that stays; what comes back is in lab_raw_head's buffer. */
static int get(lab_raw *r, const char *path, const char *more) {
  char request[1024];
  snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n", path, more);
  assert_true(lab_raw_text(r, request));
  return lab_raw_status(r);
}

static void pages_are_served(void **state) {
  (void)state;
  lab_server server;
  lab_raw r = {0};
  lab_server_init(&server);
  lab_server_open(&server);
  lab_raw_open(&r, server.port, 0);
  static const struct {
    const char *path;
    int status;
  } pages[] = {{"/", 200},           {"/index.html", 200},   {"/ping", 200},    {"/healthz", 200},
               {"/robots.txt", 200}, {"/generate_204", 204}, {"/nothing", 404}, {"/relay", 400},
               {"/ping?x=1", 200},   {"/relay/", 404}};
  for (size_t i = 0; i < COUNT_OF(pages); i++) { /* all on one connection */
    assert_int_equal(get(&r, pages[i].path, ""), pages[i].status);
  }
  assert_int_equal(lab_stats(&server).http_requests, COUNT_OF(pages));
  assert_int_equal(lab_stats(&server).accepted, 1);
  assert_int_equal(lab_stats(&server).bad_upgrades, 1); /* "/relay" without one */

  assert_true(lab_raw_text(&r, "GET /ping HTTP/1.1\r\nHost: a\r\n\r\n"));
  const char *head = lab_raw_head(&r);
  assert_non_null(strcasestr(head, "\r\naccess-control-allow-origin: *\r\n"));
  assert_non_null(strcasestr(head, "\r\nstrict-transport-security: max-age=63072000;"));
  assert_non_null(strcasestr(head, "\r\ncontent-security-policy: default-src 'none';"));
  assert_true(lab_raw_text(&r, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"));
  (void)lab_raw_head(&r);
  static const char health[] = "{\"status\":\"ok\",\"version\":\"1.2.3\",\"git_hash\":\"\"}";
  LAB_WAIT_FOR(r.rx_len >= sizeof health - 1);
  assert_memory_equal(r.rx, health, sizeof health - 1);
  lab_raw_close(&r);

  static const char *const others[] = {
      "POST /ping HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
      "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "DELETE /ping HTTP/1.1\r\nHost: a\r\n\r\n"};
  for (size_t i = 0; i < COUNT_OF(others); i++) {
    lab_raw_open(&r, server.port, 0);
    assert_true(lab_raw_text(&r, others[i]));
    assert_int_equal(lab_raw_status(&r), 404);
    lab_raw_await_end(&r);
    lab_raw_close(&r);
  }
  lab_server_close(&server);
}

static void captive_portals_are_found_out(void **state) {
  (void)state;
  lab_server server;
  lab_raw r = {0};
  char header[200], long_one[100];
  static const struct {
    const char *challenge;
    bool answered;
  } cases[] = {{"ts_1.2-x", true}, {"a", true}, {"with space", false}, {"", false}, {"a/b", false}};
  lab_server_init(&server);
  server.config.relay_over_http = false; /* with TLS beside it, this is all that it serves */
  lab_server_open(&server);
  lab_raw_open(&r, server.port, 0);
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    snprintf(header, sizeof header,
             "GET /generate_204 HTTP/1.1\r\nHost: a\r\nX-Iroh-Challenge: %s\r\n\r\n",
             cases[i].challenge);
    assert_true(lab_raw_text(&r, header));
    const char *head = lab_raw_head(&r);
    assert_non_null(strstr(head, " 204 "));
    snprintf(header, sizeof header, "\r\nx-iroh-response: response %s\r\n", cases[i].challenge);
    assert_int_equal(strcasestr(head, header) != NULL, cases[i].answered);
    assert_int_equal(strcasestr(head, "x-iroh-response") != NULL, cases[i].answered);
  }
  for (size_t len = 63; len <= 64; len++) {
    memset(long_one, 'x', len);
    long_one[len] = '\0';
    snprintf(header, sizeof header,
             "GET /generate_204 HTTP/1.1\r\nHost: a\r\nX-Iroh-Challenge: %s\r\n\r\n", long_one);
    assert_true(lab_raw_text(&r, header));
    assert_int_equal(strcasestr(lab_raw_head(&r), "x-iroh-response") != NULL, len == 63);
  }
  assert_int_equal(get(&r, "/", ""), 404);
  assert_int_equal(get(&r, "/ping", ""), 404);
  lab_raw_close(&r);
  lab_raw_open(&r, server.port, 0);
  assert_int_equal(lab_raw_upgrade(&r, "iroh-relay-v2", ""), 400);
  lab_raw_close(&r);
  lab_server_close(&server);
}

/* --- shutdown -------------------------------------------------------------------------------- */

static void a_shutdown_tells_everybody(void **state) {
  (void)state;
  lab_server server;
  lab_client real = {0};
  lab_raw v2 = {0}, v1 = {0}, idle = {0}, half = {0}, late = {0};
  lab_server_init(&server);
  lab_server_open(&server);
  dial(&real, &server, "");
  LAB_WAIT_FOR(is_up(&real));
  lab_raw_login(&v2, server.port, KM_RELAY_V2);
  lab_raw_login(&v1, server.port, KM_RELAY_V1);
  lab_raw_exchange(&v2, &v1);
  lab_raw_open(&idle, server.port, 0);
  lab_raw_open(&half, server.port, 0);
  assert_int_equal(lab_raw_upgrade(&half, "iroh-relay-v2", ""), 101);
  LAB_WAIT_FOR(lab_stats(&server).connections == 5);

  lab_server_stop(&server, 20000);
  lab_raw *const told[] = {&v2, &v1};
  for (size_t i = 0; i < COUNT_OF(told); i++) {
    assert_true(lab_raw_send_to(told[i], &v1.id, "too late")); /* crosses it on the way */
    km_relay_frame f = lab_raw_expect(told[i], KM_RELAY_RESTARTING);
    assert_int_equal(f.reconnect_in_ms, 10000);
    assert_int_equal(f.try_for_ms, 60000);
    lab_raw_await_end(told[i]);
    assert_int_equal(told[i]->rx_len, 0); /* and nothing else */
  }
  lab_raw_await_end(&idle);
  lab_raw_await_end(&half);
  LAB_WAIT_FOR(real.states[KM_RELAY_CLIENT_WAITING] > 0);
  lab_raw_open(&late, server.port, 0); /* accepted by the kernel, and nobody else */
  lab_raw_await_end(&late);
  lab_raw_close(&v2);
  lab_raw_close(&v1);
  LAB_WAIT_FOR(server.stopped);
  km_relay_server_stats stats = lab_stats(&server);
  assert_int_equal(stats.connections, 0);
  assert_int_equal(stats.disconnects, 3);
  assert_int_equal(stats.timeouts_establish, 0);
  assert_true(stats.refused_limit >= 1);
  lab_raw_close(&idle);
  lab_raw_close(&half);
  lab_raw_close(&late);
  lab_client_close(&real);
  lab_server_close(&server);
}

static void a_shutdown_does_not_wait_for_the_deaf(void **state) {
  (void)state;
  lab_server server;
  lab_raw deaf = {0};
  lab_server_init(&server);
  lab_server_open(&server);
  lab_raw_login(&deaf, server.port, KM_RELAY_V2);
  lab_raw_deaf(&deaf);
  km_ts before = km_clock_now();
  lab_server_stop(&server, 300);
  LAB_WAIT_FOR(server.stopped);
  assert_true(km_clock_now() - before >= 300 * KM_NS_PER_MS); /* it had its time */
  lab_raw_close(&deaf);
  lab_server_close(&server);

  lab_server_init(&server);
  lab_server_open(&server);
  lab_server_stop(&server, 1000); /* nobody is there */
  assert_false(server.stopped);   /* from the loop, never from inside the call */
  LAB_WAIT_FOR(server.stopped);
  lab_server_close(&server);
}

/* --- beginnings ------------------------------------------------------------------------------ */

static void bad_configurations_say_why(void **state) {
  (void)state;
  lab_server server, other;
  km_relay_server *s = NULL;
  km_errinfo err;
  lab_server_init(&server);
  server.config.http_count = 0;
  assert_int_equal(km_relay_server_new(&s, &server.config, &err), KM_ERR_INVALID);
  lab_server_init(&server);
  lab_server_open(&server);
  lab_server_init(&other);
  const km_udp_addr taken = {.family = 4, .ip = {127, 0, 0, 1}, .port = server.port};
  other.config.http = &taken;
  assert_int_equal(km_relay_server_new(&s, &other.config, &err), KM_ERR_ADDR_IN_USE);
  char port[16];
  snprintf(port, sizeof port, "127.0.0.1:%u", (unsigned)server.port);
  assert_non_null(strstr(err.text, port));
  const km_udp_addr foreign = {.family = 4, .ip = {192, 0, 2, 1}, .port = 1};
  other.config.http = &foreign;
  assert_int_equal(km_relay_server_new(&s, &other.config, &err), KM_ERR_ADDR_NOT_AVAILABLE);
  assert_null(s);
  assert_int_equal(other.memory.live, 0);
  assert_int_equal(km_relay_server_reload(server.s, &err), KM_ERR_STATE); /* without TLS */
  lab_server_close(&server);
  km_relay_server_free(NULL);
}

static void without_memory_there_is_no_server(void **state) {
  (void)state;
  lab_server server;
  km_errinfo err;
  int rv = KM_ERR_NOMEM;
  long n;
  for (n = 1; rv != 0; n++) {
    assert_true(n < 100);
    lab_server_init(&server);
    server.memory.fail_after = n;
    rv = km_relay_server_new(&server.s, &server.config, &err);
    if (rv != 0) {
      assert_int_equal(server.memory.live, 0);
      assert_true(rv == KM_ERR_NOMEM || rv == KM_ERR_SYSTEM);
    }
  }
  assert_true(n > 5);
  server.memory.fail_after = -1;
  lab_server_close(&server);
}

/* When memory runs out, whoever asks for some is turned away and the others stay. */
static void without_memory_clients_are_turned_away(void **state) {
  (void)state;
  lab_server server;
  lab_raw a = {0}, b = {0};
  lab_server_init(&server);
  lab_server_open(&server);
  lab_raw_login(&a, server.port, KM_RELAY_V2);
  lab_raw_login(&b, server.port, KM_RELAY_V2);
  lab_raw_exchange(&a, &b);
  for (long n = 1; n < 12; n++) {
    lab_raw r = {0};
    lab_raw_open(&r, server.port, 0);
    lab_raw_key(&r, NULL);
    server.memory.fail_after = n;
    if (lab_raw_upgrade(&r, "iroh-relay-v2", "Authorization: Bearer x\r\n") == 101) {
      unsigned opcode;
      const uint8_t *msg;
      size_t len;
      if (lab_raw_next(&r, &opcode, &msg, &len) && len == 17) {
        memcpy(r.challenge, msg + 1, 16);
        lab_raw_prove(&r);
        (void)lab_raw_next(&r, &opcode, &msg, &len);
      }
    }
    server.memory.fail_after = -1;
    lab_raw_close(&r);
    LAB_WAIT_FOR(lab_stats(&server).connections == 2);
    lab_raw_exchange(&a, &b);
  }
  lab_raw_close(&a);
  lab_raw_close(&b);
  lab_server_close(&server);
}

static void an_idle_client_costs_little(void **state) {
  (void)state;
  enum { MANY = 100 };
  lab_server server;
  lab_raw *all = calloc(MANY, sizeof *all);
  lab_server_init(&server);
  lab_server_open(&server);
  for (int i = 0; i < MANY; i++) {
    lab_raw_login(&all[i], server.port, KM_RELAY_V2);
  }
  /* What libwebsockets has of its own is not in here; see docs/performance.md for all of it. */
  size_t each = server.memory.bytes / MANY;
  assert_in_range(each, 1, 4096);
  for (int i = 0; i < MANY; i++) {
    lab_raw_close(&all[i]);
  }
  LAB_WAIT_FOR(lab_stats(&server).connections == 0);
  free(all);
  lab_server_close(&server);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(real_clients_exchange_datagrams),
      cmocka_unit_test(both_versions_reach_each_other),
      cmocka_unit_test(the_highest_version_is_chosen),
      cmocka_unit_test(both_families_are_served),
      cmocka_unit_test(the_newest_of_an_id_takes_over),
      cmocka_unit_test(a_real_client_is_told_of_its_double),
      cmocka_unit_test(a_denied_client_reads_why),
      cmocka_unit_test(logins_may_be_decided_later),
      cmocka_unit_test(who_speaks_before_it_is_let_in_is_cut_off),
      cmocka_unit_test(tokens_come_by_header_or_query),
      cmocka_unit_test(pages_are_served),
      cmocka_unit_test(captive_portals_are_found_out),
      cmocka_unit_test(a_shutdown_tells_everybody),
      cmocka_unit_test(a_shutdown_does_not_wait_for_the_deaf),
      cmocka_unit_test(bad_configurations_say_why),
      cmocka_unit_test(without_memory_there_is_no_server),
      cmocka_unit_test(without_memory_clients_are_turned_away),
      cmocka_unit_test(an_idle_client_costs_little),
  };
  return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
