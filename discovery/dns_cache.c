#include "discovery/dns_cache.h"

#include <string.h>

void km_dns_cache_init(km_dns_cache *c, const km_env *env) {
  *c = (km_dns_cache){.env = env};
  km_list_init(&c->entries);
}

static km_dns_cached *entry_of(km_list *node) {
  return KM_LIST_ITEM(node, km_dns_cached, node);
}

static void free_entry(km_dns_cache *c, km_dns_cached *e) {
  km_env_free(c->env, e->name);
  km_env_free(c->env, e->bytes);
  km_env_free(c->env, e);
}

static void drop(km_dns_cache *c, km_dns_cached *e) {
  km_list_remove(&e->node);
  c->count--;
  free_entry(c, e);
}

void km_dns_cache_clear(km_dns_cache *c) {
  while (!km_list_empty(&c->entries)) {
    drop(c, entry_of(c->entries.next));
  }
}

static km_dns_cached *find(km_dns_cache *c, const char *name) {
  for (km_list *n = c->entries.next; n != &c->entries; n = n->next) {
    if (strcmp(entry_of(n)->name, name) == 0) {
      return entry_of(n);
    }
  }
  return NULL;
}

static void to_front(km_dns_cache *c, km_dns_cached *e) {
  km_list_remove(&e->node);
  km_list_append(c->entries.next, &e->node); /* before the first */
}

const km_dns_cached *km_dns_cache_get(km_dns_cache *c, const char *name, km_ts now) {
  km_dns_cached *e = find(c, name);
  if (e == NULL) {
    return NULL;
  }
  if (now >= e->until) {
    drop(c, e);
    return NULL;
  }
  to_front(c, e);
  return e;
}

static km_dns_cached *new_entry(km_dns_cache *c, const char *name, const uint8_t *bytes,
                                size_t len) {
  km_dns_cached *e = km_env_zalloc(c->env, 1, sizeof *e);
  if (e == NULL) {
    return NULL;
  }
  e->name = km_env_strdup(c->env, name);
  e->bytes = bytes != NULL ? km_env_alloc(c->env, len) : NULL;
  if (e->name == NULL || (bytes != NULL && e->bytes == NULL)) {
    free_entry(c, e);
    return NULL;
  }
  if (bytes != NULL) {
    memcpy(e->bytes, bytes, len);
    e->len = len;
  }
  km_list_init(&e->node);
  return e;
}

void km_dns_cache_put(km_dns_cache *c, const char *name, const uint8_t *bytes, size_t len,
                      uint32_t ttl_s, km_ts now) {
  uint32_t most = bytes != NULL ? KM_DNS_CACHE_TTL : KM_DNS_CACHE_TTL_ABSENT;
  uint32_t ttl = ttl_s < most ? ttl_s : most;
  km_dns_cached *e = find(c, name);
  if (e != NULL && bytes == NULL && e->bytes != NULL && now < e->until) {
    return;
  }
  if (e != NULL) {
    drop(c, e);
  }
  if (ttl == 0 || len > KM_DNS_CACHE_BYTES) {
    return;
  }
  e = new_entry(c, name, bytes, len);
  if (e == NULL) {
    return;
  }
  e->since = now;
  e->until = now + ttl * KM_NS_PER_S;
  if (c->count == KM_DNS_CACHE_ENTRIES) {
    drop(c, entry_of(c->entries.prev));
  }
  c->count++;
  to_front(c, e);
}
