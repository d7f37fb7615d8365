/* km-dns' page for Prometheus: every number that is counted is on it, once, under its name. */
#include "discovery/server/metrics.h"

#include <inttypes.h>

#include "base/io/metrics_page_io.h"
#include "test/base/test_env.h"

static km_dns_metrics numbered(void) {
  km_dns_metrics m = {.version = "1.2.3"};
  m.process = (km_process_stats){11, 12, 13, 14, 1.5, 1.7e9};
  for (uint64_t i = 0; i < sizeof m.server / sizeof i; i++) {
    uint64_t value = 1000000 + i;
    memcpy((uint8_t *)&m.server + i * sizeof value, &value, sizeof value);
  }
  return m;
}

static void check_value(const char *page, const char *sample, uint64_t wanted) {
  char line[200];
  (void)snprintf(line, sizeof line, "\n%s %" PRIu64 "\n", sample, wanted);
  if (strstr(page, line) == NULL) {
    fail_msg("%s is not %" PRIu64 " in %s", sample, wanted, page);
  }
}

static void the_right_numbers(void **state) {
  (void)state;
  static char page[KM_METRICS_PAGE_MAX];
  km_dns_metrics m = numbered();
  const km_dns_server_stats *s = &m.server;
  int len = km_dns_metrics_write(page, sizeof page, &m);
  assert_int_equal(len, strlen(page));
  const struct {
    const char *sample;
    uint64_t value;
  } samples[] = {
      {"kmdns_build_info{program=\"km-dns\",version=\"1.2.3\"}", 1},
      {"kmdns_queries_total", s->zone.queries},
      {"kmdns_queries_nxdomain_total", s->zone.nxdomain},
      {"kmdns_answers_truncated_total", s->zone.truncated},
      {"kmdns_udp_queries_total", s->dns.udp_queries},
      {"kmdns_tcp_accepts_total", s->dns.tcp_connections},
      {"kmdns_dns_limited_total", s->dns.limited},
      {"kmdns_http_connections", s->http_connections},
      {"kmdns_http_requests_total", s->http_requests},
      {"kmdns_http_limited_total", s->http_limited},
      {"kmdns_pkarr_puts_total", s->pkarr_puts},
      {"kmdns_pkarr_stale_total", s->pkarr_stale},
      {"kmdns_doh_json_total", s->doh_json},
      {"kmdns_store_packets", s->store.packets},
      {"kmdns_store_new_total", s->store.puts_new},
      {"kmdns_store_commits_total", s->store.commits},
      {"process_open_fds", 13},
  };
  for (size_t i = 0; i < COUNT_OF(samples); i++) {
    check_value(page, samples[i].sample, samples[i].value);
  }
}

/* A counter that is added to the struct and forgotten here is found. */
static void every_number_once(void **state) {
  (void)state;
  static char page[KM_METRICS_PAGE_MAX];
  km_dns_metrics m = numbered();
  assert_true(km_dns_metrics_write(page, sizeof page, &m) > 0);
  for (uint64_t i = 0; i < sizeof m.server / sizeof i; i++) {
    char text[32];
    (void)snprintf(text, sizeof text, " %" PRIu64 "\n", 1000000 + i);
    const char *at = strstr(page, text);
    if (at == NULL || strstr(at + 1, text) != NULL) {
      fail_msg("number %" PRIu64 " of the statistics is not there once", i);
    }
  }
}

static void room(void **state) {
  (void)state;
  static char page[KM_METRICS_PAGE_MAX];
  km_dns_metrics m = numbered();
  memset(&m.server, 0xff, sizeof m.server);
  int len = km_dns_metrics_write(page, sizeof page, &m);
  assert_in_range(len, 1000, sizeof page - 1);
  assert_string_equal(page + len - 6, "# EOF\n");
  for (int cap = 1; cap <= len; cap += 97) {
    assert_int_equal(km_dns_metrics_write(page, (size_t)cap, &m), KM_ERR_BUFFER);
  }
  assert_int_equal(km_dns_metrics_write(page, (size_t)len + 1, &m), len);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_right_numbers),
      cmocka_unit_test(every_number_once),
      cmocka_unit_test(room),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
