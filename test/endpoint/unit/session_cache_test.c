/* endpoint/session_cache.c: what a dialling endpoint remembers of its peers. */
#include "test_env.h"

#include <sodium.h>
#include <stdio.h>

#include "endpoint/session_cache.h"

static int start_sodium(void **state) {
  (void)state;
  return sodium_init() < 0 ? -1 : 0;
}

static km_id peer_of(uint32_t n) {
  km_id id = {{0}};
  memcpy(id.bytes, &n, sizeof n);
  return id;
}

static void put(km_session_cache *cache, uint32_t peer, const char *alpn, const char *ticket,
                const char *params) {
  km_id id = peer_of(peer);
  km_session_cache_put_ticket(cache, &id, alpn, (const uint8_t *)ticket, strlen(ticket),
                              (const uint8_t *)params, strlen(params));
}

/* Takes the ticket and says whether it and its parameters are the ones expected; NULL: none. */
static void assert_takes(test_env *t, km_session_cache *cache, uint32_t peer, const char *alpn,
                         const char *ticket, const char *params) {
  km_id id = peer_of(peer);
  km_session_bytes got = {NULL, 0}, got_params = {NULL, 0};
  bool there = km_session_cache_take_ticket(cache, &id, alpn, &got, &got_params);
  assert_int_equal(there, ticket != NULL);
  if (ticket == NULL) {
    assert_null(got.ptr);
    return;
  }
  assert_int_equal(got.len, strlen(ticket));
  assert_memory_equal(got.ptr, ticket, got.len);
  assert_int_equal(got_params.len, strlen(params));
  if (got_params.len > 0) {
    assert_memory_equal(got_params.ptr, params, got_params.len);
  }
  km_env_free(&t->env, got.ptr);
  km_env_free(&t->env, got_params.ptr);
}

static bool take_token(test_env *t, km_session_cache *cache, uint32_t peer, const char *alpn) {
  km_id id = peer_of(peer);
  km_session_bytes got = {NULL, 0};
  bool there = km_session_cache_take_token(cache, &id, alpn, &got);
  assert_int_equal(there, got.ptr != NULL);
  km_env_free(&t->env, got.ptr);
  return there;
}

static void new_reports_lack_of_memory(void **state) {
  (void)state;
  test_env t;
  km_session_cache *cache = NULL;
  test_env_init(&t, 1);
  t.fail_after = 0;
  assert_int_equal(km_session_cache_new(&cache, &t.env), KM_ERR_NOMEM);
  assert_null(cache);
  km_session_cache_free(NULL);
}

static void a_ticket_is_taken_once(void **state) {
  (void)state;
  test_env t;
  km_session_cache *cache;
  test_env_init(&t, 1);
  assert_int_equal(km_session_cache_new(&cache, &t.env), 0);
  assert_takes(&t, cache, 1, "a", NULL, NULL);
  put(cache, 1, "a", "ticket", "params");
  assert_takes(&t, cache, 1, "b", NULL, NULL); /* another protocol */
  assert_takes(&t, cache, 2, "a", NULL, NULL); /* another peer */
  assert_takes(&t, cache, 1, "a", "ticket", "params");
  assert_takes(&t, cache, 1, "a", NULL, NULL);
  put(cache, 1, "a", "bare", "");
  assert_takes(&t, cache, 1, "a", "bare", "");
  km_session_cache_free(cache);
  assert_int_equal(t.live, 0);
}

static void the_newest_replaces(void **state) {
  (void)state;
  test_env t;
  km_session_cache *cache;
  test_env_init(&t, 1);
  assert_int_equal(km_session_cache_new(&cache, &t.env), 0);
  put(cache, 1, "a", "old", "old params");
  put(cache, 1, "a", "new", "new params");
  assert_takes(&t, cache, 1, "a", "new", "new params");
  assert_takes(&t, cache, 1, "a", NULL, NULL);
  put(cache, 1, "a", "left", "behind"); /* freed with the cache */
  km_session_cache_free(cache);
  assert_int_equal(t.live, 0);
}

static void tokens_live_beside_tickets(void **state) {
  (void)state;
  test_env t;
  km_session_cache *cache;
  km_id id = peer_of(1);
  km_session_bytes got = {NULL, 0};
  test_env_init(&t, 1);
  assert_int_equal(km_session_cache_new(&cache, &t.env), 0);
  assert_false(take_token(&t, cache, 1, "a"));
  km_session_cache_put_token(cache, &id, "a", (const uint8_t *)"token", 5);
  assert_takes(&t, cache, 1, "a", NULL, NULL);
  put(cache, 1, "a", "ticket", "params");
  assert_true(km_session_cache_take_token(cache, &id, "a", &got));
  assert_int_equal(got.len, 5);
  assert_memory_equal(got.ptr, "token", 5);
  km_env_free(&t.env, got.ptr);
  assert_false(take_token(&t, cache, 1, "a"));
  assert_takes(&t, cache, 1, "a", "ticket", "params");
  km_session_cache_free(cache);
  assert_int_equal(t.live, 0);
}

static void too_long_is_not_kept(void **state) {
  (void)state;
  test_env t;
  km_session_cache *cache;
  km_id id = peer_of(1);
  static uint8_t huge[KM_SESSION_MAX_BYTES + 1];
  test_env_init(&t, 1);
  assert_int_equal(km_session_cache_new(&cache, &t.env), 0);
  put(cache, 1, "a", "old", "old params");
  km_session_cache_put_ticket(cache, &id, "a", huge, sizeof huge, huge, 1);
  assert_takes(&t, cache, 1, "a", NULL, NULL);
  km_session_cache_put_ticket(cache, &id, "a", huge, 1, huge, sizeof huge);
  assert_takes(&t, cache, 1, "a", NULL, NULL); /* never a ticket without its parameters */
  km_session_cache_put_token(cache, &id, "a", huge, sizeof huge);
  assert_false(take_token(&t, cache, 1, "a"));
  km_session_cache_put_ticket(cache, &id, "a", huge, sizeof huge - 1, huge, sizeof huge - 1);
  km_session_bytes ticket, params;
  assert_true(km_session_cache_take_ticket(cache, &id, "a", &ticket, &params));
  assert_int_equal(ticket.len, KM_SESSION_MAX_BYTES);
  assert_int_equal(params.len, KM_SESSION_MAX_BYTES);
  km_env_free(&t.env, ticket.ptr);
  km_env_free(&t.env, params.ptr);
  km_session_cache_free(cache);
  assert_int_equal(t.live, 0);
}

static void without_memory_nothing_is_kept(void **state) {
  (void)state;
  test_env t;
  km_session_cache *cache;
  km_id id = peer_of(1);
  test_env_init(&t, 1);
  assert_int_equal(km_session_cache_new(&cache, &t.env), 0);
  for (long n = 0; n < 2; n++) {
    t.fail_after = n;
    put(cache, 1, "a", "ticket", "params");
    t.fail_after = -1;
    assert_takes(&t, cache, 1, "a", NULL, NULL);
  }
  t.fail_after = 0;
  km_session_cache_put_token(cache, &id, "a", (const uint8_t *)"token", 5);
  t.fail_after = -1;
  assert_false(take_token(&t, cache, 1, "a"));
  km_session_cache_free(cache);
  assert_int_equal(t.live, 0);
}

static void the_one_stored_longest_ago_goes(void **state) {
  (void)state;
  test_env t;
  km_session_cache *cache;
  test_env_init(&t, 1);
  assert_int_equal(km_session_cache_new(&cache, &t.env), 0);
  for (uint32_t i = 0; i < KM_SESSION_CACHE_MAX; i++) {
    put(cache, i, "a", "ticket", "params");
  }
  put(cache, 0, "a", "fresh", "params"); /* now 1 is the oldest */
  put(cache, 1000, "a", "one more", "params");
  assert_takes(&t, cache, 1, "a", NULL, NULL);
  assert_takes(&t, cache, 0, "a", "fresh", "params");
  assert_takes(&t, cache, 2, "a", "ticket", "params");
  assert_takes(&t, cache, 1000, "a", "one more", "params");
  km_session_cache_free(cache);
  assert_int_equal(t.live, 0);
}

enum { PEERS = 400, STEPS = 20000 };

typedef struct model_entry {
  int stored; /* step, -1: not in the cache */
  bool ticket, token;
  char text[16];
} model_entry;

/* Marks `peer` as stored at `step`; drops the one stored longest ago when there are too many. */
static void model_store(model_entry *m, size_t peer, int step) {
  size_t count = 0, oldest = PEERS;
  for (size_t i = 0; i < PEERS; i++) {
    count += m[i].stored >= 0;
    if (m[i].stored >= 0 && (oldest == PEERS || m[i].stored < m[oldest].stored)) {
      oldest = i;
    }
  }
  if (m[peer].stored < 0 && count == KM_SESSION_CACHE_MAX) {
    m[oldest] = (model_entry){.stored = -1};
  }
  m[peer].stored = step;
}

static void behaves_like_a_sorted_array(void **state) {
  (void)state;
  test_env t;
  test_rng rng = {.state = 12};
  km_session_cache *cache;
  static model_entry m[PEERS];
  test_env_init(&t, 1);
  assert_int_equal(km_session_cache_new(&cache, &t.env), 0);
  for (size_t i = 0; i < PEERS; i++) {
    m[i].stored = -1;
  }
  for (int step = 0; step < STEPS; step++) {
    uint32_t i = (uint32_t)test_rng_below(&rng, PEERS);
    km_id id = peer_of(i / 2);
    const char *alpn = i % 2 == 0 ? "even" : "odd";
    switch (test_rng_below(&rng, 4)) {
    case 0:
      model_store(m, i, step);
      m[i].ticket = true;
      snprintf(m[i].text, sizeof m[i].text, "%d", step);
      put(cache, i / 2, alpn, m[i].text, m[i].text);
      break;
    case 1:
      model_store(m, i, step);
      m[i].token = true;
      km_session_cache_put_token(cache, &id, alpn, (const uint8_t *)"token", 5);
      break;
    case 2:
      assert_takes(&t, cache, i / 2, alpn, m[i].ticket ? m[i].text : NULL, m[i].text);
      m[i].ticket = false;
      break;
    default:
      assert_int_equal(take_token(&t, cache, i / 2, alpn), m[i].token);
      m[i].token = false;
    }
  }
  km_session_cache_free(cache);
  assert_int_equal(t.live, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(new_reports_lack_of_memory),
      cmocka_unit_test(a_ticket_is_taken_once),
      cmocka_unit_test(the_newest_replaces),
      cmocka_unit_test(tokens_live_beside_tickets),
      cmocka_unit_test(too_long_is_not_kept),
      cmocka_unit_test(without_memory_nothing_is_kept),
      cmocka_unit_test(the_one_stored_longest_ago_goes),
      cmocka_unit_test(behaves_like_a_sorted_array),
  };
  return cmocka_run_group_tests(tests, start_sodium, NULL);
}
