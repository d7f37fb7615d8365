/* A rate with a burst. Pure. */
#ifndef KM_BASE_TOKEN_BUCKET_H
#define KM_BASE_TOKEN_BUCKET_H

#include "base/env.h"

typedef struct km_token_bucket {
  uint64_t per_second, burst; /* per_second 0: no limit */
  int64_t tokens;             /* below 0: in debt, what came is paid for later */
  km_ts refilled;
} km_token_bucket;

void km_token_bucket_init(km_token_bucket *b, uint64_t per_second, uint64_t burst, km_ts now);
/* Takes what was used already. False: in debt, stop until km_token_bucket_when. */
bool km_token_bucket_spend(km_token_bucket *b, uint64_t tokens, km_ts now);
/* Takes one if it is there. */
bool km_token_bucket_take(km_token_bucket *b, km_ts now);
/* When the debt is paid. */
km_ts km_token_bucket_when(km_token_bucket *b, km_ts now);

#endif /* KM_BASE_TOKEN_BUCKET_H */
