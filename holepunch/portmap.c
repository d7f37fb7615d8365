#include "holepunch/portmap.h"

#include <stdio.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* RFC 6887 section 8.1.1 */
#define PCP_FIRST_NS (3 * KM_NS_PER_S)
#define PCP_LONGEST_NS (1024 * KM_NS_PER_S)
/* RFC 6886 section 3.1 */
#define NATPMP_FIRST_NS (250 * KM_NS_PER_MS)
#define NATPMP_TRIES 9
/* A search reaches every host of the network: seldom. */
#define UPNP_FIRST_NS (60 * KM_NS_PER_S)
#define UPNP_LONGEST_NS (3600 * KM_NS_PER_S)
/* How long a refusal is taken for final, and a protocol for absent. */
#define REFUSED_MIN_S 30u
#define REFUSED_MAX_S 3600u
#define ABSENT_NS (3600 * KM_NS_PER_S)
#define CLOSED_NS (600 * KM_NS_PER_S)
#define RENEW_APART_NS (4 * KM_NS_PER_S)    /* at least: RFC 6887 section 11.2.1 */
#define RESTORE_SPREAD_NS (5 * KM_NS_PER_S) /* not all clients at once: section 14.1.1 */

const char *km_portmap_protocol_name(km_portmap_protocol protocol) {
  static const char *const names[] = {"none", "PCP", "NAT-PMP", "UPnP"};
  return (unsigned)protocol < COUNT_OF(names) ? names[protocol] : "?";
}

/* --- small parts ----------------------------------------------------------------------------- */

static uint8_t bit(km_portmap_protocol protocol) {
  return (uint8_t)(1u << protocol);
}

static km_ts earlier(km_ts a, km_ts b) {
  return a < b ? a : b;
}

static uint32_t clamp(uint32_t value, uint32_t min, uint32_t max) {
  return value < min ? min : value > max ? max : value;
}

static bool is_at_work(const km_portmap_core *c) {
  return c->port != 0 && c->gateway.family != 0;
}

static km_portmap_out *push(km_portmap_core *c, km_portmap_do what) {
  static const km_portmap_out blank;
  km_portmap_out *out = &c->outs[c->out_count];
  if (c->out_count == COUNT_OF(c->outs)) { /* nobody pulls: the last one is of no use either */
    out--;
  } else {
    c->out_count++;
  }
  *out = blank;
  out->what = what;
  return out;
}

static void set_refusal(km_portmap_core *c, km_portmap_protocol protocol, const char *reason) {
  (void)snprintf(c->refusal, sizeof c->refusal, "%s says %s", km_portmap_protocol_name(protocol),
                 reason);
}

/* --- packets --------------------------------------------------------------------------------- */

static void send_pcp(km_portmap_core *c, uint32_t lifetime_s) {
  km_portmap_out *out = push(c, KM_PORTMAP_SEND);
  km_pcp_map map = {.internal_port = c->port};
  memcpy(map.nonce, c->nonce, sizeof map.nonce);
  if (lifetime_s > 0) { /* to delete, nothing is to be suggested: section 15 */
    if (c->holder == KM_PORTMAP_PCP) {
      map.external = c->external;
    }
    map.external.port = c->wished != 0 ? c->wished : c->port;
  }
  km_pcp_map_request(out->bytes, &map, &c->local, lifetime_s);
  out->len = KM_PCP_MAP_LEN;
}

static void send_natpmp_address(km_portmap_core *c) {
  km_portmap_out *out = push(c, KM_PORTMAP_SEND);
  km_natpmp_address_request(out->bytes);
  out->len = KM_NATPMP_ADDRESS_LEN;
}

static void send_natpmp_map(km_portmap_core *c, uint32_t lifetime_s) {
  km_portmap_out *out = push(c, KM_PORTMAP_SEND);
  uint16_t wished = c->wished != 0 ? c->wished : c->port;
  km_natpmp_map_request(out->bytes, c->port, lifetime_s > 0 ? wished : 0, lifetime_s);
  out->len = KM_NATPMP_MAP_LEN;
}

static void upnp_job(km_portmap_core *c, km_portmap_do what) {
  km_portmap_out *out = push(c, what);
  out->internal_port = c->port;
  out->external_port = c->wished != 0 ? c->wished : c->port;
  out->lifetime_s = c->lifetime_s;
}

/* --- asking ---------------------------------------------------------------------------------- */

/* 0.9 to 1.1 times, as RFC 6887 section 8.1.1 spreads its repetitions. */
static km_ts spread(km_portmap_core *c, km_ts interval) {
  return interval - interval / 10 + km_env_random_below(c->env, interval / 5 + 1);
}

static void ask_pcp(km_portmap_core *c, km_portmap_side *s, km_ts now) {
  km_ts interval = s->tries == 0 ? PCP_FIRST_NS : earlier(2 * s->interval, PCP_LONGEST_NS);
  s->interval = spread(c, interval);
  s->at = now + s->interval;
  send_pcp(c, c->lifetime_s);
}

static void ask_natpmp(km_portmap_core *c, km_portmap_side *s, km_ts now) {
  if (s->tries == NATPMP_TRIES) {
    s->state = KM_PORTMAP_ABSENT;
    s->at = now + ABSENT_NS;
    return;
  }
  s->interval = s->tries == 0 ? NATPMP_FIRST_NS : 2 * s->interval;
  s->at = now + s->interval;
  if (s->mapping) {
    send_natpmp_map(c, c->lifetime_s);
  } else {
    send_natpmp_address(c);
  }
}

/* Sends what a side has to ask; when to do so again is in its `at`. */
static void ask(km_portmap_core *c, km_portmap_protocol protocol, km_ts now) {
  km_portmap_side *s = &c->sides[protocol];
  s->state = KM_PORTMAP_ASKING;
  switch (protocol) {
  case KM_PORTMAP_PCP:
    ask_pcp(c, s, now);
    break;
  case KM_PORTMAP_NATPMP:
    ask_natpmp(c, s, now);
    break;
  default: /* a job always has an end */
    s->at = KM_TS_NEVER;
    upnp_job(c, s->mapping ? KM_PORTMAP_UPNP_MAP : KM_PORTMAP_UPNP_FIND);
    break;
  }
  s->tries++;
}

static void begin_asking(km_portmap_core *c, km_portmap_protocol protocol, bool mapping,
                         km_ts now) {
  km_portmap_side *s = &c->sides[protocol];
  s->tries = 0;
  s->mapping = mapping;
  ask(c, protocol, now);
}

/* UPnP jobs cannot be taken back: one that is under way is the next one, too. */
static bool has_job(const km_portmap_core *c) {
  return c->sides[KM_PORTMAP_UPNP].state == KM_PORTMAP_ASKING;
}

static void begin_round(km_portmap_core *c, km_ts now) {
  c->round = now;
  c->probing = true;
  c->restart = KM_TS_NEVER;
  c->refusal[0] = '\0';
  for (km_portmap_protocol p = KM_PORTMAP_PCP; p <= KM_PORTMAP_UPNP; p++) {
    if ((c->allowed & bit(p)) != 0 && !(p == KM_PORTMAP_UPNP && has_job(c))) {
      begin_asking(c, p, false, now);
    }
  }
}

static void rest(km_portmap_core *c) {
  for (km_portmap_protocol p = KM_PORTMAP_PCP; p <= KM_PORTMAP_UPNP; p++) {
    c->sides[p].state = KM_PORTMAP_RESTING;
    c->sides[p].at = KM_TS_NEVER;
  }
  c->probing = false;
  c->restart = KM_TS_NEVER;
}

static void drop_mapping(km_portmap_core *c) {
  c->holder = KM_PORTMAP_NONE;
  c->external = (km_udp_addr){0};
  c->granted_s = 0;
  c->expires = c->renew = KM_TS_NEVER;
  c->suspect = 0;
}

/* --- the mapping ----------------------------------------------------------------------------- */

/* RFC 6887 section 11.2.1: at 1/2 to 5/8 of what is left, again and again, four seconds apart. */
static km_ts next_renewal(km_portmap_core *c, km_ts now) {
  km_ts left = c->expires > now ? c->expires - now : 0;
  km_ts wait = left / 2 + km_env_random_below(c->env, left / 8 + 1);
  return now + (wait > RENEW_APART_NS ? wait : RENEW_APART_NS);
}

/* `granted_s` as the gateway said it: any number. */
static void hold(km_portmap_core *c, km_portmap_protocol protocol, const km_udp_addr *external,
                 uint32_t granted_s, km_ts now) {
  c->granted_s = clamp(granted_s, 1, KM_PORTMAP_MAX_LIFETIME_S);
  uint32_t believed = clamp(granted_s, KM_PORTMAP_MIN_LIFETIME_S, KM_PORTMAP_MAX_LIFETIME_S);
  c->holder = protocol;
  c->external = *external;
  c->wished = external->port;
  c->granted = now;
  c->expires = now + believed * KM_NS_PER_S;
  c->renew = next_renewal(c, now);
  c->suspect = 0;
  c->probing = false;
  c->restart = KM_TS_NEVER;
  c->sides[KM_PORTMAP_UPNP].interval = 0;
  for (km_portmap_protocol p = KM_PORTMAP_PCP; p <= KM_PORTMAP_NATPMP; p++) {
    c->sides[p].state = KM_PORTMAP_RESTING;
    c->sides[p].at = KM_TS_NEVER;
    c->sides[p].mapping = false;
  }
}

static void renew(km_portmap_core *c, km_ts now) {
  km_portmap_side *upnp = &c->sides[KM_PORTMAP_UPNP];
  if (c->suspect > 0) {
    c->renew = now + c->suspect;
    c->suspect = earlier(2 * c->suspect, PCP_LONGEST_NS);
  } else {
    c->renew = next_renewal(c, now);
  }
  switch (c->holder) {
  case KM_PORTMAP_PCP:
    send_pcp(c, c->lifetime_s);
    break;
  case KM_PORTMAP_NATPMP: /* the mapping follows the answer */
    c->sides[KM_PORTMAP_NATPMP].mapping = true;
    send_natpmp_address(c);
    break;
  default:
    if (upnp->state != KM_PORTMAP_ASKING) {
      begin_asking(c, KM_PORTMAP_UPNP, true, now);
    }
    break;
  }
}

/* The gateway lost its memory: asked again at `when`, soon, and without waiting for renewal. */
static void gateway_forgot(km_portmap_core *c, km_ts when) {
  if (c->holder == KM_PORTMAP_NONE) {
    c->restart = c->probing ? c->restart : earlier(c->restart, when);
  } else {
    c->renew = earlier(c->renew, when);
    c->suspect = RENEW_APART_NS;
  }
}

static void refused(km_portmap_core *c, km_portmap_protocol protocol, const char *reason,
                    uint32_t wait_s, km_ts now) {
  km_portmap_side *s = &c->sides[protocol];
  set_refusal(c, protocol, reason);
  if (c->holder == KM_PORTMAP_NONE) {
    s->state = KM_PORTMAP_REFUSED;
    s->at = now + clamp(wait_s, REFUSED_MIN_S, REFUSED_MAX_S) * KM_NS_PER_S;
  }
}

static void absent(km_portmap_core *c, km_portmap_protocol protocol, km_ts until) {
  if (c->holder == KM_PORTMAP_NONE) {
    c->sides[protocol].state = KM_PORTMAP_ABSENT;
    c->sides[protocol].at = until;
  }
}

/* --- whose turn it is ------------------------------------------------------------------------ */

static bool said_no(const km_portmap_core *c, km_portmap_protocol protocol) {
  const km_portmap_side *s = &c->sides[protocol];
  return (c->allowed & bit(protocol)) == 0 || s->state == KM_PORTMAP_REFUSED ||
         s->state == KM_PORTMAP_ABSENT;
}

/* From when on what was found may map. */
static km_ts turn_of(const km_portmap_core *c, km_portmap_protocol protocol) {
  bool no_pcp = said_no(c, KM_PORTMAP_PCP);
  if (protocol == KM_PORTMAP_NATPMP) {
    return no_pcp ? 0 : c->round + KM_PORTMAP_PCP_FIRST_NS;
  }
  return no_pcp && said_no(c, KM_PORTMAP_NATPMP) ? 0 : c->round + KM_PORTMAP_UPNP_LAST_NS;
}

static void take_turns(km_portmap_core *c, km_ts now) {
  for (km_portmap_protocol p = KM_PORTMAP_NATPMP; p <= KM_PORTMAP_UPNP; p++) {
    km_portmap_side *s = &c->sides[p];
    if (s->state == KM_PORTMAP_FOUND && c->holder == KM_PORTMAP_NONE) {
      s->at = turn_of(c, p);
      if (s->at <= now) {
        begin_asking(c, p, true, now);
      }
    }
  }
}

static bool all_said_no(const km_portmap_core *c) {
  return said_no(c, KM_PORTMAP_PCP) && said_no(c, KM_PORTMAP_NATPMP) && said_no(c, KM_PORTMAP_UPNP);
}

static void tell(km_portmap_core *c) {
  km_portmap_status now;
  km_portmap_core_status(c, &now);
  bool same = now.protocol == c->told.protocol && now.probing == c->told.probing &&
              now.lifetime_s == c->told.lifetime_s && now.found == c->told.found &&
              km_udp_addr_equal(&now.external, &c->told.external) &&
              strcmp(now.trouble, c->told.trouble) == 0;
  if (!same) {
    c->told = now;
    (void)push(c, KM_PORTMAP_TELL);
  }
}

/* Ends every step. */
static void settle(km_portmap_core *c, km_ts now) {
  if (is_at_work(c)) {
    take_turns(c, now);
    c->probing = c->probing && !all_said_no(c) && now < c->round + KM_PORTMAP_PROBE_NS;
  }
  tell(c);
}

/* --- the gateway's clock --------------------------------------------------------------------- */

/* RFC 6887 section 8.5; RFC 6886 section 3.6 allows the clock to lag by an eighth. Takes note. */
static bool epoch_fits(km_portmap_side *s, uint32_t epoch_s, km_ts now, uint32_t lag) {
  bool fits = true;
  if (s->has_epoch) {
    uint64_t ours = (now - s->epoch_at) / KM_NS_PER_S;
    uint64_t theirs = epoch_s > s->epoch_s ? epoch_s - s->epoch_s : 0;
    fits = (uint64_t)epoch_s + 1 >= s->epoch_s && theirs + 2 >= ours - ours / lag &&
           (lag != 16 || ours + 2 >= theirs - theirs / lag);
  }
  s->has_epoch = true;
  s->epoch_s = epoch_s;
  s->epoch_at = now;
  return fits;
}

static bool pcp_epoch_fits(km_portmap_core *c, uint32_t epoch_s, km_ts now) {
  return epoch_fits(&c->sides[KM_PORTMAP_PCP], epoch_s, now, 16);
}

static bool natpmp_epoch_fits(km_portmap_core *c, uint32_t epoch_s, km_ts now) {
  return epoch_fits(&c->sides[KM_PORTMAP_NATPMP], epoch_s, now, 8);
}

/* --- answers --------------------------------------------------------------------------------- */

/* A port that nobody can send to is none. */
static bool is_usable(const km_udp_addr *external) {
  static const uint8_t zero[4] = {0};
  return external->family == 4 && external->port != 0 && memcmp(external->ip, zero, 4) != 0;
}

static void pcp_map_answered(km_portmap_core *c, const km_pcp_answer *a, km_ts now) {
  if (memcmp(a->map.nonce, c->nonce, sizeof c->nonce) != 0 || a->map.internal_port != c->port) {
    return; /* an answer to nothing that we asked */
  }
  bool fits = pcp_epoch_fits(c, a->epoch_s, now);
  c->found |= bit(KM_PORTMAP_PCP);
  if (a->result != KM_PCP_SUCCESS) {
    if (c->holder == KM_PORTMAP_PCP && !fits) {
      drop_mapping(c); /* it forgot ours, and will not have it again */
      begin_round(c, now);
    }
    refused(c, KM_PORTMAP_PCP, km_pcp_result_name(a->result), a->lifetime_s, now);
  } else if (a->lifetime_s == 0 || !is_usable(&a->map.external)) {
    refused(c, KM_PORTMAP_PCP, "nothing of use", 0, now);
  } else if (c->holder == KM_PORTMAP_NONE || c->holder == KM_PORTMAP_PCP) {
    hold(c, KM_PORTMAP_PCP, &a->map.external, a->lifetime_s, now);
  }
}

static void pcp_input(km_portmap_core *c, const km_pcp_answer *a, km_ts now) {
  switch (a->kind) {
  case KM_PCP_MAP:
    pcp_map_answered(c, a, now);
    break;
  case KM_PCP_OTHER_VERSION: /* the other protocol's request was meant, if it is ours */
    if (a->version == 2) {
      c->found |= bit(KM_PORTMAP_PCP);
      absent(c, KM_PORTMAP_NATPMP, now + ABSENT_NS);
    } else if (c->holder != KM_PORTMAP_PCP) {
      absent(c, KM_PORTMAP_PCP, now + ABSENT_NS);
    }
    break;
  default:
    break;
  }
}

static void natpmp_address_answered(km_portmap_core *c, const km_natpmp_answer *a) {
  km_portmap_side *s = &c->sides[KM_PORTMAP_NATPMP];
  memcpy(c->natpmp_ip, a->ip, sizeof c->natpmp_ip);
  if (c->holder == KM_PORTMAP_NATPMP && s->mapping) {
    send_natpmp_map(c, c->lifetime_s); /* the second half of a renewal */
  } else if (c->holder == KM_PORTMAP_NONE && s->state == KM_PORTMAP_ASKING && !s->mapping) {
    s->state = KM_PORTMAP_FOUND; /* to be gone on with when it is its turn */
  }
}

static void natpmp_map_answered(km_portmap_core *c, const km_natpmp_answer *a, km_ts now) {
  km_portmap_side *s = &c->sides[KM_PORTMAP_NATPMP];
  km_udp_addr external = {.family = 4, .port = a->external_port};
  memcpy(external.ip, c->natpmp_ip, sizeof c->natpmp_ip);
  if (a->internal_port != c->port || !s->mapping) {
    return; /* an answer to nothing that we asked */
  }
  if (a->lifetime_s == 0 || !is_usable(&external)) {
    refused(c, KM_PORTMAP_NATPMP, "nothing of use", 0, now);
  } else if (c->holder == KM_PORTMAP_NONE || c->holder == KM_PORTMAP_NATPMP) {
    hold(c, KM_PORTMAP_NATPMP, &external, a->lifetime_s, now);
  }
}

static void natpmp_input(km_portmap_core *c, const km_natpmp_answer *a, km_ts now) {
  if (a->result == KM_NATPMP_UNSUPP_VERSION) { /* the answer to PCP: RFC 6887 appendix A */
    c->found |= bit(KM_PORTMAP_NATPMP);
    if (c->holder != KM_PORTMAP_PCP) {
      absent(c, KM_PORTMAP_PCP, now + ABSENT_NS);
    }
    return;
  }
  c->found |= bit(KM_PORTMAP_NATPMP);
  if (!natpmp_epoch_fits(c, a->epoch_s, now) && a->kind != KM_NATPMP_MAP) {
    gateway_forgot(c, now);
  }
  if (a->kind == KM_NATPMP_FAILED) {
    refused(c, KM_PORTMAP_NATPMP, km_natpmp_result_name(a->result), 0, now);
  } else if (a->kind == KM_NATPMP_ADDRESS) {
    natpmp_address_answered(c, a);
  } else {
    natpmp_map_answered(c, a, now);
  }
}

void km_portmap_core_input(km_portmap_core *c, const uint8_t *bytes, size_t len, km_ts now) {
  km_pcp_answer pcp;
  km_natpmp_answer natpmp;
  if (!is_at_work(c)) {
    return;
  }
  if ((c->allowed & bit(KM_PORTMAP_PCP)) != 0 && km_pcp_read(&pcp, bytes, len)) {
    pcp_input(c, &pcp, now);
  } else if ((c->allowed & bit(KM_PORTMAP_NATPMP)) != 0 && km_natpmp_read(&natpmp, bytes, len)) {
    natpmp_input(c, &natpmp, now);
  }
  settle(c, now);
}

void km_portmap_core_no_listener(km_portmap_core *c, km_ts now) {
  for (km_portmap_protocol p = KM_PORTMAP_PCP; is_at_work(c) && p <= KM_PORTMAP_NATPMP; p++) {
    if (c->sides[p].state == KM_PORTMAP_ASKING) {
      absent(c, p, now + CLOSED_NS);
    }
  }
  settle(c, now);
}

/* A gateway that counts from its start, and started after it granted what we hold. That is sooner
 * seen than by comparing clocks: the account may have been a second old. */
static bool is_younger(const km_portmap_core *c, uint32_t epoch_s, km_ts now) {
  return c->holder == KM_PORTMAP_NONE || (now - c->granted) / KM_NS_PER_S > (uint64_t)epoch_s + 1;
}

void km_portmap_core_announced(km_portmap_core *c, const uint8_t *bytes, size_t len, km_ts now) {
  km_pcp_answer pcp;
  km_natpmp_answer natpmp;
  bool forgot = false;
  if (!is_at_work(c)) {
    return;
  }
  if (km_pcp_read(&pcp, bytes, len)) {
    forgot = pcp.kind == KM_PCP_ANNOUNCE && pcp.result == KM_PCP_SUCCESS &&
             (!pcp_epoch_fits(c, pcp.epoch_s, now) || is_younger(c, pcp.epoch_s, now));
  } else if (km_natpmp_read(&natpmp, bytes, len) && natpmp.kind == KM_NATPMP_ADDRESS) {
    bool moved = c->holder != KM_PORTMAP_NONE && memcmp(natpmp.ip, c->external.ip, 4) != 0;
    forgot =
        !natpmp_epoch_fits(c, natpmp.epoch_s, now) || moved || is_younger(c, natpmp.epoch_s, now);
  }
  if (forgot) {
    gateway_forgot(c, now + km_env_random_below(c->env, RESTORE_SPREAD_NS));
  }
  settle(c, now);
}

void km_portmap_core_upnp_found(km_portmap_core *c, const char *trouble, km_ts now) {
  km_portmap_side *s = &c->sides[KM_PORTMAP_UPNP];
  if (s->state != KM_PORTMAP_ASKING) {
    return;
  }
  if (trouble == NULL) {
    c->found |= bit(KM_PORTMAP_UPNP);
    s->state = KM_PORTMAP_FOUND;
    s->at = KM_TS_NEVER; /* settled below, unless another holds */
  } else {
    s->interval = s->interval == 0 ? UPNP_FIRST_NS : earlier(2 * s->interval, UPNP_LONGEST_NS);
    s->state = KM_PORTMAP_ABSENT;
    s->at = now + s->interval;
  }
  settle(c, now);
}

void km_portmap_core_upnp_mapped(km_portmap_core *c, const km_udp_addr *external,
                                 uint32_t lifetime_s, const char *trouble, km_ts now) {
  km_portmap_side *s = &c->sides[KM_PORTMAP_UPNP];
  if (s->state != KM_PORTMAP_ASKING) {
    return;
  }
  s->state = KM_PORTMAP_FOUND;
  s->at = KM_TS_NEVER;
  s->mapping = false;
  if (trouble == NULL && is_usable(external)) {
    if (c->holder == KM_PORTMAP_NONE || c->holder == KM_PORTMAP_UPNP) {
      hold(c, KM_PORTMAP_UPNP, external, lifetime_s > 0 ? lifetime_s : c->lifetime_s, now);
    }
  } else {
    s->interval = s->interval == 0 ? UPNP_FIRST_NS : earlier(2 * s->interval, UPNP_LONGEST_NS);
    refused(c, KM_PORTMAP_UPNP, trouble != NULL ? trouble : "nothing of use",
            (uint32_t)(s->interval / KM_NS_PER_S), now);
  }
  settle(c, now);
}

/* --- being told what to do ------------------------------------------------------------------- */

void km_portmap_core_init(km_portmap_core *c, const km_env *env, uint32_t lifetime_s,
                          uint8_t allowed) {
  memset(c, 0, sizeof *c);
  c->env = env;
  c->lifetime_s = lifetime_s;
  c->allowed = allowed != 0 ? allowed : UINT8_MAX;
  km_env_random(env, c->nonce, sizeof c->nonce);
  drop_mapping(c);
  rest(c);
}

void km_portmap_core_set_gateway(km_portmap_core *c, const km_udp_addr *gateway,
                                 const km_udp_addr *local, const char *trouble, km_ts now) {
  c->gateway = *gateway;
  c->local = *local;
  c->found = 0;
  (void)snprintf(c->no_gateway, sizeof c->no_gateway, "%s", trouble != NULL ? trouble : "");
  for (km_portmap_protocol p = KM_PORTMAP_PCP; p <= KM_PORTMAP_UPNP; p++) {
    c->sides[p].has_epoch = false;
  }
  drop_mapping(c); /* the other gateway's: nothing can be asked of it any more */
  rest(c);
  if (is_at_work(c)) {
    begin_round(c, now);
  }
  settle(c, now);
}

static void unmap(km_portmap_core *c) {
  switch (c->holder) {
  case KM_PORTMAP_PCP:
    send_pcp(c, 0);
    break;
  case KM_PORTMAP_NATPMP:
    send_natpmp_map(c, 0);
    break;
  case KM_PORTMAP_UPNP:
    upnp_job(c, KM_PORTMAP_UPNP_UNMAP);
    break;
  default:
    break;
  }
  drop_mapping(c);
}

void km_portmap_core_set_port(km_portmap_core *c, uint16_t port, km_ts now) {
  if (port == c->port) {
    return;
  }
  unmap(c);
  rest(c);
  c->port = port;
  c->wished = 0;
  if (is_at_work(c)) {
    begin_round(c, now);
  }
  settle(c, now);
}

/* --- time ------------------------------------------------------------------------------------ */

static void ask_when_due(km_portmap_core *c, km_portmap_protocol protocol, km_ts now) {
  km_portmap_side *s = &c->sides[protocol];
  if (s->at > now || (c->allowed & bit(protocol)) == 0) {
    return;
  }
  switch (s->state) {
  case KM_PORTMAP_ASKING:
    ask(c, protocol, now);
    break;
  case KM_PORTMAP_REFUSED:
  case KM_PORTMAP_ABSENT:
    begin_asking(c, protocol, false, now);
    break;
  default: /* found: its turn is given in settle */
    break;
  }
}

void km_portmap_core_timeout(km_portmap_core *c, km_ts now) {
  if (!is_at_work(c)) {
    return;
  }
  if (c->holder != KM_PORTMAP_NONE && c->expires <= now) {
    drop_mapping(c);
    begin_round(c, now);
  } else if (c->holder != KM_PORTMAP_NONE && c->renew <= now) {
    renew(c, now);
  } else if (c->holder == KM_PORTMAP_NONE && c->restart <= now) {
    begin_round(c, now);
  } else if (c->holder == KM_PORTMAP_NONE) {
    for (km_portmap_protocol p = KM_PORTMAP_PCP; p <= KM_PORTMAP_UPNP; p++) {
      ask_when_due(c, p, now);
    }
  }
  settle(c, now);
}

km_ts km_portmap_core_deadline(const km_portmap_core *c) {
  if (!is_at_work(c)) {
    return KM_TS_NEVER;
  }
  if (c->holder != KM_PORTMAP_NONE) {
    return earlier(c->renew, c->expires);
  }
  km_ts at = earlier(c->restart, c->probing ? c->round + KM_PORTMAP_PROBE_NS : KM_TS_NEVER);
  for (km_portmap_protocol p = KM_PORTMAP_PCP; p <= KM_PORTMAP_UPNP; p++) {
    if ((c->allowed & bit(p)) != 0) {
      at = earlier(at, c->sides[p].at);
    }
  }
  return at;
}

bool km_portmap_core_next(km_portmap_core *c, km_portmap_out *ret) {
  if (c->out_count == 0) {
    return false;
  }
  *ret = c->outs[0];
  c->out_count--;
  memmove(&c->outs[0], &c->outs[1], c->out_count * sizeof c->outs[0]);
  return true;
}

/* Why there is no mapping, and what a person can do. */
static void explain(const km_portmap_core *c, char *ret, size_t cap) {
  if (c->port == 0 || c->holder != KM_PORTMAP_NONE || c->probing) {
    ret[0] = '\0';
  } else if (c->gateway.family == 0) {
    (void)snprintf(ret, cap, "%s", c->no_gateway);
  } else if (c->refusal[0] != '\0') {
    (void)snprintf(ret, cap, "the router maps no port (%.70s): look at its UPnP settings",
                   c->refusal);
  } else {
    (void)snprintf(ret, cap,
                   "no PCP, NAT-PMP or UPnP at the router: switch UPnP on there, or forward UDP "
                   "port %u by hand",
                   c->port);
  }
}

void km_portmap_core_status(const km_portmap_core *c, km_portmap_status *ret) {
  *ret = (km_portmap_status){.protocol = c->holder,
                             .external = c->external,
                             .probing = c->probing,
                             .lifetime_s = c->granted_s,
                             .found = c->found};
  explain(c, ret->trouble, sizeof ret->trouble);
}
