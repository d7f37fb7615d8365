#include "discovery/server/packet_cache.h"

#include <sodium.h>
#include <string.h>

#define MIN_BUCKETS 1024
#define MAX_BUCKETS (1u << 24)
#define ALLOC_OVERHEAD 16 /* of the allocator's, as good as it can be guessed */

int km_packet_cache_init(km_packet_cache *c, const km_env *env, size_t expected) {
  memset(c, 0, sizeof *c);
  c->env = env;
  c->bucket_count = MIN_BUCKETS;
  while (c->bucket_count < expected && c->bucket_count < MAX_BUCKETS) {
    c->bucket_count *= 2;
  }
  km_env_random(env, c->key, sizeof c->key);
  c->buckets = km_env_zalloc(env, c->bucket_count, sizeof(km_packet_entry *));
  return c->buckets != NULL ? 0 : KM_ERR_NOMEM;
}

static size_t size_of(const km_packet_entry *e) {
  return sizeof *e + e->dns_len + ALLOC_OVERHEAD;
}

static km_packet_entry **bucket_of(const km_packet_cache *c, const km_id *id) {
  uint8_t hash[crypto_shorthash_BYTES];
  uint64_t h;
  crypto_shorthash(hash, id->bytes, sizeof id->bytes, c->key);
  memcpy(&h, hash, sizeof h);
  return &c->buckets[h & (c->bucket_count - 1)];
}

km_packet_entry *km_packet_cache_find(const km_packet_cache *c, const km_id *id) {
  km_packet_entry *e = *bucket_of(c, id);
  while (e != NULL && !km_id_equal(&e->id, id)) {
    e = e->next;
  }
  return e;
}

static void unlink_use(km_packet_cache *c, km_packet_entry *e) {
  *(e->older != NULL ? &e->older->newer : &c->oldest) = e->newer;
  *(e->newer != NULL ? &e->newer->older : &c->newest) = e->older;
}

static void link_newest(km_packet_cache *c, km_packet_entry *e) {
  e->newer = NULL;
  e->older = c->newest;
  *(c->newest != NULL ? &c->newest->newer : &c->oldest) = e;
  c->newest = e;
}

void km_packet_cache_touch(km_packet_cache *c, km_packet_entry *e) {
  if (c->newest != e) {
    unlink_use(c, e);
    link_newest(c, e);
  }
}

void km_packet_cache_remove(km_packet_cache *c, km_packet_entry *e) {
  km_packet_entry **at = bucket_of(c, &e->id);
  while (*at != e) {
    at = &(*at)->next;
  }
  *at = e->next;
  unlink_use(c, e);
  c->count--;
  c->bytes -= size_of(e);
  km_env_free(c->env, e);
}

km_packet_entry *km_packet_cache_put(km_packet_cache *c, const km_pkarr *packet,
                                     uint32_t stored_s) {
  km_packet_entry *e = km_env_alloc(c->env, sizeof *e + packet->dns_len);
  if (e == NULL) {
    return NULL;
  }
  *e = (km_packet_entry){.timestamp_us = packet->timestamp_us,
                         .stored_s = stored_s,
                         .dns_len = packet->dns_len,
                         .id = packet->id};
  memcpy(e->signature, packet->signature, sizeof e->signature);
  if (packet->dns_len > 0) {
    memcpy(e->dns, packet->dns, packet->dns_len);
  }
  km_packet_entry *before = km_packet_cache_find(c, &packet->id);
  if (before != NULL) {
    e->pending = before->pending;
    km_packet_cache_remove(c, before);
  }
  km_packet_entry **bucket = bucket_of(c, &e->id);
  e->next = *bucket;
  *bucket = e;
  link_newest(c, e);
  c->count++;
  c->bytes += size_of(e);
  return e;
}

void km_packet_cache_trim(km_packet_cache *c, size_t max_bytes) {
  while (c->bytes > max_bytes && c->oldest != NULL && c->oldest->pending == 0) {
    km_packet_cache_remove(c, c->oldest);
  }
}

void km_packet_cache_clear(km_packet_cache *c) {
  while (c->oldest != NULL) {
    km_packet_entry *e = c->oldest;
    c->oldest = e->newer;
    km_env_free(c->env, e);
  }
  km_env_free(c->env, c->buckets);
  memset(c, 0, sizeof *c);
}

void km_packet_entry_read(const km_packet_entry *e, km_pkarr *ret) {
  ret->id = e->id;
  memcpy(ret->signature, e->signature, sizeof ret->signature);
  ret->timestamp_us = e->timestamp_us;
  ret->dns_len = e->dns_len;
  memcpy(ret->dns, e->dns, e->dns_len);
}

int km_packet_entry_compare(const km_packet_entry *e, const km_pkarr *packet) {
  if (e->timestamp_us != packet->timestamp_us) {
    return e->timestamp_us < packet->timestamp_us ? -1 : 1;
  }
  km_pkarr own;
  km_packet_entry_read(e, &own);
  return km_pkarr_compare(&own, packet);
}
