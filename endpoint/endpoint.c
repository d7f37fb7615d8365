/* An endpoint's life: opening, the end of each loop turn, closing. */
#include "endpoint/endpoint_impl.h"

#include <sodium.h>
#include <string.h>

#include "base/secret_key.h"
#include "discovery/user.h"
#include "endpoint/conn_impl.h"
#include "endpoint/discover.h"
#include "endpoint/options.h"
#include "endpoint/qlog_io.h"
#include "endpoint/quic_close.h"
#include "endpoint/quic_demux.h"
#include "endpoint/quic_tls.h"

/* --- the end of a turn ------------------------------------------------------------------- */

void km_endpoint_schedule(km_endpoint *ep) {
  if (ep->defer != NULL) {
    km_defer_run(ep->defer);
  }
}

static void update_deadline(km_endpoint *ep) {
  km_deadline_set(ep->deadline, km_timer_heap_next(&ep->timers));
}

void km_endpoint_set_timer(km_endpoint *ep, km_timer_node *node, km_ts at) {
  km_timer_heap_set(&ep->timers, node, at);
  if (!ep->in_flush) {
    update_deadline(ep);
  }
}

int km_endpoint_reserve_timer(km_endpoint *ep) {
  int rv = km_timer_heap_reserve(&ep->timers, ep->timer_nodes + 1);
  if (rv == 0) {
    ep->timer_nodes++;
  }
  return rv;
}

void km_endpoint_release_timer(km_endpoint *ep, km_timer_node *node) {
  km_timer_heap_set(&ep->timers, node, KM_TS_NEVER);
  ep->timer_nodes--;
}

bool km_endpoint_spend_stateless(km_endpoint *ep, km_stateless_kind kind) {
  km_packet_budget *budget = &ep->stateless_budgets[kind];
  km_ts now = km_endpoint_now(ep);
  if (now - budget->refilled >= KM_STATELESS_PERIOD_NS) {
    budget->refilled = now;
    budget->left = KM_STATELESS_PER_PERIOD;
  }
  if (budget->left == 0) {
    return false;
  }
  budget->left--;
  return true;
}

static void finish_closing(km_endpoint *ep);

void km_endpoint_flush(km_endpoint *ep) {
  if (ep->in_flush) {
    return;
  }
  ep->in_flush = true;
  km_endpoint_publish(ep);
  km_list round;
  km_list_take_all(&round, &ep->dirty);
  while (!km_list_empty(&round)) {
    km_conn *conn = KM_LIST_ITEM(round.next, km_conn, dirty);
    km_list_remove(&conn->dirty);
    km_conn_flush(conn);
  }
  ep->in_flush = false;
  update_deadline(ep);
  if (!km_list_empty(&ep->dirty)) {
    km_endpoint_schedule(ep); /* callbacks of this round gave others something to do */
  }
  finish_closing(ep);
}

static void on_turn_end(void *ctx) {
  km_endpoint_flush(ctx);
}

static void on_deadline(void *ctx) {
  km_endpoint *ep = ctx;
  km_ts now = km_endpoint_now(ep);
  km_timer_node *node;
  while ((node = km_timer_heap_pop(&ep->timers, now)) != NULL) {
    node->fire(node);
  }
  km_endpoint_schedule(ep);
}

static void on_rx(void *ctx, const km_rx_batch *batch) {
  const km_endpoint *ep = ctx;
  if (ep->state == KM_ENDPOINT_CLOSED) {
    return; /* on_closed is due; the sockets go with it */
  }
  for (size_t at = 0; at < batch->len; at += batch->segment) {
    size_t left = batch->len - at;
    km_quic_demux(ctx, &batch->from, batch->ecn, batch->data + at,
                  left < batch->segment ? left : batch->segment);
  }
}

static void on_rx_done(void *ctx) {
  km_endpoint_schedule(ctx);
}

static void on_writable(void *ctx) {
  km_endpoint *ep = ctx;
  while (!km_list_empty(&ep->blocked)) {
    km_conn *conn = KM_LIST_ITEM(ep->blocked.next, km_conn, blocked);
    km_list_remove(&conn->blocked);
    km_conn_mark_dirty(conn);
  }
}

/* --- discovery ------------------------------------------------------------------------------- */

/* From now on the endpoint does without. */
static void forget_discovery(void *ctx) {
  km_endpoint *ep = ctx;
  for (km_list *n = ep->conns.next; n != &ep->conns; n = n->next) {
    km_discover_end(KM_LIST_ITEM(n, km_conn, all));
  }
  ep->opt.discovery = NULL;
}

static int use_discovery(km_endpoint *ep, km_errinfo *err) {
  const km_discovery_user user = {.loop = ep->loop,
                                  .key = ep->opt.publish ? ep->key : NULL,
                                  .on_gone = forget_discovery,
                                  .ctx = ep};
  if (ep->opt.discovery == NULL) {
    return 0;
  }
  int rv = km_discovery_use(ep->opt.discovery, &user, err);
  ep->opt.discovery = rv == 0 ? ep->opt.discovery : NULL;
  return rv;
}

static void leave_discovery(km_endpoint *ep) {
  km_discovery *d = ep->opt.discovery;
  if (d != NULL) {
    forget_discovery(ep);
    km_discovery_leave(d);
  }
}

static void withdraw(km_endpoint *ep) {
  if (ep->opt.discovery != NULL && ep->opt.publish) {
    int rv = km_discovery_publish(ep->opt.discovery, NULL, NULL);
    (void)rv; /* without an address there is nothing to copy: it cannot fail */
  }
}

/* --- opening --------------------------------------------------------------------------------- */

static void free_parts(km_endpoint *ep) {
  leave_discovery(ep);
  km_endpoint_close_remotes(ep);
  km_magicsock_free(ep->ms);
  km_deadline_free(ep->deadline);
  km_defer_free(ep->defer);
  km_timer_heap_clear(&ep->timers);
  km_cid_table_clear(&ep->cids);
  km_cid_table_clear(&ep->reset_tokens);
  km_addr_counter_clear(&ep->unproven_by_addr);
  km_addr_counter_clear(&ep->proven_by_addr);
  km_send_pool_clear(&ep->send_pool);
  km_session_cache_free(ep->sessions);
  km_ticket_guard_free(ep->tickets);
  km_quic_tls_free(ep->tls);
  km_secret_key_free(ep->key);
  for (size_t i = 0; i < ep->protocol_count; i++) {
    km_env_free(&ep->env, ep->protocols[i].alpn);
  }
  km_env_free(&ep->env, ep->tx_buf);
  km_env_free(&ep->env, (void *)(uintptr_t)ep->opt.qlog_dir);
  sodium_memzero(ep->token_secret, sizeof ep->token_secret);
  sodium_memzero(ep->reset_secret, sizeof ep->reset_secret);
  km_env env = ep->env;
  km_env_free(&env, ep);
}

static void init_cores(km_endpoint *ep) {
  km_list_init(&ep->conns);
  km_list_init(&ep->dirty);
  km_list_init(&ep->blocked);
  km_list_init(&ep->tombstones);
  km_timer_heap_init(&ep->timers, &ep->env);
  km_cid_table_init(&ep->cids, &ep->env);
  km_cid_table_init(&ep->reset_tokens, &ep->env);
  km_addr_counter_init(&ep->unproven_by_addr, &ep->env);
  km_addr_counter_init(&ep->proven_by_addr, &ep->env);
  km_send_pool_init(&ep->send_pool, &ep->env);
}

/* Reset tokens come from the identity, so that an endpoint that restarted with its key can tell
 * peers that their connections are gone (RFC 9000 section 10.3.2). */
static int init_key(km_endpoint *ep, const km_secret_key *key) {
  int rv = key != NULL ? km_secret_key_copy(&ep->key, key) : km_secret_key_generate(&ep->key);
  if (rv != 0) {
    return rv;
  }
  static const char label[] = "keymesh stateless reset 1";
  km_secret_key_id(ep->key, &ep->id);
  crypto_generichash(ep->reset_secret, sizeof ep->reset_secret, (const uint8_t *)label,
                     sizeof label - 1, km_secret_key_seed(ep->key), KM_SECRET_KEY_BYTES);
  km_env_random(&ep->env, ep->token_secret, sizeof ep->token_secret);
  return 0;
}

static int init_loop_parts(km_endpoint *ep) {
  int rv = km_deadline_new(&ep->deadline, ep->loop, on_deadline, ep);
  if (rv == 0) {
    rv = km_defer_new(&ep->defer, ep->loop, on_turn_end, ep);
  }
  if (rv == 0) {
    rv = km_session_cache_new(&ep->sessions, &ep->env);
  }
  if (rv == 0) {
    rv = km_ticket_guard_new(&ep->tickets, &ep->env, km_endpoint_now(ep));
  }
  if (rv == 0) {
    ep->tx_buf = km_env_alloc(&ep->env, KM_ENDPOINT_TX_BYTES);
    rv = ep->tx_buf == NULL ? KM_ERR_NOMEM : 0;
  }
  return rv;
}

static int init_files(km_endpoint *ep, km_errinfo *err) {
  const char *dir = ep->opt.qlog_dir;
  const char *keylog = ep->opt.keylog_file;
  ep->opt.qlog_dir = ep->opt.keylog_file = NULL;
  if (dir != NULL) {
    int rv = km_qlog_check_dir(dir, err);
    if (rv != 0) {
      return rv;
    }
    ep->opt.qlog_dir = km_env_strdup(&ep->env, dir);
    if (ep->opt.qlog_dir == NULL) {
      return km_fail(err, KM_ERR_NOMEM, NULL);
    }
  }
  return km_quic_tls_new(&ep->tls, ep, keylog, err);
}

/* Those of all connections, and one dial of a full address: its candidates and their mixed path. */
static size_t max_paths(const km_endpoint_options *opt) {
  size_t all = (size_t)opt->max_connections * KM_CONN_MAX_PATHS + KM_MIXED_MAX_CANDIDATES + 1;
  return all < KM_PATHS_MAX ? all : KM_PATHS_MAX;
}

static int init_sockets(km_endpoint *ep, km_errinfo *err) {
  km_magicsock_config config = {
      .env = &ep->env,
      .loop = ep->loop,
      .bind = ep->opt.bind,
      .bind_count = ep->opt.bind_count,
      .gso = ep->opt.gso,
      .ecn = ep->opt.ecn,
      .max_paths = max_paths(&ep->opt),
      .on_rx = on_rx,
      .on_rx_done = on_rx_done,
      .on_writable = on_writable,
      .ctx = ep,
  };
  int rv = km_endpoint_open_magicsock(ep, &config, err);
  ep->opt.bind = NULL;
  ep->opt.bind_count = 0;
  ep->opt.relay_urls = NULL;
  ep->opt.relay_ca_file = ep->opt.relay_token = NULL;
  return rv;
}

static int open_parts(km_endpoint *ep, km_errinfo *err) {
  int rv = init_key(ep, ep->opt.secret_key);
  ep->opt.secret_key = NULL;
  if (rv == 0) {
    rv = init_loop_parts(ep);
  }
  if (rv != 0) {
    ep->opt.qlog_dir = NULL;
    ep->opt.discovery = NULL;
    return km_fail(err, rv, NULL);
  }
  rv = use_discovery(ep, err);
  if (rv != 0) {
    ep->opt.qlog_dir = NULL;
    return rv;
  }
  rv = init_files(ep, err);
  return rv != 0 ? rv : init_sockets(ep, err);
}

int km_endpoint_open(km_endpoint **ret, km_loop *loop, const km_endpoint_options *options,
                     km_errinfo *err) {
  if (ret == NULL || loop == NULL) {
    return km_fail(err, KM_ERR_INVALID, "km_endpoint_open needs a place for the result and a loop");
  }
  if (sodium_init() < 0) {
    return km_fail(err, KM_ERR_CRYPTO, "the system gives no randomness");
  }
  km_endpoint_options opt;
  int rv = km_options_take(&opt, options, err);
  if (rv != 0) {
    return rv;
  }
  km_env env = km_env_system;
  env.logger = (km_logger){opt.log, opt.log_ctx, opt.log_filter};
  km_endpoint *ep = km_env_zalloc(&env, 1, sizeof *ep);
  if (ep == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  ep->env = env;
  ep->opt = opt;
  ep->loop = loop;
  init_cores(ep);
  rv = open_parts(ep, err);
  if (rv != 0) {
    free_parts(ep);
    return rv;
  }
  char id[KM_ID_TEXT_CAP];
  (void)km_id_format(&ep->id, KM_ID_HEX, id, sizeof id);
  EP_LOG(ep, KM_LOG_INFO, KM_LOGC_ENDPOINT, NULL, NULL, "open", "id=%s", id);
  *ret = ep;
  km_endpoint_publish_soon(ep);
  return 0;
}

/* --- closing --------------------------------------------------------------------------------- */

/* Runs from the loop, when nothing of the endpoint is on the stack any more. */
static void run_on_closed(void *ctx) {
  km_endpoint *ep = ctx;
  EP_LOG(ep, KM_LOG_INFO, KM_LOGC_ENDPOINT, NULL, NULL, "closed", "%s", "");
  km_endpoint_close_remotes(ep);
  km_magicsock_free(ep->ms);
  ep->ms = NULL;
  if (ep->opt.callbacks.on_closed != NULL) {
    ep->opt.callbacks.on_closed(ep->opt.ctx, ep);
  }
  free_parts(ep);
}

static void finish_closing(km_endpoint *ep) {
  if (ep->state != KM_ENDPOINT_CLOSING || ep->conn_count > 0 || ep->tombstone_count > 0) {
    return;
  }
  ep->state = KM_ENDPOINT_CLOSED;
  km_defer_free(ep->defer);
  ep->defer = NULL;
  km_deadline_free(ep->deadline);
  ep->deadline = NULL;
  /* A fresh timer never runs before this callback chain ended. */
  km_timer *timer;
  if (km_timer_start(&timer, ep->loop, 0, run_on_closed, ep) != 0) {
    run_on_closed(ep);
  }
}

void km_endpoint_close(km_endpoint *ep) {
  if (ep == NULL || ep->state != KM_ENDPOINT_OPEN) {
    return;
  }
  ep->state = KM_ENDPOINT_CLOSING;
  km_tombstones_hurry(ep);
  for (km_list *n = ep->conns.next; n != &ep->conns; n = n->next) {
    km_conn *conn = KM_LIST_ITEM(n, km_conn, all);
    km_conn_begin_close(conn, KM_CLOSE_LOCAL_APP, KM_OK, true, 0, NULL, 0);
  }
  withdraw(ep);
  leave_discovery(ep);
  km_endpoint_schedule(ep);
}

/* --- questions ------------------------------------------------------------------------------- */

const km_id *km_endpoint_id(const km_endpoint *ep) {
  return &ep->id;
}

km_loop *km_endpoint_loop(const km_endpoint *ep) {
  return ep->loop;
}

size_t km_endpoint_bound(const km_endpoint *ep, km_udp_addr *ret, size_t cap) {
  return ep->ms == NULL ? 0 : km_magicsock_bound(ep->ms, ret, cap);
}

int km_endpoint_addr(km_endpoint *ep, km_addr **ret) {
  if (ret == NULL) {
    return KM_ERR_INVALID;
  }
  if (ep->state != KM_ENDPOINT_OPEN) {
    return KM_ERR_CLOSED;
  }
  km_candidate direct[KM_DISCO_MAX_CANDIDATES];
  bool hidden = ep->opt.path_policy == KM_POLICY_RELAY_ONLY;
  size_t count = hidden ? 0
                        : km_gather_candidates(km_remotes_gather(ep->remotes), direct,
                                               KM_DISCO_MAX_CANDIDATES);
  km_addr *addr;
  int rv = km_addr_new(&addr, &ep->id);
  if (rv != 0) {
    return rv;
  }
  for (size_t i = 0; rv != KM_ERR_NOMEM && i < count; i++) {
    rv = km_addr_add_udp(addr,
                         &direct[i].addr); /* one too many, or without a port: others are as good */
  }
  const char *relays[KM_ADDR_MAX_RELAYS];
  count = km_magicsock_home(ep->ms, relays, KM_ADDR_MAX_RELAYS);
  for (size_t i = 0; rv != KM_ERR_NOMEM && i < count; i++) {
    rv = km_addr_add_relay(addr, relays[i], strlen(relays[i]), NULL);
  }
  if (rv == KM_ERR_NOMEM) {
    km_addr_free(addr);
    return rv;
  }
  *ret = addr;
  return 0;
}

int km_endpoint_get_stats(const km_endpoint *ep, km_endpoint_stats *ret) {
  if (ret == NULL || ret->size < sizeof ret->size) {
    return KM_ERR_INVALID;
  }
  km_endpoint_stats s = ep->stats;
  s.size = ret->size;
  s.half_open = ep->half_open_count;
  s.connections = ep->established_count;
  if (ep->ms != NULL) {
    km_magicsock_stats ms;
    km_magicsock_get_stats(ep->ms, &ms);
    s.paths = km_magicsock_path_count(ep->ms);
    s.rx_packets = ms.rx_packets;
    s.rx_bytes = ms.rx_bytes;
    s.rx_batches = ms.rx_batches;
    s.tx_packets = ms.tx_packets;
    s.tx_bytes = ms.tx_bytes;
    s.tx_batches = ms.tx_batches;
    s.rx_dropped += ms.rx_not_quic + ms.rx_truncated;
    s.tx_blocked = ms.tx_blocked;
    s.tx_errors = ms.tx_errors;
  }
  if (ep->remotes != NULL) {
    km_disco_box_stats disco;
    km_remotes_get_stats(ep->remotes, &disco);
    km_remotes_count_attempts(ep->remotes, &s.punch_attempts, &s.punch_successes);
    s.disco_opened = disco.opened;
    s.disco_strangers = disco.strangers;
    s.disco_forged = disco.forged;
    s.disco_replayed = disco.replayed;
  }
  memcpy(ret, &s, ret->size < sizeof s ? ret->size : sizeof s);
  return 0;
}
