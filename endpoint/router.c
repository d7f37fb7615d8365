/* The protocols (ALPNs) that an endpoint accepts. */
#include <string.h>

#include "endpoint/endpoint_impl.h"

static size_t find(const km_endpoint *ep, const char *alpn) {
  size_t i = 0;
  while (i < ep->protocol_count && strcmp(ep->protocols[i].alpn, alpn) != 0) {
    i++;
  }
  return i;
}

int km_endpoint_add_protocol(km_endpoint *ep, const km_protocol *protocol, km_errinfo *err) {
  if (ep == NULL || protocol == NULL ||
      protocol->size < offsetof(km_protocol, ctx) + sizeof protocol->ctx) {
    return km_fail(err, KM_ERR_INVALID, "km_protocol.size must be sizeof(km_protocol)");
  }
  if (ep->state != KM_ENDPOINT_OPEN) {
    return km_fail(err, KM_ERR_CLOSED, "the endpoint is closed");
  }
  size_t len = protocol->alpn == NULL ? 0 : strlen(protocol->alpn);
  if (len == 0 || len > 255) {
    return km_fail(err, KM_ERR_BAD_ALPN, NULL);
  }
  if (find(ep, protocol->alpn) < ep->protocol_count) {
    return km_fail(err, KM_ERR_INVALID, "the protocol %s is there already", protocol->alpn);
  }
  if (ep->protocol_count == KM_ENDPOINT_MAX_PROTOCOLS) {
    return km_fail(err, KM_ERR_LIMIT, "an endpoint has at most %d protocols",
                   KM_ENDPOINT_MAX_PROTOCOLS);
  }
  km_protocol_entry *e = &ep->protocols[ep->protocol_count];
  e->alpn = km_env_alloc(&ep->env, len + 1);
  if (e->alpn == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  memcpy(e->alpn, protocol->alpn, len + 1);
  e->alpn_len = len;
  e->conn = protocol->conn;
  e->ctx = protocol->ctx;
  ep->protocol_count++;
  return 0;
}

int km_endpoint_remove_protocol(km_endpoint *ep, const char *alpn) {
  size_t i = ep == NULL || alpn == NULL ? SIZE_MAX : find(ep, alpn);
  if (i == SIZE_MAX || i == ep->protocol_count) {
    return KM_ERR_NOT_FOUND;
  }
  km_env_free(&ep->env, ep->protocols[i].alpn);
  ep->protocol_count--;
  memmove(&ep->protocols[i], &ep->protocols[i + 1],
          (ep->protocol_count - i) * sizeof ep->protocols[0]);
  return 0;
}
