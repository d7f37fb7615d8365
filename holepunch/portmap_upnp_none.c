/* A build without miniupnpc: nothing is found. */
#include "holepunch/portmap_upnp_io.h"

bool km_upnp_is_built_in(void) {
  return false;
}

int km_upnp_new(km_upnp **ret, const km_env *env, km_loop *loop, const km_upnp_request *request,
                void (*fn)(void *ctx, const km_upnp_result *result), void *ctx) {
  (void)ret;
  (void)env;
  (void)loop;
  (void)request;
  (void)fn;
  (void)ctx;
  return KM_ERR_UNSUPPORTED;
}

void km_upnp_free(km_upnp *job) {
  (void)job;
}

void km_upnp_unmap(const km_upnp_request *request) {
  (void)request;
}
