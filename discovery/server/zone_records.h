/* Static records of a zone: read from their zone file form, found by owner. Pure. */
#ifndef KM_DISCOVERY_SERVER_ZONE_RECORDS_H
#define KM_DISCOVERY_SERVER_ZONE_RECORDS_H

#include "base/env.h"
#include "discovery/dns_name.h"

typedef struct km_zone_record {
  uint8_t key[KM_DNS_NAME_MAX]; /* the owner's labels from the root on, in lower case */
  uint8_t key_len;
  uint16_t type;
  uint32_t ttl_s;
  uint32_t data_len;
  uint8_t data[]; /* as in a message, names uncompressed */
} km_zone_record;

/* Sorted by key: those of a name are neighbours, and those below it follow. */
typedef struct km_zone_records {
  const km_env *env;
  km_zone_record **list;
  size_t count, cap;
} km_zone_records;

void km_zone_records_clear(km_zone_records *r);

/* 0, KM_ERR_INVALID (type, value, or a CNAME beside others), KM_ERR_LIMIT, KM_ERR_NOMEM. */
KM_NODISCARD int km_zone_records_add(km_zone_records *r, const km_dns_name *owner, const char *type,
                                     const char *value, uint32_t ttl_s, km_errinfo *err);

/* The records of `owner` are list[*ret_first] and the next `return` ones. `ret_exists`: it has
 * records, or a name below it has. */
size_t km_zone_records_find(const km_zone_records *r, const km_dns_name *owner, size_t *ret_first,
                            bool *ret_exists);

#endif /* KM_DISCOVERY_SERVER_ZONE_RECORDS_H */
