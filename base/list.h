/* An intrusive doubly linked list. A node out of any list points to itself. */
#ifndef KM_BASE_LIST_H
#define KM_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct km_list {
  struct km_list *prev, *next;
} km_list;

/* The object that holds `node` as its member. */
#define KM_LIST_ITEM(node, type, member)                                                           \
  ((type *)(void *)((char *)(void *)(node)-offsetof(type, member)))

static inline void km_list_init(km_list *node) {
  node->prev = node->next = node;
}

static inline bool km_list_empty(const km_list *list) {
  return list->next == list;
}

static inline void km_list_remove(km_list *node) {
  node->prev->next = node->next;
  node->next->prev = node->prev;
  km_list_init(node);
}

/* Does nothing to a node that is in a list already. */
static inline void km_list_append(km_list *list, km_list *node) {
  if (!km_list_empty(node)) {
    return;
  }
  node->prev = list->prev;
  node->next = list;
  list->prev->next = node;
  list->prev = node;
}

/* Moves all nodes of `from` to the empty list `to`. */
static inline void km_list_take_all(km_list *to, km_list *from) {
  km_list_init(to);
  if (km_list_empty(from)) {
    return;
  }
  *to = *from;
  to->next->prev = to;
  to->prev->next = to;
  km_list_init(from);
}

#endif /* KM_BASE_LIST_H */
