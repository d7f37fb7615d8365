/* keymesh.yaml: every key, every refusal with its line, and the files around it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "cmd/node/project/certs.h"
#include "cmd/node/project/config.h"
#include "cmd/node/project/paths.h"
#include "cmd/node/project/resolve_peers.h"
#include "test/base/test_env.h"

#define DIR "/home/a b/project"
/* Of RFC 8032 section 7.1, tests 1 to 3. */
#define ID_1 "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
#define ID_2 "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
#define ID_3 "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
#define PRINT_A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define PRINT_B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static int read_text(project_file **ret, const char *text, km_errinfo *err) {
  return config_parse(ret, DIR, "keymesh.yaml", "f", text, strlen(text), err);
}

static project_file *good(const char *text) {
  project_file *f = NULL;
  km_errinfo err = {0};
  if (read_text(&f, text, &err) != 0) {
    fail_msg("%s: %s", text, err.text);
  }
  return f;
}

static void bad(const char *text, const char *start, const char *word) {
  project_file *f = NULL;
  km_errinfo err = {0};
  int rv = read_text(&f, text, &err);
  if (rv != KM_ERR_INVALID || strncmp(err.text, start, strlen(start)) != 0 ||
      strstr(err.text, word) == NULL) {
    fail_msg("%s: %d '%s', not '%s...%s'", text, rv, err.text, start, word);
  }
}

/* With the shortest node before it, so that errors are in line 2 and on. */
static void bad_more(const char *more, const char *start, const char *word) {
  char text[4096];
  (void)snprintf(text, sizeof text, "node: {id: a}\n%s", more);
  bad(text, start, word);
}

static project_file *good_more(const char *more) {
  char text[4096];
  (void)snprintf(text, sizeof text, "node: {id: a}\n%s", more);
  return good(text);
}

/* --- defaults -------------------------------------------------------------------------------- */

static void check_defaults(const project *p) {
  assert_string_equal(p->dir, DIR);
  assert_string_equal(p->config_path, DIR "/keymesh.yaml");
  assert_null(p->bind_host);
  assert_int_equal(p->listen_port, 0);
  assert_string_equal(p->key_file, DIR "/keys/node.key");
  assert_string_equal(p->certs_file, DIR "/keys/certs.yaml");
  assert_string_equal(p->store_path, DIR "/data/store.db");
  assert_string_equal(p->control_path, DIR "/run/control.sock");
  assert_null(p->passphrase_file);
  assert_int_equal(p->level, KM_SECURITY_SECURE);
  assert_int_equal(p->recommend_threshold, 2);
  assert_false(p->accept_revocations);
  assert_int_equal(p->allow_count + p->block_count + p->fingerprint_count, 0);
  assert_int_equal(p->peer_count, 0);
  assert_int_equal(p->durability, KM_DURABLE_POWER);
  assert_int_equal(p->max_key, 256);
  assert_int_equal(p->max_value, 65536);
  assert_int_equal(p->max_skew_ms, 60000);
  assert_int_equal(p->tombstone_min_s, 86400);
  assert_int_equal(p->max_message, 1048576);
  assert_int_equal(p->rate_per_minute, 60);
  assert_int_equal(p->rate_per_second, 10);
  assert_int_equal(p->max_conns_per_addr, 16);
  assert_int_equal(p->max_faults, 16);
  assert_int_equal(p->heartbeat_ms, 20000);
  assert_int_equal(p->heartbeat_timeout_ms, 0);
  assert_int_equal(p->connect_timeout_ms, 5000);
  assert_int_equal(p->sync_interval_ms, 60000);
  static const uint32_t backoff[] = {1000, 3000, 10000, 30000};
  assert_int_equal(p->backoff_count, 4);
  assert_memory_equal(p->backoff_ms, backoff, sizeof backoff);
  assert_int_equal(p->backoff_jitter_percent, 20);
  assert_int_equal(p->relay_mode, KM_RELAY_MODE_DIAL_ONLY);
  assert_int_equal(p->relay_url_count, 0);
  assert_null(p->relay_ca_file);
  assert_true(p->port_mapping && p->mdns && p->publish && !p->publish_direct);
  assert_int_equal(p->pkarr_url_count + p->dns_origin_count, 0);
  assert_true(p->status_enabled);
  assert_string_equal(p->status_host, "127.0.0.1");
  assert_int_equal(p->status_port, 52180);
  assert_null(p->status_token);
  assert_null(p->on_message);
  assert_int_equal(p->log_level, KM_LOG_INFO);
}

static void test_the_smallest(void **state) {
  (void)state;
  project_file *f = good("node: {id: host-A}");
  assert_string_equal(f->pub.node_id, "host-A");
  check_defaults(&f->pub);
  assert_null(f->pub.log_file);
  assert_int_equal(f->pub.share_count, 0);
  config_free(f);
}

/* What init writes says the defaults, but for a log file and a share. */
static void test_the_sample(void **state) {
  (void)state;
  char *text = config_sample("a \"b\" \\ c");
  assert_non_null(text);
  project_file *f = good(text);
  assert_string_equal(f->pub.node_id, "a \"b\" \\ c");
  check_defaults(&f->pub);
  assert_string_equal(f->pub.log_file, DIR "/logs/keymesh.log");
  assert_int_equal(f->pub.share_count, 1);
  assert_string_equal(f->pub.shares[0].name, "common");
  assert_int_equal(f->pub.shares[0].others, KM_ACCESS_NONE);
  assert_string_equal(f->pub.shares[0].path, DIR "/data/common");
  config_free(f);
  km_env_free(&km_env_system, text);
}

static void test_nothing_is_the_default(void **state) {
  (void)state;
  project_file *f =
      good("node:\n  id: a\n  listen_port:\n  bind_host: ~\nsecurity:\nstore: {path: }\n"
           "peers:\nshares: []\nlogging: {level: null, file: ~}\n"
           "connectivity: {backoff: , relay_urls: }\n");
  check_defaults(&f->pub);
  config_free(f);
}

/* Every key stands in the sample and in the manual. */
static void check_key_is_told(const char *sample, const char *manual, const char *key) {
  char wanted[64];
  (void)snprintf(wanted, sizeof wanted, "%s:", key);
  if (strstr(sample, wanted) == NULL) {
    fail_msg("%s is not in the sample", key);
  }
  (void)snprintf(wanted, sizeof wanted, ".B %s\n", key);
  if (strstr(manual, wanted) == NULL) {
    fail_msg("%s is not in the manual", key);
  }
}

static char *read_manual(void) {
  char *text = calloc(1, 65536);
  FILE *file = fopen(KM_CONFIG_MANUAL, "r");
  assert_non_null(text);
  assert_non_null(file);
  size_t len = fread(text, 1, 65535, file);
  assert_true(len > 100 && len < 65535);
  (void)fclose(file);
  return text;
}

static void test_every_key_is_explained(void **state) {
  (void)state;
  char *sample = config_sample("a"), *manual = read_manual();
  for (const config_section *s = config_sections; s->name != NULL; s++) {
    for (const config_field *k = s->fields; k->key != NULL; k++) {
      if (k->kind != CONFIG_NO_EFFECT) {
        check_key_is_told(sample, manual, k->key);
      }
    }
  }
  const char *const *const lists[] = {config_peer_keys, config_access_keys, config_share_keys};
  for (size_t i = 0; i < 3; i++) {
    for (const char *const *key = lists[i]; *key != NULL; key++) {
      check_key_is_told(sample, manual, *key);
    }
  }
  km_env_free(&km_env_system, sample);
  free(manual);
}

/* --- values ---------------------------------------------------------------------------------- */

static void test_all_values(void **state) {
  (void)state;
  project_file *f = good(
      "node: {id: host-A, bind_host: 0.0.0.0, listen_port: 51888, control_socket: /run/km.sock}\n"
      "security:\n"
      "  key: ../other/a.key\n"
      "  passphrase_file: keys/pass\n"
      "  level: strict\n"
      "  recommend_threshold: 0\n"
      "  accept_revocations: yes\n"
      "  allow: [" ID_1 "]\n"
      "  block: [" ID_2 ", " ID_3 "]\n"
      "  fingerprint_whitelist: [\"" PRINT_A "\"]\n"
      "  certs_file: c.yaml\n"
      "  ca_cert: keys/ca.crt\n"
      "  cert: keys/host-A.crt\n"
      "store: {path: /var/a.db, durability: process, max_key: 1, max_value: 1048576,\n"
      "        max_skew_ms: 0, tombstone_min_sec: 7}\n"
      "limits: {max_message: 1, rate_per_minute: 0, rate_per_second: 2, max_conns_per_addr: 3,\n"
      "         max_faults: 4}\n"
      "connectivity: {heartbeat_sec: 0.5, heartbeat_timeout_sec: 1.25, connect_timeout_ms: 100,\n"
      "               sync_interval_sec: 1, backoff: [0.1, 2], backoff_jitter_percent: 50,\n"
      "               relay: custom, relay_urls: [https://r.example], relay_ca: ca.pem,\n"
      "               port_mapping: false}\n"
      "discovery: {mdns: off, publish: no, publish_direct: on, pkarr: https://p.example/pkarr,\n"
      "            dns_origins: [a.example, b.example]}\n"
      "status_http: {enabled: false, host: \"::1\", port: 1, token: 12345678}\n"
      "hooks: {on_message: \"cat > x\"}\n"
      "logging: {level: WARN, file: a.log}\n");
  const project *p = &f->pub;
  assert_string_equal(p->bind_host, "0.0.0.0");
  assert_int_equal(p->listen_port, 51888);
  assert_string_equal(p->control_path, "/run/km.sock");
  assert_string_equal(p->key_file, "/home/a b/other/a.key");
  assert_string_equal(p->passphrase_file, DIR "/keys/pass");
  assert_int_equal(p->level, KM_SECURITY_STRICT);
  assert_int_equal(p->recommend_threshold, 0);
  assert_true(p->accept_revocations);
  assert_int_equal(p->allow_count, 1);
  assert_int_equal(p->allow[0].bytes[0], 0xd7);
  assert_int_equal(p->block_count, 2);
  assert_int_equal(p->block[1].bytes[0], 0xfc);
  assert_int_equal(p->fingerprint_count, 1);
  assert_string_equal(p->fingerprints[0], PRINT_A);
  assert_string_equal(p->certs_file, DIR "/c.yaml");
  assert_string_equal(f->ca_cert, DIR "/keys/ca.crt");
  assert_string_equal(f->cert, DIR "/keys/host-A.crt");
  assert_string_equal(p->store_path, "/var/a.db");
  assert_int_equal(p->durability, KM_DURABLE_PROCESS);
  assert_int_equal(p->max_key, 1);
  assert_int_equal(p->max_value, 1048576);
  assert_int_equal(p->max_skew_ms, 0);
  assert_int_equal(p->tombstone_min_s, 7);
  assert_int_equal(p->max_message, 1);
  assert_int_equal(p->rate_per_minute, 0);
  assert_int_equal(p->rate_per_second, 2);
  assert_int_equal(p->max_conns_per_addr, 3);
  assert_int_equal(p->max_faults, 4);
  assert_int_equal(p->heartbeat_ms, 500);
  assert_int_equal(p->heartbeat_timeout_ms, 1250);
  assert_int_equal(p->connect_timeout_ms, 100);
  assert_int_equal(p->sync_interval_ms, 1000);
  assert_int_equal(p->backoff_count, 2);
  assert_int_equal(p->backoff_ms[0], 100);
  assert_int_equal(p->backoff_ms[1], 2000);
  assert_int_equal(p->backoff_jitter_percent, 50);
  assert_int_equal(p->relay_mode, KM_RELAY_MODE_CUSTOM);
  assert_string_equal(p->relay_urls[0], "https://r.example/");
  assert_string_equal(p->relay_ca_file, DIR "/ca.pem");
  assert_false(p->port_mapping || p->mdns || p->publish || !p->publish_direct);
  assert_int_equal(p->pkarr_url_count, 1);
  assert_int_equal(p->dns_origin_count, 2);
  assert_false(p->status_enabled);
  assert_string_equal(p->status_host, "::1");
  assert_int_equal(p->status_port, 1);
  assert_string_equal(p->status_token, "12345678");
  assert_string_equal(p->on_message, "cat > x");
  assert_int_equal(p->log_level, KM_LOG_WARN);
  assert_string_equal(p->log_file, DIR "/a.log");
  config_free(f);
}

static void test_choices(void **state) {
  (void)state;
  static const char *const modes[] = {"off", "default", "staging", "dial-only"};
  static const km_relay_mode wanted[] = {KM_RELAY_MODE_DISABLED, KM_RELAY_MODE_DEFAULT,
                                         KM_RELAY_MODE_STAGING, KM_RELAY_MODE_DIAL_ONLY};
  char text[200];
  for (size_t i = 0; i < 4; i++) {
    (void)snprintf(text, sizeof text, "connectivity: {relay: %s}\n", modes[i]);
    project_file *f = good_more(text);
    assert_int_equal(f->pub.relay_mode, wanted[i]);
    config_free(f);
  }
  for (int level = KM_SECURITY_DEVELOPMENT; level <= KM_SECURITY_STRICT; level++) {
    (void)snprintf(text, sizeof text, "security: {level: %s}\n",
                   km_security_level_name((km_security_level)level));
    project_file *f = good_more(text);
    assert_int_equal(f->pub.level, level);
    config_free(f);
  }
  for (int level = KM_LOG_OFF; level <= KM_LOG_TRACE; level++) {
    (void)snprintf(text, sizeof text, "logging: {level: %s}\n",
                   km_log_level_name((km_log_level)level));
    project_file *f = good_more(text);
    assert_int_equal(f->pub.log_level, level);
    config_free(f);
  }
  /* Urls of its own are a choice, too. */
  project_file *f = good_more("connectivity: {relay_urls: https://r.example}\n");
  assert_int_equal(f->pub.relay_mode, KM_RELAY_MODE_CUSTOM);
  config_free(f);
}

static void test_bad_values(void **state) {
  (void)state;
  static const struct {
    const char *text, *start, *word;
  } all[] = {
      {"status_http:\n  port: 65536\n", "f:3: status_http.port: ", "from 0 to 65535"},
      {"status_http: {port: -1}\n", "f:2: status_http.port: ", "whole decimal number"},
      {"status_http: {port: 0x10}\n", "f:2: status_http.port: ", "whole decimal number"},
      {"status_http: {port: 010}\n", "f:2: status_http.port: ", "whole decimal number"},
      {"status_http: {port: [1]}\n", "f:2: status_http.port: ", "whole decimal number"},
      {"status_http: {port: \"\"}\n", "f:2: status_http.port: ", "whole decimal number"},
      {"status_http: {port: 99999999999999999999}\n", "f:2: status_http.port: ", "whole"},
      {"status_http: {enabled: 1}\n", "f:2: status_http.enabled: ", "true or false"},
      {"status_http: {enabled: \"true\"}\n", "f:2: status_http.enabled: ", "true or false"},
      {"status_http: {host: example.org}\n", "f:2: status_http.host: ", "no IP address"},
      {"status_http: {token: short}\n", "f:2: status_http.token: ", "can be guessed"},
      {"status_http: {token: \"with blank\"}\n", "f:2: status_http.token: ", "no blanks"},
      {"store: {max_key: 0}\n", "f:2: store.max_key: ", "from 1 to 1024"},
      {"store: {durability: maybe}\n", "f:2: store.durability: ", "process or power"},
      {"store: {path: \"\"}\n", "f:2: store.path: ", "must not be empty"},
      {"store: {path: \"a\\nb\"}\n", "f:2: store.path: ", "control characters"},
      {"store: {path: {a: b}}\n", "f:2: store.path: ", "has to be a text"},
      {"store: [1]\n", "f:2: store: ", "keys with values"},
      {"security: {level: paranoid}\n", "f:2: security.level: ", "secure or strict"},
      {"security: {allow: [x]}\n", "f:2: security.allow[0]: ", "has to be an id"},
      {"security: {allow: " ID_1 "}\n", "f:2: security.allow: ", "has to be a list"},
      {"security: {fingerprint_whitelist: [\"sha256:ABCD\"]}\n",
       "f:2: security.fingerprint_whitelist[0]: ", "64 hex digits"},
      {"connectivity: {heartbeat_sec: 0}\n",
       "f:2: connectivity.heartbeat_sec: ", "from 0.1 to 3600 seconds"},
      {"connectivity: {heartbeat_sec: soon}\n", "f:2: connectivity.heartbeat_sec: ", "seconds"},
      {"connectivity: {heartbeat_sec: 1.2345}\n", "f:2: connectivity.heartbeat_sec: ", "seconds"},
      {"connectivity: {heartbeat_sec: 10, heartbeat_timeout_sec: 5}\n",
       "f:2: connectivity.heartbeat_timeout_sec: ", "shorter"},
      {"connectivity: {backoff: []}\n", "f:2: connectivity.backoff: ", "one wait"},
      {"connectivity: {backoff: 3}\n", "f:2: connectivity.backoff: ", "has to be a list"},
      {"connectivity:\n  backoff:\n    - 1\n    - 0\n",
       "f:5: connectivity.backoff[1]: ", "seconds"},
      {"connectivity: {backoff: [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}\n",
       "f:2: connectivity.backoff: ", "more than 16"},
      {"connectivity: {relay: custom}\n", "f:2: connectivity.relay: ", "relay_urls"},
      {"connectivity: {relay: off, relay_urls: [https://r.example]}\n",
       "f:2: connectivity.relay: ", "custom"},
      {"connectivity: {relay_urls: [nonsense]}\n",
       "f:2: connectivity.relay_urls[0]: ", "no relay url"},
      {"transfer: {chunk_mb: [1]}\n", "f:2: transfer.chunk_mb: ", "single value"},
      {"hooks: {on_message: \"a\\tb\\u0007\"}\n", "f:2: hooks.on_message: ", "control"},
  };
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    bad_more(all[i].text, all[i].start, all[i].word);
  }
}

static void test_unknown_keys(void **state) {
  (void)state;
  bad("", "f:1: node.id: ", "missing");
  bad("node: {listen_port: 1}", "f:1: node.id: ", "missing");
  bad("[1]", "f:1: ", "keys with values");
  bad("word", "f:1: ", "keys with values");
  bad_more("nodes: 1\n", "f:2: nodes: ", "did you mean node?");
  bad_more("store:\n  max_keys: 1\n", "f:3: store.max_keys: ", "did you mean max_key?");
  bad_more("store: {something: 1}\n", "f:2: store.something: ", "no key of this name");
  bad_more("shares:\n  - name: x\n    pth: y\n", "f:4: shares[0].pth: ", "did you mean path?");
  bad_more("peers:\n  - id: x\n    adr: y\n", "f:4: peers[0].adr: ", "did you mean addr?");
  bad_more("store: {max_key: 1, max_key: 2}\n", "f:2: ", "given before");
}

/* --- shares and peers ------------------------------------------------------------------------ */

static void test_shares(void **state) {
  (void)state;
  project_file *f = good_more("shares:\n"
                              "  - {name: a, path: ./x/../data//a/, delete_propagation: true,\n"
                              "     ignore_file: .ignore, default_mode: rw}\n"
                              "  - {name: b, path: " DIR "/b, default_mode: ro}\n"
                              "  - {name: C.d_e-1, default_mode: none}\n");
  const project *p = &f->pub;
  assert_int_equal(p->share_count, 3);
  assert_string_equal(p->shares[0].path, DIR "/data/a");
  assert_true(p->shares[0].delete_propagation);
  assert_string_equal(p->shares[0].ignore_file, ".ignore");
  assert_int_equal(p->shares[0].others, KM_ACCESS_WRITE);
  assert_string_equal(p->shares[1].path, DIR "/b");
  assert_int_equal(p->shares[1].others, KM_ACCESS_READ);
  assert_null(p->shares[2].path);
  assert_string_equal(f->mesh_shares[2].name, "C.d_e-1");
  assert_int_equal(f->mesh_shares[0].others, KM_ACCESS_WRITE);
  config_free(f);

  bad_more("shares: {a: b}\n", "f:2: shares: ", "has to be a list");
  bad_more("shares: [{path: x}]\n", "f:2: shares[0].name: ", "missing");
  bad_more("shares: [{name: .x}]\n", "f:2: shares[0].name: ", "begins with");
  bad_more("shares: [{name: \"a b\"}]\n", "f:2: shares[0].name: ", "a-z");
  bad_more("shares:\n  - name: x\n  - name: x\n", "f:4: shares[1].name: ", "two shares");
  bad_more("shares: [{name: x, default_mode: r}]\n",
           "f:2: shares[0].default_mode: ", "none, ro or rw");
  bad_more("shares: [{name: x, ignore_file: a/b}]\n", "f:2: shares[0].ignore_file: ", "folder");
  static const char *const outside[] = {"..", "../x",  "data/../../x",  "/etc",
                                        "/",  DIR "x", "a/b/../../../c"};
  for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
    char text[200];
    (void)snprintf(text, sizeof text, "shares: [{name: x, path: \"%s\"}]\n", outside[i]);
    bad_more(text, "f:2: shares[0].path: ", "path traversal refused");
  }
}

static void test_peers(void **state) {
  (void)state;
  project_file *f = good_more("shares: [{name: s}, {name: t}]\n"
                              "peers:\n"
                              "  - id: " ID_1 "\n"
                              "    name: B\n"
                              "    addr: 192.0.2.1:5\n"
                              "    relay: https://r.example\n"
                              "    shares_access:\n"
                              "      - {share: s, mode: ro}\n"
                              "      - {share: t, mode: RW}\n"
                              "  - {id: " ID_2 ", addr: [\"[::1]:7\", 192.0.2.2:8], dial: false}\n"
                              "  - id: host-C\n");
  const certs none = {0};
  km_errinfo err = {0};
  assert_int_equal(project_resolve(f, &none, &err), 0);
  const project_peer *b = &f->pub.peers[0], *c = &f->pub.peers[1], *d = &f->pub.peers[2];
  assert_int_equal(f->pub.peer_count, 3);
  assert_true(b->has_id && b->dial);
  assert_int_equal(b->line, 4);
  assert_string_equal(b->name, "B");
  assert_string_equal(b->addr_text, "192.0.2.1:5");
  assert_int_equal(km_addr_udp_count(b->addr), 1);
  assert_string_equal(km_addr_relay_at(b->addr, 0), "https://r.example/");
  assert_int_equal(b->grant_count, 2);
  assert_string_equal(b->grants[0].share, "s");
  assert_int_equal(b->grants[0].access, KM_ACCESS_READ);
  assert_int_equal(b->grants[1].access, KM_ACCESS_WRITE);
  assert_false(c->dial);
  assert_string_equal(c->addr_text, "[::1]:7, 192.0.2.2:8");
  assert_int_equal(km_addr_udp_count(c->addr), 2);
  assert_false(d->has_id); /* nobody said whose name that is */
  assert_int_equal(f->mesh_peer_count, 2);
  assert_true(km_id_equal(&f->mesh_peers[1].id, &c->id));
  assert_ptr_equal(f->mesh_peers[0].grants, b->grants);
  config_free(f);
}

static void test_options_of_a_mesh(void **state) {
  (void)state;
  project_file *f =
      good("node: {id: host-A}\n"
           "security: {level: strict, recommend_threshold: 5, accept_revocations: on,\n"
           "           allow: [" ID_3 "], block: [" ID_2 "],\n"
           "           fingerprint_whitelist: [\"" PRINT_A "\"]}\n"
           "limits: {max_message: 9, rate_per_minute: 8, rate_per_second: 7,\n"
           "         max_conns_per_addr: 6, max_faults: 4}\n"
           "connectivity: {heartbeat_sec: 1, heartbeat_timeout_sec: 2,\n"
           "               connect_timeout_ms: 300, sync_interval_sec: 4, backoff: [5],\n"
           "               backoff_jitter_percent: 6}\n"
           "shares: [{name: s}]\n"
           "peers: [{id: host-B}, {id: " ID_1 "}]\n");
  const certs none = {0};
  km_mesh_options o;
  assert_int_equal(project_resolve(f, &none, NULL), 0);
  project_mesh_options(&f->pub, &o);
  assert_int_equal(o.size, sizeof o);
  assert_string_equal(o.node_id, "host-A");
  assert_int_equal(o.level, KM_SECURITY_STRICT);
  assert_int_equal(o.recommend_threshold, 5);
  assert_true(o.accept_revocations);
  assert_int_equal(o.allow_count, 1);
  assert_int_equal(o.allow[0].bytes[0], 0xfc);
  assert_int_equal(o.block_count, 1);
  assert_int_equal(o.block[0].bytes[0], 0x3d);
  assert_int_equal(o.allow_fingerprint_count, 1);
  assert_string_equal(o.allow_fingerprints[0], PRINT_A);
  assert_int_equal(o.max_message, 9);
  assert_int_equal(o.rate_per_minute, 8);
  assert_int_equal(o.rate_per_second, 7);
  assert_int_equal(o.max_conns_per_addr, 6);
  assert_int_equal(o.max_faults, 4);
  assert_int_equal(o.heartbeat_ms, 1000);
  assert_int_equal(o.heartbeat_timeout_ms, 2000);
  assert_int_equal(o.connect_timeout_ms, 300);
  assert_int_equal(o.sync_interval_ms, 4000);
  assert_int_equal(o.backoff_count, 1);
  assert_int_equal(o.backoff_ms[0], 5000);
  assert_int_equal(o.backoff_jitter_percent, 6);
  assert_int_equal(o.share_count, 1);
  assert_string_equal(o.shares[0].name, "s");
  assert_int_equal(o.peer_count, 1); /* whose id is known */
  assert_int_equal(o.peers[0].id.bytes[0], 0xd7);
  config_free(f);
}

static void test_a_ticket(void **state) {
  (void)state;
  char ticket[KM_TICKET_MAX + 1], text[KM_TICKET_MAX + 200];
  km_addr *addr;
  km_udp_addr udp;
  km_id id;
  assert_int_equal(km_id_parse(&id, ID_1, strlen(ID_1), NULL), 0);
  assert_int_equal(km_addr_new(&addr, &id), 0);
  assert_int_equal(km_udp_addr_parse(&udp, "192.0.2.9:9", 11, NULL), 0);
  assert_int_equal(km_addr_add_udp(addr, &udp), 0);
  assert_int_equal(km_ticket_format(addr, ticket, sizeof ticket, NULL), 0);
  km_addr_free(addr);
  (void)snprintf(text, sizeof text, "node: {id: a}\npeers: [{id: %s, addr: 192.0.2.8:8}]\n",
                 ticket);
  project_file *f = good(text);
  const certs none = {0};
  assert_int_equal(project_resolve(f, &none, NULL), 0);
  assert_true(km_id_equal(&f->pub.peers[0].id, &id));
  assert_int_equal(km_addr_udp_count(f->pub.peers[0].addr), 2);
  config_free(f);
  ticket[strlen(ticket) - 2] = '\0';
  (void)snprintf(text, sizeof text, "node: {id: a}\npeers: [{id: %s}]\n", ticket);
  bad(text, "f:2: peers[0].id: ", "no whole ticket");
}

static void test_bad_peers(void **state) {
  (void)state;
  bad_more("peers: {}\n", "f:2: peers: ", "has to be a list");
  bad_more("peers: [{addr: 192.0.2.1:1}]\n", "f:2: peers[0].id: ", "missing");
  bad_more("peers: [x]\n", "f:2: peers[0]: ", "keys with values");
  bad_more("peers: [{id: \"D75A980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\"}]\n",
           "f:2: peers[0].id: ", "no id");
  bad_more("peers: [{id: x, addr: host:1}]\n", "f:2: peers[0].addr: ", "names are not looked up");
  bad_more("peers: [{id: x, addr: 192.0.2.1}]\n", "f:2: peers[0].addr: ", "IP:PORT");
  bad_more("peers: [{id: x, addr: 192.0.2.1:0}]\n", "f:2: peers[0].addr: ", "IP:PORT");
  bad_more("peers: [{id: x, relay: y}]\n", "f:2: peers[0].relay: ", "no relay url");
  bad_more("peers: [{id: x, cert_fingerprint: \"sha256:ABCD...\"}]\n",
           "f:2: peers[0].cert_fingerprint: ", "64 hex digits");
  bad_more("peers:\n  - {id: x}\n  - {id: x}\n", "f:4: peers[1]: ", "given before, in line 3");
  bad_more("peers:\n  - {id: " ID_1 "}\n  - {id: " ID_1 ", name: b}\n",
           "f:4: peers[1]: ", "given before");
  bad_more(
      "shares: [{name: s}]\npeers:\n  - id: x\n    shares_access:\n      - {share: z, mode: ro}\n",
      "f:6: peers[0].shares_access[0].share: ", "no share of the name z");
  bad_more("shares: [{name: s}]\npeers: [{id: x, shares_access: [{share: s, mode: none}]}]\n",
           "f:3: peers[0].shares_access[0].mode: ", "ro or rw");
  bad_more("shares: [{name: s}]\npeers: [{id: x, shares_access: [{share: s}]}]\n",
           "f:3: peers[0].shares_access[0].mode: ", "missing");
  bad_more("shares: [{name: s}]\npeers: [{id: x, shares_access: [{share: s, mode: ro}, "
           "{share: s, mode: rw}]}]\n",
           "f:3: peers[0].shares_access[1].share: ", "given before");
}

/* --- certificates ---------------------------------------------------------------------------- */

static void make_certs(certs *c) {
  static const char text[] = "certs:\n"
                             "  - {name: host-B, id: " ID_1 ", cert_fingerprint: \"" PRINT_A "\",\n"
                             "     spki_fingerprint: \"" PRINT_B "\", not_after: 2030-01-01}\n";
  km_errinfo err = {0};
  if (certs_parse(c, "c", text, sizeof text - 1, &err) != 0) {
    fail_msg("%s", err.text);
  }
}

static int resolve(const char *peers, km_errinfo *err, project_file **ret) {
  certs c;
  make_certs(&c);
  *ret = good_more(peers);
  int rv = project_resolve(*ret, &c, err);
  certs_free(&c);
  return rv;
}

static void test_names_of_certificates(void **state) {
  (void)state;
  project_file *f;
  km_errinfo err = {0};
  assert_int_equal(resolve("peers: [{id: host-B, cert_fingerprint: \"" PRINT_A "\"}]\n", &err, &f),
                   0);
  assert_true(f->pub.peers[0].has_id);
  assert_int_equal(f->pub.peers[0].id.bytes[0], 0xd7);
  assert_string_equal(f->pub.peers[0].name, "host-B");
  config_free(f);
  /* By its id, and the fingerprint of the certificate, of its key, or of the id. */
  assert_int_equal(
      resolve("peers: [{id: " ID_1 ", cert_fingerprint: \"" PRINT_B "\"}]\n", &err, &f), 0);
  config_free(f);
  km_id id;
  char text[300], print[KM_ID_TEXT_CAP];
  assert_int_equal(km_id_parse(&id, ID_2, strlen(ID_2), NULL), 0);
  assert_true(km_id_format(&id, KM_ID_FINGERPRINT, print, sizeof print) > 0);
  (void)snprintf(text, sizeof text, "peers: [{id: " ID_2 ", cert_fingerprint: \"%s\"}]\n", print);
  assert_int_equal(resolve(text, &err, &f), 0);
  config_free(f);
  /* Whoever is in the whitelist by a certificate is let in by id. */
  assert_int_equal(resolve("security: {fingerprint_whitelist: [\"" PRINT_A "\"]}\n", &err, &f), 0);
  assert_int_equal(f->pub.allow_count, 1);
  assert_int_equal(f->pub.allow[0].bytes[0], 0xd7);
  config_free(f);
}

static void test_fingerprints_that_do_not_fit(void **state) {
  (void)state;
  project_file *f;
  km_errinfo err = {0};
  assert_int_equal(
      resolve("peers:\n  - {id: " ID_2 ", cert_fingerprint: \"" PRINT_A "\"}\n", &err, &f),
      KM_ERR_INVALID);
  assert_non_null(strstr(err.text, "f:3: peers[0].cert_fingerprint: it is that of another peer"));
  config_free(f);
  assert_int_equal(resolve("peers: [{id: " ID_2 ", cert_fingerprint: \"sha256:"
                           "0000000000000000000000000000000000000000000000000000000000000000\"}]\n",
                           &err, &f),
                   KM_ERR_INVALID);
  assert_non_null(strstr(err.text, "cert import"));
  config_free(f);
  assert_int_equal(resolve("peers:\n  - id: " ID_1 "\n  - id: host-B\n", &err, &f), KM_ERR_INVALID);
  assert_non_null(
      strstr(err.text, "f:4: peers[1]: this is the same id as that of the peer in line 3"));
  config_free(f);
}

static void test_the_file_of_certificates(void **state) {
  (void)state;
  certs c, again;
  make_certs(&c);
  cert_entry entry = c.at[0];
  char name[] = "host-C", date[] = "2031-01-01T00:00:00Z";
  entry.name = name;
  entry.not_after = date;
  assert_int_equal(certs_put(&c, &entry, NULL), 0);
  assert_int_equal(certs_put(&c, &entry, NULL), 0); /* in place of itself */
  assert_int_equal(c.count, 2);
  char *text = certs_format(&c);
  assert_int_equal(certs_parse(&again, "c", text, strlen(text), NULL), 0);
  assert_int_equal(again.count, 2);
  assert_string_equal(again.at[1].name, "host-C");
  assert_string_equal(again.at[1].not_after, date);
  assert_true(km_id_equal(&again.at[1].id, &c.at[1].id));
  assert_ptr_equal(certs_by_fingerprint(&again, PRINT_B), &again.at[0]);
  assert_null(certs_by_name(&again, "host-D"));
  certs_free(&again);
  certs_free(&c);
  km_env_free(&km_env_system, text);
  static const char *const wrong[] = {"certs: [{name: x}]", "certs: [x]", "other: 1", "certs: x",
                                      "certs: [{name: \"\", id: " ID_1 "}]"};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    km_errinfo err = {0};
    assert_int_equal(certs_parse(&c, "c", wrong[i], strlen(wrong[i]), &err), KM_ERR_INVALID);
    assert_int_equal(strncmp(err.text, "c:1: ", 5), 0);
  }
}

static void test_fingerprint_forms(void **state) {
  (void)state;
  char ret[KM_ID_TEXT_CAP], text[200] = "SHA256:";
  for (int i = 0; i < 32; i++) {
    size_t used = strlen(text);
    (void)snprintf(text + used, sizeof text - used, "%sAA", i == 0 ? "" : ":");
  }
  assert_true(config_fingerprint(ret, text)); /* as openssl prints it */
  assert_string_equal(ret, PRINT_A);
  assert_true(config_fingerprint(ret, text + 7));
  assert_string_equal(ret, PRINT_A);
  assert_false(config_fingerprint(ret, PRINT_A "a"));
  assert_false(config_fingerprint(ret, "sha256:a:a"));
  assert_false(config_fingerprint(ret, "md5:00"));
  assert_false(config_fingerprint(ret, ""));
}

/* --- the first KeyMesh's file ---------------------------------------------------------------- */

static void test_the_first_keymesh(void **state) {
  (void)state;
  project_file *f = good("node:\n  id: \"host-A\"\n  listen_port: 51888\n  bind_host: \"0.0.0.0\"\n"
                         "security:\n  ca_cert: \"keys/ca.crt\"\n  cert: \"keys/host-A.crt\"\n"
                         "  key: \"keys/host-A.key\"\n  fingerprint_whitelist: []\n"
                         "peers:\n  - id: \"host-B\"\n    addr: \"10.8.0.12:51888\"\n"
                         "    cert_fingerprint: \"" PRINT_A "\"\n    shares_access:\n"
                         "      - share: \"common\"\n        mode: \"rw\"\n"
                         "shares:\n  - name: \"common\"\n    path: \"./data/common\"\n"
                         "    delete_propagation: false\n    ignore_file: \".keymeshignore\"\n"
                         "transfer:\n  chunk_mb: 16\n  concurrent_files: 2\n"
                         "  concurrent_chunks_per_file: 2\n  rate_limit_mbps: 0\n"
                         "logging:\n  level: \"info\"\n  file: \"logs/keymesh.log\"\n"
                         "connectivity:\n  heartbeat_sec: 20\n  connect_timeout_ms: 5000\n"
                         "  backoff: [1, 3, 10, 30]\n"
                         "status_http:\n  enabled: true\n  host: \"127.0.0.1\"\n  port: 52180\n");
  assert_string_equal(f->pub.key_file, DIR "/keys/host-A.key");
  assert_string_equal(f->ca_cert, DIR "/keys/ca.crt");
  assert_false(f->pub.peers[0].has_id);
  assert_int_equal(f->no_effect_count, 4);
  assert_string_equal(f->no_effect[0], "line 23: transfer.chunk_mb");
  config_free(f);
}

static void test_paths(void **state) {
  (void)state;
  static const struct {
    const char *dir, *path, *wanted;
  } all[] = {
      {"/a", "b", "/a/b"},     {"/a", "./b//c/", "/a/b/c"}, {"/a", "../b", "/b"},
      {"/a", "../../..", "/"}, {"/a/b", "/c/./d", "/c/d"},  {"/", "x", "/x"},
      {"/a/b", "..", "/a"},    {"/a/b/", "", "/a/b"},       {"/a", "..b/...", "/a/..b/..."},
  };
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    char *path = path_join(all[i].dir, all[i].path);
    assert_string_equal(path, all[i].wanted);
    km_env_free(&km_env_system, path);
  }
  assert_true(path_is_inside("/a", "/a") && path_is_inside("/a", "/a/b"));
  assert_false(path_is_inside("/a", "/ab") || path_is_inside("/a/b", "/a"));
  assert_true(path_is_inside("/", "/a"));
  assert_string_equal(path_shorten("/a", "/a/b/c"), "b/c");
  assert_string_equal(path_shorten("/a", "/b"), "/b");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_smallest),
      cmocka_unit_test(test_the_sample),
      cmocka_unit_test(test_nothing_is_the_default),
      cmocka_unit_test(test_every_key_is_explained),
      cmocka_unit_test(test_all_values),
      cmocka_unit_test(test_choices),
      cmocka_unit_test(test_bad_values),
      cmocka_unit_test(test_unknown_keys),
      cmocka_unit_test(test_shares),
      cmocka_unit_test(test_peers),
      cmocka_unit_test(test_options_of_a_mesh),
      cmocka_unit_test(test_a_ticket),
      cmocka_unit_test(test_bad_peers),
      cmocka_unit_test(test_names_of_certificates),
      cmocka_unit_test(test_fingerprints_that_do_not_fit),
      cmocka_unit_test(test_the_file_of_certificates),
      cmocka_unit_test(test_fingerprint_forms),
      cmocka_unit_test(test_the_first_keymesh),
      cmocka_unit_test(test_paths),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
