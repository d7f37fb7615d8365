/* Asks whether a captive portal is in between (relay/captive.h). Loop thread only. */
#ifndef KM_RELAY_CAPTIVE_IO_H
#define KM_RELAY_CAPTIVE_IO_H

#include "base/io/loop_io.h"
#include "relay/captive.h"

typedef struct km_captive km_captive;

typedef struct km_captive_config {
  const km_env *env; /* outlives it */
  km_loop *loop;
  const char *relay_url; /* normalised */
  uint64_t timeout_ns;   /* then it is not known */
  /* Once, from the loop. The probe is gone when it returns. */
  void (*fn)(void *ctx, km_net_answer portal);
  void *ctx;
} km_captive_config;

/* 0, KM_ERR_BAD_RELAY_URL, KM_ERR_NOMEM or KM_ERR_SYSTEM. */
KM_NODISCARD int km_captive_new(km_captive **ret, const km_captive_config *config, km_errinfo *err);
/* Gives it up; `fn` does not run. NULL does nothing. */
void km_captive_free(km_captive *c);

#endif /* KM_RELAY_CAPTIVE_IO_H */
