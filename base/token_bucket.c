#include "base/token_bucket.h"

/* More than any network has; below it nothing overflows. */
#define MOST (UINT64_C(1) << 43)
#define EXACT_BELOW 1000000 /* a second: the time that a part of a token took is kept */

static uint64_t at_most(uint64_t value, uint64_t most) {
  return value < most ? value : most;
}

void km_token_bucket_init(km_token_bucket *b, uint64_t per_second, uint64_t burst, km_ts now) {
  *b = (km_token_bucket){
      .per_second = at_most(per_second, MOST), .burst = at_most(burst, MOST), .refilled = now};
  b->tokens = (int64_t)b->burst;
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
  uint64_t part = b->per_second / 1000000 * micro + b->per_second % 1000000 * micro / 1000000;
  uint64_t gained = whole * b->per_second + part;
  if (gained == 0 && room > 0) {
    return; /* too soon: time adds up */
  }
  if (gained >= room) {
    b->tokens = (int64_t)b->burst;
    b->refilled = now;
    return;
  }
  b->tokens += (int64_t)gained;
  b->refilled = b->per_second >= EXACT_BELOW
                    ? now
                    : b->refilled + whole * KM_NS_PER_S +
                          (part * KM_NS_PER_S + b->per_second - 1) / b->per_second;
}

bool km_token_bucket_spend(km_token_bucket *b, uint64_t tokens, km_ts now) {
  if (b->per_second == 0) {
    return true;
  }
  refill(b, now);
  b->tokens -= (int64_t)at_most(tokens, MOST);
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
  if (b->per_second == 0) {
    return now;
  }
  refill(b, now);
  if (b->tokens >= 0) {
    return now;
  }
  uint64_t debt = (uint64_t)-b->tokens;
  uint64_t seconds = debt / b->per_second, rest = debt % b->per_second;
  return now + seconds * KM_NS_PER_S + rest * 1000000 / b->per_second * 1000 + 1000;
}
