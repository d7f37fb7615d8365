/* What a multicast DNS node says: announcements and answers, and when. */
#include "mdns_lab.h"

static lab l;

static int setup(void **state) {
  (void)state;
  lab_init(&l, 1);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  lab_free(&l);
  return 0;
}

static unsigned records(const lab_sent *s, km_mdns_section section, uint16_t type,
                        const km_mdns_name *owner) {
  assert_non_null(s);
  return lab_records(s->bytes, s->len, section, type, owner);
}

/* --- who finds whom --- */

static void two_find_each_other(void **state) {
  for (uint64_t seed = 1; seed <= 200; seed++) {
    lab_init(&l, seed);
    lab_node *a = lab_add_v6(&l, 1, NULL), *b = lab_add_v6(&l, 2, NULL);
    lab_publish(a, "192.168.9.1:1000", NULL, "a");
    assert_int_equal(km_mdns_want(a->mdns, &b->id, l.now), 0);
    b->deaf = true;
    lab_run(&l, 5 * S);
    assert_int_equal(a->found, 0);
    b->deaf = false;
    /* It comes when the next question is seconds away: its announcement is heard. */
    lab_publish(b, "192.168.9.2:2000 [2001:db8::2]:2000", "https://r.test/", "b");
    lab_run(&l, 200 * MS);
    assert_true(a->changed == 1 && a->last.proven);
    assert_string_equal(a->addrs, "192.168.9.2:2000 [2001:db8::2]:2000");
    assert_string_equal(a->relays, "https://r.test/");
    assert_string_equal(a->data, "b");
    /* Its own question is answered though a said everything long ago. */
    assert_int_equal(km_mdns_want(b->mdns, &a->id, l.now), 0);
    assert_int_equal(b->found, 0);
    lab_run(&l, 300 * MS);
    assert_true(b->changed == 1 && b->last.proven);
    assert_string_equal(b->addrs, "192.168.9.1:1000");
    assert_int_equal(a->lost + b->lost, 0);
    lab_free(&l);
  }
  (void)setup(state); /* for teardown */
}

static void they_stay_found(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL), *b = lab_add(&l, 2, NULL);
  lab_publish(b, "192.168.9.2:2000", NULL, NULL);
  km_mdns_watch(a->mdns, true, l.now);
  lab_run(&l, 3600 * S);
  assert_int_equal(a->changed, 1);
  assert_int_equal(a->lost, 0);
  /* Quietly: about a question a minute, and half as many answers. */
  assert_in_range(lab_count(&l, a, 0, false), 55, 130);
  assert_in_range(lab_count(&l, b, 0, true), 30, 75);
  /* Nobody says goodbye; the last word is good for two minutes. */
  km_mdns_free(b->mdns);
  b->mdns = NULL;
  lab_run(&l, 121 * S);
  assert_int_equal(a->lost, 1);
  assert_true(km_id_equal(&a->last_lost, &b->id));
}

static void known_ones_are_told_again(void **state) {
  (void)state;
  km_found f;
  lab_node *a = lab_add(&l, 1, NULL), *b = lab_add(&l, 2, NULL);
  lab_publish(b, "192.168.9.2:2000", NULL, NULL);
  lab_run(&l, 10 * S);
  assert_int_equal(a->changed, 1); /* it listens without being asked to */
  assert_int_equal(lab_count(&l, a, 0, false), 0);
  km_mdns_tell_all(a->mdns, l.now);
  assert_int_equal(a->changed, 2);
  assert_true(km_mdns_get(a->mdns, &b->id, l.now, &f));
  assert_in_range(f.age_s, 6, 7); /* since its third announcement */
  assert_in_range(f.valid_s, 112, 114);
  assert_in_range(f.published_ms, INT64_C(1700000000000), INT64_C(1700000001000));
  assert_false(km_mdns_get(a->mdns, &a->id, l.now, &f));
  lab_run(&l, 200 * S);
  assert_false(km_mdns_get(a->mdns, &b->id, l.now, &f));
}

/* --- announcements --- */

static void announcements(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL);
  km_ts start = l.now;
  km_mdns_name service = lab_service(), instance = lab_instance(&a->id);
  km_mdns_name host1 = lab_host(&a->id, 1000), host2 = lab_host(&a->id, 2000);
  uint32_t least, most;
  assert_false(km_mdns_is_wanted(a->mdns));
  lab_publish(a, "192.168.9.1:1000 192.168.9.1:2000 [2001:db8::1]:2000", NULL, NULL);
  assert_true(km_mdns_is_wanted(a->mdns));
  assert_false(km_mdns_is_announced(a->mdns));
  lab_run(&l, 60 * S);
  assert_true(km_mdns_is_announced(a->mdns));
  assert_int_equal(l.sent_count, 3);
  assert_in_range(l.sent[0].at - start, 20 * MS, 120 * MS);
  assert_int_equal(l.sent[1].at - l.sent[0].at, 1 * S);
  assert_int_equal(l.sent[2].at - l.sent[1].at, 2 * S);
  const lab_sent *s = &l.sent[0];
  /* iroh's form: SRV and TXT are answers, addresses are additional. */
  assert_int_equal(records(s, KM_MDNS_QUESTIONS, KM_MDNS_PTR, NULL), 0);
  assert_int_equal(records(s, KM_MDNS_ANSWERS, KM_MDNS_PTR, &service), 1);
  assert_int_equal(records(s, KM_MDNS_ANSWERS, KM_MDNS_SRV, &instance), 2);
  assert_int_equal(records(s, KM_MDNS_ANSWERS, KM_MDNS_TXT, &instance), 1);
  assert_int_equal(records(s, KM_MDNS_ADDITIONALS, KM_MDNS_A, &host1), 1);
  assert_int_equal(records(s, KM_MDNS_ADDITIONALS, KM_MDNS_A, &host2), 1);
  assert_int_equal(records(s, KM_MDNS_ADDITIONALS, KM_MDNS_AAAA, &host2), 1);
  lab_ttls(s->bytes, s->len, &least, &most);
  assert_true(least == 120 && most == 120);
  static const uint8_t header[] = {0, 0, 0x84, 0, 0, 0, 0, 4, 0, 0, 0, 3};
  assert_memory_equal(s->bytes, header, sizeof header);
}

static void the_same_again_says_nothing(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL);
  lab_publish(a, "192.168.9.1:1000", "https://r.test/", "x");
  lab_run(&l, 10 * S);
  size_t sent = l.sent_count;
  lab_publish(a, "192.168.9.1:1000", "https://r.test/", "x");
  lab_run(&l, 10 * S);
  assert_int_equal(l.sent_count, sent);
  assert_true(km_mdns_is_announced(a->mdns));
  lab_publish(a, "192.168.9.1:1000", "https://r.test/", "y");
  lab_run(&l, 10 * S);
  assert_int_equal(l.sent_count, sent + 3);
  lab_publish(a, "192.168.9.1:1000", "https://s.test/", "y");
  lab_run(&l, 10 * S);
  assert_int_equal(l.sent_count, sent + 6);
}

static void what_is_gone_is_taken_back(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL), *b = lab_add(&l, 2, NULL);
  km_mdns_name instance = lab_instance(&a->id), host = lab_host(&a->id, 1000);
  uint32_t least, most;
  lab_publish(a, "192.168.9.1:1000 10.0.0.1:1000 10.0.0.1:2000", NULL, NULL);
  lab_run(&l, 10 * S);
  size_t sent = l.sent_count;
  lab_publish(a, "192.168.9.1:1000", NULL, NULL);
  assert_int_equal(l.sent_count, sent + 1); /* at once */
  const lab_sent *s = &l.sent[sent];
  assert_int_equal(records(s, KM_MDNS_ANSWERS, KM_MDNS_SRV, &instance), 1);
  assert_int_equal(records(s, KM_MDNS_ANSWERS, KM_MDNS_A, &host), 1);
  assert_int_equal(records(s, KM_MDNS_ANSWERS, KM_MDNS_A, NULL), 1);
  lab_ttls(s->bytes, s->len, &least, &most);
  assert_int_equal(most, 0);
  lab_run(&l, 1 * S);
  assert_string_equal(b->addrs, "192.168.9.1:1000");
  assert_int_equal(b->lost, 0);
}

static void goodbye(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL), *b = lab_add(&l, 2, NULL);
  km_mdns_name service = lab_service();
  uint32_t least, most;
  lab_publish(a, "192.168.9.1:1000", NULL, NULL);
  lab_run(&l, 10 * S);
  size_t sent = l.sent_count;
  km_mdns_publish(a->mdns, NULL, l.now);
  assert_int_equal(l.sent_count, sent + 1);
  assert_int_equal(records(&l.sent[sent], KM_MDNS_ANSWERS, KM_MDNS_PTR, &service), 1);
  assert_int_equal(records(&l.sent[sent], KM_MDNS_ADDITIONALS, KM_MDNS_A, NULL), 0);
  lab_ttls(l.sent[sent].bytes, l.sent[sent].len, &least, &most);
  assert_int_equal(most, 0);
  lab_deliver(&l, b, 1, KM_MDNS_PORT, true, l.sent[sent].bytes, l.sent[sent].len);
  lab_run(&l, 4 * S);
  assert_int_equal(b->lost, 1);
  assert_false(km_mdns_is_wanted(a->mdns));
  km_mdns_publish(a->mdns, NULL, l.now); /* again: nothing */
  assert_int_equal(lab_count(&l, a, sent + 1, true), 0);
  /* Before anything was said there is nothing to take back. */
  lab_node *c = lab_add(&l, 3, NULL);
  lab_publish(c, "192.168.9.3:1000", NULL, NULL);
  km_mdns_publish(c->mdns, NULL, l.now);
  lab_run(&l, 5 * S);
  assert_int_equal(lab_count(&l, c, 0, true), 0);
}

static void what_is_published(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL);
  /* Addresses of no use to others are left out, */
  lab_publish(a, "127.0.0.1:1 [fe80::1]:1 [::1]:1 192.168.9.1:1 224.0.0.1:1 0.0.0.0:1", NULL, NULL);
  lab_run(&l, 5 * S);
  const lab_sent *s = lab_last(&l, a, true);
  assert_int_equal(records(s, KM_MDNS_ADDITIONALS, KM_MDNS_A, NULL), 1);
  assert_int_equal(records(s, KM_MDNS_ADDITIONALS, KM_MDNS_AAAA, NULL), 0);
  /* unless there is nothing but this machine. */
  lab_publish(a, "127.0.0.1:1 [::1]:1", NULL, NULL);
  lab_run(&l, 5 * S);
  s = lab_last(&l, a, true);
  assert_int_equal(records(s, KM_MDNS_ADDITIONALS, KM_MDNS_A, NULL), 1);
  assert_int_equal(records(s, KM_MDNS_ADDITIONALS, KM_MDNS_AAAA, NULL), 1);
  /* Nobody takes a node without an address. */
  size_t sent = l.sent_count;
  lab_publish(a, "", "https://r.test/", NULL);
  lab_run(&l, 5 * S);
  assert_int_equal(l.sent_count, sent + 1); /* goodbye */
  assert_false(km_mdns_is_wanted(a->mdns));
}

static void what_does_not_fit_is_left_out(void **state) {
  (void)state;
  char addrs[2048] = "", url[300] = "https://r.test/", data[KM_USER_DATA_MAX + 1];
  lab_node *a = lab_add(&l, 1, NULL), *b = lab_add(&l, 2, NULL);
  for (unsigned i = 0; i < 32; i++) {
    size_t at = strlen(addrs);
    (void)snprintf(addrs + at, sizeof addrs - at, "[2001:db8::%x]:%u ", i, 1000 + i % 6);
  }
  memset(url + strlen(url), 'p', 249 - strlen(url));
  url[249] = '\0';
  memset(data, 'd', sizeof data - 1);
  data[sizeof data - 1] = '\0';
  lab_publish(a, addrs, url, data);
  lab_run(&l, 5 * S);
  const lab_sent *s = lab_last(&l, a, true);
  assert_true(s->len <= KM_MDNS_SEND_MAX && s->len > KM_MDNS_SEND_MAX - 100);
  assert_in_range(records(s, KM_MDNS_ANSWERS, KM_MDNS_SRV, NULL), 1, KM_MDNS_PORTS_MAX);
  assert_int_equal(b->changed, 1);
  assert_true(b->last.proven); /* what is left is what was signed */
  assert_string_equal(b->relays, url);
  assert_string_equal(b->data, data);
  url[249] = 'p';
  url[250] = '\0'; /* a url longer than iroh's attribute takes */
  lab_publish(a, "192.168.9.1:1", url, NULL);
  lab_run(&l, 5 * S);
  assert_string_equal(b->relays, "");
}

static void without_publishing(void **state) {
  (void)state;
  km_mdns_options o = {.size = sizeof o, .no_publish = true};
  lab_node *a = lab_add(&l, 1, &o), *b = lab_add(&l, 2, NULL);
  lab_publish(a, "192.168.9.1:1000", NULL, NULL);
  lab_publish(b, "192.168.9.2:1000", NULL, NULL);
  km_mdns_watch(a->mdns, true, l.now);
  lab_run(&l, 5 * S);
  assert_false(km_mdns_is_wanted(a->mdns));
  assert_int_equal(lab_count(&l, a, 0, true), 0);
  assert_int_equal(a->changed, 1);
  assert_int_equal(b->found, 0);
  const lab_sent *s = lab_last(&l, a, false);
  assert_int_equal(records(s, KM_MDNS_ADDITIONALS, KM_MDNS_TXT, NULL), 0); /* says not who it is */
}

/* --- answers --- */

static void answers_are_delayed_and_seldom(void **state) {
  (void)state;
  lab_packet q;
  lab_node *a = lab_add(&l, 1, NULL);
  lab_publish(a, "192.168.9.1:1000", NULL, NULL);
  lab_run(&l, 10 * S);
  size_t sent = l.sent_count;
  km_ts start = l.now;
  lab_plain_query(&q);
  lab_deliver(&l, a, 2, KM_MDNS_PORT, true, q.bytes, q.w.len);
  assert_int_equal(l.sent_count, sent);
  lab_run(&l, 5 * S);
  assert_int_equal(l.sent_count, sent + 1);
  assert_in_range(l.sent[sent].at - start, 20 * MS, 120 * MS);
  assert_true(l.sent[sent].multicast);
  /* However many ask, one answer a second. */
  sent = l.sent_count;
  for (int i = 0; i < 1000; i++) {
    lab_deliver(&l, a, (uint8_t)(3 + i % 5), KM_MDNS_PORT, true, q.bytes, q.w.len);
    lab_run(&l, 10 * MS);
  }
  assert_in_range(l.sent_count - sent, 9, 18); /* 600 ms apart where swarm-discovery asks */
}

static void questions(void **state) {
  (void)state;
  lab_packet q;
  lab_node *a = lab_add(&l, 1, NULL);
  km_mdns_name service = lab_service(), instance = lab_instance(&a->id), types, other;
  km_mdns_name host = lab_host(&a->id, 1000);
  assert_true(km_mdns_name_set(&types, "_services._dns-sd._udp.local"));
  assert_true(km_mdns_name_set(&other, "_other._udp.local"));
  const struct {
    const km_mdns_name *name;
    uint16_t type;
    bool ptr, srv, address_is_answer, answered;
  } cases[] = {
      {&service, KM_MDNS_PTR, true, true, false, true},
      {&service, KM_MDNS_ANY, true, true, false, true},
      {&service, KM_MDNS_SRV, false, false, false, false},
      {&types, KM_MDNS_PTR, true, false, false, true},
      {&types, KM_MDNS_TXT, false, false, false, false},
      {&instance, KM_MDNS_SRV, false, true, false, true},
      {&instance, KM_MDNS_TXT, false, true, false, true},
      {&instance, KM_MDNS_ANY, false, true, false, true},
      {&instance, KM_MDNS_A, false, false, false, false},
      {&host, KM_MDNS_A, false, false, true, true},
      {&host, KM_MDNS_ANY, false, false, true, true},
      {&host, KM_MDNS_SRV, false, false, false, false},
      {&other, KM_MDNS_PTR, false, false, false, false},
  };
  lab_publish(a, "192.168.9.1:1000", NULL, NULL);
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    lab_run(&l, 10 * S);
    size_t sent = l.sent_count;
    lab_begin(&q, false);
    assert_true(km_mdns_write_question(&q.w, cases[i].name, cases[i].type));
    lab_deliver(&l, a, 2, KM_MDNS_PORT, true, q.bytes, q.w.len);
    lab_run(&l, 200 * MS);
    assert_int_equal(l.sent_count - sent, cases[i].answered ? 1 : 0);
    if (cases[i].answered) {
      const lab_sent *s = &l.sent[sent];
      assert_int_equal(records(s, KM_MDNS_ANSWERS, KM_MDNS_PTR, NULL), cases[i].ptr);
      assert_int_equal(records(s, KM_MDNS_ANSWERS, KM_MDNS_SRV, NULL), cases[i].srv);
      assert_int_equal(records(s, KM_MDNS_ANSWERS, KM_MDNS_A, NULL), cases[i].address_is_answer);
      assert_int_equal(records(s, KM_MDNS_ADDITIONALS, KM_MDNS_A, NULL), cases[i].srv);
    }
  }
}

static void known_answers(void **state) {
  (void)state;
  lab_packet q;
  lab_node *a = lab_add(&l, 1, NULL);
  km_mdns_name service = lab_service(), instance = lab_instance(&a->id), types;
  assert_true(km_mdns_name_set(&types, "_services._dns-sd._udp.local"));
  lab_publish(a, "192.168.9.1:1000", NULL, NULL);
  for (uint32_t ttl = 58; ttl <= 61; ttl++) {
    lab_run(&l, 10 * S);
    size_t sent = l.sent_count;
    lab_plain_query(&q);
    assert_true(km_mdns_write_ptr(&q.w, KM_MDNS_ANSWERS, &service, ttl, &instance));
    lab_deliver(&l, a, 2, KM_MDNS_PORT, true, q.bytes, q.w.len);
    lab_run(&l, 2 * S);
    assert_int_equal(l.sent_count - sent, ttl < 60 ? 1 : 0);
  }
  size_t sent = l.sent_count;
  lab_begin(&q, false);
  assert_true(km_mdns_write_question(&q.w, &types, KM_MDNS_PTR));
  assert_true(km_mdns_write_ptr(&q.w, KM_MDNS_ANSWERS, &types, 4500, &service));
  lab_deliver(&l, a, 2, KM_MDNS_PORT, true, q.bytes, q.w.len);
  lab_run(&l, 2 * S);
  assert_int_equal(l.sent_count, sent);
}

/* RFC 6762 section 7.2: a list that goes on in further packets. */
static void known_answers_in_parts(void **state) {
  (void)state;
  lab_packet q, more;
  lab_node *a = lab_add(&l, 1, NULL);
  km_mdns_name service = lab_service(), instance = lab_instance(&a->id);
  lab_publish(a, "192.168.9.1:1000", NULL, NULL);
  lab_plain_query(&q);
  km_mdns_set_truncated(&q.w);
  lab_begin(&more, false);
  assert_true(km_mdns_write_ptr(&more.w, KM_MDNS_ANSWERS, &service, 120, &instance));
  for (uint8_t from = 2; from <= 3; from++) {
    lab_run(&l, 10 * S);
    size_t sent = l.sent_count;
    km_ts start = l.now;
    lab_deliver(&l, a, 2, KM_MDNS_PORT, true, q.bytes, q.w.len);
    lab_run(&l, 300 * MS);
    lab_deliver(&l, a, from, KM_MDNS_PORT, true, more.bytes, more.w.len);
    lab_run(&l, 1 * S);
    if (from == 2) {
      assert_int_equal(l.sent_count, sent);
    } else { /* it was somebody else's list */
      assert_int_equal(l.sent_count, sent + 1);
      assert_in_range(l.sent[sent].at - start, 400 * MS, 500 * MS);
    }
  }
}

static void plain_resolvers_are_answered_alone(void **state) {
  (void)state;
  lab_packet q;
  uint32_t least, most;
  lab_node *a = lab_add(&l, 1, NULL);
  km_mdns_name service = lab_service();
  lab_publish(a, "192.168.9.1:1000", NULL, NULL);
  lab_run(&l, 10 * S);
  size_t sent = l.sent_count;
  lab_plain_query(&q);
  q.bytes[0] = 0xab;
  q.bytes[1] = 0xcd;
  lab_deliver(&l, a, 2, 40000, true, q.bytes, q.w.len);
  assert_int_equal(l.sent_count, sent + 1);
  const lab_sent *s = &l.sent[sent];
  assert_false(s->multicast);
  assert_int_equal(s->to.port, 40000);
  assert_int_equal(s->to.ip[3], 2);
  assert_memory_equal(s->bytes, "\xab\xcd\x84\x00\x00\x01", 6);
  assert_int_equal(records(s, KM_MDNS_QUESTIONS, KM_MDNS_PTR, &service), 1);
  assert_int_equal(records(s, KM_MDNS_ANSWERS, KM_MDNS_PTR, &service), 1);
  lab_ttls(s->bytes, s->len, &least, &most);
  assert_int_equal(most, 10);
  /* Not to other networks: sent to us alone, it is not even read; */
  km_mdns_arrival far = {.index = 1, .from = {.family = 4, .port = 40000, .ip = {10, 1, 1, 1}}};
  km_mdns_receive(a->mdns, &far, q.bytes, q.w.len, l.now, l.wall);
  far.multicast = true; /* sent to all, it is not answered there. */
  km_mdns_receive(a->mdns, &far, q.bytes, q.w.len, l.now, l.wall);
  assert_int_equal(l.sent_count, sent + 1);
  /* And not without end. */
  for (int i = 0; i < 200; i++) {
    lab_deliver(&l, a, 2, 40000, true, q.bytes, q.w.len);
  }
  assert_int_equal(l.sent_count - sent, 10); /* nor at the cost of others */
  for (int i = 0; i < 200; i++) {
    lab_deliver(&l, a, (uint8_t)(3 + i), 40000, true, q.bytes, q.w.len);
  }
  assert_int_equal(l.sent_count - sent, 20);
}

static void unicast_is_welcome(void **state) {
  (void)state;
  lab_packet q;
  lab_node *a = lab_add(&l, 1, NULL);
  lab_publish(a, "192.168.9.1:1000", NULL, NULL);
  lab_run(&l, 10 * S);
  lab_plain_query(&q);
  q.bytes[q.w.len - 2] = 0x80; /* QU */
  size_t sent = l.sent_count;
  lab_deliver(&l, a, 2, KM_MDNS_PORT, true, q.bytes, q.w.len);
  assert_int_equal(l.sent_count, sent + 1);
  assert_false(l.sent[sent].multicast);
  assert_int_equal(l.sent[sent].to.port, KM_MDNS_PORT);
  lab_run(&l, 40 * S); /* it was not said to all for long */
  sent = l.sent_count;
  lab_deliver(&l, a, 2, KM_MDNS_PORT, true, q.bytes, q.w.len);
  lab_run(&l, 1 * S);
  assert_int_equal(l.sent_count, sent + 1);
  assert_true(l.sent[sent].multicast);
}

static void our_name_is_defended(void **state) {
  (void)state;
  lab_packet q;
  lab_node *a = lab_add(&l, 1, NULL);
  km_mdns_name instance = lab_instance(&a->id), host = lab_host(&a->id, 99);
  lab_publish(a, "192.168.9.1:1000", NULL, NULL);
  lab_run(&l, 10 * S);
  size_t sent = l.sent_count;
  lab_begin(&q, false);
  assert_true(km_mdns_write_question(&q.w, &instance, KM_MDNS_ANY));
  assert_true(km_mdns_write_srv(&q.w, KM_MDNS_AUTHORITIES, &instance, 120, 99, &host));
  lab_deliver(&l, a, 2, KM_MDNS_PORT, true, q.bytes, q.w.len);
  lab_run(&l, 20 * MS);
  assert_int_equal(l.sent_count, sent + 1);
  lab_deliver(&l, a, 2, KM_MDNS_PORT, true, q.bytes, q.w.len);
  lab_run(&l, 300 * MS); /* a prober waits 250 ms */
  assert_int_equal(l.sent_count, sent + 2);
  /* A copy of what we said ourselves is nothing, */
  lab_sent said = l.sent[sent];
  lab_run(&l, 10 * S);
  sent = l.sent_count;
  unsigned logged = l.logged;
  lab_deliver(&l, a, 2, KM_MDNS_PORT, true, said.bytes, said.len);
  lab_run(&l, 10 * S);
  assert_int_equal(l.sent_count, sent);
  assert_int_equal(l.logged, logged);
  /* something else is contradicted, */
  lab_packet lie;
  lab_sd(&lie, &a->id, 66, 666, 120, NULL, 0);
  lab_deliver(&l, a, 2, KM_MDNS_PORT, true, lie.bytes, lie.w.len);
  assert_int_equal(l.logged, logged + 1);
  assert_int_equal(l.logged_level, KM_LOG_WARN);
  assert_non_null(strstr(l.log, "second copy of this key"));
  lab_run(&l, 10 * S);
  assert_int_equal(l.sent_count, sent + 3);
  /* and so is a goodbye in our name. */
  lab_goodbye(&lie, &a->id);
  lab_deliver(&l, a, 2, KM_MDNS_PORT, true, lie.bytes, lie.w.len);
  lab_run(&l, 10 * S);
  assert_int_equal(l.sent_count, sent + 6);
  assert_int_equal(l.logged, logged + 1);
}

/* --- among nodes of swarm-discovery --- */

static void others_go_first(void **state) {
  unsigned silent = 0, said = 0;
  lab_packet q, one, two;
  km_id first = lab_id(71), second = lab_id(72);
  lab_plain_query(&q);
  lab_iroh(&one, &first, 71, 1);
  lab_iroh(&two, &second, 72, 1);
  for (uint64_t seed = 1; seed <= 30; seed++) {
    lab_init(&l, seed);
    lab_node *a = lab_add(&l, 1, NULL);
    lab_publish(a, "192.168.9.1:1000", NULL, NULL);
    lab_run(&l, 10 * S);
    lab_deliver(&l, a, 71, KM_MDNS_PORT, true, one.bytes, one.w.len);
    size_t sent = l.sent_count;
    lab_deliver(&l, a, 71, KM_MDNS_PORT, true, q.bytes, q.w.len);
    if (seed % 2 == 0) { /* two answers are enough for a question */
      lab_deliver(&l, a, 71, KM_MDNS_PORT, true, one.bytes, one.w.len);
      lab_deliver(&l, a, 72, KM_MDNS_PORT, true, two.bytes, two.w.len);
    } else {
      lab_deliver(&l, a, 71, KM_MDNS_PORT, true, one.bytes, one.w.len);
    }
    lab_run(&l, 3 * S);
    *(seed % 2 == 0 ? &silent : &said) += (unsigned)(l.sent_count - sent);
    lab_free(&l);
  }
  assert_int_equal(silent, 0);
  assert_int_equal(said, 15);
  (void)setup(state);
}

/* As swarm-discovery asks, each 0.7 s: every question is answered, as it takes silence for an end
 * after 2.1 s. */
static void often_enough_for_them(void **state) {
  (void)state;
  lab_packet q;
  lab_node *a = lab_add(&l, 1, NULL);
  lab_publish(a, "192.168.9.1:1000", NULL, NULL);
  lab_plain_query(&q);
  km_ts longest = 0;
  for (int i = 0; i < 100; i++) {
    lab_deliver(&l, a, 71, KM_MDNS_PORT, true, q.bytes, q.w.len);
    lab_run(&l, 700 * MS);
  }
  for (size_t i = 1; i < l.sent_count; i++) {
    km_ts gap = l.sent[i].at - l.sent[i - 1].at;
    longest = gap > longest ? gap : longest;
  }
  assert_true(longest < 1900 * MS);
}

/* Who answers in our stead may have made itself up: one name is not two, and we are not silent for
 * so long that those who listen miss us. */
static void nobody_is_silenced(void **state) {
  (void)state;
  for (int liars = 1; liars <= 2; liars++) {
    lab_packet q, lie;
    lab_node *a = lab_add(&l, (uint8_t)liars, NULL);
    lab_publish(a, "192.168.9.1:1000", NULL, NULL);
    lab_plain_query(&q);
    lab_run(&l, 10 * S);
    km_ts longest = 0, said = l.now;
    for (int i = 0; i < 100; i++) {
      size_t from = l.sent_count;
      lab_deliver(&l, a, 71, KM_MDNS_PORT, true, q.bytes, q.w.len);
      for (int k = 0; k < 2; k++) {
        km_id id = lab_id((uint8_t)(99 + k % liars));
        lab_iroh(&lie, &id, 99, 1);
        lab_deliver(&l, a, 99, KM_MDNS_PORT, true, lie.bytes, lie.w.len);
      }
      lab_run(&l, 700 * MS);
      if (lab_count(&l, a, from, true) > 0) {
        said = l.now;
      }
      longest = l.now - said > longest ? l.now - said : longest;
    }
    /* With two of them we are three, and so is their patience: three turns. */
    assert_true(longest <= (liars == 1 ? 700 * MS : 3000 * MS));
    km_mdns_free(a->mdns);
    a->mdns = NULL;
  }
}

/* A question whose list of known answers is said to go on takes nothing from others. */
static void known_answers_are_each_ones_own(void **state) {
  (void)state;
  lab_packet q, more, known;
  lab_node *a = lab_add(&l, 1, NULL);
  km_mdns_name service = lab_service(), instance = lab_instance(&a->id);
  lab_publish(a, "192.168.9.1:1000", NULL, NULL);
  lab_plain_query(&q);
  lab_plain_query(&more);
  km_mdns_set_truncated(&more.w);
  lab_begin(&known, false);
  assert_true(km_mdns_write_ptr(&known.w, KM_MDNS_ANSWERS, &service, 120, &instance));
  lab_run(&l, 20 * S);
  for (int i = 0; i < 8; i++) {
    size_t from = l.sent_count;
    if (i % 2 == 0) {
      lab_deliver(&l, a, 70, KM_MDNS_PORT, true, q.bytes, q.w.len);
    }
    lab_deliver(&l, a, 99, KM_MDNS_PORT, true, more.bytes, more.w.len);
    if (i % 4 == 1) { /* another one with more to come is owed an answer as well */
      lab_deliver(&l, a, 72, KM_MDNS_PORT, true, more.bytes, more.w.len);
      lab_deliver(&l, a, 99, KM_MDNS_PORT, true, more.bytes, more.w.len);
    }
    lab_deliver(&l, a, 99, KM_MDNS_PORT, true, known.bytes, known.w.len);
    lab_run(&l, 7 * S);
    assert_int_equal(lab_count(&l, a, from, true), i % 4 == 3 ? 0 : 1);
  }
}

static void many_share_the_air(void **state) {
  (void)state;
  lab_packet q;
  lab_plain_query(&q);
  for (uint8_t i = 1; i <= 30; i++) {
    lab_publish(lab_add(&l, i, NULL), "192.168.9.1:1000", NULL, NULL);
  }
  lab_run(&l, 10 * S);
  lab_packet one;
  km_id iroh = lab_id(99);
  lab_iroh(&one, &iroh, 99, 1);
  size_t sent = l.sent_count;
  for (int i = 0; i < 60; i++) {
    for (size_t k = 0; k < l.node_count; k++) {
      lab_deliver(&l, &l.nodes[k], 99, KM_MDNS_PORT, true, one.bytes, one.w.len);
      lab_deliver(&l, &l.nodes[k], 99, KM_MDNS_PORT, true, q.bytes, q.w.len);
    }
    lab_run(&l, 1 * S);
  }
  /* Two answers a question, not thirty. */
  assert_in_range(l.sent_count - sent, 60, 240);
  bool spoke[NODES_MAX] = {false};
  for (size_t i = sent; i < l.sent_count; i++) {
    spoke[l.sent[i].node] = true;
  }
  unsigned count = 0;
  for (size_t i = 0; i < l.node_count; i++) {
    count += spoke[i] ? 1 : 0;
  }
  assert_in_range(count, 25, 30); /* and everybody has a turn */
}

/* --- links --- */

static void links_come_and_go(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL), *b = lab_add(&l, 2, NULL);
  km_mdns_link link = a->mdns->links[0].link;
  km_mdns_set_links(a->mdns, NULL, 0, l.now);
  lab_publish(a, "192.168.9.1:1000", NULL, NULL);
  km_mdns_watch(a->mdns, true, l.now);
  lab_run(&l, 100 * S);
  assert_int_equal(lab_count(&l, a, 0, true), 0);
  lab_publish(b, "192.168.9.2:1000", NULL, NULL);
  lab_run(&l, 10 * S);
  assert_int_equal(a->found, 0);
  km_ts start = l.now;
  size_t sent = l.sent_count;
  km_mdns_set_links(a->mdns, &link, 1, l.now);
  lab_run(&l, 300 * MS);
  assert_true(a->changed == 1 && b->changed == 1);
  assert_in_range(l.sent[sent].at - start, 20 * MS, 120 * MS);
  km_mdns_set_links(a->mdns, &link, 1, l.now); /* the same: nothing is new */
  lab_run(&l, 10 * S);
  assert_in_range(lab_count(&l, a, sent, true), 3, 4);
  km_mdns_link many[KM_MDNS_LINKS_MAX + 5];
  for (uint32_t i = 0; i < KM_MDNS_LINKS_MAX + 5; i++) {
    many[i] = link;
    many[i].index = i + 100;
  }
  km_mdns_set_links(b->mdns, many, COUNT_OF(many), l.now);
  assert_int_equal(b->mdns->link_count, KM_MDNS_LINKS_MAX);
  km_mdns_set_links(b->mdns, NULL, 0, l.now);
}

/* --- making --- */

static int try_options(const km_mdns_options *o, km_errinfo *err) {
  static const km_mdns_ops none = {0};
  km_mdns *m = NULL;
  km_mdns_config config = {.env = &l.t.env, .options = o, .ops = &none};
  int rv = km_mdns_new(&m, &config, l.now, err);
  km_mdns_free(m);
  return rv;
}

static void options(void **state) {
  (void)state;
  static km_id ids[1025];
  km_errinfo err = {0};
  km_mdns_options o = {.size = sizeof o, .mode = (km_mdns_mode)7};
  assert_int_equal(try_options(&o, &err), KM_ERR_INVALID);
  o.mode = KM_MDNS_TRUSTED;
  o.trusted_count = 1;
  assert_int_equal(try_options(&o, &err), KM_ERR_INVALID);
  o.trusted = ids;
  o.trusted_count = 1025;
  assert_int_equal(try_options(&o, &err), KM_ERR_LIMIT);
  assert_non_null(strstr(err.text, "1025"));
  o.trusted_count = 1024;
  assert_int_equal(try_options(&o, &err), 0);
  assert_int_equal(try_options(NULL, &err), 0);
  for (long n = 0; n < 2; n++) {
    l.t.fail_after = n;
    assert_int_equal(try_options(&o, &err), KM_ERR_NOMEM);
  }
  l.t.fail_after = -1;
}

static void without_a_key(void **state) {
  (void)state;
  static const km_mdns_ops none = {0};
  km_mdns *m;
  km_addr *addr;
  km_id id = lab_id(5);
  km_mdns_config config = {.env = &l.t.env, .ops = &none};
  assert_int_equal(km_mdns_new(&m, &config, l.now, NULL), 0);
  assert_int_equal(km_addr_new(&addr, &id), 0);
  km_peer_info info = {.size = sizeof info, .addr = addr};
  km_mdns_publish(m, &info, l.now);
  assert_false(km_mdns_is_wanted(m));
  km_addr_free(addr);
  km_mdns_free(m);
  km_mdns_free(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* These begin by themselves. */
#define TEST_SELF(name) cmocka_unit_test_teardown(name, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST_SELF(two_find_each_other),
      TEST(they_stay_found),
      TEST(known_ones_are_told_again),
      TEST(announcements),
      TEST(the_same_again_says_nothing),
      TEST(what_is_gone_is_taken_back),
      TEST(goodbye),
      TEST(what_is_published),
      TEST(what_does_not_fit_is_left_out),
      TEST(without_publishing),
      TEST(answers_are_delayed_and_seldom),
      TEST(questions),
      TEST(known_answers),
      TEST(known_answers_in_parts),
      TEST(plain_resolvers_are_answered_alone),
      TEST(unicast_is_welcome),
      TEST(our_name_is_defended),
      TEST_SELF(others_go_first),
      TEST(often_enough_for_them),
      TEST(nobody_is_silenced),
      TEST(known_answers_are_each_ones_own),
      TEST(many_share_the_air),
      TEST(links_come_and_go),
      TEST(options),
      TEST(without_a_key),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
