/* Direct ways that were found by punching, and what becomes of them when the network or a peer is
 * not as it should be: real endpoints and a real relay on one loop. */
#include <unistd.h>

#include "base/env.h"
#include "endpoint/conn_impl.h"
#include "relay/server.h"
#include "test/endpoint/tap.h"
#include "test/endpoint/wrap_ways.h"

static const km_udp_addr loopback = {.family = 4, .ip = {127, 0, 0, 1}};

/* A lab with a relay, a server that has it as its home, and a client that knows nobody. */
typedef struct world {
  lab l;
  km_relay_server *relay;
  char url[64];
  lab_endpoint *server, *client;
} world;

static void relay_open(world *w) {
  km_errinfo err = {0};
  km_udp_addr bound;
  km_relay_server_config config = {.env = &km_env_system,
                                   .loop = w->l.loop,
                                   .http = &loopback,
                                   .http_count = 1,
                                   .relay_over_http = true,
                                   .version = "test"};
  km_relay_server_limits_default(&config.limits);
  assert_int_equal(km_relay_server_new(&w->relay, &config, &err), 0);
  assert_int_equal(km_relay_server_bound(w->relay, &bound, 1), 1);
  (void)snprintf(w->url, sizeof w->url, "http://127.0.0.1:%u/", (unsigned)bound.port);
}

static void options(km_endpoint_options *ret) {
  lab_options(ret);
  ret->port_mapping = false;
}

static lab_endpoint *client_open(world *w) {
  km_endpoint_options opt;
  options(&opt);
  return lab_endpoint_open(&w->l, &opt);
}

static lab_endpoint *server_open(world *w, const km_endpoint_options *given) {
  const char *urls[] = {w->url};
  km_endpoint_options opt = *given;
  opt.relay_mode = KM_RELAY_MODE_CUSTOM;
  opt.relay_urls = urls;
  opt.relay_url_count = 1;
  lab_endpoint *server = lab_server_open(&w->l, &opt, LAB_ECHO);
  LAB_WAIT(&w->l, km_endpoint_online(server->ep));
  return server;
}

/* `server` NULL: options(). */
static void world_open(world *w, const km_endpoint_options *server) {
  km_endpoint_options opt;
  options(&opt);
  lab_open(&w->l);
  relay_open(w);
  w->server = server_open(w, server == NULL ? &opt : server);
  w->client = client_open(w);
}

/* After each test, whatever became of it. */
static int all_is_well(void **state) {
  (void)state;
  ways_lose(NULL, NULL);
  ways_watch_disco(NULL, NULL);
  ways_expire(false);
  return 0;
}

static void world_close(world *w) {
  all_is_well(NULL);
  km_relay_server_free(w->relay);
  lab_close(&w->l);
}

/* By the relay and, unless NULL, a direct address. */
static lab_conn *dial(const world *w, lab_endpoint *from, const lab_endpoint *to,
                      const km_udp_addr *direct) {
  const km_id id = *km_endpoint_id(to->ep);
  km_addr *addr;
  assert_int_equal(km_addr_new(&addr, &id), 0);
  assert_int_equal(km_addr_add_relay(addr, w->url, strlen(w->url), NULL), 0);
  if (direct != NULL) {
    assert_int_equal(km_addr_add_udp(addr, direct), 0);
  }
  lab_conn *c = lab_dial_with(from, addr, LAB_ALPN, NULL);
  km_addr_free(addr);
  return c;
}

static km_path_kind kind_of(const lab_conn *c) {
  km_path_info path;
  assert_int_equal(c->closed, 0);
  assert_int_equal(km_conn_path(c->conn, &path), 0);
  return path.kind;
}

static lab_conn *dial_until_direct(world *w, lab_endpoint *from, const lab_endpoint *to) {
  lab_conn *c = dial(w, from, to, NULL);
  LAB_WAIT(&w->l, c->connected == 1);
  LAB_WAIT(&w->l, kind_of(c) == KM_PATH_DIRECT);
  return c;
}

/* --- lost packets ---------------------------------------------------------------------------- */

/* Which datagrams are lost; all zero: all. */
typedef struct loss {
  km_udp_addr to; /* family 0: to anybody */
  bool quic_only; /* not those of the search */
  size_t longer;  /* than this */
  unsigned one_in;
  unsigned met, lost;
} loss;

static bool is_lost(void *ctx, const km_udp_addr *to, const uint8_t *data, size_t len) {
  enum { QUIC_BIT = 0x40 };
  loss *x = ctx;
  if ((x->to.family != 0 && !km_udp_addr_equal(&x->to, to)) ||
      (x->quic_only && (data[0] & QUIC_BIT) == 0) || len <= x->longer ||
      (x->one_in > 0 && ++x->met % x->one_in != 0)) {
    return false;
  }
  x->lost++;
  return true;
}

static uint64_t failed_moves(const lab_conn *c) {
  km_explanation *ex;
  assert_int_equal(km_conn_explain(c->conn, &ex), 0);
  uint64_t failed = ex->moves_failed;
  km_explanation_free(ex);
  return failed;
}

static void a_failed_validation_is_tried_again(void **state) {
  (void)state;
  world w;
  loss x = {.quic_only = true};
  world_open(&w, NULL);
  ways_lose(is_lost, &x);
  lab_conn *c = dial(&w, w.client, w.server, NULL);
  LAB_WAIT(&w.l, c->connected == 1);
  LAB_WAIT(&w.l, failed_moves(c) > 0);
  assert_int_equal(kind_of(c), KM_PATH_RELAY);
  ways_lose(NULL, NULL);
  LAB_WAIT(&w.l, kind_of(c) == KM_PATH_DIRECT);
  lab_expect_echo(c, 100000);
  world_close(&w);
}

/* The first packet arrives directly as well as by the relay; the direct answer never does. */
static void a_one_way_address_does_not_spoil_a_dial(void **state) {
  (void)state;
  world w;
  world_open(&w, NULL);
  loss x = {.to = w.client->addr};
  ways_lose(is_lost, &x);
  lab_conn *c = dial(&w, w.client, w.server, &w.server->addr);
  LAB_WAIT(&w.l, c->connected + c->closed > 0);
  assert_int_equal(c->closed, 0);
  lab_expect_echo(c, 100000);
  assert_true(x.lost > 0);
  world_close(&w);
}

static void a_way_that_became_one_way_is_left(void **state) {
  (void)state;
  world w;
  world_open(&w, NULL);
  lab_conn *c = dial_until_direct(&w, w.client, w.server);
  lab_expect_echo(c, 100000);
  lab_run_for(&w.l, 3000); /* what the dial left behind is let go of */
  loss x = {.to = w.client->addr};
  ways_lose(is_lost, &x);
  lab_expect_echo(c, 100000);
  LAB_WAIT(&w.l, kind_of(c) == KM_PATH_RELAY);
  assert_true(x.lost > 0);
  world_close(&w);
}

static uint32_t mtu_of(const lab_conn *c) {
  km_conn_stats stats = {.size = sizeof stats};
  assert_int_equal(km_conn_get_stats(c->conn, &stats), 0);
  return stats.mtu;
}

/* Routes change: the new one has a tunnel on it, and nobody says so. */
static void a_way_that_lost_its_big_packets_is_left(void **state) {
  (void)state;
  enum { TUNNEL = 1280 };
  world w;
  world_open(&w, NULL);
  lab_conn *c = dial_until_direct(&w, w.client, w.server);
  lab_expect_echo(c, 3000000);
  LAB_WAIT(&w.l, mtu_of(c) > TUNNEL);
  loss x = {.longer = TUNNEL};
  ways_lose(is_lost, &x);
  lab_expect_echo(c, 1000000);
  assert_true(x.lost > 0);
  world_close(&w);
}

/* The address in use; `ret_open`: how many direct ways are open. */
static km_udp_addr remote_of(const lab_conn *c, size_t *ret_open) {
  km_path_info paths[16];
  km_udp_addr used = {.family = 0};
  size_t count = km_conn_paths(c->conn, paths, sizeof paths / sizeof paths[0]);
  *ret_open = 0;
  for (size_t i = 0; i < count; i++) {
    bool direct = paths[i].kind == KM_PATH_DIRECT;
    *ret_open += direct && paths[i].state == KM_PATH_OPEN;
    used = direct && paths[i].selected ? paths[i].remote : used;
  }
  return used;
}

static bool has_two_ways(const lab_conn *c) {
  size_t open;
  return remote_of(c, &open).family != 0 && open >= 2;
}

static void a_lossy_way_is_left_for_a_better_one(void **state) {
  (void)state;
  const km_udp_addr both[] = {loopback, {.family = 4, .ip = {127, 0, 0, 2}}};
  world w;
  km_endpoint_options opt;
  size_t open;
  options(&opt);
  opt.bind = both;
  opt.bind_count = 2;
  world_open(&w, &opt);
  lab_conn *c = dial_until_direct(&w, w.client, w.server);
  LAB_WAIT(&w.l, has_two_ways(c));
  const km_udp_addr lossy = remote_of(c, &open);
  loss x = {.to = lossy, .one_in = 4};
  ways_lose(is_lost, &x);
  uint64_t until = lab_now_ms() + 1000u * LAB_PATIENCE_S;
  km_udp_addr used = lossy;
  while (used.family == 0 || km_udp_addr_equal(&used, &lossy)) {
    assert_true(lab_now_ms() < until);
    lab_expect_echo(c, 20000);
    lab_run_for(&w.l, 100);
    used = remote_of(c, &open);
  }
  assert_true(x.lost > 0);
  world_close(&w);
}

/* The server, which sends much, checks the path that the client leaves (RFC 9000 section 9.3.3) by
 * packets that are as long as those for the other. */
static void what_is_sent_goes_to_the_path_in_use(void **state) {
  (void)state;
  enum { TIMES = 4 };
  const uint64_t endless = (uint64_t)1 << 40;
  km_endpoint_options opt;
  options(&opt);
  opt.pmtud = false;
  world w;
  world_open(&w, &opt);
  for (int i = 0; i < TIMES; i++) {
    lab_conn *c = dial(&w, w.client, w.server, NULL);
    LAB_WAIT(&w.l, c->connected == 1);
    lab_stream *s = lab_stream_open(c, true);
    lab_stream_send(s, endless, false);
    LAB_WAIT(&w.l, s->received > 0);
    (void)ways_mixed();
    LAB_WAIT(&w.l, kind_of(c) == KM_PATH_DIRECT);
    uint64_t had = s->received;
    LAB_WAIT(&w.l, s->received > had + 1000000);
    assert_int_equal(ways_mixed(), 0);
    lab_conn_close(c, 0, "");
    LAB_WAIT(&w.l, c->closed == 1);
  }
  world_close(&w);
}

/* --- what was asked for ---------------------------------------------------------------------- */

/* Of who accepts, against all that who dials does to be direct. */
static void relay_only_is_never_direct(void **state) {
  (void)state;
  world w;
  km_endpoint_options opt;
  options(&opt);
  opt.path_policy = KM_POLICY_RELAY_ONLY;
  world_open(&w, &opt);
  lab_conn *c = dial(&w, w.client, w.server, &w.server->addr);
  LAB_WAIT(&w.l, c->connected == 1 && w.server->accepted_count == 1);
  for (int i = 0; i < 4; i++) {
    lab_expect_echo(c, 100000);
    assert_int_equal(kind_of(w.server->accepted[0]), KM_PATH_RELAY);
    km_endpoint_network_changed(w.client->ep); /* it looks for better ways at once */
    lab_run_for(&w.l, 500);
  }
  assert_int_equal(w.server->accepted[0]->path_changes, 0);
  world_close(&w);
}

/* A port of the user's choice, behind a NAT that forgets mappings. */
static void a_renewal_keeps_to_what_was_bound(void **state) {
  (void)state;
  enum { OFTEN = 100 }; /* a timer that is over each turn has gone off by then */
  world w;
  km_endpoint_options opt;
  km_udp_addr at, bound[4];
  close(raw_open(&at)); /* a port that is free */
  options(&opt);
  opt.bind = &at;
  world_open(&w, &opt);
  lab_conn *c = dial_until_direct(&w, w.client, w.server);
  ways_expire(true);
  km_endpoint_network_changed(w.server->ep);
  LAB_WAIT(&w.l, ways_expired() > OFTEN);
  ways_expire(false);
  assert_int_equal(km_endpoint_bound(w.server->ep, bound, 4), 1);
  assert_true(km_udp_addr_equal(&bound[0], &at));
  lab_expect_echo(c, 100000);
  lab_expect_echo(lab_connect(client_open(&w), w.server, &at), 1000);
  world_close(&w);
}

/* --- liars ----------------------------------------------------------------------------------- */

enum { STRANGE_NET = 203 }; /* 203.0.113.0/24 is for examples */

/* Tells one peer where it saw its packets come from, and not the truth. */
typedef struct liar {
  km_id id, victim, listener;
  km_udp_addr lie; /* family 0: another address each time */
  unsigned told;
  unsigned calls;   /* of the victim to the listener */
  unsigned strange; /* datagrams of anybody to made-up addresses */
} liar;

static void tell(void *ctx, const km_id *from, const km_id *to, km_disco_message *msg) {
  liar *x = ctx;
  if (km_id_equal(from, &x->id) && km_id_equal(to, &x->victim) && msg->type == KM_DISCO_PONG &&
      msg->observed.family != 0) {
    x->told++;
    msg->observed = x->lie.family != 0 ? x->lie
                                       : (km_udp_addr){.family = 4,
                                                       .ip = {STRANGE_NET, 0, 113, x->told & 255},
                                                       .port = (uint16_t)(1000 + x->told)};
  }
  x->calls += km_id_equal(from, &x->victim) && km_id_equal(to, &x->listener) &&
              msg->type == KM_DISCO_CALL_ME_MAYBE;
}

/* Nothing of a test leaves this machine. */
static bool is_strange(void *ctx, const km_udp_addr *to, const uint8_t *data, size_t len) {
  (void)data;
  (void)len;
  bool strange = to->family == 4 && to->ip[0] == STRANGE_NET;
  ((liar *)ctx)->strange += strange;
  return strange;
}

/* What is our own address is no candidate of a peer: a lie must not make another's ours. */
static void a_liar_keeps_us_from_no_other_peer(void **state) {
  (void)state;
  world w;
  km_endpoint_options opt;
  world_open(&w, NULL);
  options(&opt);
  lab_endpoint *friend = server_open(&w, &opt);
  liar x = {.id = *km_endpoint_id(w.server->ep),
            .victim = *km_endpoint_id(w.client->ep),
            .lie = friend->addr};
  ways_watch_disco(tell, &x);
  lab_conn *evil = dial_until_direct(&w, w.client, w.server);
  lab_expect_echo(evil, 100000);
  assert_true(x.told > 0);
  lab_expect_echo(dial_until_direct(&w, w.client, friend), 100000);
  world_close(&w);
}

static unsigned strange_addresses(const lab_endpoint *e) {
  km_addr *own;
  unsigned count = 0;
  assert_int_equal(km_endpoint_addr(e->ep, &own), 0);
  for (size_t i = 0; i < km_addr_udp_count(own); i++) {
    count += km_addr_udp_at(own, i)->ip[0] == STRANGE_NET;
  }
  km_addr_free(own);
  return count;
}

static void a_liar_does_not_make_us_talk(void **state) {
  (void)state;
  enum { LIES = 6 };
  world w;
  world_open(&w, NULL);
  lab_endpoint *friend = w.client, *evil = client_open(&w);
  liar x = {.id = *km_endpoint_id(evil->ep),
            .victim = *km_endpoint_id(w.server->ep),
            .listener = *km_endpoint_id(friend->ep)};
  dial_until_direct(&w, friend, w.server);
  lab_run_for(&w.l, 1000); /* what those two have to say to each other is said */
  ways_watch_disco(tell, &x);
  ways_lose(is_strange, &x);
  dial_until_direct(&w, evil, w.server);
  uint64_t until = lab_now_ms() + 1000u * LAB_PATIENCE_S;
  while (x.told < LIES) {
    assert_true(lab_now_ms() < until);
    km_endpoint_network_changed(evil->ep); /* the victim answers by pings, they by lies */
    lab_run_for(&w.l, 1000);
  }
  lab_run_for(&w.l, 1000);
  assert_true(x.calls <= LIES / 2); /* for reasons of their own; not one for each lie */
  assert_int_equal(x.strange, 0);
  assert_int_equal(strange_addresses(w.server), 0);
  world_close(&w);
}

/* --- other sockets --------------------------------------------------------------------------- */

/* More often than there are slots for sockets, with a connection from each time: a socket goes when
 * all are on the next one and have let go of what they had through it. That takes a moment. */
static void sockets_can_always_be_bound_anew(void **state) {
  (void)state;
  enum { TIMES = KM_MAGICSOCK_MAX_SOCKETS + 4 };
  lab l;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_endpoint *client = lab_endpoint_open(&l, NULL);
  for (int i = 0; i < TIMES; i++) {
    lab_conn *c = lab_connect(client, server, NULL);
    lab_expect_echo(c, 10000);
    LAB_WAIT(&l, km_endpoint_rebind(client->ep, &loopback, NULL) == 0);
    LAB_WAIT(&l, c->path_changes > 0);
    lab_expect_echo(c, 10000);
  }
  lab_close(&l);
}

/* Two uplinks, one after the other: the first is lost with all that is known of the peer, and what
 * was made then is let go of before there are sockets on the second. */
static void sockets_bound_anew_while_all_is_silent_are_used(void **state) {
  (void)state;
  const km_udp_addr nobody = {.family = 4, .ip = {127, 0, 0, 1}, .port = 9};
  lab l;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_endpoint *client = lab_endpoint_open(&l, NULL);
  lab_tap *tap = lab_tap_open(&l, &server->addr, NULL);
  km_addr *addr = lab_addr(server, &tap->addr);
  assert_int_equal(km_addr_add_udp(addr, &nobody), 0);
  lab_conn *c = lab_dial_with(client, addr, LAB_ALPN, NULL);
  km_addr_free(addr);
  LAB_WAIT(&l, c->connected == 1);
  lab_expect_echo(c, 100000);
  lab_tap_blackhole(tap, true);
  lab_stream *s = lab_stream_open(c, true);
  lab_stream_send(s, 100000, true);
  km_endpoint_network_changed(client->ep);
  LAB_WAIT(&l, c->conn->path_count > 1);
  LAB_WAIT(&l, c->conn->path_count == 1);
  assert_int_equal(km_endpoint_rebind(client->ep, &loopback, NULL), 0);
  km_endpoint_network_changed(client->ep);
  lab_run_for(&l, 500); /* nobody answers: silence is looked at */
  lab_tap_blackhole(tap, false);
  LAB_WAIT(&l, s->closed);
  lab_expect_pattern(s, 100000);
  lab_close(&l);
}

#define T(test) cmocka_unit_test_teardown(test, all_is_well)

int main(void) {
  const struct CMUnitTest tests[] = {
      T(a_failed_validation_is_tried_again),   T(a_one_way_address_does_not_spoil_a_dial),
      T(a_way_that_became_one_way_is_left),    T(a_way_that_lost_its_big_packets_is_left),
      T(a_lossy_way_is_left_for_a_better_one), T(what_is_sent_goes_to_the_path_in_use),
      T(relay_only_is_never_direct),           T(a_renewal_keeps_to_what_was_bound),
      T(a_liar_keeps_us_from_no_other_peer),   T(a_liar_does_not_make_us_talk),
      T(sockets_can_always_be_bound_anew),     T(sockets_bound_anew_while_all_is_silent_are_used),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
