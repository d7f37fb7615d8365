#include "magicsock/path_select.h"

/* Of a way that was never measured. */
#define WORST UINT64_MAX
/* Longer round trips than this (19 hours) count as this: nothing overflows. */
#define LONGEST_RTT_NS (UINT64_C(1) << 46)

/* In nanoseconds. Instead of a bonus for IPv6 the others pay, so that it is never below 0. */
static uint64_t cost_of(const km_path_sample *s) {
  if (s->rtt_ns == 0) {
    return WORST;
  }
  uint64_t rtt = s->rtt_ns < LONGEST_RTT_NS ? s->rtt_ns : LONGEST_RTT_NS;
  uint64_t loss = s->loss_permille < 1000 ? s->loss_permille : 1000;
  uint64_t family = s->family == 6 ? 0 : KM_SELECT_IPV6_BONUS_NS;
  return rtt + family + (rtt + KM_SELECT_LOST_NS) * loss / 1000;
}

static bool is_better(const km_path_sample *a, const km_path_sample *b) {
  uint64_t cost_a = cost_of(a), cost_b = cost_of(b);
  return cost_a != cost_b ? cost_a < cost_b : a->order < b->order;
}

static bool is_worth_a_switch(const km_path_sample *to, const km_path_sample *from) {
  uint64_t cost_to = cost_of(to), cost_from = cost_of(from);
  return !to->relay && cost_to != WORST && cost_to + KM_SELECT_ADVANTAGE_NS <= cost_from;
}

/* Among the usable ones that are relays, or are not. */
static size_t select_kind(const km_path_sample *samples, size_t count, bool relay) {
  size_t best = count, current = count;
  for (size_t i = 0; i < count; i++) {
    if (!samples[i].usable || samples[i].relay != relay) {
      continue;
    }
    if (best == count || is_better(&samples[i], &samples[best])) {
      best = i;
    }
    if (samples[i].current) {
      current = i;
    }
  }
  return current == count || is_worth_a_switch(&samples[best], &samples[current]) ? best : current;
}

size_t km_path_select(const km_path_sample *samples, size_t count) {
  size_t direct = select_kind(samples, count, false);
  return direct < count ? direct : select_kind(samples, count, true);
}
