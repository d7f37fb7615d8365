/* Inside of a km_store, for the files of store/: one database, the clock, who watches. */
#ifndef KM_STORE_STORE_IMPL_H
#define KM_STORE_STORE_IMPL_H

#include <keymesh/kv.h>
#include <keymesh/trust.h>

#include "base/env.h"
#include "base/list.h"
#include "store/db_io.h"
#include "store/hlc.h"

struct km_store {
  const km_env *env;
  km_store_options options; /* path and secret_key are ours */
  char *path;
  km_secret_key *key;
  km_id id;
  km_db *db;
  km_hlc clock;
  /* Wall time, for tests that turn it; km_clock_wall else (store_io.c). */
  km_wall (*wall)(void *ctx);
  void *wall_ctx;
  struct km_kv *kv;          /* kv_io.c: prepared statements, watches, batch */
  struct km_trust_db *trust; /* trust_io.c */
  struct km_outbox *outbox;  /* outbox_io.c */
};

/* With a clock of one's own (tests, the simulator). `wall` NULL: the system's. */
KM_NODISCARD int km_store_open_with(km_store **ret, const km_store_options *options,
                                    const km_env *env, km_wall (*wall)(void *ctx), void *wall_ctx,
                                    km_errinfo *err);
km_wall km_store_wall(const km_store *s);

/* The three parts, opened and closed by store_io.c. Their schemas are in store_schema.c. */
KM_NODISCARD int km_kv_open(km_store *s, km_errinfo *err);
void km_kv_close(km_store *s);
KM_NODISCARD int km_trust_open(km_store *s, km_errinfo *err);
void km_trust_close(km_store *s);
KM_NODISCARD int km_outbox_open(km_store *s, km_errinfo *err);
void km_outbox_close(km_store *s);

/* Migrations of the one database (store_schema.c). */
extern const char *const km_store_migrations[];
extern const size_t km_store_migration_count;

#endif /* KM_STORE_STORE_IMPL_H */
