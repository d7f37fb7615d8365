/* What hosts on the network can do to each other by way of us: quotas, floods, replays. */
#include "mdns_lab.h"

#define NOW_MS UINT64_C(1700000000000) /* the lab's wall clock at first */

static lab l;
static km_secret_key *key; /* of the peer that is heard of */
static km_id peer;

static int setup(void **state) {
  (void)state;
  lab_init(&l, 1);
  key = lab_key(200);
  km_secret_key_id(key, &peer);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  km_secret_key_free(key);
  lab_free(&l);
  return 0;
}

static void hear(lab_node *n, uint8_t host, const lab_packet *p) {
  lab_deliver(&l, n, host, KM_MDNS_PORT, true, p->bytes, p->w.len);
}

static void hear_iroh(lab_node *n, const km_id *id, uint8_t host) {
  lab_packet p;
  lab_iroh(&p, id, host, 1000);
  hear(n, host, &p);
}

static uint64_t time_ms(void) {
  return (uint64_t)l.wall.unix_ns / 1000000;
}

static void hear_signed(lab_node *n, uint8_t host, uint64_t at_ms) {
  lab_packet p;
  lab_sd(&p, &peer, host, 1000, 120, key, at_ms);
  hear(n, host, &p);
}

static bool is_known(lab_node *n, const km_id *id) {
  return km_mdns_get(n->mdns, id, l.now, &(km_found){0});
}

/* A key of many. */
static km_secret_key *nth_key(unsigned n, km_id *id) {
  km_secret_key *ret;
  uint8_t seed[KM_SECRET_KEY_BYTES] = {(uint8_t)n, (uint8_t)(n >> 8), 9};
  assert_int_equal(km_secret_key_from_bytes(&ret, seed), 0);
  km_secret_key_id(ret, id);
  return ret;
}

/* --- limits --- */

static void one_host_speaks_for_some(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL);
  unsigned sent = 0;
  for (unsigned i = 0; sent < 400; i++) {
    km_id id = {.bytes = {(uint8_t)i, (uint8_t)(i >> 8), 7}};
    if (km_id_from_bytes(&id, id.bytes) == 0) {
      hear_iroh(a, &id, 71);
      lab_run(&l, 5 * MS);
      sent++;
    }
  }
  assert_int_equal(a->mdns->peers.count, KM_MDNS_PEERS_PER_SOURCE);
  assert_int_equal(a->lost, 400 - KM_MDNS_PEERS_PER_SOURCE); /* its own make room */
  hear_iroh(a, &peer, 72);
  assert_int_equal(a->mdns->peers.count, KM_MDNS_PEERS_PER_SOURCE + 1);
}

/* Programs that come and go with a key of their own each time do not use their host up. */
static void the_gone_make_room(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL);
  unsigned sent = 0;
  for (unsigned i = 0; sent < 400; i++) {
    km_id id = {.bytes = {(uint8_t)i, (uint8_t)(i >> 8), 7}};
    if (km_id_from_bytes(&id, id.bytes) == 0) {
      lab_packet p;
      hear_iroh(a, &id, 71);
      lab_goodbye(&p, &id);
      hear(a, 71, &p);
      lab_run(&l, 1500 * MS);
      sent++;
    }
  }
  assert_int_equal(a->changed, 400);
  assert_int_equal(a->lost, 400);
  assert_in_range(a->mdns->peers.count, 0, 3); /* nothing is left of them */
}

static void the_table_is_bounded(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL);
  unsigned sent = 0;
  hear_signed(a, 71, NOW_MS);
  for (unsigned i = 0; sent < KM_MDNS_PEERS_MAX + 500; i++) {
    km_id id = {.bytes = {(uint8_t)i, (uint8_t)(i >> 8), 7}};
    lab_packet p;
    if (km_id_from_bytes(&id, id.bytes) != 0) {
      continue;
    }
    lab_sd(&p, &id, (uint8_t)(100 + sent / 50 % 100), 1000, 4500, NULL, 0);
    hear(a, (uint8_t)(100 + sent / 50 % 100), &p);
    lab_run(&l, 6 * MS);
    sent++;
  }
  assert_int_equal(a->mdns->peers.count, KM_MDNS_PEERS_MAX);
  assert_int_equal(a->mdns->peers.live, KM_MDNS_PEERS_MAX);
  assert_int_equal(a->changed, sent + 1);
  assert_int_equal(a->lost, 501);
  km_found f;
  assert_true(km_mdns_get(a->mdns, &peer, l.now, &f)); /* who is proven stays */
}

static void one_host_has_its_share(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL);
  lab_packet p;
  for (unsigned i = 0; i < 2000; i++) {
    lab_iroh(&p, &peer, 71, 1000);
    hear(a, 71, &p);
  }
  assert_int_equal(a->found, 300);
  lab_iroh(&p, &peer, 72, 1000);
  hear(a, 72, &p);
  assert_int_equal(a->found, 301);
  lab_run(&l, 1 * S);
  for (unsigned i = 0; i < 2000; i++) {
    hear(a, 71, &p);
  }
  assert_in_range(a->found, 400, 402);
}

static void one_packet_speaks_for_some(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL);
  lab_packet p;
  lab_begin(&p, true);
  for (uint8_t i = 0; i < 10; i++) {
    km_id id = lab_id((uint8_t)(100 + i));
    km_mdns_name instance = lab_instance(&id), host;
    assert_true(km_mdns_name_set(&host, "one.local"));
    assert_true(km_mdns_write_srv(&p.w, KM_MDNS_ANSWERS, &instance, 120, (uint16_t)(i + 1), &host));
  }
  km_mdns_name host;
  km_udp_addr addr = {.family = 4, .ip = {192, 168, 9, 71}};
  assert_true(km_mdns_name_set(&host, "one.local"));
  assert_true(km_mdns_write_ip(&p.w, KM_MDNS_ADDITIONALS, &host, 120, &addr));
  hear(a, 71, &p);
  assert_int_equal(a->changed, 8);
}

static void without_memory(void **state) {
  (void)state;
  km_id id = lab_id(2);
  for (long n = 0; n < 8; n++) {
    lab_node *a = lab_add(&l, 1, NULL);
    lab_packet p;
    lab_sd(&p, &peer, 71, 1000, 120, key, NOW_MS);
    l.t.fail_after = n;
    hear(a, 71, &p);
    int rv = km_mdns_want(a->mdns, &id, l.now);
    l.t.fail_after = -1;
    assert_true(rv == 0 || rv == KM_ERR_NOMEM);
    hear(a, 71, &p); /* the next time it works */
    assert_true(km_mdns_get(a->mdns, &peer, l.now, &(km_found){0}));
    km_mdns_free(a->mdns);
    a->mdns = NULL;
  }
}

/* --- quotas --- */

/* A host's past, its keys of today and what others say in its name do not make it invisible. */
static void nobody_is_shut_out(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL);
  lab_packet p;
  for (unsigned i = 0; i < 300; i++) { /* with signatures and goodbyes of its own */
    km_id id;
    km_secret_key *one = nth_key(i, &id);
    lab_sd(&p, &id, 71, 1000, 120, one, time_ms());
    hear(a, 71, &p);
    assert_true(is_known(a, &id));
    lab_goodbye(&p, &id);
    hear(a, 71, &p);
    lab_run(&l, 5 * S);
    km_secret_key_free(one);
  }
  for (unsigned i = 0; i < 600; i++) { /* unsigned, in the name of its address */
    km_id id;
    km_secret_key_free(nth_key(1000 + i, &id));
    lab_sd(&p, &id, 71, 1000, 4500, NULL, 0);
    hear(a, 71, &p);
    lab_run(&l, 20 * MS);
  }
  assert_in_range(a->mdns->peers.count, 1, KM_MDNS_PEERS_PER_SOURCE);
  hear_signed(a, 71, time_ms());
  assert_true(is_known(a, &peer));
}

/* Nor do so many proven ones: whom somebody waits for is taken in, and stays. */
static void the_wanted_have_room(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL);
  lab_packet p;
  assert_int_equal(km_mdns_want(a->mdns, &peer, l.now), 0);
  for (unsigned i = 0; i < KM_MDNS_PEERS_PER_SOURCE + 50; i++) {
    km_id id;
    km_secret_key *one = nth_key(i, &id);
    lab_sd(&p, &id, 71, 1000, 120, one, time_ms());
    hear(a, 71, &p);
    lab_run(&l, 60 * MS);
    if (i == 0) {
      hear_iroh(a, &peer, 71);
    }
    km_secret_key_free(one);
  }
  assert_int_equal(a->mdns->peers.count, KM_MDNS_PEERS_PER_SOURCE);
  assert_true(is_known(a, &peer)); /* unproven, and heard longest ago but one */
  km_id stranger = lab_id(77);
  hear_iroh(a, &stranger, 71);
  assert_false(is_known(a, &stranger)); /* the proven make no room for it */
}

/* Whom nobody knows and nobody looks for. */
static void new_ones_are_limited(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL);
  km_mdns_name host;
  km_udp_addr addr = {.family = 4, .ip = {192, 168, 9, 71}};
  assert_true(km_mdns_name_set(&host, "one.local"));
  for (unsigned i = 0; i < 200; i++) {
    lab_packet p;
    lab_begin(&p, true);
    for (unsigned k = 0; k < 8; k++) {
      km_id id;
      km_secret_key_free(nth_key(8 * i + k, &id));
      km_mdns_name instance = lab_instance(&id);
      assert_true(km_mdns_write_srv(&p.w, KM_MDNS_ANSWERS, &instance, 120, 1, &host));
    }
    assert_true(km_mdns_write_ip(&p.w, KM_MDNS_ADDITIONALS, &host, 120, &addr));
    hear(a, (uint8_t)(100 + i % 100), &p);
  }
  assert_int_equal(a->mdns->peers.count, 1000);
  hear_signed(a, 71, time_ms());
  assert_false(is_known(a, &peer));
  assert_int_equal(km_mdns_want(a->mdns, &peer, l.now), 0);
  hear_signed(a, 71, time_ms());
  assert_true(is_known(a, &peer));
}

/* --- work --- */

/* Records are read once, whomever they are about, and names end soon. */
static void a_packet_is_little_work(void **state) {
  (void)state;
  static uint8_t bytes[KM_MDNS_RECEIVE_MAX];
  lab_node *a = lab_add(&l, 1, NULL);
  km_mdns_writer w;
  km_mdns_name host;
  assert_true(km_mdns_name_set(&host, "h.local"));
  km_mdns_writer_init(&w, bytes, sizeof bytes, 0, true);
  for (uint8_t i = 0; i < 8; i++) {
    km_id id = lab_id((uint8_t)(100 + i));
    km_mdns_name instance = lab_instance(&id);
    assert_true(km_mdns_write_srv(&w, KM_MDNS_ANSWERS, &instance, 120, 1000, &host));
  }
  for (unsigned i = 0; i < 400; i++) {
    km_udp_addr addr = {.family = 4, .ip = {192, 168, (uint8_t)(i >> 8), (uint8_t)i}};
    assert_true(km_mdns_write_ip(&w, KM_MDNS_ADDITIONALS, &host, 120, &addr));
  }
  lab_deliver(&l, a, 71, KM_MDNS_PORT, true, bytes, w.len);
  assert_int_equal(a->mdns->record_count, KM_MDNS_RECORDS_MAX);
  assert_int_equal(a->changed, 8);
}

/* --- signatures --- */

static void hear_wrong(lab_node *a, const km_id *id, uint8_t host) {
  lab_packet p;
  lab_sd(&p, id, host, 1000, 120, key, time_ms());
  p.bytes[p.w.len - 1] ^= 1;
  hear(a, host, &p);
}

static void checks_are_limited(void **state) {
  (void)state;
  km_mdns_options o = {.size = sizeof o, .mode = KM_MDNS_SIGNED};
  lab_node *a = lab_add(&l, 1, &o);
  unsigned wrong[2] = {0}, many[2] = {0};
  for (unsigned i = 0; i < 600; i++) {
    bool other = i >= 250;
    hear_wrong(a, &peer, other ? (uint8_t)(72 + i % 20) : 71);
    wrong[other] += strstr(l.log, "signature is wrong") != NULL ? 1 : 0;
    many[other] += strstr(l.log, "too many signatures") != NULL ? 1 : 0;
  }
  assert_int_equal(wrong[0], 40); /* of one host */
  assert_int_equal(many[0], 210);
  assert_int_equal(wrong[1], 160); /* of all: 200 */
  assert_int_equal(many[1], 190);
  hear_signed(a, 99, NOW_MS);
  assert_int_equal(a->found, 0);
  lab_run(&l, 3 * S);
  hear_signed(a, 71, NOW_MS);
  assert_int_equal(a->found, 1);
}

/* While one host sends nothing but wrong signatures, of others' keys too, who is there stays. */
static void a_flood_of_lies_hides_nobody(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL), *b = lab_add(&l, 2, NULL);
  km_mdns_watch(a->mdns, true, l.now);
  lab_publish(b, "192.168.9.2:4433", NULL, NULL);
  lab_run(&l, 10 * S);
  for (unsigned i = 0; i < 16000; i++) { /* 160 s: longer than a life of 120 */
    km_id id = lab_id((uint8_t)(100 + i % 8));
    hear_wrong(a, i % 2 == 0 ? &id : &b->id, 66);
    if (i % 2 == 0) {
      hear_wrong(a, &id, 67); /* from a second address */
    }
    lab_run(&l, 10 * MS);
    assert_true(is_known(a, &b->id));
    l.sent_count = l.sent_count > 3000 ? 0 : l.sent_count;
  }
  assert_int_equal(a->lost, 0);
}

/* Where a thousand answer at once, the one that somebody waits for is checked. */
static void the_wanted_are_checked_first(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL);
  lab_packet p;
  assert_int_equal(km_mdns_want(a->mdns, &peer, l.now), 0);
  for (unsigned i = 0; i < 900; i++) {
    km_id id;
    km_secret_key *one = nth_key(i, &id);
    lab_sd(&p, &id, (uint8_t)(i % 250), 1000, 120, one, time_ms());
    hear(a, (uint8_t)(i % 250), &p);
    km_secret_key_free(one);
  }
  assert_non_null(strstr(l.log, "too many signatures"));
  hear_signed(a, 251, time_ms());
  assert_true(is_known(a, &peer));
  assert_true(a->last.proven);
}

/* --- replays --- */

/* The peer's own signature with lives of a stranger's choice. */
static void a_life_is_not_changed_by_others(void **state) {
  (void)state;
  lab_packet p;
  lab_node *a = lab_add(&l, 1, NULL);
  hear_signed(a, 71, NOW_MS);
  assert_int_equal(a->last.valid_s, 120);
  lab_run(&l, 1 * S);
  lab_sd(&p, &peer, 71, 1000, 1, key, NOW_MS);
  hear(a, 99, &p);
  lab_iroh(&p, &peer, 71, 1000); /* everything with TTL 0 */
  hear(a, 99, &p);
  lab_run(&l, 100 * S);
  assert_true(is_known(a, &peer));
  /* Nor is it made longer: while it is there it signs anew each minute. */
  for (int i = 0; i < 20; i++) {
    lab_sd(&p, &peer, 71, 1000, 4500, key, NOW_MS);
    hear(a, 99, &p);
    lab_run(&l, 20 * S);
  }
  assert_false(is_known(a, &peer));
  assert_int_equal(a->lost, 1);
  hear(a, 99, &p);
  assert_false(is_known(a, &peer));
  hear_signed(a, 71, time_ms());
  assert_true(is_known(a, &peer));
}

static void the_gone_are_not_revived(void **state) {
  (void)state;
  for (int is_signed = 0; is_signed < 2; is_signed++) {
    lab_packet p;
    lab_node *a = lab_add(&l, (uint8_t)(1 + is_signed), NULL);
    lab_node *b = lab_add(&l, (uint8_t)(200 + is_signed), NULL);
    lab_publish(b, "192.168.9.71:1000", NULL, NULL);
    lab_run(&l, 5 * S);
    lab_sent said = *lab_last(&l, b, true);
    if (is_signed) {
      km_mdns_publish(b->mdns, NULL, l.now);
      lab_sent bye = *lab_last(&l, b, true);
      lab_deliver(&l, a, 71, KM_MDNS_PORT, true, bye.bytes, bye.len);
      lab_deliver(&l, a, 99, KM_MDNS_PORT, true, said.bytes, said.len); /* nor saved at once */
    } else {
      b->deaf = true;
      lab_goodbye(&p, &b->id);
      hear(a, 71, &p);
    }
    lab_run(&l, 5 * S);
    assert_false(is_known(a, &b->id));
    lab_deliver(&l, a, 99, KM_MDNS_PORT, true, said.bytes, said.len);
    assert_false(is_known(a, &b->id));
    /* It is back when it says so. */
    b->deaf = false;
    lab_run(&l, 60 * S);
    lab_publish(b, "192.168.9.71:1001", NULL, NULL);
    lab_run(&l, 5 * S);
    assert_true(is_known(a, &b->id));
    km_mdns_free(a->mdns);
    a->mdns = NULL;
  }
}

/* A goodbye of yesterday, or a signature for something else, is none. */
static void goodbyes_are_not_made_up(void **state) {
  (void)state;
  lab_packet p;
  lab_node *a = lab_add(&l, 1, NULL);
  km_mdns_name service = lab_service(), instance = lab_instance(&peer);
  for (int i = 0; i < 3; i++) {
    uint8_t txt[KM_MDNS_TXT_MAX];
    km_mdns_details d = {.id = peer};
    hear_signed(a, 71, time_ms());
    if (i == 0) {
      km_mdns_sign_goodbye(&d, key, time_ms() - 1);
    } else if (i == 1) {
      km_mdns_sign_query(&d, key, time_ms() + 1);
    } else {
      km_mdns_sign_goodbye(&d, key, time_ms() + 1);
    }
    lab_begin(&p, true);
    assert_true(km_mdns_write_ptr(&p.w, KM_MDNS_ANSWERS, &service, 0, &instance));
    assert_true(km_mdns_write_txt(&p.w, KM_MDNS_ANSWERS, &instance, 0, txt,
                                  km_mdns_write_attributes(&d, txt)));
    hear(a, 71, &p);
    lab_run(&l, 1500 * MS);
    assert_int_equal(is_known(a, &peer), i < 2);
    lab_run(&l, 1000 * MS);
    hear_signed(a, 71, time_ms()); /* it answers the question */
    lab_run(&l, 20 * S);
  }
}

/* --- clocks --- */

/* Its clock was hours ahead; then it was set, and it began anew without a memory. */
static void a_clock_that_was_ahead(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL);
  hear_signed(a, 71, NOW_MS + 2 * 3600 * 1000);
  assert_true(a->last.proven);
  lab_run(&l, 130 * S);
  hear_signed(a, 72, time_ms()); /* not proven yet, but there */
  assert_true(is_known(a, &peer));
  assert_false(a->last.proven);
  lab_run(&l, 180 * S);
  hear_signed(a, 72, time_ms());
  assert_true(a->last.proven);
  assert_string_equal(a->addrs, "192.168.9.72:1000");
}

/* Our own: signatures go on where they were, also those of the next process. */
static uint64_t next_ms;

static uint64_t on_time(void *ctx, km_wall wall) {
  (void)ctx;
  (void)wall;
  return ++next_ms;
}

static void on_send(void *ctx, uint32_t index, uint8_t family, const km_udp_addr *to,
                    const uint8_t *bytes, size_t len) {
  lab_node *listener = ctx;
  (void)index;
  (void)family;
  (void)to;
  lab_deliver(&l, listener, 200, KM_MDNS_PORT, true, bytes, len);
}

static void times_are_remembered(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL);
  const km_mdns_ops ops = {.send = on_send, .time_ms = on_time};
  const km_mdns_link link = {.index = 1, .family = 4};
  const km_mdns_config config = {.env = &l.t.env, .key = key, .ops = &ops, .ctx = a};
  km_addr *addr;
  km_udp_addr udp = {.family = 4, .ip = {192, 168, 9, 200}, .port = 1000};
  assert_int_equal(km_addr_new(&addr, &peer), 0);
  assert_int_equal(km_addr_add_udp(addr, &udp), 0);
  const km_peer_info info = {.size = sizeof info, .addr = addr};
  next_ms = NOW_MS + 3600 * 1000; /* the clock is an hour ahead */
  for (unsigned i = 1; i <= 3; i++) {
    km_mdns *m;
    assert_int_equal(km_mdns_new(&m, &config, l.now, NULL), 0);
    km_mdns_set_links(m, &link, 1, l.now);
    km_mdns_publish(m, &info, l.now);
    lab_run(&l, 1 * S);
    km_mdns_step(m, l.now, l.wall);
    assert_int_equal(a->found, i);
    assert_true(a->last.proven);
    km_mdns_free(m); /* without a goodbye */
  }
  km_addr_free(addr);
}

/* --- trust --- */

/* Who recorded a question elsewhere does not find out by it who trusts whom. */
static void questions_do_not_keep(void **state) {
  (void)state;
  km_mdns_options o = {
      .size = sizeof o, .mode = KM_MDNS_TRUSTED, .trusted = &peer, .trusted_count = 1};
  lab_node *a = lab_add(&l, 1, &o);
  km_mdns_name instance = lab_instance(&peer);
  static const int ages_s[] = {23 * 3600, 61, -70, 55, -50};
  lab_publish(a, "192.168.9.1:4433", NULL, "whereabouts");
  lab_run(&l, 30 * S);
  for (size_t i = 0; i < COUNT_OF(ages_s); i++) {
    lab_packet q;
    uint8_t txt[KM_MDNS_TXT_MAX];
    km_mdns_details who = {.id = peer};
    size_t from = l.sent_count;
    km_mdns_sign_query(&who, key, (uint64_t)((int64_t)time_ms() - ages_s[i] * INT64_C(1000)));
    lab_plain_query(&q);
    assert_true(km_mdns_write_txt(&q.w, KM_MDNS_ADDITIONALS, &instance, 0, txt,
                                  km_mdns_write_attributes(&who, txt)));
    for (int k = 0; k < 2; k++) {
      hear(a, 99, &q);
      lab_run(&l, 3 * S);
    }
    assert_int_equal(lab_count(&l, a, from, true), i < 3 ? 0 : 1); /* each once */
  }
}

/* Descriptions in parts: one host does not take all places. */
static void parts_of_one_host(void **state) {
  (void)state;
  lab_packet p;
  lab_node *a = lab_add(&l, 1, NULL);
  km_mdns_name service = lab_service();
  km_mdns_watch(a->mdns, true, l.now);
  for (uint8_t i = 0; i < 20; i++) {
    km_id id = lab_id((uint8_t)(100 + i));
    km_mdns_name instance = lab_instance(&id);
    lab_begin(&p, true);
    assert_true(km_mdns_write_ptr(&p.w, KM_MDNS_ANSWERS, &service, 120, &instance));
    hear(a, i < 19 ? 71 : 72, &p);
  }
  size_t used = 0;
  for (size_t i = 0; i < KM_MDNS_PARTIALS_MAX; i++) {
    used += a->mdns->partials[i].used ? 1 : 0;
  }
  assert_int_equal(used, KM_MDNS_PARTIALS_PER_SOURCE + 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(one_host_speaks_for_some),     TEST(the_gone_make_room),
      TEST(the_table_is_bounded),         TEST(one_host_has_its_share),
      TEST(one_packet_speaks_for_some),   TEST(without_memory),
      TEST(nobody_is_shut_out),           TEST(the_wanted_have_room),
      TEST(new_ones_are_limited),         TEST(a_packet_is_little_work),
      TEST(checks_are_limited),           TEST(a_flood_of_lies_hides_nobody),
      TEST(the_wanted_are_checked_first), TEST(a_life_is_not_changed_by_others),
      TEST(the_gone_are_not_revived),     TEST(goodbyes_are_not_made_up),
      TEST(a_clock_that_was_ahead),       TEST(times_are_remembered),
      TEST(questions_do_not_keep),        TEST(parts_of_one_host),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
