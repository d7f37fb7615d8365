/* The address book in memory: the source that is always there. */
#ifndef KM_DISCOVERY_MEMORY_SOURCE_H
#define KM_DISCOVERY_MEMORY_SOURCE_H

#include <keymesh/discovery.h>

typedef struct km_memory km_memory;

/* Adds it to `d`, which frees it as it frees all sources. */
KM_NODISCARD int km_memory_add(km_memory **ret, km_discovery *d, km_errinfo *err);
KM_NODISCARD int km_memory_put(km_memory *m, const km_addr *addr, const char *user_data);
int km_memory_remove(km_memory *m, const km_id *id);

#endif /* KM_DISCOVERY_MEMORY_SOURCE_H */
