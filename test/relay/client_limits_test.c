/* The relay client when there is no room: full queues, memory and descriptors that run out. */
#include "test/relay/client_lab.h"

#include <sys/resource.h>
#include <unistd.h>

static km_id peer_id;

static void a_full_queue_may_find_the_connection_broken(void **state) {
  (void)state;
  lab_relay r = {.deaf = true};
  lab_client l = {0};
  char url[256];
  size_t sent = 0;
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, NULL, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
  LAB_WAIT_FOR(lab_is_up(&l));
  lab_fill_queue(&l, &sent);
  r.deaf = false;
  lab_relay_drop(&r);
  LAB_WAIT_FOR(l.states[KM_RELAY_CLIENT_CONNECTED] == 2);
  LAB_WAIT_FOR(l.writable > 0); /* the refused one is told of the new connection's room */
  assert_int_equal(r.datagrams, 0);
  lab_client_close(&l);
  lab_relay_close(&r);
}

static void a_full_queue_refuses_and_calls_back(void **state) {
  (void)state;
  lab_relay r = {.deaf = true};
  lab_client l = {0};
  char url[256];
  uint8_t data[30000];
  memset(data, 1, sizeof data);
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, NULL, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
  LAB_WAIT_FOR(lab_is_up(&l));
  size_t sent = 0;
  lab_fill_queue(&l, &sent);
  assert_int_equal(km_relay_client_send(l.c, &peer_id, 0, data, sizeof data, 1000), KM_ERR_AGAIN);
  for (int i = 0; i < 5; i++) {
    km_loop_run_nowait(lab_loop);
  }
  assert_int_equal(l.writable, 0);
  r.deaf = false;
  for (size_t i = 0; i < LAB_CONNS; i++) {
    if (r.conns[i].fd >= 0) {
      assert_int_equal(km_poll_set(r.conns[i].poll, KM_POLL_READ), 0);
    }
  }
  LAB_WAIT_FOR(l.writable > 0);
  LAB_WAIT_FOR(r.datagrams == sent); /* nothing that was taken is lost, in one piece each */
  assert_int_equal(r.datagram_bytes, sent * sizeof data);
  assert_int_equal(km_relay_client_send(l.c, &peer_id, 0, data, 1000, 1000), 0);
  LAB_WAIT_FOR(r.datagrams == sent + 1);
  lab_client_close(&l);
  lab_relay_close(&r);
}

static void a_queue_without_memory_is_full(void **state) {
  (void)state;
  test_env env;
  test_env_init(&env);
  lab_relay r = {.deaf = true};
  lab_client l = {0};
  char url[256];
  uint8_t data[60000] = {1};
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, &env.env, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
  LAB_WAIT_FOR(lab_is_up(&l));
  env.fail_after = 0;
  int rv = 0;
  for (int i = 0; i < 1000 && rv == 0; i++) { /* until the kernel takes no more */
    rv = km_relay_client_send(l.c, &peer_id, 0, data, sizeof data, 1200);
  }
  assert_int_equal(rv, KM_ERR_AGAIN);
  env.fail_after = -1;
  assert_int_equal(km_relay_client_send(l.c, &peer_id, 0, data, sizeof data, 1200), 0);
  r.deaf = false;
  lab_relay_hang(&r, false);
  LAB_WAIT_FOR(l.writable > 0);
  lab_client_close(&l);
  assert_int_equal(env.live, 0);
  lab_relay_close(&r);
}

/* --- memory and descriptors ------------------------------------------------------------------ */

static void gives_back_all_memory(void **state) {
  (void)state;
  test_env env;
  test_env_init(&env);
  lab_relay r = {.echo = true};
  lab_client l = {0};
  char url[256];
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, &env.env, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
  LAB_WAIT_FOR(km_relay_client_rtt(l.c) > 0);
  long live = env.live;
  uint8_t data[1200] = {1};
  for (unsigned i = 1; i <= 500; i++) {
    assert_int_equal(km_relay_client_send(l.c, &peer_id, 0, data, sizeof data, sizeof data), 0);
    LAB_WAIT_FOR(l.batches == i);
  }
  assert_int_equal(env.live, live); /* packets take none */
  lab_client_close(&l);
  assert_int_equal(env.live, 0);
  lab_relay_close(&r);
}

static void survives_want_of_memory(void **state) {
  (void)state;
  lab_relay r = {0};
  char url[256];
  km_secret_key *key;
  assert_int_equal(km_secret_key_generate(&key), 0);
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_url(url, "http", "127.0.0.1", r.port);
  bool done = false;
  for (long n = 0; !done; n++) {
    assert_true(n < 100);
    test_env env;
    test_env_init(&env);
    env.fail_after = n;
    const km_relay_clients_config config = {
        .env = &env.env, .loop = lab_loop, .key = key, .user_agent = "lab"};
    lab_client l = {0};
    const km_relay_client_callbacks cb = {.ctx = &l};
    km_errinfo err;
    int rv = km_relay_clients_new(&l.all, &config, &err);
    rv = rv == 0 ? km_relay_client_new(&l.c, l.all, url, &cb, &err) : rv;
    done = rv == 0;
    if (!done) {
      assert_true(rv == KM_ERR_NOMEM || rv == KM_ERR_SYSTEM);
    }
    km_relay_client_free(l.c);
    km_relay_clients_free(l.all);
    assert_int_equal(env.live, 0);
  }
  km_secret_key_free(key);
  lab_relay_close(&r);
}

/* Memory that runs out for a while costs attempts, nothing else. */
static void comes_back_when_there_is_memory_again(void **state) {
  (void)state;
  for (long n = 0; n < 12; n++) {
    test_env env;
    test_env_init(&env);
    lab_relay r = {.echo = true};
    lab_client l = {0};
    char url[256];
    lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
    lab_client_open(&l, &env.env, NULL);
    lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
    env.fail_after = n;
    for (int i = 0; i < 20; i++) {
      km_loop_run_once(lab_loop, 5);
    }
    env.fail_after = -1;
    km_relay_client_network_changed(l.c, NULL, NULL); /* drops the back-off */
    LAB_WAIT_FOR(km_relay_client_get_state(l.c) == KM_RELAY_CLIENT_CONNECTED &&
                 km_relay_client_rtt(l.c) > 0);
    lab_client_close(&l);
    assert_int_equal(env.live, 0);
    lab_relay_close(&r);
  }
}

/* The same with descriptors: `spare` of them are left. */
static void comes_back_when_there_are_descriptors_again(void **state) {
  (void)state;
  enum { FEW = 512 };
  struct rlimit all, few;
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &all), 0);
  few = (struct rlimit){.rlim_cur = FEW, .rlim_max = all.rlim_max};
  for (int spare = 0; spare < 6; spare++) {
    lab_relay r = {.echo = true};
    lab_client l = {0};
    char url[256];
    lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
    lab_client_open(&l, NULL, NULL);
    lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    int fill[FEW], filled = 0;
    while ((fill[filled] = dup(STDIN_FILENO)) >= 0) {
      filled++;
    }
    assert_true(filled > spare);
    for (int i = 0; i < spare; i++) {
      close(fill[--filled]);
    }
    for (int i = 0; i < 20; i++) {
      km_loop_run_once(lab_loop, 5);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &all), 0);
    while (filled > 0) {
      close(fill[--filled]);
    }
    km_relay_client_network_changed(l.c, NULL, NULL); /* drops the back-off */
    LAB_WAIT_FOR(km_relay_client_get_state(l.c) == KM_RELAY_CLIENT_CONNECTED &&
                 km_relay_client_rtt(l.c) > 0);
    lab_client_close(&l);
    lab_relay_close(&r);
  }
}

static void a_piece_without_memory_ends_the_connection(void **state) {
  (void)state;
  test_env env;
  test_env_init(&env);
  lab_relay r = {0};
  lab_client l = {0};
  char url[256];
  lab_relay_open(&r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, &env.env, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r.port));
  LAB_WAIT_FOR(km_relay_client_rtt(l.c) > 0);
  env.fail_after = 0;
  lab_relay_put(&r, "\x02\x02\x06x", 4); /* not final */
  km_ts end = km_clock_now() + 30 * KM_NS_PER_S;
  while (km_relay_client_get_state(l.c) == KM_RELAY_CLIENT_CONNECTED && km_clock_now() < end) {
    km_loop_run_once(lab_loop, 50);
  }
  env.fail_after = -1;
  LAB_WAIT_FOR(l.states[KM_RELAY_CLIENT_CONNECTED] == 2);
  lab_client_close(&l);
  assert_int_equal(env.live, 0);
  lab_relay_close(&r);
}

int main(void) {
  peer_id = lab_peer();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_full_queue_may_find_the_connection_broken),
      cmocka_unit_test(a_full_queue_refuses_and_calls_back),
      cmocka_unit_test(a_queue_without_memory_is_full),
      cmocka_unit_test(gives_back_all_memory),
      cmocka_unit_test(survives_want_of_memory),
      cmocka_unit_test(comes_back_when_there_is_memory_again),
      cmocka_unit_test(comes_back_when_there_are_descriptors_again),
      cmocka_unit_test(a_piece_without_memory_ends_the_connection),
  };
  return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
