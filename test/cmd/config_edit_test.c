/* Peers put into a keymesh.yaml and taken out: all else stays as it was, to the byte. */
#include "cmd/node/project/config_edit.h"

#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "cmd/node/project/config.h"
#include "test/base/test_env.h"

#define HEX "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"
#define ENTRY(indent) indent "- id: \"" HEX "\"\n" indent "  name: \"bob\"\n"

static km_mesh_peer bob(void) {
  km_mesh_peer peer = {.size = sizeof peer, .name = "bob"};
  assert_int_equal(km_id_parse(&peer.id, HEX, strlen(HEX), NULL), 0);
  return peer;
}

static void check_add(const char *before, const char *after) {
  char *text = NULL;
  km_errinfo err = {0};
  const km_mesh_peer peer = bob();
  int rv = config_add_entry(&text, "f", before, strlen(before), &peer, &err);
  if (rv != 0) {
    fail_msg("%s: %s", before, err.text);
  }
  assert_string_equal(text, after);
  km_env_free(&km_env_system, text);
}

static void check_refused(const char *before) {
  char *text = NULL;
  km_errinfo err = {0};
  const km_mesh_peer peer = bob();
  if (config_add_entry(&text, "f", before, strlen(before), &peer, &err) != KM_ERR_INVALID) {
    fail_msg("taken: %s", before);
  }
  assert_null(text);
  assert_non_null(strstr(err.text, "f"));
}

static void added(void **state) {
  (void)state;
  check_add("peers: []\n", "peers:\n" ENTRY("  "));
  check_add("a: 1\npeers: []   # none yet\n#  - id: x\n\nb: 2\n",
            "a: 1\npeers:   # none yet\n" ENTRY("  ") "#  - id: x\n\nb: 2\n");
  check_add("peers:\nb: 2", "peers:\n" ENTRY("  ") "b: 2");
  check_add("peers:", "peers:\n" ENTRY("  "));
  check_add("peers: ~\n", "peers:\n" ENTRY("  "));
  check_add("peers: null # x\n", "peers: # x\n" ENTRY("  "));
  check_add("", "\npeers:\n" ENTRY("  "));
  check_add("a: 1", "a: 1\n\npeers:\n" ENTRY("  "));
  check_add("peers: []\r\nb: 2\r\n", "peers:\r\n" ENTRY("  ") "b: 2\r\n");
  check_add("peersonal: x\nxpeers: y\npeers: []\n",
            "peersonal: x\nxpeers: y\npeers:\n" ENTRY("  "));
}

static void behind_others(void **state) {
  (void)state;
  check_add("peers:\n  - id: a # first\n    dial: no\n\n  # and\n  - {id: b}\n\n# end\nb: 2\n",
            "peers:\n  - id: a # first\n    dial: no\n\n  # and\n  - {id: b}\n" ENTRY(
                "  ") "\n# end\nb: 2\n");
  check_add("peers:\n- id: a\n- id: b\nb: 2\n", "peers:\n- id: a\n- id: b\n" ENTRY("") "b: 2\n");
  check_add("peers:\n      - id: a\n        name: b",
            "peers:\n      - id: a\n        name: b\n" ENTRY("      "));
  check_add("peers:\n  -\n    id: a\n", "peers:\n  -\n    id: a\n" ENTRY("  "));
}

static void refused(void **state) {
  (void)state;
  check_refused("peers: [{id: a}]\n");
  check_refused("peers: [\n]\n");
  check_refused("\"peers\": []\n");
  check_refused("peers : []\n");
  check_refused("{peers: []}\n");
  check_refused("{a: 1}\n");
  check_refused("peers: some\n");
  check_refused("peers:\n  a: b\n");
  check_refused("peers:\n- id: a\n  note: \"x\ny: 1\"\n");
  check_refused("a: |\n  text\n...\n");
  check_refused("a: [\n");
}

/* Anything else in the file that reads otherwise afterwards is noticed. */
static void text_that_looks_like_the_key(void **state) {
  (void)state;
  check_refused("a: \"b\npeers: []\n\"\npeers:\n  - id: c\n");
}

static void every_member(void **state) {
  (void)state;
  const km_mesh_grant grants[] = {{"common", KM_ACCESS_WRITE}, {"no", KM_ACCESS_READ}};
  const char *const direct[] = {"192.0.2.1:51888", "[2001:db8::1]:7"};
  const char relay[] = "https://relay.example.org";
  km_mesh_peer peer = bob();
  km_addr *addr;
  assert_int_equal(km_addr_new(&addr, &peer.id), 0);
  for (size_t i = 0; i < 2; i++) {
    km_udp_addr udp;
    assert_int_equal(km_udp_addr_parse(&udp, direct[i], strlen(direct[i]), NULL), 0);
    assert_int_equal(km_addr_add_udp(addr, &udp), 0);
  }
  assert_int_equal(km_addr_add_relay(addr, relay, strlen(relay), NULL), 0);
  peer.addr = addr;
  peer.name = "a \"b\" \\ # c: d";
  peer.grants = grants;
  peer.grant_count = 2;
  char *text;
  static const char before[] =
      "node: {id: x}\nshares: [{name: common}, {name: \"no\"}]\npeers: []\n";
  assert_int_equal(config_add_entry(&text, "f", before, strlen(before), &peer, NULL), 0);
  project_file *f;
  km_errinfo err = {0};
  int rv = config_parse(&f, "/x", "/x/f", "f", text, strlen(text), &err);
  if (rv != 0) {
    fail_msg("%s", err.text);
  }
  const project_peer *p = &f->pub.peers[0];
  assert_int_equal(f->pub.peer_count, 1);
  assert_true(km_id_equal(&p->id, &peer.id));
  assert_string_equal(p->name, peer.name);
  assert_string_equal(p->addr_text, "192.0.2.1:51888, [2001:db8::1]:7");
  assert_int_equal(f->extra[0].relay_count, 1);
  assert_int_equal(p->grant_count, 2);
  assert_string_equal(p->grants[1].share, "no");
  assert_int_equal(p->grants[0].access, KM_ACCESS_WRITE);
  assert_int_equal(p->grants[1].access, KM_ACCESS_READ);
  config_free(f);
  km_env_free(&km_env_system, text);
  km_addr_free(addr);
}

static void check_remove(const char *before, size_t index, const char *after) {
  char *text = NULL;
  km_errinfo err = {0};
  int rv = config_remove_entry(&text, "f", before, strlen(before), index, &err);
  if (after == NULL) {
    assert_int_equal(rv, KM_ERR_INVALID);
    return;
  }
  if (rv != 0) {
    fail_msg("%s: %s", before, err.text);
  }
  assert_string_equal(text, after);
  km_env_free(&km_env_system, text);
}

static void removed(void **state) {
  (void)state;
  static const char three[] =
      "peers: # x\n  - id: a\n    name: b\n  # c\n  - id: c\n  - {id: d}\nb: 2\n";
  check_remove(three, 0, "peers: # x\n  - id: c\n  - {id: d}\nb: 2\n");
  check_remove(three, 1, "peers: # x\n  - id: a\n    name: b\n  # c\n  - {id: d}\nb: 2\n");
  check_remove(three, 2, "peers: # x\n  - id: a\n    name: b\n  # c\n  - id: c\nb: 2\n");
  check_remove(three, 3, NULL);
  check_remove("peers:\n- id: a\nb: 2\n", 0, "peers: []\nb: 2\n");
  check_remove("peers:\n  - id: a\n", 0, "peers: []\n");
  check_remove("peers: [{id: a}]\n", 0, NULL);
  check_remove("a: 1\n", 0, NULL);
  check_remove("peers: []\n", 0, NULL);
  check_remove("peers:\n  - id: a\n    name: |\n      x\n  - y\n", 0, "peers:\n  - y\n");
}

/* What was put in can be taken out of every file that took it. */
static void there_and_back(void **state) {
  (void)state;
  char *sample = config_sample("node"), *with, *without;
  const km_mesh_peer peer = bob();
  assert_non_null(sample);
  assert_int_equal(config_add_entry(&with, "f", sample, strlen(sample), &peer, NULL), 0);
  assert_int_equal(strlen(with), strlen(sample) + strlen(ENTRY("  ")) - strlen(" []"));
  assert_int_equal(config_remove_entry(&without, "f", with, strlen(with), 0, NULL), 0);
  assert_string_equal(without, sample);
  km_env_free(&km_env_system, sample);
  km_env_free(&km_env_system, with);
  km_env_free(&km_env_system, without);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(added),          cmocka_unit_test(behind_others),
      cmocka_unit_test(refused),        cmocka_unit_test(text_that_looks_like_the_key),
      cmocka_unit_test(every_member),   cmocka_unit_test(removed),
      cmocka_unit_test(there_and_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
