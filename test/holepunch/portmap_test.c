/* Port mapping in virtual time: the test plays the gateway. */
#include "holepunch/portmap.h"

#include "test/base/test_env.h"

#define MS KM_NS_PER_MS
#define S KM_NS_PER_S
#define PORT 4433
#define BIT(protocol) (1u << (protocol))

static const km_udp_addr gateway = {.family = 4, .ip = {192, 168, 1, 1}};
static const km_udp_addr local = {.family = 4, .ip = {192, 168, 1, 7}};
static const km_udp_addr outside = {.family = 4, .port = 50000, .ip = {203, 0, 113, 9}};

/* What was sent or begun. */
typedef enum kind { PCP, PCP_DELETE, ADDRESS, MAP, MAP_DELETE, FIND, UPNP_MAP, UNMAP, TELL } kind;

typedef struct event {
  kind what;
  km_ts at;
  km_portmap_out out;
} event;

typedef struct lab {
  test_env t;
  km_portmap_core c;
  km_ts now;
  event events[4096];
  size_t count;
} lab;

static kind kind_of(const km_portmap_out *out) {
  switch (out->what) {
  case KM_PORTMAP_SEND:
    break;
  case KM_PORTMAP_UPNP_FIND:
    return FIND;
  case KM_PORTMAP_UPNP_MAP:
    return UPNP_MAP;
  case KM_PORTMAP_UPNP_UNMAP:
    return UNMAP;
  default:
    return TELL;
  }
  static const uint8_t zero[4] = {0};
  if (out->len == KM_NATPMP_ADDRESS_LEN) {
    return ADDRESS;
  }
  if (out->len == KM_NATPMP_MAP_LEN) {
    return memcmp(out->bytes + 8, zero, 4) == 0 ? MAP_DELETE : MAP;
  }
  assert_int_equal(out->len, KM_PCP_MAP_LEN);
  return memcmp(out->bytes + 4, zero, 4) == 0 ? PCP_DELETE : PCP;
}

static void pull(lab *l) {
  km_portmap_out out;
  while (km_portmap_core_next(&l->c, &out)) {
    assert_true(l->count < COUNT_OF(l->events));
    l->events[l->count++] = (event){.what = kind_of(&out), .at = l->now, .out = out};
  }
}

/* All deadlines up to then. */
static void run_to(lab *l, km_ts then) {
  while (km_portmap_core_deadline(&l->c) <= then) {
    km_ts at = km_portmap_core_deadline(&l->c);
    l->now = at > l->now ? at : l->now;
    km_portmap_core_timeout(&l->c, l->now);
    pull(l);
    assert_true(km_portmap_core_deadline(&l->c) > l->now); /* or a loop would never sleep */
  }
  l->now = then;
}

static void start_with(lab *l, uint8_t allowed) {
  memset(l, 0, sizeof *l);
  test_env_init(&l->t);
  l->now = 1000 * S;
  km_portmap_core_init(&l->c, &l->t.env, 7200, allowed);
  km_portmap_core_set_gateway(&l->c, &gateway, &local, NULL, l->now);
  km_portmap_core_set_port(&l->c, PORT, l->now);
  pull(l);
}

static void start(lab *l) {
  start_with(l, 0);
}

/* Events of a kind, from the n-th on. */
static size_t count_of(const lab *l, kind what) {
  size_t count = 0;
  for (size_t i = 0; i < l->count; i++) {
    count += l->events[i].what == what;
  }
  return count;
}

static const event *nth(const lab *l, kind what, size_t n) {
  for (size_t i = 0; i < l->count; i++) {
    if (l->events[i].what == what && n-- == 0) {
      return &l->events[i];
    }
  }
  fail_msg("no such event");
  return NULL;
}

static void forget(lab *l) {
  l->count = 0;
}

static km_portmap_status status(const lab *l) {
  km_portmap_status ret;
  km_portmap_core_status(&l->c, &ret);
  return ret;
}

/* --- the gateway's answers ----------------------------------------------------------------------- */

static void put(uint8_t *at, uint32_t value, unsigned bytes) {
  while (bytes-- > 0) {
    at[bytes] = (uint8_t)value;
    value >>= 8;
  }
}

typedef struct answer {
  uint8_t result;
  uint32_t lifetime_s, epoch_s;
  km_udp_addr external;
} answer;

/* Answers with the nonce and port that were asked with. */
static void pcp_answer(lab *l, const answer *a) {
  const km_pcp_map map = {.internal_port = l->c.port, .external = a->external};
  uint8_t bytes[KM_PCP_MAP_LEN];
  km_pcp_map_request(bytes, &map, &local, a->lifetime_s);
  memcpy(bytes + 24, l->c.nonce, KM_PCP_NONCE_LEN);
  bytes[1] |= 0x80;
  bytes[3] = a->result;
  memset(bytes + 8, 0, 16);
  put(bytes + 8, a->epoch_s, 4);
  km_portmap_core_input(&l->c, bytes, sizeof bytes, l->now);
  pull(l);
}

static void pcp_grants(lab *l, uint32_t lifetime_s) {
  pcp_answer(
      l,
      &(answer){.lifetime_s = lifetime_s, .epoch_s = (uint32_t)(l->now / S), .external = outside});
}

static void natpmp_address(lab *l, uint32_t epoch_s) {
  uint8_t bytes[12] = {0, 128, 0, 0, 0, 0, 0, 0, 203, 0, 113, 9};
  put(bytes + 4, epoch_s, 4);
  km_portmap_core_input(&l->c, bytes, sizeof bytes, l->now);
  pull(l);
}

static void natpmp_mapped(lab *l, uint16_t port, uint32_t lifetime_s) {
  uint8_t bytes[16] = {0, 129};
  put(bytes + 4, (uint32_t)(l->now / S), 4);
  put(bytes + 8, port, 2);
  put(bytes + 10, outside.port, 2);
  put(bytes + 12, lifetime_s, 4);
  km_portmap_core_input(&l->c, bytes, sizeof bytes, l->now);
  pull(l);
}

static void natpmp_refuses(lab *l, uint8_t op, uint8_t result) {
  uint8_t bytes[8] = {0, (uint8_t)(128 + op), 0, result};
  put(bytes + 4, (uint32_t)(l->now / S), 4);
  km_portmap_core_input(&l->c, bytes, sizeof bytes, l->now);
  pull(l);
}

static void upnp_found(lab *l, const char *trouble) {
  km_portmap_core_upnp_found(&l->c, trouble, l->now);
  pull(l);
}

static void upnp_mapped(lab *l, uint32_t lifetime_s, const char *trouble) {
  km_portmap_core_upnp_mapped(&l->c, &outside, lifetime_s, trouble, l->now);
  pull(l);
}

static void announce(lab *l, bool pcp, uint32_t epoch_s) {
  uint8_t bytes[24] = {2, 0x80};
  uint8_t natpmp[12] = {0, 128, 0, 0, 0, 0, 0, 0, 203, 0, 113, 9};
  put(bytes + 8, epoch_s, 4);
  put(natpmp + 4, epoch_s, 4);
  km_portmap_core_announced(&l->c, pcp ? bytes : natpmp, pcp ? sizeof bytes : sizeof natpmp,
                            l->now);
  pull(l);
}

/* --- who maps ------------------------------------------------------------------------------------ */

static void all_are_asked_at_once(void **state) {
  (void)state;
  lab l;
  start(&l);
  assert_int_equal(count_of(&l, PCP), 1);
  assert_int_equal(count_of(&l, ADDRESS), 1);
  assert_int_equal(count_of(&l, FIND), 1);
  assert_int_equal(count_of(&l, TELL), 1);
  assert_true(status(&l).probing);
  const uint8_t *asked = nth(&l, PCP, 0)->out.bytes;
  assert_int_equal(asked[42] << 8 | asked[43], PORT); /* the same port outside, if it can be had */
  assert_memory_equal(asked + 20, local.ip, 4);
}

static void pcp_maps_when_it_answers(void **state) {
  (void)state;
  lab l;
  start(&l);
  run_to(&l, l.now + 20 * MS);
  pcp_grants(&l, 7200);
  km_portmap_status s = status(&l);
  assert_int_equal(s.protocol, KM_PORTMAP_PCP);
  assert_true(km_udp_addr_equal(&s.external, &outside));
  assert_int_equal(s.lifetime_s, 7200);
  assert_int_equal(s.found, BIT(KM_PORTMAP_PCP));
  assert_false(s.probing);
  forget(&l);
  natpmp_address(&l, (uint32_t)(l.now / S)); /* there as well, and not needed */
  upnp_found(&l, NULL);
  assert_int_equal(status(&l).found,
                   BIT(KM_PORTMAP_PCP) | BIT(KM_PORTMAP_NATPMP) | BIT(KM_PORTMAP_UPNP));
  run_to(&l, l.now + 60 * S);
  assert_int_equal(count_of(&l, MAP) + count_of(&l, UPNP_MAP) + count_of(&l, PCP), 0);
}

static void natpmp_gives_pcp_half_a_second(void **state) {
  (void)state;
  lab l;
  start(&l);
  km_ts begin = l.now;
  run_to(&l, begin + 10 * MS);
  natpmp_address(&l, 1000);
  run_to(&l, begin + 499 * MS);
  assert_int_equal(count_of(&l, MAP), 0);
  run_to(&l, begin + 600 * MS);
  assert_int_equal(nth(&l, MAP, 0)->at, begin + 500 * MS);
  natpmp_mapped(&l, PORT, 3600);
  km_portmap_status s = status(&l);
  assert_int_equal(s.protocol, KM_PORTMAP_NATPMP);
  assert_true(km_udp_addr_equal(&s.external, &outside));
  assert_int_equal(s.lifetime_s, 3600);
  forget(&l);
  pcp_grants(&l, 7200); /* late: noted, but who holds goes on */
  assert_int_equal(status(&l).protocol, KM_PORTMAP_NATPMP);
  assert_int_equal(status(&l).found, BIT(KM_PORTMAP_PCP) | BIT(KM_PORTMAP_NATPMP));
  run_to(&l, l.now + 60 * S);
  assert_int_equal(count_of(&l, PCP), 0);
}

static void a_gateway_of_natpmp_says_that_it_is_none_of_pcp(void **state) {
  (void)state;
  lab l;
  start(&l);
  km_ts begin = l.now;
  natpmp_refuses(&l, 1, KM_NATPMP_UNSUPP_VERSION); /* to the PCP request: RFC 6887 appendix A */
  natpmp_address(&l, 1000);
  assert_int_equal(nth(&l, MAP, 0)->at, begin); /* nothing to wait for */
  natpmp_mapped(&l, PORT, 7200);
  assert_int_equal(status(&l).protocol, KM_PORTMAP_NATPMP);
  assert_int_equal(status(&l).found, BIT(KM_PORTMAP_NATPMP));
}

static void a_gateway_of_pcp_alone_refuses_natpmp(void **state) {
  (void)state;
  static const uint8_t bytes[] = {2, 129, 0, KM_PCP_UNSUPP_VERSION, 0, 0, 0, 0};
  lab l;
  start(&l);
  km_portmap_core_input(&l.c, bytes, sizeof bytes, l.now);
  pull(&l);
  forget(&l);
  run_to(&l, l.now + 100 * S);
  assert_int_equal(count_of(&l, ADDRESS), 0);
  assert_int_not_equal(count_of(&l, PCP), 0);
}

static void upnp_comes_last(void **state) {
  (void)state;
  lab l;
  start(&l);
  km_ts begin = l.now;
  run_to(&l, begin + 100 * MS);
  upnp_found(&l, NULL);
  run_to(&l, begin + 2 * S);
  assert_int_equal(nth(&l, UPNP_MAP, 0)->at, begin + 1500 * MS);
  assert_int_equal(nth(&l, UPNP_MAP, 0)->out.internal_port, PORT);
  assert_int_equal(nth(&l, UPNP_MAP, 0)->out.external_port, PORT);
  assert_int_equal(nth(&l, UPNP_MAP, 0)->out.lifetime_s, 7200);
  upnp_mapped(&l, 0, NULL); /* for ever: renewed all the same */
  assert_int_equal(status(&l).protocol, KM_PORTMAP_UPNP);
  assert_int_equal(status(&l).lifetime_s, 7200);
}

static void upnp_does_not_wait_for_those_who_said_no(void **state) {
  (void)state;
  lab l;
  start(&l);
  upnp_found(&l, NULL);
  assert_int_equal(count_of(&l, UPNP_MAP), 0);
  km_portmap_core_no_listener(&l.c, l.now);
  pull(&l);
  assert_int_equal(count_of(&l, UPNP_MAP), 1);
}

static void only_what_is_allowed(void **state) {
  (void)state;
  static const struct {
    km_portmap_protocol only;
    kind asks;
  } cases[] = {{KM_PORTMAP_PCP, PCP}, {KM_PORTMAP_NATPMP, ADDRESS}, {KM_PORTMAP_UPNP, FIND}};
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    lab l;
    start_with(&l, (uint8_t)BIT(cases[i].only));
    run_to(&l, l.now + 100 * S);
    assert_int_not_equal(count_of(&l, cases[i].asks), 0);
    for (kind other = PCP; other < TELL; other++) {
      assert_true(other == cases[i].asks || count_of(&l, other) == 0);
    }
  }
}

/* --- repeating ----------------------------------------------------------------------------------- */

/* RFC 6887 section 8.1.1: 3 s, doubled up to 1,024 s, each spread by a tenth. */
static void pcp_asks_again(void **state) {
  (void)state;
  lab l;
  start_with(&l, BIT(KM_PORTMAP_PCP));
  run_to(&l, l.now + 10000 * S);
  km_ts before = 0;
  assert_true(count_of(&l, PCP) > 12);
  for (size_t i = 1; i < count_of(&l, PCP); i++) {
    km_ts wait = nth(&l, PCP, i)->at - nth(&l, PCP, i - 1)->at;
    km_ts base = i == 1 ? 3 * S : before * 2 < 1024 * S ? before * 2 : 1024 * S;
    assert_in_range(wait, base - base / 10, base + base / 10);
    before = wait;
  }
}

/* RFC 6886 section 3.1: 250 ms, doubled; nine times. */
static void natpmp_asks_nine_times(void **state) {
  (void)state;
  lab l;
  start_with(&l, BIT(KM_PORTMAP_NATPMP));
  km_ts begin = l.now;
  run_to(&l, begin + 600 * S);
  assert_int_equal(count_of(&l, ADDRESS), 9);
  for (size_t i = 0; i < 9; i++) {
    assert_int_equal(nth(&l, ADDRESS, i)->at, begin + 250 * MS * ((1u << i) - 1));
  }
  run_to(&l, begin + 2 * 3600 * S);
  assert_int_equal(count_of(&l, ADDRESS), 18); /* and an hour later once more */
}

static void upnp_is_searched_ever_less(void **state) {
  (void)state;
  lab l;
  start_with(&l, BIT(KM_PORTMAP_UPNP));
  for (int i = 0; i < 20; i++) {
    upnp_found(&l, "no gateway answers");
    run_to(&l, km_portmap_core_deadline(&l.c));
  }
  km_ts apart = nth(&l, FIND, 1)->at - nth(&l, FIND, 0)->at;
  assert_int_equal(apart, 60 * S);
  apart = nth(&l, FIND, 2)->at - nth(&l, FIND, 1)->at;
  assert_int_equal(apart, 120 * S);
  apart = nth(&l, FIND, 19)->at - nth(&l, FIND, 18)->at;
  assert_int_equal(apart, 3600 * S);
}

/* --- renewing and losing ------------------------------------------------------------------------- */

static void half_a_lifetime_later(void **state) {
  (void)state;
  lab l;
  start(&l);
  pcp_grants(&l, 7200);
  for (int i = 0; i < 5; i++) {
    forget(&l);
    km_ts granted = l.now;
    run_to(&l, granted + 4500 * S);
    assert_int_equal(count_of(&l, PCP), 1);
    const event *e = nth(&l, PCP, 0);
    assert_in_range(e->at, granted + 3600 * S, granted + 4500 * S);
    assert_memory_equal(e->out.bytes + 24, l.c.nonce, KM_PCP_NONCE_LEN);
    assert_int_equal(e->out.bytes[42] << 8 | e->out.bytes[43], outside.port);
    assert_memory_equal(e->out.bytes + 56, outside.ip, 4); /* the one that it has */
    l.now = e->at;
    pcp_grants(&l, 7200);
    assert_int_equal(count_of(&l, TELL), 0); /* nothing changed */
  }
}

static void natpmp_renews_in_two_steps(void **state) {
  (void)state;
  lab l;
  start_with(&l, BIT(KM_PORTMAP_NATPMP));
  natpmp_address(&l, 1000);
  natpmp_mapped(&l, PORT, 7200);
  assert_int_equal(status(&l).protocol, KM_PORTMAP_NATPMP);
  forget(&l);
  run_to(&l, l.now + 4500 * S);
  assert_int_equal(count_of(&l, ADDRESS), 1);
  assert_int_equal(count_of(&l, MAP), 0);
  natpmp_address(&l, (uint32_t)(l.now / S));
  assert_int_equal(count_of(&l, MAP), 1);
  assert_int_equal(nth(&l, MAP, 0)->out.bytes[6] << 8 | nth(&l, MAP, 0)->out.bytes[7],
                   outside.port);
  natpmp_mapped(&l, PORT, 7200);
  assert_int_equal(count_of(&l, TELL), 0);
  forget(&l);
  natpmp_address(&l, (uint32_t)(l.now / S)); /* once more, unasked: nothing follows */
  assert_int_equal(l.count, 0);
}

static void upnp_renews_by_its_job(void **state) {
  (void)state;
  lab l;
  start_with(&l, BIT(KM_PORTMAP_UPNP));
  upnp_found(&l, NULL);
  run_to(&l, l.now + 2 * S);
  upnp_mapped(&l, 3600, NULL);
  forget(&l);
  run_to(&l, l.now + 2250 * S);
  assert_int_equal(count_of(&l, UPNP_MAP), 1);
  assert_int_equal(nth(&l, UPNP_MAP, 0)->out.external_port, outside.port);
  upnp_mapped(&l, 3600, NULL);
  assert_int_equal(count_of(&l, TELL), 0);
  forget(&l);
  run_to(&l, l.now + 2250 * S);
  upnp_mapped(&l, 0, "an error"); /* the mapping has time left */
  assert_int_equal(status(&l).protocol, KM_PORTMAP_UPNP);
  forget(&l);
  for (int i = 0; i < 100 && status(&l).protocol == KM_PORTMAP_UPNP; i++) {
    run_to(&l, km_portmap_core_deadline(&l.c));
    upnp_mapped(&l, 0, "an error");
  }
  assert_int_equal(status(&l).protocol, KM_PORTMAP_NONE);
  assert_in_range(count_of(&l, UPNP_MAP), 8, 16);
  assert_int_equal(count_of(&l, FIND), 1);
}

/* RFC 6887 section 11.2.1: at 1/2, 3/4, 7/8, ..., four seconds apart. */
static void a_gateway_that_fell_silent(void **state) {
  (void)state;
  lab l;
  start_with(&l, BIT(KM_PORTMAP_PCP));
  pcp_grants(&l, 7200);
  km_ts granted = l.now, expires = granted + 7200 * S;
  forget(&l);
  run_to(&l, expires - 1);
  assert_in_range(count_of(&l, PCP), 8, 16);
  km_ts before = granted;
  for (size_t i = 0; i < count_of(&l, PCP); i++) {
    km_ts at = nth(&l, PCP, i)->at, left = expires - before;
    assert_true(at - before >= 4 * S);
    assert_true(left < 8 * S || at - before >= left / 2);
    before = at;
  }
  assert_int_equal(status(&l).protocol, KM_PORTMAP_PCP);
  forget(&l);
  run_to(&l, expires);
  km_portmap_status s = status(&l);
  assert_int_equal(s.protocol, KM_PORTMAP_NONE);
  assert_int_equal(s.external.family, 0);
  assert_true(s.probing);
  assert_int_equal(count_of(&l, PCP), 1); /* from the beginning */
  assert_int_equal(nth(&l, PCP, 0)->out.bytes[42] << 8 | nth(&l, PCP, 0)->out.bytes[43],
                   outside.port); /* the same port again, if it can be had */
  run_to(&l, expires + 5 * S);
  assert_false(status(&l).probing);
  assert_non_null(strstr(status(&l).trouble, "forward UDP port 4433 by hand"));
}

static void lifetimes_of_all_sizes(void **state) {
  (void)state;
  static const struct {
    uint32_t granted_s, said_s, first_s, last_s;
  } cases[] = {
      {1, 1, 4, 7},
      {5, 5, 4, 7},
      {10, 10, 5, 7},
      {120, 120, 60, 75},
      {86400, 86400, 43200, 54000},
      {86401, 86400, 43200, 54000},
      {UINT32_MAX, 86400, 43200, 54000},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    lab l;
    start_with(&l, BIT(KM_PORTMAP_PCP));
    pcp_grants(&l, cases[i].granted_s);
    assert_int_equal(status(&l).lifetime_s, cases[i].said_s);
    km_ts wait = km_portmap_core_deadline(&l.c) - l.now;
    assert_in_range(wait, cases[i].first_s * S, cases[i].last_s * S);
  }
}

/* --- what is not believed ------------------------------------------------------------------------ */

static void answers_to_nothing_asked(void **state) {
  (void)state;
  lab l;
  start(&l);
  forget(&l);
  l.c.nonce[3] ^= 1; /* somebody who did not see our request */
  km_portmap_core other = l.c;
  pcp_grants(&l, 7200);
  assert_int_equal(status(&l).protocol, KM_PORTMAP_PCP); /* the harness works */
  l.c = other;
  uint8_t bytes[KM_PCP_MAP_LEN];
  km_pcp_map map = {.internal_port = PORT, .external = outside};
  km_pcp_map_request(bytes, &map, &local, 7200);
  bytes[1] |= 0x80;
  km_portmap_core_input(&l.c, bytes, sizeof bytes, l.now);
  assert_int_equal(status(&l).protocol, KM_PORTMAP_NONE);
  assert_int_equal(status(&l).found, 0);
  memcpy(bytes + 24, l.c.nonce, KM_PCP_NONCE_LEN);
  bytes[41] ^= 1; /* of another port of ours */
  km_portmap_core_input(&l.c, bytes, sizeof bytes, l.now);
  assert_int_equal(status(&l).found, 0);
  natpmp_mapped(&l, PORT, 7200); /* no mapping was asked for yet */
  assert_int_equal(status(&l).protocol, KM_PORTMAP_NONE);
  natpmp_address(&l, 1000);
  run_to(&l, l.now + S);
  natpmp_mapped(&l, PORT + 1, 7200);
  assert_int_equal(status(&l).protocol, KM_PORTMAP_NONE);
}

static void grants_of_no_use(void **state) {
  (void)state;
  static const answer answers[] = {
      {.lifetime_s = 0, .external = {.family = 4, .port = 1, .ip = {203, 0, 113, 9}}},
      {.lifetime_s = 7200, .external = {.family = 4, .port = 0, .ip = {203, 0, 113, 9}}},
      {.lifetime_s = 7200, .external = {.family = 4, .port = 1}},
      {.lifetime_s = 7200, .external = {.family = 6, .port = 1, .ip = {0x20, 1}}},
  };
  for (size_t i = 0; i < COUNT_OF(answers); i++) {
    lab l;
    start_with(&l, BIT(KM_PORTMAP_PCP));
    pcp_answer(&l, &answers[i]);
    assert_int_equal(status(&l).protocol, KM_PORTMAP_NONE);
    assert_non_null(strstr(status(&l).trouble, "PCP says nothing of use"));
    forget(&l);
    run_to(&l, l.now + 29 * S);
    assert_int_equal(count_of(&l, PCP), 0);
    run_to(&l, l.now + 2 * S);
    assert_int_equal(count_of(&l, PCP), 1);
  }
}

/* Private ones are told: two NATs in a row are the caller's affair. */
static void any_external_address_is_told(void **state) {
  (void)state;
  lab l;
  start(&l);
  pcp_answer(
      &l, &(answer){.lifetime_s = 60, .external = {.family = 4, .port = 7, .ip = {100, 64, 0, 9}}});
  assert_int_equal(status(&l).protocol, KM_PORTMAP_PCP);
}

static void refusals(void **state) {
  (void)state;
  static const struct {
    uint32_t lifetime_s, again_s;
  } cases[] = {{0, 30}, {30, 30}, {1800, 1800}, {UINT32_MAX, 3600}};
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    lab l;
    start_with(&l, BIT(KM_PORTMAP_PCP));
    pcp_answer(&l, &(answer){.result = KM_PCP_NOT_AUTHORIZED, .lifetime_s = cases[i].lifetime_s});
    km_portmap_status s = status(&l);
    assert_int_equal(s.found, BIT(KM_PORTMAP_PCP));
    assert_false(s.probing);
    assert_string_equal(
        s.trouble, "the router maps no port (PCP says NOT_AUTHORIZED): look at its UPnP settings");
    assert_int_equal(km_portmap_core_deadline(&l.c), l.now + cases[i].again_s * S);
  }
}

static void the_next_one_maps_when_one_refuses(void **state) {
  (void)state;
  lab l;
  start(&l);
  natpmp_address(&l, 1000);
  upnp_found(&l, NULL);
  pcp_answer(&l, &(answer){.result = KM_PCP_NO_RESOURCES});
  assert_int_equal(count_of(&l, MAP), 1);
  natpmp_refuses(&l, 1, KM_NATPMP_NO_RESOURCES);
  assert_int_equal(count_of(&l, UPNP_MAP), 1);
  upnp_mapped(&l, 0, "ConflictInMappingEntry (718)");
  km_portmap_status s = status(&l);
  assert_false(s.probing);
  assert_non_null(strstr(s.trouble, "UPnP says ConflictInMappingEntry (718)"));
  assert_int_equal(s.found, BIT(KM_PORTMAP_PCP) | BIT(KM_PORTMAP_NATPMP) | BIT(KM_PORTMAP_UPNP));
}

static void nobody_listens(void **state) {
  (void)state;
  lab l;
  start(&l);
  km_portmap_core_no_listener(&l.c, l.now);
  upnp_found(&l, "no gateway answers");
  assert_false(status(&l).probing); /* a result, and at once */
  assert_non_null(strstr(status(&l).trouble, "no PCP, NAT-PMP or UPnP"));
  forget(&l);
  run_to(&l, l.now + 599 * S);
  assert_int_equal(count_of(&l, PCP) + count_of(&l, ADDRESS), 0);
  run_to(&l, l.now + 2 * S);
  assert_int_equal(count_of(&l, PCP), 1);
  pcp_grants(&l, 7200);
  km_portmap_core_no_listener(&l.c, l.now); /* it restarts: the mapping has time left */
  assert_int_equal(status(&l).protocol, KM_PORTMAP_PCP);
}

/* --- a gateway that forgot ------------------------------------------------------------------------ */

static void clocks_that_do_not_fit(void **state) {
  (void)state;
  static const struct {
    const char *what;
    uint32_t before_s, elapsed_s, now_s;
    bool forgot_pcp, forgot_natpmp; /* as RFC 6887 and RFC 6886 have it */
  } cases[] = {
      {"as ours", 5000, 1000, 6000, false, false},
      {"a second back", 5000, 0, 4999, false, false},
      {"two seconds back", 5000, 0, 4998, true, true},
      {"from the start", 5000, 1000, 0, true, true},
      {"a little slow", 5000, 1600, 6500, false, false},
      {"slow by more than 1/16", 5000, 1600, 6490, true, false},
      {"slow by more than 1/8", 5000, 1600, 6390, true, true},
      {"a little fast", 5000, 1500, 6600, false, false},
      {"fast by more than 1/16", 5000, 1500, 6605, true, false},
      {"started after its grant, with an account as old", 3, 5, 3, true, true},
  };
  for (size_t i = 0; i < 2 * COUNT_OF(cases); i++) {
    bool pcp = i % 2 == 0, want = pcp ? cases[i / 2].forgot_pcp : cases[i / 2].forgot_natpmp;
    lab l;
    print_message("%s, %s\n", pcp ? "PCP" : "NAT-PMP", cases[i / 2].what);
    start(&l);
    natpmp_address(&l, cases[i / 2].before_s);
    pcp_answer(
        &l, &(answer){.lifetime_s = 7200, .epoch_s = cases[i / 2].before_s, .external = outside});
    run_to(&l, l.now + cases[i / 2].elapsed_s * S);
    forget(&l);
    announce(&l, pcp, cases[i / 2].now_s);
    run_to(&l, l.now + 5 * S);
    assert_int_equal(count_of(&l, PCP) > 0, want);
    assert_int_equal(status(&l).protocol, KM_PORTMAP_PCP); /* until it says otherwise */
  }
}

static void it_is_asked_until_it_answers(void **state) {
  (void)state;
  lab l;
  start(&l);
  pcp_grants(&l, 7200);
  run_to(&l, l.now + 100 * S);
  forget(&l);
  km_ts told = l.now;
  announce(&l, true, 0);
  run_to(&l, told + 70 * S);
  assert_in_range(count_of(&l, PCP), 4, 6);
  assert_true(nth(&l, PCP, 0)->at <= told + 5 * S);
  assert_int_equal(nth(&l, PCP, 1)->at - nth(&l, PCP, 0)->at, 4 * S);
  assert_int_equal(nth(&l, PCP, 2)->at - nth(&l, PCP, 1)->at, 8 * S);
  assert_int_equal(nth(&l, PCP, 3)->at - nth(&l, PCP, 2)->at, 16 * S);
  pcp_answer(&l, &(answer){.lifetime_s = 7200,
                           .epoch_s = 70,
                           .external = {.family = 4, .port = 50001, .ip = {203, 0, 113, 9}}});
  assert_int_equal(status(&l).external.port, 50001);
  forget(&l);
  run_to(&l, l.now + 3000 * S); /* and all is as ever */
  assert_int_equal(count_of(&l, PCP), 0);
}

static void it_forgot_and_refuses(void **state) {
  (void)state;
  lab l;
  start(&l);
  pcp_grants(&l, 7200);
  run_to(&l, l.now + 100 * S);
  pcp_answer(&l, &(answer){.result = KM_PCP_NO_RESOURCES, .epoch_s = (uint32_t)(l.now / S)});
  assert_int_equal(status(&l).protocol, KM_PORTMAP_PCP); /* the clock fits: it has the mapping */
  forget(&l);
  pcp_answer(&l, &(answer){.result = KM_PCP_NO_RESOURCES, .epoch_s = 3});
  assert_int_equal(status(&l).protocol, KM_PORTMAP_NONE);
  assert_int_equal(count_of(&l, ADDRESS), 1);
}

static void its_address_changed(void **state) {
  (void)state;
  lab l;
  start_with(&l, BIT(KM_PORTMAP_NATPMP));
  natpmp_address(&l, 1000);
  natpmp_mapped(&l, PORT, 7200);
  forget(&l);
  uint8_t bytes[12] = {0, 128, 0, 0, 0, 0, 0, 0, 203, 0, 113, 77};
  put(bytes + 4, 1000, 4);
  km_portmap_core_announced(&l.c, bytes, sizeof bytes, l.now);
  run_to(&l, l.now + 5 * S);
  assert_int_not_equal(count_of(&l, ADDRESS), 0);
  put(bytes + 4, (uint32_t)(l.now / S), 4);
  km_portmap_core_input(&l.c, bytes, sizeof bytes, l.now);
  pull(&l);
  natpmp_mapped(&l, PORT, 7200);
  assert_int_equal(status(&l).external.ip[3], 77);
}

static void one_that_comes_up_is_asked(void **state) {
  (void)state;
  lab l;
  start(&l);
  km_portmap_core_no_listener(&l.c, l.now);
  upnp_found(&l, "no gateway answers");
  run_to(&l, l.now + 6 * S);
  forget(&l);
  for (int i = 0; i < 100; i++) { /* however often it says so */
    announce(&l, true, 0);
  }
  run_to(&l, l.now + 5 * S);
  assert_int_equal(count_of(&l, PCP), 2); /* once, and its first repetition */
  assert_true(status(&l).probing);
}

/* --- ports and gateways --------------------------------------------------------------------------- */

static void a_port_is_given_back(void **state) {
  (void)state;
  lab l;
  start(&l);
  pcp_grants(&l, 7200);
  forget(&l);
  km_portmap_core_set_port(&l.c, 0, l.now);
  pull(&l);
  assert_int_equal(count_of(&l, PCP_DELETE), 1);
  assert_memory_equal(nth(&l, PCP_DELETE, 0)->out.bytes + 24, l.c.nonce, KM_PCP_NONCE_LEN);
  assert_int_equal(
      nth(&l, PCP_DELETE, 0)->out.bytes[40] << 8 | nth(&l, PCP_DELETE, 0)->out.bytes[41], PORT);
  assert_int_equal(count_of(&l, TELL), 1);
  assert_int_equal(status(&l).protocol, KM_PORTMAP_NONE);
  assert_string_equal(status(&l).trouble, "");
  assert_int_equal(km_portmap_core_deadline(&l.c), KM_TS_NEVER);
  forget(&l);
  pcp_grants(&l, 7200); /* too late */
  natpmp_address(&l, 1);
  upnp_found(&l, NULL);
  announce(&l, true, 0);
  km_portmap_core_timeout(&l.c, l.now + 9000 * S);
  km_portmap_core_set_port(&l.c, 0, l.now);
  pull(&l);
  assert_int_equal(l.count, 0);

  start_with(&l, BIT(KM_PORTMAP_NATPMP));
  natpmp_address(&l, 1000);
  natpmp_mapped(&l, PORT, 7200);
  km_portmap_core_set_port(&l.c, 0, l.now);
  pull(&l);
  static const uint8_t want[] = {0, 1, 0, 0, PORT >> 8, PORT & 0xff, 0, 0, 0, 0, 0, 0};
  assert_memory_equal(nth(&l, MAP_DELETE, 0)->out.bytes, want, sizeof want);

  start_with(&l, BIT(KM_PORTMAP_UPNP));
  upnp_found(&l, NULL);
  run_to(&l, l.now + 2 * S);
  upnp_mapped(&l, 7200, NULL);
  km_portmap_core_set_port(&l.c, 0, l.now);
  pull(&l);
  assert_int_equal(nth(&l, UNMAP, 0)->out.external_port, outside.port);
}

static void a_port_is_exchanged(void **state) {
  (void)state;
  lab l;
  start(&l);
  pcp_grants(&l, 7200);
  forget(&l);
  km_portmap_core_set_port(&l.c, PORT, l.now); /* the same */
  pull(&l);
  assert_int_equal(l.count, 0);
  km_portmap_core_set_port(&l.c, PORT + 1, l.now);
  pull(&l);
  assert_int_equal(count_of(&l, PCP_DELETE), 1);
  assert_int_equal(count_of(&l, PCP), 1);
  assert_int_equal(nth(&l, PCP, 0)->out.bytes[43], (PORT + 1) & 0xff);
  assert_true(status(&l).probing);
  pcp_grants(&l, 7200);
  assert_int_equal(status(&l).protocol, KM_PORTMAP_PCP);
}

static void gateways_come_and_go(void **state) {
  (void)state;
  static const km_udp_addr none;
  lab l;
  start(&l);
  pcp_grants(&l, 7200);
  forget(&l);
  km_portmap_core_set_gateway(&l.c, &none, &none, "there is no default gateway", l.now);
  pull(&l);
  assert_int_equal(count_of(&l, PCP_DELETE), 0); /* whom would it be sent to? */
  assert_int_equal(count_of(&l, TELL), 1);
  assert_string_equal(status(&l).trouble, "there is no default gateway");
  assert_int_equal(status(&l).found, 0);
  assert_int_equal(km_portmap_core_deadline(&l.c), KM_TS_NEVER);
  run_to(&l, l.now + 100 * S);
  km_portmap_core_set_gateway(&l.c, &gateway, &local, NULL, l.now);
  pull(&l);
  assert_int_equal(count_of(&l, PCP), 1);
  assert_true(status(&l).probing);
  assert_string_equal(status(&l).trouble, "");
  pcp_answer(&l, &(answer){.lifetime_s = 7200, .epoch_s = 1, .external = outside});
  assert_int_equal(status(&l).protocol, KM_PORTMAP_PCP); /* its clock is another one */
}

/* --- whatever happens ----------------------------------------------------------------------------- */

/* Random answers at random times: it always sleeps in between, sends little, and tells no nonsense. */
static void whatever_happens(void **state) {
  (void)state;
  static lab l;
  uint32_t seed = 1;
  start(&l);
  size_t sent = 0;
  km_ts begin = l.now;
  for (int i = 0; i < 200000; i++) {
    seed = seed * 1664525u + 1013904223u;
    uint32_t dice = seed >> 8;
    l.count = 0;
    switch (dice % 16) {
    case 0:
      pcp_grants(&l, dice);
      break;
    case 1:
      pcp_answer(&l, &(answer){.result = (uint8_t)(dice >> 4),
                               .lifetime_s = dice,
                               .epoch_s = dice % 10000,
                               .external = outside});
      break;
    case 2:
      natpmp_address(&l, dice % 3 == 0 ? dice : (uint32_t)(l.now / S));
      break;
    case 3:
      natpmp_mapped(&l, l.c.port, dice % 5 == 0 ? 0 : dice);
      break;
    case 4:
      natpmp_refuses(&l, dice & 1, (uint8_t)(1 + dice % 5));
      break;
    case 5:
      upnp_found(&l, dice % 32 < 16 ? NULL : "no");
      break;
    case 6:
      upnp_mapped(&l, dice, dice % 32 < 16 ? NULL : "no");
      break;
    case 7:
      announce(&l, dice & 32, dice % 100);
      break;
    case 8:
      km_portmap_core_no_listener(&l.c, l.now);
      pull(&l);
      break;
    default:
      run_to(&l, l.now + (dice % 64 == 9 ? 5000 * S : (dice % 7) * S));
      break;
    }
    for (kind k = PCP; k < TELL; k++) {
      sent += count_of(&l, k);
    }
    km_portmap_status s = status(&l);
    assert_true((s.protocol == KM_PORTMAP_NONE) == (s.external.family == 0));
    assert_true(s.protocol == KM_PORTMAP_NONE || (!s.probing && s.trouble[0] == '\0'));
    assert_true(s.protocol == KM_PORTMAP_NONE || (s.lifetime_s > 0 && s.lifetime_s <= 86400));
    assert_true(s.protocol != KM_PORTMAP_NONE || s.probing || s.trouble[0] != '\0');
    assert_true(km_portmap_core_deadline(&l.c) != KM_TS_NEVER);
  }
  assert_true(sent < 2 * ((l.now - begin) / S)); /* hostile answers now and then, all the time */
  assert_int_equal(l.t.live, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(all_are_asked_at_once),
      cmocka_unit_test(pcp_maps_when_it_answers),
      cmocka_unit_test(natpmp_gives_pcp_half_a_second),
      cmocka_unit_test(a_gateway_of_natpmp_says_that_it_is_none_of_pcp),
      cmocka_unit_test(a_gateway_of_pcp_alone_refuses_natpmp),
      cmocka_unit_test(upnp_comes_last),
      cmocka_unit_test(upnp_does_not_wait_for_those_who_said_no),
      cmocka_unit_test(only_what_is_allowed),
      cmocka_unit_test(pcp_asks_again),
      cmocka_unit_test(natpmp_asks_nine_times),
      cmocka_unit_test(upnp_is_searched_ever_less),
      cmocka_unit_test(half_a_lifetime_later),
      cmocka_unit_test(natpmp_renews_in_two_steps),
      cmocka_unit_test(upnp_renews_by_its_job),
      cmocka_unit_test(a_gateway_that_fell_silent),
      cmocka_unit_test(lifetimes_of_all_sizes),
      cmocka_unit_test(answers_to_nothing_asked),
      cmocka_unit_test(grants_of_no_use),
      cmocka_unit_test(any_external_address_is_told),
      cmocka_unit_test(refusals),
      cmocka_unit_test(the_next_one_maps_when_one_refuses),
      cmocka_unit_test(nobody_listens),
      cmocka_unit_test(clocks_that_do_not_fit),
      cmocka_unit_test(it_is_asked_until_it_answers),
      cmocka_unit_test(it_forgot_and_refuses),
      cmocka_unit_test(its_address_changed),
      cmocka_unit_test(one_that_comes_up_is_asked),
      cmocka_unit_test(a_port_is_given_back),
      cmocka_unit_test(a_port_is_exchanged),
      cmocka_unit_test(gateways_come_and_go),
      cmocka_unit_test(whatever_happens),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
