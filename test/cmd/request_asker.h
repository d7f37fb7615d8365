/* Asks a node that is a store in memory, and keeps what it answers. */
#ifndef KM_TEST_CMD_REQUEST_ASKER_H
#define KM_TEST_CMD_REQUEST_ASKER_H

#include "cmd/node/daemon/request.h"
#include "test/base/test_env.h"

typedef struct asker {
  project project;
  node_context node;
  km_secret_key *key, *other_key;
  km_id other; /* a peer's */
  cJSON *rows; /* of the last request */
  cJSON *result;
  km_errinfo err;
  unsigned ends;
  size_t backlog; /* what it is told to be */
  size_t row_len; /* what each row adds to it */
} asker;

static inline void asker_forget(asker *a) {
  cJSON_Delete(a->rows);
  cJSON_Delete(a->result);
  a->rows = cJSON_CreateArray();
  a->result = NULL;
  a->err = (km_errinfo){0};
  a->ends = 0;
  assert_non_null(a->rows);
}

static inline void asker_on_row(void *ctx, cJSON *row) {
  asker *a = ctx;
  assert_int_equal(a->ends, 0);
  a->backlog += a->row_len;
  assert_true(cJSON_AddItemToArray(a->rows, row));
}

static inline void asker_on_done(void *ctx, cJSON *result, const km_errinfo *err) {
  asker *a = ctx;
  a->ends++;
  a->result = result;
  a->err = err == NULL ? (km_errinfo){0} : *err;
}

static inline size_t asker_backlog(void *ctx) {
  return ((const asker *)ctx)->backlog;
}

/* `args`: JSON, or NULL for none. */
static inline request *asker_start(asker *a, const char *name, const char *args) {
  const request_reply reply = {
      .row = asker_on_row, .done = asker_on_done, .ctx = a, .backlog = asker_backlog};
  request *r = NULL;
  cJSON *json = args == NULL ? NULL : cJSON_Parse(args);
  assert_true(args == NULL || json != NULL);
  asker_forget(a);
  request_run(&a->node, name, json, &reply, &r);
  cJSON_Delete(json);
  return r;
}

/* To its end. */
static inline void ask(asker *a, const char *name, const char *args) {
  assert_null(asker_start(a, name, args));
  assert_int_equal(a->ends, 1);
  if (a->err.code != 0) {
    fail_msg("%s: %s", name, a->err.text);
  }
}

static inline void ask_refused(asker *a, const char *name, const char *args, int code,
                               const char *words) {
  assert_null(asker_start(a, name, args));
  assert_int_equal(a->ends, 1);
  assert_int_equal(a->err.code, code);
  assert_null(a->result);
  if (strstr(a->err.text, words) == NULL) {
    fail_msg("'%s' lacks '%s'", a->err.text, words);
  }
}

static inline const cJSON *member(const cJSON *o, const char *name) {
  const cJSON *found = cJSON_GetObjectItemCaseSensitive(o, name);
  if (found == NULL) {
    fail_msg("no member %s", name);
  }
  return found;
}

static inline const char *text_of(const cJSON *o, const char *name) {
  const char *text = cJSON_GetStringValue(member(o, name));
  assert_non_null(text);
  return text;
}

static inline double number_of(const cJSON *o, const char *name) {
  assert_true(cJSON_IsNumber(member(o, name)));
  return member(o, name)->valuedouble;
}

static inline bool flag_of(const cJSON *o, const char *name) {
  assert_true(cJSON_IsBool(member(o, name)));
  return cJSON_IsTrue(member(o, name));
}

static inline int asker_set_up(void **state) {
  static char node_id[] = "node-A", share[] = "docs", path[] = "/srv/docs", key[] = "keys/node.key";
  static project_share shares[] = {
      {.name = share, .path = path, .delete_propagation = true, .others = KM_ACCESS_READ}};
  const uint8_t seed[KM_SECRET_KEY_BYTES] = {1}, other[KM_SECRET_KEY_BYTES] = {2};
  km_store_options o;
  asker *a = calloc(1, sizeof *a);
  assert_non_null(a);
  assert_int_equal(km_secret_key_from_bytes(&a->key, seed), 0);
  assert_int_equal(km_secret_key_from_bytes(&a->other_key, other), 0);
  km_secret_key_id(a->other_key, &a->other);
  a->project = (project){.node_id = node_id,
                         .key_file = key,
                         .shares = shares,
                         .share_count = 1,
                         .level = KM_SECURITY_SECURE,
                         .recommend_threshold = 2};
  km_store_options_default(&o);
  o.secret_key = a->key;
  o.durability = KM_DURABLE_PROCESS;
  assert_int_equal(km_store_open(&a->node.store, &o, NULL), 0);
  a->node.project = &a->project;
  a->node.started_ms = 1;
  asker_forget(a);
  *state = a;
  return 0;
}

static inline int asker_tear_down(void **state) {
  asker *a = *state;
  km_store_close(a->node.store);
  km_secret_key_free(a->key);
  km_secret_key_free(a->other_key);
  cJSON_Delete(a->rows);
  cJSON_Delete(a->result);
  free(a);
  return 0;
}

#endif /* KM_TEST_CMD_REQUEST_ASKER_H */
