#include "endpoint/stream_sched.h"

#include <stddef.h>

void km_stream_sched_add(km_stream_sched *sched, km_sched_node *node) {
  if (node->queued) {
    return;
  }
  km_sched_node *before = sched->last; /* most streams are equals: the place is near the end */
  while (before != NULL && before->priority < node->priority) {
    before = before->prev;
  }
  node->prev = before;
  node->next = before == NULL ? sched->first : before->next;
  if (node->prev == NULL) {
    sched->first = node;
  } else {
    node->prev->next = node;
  }
  if (node->next == NULL) {
    sched->last = node;
  } else {
    node->next->prev = node;
  }
  node->queued = true;
}

void km_stream_sched_remove(km_stream_sched *sched, km_sched_node *node) {
  if (!node->queued) {
    return;
  }
  if (node->prev == NULL) {
    sched->first = node->next;
  } else {
    node->prev->next = node->next;
  }
  if (node->next == NULL) {
    sched->last = node->prev;
  } else {
    node->next->prev = node->prev;
  }
  node->prev = node->next = NULL;
  node->queued = false;
}

void km_stream_sched_rotate(km_stream_sched *sched, km_sched_node *node) {
  if (!node->queued || node->next == NULL || node->next->priority < node->priority) {
    return;
  }
  km_stream_sched_remove(sched, node);
  km_stream_sched_add(sched, node);
}
