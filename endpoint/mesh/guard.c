#include "endpoint/mesh/guard.h"

#include <string.h>

#define WINDOW (600 * KM_NS_PER_S)

#define BROKEN_SYNCS 60 /* a minute */
/* Items of ours that are read for its synchronizations, a second and at once; each costs some more,
 * so that there are not too many of small shares. */
#define ITEMS 200000
#define ITEMS_BURST 20000000
#define ITEMS_A_SYNC 2000
/* A rate a minute is kept in sixtieths of a message a second; bursts are a minute's worth. */
#define MINUTE KM_PACE_A_MESSAGE

void km_guard_init(km_guard *g, uint32_t per_minute, uint32_t per_second, uint32_t max_faults,
                   km_ts now) {
  *g = (km_guard){.max_faults = max_faults, .cut_until = KM_TS_NEVER};
  km_token_bucket_init(&g->messages, per_minute, (uint64_t)per_minute * MINUTE, now);
  km_token_bucket_init(&g->broken_syncs, BROKEN_SYNCS, BROKEN_SYNCS * MINUTE, now);
  km_token_bucket_init(&g->items, ITEMS, ITEMS_BURST, now);
  km_token_bucket_init(&g->entries, per_second, (uint64_t)per_second * MINUTE, now);
}

static uint64_t *counter_of(km_guard *g, km_fault fault) {
  switch (fault) {
  case KM_FAULT_FORGED:
    return &g->faults.forged;
  case KM_FAULT_FUTURE:
    return &g->faults.future;
  case KM_FAULT_FORBIDDEN:
  case KM_FAULT_UNWELCOME:
    return &g->faults.forbidden;
  case KM_FAULT_MALFORMED:
    break;
  }
  return &g->faults.malformed;
}

bool km_guard_fault(km_guard *g, km_fault fault, km_ts now) {
  (*counter_of(g, fault))++;
  /* Clocks go wrong in honest hands, and each node says for itself who may write: what comes from
   * the future or is not welcome is refused, no more. */
  if (fault == KM_FAULT_FUTURE || fault == KM_FAULT_UNWELCOME) {
    return false;
  }
  if (g->recent == 0 || now >= g->window_ends) {
    g->recent = 0;
    g->window_ends = now + WINDOW;
  }
  if (++g->recent < g->max_faults) {
    return false;
  }
  g->recent = 0;
  g->cut_until = now + WINDOW;
  g->faults.cut++;
  return true;
}

static bool spend(km_guard *g, km_token_bucket *b, uint64_t tokens, km_ts now) {
  bool within = km_token_bucket_spend(b, tokens, now);
  if (!within) {
    g->faults.flooded++;
  }
  return within;
}

bool km_guard_entry(km_guard *g, km_ts now) {
  return spend(g, &g->entries, 1, now);
}

bool km_guard_message(km_guard *g, km_ts now) {
  return spend(g, &g->messages, MINUTE, now);
}

bool km_guard_statement(km_guard *g, bool known, km_ts now) {
  return spend(g, &g->messages, known ? 1 : MINUTE / 10, now);
}

void km_guard_sync_failed(km_guard *g, km_ts now) {
  (void)spend(g, &g->broken_syncs, MINUTE, now);
}

void km_guard_sync_read(km_guard *g, uint64_t items, km_ts now) {
  (void)spend(g, &g->items, items + ITEMS_A_SYNC, now);
}

bool km_guard_may_sync(km_guard *g, km_ts now) {
  return km_token_bucket_when(&g->broken_syncs, now) <= now &&
         km_token_bucket_when(&g->items, now) <= now;
}

km_ts km_guard_when(km_guard *g, km_ts now) {
  km_ts entries = km_token_bucket_when(&g->entries, now);
  km_ts messages = km_token_bucket_when(&g->messages, now);
  return entries > messages ? entries : messages;
}

bool km_guard_is_cut(const km_guard *g, km_ts now) {
  return g->cut_until != KM_TS_NEVER && now < g->cut_until;
}

static km_ts full_at(const km_token_bucket *b, km_ts now) {
  if (b->per_second == 0 || b->tokens >= (int64_t)b->burst) {
    return now;
  }
  uint64_t lacks = (uint64_t)((int64_t)b->burst - b->tokens);
  return b->refilled + (lacks / b->per_second + 1) * KM_NS_PER_S;
}

km_ts km_guard_rests_at(const km_guard *g, km_ts now) {
  const km_token_bucket *const buckets[] = {&g->entries, &g->messages, &g->broken_syncs, &g->items};
  km_ts at = now;
  for (size_t i = 0; i < sizeof buckets / sizeof buckets[0]; i++) {
    km_ts full = full_at(buckets[i], now);
    at = full > at ? full : at;
  }
  at = g->recent > 0 && g->window_ends > at ? g->window_ends : at;
  return km_guard_is_cut(g, now) && g->cut_until > at ? g->cut_until : at;
}

km_udp_addr km_guard_source(const km_udp_addr *addr) {
  static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
  km_udp_addr source = {.family = addr->family};
  if (addr->family == 6 && memcmp(addr->ip, mapped, sizeof mapped) == 0) {
    source.family = 4;
    memcpy(source.ip, addr->ip + sizeof mapped, 4);
  } else {
    memcpy(source.ip, addr->ip, addr->family == 6 ? 8 : 4);
  }
  return source;
}
