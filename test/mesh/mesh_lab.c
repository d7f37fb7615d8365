#include "test/mesh/mesh_lab.h"

#include <time.h>

#include <sodium.h>

static const uint32_t quick_backoff[] = {50, 100, 200};

/* --- time ------------------------------------------------------------------------------------ */

uint64_t mesh_lab_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void mesh_lab_turn(mesh_lab *l) {
  for (size_t i = 0; i < l->node_count; i++) {
    if (!l->nodes[i]->frozen) {
      km_loop_run_once(l->nodes[i]->loop, 1);
    }
  }
}

void mesh_lab_run(mesh_lab *l, unsigned ms) {
  uint64_t until = mesh_lab_ms() + ms;
  while (mesh_lab_ms() < until) {
    mesh_lab_turn(l);
  }
}

/* --- nodes ----------------------------------------------------------------------------------- */

static void on_peer(void *ctx, km_mesh *mesh, const km_peer_status *s) {
  node *n = ctx;
  (void)mesh;
  if (n->told_count < LAB_HISTORY) {
    n->history[n->told_count++] = (told){.id = s->id, .state = s->state};
  }
  if (n->on_peer_hook != NULL) {
    n->on_peer_hook(n, s);
  }
}

static void on_request(void *ctx, km_mesh *mesh, const km_trust_info *who) {
  node *n = ctx;
  (void)mesh;
  n->requests++;
  n->requester = who->id;
  snprintf(n->requester_name, sizeof n->requester_name, "%s", who->name);
}

static void on_mesh_closed(void *ctx, km_mesh *mesh) {
  node *n = ctx;
  assert_ptr_equal(n->mesh, mesh);
  n->mesh = NULL;
}

static void on_ep_closed(void *ctx, km_endpoint *ep) {
  node *n = ctx;
  assert_ptr_equal(n->ep, ep);
  n->ep = NULL;
}

/* Keys whose ids ascend: seeds are tried until one gives an id above the last. */
static km_secret_key *next_key(mesh_lab *l) {
  km_id last = {{l->floor}};
  if (l->node_count > 0) {
    last = l->nodes[l->node_count - 1]->id;
  }
  for (uint32_t i = 1;; i++) {
    uint8_t seed[KM_SECRET_KEY_BYTES] = {0};
    km_secret_key *key;
    km_id id;
    memcpy(seed, &i, sizeof i);
    assert_int_equal(km_secret_key_from_bytes(&key, seed), 0);
    km_secret_key_id(key, &id);
    /* Small steps, so that there is room above for the nodes to come. */
    if (memcmp(id.bytes, last.bytes, KM_ID_BYTES) > 0 && id.bytes[0] >= last.bytes[0] &&
        id.bytes[0] - last.bytes[0] < 256 / LAB_NODES) {
      return key;
    }
    km_secret_key_free(key);
  }
}

void mesh_lab_open(mesh_lab *l) {
  memset(l, 0, sizeof *l);
  assert_true(sodium_init() >= 0);
}

node *node_new(mesh_lab *l) {
  static const km_udp_addr loopback = {.family = 4, .ip = {127, 0, 0, 1}};
  node *n = calloc(1, sizeof *n);
  assert_non_null(n);
  n->lab = l;
  n->addr = loopback;
  n->key = next_key(l);
  km_secret_key_id(n->key, &n->id);
  assert_int_equal(km_loop_new(&n->loop), 0);
  km_store_options store;
  km_store_options_default(&store);
  store.secret_key = n->key;
  assert_int_equal(km_store_open(&n->store, &store, NULL), 0);
  km_endpoint_options_default(&n->ep_opt);
  n->ep_opt.secret_key = n->key;
  n->ep_opt.relay_mode = KM_RELAY_MODE_DISABLED;
  km_mesh_options_default(&n->opt);
  n->opt.store = n->store;
  n->opt.heartbeat_ms = 200;
  n->opt.heartbeat_timeout_ms = 1000;
  n->opt.connect_timeout_ms = 1000;
  n->opt.backoff_ms = quick_backoff;
  n->opt.backoff_count = sizeof quick_backoff / sizeof quick_backoff[0];
  n->opt.callbacks = (km_mesh_callbacks){.size = sizeof n->opt.callbacks,
                                         .on_peer = on_peer,
                                         .on_request = on_request,
                                         .on_closed = on_mesh_closed};
  n->opt.ctx = n;
  const char *filter = getenv("KM_TEST_LOG");
  if (filter != NULL && km_log_filter_parse(&n->ep_opt.log_filter, filter, NULL) == 0) {
    n->ep_opt.log = km_log_to_stderr;
  }
  /* The port is taken now, so that others can be told of it before it is started. */
  n->ep_opt.bind = &n->addr;
  n->ep_opt.bind_count = 1;
  assert_int_equal(km_endpoint_open(&n->ep, n->loop, &n->ep_opt, NULL), 0);
  assert_int_equal(km_endpoint_bound(n->ep, &n->addr, 1), 1);
  l->nodes[l->node_count++] = n;
  node_stop(n);
  return n;
}

void node_peer(node *n, const node *to, bool dial) {
  km_addr *addr;
  assert_int_equal(km_addr_new(&addr, &to->id), 0);
  assert_int_equal(km_addr_add_udp(addr, &to->addr), 0);
  n->peers[n->peer_count++] =
      (km_mesh_peer){.size = sizeof(km_mesh_peer), .id = to->id, .addr = addr, .dial = dial};
}

void node_start(node *n) {
  km_errinfo err = {0};
  n->frozen = false;
  n->ep_opt.callbacks =
      (km_endpoint_callbacks){.size = sizeof n->ep_opt.callbacks, .on_closed = on_ep_closed};
  n->ep_opt.ctx = n;
  int rv = km_endpoint_open(&n->ep, n->loop, &n->ep_opt, &err);
  if (rv == 0) {
    n->opt.peers = n->peers;
    n->opt.peer_count = n->peer_count;
    rv = km_mesh_open(&n->mesh, n->ep, &n->opt, &err);
  }
  if (rv != 0) {
    fail_msg("start: %s: %s", km_error_name(rv), err.text);
  }
}

void node_stop(node *n) {
  uint64_t until = mesh_lab_ms() + 1000 * LAB_PATIENCE_S;
  km_mesh_close(n->mesh);
  while (n->mesh != NULL && mesh_lab_ms() < until) {
    km_loop_run_once(n->loop, 1);
  }
  assert_null(n->mesh);
  if (n->ep == NULL) {
    return;
  }
  bool told_when_closed = n->ep_opt.callbacks.on_closed != NULL;
  km_endpoint_close(n->ep);
  n->ep = told_when_closed ? n->ep : NULL;
  while (n->ep != NULL && mesh_lab_ms() < until) {
    km_loop_run_once(n->loop, 1);
  }
  assert_null(n->ep);
  mesh_lab_run(n->lab, 1);
}

static void node_free(node *n) {
  uint64_t until = mesh_lab_ms() + 1000 * LAB_PATIENCE_S;
  n->frozen = false;
  node_stop(n);
  while (km_loop_free(n->loop) != 0) {
    assert_true(mesh_lab_ms() < until);
    km_loop_run_once(n->loop, 1);
  }
  km_store_close(n->store);
  for (size_t i = 0; i < n->peer_count; i++) {
    km_addr_free((km_addr *)(uintptr_t)n->peers[i].addr);
  }
  km_secret_key_free(n->key);
  free(n);
}

km_peer_status node_status(node *n, const node *of) {
  km_peer_status s = {.size = sizeof s};
  assert_int_equal(km_peer_get(n->mesh, &of->id, &s), 0);
  return s;
}

const char *node_error(node *n, const node *of) {
  km_peer_status s = {.size = sizeof s};
  return km_peer_get(n->mesh, &of->id, &s) != 0 || s.last_error == NULL ? "" : s.last_error;
}

bool node_up(node *n, const node *of) {
  km_peer_status s = {.size = sizeof s};
  return km_peer_get(n->mesh, &of->id, &s) == 0 && s.state == KM_PEER_CONNECTED;
}

bool node_was(const node *n, const node *of, km_peer_state state) {
  for (size_t i = 0; i < n->told_count; i++) {
    if (km_id_equal(&n->history[i].id, &of->id) && n->history[i].state == state) {
      return true;
    }
  }
  return false;
}

km_mesh_stats node_stats(node *n) {
  km_mesh_stats s = {.size = sizeof s};
  assert_int_equal(km_mesh_get_stats(n->mesh, &s), 0);
  return s;
}

unsigned node_conns(node *n) {
  km_endpoint_stats s = {.size = sizeof s};
  assert_int_equal(km_endpoint_get_stats(n->ep, &s), 0);
  return (unsigned)s.connections;
}

/* --- raw peers ------------------------------------------------------------------------------- */

static void on_control_data(void *ctx, km_stream *s, const void *data, size_t len, bool fin) {
  raw *r = ctx;
  (void)s;
  (void)fin;
  size_t n = len < sizeof r->rx - r->rx_len ? len : sizeof r->rx - r->rx_len;
  memcpy(r->rx + r->rx_len, data, n);
  r->rx_len += n;
}

static void on_control_closed(void *ctx, km_stream *s, int error) {
  (void)s;
  (void)error;
  ((raw *)ctx)->control = NULL;
}

static const km_stream_callbacks raw_control = {
    .size = sizeof raw_control, .on_data = on_control_data, .on_closed = on_control_closed};

static void on_raw_connected(void *ctx, km_conn *conn) {
  (void)conn;
  ((raw *)ctx)->connected = true;
}

static void on_raw_push_closed(void *ctx, km_stream *s, int error) {
  raw *r = ctx;
  (void)error;
  if (r->push == s) { /* the next one may be there already */
    r->push = NULL;
  }
}

static void on_raw_stream(void *ctx, km_conn *conn, km_stream *s) {
  raw *r = ctx;
  (void)conn;
  r->streams++;
  if (!km_stream_is_bidi(s)) {
    r->pushes++;
  }
  if (!km_stream_is_bidi(s) && r->keeps_push) {
    static const km_stream_callbacks callbacks = {.size = sizeof callbacks,
                                                  .on_closed = on_raw_push_closed};
    km_stream_set_callbacks(s, &callbacks, r);
    r->push = s;
  }
}

static void on_raw_closed(void *ctx, km_conn *conn, const km_close_info *info) {
  raw *r = ctx;
  if (conn != r->conn) {
    return; /* one that came before */
  }
  r->conn = NULL;
  r->closed = true;
  r->info = *info;
  snprintf(r->reason, sizeof r->reason, "%.*s", (int)info->reason_len, (const char *)info->reason);
}

static void on_raw_reset(void *ctx, km_stream *s, uint64_t code) {
  (void)s;
  (void)code;
  ((raw *)ctx)->resets++;
}

static const km_conn_callbacks raw_conn = {.size = sizeof raw_conn,
                                           .on_connected = on_raw_connected,
                                           .on_stream = on_raw_stream,
                                           .on_closed = on_raw_closed};

static void on_raw_ep_closed(void *ctx, km_endpoint *ep) {
  (void)ep;
  *(km_endpoint **)ctx = NULL;
}

static raw *raw_new(mesh_lab *l, node *n) {
  raw *r = calloc(1, sizeof *r);
  assert_non_null(r);
  assert_true(l->raw_count < LAB_RAWS);
  l->raws[l->raw_count++] = r;
  r->lab = l;
  r->loop = n->loop;
  return r;
}

static void connect_raw(raw *r, node *n, km_endpoint *ep) {
  km_addr *addr;
  assert_int_equal(km_addr_new(&addr, &n->id), 0);
  assert_int_equal(km_addr_add_udp(addr, &n->addr), 0);
  assert_int_equal(km_endpoint_dial(ep, &r->conn, addr, KM_MESH_ALPN, &raw_conn, r, NULL, NULL), 0);
  km_addr_free(addr);
  assert_int_equal(km_conn_open_stream(r->conn, &r->control, true, &raw_control, r), 0);
  WAIT(r->lab, r->connected || r->closed);
}

static void open_raw(raw *r, uint8_t key) {
  static const km_udp_addr loopback = {.family = 4, .ip = {127, 0, 0, 1}};
  uint8_t seed[KM_SECRET_KEY_BYTES];
  km_secret_key *secret;
  km_endpoint_options opt;
  memset(seed, 0x80 + key, sizeof seed);
  assert_int_equal(km_secret_key_from_bytes(&secret, seed), 0);
  km_endpoint_options_default(&opt);
  opt.secret_key = secret;
  opt.bind = &loopback;
  opt.bind_count = 1;
  opt.relay_mode = KM_RELAY_MODE_DISABLED;
  opt.callbacks =
      (km_endpoint_callbacks){.size = sizeof opt.callbacks, .on_closed = on_raw_ep_closed};
  opt.ctx = &r->ep;
  assert_int_equal(km_endpoint_open(&r->ep, r->loop, &opt, NULL), 0);
  km_secret_key_free(secret);
}

raw *raw_dial(mesh_lab *l, node *n, uint8_t key) {
  raw *r = raw_new(l, n);
  open_raw(r, key);
  connect_raw(r, n, r->ep);
  return r;
}

static void on_raw_control(void *ctx, km_conn *conn, km_stream *s) {
  raw *r = ctx;
  if (km_stream_id(s) != 0) {
    on_raw_stream(ctx, conn, s);
    return;
  }
  r->control = s;
  r->rx_len = 0;
  km_stream_set_callbacks(s, &raw_control, r);
}

static void on_raw_accepted(void *ctx, km_conn *conn) {
  raw *r = ctx;
  static const km_conn_callbacks callbacks = {
      .size = sizeof callbacks, .on_stream = on_raw_control, .on_closed = on_raw_closed};
  r->conn = conn;
  r->accepted++;
  r->connected = true;
  r->closed = false;
  km_conn_set_callbacks(conn, &callbacks, r);
}

raw *raw_listen(mesh_lab *l, node *n, uint8_t key) {
  raw *r = raw_new(l, n);
  node of = {.addr = {.family = 4}};
  open_raw(r, key);
  const km_protocol protocol = {.size = sizeof protocol,
                                .alpn = KM_MESH_ALPN,
                                .conn = {.on_connected = on_raw_accepted},
                                .ctx = r};
  assert_int_equal(km_endpoint_add_protocol(r->ep, &protocol, NULL), 0);
  assert_int_equal(km_endpoint_bound(r->ep, &of.addr, 1), 1);
  of.id = raw_id(r);
  node_peer(n, &of, true);
  return r;
}

km_stream *raw_stream(raw *r, bool bidi, const void *bytes, size_t len) {
  km_stream *s;
  size_t taken;
  static const km_stream_callbacks callbacks = {
      .size = sizeof callbacks, .on_reset = on_raw_reset, .on_stopped = on_raw_reset};
  assert_int_equal(km_conn_open_stream(r->conn, &s, bidi, &callbacks, r), 0);
  assert_int_equal(km_stream_write(s, bytes, len, false, &taken, NULL), 0);
  return s;
}

raw *raw_dial_again(raw *of, node *n) {
  raw *r = raw_new(of->lab, n);
  connect_raw(r, n, of->ep);
  return r;
}

km_id raw_id(const raw *r) {
  return *km_endpoint_id(r->ep);
}

void raw_bytes(raw *r, const void *bytes, size_t len) {
  size_t taken;
  assert_non_null(r->control);
  assert_int_equal(km_stream_write(r->control, bytes, len, false, &taken, NULL), 0);
  assert_int_equal(taken, len);
}

void raw_say(raw *r, const char *json) {
  uint8_t head[4] = {0};
  size_t len = strlen(json);
  head[2] = (uint8_t)(len >> 8);
  head[3] = (uint8_t)len;
  raw_bytes(r, head, sizeof head);
  raw_bytes(r, json, len);
}

bool raw_heard(const raw *r, const char *text) {
  size_t len = strlen(text);
  for (size_t i = 0; i + len <= r->rx_len; i++) {
    if (memcmp(r->rx + i, text, len) == 0) {
      return true;
    }
  }
  return false;
}

void mesh_lab_close(mesh_lab *l) {
  for (size_t i = 0; i < l->node_count; i++) {
    l->nodes[i]->frozen = false;
  }
  for (size_t i = 0; i < l->raw_count; i++) {
    if (l->raws[i]->ep != NULL) {
      km_endpoint_close(l->raws[i]->ep);
    }
  }
  for (size_t i = 0; i < l->raw_count; i++) {
    WAIT(l, l->raws[i]->ep == NULL);
  }
  while (l->node_count > 0) {
    node *n = l->nodes[l->node_count - 1];
    node_free(n);
    l->node_count--;
  }
  for (size_t i = 0; i < l->raw_count; i++) {
    free(l->raws[i]);
  }
}
