#include "base/timer_heap.h"

#include <string.h>

void km_timer_heap_init(km_timer_heap *heap, const km_env *env) {
  memset(heap, 0, sizeof *heap);
  heap->env = env;
}

void km_timer_heap_clear(km_timer_heap *heap) {
  km_env_free(heap->env, heap->nodes);
  heap->nodes = NULL;
  heap->count = heap->cap = 0;
}

int km_timer_heap_reserve(km_timer_heap *heap, size_t nodes) {
  if (nodes <= heap->cap) {
    return 0;
  }
  if (nodes > SIZE_MAX / 2 / sizeof(km_timer_node *)) {
    return KM_ERR_NOMEM;
  }
  size_t cap = heap->cap == 0 ? 16 : heap->cap;
  while (cap < nodes) {
    cap *= 2;
  }
  km_timer_node **grown = km_env_realloc(heap->env, heap->nodes, cap, sizeof *grown);
  if (grown == NULL) {
    return KM_ERR_NOMEM;
  }
  heap->nodes = grown;
  heap->cap = cap;
  return 0;
}

static void place(km_timer_heap *heap, size_t i, km_timer_node *node) {
  heap->nodes[i] = node;
  node->index = i + 1;
}

static void sift_up(km_timer_heap *heap, size_t i, km_timer_node *node) {
  while (i > 0) {
    size_t parent = (i - 1) / 2;
    if (heap->nodes[parent]->at <= node->at) {
      break;
    }
    place(heap, i, heap->nodes[parent]);
    i = parent;
  }
  place(heap, i, node);
}

static void sift_down(km_timer_heap *heap, size_t i, km_timer_node *node) {
  for (;;) {
    size_t child = 2 * i + 1;
    if (child >= heap->count) {
      break;
    }
    if (child + 1 < heap->count && heap->nodes[child + 1]->at < heap->nodes[child]->at) {
      child++;
    }
    if (heap->nodes[child]->at >= node->at) {
      break;
    }
    place(heap, i, heap->nodes[child]);
    i = child;
  }
  place(heap, i, node);
}

static void take_out(km_timer_heap *heap, km_timer_node *node) {
  size_t i = node->index - 1;
  node->index = 0;
  km_timer_node *last = heap->nodes[--heap->count];
  if (last == node) {
    return;
  }
  if (i > 0 && heap->nodes[(i - 1) / 2]->at > last->at) {
    sift_up(heap, i, last);
  } else {
    sift_down(heap, i, last);
  }
}

void km_timer_heap_set(km_timer_heap *heap, km_timer_node *node, km_ts at) {
  if (node->index != 0 && node->at == at) {
    return;
  }
  if (at == KM_TS_NEVER) {
    if (node->index != 0) {
      take_out(heap, node);
    }
    node->at = at;
    return;
  }
  km_ts before = node->at;
  node->at = at;
  if (node->index == 0) {
    sift_up(heap, heap->count++, node);
  } else if (at < before) {
    sift_up(heap, node->index - 1, node);
  } else {
    sift_down(heap, node->index - 1, node);
  }
}

km_ts km_timer_heap_next(const km_timer_heap *heap) {
  return heap->count == 0 ? KM_TS_NEVER : heap->nodes[0]->at;
}

km_timer_node *km_timer_heap_pop(km_timer_heap *heap, km_ts now) {
  if (heap->count == 0 || heap->nodes[0]->at > now) {
    return NULL;
  }
  km_timer_node *node = heap->nodes[0];
  take_out(heap, node);
  return node;
}
