/* The wait for a home relay. */
#include "endpoint/blocking_impl.h"

void km_blocking_on_home_relay(void *ctx, km_endpoint *endpoint) {
  km_blocking *b = ctx;
  km_blocking_lock(b);
  b->online = km_endpoint_online(endpoint);
  (void)pthread_cond_broadcast(&b->cond);
  km_blocking_unlock(b);
  if (b->user.on_home_relay != NULL) {
    b->user.on_home_relay(b->user_ctx, endpoint);
  }
}

int km_blocking_wait_online(km_blocking *b, int timeout_ms, km_errinfo *err) {
  if (b == NULL) {
    return km_fail(err, KM_ERR_INVALID, "km_blocking_wait_online needs an endpoint");
  }
  if (!b->has_relays) { /* never changes */
    return km_fail(err, KM_ERR_STATE, "the endpoint has no relays of its own: set relay_mode");
  }
  int rv = km_blocking_enter_wait(b, err);
  if (rv != 0) {
    return rv;
  }
  km_bdeadline deadline = km_bdeadline_in(timeout_ms);
  bool late = false;
  while (!b->online && !b->closing && !late) {
    late = !km_bcond_wait(&b->cond, &b->mutex, &deadline);
  }
  if (b->closing) {
    rv = km_bfail_closing(err);
  } else if (!b->online) {
    rv = km_bfail_timeout(err, timeout_ms, "no relay answered");
  }
  km_blocking_leave(b);
  return rv;
}
