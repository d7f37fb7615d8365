/* What a multicast DNS node asks, and when. */
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

static void questions_come_in_time(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL);
  km_id id = lab_id(2);
  km_mdns_name service = lab_service(), instance = lab_instance(&id);
  km_ts start = l.now;
  assert_int_equal(km_mdns_next(a->mdns), KM_TS_NEVER);
  assert_int_equal(km_mdns_want(a->mdns, &id, l.now), 0);
  lab_run(&l, 30 * S);
  assert_in_range(l.sent[0].at - start, 20 * MS, 120 * MS);
  static const unsigned gaps[] = {250, 1000, 2000, 4000, 4000, 4000};
  for (size_t i = 0; i < COUNT_OF(gaps); i++) {
    assert_int_equal(l.sent[i + 1].at - l.sent[i].at, gaps[i] * MS);
    /* First nobody but the one who is meant has to answer. */
    assert_int_equal(records(&l.sent[i], KM_MDNS_QUESTIONS, KM_MDNS_PTR, &service), i > 0);
    assert_int_equal(records(&l.sent[i], KM_MDNS_QUESTIONS, KM_MDNS_ANY, &instance), 1);
  }
  km_mdns_unwant(a->mdns, &id);
  lab_run(&l, 10 * S);
  size_t sent = l.sent_count;
  lab_run(&l, 3600 * S);
  assert_int_equal(l.sent_count, sent);
  assert_int_equal(km_mdns_next(a->mdns), KM_TS_NEVER);
}

static void watching_asks_ever_more_seldom(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL);
  km_mdns_watch(a->mdns, true, l.now);
  lab_run(&l, 600 * S);
  static const unsigned gaps[] = {1, 2, 4, 8, 16, 32, 60, 60};
  for (size_t i = 0; i < COUNT_OF(gaps); i++) {
    assert_int_equal(l.sent[i + 1].at - l.sent[i].at, gaps[i] * S);
  }
  km_mdns_watch(a->mdns, false, l.now);
  lab_run(&l, 61 * S);
  size_t sent = l.sent_count;
  lab_run(&l, 600 * S);
  assert_int_equal(l.sent_count, sent);
}

static void many_are_asked_for_in_turn(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL);
  bool asked[20] = {false};
  km_id ids[20];
  for (uint8_t i = 0; i < 20; i++) {
    ids[i] = lab_id((uint8_t)(100 + i));
    assert_int_equal(km_mdns_want(a->mdns, &ids[i], l.now), 0);
    assert_int_equal(km_mdns_want(a->mdns, &ids[i], l.now), 0); /* twice is once */
  }
  lab_run(&l, 8 * S);
  for (size_t i = 0; i < l.sent_count; i++) {
    assert_true(records(&l.sent[i], KM_MDNS_QUESTIONS, KM_MDNS_ANY, NULL) <= 8);
    for (size_t k = 0; k < 20; k++) {
      km_mdns_name name = lab_instance(&ids[k]);
      asked[k] = asked[k] || records(&l.sent[i], KM_MDNS_QUESTIONS, KM_MDNS_ANY, &name) == 1;
    }
  }
  for (size_t k = 0; k < 20; k++) {
    assert_true(asked[k]);
    km_mdns_unwant(a->mdns, &ids[k]);
    assert_true(km_mdns_is_wanted_id(a->mdns, &ids[k]));
    km_mdns_unwant(a->mdns, &ids[k]);
    assert_false(km_mdns_is_wanted_id(a->mdns, &ids[k]));
  }
}

static void many_lookups_are_no_flood(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL);
  km_id id = lab_id(2);
  for (int i = 0; i < 1000; i++) {
    assert_int_equal(km_mdns_want(a->mdns, &id, l.now), 0);
    lab_run(&l, 10 * MS);
  }
  assert_in_range(l.sent_count, 10, 60); /* four a second */
}

static void questions_of_others_count(void **state) {
  (void)state;
  lab_packet q;
  lab_node *a = lab_add(&l, 1, NULL);
  lab_plain_query(&q);
  km_mdns_watch(a->mdns, true, l.now);
  for (int i = 0; i < 1200; i++) {
    lab_deliver(&l, a, 71, KM_MDNS_PORT, true, q.bytes, q.w.len);
    lab_run(&l, 500 * MS);
    assert_true(i > 100 || l.sent_count <= 1);
  }
  /* Now and then it asks itself: who answers only some did not answer those. */
  assert_in_range(l.sent_count, 8, 11);
}

static void our_own_question_is_no_question(void **state) {
  (void)state;
  lab_node *a = lab_add_v6(&l, 1, NULL);
  lab_publish(a, "192.168.9.1:1000", NULL, NULL);
  lab_run(&l, 10 * S);
  size_t answers = lab_count(&l, a, 0, true);
  km_mdns_watch(a->mdns, true, l.now);
  lab_run(&l, 100 * S);
  assert_true(lab_count(&l, a, 0, false) > 5);
  assert_int_equal(lab_count(&l, a, 0, true), answers);
}

static void known_peers_are_named(void **state) {
  (void)state;
  lab_node *a = lab_add(&l, 1, NULL);
  km_mdns_name service = lab_service();
  for (uint8_t i = 2; i <= 31; i++) {
    lab_publish(lab_add(&l, i, NULL), "192.168.9.9:1000", NULL, NULL);
  }
  lab_run(&l, 5 * S);
  assert_int_equal(a->changed, 30);
  lab_publish(a, "192.168.9.1:1000", NULL, NULL);
  km_mdns_watch(a->mdns, true, l.now);
  lab_run(&l, 1 * S);
  const lab_sent *s = lab_last(&l, a, false);
  assert_int_equal(records(s, KM_MDNS_ANSWERS, KM_MDNS_PTR, &service), 13); /* and itself */
  assert_int_equal(records(s, KM_MDNS_ADDITIONALS, KM_MDNS_TXT, NULL), 1);
  assert_true(s->len <= KM_MDNS_SEND_MAX);
}

/* One look-up, and looking after who is known, make nobody speak but the one who is meant. */
static void only_the_one_who_is_meant_answers(void **state) {
  (void)state;
  km_mdns_name service = lab_service();
  for (uint8_t i = 2; i <= 31; i++) {
    lab_publish(lab_add(&l, i, NULL), "192.168.9.9:1000", NULL, NULL);
  }
  lab_run(&l, 20 * S);
  lab_node *a = lab_add(&l, 1, NULL), *b = &l.nodes[7];
  size_t from = l.sent_count;
  assert_int_equal(km_mdns_want(a->mdns, &b->id, l.now), 0);
  while (a->found == 0) {
    lab_run(&l, 10 * MS);
    assert_true(l.sent_count - from < 10);
  }
  km_mdns_unwant(a->mdns, &b->id); /* as a look-up does */
  assert_true(km_id_equal(km_addr_id(a->last.addr), &b->id));
  lab_run(&l, 200 * MS);
  assert_int_equal(l.sent_count - from, 2);
  km_mdns_watch(a->mdns, true, l.now);
  lab_run(&l, 600 * S);
  assert_int_equal(a->lost, 0);
  unsigned asked = 0;
  for (size_t i = from; i < l.sent_count; i++) {
    bool of_us = l.sent[i].node == a->index && (l.sent[i].bytes[2] & 0x80) == 0;
    asked += of_us ? records(&l.sent[i], KM_MDNS_QUESTIONS, KM_MDNS_PTR, &service) : 0;
  }
  assert_in_range(asked, 10, 20); /* 1, 2, 4 ... 60, 60 seconds apart */
}

/* Who is looked for is said, who looks is not. */
static void who_says_nothing_of_itself_asks_without_a_name(void **state) {
  (void)state;
  km_id id = lab_id(77);
  const km_mdns_options no_publish = {.size = sizeof no_publish, .no_publish = true};
  for (uint8_t i = 1; i <= 3; i++) {
    lab_node *a = lab_add_v6(&l, i, i == 1 ? &no_publish : NULL);
    km_mdns_name name = lab_instance(&a->id);
    if (i == 2) {
      lab_publish(a, "", "https://r.test/", NULL); /* relays only: no address */
    } else if (i == 3) {
      lab_publish(a, "192.168.9.3:1000", NULL, NULL);
      lab_run(&l, 5 * S);
      km_mdns_publish(a->mdns, NULL, l.now);
    }
    size_t from = l.sent_count, answers = lab_count(&l, a, 0, true);
    assert_int_equal(km_mdns_want(a->mdns, &id, l.now), 0);
    km_mdns_watch(a->mdns, true, l.now);
    lab_run(&l, 90 * S);
    assert_true(l.sent_count - from > 5);
    for (size_t k = from; k < l.sent_count; k++) {
      assert_int_equal(records(&l.sent[k], KM_MDNS_ADDITIONALS, KM_MDNS_TXT, NULL), 0);
      assert_int_equal(records(&l.sent[k], KM_MDNS_ANSWERS, KM_MDNS_PTR, NULL), 0);
      assert_int_equal(records(&l.sent[k], KM_MDNS_QUESTIONS, KM_MDNS_ANY, &name), 0);
    }
    assert_int_equal(lab_count(&l, a, 0, true), answers);
    assert_false(km_mdns_is_swarm(a->mdns, NULL, l.now)); /* its own questions are not others' */
    km_mdns_free(a->mdns);
    a->mdns = NULL;
  }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(questions_come_in_time),
      TEST(watching_asks_ever_more_seldom),
      TEST(many_are_asked_for_in_turn),
      TEST(many_lookups_are_no_flood),
      TEST(questions_of_others_count),
      TEST(our_own_question_is_no_question),
      TEST(known_peers_are_named),
      TEST(only_the_one_who_is_meant_answers),
      TEST(who_says_nothing_of_itself_asks_without_a_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
