/* A mixed path: all candidates of a peer as one path, until one answers. Pure; the functions that
 * magicsock.h declares for mixed paths and that need no socket are in mixed.c too. */
#ifndef KM_MAGICSOCK_MIXED_H
#define KM_MAGICSOCK_MIXED_H

#include "magicsock/path_table.h"

/* An empty mixed path in the table, with one reference. 0, KM_ERR_LIMIT or KM_ERR_NOMEM. */
KM_NODISCARD int km_mixed_make(km_path_table *table, const km_env *env, km_path **ret);
/* Appends a candidate, whose reference passes to the mixed path. 0, KM_ERR_LIMIT, KM_ERR_NOMEM. */
KM_NODISCARD int km_mixed_append(const km_env *env, km_path *mixed, km_path *candidate);
/* Puts `path` in the place of a candidate; the references change hands. */
void km_mixed_replace(km_path *mixed, size_t index, km_path *path);
/* Frees an empty shell that is out of the table; the candidates were released before. */
void km_mixed_free(const km_env *env, km_path *mixed);

#endif /* KM_MAGICSOCK_MIXED_H */
