/* The living paths: by index, and by key those that packets can come from. Pure. */
#ifndef KM_MAGICSOCK_PATH_TABLE_H
#define KM_MAGICSOCK_PATH_TABLE_H

#include "magicsock/path.h"

typedef struct km_path_table km_path_table;

/* More paths than an index has room for (20 bits of it are the place, 12 a generation). */
#define KM_PATH_TABLE_MAX KM_PATHS_MAX

/* At most `max_paths`, 1 to KM_PATH_TABLE_MAX. 0, KM_ERR_INVALID or KM_ERR_NOMEM. */
KM_NODISCARD int km_path_table_new(km_path_table **ret, const km_env *env, size_t max_paths);
void km_path_table_del(km_path_table *table); /* no paths may be left in it */

/* The path whose key matches; one with the same local_ip goes before one that leaves it open. */
km_path *km_path_table_find(const km_path_table *table, const km_path_key *key);
/* The path with this index; NULL when it is none or not any more. */
km_path *km_path_table_at(const km_path_table *table, uint32_t index);
size_t km_path_table_count(const km_path_table *table);

/* A new path for a key of the ways direct and relay, with one reference, in the table.
 * 0, KM_ERR_LIMIT or KM_ERR_NOMEM. */
KM_NODISCARD int km_path_table_make(km_path_table *table, const km_path_key *key, km_path **ret);
/* Takes a path that the caller made: gives it an index and the addresses that follow from it. */
KM_NODISCARD int km_path_table_add(km_path_table *table, km_path *path);
/* Takes it out; the caller frees it. Its index is not given out again for a long time. */
void km_path_table_remove(km_path_table *table, km_path *path);

#endif /* KM_MAGICSOCK_PATH_TABLE_H */
