/* Which stream of a connection sends next: higher priority first, equals take turns. Pure: an
 * intrusive list in sending order. */
#ifndef KM_ENDPOINT_STREAM_SCHED_H
#define KM_ENDPOINT_STREAM_SCHED_H

#include <stdbool.h>
#include <stdint.h>

typedef struct km_sched_node {
  struct km_sched_node *prev, *next;
  int8_t priority;
  bool queued;
} km_sched_node;

typedef struct km_stream_sched {
  km_sched_node *first, *last;
} km_stream_sched;

/* Behind all of the same or a higher priority. A node that is queued stays where it is. */
void km_stream_sched_add(km_stream_sched *sched, km_sched_node *node);
void km_stream_sched_remove(km_stream_sched *sched, km_sched_node *node);
/* The node has had its turn: behind its equals. */
void km_stream_sched_rotate(km_stream_sched *sched, km_sched_node *node);
/* NULL when no stream wants to send. */
static inline km_sched_node *km_stream_sched_first(const km_stream_sched *sched) {
  return sched->first;
}

#endif /* KM_ENDPOINT_STREAM_SCHED_H */
