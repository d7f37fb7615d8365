#include "relay/token_bucket.h"

void km_token_bucket_init(km_token_bucket *b, uint64_t per_second, uint64_t burst, km_ts now) {
  *b = (km_token_bucket){.per_second = per_second, .burst = burst, .refilled = now};
  b->tokens = burst < INT64_MAX ? (int64_t)burst : INT64_MAX;
}

static void refill(km_token_bucket *b, km_ts now) {
  if (now <= b->refilled) {
    return;
  }
  uint64_t elapsed = now - b->refilled;
  /* Above a second in parts, so that nothing overflows. */
  uint64_t whole = elapsed / KM_NS_PER_S, rest = elapsed % KM_NS_PER_S;
  uint64_t room = (uint64_t)((int64_t)b->burst - b->tokens);
  if (whole >= room / b->per_second + 1) {
    b->tokens = (int64_t)b->burst;
    b->refilled = now;
    return;
  }
  uint64_t micro = rest / 1000;
  uint64_t gained = whole * b->per_second + b->per_second / 1000000 * micro +
                    b->per_second % 1000000 * micro / 1000000;
  if (gained == 0) {
    return; /* too soon: time adds up */
  }
  b->tokens = gained >= room ? (int64_t)b->burst : b->tokens + (int64_t)gained;
  b->refilled = now;
}

bool km_token_bucket_spend(km_token_bucket *b, uint64_t tokens, km_ts now) {
  if (b->per_second == 0) {
    return true;
  }
  refill(b, now);
  b->tokens -= tokens < (UINT64_C(1) << 40) ? (int64_t)tokens : INT64_C(1) << 40;
  return b->tokens >= 0;
}

bool km_token_bucket_take(km_token_bucket *b, km_ts now) {
  if (b->per_second == 0) {
    return true;
  }
  refill(b, now);
  if (b->tokens < 1) {
    return false;
  }
  b->tokens--;
  return true;
}

km_ts km_token_bucket_when(km_token_bucket *b, km_ts now) {
  if (b->per_second == 0 || b->tokens >= 0) {
    return now;
  }
  uint64_t debt = (uint64_t)-b->tokens;
  uint64_t seconds = debt / b->per_second, rest = debt % b->per_second;
  return now + seconds * KM_NS_PER_S + rest * 1000000 / b->per_second * 1000 + 1000;
}
