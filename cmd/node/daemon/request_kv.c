/* Single entries, and many at once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/node/daemon/request_impl.h"

static int arg_name(const cJSON *args, const char **ret_share, const char **ret_key,
                    km_errinfo *err) {
  int rv = arg_text(args, "share", true, ret_share, err);
  return rv != 0 ? rv : arg_text(args, "key", true, ret_key, err);
}

/* What is written into a share that the configuration does not have, nobody would ever get. What is
 * there of one it had may be read and deleted. */
int request_check_share(const node_context *node, const char *share, km_errinfo *err) {
  const project *p = node->project;
  char list[128] = "";
  size_t used = 0;
  for (size_t i = 0; p != NULL && i < p->share_count; i++) {
    if (strcmp(p->shares[i].name, share) == 0) {
      return 0;
    }
    int len =
        snprintf(list + used, sizeof list - used, "%s%s", used > 0 ? ", " : "", p->shares[i].name);
    used = len < 0 || (size_t)len >= sizeof list - used ? sizeof list - 1 : used + (size_t)len;
  }
  return km_fail(err, KM_ERR_INVALID, "there is no share '%.40s' in keymesh.yaml%s%s", share,
                 used > 0 ? ", which has: " : "", list);
}

/* --- one -------------------------------------------------------------------------------------- */

static void take_clock(void *ctx, const km_kv_entry *entry) {
  *(uint64_t *)ctx = entry->clock;
}

/* What was written: its clock is what a client compares with. */
static int written(request *r, const char *share, const char *key, uint64_t clock, cJSON **ret,
                   km_errinfo *err) {
  cJSON *o = cJSON_CreateObject();
  (void)r;
  put_text(o, "share", share);
  put_text(o, "key", key);
  put_clock(o, clock);
  return request_result(o, ret, err);
}

static int run_put(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  const char *share, *key;
  uint8_t *value;
  size_t len;
  uint64_t clock = 0;
  km_kv_watch *watch;
  int rv = arg_name(args, &share, &key, err);
  rv = rv != 0 ? rv : arg_bytes(args, "value", &value, &len, err);
  if (rv != 0) {
    return rv;
  }
  rv = request_check_share(r->node, share, err);
  rv =
      rv != 0 ? rv : km_kv_watch_start(&watch, r->node->store, share, key, take_clock, &clock, err);
  if (rv == 0) {
    rv = km_kv_put(r->node->store, share, key, value, len, err);
    km_kv_watch_cancel(watch);
  }
  free(value);
  return rv != 0 ? rv : written(r, share, key, clock, ret, err);
}

static int run_delete(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  const char *share, *key;
  uint64_t clock = 0;
  km_kv_watch *watch;
  int rv = arg_name(args, &share, &key, err);
  rv =
      rv != 0 ? rv : km_kv_watch_start(&watch, r->node->store, share, key, take_clock, &clock, err);
  if (rv == 0) {
    rv = km_kv_delete(r->node->store, share, key, err);
    km_kv_watch_cancel(watch);
  }
  return rv != 0 ? rv : written(r, share, key, clock, ret, err);
}

static int run_get(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  const char *share, *key;
  km_kv_entry entry;
  int rv = arg_name(args, &share, &key, err);
  rv = rv != 0 ? rv : km_kv_get(r->node->store, share, key, &entry, err);
  return rv != 0 ? rv : request_result(entry_json(&entry, true), ret, err);
}

/* --- many ------------------------------------------------------------------------------------- */

typedef struct totals {
  double put, deleted;
} totals;

static int import_one(const node_context *node, const char *share, const cJSON *row, totals *t,
                      km_errinfo *err) {
  km_store *store = node->store;
  const char *own, *key;
  bool deleted;
  uint8_t *value;
  size_t len;
  if (!cJSON_IsObject(row)) {
    return km_fail(err, KM_ERR_INVALID, "a member of 'entries' is no object");
  }
  int rv = arg_text(row, "share", false, &own, err);
  rv = rv != 0 ? rv : arg_text(row, "key", true, &key, err);
  rv = rv != 0 ? rv : arg_flag(row, "deleted", &deleted, err);
  if (rv != 0) {
    return rv;
  }
  share = share != NULL ? share : own;
  if (share == NULL) {
    return km_fail(err, KM_ERR_INVALID, "which share? Give it in the row, or for all of them");
  }
  if (deleted) {
    rv = km_kv_delete(store, share, key, err);
    t->deleted += rv == 0 ? 1 : 0;
    return rv == KM_ERR_NOT_FOUND ? 0 : rv; /* it is not there, as wanted */
  }
  rv = request_check_share(node, share, err);
  rv = rv != 0 ? rv : arg_bytes(row, "value", &value, &len, err);
  if (rv == 0) {
    rv = km_kv_put(store, share, key, value, len, err);
    free(value);
    t->put += rv == 0 ? 1 : 0;
  }
  return rv;
}

static int import_all(const node_context *node, const char *share, const cJSON *entries, totals *t,
                      km_errinfo *err) {
  const cJSON *row;
  unsigned number = 0;
  cJSON_ArrayForEach(row, entries) {
    km_errinfo why = {0};
    number++;
    int rv = import_one(node, share, row, t, &why);
    if (rv != 0) {
      return km_fail(err, rv, "entry %u: %s; nothing was imported", number,
                     why.text[0] != '\0' ? why.text : km_strerror(rv));
    }
  }
  return 0;
}

static int run_import(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  const char *share;
  totals t = {0};
  const cJSON *entries = cJSON_GetObjectItemCaseSensitive(args, "entries");
  int rv = arg_text(args, "share", false, &share, err);
  if (rv == 0 && !cJSON_IsArray(entries)) {
    rv = km_fail(err, KM_ERR_INVALID, "'entries' must be a list of objects");
  }
  rv = rv != 0 ? rv : km_kv_begin(r->node->store, err);
  if (rv != 0) {
    return rv;
  }
  rv = import_all(r->node, share, entries, &t, err);
  if (rv != 0) {
    km_kv_rollback(r->node->store);
    return rv;
  }
  rv = km_kv_commit(r->node->store, err);
  if (rv != 0) {
    return rv;
  }
  cJSON *o = cJSON_CreateObject();
  put_number(o, "put", t.put);
  put_number(o, "deleted", t.deleted);
  return request_result(o, ret, err);
}

/* --- checks ----------------------------------------------------------------------------------- */

typedef struct keys {
  char **at;
  size_t count, cap;
  bool no_memory;
} keys;

static void take_key(void *ctx, const km_kv_entry *entry) {
  keys *k = ctx;
  if (k->count == k->cap) {
    size_t cap = k->cap == 0 ? 64 : 2 * k->cap;
    char **at = realloc(k->at, cap * sizeof *at);
    if (at == NULL) {
      k->no_memory = true;
      return;
    }
    k->at = at;
    k->cap = cap;
  }
  k->at[k->count] = km_env_strdup(&km_env_system, entry->key);
  k->no_memory = k->no_memory || k->at[k->count] == NULL;
  k->count += k->at[k->count] != NULL ? 1 : 0;
}

static int verify_keys(km_store *store, const char *share, const keys *k, km_errinfo *err) {
  for (size_t i = 0; i < k->count; i++) {
    km_errinfo why = {0};
    int rv = km_kv_verify(store, share, k->at[i], &why);
    if (rv != 0 && rv != KM_ERR_NOT_FOUND) {
      return km_fail(err, rv, "%.80s: %s", k->at[i],
                     why.text[0] != '\0' ? why.text : km_strerror(rv));
    }
  }
  return 0;
}

/* Every entry of a share, deletions too. */
static int verify_share(request *r, const char *share, cJSON **ret, km_errinfo *err) {
  keys k = {0};
  const km_kv_query query = {.size = sizeof query, .with_deleted = true};
  int64_t count = km_kv_list(r->node->store, share, &query, take_key, &k, err);
  int rv = count < 0     ? (int)count
           : count == 0  ? request_check_share(r->node, share, err)
           : k.no_memory ? km_fail(err, KM_ERR_NOMEM, NULL)
                         : 0;
  rv = rv != 0 ? rv : verify_keys(r->node->store, share, &k, err);
  for (size_t i = 0; i < k.count; i++) {
    km_env_free(&km_env_system, k.at[i]);
  }
  free(k.at);
  if (rv != 0) {
    return rv;
  }
  cJSON *o = cJSON_CreateObject();
  put_number(o, "checked", (double)count);
  return request_result(o, ret, err);
}

static int run_verify(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  const char *share, *key;
  km_kv_entry entry;
  int rv = arg_text(args, "share", true, &share, err);
  rv = rv != 0 ? rv : arg_text(args, "key", false, &key, err);
  if (rv != 0 || key == NULL) {
    return rv != 0 ? rv : verify_share(r, share, ret, err);
  }
  rv = km_kv_verify(r->node->store, share, key, err);
  if (rv != 0) {
    return rv;
  }
  cJSON *o = cJSON_CreateObject();
  put_number(o, "checked", 1);
  if (km_kv_get(r->node->store, share, key, &entry, NULL) == 0) { /* else it is a deletion */
    put_id(o, "author", &entry.author);
    put_flag(o, "own", entry.own);
    put_clock(o, entry.clock);
  }
  return request_result(o, ret, err);
}

const request_command request_kv_commands[] = {
    {"kv.put", "share key value value_b64 ", false, run_put},
    {"kv.get", "share key ", false, run_get},
    {"kv.delete", "share key ", false, run_delete},
    {"kv.import", "share entries ", false, run_import},
    {"kv.verify", "share key ", false, run_verify},
    {0},
};
