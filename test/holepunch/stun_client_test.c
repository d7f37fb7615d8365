/* STUN transactions: when requests are sent, and what counts as their answer. */
#include "holepunch/stun_client.h"

#include "test/base/test_env.h"

#define MS KM_NS_PER_MS
#define NOW (1000 * KM_NS_PER_S)

typedef struct lab {
  test_env env;
  km_stun_client client;
  km_udp_addr server, other;
} lab;

static km_udp_addr addr_of(const char *text) {
  km_udp_addr ret;
  assert_int_equal(km_udp_addr_parse(&ret, text, strlen(text), NULL), 0);
  return ret;
}

static void begin(lab *l) {
  test_env_init(&l->env);
  km_stun_client_init(&l->client, &l->env.env);
  l->server = addr_of("192.0.2.1:3478");
  l->other = addr_of("192.0.2.2:3479");
}

static void ask(lab *l, uint32_t tag, km_ts now) {
  const km_stun_ask what = {.server = l->server, .tag = tag};
  assert_int_equal(km_stun_client_ask(&l->client, &what, now), 0);
}

static km_stun_out pull(lab *l, km_ts now) {
  km_stun_out out;
  assert_true(km_stun_client_pull(&l->client, now, &out));
  return out;
}

static void pull_nothing(lab *l, km_ts now) {
  km_stun_out out;
  assert_false(km_stun_client_pull(&l->client, now, &out));
}

/* What a server that sees us at `mapped` answers. */
static size_t answer_to(const km_stun_out *out, const char *mapped,
                        uint8_t ret[KM_STUN_MAX_ANSWER]) {
  km_stun_message request;
  const km_udp_addr from = addr_of(mapped);
  assert_true(km_stun_read(&request, out->bytes, out->len));
  return km_stun_answer(ret, &request, &from);
}

static bool answered(lab *l, const km_stun_out *out, km_ts now, uint8_t socket,
                     const km_udp_addr *from) {
  uint8_t answer[KM_STUN_MAX_ANSWER];
  size_t len = answer_to(out, "203.0.113.5:4433", answer);
  return km_stun_client_receive(&l->client, now, socket, from, answer, len);
}

static void done_with(lab *l, uint32_t tag, int code, km_stun_done *ret) {
  assert_true(km_stun_client_take(&l->client, ret));
  assert_int_equal(ret->tag, tag);
  assert_int_equal(ret->code, code);
}

static void an_answer(void **state) {
  (void)state;
  lab l;
  km_stun_done done;
  begin(&l);
  ask(&l, 7, NOW);
  assert_true(km_stun_client_waits(&l.client, 7));
  assert_false(km_stun_client_waits(&l.client, 8));
  assert_int_equal(km_stun_client_deadline(&l.client), NOW);
  km_stun_out out = pull(&l, NOW);
  assert_int_equal(out.len, KM_STUN_REQUEST_LEN);
  assert_true(km_udp_addr_equal(&out.to, &l.server));
  pull_nothing(&l, NOW);
  assert_false(km_stun_client_take(&l.client, &done));
  assert_true(answered(&l, &out, NOW + 30 * MS, 0, &l.server));
  done_with(&l, 7, 0, &done);
  const km_udp_addr wanted = addr_of("203.0.113.5:4433");
  assert_true(km_udp_addr_equal(&done.mapped, &wanted));
  assert_int_equal(done.rtt_ns, 30 * MS);
  assert_false(answered(&l, &out, NOW + 40 * MS, 0, &l.server)); /* once */
  assert_int_equal(km_stun_client_deadline(&l.client), KM_TS_NEVER);
}

/* The example of RFC 8489 section 6.2.1, with an RTO of 500 ms: 0, 500, 1500, 3500, 7500, 15500 and
 * 31500 ms; failed at 39500. */
static void silence(void **state) {
  (void)state;
  static const unsigned times[] = {0, 500, 1500, 3500, 7500, 15500, 31500};
  lab l;
  km_stun_done done;
  begin(&l);
  ask(&l, 1, NOW);
  km_stun_out first = {0};
  for (size_t i = 0; i < COUNT_OF(times); i++) {
    km_ts at = NOW + times[i] * MS;
    assert_int_equal(km_stun_client_deadline(&l.client), at);
    if (times[i] > 0) {
      pull_nothing(&l, at - 1);
    }
    km_stun_out out = pull(&l, at);
    first = i == 0 ? out : first;
    assert_memory_equal(out.bytes, first.bytes, out.len); /* the same transaction */
    pull_nothing(&l, at);
  }
  assert_int_equal(km_stun_client_deadline(&l.client), NOW + 39500 * MS);
  pull_nothing(&l, NOW + 39500 * MS - 1);
  assert_false(km_stun_client_take(&l.client, &done));
  pull_nothing(&l, NOW + 39500 * MS);
  done_with(&l, 1, KM_ERR_TIMEOUT, &done);
  assert_false(answered(&l, &first, NOW + 40000 * MS, 0, &l.server));
}

static void patience_of_the_callers_choice(void **state) {
  (void)state;
  lab l;
  km_stun_done done;
  begin(&l);
  const km_stun_ask what = {.server = l.server, .tag = 3, .rc = 2, .rm = 4};
  assert_int_equal(km_stun_client_ask(&l.client, &what, NOW), 0);
  (void)pull(&l, NOW);
  (void)pull(&l, NOW + 500 * MS);
  assert_int_equal(km_stun_client_deadline(&l.client), NOW + 2500 * MS);
  pull_nothing(&l, NOW + 2500 * MS);
  done_with(&l, 3, KM_ERR_TIMEOUT, &done);
}

/* RFC 6298: srtt 40 ms, rttvar 20 ms: 120 ms. */
static void the_measured_round_trip_counts(void **state) {
  (void)state;
  lab l;
  km_stun_done done;
  begin(&l);
  ask(&l, 1, NOW);
  km_stun_out out = pull(&l, NOW);
  assert_true(answered(&l, &out, NOW + 40 * MS, 0, &l.server));
  done_with(&l, 1, 0, &done);
  l.server.port = 99; /* another port of the same machine */
  km_ts now = NOW + 1000 * MS;
  ask(&l, 2, now);
  out = pull(&l, now);
  assert_int_equal(km_stun_client_deadline(&l.client), now + 120 * MS);
  /* The second sample of 40 ms: rttvar 15, so that it is 100. */
  assert_true(answered(&l, &out, now + 40 * MS, 0, &l.server));
  ask(&l, 3, now + 50 * MS);
  (void)pull(&l, now + 50 * MS);
  assert_int_equal(km_stun_client_deadline(&l.client), now + 150 * MS);
  l.server = addr_of("192.0.2.7:3478"); /* nothing is known of that one */
  ask(&l, 4, now + 60 * MS);
  out = pull(&l, now + 60 * MS);
  pull_nothing(&l, now + 60 * MS);
  assert_true(km_udp_addr_equal(&out.to, &l.server));
  /* Ten minutes later it is stale. */
  l.server = addr_of("192.0.2.1:3478");
  km_stun_client_cancel(&l.client, 3);
  km_stun_client_cancel(&l.client, 4);
  now += 700 * KM_NS_PER_S;
  ask(&l, 5, now);
  out = pull(&l, now);
  assert_int_equal(km_stun_client_deadline(&l.client), now + 500 * MS);
  /* An answer begins it anew: 80 ms, 240 in all; one of 160 ms then makes srtt 90, rttvar 50. */
  assert_true(answered(&l, &out, now + 80 * MS, 0, &l.server));
  ask(&l, 6, now + 100 * MS);
  out = pull(&l, now + 100 * MS);
  assert_int_equal(km_stun_client_deadline(&l.client), now + 340 * MS);
  assert_true(answered(&l, &out, now + 260 * MS, 0, &l.server));
  ask(&l, 7, now + 300 * MS);
  (void)pull(&l, now + 300 * MS);
  assert_int_equal(km_stun_client_deadline(&l.client), now + 590 * MS);
}

/* Which of two requests was answered is not known: the patience is kept, and is no measurement. */
static void after_a_repetition_patience_grows(void **state) {
  (void)state;
  lab l;
  km_stun_done done;
  begin(&l);
  ask(&l, 1, NOW);
  (void)pull(&l, NOW);
  km_stun_out out = pull(&l, NOW + 500 * MS);
  assert_true(answered(&l, &out, NOW + 900 * MS, 0, &l.server));
  done_with(&l, 1, 0, &done);
  assert_int_equal(done.rtt_ns, 900 * MS);
  ask(&l, 2, NOW + KM_NS_PER_S);
  out = pull(&l, NOW + KM_NS_PER_S);
  assert_int_equal(km_stun_client_deadline(&l.client), NOW + 2 * KM_NS_PER_S);
  /* A clean answer is a measurement again: 400 ms, rttvar 200: 1.2 s. */
  assert_true(answered(&l, &out, NOW + 1400 * MS, 0, &l.server));
  ask(&l, 3, NOW + 2 * KM_NS_PER_S);
  (void)pull(&l, NOW + 2 * KM_NS_PER_S);
  assert_int_equal(km_stun_client_deadline(&l.client), NOW + 3200 * MS);
}

static void rto_has_bounds(void **state) {
  (void)state;
  lab l;
  km_stun_out out;
  begin(&l);
  ask(&l, 1, NOW);
  out = pull(&l, NOW);
  assert_true(answered(&l, &out, NOW + 1, 0, &l.server));
  ask(&l, 2, NOW + MS);
  (void)pull(&l, NOW + MS);
  assert_int_equal(km_stun_client_deadline(&l.client), NOW + 101 * MS);
  begin(&l);
  ask(&l, 1, NOW);
  out = pull(&l, NOW);
  for (unsigned i = 0; i < 6; i++) {
    out = pull(&l, km_stun_client_deadline(&l.client));
  }
  assert_true(answered(&l, &out, NOW + 39000 * MS, 0, &l.server));
  km_ts now = NOW + 50000 * MS;
  ask(&l, 2, now);
  (void)pull(&l, now);
  assert_int_equal(km_stun_client_deadline(&l.client), now + 30000 * MS);
}

static void only_the_one_who_was_asked_answers(void **state) {
  (void)state;
  lab l;
  uint8_t answer[KM_STUN_MAX_ANSWER];
  km_stun_done done;
  begin(&l);
  ask(&l, 1, NOW);
  km_stun_out out = pull(&l, NOW);
  km_udp_addr port = l.server, ip = l.server;
  port.port++;
  ip.ip[3]++;
  assert_false(answered(&l, &out, NOW, 0, &port));
  assert_false(answered(&l, &out, NOW, 0, &ip));
  assert_false(answered(&l, &out, NOW, 1, &l.server)); /* another socket of ours */
  size_t len = answer_to(&out, "1.2.3.4:5", answer);
  for (size_t i = 8; i < 20; i++) { /* another transaction */
    answer[i] ^= 1;
    assert_false(km_stun_client_receive(&l.client, NOW, 0, &l.server, answer, len));
    answer[i] ^= 1;
  }
  for (size_t cut = 0; cut < len; cut++) {
    assert_false(km_stun_client_receive(&l.client, NOW, 0, &l.server, answer, cut));
  }
  /* Our own request, an indication, another method. */
  assert_false(km_stun_client_receive(&l.client, NOW, 0, &l.server, out.bytes, out.len));
  answer[0] = 0;
  answer[1] = 0x11;
  assert_false(km_stun_client_receive(&l.client, NOW, 0, &l.server, answer, 20));
  answer[0] = 1;
  answer[1] = 3;
  assert_false(km_stun_client_receive(&l.client, NOW, 0, &l.server, answer, len));
  assert_false(km_stun_client_take(&l.client, &done));
  assert_true(answered(&l, &out, NOW, 0, &l.server));
}

/* Not even with the right number before the request was sent. */
static void nothing_is_answered_before_it_was_asked(void **state) {
  (void)state;
  lab l;
  begin(&l);
  ask(&l, 1, NOW);
  km_stun_out out = {.len = KM_STUN_REQUEST_LEN};
  uint8_t id[KM_STUN_ID_LEN];
  for (uint8_t i = 0; i < sizeof id; i++) {
    id[i] = i; /* test_env's randomness */
  }
  km_stun_request(out.bytes, id);
  assert_false(answered(&l, &out, NOW, 0, &l.server));
  (void)pull(&l, NOW);
  assert_true(answered(&l, &out, NOW, 0, &l.server));
}

static void errors(void **state) {
  (void)state;
  static const uint8_t error_500[] = {0x00, 0x09, 0x00, 0x04, 0, 0, 5, 0};
  lab l;
  km_stun_done done;
  begin(&l);
  ask(&l, 1, NOW);
  km_stun_out out = pull(&l, NOW);
  uint8_t bytes[28];
  memcpy(bytes, out.bytes, 20);
  bytes[0] = 1;
  bytes[1] = 0x11;
  bytes[3] = sizeof error_500;
  memcpy(bytes + 20, error_500, sizeof error_500);
  assert_true(km_stun_client_receive(&l.client, NOW, 0, &l.server, bytes, sizeof bytes));
  done_with(&l, 1, KM_ERR_REFUSED, &done);
  assert_int_equal(done.error, 500);
  ask(&l, 2, NOW);
  out = pull(&l, NOW);
  memcpy(bytes, out.bytes, 20);
  bytes[0] = 1;
  bytes[1] = 1;
  bytes[3] = 0; /* an answer without an address */
  assert_true(km_stun_client_receive(&l.client, NOW, 0, &l.server, bytes, 20));
  done_with(&l, 2, KM_ERR_UNSUPPORTED, &done);
}

/* CHANGE-REQUEST: the answer comes from elsewhere, a refusal from the one who was asked. */
static void filter_tests(void **state) {
  (void)state;
  for (int refused = 0; refused < 2; refused++) {
    lab l;
    km_stun_message request;
    km_stun_done done;
    uint8_t answer[KM_STUN_MAX_ANSWER];
    begin(&l);
    const km_stun_ask what = {.server = l.server,
                              .expect = l.other,
                              .tag = 9,
                              .socket = 1,
                              .change_ip = true,
                              .change_port = true};
    const km_udp_addr us = addr_of("203.0.113.5:4433");
    assert_int_equal(km_stun_client_ask(&l.client, &what, NOW), 0);
    km_stun_out out = pull(&l, NOW);
    assert_int_equal(out.len, KM_STUN_MAX_REQUEST);
    assert_int_equal(out.socket, 1);
    assert_true(km_stun_read(&request, out.bytes, out.len));
    assert_true(request.change_ip && request.change_port && request.fingerprint);
    if (refused == 0) {
      km_stun_allow_change(&request);
    }
    size_t len = km_stun_answer(answer, &request, &us);
    const km_udp_addr *right = refused == 0 ? &l.other : &l.server;
    const km_udp_addr *wrong = refused == 0 ? &l.server : &l.other;
    assert_false(km_stun_client_receive(&l.client, NOW, 1, wrong, answer, len));
    assert_true(km_stun_client_receive(&l.client, NOW, 1, right, answer, len));
    done_with(&l, 9, refused == 0 ? 0 : KM_ERR_REFUSED, &done);
    assert_int_equal(done.error, refused == 0 ? 0 : 420);
  }
}

static void hairpins(void **state) {
  (void)state;
  lab l;
  km_stun_done done;
  uint8_t answer[KM_STUN_MAX_ANSWER];
  begin(&l);
  const km_udp_addr outside = addr_of("203.0.113.5:4433");
  const km_stun_ask what = {.server = outside, .tag = 4, .socket = 1, .loops = true};
  assert_int_equal(km_stun_client_ask(&l.client, &what, NOW), 0);
  km_stun_out out = pull(&l, NOW);
  size_t len = answer_to(&out, "1.2.3.4:5", answer);
  assert_false(km_stun_client_receive(&l.client, NOW, 0, &outside, answer, len));
  assert_false(km_stun_client_receive(&l.client, NOW, 1, &outside, out.bytes, out.len));
  assert_true(km_stun_client_receive(&l.client, NOW + MS, 0, &l.other, out.bytes, out.len));
  done_with(&l, 4, 0, &done);
  assert_int_equal(done.rtt_ns, MS);
  assert_false(km_stun_client_receive(&l.client, NOW, 0, &l.other, out.bytes, out.len));
}

static void there_is_an_end_to_it(void **state) {
  (void)state;
  lab l;
  km_stun_done done;
  begin(&l);
  for (uint32_t i = 0; i < KM_STUN_CLIENT_MAX; i++) {
    ask(&l, i, NOW);
  }
  const km_stun_ask more = {.server = l.server};
  assert_int_equal(km_stun_client_ask(&l.client, &more, NOW), KM_ERR_LIMIT);
  km_stun_client_cancel(&l.client, 5);
  assert_int_equal(km_stun_client_ask(&l.client, &more, NOW), 0);
  for (uint32_t i = 0; i < KM_STUN_CLIENT_MAX; i++) {
    (void)pull(&l, NOW);
  }
  pull_nothing(&l, NOW);
  km_ts end = NOW + 39500 * MS;
  km_stun_out out;
  for (km_ts at = NOW; at < end; at = km_stun_client_deadline(&l.client)) {
    while (km_stun_client_pull(&l.client, at, &out)) {
    }
  }
  pull_nothing(&l, end);
  size_t count = 0;
  while (km_stun_client_take(&l.client, &done)) {
    assert_int_equal(done.code, KM_ERR_TIMEOUT);
    count++;
  }
  assert_int_equal(count, KM_STUN_CLIENT_MAX);
}

static void more_servers_than_it_remembers(void **state) {
  (void)state;
  lab l;
  km_stun_done done;
  begin(&l);
  for (uint8_t i = 0; i < KM_STUN_CLIENT_SERVERS + 3; i++) {
    l.server.ip[3] = i;
    ask(&l, i, NOW + i);
    km_stun_out out = pull(&l, NOW + i);
    assert_true(answered(&l, &out, NOW + i + MS, 0, &l.server));
    done_with(&l, i, 0, &done);
  }
  l.server.ip[3] = 2; /* made room */
  ask(&l, 1, NOW + KM_NS_PER_S);
  (void)pull(&l, NOW + KM_NS_PER_S);
  assert_int_equal(km_stun_client_deadline(&l.client), NOW + 1500 * MS);
  km_stun_client_cancel(&l.client, 1);
  l.server.ip[3] = 3;
  ask(&l, 2, NOW + KM_NS_PER_S);
  (void)pull(&l, NOW + KM_NS_PER_S);
  assert_int_equal(km_stun_client_deadline(&l.client), NOW + 1100 * MS);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_answer),
      cmocka_unit_test(silence),
      cmocka_unit_test(patience_of_the_callers_choice),
      cmocka_unit_test(the_measured_round_trip_counts),
      cmocka_unit_test(after_a_repetition_patience_grows),
      cmocka_unit_test(rto_has_bounds),
      cmocka_unit_test(only_the_one_who_was_asked_answers),
      cmocka_unit_test(nothing_is_answered_before_it_was_asked),
      cmocka_unit_test(errors),
      cmocka_unit_test(filter_tests),
      cmocka_unit_test(hairpins),
      cmocka_unit_test(there_is_an_end_to_it),
      cmocka_unit_test(more_servers_than_it_remembers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
