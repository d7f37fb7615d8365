/* What the probe finds out, behind every kind of NAT. */
#include "test/holepunch/nat_world.h"

#include "test/base/test_env.h"

#define PATIENCE (10 * KM_NS_PER_S)
#define LONG (60 * KM_NS_PER_S)

static void start(world *w, km_nat_depth depth) {
  km_nat_probe_start(w->probe, depth, PATIENCE, w->now);
}

static void run(world *w, km_nat_depth depth) {
  start(w, depth);
  (void)world_run(w, LONG);
  assert_false(km_nat_probe_busy(w->probe));
}

static const km_nat_family *four(const world *w) {
  return km_nat_probe_family(w->probe, 4);
}

/* --- a server of RFC 5780 --------------------------------------------------------------------- */

static void every_kind_of_nat(void **state) {
  (void)state;
  static const world_kind mappings[] = {WORLD_NO_NAT, WORLD_EIM, WORLD_ADM, WORLD_APDM};
  for (size_t i = 0; i < COUNT_OF(mappings); i++) {
    for (int f = KM_NAT_FILTERING_NONE; f <= KM_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT; f++) {
      for (int hairpin = 0; hairpin < 2; hairpin++) {
        test_env t;
        world w;
        test_env_init(&t);
        world_init(&w, &t.env);
        world_add_discovery(&w, "192.0.2.1", 3478, "192.0.2.2", 3479);
        w.mapping = mappings[i];
        w.filtering = (km_nat_filtering)f;
        w.hairpin = hairpin == 1;
        world_tell(&w, 1);
        run(&w, KM_NAT_FULL);
        const km_nat_family *r = four(&w);
        assert_true(r->works);
        assert_int_equal(r->mapping, (int)mappings[i]);
        bool open = f <= KM_NAT_FILTERING_ENDPOINT_INDEPENDENT;
        int nothing = mappings[i] == WORLD_NO_NAT ? KM_NAT_FILTERING_NONE
                                                  : KM_NAT_FILTERING_ENDPOINT_INDEPENDENT;
        assert_int_equal(r->filtering, open ? nothing : f);
        bool meets = w.hairpin && (w.mapping == WORLD_EIM || open);
        assert_int_equal(r->hairpin, w.mapping == WORLD_NO_NAT ? KM_NET_UNKNOWN
                                     : meets                   ? KM_NET_YES
                                                               : KM_NET_NO);
        assert_true(w.packets < 60);
        world_free(&w);
        assert_int_equal(t.live, 0);
      }
    }
  }
}

static void quick_knows_the_mapping_from_one_such_server(void **state) {
  (void)state;
  static const world_kind mappings[] = {WORLD_NO_NAT, WORLD_EIM, WORLD_ADM, WORLD_APDM};
  for (size_t i = 0; i < COUNT_OF(mappings); i++) {
    world w;
    km_nat_info info;
    world_init(&w, &km_env_system);
    world_add_discovery(&w, "192.0.2.1", 3478, "192.0.2.2", 3479);
    w.mapping = mappings[i];
    w.filtering = KM_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT;
    world_tell(&w, 1);
    start(&w, KM_NAT_QUICK);
    assert_true(world_run(&w, LONG) < KM_NS_PER_S);
    assert_int_equal(four(&w)->mapping, (int)mappings[i]);
    assert_int_equal(four(&w)->filtering, KM_NAT_FILTERING_UNKNOWN);
    km_nat_probe_info(w.probe, &info);
    assert_int_equal(info.mapping4, (int)mappings[i]);
    assert_int_equal(info.mapping6, KM_NAT_MAPPING_UNKNOWN);
    world_free(&w);
  }
}

static void filters_are_not_guessed(void **state) {
  (void)state;
  /* A server that never speaks from its other address would make every filter look strict. */
  for (int dead = 0; dead < 3; dead++) { /* none; the other port; the other address and port */
    world w;
    world_init(&w, &km_env_system);
    world_add_discovery(&w, "192.0.2.1", 3478, "192.0.2.2", 3479);
    w.mapping = WORLD_EIM;
    w.servers[1].dead = dead == 1;
    w.servers[3].dead = dead == 2;
    w.servers[0].mute_alternate = true;
    world_tell(&w, 1);
    run(&w, KM_NAT_FULL);
    assert_int_equal(four(&w)->mapping, KM_NAT_MAPPING_ENDPOINT_INDEPENDENT);
    assert_int_equal(four(&w)->filtering, dead > 0 ? KM_NAT_FILTERING_UNKNOWN
                                                   : KM_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT);
    world_free(&w);
  }
}

static void a_server_that_promises_too_much(void **state) {
  (void)state;
  world w;
  world_init(&w, &km_env_system);
  world_add_discovery(&w, "192.0.2.1", 3478, "192.0.2.2", 3479);
  w.mapping = WORLD_EIM;
  w.servers[0].refuses = true;
  world_tell(&w, 1);
  run(&w, KM_NAT_FULL);
  assert_int_equal(four(&w)->mapping, KM_NAT_MAPPING_ENDPOINT_INDEPENDENT);
  assert_int_equal(four(&w)->filtering, KM_NAT_FILTERING_UNKNOWN);
  world_free(&w);
}

/* The first test of a filter has all it needs: that others are silent does not matter. */
static void an_open_filter_needs_one_answer(void **state) {
  (void)state;
  world w;
  world_init(&w, &km_env_system);
  world_add_discovery(&w, "192.0.2.1", 3478, "192.0.2.2", 3479);
  w.mapping = WORLD_EIM;
  w.servers[1].dead = true;
  world_tell(&w, 1);
  run(&w, KM_NAT_FULL);
  assert_int_equal(four(&w)->filtering, KM_NAT_FILTERING_ENDPOINT_INDEPENDENT);
  world_free(&w);
}

static void without_a_second_socket_the_rest_is_known(void **state) {
  (void)state;
  world w;
  world_init(&w, &km_env_system);
  world_add_discovery(&w, "192.0.2.1", 3478, "192.0.2.2", 3479);
  w.mapping = WORLD_EIM;
  w.second_mute = true;
  world_tell(&w, 1);
  run(&w, KM_NAT_FULL);
  assert_int_equal(four(&w)->mapping, KM_NAT_MAPPING_ENDPOINT_INDEPENDENT);
  assert_int_equal(four(&w)->filtering, KM_NAT_FILTERING_UNKNOWN);
  assert_int_equal(four(&w)->hairpin, KM_NET_UNKNOWN);
  world_free(&w);
}

/* --- plain servers ---------------------------------------------------------------------------- */

static void two_plain_servers_tell_the_mapping(void **state) {
  (void)state;
  static const struct {
    world_kind kind;
    const char *a, *b, *c;
    km_nat_mapping wanted;
  } cases[] = {
      {WORLD_NO_NAT, "192.0.2.1:3478", NULL, NULL, KM_NAT_MAPPING_NONE},
      {WORLD_EIM, "192.0.2.1:3478", NULL, NULL, KM_NAT_MAPPING_UNKNOWN},
      {WORLD_APDM, "192.0.2.1:3478", NULL, NULL, KM_NAT_MAPPING_UNKNOWN},
      {WORLD_EIM, "192.0.2.1:3478", "192.0.2.2:3478", NULL, KM_NAT_MAPPING_ENDPOINT_INDEPENDENT},
      {WORLD_APDM, "192.0.2.1:3478", "192.0.2.2:3478", NULL,
       KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT},
      {WORLD_ADM, "192.0.2.1:3478", "192.0.2.2:3478", "192.0.2.2:3479",
       KM_NAT_MAPPING_ADDRESS_DEPENDENT},
      {WORLD_APDM, "192.0.2.1:3478", "192.0.2.1:3479", NULL,
       KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT},
      {WORLD_EIM, "192.0.2.1:3478", "192.0.2.1:3479", NULL, KM_NAT_MAPPING_UNKNOWN},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    world w;
    const char *const all[3] = {cases[i].a, cases[i].b, cases[i].c};
    world_init(&w, &km_env_system);
    for (size_t k = 0; k < 3 && all[k] != NULL; k++) {
      world_add(&w, all[k]);
    }
    w.mapping = cases[i].kind;
    world_tell(&w, w.server_count);
    run(&w, KM_NAT_QUICK);
    assert_int_equal(four(&w)->mapping, cases[i].wanted);
    run(&w, KM_NAT_FULL);
    assert_int_equal(four(&w)->mapping, cases[i].wanted);
    assert_int_equal(four(&w)->filtering, KM_NAT_FILTERING_UNKNOWN);
    world_free(&w);
  }
}

static void ports_that_step(void **state) {
  (void)state;
  static const int steps[] = {1, 2, -1, 64, 65, 0};
  for (size_t i = 0; i < COUNT_OF(steps); i++) {
    world w;
    world_init(&w, &km_env_system);
    world_add_discovery(&w, "192.0.2.1", 3478, "192.0.2.2", 3479);
    w.mapping = WORLD_APDM;
    w.filtering = KM_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT;
    w.step = steps[i];
    world_tell(&w, 1);
    run(&w, KM_NAT_FULL);
    km_nat_info info;
    km_nat_probe_info(w.probe, &info);
    assert_int_equal(info.port_step, steps[i] == 65 ? 0 : steps[i]);
    assert_int_equal(four(&w)->port_step, info.port_step);
    world_free(&w);
  }
}

/* --- loss, silence, lies ---------------------------------------------------------------------- */

static void loss_changes_nothing(void **state) {
  (void)state;
  for (unsigned lose = 2; lose < 6; lose++) {
    for (int f = KM_NAT_FILTERING_ENDPOINT_INDEPENDENT;
         f <= KM_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT; f++) {
      world w;
      world_init(&w, &km_env_system);
      world_add_discovery(&w, "192.0.2.1", 3478, "192.0.2.2", 3479);
      world_add(&w, "192.0.2.9:3478");
      w.mapping = WORLD_EIM;
      w.hairpin = true;
      w.filtering = (km_nat_filtering)f;
      w.lose = lose;
      world_tell(&w, 1);
      run(&w, KM_NAT_FULL);
      assert_int_equal(four(&w)->mapping, KM_NAT_MAPPING_ENDPOINT_INDEPENDENT);
      assert_int_equal(four(&w)->filtering, f);
      assert_int_equal(four(&w)->hairpin, KM_NET_YES);
      world_free(&w);
    }
  }
}

static void blocked_udp_is_given_up(void **state) {
  (void)state;
  world w;
  world_init(&w, &km_env_system);
  world_add_discovery(&w, "192.0.2.1", 3478, "192.0.2.2", 3479);
  w.blocked = true;
  world_tell(&w, 1);
  start(&w, KM_NAT_FULL);
  uint64_t took = world_run(&w, LONG);
  assert_true(took >= PATIENCE && took < PATIENCE + KM_NS_PER_S);
  assert_false(four(&w)->works);
  assert_int_equal(four(&w)->mapping, KM_NAT_MAPPING_UNKNOWN);
  assert_int_equal(km_nat_probe_reflexive(w.probe, w.now, &(km_udp_addr){0}, 1), 0);
  world_free(&w);
}

static void a_dead_server_does_not_hold_up_the_others(void **state) {
  (void)state;
  world w;
  world_init(&w, &km_env_system);
  world_add(&w, "192.0.2.1:3478")->dead = true;
  world_add(&w, "192.0.2.2:3478");
  world_add(&w, "192.0.2.3:3478");
  w.mapping = WORLD_EIM;
  world_tell(&w, 3);
  start(&w, KM_NAT_QUICK);
  assert_true(world_run(&w, LONG) < 2 * KM_NS_PER_S);
  assert_int_equal(four(&w)->mapping, KM_NAT_MAPPING_ENDPOINT_INDEPENDENT);
  km_nat_server servers[4];
  assert_int_equal(km_nat_probe_servers(w.probe, servers, 4), 3);
  assert_int_equal(servers[0].mapped.family, 0);
  assert_int_equal(servers[1].rtt_ns, 20 * KM_NS_PER_MS);
  assert_int_equal(km_nat_probe_servers(w.probe, servers, 2), 2);
  world_free(&w);
}

/* A second, or four round trips of the first. */
static void the_others_get_their_time(void **state) {
  (void)state;
  static const unsigned delays[][3] = {{10, 450, 1}, {10, 550, 0}, {500, 1900, 1}};
  for (size_t i = 0; i < COUNT_OF(delays); i++) {
    world w;
    world_init(&w, &km_env_system);
    world_add(&w, "192.0.2.1:3478")->delay_ns = delays[i][0] * KM_NS_PER_MS;
    world_add(&w, "192.0.2.2:3478")->delay_ns = delays[i][1] * KM_NS_PER_MS;
    w.mapping = WORLD_EIM;
    world_tell(&w, 2);
    start(&w, KM_NAT_QUICK);
    (void)world_run(&w, (2 * delays[i][1] - 1) * KM_NS_PER_MS);
    assert_int_equal(km_nat_probe_busy(w.probe), delays[i][2]);
    (void)world_run(&w, LONG);
    world_free(&w);
  }
}

static void a_slow_path_is_waited_for(void **state) {
  (void)state;
  world w;
  world_init(&w, &km_env_system);
  world_add(&w, "192.0.2.1:3478")->delay_ns = 2 * KM_NS_PER_S;
  world_add(&w, "192.0.2.2:3478")->delay_ns = 4 * KM_NS_PER_S;
  w.mapping = WORLD_EIM;
  world_tell(&w, 2);
  run(&w, KM_NAT_QUICK);
  assert_int_equal(four(&w)->mapping, KM_NAT_MAPPING_ENDPOINT_INDEPENDENT);
  world_free(&w);
}

static void lies_are_bounded(void **state) {
  (void)state;
  static const char *const nonsense[] = {"127.0.0.1:5",  "0.0.0.0:5",         "224.0.0.1:5",
                                         "1.2.3.4:0",    "255.255.255.255:5", "169.254.1.1:5",
                                         "192.168.0.1:5"};
  world w;
  km_udp_addr seen[KM_NAT_MAX_REFLEXIVE + 4];
  world_init(&w, &km_env_system);
  for (size_t i = 0; i < COUNT_OF(nonsense); i++) {
    char text[32];
    (void)snprintf(text, sizeof text, "192.0.2.%zu:3478", i + 1);
    world_add(&w, text)->lie = world_addr(nonsense[i]);
  }
  world_tell(&w, w.server_count);
  run(&w, KM_NAT_QUICK);
  assert_false(four(&w)->works);
  assert_int_equal(km_nat_probe_reflexive(w.probe, w.now, seen, COUNT_OF(seen)), 0);
  for (size_t i = 0; i < 14; i++) {
    char text[32];
    if (i >= w.server_count) {
      (void)snprintf(text, sizeof text, "192.0.2.%zu:3478", i + 1);
      world_add(&w, text);
    }
    (void)snprintf(text, sizeof text, "203.0.113.%zu:99", i + 1);
    w.servers[i].lie = world_addr(text);
  }
  world_tell(&w, w.server_count);
  run(&w, KM_NAT_QUICK);
  assert_int_equal(km_nat_probe_reflexive(w.probe, w.now, seen, COUNT_OF(seen)),
                   KM_NAT_MAX_REFLEXIVE);
  world_free(&w);
}

/* Neither an alternate address nor what the second socket is told may mislead. */
static void lies_in_the_middle(void **state) {
  (void)state;
  for (int who = 0; who < 2; who++) {
    world w;
    world_init(&w, &km_env_system);
    world_add_discovery(&w, "192.0.2.1", 3478, "192.0.2.2", 3479);
    w.mapping = WORLD_EIM;
    w.hairpin = true;
    w.servers[who == 0 ? 0 : 2].lie = world_addr("192.168.1.1:53");
    w.servers[0].lies_to_second = true;
    world_tell(&w, 1);
    run(&w, KM_NAT_FULL);
    assert_int_equal(four(&w)->mapping, KM_NAT_MAPPING_ENDPOINT_INDEPENDENT);
    assert_int_equal(four(&w)->hairpin, who == 0 ? KM_NET_UNKNOWN : KM_NET_YES);
    for (size_t i = 0; i < w.mapping_count; i++) {
      for (size_t k = 0; k < w.mappings[i].sent_count; k++) {
        assert_int_not_equal(w.mappings[i].sent[k].port, 53);
      }
    }
    world_free(&w);
  }
}

/* --- other addresses that are not asked ------------------------------------------------------- */

static void nobody_sends_us_somewhere(void **state) {
  (void)state;
  static const char *const others[] = {
      "192.0.2.1:3479", /* the same address */
      "192.0.2.2:3478", /* the same port */
      "10.0.0.1:3479",  /* our own network */
      "127.0.0.1:3479", "224.0.0.1:3479", "[2001:db8::1]:3479", "192.0.2.2:0",
  };
  for (size_t i = 0; i < COUNT_OF(others); i++) {
    world w;
    world_init(&w, &km_env_system);
    world_server *s = world_add(&w, "192.0.2.1:3478");
    s->discovers = true;
    s->other = world_addr(others[i]);
    w.mapping = WORLD_EIM;
    world_tell(&w, 1);
    run(&w, KM_NAT_QUICK);
    assert_int_equal(w.packets, 1);
    assert_true(four(&w)->works);
    world_free(&w);
  }
}

/* --- keeping it fresh ------------------------------------------------------------------------- */

static void a_refresh_asks_one_server(void **state) {
  (void)state;
  world w;
  km_udp_addr seen[4];
  world_init(&w, &km_env_system);
  for (int i = 1; i < 5; i++) {
    char text[32];
    (void)snprintf(text, sizeof text, "192.0.2.%d:3478", i);
    world_add(&w, text);
  }
  w.mapping = WORLD_EIM;
  world_tell(&w, 4);
  run(&w, KM_NAT_REFRESH); /* nothing is known: all */
  assert_int_equal(w.packets, 4);
  uint32_t changes = km_nat_probe_changes(w.probe);
  w.now += 25 * KM_NS_PER_S;
  run(&w, KM_NAT_REFRESH);
  assert_int_equal(w.packets, 5);
  assert_int_equal(km_nat_probe_changes(w.probe), changes);
  assert_int_equal(four(&w)->mapping, KM_NAT_MAPPING_ENDPOINT_INDEPENDENT);
  assert_int_equal(km_nat_probe_answered(w.probe), w.now);
  assert_int_equal(km_nat_probe_reflexive(w.probe, w.now, seen, 4), 1);
  assert_int_equal(km_nat_probe_reflexive(w.probe, w.now + KM_NAT_FRESH + 1, seen, 4), 0);
  world_free(&w);
}

static void a_new_address_makes_it_ask_all(void **state) {
  (void)state;
  world w;
  km_udp_addr before[4], after[4];
  world_init(&w, &km_env_system);
  world_add(&w, "192.0.2.1:3478");
  world_add(&w, "192.0.2.2:3478");
  w.mapping = WORLD_EIM;
  world_tell(&w, 2);
  run(&w, KM_NAT_QUICK);
  assert_int_equal(km_nat_probe_reflexive(w.probe, w.now, before, 4), 1);
  uint32_t changes = km_nat_probe_changes(w.probe);
  w.mapping_count = 0; /* the NAT forgot, and is another one now */
  w.mapping = WORLD_APDM;
  w.now += 25 * KM_NS_PER_S;
  run(&w, KM_NAT_REFRESH);
  assert_int_equal(four(&w)->mapping, KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT);
  assert_true(km_nat_probe_changes(w.probe) > changes);
  assert_int_equal(km_nat_probe_reflexive(w.probe, w.now, after, 4), 2);
  assert_false(km_udp_addr_equal(&before[0], &after[0]));
  world_free(&w);
}

static void a_server_that_fell_silent_makes_it_ask_all(void **state) {
  (void)state;
  world w;
  world_init(&w, &km_env_system);
  world_add(&w, "192.0.2.1:3478");
  world_add(&w, "192.0.2.2:3478");
  w.mapping = WORLD_EIM;
  world_tell(&w, 2);
  run(&w, KM_NAT_QUICK);
  for (size_t dead = 0; dead < 2; dead++) {
    w.servers[0].dead = dead == 0;
    w.servers[1].dead = dead == 1;
    w.now += 25 * KM_NS_PER_S;
    km_ts before = w.now;
    run(&w, KM_NAT_REFRESH);
    assert_true(km_nat_probe_answered(w.probe) >= before);
    assert_true(four(&w)->works);
  }
  w.blocked = true;
  w.now += 25 * KM_NS_PER_S;
  uint32_t changes = km_nat_probe_changes(w.probe);
  run(&w, KM_NAT_REFRESH);
  assert_false(four(&w)->works);
  assert_true(km_nat_probe_changes(w.probe) > changes);
  world_free(&w);
}

static void forgetting(void **state) {
  (void)state;
  world w;
  km_udp_addr seen[4];
  world_init(&w, &km_env_system);
  world_add_discovery(&w, "192.0.2.1", 3478, "192.0.2.2", 3479);
  w.mapping = WORLD_EIM;
  world_tell(&w, 1);
  start(&w, KM_NAT_FULL);
  (void)world_run(&w, 30 * KM_NS_PER_MS); /* in the middle of it */
  assert_true(km_nat_probe_busy(w.probe));
  km_nat_probe_forget(w.probe);
  assert_false(km_nat_probe_busy(w.probe));
  assert_int_equal(km_nat_probe_deadline(w.probe), KM_TS_NEVER);
  assert_false(four(&w)->works);
  assert_int_equal(km_nat_probe_answered(w.probe), 0);
  assert_int_equal(km_nat_probe_reflexive(w.probe, w.now, seen, 4), 0);
  (void)world_run(&w, LONG); /* late answers are nobody's */
  assert_false(four(&w)->works);
  run(&w, KM_NAT_FULL);
  assert_int_equal(four(&w)->mapping, KM_NAT_MAPPING_ENDPOINT_INDEPENDENT);
  world_free(&w);
}

/* Answers of an earlier run are not compared with those of this one. */
static void what_is_old_is_not_compared(void **state) {
  (void)state;
  world w;
  world_init(&w, &km_env_system);
  world_add_discovery(&w, "192.0.2.1", 3478, "192.0.2.2", 3479);
  world_add(&w, "192.0.2.9:3478");
  w.mapping = WORLD_EIM;
  km_udp_addr servers[2] = {w.servers[0].addr, w.servers[4].addr};
  km_nat_probe_set_own(w.probe, w.sockets, 1);
  (void)km_nat_probe_set_servers(w.probe, servers, 2);
  run(&w, KM_NAT_FULL);
  assert_int_equal(four(&w)->mapping, KM_NAT_MAPPING_ENDPOINT_INDEPENDENT);
  w.mapping_count = 0; /* the same NAT, restarted */
  w.now += KM_NS_PER_S;
  run(&w, KM_NAT_QUICK);
  assert_int_equal(four(&w)->mapping, KM_NAT_MAPPING_ENDPOINT_INDEPENDENT);
  world_free(&w);
}

static void what_was_ours_is_told(void **state) {
  (void)state;
  world w;
  km_stun_out out;
  km_stun_message request;
  uint8_t answer[KM_STUN_MAX_ANSWER];
  const km_udp_addr us = world_addr("198.51.100.7:5");
  world_init(&w, &km_env_system);
  world_add(&w, "192.0.2.1:3478");
  world_tell(&w, 1);
  start(&w, KM_NAT_QUICK);
  assert_true(km_nat_probe_pull(w.probe, w.now, &out));
  assert_true(km_stun_read(&request, out.bytes, out.len));
  size_t len = km_stun_answer(answer, &request, &us);
  assert_false(km_nat_probe_receive(w.probe, w.now, KM_NAT_SECOND, &out.to, answer, len));
  assert_false(km_nat_probe_receive(w.probe, w.now, KM_NAT_MAIN, &us, answer, len));
  assert_true(km_nat_probe_receive(w.probe, w.now, KM_NAT_MAIN, &out.to, answer, len));
  assert_false(km_nat_probe_receive(w.probe, w.now, KM_NAT_MAIN, &out.to, answer, len));
  world_free(&w);
}

static void deepening_a_run(void **state) {
  (void)state;
  world w;
  world_init(&w, &km_env_system);
  world_add_discovery(&w, "192.0.2.1", 3478, "192.0.2.2", 3479);
  w.mapping = WORLD_EIM;
  world_tell(&w, 1);
  start(&w, KM_NAT_QUICK);
  (void)world_run(&w, KM_NS_PER_MS);
  start(&w, KM_NAT_FULL);
  (void)world_run(&w, KM_NS_PER_MS);
  assert_int_equal(w.packets, 1); /* what is under way is not asked twice */
  start(&w, KM_NAT_REFRESH);      /* and a shallow wish changes nothing */
  (void)world_run(&w, LONG);
  assert_int_equal(four(&w)->filtering, KM_NAT_FILTERING_ENDPOINT_INDEPENDENT);
  world_free(&w);
}

static void servers_come_and_go(void **state) {
  (void)state;
  world w;
  km_nat_server servers[KM_NAT_MAX_SERVERS + 1];
  km_udp_addr list[KM_NAT_MAX_SERVERS + 4];
  world_init(&w, &km_env_system);
  world_add(&w, "192.0.2.1:3478");
  world_add(&w, "192.0.2.2:3478");
  w.mapping = WORLD_EIM;
  world_tell(&w, 1);
  run(&w, KM_NAT_QUICK);
  list[0] = w.servers[0].addr;
  assert_false(km_nat_probe_set_servers(w.probe, list, 1));
  list[1] = w.servers[1].addr;
  list[2] = w.servers[0].addr; /* said twice */
  list[3] = (km_udp_addr){.family = 4};
  assert_true(km_nat_probe_set_servers(w.probe, list, 4));
  assert_int_equal(km_nat_probe_servers(w.probe, servers, COUNT_OF(servers)), 2);
  assert_int_equal(servers[0].mapped.family, 4); /* is kept */
  assert_int_equal(servers[1].mapped.family, 0);
  for (size_t i = 0; i < COUNT_OF(list); i++) {
    list[i] = world_addr("192.0.2.1:1");
    list[i].port = (uint16_t)(i + 1);
  }
  assert_true(km_nat_probe_set_servers(w.probe, list, COUNT_OF(list)));
  assert_int_equal(km_nat_probe_servers(w.probe, servers, COUNT_OF(servers)), KM_NAT_MAX_SERVERS);
  assert_true(km_nat_probe_set_servers(w.probe, NULL, 0));
  run(&w, KM_NAT_FULL);
  assert_false(four(&w)->works);
  world_free(&w);
}

/* --- IPv6 ------------------------------------------------------------------------------------- */

static void both_families_at_once(void **state) {
  (void)state;
  world w;
  world_init(&w, &km_env_system);
  world_add(&w, "192.0.2.1:3478");
  world_add(&w, "[2001:db8::1]:3478")->lie = world_addr("[2001:db8::77]:4000");
  world_add(&w, "[2001:db8::2]:3478")->lie = world_addr("[2001:db8::77]:4000");
  w.mapping = WORLD_EIM;
  world_tell(&w, 3);
  run(&w, KM_NAT_FULL);
  km_udp_addr seen[4], own = world_addr("[2001:db8::77]:4000");
  assert_true(four(&w)->works);
  assert_true(km_nat_probe_family(w.probe, 6)->works);
  assert_int_equal(km_nat_probe_family(w.probe, 6)->mapping, KM_NAT_MAPPING_ENDPOINT_INDEPENDENT);
  assert_int_equal(km_nat_probe_reflexive(w.probe, w.now, seen, 4), 2);
  km_nat_probe_set_own(w.probe, &own, 1);
  run(&w, KM_NAT_FULL);
  assert_int_equal(km_nat_probe_family(w.probe, 6)->mapping, KM_NAT_MAPPING_NONE);
  world_free(&w);
}

static void each_family_has_tests_of_its_own(void **state) {
  (void)state;
  world w;
  world_init(&w, &km_env_system);
  world_add_discovery(&w, "192.0.2.1", 3478, "192.0.2.2", 3479);
  world_add_discovery(&w, "[2001:db8::1]", 3478, "[2001:db8::2]", 3479);
  w.mapping = WORLD_ADM;
  w.filtering = KM_NAT_FILTERING_ADDRESS_DEPENDENT;
  km_udp_addr servers[2] = {w.servers[0].addr, w.servers[4].addr};
  (void)km_nat_probe_set_servers(w.probe, servers, 2);
  start(&w, KM_NAT_FULL);
  (void)world_run(&w, 30 * KM_NS_PER_MS);
  km_nat_probe_forget(w.probe);
  assert_int_equal(km_nat_probe_deadline(w.probe), KM_TS_NEVER); /* of neither one is left */
  run(&w, KM_NAT_FULL);
  for (uint8_t family = 4; family <= 6; family += 2) {
    const km_nat_family *f = km_nat_probe_family(w.probe, family);
    assert_int_equal(f->mapping, KM_NAT_MAPPING_ADDRESS_DEPENDENT);
    assert_int_equal(f->filtering, KM_NAT_FILTERING_ADDRESS_DEPENDENT);
  }
  world_free(&w);
}

/* Through NAT64 a server of IPv4 sees an IPv4 address of ours. */
static void nat64(void **state) {
  (void)state;
  world w;
  world_init(&w, &km_env_system);
  world_add(&w, "[64:ff9b::c000:201]:3478")->lie = world_addr("198.51.100.9:5000");
  world_add(&w, "[64:ff9b::c000:202]:3478")->lie = world_addr("198.51.100.9:5000");
  world_add(&w, "[2001:db8::1]:3478")->lie = world_addr("[2001:db8::77]:4000");
  w.mapping = WORLD_EIM;
  world_tell(&w, 3);
  run(&w, KM_NAT_FULL);
  km_udp_addr seen[4];
  assert_int_equal(km_nat_probe_family(w.probe, 6)->mapping, KM_NAT_MAPPING_ENDPOINT_INDEPENDENT);
  assert_int_equal(km_nat_probe_reflexive(w.probe, w.now, seen, 4), 2);
  assert_int_equal(seen[0].family, 4);
  world_free(&w);
}

static void no_memory(void **state) {
  (void)state;
  test_env t;
  km_nat_probe *p = NULL;
  test_env_init(&t);
  t.fail_after = 0;
  assert_int_equal(km_nat_probe_new(&p, &t.env), KM_ERR_NOMEM);
  assert_null(p);
  km_nat_probe_del(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_kind_of_nat),
      cmocka_unit_test(quick_knows_the_mapping_from_one_such_server),
      cmocka_unit_test(filters_are_not_guessed),
      cmocka_unit_test(a_server_that_promises_too_much),
      cmocka_unit_test(an_open_filter_needs_one_answer),
      cmocka_unit_test(without_a_second_socket_the_rest_is_known),
      cmocka_unit_test(two_plain_servers_tell_the_mapping),
      cmocka_unit_test(ports_that_step),
      cmocka_unit_test(loss_changes_nothing),
      cmocka_unit_test(blocked_udp_is_given_up),
      cmocka_unit_test(a_dead_server_does_not_hold_up_the_others),
      cmocka_unit_test(the_others_get_their_time),
      cmocka_unit_test(a_slow_path_is_waited_for),
      cmocka_unit_test(lies_are_bounded),
      cmocka_unit_test(lies_in_the_middle),
      cmocka_unit_test(nobody_sends_us_somewhere),
      cmocka_unit_test(a_refresh_asks_one_server),
      cmocka_unit_test(a_new_address_makes_it_ask_all),
      cmocka_unit_test(a_server_that_fell_silent_makes_it_ask_all),
      cmocka_unit_test(forgetting),
      cmocka_unit_test(what_is_old_is_not_compared),
      cmocka_unit_test(what_was_ours_is_told),
      cmocka_unit_test(deepening_a_run),
      cmocka_unit_test(servers_come_and_go),
      cmocka_unit_test(both_families_at_once),
      cmocka_unit_test(each_family_has_tests_of_its_own),
      cmocka_unit_test(nat64),
      cmocka_unit_test(no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
