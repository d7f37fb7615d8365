#include <string.h>

#include "store/kv_impl.h"

#define APPLICATION_ID UINT32_C(0x4b4d6b76) /* "KMkv" */

/* Pages that are looked at again and again: the upper ones of all indices. */
#define CACHE_KIB 16384

void km_store_options_default(km_store_options *options) {
  *options = (km_store_options){.size = sizeof *options,
                                .durability = KM_DURABLE_POWER,
                                .max_key = 256,
                                .max_value = 65536,
                                .max_skew_ms = 60000,
                                .tombstone_min_s = 86400};
}

static int check_options(const km_store_options *o, km_errinfo *err) {
  if (o->secret_key == NULL) {
    return km_fail(err, KM_ERR_INVALID, "a store needs a secret key to sign with");
  }
  if (o->durability != KM_DURABLE_PROCESS && o->durability != KM_DURABLE_POWER) {
    return km_fail(err, KM_ERR_INVALID, "unknown durability %d", (int)o->durability);
  }
  if (o->max_key == 0 || o->max_key > KM_KV_KEY_MAX) {
    return km_fail(err, KM_ERR_INVALID, "max_key is 1 to %d, not %u", KM_KV_KEY_MAX,
                   (unsigned)o->max_key);
  }
  if (o->max_value == 0 || o->max_value > KM_KV_VALUE_MAX) {
    return km_fail(err, KM_ERR_INVALID, "max_value is 1 to %d, not %u", KM_KV_VALUE_MAX,
                   (unsigned)o->max_value);
  }
  if (o->max_skew_ms > 86400000) {
    return km_fail(err, KM_ERR_INVALID, "max_skew_ms is 0 to 86400000, not %u",
                   (unsigned)o->max_skew_ms);
  }
  return 0;
}

static int take_options(km_store *s, const km_store_options *options, km_errinfo *err) {
  km_store_options_default(&s->options);
  if (options->size < offsetof(km_store_options, durability)) {
    return km_fail(err, KM_ERR_INVALID, "fill the options with km_store_options_default");
  }
  size_t size = sizeof s->options;
  memcpy(&s->options, options, options->size < size ? options->size : size);
  s->options.size = size;
  int rv = check_options(&s->options, err);
  if (rv != 0) {
    return rv;
  }
  if (s->options.path != NULL) {
    s->path = km_env_strdup(s->env, s->options.path);
    if (s->path == NULL) {
      return km_fail(err, KM_ERR_NOMEM, NULL);
    }
  }
  rv = km_secret_key_copy(&s->key, s->options.secret_key);
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  s->options.path = s->path;
  s->options.secret_key = s->key;
  km_secret_key_id(s->key, &s->id);
  return 0;
}

static int open_database(km_store *s, km_errinfo *err) {
  const km_db_config config = {.env = s->env,
                               .path = s->path,
                               .application_id = APPLICATION_ID,
                               .migrations = km_store_migrations,
                               .migration_count = km_store_migration_count,
                               .full_sync = s->options.durability == KM_DURABLE_POWER,
                               .exclusive = true,
                               .cache_kib = CACHE_KIB};
  return km_db_open(&s->db, &config, err);
}

static int open_store(km_store *s, const km_store_options *options, km_errinfo *err) {
  int rv = take_options(s, options, err);
  static int (*const steps[])(km_store *, km_errinfo *) = {open_database, km_kv_open, km_trust_open,
                                                           km_outbox_open};
  for (size_t i = 0; rv == 0 && i < sizeof steps / sizeof steps[0]; i++) {
    rv = steps[i](s, err);
  }
  return rv;
}

int km_store_open_with(km_store **ret, const km_store_options *options, const km_env *env,
                       km_wall (*wall)(void *ctx), void *wall_ctx, km_errinfo *err) {
  km_store *s = km_env_zalloc(env, 1, sizeof *s);
  if (s == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  s->env = env;
  s->wall = wall;
  s->wall_ctx = wall_ctx;
  int rv = open_store(s, options, err);
  if (rv != 0) {
    km_store_close(s);
    return rv;
  }
  *ret = s;
  return 0;
}

int km_store_open(km_store **ret, const km_store_options *options, km_errinfo *err) {
  return km_store_open_with(ret, options, &km_env_system, NULL, NULL, err);
}

void km_store_close(km_store *store) {
  if (store == NULL) {
    return;
  }
  km_outbox_close(store);
  km_trust_close(store);
  km_kv_close(store);
  km_db_close(store->db);
  km_secret_key_free(store->key);
  km_env_free(store->env, store->path);
  km_env_free(store->env, store);
}

const km_id *km_store_id(const km_store *store) {
  return &store->id;
}

km_wall km_store_wall(const km_store *s) {
  return s->wall != NULL ? s->wall(s->wall_ctx) : km_clock_wall();
}
