/* What discovery keeps on disk (or, without a file, in memory): the cache of peers, the last
 * timestamp of each key that we signed with, and the newest packets' of others. Thin over
 * store/db_io.h. */
#ifndef KM_DISCOVERY_STATE_IO_H
#define KM_DISCOVERY_STATE_IO_H

#include <keymesh/discovery.h>

#include "store/db_io.h"

typedef struct km_discovery_state km_discovery_state;

KM_NODISCARD int km_discovery_state_open(km_discovery_state **ret, const km_env *env,
                                         const char *path, km_errinfo *err);
void km_discovery_state_close(km_discovery_state *s);

/* A timestamp for a packet, in microseconds: `wall`, or one more than the last one given out for
 * this key, whichever is later; it is on disk before it is returned. A failure of the disk is no
 * error: the timestamp is right for as long as the process lives. */
uint64_t km_discovery_state_timestamp(km_discovery_state *s, const km_id *id, km_wall wall);
/* A packet of ours with this timestamp was seen: later ones have to be above it. */
void km_discovery_state_seen(km_discovery_state *s, const km_id *id, uint64_t timestamp_us);

#define KM_DISCOVERY_NEWEST_MAX 4096 /* keys; those with the oldest packets make room */
/* A verified packet of somebody else came. False: a newer one came before, maybe to an earlier
 * process. Of one whose time is yet to come (a clock that was wrong) only the present is kept: it
 * must not stand in the way of those that follow for years. A failure of the disk is no error. */
bool km_discovery_state_newest(km_discovery_state *s, const km_id *id, uint64_t timestamp_us,
                               km_wall wall);

/* The cache's database. */
km_db *km_discovery_state_db(km_discovery_state *s);

#endif /* KM_DISCOVERY_STATE_IO_H */
