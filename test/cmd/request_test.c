/* What can be asked of a node, over a store in memory: no daemon runs. */
#include "store/outbox.h"
#include "store/trust_db.h"
#include "test/cmd/request_asker.h"

#define OTHER(a, buf)                                                                              \
  ((void)km_id_format(&(a)->other, KM_ID_HEX, (buf), KM_ID_TEXT_CAP), (const char *)(buf))

static const char *args_of(char *buf, size_t cap, const char *fmt, const char *text) {
  (void)snprintf(buf, cap, fmt, text);
  return buf;
}

/* --- entries ---------------------------------------------------------------------------------- */

static void put_is_found_again(void **state) {
  asker *a = *state;
  ask(a, "kv.put", "{\"share\":\"docs\",\"key\":\"a/b\",\"value\":\"hello\"}");
  assert_string_equal(text_of(a->result, "key"), "a/b");
  char clock[32];
  (void)snprintf(clock, sizeof clock, "%s", text_of(a->result, "clock"));
  assert_true(strlen(clock) > 15);
  ask(a, "kv.get", "{\"share\":\"docs\",\"key\":\"a/b\"}");
  assert_string_equal(text_of(a->result, "value"), "hello");
  assert_string_equal(text_of(a->result, "clock"), clock);
  assert_true(flag_of(a->result, "own"));
  assert_false(flag_of(a->result, "deleted"));
}

static void bytes_that_are_no_text_travel_as_base64(void **state) {
  asker *a = *state;
  ask(a, "kv.put", "{\"share\":\"docs\",\"key\":\"k\",\"value_b64\":\"AP+A\"}");
  ask(a, "kv.get", "{\"share\":\"docs\",\"key\":\"k\"}");
  assert_string_equal(text_of(a->result, "value_b64"), "AP+A");
  assert_null(cJSON_GetObjectItemCaseSensitive(a->result, "value"));
  ask(a, "kv.put", "{\"share\":\"docs\",\"key\":\"k\",\"value_b64\":\"aGk=\"}");
  ask(a, "kv.get", "{\"share\":\"docs\",\"key\":\"k\"}");
  assert_string_equal(text_of(a->result, "value"), "hi");
  ask(a, "kv.put", "{\"share\":\"docs\",\"key\":\"k\",\"value\":\"\"}");
  ask(a, "kv.get", "{\"share\":\"docs\",\"key\":\"k\"}");
  assert_string_equal(text_of(a->result, "value"), "");
}

static void deleted_entry_is_gone(void **state) {
  asker *a = *state;
  ask(a, "kv.put", "{\"share\":\"docs\",\"key\":\"k\",\"value\":\"v\"}");
  ask(a, "kv.delete", "{\"share\":\"docs\",\"key\":\"k\"}");
  assert_string_equal(text_of(a->result, "share"), "docs");
  ask_refused(a, "kv.get", "{\"share\":\"docs\",\"key\":\"k\"}", KM_ERR_NOT_FOUND, "");
  ask_refused(a, "kv.delete", "{\"share\":\"docs\",\"key\":\"k\"}", KM_ERR_NOT_FOUND, "");
  ask(a, "kv.list", "{\"share\":\"docs\"}");
  assert_int_equal(number_of(a->result, "count"), 0);
  ask(a, "kv.list", "{\"share\":\"docs\",\"deleted\":true}");
  assert_int_equal(number_of(a->result, "count"), 1);
  assert_true(flag_of(cJSON_GetArrayItem(a->rows, 0), "deleted"));
}

static void bad_entries_are_refused(void **state) {
  asker *a = *state;
  ask_refused(a, "kv.put", "{\"key\":\"k\",\"value\":\"v\"}", KM_ERR_INVALID, "'share' is missing");
  ask_refused(a, "kv.put", "{\"share\":\"docs\",\"key\":\"k\"}", KM_ERR_INVALID, "value_b64");
  ask_refused(a, "kv.put", "{\"share\":\"docs\",\"key\":7,\"value\":\"v\"}", KM_ERR_INVALID,
              "'key' must be a text");
  ask_refused(a, "kv.put", "{\"share\":\"d\",\"key\":\"k\",\"value\":\"v\",\"value_b64\":\"\"}",
              KM_ERR_INVALID, "two values");
  ask_refused(a, "kv.put", "{\"share\":\"d\",\"key\":\"k\",\"value_b64\":\"a*\"}", KM_ERR_INVALID,
              "base64");
  ask_refused(a, "kv.put", "{\"share\":\"docs\",\"key\":\"../k\",\"value\":\"v\"}", KM_ERR_INVALID,
              "");
  ask_refused(a, "kv.put", "{\"share\":\"d\",\"key\":\"k\",\"value\":\"v\",\"ttl\":1}",
              KM_ERR_INVALID, "no argument 'ttl'");
  ask_refused(a, "kv.put", "{\"share\":\"dosc\",\"key\":\"k\",\"value\":\"v\"}", KM_ERR_INVALID,
              "no share 'dosc' in keymesh.yaml, which has: docs");
  ask_refused(a, "kv.import", "{\"share\":\"dosc\",\"entries\":[{\"key\":\"k\",\"value\":\"v\"}]}",
              KM_ERR_INVALID, "no share 'dosc'");
  ask_refused(a, "kv.put", "[1]", KM_ERR_INVALID, "object");
  ask_refused(a, "kv.list", "{\"\":1}", KM_ERR_INVALID, "no argument ''");
  ask(a, "kv.list", NULL);
  assert_int_equal(number_of(a->result, "count"), 0);
}

static void fill(asker *a, const char *share, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    char key[16];
    (void)snprintf(key, sizeof key, "k%03u", i);
    assert_int_equal(km_kv_put(a->node.store, share, key, "v", 1, NULL), 0);
  }
}

static void long_list_comes_whole_and_in_order(void **state) {
  asker *a = *state;
  fill(a, "docs", 100);
  fill(a, "music", 5);
  ask(a, "kv.list", "{\"share\":\"docs\"}");
  assert_int_equal(cJSON_GetArraySize(a->rows), 100);
  for (int i = 0; i < 100; i++) {
    char key[16];
    (void)snprintf(key, sizeof key, "k%03d", i);
    assert_string_equal(text_of(cJSON_GetArrayItem(a->rows, i), "key"), key);
  }
  ask(a, "kv.list", NULL);
  assert_int_equal(number_of(a->result, "count"), 105);
  ask(a, "kv.list", "{\"share\":\"docs\",\"prefix\":\"k01\"}");
  assert_int_equal(number_of(a->result, "count"), 10);
  ask(a, "kv.list", "{\"share\":\"docs\",\"after\":\"k089\",\"limit\":3,\"keys_only\":true}");
  assert_int_equal(number_of(a->result, "count"), 3);
  assert_string_equal(text_of(cJSON_GetArrayItem(a->rows, 0), "key"), "k090");
  assert_null(cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(a->rows, 0), "value"));
  assert_int_equal(number_of(cJSON_GetArrayItem(a->rows, 0), "size"), 1);
  ask_refused(a, "kv.list", "{\"after\":\"k\"}", KM_ERR_INVALID, "share");
  ask_refused(a, "kv.list", "{\"limit\":1.5}", KM_ERR_INVALID, "whole number");
}

static void list_waits_for_a_slow_reader(void **state) {
  asker *a = *state;
  fill(a, "docs", 100);
  a->backlog = REQUEST_PAUSE;
  request *r = asker_start(a, "kv.export", "{\"share\":\"docs\"}");
  assert_non_null(r);
  assert_int_equal(cJSON_GetArraySize(a->rows), 0);
  request_resume(r); /* still slow */
  assert_int_equal(a->ends, 0);
  a->backlog = REQUEST_PAUSE - 1;
  request_resume(r);
  assert_int_equal(a->ends, 1);
  assert_int_equal(cJSON_GetArraySize(a->rows), 100);
  a->backlog = REQUEST_PAUSE;
  request_cancel(asker_start(a, "kv.export", "{\"share\":\"docs\"}"));
  assert_int_equal(a->ends, 0);
}

static void import_is_all_or_nothing(void **state) {
  asker *a = *state;
  ask(a, "kv.put", "{\"share\":\"docs\",\"key\":\"old\",\"value\":\"v\"}");
  ask(a, "kv.import",
      "{\"share\":\"docs\",\"entries\":[{\"key\":\"a\",\"value\":\"1\"},{\"key\":\"b\","
      "\"value_b64\":\"/w==\"},{\"key\":\"old\",\"deleted\":true},{\"key\":\"never\",\"deleted\":"
      "true}]}");
  assert_int_equal(number_of(a->result, "put"), 2);
  assert_int_equal(number_of(a->result, "deleted"), 1);
  ask_refused(a, "kv.import",
              "{\"entries\":[{\"share\":\"docs\",\"key\":\"c\",\"value\":\"1\"},{\"share\":"
              "\"docs\",\"key\":\"/c\",\"value\":\"1\"}]}",
              KM_ERR_INVALID, "entry 2:");
  ask_refused(a, "kv.get", "{\"share\":\"docs\",\"key\":\"c\"}", KM_ERR_NOT_FOUND, "");
  ask_refused(a, "kv.import", "{\"entries\":[{\"key\":\"c\",\"value\":\"1\"}]}", KM_ERR_INVALID,
              "which share");
  ask_refused(a, "kv.import", "{\"entries\":3}", KM_ERR_INVALID, "list");
  ask(a, "kv.list", NULL); /* no batch stayed open */
  assert_int_equal(number_of(a->result, "count"), 2);
}

static void export_can_be_imported(void **state) {
  asker *a = *state;
  fill(a, "docs", 3);
  ask(a, "kv.delete", "{\"share\":\"docs\",\"key\":\"k001\"}");
  ask(a, "kv.export", NULL);
  assert_int_equal(cJSON_GetArraySize(a->rows), 3);
  const cJSON *row = cJSON_GetArrayItem(a->rows, 1);
  assert_true(flag_of(row, "deleted"));
  assert_null(cJSON_GetObjectItemCaseSensitive(row, "value"));
}

static void hash_follows_the_content(void **state) {
  asker *a = *state;
  char before[80];
  fill(a, "docs", 2);
  fill(a, "music", 1);
  ask(a, "kv.hash", NULL);
  assert_int_equal(cJSON_GetArraySize(a->rows), 2);
  (void)snprintf(before, sizeof before, "%s", text_of(cJSON_GetArrayItem(a->rows, 0), "hash"));
  assert_int_equal(strlen(before), 64);
  ask(a, "kv.put", "{\"share\":\"docs\",\"key\":\"new\",\"value\":\"v\"}");
  ask(a, "kv.hash", "{\"share\":\"docs\"}");
  assert_string_not_equal(text_of(cJSON_GetArrayItem(a->rows, 0), "hash"), before);
}

static void signatures_are_verified(void **state) {
  asker *a = *state;
  fill(a, "docs", 3);
  ask(a, "kv.verify", "{\"share\":\"docs\",\"key\":\"k001\"}");
  assert_true(flag_of(a->result, "own"));
  ask(a, "kv.verify", "{\"share\":\"docs\"}");
  assert_int_equal(number_of(a->result, "checked"), 3);
  ask_refused(a, "kv.verify", "{\"share\":\"docs\",\"key\":\"none\"}", KM_ERR_NOT_FOUND, "");
}

/* --- peers ------------------------------------------------------------------------------------ */

static void trust_is_given_and_taken(void **state) {
  asker *a = *state;
  char id[KM_ID_TEXT_CAP], args[256];
  ask(a, "peer.trust",
      args_of(args, sizeof args, "{\"peer\":\"%s\",\"name\":\"bob\",\"note\":\"of old\"}",
              OTHER(a, id)));
  assert_string_equal(text_of(a->result, "state"), "trusted");
  assert_string_equal(text_of(a->result, "origin"), "by hand");
  assert_string_equal(text_of(a->result, "name"), "bob");
  assert_true(cJSON_IsNull(member(a->result, "expires")));
  ask(a, "peer.list", "{\"state\":\"trusted\"}");
  assert_int_equal(number_of(a->result, "count"), 1);
  ask(a, "peer.block", "{\"peer\":\"bob\"}"); /* by its name */
  assert_string_equal(text_of(a->result, "id"), id);
  assert_string_equal(text_of(a->result, "state"), "blocked");
  ask(a, "peer.list", "{\"state\":\"trusted\"}");
  assert_int_equal(number_of(a->result, "count"), 0);
  id[8] = '\0';
  ask(a, "peer.forget", args_of(args, sizeof args, "{\"peer\":\"%s\"}", id)); /* by its digits */
  ask(a, "peer.list", NULL);
  assert_int_equal(number_of(a->result, "count"), 0);
}

static void peers_that_are_not_known(void **state) {
  asker *a = *state;
  char id[KM_ID_TEXT_CAP], args[256];
  ask_refused(a, "peer.trust", "{\"peer\":\"nobody\"}", KM_ERR_NOT_FOUND, "no peer 'nobody'");
  ask_refused(a, "peer.trust", "{}", KM_ERR_INVALID, "'peer' is missing");
  ask_refused(a, "peer.approve", args_of(args, sizeof args, "{\"peer\":\"%s\"}", OTHER(a, id)),
              KM_ERR_NOT_FOUND, "");
  ask_refused(a, "peer.list", "{\"state\":\"odd\"}", KM_ERR_INVALID, "pending");
  ask_refused(a, "peer.trust",
              args_of(args, sizeof args, "{\"peer\":\"%s\",\"expires\":1}", OTHER(a, id)),
              KM_ERR_INVALID, "");
}

static void names_that_two_peers_have_are_refused(void **state) {
  asker *a = *state;
  const uint8_t seed[KM_SECRET_KEY_BYTES] = {3};
  km_secret_key *key;
  km_id third;
  assert_int_equal(km_secret_key_from_bytes(&key, seed), 0);
  km_secret_key_id(key, &third);
  km_secret_key_free(key);
  assert_int_equal(km_trust_add(a->node.store, &a->other, "twin", NULL, 0, NULL), 0);
  assert_int_equal(km_trust_add(a->node.store, &third, "twin", NULL, 0, NULL), 0);
  ask_refused(a, "peer.block", "{\"peer\":\"twin\"}", KM_ERR_INVALID, "more than one");
}

/* Anybody may call itself by any name. */
static void names_of_strangers_do_not_count(void **state) {
  asker *a = *state;
  const uint8_t seed[KM_SECRET_KEY_BYTES] = {3};
  char id[KM_ID_TEXT_CAP], args[256];
  km_secret_key *key;
  km_id evil;
  assert_int_equal(km_secret_key_from_bytes(&key, seed), 0);
  km_secret_key_id(key, &evil);
  km_secret_key_free(key);
  (void)km_id_format(&evil, KM_ID_HEX, id, sizeof id);
  assert_int_equal(km_trust_request(a->node.store, &evil, "bob", NULL), 0);
  /* It alone: no decision is made by that name, and its id is told. */
  static const char *const decisions[] = {"peer.trust",     "peer.approve", "peer.deny",
                                          "peer.recommend", "peer.block",   "peer.revoke",
                                          "peer.forget",    "peer.withdraw"};
  for (size_t i = 0; i < sizeof decisions / sizeof decisions[0]; i++) {
    ask_refused(a, decisions[i], "{\"peer\":\"bob\"}", KM_ERR_INVALID, id);
  }
  ask_refused(a, "send", "{\"peer\":\"bob\",\"type\":\"t\",\"body\":1}", KM_ERR_INVALID, id);
  /* Beside one of that name, it is not seen. */
  assert_int_equal(km_trust_add(a->node.store, &a->other, "bob", NULL, 0, NULL), 0);
  ask(a, "peer.block", "{\"peer\":\"bob\"}");
  assert_string_equal(text_of(a->result, "id"), OTHER(a, id));
  ask(a, "peer.trust", "{\"peer\":\"bob\"}");
  assert_string_equal(text_of(a->result, "id"), id);
  /* Nor when it was let in on first use. */
  assert_int_equal(km_trust_forget(a->node.store, &evil, NULL), 0);
  assert_int_equal(km_trust_first_use(a->node.store, &evil, "bob", NULL), 0);
  ask(a, "send", "{\"peer\":\"bob\",\"type\":\"t\",\"body\":1}");
  ask(a, "outbox", NULL);
  assert_string_equal(text_of(cJSON_GetArrayItem(a->rows, 0), "to"), id);
  assert_int_equal(km_trust_forget(a->node.store, &a->other, NULL), 0);
  ask(a, "send", "{\"peer\":\"bob\",\"type\":\"t\",\"body\":1}");
  ask_refused(a, "peer.recommend", "{\"peer\":\"bob\"}", KM_ERR_INVALID, "calls itself");
  /* The first digits of its id do, for who read them. */
  (void)km_id_format(&evil, KM_ID_SHORT, id, sizeof id);
  ask(a, "peer.block", args_of(args, sizeof args, "{\"peer\":\"%s\"}", id));
}

static void recommendation_and_revocation(void **state) {
  asker *a = *state;
  char id[KM_ID_TEXT_CAP], args[256];
  ask(a, "peer.recommend",
      args_of(args, sizeof args, "{\"peer\":\"%s\",\"name\":\"bob\"}", OTHER(a, id)));
  assert_string_equal(text_of(a->result, "id"), id);
  ask(a, "peer.withdraw", args_of(args, sizeof args, "{\"peer\":\"%s\"}", id));
  assert_string_equal(text_of(a->result, "id"), id);
  ask(a, "peer.withdraw", args); /* once more does no harm */
  ask(a, "peer.revoke", args_of(args, sizeof args, "{\"peer\":\"%s\",\"reason\":\"lost\"}", id));
  assert_string_equal(text_of(a->result, "state"), "blocked");
  args_of(args, sizeof args, "{\"peer\":\"%s\"}", id);
  ask_refused(a, "peer.withdraw", args, KM_ERR_NOT_FOUND, "does not recommend");
}

/* --- messages --------------------------------------------------------------------------------- */

static void message_waits_and_is_cancelled(void **state) {
  asker *a = *state;
  char id[KM_ID_TEXT_CAP], args[256], message[40];
  ask(a, "send",
      args_of(args, sizeof args,
              "{\"peer\":\"%s\",\"type\":\"note\",\"json\":\"{\\\"n\\\": 12345678901234567890}\"}",
              OTHER(a, id)));
  (void)snprintf(message, sizeof message, "%s", text_of(a->result, "message"));
  assert_int_equal(strlen(message), 32);
  ask(a, "outbox", NULL);
  assert_int_equal(number_of(a->result, "count"), 1);
  const cJSON *row = cJSON_GetArrayItem(a->rows, 0);
  assert_string_equal(text_of(row, "message"), message);
  assert_string_equal(text_of(row, "to"), id);
  assert_string_equal(text_of(row, "type"), "note");
  /* Its digits are as they were sent: JSON numbers of ours would have lost some. */
  char *line = cJSON_PrintUnformatted(row);
  assert_non_null(strstr(line, "\"body\":{\"n\":12345678901234567890}"));
  cJSON_free(line);
  ask(a, "outbox.cancel", args_of(args, sizeof args, "{\"message\":\"%s\"}", message));
  ask(a, "outbox", NULL);
  assert_int_equal(number_of(a->result, "count"), 0);
  ask_refused(a, "outbox.cancel", args_of(args, sizeof args, "{\"message\":\"%s\"}", message),
              KM_ERR_NOT_FOUND, "");
  ask_refused(a, "outbox.cancel", "{\"message\":\"xyz\"}", KM_ERR_INVALID, "hex digits");
}

/* With two rows the reader is slow. The bodies are numbers from `first` on. */
static void read_slowly(asker *a, const char *name, const char *args, int count, int first,
                        int step) {
  a->row_len = REQUEST_PAUSE / 2;
  a->backlog = 0;
  request *r = asker_start(a, name, args);
  for (int had = 2; had < count; had += 2) {
    assert_int_equal(a->ends, 0);
    assert_int_equal(cJSON_GetArraySize(a->rows), had);
    request_resume(r); /* still slow */
    assert_int_equal(cJSON_GetArraySize(a->rows), had);
    a->backlog = 0;
    request_resume(r);
  }
  if (a->ends == 0) { /* it has not looked behind the last one yet */
    a->backlog = 0;
    request_resume(r);
  }
  assert_int_equal(a->ends, 1);
  assert_int_equal(number_of(a->result, "count"), count);
  for (int i = 0; i < count; i++) {
    char *body = cJSON_PrintUnformatted(member(cJSON_GetArrayItem(a->rows, i), "body"));
    assert_non_null(body);
    assert_int_equal(strtol(body, NULL, 10), first + i * step);
    cJSON_free(body);
  }
}

static void take_message(asker *a, int number) {
  char body[16];
  uint8_t bytes[512];
  km_message m = {.type = "t", .body = body, .sent_ms = km_clock_wall().unix_ns / 1000000};
  km_wr wr = km_wr_init(bytes, sizeof bytes);
  m.body_len = (size_t)snprintf(body, sizeof body, "%d", number);
  m.expires_ms = m.sent_ms + 60000;
  m.id[0] = (uint8_t)number;
  km_secret_key_id(a->key, &m.to);
  assert_int_equal(km_message_encode(&m, a->other_key, &wr, NULL), 0);
  assert_int_equal(km_inbox_take(a->node.store, &m, bytes, km_message_size(&m), &a->other, NULL),
                   KM_INBOX_NEW);
}

static void messages_wait_for_a_slow_reader(void **state) {
  asker *a = *state;
  for (int i = 1; i <= 9; i++) {
    char body[16];
    (void)snprintf(body, sizeof body, "%d", i);
    assert_int_equal(km_message_send(a->node.store, &a->other, "t", body, 0, NULL, NULL), 0);
    take_message(a, i);
  }
  read_slowly(a, "outbox", NULL, 9, 1, 1);
  read_slowly(a, "messages", NULL, 9, 9, -1);
  read_slowly(a, "messages", "{\"limit\":5}", 5, 9, -1);
  a->backlog = REQUEST_PAUSE;
  request_cancel(asker_start(a, "outbox", NULL));
  assert_int_equal(a->ends, 0);
}

static void bad_messages_are_refused(void **state) {
  asker *a = *state;
  ask_refused(a, "broadcast", "{\"type\":\"t\"}", KM_ERR_INVALID, "'body'");
  ask_refused(a, "broadcast", "{\"type\":\"t\",\"body\":1,\"json\":\"1\"}", KM_ERR_INVALID,
              "'body'");
  ask_refused(a, "broadcast", "{\"type\":\"t\",\"json\":\"{\"}", KM_ERR_INVALID, "");
  ask_refused(a, "broadcast", "{\"type\":\"a b\",\"body\":1}", KM_ERR_INVALID, "");
  ask_refused(a, "broadcast", "{\"type\":\"t\",\"body\":1,\"ttl_s\":99999999}", KM_ERR_INVALID,
              "ttl_s");
  ask(a, "broadcast", "{\"type\":\"t\",\"body\":{\"x\":[1,2]}}");
  ask(a, "messages", NULL);
  assert_int_equal(number_of(a->result, "count"), 0);
  ask_refused(a, "messages", "{\"limit\":0}", KM_ERR_INVALID, "limit");
}

/* --- the node --------------------------------------------------------------------------------- */

static void shares_are_those_of_the_first_keymesh(void **state) {
  asker *a = *state;
  fill(a, "docs", 2);
  ask(a, "shares", NULL);
  const cJSON *share = cJSON_GetArrayItem(member(a->result, "shares"), 0);
  assert_string_equal(text_of(share, "name"), "docs");
  assert_string_equal(text_of(share, "path"), "/srv/docs");
  assert_true(flag_of(share, "delete_propagation"));
  assert_string_equal(text_of(share, "others"), "ro");
  assert_int_equal(number_of(share, "entries"), 2);
}

static void security_is_explained(void **state) {
  asker *a = *state;
  assert_int_equal(km_trust_add(a->node.store, &a->other, NULL, NULL, 0, NULL), 0);
  ask(a, "security.status", NULL);
  assert_string_equal(text_of(a->result, "level"), "secure");
  assert_true(strlen(text_of(a->result, "summary")) > 10);
  const cJSON *rules = member(a->result, "rules");
  assert_false(flag_of(rules, "lets_strangers_in"));
  assert_int_equal(number_of(rules, "recommendations_needed"), 2);
  assert_int_equal(number_of(a->result, "trusted"), 1);
}

static void commands_of_a_daemon_say_that_none_runs(void **state) {
  asker *a = *state;
  unsigned daemons = 0;
  for (const char *const *name = request_names(); *name != NULL; name++) {
    if (request_needs_daemon(*name)) {
      ask_refused(a, *name, NULL, KM_ERR_STATE, "km-node run");
      daemons++;
    }
  }
  assert_int_equal(daemons, 13);
  assert_false(request_needs_daemon("kv.put"));
  assert_true(request_needs_daemon("what"));
}

static void unknown_commands_get_a_suggestion(void **state) {
  asker *a = *state;
  ask_refused(a, "kv.putt", NULL, KM_ERR_INVALID, "did you mean kv.put?");
  ask_refused(a, "", NULL, KM_ERR_INVALID, "no command ''");
}

/* Every name answers by itself, and no other is there: the list is written down twice. */
static void every_name_is_a_command(void **state) {
  asker *a = *state;
  unsigned count = 0;
  for (const char *const *name = request_names(); *name != NULL; name++, count++) {
    request *r = asker_start(a, *name, "{\"no such argument\":1}");
    assert_null(r);
    assert_int_equal(a->ends, 1);
    assert_int_not_equal(a->err.code, 0);
    assert_null(strstr(a->err.text, "no command"));
  }
  assert_int_equal(count, 40);
}

#define T(name) cmocka_unit_test_setup_teardown(name, asker_set_up, asker_tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      T(put_is_found_again),
      T(bytes_that_are_no_text_travel_as_base64),
      T(deleted_entry_is_gone),
      T(bad_entries_are_refused),
      T(long_list_comes_whole_and_in_order),
      T(list_waits_for_a_slow_reader),
      T(import_is_all_or_nothing),
      T(export_can_be_imported),
      T(hash_follows_the_content),
      T(signatures_are_verified),
      T(trust_is_given_and_taken),
      T(peers_that_are_not_known),
      T(names_that_two_peers_have_are_refused),
      T(names_of_strangers_do_not_count),
      T(recommendation_and_revocation),
      T(message_waits_and_is_cancelled),
      T(messages_wait_for_a_slow_reader),
      T(bad_messages_are_refused),
      T(shares_are_those_of_the_first_keymesh),
      T(security_is_explained),
      T(commands_of_a_daemon_say_that_none_runs),
      T(unknown_commands_get_a_suggestion),
      T(every_name_is_a_command),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
