/* endpoint/mesh/control.c and frame.c: frames of the control stream. */
#include "test/endpoint/unit/test_env.h"

#include <stdio.h>

#include <cjson/cJSON.h>

#include "endpoint/mesh/control.h"

static char *shares[] = {"docs", "photos"};
static char *features[] = {"heartbeat"};

static km_capabilities some_capabilities(void) {
  return (km_capabilities){
      .shares = shares, .share_count = 2, .features = features, .feature_count = 1};
}

/* Encodes, checks the length in front, and gives the JSON. */
static cJSON *encode(const km_env *env, const km_control *c) {
  uint8_t *frame = NULL;
  int64_t len = km_control_encode(env, c, &frame);
  assert_true(len > 4);
  uint32_t said =
      (uint32_t)frame[0] << 24 | (uint32_t)frame[1] << 16 | (uint32_t)frame[2] << 8 | frame[3];
  assert_int_equal(said + 4, len);
  cJSON *json = cJSON_ParseWithLength((const char *)frame + 4, said);
  assert_non_null(json);
  env->free(env->ctx, frame);
  return json;
}

static const char *text_of(const cJSON *json, const char *name) {
  const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, name));
  assert_non_null(text);
  return text;
}

static int decode(const km_env *env, km_control *c, const char *json, km_errinfo *err) {
  return km_control_decode(env, c, (const uint8_t *)json, strlen(json), err);
}

/* --- what we say ----------------------------------------------------------------------------- */

static void hello_has_the_members_of_the_first_keymesh(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t, 1);
  const km_control c = {.type = KM_CONTROL_HELLO,
                        .node_id = "host-A",
                        .version = "1.0",
                        .instance = UINT64_C(0xfedcba9876543210),
                        .caps = some_capabilities()};
  cJSON *json = encode(&t.env, &c);
  assert_string_equal(text_of(json, "type"), "HELLO");
  assert_string_equal(text_of(json, "node_id"), "host-A");
  assert_string_equal(text_of(json, "version"), "1.0");
  assert_string_equal(text_of(json, "instance"), "fedcba9876543210");
  const cJSON *caps = cJSON_GetObjectItemCaseSensitive(json, "capabilities");
  const cJSON *list = cJSON_GetObjectItemCaseSensitive(caps, "shares");
  assert_int_equal(cJSON_GetArraySize(list), 2);
  assert_string_equal(cJSON_GetArrayItem(list, 1)->valuestring, "photos");
  list = cJSON_GetObjectItemCaseSensitive(caps, "features");
  assert_string_equal(cJSON_GetArrayItem(list, 0)->valuestring, "heartbeat");
  cJSON_Delete(json);
  assert_int_equal(t.live, 0);
}

static void ack_without_a_reason_says_null(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t, 2);
  km_control c = {.type = KM_CONTROL_ACK, .node_id = "b", .version = "1.0", .ok = true};
  cJSON *json = encode(&t.env, &c);
  assert_true(cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(json, "reason")));
  assert_true(cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "ok")));
  assert_string_equal(text_of(json, "peer_id"), "b");
  assert_null(cJSON_GetObjectItemCaseSensitive(json, "instance")); /* 0: none */
  cJSON_Delete(json);
  c.ok = false;
  snprintf(c.reason, sizeof c.reason, "not trusted here");
  json = encode(&t.env, &c);
  assert_string_equal(text_of(json, "reason"), "not trusted here");
  assert_true(cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(json, "ok")));
  cJSON_Delete(json);
}

static void what_is_encoded_decodes_to_the_same(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t, 3);
  km_control all[3] = {
      {.type = KM_CONTROL_HELLO, .version = "1.0", .instance = 7, .caps = some_capabilities()},
      {.type = KM_CONTROL_ACK,
       .version = "1.2",
       .ok = true,
       .instance = UINT64_MAX,
       .caps = some_capabilities()},
      {.type = KM_CONTROL_HEARTBEAT,
       .ts = 1790000000,
       .seq = 9,
       .echo = 8,
       .echo_delay_us = 12345,
       .interval_ms = 20000},
  };
  snprintf(all[0].node_id, sizeof all[0].node_id, "n\xc3\xb6%s", "de \"quoted\" \\");
  snprintf(all[1].node_id, sizeof all[1].node_id, "b");
  for (size_t i = 0; i < 3; i++) {
    uint8_t *frame;
    km_control c;
    km_errinfo err;
    int64_t len = km_control_encode(&t.env, &all[i], &frame);
    assert_int_equal(km_control_decode(&t.env, &c, frame + 4, (size_t)len - 4, &err), 0);
    assert_int_equal(c.type, all[i].type);
    assert_string_equal(c.node_id, all[i].node_id);
    assert_string_equal(c.version, all[i].version);
    assert_true(c.instance == all[i].instance && c.ok == all[i].ok);
    assert_int_equal(c.caps.share_count, all[i].caps.share_count);
    assert_int_equal(c.caps.feature_count, all[i].caps.feature_count);
    if (c.caps.share_count > 0) {
      assert_string_equal(c.caps.shares[1], "photos");
    }
    assert_true(c.ts == all[i].ts && c.seq == all[i].seq && c.echo == all[i].echo &&
                c.echo_delay_us == all[i].echo_delay_us && c.interval_ms == all[i].interval_ms);
    km_control_free(&t.env, &c);
    t.env.free(t.env.ctx, frame);
  }
  assert_int_equal(t.live, 0);
}

static void a_frame_that_would_be_too_long_is_not_made(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t, 4);
  static char names[KM_CONTROL_SHARES_MAX][400];
  char *list[KM_CONTROL_SHARES_MAX];
  for (size_t i = 0; i < KM_CONTROL_SHARES_MAX; i++) {
    memset(names[i], 'x', sizeof names[i] - 1);
    list[i] = names[i];
  }
  km_control c = {.type = KM_CONTROL_HELLO,
                  .node_id = "a",
                  .version = "1.0",
                  .caps = {.shares = list, .share_count = KM_CONTROL_SHARES_MAX}};
  uint8_t *frame;
  assert_int_equal(km_control_encode(&t.env, &c, &frame), KM_ERR_LIMIT);
  c.caps.share_count = 1;
  t.fail_after = 0;
  assert_int_equal(km_control_encode(&t.env, &c, &frame), KM_ERR_NOMEM);
  assert_int_equal(t.live, 0);
}

/* --- what we take ---------------------------------------------------------------------------- */

static void frames_of_the_first_keymesh_are_taken(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t, 5);
  km_control c;
  km_errinfo err;
  assert_int_equal(decode(&t.env, &c,
                          "{\"type\":\"HELLO\",\"node_id\":\"host-A\",\"version\":\"0.2\","
                          "\"capabilities\":{\"shares\":[\"docs\"],\"features\":[\"mtls\"]}}",
                          &err),
                   0);
  assert_int_equal(c.type, KM_CONTROL_HELLO);
  assert_string_equal(c.version, "0.2");
  assert_int_equal(c.instance, 0);
  assert_string_equal(c.caps.features[0], "mtls");
  km_control_free(&t.env, &c);
  assert_int_equal(decode(&t.env, &c,
                          "{\"type\":\"ACK\",\"ok\":true,\"reason\":null,\"peer_id\":\"host-B\","
                          "\"capabilities\":{\"shares\":[],\"features\":[]}}",
                          &err),
                   0);
  assert_true(c.ok && c.reason[0] == '\0' && c.version[0] == '\0');
  assert_string_equal(c.node_id, "host-B");
  km_control_free(&t.env, &c);
  assert_int_equal(decode(&t.env, &c, "{\"type\":\"HEARTBEAT\",\"ts\":1790000000}", &err), 0);
  assert_true(c.ts == 1790000000 && c.seq == 0 && c.echo == 0);
  km_control_free(&t.env, &c);
  assert_int_equal(t.live, 0);
}

static void unknown_types_and_members_are_passed_over(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t, 6);
  km_control c;
  km_errinfo err;
  assert_int_equal(decode(&t.env, &c, "{\"type\":\"GOSSIP\",\"ts\":\"no number\"}", &err), 0);
  assert_int_equal(c.type, KM_CONTROL_UNKNOWN);
  assert_int_equal(
      decode(&t.env, &c, " {\"ts\":1,\"new\":{\"a\":[1,{}]},\"type\":\"HEARTBEAT\"}\r\n", &err), 0);
  assert_int_equal(c.type, KM_CONTROL_HEARTBEAT);
  assert_int_equal(decode(&t.env, &c,
                          "{\"type\":\"HELLO\",\"node_id\":\"a\",\"version\":\"1.9\","
                          "\"capabilities\":{\"colour\":\"blue\"}}",
                          &err),
                   0);
  assert_int_equal(c.caps.share_count + c.caps.feature_count, 0);
  assert_int_equal(t.live, 0);
}

static void a_long_or_dirty_reason_is_cut_and_cleaned(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t, 7);
  char json[1024], reason[400] = "\\u001b[31m";
  km_control c;
  km_errinfo err;
  memset(reason + strlen(reason), 'r', 300);
  snprintf(json, sizeof json,
           "{\"type\":\"ACK\",\"ok\":false,\"reason\":\"%s\",\"peer_id\":\"b\","
           "\"capabilities\":{}}",
           reason);
  assert_int_equal(decode(&t.env, &c, json, &err), 0);
  assert_int_equal(strlen(c.reason), KM_CONTROL_REASON_MAX);
  assert_memory_equal(c.reason, "?[31mrrr", 8);
  km_control_free(&t.env, &c);
}

#define CAPS ",\"capabilities\":{}}"
#define HELLO "{\"type\":\"HELLO\",\"node_id\":\"a\",\"version\":\"1.0\""
#define ACK "{\"type\":\"ACK\",\"ok\":true,\"peer_id\":\"b\""

static void what_is_wrong_is_refused_with_the_members_name(void **state) {
  (void)state;
  static const struct {
    const char *json, *says;
  } cases[] = {
      {"", "JSON object"},
      {"[]", "JSON object"},
      {"\"HELLO\"", "JSON object"},
      {"{\"type\":\"HEARTBEAT\",\"ts\":1", "JSON object"},
      {"{\"type\":\"HEARTBEAT\",\"ts\":1}{", "JSON object"},
      {"{}", "type"},
      {"{\"type\":1}", "type"},
      {"{\"TYPE\":\"HELLO\"}", "type"},
      {"{\"type\":\"HELLO\",\"version\":\"1.0\"" CAPS, "node_id"},
      {"{\"type\":\"HELLO\",\"node_id\":\"\",\"version\":\"1.0\"" CAPS, "node_id"},
      {"{\"type\":\"HELLO\",\"node_id\":7,\"version\":\"1.0\"" CAPS, "node_id"},
      {"{\"type\":\"HELLO\",\"node_id\":\"a\\u0007\",\"version\":\"1.0\"" CAPS, "node_id"},
      {"{\"type\":\"HELLO\",\"node_id\":\"a\x9b\",\"version\":\"1.0\"" CAPS, "node_id"},
      {"{\"type\":\"HELLO\",\"node_id\":\"12345678901234567890123456789012345678901234567890"
       "123456789012345\",\"version\":\"1.0\"" CAPS,
       "node_id"},
      {"{\"type\":\"HELLO\",\"node_id\":\"a\"" CAPS, "version"},
      {"{\"type\":\"HELLO\",\"node_id\":\"a\",\"version\":1" CAPS, "version"},
      {"{\"type\":\"HELLO\",\"node_id\":\"a\",\"version\":\"1.0000000000000000\"" CAPS, "version"},
      {HELLO ",\"instance\":7" CAPS, "instance"},
      {HELLO ",\"instance\":\"7\"" CAPS, "instance"},
      {HELLO ",\"instance\":\"000000000000000g\"" CAPS, "instance"},
      {HELLO "}", "capabilities"},
      {HELLO ",\"capabilities\":[]}", "capabilities"},
      {HELLO ",\"capabilities\":{\"shares\":{}}}", "capabilities.shares"},
      {HELLO ",\"capabilities\":{\"shares\":[1]}}", "capabilities.shares"},
      {HELLO ",\"capabilities\":{\"shares\":[\"a\",\"\"]}}", "capabilities.shares"},
      {HELLO ",\"capabilities\":{\"features\":\"heartbeat\"}}", "capabilities.features"},
      {HELLO ",\"capabilities\":{\"shares\":[\"s\"],\"features\":[\"a\\nb\"]}}",
       "capabilities.features"},
      {"{\"type\":\"ACK\",\"peer_id\":\"b\"" CAPS, "ok"},
      {"{\"type\":\"ACK\",\"ok\":1,\"peer_id\":\"b\"" CAPS, "ok"},
      {"{\"type\":\"ACK\",\"ok\":true" CAPS, "peer_id"},
      {ACK ",\"reason\":[]" CAPS, "reason"},
      {ACK ",\"version\":2" CAPS, "version"},
      {ACK "}", "capabilities"},
      {"{\"type\":\"HEARTBEAT\"}", "ts"},
      {"{\"type\":\"HEARTBEAT\",\"ts\":\"1\"}", "ts"},
      {"{\"type\":\"HEARTBEAT\",\"ts\":-1}", "ts"},
      {"{\"type\":\"HEARTBEAT\",\"ts\":1.5}", "ts"},
      {"{\"type\":\"HEARTBEAT\",\"ts\":1e300}", "ts"},
      {"{\"type\":\"HEARTBEAT\",\"ts\":1,\"seq\":true}", "seq"},
      {"{\"type\":\"HEARTBEAT\",\"ts\":1,\"echo\":null}", "echo"},
      {"{\"type\":\"HEARTBEAT\",\"ts\":1,\"echo_delay_us\":1e99}", "echo_delay_us"},
      {"{\"type\":\"HEARTBEAT\",\"ts\":1,\"interval_ms\":-1}", "interval_ms"},
  };
  test_env t;
  test_env_init(&t, 8);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    km_control c;
    km_errinfo err = {0};
    int rv = decode(&t.env, &c, cases[i].json, &err);
    if (rv != KM_ERR_BAD_PACKET || strstr(err.text, cases[i].says) == NULL) {
      fail_msg("%s: %d %s", cases[i].json, rv, err.text);
    }
    assert_int_equal(t.live, 0);
  }
}

static char *list_of(size_t count, const char *name) {
  size_t cap = 200 + count * 8;
  char *json = malloc(cap);
  assert_non_null(json);
  size_t at = (size_t)snprintf(json, cap, HELLO ",\"capabilities\":{\"%s\":[", name);
  for (size_t i = 0; i < count; i++) {
    at += (size_t)snprintf(json + at, cap - at, "%s\"n%zu\"", i == 0 ? "" : ",", i);
  }
  snprintf(json + at, cap - at, "]}}");
  return json;
}

static void lists_have_a_limit(void **state) {
  (void)state;
  static const struct {
    const char *name;
    size_t max;
  } lists[] = {{"shares", KM_CONTROL_SHARES_MAX}, {"features", KM_CONTROL_FEATURES_MAX}};
  test_env t;
  test_env_init(&t, 9);
  for (size_t i = 0; i < 2; i++) {
    km_control c;
    km_errinfo err;
    char *json = list_of(lists[i].max, lists[i].name);
    assert_int_equal(decode(&t.env, &c, json, &err), 0);
    assert_int_equal(c.caps.share_count + c.caps.feature_count, lists[i].max);
    km_control_free(&t.env, &c);
    free(json);
    json = list_of(lists[i].max + 1, lists[i].name);
    assert_int_equal(decode(&t.env, &c, json, &err), KM_ERR_BAD_PACKET);
    free(json);
  }
  assert_int_equal(t.live, 0);
}

static void lack_of_memory_leaves_nothing_behind(void **state) {
  (void)state;
  static const char json[] = HELLO ",\"capabilities\":{\"shares\":[\"a\",\"b\"],"
                                   "\"features\":[\"c\"]}}";
  test_env t;
  test_env_init(&t, 10);
  km_control c;
  km_errinfo err;
  int rv = KM_ERR_NOMEM;
  long tries = 0;
  for (; rv == KM_ERR_NOMEM; tries++) {
    t.fail_after = tries;
    rv = decode(&t.env, &c, json, &err);
    assert_true(rv == 0 || t.live == 0);
  }
  assert_int_equal(rv, 0);
  assert_int_equal(tries, 6); /* two lists, three names */
  km_control_free(&t.env, &c);
  assert_int_equal(t.live, 0);
}

static void versions_fit_by_their_major_number(void **state) {
  (void)state;
  assert_true(km_version_fits("1.0", "1.0"));
  assert_true(km_version_fits("1.0", "1.7"));
  assert_true(km_version_fits("1.0", "1"));
  assert_true(km_version_fits("1.0", "1.2.3"));
  static const char *const others[] = {"2.0",  "0.2",  "10.0",   "01.0", "",     "1.", ".1",
                                       "1..2", "v1.0", "1.0-rc", "one",  " 1.0", "1.x"};
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
    assert_false(km_version_fits("1.0", others[i]));
  }
}

/* --- frames ---------------------------------------------------------------------------------- */

static void add_frame(uint8_t *bytes, size_t *len, uint8_t fill, size_t body) {
  bytes[(*len)++] = (uint8_t)(body >> 24);
  bytes[(*len)++] = (uint8_t)(body >> 16);
  bytes[(*len)++] = (uint8_t)(body >> 8);
  bytes[(*len)++] = (uint8_t)body;
  memset(bytes + *len, fill, body);
  *len += body;
}

/* The same frames come out however the bytes are cut. */
static void frames_are_put_together_from_any_pieces(void **state) {
  (void)state;
  static const size_t bodies[] = {1, 2, 700, 3, 5000, 1};
  enum { FRAMES = sizeof bodies / sizeof bodies[0] };
  uint8_t bytes[8192];
  size_t len = 0;
  test_env t;
  test_env_init(&t, 11);
  for (size_t i = 0; i < FRAMES; i++) {
    add_frame(bytes, &len, (uint8_t)('a' + i), bodies[i]);
  }
  for (int round = 0; round < 300; round++) {
    km_frame_reader r = {.env = &t.env};
    size_t at = 0, seen = 0;
    while (at < len) {
      size_t most = round % 3 == 0 ? 3 : round % 3 == 1 ? 1000 : len;
      size_t piece = 1 + test_rng_below(&t.rng, most);
      piece = piece < len - at ? piece : len - at;
      for (size_t end = at + piece; at < end;) {
        const uint8_t *body;
        size_t used, body_len;
        int rv = km_frame_read(&r, bytes + at, end - at, &used, &body, &body_len);
        at += used;
        if (rv == 0) {
          assert_int_equal(at, end);
          break;
        }
        assert_int_equal(rv, 1);
        assert_int_equal(body_len, bodies[seen]);
        for (size_t i = 0; i < body_len; i++) {
          assert_int_equal(body[i], 'a' + seen);
        }
        seen++;
      }
    }
    assert_int_equal(seen, FRAMES);
    km_frame_reader_free(&r);
    assert_int_equal(t.live, 0);
  }
}

static void lengths_out_of_range_are_refused_before_any_memory_is_taken(void **state) {
  (void)state;
  static const uint8_t heads[][4] = {{0, 0, 0, 0}, {0, 1, 0, 1}, {0xff, 0xff, 0xff, 0xff}};
  test_env t;
  test_env_init(&t, 12);
  for (size_t i = 0; i < 3; i++) {
    km_frame_reader r = {.env = &t.env};
    const uint8_t *body;
    size_t used, len;
    assert_int_equal(km_frame_read(&r, heads[i], 4, &used, &body, &len), KM_ERR_BAD_PACKET);
    assert_true(r.cap <= 512);
    km_frame_reader_free(&r);
  }
  /* A claimed length costs nothing until its bytes come. */
  km_frame_reader r = {.env = &t.env};
  const uint8_t *body, head[] = {0, 1, 0, 0, 'x'};
  size_t used, len;
  assert_int_equal(km_frame_read(&r, head, sizeof head, &used, &body, &len), 0);
  assert_true(r.cap <= 512);
  km_frame_reader_free(&r);
}

static void a_reader_without_memory_says_so(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t, 13);
  km_frame_reader r = {.env = &t.env};
  const uint8_t *body, head[] = {0, 0, 0, 1, 'x'};
  size_t used, len;
  t.fail_after = 0;
  assert_int_equal(km_frame_read(&r, head, sizeof head, &used, &body, &len), KM_ERR_NOMEM);
  km_frame_reader_free(&r);
  assert_int_equal(t.live, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(hello_has_the_members_of_the_first_keymesh),
      cmocka_unit_test(ack_without_a_reason_says_null),
      cmocka_unit_test(what_is_encoded_decodes_to_the_same),
      cmocka_unit_test(a_frame_that_would_be_too_long_is_not_made),
      cmocka_unit_test(frames_of_the_first_keymesh_are_taken),
      cmocka_unit_test(unknown_types_and_members_are_passed_over),
      cmocka_unit_test(a_long_or_dirty_reason_is_cut_and_cleaned),
      cmocka_unit_test(what_is_wrong_is_refused_with_the_members_name),
      cmocka_unit_test(lists_have_a_limit),
      cmocka_unit_test(lack_of_memory_leaves_nothing_behind),
      cmocka_unit_test(versions_fit_by_their_major_number),
      cmocka_unit_test(frames_are_put_together_from_any_pieces),
      cmocka_unit_test(lengths_out_of_range_are_refused_before_any_memory_is_taken),
      cmocka_unit_test(a_reader_without_memory_says_so),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
