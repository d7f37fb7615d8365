/* km_endpoint_net_report: the reporter's measurement, relays and captive portal at the same time,
 * then port mapping, which may change what the NAT does, then the conclusions. */
#include <stdio.h>
#include <string.h>

#include "endpoint/endpoint_impl.h"
#include "holepunch/net_report.h"
#include "magicsock/report_io.h"
#include "relay/captive_io.h"
#include "relay/client.h"

#define PROBE_NS (5 * KM_NS_PER_S)
#define CAPTIVE_NS (3 * KM_NS_PER_S)
#define MAPPING_NS (6 * KM_NS_PER_S) /* a gateway that speaks none of the protocols is silent */
#define OTHERS_NS KM_NS_PER_S        /* for those that answer after the first */
#define HOME_NS (3 * KM_NS_PER_S)    /* a relay that answers becomes home within */
#define LOOK_NS (50 * KM_NS_PER_MS)

typedef struct relay_measure {
  struct km_net_measure *all;
  bool tls;
  km_relay_probe *probe; /* NULL: done */
  km_captive *captive;   /* NULL: done */
  km_net_answer portal;
} relay_measure;

typedef struct km_net_measure {
  km_endpoint *ep;
  km_net_report_fn fn;
  void *ctx;
  km_deadline *timer;
  km_ts began;
  km_reporter *reporter;
  bool nat_done;
  km_ts nat_done_at;
  relay_measure relays[KM_NET_REPORT_MAX_RELAYS];
  size_t relay_count;
  km_net_report report;
} km_net_measure;

static km_ts now_of(const km_net_measure *m) {
  return km_loop_now(m->ep->loop);
}

/* Looks again whether all is there: in the next turn. */
static void wake(km_net_measure *m) {
  km_deadline_set(m->timer, now_of(m));
}

/* --- relays ----------------------------------------------------------------------------------- */

static void on_probed(void *ctx, const km_relay_probe_result *result) {
  relay_measure *r = ctx;
  km_net_relay *ret = &r->all->report.relays[r - r->all->relays];
  r->probe = NULL;
  if (result->err.code != 0) {
    (void)snprintf(ret->error, sizeof ret->error, "%s", result->err.text);
  } else {
    ret->latency_us = result->rtt_ns < 1000 ? 1 : result->rtt_ns / 1000;
  }
  wake(r->all);
}

static void on_portal(void *ctx, km_net_answer portal) {
  relay_measure *r = ctx;
  r->captive = NULL;
  r->portal = portal;
  wake(r->all);
}

static void ask_relay(km_net_measure *m, const char *url, km_relay_clients *clients,
                      const km_errinfo *no_clients) {
  relay_measure *r = &m->relays[m->relay_count];
  km_net_relay *ret = &m->report.relays[m->relay_count];
  m->report.relay_count = ++m->relay_count;
  r->all = m;
  r->tls = strncmp(url, "https:", 6) == 0;
  size_t len = strcspn(url, "?");
  (void)snprintf(ret->url, sizeof ret->url, "%.*s", len < 255 ? (int)len : 255, url);
  km_errinfo err = *no_clients;
  const km_captive_config captive = {.env = &m->ep->env,
                                     .loop = m->ep->loop,
                                     .relay_url = url,
                                     .timeout_ns = CAPTIVE_NS,
                                     .fn = on_portal,
                                     .ctx = r};
  if (clients == NULL ||
      km_relay_probe_new(&r->probe, clients, url, PROBE_NS, on_probed, r, &err) != 0) {
    r->probe = NULL;
    (void)snprintf(ret->error, sizeof ret->error, "%s", err.text);
  }
  if (km_captive_new(&r->captive, &captive, NULL) != 0) {
    r->captive = NULL;
  }
}

static void ask_relays(km_net_measure *m) {
  const char *urls[KM_NET_REPORT_MAX_RELAYS];
  size_t count = km_magicsock_own_relays(m->ep->ms, urls, KM_NET_REPORT_MAX_RELAYS);
  km_relay_clients *clients = NULL;
  km_errinfo err = {0};
  if (count > 0 && km_magicsock_relay_clients(m->ep->ms, &clients, &err) != 0) {
    clients = NULL;
  }
  for (size_t i = 0; i < count; i++) {
    ask_relay(m, urls[i], clients, &err);
  }
}

static bool relays_done(const km_net_measure *m) {
  for (size_t i = 0; i < m->relay_count; i++) {
    if (m->relays[i].probe != NULL || m->relays[i].captive != NULL) {
      return false;
    }
  }
  return true;
}

/* Which of them is home shows soon after the first answered. */
static bool home_done(const km_net_measure *m) {
  bool any = false;
  for (size_t i = 0; i < m->relay_count; i++) {
    any = any || m->report.relays[i].latency_us > 0;
  }
  return !any || km_endpoint_online(m->ep) || now_of(m) - m->began > HOME_NS;
}

static void mark_home(km_net_measure *m) {
  const char *home = km_endpoint_home_relay(m->ep);
  const char *urls[KM_NET_REPORT_MAX_RELAYS];
  size_t count = km_magicsock_own_relays(m->ep->ms, urls, KM_NET_REPORT_MAX_RELAYS);
  for (size_t i = 0; home != NULL && i < count && i < m->relay_count; i++) {
    m->report.relays[i].home = strcmp(urls[i], home) == 0;
  }
}

/* A relay whose certificate was verified and that answered is proof that nobody is in between. */
static km_net_answer portal_of(const km_net_measure *m) {
  km_net_answer answer = KM_NET_UNKNOWN;
  for (size_t i = 0; i < m->relay_count; i++) {
    const relay_measure *r = &m->relays[i];
    if (r->portal == KM_NET_NO || (r->tls && m->report.relays[i].latency_us > 0)) {
      return KM_NET_NO;
    }
    answer = r->portal == KM_NET_YES ? KM_NET_YES : answer;
  }
  return answer;
}

/* --- port mapping ---------------------------------------------------------------------------- */

static km_net_answer found(const km_portmap_status *s, km_portmap_protocol protocol) {
  return (s->found & 1u << protocol) != 0 ? KM_NET_YES : KM_NET_NO;
}

static bool mapping_done(const km_net_measure *m) {
  km_portmap_status s;
  uint64_t waited = now_of(m) - m->nat_done_at;
  return !km_gather_mapping(km_remotes_gather(m->ep->remotes), &s) || waited > MAPPING_NS ||
         (waited > OTHERS_NS && (!s.probing || s.external.family != 0));
}

static void fill_mapping(km_net_measure *m) {
  km_portmap_status s;
  km_net_portmap *ret = &m->report.portmap;
  if (km_gather_mapping(km_remotes_gather(m->ep->remotes), &s)) {
    ret->pcp = found(&s, KM_PORTMAP_PCP);
    ret->nat_pmp = found(&s, KM_PORTMAP_NATPMP);
    ret->upnp = found(&s, KM_PORTMAP_UPNP);
    ret->external = s.external;
  }
}

/* --- the whole -------------------------------------------------------------------------------- */

static void free_measure(km_net_measure *m) {
  if (!m->nat_done && m->reporter != NULL) {
    km_reporter_full_cancel(m->reporter);
  }
  for (size_t i = 0; i < m->relay_count; i++) {
    km_relay_probe_free(m->relays[i].probe);
    km_captive_free(m->relays[i].captive);
  }
  km_deadline_free(m->timer);
  km_env_free(&m->ep->env, m);
}

static void finish(km_net_measure *m) {
  km_endpoint *ep = m->ep;
  km_net_report report;
  km_net_report_fn fn = m->fn;
  void *ctx = m->ctx;
  mark_home(m);
  fill_mapping(m);
  m->report.captive_portal = portal_of(m);
  km_net_report_conclude(&m->report);
  report = m->report;
  ep->measure = NULL;
  free_measure(m);
  if (ep->state == KM_ENDPOINT_OPEN) {
    fn(ctx, &report);
  }
}

static void on_timer(void *ctx) {
  km_net_measure *m = ctx;
  if (m->nat_done && relays_done(m) && home_done(m) && mapping_done(m)) {
    finish(m);
  } else {
    km_deadline_set(m->timer, now_of(m) + LOOK_NS);
  }
}

static void on_nat(void *ctx, const km_net_report *nat) {
  km_net_measure *m = ctx;
  m->nat_done = true;
  m->nat_done_at = now_of(m);
  km_gather_want_mapping(km_remotes_gather(m->ep->remotes));
  m->report.udp4 = nat->udp4;
  m->report.udp6 = nat->udp6;
  memcpy(m->report.stun, nat->stun, sizeof m->report.stun);
  m->report.stun_count = nat->stun_count;
  wake(m);
}

int km_endpoint_net_report(km_endpoint *ep, km_net_report_fn fn, void *ctx, km_errinfo *err) {
  if (ep == NULL || fn == NULL) {
    return km_fail(err, KM_ERR_INVALID, "km_endpoint_net_report needs an endpoint and a callback");
  }
  if (ep->state != KM_ENDPOINT_OPEN) {
    return km_fail(err, KM_ERR_CLOSED, "the endpoint is closed");
  }
  if (ep->measure != NULL) {
    return km_fail(err, KM_ERR_STATE, "a net report is under way already: wait for it");
  }
  km_net_measure *m = km_env_zalloc(&ep->env, 1, sizeof *m);
  if (m == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  *m = (km_net_measure){.ep = ep, .fn = fn, .ctx = ctx};
  m->report.size = sizeof m->report;
  m->began = now_of(m);
  km_reporter *reporter = km_gather_reporter(km_remotes_gather(ep->remotes));
  int rv = km_deadline_new(&m->timer, ep->loop, on_timer, m);
  rv = rv != 0 ? rv : km_reporter_full(reporter, on_nat, m);
  if (rv != 0) {
    free_measure(m);
    return km_fail(err, rv, NULL);
  }
  m->reporter = reporter;
  ep->measure = m;
  ask_relays(m);
  wake(m);
  return 0;
}

void km_endpoint_cancel_net_report(km_endpoint *ep) {
  if (ep->measure != NULL) {
    free_measure(ep->measure);
    ep->measure = NULL;
  }
}
