/* Dials by id while somebody answers for others: addresses that lead nowhere, to somebody else, or
 * to a third party that is to be flooded. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/wire.h"
#include "endpoint/conn_impl.h"
#include "magicsock/relays.h"
#include "test/endpoint/initial.h"
#include "test/endpoint/tap.h"

enum { SOURCES = 2 };

/* A source that answers when it is told to. */
typedef struct oracle {
  km_query *query; /* the last one that is under way */
} oracle;

static void oracle_resolve(void *ctx, km_query *query, const km_id *id) {
  oracle *o = ctx;
  (void)id;
  o->query = query;
}

static void oracle_cancel(void *ctx, km_query *query) {
  oracle *o = ctx;
  o->query = o->query == query ? NULL : o->query;
}

static const km_source_ops ops[SOURCES] = {
    {.size = sizeof ops[0], .name = "one", .resolve = oracle_resolve, .cancel = oracle_cancel},
    {.size = sizeof ops[0], .name = "other", .resolve = oracle_resolve, .cancel = oracle_cancel},
};

typedef struct fixture {
  lab l;
  oracle o[SOURCES];
  km_discovery *discovery;
  lab_endpoint *server, *client;
} fixture;

/* With relays the client is ready to use them, and has one of its own that is not there. */
static void open_fixture(fixture *f, bool relays) {
  static const char *const urls[] = {"http://127.0.0.1:9/"};
  km_endpoint_options options;
  memset(f->o, 0, sizeof f->o);
  lab_open(&f->l);
  lab_options(&options);
  f->server = lab_server_open(&f->l, NULL, LAB_ECHO);
  assert_int_equal(km_discovery_new(&f->discovery, f->l.loop, NULL, NULL), 0);
  for (int i = 0; i < SOURCES; i++) {
    assert_int_equal(km_discovery_add(f->discovery, NULL, &ops[i], &f->o[i], NULL), 0);
  }
  options.discovery = f->discovery;
  if (relays) {
    options.relay_mode = KM_RELAY_MODE_CUSTOM;
    options.relay_urls = urls;
    options.relay_url_count = 1;
  }
  f->client = lab_endpoint_open(&f->l, &options);
}

static void close_fixture(fixture *f) {
  lab_endpoint_close(f->client);
  km_discovery_free(f->discovery);
  lab_close(&f->l);
}

static km_addr *new_addr(const fixture *f) {
  km_addr *addr;
  assert_int_equal(km_addr_new(&addr, km_endpoint_id(f->server->ep)), 0);
  return addr;
}

static lab_conn *dial(fixture *f, const km_addr *addr, uint32_t timeout_ms) {
  const km_dial_options options = {.size = sizeof options, .timeout_ms = timeout_ms};
  f->o[0].query = f->o[1].query = NULL;
  lab_conn *c = lab_dial_with(f->client, addr, LAB_ALPN, &options);
  LAB_WAIT(&f->l, f->o[0].query != NULL && f->o[1].query != NULL);
  return c;
}

static lab_conn *dial_id(fixture *f, uint32_t timeout_ms) {
  km_addr *addr = new_addr(f);
  lab_conn *c = dial(f, addr, timeout_ms);
  km_addr_free(addr);
  return c;
}

/* Takes `addr`. */
static void tell(fixture *f, int source, bool proven, km_addr *addr) {
  const km_found found = {.size = sizeof found, .addr = addr, .proven = proven};
  km_query_found(f->o[source].query, &found);
  km_addr_free(addr);
  (void)lab_turn(&f->l, lab_now_ms() + 5);
}

static void tell_addresses(fixture *f, int source, bool proven, const km_udp_addr *at, size_t n) {
  km_addr *addr = new_addr(f);
  for (size_t i = 0; i < n; i++) {
    assert_int_equal(km_addr_add_udp(addr, &at[i]), 0);
  }
  tell(f, source, proven, addr);
}

/* Addresses where nobody is. */
static void fill_dead(km_udp_addr *ret, size_t n, uint16_t first_port) {
  for (size_t i = 0; i < n; i++) {
    ret[i] = (km_udp_addr){.family = 4, .port = (uint16_t)(first_port + i), .ip = {127, 9, 9, 9}};
  }
}

static void expect_connected(fixture *f, lab_conn *c) {
  LAB_WAIT(&f->l, c->connected > 0 || c->closed > 0);
  if (c->closed > 0) {
    fail_msg("%s: %s", km_error_name(c->info.error), c->info.text);
  }
  lab_expect_echo(c, 1000);
}

/* --- places ----------------------------------------------------------------------------------- */

static void many_claims_leave_room_for_another(void **state) {
  (void)state;
  fixture f;
  km_udp_addr dead[32];
  open_fixture(&f, false);
  lab_conn *c = dial_id(&f, 5000);
  for (uint16_t i = 0; i < 2; i++) {
    fill_dead(dead, 32, (uint16_t)(20000 + 32 * i));
    tell_addresses(&f, 0, false, dead, 32);
  }
  tell_addresses(&f, 0, false, &f.server->addr, 1); /* of the same source even */
  expect_connected(&f, c);
  close_fixture(&f);
}

/* Until a source has used up what it may, and more. */
static void claims_of_one_source_leave_room_for_another(void **state) {
  (void)state;
  fixture f;
  km_udp_addr dead[8];
  open_fixture(&f, false);
  lab_conn *c = dial_id(&f, 5000);
  for (uint16_t i = 0; i < 31; i++) {
    fill_dead(dead, 8, (uint16_t)(20000 + 8 * i));
    tell_addresses(&f, 0, false, dead, 8);
  }
  assert_true(km_mixed_count(c->conn->mixed) <= KM_CLAIMS_AT_ONCE);
  tell_addresses(&f, 1, false, &f.server->addr, 1);
  expect_connected(&f, c);
  close_fixture(&f);
}

static void what_is_signed_takes_the_place_of_claims(void **state) {
  (void)state;
  fixture f;
  km_udp_addr dead[32];
  open_fixture(&f, false);
  fill_dead(dead, 32, 20000);
  km_addr *ticket = new_addr(&f);
  for (int i = 0; i < 32; i++) {
    assert_int_equal(km_addr_add_udp(ticket, &dead[i]), 0);
  }
  lab_conn *c = dial(&f, ticket, 5000);
  km_addr_free(ticket);
  fill_dead(dead, 32, 21000);
  tell_addresses(&f, 0, false, dead, 32);
  assert_int_equal(km_mixed_count(c->conn->mixed), KM_MIXED_MAX_CANDIDATES);
  tell_addresses(&f, 1, true, &f.server->addr, 1);
  expect_connected(&f, c);
  close_fixture(&f);
}

/* --- third parties ---------------------------------------------------------------------------- */

/* RFC 9000 section 17.2.1: the ids of the packet that it answers, the other way round. */
static void answer_with_other_versions(int fd) {
  static const uint8_t version[4] = {0x1a, 0x2a, 0x3a, 0x4a};
  uint8_t in[2048], out[128] = {0x80};
  km_udp_addr from;
  while (raw_recv(fd, in, sizeof in, &from) > 0) {
    size_t dcid_len = in[5], scid_len = in[6 + dcid_len], at = 5;
    if ((in[0] & 0x80) == 0 || dcid_len > 20 || scid_len > 20) {
      continue;
    }
    out[at++] = (uint8_t)scid_len;
    memcpy(out + at, in + 7 + dcid_len, scid_len);
    at += scid_len;
    out[at++] = (uint8_t)dcid_len;
    memcpy(out + at, in + 6, dcid_len);
    at += dcid_len;
    memcpy(out + at, version, sizeof version);
    raw_send(fd, &from, out, at + sizeof version);
  }
}

/* A liar names a victim, and others that make each round of the dial end at once. */
static void rounds_do_not_flood_others(void **state) {
  (void)state;
  enum { VICTIMS = 8, OWN = 8, ANSWERS = 24, FOR_MS = 6000 };
  static int own[OWN * ANSWERS];
  static km_udp_addr own_at[OWN * ANSWERS];
  fixture f;
  int victim[VICTIMS];
  km_udp_addr all[VICTIMS + OWN];
  uint8_t packet[2048];
  size_t told = 0, packets = 0;
  open_fixture(&f, false);
  for (int i = 0; i < VICTIMS; i++) {
    victim[i] = raw_open(&all[i]);
  }
  for (int i = 0; i < OWN * ANSWERS; i++) {
    own[i] = raw_open(&own_at[i]);
  }
  lab_conn *c = dial_id(&f, 0);
  uint64_t begin = lab_now_ms();
  while (lab_now_ms() - begin < FOR_MS) {
    if (told < ANSWERS && lab_now_ms() - begin >= told * (FOR_MS / ANSWERS)) {
      memcpy(all + VICTIMS, own_at + told * OWN, OWN * sizeof all[0]);
      tell_addresses(&f, 0, false, all, VICTIMS + OWN);
      told++;
    }
    (void)lab_turn(&f.l, lab_now_ms() + 2);
    for (size_t i = 0; i < told * OWN; i++) {
      answer_with_other_versions(own[i]);
    }
    for (int i = 0; i < VICTIMS; i++) {
      while (raw_recv(victim[i], packet, sizeof packet, NULL) > 0) {
        packets++;
      }
    }
  }
  assert_int_equal(told, ANSWERS);
  assert_true(packets > 0);
  if (packets > VICTIMS * KM_CLAIM_PACKETS) {
    fail_msg("%zu packets were sent to %d addresses", packets, VICTIMS);
  }
  assert_int_equal(c->closed, 0);
  assert_true(c->conn->rounds <= KM_CLAIMS_WRONG_MAX);
  tell_addresses(&f, 1, true, &f.server->addr, 1); /* it is still to be found */
  expect_connected(&f, c);
  for (int i = 0; i < OWN * ANSWERS; i++) {
    (void)close(own[i]);
  }
  for (int i = 0; i < VICTIMS; i++) {
    (void)close(victim[i]);
  }
  close_fixture(&f);
}

/* A new round is no new allowance. */
static void all_rounds_are_of_one_allowance(void **state) {
  (void)state;
  enum { WRONG = 3 };
  fixture f;
  km_udp_addr victim, wrong_at[WRONG];
  int wrong[WRONG];
  uint8_t packet[2048];
  km_path_key key;
  size_t packets = 0;
  open_fixture(&f, false);
  int fd = raw_open(&victim);
  lab_conn *c = dial_id(&f, 0);
  tell_addresses(&f, 0, false, &victim, 1);
  for (uint32_t i = 0; i < WRONG; i++) {
    wrong[i] = raw_open(&wrong_at[i]);
    tell_addresses(&f, 1, false, &wrong_at[i], 1);
    while (c->conn->rounds == i) {
      (void)lab_turn(&f.l, lab_now_ms() + 5);
      answer_with_other_versions(wrong[i]);
    }
  }
  lab_run_for(&f.l, 20);
  while (raw_recv(fd, packet, sizeof packet, NULL) > 0) {
    packets++;
  }
  assert_true(packets > WRONG);
  assert_int_equal(km_dial_key(f.client->ep, &victim, &key), 0);
  assert_int_equal(km_mixed_allowance(c->conn->mixed, &key), KM_CLAIM_PACKETS - packets);
  for (int i = 0; i < WRONG; i++) {
    (void)close(wrong[i]);
  }
  (void)close(fd);
  close_fixture(&f);
}

static int stun_open(const char *ip) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(3478)};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  assert_int_equal(inet_pton(AF_INET, ip, &at.sin_addr), 1);
  assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof at), 0);
  return fd;
}

/* What a STUN server answers is told to others as our address. */
static void claimed_relays_are_no_stun_servers(void **state) {
  (void)state;
  fixture f;
  uint8_t packet[2048];
  open_fixture(&f, true);
  int claimed = stun_open("127.0.0.77"), signed_ = stun_open("127.0.0.78");
  (void)dial_id(&f, 0);
  km_addr *addr = new_addr(&f);
  assert_int_equal(km_addr_add_relay(addr, "http://127.0.0.77:7/", 20, NULL), 0);
  tell(&f, 0, false, addr);
  lab_run_for(&f.l, 500);
  addr = new_addr(&f);
  assert_int_equal(km_addr_add_relay(addr, "http://127.0.0.78:7/", 20, NULL), 0);
  tell(&f, 1, true, addr);
  LAB_WAIT(&f.l, raw_recv(signed_, packet, sizeof packet, NULL) > 0);
  assert_int_equal(raw_recv(claimed, packet, sizeof packet, NULL), 0);
  (void)close(claimed);
  (void)close(signed_);
  close_fixture(&f);
}

/* --- time ------------------------------------------------------------------------------------- */

/* The Initial of a real server for the last one that came to `fd`, and no more than that. */
static bool begin_to_answer(fixture *f, int fd, int back, const km_udp_addr *server) {
  uint8_t one[2048], packet[2048], answer[2048];
  km_udp_addr client;
  initial in;
  size_t len = 0, n;
  while ((n = raw_recv(fd, one, sizeof one, &client)) > 0) {
    if ((one[0] & 0xb0) == 0x80) {
      memcpy(packet, one, n);
      len = n;
    }
  }
  if (len == 0 || !initial_open(&in, packet, len)) {
    return false;
  }
  raw_send(back, server, packet, len);
  n = raw_wait(&f->l, back, answer, sizeof answer);
  km_rd rd = km_rd_init(answer, n);
  (void)km_rd_bytes(&rd, 5);
  (void)km_rd_bytes(&rd, km_rd_u8(&rd));
  (void)km_rd_bytes(&rd, km_rd_u8(&rd));
  (void)km_rd_bytes(&rd, km_rd_quic_varint(&rd));
  (void)km_rd_bytes(&rd, km_rd_quic_varint(&rd));
  n -= km_rd_left(&rd);
  memset(answer + n, 0x40, 1200 - n);
  raw_send(fd, &client, answer, 1200);
  return true;
}

/* Each begins a handshake, faster than the right one, and leaves it at that. */
static void mute_ones_do_not_use_up_the_dial(void **state) {
  (void)state;
  enum { MUTE = 5, SLOW_MS = 50 };
  fixture f;
  link_options slow;
  km_udp_addr at[MUTE], any;
  int fd[MUTE], answered = 0;
  open_fixture(&f, false);
  link_options_default(&slow);
  slow.delay_ns = SLOW_MS * KM_NS_PER_MS;
  lab_tap *tap = lab_tap_open(&f.l, &f.server->addr, &slow);
  lab_endpoint *other = lab_server_open(&f.l, NULL, LAB_ECHO);
  int back = raw_open(&any);
  for (int i = 0; i < MUTE; i++) {
    fd[i] = raw_open(&at[i]);
  }
  lab_conn *c = dial_id(&f, 0);
  for (int i = 0; i < MUTE; i++) {
    tell_addresses(&f, 0, false, &at[i], 1); /* each in an answer of its own */
  }
  bool told = false;
  while (c->connected == 0 && c->closed == 0) {
    (void)lab_turn(&f.l, lab_now_ms() + 10);
    if (!told && answered > 0) {
      tell_addresses(&f, 1, false, &tap->addr, 1);
      told = true;
    }
    for (int i = 0; i < MUTE && c->closed == 0 && c->connected == 0; i++) {
      if (!c->conn->responded && begin_to_answer(&f, fd[i], back, &other->addr)) {
        answered++;
        lab_run_for(&f.l, 5);
      }
    }
  }
  assert_true(answered > 1);
  expect_connected(&f, c);
  for (int i = 0; i < MUTE; i++) {
    (void)close(fd[i]);
  }
  (void)close(back);
  close_fixture(&f);
}

/* DNS may take ten seconds, and the address in the cache belong to somebody else by now. */
static void a_wrong_one_does_not_end_a_look_up(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f, false);
  lab_endpoint *other = lab_server_open(&f.l, NULL, LAB_ECHO);
  lab_conn *c = dial_id(&f, 0);
  tell_addresses(&f, 0, false, &other->addr, 1);
  LAB_WAIT(&f.l, c->conn == NULL || c->conn->verdict != NULL);
  lab_run_for(&f.l, 6000); /* longer than KM_REDIAL_PATIENCE_NS */
  assert_int_equal(c->closed, 0);
  tell_addresses(&f, 1, false, &f.server->addr, 1);
  expect_connected(&f, c);
  close_fixture(&f);
}

/* --- relays ----------------------------------------------------------------------------------- */

static void claimed_relays_take_no_places_of_others(void **state) {
  (void)state;
  fixture f;
  char url[64];
  open_fixture(&f, true);
  for (int k = 0; k < 2; k++) {
    lab_conn *c = dial_id(&f, 0);
    tell_addresses(&f, 0, false, &f.server->addr, 1);
    for (int j = 0; j < 5; j++) {
      km_addr *addr = new_addr(&f);
      for (int i = 0; i < 8; i++) {
        int len = snprintf(url, sizeof url, "http://127.%d.%d.%d:7/", 66 + k, j, i + 1);
        assert_int_equal(km_addr_add_relay(addr, url, (size_t)len, NULL), 0);
      }
      tell(&f, 0, false, addr);
    }
    expect_connected(&f, c);
    for (size_t i = 0; i < km_mixed_count(c->conn->mixed); i++) {
      assert_int_equal(km_mixed_at(c->conn->mixed, i)->key.way, KM_WAY_DIRECT);
    }
  }
  lab_run_for(&f.l, 50);
  for (int k = 0; k < 80; k++) {
    (void)snprintf(url, sizeof url, "http://127.%d.%d.%d:7/", 66 + k / 40, k / 8 % 5, k % 8 + 1);
    assert_false(km_magicsock_knows_relay(f.client->ep->ms, url));
  }
  close_fixture(&f);
}

/* Dials that go on: a claim has its share of the relays that are known at once, and no more. */
static void claimed_relays_have_a_share(void **state) {
  (void)state;
  enum { DIALS = 12 };
  fixture f;
  char url[64];
  km_path_key key;
  open_fixture(&f, true);
  for (int k = 0; k < DIALS; k++) {
    lab_conn *c = dial_id(&f, 0);
    km_addr *addr = new_addr(&f);
    for (int i = 0; i < 8; i++) {
      int len = snprintf(url, sizeof url, "http://127.66.%d.%d:7/", k, i + 1);
      assert_int_equal(km_addr_add_relay(addr, url, (size_t)len, NULL), 0);
    }
    tell(&f, 0, false, addr);
    assert_true(km_mixed_count(c->conn->mixed) <= KM_CLAIMED_RELAYS_AT_ONCE);
  }
  lab_run_for(&f.l, 50);
  const km_id *peer = km_endpoint_id(f.server->ep);
  assert_int_equal(
      km_magicsock_stranger_relay_key(f.client->ep->ms, "http://127.0.0.5:1/", peer, &key),
      KM_ERR_LIMIT);
  for (int i = 0; i < KM_RELAYS_MAX - KM_RELAYS_MAX_STRANGERS - 1; i++) {
    (void)snprintf(url, sizeof url, "http://127.0.0.6:%d/", i + 1);
    assert_int_equal(km_magicsock_relay_key(f.client->ep->ms, url, peer, &key), 0);
  }
  close_fixture(&f);
}

/* --- later ------------------------------------------------------------------------------------ */

/* A connection whose candidates fill all places, and are of no use any more. */
static void a_peer_that_moved_is_found_again(void **state) {
  (void)state;
  fixture f;
  km_udp_addr dead[31], late;
  uint8_t packet[2048];
  open_fixture(&f, false);
  int fd = raw_open(&late);
  lab_tap *before = lab_tap_open(&f.l, &f.server->addr, NULL);
  lab_tap *after = lab_tap_open(&f.l, &f.server->addr, NULL);
  km_addr *ticket = new_addr(&f);
  fill_dead(dead, 31, 20000);
  for (int i = 0; i < 31; i++) {
    assert_int_equal(km_addr_add_udp(ticket, &dead[i]), 0);
  }
  assert_int_equal(km_addr_add_udp(ticket, &before->addr), 0);
  lab_conn *c = dial(&f, ticket, 0);
  km_addr_free(ticket);
  fill_dead(dead, 31, 21000);
  tell_addresses(&f, 0, true, dead, 31);
  expect_connected(&f, c);
  assert_int_equal(km_mixed_count(c->conn->mixed), KM_MIXED_MAX_CANDIDATES);
  for (int i = 0; i < SOURCES; i++) {
    km_query *query = f.o[i].query;
    f.o[i].query = NULL;
    km_query_done(query, NULL);
  }
  lab_run_for(&f.l, 50);
  LAB_WAIT(&f.l, c->conn->progress.confirmed);
  c->conn->asked_at = 0; /* long ago */
  lab_tap_blackhole(before, true);
  lab_stream *s = lab_stream_open(c, true);
  lab_stream_send(s, 100000, true);
  LAB_WAIT(&f.l, f.o[1].query != NULL || c->closed > 0);
  assert_int_equal(c->closed, 0);
  /* What was sent last goes to a new one at once. */
  tell_addresses(&f, 1, false, &late, 1);
  lab_run_for(&f.l, 5);
  assert_true(raw_recv(fd, packet, sizeof packet, NULL) > 0);
  /* The way that was left is set aside: one place is free, which somebody else takes. */
  fill_dead(dead, 4, 22000);
  tell_addresses(&f, 0, false, dead, 4);
  tell_addresses(&f, 1, false, &after->addr, 1);
  LAB_WAIT(&f.l, s->closed);
  lab_expect_pattern(s, 100000);
  (void)close(fd);
  close_fixture(&f);
}

int main(int argc, char **argv) {
  cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(many_claims_leave_room_for_another),
      cmocka_unit_test(claims_of_one_source_leave_room_for_another),
      cmocka_unit_test(what_is_signed_takes_the_place_of_claims),
      cmocka_unit_test(rounds_do_not_flood_others),
      cmocka_unit_test(all_rounds_are_of_one_allowance),
      cmocka_unit_test(claimed_relays_are_no_stun_servers),
      cmocka_unit_test(mute_ones_do_not_use_up_the_dial),
      cmocka_unit_test(a_wrong_one_does_not_end_a_look_up),
      cmocka_unit_test(claimed_relays_take_no_places_of_others),
      cmocka_unit_test(claimed_relays_have_a_share),
      cmocka_unit_test(a_peer_that_moved_is_found_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
