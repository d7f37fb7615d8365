/* A mixed path: all candidates of a peer as one path, until one answers. Pure; the functions that
 * magicsock.h declares for mixed paths and that need no socket are in mixed.c too. */
#ifndef KM_MAGICSOCK_MIXED_H
#define KM_MAGICSOCK_MIXED_H

#include "magicsock/path_table.h"

/* An empty mixed path in the table, with one reference. 0, KM_ERR_LIMIT or KM_ERR_NOMEM. */
KM_NODISCARD int km_mixed_make(km_path_table *table, const km_env *env, km_path **ret);
/* Appends a candidate, whose reference passes to the mixed path. 0, KM_ERR_LIMIT, KM_ERR_NOMEM. */
KM_NODISCARD int km_mixed_append(const km_env *env, km_path *mixed, km_path *candidate,
                                 uint32_t allowance);
/* Takes one out that is not the one that answered, and gives its reference back; NULL: none. */
km_path *km_mixed_take_out(km_path *mixed, const km_path_key *key);
/* What the candidate may still be sent, and that so much of it was (not of the unlimited). */
uint32_t km_mixed_left_at(const km_path *mixed, size_t index);
void km_mixed_pay(km_path *mixed, size_t index, uint32_t packets);
/* What was sent last, for candidates that are found later: kept while it grows and nobody answered.
 * Without memory nothing is. NULL: none. */
#define KM_MIXED_FLIGHT_MAX 4096 /* a first flight, with a post-quantum key share */
void km_mixed_set_grows(const km_env *env, km_path *mixed, bool grows);
typedef struct km_mixed_flight {
  size_t len, segment;
  uint8_t ecn;
  uint8_t data[KM_MIXED_FLIGHT_MAX];
} km_mixed_flight;
void km_mixed_remember(const km_env *env, km_path *mixed, const uint8_t *data, size_t len,
                       size_t segment, uint8_t ecn);
const km_mixed_flight *km_mixed_last_flight(const km_path *mixed);
/* Puts `path` in the place of a candidate; the references change hands. */
void km_mixed_replace(km_path *mixed, size_t index, km_path *path);
/* Frees an empty shell that is out of the table; the candidates were released before. */
void km_mixed_free(const km_env *env, km_path *mixed);

#endif /* KM_MAGICSOCK_MIXED_H */
