#include "discovery/memory_source.h"

#include <string.h>

#include "discovery/discovery_impl.h"
#include "discovery/id_map.h"

typedef struct entry {
  km_addr *addr;
  km_ts since;
  char user_data[KM_USER_DATA_MAX + 1]; /* "": none */
} entry;

struct km_memory {
  const km_env *env;
  km_loop *loop;
  km_source *source;
  km_id_map entries;
  bool watched;
};

static void view(const km_memory *m, const entry *e, km_found *ret) {
  km_ts age = (km_loop_now(m->loop) - e->since) / KM_NS_PER_S;
  *ret = (km_found){.size = sizeof *ret,
                    .addr = e->addr,
                    .user_data = e->user_data[0] != '\0' ? e->user_data : NULL,
                    .age_s = age < UINT32_MAX ? (uint32_t)age : UINT32_MAX};
}

static void tell(km_memory *m, const entry *e) {
  if (m->watched) {
    km_found found;
    view(m, e, &found);
    km_source_found(m->source, &found);
  }
}

static void delete_entry(km_memory *m, entry *e) {
  if (e != NULL) {
    km_addr_free(e->addr);
    km_env_free(m->env, e);
  }
}

int km_memory_put(km_memory *m, const km_addr *addr, const char *user_data) {
  entry *e = km_env_zalloc(m->env, 1, sizeof *e);
  if (e == NULL || km_addr_copy(&e->addr, addr) != 0) {
    km_env_free(m->env, e);
    return KM_ERR_NOMEM;
  }
  e->since = km_loop_now(m->loop);
  if (user_data != NULL) {
    memcpy(e->user_data, user_data, strlen(user_data)); /* its length was checked */
  }
  entry *old = km_id_map_get(&m->entries, km_addr_id(addr));
  if (km_id_map_set(&m->entries, km_addr_id(addr), e) != 0) {
    delete_entry(m, e);
    return KM_ERR_NOMEM;
  }
  delete_entry(m, old);
  tell(m, e);
  return 0;
}

int km_memory_remove(km_memory *m, const km_id *id) {
  km_id gone = *id; /* may lie in what is freed */
  entry *e = km_id_map_take(&m->entries, &gone);
  if (e == NULL) {
    return KM_ERR_NOT_FOUND;
  }
  delete_entry(m, e);
  if (m->watched) {
    km_source_lost(m->source, &gone);
  }
  return 0;
}

static void resolve(void *ctx, km_query *query, const km_id *id) {
  const km_memory *m = ctx;
  const entry *e = km_id_map_get(&m->entries, id);
  if (e != NULL) {
    km_found found;
    view(m, e, &found);
    km_query_found(query, &found);
  }
  km_query_done(query, NULL);
}

static void watch(void *ctx, bool on) {
  km_memory *m = ctx;
  m->watched = on;
  size_t at = 0;
  for (km_id_slot *slot; on && (slot = km_id_map_next(&m->entries, &at)) != NULL;) {
    tell(m, slot->value);
  }
}

static void close_memory(void *ctx) {
  km_memory *m = ctx;
  size_t at = 0;
  for (km_id_slot *slot; (slot = km_id_map_next(&m->entries, &at)) != NULL;) {
    delete_entry(m, slot->value);
  }
  km_id_map_clear(&m->entries);
  km_env_free(m->env, m);
}

int km_memory_add(km_memory **ret, km_discovery *d, km_errinfo *err) {
  static const km_source_ops ops = {.size = sizeof ops,
                                    .name = "memory",
                                    .resolve = resolve,
                                    .watch = watch,
                                    .close = close_memory};
  const km_env *env = km_discovery_env(d);
  km_memory *m = km_env_zalloc(env, 1, sizeof *m);
  if (m == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  m->env = env;
  m->loop = km_discovery_loop(d);
  km_id_map_init(&m->entries, env);
  int rv = km_discovery_add(d, &m->source, &ops, m, err);
  if (rv != 0) {
    close_memory(m);
    return rv;
  }
  *ret = m;
  return 0;
}
