#include <fcntl.h>
#include <keymesh/log.h>
#include <unistd.h>

#include "test/base/test_env.h"

static void names_are_those_of_the_filter(void **state) {
  (void)state;
  assert_string_equal(km_log_level_name(KM_LOG_OFF), "off");
  assert_string_equal(km_log_level_name(KM_LOG_TRACE), "trace");
  assert_string_equal(km_log_level_name((km_log_level)99), "unknown");
  assert_string_equal(km_log_component_name(KM_LOGC_COUNT_), "unknown");
  for (int c = 0; c < KM_LOGC_COUNT_; c++) {
    char text[64];
    assert_true(snprintf(text, sizeof text, "%s=debug",
                         km_log_component_name((km_log_component)c)) < (int)sizeof text);
    km_log_filter filter;
    assert_int_equal(km_log_filter_parse(&filter, text, NULL), 0);
    for (int other = 0; other < KM_LOGC_COUNT_; other++) {
      assert_int_equal(filter.level[other], other == c ? KM_LOG_DEBUG : KM_LOG_OFF);
    }
  }
}

static void later_parts_of_a_filter_win(void **state) {
  (void)state;
  km_log_filter filter;
  assert_int_equal(km_log_filter_parse(&filter, "warn,path=trace,tls=off,path=info", NULL), 0);
  assert_int_equal(filter.level[KM_LOGC_QUIC], KM_LOG_WARN);
  assert_int_equal(filter.level[KM_LOGC_PATH], KM_LOG_INFO);
  assert_int_equal(filter.level[KM_LOGC_TLS], KM_LOG_OFF);
  assert_int_equal(km_log_filter_parse(&filter, "path=trace,error", NULL), 0);
  assert_int_equal(filter.level[KM_LOGC_PATH], KM_LOG_ERROR);
}

static void bad_filters_name_the_bad_part(void **state) {
  (void)state;
  static const struct {
    const char *text, *part;
  } cases[] = {
      {"", "''"},
      {"info,", "''"},
      {",info", "''"},
      {"loud", "'loud'"},
      {"INFO", "'INFO'"},
      {"quic=", "'quic='"},
      {"quick=info", "'quick'"},
      {"=info", "''"},
      {"quic=info=x", "'quic=info=x'"},
      {" info", "' info'"},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    km_log_filter filter;
    memset(&filter, 0xa5, sizeof filter);
    km_errinfo err;
    assert_int_equal(km_log_filter_parse(&filter, cases[i].text, &err), KM_ERR_INVALID);
    assert_non_null(strstr(err.text, cases[i].part));
    assert_int_equal(filter.level[0], 0xa5);
  }
}

static void a_line_has_all_fields(void **state) {
  (void)state;
  km_id peer = {{0x3b, 0x6a, 0x27, 0xbc, 0xce}};
  km_log_entry entry = {.unix_ns = INT64_C(1767323045678999999),
                        .level = KM_LOG_INFO,
                        .component = KM_LOGC_QUIC,
                        .peer = &peer,
                        .path = "192.0.2.1:4433",
                        .event = "handshake-done",
                        .text = "rtt_ms=12"};
  char line[256];
  size_t len = km_log_format(&entry, line, sizeof line);
  assert_string_equal(line, "2026-01-02T03:04:05.678Z info quic peer=3b6a27bcce "
                            "path=192.0.2.1:4433 handshake-done rtt_ms=12");
  assert_int_equal(len, strlen(line));

  entry = (km_log_entry){.level = KM_LOG_WARN, .component = KM_LOGC_TLS, .event = "x"};
  (void)km_log_format(&entry, line, sizeof line);
  assert_string_equal(line, "1970-01-01T00:00:00.000Z warn tls x");
  entry.event = NULL;
  entry.text = "";
  (void)km_log_format(&entry, line, sizeof line);
  assert_string_equal(line, "1970-01-01T00:00:00.000Z warn tls ");
}

static void dates_are_right_around_leap_days(void **state) {
  (void)state;
  static const struct {
    int64_t unix_s;
    const char *date;
  } cases[] = {
      {951782400, "2000-02-29T00:00:00.000Z"},   {951868799, "2000-02-29T23:59:59.000Z"},
      {951868800, "2000-03-01T00:00:00.000Z"},   {1709164800, "2024-02-29T00:00:00.000Z"},
      {4107542400, "2100-03-01T00:00:00.000Z"},  {4107542399, "2100-02-28T23:59:59.000Z"},
      {1767225599, "2025-12-31T23:59:59.000Z"},  {-1, "1969-12-31T23:59:59.000Z"},
      {-2203891200, "1900-03-01T00:00:00.000Z"}, {-86400, "1969-12-31T00:00:00.000Z"},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    km_log_entry entry = {.unix_ns = cases[i].unix_s * 1000000000, .event = ""};
    char line[64];
    (void)km_log_format(&entry, line, sizeof line);
    assert_memory_equal(line, cases[i].date, strlen(cases[i].date));
  }
  km_log_entry entry = {.unix_ns = -1, .event = ""};
  char line[64];
  (void)km_log_format(&entry, line, sizeof line);
  assert_memory_equal(line, "1969-12-31T23:59:59.999Z", 24);
  entry.unix_ns = INT64_MIN;
  (void)km_log_format(&entry, line, sizeof line);
  assert_memory_equal(line, "1677-09-21T00:12:43.145Z", 24);
  entry.unix_ns = INT64_MAX;
  (void)km_log_format(&entry, line, sizeof line);
  assert_memory_equal(line, "2262-04-11T23:47:16.854Z", 24);
}

static void hostile_text_cannot_forge_lines(void **state) {
  (void)state;
  km_log_entry entry = {
      .level = KM_LOG_INFO, .event = "e", .text = "a\nb\x1b[0m\xff\xc2\x9b\xc3\xa9"};
  char line[128];
  (void)km_log_format(&entry, line, sizeof line);
  assert_string_equal(line + 25, "info endpoint e a\\nb\\x1b[0m\\xff\\xc2\\x9b\xc3\xa9");
}

static void a_line_is_cut_to_fit_between_characters(void **state) {
  (void)state;
  km_log_entry entry = {
      .level = KM_LOG_INFO, .event = "event", .text = "\xe2\x82\xac\n\xe2\x82\xac"};
  char full[128];
  size_t full_len = km_log_format(&entry, full, sizeof full);
  assert_int_equal(km_log_format(&entry, NULL, 0), 0);
  const size_t euro = (size_t)(strstr(full, "\xe2") - full);
  for (size_t cap = 1; cap <= full_len; cap++) {
    char line[128];
    memset(line, 0x7e, sizeof line);
    size_t len = km_log_format(&entry, line, cap);
    assert_true(len < cap);
    assert_int_equal(line[len], '\0');
    assert_int_equal(line[cap], 0x7e);
    /* Never the middle of a character or of an escape. */
    assert_memory_equal(line, full, len);
    assert_false(len > euro && len < euro + 3);
    assert_false(len > euro + 3 && len < euro + 5);
  }
}

typedef struct seen {
  int calls;
  km_log_level level;
  char text[600];
} seen;

static void remember(void *ctx, const km_log_entry *entry) {
  seen *s = ctx;
  s->calls++;
  s->level = entry->level;
  assert_true(entry->unix_ns > 0);
  assert_string_equal(entry->event, "event");
  assert_true(strlen(entry->text) < sizeof s->text);
  memcpy(s->text, entry->text, strlen(entry->text) + 1);
}

static int evaluated;

static int count_evaluation(void) {
  return ++evaluated;
}

static void arguments_are_evaluated_only_when_the_level_passes(void **state) {
  (void)state;
  seen s = {0};
  km_logger logger = {.sink = remember, .ctx = &s};
  assert_int_equal(km_log_filter_parse(&logger.filter, "info,tls=off", NULL), 0);
  KM_LOG(&logger, KM_LOG_DEBUG, KM_LOGC_QUIC, NULL, NULL, "event", "%d", count_evaluation());
  KM_LOG(&logger, KM_LOG_ERROR, KM_LOGC_TLS, NULL, NULL, "event", "%d", count_evaluation());
  assert_int_equal(s.calls, 0);
  assert_int_equal(evaluated, 0);
  KM_LOG(&logger, KM_LOG_INFO, KM_LOGC_QUIC, NULL, NULL, "event", "n=%d\n", count_evaluation());
  assert_int_equal(s.calls, 1);
  assert_int_equal(s.level, KM_LOG_INFO);
  assert_string_equal(s.text, "n=1?");
  km_logger none = {0};
  KM_LOG(&none, KM_LOG_ERROR, KM_LOGC_QUIC, NULL, NULL, "event", "%d", count_evaluation());
  assert_int_equal(evaluated, 1);
}

static void copy_path(void *ctx, const km_log_entry *entry) {
  (void)snprintf(ctx, 400, "%s", entry->path == NULL ? "none" : entry->path);
}

static void queries_of_urls_are_kept_out(void **state) {
  (void)state;
  char seen_path[400], url[700];
  km_logger logger = {.sink = copy_path, .ctx = seen_path};
  assert_int_equal(km_log_filter_parse(&logger.filter, "info", NULL), 0);
  KM_LOG(&logger, KM_LOG_INFO, KM_LOGC_RELAY, NULL, "https://r/?token=secret", "event", "%s", "");
  assert_string_equal(seen_path, "https://r/");
  KM_LOG(&logger, KM_LOG_INFO, KM_LOGC_RELAY, NULL, "https://r/", "event", "%s", "");
  assert_string_equal(seen_path, "https://r/");
  KM_LOG(&logger, KM_LOG_INFO, KM_LOGC_RELAY, NULL, NULL, "event", "%s", "");
  assert_string_equal(seen_path, "none");
  memset(url, 'a', sizeof url);
  memcpy(url + sizeof url - 8, "?secret", 8);
  KM_LOG(&logger, KM_LOG_INFO, KM_LOGC_RELAY, NULL, url, "event", "%s", "");
  assert_int_equal(strlen(seen_path), 299);
  assert_null(strchr(seen_path, 's'));
}

/* Runs the sink with stderr going to a pipe. */
static size_t written_to_stderr(const km_log_entry *entry, char *buf, size_t cap) {
  int pipe_fds[2];
  assert_int_equal(pipe(pipe_fds), 0);
  int saved = dup(STDERR_FILENO);
  assert_true(saved >= 0);
  assert_true(dup2(pipe_fds[1], STDERR_FILENO) >= 0);
  km_log_to_stderr(NULL, entry);
  assert_true(dup2(saved, STDERR_FILENO) >= 0);
  assert_int_equal(close(saved), 0);
  assert_int_equal(close(pipe_fds[1]), 0);
  ssize_t n = read(pipe_fds[0], buf, cap - 1);
  assert_true(n >= 0);
  buf[n] = '\0';
  assert_int_equal(close(pipe_fds[0]), 0);
  return (size_t)n;
}

static void stderr_gets_one_plain_line_where_it_is_no_terminal(void **state) {
  (void)state;
  km_log_entry entry = {.level = KM_LOG_ERROR, .component = KM_LOGC_UDP, .event = "send-failed"};
  char text[2048];
  (void)written_to_stderr(&entry, text, sizeof text);
  assert_string_equal(text, "1970-01-01T00:00:00.000Z error udp send-failed\n");
  char longer[4000];
  memset(longer, 'x', sizeof longer - 1);
  longer[sizeof longer - 1] = '\0';
  entry.text = longer;
  size_t len = written_to_stderr(&entry, text, sizeof text);
  assert_int_equal(len, 1023);
  assert_int_equal(text[len - 1], '\n');
}

static void stderr_has_colours_where_it_is_a_terminal(void **state) {
  (void)state;
  int master = posix_openpt(O_RDWR | O_NOCTTY);
  assert_true(master >= 0);
  assert_int_equal(grantpt(master), 0);
  assert_int_equal(unlockpt(master), 0);
  int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
  assert_true(terminal >= 0);
  int saved = dup(STDERR_FILENO);
  assert_true(dup2(terminal, STDERR_FILENO) >= 0);
  static const struct {
    km_log_level level;
    const char *expected;
  } cases[] = {
      {KM_LOG_ERROR, "\033[31merror\033[0m udp e"},
      {KM_LOG_WARN, "\033[33mwarn\033[0m udp e"},
      {KM_LOG_INFO, "\033[32minfo\033[0m udp e"},
      {KM_LOG_TRACE, "\033[2mtrace\033[0m udp e"},
  };
  char text[COUNT_OF(cases)][256];
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    km_log_entry entry = {.level = cases[i].level, .component = KM_LOGC_UDP, .event = "e"};
    km_log_to_stderr(NULL, &entry);
    ssize_t n = read(master, text[i], sizeof text[i] - 1);
    text[i][n > 0 ? n : 0] = '\0';
  }
  assert_true(dup2(saved, STDERR_FILENO) >= 0);
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    assert_non_null(strstr(text[i], cases[i].expected));
  }
  assert_int_equal(close(saved), 0);
  assert_int_equal(close(terminal), 0);
  assert_int_equal(close(master), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_are_those_of_the_filter),
      cmocka_unit_test(later_parts_of_a_filter_win),
      cmocka_unit_test(bad_filters_name_the_bad_part),
      cmocka_unit_test(a_line_has_all_fields),
      cmocka_unit_test(dates_are_right_around_leap_days),
      cmocka_unit_test(hostile_text_cannot_forge_lines),
      cmocka_unit_test(a_line_is_cut_to_fit_between_characters),
      cmocka_unit_test(arguments_are_evaluated_only_when_the_level_passes),
      cmocka_unit_test(queries_of_urls_are_kept_out),
      cmocka_unit_test(stderr_gets_one_plain_line_where_it_is_no_terminal),
      cmocka_unit_test(stderr_has_colours_where_it_is_a_terminal),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
