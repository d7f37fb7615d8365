/* Two connections of one pair: one lives on, both sides agree which, and none is without. */
#include <arpa/inet.h>
#include <poll.h>
#include <unistd.h>

#include "endpoint/mesh/mesh_impl.h"
#include "test/mesh/mesh_lab.h"

#include "test/endpoint/unit/test_env.h"

enum { ROUNDS = 200 };

typedef struct two {
  mesh_lab lab;
  node *a, *b; /* a has the lower id */
  bool both_were_up;
  unsigned lost; /* a side was without a connection after both had one */
} two;

static two *watched; /* of the hook, which has no context of its own */

static void on_peer(node *n, const km_peer_status *s) {
  (void)n;
  watched->lost += watched->both_were_up && s->state != KM_PEER_CONNECTED;
}

static bool settled(two *t) {
  return node_up(t->a, t->b) && node_up(t->b, t->a) && node_conns(t->a) == 1 &&
         node_conns(t->b) == 1 &&
         node_status(t->a, t->b).dialled_by_us != node_status(t->b, t->a).dialled_by_us;
}

/* Turns of the two loops in an order and number of their own, so that each side is now ahead, now
 * behind: packets wait in sockets, timers run late. */
static void stumble(two *t, test_rng *rng, unsigned skew) {
  node *first = test_rng_below(rng, 2) == 0 ? t->a : t->b, *second = first == t->a ? t->b : t->a;
  for (size_t i = test_rng_below(rng, 1 + skew); i > 0; i--) {
    km_loop_run_once(first->loop, test_rng_below(rng, 4) == 0 ? 1 : 0);
  }
  km_loop_run_once(second->loop, 0);
  t->both_were_up = t->both_were_up || (node_up(t->a, t->b) && node_up(t->b, t->a));
}

static void add(node *n, bool dial) {
  km_mesh_peer peer = n->peers[0];
  peer.dial = dial;
  assert_int_equal(km_peer_add(n->mesh, &peer, NULL), 0);
}

static void both_dial_at_once_in_many_ways(void **state) {
  (void)state;
  two t = {.lost = 0};
  test_rng rng = {.state = 20261121};
  unsigned crossed = 0, by_a = 0;
  mesh_lab_open(&t.lab);
  t.a = node_new(&t.lab);
  t.b = node_new(&t.lab);
  node_peer(t.a, t.b, true);
  node_peer(t.b, t.a, true);
  t.a->opt.heartbeat_timeout_ms = t.b->opt.heartbeat_timeout_ms = 60000;
  t.a->opt.connect_timeout_ms = t.b->opt.connect_timeout_ms = 60000;
  watched = &t;
  node_start(t.a);
  node_start(t.b);
  WAIT(&t.lab, settled(&t));
  t.a->on_peer_hook = t.b->on_peer_hook = on_peer;
  for (int round = 0; round < ROUNDS; round++) {
    t.both_were_up = false;
    assert_int_equal(km_peer_remove(t.a->mesh, &t.b->id), 0);
    assert_int_equal(km_peer_remove(t.b->mesh, &t.a->id), 0);
    WAIT(&t.lab,
         node_conns(t.a) == 0 && node_conns(t.b) == 0 && !node_up(t.a, t.b) && !node_up(t.b, t.a));
    t.lost = 0;
    uint64_t before = node_stats(t.a).handshakes + node_stats(t.b).handshakes;
    unsigned skew = (unsigned)test_rng_below(&rng, 12);
    node *first = test_rng_below(&rng, 2) == 0 ? t.a : t.b;
    /* The other one is configured, or it would refuse; it dials a little later. */
    add(first == t.a ? t.b : t.a, false);
    add(first, true);
    for (size_t i = test_rng_below(&rng, 8); i > 0; i--) {
      stumble(&t, &rng, skew);
    }
    add(first == t.a ? t.b : t.a, true);
    uint64_t until = mesh_lab_ms() + 1000 * LAB_PATIENCE_S;
    unsigned quiet = 0;
    while (quiet < 50) {
      assert_true(mesh_lab_ms() < until);
      stumble(&t, &rng, skew);
      quiet = settled(&t) ? quiet + 1 : 0;
    }
    assert_int_equal(t.lost, 0);
    assert_string_equal(node_error(t.a, t.b), "");
    assert_string_equal(node_error(t.b, t.a), "");
    assert_int_equal(node_status(t.a, t.b).attempts + node_status(t.b, t.a).attempts, 0);
    crossed += node_stats(t.a).handshakes + node_stats(t.b).handshakes - before > 2;
    by_a += node_status(t.a, t.b).dialled_by_us;
  }
  /* The rounds were worth it: in many of them two connections came up. */
  print_message("two connections in %u of %d rounds, kept the one of the lower id in %u\n", crossed,
                ROUNDS, by_a);
  assert_true(crossed >= ROUNDS / 10);
  t.a->on_peer_hook = t.b->on_peer_hook = NULL;
  mesh_lab_close(&t.lab);
}

/* --- against a peer that we play -------------------------------------------------------------- */

#define HELLO_INSTANCE(digit)                                                                      \
  "{\"type\":\"HELLO\",\"node_id\":\"raw\",\"version\":\"1.0\",\"instance\":"                      \
  "\"000000000000000" digit "\",\"capabilities\":{}}"
#define ACK_INSTANCE(digit) ACK_OF("raw", ",\"instance\":\"000000000000000" digit "\"")

/* A node, and a raw peer that it dialled and is up with. */
static raw *listening(mesh_lab *l, node **n, bool node_is_lower) {
  mesh_lab_open(l);
  raw *r = NULL;
  l->floor = node_is_lower ? 0 : 0x80; /* so that about half of the keys will do */
  *n = node_new(l);
  for (uint8_t key = 1; r == NULL; key++) {
    raw *made = raw_listen(l, *n, key);
    km_id id = raw_id(made);
    if ((memcmp((*n)->id.bytes, id.bytes, KM_ID_BYTES) < 0) == node_is_lower) {
      r = made;
    } else {
      (*n)->peer_count--;
      km_addr_free((km_addr *)(uintptr_t)(*n)->peers[(*n)->peer_count].addr);
    }
  }
  (*n)->opt.connect_timeout_ms = 30000; /* nothing here is stale */
  (*n)->opt.heartbeat_timeout_ms = 60000;
  node_start(*n);
  WAIT(l, raw_heard(r, "HELLO"));
  return r;
}

static node of_raw(const raw *r) {
  return (node){.id = raw_id(r)};
}

static void the_lower_id_keeps_what_it_dialled(void **state) {
  (void)state;
  mesh_lab l;
  node *n;
  raw *r = listening(&l, &n, true);
  node other = of_raw(r);
  raw_say(r, ACK_INSTANCE("1"));
  WAIT(&l, node_up(n, &other));
  raw *second = raw_dial_again(r, n);
  raw_say(second, HELLO_INSTANCE("1"));
  WAIT(&l, second->closed);
  assert_int_equal(second->info.code, 2); /* duplicate */
  assert_false(raw_heard(second, "\"ok\":true"));
  assert_true(node_up(n, &other) && node_status(n, &other).dialled_by_us);
  assert_false(r->closed);
  assert_string_equal(node_error(n, &other), "");
  mesh_lab_close(&l);
}

static void the_lower_id_changes_over_when_its_own_comes_up(void **state) {
  (void)state;
  mesh_lab l;
  node *n;
  raw *r = listening(&l, &n, true);
  node other = of_raw(r);
  raw *second = raw_dial_again(r, n);
  raw_say(second, HELLO_INSTANCE("1"));
  WAIT(&l, raw_heard(second, "\"ok\":true") && node_up(n, &other));
  assert_false(node_status(n, &other).dialled_by_us);
  raw_say(second, BEAT);
  mesh_lab_run(&l, 50);
  assert_false(second->closed); /* ours is not up yet: it is the only one */
  raw_say(r, ACK_INSTANCE("1"));
  WAIT(&l, second->closed);
  assert_int_equal(second->info.code, 2);
  assert_true(node_up(n, &other) && node_status(n, &other).dialled_by_us && !r->closed);
  mesh_lab_close(&l);
}

/* Hands packets over between a node that sends to `fds[0]` and `to`, which hears from `fds[1]`. */
static void forward(const int fds[2], struct sockaddr_in *from, const struct sockaddr_in *to) {
  uint8_t packet[2000];
  socklen_t len = sizeof *from;
  ssize_t n;
  while ((n = recvfrom(fds[0], packet, sizeof packet, MSG_DONTWAIT, (struct sockaddr *)from,
                       &len)) > 0) {
    (void)sendto(fds[1], packet, (size_t)n, 0, (const struct sockaddr *)to, sizeof *to);
  }
  while ((n = recv(fds[1], packet, sizeof packet, MSG_DONTWAIT)) > 0) {
    (void)sendto(fds[0], packet, (size_t)n, 0, (const struct sockaddr *)from, sizeof *from);
  }
}

static int udp_socket(struct sockaddr_in *ret) {
  socklen_t len = sizeof *ret;
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  *ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  assert_true(fd >= 0 && bind(fd, (struct sockaddr *)ret, sizeof *ret) == 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)ret, &len), 0);
  return fd;
}

/* What is up is not given up for what comes too late. */
static void a_dial_that_arrives_late_changes_nothing(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  l.floor = 0;
  node *n = node_new(&l);
  raw *r = raw_listen(&l, n, 0xee);
  node other = of_raw(r);
  struct sockaddr_in hole, back, from;
  const int fds[2] = {udp_socket(&hole), udp_socket(&back)};
  km_udp_addr at = {.family = 4, .port = ntohs(hole.sin_port), .ip = {127, 0, 0, 1}}, real;
  assert_int_equal(km_endpoint_bound(r->ep, &real, 1), 1);
  struct sockaddr_in to = {
      .sin_family = AF_INET, .sin_port = htons(real.port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  km_addr_free((km_addr *)(uintptr_t)n->peers[0].addr);
  km_addr *addr;
  assert_int_equal(km_addr_new(&addr, &other.id), 0);
  assert_int_equal(km_addr_add_udp(addr, &at), 0);
  n->peers[0].addr = addr;
  n->opt.connect_timeout_ms = n->opt.heartbeat_timeout_ms = 60000;
  node_start(n);
  struct pollfd p = {.fd = fds[0], .events = POLLIN};
  WAIT(&l, poll(&p, 1, 0) == 1); /* it is on its way */
  raw *second = raw_dial_again(r, n);
  raw_say(second, HELLO_INSTANCE("1"));
  WAIT(&l, raw_heard(second, "\"ok\":true"));
  raw_say(second, BEAT);
  WAIT(&l, node_up(n, &other));
  mesh_lab_run(&l, 50);
  assert_int_equal(n->mesh->link_count, 2);
  WAIT(&l, (forward(fds, &from, &to), n->mesh->link_count == 1));
  assert_false(raw_heard(r, "HELLO"));
  mesh_lab_run(&l, 50);
  assert_true(node_up(n, &other) && !node_status(n, &other).dialled_by_us && !second->closed);
  assert_string_equal(node_error(n, &other), "");
  mesh_lab_close(&l);
  close(fds[0]);
  close(fds[1]);
}

static void the_higher_id_closes_none_and_follows_the_other(void **state) {
  (void)state;
  mesh_lab l;
  node *n;
  raw *r = listening(&l, &n, false);
  node other = of_raw(r);
  raw_say(r, ACK_INSTANCE("1"));
  WAIT(&l, node_up(n, &other));
  raw *second = raw_dial_again(r, n); /* as the lower id's */
  raw_say(second, HELLO_INSTANCE("1"));
  WAIT(&l, raw_heard(second, "\"ok\":true"));
  mesh_lab_run(&l, 1500); /* longer than it waits for a first sign */
  assert_true(node_status(n, &other).dialled_by_us && !r->closed && !second->closed);
  raw_say(second, BEAT); /* it may come later than that, and still is one */
  WAIT(&l, r->closed || !node_status(n, &other).dialled_by_us);
  assert_true(!r->closed && !second->closed);
  km_conn_close(r->conn, 2, NULL, 0);
  mesh_lab_run(&l, 50);
  assert_true(node_up(n, &other) && !second->closed);
  assert_string_equal(node_error(n, &other), "");
  assert_int_equal(node_status(n, &other).next_attempt_ms, 0);
  mesh_lab_close(&l);
}

/* Its second connection is closed instead: the first one goes on. */
static void the_higher_id_goes_back_when_the_other_is_closed(void **state) {
  (void)state;
  mesh_lab l;
  node *n;
  raw *r = listening(&l, &n, false);
  node other = of_raw(r);
  raw_say(r, ACK_INSTANCE("1"));
  WAIT(&l, node_up(n, &other));
  raw *second = raw_dial_again(r, n);
  raw_say(second, HELLO_INSTANCE("1"));
  raw_say(second, BEAT);
  WAIT(&l, !node_status(n, &other).dialled_by_us);
  km_conn_close(second->conn, 2, NULL, 0);
  WAIT(&l, node_status(n, &other).dialled_by_us);
  assert_true(node_up(n, &other) && !r->closed);
  mesh_lab_close(&l);
}

static void another_instance_replaces_the_old_one_whoever_decides(void **state) {
  (void)state;
  for (int lower = 0; lower < 2; lower++) {
    mesh_lab l;
    node *n;
    raw *r = listening(&l, &n, lower == 1);
    node other = of_raw(r);
    raw_say(r, ACK_INSTANCE("1"));
    WAIT(&l, node_up(n, &other));
    raw *second = raw_dial_again(r, n);
    raw_say(second, HELLO_INSTANCE("2"));
    WAIT(&l, r->closed && raw_heard(second, "\"ok\":true"));
    assert_int_equal(r->info.code, 2);
    assert_true(node_up(n, &other) && !node_status(n, &other).dialled_by_us && !second->closed);
    assert_string_equal(node_error(n, &other), "");
    mesh_lab_close(&l);
  }
}

static void a_second_one_of_the_same_side_replaces_the_first(void **state) {
  (void)state;
  for (int lower = 0; lower < 2; lower++) {
    mesh_lab l;
    node *n;
    raw *r = listening(&l, &n, lower == 1);
    node other = of_raw(r);
    raw *first = raw_dial_again(r, n);
    raw_say(first, HELLO_INSTANCE("1"));
    WAIT(&l, raw_heard(first, "\"ok\":true"));
    raw *second = raw_dial_again(r, n);
    raw_say(second, HELLO_INSTANCE("1"));
    WAIT(&l, first->closed);
    assert_int_equal(first->info.code, 2);
    assert_true(node_up(n, &other) && raw_heard(second, "\"ok\":true") && !second->closed);
    mesh_lab_close(&l);
  }
}

/* The peer lost the connection that we think is up, and dials: once that cannot be by chance any
 * more, it is let in. */
static void a_stale_one_gives_way(void **state) {
  (void)state;
  mesh_lab l;
  node *n;
  raw *r = listening(&l, &n, true);
  node other = of_raw(r);
  node_stop(n);
  n->opt.connect_timeout_ms = 200;
  r->rx_len = 0;
  node_start(n);
  WAIT(&l, raw_heard(r, "HELLO"));
  raw_say(r, ACK_INSTANCE("1"));
  WAIT(&l, node_up(n, &other));
  mesh_lab_run(&l, 500);
  raw *second = raw_dial_again(r, n);
  raw_say(second, HELLO_INSTANCE("1"));
  WAIT(&l, r->closed && raw_heard(second, "\"ok\":true"));
  assert_true(node_up(n, &other) && !node_status(n, &other).dialled_by_us);
  mesh_lab_close(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(both_dial_at_once_in_many_ways),
      cmocka_unit_test(the_lower_id_keeps_what_it_dialled),
      cmocka_unit_test(the_lower_id_changes_over_when_its_own_comes_up),
      cmocka_unit_test(a_dial_that_arrives_late_changes_nothing),
      cmocka_unit_test(the_higher_id_closes_none_and_follows_the_other),
      cmocka_unit_test(the_higher_id_goes_back_when_the_other_is_closed),
      cmocka_unit_test(another_instance_replaces_the_old_one_whoever_decides),
      cmocka_unit_test(a_second_one_of_the_same_side_replaces_the_first),
      cmocka_unit_test(a_stale_one_gives_way),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
