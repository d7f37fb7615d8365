#include "discovery/mdns_peers.h"

#include <string.h>

#include "base/addr_impl.h"
#include "base/text.h"

#define EVICT_LOOK 64 /* of the oldest, how many are looked at for one that is worth least */

enum { WORTH_NOTHING, WORTH_LITTLE, WORTH_MUCH };

void km_mdns_peers_init(km_mdns_peers *p, const km_env *env) {
  *p = (km_mdns_peers){.env = env};
  km_list_init(&p->used);
  km_env_random(env, &p->salt, sizeof p->salt);
}

/* Whoever makes keys to fill one bucket has to know the salt. */
static km_mdns_peer **bucket(km_mdns_peers *p, const km_id *id) {
  uint64_t hash = p->salt;
  for (size_t i = 0; i < KM_ID_BYTES; i += 8) {
    uint64_t word;
    memcpy(&word, id->bytes + i, sizeof word);
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    hash ^= hash >> 29;
  }
  return &p->buckets[hash % KM_MDNS_PEER_BUCKETS];
}

static void set_live(km_mdns_peers *p, km_mdns_peer *peer, bool live, uint32_t ttl_s) {
  p->live -= peer->live ? 1 : 0;
  p->silent -= peer->live && peer->ttl_s == 0 ? 1 : 0;
  peer->live = live;
  peer->ttl_s = ttl_s;
  p->live += live ? 1 : 0;
  p->silent += live && ttl_s == 0 ? 1 : 0;
}

static void remove_peer(km_mdns_peers *p, km_mdns_peer *peer) {
  km_mdns_peer **at = bucket(p, &peer->id);
  while (*at != peer) {
    at = &(*at)->next;
  }
  *at = peer->next;
  set_live(p, peer, false, 0);
  km_list_remove(&peer->used);
  p->count--;
  km_addr_free(peer->addr);
  km_env_free(p->env, peer->user_data);
  km_env_free(p->env, peer);
}

void km_mdns_peers_clear(km_mdns_peers *p) {
  while (!km_list_empty(&p->used)) {
    remove_peer(p, KM_LIST_ITEM(p->used.next, km_mdns_peer, used));
  }
}

km_mdns_peer *km_mdns_peers_find(km_mdns_peers *p, const km_id *id) {
  km_mdns_peer *peer = *bucket(p, id);
  while (peer != NULL && !km_id_equal(&peer->id, id)) {
    peer = peer->next;
  }
  return peer;
}

static bool same_ip(const km_udp_addr *a, const km_udp_addr *b) {
  return a->family == b->family && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

static unsigned worth(const km_mdns_peer *peer) {
  return !peer->live ? WORTH_NOTHING : peer->proven ? WORTH_MUCH : WORTH_LITTLE;
}

/* Whoever is worth least, of `source` or (NULL) of all, the one heard longest ago first; none that
 * is kept, or worth more than `most`. `ret_count`: how many there are, as far as was looked. */
static km_mdns_peer *least_worth(const km_mdns_peers *p, const km_udp_addr *source, unsigned most,
                                 const km_mdns_peers_rules *rules, size_t *ret_count) {
  km_mdns_peer *least = NULL;
  size_t n = 0;
  for (const km_list *at = p->used.next; at != &p->used; at = at->next) {
    km_mdns_peer *peer = KM_LIST_ITEM(at, km_mdns_peer, used);
    if (source != NULL && !same_ip(&peer->source, source)) {
      continue;
    }
    n++;
    if (worth(peer) <= most && (least == NULL || worth(peer) < worth(least)) &&
        !rules->is_kept(rules->ctx, &peer->id)) {
      least = peer;
    }
    if (source == NULL && n >= EVICT_LOOK && least != NULL) {
      break;
    }
  }
  *ret_count = n;
  return least;
}

static void evict(km_mdns_peers *p, km_mdns_peer *peer, const km_mdns_peers_rules *rules) {
  if (peer->live) {
    rules->lost(rules->ctx, peer);
  }
  remove_peer(p, peer);
}

static bool make_room(km_mdns_peers *p, const km_udp_addr *source, bool kept, bool proven,
                      const km_mdns_peers_rules *rules) {
  unsigned most = kept || proven ? WORTH_MUCH : WORTH_LITTLE;
  size_t n;
  if (p->count >= KM_MDNS_PEERS_PER_SOURCE) {
    km_mdns_peer *own = least_worth(p, source, most, rules, &n);
    if (n >= KM_MDNS_PEERS_PER_SOURCE && own != NULL) {
      evict(p, own, rules);
    } else if (n >= KM_MDNS_PEERS_PER_SOURCE && !kept) {
      return false;
    }
  }
  if (p->count >= KM_MDNS_PEERS_MAX) {
    km_mdns_peer *any = least_worth(p, NULL, most, rules, &n);
    if (any == NULL) {
      return false;
    }
    evict(p, any, rules);
  }
  return true;
}

km_mdns_peer *km_mdns_peers_get(km_mdns_peers *p, const km_id *id, const km_udp_addr *source,
                                bool proven, const km_mdns_peers_rules *rules) {
  km_mdns_peer *peer = km_mdns_peers_find(p, id);
  if (peer != NULL) {
    return peer;
  }
  if (!make_room(p, source, rules->is_kept(rules->ctx, id), proven, rules)) {
    return NULL;
  }
  peer = km_env_zalloc(p->env, 1, sizeof *peer);
  if (peer == NULL) {
    return NULL;
  }
  km_mdns_peer **at = bucket(p, id);
  peer->id = *id;
  peer->source = *source;
  peer->next = *at;
  *at = peer;
  km_list_init(&peer->used);
  km_list_append(&p->used, &peer->used);
  p->count++;
  return peer;
}

/* --- what it says --- */

static bool is_v4_mapped(const km_udp_addr *a) {
  static const uint8_t prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return memcmp(a->ip, prefix, sizeof prefix) == 0;
}

static bool is_zero(const km_udp_addr *a, size_t but_last) {
  for (size_t i = 0; i < 16 - but_last; i++) {
    if (a->ip[i] != 0) {
      return false;
    }
  }
  return true;
}

km_mdns_addr_kind km_mdns_kind_of(const km_udp_addr *a) {
  if (a->port == 0) {
    return KM_MDNS_ADDR_NONE;
  }
  if (a->family == 4) {
    bool none = a->ip[0] == 0 || a->ip[0] >= 224;
    return none ? KM_MDNS_ADDR_NONE : a->ip[0] == 127 ? KM_MDNS_ADDR_LOOPBACK : KM_MDNS_ADDR_ANY;
  }
  if (a->ip[0] == 0xff || is_v4_mapped(a) || is_zero(a, 1)) {
    return is_zero(a, 1) && a->ip[15] == 1 ? KM_MDNS_ADDR_LOOPBACK : KM_MDNS_ADDR_NONE;
  }
  return a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80 ? KM_MDNS_ADDR_LINK_LOCAL : KM_MDNS_ADDR_ANY;
}

static int add_kind(km_addr *addr, const km_mdns_details *d, km_mdns_addr_kind wanted) {
  for (size_t i = 0; i < d->addr_count; i++) {
    if (km_mdns_kind_of(&d->addrs[i]) != wanted) {
      continue;
    }
    int rv = km_addr_add_udp(addr, &d->addrs[i]);
    if (rv == KM_ERR_NOMEM) {
      return rv;
    }
  }
  return 0;
}

/* An address of the link alone is of use with the link's name only, which an address cannot carry:
 * such ones are told when there are no others, so that a person sees them. */
static int add_addrs(km_addr *addr, const km_mdns_details *d, bool same_host) {
  int rv = add_kind(addr, d, KM_MDNS_ADDR_ANY);
  if (rv == 0 && same_host) {
    rv = add_kind(addr, d, KM_MDNS_ADDR_LOOPBACK);
  }
  if (rv == 0 && km_addr_udp_count(addr) == 0) {
    rv = add_kind(addr, d, KM_MDNS_ADDR_LINK_LOCAL);
  }
  return rv;
}

static int add_relays(km_addr *addr, const km_mdns_details *d) {
  for (size_t i = 0; i < d->relay_count; i++) {
    int rv = km_addr_add_relay(addr, d->relays[i].at, d->relays[i].len, NULL);
    if (rv == KM_ERR_NOMEM) {
      return rv;
    }
  }
  return 0;
}

static int copy_user_data(const km_env *env, const km_mdns_text *text, char **ret) {
  *ret = NULL;
  if (text->at == NULL || text->len > KM_USER_DATA_MAX || !km_text_is_utf8(text->at, text->len)) {
    return 0;
  }
  *ret = km_env_alloc(env, text->len + 1);
  if (*ret == NULL) {
    return KM_ERR_NOMEM;
  }
  memcpy(*ret, text->at, text->len);
  (*ret)[text->len] = '\0';
  return 0;
}

static bool same_text(const char *a, const char *b) {
  return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_addr(const km_addr *a, const km_addr *b) {
  if (a == NULL || km_addr_udp_count(a) != km_addr_udp_count(b) ||
      km_addr_relay_count(a) != km_addr_relay_count(b)) {
    return false;
  }
  for (size_t i = 0; i < km_addr_udp_count(a); i++) {
    if (!km_udp_addr_equal(km_addr_udp_at(a, i), km_addr_udp_at(b, i))) {
      return false;
    }
  }
  for (size_t i = 0; i < km_addr_relay_count(a); i++) {
    if (!same_text(km_addr_relay_at(a, i), km_addr_relay_at(b, i))) {
      return false;
    }
  }
  return true;
}

int km_mdns_peers_update(km_mdns_peers *p, km_mdns_peer *peer, const km_mdns_details *d,
                         bool same_host, bool *changed) {
  km_addr *addr = NULL;
  char *user_data = NULL;
  int rv = km_addr_new_in(&addr, p->env, &d->id);
  rv = rv == 0 ? add_addrs(addr, d, same_host) : rv;
  rv = rv == 0 ? add_relays(addr, d) : rv;
  if (rv == 0 && km_addr_udp_count(addr) == 0 && km_addr_relay_count(addr) == 0) {
    rv = KM_ERR_NO_ADDRESS;
  }
  rv = rv == 0 ? copy_user_data(p->env, &d->user_data, &user_data) : rv;
  if (rv != 0) {
    km_addr_free(addr);
    return rv;
  }
  *changed = !peer->live || !same_addr(peer->addr, addr) || !same_text(peer->user_data, user_data);
  km_addr_free(peer->addr);
  km_env_free(p->env, peer->user_data);
  peer->addr = addr;
  peer->user_data = user_data;
  return 0;
}

void km_mdns_peers_heard(km_mdns_peers *p, km_mdns_peer *peer, uint32_t ttl_s, km_ts now) {
  set_live(p, peer, true, ttl_s);
  peer->heard = now;
  km_list_remove(&peer->used);
  km_list_append(&p->used, &peer->used);
}

void km_mdns_peers_gone(km_mdns_peers *p, km_mdns_peer *peer) {
  if (peer->time_ms == 0 && peer->deaf_until == 0) {
    remove_peer(p, peer);
    return;
  }
  set_live(p, peer, false, 0);
  km_addr_free(peer->addr);
  km_env_free(p->env, peer->user_data);
  peer->addr = NULL;
  peer->user_data = NULL;
  peer->proven = false;
}

void km_mdns_peer_found(const km_mdns_peer *peer, km_ts now, km_found *ret) {
  *ret = (km_found){
      .size = sizeof *ret,
      .addr = peer->addr,
      .user_data = peer->user_data,
      .published_ms = peer->proven ? (int64_t)peer->time_ms : 0,
      .age_s = now > peer->heard ? (uint32_t)((now - peer->heard) / KM_NS_PER_S) : 0,
      .valid_s = peer->expires > now ? (uint32_t)((peer->expires - now) / KM_NS_PER_S) : 0,
      .proven = peer->proven,
  };
}
