/* km_endpoint_net_report: the call, with a real relay and a real STUN server on the endpoint's own
 * loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <keymesh/keymesh.h>

#include "base/env.h"
#include "holepunch/stun_server_io.h"
#include "relay/server.h"

#define LIMIT_MS 60000

typedef struct lab {
  km_loop *loop;
  km_relay_server *relay;
  km_stun_server *stun;
  km_endpoint *ep;
  char url[64], name[64];
  unsigned reports, closed;
  unsigned again;       /* ask so many times more, from the callback */
  bool close_in_report; /* and close the endpoint in it */
  km_net_report report;
} lab;

static void on_closed(void *ctx, km_endpoint *ep) {
  lab *l = ctx;
  (void)ep;
  l->closed++;
  l->ep = NULL;
}

static void open_servers(lab *l) {
  const km_udp_addr here = {.family = 4, .ip = {127, 0, 0, 1}};
  km_udp_addr bound;
  km_errinfo err = {0};
  km_relay_server_config relay = {.env = &km_env_system,
                                  .loop = l->loop,
                                  .http = &here,
                                  .http_count = 1,
                                  .relay_over_http = true,
                                  .version = "test"};
  km_stun_server_config stun = {.env = &km_env_system,
                                .loop = l->loop,
                                .binds = {here},
                                .bind_count = 1,
                                .alternates = {{.family = 4, .ip = {127, 0, 0, 2}}},
                                .alternate_count = 1};
  km_relay_server_limits_default(&relay.limits);
  assert_int_equal(km_relay_server_new(&l->relay, &relay, &err), 0);
  assert_int_equal(km_relay_server_bound(l->relay, &bound, 1), 1);
  (void)snprintf(l->url, sizeof l->url, "http://127.0.0.1:%u/?token=secret", (unsigned)bound.port);
  assert_int_equal(km_stun_server_new(&l->stun, &stun, &err), 0);
  assert_true(km_udp_addr_format(km_stun_server_bound(l->stun, 0), l->name, sizeof l->name) > 0);
}

static void lab_open(lab *l, bool with_relay) {
  const km_udp_addr here = {.family = 4, .ip = {127, 0, 0, 1}};
  km_errinfo err = {0};
  km_endpoint_options opt;
  *l = (lab){.reports = 0};
  assert_int_equal(km_loop_new(&l->loop), 0);
  open_servers(l);
  const char *urls[] = {l->url}, *names[] = {l->name};
  km_endpoint_options_default(&opt);
  opt.bind = &here;
  opt.bind_count = 1;
  opt.port_mapping = false;
  opt.stun_servers = names;
  opt.stun_server_count = 1;
  opt.relay_mode = with_relay ? KM_RELAY_MODE_CUSTOM : KM_RELAY_MODE_DISABLED;
  opt.relay_urls = urls;
  opt.relay_url_count = 1;
  opt.callbacks = (km_endpoint_callbacks){.size = sizeof opt.callbacks, .on_closed = on_closed};
  opt.ctx = l;
  if (km_endpoint_open(&l->ep, l->loop, &opt, &err) != 0) {
    fail_msg("%s", err.text);
  }
}

static void run_until(lab *l, const unsigned *count, unsigned wanted) {
  for (int i = 0; i < LIMIT_MS && *count < wanted; i++) {
    (void)km_loop_run_once(l->loop, 1);
  }
  assert_int_equal(*count, wanted);
}

static void lab_close(lab *l) {
  km_endpoint_close(l->ep);
  run_until(l, &l->closed, 1);
  km_relay_server_free(l->relay);
  km_stun_server_free(l->stun);
  for (int i = 0; i < LIMIT_MS && km_loop_free(l->loop) != 0; i++) {
    (void)km_loop_run_once(l->loop, 1);
  }
}

static void on_report(void *ctx, const km_net_report *report) {
  lab *l = ctx;
  l->reports++;
  l->report = *report;
  if (l->again > 0) {
    l->again--;
    assert_int_equal(km_endpoint_net_report(l->ep, on_report, l, NULL), 0);
    assert_int_equal(km_endpoint_net_report(l->ep, on_report, l, NULL), KM_ERR_STATE);
  } else if (l->close_in_report) {
    km_endpoint_close(l->ep);
  }
}

static void everything_in_one_report(void **state) {
  (void)state;
  lab l;
  lab_open(&l, true);
  assert_int_equal(km_endpoint_net_report(l.ep, on_report, &l, NULL), 0);
  assert_int_equal(l.reports, 0);
  run_until(&l, &l.reports, 1);
  const km_net_report *r = &l.report;
  assert_int_equal(r->size, sizeof *r);
  assert_int_equal(r->verdict, KM_NAT_VERDICT_OPEN);
  assert_true(r->udp4.works && r->udp4.bound && !r->udp6.bound);
  km_udp_addr bound;
  assert_int_equal(km_endpoint_bound(l.ep, &bound, 1), 1);
  assert_true(km_udp_addr_equal(&r->udp4.public_addr, &bound));
  assert_int_equal(r->relay_count, 1);
  assert_true(r->relays[0].home);
  assert_true(r->relays[0].latency_us > 0);
  assert_string_equal(r->relays[0].error, "");
  assert_null(strstr(r->relays[0].url, "secret"));
  assert_int_equal(r->stun_count, 1);
  assert_string_equal(r->stun[0].name, l.name);
  assert_int_equal(r->captive_portal, KM_NET_NO);
  assert_int_equal(r->portmap.pcp, KM_NET_UNKNOWN); /* nobody was asked */
  assert_int_equal(r->advice_count, 0);
  lab_close(&l);
}

static void without_relays(void **state) {
  (void)state;
  lab l;
  lab_open(&l, false);
  assert_int_equal(km_endpoint_net_report(l.ep, on_report, &l, NULL), 0);
  run_until(&l, &l.reports, 1);
  assert_int_equal(l.report.relay_count, 0);
  assert_int_equal(l.report.captive_portal, KM_NET_UNKNOWN);
  assert_int_equal(l.report.verdict, KM_NAT_VERDICT_OPEN);
  lab_close(&l);
}

static void again_from_the_callback(void **state) {
  (void)state;
  lab l;
  lab_open(&l, true);
  l.again = 2;
  assert_int_equal(km_endpoint_net_report(l.ep, on_report, &l, NULL), 0);
  run_until(&l, &l.reports, 3);
  lab_close(&l);
  assert_int_equal(l.reports, 3);
}

static void closing_from_the_callback(void **state) {
  (void)state;
  lab l;
  lab_open(&l, true);
  l.close_in_report = true;
  assert_int_equal(km_endpoint_net_report(l.ep, on_report, &l, NULL), 0);
  run_until(&l, &l.closed, 1);
  assert_int_equal(l.reports, 1);
  l.ep = NULL;
  lab_close(&l);
}

/* At any moment of it: no report comes, and nothing is left behind. */
static void closing_in_the_middle(void **state) {
  (void)state;
  for (int turns = 0; turns < 12; turns++) {
    lab l;
    lab_open(&l, true);
    assert_int_equal(km_endpoint_net_report(l.ep, on_report, &l, NULL), 0);
    for (int i = 0; i < turns; i++) {
      (void)km_loop_run_once(l.loop, 1);
    }
    km_endpoint_close(l.ep);
    unsigned reports = l.reports;
    lab_close(&l);
    assert_int_equal(l.reports, reports);
  }
}

static void what_is_refused(void **state) {
  (void)state;
  lab l;
  km_errinfo err = {0};
  lab_open(&l, false);
  assert_int_equal(km_endpoint_net_report(NULL, on_report, &l, &err), KM_ERR_INVALID);
  assert_int_equal(km_endpoint_net_report(l.ep, NULL, &l, &err), KM_ERR_INVALID);
  assert_int_equal(km_endpoint_net_report(l.ep, on_report, &l, &err), 0);
  assert_int_equal(km_endpoint_net_report(l.ep, on_report, &l, &err), KM_ERR_STATE);
  assert_true(err.text[0] != '\0');
  km_endpoint *ep = l.ep;
  km_endpoint_close(ep);
  assert_int_equal(km_endpoint_net_report(ep, on_report, &l, &err), KM_ERR_CLOSED);
  lab_close(&l);
  assert_int_equal(l.reports, 0);
}

static void servers_that_are_none(void **state) {
  (void)state;
  const char *names[] = {"stun.example.org", "x:0"};
  km_endpoint_options opt;
  km_endpoint *ep = NULL;
  km_loop *loop;
  km_errinfo err = {0};
  assert_int_equal(km_loop_new(&loop), 0);
  km_endpoint_options_default(&opt);
  opt.stun_servers = names;
  opt.stun_server_count = 2;
  assert_int_equal(km_endpoint_open(&ep, loop, &opt, &err), KM_ERR_INVALID);
  assert_non_null(strstr(err.text, "x:0"));
  opt.stun_servers = NULL;
  assert_int_equal(km_endpoint_open(&ep, loop, &opt, &err), KM_ERR_INVALID);
  assert_null(ep);
  for (int i = 0; i < LIMIT_MS && km_loop_free(loop) != 0; i++) {
    (void)km_loop_run_once(loop, 1);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(everything_in_one_report), cmocka_unit_test(without_relays),
      cmocka_unit_test(again_from_the_callback),  cmocka_unit_test(closing_from_the_callback),
      cmocka_unit_test(closing_in_the_middle),    cmocka_unit_test(what_is_refused),
      cmocka_unit_test(servers_that_are_none),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
