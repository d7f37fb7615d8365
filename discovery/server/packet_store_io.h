/* Signed packets by key: SQLite on disk, the busy ones in memory. Writes are gathered into one
 * transaction on a thread of its own, and told when they are on disk. Loop thread only. */
#ifndef KM_DISCOVERY_SERVER_PACKET_STORE_IO_H
#define KM_DISCOVERY_SERVER_PACKET_STORE_IO_H

#include "base/io/loop_io.h"
#include "discovery/pkarr.h"

typedef struct km_packet_store km_packet_store;

typedef struct km_packet_store_config {
  const km_env *env; /* outlives it */
  km_loop *loop;
  const char *path;   /* NULL: in memory only */
  size_t max_packets; /* beyond it the ones not renewed for longest go; 0: no limit */
  uint32_t max_age_s; /* since it was first put here: a newer one alone renews; 0: for ever */
  size_t cache_bytes; /* of packets in memory */
  bool full_sync;     /* also safe against power failure */
} km_packet_store_config;

/* 0 or the errors of km_db_open. */
KM_NODISCARD int km_packet_store_open(km_packet_store **ret, const km_packet_store_config *config,
                                      km_errinfo *err);
/* Writes what waits, waits for it, and frees; callbacks of waiting puts do not run. */
void km_packet_store_close(km_packet_store *s);

typedef enum km_packet_put {
  KM_PACKET_NEW,   /* stored */
  KM_PACKET_SAME,  /* it was there, and goes on aging */
  KM_PACKET_OLDER, /* a newer one is there, or one as new has expired: nothing changed */
  KM_PACKET_FAILED /* the disk refused: see `err` */
} km_packet_put;

/* `fn` runs once, from the loop, when it is decided and on disk. From the call on
 * km_packet_store_get may answer with it. Errors: KM_ERR_NOMEM, KM_ERR_LIMIT (too many wait), and
 * those of km_db_step when what is there cannot be read. */
typedef void (*km_packet_put_fn)(void *ctx, km_packet_put result, const km_errinfo *err);
KM_NODISCARD int km_packet_store_put(km_packet_store *s, const km_pkarr *packet,
                                     km_packet_put_fn fn, void *ctx, km_errinfo *err);
/* Forgets callbacks with this `ctx`: who waited is gone. */
void km_packet_store_forget(km_packet_store *s, const void *ctx);

/* From memory or disk. 1; 0: not there; below 0: that cannot be read. `stored` may be NULL: when it
 * was put, Unix seconds. */
KM_NODISCARD int km_packet_store_get(km_packet_store *s, const km_id *id, km_pkarr *ret,
                                     int64_t *stored);

typedef struct km_packet_store_stats {
  uint64_t packets; /* now */
  uint64_t puts_new, puts_same, puts_older, puts_failed;
  uint64_t gets_memory, gets_disk, gets_absent, gets_failed;
  uint64_t evicted_age, evicted_room, commits;
  uint64_t failing; /* 1: the last write failed, or a read within the last minute */
} km_packet_store_stats;
void km_packet_store_get_stats(const km_packet_store *s, km_packet_store_stats *ret);

#endif /* KM_DISCOVERY_SERVER_PACKET_STORE_IO_H */
