/* km-node doctor: what does this network allow, and what can be done about it? */
#include <stdio.h>
#include <string.h>

#include "cmd/node/node.h"

#define DEFAULT_TIMEOUT_S 30
#define TICK_MS 500

typedef struct doctor {
  node n;
  uint64_t timeout_s;
  km_timer *timer; /* the tick, or the end */
  unsigned ticks;
  bool shown; /* progress stands on the terminal */
} doctor;

/* --- for who waits --------------------------------------------------------------------------- */

static void show_progress(doctor *d) {
  if (cli_watched(&d->n.out)) {
    (void)fprintf(stderr, "\rmeasuring this network ... %u s ", d->ticks * TICK_MS / 1000);
    d->shown = true;
  }
}

static void end_progress(doctor *d) {
  if (d->shown) {
    (void)fprintf(stderr, "\r%40s\r", "");
    d->shown = false;
  }
}

static void on_tick(void *ctx) {
  doctor *d = ctx;
  d->timer = NULL;
  d->ticks++;
  if ((uint64_t)d->ticks * TICK_MS >= d->timeout_s * 1000) {
    km_errinfo err = {.code = KM_ERR_TIMEOUT};
    (void)snprintf(err.text, sizeof err.text,
                   "the measurement did not end within %u s (--timeout takes more)",
                   (unsigned)d->timeout_s);
    end_progress(d);
    node_finish(&d->n, cli_error(&d->n.out, CLI_EXIT_FAILED, &err));
    return;
  }
  show_progress(d);
  if (km_timer_start(&d->timer, d->n.loop, TICK_MS, on_tick, d) != 0) {
    node_finish(&d->n, CLI_EXIT_FAILED);
  }
}

/* --- for people ------------------------------------------------------------------------------ */

static const char *yes_no(km_net_answer answer) {
  return answer == KM_NET_YES ? "yes" : answer == KM_NET_NO ? "no" : "not known";
}

static const char *addr_text(const km_udp_addr *addr, char text[KM_UDP_ADDR_TEXT_CAP]) {
  if (addr->family == 0 || km_udp_addr_format(addr, text, KM_UDP_ADDR_TEXT_CAP) < 0) {
    return "not known";
  }
  return text;
}

static bool was_asked(const km_net_report *r, uint8_t family) {
  bool asked = false;
  for (size_t i = 0; i < r->stun_count; i++) {
    asked = asked || r->stun[i].addr.family == family;
  }
  return asked;
}

static void say_family(const cli_output *out, const km_net_report *r, uint8_t family) {
  const char *name = family == 4 ? "UDP IPv4" : "UDP IPv6";
  const km_net_family *f = family == 4 ? &r->udp4 : &r->udp6;
  char text[KM_UDP_ADDR_TEXT_CAP];
  if (!f->works) {
    cli_say(out, "%-9s %s", name,
            !f->bound               ? "no socket of this kind"
            : !was_asked(r, family) ? "not measured: no STUN server has an address of this kind"
                                    : "no answer");
    return;
  }
  cli_say(out, "%-9s works; our public address is %s", name, addr_text(&f->public_addr, text));
  cli_say(out, "  mapping    %s%s", km_nat_mapping_name(f->mapping),
          f->mapping == KM_NAT_MAPPING_NONE ? ": there is no NAT" : "");
  if (f->port_step != 0) {
    cli_say(out, "  port step  %d", f->port_step);
  }
  cli_say(out, "  filtering  %s", km_nat_filtering_name(f->filtering));
  if (f->mapping != KM_NAT_MAPPING_NONE) {
    cli_say(out, "  hairpin    %s", yes_no(f->hairpin));
  }
}

static void say_portmap(const cli_output *out, const km_net_portmap *p) {
  char text[KM_UDP_ADDR_TEXT_CAP];
  if (p->pcp == KM_NET_UNKNOWN) {
    return; /* nobody asked */
  }
  if (p->pcp != KM_NET_YES && p->nat_pmp != KM_NET_YES && p->upnp != KM_NET_YES) {
    cli_say(out, "router    opens no ports for us (no PCP, NAT-PMP or UPnP)");
    return;
  }
  cli_say(out, "router    speaks%s%s%s", p->pcp == KM_NET_YES ? " PCP" : "",
          p->nat_pmp == KM_NET_YES ? " NAT-PMP" : "", p->upnp == KM_NET_YES ? " UPnP" : "");
  if (p->external.family != 0) {
    cli_say(out, "  open port  %s", addr_text(&p->external, text));
  }
}

static void say_servers(const cli_output *out, const km_net_report *r) {
  char text[KM_UDP_ADDR_TEXT_CAP];
  for (size_t i = 0; i < r->relay_count; i++) {
    const km_net_relay *relay = &r->relays[i];
    if (relay->error[0] != '\0') {
      cli_say(out, "relay     %s: %s", relay->url, relay->error);
    } else {
      cli_say(out, "relay     %s: %.1f ms%s", relay->url, (double)relay->latency_us / 1000,
              relay->home ? ", home" : "");
    }
  }
  for (size_t i = 0; i < r->stun_count; i++) {
    const km_net_stun *s = &r->stun[i];
    if (s->addr.family == 0) {
      cli_say(out, "stun      %s: not to be found, or not with our sockets", s->name);
    } else if (s->mapped.family == 0) {
      cli_say(out, "stun      %s (%s): no answer", s->name, addr_text(&s->addr, text));
    } else {
      cli_say(out, "stun      %s (%s): %.1f ms", s->name, addr_text(&s->addr, text),
              (double)s->latency_us / 1000);
    }
  }
}

static void say_report(const cli_output *out, const km_net_report *r) {
  cli_say(out, "verdict   %s: %s", km_nat_verdict_name(r->verdict),
          km_nat_verdict_text(r->verdict));
  say_family(out, r, 4);
  say_family(out, r, 6);
  say_portmap(out, &r->portmap);
  say_servers(out, r);
  if (r->captive_portal != KM_NET_UNKNOWN) {
    cli_say(out, "portal    %s", r->captive_portal == KM_NET_YES ? "log in first" : "none");
  }
  for (size_t i = 0; i < r->advice_count; i++) {
    cli_say(out, "%s- %s", i == 0 ? "\nWhat to do, or to know:\n" : "", r->advice[i]);
  }
}

/* --- for machines ---------------------------------------------------------------------------- */

static void add_answer(cJSON *to, const char *name, km_net_answer answer) {
  if (to == NULL || answer == KM_NET_UNKNOWN) {
    cli_add_null(to, name);
  } else {
    (void)cJSON_AddBoolToObject(to, name, answer == KM_NET_YES);
  }
}

static void add_bool(cJSON *to, const char *name, bool value) {
  if (to != NULL) {
    (void)cJSON_AddBoolToObject(to, name, value);
  }
}

static void add_addr(cJSON *to, const char *name, const km_udp_addr *addr) {
  char text[KM_UDP_ADDR_TEXT_CAP];
  if (addr->family == 0) {
    cli_add_null(to, name);
  } else {
    cli_add_text(to, name, addr_text(addr, text));
  }
}

static void add_ms(cJSON *to, const char *name, uint64_t us) {
  if (us == 0) {
    cli_add_null(to, name);
  } else {
    cli_add_number(to, name, (double)us / 1000);
  }
}

static cJSON *add_object(cJSON *to, const char *name) {
  return to == NULL ? NULL : cJSON_AddObjectToObject(to, name);
}

static cJSON *add_to_list(cJSON *list) {
  cJSON *item = list == NULL ? NULL : cJSON_CreateObject();
  if (item != NULL) {
    (void)cJSON_AddItemToArray(list, item);
  }
  return item;
}

static cJSON *add_list(cJSON *to, const char *name) {
  return to == NULL ? NULL : cJSON_AddArrayToObject(to, name);
}

static void add_family(cJSON *event, const char *name, const km_net_family *f) {
  cJSON *to = add_object(event, name);
  add_bool(to, "bound", f->bound);
  add_bool(to, "works", f->works);
  add_addr(to, "public_addr", &f->public_addr);
  cli_add_text(to, "mapping", km_nat_mapping_name(f->mapping));
  cli_add_text(to, "filtering", km_nat_filtering_name(f->filtering));
  add_answer(to, "hairpin", f->hairpin);
  cli_add_number(to, "port_step", f->port_step);
}

static void add_servers(cJSON *event, const km_net_report *r) {
  cJSON *list = add_list(event, "relays");
  for (size_t i = 0; i < r->relay_count; i++) {
    const km_net_relay *relay = &r->relays[i];
    cJSON *to = add_to_list(list);
    cli_add_text(to, "url", relay->url);
    add_ms(to, "latency_ms", relay->latency_us);
    add_bool(to, "home", relay->home);
    if (relay->error[0] == '\0') {
      cli_add_null(to, "error");
    } else {
      cli_add_text(to, "error", relay->error);
    }
  }
  list = add_list(event, "stun");
  for (size_t i = 0; i < r->stun_count; i++) {
    const km_net_stun *s = &r->stun[i];
    cJSON *to = add_to_list(list);
    cli_add_text(to, "name", s->name);
    add_addr(to, "addr", &s->addr);
    add_ms(to, "latency_ms", s->latency_us);
    add_addr(to, "mapped", &s->mapped);
  }
}

static void emit_report(const cli_output *out, const km_net_report *r) {
  cJSON *event = cli_event(out, "report");
  cli_add_text(event, "verdict", km_nat_verdict_name(r->verdict));
  cli_add_text(event, "meaning", km_nat_verdict_text(r->verdict));
  add_family(event, "udp4", &r->udp4);
  add_family(event, "udp6", &r->udp6);
  cJSON *portmap = add_object(event, "portmap");
  add_answer(portmap, "pcp", r->portmap.pcp);
  add_answer(portmap, "nat_pmp", r->portmap.nat_pmp);
  add_answer(portmap, "upnp", r->portmap.upnp);
  add_addr(portmap, "external", &r->portmap.external);
  add_servers(event, r);
  add_answer(event, "captive_portal", r->captive_portal);
  cJSON *advice = add_list(event, "advice");
  for (size_t i = 0; advice != NULL && i < r->advice_count; i++) {
    (void)cJSON_AddItemToArray(advice, cJSON_CreateString(r->advice[i]));
  }
  cli_emit(event);
}

/* --- the command ----------------------------------------------------------------------------- */

static bool anything_works(const km_net_report *r) {
  bool works = r->udp4.works || r->udp6.works;
  for (size_t i = 0; i < r->relay_count; i++) {
    works = works || r->relays[i].latency_us > 0;
  }
  return works;
}

static void on_report(void *ctx, const km_net_report *r) {
  doctor *d = ctx;
  end_progress(d);
  emit_report(&d->n.out, r);
  say_report(&d->n.out, r);
  node_finish(&d->n, anything_works(r) ? CLI_EXIT_OK : CLI_EXIT_UNREACHABLE);
}

static int run(doctor *d, const node_options *o) {
  km_errinfo err;
  int status = node_open(&d->n, o);
  if (status != CLI_EXIT_OK) {
    return status;
  }
  d->n.stop_status = 130;
  if (km_endpoint_net_report(d->n.endpoint, on_report, d, &err) != 0) {
    node_fail(&d->n, &err);
  } else if (km_timer_start(&d->timer, d->n.loop, TICK_MS, on_tick, d) != 0) {
    node_finish(&d->n, CLI_EXIT_FAILED);
  }
  while (d->n.endpoint != NULL) {
    (void)km_loop_run(d->n.loop);
  }
  end_progress(d);
  km_timer_cancel(d->timer);
  return node_run(&d->n);
}

int cmd_doctor(int argc, char **argv) {
  doctor d = {.timeout_s = DEFAULT_TIMEOUT_S};
  node_options o = {0};
  const cli_option options[] = {
      {"--relay", CLI_LIST, &o.relay, "URL", "relay to measure, and the STUN server beside it", 0,
       0},
      {"--stun", CLI_LIST, &o.stun, "HOST[:PORT]", "STUN server (again for more; port 3478)", 0, 0},
      {"--bind", CLI_LIST, &o.bind, "IP:PORT", "measure from here (again for more; default any)", 0,
       0},
      {"--timeout", CLI_NUMBER, &d.timeout_s, "S", "give up after (default 30)", 1, 600},
      {"--relay-ca", CLI_TEXT, &o.relay_ca, "FILE", "PEM authorities of relays (default system's)",
       0, 0},
      {"--relay-token", CLI_TEXT, &o.relay_token, "TOKEN",
       "what these relays want to see (default $KM_RELAY_TOKEN)", 0, 0},
      {"--log", CLI_TEXT, &o.log, "FILTER", "log to stderr: punch=debug,relay=debug", 0, 0},
      {"--json", CLI_FLAG, &o.json, NULL, "one JSON object on stdout", 0, 0},
      {0},
  };
  const cli_command command = {
      .name = "km-node doctor",
      .usage = "km-node doctor [--relay URL]... [--stun HOST[:PORT]]...",
      .about = "Finds out what this network allows: UDP, the NAT in front of it, relays, and what\n"
               "that means for direct connections. Two servers at different addresses tell the\n"
               "kind of NAT, one as of RFC 5780 tells everything. Exit status: 0 measured,\n"
               "1 failed or timed out, 2 bad arguments, 3 nothing answered at all.",
      .example = "  km-node doctor --relay https://relay.example.org --stun stun.example.net",
      .options = options,
  };
  cli_words words;
  km_errinfo err;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  cli_output_init(&d.n.out, o.json);
  if (result == CLI_HELPED) {
    return CLI_EXIT_OK;
  }
  bool no_relay = o.relay.count == 0 || strcmp(o.relay.at[0], "disabled") == 0;
  if (result == CLI_RUN && no_relay && o.stun.count == 0) {
    err = (km_errinfo){.code = KM_ERR_INVALID};
    (void)snprintf(err.text, sizeof err.text,
                   "somebody outside has to be asked: name a relay (--relay URL) or a STUN server "
                   "(--stun HOST)");
    result = CLI_BAD;
  }
  return result == CLI_BAD ? cli_error(&d.n.out, CLI_EXIT_USAGE, &err) : run(&d, &o);
}
