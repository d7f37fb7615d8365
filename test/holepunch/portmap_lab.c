#include "test/holepunch/portmap_lab.h"

const km_udp_addr gateway = {.family = 4, .ip = {192, 168, 1, 1}};
const km_udp_addr local = {.family = 4, .ip = {192, 168, 1, 7}};
const km_udp_addr outside = {.family = 4, .port = 50000, .ip = {203, 0, 113, 9}};

static kind kind_of(const km_portmap_out *out) {
  switch (out->what) {
  case KM_PORTMAP_SEND:
    break;
  case KM_PORTMAP_UPNP_FIND:
    return FIND;
  case KM_PORTMAP_UPNP_MAP:
    return UPNP_MAP;
  case KM_PORTMAP_UPNP_UNMAP:
    return UNMAP;
  default:
    return TELL;
  }
  static const uint8_t zero[4] = {0};
  if (out->len == KM_NATPMP_ADDRESS_LEN) {
    return ADDRESS;
  }
  if (out->len == KM_NATPMP_MAP_LEN) {
    return memcmp(out->bytes + 8, zero, 4) == 0 ? MAP_DELETE : MAP;
  }
  assert_int_equal(out->len, KM_PCP_MAP_LEN);
  return memcmp(out->bytes + 4, zero, 4) == 0 ? PCP_DELETE : PCP;
}

void pull(lab *l) {
  km_portmap_out out;
  while (km_portmap_core_next(&l->c, &out)) {
    assert_true(l->count < COUNT_OF(l->events));
    l->events[l->count++] = (event){.what = kind_of(&out), .at = l->now, .out = out};
  }
}

/* All deadlines up to then. */
void run_to(lab *l, km_ts then) {
  while (km_portmap_core_deadline(&l->c) <= then) {
    km_ts at = km_portmap_core_deadline(&l->c);
    l->now = at > l->now ? at : l->now;
    km_portmap_core_timeout(&l->c, l->now);
    pull(l);
    assert_true(km_portmap_core_deadline(&l->c) > l->now); /* or a loop would never sleep */
  }
  l->now = then;
}

void start_with(lab *l, uint8_t allowed) {
  memset(l, 0, sizeof *l);
  test_env_init(&l->t);
  l->now = 1000 * S;
  km_portmap_core_init(&l->c, &l->t.env, 7200, allowed);
  km_portmap_core_set_gateway(&l->c, &gateway, &local, NULL, l->now);
  km_portmap_core_set_port(&l->c, PORT, l->now);
  pull(l);
}

void start(lab *l) {
  start_with(l, 0);
}

/* Events of a kind, from the n-th on. */
size_t count_of(const lab *l, kind what) {
  size_t count = 0;
  for (size_t i = 0; i < l->count; i++) {
    count += l->events[i].what == what;
  }
  return count;
}

const event *nth(const lab *l, kind what, size_t n) {
  for (size_t i = 0; i < l->count; i++) {
    if (l->events[i].what == what && n-- == 0) {
      return &l->events[i];
    }
  }
  fail_msg("no such event");
  return NULL;
}

void forget(lab *l) {
  l->count = 0;
}

km_portmap_status status(const lab *l) {
  km_portmap_status ret;
  km_portmap_core_status(&l->c, &ret);
  return ret;
}

/* --- the gateway's answers -------------------------------------------------------------------- */

void put(uint8_t *at, uint32_t value, unsigned bytes) {
  while (bytes-- > 0) {
    at[bytes] = (uint8_t)value;
    value >>= 8;
  }
}

/* Answers with the nonce and port that were asked with. */
void pcp_answer(lab *l, const answer *a) {
  const km_pcp_map map = {.internal_port = l->c.port, .external = a->external};
  uint8_t bytes[KM_PCP_MAP_LEN];
  km_pcp_map_request(bytes, &map, &local, a->lifetime_s);
  memcpy(bytes + 24, l->c.nonce, KM_PCP_NONCE_LEN);
  bytes[1] |= 0x80;
  bytes[3] = a->result;
  memset(bytes + 8, 0, 16);
  put(bytes + 8, a->epoch_s, 4);
  km_portmap_core_input(&l->c, bytes, sizeof bytes, l->now);
  pull(l);
}

void pcp_grants(lab *l, uint32_t lifetime_s) {
  pcp_answer(
      l,
      &(answer){.lifetime_s = lifetime_s, .epoch_s = (uint32_t)(l->now / S), .external = outside});
}

void natpmp_address(lab *l, uint32_t epoch_s) {
  uint8_t bytes[12] = {0, 128, 0, 0, 0, 0, 0, 0, 203, 0, 113, 9};
  put(bytes + 4, epoch_s, 4);
  km_portmap_core_input(&l->c, bytes, sizeof bytes, l->now);
  pull(l);
}

void natpmp_mapped(lab *l, uint16_t port, uint32_t lifetime_s) {
  uint8_t bytes[16] = {0, 129};
  put(bytes + 4, (uint32_t)(l->now / S), 4);
  put(bytes + 8, port, 2);
  put(bytes + 10, outside.port, 2);
  put(bytes + 12, lifetime_s, 4);
  km_portmap_core_input(&l->c, bytes, sizeof bytes, l->now);
  pull(l);
}

void natpmp_refuses(lab *l, uint8_t op, uint8_t result) {
  uint8_t bytes[8] = {0, (uint8_t)(128 + op), 0, result};
  put(bytes + 4, (uint32_t)(l->now / S), 4);
  km_portmap_core_input(&l->c, bytes, sizeof bytes, l->now);
  pull(l);
}

void upnp_found(lab *l, const char *trouble) {
  km_portmap_core_upnp_found(&l->c, trouble, l->now);
  pull(l);
}

void upnp_mapped(lab *l, uint32_t lifetime_s, const char *trouble) {
  km_portmap_core_upnp_mapped(&l->c, &outside, lifetime_s, trouble, l->now);
  pull(l);
}

void announce(lab *l, bool pcp, uint32_t epoch_s) {
  uint8_t bytes[24] = {2, 0x80};
  uint8_t natpmp[12] = {0, 128, 0, 0, 0, 0, 0, 0, 203, 0, 113, 9};
  put(bytes + 8, epoch_s, 4);
  put(natpmp + 4, epoch_s, 4);
  km_portmap_core_announced(&l->c, pcp ? bytes : natpmp, pcp ? sizeof bytes : sizeof natpmp,
                            l->now);
  pull(l);
}
