/* What an endpoint's options change: key exchange, congestion control, logs, keys, sockets. */
#include <cjson/cJSON.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test/endpoint/initial.h"
#include "test/endpoint/tap.h"

static km_conn_stats stats_of(const lab_conn *c) {
  km_conn_stats stats = {.size = sizeof stats};
  assert_int_equal(km_conn_get_stats(c->conn, &stats), 0);
  return stats;
}

static void post_quantum_can_be_preferred(void **state) {
  (void)state;
  static const char *const want[4] = {"X25519", NULL, NULL, "X25519MLKEM768"};
  for (int i = 0; i < 4; i++) { /* neither, the server, the client, both */
    lab l;
    km_endpoint_options opt;
    lab_open(&l);
    lab_options(&opt);
    opt.prefer_post_quantum = (i & 1) != 0;
    lab_endpoint *server = lab_server_open(&l, &opt, LAB_ECHO);
    opt.prefer_post_quantum = (i & 2) != 0;
    lab_conn *c = lab_connect(lab_endpoint_open(&l, &opt), server, NULL);
    if (want[i] != NULL) {
      assert_string_equal(stats_of(c).group, want[i]);
      assert_string_equal(stats_of(server->accepted[0]).group, want[i]);
    }
    lab_expect_echo(c, 10000);
    lab_close(&l);
  }
}

static void every_switch_works_off_and_on(void **state) {
  (void)state;
  for (unsigned i = 0; i < 8; i++) {
    lab l;
    km_endpoint_options opt;
    lab_open(&l);
    lab_options(&opt);
    opt.gso = (i & 1) != 0;
    opt.ecn = (i & 2) != 0;
    opt.pmtud = (i & 4) != 0;
    lab_endpoint *server = lab_server_open(&l, &opt, LAB_ECHO);
    lab_conn *c = lab_connect(lab_endpoint_open(&l, &opt), server, NULL);
    lab_expect_echo(c, 4 << 20);
    lab_run_for(&l, 200);
    km_conn_stats s = stats_of(c);
    if (opt.pmtud) {
      assert_in_range(s.mtu, 1201, 1452);
    } else {
      assert_int_equal(s.mtu, 1200);
    }
    if (!opt.ecn) {
      assert_false(s.ecn);
    }
    lab_close(&l);
  }
}

static void jumbo_packets_on_request(void **state) {
  (void)state;
  lab l;
  km_endpoint_options opt;
  lab_open(&l);
  lab_options(&opt);
  opt.max_udp_payload = 8952;
  lab_endpoint *server = lab_server_open(&l, &opt, LAB_ECHO);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, &opt), server, NULL);
  lab_expect_echo(c, 4 << 20);
  LAB_WAIT_S(&l, 10, stats_of(c).mtu > 1452);
  lab_expect_echo(c, 1 << 20);
  lab_close(&l);
}

static void keys_can_be_updated(void **state) {
  (void)state;
  lab l;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_conn *c = lab_dial(lab_endpoint_open(&l, NULL), server, NULL);
  assert_int_equal(km_conn_update_keys(c->conn), KM_ERR_STATE);
  LAB_WAIT(&l, c->connected > 0 && server->accepted_count > 0);
  lab_conn *sides[2] = {c, server->accepted[0]};
  for (unsigned i = 0; i < 6; i++) {
    lab_conn *side = sides[i % 2];
    lab_expect_echo(c, 50000);
    uint64_t before = stats_of(side).key_updates;
    int rv;
    /* One a few round trips at most (RFC 9001 section 6.5). */
    LAB_WAIT(&l, (rv = km_conn_update_keys(side->conn)) != KM_ERR_STATE);
    assert_int_equal(rv, 0);
    assert_int_equal(km_conn_update_keys(side->conn), KM_ERR_STATE);
    lab_expect_echo(c, 50000);
    LAB_WAIT(&l, stats_of(side).key_updates > before);
  }
  LAB_WAIT(&l, stats_of(c).key_updates == 6);
  LAB_WAIT(&l, stats_of(server->accepted[0]).key_updates == 6);
  lab_close(&l);
}

/* What is asked for within a callback is done after it; a failure then is only logged. */
typedef struct updater {
  unsigned asked, failures_logged;
} updater;

static void count_failures(void *ctx, const km_log_entry *entry) {
  updater *u = ctx;
  u->failures_logged += strcmp(entry->event, "key-update-failed") == 0;
}

static void update_in_callback(void *ctx, km_stream *stream, const void *data, size_t len,
                               bool fin) {
  updater *u = ctx;
  (void)data;
  (void)len;
  (void)fin;
  u->asked++;
  assert_int_equal(km_conn_update_keys(km_stream_conn(stream)), 0);
}

static void a_failed_key_update_of_a_callback_is_logged(void **state) {
  (void)state;
  static const km_stream_callbacks callbacks = {.size = sizeof callbacks,
                                                .on_data = update_in_callback};
  lab l;
  updater u = {0};
  km_stream *s;
  size_t taken;
  km_endpoint_options opt;
  lab_open(&l);
  lab_options(&opt);
  opt.log = count_failures;
  opt.log_ctx = &u;
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, &opt), server, NULL);
  lab_expect_echo(c, 1000);
  uint64_t before = stats_of(c).key_updates;
  assert_int_equal(km_conn_open_stream(c->conn, &s, true, &callbacks, &u), 0);
  for (unsigned i = 1; u.failures_logged == 0; i++) { /* the second within a round trip fails */
    assert_true(i < 1000);
    assert_int_equal(km_stream_write(s, "x", 1, false, &taken, NULL), 0);
    LAB_WAIT(&l, u.asked >= i);
  }
  lab_expect_echo(c, 1000);
  LAB_WAIT(&l, stats_of(c).key_updates > before); /* the first did happen */
  lab_close(&l);
}

/* --- files ----------------------------------------------------------------------------------- */

#define DIR_CAP 32

static char *make_dir(char path[DIR_CAP]) {
  (void)snprintf(path, DIR_CAP, "km-test-XXXXXX");
  assert_non_null(mkdtemp(path));
  return path;
}

static char *read_file(const char *path, size_t *ret_len) {
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  assert_int_equal(fseek(f, 0, SEEK_END), 0);
  long len = ftell(f);
  rewind(f);
  char *data = malloc((size_t)len + 1);
  assert_non_null(data);
  assert_int_equal(fread(data, 1, (size_t)len, f), len);
  data[len] = '\0';
  fclose(f);
  *ret_len = (size_t)len;
  return data;
}

/* RFC 7464: each record is 0x1e, one JSON value, a newline. Returns the number of records. */
static size_t check_json_seq(const char *data, size_t len) {
  size_t records = 0;
  size_t at = 0;
  while (at < len) {
    assert_int_equal(data[at], 0x1e);
    const char *end = memchr(data + at, '\n', len - at);
    assert_non_null(end);
    cJSON *json = cJSON_ParseWithLength(data + at + 1, (size_t)(end - data) - at - 1);
    assert_non_null(json);
    assert_true(cJSON_IsObject(json));
    if (records == 0) {
      assert_non_null(cJSON_GetObjectItem(json, "qlog_version"));
    } else {
      assert_non_null(cJSON_GetObjectItem(json, "name"));
      assert_non_null(cJSON_GetObjectItem(json, "time"));
    }
    cJSON_Delete(json);
    records++;
    at = (size_t)(end - data) + 1;
  }
  return records;
}

static void qlog_files_are_json_sequences(void **state) {
  (void)state;
  lab l;
  km_endpoint_options opt;
  char dir[DIR_CAP], path[512];
  lab_open(&l);
  lab_options(&opt);
  opt.qlog_dir = make_dir(dir);
  lab_endpoint *server = lab_server_open(&l, &opt, LAB_ECHO);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, &opt), server, NULL);
  lab_expect_echo(c, 100000);
  lab_conn_close(c, 0, NULL);
  lab_close(&l);
  DIR *d = opendir(dir);
  assert_non_null(d);
  int files = 0;
  for (struct dirent *e; (e = readdir(d)) != NULL;) {
    if (e->d_name[0] == '.') {
      continue;
    }
    size_t len;
    snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
    char *data = read_file(path, &len);
    assert_true(check_json_seq(data, len) > 20);
    free(data);
    unlink(path);
    files++;
  }
  closedir(d);
  assert_int_equal(files, 2); /* one a connection and side */
  assert_int_equal(rmdir(dir), 0);
}

static int files_in(const char *dir) {
  DIR *d = opendir(dir);
  assert_non_null(d);
  int files = 0;
  for (struct dirent *e; (e = readdir(d)) != NULL;) {
    files += e->d_name[0] != '.';
  }
  closedir(d);
  return files;
}

static void strangers_make_no_qlog_files(void **state) {
  (void)state;
  enum { PACKETS = 20 };
  lab l;
  km_endpoint_options opt;
  km_udp_addr sink, unused;
  char dir[DIR_CAP], path[512];
  uint8_t buf[INITIAL_MAX];
  initial in;
  uint64_t random = 1;
  lab_open(&l);
  lab_options(&opt);
  opt.qlog_dir = make_dir(dir);
  lab_endpoint *server = lab_server_open(&l, &opt, LAB_ECHO);
  lab_endpoint *client = lab_endpoint_open(&l, NULL);
  int fd = raw_open(&sink), forger = raw_open(&unused);
  lab_conn *c = lab_dial(client, server, &sink);
  assert_true(initial_open(&in, buf, raw_wait(&l, fd, buf, sizeof buf)));
  lab_conn_close(c, 0, NULL);
  for (int i = 0; i < PACKETS; i++) {
    uint64_t id = link_splitmix(&random);
    in.dcid_len = sizeof id;
    memcpy(in.dcid, &id, sizeof id);
    raw_send(forger, &server->addr, buf, initial_seal(&in, buf));
  }
  LAB_WAIT(&l, lab_stats(server).half_open == PACKETS);
  assert_int_equal(files_in(dir), 0);
  lab_expect_echo(lab_connect(client, server, NULL), 1000);
  assert_int_equal(files_in(dir), 1);
  close(fd);
  close(forger);
  lab_close(&l);
  DIR *d = opendir(dir);
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d)) != NULL;) {
    size_t len;
    if (e->d_name[0] != '.') {
      snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
      char *data = read_file(path, &len);
      assert_true(check_json_seq(data, len) > 5); /* from its beginning */
      assert_non_null(strstr(data, "\"initial\""));
      free(data);
      unlink(path);
    }
  }
  closedir(d);
  assert_int_equal(rmdir(dir), 0);
}

static void run_one_connection(const km_endpoint_options *options) {
  lab l;
  lab_open(&l);
  lab_endpoint *server = lab_server_open(&l, NULL, LAB_ECHO);
  lab_conn *c = lab_connect(lab_endpoint_open(&l, options), server, NULL);
  lab_expect_echo(c, 1000);
  lab_close(&l);
}

static void secrets_are_logged_on_request_only(void **state) {
  (void)state;
  km_endpoint_options opt;
  char dir[DIR_CAP], path[64];
  size_t len;
  make_dir(dir);
  snprintf(path, sizeof path, "%s/keys", dir);
  assert_int_equal(setenv("SSLKEYLOGFILE", path, 1), 0); /* an option, not the environment */
  run_one_connection(NULL);
  assert_int_not_equal(access(path, F_OK), 0);
  assert_int_not_equal(access("sslkeylog.log", F_OK), 0); /* wolfSSL's own idea of it */
  unsetenv("SSLKEYLOGFILE");
  lab_options(&opt);
  opt.keylog_file = path;
  run_one_connection(&opt);
  char *first = read_file(path, &len);
  assert_non_null(strstr(first, "CLIENT_HANDSHAKE_TRAFFIC_SECRET "));
  assert_non_null(strstr(first, "SERVER_HANDSHAKE_TRAFFIC_SECRET "));
  assert_non_null(strstr(first, "CLIENT_TRAFFIC_SECRET_0 "));
  assert_non_null(strstr(first, "SERVER_TRAFFIC_SECRET_0 "));
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 077, 0); /* whoever reads it can read the traffic */
  run_one_connection(&opt);
  char *both = read_file(path, &len);
  assert_memory_equal(both, first, strlen(first)); /* appended */
  assert_true(len > strlen(first));
  free(first);
  free(both);
  unlink(path);
  assert_int_equal(rmdir(dir), 0);
}

/* --- refusals at opening --------------------------------------------------------------------- */

static void expect_refusal(const km_endpoint_options *opt, int want, const char *word) {
  lab l;
  km_endpoint *ep = NULL;
  km_errinfo err = {0};
  lab_open(&l);
  assert_int_equal(km_endpoint_open(&ep, l.loop, opt, &err), want);
  assert_null(ep);
  assert_int_equal(err.code, want);
  assert_true(err.text[0] != '\0' && strchr(err.text, '\n') == NULL);
  if (word != NULL && strstr(err.text, word) == NULL) {
    fail_msg("\"%s\" does not name %s", err.text, word);
  }
  assert_int_equal(km_endpoint_open(&ep, l.loop, opt, NULL), want);
  lab_close(&l);
}

static void a_key_log_is_for_its_owner_alone(void **state) {
  (void)state;
  km_endpoint_options opt;
  char dir[DIR_CAP], path[64], target[64];
  make_dir(dir);
  snprintf(path, sizeof path, "%s/keys", dir);
  snprintf(target, sizeof target, "%s/target", dir);
  lab_options(&opt);
  opt.keylog_file = path;
  static const mode_t bad[] = {0644, 0640, 0604, 0620, 0602};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(chmod(path, bad[i]), 0);
    expect_refusal(&opt, KM_ERR_PERMISSION, "chmod 600");
    assert_int_equal(unlink(path), 0);
  }
  assert_int_equal(mkfifo(path, 0600), 0);
  expect_refusal(&opt, KM_ERR_INVALID, "regular"); /* and does not wait for a reader */
  int reader = open(path, O_RDONLY | O_NONBLOCK);
  assert_true(reader >= 0);
  expect_refusal(&opt, KM_ERR_INVALID, "regular");
  close(reader);
  assert_int_equal(unlink(path), 0);
  assert_int_equal(symlink("target", path), 0);
  expect_refusal(&opt, KM_ERR_INVALID, "link");
  assert_int_not_equal(access(target, F_OK), 0);
  assert_int_equal(unlink(path), 0);
  if (geteuid() == 0) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(chown(path, 65534, 65534), 0);
    expect_refusal(&opt, KM_ERR_PERMISSION, "another user");
    assert_int_equal(unlink(path), 0);
  }
  assert_int_equal(rmdir(dir), 0);
}

static void options_out_of_range_are_named(void **state) {
  (void)state;
#define OUT_OF_RANGE(field, value)                                                                 \
  do {                                                                                             \
    km_endpoint_options opt;                                                                       \
    lab_options(&opt);                                                                             \
    opt.field = (value);                                                                           \
    expect_refusal(&opt, KM_ERR_INVALID, #field);                                                  \
  } while (0)
  OUT_OF_RANGE(relay_check_ms, 199);
  OUT_OF_RANGE(relay_check_ms, 60001);
  OUT_OF_RANGE(idle_timeout_ms, 0);
  OUT_OF_RANGE(idle_timeout_ms, 600001);
  OUT_OF_RANGE(keep_alive_ms, UINT32_MAX);
  OUT_OF_RANGE(handshake_timeout_ms, 99);
  OUT_OF_RANGE(handshake_timeout_ms, 600001);
  OUT_OF_RANGE(max_streams_bidi, 65537);
  OUT_OF_RANGE(max_streams_uni, UINT32_MAX);
  OUT_OF_RANGE(stream_window, 1023);
  OUT_OF_RANGE(stream_window, (8u << 20) + 1);
  OUT_OF_RANGE(connection_window, (64u << 20) + 1);
  OUT_OF_RANGE(send_buffer, 4095);
  OUT_OF_RANGE(send_buffer, (8u << 20) + 1);
  OUT_OF_RANGE(max_udp_payload, 1199);
  OUT_OF_RANGE(max_udp_payload, 65528);
  OUT_OF_RANGE(max_connections, 0);
  OUT_OF_RANGE(size, 0);
#undef OUT_OF_RANGE
  km_endpoint_options opt;
  lab_options(&opt);
  opt.congestion = (km_congestion)99;
  expect_refusal(&opt, KM_ERR_INVALID, "congestion");
  lab_options(&opt);
  opt.bind = NULL;
  expect_refusal(&opt, KM_ERR_INVALID, "bind");
  lab_options(&opt);
  opt.relay_mode = (km_relay_mode)99;
  expect_refusal(&opt, KM_ERR_INVALID, "relay_mode");
  lab_options(&opt);
  opt.relay_mode = KM_RELAY_MODE_CUSTOM;
  expect_refusal(&opt, KM_ERR_INVALID, "relay_urls");
  const char *const urls[] = {"not a url"};
  opt.relay_urls = urls;
  opt.relay_url_count = 1;
  expect_refusal(&opt, KM_ERR_BAD_RELAY_URL, NULL);
  char long_token[514];
  memset(long_token, 'a', sizeof long_token);
  long_token[sizeof long_token - 1] = '\0';
  const char *const tokens[] = {"", "two words", "line\r\nbreak", "\xc3\xa9", long_token};
  for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
    lab_options(&opt);
    opt.relay_token = tokens[i];
    expect_refusal(&opt, KM_ERR_INVALID, "relay_token");
  }
}

static void what_cannot_be_bound_or_opened_is_named(void **state) {
  (void)state;
  km_endpoint_options opt;
  km_udp_addr taken;
  int fd = raw_open(&taken);
  char text[KM_UDP_ADDR_TEXT_CAP];
  km_udp_addr_format(&taken, text, sizeof text);
  lab_options(&opt);
  opt.bind = &taken;
  expect_refusal(&opt, KM_ERR_ADDR_IN_USE, text);
  close(fd);
  const km_udp_addr foreign = {.family = 4, .port = 4433, .ip = {192, 0, 2, 1}};
  opt.bind = &foreign;
  expect_refusal(&opt, KM_ERR_ADDR_NOT_AVAILABLE, "192.0.2.1:4433");
  const km_udp_addr none = {.family = 0};
  opt.bind = &none;
  expect_refusal(&opt, KM_ERR_INVALID, NULL);
  lab_options(&opt);
  opt.qlog_dir = "no/such/directory";
  expect_refusal(&opt, KM_ERR_FILE_NOT_FOUND, "no/such/directory");
  lab_options(&opt);
  opt.keylog_file = "no/such/directory/keys";
  expect_refusal(&opt, KM_ERR_FILE_NOT_FOUND, "no/such/directory/keys");
}

static void a_given_key_gives_its_id(void **state) {
  (void)state;
  lab l;
  km_endpoint_options opt;
  km_id id;
  lab_open(&l);
  lab_options(&opt);
  km_secret_key *key = lab_key(42);
  km_secret_key_id(key, &id);
  opt.secret_key = key;
  lab_endpoint *e = lab_endpoint_open(&l, &opt);
  km_secret_key_free(key); /* copied */
  assert_true(km_id_equal(km_endpoint_id(e->ep), &id));
  lab_endpoint *a = lab_endpoint_open(&l, NULL), *b = lab_endpoint_open(&l, NULL);
  assert_false(km_id_equal(km_endpoint_id(a->ep), km_endpoint_id(b->ep)));
  km_addr *addr;
  assert_int_equal(km_endpoint_addr(e->ep, &addr), 0);
  assert_true(km_id_equal(km_addr_id(addr), &id));
  assert_int_equal(km_addr_udp_count(addr), 1);
  assert_true(km_udp_addr_equal(km_addr_udp_at(addr, 0), &e->addr));
  km_addr_free(addr);
  lab_close(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(post_quantum_can_be_preferred),
      cmocka_unit_test(every_switch_works_off_and_on),
      cmocka_unit_test(jumbo_packets_on_request),
      cmocka_unit_test(keys_can_be_updated),
      cmocka_unit_test(a_failed_key_update_of_a_callback_is_logged),
      cmocka_unit_test(qlog_files_are_json_sequences),
      cmocka_unit_test(strangers_make_no_qlog_files),
      cmocka_unit_test(secrets_are_logged_on_request_only),
      cmocka_unit_test(a_key_log_is_for_its_owner_alone),
      cmocka_unit_test(options_out_of_range_are_named),
      cmocka_unit_test(what_cannot_be_bound_or_opened_is_named),
      cmocka_unit_test(a_given_key_gives_its_id),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
