#include <string.h>

#include "store/kv_impl.h"

struct km_kv_watch {
  km_list node;
  km_store *store;
  uint64_t since; /* told of events behind this one */
  bool cancelled; /* while it may be on the stack of km_kv_tell, which frees it */
  size_t prefix_len;
  char *prefix;
  char share[KM_SHARE_NAME_MAX + 1]; /* empty: all */
  km_kv_fn fn;
  void *ctx;
};

static void free_watch(km_kv_watch *w) {
  km_list_remove(&w->node);
  km_env_free(w->store->env, w->prefix);
  km_env_free(w->store->env, w);
}

int km_kv_watch_start(km_kv_watch **ret, km_store *store, const char *share, const char *prefix,
                      km_kv_fn fn, void *ctx, km_errinfo *err) {
  int rv = share != NULL ? km_share_name_check(share, strlen(share), err) : 0;
  if (rv != 0 || fn == NULL) {
    return rv != 0 ? rv : km_fail(err, KM_ERR_INVALID, "a watch needs a function to call");
  }
  km_kv_watch *w = km_env_zalloc(store->env, 1, sizeof *w);
  char *copy = km_env_strdup(store->env, prefix != NULL ? prefix : "");
  if (w == NULL || copy == NULL) {
    km_env_free(store->env, w);
    km_env_free(store->env, copy);
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  w->store = store;
  w->since = store->kv->events;
  w->prefix = copy;
  w->prefix_len = strlen(copy);
  if (share != NULL) {
    memcpy(w->share, share, strlen(share));
  }
  w->fn = fn;
  w->ctx = ctx;
  km_list_init(&w->node);
  km_list_append(&store->kv->watches, &w->node);
  *ret = w;
  return 0;
}

void km_kv_watch_cancel(km_kv_watch *watch) {
  if (watch == NULL) {
    return;
  }
  if (watch->store->kv->telling > 0) {
    watch->cancelled = true;
  } else {
    free_watch(watch);
  }
}

void km_kv_on_change(km_store *store, km_kv_changed_fn fn, void *ctx) {
  store->kv->hook = fn;
  store->kv->hook_ctx = ctx;
}

void km_kv_on_forged(km_store *store, km_kv_forged_fn fn, void *ctx) {
  store->kv->forged = fn;
  store->kv->forged_ctx = ctx;
}

bool km_kv_is_watched(const struct km_kv *kv) {
  return kv->hook != NULL || !km_list_empty(&kv->watches);
}

static bool wants(const km_kv_watch *w, const km_kv_entry *e, uint64_t event) {
  return !w->cancelled && w->since < event &&
         (w->share[0] == '\0' || strcmp(w->share, e->share) == 0) &&
         strncmp(w->prefix, e->key, w->prefix_len) == 0;
}

static void free_cancelled(struct km_kv *kv) {
  for (km_list *at = kv->watches.next, *next; at != &kv->watches; at = next) {
    next = at->next;
    km_kv_watch *w = KM_LIST_ITEM(at, km_kv_watch, node);
    if (w->cancelled) {
      free_watch(w);
    }
  }
}

void km_kv_tell(km_store *s, const km_kv_entry *e, const km_item *item, const km_id *from) {
  struct km_kv *kv = s->kv;
  uint64_t event = ++kv->events;
  kv->telling++;
  if (kv->hook != NULL && item != NULL) {
    kv->hook(kv->hook_ctx, e->share, item, from);
  }
  /* No node leaves the list meanwhile, and new ones come behind. */
  for (km_list *at = kv->watches.next; at != &kv->watches; at = at->next) {
    km_kv_watch *w = KM_LIST_ITEM(at, km_kv_watch, node);
    if (wants(w, e, event)) {
      w->fn(w->ctx, e);
    }
  }
  if (--kv->telling == 0) {
    free_cancelled(kv);
  }
}

void km_kv_free_watches(km_store *s) {
  while (!km_list_empty(&s->kv->watches)) {
    free_watch(KM_LIST_ITEM(s->kv->watches.next, km_kv_watch, node));
  }
}
