/* Signed packets in memory: found by key, in the order of their last use. Each takes what it needs,
 * not what the largest would. Pure. */
#ifndef KM_DISCOVERY_SERVER_PACKET_CACHE_H
#define KM_DISCOVERY_SERVER_PACKET_CACHE_H

#include "discovery/pkarr.h"

typedef struct km_packet_entry {
  struct km_packet_entry *next;          /* of the same bucket */
  struct km_packet_entry *older, *newer; /* by use */
  uint64_t timestamp_us;
  uint32_t stored_s; /* Unix time: enough until 2106 */
  uint16_t pending;  /* puts that are not on disk yet: it must stay */
  uint16_t dns_len;
  km_id id;
  uint8_t signature[KM_SIGNATURE_BYTES];
  uint8_t dns[];
} km_packet_entry;

typedef struct km_packet_cache {
  const km_env *env;
  km_packet_entry **buckets;
  size_t bucket_count; /* a power of two, fixed: growing would hold up the loop */
  km_packet_entry *oldest, *newest;
  size_t count, bytes;
  uint8_t key[16]; /* of the hash: keys are made by those who would like them to collide */
} km_packet_cache;

/* `expected`: entries, for the number of buckets. 0 or KM_ERR_NOMEM. */
KM_NODISCARD int km_packet_cache_init(km_packet_cache *c, const km_env *env, size_t expected);
void km_packet_cache_clear(km_packet_cache *c);

km_packet_entry *km_packet_cache_find(const km_packet_cache *c, const km_id *id);
/* Adds it, or replaces what is there of its key, and makes it the newest; `pending` stays. NULL: no
 * memory, nothing has changed. */
km_packet_entry *km_packet_cache_put(km_packet_cache *c, const km_pkarr *packet, uint32_t stored_s);
void km_packet_cache_touch(km_packet_cache *c, km_packet_entry *e); /* makes it the newest */
void km_packet_cache_remove(km_packet_cache *c, km_packet_entry *e);
/* Drops the oldest ones until `max_bytes` hold the rest, or one is met that must stay. */
void km_packet_cache_trim(km_packet_cache *c, size_t max_bytes);

void km_packet_entry_read(const km_packet_entry *e, km_pkarr *ret);
/* As km_pkarr_compare(entry, packet). */
int km_packet_entry_compare(const km_packet_entry *e, const km_pkarr *packet);

#endif /* KM_DISCOVERY_SERVER_PACKET_CACHE_H */
