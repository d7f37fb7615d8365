/* An endpoint and the km_discovery that it uses: whether the two fit, and which of them goes first.
 * Either order is safe. */
#ifndef KM_DISCOVERY_USER_H
#define KM_DISCOVERY_USER_H

#include <keymesh/discovery.h>

typedef struct km_discovery_user {
  km_loop *loop;            /* its own */
  const km_secret_key *key; /* with which it publishes; NULL: it does not */
  /* The km_discovery is being freed: look-ups are to be cancelled, and it is not to be touched
   * again. */
  void (*on_gone)(void *ctx);
  void *ctx;
} km_discovery_user;

/* 0, KM_ERR_INVALID (another loop, another key) or KM_ERR_STATE (somebody else uses it). */
KM_NODISCARD int km_discovery_use(km_discovery *d, const km_discovery_user *user, km_errinfo *err);
/* It is used no more. Its look-ups were cancelled. */
void km_discovery_leave(km_discovery *d);

#endif /* KM_DISCOVERY_USER_H */
