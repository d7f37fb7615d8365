/* What the hole-punching core did: a time line of bounded length, and a debug log of its states. */
#include <string.h>

#include "holepunch/punch_impl.h"

/* A ring that has turned is left as it is, so that its entries stay in order. Without memory the
 * oldest entries make room sooner. */
static void grow(km_punch *p) {
  if (p->event_first > 0 || p->event_count < p->event_cap || p->event_cap == KM_PUNCH_MAX_EVENTS) {
    return;
  }
  size_t cap = p->event_cap == 0 ? 16 : p->event_cap * 2;
  km_punch_event *events = km_env_realloc(p->env, p->events, cap, sizeof *events);
  if (events != NULL) {
    p->events = events;
    p->event_cap = cap;
  }
}

void km_punch_log(km_punch *p, km_punch_event_kind kind, const km_punch_way *way, uint64_t value) {
  grow(p);
  if (p->event_cap == 0) {
    return;
  }
  size_t at = (p->event_first + p->event_count) % p->event_cap;
  if (p->event_count == p->event_cap) {
    p->event_first = (p->event_first + 1) % p->event_cap;
  } else {
    p->event_count++;
  }
  p->events[at] = (km_punch_event){.at = p->now, .kind = kind, .value = value};
  if (way != NULL) {
    p->events[at].way = *way;
  }
}

size_t km_punch_events(const km_punch *p, km_punch_event *ret, size_t cap) {
  size_t n = p->event_count < cap ? p->event_count : cap;
  size_t skipped = p->event_count - n;
  for (size_t i = 0; i < n; i++) {
    ret[i] = p->events[(p->event_first + skipped + i) % p->event_cap];
  }
  return n;
}

void km_punch_get_stats(const km_punch *p, km_punch_stats *ret) {
  *ret = p->stats;
}
