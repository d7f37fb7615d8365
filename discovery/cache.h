/* The cache's tables (discovery/state_io.c) and what waits to be written to them. */
#ifndef KM_DISCOVERY_CACHE_H
#define KM_DISCOVERY_CACHE_H

#include "discovery/discovery_impl.h"

#define KM_CACHE_MAX_AGE_S (30 * 86400)
#define KM_CACHE_MAX_WORKED 8 /* ways of one peer, those that worked last */
#define KM_CACHE_WAYS_CAP 4096
#define KM_CACHE_MAX_CLAIM_S 600 /* what nobody proved is believed no longer */

/* km_discovery_add_cache with a clock of its own. */
KM_NODISCARD int km_cache_add(km_discovery *d, size_t max_peers, km_wall (*wall)(void),
                              km_errinfo *err);

/* Something that was learnt. */
typedef struct km_cache_item {
  km_id id;
  bool worked;                          /* reached; else heard: in the tables, with a signature */
  char source[17];                      /* who said it, when heard */
  int64_t at;                           /* Unix time in seconds */
  char *ways;                           /* text of discovery/ways.h */
  char user_data[KM_USER_DATA_MAX + 1]; /* "": none */
  int64_t published_ms;
  bool proven;
} km_cache_item;

/* --- the tables (cache_store_io.c) ------------------------------------------------------------ */

typedef struct km_cache_store km_cache_store;

KM_NODISCARD int km_cache_store_new(km_cache_store **ret, const km_env *env, km_db *db,
                                    size_t max_peers, km_errinfo *err);
void km_cache_store_free(km_cache_store *s);

/* 1: `item` says what the tables do not; 0: they have it; or an error. */
KM_NODISCARD int km_cache_store_is_new(km_cache_store *s, const km_cache_item *item, int64_t now,
                                       km_errinfo *err);
/* A batch is one transaction. After an error of any of the three it is rolled back and over. */
KM_NODISCARD int km_cache_store_begin(km_cache_store *s, km_errinfo *err);
KM_NODISCARD int km_cache_store_put(km_cache_store *s, const km_cache_item *item, km_errinfo *err);
KM_NODISCARD int km_cache_store_end(km_cache_store *s, km_errinfo *err); /* makes room, commits */
/* Forgets what is too old. */
KM_NODISCARD int km_cache_store_expire(km_cache_store *s, int64_t now, km_errinfo *err);

/* 1: the peer is there, and was not used for so long that others may push it out; 0; an error. */
KM_NODISCARD int km_cache_store_is_cold(km_cache_store *s, const km_id *id, km_errinfo *err);
KM_NODISCARD int km_cache_store_touch(km_cache_store *s, const km_id *id, km_errinfo *err);

/* What is known of a peer and not too old: first, for each way that worked, the latest first, an
 * item; then what sources said. Items point into the tables, valid during the call. */
typedef void (*km_cache_item_fn)(void *ctx, const km_cache_item *item);
KM_NODISCARD int km_cache_store_read(km_cache_store *s, const km_id *id, int64_t now,
                                     km_cache_item_fn fn, void *ctx, km_errinfo *err);

#endif /* KM_DISCOVERY_CACHE_H */
