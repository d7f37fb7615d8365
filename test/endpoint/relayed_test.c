/* Connections through a relay: a real relay server and real clients on one loop. */
#include <unistd.h>

#include "base/env.h"
#include "relay/client.h"
#include "relay/server.h"
#include "test/endpoint/initial.h"
#include "test/endpoint/tap.h"

typedef struct relay {
  km_relay_server *s;
  char url[64];
} relay;

static void relay_open(relay *r, lab *l) {
  km_errinfo err = {0};
  const km_udp_addr at = {.family = 4, .ip = {127, 0, 0, 1}};
  km_udp_addr bound;
  km_relay_server_config config = {.env = &km_env_system,
                                   .loop = l->loop,
                                   .http = &at,
                                   .http_count = 1,
                                   .relay_over_http = true,
                                   .version = "test"};
  km_relay_server_limits_default(&config.limits);
  assert_int_equal(km_relay_server_new(&r->s, &config, &err), 0);
  assert_int_equal(km_relay_server_bound(r->s, &bound, 1), 1);
  (void)snprintf(r->url, sizeof r->url, "http://127.0.0.1:%u/", (unsigned)bound.port);
}

/* An echo server with this relay as its home. */
static lab_endpoint *server_open(lab *l, const relay *r, km_endpoint_options *opt) {
  const char *urls[] = {r->url};
  opt->relay_mode = KM_RELAY_MODE_CUSTOM;
  opt->relay_urls = urls;
  opt->relay_url_count = 1;
  lab_endpoint *server = lab_server_open(l, opt, LAB_ECHO);
  LAB_WAIT(l, km_endpoint_online(server->ep));
  return server;
}

static km_addr *relay_addr(const lab_endpoint *e, const relay *r) {
  const km_id id = *km_endpoint_id(e->ep);
  km_addr *addr;
  assert_int_equal(km_addr_new(&addr, &id), 0);
  assert_int_equal(km_addr_add_relay(addr, r->url, strlen(r->url), NULL), 0);
  return addr;
}

static void an_id_and_a_relay_are_enough(void **state) {
  (void)state;
  lab l;
  relay r;
  km_endpoint_options opt;
  lab_open(&l);
  relay_open(&r, &l);
  lab_options(&opt);
  lab_endpoint *server = server_open(&l, &r, &opt);
  lab_endpoint *client = lab_endpoint_open(&l, NULL);
  km_addr *addr = relay_addr(server, &r);
  const km_dial_options relayed = {.size = sizeof relayed, .policy = KM_POLICY_RELAY_ONLY};
  lab_conn *c = lab_dial_with(client, addr, LAB_ALPN, &relayed);
  LAB_WAIT(&l, c->connected == 1 && server->accepted_count == 1);
  lab_expect_echo(c, 5000000);
  km_path_info path;
  assert_int_equal(km_conn_path(c->conn, &path), 0);
  assert_int_equal(path.kind, KM_PATH_RELAY);
  assert_string_equal(path.relay_url, r.url);
  assert_int_equal(c->path_changes, 0);
  km_addr_free(addr);
  km_relay_server_free(r.s);
  lab_close(&l);
}

static km_path_kind kind_of(const lab_conn *c) {
  km_path_info path;
  assert_int_equal(km_conn_path(c->conn, &path), 0);
  return path.kind;
}

/* An endpoint that tells nobody its addresses, as one of another make. */
static lab_endpoint *quiet_server_open(lab *l, const relay *r) {
  km_endpoint_options opt;
  lab_options(&opt);
  opt.path_policy = KM_POLICY_ANY;
  return server_open(l, r, &opt);
}

static void a_lost_direct_way_is_replaced_and_taken_again(void **state) {
  (void)state;
  lab l;
  relay r;
  lab_open(&l);
  relay_open(&r, &l);
  lab_endpoint *server = quiet_server_open(&l, &r);
  lab_endpoint *client = lab_endpoint_open(&l, NULL);
  lab_tap *tap = lab_tap_open(&l, &server->addr, NULL);
  km_addr *addr = relay_addr(server, &r);
  assert_int_equal(km_addr_add_udp(addr, &tap->addr), 0);
  lab_conn *c = lab_dial_with(client, addr, LAB_ALPN, NULL);
  LAB_WAIT(&l, c->connected == 1);
  lab_expect_echo(c, 1000000);
  assert_int_equal(kind_of(c),
                   KM_PATH_DIRECT); /* it answers first: the relay is yet to be dialled */
  for (int i = 0; i < 3; i++) {
    lab_tap_blackhole(tap, true);
    lab_expect_echo(c, 5000000);
    assert_int_equal(kind_of(c), KM_PATH_RELAY);
    lab_tap_blackhole(tap, false);
    LAB_WAIT(&l, kind_of(c) == KM_PATH_DIRECT);
    lab_expect_echo(c, 5000000);
    assert_int_equal(kind_of(c), KM_PATH_DIRECT);
  }
  km_addr_free(addr);
  km_relay_server_free(r.s);
  lab_close(&l);
}

/* The way that went silent is left out at first, and is the only one that works. */
static void a_silence_of_the_only_working_way_is_survived(void **state) {
  (void)state;
  lab l;
  km_udp_addr dead;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_endpoint *client = lab_endpoint_open(&l, NULL);
  lab_tap *tap = lab_tap_open(&l, &server->addr, NULL);
  int fd = raw_open(&dead);
  km_addr *addr;
  assert_int_equal(km_addr_new(&addr, km_endpoint_id(server->ep)), 0);
  assert_int_equal(km_addr_add_udp(addr, &tap->addr), 0);
  assert_int_equal(km_addr_add_udp(addr, &dead), 0);
  lab_conn *c = lab_dial_with(client, addr, LAB_ALPN, NULL);
  LAB_WAIT(&l, c->connected == 1);
  lab_expect_echo(c, 100000);
  lab_tap_blackhole(tap, true);
  lab_stream *s = lab_stream_open(c, true);
  lab_stream_send(s, 100000, true);
  lab_run_for(&l, 1500);
  lab_tap_blackhole(tap, false);
  LAB_WAIT(&l, s->closed);
  assert_int_equal(s->error, 0);
  lab_expect_pattern(s, 100000);
  km_addr_free(addr);
  close(fd);
  lab_close(&l);
}

/* Whoever sits at an address that was dialled has seen the first packet, with our connection id. */
static void junk_from_a_candidate_moves_nothing(void **state) {
  (void)state;
  enum { SHORT_HEADER = 0x40, JUNK = 60 };
  lab l;
  relay r;
  km_udp_addr sink, client_addr;
  uint8_t buf[INITIAL_MAX], junk[JUNK];
  initial in;
  lab_open(&l);
  relay_open(&r, &l);
  lab_endpoint *server = quiet_server_open(&l, &r);
  lab_endpoint *client = lab_endpoint_open(&l, NULL);
  int fd = raw_open(&sink);
  km_addr *addr = relay_addr(server, &r);
  assert_int_equal(km_addr_add_udp(addr, &sink), 0);
  lab_conn *c = lab_dial_with(client, addr, LAB_ALPN, NULL);
  LAB_WAIT(&l, c->connected == 1);
  size_t len = 0;
  while (len == 0 || !initial_open(&in, buf, len)) {
    len = raw_recv(fd, buf, sizeof buf, &client_addr);
  }
  memset(junk, 'x', sizeof junk);
  junk[0] = SHORT_HEADER;
  memcpy(junk + 1, in.scid, in.scid_len);
  for (int i = 0; i < 100; i++) { /* beyond the first search for a direct way */
    raw_send(fd, &client_addr, junk, sizeof junk);
    lab_run_for(&l, 20);
  }
  assert_int_equal(c->path_changes, 0);
  lab_expect_echo(c, 1000000);
  km_path_info path;
  assert_int_equal(km_conn_path(c->conn, &path), 0);
  assert_int_equal(path.kind, KM_PATH_RELAY);
  km_addr_free(addr);
  close(fd);
  km_relay_server_free(r.s);
  lab_close(&l);
}

/* --- strangers behind a relay ---------------------------------------------------------------- */

/* One that makes up ids and speaks the relay's protocol only. */
typedef struct stranger {
  km_secret_key *key;
  km_relay_clients *all;
  km_relay_client *c;
  bool up;
} stranger;

static void on_state(void *ctx, km_relay_client *c, km_relay_client_state state,
                     const km_errinfo *why) {
  (void)c;
  (void)why;
  ((stranger *)ctx)->up = state == KM_RELAY_CLIENT_CONNECTED;
}

static void stranger_open(stranger *s, lab *l, const relay *r) {
  km_errinfo err;
  const km_relay_client_callbacks cb = {.on_state = on_state, .ctx = s};
  s->up = false;
  assert_int_equal(km_secret_key_generate(&s->key), 0);
  const km_relay_clients_config config = {.env = &km_env_system, .loop = l->loop, .key = s->key};
  assert_int_equal(km_relay_clients_new(&s->all, &config, &err), 0);
  assert_int_equal(km_relay_client_new(&s->c, s->all, r->url, &cb, &err), 0);
  LAB_WAIT(l, s->up);
}

static void stranger_close(stranger *s) {
  km_relay_client_free(s->c);
  km_relay_clients_free(s->all);
  km_secret_key_free(s->key);
}

/* Ids cost a relay, or a crowd on it, nothing: they must not keep out who comes directly. */
static void half_of_the_handshakes_may_come_by_relays(void **state) {
  (void)state;
  enum { MAX = 6, STRANGERS = 5 };
  lab l;
  relay r;
  km_endpoint_options opt;
  km_udp_addr sink;
  uint8_t buf[INITIAL_MAX];
  initial in;
  stranger s[STRANGERS];
  lab_open(&l);
  relay_open(&r, &l);
  lab_options(&opt);
  opt.max_half_open = MAX;
  lab_endpoint *server = server_open(&l, &r, &opt);
  lab_endpoint *client = lab_endpoint_open(&l, NULL);
  /* A first packet of a client, to be used again by others. */
  int fd = raw_open(&sink);
  lab_conn *c = lab_dial(client, server, &sink);
  size_t len = raw_wait(&l, fd, buf, sizeof buf);
  assert_true(initial_open(&in, buf, len));
  lab_conn_close(c, 0, NULL);
  const km_id id = *km_endpoint_id(server->ep);
  for (uint8_t i = 0; i < STRANGERS; i++) {
    stranger_open(&s[i], &l, &r);
    in.dcid_len = 8;
    memset(in.dcid, i + 1, in.dcid_len);
    len = initial_seal(&in, buf);
    assert_int_equal(km_relay_client_send(s[i].c, &id, 0, buf, len, len), 0);
  }
  LAB_WAIT(&l, lab_stats(server).refused == STRANGERS - MAX / 2);
  assert_int_equal(lab_stats(server).half_open, MAX / 2);
  lab_expect_echo(lab_connect(client, server, NULL), 1000);
  for (size_t i = 0; i < STRANGERS; i++) {
    stranger_close(&s[i]);
  }
  close(fd);
  km_relay_server_free(r.s);
  lab_close(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_id_and_a_relay_are_enough),
      cmocka_unit_test(a_lost_direct_way_is_replaced_and_taken_again),
      cmocka_unit_test(a_silence_of_the_only_working_way_is_survived),
      cmocka_unit_test(junk_from_a_candidate_moves_nothing),
      cmocka_unit_test(half_of_the_handshakes_may_come_by_relays),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
