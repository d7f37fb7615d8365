#include "sim_nat.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

uint64_t sim_random(uint64_t *seed) {
  uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

void sim_nat_init(sim_nat *nat, const sim_nat_config *config, const km_udp_addr *ip,
                  uint64_t seed) {
  *nat = (sim_nat){.config = *config, .ip = *ip, .seed = seed};
  nat->next_port = (uint16_t)(1024 + sim_random(&nat->seed) % 60000);
}

void sim_nat_clear(sim_nat *nat) {
  free(nat->mappings);
  free(nat->permits);
  nat->mappings = NULL;
  nat->permits = NULL;
  nat->mapping_count = nat->mapping_cap = nat->permit_count = nat->permit_cap = 0;
}

void sim_nat_flush(sim_nat *nat) {
  nat->mapping_count = nat->permit_count = 0;
  nat->next_port = (uint16_t)(1024 + sim_random(&nat->seed) % 60000);
}

static bool is_over(const sim_nat *nat, km_ts born, km_ts used, km_ts now) {
  return (nat->config.idle > 0 && now > used + nat->config.idle) ||
         (nat->config.fixed > 0 && now > born + nat->config.fixed);
}

static bool same_ip(const km_udp_addr *a, const km_udp_addr *b) {
  return a->family == b->family && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

static void expire(sim_nat *nat, km_ts now) {
  for (size_t i = nat->mapping_count; i-- > 0;) {
    if (is_over(nat, nat->mappings[i].born, nat->mappings[i].used, now)) {
      nat->mappings[i] = nat->mappings[--nat->mapping_count];
    }
  }
}

/* As much of a destination as the mapping depends on. */
static km_udp_addr key_of(const sim_nat *nat, const km_udp_addr *dst) {
  km_udp_addr key = {0};
  if (nat->config.mapping == KM_NAT_MAPPING_ADDRESS_DEPENDENT) {
    key = *dst;
    key.port = 0;
  } else if (nat->config.mapping == KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT) {
    key = *dst;
  }
  return key;
}

static bool is_free(const sim_nat *nat, uint16_t port) {
  for (size_t i = 0; i < nat->mapping_count; i++) {
    if (nat->mappings[i].outer.port == port) {
      return false;
    }
  }
  return port >= 1024;
}

static uint16_t allocate(sim_nat *nat, uint16_t inner) {
  if (nat->config.ports == SIM_PORTS_PRESERVE && is_free(nat, inner)) {
    return inner;
  }
  uint16_t port;
  do {
    if (nat->config.ports == SIM_PORTS_SEQUENCE) {
      nat->next_port = (uint16_t)(nat->next_port + nat->config.step);
      port = nat->next_port;
    } else {
      port = (uint16_t)(1024 + sim_random(&nat->seed) % 64512);
    }
  } while (!is_free(nat, port));
  return port;
}

static sim_mapping *map(sim_nat *nat, const km_udp_addr *src, const km_udp_addr *dst, km_ts now) {
  km_udp_addr key = key_of(nat, dst);
  for (size_t i = 0; i < nat->mapping_count; i++) {
    sim_mapping *m = &nat->mappings[i];
    if (km_udp_addr_equal(&m->inner, src) && km_udp_addr_equal(&m->dst, &key)) {
      return m;
    }
  }
  if (nat->mapping_count == nat->mapping_cap) {
    nat->mapping_cap = nat->mapping_cap == 0 ? 16 : 2 * nat->mapping_cap;
    nat->mappings = realloc(nat->mappings, nat->mapping_cap * sizeof *nat->mappings);
    assert(nat->mappings != NULL);
  }
  sim_mapping *m = &nat->mappings[nat->mapping_count];
  *m = (sim_mapping){.inner = *src, .outer = nat->ip, .dst = key, .born = now, .used = now};
  m->outer.port = allocate(nat, src->port);
  nat->mapping_count++;
  return m;
}

static void permit(sim_nat *nat, const km_udp_addr *outer, const km_udp_addr *dst, km_ts now) {
  for (size_t i = nat->permit_count; i-- > 0;) {
    sim_permit *p = &nat->permits[i];
    if (km_udp_addr_equal(&p->dst, dst) && km_udp_addr_equal(&p->outer, outer)) {
      p->used = now;
      return;
    }
  }
  if (nat->permit_count == nat->permit_cap) {
    nat->permit_cap = nat->permit_cap == 0 ? 16 : 2 * nat->permit_cap;
    nat->permits = realloc(nat->permits, nat->permit_cap * sizeof *nat->permits);
    assert(nat->permits != NULL);
  }
  nat->permits[nat->permit_count++] = (sim_permit){.outer = *outer, .dst = *dst, .used = now};
}

bool sim_nat_out(sim_nat *nat, km_udp_addr *src, const km_udp_addr *dst, km_ts now) {
  if (nat->config.blocked) {
    return false;
  }
  if (nat->config.mapping != KM_NAT_MAPPING_NONE) {
    expire(nat, now);
    sim_mapping *m = map(nat, src, dst, now);
    m->used = now;
    *src = m->outer;
  }
  if (nat->config.filtering != KM_NAT_FILTERING_ENDPOINT_INDEPENDENT) {
    permit(nat, src, dst, now);
  }
  return true;
}

static bool lets_in(const sim_nat *nat, const km_udp_addr *src, const km_udp_addr *dst, km_ts now) {
  uint8_t filtering = nat->config.filtering;
  if (filtering == KM_NAT_FILTERING_ENDPOINT_INDEPENDENT) {
    return true;
  }
  for (size_t i = nat->permit_count; i-- > 0;) {
    const sim_permit *p = &nat->permits[i];
    if (km_udp_addr_equal(&p->outer, dst) && !is_over(nat, now, p->used, now) &&
        (filtering == KM_NAT_FILTERING_ADDRESS_DEPENDENT ? same_ip(&p->dst, src)
                                                         : km_udp_addr_equal(&p->dst, src))) {
      return true;
    }
  }
  return false;
}

bool sim_nat_in(sim_nat *nat, const km_udp_addr *src, km_udp_addr *dst, km_ts now) {
  if (nat->config.blocked || !lets_in(nat, src, dst, now)) {
    return false;
  }
  if (nat->config.mapping == KM_NAT_MAPPING_NONE) {
    return true;
  }
  expire(nat, now);
  for (size_t i = 0; i < nat->mapping_count; i++) {
    if (km_udp_addr_equal(&nat->mappings[i].outer, dst)) {
      *dst = nat->mappings[i].inner;
      return true;
    }
  }
  return false;
}
