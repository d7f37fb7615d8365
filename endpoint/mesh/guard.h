/* What one peer may do to us: rates, and faults that end in being cut off. Pure. */
#ifndef KM_ENDPOINT_MESH_GUARD_H
#define KM_ENDPOINT_MESH_GUARD_H

#include <keymesh/mesh.h>

#include "base/token_bucket.h"

typedef enum km_fault {
  KM_FAULT_FORGED,
  KM_FAULT_FUTURE,
  KM_FAULT_FORBIDDEN,
  KM_FAULT_MALFORMED,
  KM_FAULT_UNWELCOME /* what others wrote who may not here: who passes it on cannot know that */
} km_fault;

typedef struct km_guard {
  km_token_bucket entries, messages;
  km_token_bucket broken_syncs; /* of theirs that they did not bring to an end */
  km_token_bucket items;        /* that we read for theirs */
  km_peer_faults faults;
  uint32_t max_faults;
  uint32_t recent;   /* faults in the present window */
  km_ts window_ends; /* ten minutes after its first */
  km_ts cut_until;   /* KM_TS_NEVER: not cut off */
} km_guard;

/* What a message or statement costs of a bucket that counts in sixtieths (km_mpeer.pace). */
#define KM_PACE_A_MESSAGE 60

void km_guard_init(km_guard *g, uint32_t per_minute, uint32_t per_second, uint32_t max_faults,
                   km_ts now);
/* Counts a fault. True: it is one too many, disconnect. */
bool km_guard_fault(km_guard *g, km_fault fault, km_ts now);
/* False: over the rate; what came is taken, but the peer must wait until km_guard_when (its credit
 * is held back; of its other connections nothing is taken). */
bool km_guard_entry(km_guard *g, km_ts now);
bool km_guard_message(km_guard *g, km_ts now);
/* A statement. One that is known costs a sixtieth of a message, a new one a tenth: who connects
 * tells all that it keeps. */
bool km_guard_statement(km_guard *g, bool known, km_ts now);
/* A synchronization of theirs failed. Honest peers end what they begin. */
void km_guard_sync_failed(km_guard *g, km_ts now);
/* For one of theirs we read so many items. */
void km_guard_sync_read(km_guard *g, uint64_t items, km_ts now);
bool km_guard_may_sync(km_guard *g, km_ts now);
km_ts km_guard_when(km_guard *g, km_ts now);
/* When nothing is held against it any more: no fault, no debt, full bursts. */
km_ts km_guard_rests_at(const km_guard *g, km_ts now);
bool km_guard_is_cut(const km_guard *g, km_ts now);

/* Where a connection comes from, as far as it counts: an IPv4 address, also one that is mapped into
 * IPv6, or an IPv6 /64, which one machine has. No port. */
km_udp_addr km_guard_source(const km_udp_addr *addr);

#endif /* KM_ENDPOINT_MESH_GUARD_H */
