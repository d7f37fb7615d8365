/* Whom a multicast DNS node believes: who came, who went, who lies. */
#include "mdns_lab.h"

#define NOW_MS UINT64_C(1700000000000) /* the lab's wall clock at first */
#define DAY_MS UINT64_C(86400000)

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

static void hear_signed(lab_node *n, uint8_t host, uint64_t time_ms) {
  lab_packet p;
  lab_sd(&p, &peer, host, 1000, 120, key, time_ms);
  hear(n, host, &p);
}

static void hear_goodbye(lab_node *n, uint8_t host) {
  lab_packet p;
  lab_goodbye(&p, &peer);
  hear(n, host, &p);
}

static lab_node *with_mode(km_mdns_mode mode) {
  km_mdns_options o = {.size = sizeof o, .mode = mode, .trusted = &peer, .trusted_count = 1};
  return lab_add(&l, 1, &o);
}

/* --- iroh's nodes with TTL 0 --- */

static void ttl_0_is_no_goodbye(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL);
  hear_iroh(a, &peer, 71);
  assert_int_equal(a->changed, 1);
  assert_string_equal(a->addrs, "192.168.9.71:1000");
  assert_string_equal(a->data, "lab");
  assert_false(a->last.proven);
  assert_int_equal(a->last.published_ms, 0);
  for (int i = 0; i < 100; i++) {
    lab_run(&l, 2 * S);
    hear_iroh(a, &peer, 71);
  }
  assert_int_equal(a->found, 101);
  assert_int_equal(a->changed, 1); /* it said nothing new */
  assert_int_equal(a->lost, 0);
  lab_run(&l, 15 * S);
  assert_int_equal(a->lost, 1);
  assert_true(km_id_equal(&a->last_lost, &peer));
  assert_int_equal(km_mdns_next(a->mdns), KM_TS_NEVER);
  assert_int_equal(a->mdns->peers.count, 0);
}

/* The longer turns are, the longer silence is nothing. */
static void patience_grows_with_the_swarm(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL);
  hear_iroh(a, &peer, 71);
  for (int turn = 0; turn < 10; turn++) {
    for (uint8_t i = 0; i < 40; i++) {
      km_id id = lab_id((uint8_t)(100 + i));
      hear_iroh(a, &id, (uint8_t)(100 + i));
      lab_run(&l, 500 * MS);
    }
    hear_iroh(a, &peer, 71);
  }
  assert_int_equal(a->lost, 0);
  assert_int_equal(a->changed, 41);
}

static void silence_is_asked_about(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL);
  km_mdns_watch(a->mdns, true, l.now);
  lab_run(&l, 70 * S); /* its own questions are a minute apart now */
  hear_iroh(a, &peer, 71);
  size_t sent = l.sent_count;
  lab_run(&l, 5500 * MS);
  assert_true(lab_count(&l, a, sent, false) >= 1);
  const lab_sent *s = lab_last(&l, a, false);
  km_mdns_name name = lab_instance(&peer);
  assert_int_equal(lab_records(s->bytes, s->len, KM_MDNS_QUESTIONS, KM_MDNS_ANY, &name), 1);
  hear_iroh(a, &peer, 71); /* one of a slow cadence */
  lab_run(&l, 5500 * MS);
  assert_int_equal(a->lost, 0);
  lab_run(&l, 10 * S);
  assert_int_equal(a->lost, 1);
}

/* --- with TTLs --- */

static void swarms_with_ttls_are_noticed(void **state) {
  (void)state;
  lab_packet q, p;
  lab_node *a = lab_add(&l, 1, NULL);
  lab_plain_query(&q);
  lab_sd(&p, &peer, 71, 1000, 120, NULL, 0);
  km_mdns_watch(a->mdns, true, l.now);
  hear(a, 71, &p);
  for (int i = 0; i < 100; i++) { /* somebody else goes on asking */
    lab_run(&l, 700 * MS);
    hear(a, 72, &q);
    if (i < 30) {
      hear(a, 71, &p);
    }
    assert_int_equal(a->lost, i < 38 ? 0 : a->lost);
  }
  assert_int_equal(a->lost, 1); /* long before its TTL ends */
  /* Where nobody asks, the TTL counts. */
  lab_run(&l, 300 * S);
  a->lost = 0;
  hear(a, 71, &p);
  lab_run(&l, 119 * S);
  assert_int_equal(a->lost, 0);
  lab_run(&l, 2 * S);
  assert_int_equal(a->lost, 1);
}

static void ttls_are_asked_about_before_they_end(void **state) {
  (void)state;
  lab_packet p;
  lab_node *a = lab_add(&l, 1, NULL);
  km_mdns_name name = lab_instance(&peer);
  lab_sd(&p, &peer, 71, 1000, 100, NULL, 0);
  km_mdns_watch(a->mdns, true, l.now);
  hear(a, 71, &p);
  lab_run(&l, 79 * S);
  for (size_t i = 0; i < l.sent_count; i++) {
    assert_int_equal(
        lab_records(l.sent[i].bytes, l.sent[i].len, KM_MDNS_QUESTIONS, KM_MDNS_ANY, &name), 0);
  }
  size_t sent = l.sent_count;
  lab_run(&l, 22 * S);
  unsigned asked = 0;
  for (size_t i = sent; i < l.sent_count; i++) {
    asked += lab_records(l.sent[i].bytes, l.sent[i].len, KM_MDNS_QUESTIONS, KM_MDNS_ANY, &name);
  }
  assert_int_equal(asked, 2); /* at 80 and 90 percent */
  assert_int_equal(a->lost, 1);
}

static void endless_ttls_end(void **state) {
  (void)state;
  lab_packet p;
  lab_node *a = lab_add(&l, 1, NULL);
  lab_sd(&p, &peer, 71, 1000, UINT32_MAX, NULL, 0);
  hear(a, 71, &p);
  assert_int_equal(a->last.valid_s, 4500);
}

static void goodbyes(void **state) {
  (void)state;
  lab_packet p;
  lab_node *a = lab_add(&l, 1, NULL);
  hear_goodbye(a, 71); /* of nobody */
  lab_sd(&p, &peer, 71, 1000, 120, NULL, 0);
  hear(a, 71, &p);
  hear_goodbye(a, 71);
  lab_run(&l, 900 * MS);
  assert_int_equal(a->lost, 0);
  /* What else ends with TTL 0 is part of it, not an announcement of iroh's. */
  hear_iroh(a, &peer, 71);
  lab_run(&l, 300 * MS);
  assert_int_equal(a->lost, 1);
  hear_iroh(a, &peer, 71);
  assert_int_equal(a->changed, 1);
  lab_run(&l, 2 * S);
  hear_iroh(a, &peer, 71); /* it came back as one of iroh's */
  assert_int_equal(a->changed, 2);
  /* One that is rescued stays (RFC 6762 section 10.1). */
  hear(a, 71, &p);
  hear_goodbye(a, 71);
  lab_run(&l, 500 * MS);
  hear(a, 71, &p);
  lab_run(&l, 10 * S);
  assert_int_equal(a->lost, 1);
  assert_int_equal(a->changed, 2); /* nothing of it is new */
  hear_goodbye(a, 71);
  hear_goodbye(a, 71); /* twice does not make it later */
  lab_run(&l, 1100 * MS);
  assert_int_equal(a->lost, 2);
}

/* Anybody can send one, so whoever proved itself is asked. */
static void goodbyes_of_the_proven(void **state) {
  (void)state;
  lab_packet p;
  lab_node *a = lab_add(&l, 1, NULL), *b = lab_add(&l, 200, NULL);
  km_mdns_watch(a->mdns, true, l.now);
  lab_publish(b, "192.168.9.200:1000", NULL, NULL);
  lab_run(&l, 10 * S);
  assert_true(a->last.proven);
  lab_goodbye(&p, &b->id);
  for (int i = 0; i < 10; i++) {
    hear(a, 66, &p); /* a lie that only we hear */
    lab_run(&l, 2 * S);
  }
  assert_int_equal(a->lost, 0);
  /* One that went without a word does not answer. */
  lab_run(&l, 12 * S);
  b->deaf = true;
  hear(a, 66, &p);
  lab_run(&l, 2 * S);
  assert_int_equal(a->lost, 0);
  lab_run(&l, 2 * S);
  assert_int_equal(a->lost, 1);
  /* Its own goodbye is signed. */
  b->deaf = false;
  lab_run(&l, 130 * S);
  assert_true(km_mdns_get(a->mdns, &b->id, l.now, &(km_found){0}));
  km_mdns_publish(b->mdns, NULL, l.now);
  const lab_sent *s = lab_last(&l, b, true);
  lab_deliver(&l, a, 66, KM_MDNS_PORT, true, s->bytes, s->len);
  lab_run(&l, 1300 * MS);
  assert_int_equal(a->lost, 2);
}

/* Also where nobody watches, a lie costs a question and not the peer. */
static void goodbyes_of_the_proven_unwatched(void **state) {
  (void)state;
  lab_packet p;
  lab_node *a = lab_add(&l, 1, NULL), *b = lab_add(&l, 200, NULL);
  lab_publish(b, "192.168.9.200:1000", NULL, NULL);
  lab_run(&l, 10 * S);
  lab_goodbye(&p, &b->id);
  for (int i = 0; i < 30; i++) {
    lab_deliver(&l, a, 66, KM_MDNS_PORT, true, p.bytes, p.w.len);
    lab_run(&l, 10 * S);
    assert_true(km_mdns_get(a->mdns, &b->id, l.now, &(km_found){0}));
  }
  assert_int_equal(a->lost, 0);
}

static void changes_are_told(void **state) {
  (void)state;
  lab_packet p;
  lab_node *a = lab_add(&l, 1, NULL);
  hear_iroh(a, &peer, 71);
  lab_iroh(&p, &peer, 71, 2000);
  hear(a, 71, &p);
  assert_int_equal(a->changed, 2);
  assert_string_equal(a->addrs, "192.168.9.71:2000"); /* the old one is forgotten */
  lab_sd(&p, &peer, 71, 2000, 120, key, NOW_MS);
  hear(a, 71, &p);
  assert_int_equal(a->changed, 3); /* it is proven now */
}

/* --- in parts --- */

static void parts_are_asked_for(void **state) {
  (void)state;
  lab_packet p;
  lab_node *a = lab_add(&l, 1, NULL);
  km_mdns_name service = lab_service(), instance = lab_instance(&peer), host;
  km_udp_addr addr = {.family = 4, .ip = {192, 168, 9, 71}};
  assert_true(km_mdns_name_set(&host, "printer.local"));
  km_mdns_watch(a->mdns, true, l.now);
  lab_run(&l, 70 * S);
  size_t sent = l.sent_count;
  lab_begin(&p, true);
  assert_true(km_mdns_write_ptr(&p.w, KM_MDNS_ANSWERS, &service, 4500, &instance));
  hear(a, 71, &p);
  hear(a, 71, &p);
  lab_run(&l, 200 * MS);
  assert_int_equal(l.sent_count, sent + 1);
  const lab_sent *s = &l.sent[sent];
  assert_int_equal(lab_records(s->bytes, s->len, KM_MDNS_QUESTIONS, KM_MDNS_ANY, &instance), 1);
  lab_begin(&p, true);
  assert_true(km_mdns_write_srv(&p.w, KM_MDNS_ANSWERS, &instance, 120, 631, &host));
  assert_true(km_mdns_write_txt(&p.w, KM_MDNS_ANSWERS, &instance, 120,
                                (const uint8_t *)"\x0buser-data=x", 12));
  hear(a, 71, &p);
  lab_run(&l, 1500 * MS);
  s = lab_last(&l, a, false);
  assert_int_equal(lab_records(s->bytes, s->len, KM_MDNS_QUESTIONS, KM_MDNS_ANY, &host), 1);
  assert_int_equal(a->found, 0);
  lab_begin(&p, true);
  assert_true(km_mdns_write_ip(&p.w, KM_MDNS_ANSWERS, &host, 120, &addr));
  hear(a, 71, &p);
  assert_int_equal(a->changed, 1);
  assert_string_equal(a->addrs, "192.168.9.71:631");
  assert_string_equal(a->data, "x");
}

static void parts_that_never_come(void **state) {
  (void)state;
  lab_packet p;
  lab_node *a = lab_add(&l, 1, NULL);
  km_mdns_name service = lab_service();
  for (int watched = 0; watched < 2; watched++) {
    if (watched) {
      km_mdns_watch(a->mdns, true, l.now);
      lab_run(&l, 70 * S);
    }
    size_t sent = l.sent_count;
    for (uint8_t i = 0; i < 100; i++) {
      km_id id = lab_id((uint8_t)(100 + i));
      km_mdns_name instance = lab_instance(&id);
      lab_begin(&p, true);
      assert_true(km_mdns_write_ptr(&p.w, KM_MDNS_ANSWERS, &service, 120, &instance));
      hear(a, 71, &p);
    }
    lab_run(&l, 30 * S);
    assert_in_range(l.sent_count - sent, watched ? 1 : 0, watched ? 15 : 0);
  }
  assert_int_equal(a->found, 0);
}

/* --- what is no announcement --- */

static void answers_from_other_ports_are_none(void **state) {
  (void)state;
  lab_packet p;
  lab_node *a = lab_add(&l, 1, NULL);
  lab_iroh(&p, &peer, 71, 1000);
  lab_deliver(&l, a, 71, 5354, true, p.bytes, p.w.len);
  assert_int_equal(a->found, 0);
  km_mdns_arrival far = {.index = 1,
                         .from = {.family = 4, .port = KM_MDNS_PORT, .ip = {10, 0, 0, 1}}};
  km_mdns_receive(a->mdns, &far, p.bytes, p.w.len, l.now, l.wall);
  assert_int_equal(a->found, 0); /* sent to us from another network */
  far.index = 2;
  far.multicast = true;
  km_mdns_receive(a->mdns, &far, p.bytes, p.w.len, l.now, l.wall);
  assert_int_equal(a->found, 0); /* no link of ours */
  far.index = 1;
  km_mdns_receive(a->mdns, &far, p.bytes, p.w.len, l.now, l.wall);
  assert_int_equal(a->found, 1); /* RFC 6762 section 11: sent to all, it is from here */
}

static void names_that_are_no_ids(void **state) {
  (void)state;
  lab_packet p;
  lab_node *a = lab_add(&l, 1, NULL);
  km_mdns_name service = lab_service(), instance, host;
  km_udp_addr addr = {.family = 4, .ip = {192, 168, 9, 71}};
  static const char *const labels[] = {
      "printer", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", /* bits left over */
      "a1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
  assert_true(km_mdns_name_set(&host, "h.local"));
  for (size_t i = 0; i < COUNT_OF(labels); i++) {
    assert_true(km_mdns_name_prefix(&instance, labels[i], strlen(labels[i]), &service));
    lab_begin(&p, true);
    assert_true(km_mdns_write_srv(&p.w, KM_MDNS_ANSWERS, &instance, 120, 1, &host));
    assert_true(km_mdns_write_ip(&p.w, KM_MDNS_ADDITIONALS, &host, 120, &addr));
    hear(a, 71, &p);
  }
  assert_int_equal(a->found, 0);
}

static void addresses_that_lead_nowhere(void **state) {
  (void)state;
  static const struct {
    const char *said, *heard;
    uint8_t host;
  } cases[] = {
      {"192.168.9.71:1000 127.0.0.1:1000", "192.168.9.71:1000", 71},
      {"127.0.0.1:1000", NULL, 71},
      {"127.0.0.1:1000", "127.0.0.1:1000", 1}, /* our own host's other program */
      {"0.0.0.0:1000", NULL, 71},
      {"224.0.0.251:1000", NULL, 71},
      {"255.255.255.255:1000", NULL, 71},
      {"[ff02::1]:1000", NULL, 71},
      {"[::]:1000", NULL, 71},
      {"[::ffff:192.168.9.9]:1000", NULL, 71},
      {"[fe80::1]:1000 192.168.9.71:1000", "192.168.9.71:1000", 71},
      {"[fe80::1]:1000", "[fe80::1]:1000", 71}, /* better than nothing */
      {"[2001:db8::1]:1000", "[2001:db8::1]:1000", 71},
  };
  lab_node *a = lab_add(&l, 1, NULL);
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    lab_packet p;
    km_id id = lab_id((uint8_t)(100 + i));
    km_mdns_name instance = lab_instance(&id), host = lab_host(&id, 1000);
    char copy[128], *at;
    lab_begin(&p, true);
    assert_true(km_mdns_write_srv(&p.w, KM_MDNS_ANSWERS, &instance, 0, 1000, &host));
    (void)snprintf(copy, sizeof copy, "%s", cases[i].said);
    for (char *word = strtok_r(copy, " ", &at); word != NULL; word = strtok_r(NULL, " ", &at)) {
      km_udp_addr addr;
      assert_int_equal(km_udp_addr_parse(&addr, word, strlen(word), NULL), 0);
      assert_true(km_mdns_write_ip(&p.w, KM_MDNS_ADDITIONALS, &host, 0, &addr));
    }
    a->found = 0;
    hear(a, cases[i].host, &p);
    assert_int_equal(a->found, cases[i].heard != NULL);
    if (cases[i].heard != NULL) {
      assert_string_equal(a->addrs, cases[i].heard);
    }
  }
}

static void texts_that_are_none(void **state) {
  (void)state;
  lab_packet p;
  lab_node *a = lab_add(&l, 1, NULL);
  km_mdns_name instance = lab_instance(&peer), host = lab_host(&peer, 1000);
  km_udp_addr addr = {.family = 4, .ip = {192, 168, 9, 71}};
  static const char txt[] = "\x0buser-data=\xff\x0drelay=nothing\x15relay=https://r.test/";
  lab_begin(&p, true);
  assert_true(km_mdns_write_srv(&p.w, KM_MDNS_ANSWERS, &instance, 0, 1000, &host));
  assert_true(
      km_mdns_write_txt(&p.w, KM_MDNS_ANSWERS, &instance, 0, (const uint8_t *)txt, sizeof txt - 1));
  assert_true(km_mdns_write_ip(&p.w, KM_MDNS_ADDITIONALS, &host, 0, &addr));
  hear(a, 71, &p);
  assert_int_equal(a->changed, 1);
  assert_null(a->last.user_data);
  assert_string_equal(a->relays, "https://r.test/");
}

/* --- signatures --- */

static void signed_only(void **state) {
  (void)state;
  for (int mode = KM_MDNS_SIGNED; mode <= KM_MDNS_TRUSTED; mode++) {
    lab_packet p;
    lab_node *a = with_mode((km_mdns_mode)mode);
    hear_iroh(a, &peer, 71);
    lab_sd(&p, &peer, 71, 1000, 120, NULL, 0);
    hear(a, 71, &p);
    assert_int_equal(a->found, 0);
    assert_non_null(strstr(l.log, "it is not signed"));
    lab_sd(&p, &peer, 71, 1000, 120, key, NOW_MS);
    p.bytes[p.w.len - 1] ^= 1; /* another address */
    hear(a, 71, &p);
    assert_int_equal(a->found, 0);
    assert_non_null(strstr(l.log, "its signature is wrong"));
    hear_signed(a, 71, NOW_MS - DAY_MS - 1000);
    hear_signed(a, 71, NOW_MS + DAY_MS + 1000);
    assert_int_equal(a->found, 0);
    assert_non_null(strstr(l.log, "set the clocks"));
    hear_signed(a, 71, NOW_MS);
    assert_int_equal(a->changed, 1);
    assert_true(a->last.proven);
    assert_int_equal(a->last.published_ms, NOW_MS);
    l.log[0] = '\0';
    km_id other = lab_id(201);
    km_secret_key *others = lab_key(201);
    lab_sd(&p, &other, 72, 1000, 120, others, NOW_MS);
    hear(a, 72, &p);
    assert_int_equal(a->changed, mode == KM_MDNS_SIGNED ? 2 : 1);
    km_secret_key_free(others);
    km_mdns_free(a->mdns);
    a->mdns = NULL;
  }
}

static void open_takes_all_but_lies(void **state) {
  (void)state;
  lab_packet p;
  lab_node *a = lab_add(&l, 1, NULL);
  lab_sd(&p, &peer, 71, 1000, 120, key, NOW_MS);
  p.bytes[p.w.len - 1] ^= 1;
  hear(a, 71, &p);
  assert_int_equal(a->found, 0);
  hear_signed(a, 71, NOW_MS - 30 * DAY_MS); /* a wrong clock proves nothing, and is no lie */
  assert_int_equal(a->changed, 1);
  assert_false(a->last.proven);
  hear_signed(a, 72, NOW_MS);
  assert_true(a->last.proven);
  assert_string_equal(a->addrs, "192.168.9.72:1000");
  /* From now on nobody talks us out of it, */
  hear_iroh(a, &peer, 66);
  lab_sd(&p, &peer, 66, 1000, 120, NULL, 0);
  hear(a, 66, &p);
  assert_string_equal(a->addrs, "192.168.9.72:1000");
  assert_non_null(strstr(l.log, "but this key signs"));
  /* until it is gone. */
  lab_run(&l, 121 * S);
  assert_int_equal(a->lost, 1);
  hear_iroh(a, &peer, 66);
  assert_string_equal(a->addrs, "192.168.9.66:1000");
}

static void replays(void **state) {
  (void)state;
  lab_node *a = with_mode(KM_MDNS_SIGNED);
  hear_signed(a, 71, NOW_MS - 5000);
  hear_signed(a, 72, NOW_MS);
  assert_string_equal(a->addrs, "192.168.9.72:1000");
  hear_signed(a, 71, NOW_MS - 5000);
  assert_string_equal(a->addrs, "192.168.9.72:1000");
  assert_non_null(strstr(l.log, "a newer announcement"));
  hear_signed(a, 71, NOW_MS); /* the same time with something else */
  assert_string_equal(a->addrs, "192.168.9.72:1000");
  unsigned found = a->found;
  hear_signed(a, 72, NOW_MS); /* the same once more is how it stays */
  assert_int_equal(a->found, found + 1);
  /* Also when it is gone: the dead are not raised by what they said before. */
  hear_goodbye(a, 72);
  lab_run(&l, 5 * S);
  assert_int_equal(a->lost, 1);
  hear_signed(a, 71, NOW_MS - 5000);
  assert_int_equal(a->found, found + 1);
  hear_signed(a, 71, NOW_MS + 5000);
  assert_int_equal(a->found, found + 2);
}

/* --- trust --- */

static void only_the_trusted_are_answered(void **state) {
  (void)state;
  lab_packet q;
  lab_node *a = with_mode(KM_MDNS_TRUSTED); /* trusts 200 */
  lab_node *b = lab_add(&l, 2, NULL);       /* a stranger, who asks too */
  lab_publish(a, "192.168.9.1:1000", NULL, NULL);
  lab_publish(b, "192.168.9.2:1000", NULL, NULL);
  km_mdns_watch(b->mdns, true, l.now);
  assert_int_equal(km_mdns_want(b->mdns, &a->id, l.now), 0);
  lab_plain_query(&q);
  for (int i = 0; i < 10; i++) {
    hear(a, 71, &q);
    lab_deliver(&l, a, 71, 40000, true, q.bytes, q.w.len);
    lab_run(&l, 2 * S);
  }
  assert_int_equal(lab_count(&l, a, 0, true), 0);
  assert_int_equal(b->found, 0);
  assert_int_equal(a->found, 0);
  assert_int_equal(lab_count(&l, a, 0, false), 2); /* it showed itself to those who trust it */
  assert_true(km_mdns_is_announced(a->mdns));
  /* One of the trusted asks. */
  km_id id = lab_id(1);
  km_mdns_options o = {
      .size = sizeof o, .mode = KM_MDNS_TRUSTED, .trusted = &id, .trusted_count = 1};
  lab_node *c = lab_add(&l, 200, &o);
  km_mdns_watch(c->mdns, true, l.now);
  km_ts start = l.now;
  lab_run(&l, 500 * MS);
  assert_int_equal(c->changed, 1);
  assert_true(c->last.proven);
  /* Its question, heard again, is answered no more; nor one from yesterday, or of another. */
  lab_sent asked = *lab_last(&l, c, false);
  assert_true(asked.at >= start);
  size_t answers = lab_count(&l, a, 0, true);
  lab_run(&l, 700 * MS);
  for (int i = 0; i < 5; i++) {
    lab_deliver(&l, a, 200, KM_MDNS_PORT, true, asked.bytes, asked.len);
    lab_run(&l, 1500 * MS);
  }
  size_t later = lab_count(&l, a, 0, true);
  assert_in_range(later - answers, 0, lab_count(&l, c, 0, false));
  km_mdns_watch(c->mdns, false, l.now);
  lab_run(&l, 70 * S);
  answers = lab_count(&l, a, 0, true);
  asked.bytes[asked.len - 1] ^= 1;
  lab_deliver(&l, a, 200, KM_MDNS_PORT, true, asked.bytes, asked.len);
  lab_run(&l, 5 * S);
  assert_int_equal(lab_count(&l, a, 0, true), answers);
}

static void trusted_ones_find_each_other(void **state) {
  (void)state;
  km_id one = lab_id(1);
  km_mdns_options o = {
      .size = sizeof o, .mode = KM_MDNS_TRUSTED, .trusted = &one, .trusted_count = 1};
  lab_node *a = with_mode(KM_MDNS_TRUSTED);
  km_mdns_watch(a->mdns, true, l.now);
  lab_publish(a, "192.168.9.1:1000", NULL, NULL);
  lab_run(&l, 100 * S);
  lab_node *b = lab_add(&l, 200, &o);
  lab_publish(b, "192.168.9.2:1000", NULL, NULL);
  lab_run(&l, 2 * S);
  assert_int_equal(a->changed, 1); /* it saw the other one ask, and asked */
  km_mdns_watch(b->mdns, true, l.now);
  lab_run(&l, 2 * S);
  assert_int_equal(b->changed, 1);
  assert_int_equal(a->lost + b->lost, 0);
  const lab_sent *s = lab_last(&l, b, false); /* whom it knows is nobody's concern */
  assert_int_equal(lab_records(s->bytes, s->len, KM_MDNS_ANSWERS, KM_MDNS_PTR, NULL), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(ttl_0_is_no_goodbye),
      TEST(patience_grows_with_the_swarm),
      TEST(silence_is_asked_about),
      TEST(swarms_with_ttls_are_noticed),
      TEST(ttls_are_asked_about_before_they_end),
      TEST(endless_ttls_end),
      TEST(goodbyes),
      TEST(goodbyes_of_the_proven),
      TEST(goodbyes_of_the_proven_unwatched),
      TEST(changes_are_told),
      TEST(parts_are_asked_for),
      TEST(parts_that_never_come),
      TEST(answers_from_other_ports_are_none),
      TEST(names_that_are_no_ids),
      TEST(addresses_that_lead_nowhere),
      TEST(texts_that_are_none),
      TEST(signed_only),
      TEST(open_takes_all_but_lies),
      TEST(replays),
      TEST(only_the_trusted_are_answered),
      TEST(trusted_ones_find_each_other),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
