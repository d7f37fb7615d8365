#include <keymesh/addr.h>
#include <string.h>

#include "base/addr_impl.h"
#include "base/relay_url.h"
#include "base/udp_addr.h"

int km_addr_new_in(km_addr **ret, const km_env *env, const km_id *id) {
  km_addr *addr = km_env_zalloc(env, 1, sizeof *addr);
  if (addr == NULL) {
    return KM_ERR_NOMEM;
  }
  addr->env = env;
  addr->id = *id;
  *ret = addr;
  return 0;
}

int km_addr_new(km_addr **ret, const km_id *id) {
  return km_addr_new_in(ret, &km_env_system, id);
}

void km_addr_free(km_addr *addr) {
  if (addr == NULL) {
    return;
  }
  for (size_t i = 0; i < addr->relay_count; i++) {
    km_env_free(addr->env, addr->relays[i]);
  }
  km_env_free(addr->env, addr);
}

/* Puts a copy of the normalised `url` at `index`. */
static int insert_relay(km_addr *addr, size_t index, const char *url, size_t len) {
  if (addr->relay_count == KM_ADDR_MAX_RELAYS) {
    return KM_ERR_LIMIT;
  }
  char *copy = km_env_alloc(addr->env, len + 1);
  if (copy == NULL) {
    return KM_ERR_NOMEM;
  }
  memcpy(copy, url, len);
  copy[len] = '\0';
  memmove(addr->relays + index + 1, addr->relays + index,
          (addr->relay_count - index) * sizeof addr->relays[0]);
  addr->relays[index] = copy;
  addr->relay_count++;
  return 0;
}

int km_addr_copy(km_addr **ret, const km_addr *addr) {
  km_addr *copy;
  int rv = km_addr_new_in(&copy, addr->env, &addr->id);
  if (rv != 0) {
    return rv;
  }
  memcpy(copy->udp, addr->udp, sizeof copy->udp);
  copy->udp_count = addr->udp_count;
  for (size_t i = 0; i < addr->relay_count; i++) {
    rv = insert_relay(copy, i, addr->relays[i], strlen(addr->relays[i]));
    if (rv != 0) {
      km_addr_free(copy);
      return rv;
    }
  }
  *ret = copy;
  return 0;
}

const km_id *km_addr_id(const km_addr *addr) {
  return &addr->id;
}

int km_addr_insert_udp(km_addr *addr, const km_udp_addr *udp) {
  km_udp_addr value = *udp;
  value.scope_id = 0;
  size_t at = 0;
  while (at < addr->udp_count && km_udp_addr_compare(&addr->udp[at], &value) < 0) {
    at++;
  }
  if (at < addr->udp_count && km_udp_addr_equal(&addr->udp[at], &value)) {
    return 0;
  }
  if (addr->udp_count == KM_ADDR_MAX_DIRECT) {
    return KM_ERR_LIMIT;
  }
  memmove(addr->udp + at + 1, addr->udp + at, (addr->udp_count - at) * sizeof addr->udp[0]);
  addr->udp[at] = value;
  addr->udp_count++;
  return 0;
}

int km_addr_add_udp(km_addr *addr, const km_udp_addr *udp) {
  if ((udp->family != 4 && udp->family != 6) || udp->port == 0) {
    return KM_ERR_BAD_ADDR;
  }
  return km_addr_insert_udp(addr, udp);
}

size_t km_addr_udp_count(const km_addr *addr) {
  return addr->udp_count;
}

const km_udp_addr *km_addr_udp_at(const km_addr *addr, size_t index) {
  return index < addr->udp_count ? &addr->udp[index] : NULL;
}

int km_addr_add_relay(km_addr *addr, const char *url, size_t len, km_errinfo *err) {
  char normal[KM_RELAY_URL_MAX + 1];
  int rv = km_relay_url_normalise(normal, sizeof normal, url, len, err);
  if (rv < 0) {
    return rv;
  }
  size_t at = 0;
  int order = 1;
  while (at < addr->relay_count && (order = strcmp(addr->relays[at], normal)) < 0) {
    at++;
  }
  if (at < addr->relay_count && order == 0) {
    return 0;
  }
  rv = insert_relay(addr, at, normal, (size_t)rv);
  if (rv == KM_ERR_LIMIT) {
    return km_fail(err, rv, "more than %d relay urls for one endpoint", KM_ADDR_MAX_RELAYS);
  }
  return rv == 0 ? 0 : km_fail(err, rv, NULL);
}

size_t km_addr_relay_count(const km_addr *addr) {
  return addr->relay_count;
}

const char *km_addr_relay_at(const km_addr *addr, size_t index) {
  return index < addr->relay_count ? addr->relays[index] : NULL;
}
