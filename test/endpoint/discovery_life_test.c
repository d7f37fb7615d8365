/* An endpoint and its km_discovery: which two fit, and in which order they go. */
#include "test/endpoint/tap.h"

/* A source that keeps what it is told and answers nothing. */
typedef struct silent {
  km_query *query; /* the one under way */
  unsigned cancelled, closed, published, withdrawn;
} silent;

static void silent_publish(void *ctx, const km_peer_info *info) {
  silent *s = ctx;
  s->published += info != NULL ? 1 : 0;
  s->withdrawn += info == NULL ? 1 : 0;
}

static void silent_resolve(void *ctx, km_query *query, const km_id *id) {
  silent *s = ctx;
  (void)id;
  s->query = query;
}

static void silent_cancel(void *ctx, km_query *query) {
  silent *s = ctx;
  assert_ptr_equal(s->query, query);
  s->query = NULL;
  s->cancelled++;
}

static void silent_close(void *ctx) {
  silent *s = ctx;
  s->closed++;
}

static const km_source_ops silent_ops = {
    .size = sizeof silent_ops,
    .name = "silent",
    .publish = silent_publish,
    .resolve = silent_resolve,
    .cancel = silent_cancel,
    .close = silent_close,
};

typedef struct fixture {
  lab l;
  silent s;
  km_discovery *discovery;
  lab_endpoint *client;
} fixture;

static km_secret_key *new_key(void) {
  km_secret_key *key;
  assert_int_equal(km_secret_key_generate(&key), 0);
  return key;
}

static km_discovery *new_discovery(fixture *f, km_loop *loop, const km_secret_key *key) {
  km_discovery *d;
  const km_discovery_options o = {.size = sizeof o, .secret_key = key};
  assert_int_equal(km_discovery_new(&d, loop, &o, NULL), 0);
  assert_int_equal(km_discovery_add(d, NULL, &silent_ops, &f->s, NULL), 0);
  return d;
}

static void fixture_open(fixture *f) {
  memset(f, 0, sizeof *f);
  lab_open(&f->l);
  f->discovery = new_discovery(f, f->l.loop, NULL);
  km_endpoint_options options;
  lab_options(&options);
  options.discovery = f->discovery;
  f->client = lab_endpoint_open(&f->l, &options);
}

/* A dial that knows nothing but the id. */
static lab_conn *dial(fixture *f, uint32_t timeout_ms) {
  const km_dial_options options = {.size = sizeof options, .timeout_ms = timeout_ms};
  km_secret_key *key = new_key();
  km_addr *addr;
  km_id id;
  km_secret_key_id(key, &id);
  km_secret_key_free(key);
  assert_int_equal(km_addr_new(&addr, &id), 0);
  lab_conn *c = lab_dial_with(f->client, addr, LAB_ALPN, &options);
  km_addr_free(addr);
  LAB_WAIT(&f->l, f->s.query != NULL);
  return c;
}

static void freed_before_on_closed(void **state) {
  (void)state;
  fixture f;
  fixture_open(&f);
  lab_conn *c = dial(&f, 0);
  km_endpoint_close(f.client->ep);
  assert_int_equal(f.s.cancelled, 1);
  assert_int_equal(c->closed, 0); /* its callbacks are still to come */
  km_discovery_free(f.discovery);
  assert_int_equal(f.s.closed, 1);
  LAB_WAIT(&f.l, f.client->ep == NULL);
  assert_int_equal(c->closed, 1);
  lab_close(&f.l);
}

static void freed_while_it_is_used(void **state) {
  (void)state;
  fixture f;
  fixture_open(&f);
  lab_endpoint *server = lab_server_open(&f.l, NULL, LAB_ECHO);
  lab_conn *before = lab_dial(f.client, server, NULL);
  LAB_WAIT(&f.l, before->connected > 0);
  lab_conn *waits = dial(&f, 400);
  unsigned under_way = f.s.cancelled;
  km_discovery_free(f.discovery);
  assert_true(f.s.cancelled > under_way);
  assert_int_equal(f.s.closed, 1);
  LAB_WAIT(&f.l, waits->closed > 0);
  lab_expect_echo(before, 1000);
  lab_conn *after = lab_dial(f.client, server, NULL); /* addresses can be dialled as before */
  LAB_WAIT(&f.l, after->connected > 0 || after->closed > 0);
  assert_int_equal(after->connected, 1);
  km_udp_addr other = {.family = 4, .ip = {127, 0, 0, 1}};
  assert_int_equal(km_endpoint_rebind(f.client->ep, &other, NULL), 0); /* nobody to tell it */
  lab_run_for(&f.l, 100);
  lab_close(&f.l);
}

static void a_closed_endpoint_is_withdrawn(void **state) {
  (void)state;
  fixture f;
  fixture_open(&f);
  LAB_WAIT(&f.l, f.s.published == 1);
  assert_int_equal(f.s.withdrawn, 0);
  lab_endpoint_close(f.client);
  LAB_WAIT(&f.l, f.s.withdrawn == 1);
  lab_run_for(&f.l, 100);
  assert_int_equal(f.s.published, 1);
  km_discovery_free(f.discovery);
  lab_close(&f.l);
}

/* What the program published by itself stays. */
static void others_publications_stay(void **state) {
  (void)state;
  fixture f;
  memset(&f, 0, sizeof f);
  lab_open(&f.l);
  f.discovery = new_discovery(&f, f.l.loop, NULL);
  km_endpoint_options options;
  lab_options(&options);
  options.discovery = f.discovery;
  options.publish = false;
  f.client = lab_endpoint_open(&f.l, &options);
  km_addr *addr = lab_addr(f.client, NULL);
  const km_peer_info info = {.size = sizeof info, .addr = addr};
  assert_int_equal(km_discovery_publish(f.discovery, &info, NULL), 0);
  km_addr_free(addr);
  LAB_WAIT(&f.l, f.s.published == 1);
  lab_endpoint_close(f.client);
  lab_run_for(&f.l, 100);
  assert_int_equal(f.s.withdrawn, 0);
  km_discovery_free(f.discovery);
  lab_close(&f.l);
}

static int try_open(km_endpoint **ret, km_loop *loop, km_discovery *d, const km_secret_key *key,
                    bool publish, km_errinfo *err) {
  km_endpoint_options options;
  lab_options(&options);
  options.discovery = d;
  options.secret_key = key;
  options.publish = publish;
  return km_endpoint_open(ret, loop, &options, err);
}

static void close_and_wait(fixture *f, km_endpoint *ep) {
  km_endpoint_close(ep);
  lab_run_for(&f->l, 100);
}

static void two_that_do_not_fit(void **state) {
  (void)state;
  fixture f;
  memset(&f, 0, sizeof f);
  lab_open(&f.l);
  km_secret_key *key = new_key(), *other = new_key();
  f.discovery = new_discovery(&f, f.l.loop, key);
  km_endpoint *ep = NULL, *second = NULL;
  km_errinfo err = {0};
  km_loop *loop;
  assert_int_equal(km_loop_new(&loop), 0);
  assert_int_equal(try_open(&ep, loop, f.discovery, key, true, &err), KM_ERR_INVALID);
  assert_non_null(strstr(err.text, "another loop"));
  assert_int_equal(km_loop_free(loop), 0); /* nothing was left open on it */
  assert_int_equal(try_open(&ep, f.l.loop, f.discovery, other, true, &err), KM_ERR_INVALID);
  assert_non_null(strstr(err.text, "another key"));
  assert_int_equal(try_open(&ep, f.l.loop, f.discovery, NULL, true, &err), KM_ERR_INVALID);
  assert_null(ep);
  assert_int_equal(try_open(&ep, f.l.loop, f.discovery, key, true, &err), 0);
  assert_int_equal(try_open(&second, f.l.loop, f.discovery, key, true, &err), KM_ERR_STATE);
  assert_non_null(strstr(err.text, "another endpoint"));
  assert_null(second);
  LAB_WAIT(&f.l, f.s.published == 1);
  close_and_wait(&f, ep);
  /* The next one may have it, and one that publishes nothing signs nothing. */
  assert_int_equal(try_open(&ep, f.l.loop, f.discovery, other, false, &err), 0);
  close_and_wait(&f, ep);
  km_discovery_free(f.discovery);
  km_secret_key_free(key);
  km_secret_key_free(other);
  lab_close(&f.l);
}

/* An endpoint that cannot be opened for another reason leaves it as it was. */
static void not_opened(void **state) {
  (void)state;
  fixture f;
  fixture_open(&f);
  km_discovery *d = new_discovery(&f, f.l.loop, NULL);
  km_endpoint *ep = NULL;
  km_endpoint_options options;
  lab_options(&options);
  options.discovery = d;
  options.bind = &f.client->addr; /* taken */
  options.bind_count = 1;
  assert_int_equal(km_endpoint_open(&ep, f.l.loop, &options, NULL), KM_ERR_ADDR_IN_USE);
  assert_int_equal(try_open(&ep, f.l.loop, d, NULL, true, NULL), 0);
  close_and_wait(&f, ep);
  km_discovery_free(d);
  km_discovery_free(f.discovery);
  lab_close(&f.l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(freed_before_on_closed),
      cmocka_unit_test(freed_while_it_is_used),
      cmocka_unit_test(a_closed_endpoint_is_withdrawn),
      cmocka_unit_test(others_publications_stay),
      cmocka_unit_test(two_that_do_not_fit),
      cmocka_unit_test(not_opened),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
