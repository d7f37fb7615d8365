/* Lists of entries, page by page, and watches. */
#include <stdlib.h>
#include <string.h>

#include "cmd/node/daemon/request_impl.h"

/* Entries read at once: a reader who is slow keeps no more than these waiting. */
#define PAGE 32

typedef struct names {
  char **at;
  size_t count;
  bool no_memory;
} names;

static void take_name(void *ctx, const char *share, uint64_t entries, uint64_t deleted,
                      uint64_t bytes) {
  names *n = ctx;
  (void)entries;
  (void)deleted;
  (void)bytes;
  char **at = realloc(n->at, (n->count + 1) * sizeof *at);
  n->at = at != NULL ? at : n->at;
  char *copy = at != NULL ? km_env_strdup(&km_env_system, share) : NULL;
  n->no_memory = n->no_memory || copy == NULL;
  if (copy != NULL) {
    n->at[n->count++] = copy;
  }
}

static void free_names(names *n) {
  for (size_t i = 0; i < n->count; i++) {
    km_env_free(&km_env_system, n->at[i]);
  }
  free(n->at);
}

/* A share is looked for that the configuration has, or had: of anything else the name is wrong. */
typedef struct wanted {
  const char *name;
  bool found;
} wanted;

static void look_for_name(void *ctx, const char *share, uint64_t entries, uint64_t deleted,
                          uint64_t bytes) {
  wanted *w = ctx;
  (void)entries;
  (void)deleted;
  (void)bytes;
  w->found = w->found || strcmp(share, w->name) == 0;
}

static int check_known(const request *r, const char *share, km_errinfo *err) {
  wanted w = {.name = share};
  km_errinfo why = {0};
  int rv = request_check_share(r->node, share, &why);
  if (rv == 0) {
    return 0;
  }
  int64_t count = km_kv_shares(r->node->store, look_for_name, &w, err);
  return count < 0 ? (int)count : w.found ? 0 : km_fail(err, rv, "%s", why.text);
}

/* Those of all shares, or the one that was named. */
static int list_names(request *r, const char *share, names *ret, km_errinfo *err) {
  int rv = share == NULL ? 0 : check_known(r, share, err);
  if (rv != 0) {
    return rv;
  }
  if (share != NULL) {
    take_name(ret, share, 0, 0, 0);
  } else {
    int64_t count = km_kv_shares(r->node->store, take_name, ret, err);
    if (count < 0) {
      return (int)count;
    }
  }
  return ret->no_memory ? km_fail(err, KM_ERR_NOMEM, NULL) : 0;
}

/* --- lists ------------------------------------------------------------------------------------ */

typedef struct listing {
  request *request;
  names shares;
  size_t at;            /* the share that is being listed */
  char *prefix, *after; /* NULL: none */
  double left;          /* 0: no limit */
  bool limited, deleted, values, no_memory;
} listing;

static void clear_listing(request *r) {
  listing *l = r->state;
  free_names(&l->shares);
  km_env_free(&km_env_system, l->prefix);
  km_env_free(&km_env_system, l->after);
  free(l);
}

static void on_entry(void *ctx, const km_kv_entry *entry) {
  listing *l = ctx;
  char *after = km_env_strdup(&km_env_system, entry->key);
  l->no_memory = l->no_memory || after == NULL;
  km_env_free(&km_env_system, l->after);
  l->after = after;
  l->left -= l->limited ? 1 : 0;
  request_row(l->request, entry_json(entry, l->values));
}

/* A page. 0: there may be more, 1: that was all, or an error. */
static int next_page(request *r, km_errinfo *err) {
  listing *l = r->state;
  if (l->at == l->shares.count || (l->limited && l->left < 1)) {
    return 1;
  }
  size_t limit = l->limited && l->left < PAGE ? (size_t)l->left : PAGE;
  const km_kv_query query = {.size = sizeof query,
                             .prefix = l->prefix,
                             .after = l->after,
                             .limit = limit,
                             .with_deleted = l->deleted};
  int64_t count = km_kv_list(r->node->store, l->shares.at[l->at], &query, on_entry, l, err);
  if (count < 0 || l->no_memory) {
    return count < 0 ? (int)count : km_fail(err, KM_ERR_NOMEM, NULL);
  }
  if ((size_t)count < limit) {
    l->at++;
    km_env_free(&km_env_system, l->after);
    l->after = NULL;
  }
  return 0;
}

static void resume_listing(request *r) {
  km_errinfo err = {0};
  int rv = 0;
  while (rv == 0) {
    if (request_backlog(r) >= REQUEST_PAUSE) {
      return;
    }
    rv = next_page(r, &err);
  }
  request_end_list(r, rv < 0 ? rv : 0, &err);
}

static int start_listing(request *r, const cJSON *args, listing *l, km_errinfo *err) {
  const char *share = NULL, *prefix = NULL, *after = NULL;
  int rv = arg_text(args, "share", false, &share, err);
  rv = rv != 0 ? rv : arg_text(args, "prefix", false, &prefix, err);
  rv = rv != 0 ? rv : arg_text(args, "after", false, &after, err);
  if (rv == 0 && after != NULL && share == NULL) {
    rv = km_fail(err, KM_ERR_INVALID, "'after' needs a share");
  }
  rv = rv != 0 ? rv : list_names(r, share, &l->shares, err);
  if (rv != 0) {
    return rv;
  }
  l->prefix = prefix == NULL ? NULL : km_env_strdup(&km_env_system, prefix);
  l->after = after == NULL ? NULL : km_env_strdup(&km_env_system, after);
  bool there = (prefix == NULL || l->prefix != NULL) && (after == NULL || l->after != NULL);
  return there ? 0 : km_fail(err, KM_ERR_NOMEM, NULL);
}

/* NULL: an error. What was begun, the request's end clears. */
static listing *new_listing(request *r, const cJSON *args, km_errinfo *err) {
  listing *l = calloc(1, sizeof *l);
  if (l == NULL) {
    (void)km_fail(err, KM_ERR_NOMEM, NULL);
    return NULL;
  }
  l->request = r;
  l->values = true;
  r->state = l;
  r->clear = clear_listing;
  r->resume = resume_listing;
  return start_listing(r, args, l, err) == 0 ? l : NULL;
}

static int run_list(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  bool keys_only = false;
  (void)ret;
  listing *l = new_listing(r, args, err);
  if (l == NULL) {
    return err->code;
  }
  int rv = arg_flag(args, "deleted", &l->deleted, err);
  rv = rv != 0 ? rv : arg_flag(args, "keys_only", &keys_only, err);
  rv = rv != 0 ? rv : arg_number(args, "limit", 0, 0, 1e15, &l->left, err);
  if (rv != 0) {
    return rv;
  }
  l->limited = l->left > 0;
  l->values = !keys_only;
  return REQUEST_GOES_ON;
}

static int run_export(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  (void)ret;
  listing *l = new_listing(r, args, err);
  if (l == NULL) {
    return err->code;
  }
  l->deleted = true;
  return REQUEST_GOES_ON;
}

/* --- watches ---------------------------------------------------------------------------------- */

static void clear_watch(request *r) {
  km_kv_watch_cancel(r->state);
}

static void on_change(void *ctx, const km_kv_entry *entry) {
  request *r = ctx;
  if (request_backlog(r) < REQUEST_OVERRUN) {
    request_row(r, entry_json(entry, true));
    return;
  }
  km_errinfo err;
  (void)km_fail(&err, KM_ERR_LIMIT,
                "changes come faster than they are read: list the share, then watch it again");
  request_end(r, NULL, &err);
}

static int run_watch(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  const char *share = NULL, *prefix = NULL;
  km_kv_watch *watch;
  (void)ret;
  int rv = arg_text(args, "share", false, &share, err);
  rv = rv != 0 ? rv : arg_text(args, "prefix", false, &prefix, err);
  rv = rv != 0 || share == NULL ? rv : check_known(r, share, err);
  rv = rv != 0 ? rv : km_kv_watch_start(&watch, r->node->store, share, prefix, on_change, r, err);
  if (rv != 0) {
    return rv;
  }
  r->state = watch;
  r->clear = clear_watch;
  return REQUEST_GOES_ON;
}

/* --- hashes ----------------------------------------------------------------------------------- */

static int hash_all(request *r, const names *shares, km_errinfo *err) {
  for (size_t i = 0; i < shares->count; i++) {
    uint8_t hash[KM_KV_HASH_BYTES];
    int rv = km_kv_hash(r->node->store, shares->at[i], hash, err);
    if (rv != 0) {
      return rv;
    }
    cJSON *o = cJSON_CreateObject();
    put_text(o, "share", shares->at[i]);
    put_hex(o, "hash", hash, sizeof hash);
    request_row(r, o);
  }
  return 0;
}

static int run_hash(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  const char *share;
  names shares = {0};
  int rv = arg_text(args, "share", false, &share, err);
  rv = rv != 0 ? rv : list_names(r, share, &shares, err);
  rv = rv != 0 ? rv : hash_all(r, &shares, err);
  free_names(&shares);
  return rv != 0 ? rv : request_count(r, ret, err);
}

const request_command request_list_commands[] = {
    {"kv.hash", "share ", false, run_hash},
    {"kv.list", "share prefix after limit deleted keys_only ", false, run_list},
    {"kv.export", "share prefix ", false, run_export},
    {"kv.watch", "share prefix ", true, run_watch},
    {0},
};
