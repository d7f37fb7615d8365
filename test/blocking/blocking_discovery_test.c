/* Blocking endpoints that find each other by id alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <keymesh/keymesh.h>

#define ALPN "km/echo/1"
enum { WAIT_MS = 30000 };

/* The address book of the dialling side gets the other's address. */
typedef struct book {
  const km_addr *addr;
  unsigned called;
  int rv;
} book;

static int add_sources(void *ctx, km_discovery *discovery, km_errinfo *err) {
  book *b = ctx;
  b->called++;
  if (b->rv != 0) {
    (void)snprintf(err->text, sizeof err->text, "the book is closed");
    return b->rv;
  }
  return b->addr == NULL ? 0 : km_discovery_put(discovery, b->addr, NULL);
}

static km_endpoint_options loopback(void) {
  static const km_udp_addr here = {.family = 4, .ip = {127, 0, 0, 1}};
  km_endpoint_options options;
  km_endpoint_options_default(&options);
  options.bind = &here;
  options.bind_count = 1;
  options.port_mapping = false;
  return options;
}

static km_blocking *open_with(book *b) {
  km_blocking *ret;
  km_errinfo err = {0};
  const km_endpoint_options options = loopback();
  const km_blocking_discovery discovery = {
      .size = sizeof discovery, .add_sources = add_sources, .ctx = b};
  if (km_blocking_open_with(&ret, &options, &discovery, &err) != 0) {
    fail_msg("%s", err.text);
  }
  assert_int_equal(b->called, 1);
  return ret;
}

static void by_id_alone(void **state) {
  (void)state;
  book none = {0}, full = {0};
  km_errinfo err = {0};
  km_addr *where, *id;
  km_bconn *conn;
  km_blocking *server = open_with(&none);
  assert_int_equal(km_blocking_listen(server, ALPN, NULL), 0);
  assert_int_equal(km_blocking_addr(server, &where), 0);
  assert_int_equal(km_addr_new(&id, km_blocking_id(server)), 0);
  full.addr = where;
  km_blocking *client = open_with(&full);
  if (km_blocking_dial(client, &conn, id, ALPN, WAIT_MS, &err) != 0) {
    fail_msg("%s", err.text);
  }
  assert_true(km_id_equal(km_bconn_remote_id(conn), km_blocking_id(server)));
  km_bconn_free(conn);
  km_blocking_close(client);
  km_blocking_close(server);
  km_addr_free(where);
  km_addr_free(id);
}

static void nobody_knows(void **state) {
  (void)state;
  book none = {0};
  km_errinfo err = {0};
  km_addr *id;
  km_bconn *conn;
  km_blocking *other = open_with(&none);
  assert_int_equal(km_addr_new(&id, km_blocking_id(other)), 0);
  none.called = 0;
  km_blocking *client = open_with(&none);
  assert_int_equal(km_blocking_dial(client, &conn, id, ALPN, WAIT_MS, &err), KM_ERR_NO_ADDRESS);
  assert_true(strlen(err.text) > 0);
  km_blocking_close(client);
  km_blocking_close(other);
  km_addr_free(id);
}

static void sources_that_fail(void **state) {
  (void)state;
  km_blocking *b = NULL;
  km_errinfo err = {0};
  book closed = {.rv = KM_ERR_PERMISSION};
  const km_endpoint_options options = loopback();
  km_blocking_discovery discovery = {
      .size = sizeof discovery, .add_sources = add_sources, .ctx = &closed};
  assert_int_equal(km_blocking_open_with(&b, &options, &discovery, &err), KM_ERR_PERMISSION);
  assert_string_equal(err.text, "the book is closed");
  discovery.state_file = "/nowhere/at/all/state.db";
  assert_int_equal(km_blocking_open_with(&b, &options, &discovery, &err), KM_ERR_FILE_NOT_FOUND);
  discovery.size = 0;
  assert_int_equal(km_blocking_open_with(&b, &options, &discovery, &err), KM_ERR_INVALID);
  assert_null(b);
}

static void a_discovery_of_another_loop(void **state) {
  (void)state;
  km_loop *loop;
  km_discovery *discovery;
  km_blocking *b;
  km_endpoint_options options = loopback();
  assert_int_equal(km_loop_new(&loop), 0);
  assert_int_equal(km_discovery_new(&discovery, loop, NULL, NULL), 0);
  options.discovery = discovery;
  assert_int_equal(km_blocking_open(&b, &options, NULL), KM_ERR_INVALID);
  km_discovery_free(discovery);
  assert_int_equal(km_loop_free(loop), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(by_id_alone),
      cmocka_unit_test(nobody_knows),
      cmocka_unit_test(sources_that_fail),
      cmocka_unit_test(a_discovery_of_another_loop),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
