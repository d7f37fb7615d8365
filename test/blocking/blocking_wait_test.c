/* Every call that waits: its timeout, its poll, and what it returns when something is closed while
 * it waits. */
#include "pair.h"

#include <semaphore.h>
#include <stdio.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <sys/socket.h>

/* A pair in which each call has to wait: no data comes, and nobody takes any. */
typedef struct stuck {
  pair p;
  km_bstream *at_client[2], *at_server[2]; /* as many as the server allows */
  int silent_fd;                           /* a socket that answers nothing */
  km_addr *silent;
} stuck;

static void stuck_open_silent(stuck *k) {
  struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t len = sizeof sin;
  k->silent_fd = socket(AF_INET, SOCK_DGRAM, 0);
  assert_true(k->silent_fd >= 0);
  assert_int_equal(bind(k->silent_fd, (struct sockaddr *)&sin, sizeof sin), 0);
  assert_int_equal(getsockname(k->silent_fd, (struct sockaddr *)&sin, &len), 0);
  km_udp_addr udp = {.family = 4, .port = ntohs(sin.sin_port), .ip = {127, 0, 0, 1}};
  assert_int_equal(km_addr_new(&k->silent, km_blocking_id(k->p.server)), 0);
  assert_int_equal(km_addr_add_udp(k->silent, &udp), 0);
}

static void stuck_open(stuck *k) {
  km_endpoint_options opt;
  *k = (stuck){.silent_fd = -1};
  pair_options(&opt);
  opt.max_streams_bidi = 2;
  opt.stream_window = 16384;
  pair_connect(&k->p, NULL, &opt);
  for (size_t i = 0; i < 2; i++) {
    pair_stream(&k->p, &k->at_client[i], &k->at_server[i]);
  }
  stuck_open_silent(k);
}

static void stuck_close(stuck *k) {
  for (size_t i = 0; i < 2; i++) {
    km_bstream_free(k->at_client[i]);
    km_bstream_free(k->at_server[i]);
  }
  km_addr_free(k->silent);
  (void)close(k->silent_fd);
  pair_close(&k->p);
}

/* --- the calls ------------------------------------------------------------------------------- */

static int call_dial(stuck *k, int timeout_ms, km_errinfo *err) {
  km_bconn *c = NULL;
  int rv = km_blocking_dial(k->p.client, &c, k->silent, PAIR_ALPN, timeout_ms, err);
  km_bconn_free(c);
  return rv;
}

static int call_accept(stuck *k, int timeout_ms, km_errinfo *err) {
  km_bconn *c = NULL;
  int rv = km_blocking_accept(k->p.client, &c, timeout_ms, err);
  km_bconn_free(c);
  return rv;
}

static int call_open_stream(stuck *k, int timeout_ms, km_errinfo *err) {
  km_bstream *s = NULL;
  int rv = km_bconn_open(k->p.at_client, &s, true, timeout_ms, err);
  km_bstream_free(s);
  return rv;
}

static int call_accept_stream(stuck *k, int timeout_ms, km_errinfo *err) {
  km_bstream *s = NULL;
  int rv = km_bconn_accept(k->p.at_client, &s, timeout_ms, err);
  km_bstream_free(s);
  return rv;
}

static int call_recv_datagram(stuck *k, int timeout_ms, km_errinfo *err) {
  char buf[8];
  size_t n;
  return km_bconn_recv_datagram(k->p.at_client, buf, sizeof buf, &n, timeout_ms, err);
}

static int call_read(stuck *k, int timeout_ms, km_errinfo *err) {
  char buf[8];
  size_t n;
  return km_bstream_read(k->at_client[0], buf, sizeof buf, &n, timeout_ms, err);
}

static int call_write(stuck *k, int timeout_ms, km_errinfo *err) {
  static const char more_than_fits[4 << 20];
  return km_bstream_write(k->at_client[1], more_than_fits, sizeof more_than_fits, false, timeout_ms,
                          err);
}

typedef struct waiting_call {
  const char *name;
  int (*call)(stuck *k, int timeout_ms, km_errinfo *err);
  bool on_conn; /* ends with the connection, not only with the endpoint */
} waiting_call;

static const waiting_call calls[] = {
    {"dial", call_dial, false},
    {"accept", call_accept, false},
    {"open stream", call_open_stream, true},
    {"accept stream", call_accept_stream, true},
    {"receive datagram", call_recv_datagram, true},
    {"read", call_read, true},
    {"write", call_write, true},
};
enum { CALLS = sizeof calls / sizeof calls[0] };

/* --- timeouts -------------------------------------------------------------------------------- */

static void test_timeouts(void **state) {
  (void)state;
  stuck k;
  stuck_open(&k);
  for (size_t i = 0; i < CALLS; i++) {
    for (int timeout_ms = 0; timeout_ms <= 40; timeout_ms += 40) {
      km_errinfo err = {0};
      uint64_t start = now_ms();
      int rv = calls[i].call(&k, timeout_ms, &err);
      if (rv != KM_ERR_TIMEOUT || err.code != rv || err.text[0] == '\0') {
        fail_msg("%s: %s, \"%s\"", calls[i].name, km_error_name(rv), err.text);
      }
      assert_true(now_ms() - start + 1 >= (uint64_t)timeout_ms); /* never early */
    }
  }
  km_close_info info;
  assert_int_equal(km_bconn_wait_closed(k.p.at_client, &info, 0), KM_ERR_TIMEOUT);
  assert_int_equal(km_bconn_wait_closed(k.p.at_client, &info, 40), KM_ERR_TIMEOUT);
  stuck_close(&k);
}

/* With 0 what can be done at once is done. */
static void test_poll_succeeds(void **state) {
  (void)state;
  pair p;
  km_bstream *a = NULL, *b = NULL;
  km_errinfo err;
  char buf[8];
  size_t n = 0;
  int rv;
  pair_connect(&p, NULL, NULL);
  assert_int_equal(km_bconn_open(p.at_client, &a, true, 0, &err), 0);
  assert_int_equal(km_bstream_write(a, "now", 3, true, 0, &err), 0);
  WAIT_FOR((rv = km_bconn_accept(p.at_server, &b, 0, &err)) != KM_ERR_TIMEOUT);
  assert_int_equal(rv, 0);
  WAIT_FOR((rv = km_bstream_read(b, buf, sizeof buf, &n, 0, &err)) != KM_ERR_TIMEOUT);
  assert_int_equal(rv, 0);
  assert_int_equal(n, 3);
  assert_int_equal(km_bconn_send_datagram(p.at_client, "d", 1, 0, &err), 0);
  WAIT_FOR((rv = km_bconn_recv_datagram(p.at_server, buf, 8, &n, 0, &err)) != KM_ERR_TIMEOUT);
  assert_int_equal(rv, 0);
  km_bstream_free(a);
  km_bstream_free(b);
  pair_close(&p);
}

/* --- closed while waiting -------------------------------------------------------------------- */

typedef struct caller {
  task task;
  stuck *k;
  const waiting_call *call;
  km_errinfo err;
} caller;

static int make_call(void *arg) {
  caller *c = arg;
  return c->call->call(c->k, -1, &c->err);
}

/* All calls at once, each in its thread; returns when all wait. */
static void start_callers(caller *callers, stuck *k, bool on_conn_only) {
  for (size_t i = 0; i < CALLS; i++) {
    callers[i] = (caller){.k = k, .call = &calls[i]};
    if (calls[i].on_conn || !on_conn_only) {
      task_start(&callers[i].task, make_call, &callers[i]);
    }
  }
  for (size_t i = 0; i < CALLS; i++) {
    if (calls[i].on_conn || !on_conn_only) {
      task_wait_asleep(&callers[i].task);
    }
  }
}

static void expect_all(caller *callers, int want, uint64_t peer_code, bool on_conn_only) {
  for (size_t i = 0; i < CALLS; i++) {
    if (on_conn_only && !calls[i].on_conn) {
      continue;
    }
    int rv = task_join(&callers[i].task);
    const km_errinfo *err = &callers[i].err;
    if (rv != want || err->code != want || err->peer_code != peer_code || err->text[0] == '\0') {
      fail_msg("%s: %s, code %llu, \"%s\"", calls[i].name, km_error_name(rv),
               (unsigned long long)err->peer_code, err->text);
    }
  }
}

static int wait_closed(void *arg) {
  stuck *k = arg;
  km_close_info info = {0};
  int rv = km_bconn_wait_closed(k->p.at_client, &info, -1);
  return rv != 0 ? rv : info.error;
}

static void test_endpoint_closed_while_waiting(void **state) {
  (void)state;
  stuck k;
  caller callers[CALLS];
  task closed;
  km_errinfo err;
  stuck_open(&k);
  start_callers(callers, &k, false);
  task_start(&closed, wait_closed, &k);
  task_wait_asleep(&closed);
  km_blocking_close(k.p.client);
  expect_all(callers, KM_ERR_CLOSED, 0, false);
  assert_int_equal(task_join(&closed), KM_OK); /* it did end, and we ended it */

  /* What is left of it says so too. */
  for (size_t i = 0; i < CALLS; i++) {
    if (calls[i].on_conn) {
      assert_int_equal(calls[i].call(&k, -1, &err), KM_ERR_CLOSED);
    }
  }
  k.p.client = NULL;
  stuck_close(&k);
}

static void test_conn_closed_here_while_waiting(void **state) {
  (void)state;
  stuck k;
  caller callers[CALLS];
  km_close_info info;
  stuck_open(&k);
  start_callers(callers, &k, true);
  km_bconn_close(k.p.at_client, 5, "bye", 3);
  expect_all(callers, KM_ERR_CLOSED, 0, true);
  assert_int_equal(km_bconn_wait_closed(k.p.at_client, &info, PATIENCE_MS), 0);
  assert_int_equal(info.origin, KM_CLOSE_LOCAL_APP);
  assert_int_equal(info.error, KM_OK);
  assert_int_equal(info.code, 5);
  assert_int_equal(km_bconn_wait_closed(k.p.at_server, &info, PATIENCE_MS), 0);
  assert_int_equal(info.origin, KM_CLOSE_REMOTE_APP);
  assert_int_equal(info.error, KM_ERR_CLOSED_BY_PEER);
  assert_int_equal(info.code, 5);
  assert_int_equal(info.reason_len, 3);
  assert_memory_equal(info.reason, "bye", 3);
  stuck_close(&k);
}

static void test_conn_closed_by_peer_while_waiting(void **state) {
  (void)state;
  stuck k;
  caller callers[CALLS];
  stuck_open(&k);
  start_callers(callers, &k, true);
  km_bconn_close(k.p.at_server, 7, NULL, 0);
  expect_all(callers, KM_ERR_CLOSED_BY_PEER, 7, true);
  stuck_close(&k);
}

/* A handle that one thread frees under another: against the rules, but no crash. */
static void test_freed_while_waiting(void **state) {
  (void)state;
  stuck k;
  caller reader = {.k = &k, .call = &calls[5]}, accepter = {.k = &k, .call = &calls[3]};
  stuck_open(&k);
  task_start(&reader.task, make_call, &reader);
  task_start(&accepter.task, make_call, &accepter);
  task_wait_asleep(&reader.task);
  task_wait_asleep(&accepter.task);
  km_bstream_free(k.at_client[0]);
  k.at_client[0] = NULL;
  assert_int_equal(task_join(&reader.task), KM_ERR_CLOSED);
  km_bconn_free(k.p.at_client);
  k.p.at_client = NULL;
  assert_int_equal(task_join(&accepter.task), KM_ERR_CLOSED);
  stuck_close(&k);
}

/* --- a datagram that waits for room ---------------------------------------------------------- */

/* A server whose loop thread stands still in a filter acknowledges nothing. */
typedef struct gate {
  atomic_bool closed;
  sem_t waiting, open;
} gate;

static km_accept_verdict stand_still(void *ctx, const km_incoming *incoming) {
  (void)incoming;
  gate *g = ctx;
  if (atomic_exchange(&g->closed, false)) {
    (void)sem_post(&g->waiting);
    while (sem_wait(&g->open) != 0) {
    }
  }
  return KM_ACCEPT;
}

static int flood(void *arg) {
  static const uint8_t data[1000];
  int rv;
  do {
    rv = km_bconn_send_datagram(arg, data, sizeof data, -1, NULL);
  } while (rv == 0);
  return rv;
}

static int dial_again(void *arg) {
  pair *p = arg;
  km_bconn *c = NULL;
  int rv = km_blocking_dial(p->client, &c, p->addr, PAIR_ALPN, -1, NULL);
  km_bconn_free(c);
  return rv;
}

static void test_datagram_waits_for_room(void **state) {
  (void)state;
  pair p;
  gate g = {.closed = false};
  km_endpoint_options server, client;
  task flooder, dialler;
  km_errinfo err;
  static const uint8_t data[1000];
  assert_int_equal(sem_init(&g.waiting, 0, 0), 0);
  assert_int_equal(sem_init(&g.open, 0, 0), 0);
  pair_options(&server);
  server.callbacks.on_incoming = stand_still;
  server.ctx = &g;
  pair_options(&client);
  client.datagram_queue = 4;
  pair_connect(&p, &client, &server);
  atomic_store(&g.closed, true);
  task_start(&dialler, dial_again, &p);
  while (sem_wait(&g.waiting) != 0) {
  }
  task_start(&flooder, flood, p.at_client);
  task_wait_asleep(&flooder);
  WAIT_FOR(km_bconn_send_datagram(p.at_client, data, sizeof data, 20, &err) == KM_ERR_TIMEOUT);
  km_blocking_close(p.client); /* needs no answer from the server */
  p.client = NULL;
  assert_int_equal(task_join(&flooder), KM_ERR_CLOSED);
  assert_int_equal(task_join(&dialler), KM_ERR_CLOSED);
  (void)sem_post(&g.open);
  pair_close(&p);
  (void)sem_destroy(&g.waiting);
  (void)sem_destroy(&g.open);
}

/* --- calls in the wrong place ---------------------------------------------------------------- */

typedef struct caller_back {
  km_blocking *b;
  km_addr *addr;
  atomic_int dial, accept, ask;
} caller_back;

static bool call_back(void *ctx, const km_id *peer, const char *alpn) {
  (void)peer;
  (void)alpn;
  caller_back *cb = ctx;
  km_bconn *c;
  km_addr *addr;
  atomic_store(&cb->dial, km_blocking_dial(cb->b, &c, cb->addr, PAIR_ALPN, -1, NULL));
  atomic_store(&cb->accept, km_blocking_accept(cb->b, &c, -1, NULL));
  atomic_store(&cb->ask, km_blocking_addr(cb->b, &addr));
  return true;
}

/* Waiting on the loop thread for the loop thread would never end. */
static void test_no_waiting_in_callbacks(void **state) {
  (void)state;
  pair p;
  caller_back cb = {.b = NULL};
  km_endpoint_options server;
  km_errinfo err;
  pair_options(&server);
  server.callbacks.on_peer = call_back;
  server.ctx = &cb;
  pair_open(&p, NULL, &server);
  cb.b = p.server;
  cb.addr = p.addr;
  assert_int_equal(km_blocking_dial(p.client, &p.at_client, p.addr, PAIR_ALPN, PATIENCE_MS, &err),
                   0);
  assert_int_equal(km_blocking_accept(p.server, &p.at_server, PATIENCE_MS, &err), 0);
  assert_int_equal(atomic_load(&cb.dial), KM_ERR_THREAD);
  assert_int_equal(atomic_load(&cb.accept), KM_ERR_THREAD);
  assert_int_equal(atomic_load(&cb.ask), KM_ERR_THREAD);
  pair_close(&p);
}

static void test_bad_arguments(void **state) {
  (void)state;
  km_endpoint_options opt;
  km_blocking *b = NULL;
  km_bconn *c = NULL;
  km_errinfo err = {0};
  pair p;
  char long_alpn[300];
  memset(long_alpn, 'a', sizeof long_alpn);
  long_alpn[sizeof long_alpn - 1] = '\0';

  pair_options(&opt);
  opt.stream_window = 1;
  assert_int_equal(km_blocking_open(&b, &opt, &err), KM_ERR_INVALID);
  assert_non_null(strstr(err.text, "stream_window"));
  memset(&opt, 0, sizeof opt);
  assert_int_equal(km_blocking_open(&b, &opt, &err), KM_ERR_INVALID);
  assert_int_equal(km_blocking_open(NULL, NULL, &err), KM_ERR_INVALID);
  assert_null(b);

  pair_open(&p, NULL, NULL);
  assert_int_equal(km_blocking_listen(p.server, PAIR_ALPN, &err), KM_ERR_INVALID); /* twice */
  assert_int_equal(km_blocking_listen(p.server, "", &err), KM_ERR_BAD_ALPN);
  assert_int_equal(km_blocking_listen(p.server, long_alpn, &err), KM_ERR_BAD_ALPN);
  assert_int_equal(km_blocking_dial(p.client, &c, p.addr, "", 0, &err), KM_ERR_BAD_ALPN);
  assert_int_equal(km_blocking_dial(p.client, &c, p.addr, long_alpn, 0, &err), KM_ERR_BAD_ALPN);
  assert_int_equal(km_blocking_dial(p.client, &c, NULL, PAIR_ALPN, 0, &err), KM_ERR_INVALID);
  assert_int_equal(km_blocking_dial(p.server, &c, p.addr, PAIR_ALPN, -1, &err), KM_ERR_SELF_DIAL);
  assert_int_equal(km_blocking_dial(p.client, &c, p.addr, "other", -1, &err), KM_ERR_ALPN_REFUSED);
  assert_true(err.text[0] != '\0');
  assert_null(c);
  km_bconn_free(NULL);
  km_bstream_free(NULL);
  km_blocking_close(NULL);
  pair_close(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bad_arguments),
      cmocka_unit_test(test_timeouts),
      cmocka_unit_test(test_poll_succeeds),
      cmocka_unit_test(test_endpoint_closed_while_waiting),
      cmocka_unit_test(test_conn_closed_here_while_waiting),
      cmocka_unit_test(test_conn_closed_by_peer_while_waiting),
      cmocka_unit_test(test_freed_while_waiting),
      cmocka_unit_test(test_datagram_waits_for_room),
      cmocka_unit_test(test_no_waiting_in_callbacks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
