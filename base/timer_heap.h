/* Deadlines of everything a module waits for, the nearest first. A binary heap of nodes that
 * live inside their owners; pure. */
#ifndef KM_BASE_TIMER_HEAP_H
#define KM_BASE_TIMER_HEAP_H

#include "base/env.h"

typedef struct km_timer_node {
  km_ts at;
  size_t index; /* 1 + place in the heap, 0 = not in it */
  void (*fire)(struct km_timer_node *node);
} km_timer_node;

typedef struct km_timer_heap {
  const km_env *env;
  km_timer_node **nodes;
  size_t count, cap;
} km_timer_heap;

void km_timer_heap_init(km_timer_heap *heap, const km_env *env);
void km_timer_heap_clear(km_timer_heap *heap);

/* Makes room for `nodes` nodes in all, so that setting a deadline later cannot fail. Call it when
 * a node's owner is made. */
KM_NODISCARD int km_timer_heap_reserve(km_timer_heap *heap, size_t nodes);

/* Sets or moves a deadline; KM_TS_NEVER takes the node out. */
void km_timer_heap_set(km_timer_heap *heap, km_timer_node *node, km_ts at);

/* KM_TS_NEVER when empty. */
km_ts km_timer_heap_next(const km_timer_heap *heap);

/* Takes out and returns the nearest node if it is due at `now`, else NULL. */
km_timer_node *km_timer_heap_pop(km_timer_heap *heap, km_ts now);

#endif /* KM_BASE_TIMER_HEAP_H */
