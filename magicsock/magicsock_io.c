#include <assert.h>
#include <errno.h>
#include <string.h>

#include "magicsock/interfaces_io.h"
#include "magicsock/magicsock_impl.h"
#include "magicsock/mapped_addr.h"
#include "magicsock/mixed.h"
#include "magicsock/packet_kind.h"
#include "magicsock/relays.h"

/* Life */

/* 0.0.0.0:0 and [::]:0. One of the two families may be missing from the system, not both. */
static int bind_default(km_magicsock *ms, km_errinfo *err) {
  static const km_udp_addr any[2] = {{.family = 4}, {.family = 6}};
  km_errinfo errs[2];
  memset(errs, 0, sizeof errs);
  size_t bound = 0;
  for (size_t i = 0; i < 2; i++) {
    km_socket *s;
    int rv = km_socket_open(ms, &any[i], &s, &errs[i]);
    if (rv == 0) {
      bound++;
    } else if (errs[i].sys_errno != EAFNOSUPPORT && errs[i].sys_errno != EADDRNOTAVAIL) {
      if (err != NULL) {
        *err = errs[i];
      }
      return rv;
    } else {
      KM_LOG(&ms->config.env->logger, KM_LOG_INFO, KM_LOGC_UDP, NULL, NULL, "no-such-family", "%s",
             errs[i].text);
    }
  }
  if (bound == 0 && err != NULL) {
    *err = errs[0];
  }
  return bound > 0 ? 0 : errs[0].code;
}

static int bind_all(km_magicsock *ms, const km_udp_addr *bind, size_t count, km_errinfo *err) {
  if (count == 0) {
    ms->bound_to_any = true;
    return bind_default(ms, err);
  }
  if (count > KM_MAGICSOCK_MAX_SOCKETS) {
    return km_fail(err, KM_ERR_LIMIT, "cannot bind %zu addresses, the limit is %d", count,
                   KM_MAGICSOCK_MAX_SOCKETS);
  }
  for (size_t i = 0; i < count; i++) {
    km_socket *s;
    int rv = km_socket_open(ms, &bind[i], &s, err);
    if (rv != 0) {
      return rv;
    }
  }
  return 0;
}

static int make_parts(km_magicsock *ms) {
  int rv = km_path_table_new(&ms->paths, ms->config.env, ms->config.max_paths);
  if (rv == 0) {
    rv = km_udp_rx_pool_new(&ms->pool, ms->config.env);
  }
  if (rv == 0) {
    rv = km_deadline_new(&ms->retry, ms->config.loop, km_sockets_retry, ms);
  }
  return rv;
}

static void on_relay_side(void *ctx, const km_path_key *from, const uint8_t *data, size_t len,
                          size_t segment) {
  km_magicsock_side(ctx, from, data, len, segment);
}

static int make_relays(km_magicsock *ms, km_errinfo *err) {
  const km_magicsock_config *c = &ms->config;
  if (c->relay == NULL) {
    return 0;
  }
  const km_relays_config config = {
      .env = c->env,
      .loop = c->loop,
      .relay = c->relay,
      .on_rx = c->on_rx,
      .on_rx_done = c->on_rx_done,
      .on_writable = c->on_writable,
      .rx_ctx = c->ctx,
      .on_side = on_relay_side,
      .ctx = ms,
      .rx_not_quic = &ms->stats.rx_not_quic,
  };
  return km_relays_new(&ms->relays, &config, err);
}

int km_magicsock_new_with(km_magicsock **ret, const km_magicsock_config *config,
                          const km_udp_driver *driver, const km_udp_calls *calls, km_errinfo *err) {
  km_magicsock *ms = km_env_zalloc(config->env, 1, sizeof *ms);
  if (ms == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  ms->config = *config;
  ms->config.bind = NULL;
  ms->config.bind_count = 0;
  ms->driver = driver != NULL ? driver : km_udp_default_driver();
  ms->calls = calls != NULL ? calls : &km_udp_system_calls;
  km_token_bucket_init(&ms->strangers, KM_STRANGERS_PER_SECOND, KM_STRANGERS_BURST,
                       km_loop_now(config->loop));
  int rv = make_parts(ms);
  if (rv != 0) {
    km_magicsock_free(ms);
    return km_fail(err, rv, NULL);
  }
  rv = bind_all(ms, config->bind, config->bind_count, err);
  if (rv == 0) {
    rv = make_relays(ms, err);
  }
  ms->config.relay = NULL;
  if (rv != 0) {
    km_magicsock_free(ms);
    return rv;
  }
  *ret = ms;
  return 0;
}

int km_magicsock_new(km_magicsock **ret, const km_magicsock_config *config, km_errinfo *err) {
  return km_magicsock_new_with(ret, config, NULL, NULL, err);
}

void km_magicsock_free(km_magicsock *ms) {
  if (ms == NULL) {
    return;
  }
  assert(ms->paths == NULL || km_path_table_count(ms->paths) == 0);
  for (size_t i = 0; i < km_socket_slots(ms); i++) {
    km_socket_close(km_socket_at(ms, i));
  }
  if (ms->retry != NULL) {
    km_deadline_free(ms->retry);
  }
  km_relays_free(ms->relays);
  km_udp_rx_pool_del(ms->config.env, ms->pool);
  km_path_table_del(ms->paths);
  km_env_free(ms->config.env, ms->spray);
  km_env_free(ms->config.env, ms);
}

void km_magicsock_get_stats(const km_magicsock *ms, km_magicsock_stats *ret) {
  *ret = ms->stats;
}

/* Packets that are no QUIC */

void km_magicsock_side(km_magicsock *ms, const km_path_key *from, const uint8_t *data, size_t len,
                       size_t segment) {
  for (size_t at = 0; at < len; at += segment) {
    size_t one = len - at < segment ? len - at : segment;
    km_packet_kind kind = km_packet_kind_of(data + at, one);
    if (kind == KM_PACKET_STUN && from->way == KM_WAY_DIRECT && ms->stun.fn != NULL) {
      ms->stun.fn(ms->stun.ctx, from, data + at, one);
    } else if (kind == KM_PACKET_DISCO && ms->disco.fn != NULL) {
      ms->disco.fn(ms->disco.ctx, from, data + at, one);
    }
  }
}

void km_magicsock_watch_stun(km_magicsock *ms, km_magicsock_side_fn fn, void *ctx) {
  ms->stun.fn = fn;
  ms->stun.ctx = ctx;
}

void km_magicsock_watch_disco(km_magicsock *ms, km_magicsock_side_fn fn, void *ctx) {
  ms->disco.fn = fn;
  ms->disco.ctx = ctx;
}

/* Addresses of ours */

size_t km_magicsock_bound(const km_magicsock *ms, km_udp_addr *ret, size_t cap) {
  size_t count = 0;
  for (size_t i = 0; i < KM_MAGICSOCK_MAX_SOCKETS && count < cap; i++) {
    if (ms->sockets[i].state == KM_SOCKET_CURRENT) {
      ret[count++] = ms->sockets[i].udp.bound;
    }
  }
  return count;
}

typedef struct candidate_list {
  km_udp_addr *at;
  size_t count, cap;
  const km_udp_addr *bound; /* whose interfaces are being listed */
  bool loopback;            /* wanted */
} candidate_list;

static void add_candidate(candidate_list *list, const km_udp_addr *addr) {
  for (size_t i = 0; i < list->count; i++) {
    if (km_udp_addr_equal(&list->at[i], addr)) {
      return;
    }
  }
  if (list->count < list->cap) {
    list->at[list->count++] = *addr;
  }
}

static void add_interface(void *ctx, const km_udp_addr *addr, bool loopback) {
  candidate_list *list = ctx;
  if (addr->family == list->bound->family && loopback == list->loopback) {
    km_udp_addr with_port = *addr;
    with_port.port = list->bound->port;
    add_candidate(list, &with_port);
  }
}

static void add_all_candidates(const km_magicsock *ms, candidate_list *list) {
  for (size_t i = 0; i < KM_MAGICSOCK_MAX_SOCKETS; i++) {
    const km_socket *s = &ms->sockets[i];
    if (s->state != KM_SOCKET_CURRENT) {
      continue;
    }
    if (s->udp.wildcard) {
      list->bound = &s->udp.bound;
      km_interface_each(add_interface, list);
    } else {
      add_candidate(list, &s->udp.bound);
    }
  }
}

size_t km_magicsock_candidates(const km_magicsock *ms, km_udp_addr *ret, size_t cap) {
  candidate_list list = {.at = ret, .cap = cap};
  add_all_candidates(ms, &list);
  if (list.count == 0) {
    list.loopback = true;
    add_all_candidates(ms, &list);
  }
  return list.count;
}

km_udp_addr km_magicsock_local_of(const km_magicsock *ms, const km_path *path) {
  const km_socket *s = km_socket_of(ms, &path->key);
  return s != NULL ? s->udp.bound : (km_udp_addr){0};
}

int km_magicsock_rebind(km_magicsock *ms, const km_udp_addr *bind, km_errinfo *err) {
  km_socket *fresh;
  int rv = km_socket_open(ms, bind, &fresh, err);
  if (rv != 0) {
    return rv;
  }
  for (size_t i = 0; i < KM_MAGICSOCK_MAX_SOCKETS; i++) {
    km_socket *s = &ms->sockets[i];
    if (s == fresh || s->udp.bound.family != fresh->udp.bound.family) {
      continue;
    }
    if (s->state == KM_SOCKET_CURRENT) {
      s->state = KM_SOCKET_OLD;
    }
    km_socket_settle(s);
  }
  return 0;
}

bool km_magicsock_bound_to_any(const km_magicsock *ms) {
  return ms->bound_to_any;
}

/* Keys and paths */

/* An IPv4 address in IPv6 clothes goes through an IPv4 socket; a scope means something for
 * link-local addresses only. Both would be second names of one path otherwise. */
static km_udp_addr plain_address(const km_udp_addr *addr) {
  static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
  km_udp_addr ret = {.family = addr->family, .port = addr->port};
  if (addr->family == 6 && memcmp(addr->ip, mapped, sizeof mapped) == 0) {
    ret.family = 4;
    memcpy(ret.ip, addr->ip + 12, 4);
    return ret;
  }
  memcpy(ret.ip, addr->ip, addr->family == 4 ? 4 : 16);
  if (addr->family == 6 && addr->ip[0] == 0xfe && (addr->ip[1] & 0xc0) == 0x80) {
    ret.scope_id = addr->scope_id;
  }
  return ret;
}

/* The first current socket that can reach it: one bound to a loopback address reaches nothing but
 * loopback, and a wildcard one everything. */
static const km_socket *socket_for(const km_magicsock *ms, const km_udp_addr *remote) {
  const km_socket *other = NULL;
  for (size_t i = 0; i < KM_MAGICSOCK_MAX_SOCKETS; i++) {
    const km_socket *s = &ms->sockets[i];
    if (s->state != KM_SOCKET_CURRENT || s->udp.bound.family != remote->family) {
      continue;
    }
    if (s->udp.wildcard ||
        km_udp_addr_is_loopback(&s->udp.bound) == km_udp_addr_is_loopback(remote)) {
      return s;
    }
    if (other == NULL) {
      other = s;
    }
  }
  return other;
}

int km_magicsock_key(const km_magicsock *ms, const km_udp_addr *remote, km_path_key *ret) {
  const km_udp_addr to = plain_address(remote);
  if ((to.family != 4 && to.family != 6) || to.port == 0 || km_mapped_addr_is(&to)) {
    return KM_ERR_BAD_ADDR;
  }
  const km_socket *s = socket_for(ms, &to);
  if (s == NULL) {
    return KM_ERR_NO_NETWORK;
  }
  memset(ret, 0, sizeof *ret);
  ret->way = KM_WAY_DIRECT;
  ret->socket = s->slot;
  ret->socket_generation = s->generation;
  ret->remote = to;
  return 0;
}

#define VIA_GENERATION 0xffffffu

uint32_t km_magicsock_via(const km_magicsock *ms, const km_path_key *key) {
  const km_socket *s = socket_for(ms, &key->remote);
  if (s != NULL && s->slot == key->socket && s->generation == key->socket_generation) {
    return 0;
  }
  return ((uint32_t)key->socket + 1) << 24 | (key->socket_generation & VIA_GENERATION);
}

int km_magicsock_key_via(const km_magicsock *ms, const km_udp_addr *remote, uint32_t via,
                         km_path_key *ret) {
  const km_udp_addr to = plain_address(remote);
  size_t slot = via >> 24;
  if (slot == 0) {
    return km_magicsock_key(ms, remote, ret);
  }
  const km_socket *s = --slot < km_socket_slots(ms) ? km_socket_at(ms, slot) : NULL;
  if (s == NULL || !km_socket_is_open(s) || s->udp.bound.family != to.family ||
      (s->generation & VIA_GENERATION) != (via & VIA_GENERATION)) {
    return KM_ERR_CLOSED;
  }
  memset(ret, 0, sizeof *ret);
  ret->way = KM_WAY_DIRECT;
  ret->socket = s->slot;
  ret->socket_generation = s->generation;
  ret->remote = to;
  return 0;
}

int km_magicsock_relay_key(km_magicsock *ms, const char *url, const km_id *peer, km_path_key *ret) {
  return ms->relays == NULL ? KM_ERR_NO_NETWORK : km_relays_key(ms->relays, url, peer, false, ret);
}

int km_magicsock_stranger_relay_key(km_magicsock *ms, const char *url, const km_id *peer,
                                    km_path_key *ret) {
  return ms->relays == NULL ? KM_ERR_NO_NETWORK : km_relays_key(ms->relays, url, peer, true, ret);
}

bool km_magicsock_knows_relay(const km_magicsock *ms, const char *url) {
  return ms->relays != NULL && km_relays_knows(ms->relays, url);
}

const char *km_magicsock_relay_url(const km_magicsock *ms, const km_path_key *key) {
  return ms->relays == NULL || key->way != KM_WAY_RELAY ? NULL
                                                        : km_relays_url(ms->relays, key->relay);
}

bool km_magicsock_relay_is_up(const km_magicsock *ms, const km_path_key *key) {
  return ms->relays != NULL && key->way == KM_WAY_RELAY && km_relays_is_up(ms->relays, key->relay);
}

uint64_t km_magicsock_relay_round_trip(const km_magicsock *ms, const km_path_key *key) {
  return ms->relays != NULL && key->way == KM_WAY_RELAY
             ? km_relays_round_trip(ms->relays, key->relay)
             : 0;
}

const char *km_magicsock_relay_trouble(const km_magicsock *ms, const km_path_key *key) {
  return ms->relays == NULL || key->way != KM_WAY_RELAY ? NULL
                                                        : km_relays_trouble(ms->relays, key->relay);
}

size_t km_magicsock_own_relays(const km_magicsock *ms, const char **ret, size_t cap) {
  return ms->relays == NULL ? 0 : km_relays_configured(ms->relays, ret, cap);
}

int km_magicsock_relay_clients(km_magicsock *ms, struct km_relay_clients **ret, km_errinfo *err) {
  return ms->relays == NULL ? km_fail(err, KM_ERR_NO_NETWORK, "this endpoint uses no relays")
                            : km_relays_clients(ms->relays, ret, err);
}

size_t km_magicsock_home(const km_magicsock *ms, const char **ret, size_t cap) {
  return ms->relays == NULL ? 0 : km_relays_home(ms->relays, ret, cap);
}

/* In the place of a dead socket, with its port if that is free. */
static void replace(km_magicsock *ms, km_socket *dead) {
  km_udp_addr bind = dead->udp.bound;
  km_socket *fresh;
  km_errinfo err;
  int rv = km_socket_open(ms, &bind, &fresh, &err);
  if (rv == KM_ERR_ADDR_IN_USE) {
    bind.port = 0;
    rv = km_socket_open(ms, &bind, &fresh, &err);
  }
  dead->replaced = rv == 0;
  km_socket_settle(dead);
}

static bool has_socket(const km_magicsock *ms, uint8_t family) {
  for (size_t i = 0; i < KM_MAGICSOCK_MAX_SOCKETS; i++) {
    const km_socket *s = &ms->sockets[i];
    if (s->state == KM_SOCKET_CURRENT && s->udp.bound.family == family) {
      return true;
    }
  }
  return false;
}

/* Sockets that died, and a family that the system did not have before. */
static void revive(km_magicsock *ms) {
  for (size_t i = 0; i < KM_MAGICSOCK_MAX_SOCKETS; i++) {
    if (ms->sockets[i].state == KM_SOCKET_DEAD && !ms->sockets[i].replaced) {
      replace(ms, &ms->sockets[i]);
    }
  }
  for (uint8_t family = 4; ms->bound_to_any && family <= 6; family = (uint8_t)(family + 2)) {
    const km_udp_addr any = {.family = family};
    km_socket *fresh;
    km_errinfo err;
    if (!has_socket(ms, family) && km_socket_open(ms, &any, &fresh, &err) != 0) {
      KM_LOG(&ms->config.env->logger, KM_LOG_DEBUG, KM_LOGC_UDP, NULL, NULL, "no-such-family", "%s",
             err.text);
    }
  }
}

void km_magicsock_network_changed(km_magicsock *ms) {
  revive(ms);
  if (ms->relays != NULL) {
    km_relays_network_changed(ms->relays);
  }
}

km_path *km_magicsock_find(const km_magicsock *ms, const km_path_key *key) {
  return km_path_table_find(ms->paths, key);
}

size_t km_magicsock_path_count(const km_magicsock *ms) {
  return km_path_table_count(ms->paths);
}

int km_magicsock_path(km_magicsock *ms, const km_path_key *key, km_path **ret) {
  if (key->way != KM_WAY_DIRECT && key->way != KM_WAY_RELAY) {
    return KM_ERR_INVALID;
  }
  km_path *path = km_path_table_find(ms->paths, key);
  if (path != NULL) {
    km_path_ref(path);
    *ret = path;
    return 0;
  }
  km_socket *s = km_socket_of(ms, key);
  if (key->way == KM_WAY_DIRECT && (s == NULL || !km_socket_is_open(s))) {
    return KM_ERR_CLOSED;
  }
  if (key->way == KM_WAY_RELAY && km_magicsock_relay_url(ms, key) == NULL) {
    return KM_ERR_CLOSED;
  }
  int rv = km_path_table_make(ms->paths, key, ret);
  if (rv == 0 && s != NULL) {
    s->refs++;
  } else if (rv == 0) {
    km_relays_ref(ms->relays, key->relay);
  }
  return rv;
}

void km_path_ref(km_path *path) {
  path->refs++;
}

static void release_candidates(km_magicsock *ms, km_path *mixed) {
  for (size_t i = 0; i < km_mixed_count(mixed); i++) {
    km_path_unref(ms, km_mixed_at(mixed, i));
  }
}

void km_path_unref(km_magicsock *ms, km_path *path) {
  assert(path->refs > 0);
  if (--path->refs > 0) {
    return;
  }
  km_path_table_remove(ms->paths, path);
  if (path->key.way == KM_WAY_MIXED) {
    release_candidates(ms, path);
    km_mixed_free(ms->config.env, path);
    return;
  }
  km_socket *s = km_socket_of(ms, &path->key);
  if (s != NULL) {
    s->refs--;
    km_socket_settle(s);
  } else if (path->key.way == KM_WAY_RELAY) {
    km_relays_unref(ms->relays, path->key.relay);
  }
  km_env_free(ms->config.env, path);
}

int km_mixed_new(km_magicsock *ms, const km_path_key *candidates, size_t count, km_path **ret) {
  if (count > KM_MIXED_MAX_CANDIDATES) {
    return KM_ERR_LIMIT;
  }
  km_path *mixed;
  int rv = km_mixed_make(ms->paths, ms->config.env, &mixed);
  if (rv != 0) {
    return rv;
  }
  for (size_t i = 0; i < count; i++) {
    rv = km_mixed_add(ms, mixed, &candidates[i]);
    if (rv != 0) {
      km_path_unref(ms, mixed);
      return rv;
    }
  }
  *ret = mixed;
  return 0;
}

/* Whether a candidate may be sent so many packets, which are paid for then. */
static bool pay(km_magicsock *ms, km_path *mixed, size_t index, const km_udp_tx *tx) {
  uint32_t packets = (uint32_t)((tx->len + tx->segment - 1) / tx->segment);
  uint32_t left = km_mixed_left_at(mixed, index);
  km_ts now = km_loop_now(ms->config.loop);
  if (left == KM_MIXED_UNLIMITED) {
    return true;
  }
  if (left < packets || km_token_bucket_when(&ms->strangers, now) > now) {
    return false;
  }
  (void)km_token_bucket_spend(&ms->strangers, packets, now);
  km_mixed_pay(mixed, index, packets);
  return true;
}

static void send_on(km_magicsock *ms, km_path *path, km_udp_tx *tx);

int km_mixed_add(km_magicsock *ms, km_path *mixed, const km_path_key *candidate) {
  return km_mixed_add_stranger(ms, mixed, candidate, KM_MIXED_UNLIMITED);
}

int km_mixed_add_stranger(km_magicsock *ms, km_path *mixed, const km_path_key *candidate,
                          uint32_t allowance) {
  if (km_mixed_candidate(mixed, candidate) != NULL) {
    return 0;
  }
  km_path *path;
  int rv = km_magicsock_path(ms, candidate, &path);
  if (rv != 0) {
    return rv;
  }
  rv = km_mixed_append(ms->config.env, mixed, path, allowance);
  if (rv != 0) {
    km_path_unref(ms, path);
    return rv;
  }
  const km_mixed_flight *flight = km_mixed_last_flight(mixed);
  if (flight != NULL && km_mixed_current(mixed) == NULL) {
    km_udp_tx tx = {
        .data = flight->data, .len = flight->len, .segment = flight->segment, .ecn = flight->ecn};
    if (pay(ms, mixed, km_mixed_count(mixed) - 1, &tx)) {
      send_on(ms, path, &tx);
    }
  }
  return 0;
}

bool km_mixed_remove(km_magicsock *ms, km_path *mixed, const km_path_key *candidate) {
  km_path *out = km_mixed_take_out(mixed, candidate);
  if (out != NULL) {
    km_path_unref(ms, out);
  }
  return out != NULL;
}

void km_mixed_grows(km_magicsock *ms, km_path *mixed, bool grows) {
  km_mixed_set_grows(ms->config.env, mixed, grows);
}

void km_mixed_refresh(km_magicsock *ms, km_path *mixed, bool keep_current) {
  for (size_t i = 0; i < km_mixed_count(mixed); i++) {
    km_path *old = km_mixed_at(mixed, i), *fresh;
    km_path_key key;
    if (old->key.way != KM_WAY_DIRECT || km_magicsock_via(ms, &old->key) == 0 ||
        (keep_current && old == km_mixed_current(mixed)) ||
        km_magicsock_key(ms, &old->key.remote, &key) != 0 ||
        km_magicsock_path(ms, &key, &fresh) != 0) {
      continue;
    }
    km_mixed_replace(mixed, i, fresh);
    km_path_unref(ms, old);
  }
}

/* Sending */

bool km_path_can_send(const km_magicsock *ms, const km_path *path) {
  if (path->key.way == KM_WAY_RELAY) {
    return km_relays_can_send(ms->relays, path->key.relay);
  }
  if (path->key.way == KM_WAY_DIRECT) {
    const km_socket *s = km_socket_of(ms, &path->key);
    return s == NULL || s->wait == KM_SOCKET_READY;
  }
  const km_path *current = km_mixed_current(path);
  if (current != NULL) {
    return km_path_can_send(ms, current);
  }
  for (size_t i = 0; i < km_mixed_count(path); i++) {
    if (km_path_can_send(ms, km_mixed_at(path, i))) {
      return true;
    }
  }
  return km_mixed_count(path) == 0;
}

static const uint8_t *source_of(const km_path_key *key) {
  static const uint8_t unset[16];
  return memcmp(key->local_ip, unset, sizeof unset) == 0 ? NULL : key->local_ip;
}

/* The books are kept as a socket's send keeps them. */
static void relay_on(km_magicsock *ms, km_path *path, const km_udp_tx *tx) {
  size_t packets = (tx->len + tx->segment - 1) / tx->segment;
  path->last_errno =
      km_relays_send(ms->relays, &path->key, tx->data, tx->len, tx->segment, tx->ecn);
  if (path->last_errno != 0) {
    ms->stats.tx_errors += packets;
    return;
  }
  path->tx_bytes += tx->len;
  path->tx_packets += packets;
  ms->stats.tx_bytes += tx->len;
  ms->stats.tx_packets += packets;
  ms->stats.tx_batches++;
}

static void send_on(km_magicsock *ms, km_path *path, km_udp_tx *tx) {
  if (path->key.way == KM_WAY_RELAY) {
    relay_on(ms, path, tx);
    return;
  }
  km_socket *s = km_socket_of(ms, &path->key); /* lives as long as the path */
  tx->to = &path->remote;
  tx->to_len = path->remote_len;
  tx->local_ip = source_of(&path->key);
  km_socket_send(s, tx, path);
}

/* To each candidate that has room and may be sent more. The books of the mixed path say what it was
 * asked to send, and it failed when no candidate worked. */
static void send_to_all(km_magicsock *ms, km_path *mixed, km_udp_tx *tx) {
  int last_errno = ENETUNREACH;
  for (size_t i = 0; i < km_mixed_count(mixed); i++) {
    km_path *path = km_mixed_at(mixed, i);
    if (!km_path_can_send(ms, path) || !pay(ms, mixed, i, tx)) {
      continue;
    }
    send_on(ms, path, tx);
    if (last_errno != 0) {
      last_errno = path->last_errno;
    }
  }
  mixed->last_errno = last_errno;
}

void km_magicsock_send(km_magicsock *ms, km_path *path, const uint8_t *data, size_t len,
                       size_t segment, uint8_t ecn) {
  assert(len <= KM_MAGICSOCK_MAX_BATCH);
  if (len == 0) {
    return;
  }
  if (segment == 0 || segment > len) {
    segment = len;
  }
  km_udp_tx tx = {.data = data, .len = len, .segment = segment, .ecn = ecn};
  if (path->key.way != KM_WAY_MIXED) {
    send_on(ms, path, &tx);
    return;
  }
  path->tx_bytes += len;
  path->tx_packets += (len + segment - 1) / segment;
  km_path *current = km_mixed_current(path);
  if (current != NULL) {
    send_on(ms, current, &tx);
    path->last_errno = current->last_errno;
  } else {
    km_mixed_remember(ms->config.env, path, data, len, segment, ecn);
    send_to_all(ms, path, &tx);
  }
}

void km_magicsock_reply(km_magicsock *ms, const km_path_key *to, const uint8_t *data, size_t len) {
  if (to->way == KM_WAY_RELAY && ms->relays != NULL && len > 0) {
    (void)km_relays_send(ms->relays, to, data, len, len, 0); /* lost, as any datagram may be */
    return;
  }
  km_socket *s = km_socket_of(ms, to);
  if (s == NULL || len == 0) {
    return;
  }
  km_sockaddr remote;
  km_udp_tx tx = {.to = &remote,
                  .to_len = km_sockaddr_set(&remote, &to->remote),
                  .local_ip = source_of(to),
                  .data = data,
                  .len = len,
                  .segment = len};
  km_socket_send(s, &tx, NULL);
}
