/* What peers say of themselves, in our log; and what strangers learn of us. */
#include "test/mesh/mesh_lab.h"

enum { LINES = 64 };

typedef struct log_lines {
  char lines[LINES][600];
  size_t count;
} log_lines;

static void keep_line(void *ctx, const km_log_entry *entry) {
  log_lines *log = ctx;
  if (entry->component == KM_LOGC_MESH && log->count < LINES) {
    (void)km_log_format(entry, log->lines[log->count++], sizeof log->lines[0]);
  }
}

static const char *line_with(const log_lines *log, const char *text) {
  for (size_t i = 0; i < log->count; i++) {
    if (strstr(log->lines[i], text) != NULL) {
      return log->lines[i];
    }
  }
  return "";
}

static node *logging_node(mesh_lab *l, log_lines *log) {
  mesh_lab_open(l);
  node *n = node_new(l);
  assert_int_equal(km_log_filter_parse(&n->ep_opt.log_filter, "debug", NULL), 0);
  n->ep_opt.log = keep_line;
  n->ep_opt.log_ctx = log;
  n->opt.level = KM_SECURITY_DEVELOPMENT;
  return n;
}

static void a_name_forges_no_field_of_the_log(void **state) {
  (void)state;
  static log_lines log;
  mesh_lab l;
  log.count = 0;
  node *n = logging_node(&l, &log);
  node_start(n);
  raw *r = raw_dial(&l, n, 1);
  raw_say(r, HELLO_OF("x\\\" version=9 side=dialled node=\\\"boss", "1.0"));
  WAIT(&l, raw_heard(r, "\"ok\":true"));
  const char *up = line_with(&log, " up side=");
  assert_non_null(strstr(up, "side=accepted node=\"x\\\" version=9 side=dialled node=\\\"boss\" "
                             "version=1.0"));
  km_conn_close(r->conn, 3, "bye\" state=\"fine", 16);
  WAIT(&l, line_with(&log, " lost ")[0] != '\0');
  assert_non_null(strstr(line_with(&log, " lost "), " lost why=\"the peer found the protocol "
                                                    "broken: bye\\\" state=\\\"fine\""));
  mesh_lab_close(&l);
}

static void nor_does_a_reason(void **state) {
  (void)state;
  static log_lines log;
  mesh_lab l;
  log.count = 0;
  node *n = logging_node(&l, &log);
  raw *r = raw_listen(&l, n, 1);
  node_start(n);
  WAIT(&l, raw_heard(r, "HELLO"));
  raw_say(r, "{\"type\":\"ACK\",\"ok\":false,\"reason\":\"no\\\" side=\\\"accepted\","
             "\"peer_id\":\"raw\",\"capabilities\":{}}");
  WAIT(&l, line_with(&log, " lost ")[0] != '\0');
  assert_non_null(strstr(line_with(&log, " refused "),
                         " refused why=\"refused by the peer: no\\\" side=\\\"accepted\""));
  assert_non_null(strstr(line_with(&log, " lost "),
                         " lost why=\"refused by the peer: no\\\" side=\\\"accepted\""));
  mesh_lab_close(&l);
}

/* Whoever is refused proved a key, nothing else. */
static void who_is_refused_does_not_learn_our_name(void **state) {
  (void)state;
  mesh_lab l;
  mesh_lab_open(&l);
  node *n = node_new(&l);
  n->opt.node_id = "the-secret-name";
  n->opt.level = KM_SECURITY_SECURE;
  node_start(n);
  raw *r = raw_dial(&l, n, 1);
  raw_say(r, HELLO_OF("raw", "1.0"));
  WAIT(&l, raw_heard(r, "\"ok\":false"));
  assert_false(raw_heard(r, "secret-name"));
  assert_false(raw_heard(r, "instance"));
  assert_true(raw_heard(r, "\"peer_id\":\"-\""));
  assert_true(raw_heard(r, "\"reason\":\""));
  mesh_lab_close(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_name_forges_no_field_of_the_log),
      cmocka_unit_test(nor_does_a_reason),
      cmocka_unit_test(who_is_refused_does_not_learn_our_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
