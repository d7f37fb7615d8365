/* "Why am I not direct?" asked of real connections: a real relay and hole punching on one loop. */
#include <unistd.h>

#include "base/env.h"
#include "relay/server.h"
#include "test/endpoint/tap.h"

typedef struct relay {
  km_relay_server *s;
  char url[64];
} relay;

static void relay_open(relay *r, lab *l) {
  km_errinfo err = {0};
  const km_udp_addr at = {.family = 4, .ip = {127, 0, 0, 1}};
  km_udp_addr bound;
  km_relay_server_config config = {.env = &km_env_system,
                                   .loop = l->loop,
                                   .http = &at,
                                   .http_count = 1,
                                   .relay_over_http = true,
                                   .version = "test"};
  km_relay_server_limits_default(&config.limits);
  assert_int_equal(km_relay_server_new(&r->s, &config, &err), 0);
  assert_int_equal(km_relay_server_bound(r->s, &bound, 1), 1);
  (void)snprintf(r->url, sizeof r->url, "http://127.0.0.1:%u/", (unsigned)bound.port);
}

/* A lab with a relay, a server that has it as its home, and a client. */
typedef struct world {
  lab l;
  relay r;
  lab_endpoint *server, *client;
} world;

static void world_open(world *w, km_path_policy server_policy) {
  km_endpoint_options opt;
  lab_open(&w->l);
  relay_open(&w->r, &w->l);
  const char *urls[] = {w->r.url};
  lab_options(&opt);
  opt.port_mapping = false;
  opt.path_policy = server_policy;
  opt.relay_mode = KM_RELAY_MODE_CUSTOM;
  opt.relay_urls = urls;
  opt.relay_url_count = 1;
  w->server = lab_server_open(&w->l, &opt, LAB_ECHO);
  lab_options(&opt);
  opt.port_mapping = false;
  w->client = lab_endpoint_open(&w->l, &opt);
  LAB_WAIT(&w->l, km_endpoint_online(w->server->ep));
}

static void world_close(world *w) {
  km_relay_server_free(w->r.s);
  lab_close(&w->l);
}

/* By the relay and, unless NULL, a direct address. */
static lab_conn *dial(world *w, const km_udp_addr *direct, km_path_policy policy,
                      uint32_t within_ms) {
  const km_id id = *km_endpoint_id(w->server->ep);
  const km_dial_options options = {
      .size = sizeof options, .policy = policy, .direct_within_ms = within_ms};
  km_addr *addr;
  assert_int_equal(km_addr_new(&addr, &id), 0);
  assert_int_equal(km_addr_add_relay(addr, w->r.url, strlen(w->r.url), NULL), 0);
  if (direct != NULL) {
    assert_int_equal(km_addr_add_udp(addr, direct), 0);
  }
  lab_conn *c = lab_dial_with(w->client, addr, LAB_ALPN, &options);
  km_addr_free(addr);
  return c;
}

static km_explanation *explain(const lab_conn *c) {
  km_explanation *ex;
  assert_int_equal(km_conn_explain(c->conn, &ex), 0);
  assert_int_equal(ex->size, sizeof *ex);
  return ex;
}

static bool has_reason(const lab_conn *c, km_explain_reason reason) {
  km_explanation *ex = explain(c);
  bool has = ex->reason == reason;
  km_explanation_free(ex);
  return has;
}

static void assert_reason(const km_explanation *ex, km_explain_reason reason) {
  assert_string_equal(km_explain_reason_name(ex->reason), km_explain_reason_name(reason));
}

static km_path_kind kind_of(const lab_conn *c) {
  km_path_info path;
  assert_int_equal(km_conn_path(c->conn, &path), 0);
  return path.kind;
}

/* Where in the time line the first one of that kind is; fails without one. */
static size_t find_event(const km_explanation *ex, km_explain_event_kind kind) {
  for (size_t i = 0; i < ex->event_count; i++) {
    if (ex->events[i].kind == kind) {
      return i;
    }
  }
  fail_msg("no event %s", km_explain_event_name(kind));
  return 0;
}

static bool has_event(const km_explanation *ex, km_explain_event_kind kind) {
  for (size_t i = 0; i < ex->event_count; i++) {
    if (ex->events[i].kind == kind) {
      return true;
    }
  }
  return false;
}

static void assert_in_order(const km_explanation *ex) {
  for (size_t i = 0; i < ex->event_count; i++) {
    assert_true(ex->events[i].text[0] != '\0');
    assert_true(ex->events[i].at_ms <= (int64_t)ex->age_ms);
    assert_true(i == 0 || ex->events[i - 1].at_ms <= ex->events[i].at_ms);
  }
}

static const km_explain_path *direct_path(const km_explanation *ex) {
  for (size_t i = 0; i < ex->path_count; i++) {
    if (ex->paths[i].info.kind == KM_PATH_DIRECT) {
      return &ex->paths[i];
    }
  }
  return NULL;
}

/* --- relayed first, then direct --------------------------------------------------------------- */

static void check_direct(const km_explanation *ex, const km_udp_addr *peer, const char *url) {
  char text[KM_UDP_ADDR_TEXT_CAP];
  assert_reason(ex, KM_EXPLAIN_DIRECT);
  (void)km_udp_addr_format(peer, text, sizeof text);
  assert_non_null(strstr(ex->why, text));
  assert_string_equal(ex->advice, "");
  assert_int_equal(ex->path.kind, KM_PATH_DIRECT);
  assert_true(km_udp_addr_equal(&ex->path.remote, peer));
  assert_true(ex->connected);
  assert_true(0 <= ex->connected_ms && ex->connected_ms <= ex->relayed_ms);
  assert_true(ex->relayed_ms <= ex->direct_ms && ex->direct_ms <= (int64_t)ex->age_ms);
  assert_true(ex->attempts >= 1 && ex->successes >= 1 && ex->pongs_received >= 1);
  assert_true(ex->time_to_direct_us > 0);
  const km_explain_path *used = &ex->paths[0];
  assert_true(used->info.selected);
  assert_true(used->pings >= 1 && used->pongs >= 1);
  assert_true((used->sources & KM_SOURCE_INTERFACE) != 0);
  assert_int_equal(used->info.state, KM_PATH_OPEN);
  bool by_relay = false;
  for (size_t i = 1; i < ex->path_count; i++) {
    assert_false(ex->paths[i].info.selected);
    by_relay = by_relay || (ex->paths[i].info.kind == KM_PATH_RELAY &&
                            strcmp(ex->paths[i].info.relay_url, url) == 0);
  }
  assert_true(by_relay);
}

static void check_punched(const km_explanation *ex, const char *url) {
  assert_in_order(ex);
  size_t connected = find_event(ex, KM_EXPLAIN_EVENT_CONNECTED);
  size_t call = find_event(ex, KM_EXPLAIN_EVENT_CALL_SENT);
  size_t open = find_event(ex, KM_EXPLAIN_EVENT_OPEN);
  size_t path = find_event(ex, KM_EXPLAIN_EVENT_PATH);
  assert_non_null(strstr(ex->events[connected].text, url));
  assert_true(connected < call && call < open && open < path);
  assert_true(km_udp_addr_equal(&ex->events[path].addr, &ex->path.remote));
  assert_true(has_event(ex, KM_EXPLAIN_EVENT_CALL_CAME));
  assert_true(ex->there.known && ex->there.candidate_count >= 1);
  assert_true(ex->here.known && ex->here.candidate_count >= 1);
}

static void a_punched_connection_says_so(void **state) {
  (void)state;
  world w;
  char url[64];
  world_open(&w, KM_POLICY_PREFER_DIRECT);
  lab_conn *c = dial(&w, NULL, KM_POLICY_DEFAULT, 0);
  LAB_WAIT(&w.l, c->connected == 1 && w.server->accepted_count == 1);
  lab_conn *s = w.server->accepted[0];
  LAB_WAIT(&w.l, kind_of(c) == KM_PATH_DIRECT && kind_of(s) == KM_PATH_DIRECT);
  lab_expect_echo(c, 100000);
  km_explanation *mine = explain(c), *theirs = explain(s);
  assert_true(mine->moves_tried >= 1);
  assert_int_equal(mine->moves_failed, 0);
  const km_udp_addr server = w.server->addr, client = w.client->addr;
  (void)snprintf(url, sizeof url, "%s", w.r.url);
  assert_true(lab_stats(w.client).punch_attempts >= 1);
  assert_true(lab_stats(w.client).punch_successes >= 1);
  assert_true(lab_stats(w.server).disco_opened >= 1);
  assert_int_equal(lab_stats(w.server).disco_forged, 0);
  lab_conn_close(c, 0, "");
  LAB_WAIT(&w.l, c->closed == 1 && s->closed == 1);
  assert_true(lab_stats(w.client).punch_successes >= 1); /* also of those that are gone */
  world_close(&w);
  /* An explanation needs neither its connection nor its endpoint. */
  check_direct(mine, &server, url);
  check_punched(mine, url);
  check_direct(theirs, &client, url);
  assert_in_order(theirs);
  km_explanation_free(mine);
  km_explanation_free(theirs);
}

static void a_second_connection_knows_what_the_first_found(void **state) {
  (void)state;
  world w;
  world_open(&w, KM_POLICY_PREFER_DIRECT);
  lab_conn *a = dial(&w, NULL, KM_POLICY_DEFAULT, 0);
  LAB_WAIT(&w.l, a->connected == 1 && kind_of(a) == KM_PATH_DIRECT);
  lab_run_for(&w.l, 20);
  lab_conn *b = dial(&w, NULL, KM_POLICY_DEFAULT, 0);
  LAB_WAIT(&w.l, b->connected == 1 && kind_of(b) == KM_PATH_DIRECT);
  km_explanation *ex = explain(b);
  assert_in_order(ex);
  size_t open = find_event(ex, KM_EXPLAIN_EVENT_OPEN);
  assert_true(ex->events[open].at_ms < 0); /* before this connection began */
  assert_true(ex->events[find_event(ex, KM_EXPLAIN_EVENT_CONNECTED)].at_ms >= 0);
  km_explanation_free(ex);
  world_close(&w);
}

/* --- policies --------------------------------------------------------------------------------- */

static void relay_only_tells_no_address(void **state) {
  (void)state;
  world w;
  world_open(&w, KM_POLICY_PREFER_DIRECT);
  lab_conn *c = dial(&w, &w.server->addr, KM_POLICY_RELAY_ONLY, 0);
  LAB_WAIT(&w.l, c->connected == 1 && w.server->accepted_count == 1);
  lab_conn *s = w.server->accepted[0];
  LAB_WAIT(&w.l, has_reason(s, KM_EXPLAIN_PEER_SILENT)); /* it looked for us all that time */
  km_explanation *mine = explain(c), *theirs = explain(s);
  assert_reason(mine, KM_EXPLAIN_POLICY);
  assert_non_null(strstr(mine->why, "relay-only"));
  assert_int_equal(mine->path.kind, KM_PATH_RELAY);
  assert_null(direct_path(mine));
  assert_int_equal(mine->direct_ms, -1);
  assert_int_equal(mine->attempts, 0);
  assert_false(theirs->there.known);
  assert_int_equal(theirs->there.candidate_count, 0);
  assert_null(direct_path(theirs));
  assert_true(has_event(theirs, KM_EXPLAIN_EVENT_CALL_SENT));
  assert_false(has_event(theirs, KM_EXPLAIN_EVENT_CALL_CAME));
  assert_false(has_event(theirs, KM_EXPLAIN_EVENT_PING_CAME));
  assert_int_equal(c->path_changes + s->path_changes, 0);
  assert_true(lab_stats(w.client).disco_strangers >= 1); /* the server's calls */
  assert_int_equal(lab_stats(w.server).disco_opened, 0);
  km_explanation_free(mine);
  km_explanation_free(theirs);
  world_close(&w);
}

static void any_does_nothing_until_the_policy_changes(void **state) {
  (void)state;
  world w;
  world_open(&w, KM_POLICY_PREFER_DIRECT);
  lab_conn *c = dial(&w, NULL, KM_POLICY_ANY, 0);
  LAB_WAIT(&w.l, c->connected == 1 && w.server->accepted_count == 1);
  LAB_WAIT(&w.l, has_reason(w.server->accepted[0], KM_EXPLAIN_PEER_SILENT));
  km_explanation *ex = explain(c);
  assert_reason(ex, KM_EXPLAIN_POLICY);
  assert_int_equal(ex->policy, KM_POLICY_ANY);
  assert_int_equal(ex->attempts, 0);
  assert_null(direct_path(ex));
  assert_int_equal(c->path_changes, 0);
  km_explanation_free(ex);
  assert_int_equal(km_conn_set_policy(c->conn, KM_POLICY_PREFER_DIRECT, 0), 0);
  LAB_WAIT(&w.l, kind_of(c) == KM_PATH_DIRECT);
  ex = explain(c);
  assert_reason(ex, KM_EXPLAIN_DIRECT);
  assert_true(find_event(ex, KM_EXPLAIN_EVENT_POLICY) < find_event(ex, KM_EXPLAIN_EVENT_OPEN));
  km_explanation_free(ex);
  world_close(&w);
}

static void require_direct_ends_a_relayed_connection(void **state) {
  (void)state;
  world w;
  world_open(&w, KM_POLICY_ANY);
  for (unsigned i = 0; i < 2; i++) { /* before the search is over, and behind it */
    lab_conn *c = dial(&w, NULL, KM_POLICY_REQUIRE_DIRECT, i == 0 ? 300 : 6000);
    LAB_WAIT(&w.l, c->closed == 1);
    assert_int_equal(c->connected, 1);
    assert_int_equal(c->info.error, KM_ERR_NO_DIRECT_PATH);
    assert_int_equal(c->info.origin, KM_CLOSE_LOCAL_TRANSPORT);
    assert_string_equal(c->info.text,
                        i == 0 ? "no direct path within 300 ms: The search for a direct path was "
                                 "not over when the time that the policy gives was."
                               : "no direct path within 6000 ms: The peer takes no part in hole "
                                 "punching: it is not KeyMesh (iroh has another way of its own), "
                                 "or its policy wants no direct path.");
  }
  world_close(&w);
}

static void require_direct_is_content_with_a_punched_path(void **state) {
  (void)state;
  world w;
  world_open(&w, KM_POLICY_PREFER_DIRECT);
  lab_conn *c = dial(&w, NULL, KM_POLICY_REQUIRE_DIRECT, 60000);
  LAB_WAIT(&w.l, c->connected == 1 && kind_of(c) == KM_PATH_DIRECT);
  assert_int_equal(km_conn_set_policy(c->conn, KM_POLICY_REQUIRE_DIRECT, 1), 0);
  lab_run_for(&w.l, 50);
  assert_int_equal(c->closed, 0);
  lab_expect_echo(c, 1000);
  assert_int_equal(km_conn_set_policy(c->conn, (km_path_policy)9, 0), KM_ERR_INVALID);
  assert_int_equal(km_conn_set_policy(c->conn, KM_POLICY_REQUIRE_DIRECT, 600001), KM_ERR_INVALID);
  world_close(&w);
}

/* --- what goes wrong -------------------------------------------------------------------------- */

static void a_lost_direct_path_is_explained(void **state) {
  (void)state;
  world w;
  world_open(&w, KM_POLICY_ANY);
  lab_tap *tap = lab_tap_open(&w.l, &w.server->addr, NULL);
  lab_conn *c = dial(&w, &tap->addr, KM_POLICY_DEFAULT, 0);
  LAB_WAIT(&w.l, c->connected == 1 && kind_of(c) == KM_PATH_DIRECT);
  lab_expect_echo(c, 100000);
  lab_tap_blackhole(tap, true);
  lab_expect_echo(c, 100000);
  LAB_WAIT(&w.l, kind_of(c) == KM_PATH_RELAY && has_reason(c, KM_EXPLAIN_DIRECT_LOST));
  km_explanation *ex = explain(c);
  assert_in_order(ex);
  size_t lost = find_event(ex, KM_EXPLAIN_EVENT_LOST);
  assert_true(km_udp_addr_equal(&ex->events[lost].addr, &tap->addr));
  assert_true(lost < find_event(ex, KM_EXPLAIN_EVENT_REOPENED));
  assert_true(lost < find_event(ex, KM_EXPLAIN_EVENT_PATH));
  assert_true(ex->direct_ms >= 0 && ex->direct_ms <= ex->relayed_ms);
  const km_explain_path *direct = direct_path(ex);
  assert_non_null(direct);
  assert_true((direct->sources & KM_SOURCE_GIVEN) != 0);
  assert_int_not_equal(direct->info.state, KM_PATH_OPEN);
  km_explanation_free(ex);
  lab_tap_blackhole(tap, false);
  LAB_WAIT(&w.l, kind_of(c) == KM_PATH_DIRECT && has_reason(c, KM_EXPLAIN_DIRECT));
  world_close(&w);
}

static void a_peer_of_another_make_is_explained(void **state) {
  (void)state;
  world w;
  km_udp_addr sink;
  world_open(&w, KM_POLICY_ANY);
  int fd = raw_open(&sink);
  lab_conn *c = dial(&w, &sink, KM_POLICY_DEFAULT, 0);
  LAB_WAIT(&w.l, c->connected == 1);
  assert_true(has_reason(c, KM_EXPLAIN_TRYING));
  LAB_WAIT(&w.l, has_reason(c, KM_EXPLAIN_PEER_SILENT));
  km_explanation *ex = explain(c);
  assert_non_null(strstr(ex->why, "Of the 1 address that was dialled none answers"));
  assert_true(ex->advice[0] != '\0');
  assert_true(ex->moves_tried >= 1); /* QUIC itself asks there */
  const km_explain_path *direct = direct_path(ex);
  assert_non_null(direct);
  assert_true(km_udp_addr_equal(&direct->info.remote, &sink));
  assert_int_equal(direct->sources, KM_SOURCE_GIVEN);
  assert_int_equal(direct->info.state, KM_PATH_PROBING);
  assert_true(direct->pings >= 1);
  assert_int_equal(direct->pongs, 0);
  km_explanation_free(ex);
  world_close(&w);
  close(fd);
}

static void before_and_after_a_connection(void **state) {
  (void)state;
  world w;
  km_explanation *ex;
  world_open(&w, KM_POLICY_PREFER_DIRECT);
  assert_int_equal(km_conn_explain(NULL, &ex), KM_ERR_INVALID);
  lab_conn *c = dial(&w, NULL, KM_POLICY_DEFAULT, 0);
  assert_int_equal(km_conn_explain(c->conn, NULL), KM_ERR_INVALID);
  ex = explain(c);
  assert_reason(ex, KM_EXPLAIN_CONNECTING);
  assert_false(ex->connected);
  assert_int_equal(ex->connected_ms, -1);
  assert_int_equal(ex->event_count, 0);
  km_explanation_free(ex);
  LAB_WAIT(&w.l, c->connected == 1 && kind_of(c) == KM_PATH_DIRECT);
  km_conn_close(c->conn, 0, NULL, 0);
  ex = explain(c); /* on_closed is yet to come */
  assert_false(ex->connected);
  assert_reason(ex, KM_EXPLAIN_DIRECT);
  km_explanation_free(ex);
  km_explanation_free(NULL);
  world_close(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_punched_connection_says_so),
      cmocka_unit_test(a_second_connection_knows_what_the_first_found),
      cmocka_unit_test(relay_only_tells_no_address),
      cmocka_unit_test(any_does_nothing_until_the_policy_changes),
      cmocka_unit_test(require_direct_ends_a_relayed_connection),
      cmocka_unit_test(require_direct_is_content_with_a_punched_path),
      cmocka_unit_test(a_lost_direct_path_is_explained),
      cmocka_unit_test(a_peer_of_another_make_is_explained),
      cmocka_unit_test(before_and_after_a_connection),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
