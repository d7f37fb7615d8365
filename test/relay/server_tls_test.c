/* The relay server over TLS: the header that spares a round trip, certificates that are exchanged
 * under way, and those who do not finish a handshake. server_tls_test FOLDER; server_tls_test.sh
 * makes the certificates there. */
#include "test/relay/server_lab.h"

#include <libwebsockets.h>

#include <unistd.h>

static const char *folder;

static const char *in_folder(const char *name, char buf[512]) {
  assert_in_range(snprintf(buf, 512, "%s/%s", folder, name), 1, 511);
  return buf;
}

/* What the server reads is called current.pem and current.key. */
static void install(const char *cert, const char *key) {
  const char *const pairs[2][2] = {{cert, "current.pem"}, {key, "current.key"}};
  for (int i = 0; i < 2; i++) {
    char from[512], to[512], text[8192];
    FILE *f = fopen(in_folder(pairs[i][0], from), "rb");
    assert_non_null(f);
    size_t len = fread(text, 1, sizeof text, f);
    assert_in_range(len, 1, sizeof text - 1);
    fclose(f);
    f = fopen(in_folder(pairs[i][1], to), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
  }
}

static void init_server(lab_server *server) {
  static const km_udp_addr any_port = {.family = 4, .ip = {127, 0, 0, 1}};
  static char cert[512], key[512];
  install("first.pem", "first.key");
  lab_server_init(server);
  server->config.https = &any_port;
  server->config.https_count = 1;
  server->config.cert_file = in_folder("current.pem", cert);
  server->config.key_file = in_folder("current.key", key);
  server->config.relay_over_http = false;
}

static void open_server(lab_server *server) {
  init_server(server);
  lab_server_open(server);
}

static void dial(lab_client *l, const lab_server *server, const char *ca) {
  char url[256], path[512];
  *l = (lab_client){0};
  lab_client_open(l, NULL, in_folder(ca, path));
  lab_client_dial(l, lab_url(url, "https", "localhost", server->tls_port));
}

static bool is_up(const lab_client *l) {
  return l->states[KM_RELAY_CLIENT_CONNECTED] > 0;
}

static bool has_failed(const lab_client *l) {
  return l->states[KM_RELAY_CLIENT_WAITING] > 0;
}

static void open_raw(lab_raw *r, const lab_server *server) {
  *r = (lab_raw){0};
  lab_raw_open(r, server->tls_port, 0);
  lab_raw_tls(r);
  lab_raw_key(r, NULL);
}

/* --- logins ---------------------------------------------------------------------------------- */

static void real_clients_log_in_by_the_header(void **state) {
  (void)state;
  lab_server server;
  lab_client a, b;
  static uint8_t data[30000];
  open_server(&server);
  dial(&a, &server, "first-root.pem");
  dial(&b, &server, "first-root.pem");
  LAB_WAIT_FOR(is_up(&a) && is_up(&b));
  assert_int_equal(lab_stats(&server).logins_header, 2);
  assert_int_equal(lab_stats(&server).logins_challenge, 0);
  km_id id;
  km_secret_key_id(b.key, &id);
  assert_int_equal(km_relay_client_send(a.c, &id, 1, data, sizeof data, 1200), 0);
  LAB_WAIT_FOR(b.batches == 1);
  assert_int_equal(b.bytes, sizeof data);
  assert_int_equal(b.segment, 1200);
  assert_int_equal(b.ecn, 1);
  lab_client_close(&a);
  LAB_WAIT_FOR(lab_stats(&server).clients == 1);
  lab_client_close(&b);
  lab_server_close(&server);
}

static void write_header(lab_raw *r, char ret[256]) {
  uint8_t exported[KM_RELAY_EXPORTED_LEN];
  char value[KM_RELAY_AUTH_HEADER_LEN + 1];
  assert_int_equal(
      wolfSSL_export_keying_material(r->ssl, exported, sizeof exported, KM_RELAY_EXPORTER_LABEL,
                                     strlen(KM_RELAY_EXPORTER_LABEL), r->id.bytes, 32, 1),
      WOLFSSL_SUCCESS);
  km_relay_auth_header_write(value, r->key, exported);
  assert_in_range(snprintf(ret, 256, KM_RELAY_AUTH_HEADER ": %s\r\n", value), 1, 255);
}

static void a_header_holds_for_its_connection_only(void **state) {
  (void)state;
  lab_server server;
  lab_raw honest, thief, plain, odd;
  char header[256];
  open_server(&server);
  open_raw(&honest, &server);
  write_header(&honest, header);
  assert_int_equal(lab_raw_upgrade(&honest, "iroh-relay-v1", header), 101);
  lab_raw_await_confirmation(&honest); /* nothing before it */
  assert_int_equal(lab_stats(&server).logins_header, 1);

  /* The same header again: it proves nothing here, so the challenge has to be met. */
  open_raw(&thief, &server);
  km_id own = thief.id;
  assert_int_equal(lab_raw_upgrade(&thief, "iroh-relay-v2", header), 101);
  lab_raw_await_challenge(&thief);
  thief.id = honest.id;
  lab_raw_prove(&thief); /* with another key */
  lab_raw_await_end(&thief);
  assert_int_equal(lab_stats(&server).logins_failed, 1);
  lab_raw_close(&thief);

  /* Somebody whose TLS ends at a proxy sends such a header, and is who he says he is. */
  open_raw(&plain, &server);
  assert_int_equal(lab_raw_upgrade(&plain, "iroh-relay-v2", header), 101);
  lab_raw_await_challenge(&plain);
  lab_raw_prove(&plain);
  lab_raw_await_confirmation(&plain);
  assert_int_equal(lab_stats(&server).logins_challenge, 1);
  assert_false(km_id_equal(&own, &plain.id));
  lab_raw_exchange(&honest, &plain);

  static const char *const no_headers[] = {"", "AAAA", "=", "\xff"};
  for (size_t i = 1; i < COUNT_OF(no_headers); i++) {
    open_raw(&odd, &server);
    snprintf(header, sizeof header, KM_RELAY_AUTH_HEADER ": %s\r\n", no_headers[i]);
    assert_int_equal(lab_raw_upgrade(&odd, "iroh-relay-v2", header), 0);
    assert_int_equal(lab_stats(&server).bad_upgrades, i);
    lab_raw_close(&odd);
  }
  lab_raw_close(&honest);
  lab_raw_close(&plain);
  LAB_WAIT_FOR(lab_stats(&server).connections == 0);
  lab_server_close(&server);
}

/* --- certificates ---------------------------------------------------------------------------- */

static void a_new_certificate_disturbs_nobody(void **state) {
  (void)state;
  lab_server server;
  lab_client before, after, doubter;
  lab_raw raw;
  km_errinfo err;
  open_server(&server);
  dial(&before, &server, "first-root.pem");
  LAB_WAIT_FOR(is_up(&before));
  open_raw(&raw, &server);
  assert_int_equal(lab_raw_upgrade(&raw, "iroh-relay-v2", ""), 101);
  lab_raw_await_challenge(&raw);

  /* What cannot be used changes nothing. */
  static const struct {
    const char *cert, *key;
  } bad[] = {
      {"garbage.pem", "first.key"}, {"first.pem", "garbage.pem"}, {"second.pem", "first.key"}};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    install(bad[i].cert, bad[i].key);
    assert_int_equal(km_relay_server_reload(server.s, &err), KM_ERR_RELAY_TLS);
    assert_non_null(strstr(err.text, "current."));
  }
  char path[512];
  assert_int_equal(unlink(in_folder("current.key", path)), 0);
  assert_int_equal(km_relay_server_reload(server.s, &err), KM_ERR_FILE_NOT_FOUND);
  dial(&doubter, &server, "second-root.pem");
  LAB_WAIT_FOR(has_failed(&doubter));
  assert_int_equal(doubter.why.code, KM_ERR_RELAY_TLS);
  lab_client_close(&doubter);

  install("second.pem", "second.key");
  assert_int_equal(km_relay_server_reload(server.s, &err), 0);
  dial(&after, &server, "second-root.pem");
  LAB_WAIT_FOR(is_up(&after));
  dial(&doubter, &server, "first-root.pem");
  LAB_WAIT_FOR(has_failed(&doubter));
  assert_int_equal(doubter.why.code, KM_ERR_RELAY_TLS);
  lab_client_close(&doubter);

  /* Those who were there still are: one logged in, one in the middle of it. */
  lab_raw_prove(&raw);
  lab_raw_await_confirmation(&raw);
  km_id id;
  km_secret_key_id(before.key, &id);
  assert_int_equal(km_relay_client_send(after.c, &id, 0, (const uint8_t *)"new to old", 10, 10), 0);
  LAB_WAIT_FOR(before.bytes == 10);
  assert_int_equal(before.states[KM_RELAY_CLIENT_WAITING], 0);
  km_secret_key_id(after.key, &id);
  assert_true(lab_raw_send_to(&raw, &id, "x"));
  LAB_WAIT_FOR(after.bytes == 1);
  for (int i = 0; i < 20; i++) { /* and again, as often as one likes */
    install(i % 2 == 0 ? "first.pem" : "second.pem", i % 2 == 0 ? "first.key" : "second.key");
    assert_int_equal(km_relay_server_reload(server.s, &err), 0);
  }
  assert_int_equal(lab_stats(&server).clients, 3);
  lab_client_close(&before);
  lab_client_close(&after);
  lab_raw_close(&raw);
  lab_server_close(&server);
}

static void without_a_certificate_there_is_no_server(void **state) {
  (void)state;
  static const struct {
    const char *cert, *key;
    int code;
  } cases[] = {{"garbage.pem", "first.key", KM_ERR_RELAY_TLS},
               {"first.pem", "garbage.pem", KM_ERR_RELAY_TLS},
               {"first.pem", "second.key", KM_ERR_RELAY_TLS},
               {"missing.pem", "first.key", KM_ERR_FILE_NOT_FOUND},
               {"first.pem", "missing.key", KM_ERR_FILE_NOT_FOUND},
               {NULL, "first.key", KM_ERR_INVALID},
               {"first.pem", NULL, KM_ERR_INVALID}};
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    lab_server server;
    km_errinfo err;
    char cert[512], key[512];
    init_server(&server);
    server.config.cert_file = cases[i].cert == NULL ? NULL : in_folder(cases[i].cert, cert);
    server.config.key_file = cases[i].key == NULL ? NULL : in_folder(cases[i].key, key);
    assert_int_equal(km_relay_server_new(&server.s, &server.config, &err), cases[i].code);
    assert_true(strlen(err.text) > 10);
    assert_int_equal(server.memory.live, 0);
  }
}

/* --- bad manners ----------------------------------------------------------------------------- */

static void half_a_hello_is_cut_off(void **state) {
  (void)state;
  lab_server server;
  lab_raw half = {0}, silent = {0}, plain = {0};
  lab_client good;
  init_server(&server);
  server.config.limits.establish_timeout_ms = 3000;
  lab_server_open(&server);
  dial(&good, &server, "first-root.pem");
  LAB_WAIT_FOR(is_up(&good));
  uint64_t before = lab_stats(&server).timeouts_establish;
  unsigned lost = good.states[KM_RELAY_CLIENT_WAITING];
  lab_raw_open(&half, server.tls_port, 0);
  assert_true(lab_raw_put(&half, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11));
  lab_raw_open(&silent, server.tls_port, 0);
  lab_raw_open(&plain, server.tls_port, 0);
  assert_true(lab_raw_text(&plain, "GET /ping HTTP/1.1\r\nHost: a\r\n\r\n"));
  lab_raw_await_end(&plain); /* at once: that is no TLS */
  LAB_WAIT_FOR(half.ended && silent.ended);
  assert_int_equal(lab_stats(&server).timeouts_establish, before + 2);
  assert_int_equal(lab_stats(&server).connections, 1);
  assert_int_equal(good.states[KM_RELAY_CLIENT_WAITING], lost);
  lab_raw_close(&half);
  lab_raw_close(&silent);
  lab_raw_close(&plain);
  lab_client_close(&good);
  lab_server_close(&server);
}

static void beside_tls_plain_http_is_for_captive_portals(void **state) {
  (void)state;
  lab_server server;
  lab_raw r = {0};
  open_server(&server);
  static const struct {
    const char *path;
    int plain, tls;
  } pages[] = {{"/generate_204", 204, 204},
               {"/ping", 404, 200},
               {"/", 404, 200},
               {"/healthz", 404, 200},
               {"/relay", 404, 400}};
  for (int tls = 0; tls < 2; tls++) {
    r = (lab_raw){0};
    lab_raw_open(&r, tls != 0 ? server.tls_port : server.port, 0);
    if (tls != 0) {
      lab_raw_tls(&r);
    }
    for (size_t i = 0; i < COUNT_OF(pages); i++) {
      char request[128];
      snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", pages[i].path);
      assert_true(lab_raw_text(&r, request));
      assert_int_equal(lab_raw_status(&r), tls != 0 ? pages[i].tls : pages[i].plain);
    }
    lab_raw_close(&r);
  }
  lab_server_close(&server);
}

/* As much as the kernel takes, and more: what lws keeps, what waits, and all of it arrives. */
static void a_slow_reader_gets_everything(void **state) {
  (void)state;
  lab_server server;
  lab_raw slow, sender;
  static uint8_t data[20000];
  unsigned sent = 0;
  init_server(&server);
  server.config.limits.write_timeout_ms = 60000;
  lab_server_open(&server);
  open_raw(&slow, &server);
  open_raw(&sender, &server);
  lab_raw *const both[] = {&slow, &sender};
  for (int i = 0; i < 2; i++) {
    assert_int_equal(lab_raw_upgrade(both[i], "iroh-relay-v2", ""), 101);
    lab_raw_await_challenge(both[i]);
    lab_raw_prove(both[i]);
    lab_raw_await_confirmation(both[i]);
  }
  lab_raw_deaf(&slow);
  while (lab_stats(&server).dropped_full == 0) {
    data[0] = (uint8_t)sent;
    data[sizeof data - 1] = (uint8_t)sent;
    assert_true(lab_raw_send(&sender, (km_relay_frame){.type = KM_RELAY_TO_RELAY,
                                                       .peer = slow.id,
                                                       .data = data,
                                                       .len = sizeof data}));
    sent++;
  }
  LAB_WAIT_FOR(lab_stats(&server).datagrams + lab_stats(&server).dropped_full == sent);
  uint64_t expected = lab_stats(&server).datagrams;
  slow.deaf = false;
  assert_int_equal(km_poll_set(slow.poll, KM_POLL_READ), 0);
  for (uint64_t i = 0; i < expected; i++) {
    km_relay_frame f = lab_raw_expect(&slow, KM_RELAY_TO_CLIENT);
    assert_int_equal(f.len, sizeof data);
    assert_int_equal(f.data[0], f.data[f.len - 1]);
    if (i + 600 < expected) { /* in order; what was dropped are some of the last */
      assert_int_equal(f.data[0], (uint8_t)i);
    }
  }
  LAB_WAIT_FOR(lab_stats(&server).queued_bytes == 0);
  lab_raw_exchange(&slow, &sender);
  lab_raw_close(&slow);
  lab_raw_close(&sender);
  lab_server_close(&server);
}

/* --- ends ------------------------------------------------------------------------------------ */

static void deny(void *ctx, km_relay_server *server, const km_relay_login *login) {
  (void)ctx;
  km_relay_server_decide(server, login->number, "no strangers");
}

static void the_last_words_arrive(void **state) {
  (void)state;
  lab_server server;
  lab_client denied;
  lab_raw r;
  init_server(&server);
  server.config.authorize = deny;
  lab_server_open(&server);
  dial(&denied, &server, "first-root.pem");
  LAB_WAIT_FOR(has_failed(&denied));
  assert_int_equal(denied.why.code, KM_ERR_RELAY_DENIED);
  assert_non_null(strstr(denied.why.text, "no strangers"));
  lab_client_close(&denied);
  lab_server_close(&server);

  open_server(&server);
  open_raw(&r, &server);
  assert_int_equal(lab_raw_upgrade(&r, "iroh-relay-v2", ""), 101);
  lab_raw_await_challenge(&r);
  lab_raw_prove(&r);
  lab_raw_await_confirmation(&r);
  lab_server_stop(&server, 10000);
  lab_raw_expect(&r, KM_RELAY_RESTARTING);
  lab_raw_await_end(&r);
  lab_raw_close(&r);
  LAB_WAIT_FOR(server.stopped);
  lab_server_close(&server);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(real_clients_log_in_by_the_header),
      cmocka_unit_test(a_header_holds_for_its_connection_only),
      cmocka_unit_test(a_new_certificate_disturbs_nobody),
      cmocka_unit_test(without_a_certificate_there_is_no_server),
      cmocka_unit_test(half_a_hello_is_cut_off),
      cmocka_unit_test(beside_tls_plain_http_is_for_captive_portals),
      cmocka_unit_test(a_slow_reader_gets_everything),
      cmocka_unit_test(the_last_words_arrive),
  };
  if (argc != 2) {
    fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  folder = argv[1];
  return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
