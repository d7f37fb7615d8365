/* Which of the ways to a peer a connection should take. Pure: the same samples give the same answer
 * in any order.
 *
 * Direct beats relay whenever it works. Among direct ways the lowest cost wins: the round trip,
 * less 3 ms for IPv6 (as iroh), plus what loss costs: each lost packet a round trip and 100 ms,
 * about the time until it is repaired. Another one is taken only when it is 5 ms better, so that
 * two ways of about the same length do not alternate. */
#ifndef KM_MAGICSOCK_PATH_SELECT_H
#define KM_MAGICSOCK_PATH_SELECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KM_SELECT_IPV6_BONUS_NS UINT64_C(3000000)
#define KM_SELECT_ADVANTAGE_NS UINT64_C(5000000)
#define KM_SELECT_LOST_NS UINT64_C(100000000)

typedef struct km_path_sample {
  bool usable; /* it works, as far as is known; others are never chosen */
  bool relay;
  bool current;           /* in use now; at most one */
  uint8_t family;         /* 4 or 6; direct ways */
  uint64_t rtt_ns;        /* 0: not measured, counts as worst of its kind */
  uint32_t loss_permille; /* 0 to 1,000 */
  uint64_t order;         /* breaks ties, smaller first; distinct */
} km_path_sample;

/* The index of the one to take, `count` when none is usable. Relays among each other: the current
 * one stays. */
size_t km_path_select(const km_path_sample *samples, size_t count);

#endif /* KM_MAGICSOCK_PATH_SELECT_H */
