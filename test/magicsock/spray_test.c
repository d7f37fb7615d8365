/* Extra sockets for guessing ports: their numbers, and that each owner has its own. */
#include "test/magicsock/node.h"

/* A way through such a socket, with one reference. */
static km_path *path_via(node *n, uint32_t via) {
  const km_udp_addr to = addr_of("127.0.0.1:9");
  km_path_key key;
  km_path *path;
  assert_int_equal(km_magicsock_key_via(n->ms, &to, via, &key), 0);
  assert_int_equal(km_magicsock_path(n->ms, &key, &path), 0);
  return path;
}

static void open_node(node *n) {
  const node_options o = {.bind = {"127.0.0.1:0"}};
  node_open(n, &o);
}

static void every_spray_socket_is_named_by_its_via(void **state) {
  (void)state;
  node n;
  uint32_t vias[KM_MAGICSOCK_MAX_SPRAY];
  const km_udp_addr to = addr_of("127.0.0.1:9");
  open_node(&n);
  size_t count = km_magicsock_spray(n.ms, &n, 4, vias, KM_MAGICSOCK_MAX_SPRAY);
  assert_int_equal(count, KM_MAGICSOCK_MAX_SPRAY);
  for (size_t i = 0; i < count; i++) {
    km_path_key key;
    assert_int_equal(km_magicsock_key_via(n.ms, &to, vias[i], &key), 0);
    assert_int_equal(key.socket, KM_MAGICSOCK_MAX_SOCKETS + i);
    assert_int_equal(km_magicsock_via(n.ms, &key), vias[i]);
  }
  km_magicsock_spray_end(n.ms, &n);
  node_close(&n);
}

static void one_peers_way_leaves_sprays_to_others(void **state) {
  (void)state;
  enum { COUNT = 8 };
  node n;
  const int first = 0, second = 0; /* owners */
  uint32_t a[COUNT], b[COUNT];
  open_node(&n);
  assert_int_equal(km_magicsock_spray(n.ms, &first, 4, a, COUNT), COUNT);
  km_path *found = path_via(&n, a[3]);
  km_magicsock_spray_end(n.ms, &first);
  assert_int_equal(km_magicsock_spray(n.ms, &second, 4, b, COUNT), COUNT);
  for (size_t i = 0; i < COUNT; i++) {
    assert_int_not_equal(b[i], a[3]); /* that socket is still the first one's */
  }
  km_path_unref(n.ms, found);
  km_magicsock_spray_end(n.ms, &second);
  node_close(&n);
}

static void the_end_of_a_spray_closes_its_owners_sockets_only(void **state) {
  (void)state;
  enum { COUNT = 8 };
  node n;
  const int first = 0, second = 0; /* owners */
  uint32_t a[COUNT], b[COUNT];
  const km_udp_addr to = addr_of("127.0.0.1:9");
  km_path_key key;
  open_node(&n);
  assert_int_equal(km_magicsock_spray(n.ms, &first, 4, a, COUNT), COUNT);
  assert_int_equal(km_magicsock_spray(n.ms, &second, 4, b, COUNT), COUNT);
  km_magicsock_spray_end(n.ms, &first);
  for (size_t i = 0; i < COUNT; i++) {
    assert_int_equal(km_magicsock_key_via(n.ms, &to, a[i], &key), KM_ERR_CLOSED);
    assert_int_equal(km_magicsock_key_via(n.ms, &to, b[i], &key), 0);
  }
  km_magicsock_spray_end(n.ms, &second);
  node_close(&n);
}

#define T(test) cmocka_unit_test_setup_teardown(test, node_setup, node_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      T(every_spray_socket_is_named_by_its_via),
      T(one_peers_way_leaves_sprays_to_others),
      T(the_end_of_a_spray_closes_its_owners_sockets_only),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
