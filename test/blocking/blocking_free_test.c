/* Freeing: in every order, while data is on its way and callbacks run. */
#include "pair.h"

#include <stdio.h>

typedef struct scene {
  pair p;
  km_bstream *at_client, *at_server;
  task echo;
} scene;

static int run_echo(void *arg) {
  return echo_stream(arg);
}

/* Data goes round and round: the loop thread of the client is in its callbacks all the time. */
static void scene_open(scene *t) {
  static const uint8_t data[200000];
  pair_connect(&t->p, NULL, NULL);
  pair_stream(&t->p, &t->at_client, &t->at_server);
  task_start(&t->echo, run_echo, t->at_server);
  assert_int_equal(km_bstream_write(t->at_client, data, sizeof data, false, PATIENCE_MS, NULL), 0);
}

static void scene_close_server(scene *t) {
  int rv = task_join(&t->echo);
  if (rv != KM_ERR_CLOSED_BY_PEER && rv != KM_ERR_STREAM_RESET && rv != KM_ERR_STREAM_STOPPED) {
    fail_msg("the echo ended with %s", km_error_name(rv));
  }
  km_bstream_free(t->at_server);
  pair_close(&t->p);
}

static void free_stream(scene *t) {
  km_bstream_free(t->at_client);
  t->at_client = NULL;
}

static void free_conn(scene *t) {
  km_bconn_free(t->p.at_client);
  t->p.at_client = NULL;
}

static void close_endpoint(scene *t) {
  km_blocking_close(t->p.client);
  t->p.client = NULL;
}

/* What is left must say that it is closed, and say so at once. */
static void expect_closed(scene *t) {
  char buf[16];
  size_t n = 0;
  km_close_info info;
  int rv;
  if (t->at_client != NULL && (t->p.client == NULL || t->p.at_client == NULL)) {
    do { /* bytes that came before may still be read */
      rv = km_bstream_read(t->at_client, buf, sizeof buf, &n, PATIENCE_MS, NULL);
    } while (rv == 0 && n > 0);
    assert_int_equal(rv, KM_ERR_CLOSED);
    assert_int_equal(km_bstream_write(t->at_client, "x", 1, true, PATIENCE_MS, NULL),
                     KM_ERR_CLOSED);
    km_bstream_reset(t->at_client, 1);
    km_bstream_stop(t->at_client, 1);
  }
  if (t->p.at_client != NULL && t->p.client == NULL) {
    km_bstream *s = NULL;
    assert_int_equal(km_bconn_open(t->p.at_client, &s, true, PATIENCE_MS, NULL), KM_ERR_CLOSED);
    assert_int_equal(km_bconn_wait_closed(t->p.at_client, &info, PATIENCE_MS), 0);
    assert_int_equal(info.error, KM_OK);
    km_bconn_close(t->p.at_client, 1, NULL, 0);
    assert_int_equal(km_bconn_alpn(t->p.at_client)[0], 'k');
  }
}

static void test_every_order(void **state) {
  (void)state;
  void (*const steps[3])(scene *) = {free_stream, free_conn, close_endpoint};
  static const size_t orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                      {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
  for (size_t round = 0; round < 6; round++) {
    scene t;
    scene_open(&t);
    for (size_t i = 0; i < 3; i++) {
      steps[orders[round][i]](&t);
      expect_closed(&t);
    }
    scene_close_server(&t);
  }
}

/* Connections and streams that nobody ever took are freed with what holds them. */
static void test_never_taken(void **state) {
  (void)state;
  pair p;
  km_bconn *c[3];
  km_bstream *s;
  km_errinfo err;
  pair_open(&p, NULL, NULL);
  for (size_t i = 0; i < 3; i++) {
    assert_int_equal(km_blocking_dial(p.client, &c[i], p.addr, PAIR_ALPN, PATIENCE_MS, &err), 0);
    for (size_t k = 0; k < 3; k++) {
      assert_int_equal(km_bconn_open(c[i], &s, k != 2, PATIENCE_MS, &err), 0);
      assert_int_equal(km_bstream_write(s, "unread", 6, k == 1, PATIENCE_MS, &err), 0);
      km_bstream_free(s);
    }
    assert_int_equal(km_bconn_send_datagram(c[i], "unread", 6, PATIENCE_MS, &err), 0);
  }
  assert_int_equal(km_blocking_accept(p.server, &p.at_server, PATIENCE_MS, &err), 0);
  assert_int_equal(km_bconn_accept(p.at_server, &s, PATIENCE_MS, &err), 0);
  km_bstream_free(s);
  km_bconn_free(p.at_server);
  p.at_server = NULL;
  km_blocking_close(p.server); /* with two connections in the queue */
  p.server = NULL;
  for (size_t i = 0; i < 3; i++) {
    km_bconn_free(c[i]);
  }
  pair_close(&p);
}

/* A dial that is given up, a stream that is given up: nothing of them stays. */
static void test_given_up(void **state) {
  (void)state;
  pair p;
  km_bconn *c;
  km_bstream *s;
  km_errinfo err;
  pair_open(&p, NULL, NULL);
  for (unsigned i = 0; i < 20; i++) {
    c = NULL;
    int rv = km_blocking_dial(p.client, &c, p.addr, PAIR_ALPN, 0, &err);
    assert_true(rv == KM_ERR_TIMEOUT || rv == 0);
    km_bconn_free(c);
  }
  assert_int_equal(km_blocking_dial(p.client, &p.at_client, p.addr, PAIR_ALPN, PATIENCE_MS, &err),
                   0);
  for (unsigned i = 0; i < 200; i++) { /* the peer allows 100 at once */
    s = NULL;
    int rv = km_bconn_open(p.at_client, &s, true, 0, &err);
    assert_true(rv == KM_ERR_TIMEOUT || rv == 0);
    km_bstream_free(s);
  }
  pair_close(&p);
}

/* Opened and closed at once, and again, with a dial under way. */
static int dial(void *arg) {
  pair *p = arg;
  km_bconn *c = NULL;
  int rv = km_blocking_dial(p->client, &c, p->addr, PAIR_ALPN, PATIENCE_MS, NULL);
  km_bconn_free(c);
  return rv;
}

static void test_open_and_close(void **state) {
  (void)state;
  for (unsigned i = 0; i < 5; i++) {
    pair p;
    task dialler;
    pair_open(&p, NULL, NULL);
    km_blocking_close(p.server);
    p.server = NULL;
    task_start(&dialler, dial, &p);
    task_wait_asleep(&dialler);
    km_blocking_close(p.client);
    p.client = NULL;
    assert_int_equal(task_join(&dialler), KM_ERR_CLOSED);
    pair_close(&p);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_order),
      cmocka_unit_test(test_never_taken),
      cmocka_unit_test(test_given_up),
      cmocka_unit_test(test_open_and_close),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
