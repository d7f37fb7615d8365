/* Dials by id alone: a source that answers as the test says, real endpoints. */
#include <unistd.h>

#include "endpoint/conn_impl.h"
#include "test/endpoint/tap.h"

/* A source that answers when it is told to. */
typedef struct oracle {
  km_query *query; /* the one under way */
  unsigned asked, cancelled, closed;
  unsigned published, worked;
  km_addr *last_published, *last_worked; /* copies */
} oracle;

static void oracle_publish(void *ctx, const km_peer_info *info) {
  oracle *o = ctx;
  km_addr_free(o->last_published);
  o->last_published = NULL;
  if (info != NULL) {
    assert_int_equal(km_addr_copy(&o->last_published, info->addr), 0);
    o->published++;
  }
}

static void oracle_resolve(void *ctx, km_query *query, const km_id *id) {
  oracle *o = ctx;
  (void)id;
  o->query = query;
  o->asked++;
}

static void oracle_cancel(void *ctx, km_query *query) {
  oracle *o = ctx;
  assert_ptr_equal(o->query, query);
  o->query = NULL;
  o->cancelled++;
}

static void oracle_learn(void *ctx, const km_found *found, bool worked) {
  oracle *o = ctx;
  if (!worked) {
    return;
  }
  km_addr_free(o->last_worked);
  assert_int_equal(km_addr_copy(&o->last_worked, found->addr), 0);
  o->worked++;
}

static void oracle_close(void *ctx) {
  oracle *o = ctx;
  km_addr_free(o->last_published);
  km_addr_free(o->last_worked);
  o->last_published = o->last_worked = NULL;
  o->closed++;
}

static const km_source_ops oracle_ops = {
    .size = sizeof oracle_ops,
    .name = "oracle",
    .publish = oracle_publish,
    .resolve = oracle_resolve,
    .cancel = oracle_cancel,
    .learn = oracle_learn,
    .close = oracle_close,
};

typedef struct fixture {
  lab l;
  oracle o;
  km_discovery *discovery;
  lab_endpoint *server, *client;
} fixture;

static void open_with(fixture *f, const km_endpoint_options *options) {
  memset(&f->o, 0, sizeof f->o);
  lab_open(&f->l);
  f->server = lab_server_open(&f->l, NULL, LAB_ECHO);
  assert_int_equal(km_discovery_new(&f->discovery, f->l.loop, NULL, NULL), 0);
  assert_int_equal(km_discovery_add(f->discovery, NULL, &oracle_ops, &f->o, NULL), 0);
  km_endpoint_options with = *options;
  with.discovery = f->discovery;
  f->client = lab_endpoint_open(&f->l, &with);
}

static void open_fixture(fixture *f) {
  km_endpoint_options options;
  lab_options(&options);
  open_with(f, &options);
}

static void close_fixture(fixture *f) {
  if (f->client->ep != NULL) {
    lab_endpoint_close(f->client);
  }
  km_discovery_free(f->discovery);
  assert_int_equal(f->o.closed, 1);
  lab_close(&f->l);
}

static lab_conn *dial_id(fixture *f, uint32_t timeout_ms) {
  km_addr *addr;
  const km_dial_options options = {.size = sizeof options, .timeout_ms = timeout_ms};
  assert_int_equal(km_addr_new(&addr, km_endpoint_id(f->server->ep)), 0);
  lab_conn *c = lab_dial_with(f->client, addr, LAB_ALPN, &options);
  km_addr_free(addr);
  LAB_WAIT(&f->l, f->o.query != NULL);
  return c;
}

static void tell(fixture *f, const km_udp_addr *at) {
  km_addr *addr = lab_addr(f->server, at);
  const km_found found = {.size = sizeof found, .addr = addr};
  km_query_found(f->o.query, &found);
  km_addr_free(addr);
}

static void tell_no_more(fixture *f, const char *why) {
  km_errinfo err = {.code = KM_ERR_NOT_FOUND};
  (void)snprintf(err.text, sizeof err.text, "%s", why == NULL ? "" : why);
  km_query *query = f->o.query;
  f->o.query = NULL;
  km_query_done(query, why == NULL ? NULL : &err);
}

static void by_id_alone(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f);
  lab_conn *c = dial_id(&f, 0);
  lab_stream *s = lab_stream_open(c, true);
  lab_stream_send(s, 50000, true);
  lab_run_for(&f.l, 700); /* longer than the first probe time-outs */
  assert_int_equal(c->connected + c->closed, 0);
  assert_int_equal(lab_stats(f.client).tx_packets, 0);
  tell(&f, NULL);
  LAB_WAIT(&f.l, s->closed);
  assert_int_equal(s->error, 0);
  lab_expect_pattern(s, 50000);
  /* The time of the look-up is no part of the round trip. */
  km_conn_stats stats = {.size = sizeof stats};
  assert_int_equal(km_conn_get_stats(c->conn, &stats), 0);
  assert_true(stats.min_rtt_us < 700000);
  assert_int_equal(f.o.asked, 1);
  /* What worked is remembered. */
  assert_true(f.o.worked > 0);
  assert_int_equal(km_addr_udp_count(f.o.last_worked), 1);
  assert_true(km_udp_addr_equal(km_addr_udp_at(f.o.last_worked, 0), &f.server->addr));
  tell_no_more(&f, NULL);
  lab_expect_echo(c, 1000);
  close_fixture(&f);
}

static void nobody_knows(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f);
  lab_conn *c = dial_id(&f, 0);
  tell_no_more(&f, "the book has no such page");
  LAB_WAIT(&f.l, c->closed > 0);
  assert_int_equal(c->info.error, KM_ERR_NO_ADDRESS);
  assert_non_null(strstr(c->info.text, "the book has no such page"));
  close_fixture(&f);
}

static void answers_that_cannot_be_used(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f); /* it has an IPv4 socket only */
  km_udp_addr v6;
  assert_int_equal(km_udp_addr_parse(&v6, "[2001:db8::1]:1", 15, NULL), 0);
  lab_conn *c = dial_id(&f, 0);
  tell(&f, &v6);
  tell_no_more(&f, NULL);
  LAB_WAIT(&f.l, c->closed > 0);
  assert_int_equal(c->info.error, KM_ERR_NO_ADDRESS);
  assert_true(strlen(c->info.text) > 0);
  close_fixture(&f);
}

static void nobody_tells_in_time(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f);
  lab_conn *c = dial_id(&f, 300);
  LAB_WAIT(&f.l, c->closed > 0);
  assert_int_equal(c->info.error, KM_ERR_UNREACHABLE);
  assert_non_null(strstr(c->info.text, "nobody told"));
  assert_int_equal(f.o.cancelled, 1);
  close_fixture(&f);
}

/* Who lies first does not win: its key is another one. */
static void a_wrong_answer_before_the_right_one(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f);
  lab_endpoint *other = lab_server_open(&f.l, NULL, LAB_ECHO);
  lab_conn *c = dial_id(&f, 0);
  tell(&f, &other->addr);
  LAB_WAIT(&f.l, c->conn == NULL || c->conn->verdict != NULL);
  assert_int_equal(c->closed, 0);
  tell(&f, NULL);
  LAB_WAIT(&f.l, c->connected > 0 || c->closed > 0);
  assert_int_equal(c->connected, 1);
  lab_expect_echo(c, 1000);
  close_fixture(&f);
}

static void only_a_wrong_answer(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f);
  lab_endpoint *other = lab_server_open(&f.l, NULL, LAB_ECHO);
  lab_conn *c = dial_id(&f, 0);
  tell(&f, &other->addr);
  LAB_WAIT(&f.l, c->conn == NULL || c->conn->verdict != NULL);
  tell_no_more(&f, NULL);
  LAB_WAIT(&f.l, c->closed > 0);
  assert_int_equal(c->info.error, KM_ERR_WRONG_PEER);
  close_fixture(&f);
}

/* A ticket that is out of date: what is found later gets the flight that is under way at once. */
static void an_answer_beside_a_dead_address(void **state) {
  (void)state;
  enum { FLIGHTS = 4 }; /* the next one is more than two seconds away then */
  fixture f;
  km_udp_addr dead;
  uint8_t packet[2048];
  km_udp_addr from;
  open_fixture(&f);
  int fd = raw_open(&dead);
  km_addr *addr = lab_addr(f.server, &dead);
  lab_conn *c = lab_dial_with(f.client, addr, LAB_ALPN, NULL);
  km_addr_free(addr);
  for (int i = 0; i < FLIGHTS; i++) {
    LAB_WAIT(&f.l, raw_recv(fd, packet, sizeof packet, &from) > 0);
  }
  while (raw_recv(fd, packet, sizeof packet, &from) > 0) { /* a probe is two packets */
  }
  assert_non_null(f.o.query);
  tell(&f, NULL);
  LAB_WAIT(&f.l, c->connected > 0 || c->closed > 0);
  assert_int_equal(c->connected, 1);
  assert_int_equal(raw_recv(fd, packet, sizeof packet, &from), 0);
  lab_expect_echo(c, 1000);
  (void)close(fd);
  close_fixture(&f);
}

static void ended_while_it_is_looked_up(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f);
  lab_conn *c = dial_id(&f, 0);
  lab_conn_close(c, 0, "never mind");
  assert_int_equal(c->closed, 1);
  assert_int_equal(f.o.cancelled, 1);
  c = dial_id(&f, 0);
  lab_endpoint_close(f.client);
  assert_int_equal(c->closed, 1);
  assert_int_equal(f.o.cancelled, 2);
  close_fixture(&f);
}

/* --- telling ---------------------------------------------------------------------------------- */

static void where_it_is_is_published(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f);
  LAB_WAIT(&f.l, f.o.published == 1);
  assert_true(km_id_equal(km_addr_id(f.o.last_published), km_endpoint_id(f.client->ep)));
  assert_int_equal(km_addr_udp_count(f.o.last_published), 1);
  assert_true(km_udp_addr_equal(km_addr_udp_at(f.o.last_published, 0), &f.client->addr));
  km_udp_addr other = {.family = 4, .ip = {127, 0, 0, 1}};
  assert_int_equal(km_endpoint_rebind(f.client->ep, &other, NULL), 0);
  LAB_WAIT(&f.l, f.o.published == 2);
  assert_false(km_udp_addr_equal(km_addr_udp_at(f.o.last_published, 0), &f.client->addr));
  close_fixture(&f);
}

static void nothing_is_published_unasked(void **state) {
  (void)state;
  fixture f;
  km_endpoint_options options;
  lab_options(&options);
  options.publish = false;
  open_with(&f, &options);
  km_udp_addr other = {.family = 4, .ip = {127, 0, 0, 1}};
  assert_int_equal(km_endpoint_rebind(f.client->ep, &other, NULL), 0);
  lab_run_for(&f.l, 100);
  assert_int_equal(f.o.published, 0);
  close_fixture(&f);
}

static void relays_only_publishes_no_address(void **state) {
  (void)state;
  fixture f;
  km_endpoint_options options;
  lab_options(&options);
  options.path_policy = KM_POLICY_RELAY_ONLY;
  open_with(&f, &options);
  LAB_WAIT(&f.l, f.o.published == 1);
  assert_int_equal(km_addr_udp_count(f.o.last_published), 0);
  close_fixture(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(by_id_alone),
      cmocka_unit_test(nobody_knows),
      cmocka_unit_test(answers_that_cannot_be_used),
      cmocka_unit_test(nobody_tells_in_time),
      cmocka_unit_test(a_wrong_answer_before_the_right_one),
      cmocka_unit_test(only_a_wrong_answer),
      cmocka_unit_test(an_answer_beside_a_dead_address),
      cmocka_unit_test(ended_while_it_is_looked_up),
      cmocka_unit_test(where_it_is_is_published),
      cmocka_unit_test(nothing_is_published_unasked),
      cmocka_unit_test(relays_only_publishes_no_address),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
