#include "magicsock/gather.h"

#include <string.h>

#include "holepunch/mapping_life.h"
#include "holepunch/nat64.h"
#include "holepunch/portmap_io.h"
#include "magicsock/interfaces_io.h"
#include "relay/resolve_io.h"
#include "relay/url.h"

/* The router keeps its mapping for a while after the last connection that needed it. */
#define MAPPING_LINGER_NS (600 * KM_NS_PER_S)
/* After our outer address changed it is asked for so often for so long: to learn how long a mapping
 * lives takes two lives, and somebody who looks. */
#define WATCH_NS (300 * KM_NS_PER_S)
#define WATCH_EVERY_NS (3 * KM_NS_PER_S)
#define SEEN_NEWS_NS (5 * KM_NS_PER_S)
#define FRESH_NS (2 * KM_NS_PER_S)
#define SEEN_NS (120 * KM_NS_PER_S) /* then somebody should have seen us there again */
#define MAX_SEEN 4                  /* addresses that peers saw us at */

typedef struct seen {
  km_udp_addr addr;
  km_ts at;
} seen;

struct km_gather {
  km_gather_config config;
  km_reporter *reporter;
  km_portmap *portmap; /* NULL: not asked for yet */
  km_portmap_status mapped;
  km_deadline *timer;       /* the next of: lives, linger_until */
  km_mapping_life lives[2]; /* IPv4, IPv6 */
  seen seen[MAX_SEEN];
  size_t seen_count;
  km_ts linger_until;
  km_ts refreshed_at, seen_news_at;
  km_ts watch_until, watch_at; /* 0: not now */
  bool active;
  km_nat64 nat64;
  km_resolve *nat64_lookup; /* under way */
};

static km_mapping_life *life_of(km_gather *g, uint8_t family) {
  return &g->lives[family == 6];
}

static km_ts now_of(const km_gather *g) {
  return km_loop_now(g->config.loop);
}

static void arm(km_gather *g) {
  km_ts at = g->active || g->portmap == NULL ? KM_TS_NEVER : g->linger_until;
  for (size_t i = 0; g->active && i < 2; i++) {
    km_ts renew = km_mapping_life_renew_at(&g->lives[i]);
    at = renew < at ? renew : at;
  }
  if (g->active && g->watch_at != 0 && g->watch_at < at) {
    at = g->watch_at;
  }
  km_deadline_set(g->timer, at);
}

static void forget_seen(km_gather *g, uint8_t family) {
  size_t kept = 0;
  for (size_t i = 0; i < g->seen_count; i++) {
    if (g->seen[i].addr.family != family) {
      g->seen[kept++] = g->seen[i];
    }
  }
  g->seen_count = kept;
}

/* What the servers saw is what mappings live by, where all see the same. */
static void observe(km_gather *g, const km_udp_addr *outer, km_ts at) {
  km_nat_info nat;
  km_reporter_nat(g->reporter, &nat);
  uint8_t mapping = outer->family == 4 ? nat.mapping4 : nat.mapping6;
  if (mapping != KM_NAT_MAPPING_ENDPOINT_INDEPENDENT) {
    return;
  }
  km_mapping_life *life = life_of(g, outer->family);
  if (life->outer.family != 0 && !km_udp_addr_equal(&life->outer, outer)) {
    forget_seen(g, outer->family);
    g->watch_until = now_of(g) + WATCH_NS;
    g->watch_at = now_of(g) + WATCH_EVERY_NS;
  }
  km_mapping_life_observed(life, outer, at);
  arm(g);
}

static void observe_reflexive(km_gather *g) {
  km_udp_addr outer[KM_DISCO_MAX_CANDIDATES];
  uint64_t age = km_reporter_age(g->reporter);
  size_t count = age > 2 * WATCH_EVERY_NS
                     ? 0
                     : km_reporter_reflexive(g->reporter, outer, KM_DISCO_MAX_CANDIDATES);
  for (size_t i = 0; i < count; i++) {
    observe(g, &outer[i], now_of(g) - age);
  }
}

static void on_timer(void *ctx) {
  km_gather *g = ctx;
  km_ts now = now_of(g);
  if (!g->active && g->portmap != NULL && g->linger_until <= now) {
    km_portmap_free(g->portmap);
    g->portmap = NULL;
    g->mapped = (km_portmap_status){0};
  }
  if (g->active && g->watch_at != 0 && g->watch_at <= now) {
    g->watch_at = now < g->watch_until ? now + WATCH_EVERY_NS : 0;
    observe_reflexive(g);
    km_reporter_refresh(g->reporter);
  }
  for (uint8_t i = 0; g->active && i < 2; i++) {
    if (km_mapping_life_renew_at(&g->lives[i]) <= now) {
      km_mapping_life_restart(&g->lives[i], false,
                              now); /* whoever binds or not: not at once again */
      g->config.on_renew(g->config.ctx, i == 0 ? 4 : 6);
    }
  }
  arm(g);
}

static void on_report(void *ctx) {
  km_gather *g = ctx;
  observe_reflexive(g);
  g->config.on_change(g->config.ctx);
}

static void on_mapping(void *ctx, const km_portmap_status *status) {
  km_gather *g = ctx;
  bool changed = !km_udp_addr_equal(&g->mapped.external, &status->external);
  g->mapped = *status;
  if (changed) {
    g->config.on_change(g->config.ctx);
  }
}

/* --- NAT64 ------------------------------------------------------------------------------------ */

static void on_nat64(void *ctx, const km_resolve_result *result) {
  km_gather *g = ctx;
  km_resolve_free(g->nat64_lookup);
  g->nat64_lookup = NULL;
  for (size_t i = 0; i < result->count && g->nat64.bits == 0; i++) {
    if (km_nat64_read(&g->nat64, &result->addrs[i])) {
      KM_LOG(&g->config.env->logger, KM_LOG_INFO, KM_LOGC_PUNCH, NULL, NULL, "nat64",
             "IPv4 is reached through a prefix of %u bits", g->nat64.bits);
    }
  }
}

/* The name server is asked only where there is IPv6 and no IPv4. */
static void look_for_nat64(km_gather *g) {
  km_udp_addr own[KM_DISCO_MAX_CANDIDATES];
  size_t count = km_magicsock_candidates(g->config.ms, own, KM_DISCO_MAX_CANDIDATES);
  bool v4 = false, v6 = false;
  for (size_t i = 0; i < count; i++) {
    v4 = v4 || own[i].family == 4;
    v6 = v6 || (own[i].family == 6 && !km_udp_addr_is_loopback(&own[i]));
  }
  g->nat64 = (km_nat64){0};
  km_resolve_free(g->nat64_lookup);
  g->nat64_lookup = NULL;
  if (v6 && !v4 &&
      km_resolve_new(&g->nat64_lookup, g->config.env, g->config.loop, KM_NAT64_NAME, 1, on_nat64,
                     g) != 0) {
    g->nat64_lookup = NULL;
  }
}

bool km_gather_translate(const km_gather *g, const km_udp_addr *v4, km_udp_addr *ret) {
  return km_nat64_write(&g->nat64, v4, ret);
}

int km_gather_new(km_gather **ret, const km_gather_config *config, km_errinfo *err) {
  km_gather *g = km_env_zalloc(config->env, 1, sizeof *g);
  if (g == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  g->config = *config;
  g->config.stun_servers = NULL;
  for (size_t i = 0; i < 2; i++) {
    km_mapping_life_init(&g->lives[i]);
  }
  const km_reporter_config reporter = {.env = config->env,
                                       .loop = config->loop,
                                       .ms = config->ms,
                                       .stun_servers = config->stun_servers,
                                       .stun_count = config->stun_count,
                                       .on_change = on_report,
                                       .ctx = g};
  int rv = km_deadline_new(&g->timer, config->loop, on_timer, g);
  rv = rv == 0 ? km_reporter_new(&g->reporter, &reporter, err) : km_fail(err, rv, NULL);
  if (rv != 0) {
    km_gather_free(g);
    return rv;
  }
  look_for_nat64(g);
  *ret = g;
  return 0;
}

void km_gather_free(km_gather *g) {
  if (g == NULL) {
    return;
  }
  km_resolve_free(g->nat64_lookup);
  km_reporter_free(g->reporter);
  km_portmap_free(g->portmap);
  if (g->timer != NULL) {
    km_deadline_free(g->timer);
  }
  km_env_free(g->config.env, g);
}

void km_gather_set_active(km_gather *g, bool active) {
  if (g->active == active) {
    return;
  }
  g->active = active;
  g->linger_until = now_of(g) + MAPPING_LINGER_NS;
  km_reporter_set_active(g->reporter, active);
  arm(g);
}

void km_gather_learn_relay(km_gather *g, const char *relay_url) {
  km_relay_url *url = g->config.learn_servers ? km_env_alloc(g->config.env, sizeof *url) : NULL;
  if (url != NULL && km_relay_url_read(url, relay_url, NULL) == 0) {
    km_reporter_add(g->reporter, url->host);
  }
  km_env_free(g->config.env, url);
}

static uint16_t port_to_map(const km_gather *g) {
  km_udp_addr bound[KM_MAGICSOCK_MAX_SOCKETS];
  size_t count = km_magicsock_bound(g->config.ms, bound, KM_MAGICSOCK_MAX_SOCKETS);
  for (size_t i = 0; i < count; i++) {
    if (bound[i].family == 4 && bound[i].ip[0] != 127) {
      return bound[i].port;
    }
  }
  return 0;
}

void km_gather_want_mapping(km_gather *g) {
  uint16_t port = port_to_map(g);
  if (!g->config.port_mapping || g->portmap != NULL || port == 0) {
    return;
  }
  if (km_portmap_new(&g->portmap, g->config.env, g->config.loop, on_mapping, g) != 0) {
    g->portmap = NULL;
    return;
  }
  km_portmap_set_port(g->portmap, port);
  g->linger_until = now_of(g) + MAPPING_LINGER_NS; /* also when nobody is active: a net report */
  arm(g);
}

void km_gather_refresh(km_gather *g) {
  if (km_reporter_age(g->reporter) > FRESH_NS && now_of(g) - g->refreshed_at > FRESH_NS) {
    g->refreshed_at = now_of(g);
    km_reporter_refresh(g->reporter);
  }
}

void km_gather_network_changed(km_gather *g) {
  km_ts now = now_of(g);
  g->seen_count = 0;
  look_for_nat64(g);
  for (size_t i = 0; i < 2; i++) {
    km_mapping_life_restart(&g->lives[i], true, now);
  }
  if (g->portmap != NULL) {
    km_portmap_network_changed(g->portmap);
  }
  km_reporter_refresh(g->reporter);
  arm(g);
}

void km_gather_rebound(km_gather *g, uint8_t family) {
  forget_seen(g, family);
  km_mapping_life_restart(life_of(g, family), false, now_of(g));
  if (family == 4 && g->portmap != NULL) {
    km_portmap_set_port(g->portmap, port_to_map(g));
  }
  km_reporter_refresh(g->reporter);
  arm(g);
}

static void remember(km_gather *g, const km_udp_addr *outer) {
  seen *oldest = &g->seen[0];
  for (size_t i = 0; i < g->seen_count; i++) {
    if (km_udp_addr_equal(&g->seen[i].addr, outer)) {
      g->seen[i].at = now_of(g);
      return;
    }
    oldest = g->seen[i].at < oldest->at ? &g->seen[i] : oldest;
  }
  if (now_of(g) - g->seen_news_at < SEEN_NEWS_NS) {
    return; /* one news at a time: all peers are told */
  }
  g->seen_news_at = now_of(g);
  if (g->seen_count < MAX_SEEN) {
    oldest = &g->seen[g->seen_count++];
  }
  *oldest = (seen){*outer, now_of(g)};
  g->config.on_change(g->config.ctx);
}

static bool is_our_ip(const km_gather *g, const km_udp_addr *outer) {
  km_udp_addr known[KM_DISCO_MAX_CANDIDATES];
  size_t count = km_reporter_reflexive(g->reporter, known, KM_DISCO_MAX_CANDIDATES);
  for (size_t i = 0; i < count; i++) {
    if (known[i].family == outer->family && memcmp(known[i].ip, outer->ip, sizeof outer->ip) == 0) {
      return true;
    }
  }
  return false;
}

/* Peers may lie: what one says is told to others only when it names an IP address of ours that a
 * STUN server saw too. Behind a NAT with a mapping for each destination it helps nobody else. */
void km_gather_seen(km_gather *g, const km_udp_addr *outer) {
  km_nat_info nat;
  km_reporter_nat(g->reporter, &nat);
  uint8_t mapping = outer->family == 4 ? nat.mapping4 : nat.mapping6;
  if (mapping != KM_NAT_MAPPING_ADDRESS_DEPENDENT &&
      mapping != KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT && km_disco_may_probe(outer) &&
      is_our_ip(g, outer)) {
    remember(g, outer);
  }
}

typedef struct candidate_list {
  km_candidate *at;
  size_t count, cap;
} candidate_list;

static void add(candidate_list *list, uint8_t source, const km_udp_addr *addr) {
  for (size_t i = 0; i < list->count; i++) {
    if (km_udp_addr_equal(&list->at[i].addr, addr)) {
      list->at[i].source |= source;
      return;
    }
  }
  if (list->count < list->cap) {
    list->at[list->count].source = source;
    list->at[list->count++].addr = *addr;
  }
}

/* What is rare goes first: a machine may have more interfaces than there is room. */
size_t km_gather_candidates(const km_gather *g, km_candidate *ret, size_t cap) {
  candidate_list list = {.at = ret, .cap = cap};
  km_udp_addr addrs[KM_DISCO_MAX_CANDIDATES];
  if (g->mapped.external.family != 0) {
    add(&list, KM_CANDIDATE_MAPPED, &g->mapped.external);
  }
  size_t count = km_reporter_reflexive(g->reporter, addrs, KM_DISCO_MAX_CANDIDATES);
  for (size_t i = 0; i < count; i++) {
    add(&list, KM_CANDIDATE_REFLEXIVE, &addrs[i]);
  }
  for (size_t i = 0; i < g->seen_count; i++) {
    if (now_of(g) - g->seen[i].at < SEEN_NS) {
      add(&list, KM_CANDIDATE_SEEN, &g->seen[i].addr);
    }
  }
  count = km_magicsock_candidates(g->config.ms, addrs, KM_DISCO_MAX_CANDIDATES);
  for (size_t i = 0; i < count; i++) {
    add(&list, KM_CANDIDATE_INTERFACE, &addrs[i]);
  }
  return list.count;
}

void km_gather_nat(const km_gather *g, km_nat_info *ret) {
  km_reporter_nat(g->reporter, ret);
}

bool km_gather_mapping(const km_gather *g, km_portmap_status *ret) {
  if (g->portmap == NULL) {
    return false;
  }
  km_portmap_get_status(g->portmap, ret);
  return true;
}

km_reporter *km_gather_reporter(km_gather *g) {
  return g->reporter;
}
