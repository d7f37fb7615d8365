/* The page for Prometheus: every number in its place, and the form of OpenMetrics 1.0. */
#include "relay/metrics.h"

#include <ctype.h>
#include <dirent.h>

#include "relay/metrics_io.h"
#include "test/base/test_env.h"

/* Fills a struct of 64-bit counters with different numbers. */
static uint64_t number_all(void *counters, size_t size, uint64_t from) {
  for (size_t i = 0; i < size / sizeof(uint64_t); i++, from++) {
    memcpy((uint8_t *)counters + i * sizeof from, &from, sizeof from);
  }
  return from;
}

static km_relay_metrics numbered(void) {
  km_relay_metrics m = {.version = "1.2.3", .has_relay = true, .has_stun = true, .has_asker = true};
  uint64_t next = number_all(&m.relay, sizeof m.relay, 1000000);
  next = number_all(&m.stun, sizeof m.stun, next);
  (void)number_all(&m.asker, sizeof m.asker, next);
  m.process = (km_process_stats){11, 12, 13, 14, 1.5, 1.7e9};
  return m;
}

/* The number of a sample; it has to be there once. */
static double value_of(const char *page, const char *sample) {
  char line[100];
  (void)snprintf(line, sizeof line, "\n%s ", sample);
  const char *at = strstr(page, line);
  if (at == NULL || strstr(at + 1, line) != NULL) {
    fail_msg("%s is not there once", sample);
  }
  return at == NULL ? -1 : strtod(at + strlen(line), NULL);
}

static void check_value(const char *page, const char *sample, double wanted) {
  double got = value_of(page, sample);
  if (got > wanted || got < wanted) {
    fail_msg("%s is %f, not %f", sample, got, wanted);
  }
}

static void the_right_numbers(void **state) {
  (void)state;
  static char page[KM_RELAY_METRICS_MAX];
  km_relay_metrics m = numbered();
  const km_relay_server_stats *s = &m.relay;
  int len = km_relay_metrics_write(page, sizeof page, &m);
  assert_int_equal(len, strlen(page));
  const struct {
    const char *sample;
    uint64_t value;
  } samples[] = {
      {"relayserver_build_info{program=\"km-relay\",version=\"1.2.3\"}", 1},
      {"relayserver_accepts_total", s->clients + s->disconnects},
      {"relayserver_disconnects_total", s->disconnects},
      {"relayserver_clients", s->clients},
      {"relayserver_ids", s->ids},
      {"relayserver_send_packets_sent_total", s->datagrams},
      {"relayserver_bytes_sent_total", s->datagram_bytes},
      {"relayserver_bytes_recv_total", s->bytes_rx},
      {"relayserver_wire_bytes_sent_total", s->bytes_tx},
      {"relayserver_send_packets_dropped_total", s->dropped_absent + s->dropped_full},
      {"relayserver_send_packets_dropped_absent_total", s->dropped_absent},
      {"relayserver_send_packets_dropped_full_total", s->dropped_full},
      {"relayserver_send_packets_recv_total", s->datagrams + s->dropped_absent + s->dropped_full},
      {"relayserver_other_packets_dropped_total", s->dropped_others},
      {"relayserver_got_ping_total", s->pings_rx},
      {"relayserver_sent_pong_total", s->pings_rx},
      {"relayserver_sent_ping_total", s->pings_tx},
      {"relayserver_got_pong_total", s->pongs_rx},
      {"relayserver_unknown_frames_total", s->bad_messages},
      {"relayserver_rx_ratelimited_total", s->rate_limited},
      {"relayserver_conns_rx_ratelimited_total", s->rate_limited_clients},
      {"relayserver_clients_inactive_added_total", s->replaced},
      {"relayserver_queued_bytes", s->queued_bytes},
      {"relayserver_partial_bytes", s->partial_bytes},
      {"relayserver_partial_cut_total", s->partial_cut},
      {"relayserver_logins_header_total", s->logins_header},
      {"relayserver_logins_challenge_total", s->logins_challenge},
      {"relayserver_logins_denied_total", s->logins_denied},
      {"relayserver_logins_failed_total", s->logins_failed},
      {"relayserver_http_connections_total", s->accepted},
      {"relayserver_connections", s->connections},
      {"relayserver_http_requests_total", s->http_requests},
      {"relayserver_refused_limit_total", s->refused_limit},
      {"relayserver_bad_upgrades_total", s->bad_upgrades},
      {"relayserver_upgrades_v1_total", s->upgrades_v1},
      {"relayserver_upgrades_v2_total", s->upgrades_v2},
      {"relayserver_timeouts_establish_total", s->timeouts_establish},
      {"relayserver_timeouts_write_total", s->timeouts_write},
      {"relayserver_timeouts_ping_total", s->timeouts_ping},
      {"relayserver_access_asked_total", m.asker.asked},
      {"relayserver_access_allowed_total", m.asker.allowed},
      {"relayserver_access_denied_total", m.asker.denied},
      {"relayserver_access_failed_total", m.asker.failed},
      {"relayserver_access_waiting", m.asker.in_flight + m.asker.waiting},
      {"stun_requests_total", m.stun.received},
      {"stun_success_total", m.stun.answered},
      {"stun_refused_total", m.stun.refused},
      {"stun_bad_requests_total", m.stun.not_stun + m.stun.ignored},
      {"stun_over_rate_total", m.stun.over_rate},
      {"stun_failures_total", m.stun.send_dropped},
      {"process_resident_memory_bytes", 11},
      {"process_virtual_memory_bytes", 12},
      {"process_open_fds", 13},
      {"process_max_fds", 14},
      {"process_start_time_seconds", 1700000000},
  };
  for (size_t i = 0; i < COUNT_OF(samples); i++) {
    check_value(page, samples[i].sample, (double)samples[i].value);
  }
  check_value(page, "process_cpu_seconds_total", 1.5);
}

static void differences_never_turn_around(void **state) {
  (void)state;
  static char page[KM_RELAY_METRICS_MAX];
  km_relay_metrics m = {.version = "1", .has_relay = true};
  m.relay.ids = 9; /* more than clients: cannot be, and must not become a huge number */
  m.relay.connections = 5;
  m.relay.datagrams = 7;
  assert_true(km_relay_metrics_write(page, sizeof page, &m) > 0);
  check_value(page, "relayserver_clients_inactive_removed_total", 0);
  check_value(page, "relayserver_http_connections_closed_total", 0);
  check_value(page, "relayserver_other_packets_recv_total", 0);
}

/* --- the form -------------------------------------------------------------------------------- */

static size_t name_len(const char *at) {
  size_t n = 0;
  while (isalnum((unsigned char)at[n]) || at[n] == '_') {
    n++;
  }
  return n;
}

/* A family: HELP, TYPE, one sample whose suffix fits. Returns what follows. */
static const char *check_family(const char *at) {
  char name[80], line[200], type[10], suffix[10];
  size_t n = name_len(at + 7);
  assert_true(strncmp(at, "# HELP ", 7) == 0 && n > 0 && n < sizeof name);
  (void)snprintf(name, sizeof name, "%.*s", (int)n, at + 7);
  assert_true(at[7 + n] == ' ' && at[8 + n] != '\n');
  at = strchr(at, '\n') + 1;
  (void)snprintf(line, sizeof line, "# TYPE %s ", name);
  assert_true(strncmp(at, line, strlen(line)) == 0);
  assert_int_equal(sscanf(at + strlen(line), "%9s", type), 1);
  (void)snprintf(suffix, sizeof suffix, "%s",
                 strcmp(type, "counter") == 0 ? "_total"
                 : strcmp(type, "info") == 0  ? "_info"
                                              : "");
  assert_true(*suffix != '\0' || strcmp(type, "gauge") == 0);
  at = strchr(at, '\n') + 1;
  (void)snprintf(line, sizeof line, "%s%s", name, suffix);
  assert_true(strncmp(at, line, strlen(line)) == 0);
  assert_true(at[strlen(line)] == ' ' || at[strlen(line)] == '{');
  return strchr(at, '\n') + 1;
}

static void it_is_openmetrics(void **state) {
  (void)state;
  static char page[KM_RELAY_METRICS_MAX];
  for (int parts = 0; parts < 8; parts++) {
    km_relay_metrics m = numbered();
    m.has_relay = (parts & 1) != 0;
    m.has_stun = (parts & 2) != 0;
    m.has_asker = (parts & 4) != 0;
    assert_true(km_relay_metrics_write(page, sizeof page, &m) > 0);
    const char *at = page;
    unsigned families = 0;
    for (; strncmp(at, "# EOF\n", 6) != 0; families++) {
      at = check_family(at);
    }
    assert_int_equal(at[6], '\0');
    assert_true(families > 6);
    assert_int_equal(strstr(page, "relayserver_accepts") != NULL, m.has_relay);
    assert_int_equal(strstr(page, "stun_requests") != NULL, m.has_stun);
    assert_int_equal(strstr(page, "access_asked") != NULL, m.has_asker);
  }
}

static void what_the_system_does_not_say_is_left_out(void **state) {
  (void)state;
  static char page[KM_RELAY_METRICS_MAX];
  km_relay_metrics m = {.version = "1", .process = {-1, -1, -1, -1, -1, -1}};
  assert_true(km_relay_metrics_write(page, sizeof page, &m) > 0);
  assert_null(strstr(page, "process_"));
}

static void it_fits_or_says_so(void **state) {
  (void)state;
  km_relay_metrics m = numbered();
  static char page[KM_RELAY_METRICS_MAX];
  memset(&m.relay, 0xff, sizeof m.relay); /* the longest numbers */
  memset(&m.stun, 0xff, sizeof m.stun);
  memset(&m.asker, 0xff, sizeof m.asker);
  int len = km_relay_metrics_write(page, sizeof page, &m);
  assert_in_range(len, 1, KM_RELAY_METRICS_MAX - 1);
  for (int cap = len; cap >= 0; cap -= 97) {
    char *exact = malloc((size_t)cap + 1);
    assert_non_null(exact);
    assert_int_equal(km_relay_metrics_write(exact, (size_t)cap, &m), KM_ERR_BUFFER);
    free(exact);
  }
}

/* All but the one that looks; valgrind has some that fcntl does not show. */
static int count_fds(void) {
  int count = 0;
  DIR *dir = opendir("/proc/self/fd");
  assert_non_null(dir);
  for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    bool is_number = isdigit((unsigned char)entry->d_name[0]) != 0;
    count += is_number && strtol(entry->d_name, NULL, 10) != dirfd(dir);
  }
  (void)closedir(dir);
  return count;
}

static void of_this_process(void **state) {
  (void)state;
  km_process_stats one, two;
  km_process_stats_read(&one);
  assert_in_range(one.resident_bytes, 1 << 16, INT64_MAX);
  assert_true(one.virtual_bytes >= one.resident_bytes);
  assert_int_equal(one.open_fds, count_fds());
  assert_true(one.open_fds <= one.max_fds);
  double now = (double)km_clock_wall().unix_ns / 1e9;
  assert_true(one.start_time > now - 3600 && one.start_time < now + 1);
  FILE *more = fopen("/dev/null", "r");
  assert_non_null(more);
  km_process_stats_read(&two);
  assert_int_equal(two.open_fds, one.open_fds + 1);
  assert_true(two.cpu_seconds >= one.cpu_seconds);
  (void)fclose(more);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_right_numbers),
      cmocka_unit_test(differences_never_turn_around),
      cmocka_unit_test(it_is_openmetrics),
      cmocka_unit_test(what_the_system_does_not_say_is_left_out),
      cmocka_unit_test(it_fits_or_says_so),
      cmocka_unit_test(of_this_process),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
