/* Extra sockets: behind a NAT that gives every destination a port of its own, many sockets that
 * send to one address have as many ports, of which the peer has to guess one. */
#include <string.h>

#include "magicsock/magicsock_impl.h"

_Static_assert(KM_MAGICSOCK_MAX_SOCKETS + KM_MAGICSOCK_MAX_SPRAY <= 255, "a via has 8 bits for it");

/* The slots stay where they are while a socket is in one of them. */
static bool make_slots(km_magicsock *ms) {
  if (ms->spray != NULL) {
    return true;
  }
  ms->spray = km_env_zalloc(ms->config.env, KM_MAGICSOCK_MAX_SPRAY, sizeof *ms->spray);
  ms->spray_count = ms->spray == NULL ? 0 : KM_MAGICSOCK_MAX_SPRAY;
  return ms->spray != NULL;
}

static void free_slots(km_magicsock *ms) {
  for (size_t i = 0; i < ms->spray_count; i++) {
    if (ms->spray[i].state != KM_SOCKET_FREE) {
      return;
    }
  }
  km_env_free(ms->config.env, ms->spray);
  ms->spray = NULL;
  ms->spray_count = 0;
}

size_t km_magicsock_spray(km_magicsock *ms, const void *owner, uint8_t family, uint32_t *ret_vias,
                          size_t cap) {
  const km_udp_addr any = {.family = family};
  size_t count = 0;
  km_errinfo err;
  int rv = make_slots(ms) ? 0 : KM_ERR_NOMEM;
  for (size_t i = 0; rv == 0 && count < cap && i < ms->spray_count; i++) {
    km_socket *s = &ms->spray[i];
    if (s->state != KM_SOCKET_FREE) {
      continue;
    }
    rv = km_socket_open_at(ms, KM_MAGICSOCK_MAX_SOCKETS + i, &any, KM_SOCKET_EXTRA, &err);
    if (rv != 0) {
      KM_LOG(&ms->config.env->logger, KM_LOG_DEBUG, KM_LOGC_UDP, NULL, NULL, "spray-short",
             "sockets=%zu %s", count, err.text);
      break;
    }
    s->owner = owner;
    const km_path_key key = {.way = KM_WAY_DIRECT,
                             .socket = s->slot,
                             .socket_generation = s->generation,
                             .remote = {.family = family}};
    ret_vias[count++] = km_magicsock_via(ms, &key);
  }
  return count;
}

void km_magicsock_spray_end(km_magicsock *ms, const void *owner) {
  for (size_t i = 0; i < ms->spray_count; i++) {
    km_socket *s = &ms->spray[i];
    if (s->state == KM_SOCKET_EXTRA && s->owner == owner) {
      s->state = KM_SOCKET_OLD;
      km_socket_settle(s);
    }
  }
  free_slots(ms);
}
