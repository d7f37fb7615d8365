/* The relays of an endpoint, over real connections to real servers: packets that wait, what is
 * kept and what is left, who becomes home. The clock can be put forward (test/endpoint/wrap.h). */
#include "magicsock/relays.h"

#include <errno.h>

#include "magicsock/packet_kind.h"
#include "relay/server.h"
#include "test/base/test_env.h"
#include "test/endpoint/wrap.h"

enum { BATCH = 1000, SEGMENT = 500, QUIC_SHORT = 0x40, TICK_MS = 20 };

static km_loop *loop;

static int setup(void **state) {
  (void)state;
  return km_loop_new(&loop);
}

static int teardown(void **state) {
  (void)state;
  return km_loop_free(loop);
}

#define WAIT_FOR(condition)                                                                        \
  do {                                                                                             \
    for (int tick_ = 0; !(condition) && tick_ < 1500; tick_++) {                                   \
      km_loop_run_once(loop, TICK_MS);                                                             \
    }                                                                                              \
    assert_true(condition);                                                                        \
  } while (0)

static void run_for_ms(int ms) {
  for (km_ts end = km_clock_now() + (km_ts)ms * KM_NS_PER_MS; km_clock_now() < end;) {
    km_loop_run_once(loop, TICK_MS);
  }
}

/* --- relay servers --------------------------------------------------------------------------- */

typedef struct server {
  km_relay_server *s;
  const char *token; /* everybody has to show it; NULL: nobody */
  unsigned denied;
  char shown[32]; /* what the last one showed */
  char url[64];
  uint16_t port;
} server;

static void authorize(void *ctx, km_relay_server *relay, const km_relay_login *login) {
  server *s = ctx;
  (void)snprintf(s->shown, sizeof s->shown, "%s", login->token == NULL ? "" : login->token);
  bool may = s->token == NULL || strcmp(s->shown, s->token) == 0;
  s->denied += !may;
  km_relay_server_decide(relay, login->number, may ? NULL : "no");
}

static void server_open(server *s, uint16_t port) {
  km_errinfo err = {0};
  *s = (server){0};
  const km_udp_addr at = {.family = 4, .ip = {127, 0, 0, 1}, .port = port};
  km_relay_server_config config = {.env = &km_env_system,
                                   .loop = loop,
                                   .http = &at,
                                   .http_count = 1,
                                   .relay_over_http = true,
                                   .version = "test",
                                   .authorize = authorize,
                                   .ctx = s};
  km_udp_addr bound;
  km_relay_server_limits_default(&config.limits);
  assert_int_equal(km_relay_server_new(&s->s, &config, &err), 0);
  assert_int_equal(km_relay_server_bound(s->s, &bound, 1), 1);
  s->port = bound.port;
  (void)snprintf(s->url, sizeof s->url, "http://127.0.0.1:%u/", (unsigned)s->port);
}

static void server_close(server *s) {
  km_relay_server_free(s->s);
  s->s = NULL;
}

static uint64_t clients_of(const server *s) {
  km_relay_server_stats stats;
  km_relay_server_get_stats(s->s, &stats);
  return stats.clients;
}

/* --- an endpoint's relays -------------------------------------------------------------------- */

typedef struct node {
  km_relays *r;
  km_secret_key *key;
  const char *token;
  km_id id;
  km_path_key from; /* of the last batch */
  unsigned batches, segments, homes, lost;
  size_t bytes;
  uint8_t ecn;
  uint64_t not_quic;
} node;

static void on_rx(void *ctx, const km_rx_batch *batch) {
  node *n = ctx;
  n->batches++;
  n->bytes += batch->len;
  n->segments += (unsigned)((batch->len + batch->segment - 1) / batch->segment);
  n->ecn = batch->ecn;
  n->from = batch->from;
}

static void on_nothing(void *ctx) {
  (void)ctx;
}

static void on_home(void *ctx) {
  ((node *)ctx)->homes++;
}

static void on_lost(void *ctx, uint16_t relay) {
  (void)relay;
  ((node *)ctx)->lost++;
}

static int node_try(node *n, const km_env *env, const char *const *urls, size_t count,
                    const char *ca_file, km_errinfo *err) {
  const km_magicsock_relay_config relay = {.key = n->key,
                                           .ca_file = ca_file,
                                           .token = n->token,
                                           .urls = urls,
                                           .url_count = count,
                                           .on_home = on_home,
                                           .on_lost = on_lost};
  const km_relays_config config = {.env = env,
                                   .loop = loop,
                                   .relay = &relay,
                                   .on_rx = on_rx,
                                   .on_rx_done = on_nothing,
                                   .on_writable = on_nothing,
                                   .rx_ctx = n,
                                   .rx_not_quic = &n->not_quic};
  return km_relays_new(&n->r, &config, err);
}

static void node_open_with(node *n, const char *const *urls, size_t count, const char *token) {
  km_errinfo err = {0};
  *n = (node){.token = token};
  assert_int_equal(km_secret_key_generate(&n->key), 0);
  km_secret_key_id(n->key, &n->id);
  assert_int_equal(node_try(n, &km_env_system, urls, count, NULL, &err), 0);
}

static void node_open(node *n, const char *const *urls, size_t count) {
  node_open_with(n, urls, count, NULL);
}

static void node_close(node *n) {
  km_relays_free(n->r);
  km_secret_key_free(n->key);
}

static const char *home_of(const node *n) {
  const char *home[2];
  return km_relays_home(n->r, home, 2) > 0 ? home[0] : "";
}

static size_t homes_of(const node *n) {
  const char *home[2];
  return km_relays_home(n->r, home, 2);
}

static km_path_key key_to(node *n, const char *url, const km_id *peer) {
  km_path_key key;
  assert_int_equal(km_relays_key(n->r, url, peer, false, &key), 0);
  return key;
}

static int send_batch(node *n, const km_path_key *to, size_t len, size_t segment) {
  uint8_t data[65536];
  memset(data, QUIC_SHORT, len);
  return km_relays_send(n->r, to, data, len, segment, 1);
}

/* --- packets --------------------------------------------------------------------------------- */

static void packets_wait_for_their_relay(void **state) {
  (void)state;
  server s;
  node a, b;
  server_open(&s, 0);
  const char *urls[] = {s.url};
  node_open(&a, urls, 1);
  node_open(&b, NULL, 0);
  WAIT_FOR(homes_of(&a) == 1);
  km_path_key to = key_to(&b, s.url, &a.id);
  km_relays_ref(b.r, to.relay);
  for (int i = 0; i < 3; i++) {
    assert_true(km_relays_can_send(b.r, to.relay));
    assert_int_equal(send_batch(&b, &to, BATCH, SEGMENT), 0);
  }
  WAIT_FOR(a.bytes == 3 * BATCH);
  assert_int_equal(a.segments, 3 * BATCH / SEGMENT);
  assert_int_equal(a.ecn, 1);
  assert_int_equal(a.from.way, KM_WAY_RELAY);
  assert_true(km_id_equal(&a.from.peer, &b.id));
  assert_string_equal(km_relays_url(a.r, a.from.relay), s.url);
  /* What came can be answered. */
  km_relays_ref(a.r, a.from.relay);
  assert_int_equal(send_batch(&a, &a.from, BATCH, BATCH), 0);
  WAIT_FOR(b.bytes == BATCH);
  assert_memory_equal(&b.from, &to, sizeof to);
  km_relays_unref(a.r, a.from.relay);
  km_relays_unref(b.r, to.relay);
  node_close(&a);
  node_close(&b);
  server_close(&s);
}

static void what_is_no_quic_is_counted_and_dropped(void **state) {
  (void)state;
  static const uint8_t junk[BATCH];
  server s;
  node a, b;
  server_open(&s, 0);
  const char *urls[] = {s.url};
  node_open(&a, urls, 1);
  node_open(&b, urls, 1);
  WAIT_FOR(homes_of(&a) == 1 && homes_of(&b) == 1);
  km_path_key to = key_to(&b, s.url, &a.id);
  assert_int_equal(km_relays_send(b.r, &to, junk, BATCH, SEGMENT, 0), 0);
  assert_int_equal(send_batch(&b, &to, BATCH, BATCH), 0);
  WAIT_FOR(a.bytes > 0);
  assert_int_equal(a.bytes, BATCH);
  assert_int_equal(a.not_quic, BATCH / SEGMENT);
  node_close(&a);
  node_close(&b);
  server_close(&s);
}

/* All before the loop runs, and so before the relay is dialled. */
static void waiting_packets_are_bounded(void **state) {
  (void)state;
  enum { MORE = 6, LARGE = 65535 };
  server s;
  node a, b;
  server_open(&s, 0);
  const char *urls[] = {s.url};
  node_open(&a, urls, 1);
  WAIT_FOR(homes_of(&a) == 1);
  node_open(&b, NULL, 0);
  km_path_key to = key_to(&b, s.url, &a.id);
  size_t bytes = 0;
  for (size_t i = 0; i < KM_RELAY_WAITING_PACKETS + MORE; i++) {
    assert_int_equal(send_batch(&b, &to, i + 1, i + 1), 0);
    bytes += i < MORE ? 0 : i + 1; /* the oldest make room */
  }
  WAIT_FOR(a.batches == KM_RELAY_WAITING_PACKETS);
  assert_int_equal(a.bytes, bytes);
  node_close(&b);

  a.bytes = 0;
  node_open(&b, NULL, 0);
  to = key_to(&b, s.url, &a.id);
  for (int i = 0; i < 10; i++) {
    assert_int_equal(send_batch(&b, &to, LARGE, 1200), 0);
  }
  assert_int_equal(send_batch(&b, &to, 1, 1), 0);
  WAIT_FOR(a.bytes % LARGE == 1);
  assert_int_equal(a.bytes, (KM_RELAY_WAITING_BYTES - 1) / LARGE * LARGE + 1);
  node_close(&b);
  node_close(&a);
  server_close(&s);
}

static void what_keeps_a_relay_from_use_is_told(void **state) {
  (void)state;
  server s;
  node n;
  km_id peer = {.bytes = {1}};
  server_open(&s, 0);
  server_close(&s); /* nobody is there now */
  node_open(&n, NULL, 0);
  km_path_key to = key_to(&n, s.url, &peer);
  assert_int_equal(send_batch(&n, &to, 1, 1), 0);
  WAIT_FOR(km_relays_trouble(n.r, to.relay) != NULL);
  assert_non_null(strstr(km_relays_trouble(n.r, to.relay), "127.0.0.1"));
  node_close(&n);
}

static void packets_wait_three_seconds(void **state) {
  (void)state;
  server s, again;
  node a, b;
  server_open(&s, 0);
  server_close(&s);
  node_open(&a, NULL, 0);
  node_open(&b, NULL, 0);
  km_path_key to = key_to(&b, s.url, &a.id), from = key_to(&a, s.url, &b.id);
  km_relays_ref(b.r, to.relay);
  km_relays_ref(a.r, from.relay);
  assert_int_equal(send_batch(&b, &to, BATCH, BATCH), 0);
  assert_int_equal(send_batch(&a, &from, BATCH, BATCH), 0);
  WAIT_FOR(km_relays_trouble(b.r, to.relay) != NULL);
  clock_forward(3 * KM_NS_PER_S);
  server_open(&again, s.port);
  WAIT_FOR(clients_of(&again) == 2);
  assert_int_equal(send_batch(&b, &to, 2 * BATCH, BATCH), 0);
  WAIT_FOR(a.bytes > 0);
  assert_int_equal(a.bytes, 2 * BATCH); /* the first is not among them */
  assert_null(km_relays_trouble(b.r, to.relay));
  km_relays_unref(b.r, to.relay);
  km_relays_unref(a.r, from.relay);
  node_close(&a);
  node_close(&b);
  server_close(&again);
}

/* --- which are kept -------------------------------------------------------------------------- */

static void a_relay_of_others_is_left_when_it_is_idle(void **state) {
  (void)state;
  server s;
  node n;
  km_id peer = {.bytes = {1}};
  server_open(&s, 0);
  node_open(&n, NULL, 0);
  km_path_key to = key_to(&n, s.url, &peer);
  km_relays_ref(n.r, to.relay);
  assert_int_equal(send_batch(&n, &to, 1, 1), 0);
  WAIT_FOR(clients_of(&s) == 1);
  clock_forward(50 * KM_NS_PER_S);
  run_for_ms(50);
  assert_int_equal(clients_of(&s), 1);
  clock_forward(11 * KM_NS_PER_S);
  WAIT_FOR(clients_of(&s) == 0);
  /* The path is still there, and brings the relay back. */
  assert_int_equal(send_batch(&n, &to, 1, 1), 0);
  WAIT_FOR(clients_of(&s) == 1);
  km_relays_unref(n.r, to.relay);
  assert_string_equal(km_relays_url(n.r, to.relay), s.url);
  clock_forward(61 * KM_NS_PER_S);
  WAIT_FOR(km_relays_url(n.r, to.relay) == NULL);
  assert_int_equal(km_relays_send(n.r, &to, (const uint8_t *)"@", 1, 1, 0), ENETUNREACH);
  WAIT_FOR(clients_of(&s) == 0);
  node_close(&n);
  server_close(&s);
}

static void sixty_four_relays_are_known_at_most(void **state) {
  (void)state;
  node n;
  km_path_key key;
  char url[64];
  km_id peer = {.bytes = {1}};
  node_open(&n, NULL, 0);
  for (int i = 0; i < KM_RELAYS_MAX; i++) {
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/", i + 1);
    key = key_to(&n, url, &peer);
    km_relays_ref(n.r, key.relay);
  }
  assert_int_equal(km_relays_key(n.r, "http://127.0.0.1:9999/", &peer, false, &key), KM_ERR_LIMIT);
  key = key_to(&n, "http://127.0.0.1:7/", &peer);
  km_relays_unref(n.r, key.relay);
  clock_forward(61 * KM_NS_PER_S);
  WAIT_FOR(km_relays_url(n.r, key.relay) == NULL);
  assert_int_equal(key_to(&n, "http://127.0.0.1:9999/", &peer).relay, key.relay);
  node_close(&n);
}

/* What some unproven answer names takes no places of others, and is not kept. */
static void relays_of_strangers_have_a_share(void **state) {
  (void)state;
  node n;
  km_path_key key;
  char url[64];
  km_id peer = {.bytes = {1}};
  uint16_t first = 0;
  node_open(&n, NULL, 0);
  for (int i = 0; i < KM_RELAYS_MAX_STRANGERS; i++) {
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/", i + 1);
    assert_int_equal(km_relays_key(n.r, url, &peer, true, &key), 0);
    km_relays_ref(n.r, key.relay);
    first = i == 0 ? key.relay : first;
  }
  assert_int_equal(km_relays_key(n.r, "http://127.0.0.1:99/", &peer, true, &key), KM_ERR_LIMIT);
  key = key_to(&n, "http://127.0.0.1:99/", &peer); /* not of a stranger */
  /* One that somebody vouches for is none any more: there is room for another. */
  assert_int_equal(key_to(&n, "http://127.0.0.1:1/", &peer).relay, first);
  assert_int_equal(km_relays_key(n.r, "http://127.0.0.1:98/", &peer, true, &key), 0);
  /* Asked for and not taken: its place is free at once. */
  assert_int_equal(km_relays_key(n.r, "http://127.0.0.1:97/", &peer, true, &key), 0);
  km_relays_ref(n.r, key.relay);
  uint16_t last = key.relay;
  assert_int_equal(send_batch(&n, &key, 1, 1), 0); /* a connection is being made */
  km_relays_unref(n.r, last);
  WAIT_FOR(km_relays_url(n.r, last) == NULL); /* not after a minute */
  node_close(&n);
}

/* Whoever could foresee mapped addresses could make many peers count as one. */
static void mapped_addresses_are_stable_and_secret(void **state) {
  (void)state;
  node n, other;
  km_id peer = {.bytes = {1}}, second = {.bytes = {2}};
  node_open(&n, NULL, 0);
  node_open(&other, NULL, 0);
  km_path_key a = key_to(&n, "http://127.0.0.1:1/", &peer);
  km_path_key again = key_to(&n, "http://127.0.0.1:1/", &peer);
  assert_memory_equal(&a, &again, sizeof a);
  const km_path_key others[] = {key_to(&n, "http://127.0.0.1:1/", &second),
                                key_to(&n, "http://127.0.0.1:2/", &peer),
                                key_to(&other, "http://127.0.0.1:1/", &peer)};
  for (size_t i = 0; i < COUNT_OF(others); i++) {
    assert_memory_not_equal(&a.remote, &others[i].remote, sizeof a.remote);
  }
  node_close(&n);
  node_close(&other);
}

static void one_server_is_one_relay_however_it_is_written(void **state) {
  (void)state;
  server s;
  node n;
  char alias[5][80];
  km_id peer = {.bytes = {1}};
  server_open(&s, 0);
  const char *urls[] = {s.url};
  node_open(&n, urls, 1);
  WAIT_FOR(homes_of(&n) == 1);
  uint16_t home = key_to(&n, s.url, &peer).relay;
  (void)snprintf(alias[0], sizeof alias[0], "http://127.0.0.1:%u/relay", (unsigned)s.port);
  (void)snprintf(alias[1], sizeof alias[1], "ws://127.0.0.1:%u/", (unsigned)s.port);
  (void)snprintf(alias[2], sizeof alias[2], "http://127.0.0.1.:%u/", (unsigned)s.port);
  (void)snprintf(alias[3], sizeof alias[3], "https://127.0.0.1:%u/", (unsigned)s.port);
  (void)snprintf(alias[4], sizeof alias[4], "http://127.0.0.1:%u/?token=a", (unsigned)s.port);
  assert_int_equal(key_to(&n, alias[0], &peer).relay, home);
  assert_int_equal(key_to(&n, alias[1], &peer).relay, home);
  assert_int_equal(key_to(&n, alias[2], &peer).relay, home);
  assert_int_not_equal(key_to(&n, alias[3], &peer).relay, home);
  assert_int_equal(key_to(&n, alias[4], &peer).relay, home); /* it is ours: our login will do */
  (void)snprintf(alias[0], sizeof alias[0], "https://127.0.0.1:%u/?token=a", (unsigned)s.port);
  assert_int_not_equal(key_to(&n, alias[0], &peer).relay, key_to(&n, alias[3], &peer).relay);
  node_close(&n);
  server_close(&s);
}

/* --- home ------------------------------------------------------------------------------------ */

static void the_standby_takes_over(void **state) {
  (void)state;
  server s[2];
  node n;
  server_open(&s[0], 0);
  server_open(&s[1], 0);
  const char *urls[] = {s[0].url, s[1].url, s[0].url}; /* one of them twice */
  node_open(&n, urls, 3);
  assert_int_equal(homes_of(&n), 0);
  WAIT_FOR(homes_of(&n) == 2);
  server *home = strcmp(home_of(&n), s[0].url) == 0 ? &s[0] : &s[1];
  server *standby = home == &s[0] ? &s[1] : &s[0];
  unsigned told = n.homes;
  server_close(home);
  WAIT_FOR(strcmp(home_of(&n), standby->url) == 0);
  assert_int_equal(homes_of(&n), 1); /* the dead one is not advertised */
  WAIT_FOR(n.homes > told);
  assert_string_equal(home_of(&n), standby->url);
  assert_int_equal(n.lost, 1);
  /* It comes back as standby: nobody is moved without need. */
  server again;
  server_open(&again, home->port);
  WAIT_FOR(homes_of(&n) == 2);
  assert_string_equal(home_of(&n), standby->url);
  server_close(standby);
  WAIT_FOR(strcmp(home_of(&n), again.url) == 0);
  server_close(&again);
  WAIT_FOR(homes_of(&n) == 0);
  node_close(&n);
}

static void one_dead_relay_does_not_delay_the_other(void **state) {
  (void)state;
  server s, dead;
  node n;
  server_open(&dead, 0);
  server_close(&dead);
  server_open(&s, 0);
  const char *urls[] = {dead.url, s.url};
  node_open(&n, urls, 2);
  WAIT_FOR(homes_of(&n) == 1);
  assert_string_equal(home_of(&n), s.url);
  node_close(&n);
  server_close(&s);
}

/* Whoever has our key takes over at a relay: what is for us does not come to us there. */
static void a_relay_where_another_has_our_id_is_no_home(void **state) {
  (void)state;
  server s[2];
  node n, twin;
  server_open(&s[0], 0);
  server_open(&s[1], 0);
  const char *urls[] = {s[0].url, s[1].url};
  node_open(&n, urls, 2);
  WAIT_FOR(homes_of(&n) == 2);
  server *home = strcmp(home_of(&n), s[0].url) == 0 ? &s[0] : &s[1];
  server *other = home == &s[0] ? &s[1] : &s[0];
  const char *its_url[] = {home->url};
  km_errinfo err;
  twin = (node){.key = n.key};
  assert_int_equal(node_try(&twin, &km_env_system, its_url, 1, NULL, &err), 0);
  WAIT_FOR(homes_of(&twin) == 1);
  WAIT_FOR(homes_of(&n) == 1);
  assert_string_equal(home_of(&n), other->url);
  km_relays_free(twin.r);
  WAIT_FOR(homes_of(&n) == 2);
  node_close(&n);
  server_close(&s[0]);
  server_close(&s[1]);
}

/* One moment without a network must not leave an endpoint at a far relay. */
static void after_a_blip_the_old_homes_come_back(void **state) {
  (void)state;
  server s[2];
  node n;
  server_open(&s[0], 0);
  server_open(&s[1], 0);
  const char *urls[] = {s[0].url, s[1].url};
  node_open(&n, urls, 2);
  WAIT_FOR(homes_of(&n) == 2);
  server_close(&s[0]);
  server_close(&s[1]);
  WAIT_FOR(homes_of(&n) == 0);
  server_open(&s[0], s[0].port);
  server_open(&s[1], s[1].port);
  WAIT_FOR(homes_of(&n) == 2);
  node_close(&n);
  server_close(&s[0]);
  server_close(&s[1]);
}

static void a_changed_network_dials_at_once(void **state) {
  (void)state;
  server s, again;
  node n;
  server_open(&s, 0);
  const char *urls[] = {s.url};
  node_open(&n, urls, 1);
  WAIT_FOR(homes_of(&n) == 1);
  server_close(&s);
  WAIT_FOR(homes_of(&n) == 0);
  clock_freeze(true); /* no back-off ends any more */
  server_open(&again, s.port);
  km_relays_network_changed(n.r);
  for (int i = 0; i < 50 && homes_of(&n) == 0; i++) {
    km_relays_network_changed(n.r);
    km_loop_run_once(loop, TICK_MS);
  }
  clock_freeze(false);
  WAIT_FOR(homes_of(&n) == 1);
  node_close(&n);
  server_close(&again);
}

static void only_own_relays_see_the_token(void **state) {
  (void)state;
  server own, other;
  node n, poor;
  server_open(&own, 0);
  server_open(&other, 0);
  own.token = "secret";
  const char *urls[] = {own.url};
  node_open(&poor, urls, 1);
  WAIT_FOR(own.denied > 0);
  assert_int_equal(homes_of(&poor), 0);
  km_id poor_id = poor.id;
  node_close(&poor);
  node_open_with(&n, urls, 1, "secret");
  WAIT_FOR(homes_of(&n) == 1);
  assert_string_equal(own.shown, "secret");
  km_path_key to = key_to(&n, other.url, &poor_id);
  assert_int_equal(send_batch(&n, &to, 1, 1), 0);
  WAIT_FOR(clients_of(&other) == 1);
  assert_string_equal(other.shown, "");
  node_close(&n);
  server_close(&own);
  server_close(&other);
}

/* --- errors ---------------------------------------------------------------------------------- */

static void a_bad_ca_file_is_told_at_once(void **state) {
  (void)state;
  node n = {0};
  km_errinfo err = {0};
  assert_int_equal(km_secret_key_generate(&n.key), 0);
  assert_int_equal(node_try(&n, &km_env_system, NULL, 0, "/nonexistent/ca.pem", &err),
                   KM_ERR_FILE_NOT_FOUND);
  assert_non_null(strstr(err.text, "/nonexistent/ca.pem"));
  km_secret_key_free(n.key);
}

static void memory_that_runs_out_leaves_nothing(void **state) {
  (void)state;
  static const char *const urls[] = {"http://127.0.0.1:1/", "http://127.0.0.1:2/"};
  test_env t;
  node n = {0};
  km_errinfo err = {0};
  int rv = KM_ERR_NOMEM;
  assert_int_equal(km_secret_key_generate(&n.key), 0);
  for (long after = 0; rv != 0; after++) {
    test_env_init(&t);
    t.fail_after = after;
    rv = node_try(&n, &t.env, urls, 2, NULL, &err);
    assert_true(rv == 0 || rv == KM_ERR_NOMEM);
    assert_true(after < 1000);
    t.fail_after = -1;
    if (rv == 0) {
      km_relays_free(n.r);
    }
    run_for_ms(5);
    assert_int_equal(t.live, 0);
  }
  km_secret_key_free(n.key);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(packets_wait_for_their_relay, setup, teardown),
      cmocka_unit_test_setup_teardown(what_is_no_quic_is_counted_and_dropped, setup, teardown),
      cmocka_unit_test_setup_teardown(waiting_packets_are_bounded, setup, teardown),
      cmocka_unit_test_setup_teardown(what_keeps_a_relay_from_use_is_told, setup, teardown),
      cmocka_unit_test_setup_teardown(packets_wait_three_seconds, setup, teardown),
      cmocka_unit_test_setup_teardown(a_relay_of_others_is_left_when_it_is_idle, setup, teardown),
      cmocka_unit_test_setup_teardown(sixty_four_relays_are_known_at_most, setup, teardown),
      cmocka_unit_test_setup_teardown(relays_of_strangers_have_a_share, setup, teardown),
      cmocka_unit_test_setup_teardown(mapped_addresses_are_stable_and_secret, setup, teardown),
      cmocka_unit_test_setup_teardown(one_server_is_one_relay_however_it_is_written, setup,
                                      teardown),
      cmocka_unit_test_setup_teardown(the_standby_takes_over, setup, teardown),
      cmocka_unit_test_setup_teardown(a_relay_where_another_has_our_id_is_no_home, setup, teardown),
      cmocka_unit_test_setup_teardown(after_a_blip_the_old_homes_come_back, setup, teardown),
      cmocka_unit_test_setup_teardown(one_dead_relay_does_not_delay_the_other, setup, teardown),
      cmocka_unit_test_setup_teardown(a_changed_network_dials_at_once, setup, teardown),
      cmocka_unit_test_setup_teardown(only_own_relays_see_the_token, setup, teardown),
      cmocka_unit_test_setup_teardown(a_bad_ca_file_is_told_at_once, setup, teardown),
      cmocka_unit_test_setup_teardown(memory_that_runs_out_leaves_nothing, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
