/* Calls that no header allows: an error with a sentence, never a crash. */
#include "test/endpoint/lab.h"

#define EXPECT_SENTENCE(call, want)                                                                \
  do {                                                                                             \
    km_errinfo err = {0};                                                                          \
    km_errinfo *errp = &err;                                                                       \
    assert_int_equal((call), (want));                                                              \
    assert_int_equal(err.code, (want));                                                            \
    assert_true(err.text[0] != '\0');                                                              \
    errp = NULL; /* and again by somebody who does not want to know */                             \
    assert_int_equal((call), (want));                                                              \
  } while (0)

static void opening(void **state) {
  (void)state;
  lab l;
  km_endpoint *ep;
  lab_open(&l);
  EXPECT_SENTENCE(km_endpoint_open(NULL, l.loop, NULL, errp), KM_ERR_INVALID);
  EXPECT_SENTENCE(km_endpoint_open(&ep, NULL, NULL, errp), KM_ERR_INVALID);
  km_endpoint_close(NULL);
  lab_close(&l);
}

/* Without relays, an address that has nothing else leads nowhere. */
static void dialling_a_relay_without_relays(void **state) {
  (void)state;
  lab l;
  km_conn *c;
  km_addr *addr;
  lab_open(&l);
  km_endpoint_options o;
  km_endpoint_options_default(&o);
  o.relay_mode = KM_RELAY_MODE_DISABLED;
  lab_endpoint *client = lab_endpoint_open(&l, &o);
  const km_id peer = {{1}};
  assert_int_equal(km_addr_new(&addr, &peer), 0);
  assert_int_equal(km_addr_add_relay(addr, "https://relay.example/", 22, NULL), 0);
  EXPECT_SENTENCE(km_endpoint_dial(client->ep, &c, addr, "x", NULL, NULL, NULL, errp),
                  KM_ERR_NO_ADDRESS);
  assert_false(km_endpoint_online(client->ep));
  km_addr_free(addr);
  lab_close(&l);
}

static void dialling(void **state) {
  (void)state;
  lab l;
  km_conn *c;
  km_addr *addr, *self, *nowhere;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_endpoint *client = lab_endpoint_open(&l, NULL);
  addr = lab_addr(server, NULL);
  self = lab_addr(client, NULL);
  assert_int_equal(km_addr_new(&nowhere, km_endpoint_id(server->ep)), 0);
  static char alpn[300];
  memset(alpn, 'a', 299);
  km_endpoint *ep = client->ep;
  const km_dial_options no_size = {.size = 0};
  EXPECT_SENTENCE(km_endpoint_dial(NULL, &c, addr, "x", NULL, NULL, NULL, errp), KM_ERR_INVALID);
  EXPECT_SENTENCE(km_endpoint_dial(ep, NULL, addr, "x", NULL, NULL, NULL, errp), KM_ERR_INVALID);
  EXPECT_SENTENCE(km_endpoint_dial(ep, &c, NULL, "x", NULL, NULL, NULL, errp), KM_ERR_INVALID);
  EXPECT_SENTENCE(km_endpoint_dial(ep, &c, addr, NULL, NULL, NULL, NULL, errp), KM_ERR_BAD_ALPN);
  EXPECT_SENTENCE(km_endpoint_dial(ep, &c, addr, "", NULL, NULL, NULL, errp), KM_ERR_BAD_ALPN);
  EXPECT_SENTENCE(km_endpoint_dial(ep, &c, addr, alpn, NULL, NULL, NULL, errp), KM_ERR_BAD_ALPN);
  EXPECT_SENTENCE(km_endpoint_dial(ep, &c, self, "x", NULL, NULL, NULL, errp), KM_ERR_SELF_DIAL);
  EXPECT_SENTENCE(km_endpoint_dial(ep, &c, nowhere, "x", NULL, NULL, NULL, errp),
                  KM_ERR_NO_ADDRESS);
  EXPECT_SENTENCE(km_endpoint_dial(ep, &c, addr, "x", NULL, NULL, &no_size, errp), KM_ERR_INVALID);
  km_endpoint_close(ep);
  EXPECT_SENTENCE(km_endpoint_dial(ep, &c, addr, "x", NULL, NULL, NULL, errp), KM_ERR_CLOSED);
  const km_udp_addr at = {.family = 4, .ip = {127, 0, 0, 1}};
  EXPECT_SENTENCE(km_endpoint_rebind(ep, &at, errp), KM_ERR_CLOSED);
  const km_protocol p = {.size = sizeof p, .alpn = "x"};
  EXPECT_SENTENCE(km_endpoint_add_protocol(ep, &p, errp), KM_ERR_CLOSED);
  km_addr_free(addr);
  km_addr_free(self);
  km_addr_free(nowhere);
  lab_close(&l);
}

static void protocols_and_questions(void **state) {
  (void)state;
  lab l;
  lab_open(&l);
  lab_endpoint *e = lab_endpoint_open(&l, NULL);
  km_protocol p = {.size = sizeof p, .alpn = NULL};
  EXPECT_SENTENCE(km_endpoint_add_protocol(e->ep, &p, errp), KM_ERR_BAD_ALPN);
  EXPECT_SENTENCE(km_endpoint_add_protocol(e->ep, NULL, errp), KM_ERR_INVALID);
  assert_int_equal(km_endpoint_remove_protocol(e->ep, "nobody"), KM_ERR_NOT_FOUND);
  assert_int_equal(km_endpoint_remove_protocol(e->ep, NULL), KM_ERR_NOT_FOUND);
  km_endpoint_stats stats = {.size = 0};
  assert_int_equal(km_endpoint_get_stats(e->ep, NULL), KM_ERR_INVALID);
  assert_int_equal(km_endpoint_get_stats(e->ep, &stats), KM_ERR_INVALID);
  /* A program built with an older, shorter struct. */
  struct {
    km_endpoint_stats stats;
    uint64_t behind;
  } old = {.stats = {.size = offsetof(km_endpoint_stats, paths)}, .behind = 7};
  old.stats.paths = 1234567;
  assert_int_equal(km_endpoint_get_stats(e->ep, &old.stats), 0);
  assert_int_equal(old.stats.paths, 1234567);
  old.stats.size = sizeof old; /* and with a newer, longer one */
  assert_int_equal(km_endpoint_get_stats(e->ep, &old.stats), 0);
  assert_int_equal(old.behind, 7);
  assert_int_equal(km_endpoint_addr(e->ep, NULL), KM_ERR_INVALID);
  assert_int_equal(km_endpoint_bound(e->ep, NULL, 0), 0);
  const km_udp_addr strange = {.family = 9};
  EXPECT_SENTENCE(km_endpoint_rebind(e->ep, &strange, errp), KM_ERR_INVALID);
  lab_close(&l);
}

static void connections(void **state) {
  (void)state;
  lab l;
  km_stream *s;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, NULL), server, NULL);
  assert_int_equal(km_conn_open_stream(NULL, &s, true, NULL, NULL), KM_ERR_INVALID);
  assert_int_equal(km_conn_open_stream(c->conn, NULL, true, NULL, NULL), KM_ERR_INVALID);
  assert_int_equal(km_conn_send_datagram(c->conn, NULL, 1), KM_ERR_INVALID);
  assert_int_equal(km_conn_send_datagram(NULL, "x", 1), KM_ERR_INVALID);
  assert_int_equal(km_conn_send_datagram(c->conn, NULL, 0), 0);
  assert_int_equal(km_conn_update_keys(NULL), KM_ERR_INVALID);
  km_conn_stats stats = {.size = 0};
  assert_int_equal(km_conn_get_stats(c->conn, NULL), KM_ERR_INVALID);
  assert_int_equal(km_conn_get_stats(c->conn, &stats), KM_ERR_INVALID);
  const km_udp_addr none = {.family = 0}, portless = {.family = 4, .ip = {127, 0, 0, 1}};
  EXPECT_SENTENCE(km_conn_migrate(c->conn, NULL, errp), KM_ERR_BAD_ADDR);
  EXPECT_SENTENCE(km_conn_migrate(c->conn, &none, errp), KM_ERR_BAD_ADDR);
  EXPECT_SENTENCE(km_conn_migrate(c->conn, &portless, errp), KM_ERR_BAD_ADDR);
  assert_int_equal(km_conn_paths(c->conn, NULL, 0), 0);
  km_conn_set_keep_alive(c->conn, UINT32_MAX);
  km_conn_close(NULL, 0, NULL, 0);
  lab_expect_echo(c, 1000);
  km_conn_close(c->conn, UINT64_MAX, NULL, SIZE_MAX);
  LAB_WAIT(&l, c->closed > 0);
  lab_close(&l);
}

static void keep_released(void *ctx, const void *data, size_t len) {
  (void)data;
  (void)len;
  ++*(int *)ctx;
}

static void streams(void **state) {
  (void)state;
  lab l;
  size_t taken = 77;
  int released = 0;
  static uint8_t huge[(1 << 20) + 1];
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, NULL), server, NULL);
  lab_stream *a = lab_stream_open(c, true);
  km_stream *s = a->stream;
  EXPECT_SENTENCE(km_stream_write(NULL, "x", 1, false, &taken, errp), KM_ERR_INVALID);
  EXPECT_SENTENCE(km_stream_write(s, NULL, 1, false, &taken, errp), KM_ERR_INVALID);
  EXPECT_SENTENCE(km_stream_write(s, "x", 1, false, NULL, errp), KM_ERR_INVALID);
  assert_int_equal(taken, 77); /* untouched on error */
  EXPECT_SENTENCE(km_stream_write_ref(s, NULL, 1, false, keep_released, &released, errp),
                  KM_ERR_INVALID);
  EXPECT_SENTENCE(km_stream_write_ref(s, "x", 1, false, NULL, NULL, errp), KM_ERR_INVALID);
  EXPECT_SENTENCE(km_stream_write_ref(s, huge, sizeof huge, false, keep_released, &released, errp),
                  KM_ERR_INVALID);
  assert_int_equal(km_stream_write(s, NULL, 0, false, NULL, NULL), 0); /* nothing, that is fine */
  assert_int_equal(km_stream_reset(s, UINT64_MAX), KM_ERR_INVALID);
  assert_int_equal(km_stream_stop(s, UINT64_MAX), KM_ERR_INVALID);
  assert_int_equal(km_stream_reset(NULL, 0), KM_ERR_INVALID);
  assert_int_equal(km_stream_stop(NULL, 0), KM_ERR_INVALID);
  km_stream_consume(s, SIZE_MAX);
  lab_stream_write_text(a, "all is well", true);
  EXPECT_SENTENCE(km_stream_write(s, "x", 1, false, &taken, errp), KM_ERR_STREAM_FINISHED);
  EXPECT_SENTENCE(km_stream_write_ref(s, "x", 1, false, keep_released, &released, errp),
                  KM_ERR_STREAM_FINISHED);
  LAB_WAIT(&l, a->closed);
  assert_memory_equal(a->first, "all is well", 11);
  assert_int_equal(released, 0);
  lab_close(&l);
}

/* --- callbacks that pull the rug ------------------------------------------------------------- */

typedef struct rug {
  lab *l;
  lab_endpoint *server, *client;
  int where, pulled, conn_closed;
} rug;

enum { AT_CONNECTED, AT_STREAM_DATA, AT_STREAM_CLOSED, AT_DATAGRAM, PLACES };

static void pull(rug *r, km_conn *conn, int where) {
  if (r->where % PLACES != where || r->pulled > 0) {
    return;
  }
  r->pulled++;
  if (r->where < PLACES) {
    km_conn_close(conn, 9, "rug", 3);
  } else {
    km_endpoint_close(km_conn_endpoint(conn));
  }
}

static void rug_data(void *ctx, km_stream *s, const void *data, size_t len, bool fin) {
  (void)data;
  (void)len;
  (void)fin;
  pull(ctx, km_stream_conn(s), AT_STREAM_DATA);
}

static void rug_stream_closed(void *ctx, km_stream *s, int error) {
  (void)error;
  pull(ctx, km_stream_conn(s), AT_STREAM_CLOSED);
}

static void rug_connected(void *ctx, km_conn *conn) {
  static const km_stream_callbacks callbacks = {
      .size = sizeof callbacks, .on_data = rug_data, .on_closed = rug_stream_closed};
  km_stream *s;
  if (km_conn_open_stream(conn, &s, true, &callbacks, ctx) == 0) {
    (void)!km_stream_write(s, "hello", 5, true, &(size_t){0}, NULL);
  }
  (void)!km_conn_send_datagram(conn, "ping", 4);
  pull(ctx, conn, AT_CONNECTED);
}

static void rug_datagram(void *ctx, km_conn *conn, const void *data, size_t len) {
  (void)data;
  (void)len;
  pull(ctx, conn, AT_DATAGRAM);
}

static void rug_closed(void *ctx, km_conn *conn, const km_close_info *info) {
  rug *r = ctx;
  (void)info;
  r->conn_closed++;
  km_conn_close(conn, 1, NULL, 0); /* too late, and harmless */
}

static void closing_from_any_callback(void **state) {
  (void)state;
  static const km_conn_callbacks callbacks = {.size = sizeof callbacks,
                                              .on_connected = rug_connected,
                                              .on_datagram = rug_datagram,
                                              .on_closed = rug_closed};
  for (int where = 0; where < 2 * PLACES; where++) {
    lab l;
    km_conn *conn;
    lab_open(&l);
    rug r = {.l = &l, .where = where};
    r.server = lab_server_open(&l, NULL, LAB_ECHO);
    r.server->echo_datagrams = true;
    r.client = lab_endpoint_open(&l, NULL);
    km_addr *addr = lab_addr(r.server, NULL);
    assert_int_equal(
        km_endpoint_dial(r.client->ep, &conn, addr, LAB_ALPN, &callbacks, &r, NULL, NULL), 0);
    km_addr_free(addr);
    LAB_WAIT(&l, r.conn_closed == 1);
    assert_int_equal(r.pulled, 1);
    LAB_WAIT(&l, where < PLACES || r.client->ep == NULL);
    lab_close(&l);
    assert_int_equal(r.conn_closed, 1);
  }
}

static void a_connection_without_callbacks_lives_and_dies(void **state) {
  (void)state;
  lab l;
  km_conn *conn;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_endpoint *client = lab_endpoint_open(&l, NULL);
  km_addr *addr = lab_addr(server, NULL);
  assert_int_equal(km_endpoint_dial(client->ep, &conn, addr, LAB_ALPN, NULL, NULL, NULL, NULL), 0);
  km_addr_free(addr);
  LAB_WAIT(&l, server->accepted_count == 1 && km_conn_is_connected(conn));
  lab_stream *s = lab_stream_open(server->accepted[0], true); /* nobody takes it there */
  lab_stream_write_text(s, "anybody?", true);
  LAB_WAIT(&l, s->closed);
  km_conn_close(conn, 0, NULL, 0);
  LAB_WAIT(&l, server->accepted[0]->closed > 0);
  lab_close(&l);
}

/* The loop says no while something is open on it. */
static void a_loop_in_use_is_not_freed(void **state) {
  (void)state;
  lab l;
  lab_open(&l);
  lab_endpoint_open(&l, NULL);
  assert_int_equal(km_loop_free(l.loop), KM_ERR_STATE);
  lab_close(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(opening),
      cmocka_unit_test(dialling),
      cmocka_unit_test(dialling_a_relay_without_relays),
      cmocka_unit_test(protocols_and_questions),
      cmocka_unit_test(connections),
      cmocka_unit_test(streams),
      cmocka_unit_test(closing_from_any_callback),
      cmocka_unit_test(a_connection_without_callbacks_lives_and_dies),
      cmocka_unit_test(a_loop_in_use_is_not_freed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
