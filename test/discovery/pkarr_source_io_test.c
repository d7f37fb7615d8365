/* Publishing at PKARR relays and looking up there, over HTTP, with relays that fail and lie. */
#include <keymesh/discovery.h>

#include <sys/stat.h>
#include <unistd.h>

#include "discovery/http_client_io.h"
#include "discovery/pkarr.h"
#include "test/discovery/net_lab.h"

#define RELAY_URL "https://relay.test./"
#define HOUR_US (UINT64_C(3600) * 1000000)

static lab_peer server;
static km_secret_key *key;
static km_id id;
static unsigned place; /* each test has its own places at the server */

static int start_server(void **state) {
  (void)state;
  lab_peer_start(&server, "hostile_http.py", NULL);
  return 0;
}

static int stop_server(void **state) {
  (void)state;
  lab_peer_stop(&server);
  return 0;
}

static int start(void **state) {
  static const uint8_t seed[KM_SECRET_KEY_BYTES] = "a key of the tests of discovery";
  place++;
  (void)lab_peer_lines(&server, "");
  if (km_secret_key_from_bytes(&key, seed) != 0) {
    return -1;
  }
  km_secret_key_id(key, &id);
  return lab_setup(state);
}

static int stop(void **state) {
  km_secret_key_free(key);
  return lab_teardown(state);
}

/* --- helpers --------------------------------------------------------------------------------- */

/* "http://127.0.0.1:port/store-a-3" */
static const char *at(const char *mode) {
  static char urls[8][128];
  static unsigned next;
  char *url = urls[next++ % COUNT_OF(urls)];
  (void)snprintf(url, sizeof urls[0], "http://127.0.0.1:%d/%s-%u", server.port, mode, place);
  return url;
}

static unsigned puts_at(const char *mode) {
  char start_of[64];
  (void)snprintf(start_of, sizeof start_of, "put %s-%u/", mode, place);
  return lab_peer_lines(&server, start_of);
}

static km_discovery *new_discovery(bool with_key, const char *state_file) {
  km_discovery *d;
  const km_discovery_options options = {
      .size = sizeof options, .secret_key = with_key ? key : NULL, .state_file = state_file};
  assert_int_equal(km_discovery_new(&d, lab_loop, &options, NULL), 0);
  return d;
}

/* `urls` end with NULL. */
static void add(km_discovery *d, km_pkarr_options options, const char *const *urls) {
  options.size = sizeof options;
  options.relays = urls;
  while (urls[options.relay_count] != NULL) {
    options.relay_count++;
  }
  km_errinfo err = {0};
  if (km_discovery_add_pkarr(d, &options, &err) != 0) {
    fail_msg("%s", err.text);
  }
}

static km_discovery *new_publisher(const char *url, const char *state_file) {
  km_discovery *d = new_discovery(true, state_file);
  add(d, (km_pkarr_options){.no_resolve = true}, (const char *[]){url, NULL});
  return d;
}

static void publish(km_discovery *d, const char *relay, const char *udp, const char *user_data) {
  km_addr *addr;
  km_udp_addr parsed;
  assert_int_equal(km_addr_new(&addr, &id), 0);
  if (relay != NULL) {
    assert_int_equal(km_addr_add_relay(addr, relay, strlen(relay), NULL), 0);
  }
  if (udp != NULL) {
    assert_int_equal(km_udp_addr_parse(&parsed, udp, strlen(udp), NULL), 0);
    assert_int_equal(km_addr_add_udp(addr, &parsed), 0);
  }
  const km_peer_info info = {.size = sizeof info, .addr = addr, .user_data = user_data};
  assert_int_equal(km_discovery_publish(d, &info, NULL), 0);
  km_addr_free(addr);
}

static km_publish_state state_of(const km_discovery *d, size_t index) {
  km_publish_state s = {.size = sizeof s};
  assert_int_equal(km_discovery_publish_state(d, index, &s), 0);
  return s;
}

typedef struct seen {
  unsigned found, done;
  size_t relays, udps;
  char user_data[KM_USER_DATA_MAX + 1];
  int64_t published_ms;
  uint32_t valid_s;
  bool proven;
  km_errinfo err;
} seen;

static void on_found(void *ctx, km_lookup *lookup, const km_found *found) {
  (void)lookup;
  seen *s = ctx;
  s->found++;
  assert_string_equal(found->source, "pkarr");
  assert_true(km_id_equal(km_addr_id(found->addr), &id));
  assert_true(found->published_ms >= s->published_ms); /* never back in time */
  s->relays = km_addr_relay_count(found->addr);
  s->udps = km_addr_udp_count(found->addr);
  (void)snprintf(s->user_data, sizeof s->user_data, "%s",
                 found->user_data != NULL ? found->user_data : "");
  s->published_ms = found->published_ms;
  s->valid_s = found->valid_s;
  s->proven = found->proven;
}

static void on_done(void *ctx, km_lookup *lookup, size_t found, const km_errinfo *err) {
  (void)lookup;
  (void)found;
  seen *s = ctx;
  s->done++;
  s->err = *err;
}

static const km_lookup_callbacks callbacks = {
    .size = sizeof callbacks, .on_found = on_found, .on_done = on_done};

static seen look_up(km_discovery *d) {
  seen s = {0};
  km_lookup *lookup;
  assert_int_equal(km_discovery_lookup(d, &lookup, &id, &callbacks, &s, NULL), 0);
  LAB_UNTIL(s.done > 0);
  return s;
}

/* The same with a km_discovery of its own. */
static seen look_up_at(const char *const *urls) {
  km_discovery *d = new_discovery(false, NULL);
  add(d, (km_pkarr_options){.no_publish = true}, urls);
  seen s = look_up(d);
  km_discovery_free(d);
  return s;
}

static void on_stored(void *ctx, const km_http_answer *answer, const km_errinfo *err) {
  (void)err;
  *(int *)ctx = answer->status;
}

/* Puts bytes there that nobody checked. */
static void store(const char *url, const uint8_t *bytes, size_t len) {
  km_http_client *client;
  km_http_request *request;
  char whole[256], z32[KM_ID_TEXT_CAP];
  int status = 0;
  (void)km_id_format(&id, KM_ID_Z32, z32, sizeof z32);
  (void)snprintf(whole, sizeof whole, "%s/%s", url, z32);
  const km_http_client_config config = {.env = &km_env_system, .loop = lab_loop};
  const km_http_request_config put = {.url = whole,
                                      .method = KM_HTTP_PUT,
                                      .body = bytes,
                                      .body_len = len,
                                      .timeout_ns = 20 * KM_NS_PER_S};
  assert_int_equal(km_http_client_new(&client, &config, NULL), 0);
  assert_int_equal(km_http_request_new(&request, client, &put, on_stored, &status, NULL), 0);
  LAB_UNTIL(status != 0);
  assert_int_equal(status, 204);
  km_http_client_free(client);
}

typedef struct fetched {
  uint8_t *bytes;
  size_t len;
  bool done;
} fetched;

static void on_fetched(void *ctx, const km_http_answer *answer, const km_errinfo *err) {
  fetched *f = ctx;
  assert_int_equal(err->code, 0);
  f->done = true;
  f->len = answer->len;
  memcpy(f->bytes, answer->body, answer->len);
}

/* The packet as it is there. */
static size_t fetch(const char *url, uint8_t ret[KM_PKARR_PAYLOAD_MAX]) {
  km_http_client *client;
  km_http_request *request;
  char whole[256], z32[KM_ID_TEXT_CAP];
  fetched f = {.bytes = ret};
  (void)km_id_format(&id, KM_ID_Z32, z32, sizeof z32);
  (void)snprintf(whole, sizeof whole, "%s/%s", url, z32);
  const km_http_client_config config = {.env = &km_env_system, .loop = lab_loop};
  const km_http_request_config get = {
      .url = whole, .max_answer = KM_PKARR_PAYLOAD_MAX, .timeout_ns = 20 * KM_NS_PER_S};
  assert_int_equal(km_http_client_new(&client, &config, NULL), 0);
  assert_int_equal(km_http_request_new(&request, client, &get, on_fetched, &f, NULL), 0);
  LAB_UNTIL(f.done);
  km_http_client_free(client);
  return f.len;
}

static uint64_t now_us(void) {
  return (uint64_t)km_clock_wall().unix_ns / 1000;
}

static size_t make_packet(uint8_t ret[KM_PKARR_PAYLOAD_MAX], uint64_t timestamp_us,
                          const char *user_data) {
  km_addr *addr;
  km_pkarr packet;
  assert_int_equal(km_addr_new(&addr, &id), 0);
  assert_int_equal(km_addr_add_relay(addr, RELAY_URL, strlen(RELAY_URL), NULL), 0);
  const km_peer_info info = {.size = sizeof info, .addr = addr, .user_data = user_data};
  assert_int_equal(km_pkarr_from_info(&packet, key, timestamp_us, &info, false, 30, NULL), 0);
  km_addr_free(addr);
  return km_pkarr_write(&packet, ret);
}

static void store_packet(const char *url, uint64_t timestamp_us, const char *user_data) {
  uint8_t payload[KM_PKARR_PAYLOAD_MAX];
  size_t len = make_packet(payload, timestamp_us, user_data);
  store(url, payload, len);
}

/* --- publishing ------------------------------------------------------------------------------ */

static void what_is_published_is_found(void **state) {
  (void)state;
  const char *const urls[] = {at("store-a"), at("store-b"), NULL};
  int64_t before_ms = km_clock_wall().unix_ns / 1000000;
  km_discovery *d = new_discovery(true, NULL);
  add(d, (km_pkarr_options){0}, urls);
  assert_false(state_of(d, 0).wanted);
  publish(d, RELAY_URL, "192.0.2.1:4433", "hello");
  LAB_UNTIL(state_of(d, 0).done && state_of(d, 1).done);
  km_publish_state s = state_of(d, 1);
  assert_string_equal(s.source, "pkarr");
  assert_string_equal(s.where, urls[1]);
  assert_true(s.wanted);
  assert_int_equal(s.failures, 0);
  assert_int_equal(s.error.code, 0);
  km_publish_state none = {.size = sizeof none};
  assert_int_equal(km_discovery_publish_state(d, 2, &none), KM_ERR_NOT_FOUND);
  for (size_t i = 0; i < 2; i++) {
    seen found = look_up_at((const char *[]){urls[i], NULL});
    assert_int_equal(found.found, 1);
    assert_int_equal(found.relays, 1);
    assert_int_equal(found.udps, 0); /* nobody said that the world may know */
    assert_string_equal(found.user_data, "hello");
    assert_true(found.proven);
    assert_int_equal(found.valid_s, 30);
    assert_in_range(found.published_ms, before_ms, km_clock_wall().unix_ns / 1000000);
  }
  km_discovery_free(d);
}

static void addresses_are_published_by_choice(void **state) {
  (void)state;
  const char *const urls[] = {at("store"), NULL};
  km_discovery *d = new_discovery(true, NULL);
  add(d, (km_pkarr_options){.publish_direct = true, .ttl_s = 77}, urls);
  publish(d, NULL, "192.0.2.1:4433", NULL);
  LAB_UNTIL(state_of(d, 0).done);
  seen found = look_up(d);
  assert_int_equal(found.udps, 1);
  assert_int_equal(found.relays, 0);
  assert_int_equal(found.valid_s, 77);
  km_discovery_free(d);
}

static void changes_are_published_and_nothing_else(void **state) {
  (void)state;
  const char *const urls[] = {at("store"), NULL};
  km_discovery *d = new_discovery(true, NULL);
  add(d, (km_pkarr_options){0}, urls);
  publish(d, RELAY_URL, NULL, "one");
  LAB_UNTIL(state_of(d, 0).done);
  assert_int_equal(puts_at("store"), 1);
  publish(d, RELAY_URL, "192.0.2.7:7", "one"); /* which is filtered out */
  lab_run_ms(1500);
  assert_int_equal(puts_at("store"), 0);
  assert_true(state_of(d, 0).done);
  for (unsigned i = 0; i < 20; i++) {
    char text[8];
    (void)snprintf(text, sizeof text, "%u", i);
    publish(d, RELAY_URL, NULL, text);
    (void)km_loop_run_once(lab_loop, 1);
  }
  LAB_UNTIL(state_of(d, 0).done);
  assert_in_range(puts_at("store"), 1, 3);
  seen found = look_up(d);
  assert_string_equal(found.user_data, "19");
  km_discovery_free(d);
}

/* iroh publishes an empty packet then, too; and nothing where there never was anything. */
static void nothing_to_say_is_not_said_first(void **state) {
  (void)state;
  km_discovery *d = new_publisher(at("store"), NULL);
  publish(d, NULL, NULL, NULL);
  lab_run_ms(300);
  assert_int_equal(puts_at("store"), 0);
  assert_false(state_of(d, 0).wanted);
  publish(d, NULL, "192.0.2.1:1", NULL);
  LAB_UNTIL(state_of(d, 0).done);
  assert_int_equal(puts_at("store"), 1);
  seen found = look_up_at((const char *[]){at("store"), NULL});
  assert_int_equal(found.relays + found.udps, 0);
  km_discovery_free(d);
}

static void withdrawn_is_no_longer_published(void **state) {
  (void)state;
  km_discovery *d = new_publisher(at("store"), NULL);
  publish(d, RELAY_URL, NULL, NULL);
  LAB_UNTIL(state_of(d, 0).wanted);
  assert_int_equal(km_discovery_publish(d, NULL, NULL), 0);
  LAB_UNTIL(!state_of(d, 0).wanted);
  lab_run_ms(300);
  assert_false(state_of(d, 0).done);
  km_discovery_free(d);
}

static void failures_are_told_and_repeated(void **state) {
  (void)state;
  km_discovery *d = new_publisher(at("broken"), NULL);
  publish(d, RELAY_URL, NULL, NULL);
  LAB_UNTIL(state_of(d, 0).failures == 1);
  km_publish_state s = state_of(d, 0);
  assert_false(s.done);
  assert_int_equal(s.error.code, KM_ERR_SERVER_HTTP);
  assert_int_equal(s.error.peer_code, 500);
  assert_non_null(strstr(s.error.text, "500"));
  LAB_UNTIL(state_of(d, 0).failures == 2);
  LAB_UNTIL(state_of(d, 0).done);
  assert_int_equal(state_of(d, 0).failures, 0);
  assert_int_equal(state_of(d, 0).error.code, 0);
  km_discovery_free(d);
}

static void a_relay_that_is_busy_is_left_alone(void **state) {
  (void)state;
  km_discovery *d = new_publisher(at("limit"), NULL);
  publish(d, RELAY_URL, NULL, NULL);
  LAB_UNTIL(state_of(d, 0).failures == 1);
  km_ts refused = km_clock_now();
  publish(d, RELAY_URL, NULL, "a change");
  LAB_UNTIL(state_of(d, 0).done);
  assert_true(km_clock_now() - refused >= 1900 * KM_NS_PER_MS);
  km_discovery_free(d);
}

static void a_relay_that_is_away_does_not_hold_up_others(void **state) {
  (void)state;
  const char *const urls[] = {"http://127.0.0.1:1", at("silent"), at("store"), NULL};
  km_discovery *d = new_discovery(true, NULL);
  add(d, (km_pkarr_options){0}, urls);
  publish(d, RELAY_URL, NULL, NULL);
  LAB_UNTIL(state_of(d, 2).done);
  LAB_UNTIL(state_of(d, 0).failures > 0);
  assert_int_equal(state_of(d, 0).error.code, KM_ERR_SERVER_UNREACHABLE);
  assert_false(state_of(d, 1).done);
  km_discovery_free(d); /* with requests under way */
}

/* Somebody else has the key, or our clock went back: what the relay has decides. */
static void timestamps_follow_what_the_relay_has(void **state) {
  (void)state;
  char folder[] = "/tmp/km-pkarr-XXXXXX", file[64];
  assert_non_null(mkdtemp(folder));
  (void)snprintf(file, sizeof file, "%s/state", folder);
  uint64_t future = now_us() + HOUR_US;
  store_packet(at("newest"), future, "from the future");
  km_discovery *d = new_publisher(at("newest"), file); /* knows nothing: asks first */
  publish(d, RELAY_URL, NULL, "one");
  LAB_UNTIL(state_of(d, 0).done);
  assert_int_equal(puts_at("newest"), 2); /* ours and the one before */
  seen s = look_up_at((const char *[]){at("newest"), NULL});
  assert_string_equal(s.user_data, "one");
  assert_true(s.published_ms >= (int64_t)(future / 1000));
  km_discovery_free(d);

  store_packet(at("newest"), future + HOUR_US, "from farther away");
  d = new_publisher(at("newest"), file); /* has published before: does not ask, is refused */
  publish(d, RELAY_URL, NULL, "two");
  LAB_UNTIL(state_of(d, 0).done);
  assert_int_equal(state_of(d, 0).error.code, 0);
  assert_int_equal(puts_at("newest"), 3);
  s = look_up_at((const char *[]){at("newest"), NULL});
  assert_string_equal(s.user_data, "two");
  assert_true(s.published_ms >= (int64_t)((future + HOUR_US) / 1000));
  km_discovery_free(d);
  char command[128];
  (void)snprintf(command, sizeof command, "rm -r %s", folder);
  assert_int_equal(system(command), 0);
}

/* --- looking up ------------------------------------------------------------------------------ */

static void what_is_not_there_is_not_found(void **state) {
  (void)state;
  seen s = look_up_at((const char *[]){at("store-a"), at("store-b"), NULL});
  assert_int_equal(s.found, 0);
  assert_int_equal(s.err.code, KM_ERR_NOT_FOUND);
  s = look_up_at((const char *[]){at("store-a"), "http://127.0.0.1:1/x", NULL});
  assert_int_equal(s.err.code, KM_ERR_SERVER_UNREACHABLE);
}

static void lies_are_refused(void **state) {
  (void)state;
  uint8_t payload[KM_PKARR_PAYLOAD_MAX + 1] = {0};
  size_t len = make_packet(payload, now_us(), "true");
  const struct {
    const char *what;
    size_t change, len;
    int code;
  } cases[] = {
      {"a wrong signature", 5, len, KM_ERR_BAD_PACKET},
      {"another time", 70, len, KM_ERR_BAD_PACKET},
      {"another message", len - 1, len, KM_ERR_BAD_PACKET},
      {"cut", 0, len - 1, KM_ERR_BAD_PACKET},
      {"nothing but the header", 0, 72, KM_ERR_BAD_PACKET},
      {"half of the header", 0, 36, KM_ERR_BAD_PACKET},
      {"empty", 0, 0, KM_ERR_BAD_PACKET},
      {"too long", 0, sizeof payload, KM_ERR_LIMIT},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    uint8_t bad[sizeof payload];
    memcpy(bad, payload, sizeof bad);
    bad[cases[i].change] ^= cases[i].change != 0;
    store(at("store"), bad, cases[i].len);
    seen s = look_up_at((const char *[]){at("store"), NULL});
    if (s.found != 0 || s.err.code != cases[i].code) {
      fail_msg("%s: %u, %d %s", cases[i].what, s.found, s.err.code, s.err.text);
    }
  }
  store(at("store"), payload, len);
  assert_int_equal(look_up_at((const char *[]){at("store"), NULL}).found, 1);
}

static void older_packets_than_known_are_refused(void **state) {
  (void)state;
  uint64_t now = now_us();
  const char *const urls[] = {at("store"), NULL};
  km_discovery *d = new_discovery(false, NULL);
  add(d, (km_pkarr_options){.no_publish = true}, urls);
  store_packet(at("store"), now, "new");
  assert_string_equal(look_up(d).user_data, "new");
  store_packet(at("store"), now - 1, "old");
  seen s = look_up(d);
  assert_int_equal(s.found, 0);
  assert_int_equal(s.err.code, KM_ERR_STALE_PACKET);
  store_packet(at("store"), now, "new");
  assert_int_equal(look_up(d).found, 1); /* as old as the known one is fine */
  km_discovery_free(d);
}

static void older_packets_are_refused_after_a_restart(void **state) {
  (void)state;
  uint64_t now = now_us();
  char dir[] = "/tmp/km-pkarr-XXXXXX", file[64];
  assert_non_null(mkdtemp(dir));
  (void)snprintf(file, sizeof file, "%s/state.db", dir);
  const char *const urls[] = {at("store"), NULL};
  for (int round = 0; round < 2; round++) {
    km_discovery *d = new_discovery(false, file);
    add(d, (km_pkarr_options){.no_publish = true}, urls);
    store_packet(at("store"), round == 0 ? now : now - 1, round == 0 ? "new" : "old");
    seen s = look_up(d);
    assert_int_equal(s.found, round == 0 ? 1 : 0);
    assert_int_equal(s.err.code, round == 0 ? 0 : KM_ERR_STALE_PACKET);
    km_discovery_free(d);
  }
  assert_int_equal(unlink(file), 0);
  assert_int_equal(rmdir(dir), 0);
}

/* Publishes at two relays; when the one that a reader heard last is gone, the other will do. */
static void any_of_several_relays_will_do(void **state) {
  (void)state;
  const char *const urls[] = {at("store-a"), at("store-b"), NULL};
  km_discovery *d = new_discovery(true, NULL);
  add(d, (km_pkarr_options){.no_resolve = true}, urls);
  publish(d, RELAY_URL, NULL, "hello");
  LAB_UNTIL(state_of(d, 0).done && state_of(d, 1).done);
  for (size_t first = 0; first < 2; first++) {
    int64_t published_ms = 0;
    for (size_t i = 0; i < 2; i++) {
      seen s = look_up_at((const char *[]){urls[first ^ i], NULL});
      assert_int_equal(s.found, 1);
      assert_true(i == 0 || s.published_ms == published_ms);
      published_ms = s.published_ms;
    }
  }
  publish(d, RELAY_URL, NULL, "again");
  LAB_UNTIL(state_of(d, 0).done && state_of(d, 1).done);
  uint8_t bytes[2][KM_PKARR_PAYLOAD_MAX];
  size_t len[2];
  for (size_t i = 0; i < 2; i++) {
    len[i] = fetch(urls[i], bytes[i]);
    assert_true(len[i] > 100);
  }
  assert_int_equal(len[0], len[1]);
  assert_memory_equal(bytes[0], bytes[1], len[0]); /* signed once */
  km_discovery_free(d);
}

/* Whatever it says besides, it has the packet. */
static void a_relay_may_talk(void **state) {
  (void)state;
  km_discovery *d = new_publisher(at("talk"), NULL);
  publish(d, RELAY_URL, NULL, "hello");
  LAB_UNTIL(state_of(d, 0).done);
  assert_int_equal(state_of(d, 0).failures, 0);
  km_discovery_free(d);
}

static void the_newest_of_several_relays_wins(void **state) {
  (void)state;
  uint64_t now = now_us();
  const char *const urls[] = {at("store-a"), at("store-b"), at("store-c"), NULL};
  store_packet(urls[0], now, "new");
  store_packet(urls[1], now - HOUR_US, "old");
  store_packet(urls[2], now, "new");
  for (unsigned i = 0; i < 10; i++) {
    seen s = look_up_at(urls);
    assert_in_range(s.found, 1, 2); /* on_found has checked the order */
    assert_string_equal(s.user_data, "new");
    assert_int_equal(s.err.code, 0);
  }
}

static void a_slow_relay_does_not_delay_answers(void **state) {
  (void)state;
  const char *const urls[] = {at("silent"), at("store"), NULL};
  store_packet(at("store"), now_us(), "quick");
  km_discovery *d = new_discovery(false, NULL);
  km_lookup *lookup;
  seen s = {0};
  add(d, (km_pkarr_options){.no_publish = true, .timeout_ms = 1000}, urls);
  assert_int_equal(km_discovery_lookup(d, &lookup, &id, &callbacks, &s, NULL), 0);
  LAB_UNTIL(s.found > 0);
  assert_int_equal(s.done, 0);
  LAB_UNTIL(s.done > 0);
  km_discovery_free(d);
}

static void look_ups_end_when_told(void **state) {
  (void)state;
  const char *const urls[] = {at("silent"), at("store"), NULL};
  km_discovery *d = new_discovery(false, NULL);
  km_lookup *lookup;
  seen s = {0};
  add(d, (km_pkarr_options){.no_publish = true}, urls);
  for (unsigned turns = 0; turns < 10; turns++) {
    assert_int_equal(km_discovery_lookup(d, &lookup, &id, &callbacks, &s, NULL), 0);
    for (unsigned i = 0; i < turns; i++) {
      (void)km_loop_run_once(lab_loop, 2);
    }
    km_lookup_cancel(lookup);
  }
  assert_int_equal(km_discovery_lookup(d, &lookup, &id, &callbacks, &s, NULL), 0);
  lab_run_ms(20);
  km_discovery_free(d);
  assert_int_equal(s.done, 0);
}

static void options_are_checked(void **state) {
  (void)state;
  static const char *const nine[9] = {"http://a/", "http://a/", "http://a/",
                                      "http://a/", "http://a/", "http://a/",
                                      "http://a/", "http://a/", "http://a/"};
  static const char *const bad[] = {
      "", "ftp://a/", "https://", "https://a/?b=c", "https://u@a/", "https://a/#b", NULL};
  km_discovery *d = new_discovery(true, NULL);
  km_errinfo err;
  assert_int_equal(km_discovery_add_pkarr(NULL, NULL, &err), KM_ERR_INVALID);
  assert_true(strlen(err.text) > 10);
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    const km_pkarr_options o = {.size = sizeof o, .relays = &bad[i], .relay_count = 1};
    assert_int_equal(km_discovery_add_pkarr(d, &o, &err), KM_ERR_INVALID);
    assert_true(strlen(err.text) > 10);
  }
  const struct {
    km_pkarr_options o;
    int code;
  } cases[] = {
      {{.size = sizeof(km_pkarr_options), .relays = nine, .relay_count = 9}, KM_ERR_LIMIT},
      {{.size = sizeof(km_pkarr_options), .republish_s = 9}, KM_ERR_INVALID},
      {{.size = sizeof(km_pkarr_options), .republish_s = 86401}, KM_ERR_INVALID},
      {{.size = sizeof(km_pkarr_options), .ttl_s = 86401}, KM_ERR_INVALID},
      {{.size = sizeof(km_pkarr_options), .no_publish = true, .no_resolve = true}, KM_ERR_INVALID},
      {{.size = sizeof(km_pkarr_options), .ca_file = "/nowhere/ca.pem"}, KM_ERR_FILE_NOT_FOUND},
      {{.size = 1}, KM_ERR_INVALID},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    assert_int_equal(km_discovery_add_pkarr(d, &cases[i].o, &err), cases[i].code);
    assert_int_equal(err.code, cases[i].code);
  }
  assert_int_equal(km_discovery_add_pkarr(d, NULL, &err), 0);
  assert_string_equal(state_of(d, 0).where, KM_PKARR_RELAY_IROH);
  km_discovery_free(d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(what_is_published_is_found, start, stop),
      cmocka_unit_test_setup_teardown(addresses_are_published_by_choice, start, stop),
      cmocka_unit_test_setup_teardown(changes_are_published_and_nothing_else, start, stop),
      cmocka_unit_test_setup_teardown(nothing_to_say_is_not_said_first, start, stop),
      cmocka_unit_test_setup_teardown(withdrawn_is_no_longer_published, start, stop),
      cmocka_unit_test_setup_teardown(failures_are_told_and_repeated, start, stop),
      cmocka_unit_test_setup_teardown(a_relay_that_is_busy_is_left_alone, start, stop),
      cmocka_unit_test_setup_teardown(a_relay_that_is_away_does_not_hold_up_others, start, stop),
      cmocka_unit_test_setup_teardown(timestamps_follow_what_the_relay_has, start, stop),
      cmocka_unit_test_setup_teardown(what_is_not_there_is_not_found, start, stop),
      cmocka_unit_test_setup_teardown(lies_are_refused, start, stop),
      cmocka_unit_test_setup_teardown(older_packets_than_known_are_refused, start, stop),
      cmocka_unit_test_setup_teardown(older_packets_are_refused_after_a_restart, start, stop),
      cmocka_unit_test_setup_teardown(any_of_several_relays_will_do, start, stop),
      cmocka_unit_test_setup_teardown(a_relay_may_talk, start, stop),
      cmocka_unit_test_setup_teardown(the_newest_of_several_relays_wins, start, stop),
      cmocka_unit_test_setup_teardown(a_slow_relay_does_not_delay_answers, start, stop),
      cmocka_unit_test_setup_teardown(look_ups_end_when_told, start, stop),
      cmocka_unit_test_setup_teardown(options_are_checked, start, stop),
  };
  return cmocka_run_group_tests(tests, start_server, stop_server);
}
