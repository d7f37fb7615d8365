/* Extra sockets: behind a NAT that gives every destination a port of its own, many sockets that send
 * to one address have as many ports, of which the peer has to guess one. */
#include <string.h>

#include "magicsock/magicsock_impl.h"

/* False while one of the former ones lives. */
static bool forget_former(km_magicsock *ms) {
  for (size_t i = 0; i < ms->spray_count; i++) {
    if (ms->spray[i].state != KM_SOCKET_FREE) {
      return false;
    }
  }
  km_env_free(ms->config.env, ms->spray);
  ms->spray = NULL;
  ms->spray_count = 0;
  return true;
}

size_t km_magicsock_spray(km_magicsock *ms, uint8_t family, uint32_t *ret_vias, size_t cap) {
  cap = cap < KM_MAGICSOCK_MAX_SPRAY ? cap : KM_MAGICSOCK_MAX_SPRAY;
  if (cap == 0 || !forget_former(ms)) {
    return 0;
  }
  ms->spray = km_env_zalloc(ms->config.env, cap, sizeof *ms->spray);
  if (ms->spray == NULL) {
    return 0;
  }
  ms->spray_count = cap;
  const km_udp_addr any = {.family = family};
  size_t count = 0;
  km_errinfo err;
  while (count < cap && km_socket_open_at(ms, KM_MAGICSOCK_MAX_SOCKETS + count, &any,
                                          KM_SOCKET_EXTRA, &err) == 0) {
    const km_socket *s = &ms->spray[count];
    const km_path_key key = {.way = KM_WAY_DIRECT,
                             .socket = s->slot,
                             .socket_generation = s->generation,
                             .remote = {.family = family}};
    ret_vias[count++] = km_magicsock_via(ms, &key);
  }
  if (count < cap) {
    KM_LOG(&ms->config.env->logger, KM_LOG_DEBUG, KM_LOGC_UDP, NULL, NULL, "spray-short",
           "sockets=%zu %s", count, err.text);
  }
  return count;
}

void km_magicsock_spray_end(km_magicsock *ms) {
  for (size_t i = 0; i < ms->spray_count; i++) {
    km_socket *s = &ms->spray[i];
    if (s->state == KM_SOCKET_EXTRA) {
      s->state = KM_SOCKET_OLD;
      km_socket_settle(s);
    }
  }
}
