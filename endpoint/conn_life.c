/* A connection's life on its endpoint: made, flushed at the end of turns, freed. */
#include <string.h>

#include "endpoint/conn_impl.h"
#include "endpoint/discover.h"
#include "endpoint/intake.h"
#include "endpoint/qlog_io.h"
#include "endpoint/quic_tls.h"
#include "endpoint/redial.h"

#define BLOCKED_NS KM_NS_PER_MS

static void on_timer(km_timer_node *node) {
  km_quic_timeout(KM_LIST_ITEM(node, km_conn, timer));
}

int km_conn_new(km_endpoint *ep, bool is_client, km_conn **ret) {
  km_conn *conn = km_env_zalloc(&ep->env, 1, sizeof *conn);
  if (conn == NULL) {
    return KM_ERR_NOMEM;
  }
  if (km_endpoint_reserve_timer(ep) != 0) {
    km_env_free(&ep->env, conn);
    return KM_ERR_NOMEM;
  }
  conn->owner.kind = KM_CID_OWNER_CONN;
  conn->ep = ep;
  conn->is_client = is_client;
  conn->timer.fire = on_timer;
  conn->started = km_endpoint_now(ep);
  conn->tls_free_at = conn->prune_at = conn->patience = conn->seek_at = conn->relays_at =
      KM_TS_NEVER;
  conn->keep_alive_ms = ep->opt.keep_alive_ms;
  km_quic_select_init(conn);
  conn->cipher = conn->group = "";
  km_list_init(&conn->all);
  km_list_init(&conn->dirty);
  km_list_init(&conn->blocked);
  km_list_append(&ep->conns, &conn->all);
  ep->conn_count++;
  *ret = conn;
  return 0;
}

static void forget_reset_tokens(km_conn *conn) {
  ngtcp2_cid_token2 active[32];
  size_t count = ngtcp2_conn_get_active_dcid2(conn->quic, NULL);
  if (count > sizeof active / sizeof active[0]) {
    return;
  }
  count = ngtcp2_conn_get_active_dcid2(conn->quic, active);
  for (size_t i = 0; i < count; i++) {
    if (active[i].token_present) {
      km_cid_table_remove(&conn->ep->reset_tokens, active[i].token.data,
                          sizeof active[i].token.data, &conn->owner);
    }
  }
}

void km_conn_forget_cids(km_conn *conn) {
  if (conn->quic == NULL) {
    return;
  }
  ngtcp2_cid cids[32];
  size_t count = ngtcp2_conn_get_scid2(conn->quic, NULL);
  if (count <= sizeof cids / sizeof cids[0]) {
    (void)ngtcp2_conn_get_scid2(conn->quic, cids);
    for (size_t i = 0; i < count; i++) {
      km_cid_table_remove(&conn->ep->cids, cids[i].data, cids[i].datalen, &conn->owner);
    }
  }
  forget_reset_tokens(conn);
  km_cid_table_remove(&conn->ep->cids, conn->initial_dcid.data, conn->initial_dcid.datalen,
                      &conn->owner);
}

void km_conn_free(km_conn *conn) {
  km_endpoint *ep = conn->ep;
  km_conn_leave_half_open(conn);
  km_conn_forget_cids(conn);
  km_discover_end(conn);
  km_intake_end(conn);
  km_quic_select_leave(conn);
  km_quic_paths_clear(conn);
  km_conn_drop_datagrams(conn);
  ngtcp2_conn_del(conn->quic);
  km_quic_tls_stop(conn);
  km_qlog_free(conn->qlog);
  km_endpoint_release_timer(ep, &conn->timer);
  km_list_remove(&conn->all);
  km_list_remove(&conn->dirty);
  km_list_remove(&conn->blocked);
  ep->conn_count--;
  ep->established_count -= conn->reported_connected ? 1 : 0;
  km_env_free(&ep->env, conn->alpn);
  km_env_free(&ep->env, conn->close_reason);
  km_conn_notes_clear(&conn->notes, &ep->env);
  km_redial_forget(conn);
  km_env_free(&ep->env, conn);
}

void km_conn_take_callbacks(km_conn_callbacks *ret, const km_conn_callbacks *from) {
  memset(ret, 0, sizeof *ret);
  if (from != NULL) {
    size_t size = from->size == 0 || from->size > sizeof *ret ? sizeof *ret : from->size;
    memcpy(ret, from, size);
  }
}

void km_conn_mark_dirty(km_conn *conn) {
  km_list_append(&conn->ep->dirty, &conn->dirty);
  km_endpoint_schedule(conn->ep);
}

void km_conn_update_timer(km_conn *conn) {
  km_ts at = ngtcp2_conn_get_expiry2(conn->quic);
  /* What waits for a full socket cannot act on its deadline: do not spin on one that is over. */
  km_ts soonest = km_list_empty(&conn->blocked) ? 0 : km_endpoint_now(conn->ep) + BLOCKED_NS;
  at = at < soonest ? soonest : at;
  if (conn->tls_free_at < at) {
    at = conn->tls_free_at;
  }
  if (conn->prune_at < at) {
    at = conn->prune_at;
  }
  if (conn->patience < at) {
    at = conn->patience;
  }
  if (conn->seek_at < at) {
    at = conn->seek_at;
  }
  if (conn->relays_at < at) {
    at = conn->relays_at;
  }
  if (km_quic_select_deadline(conn) < at) {
    at = km_quic_select_deadline(conn);
  }
  km_endpoint_set_timer(conn->ep, &conn->timer, at);
}

/* The handshake state goes when nothing can come that needs it: a server's when its tickets are
 * made, a client's when it has one or none came for a while. */
static void free_tls_if_due(km_conn *conn) {
  if (conn->ssl == NULL || !conn->progress.completed) {
    return;
  }
  bool due = !conn->is_client || conn->tls_free_at <= km_endpoint_now(conn->ep) ||
             (conn->progress.confirmed && conn->progress.ticket_received);
  if (due) {
    ngtcp2_conn_set_tls_native_handle(conn->quic, NULL);
    km_quic_tls_stop(conn);
    conn->tls_free_at = KM_TS_NEVER;
  }
}

static void do_deferred(km_conn *conn) {
  if (conn->key_update_due) {
    conn->key_update_due = false;
    int rv = ngtcp2_conn_initiate_key_update(conn->quic, km_endpoint_now(conn->ep));
    if (rv != 0) {
      CONN_LOG(conn, KM_LOG_WARN, KM_LOGC_QUIC, "key-update-failed", "%s", ngtcp2_strerror(rv));
    }
  }
  if (conn->migration_due) {
    conn->migration_due = false;
    km_errinfo err;
    if (km_quic_migrate(conn, &conn->migration_key, &err) != 0) {
      CONN_LOG(conn, KM_LOG_WARN, KM_LOGC_PATH, "migration-failed", "%s", err.text);
    }
  }
}

void km_conn_flush(km_conn *conn) {
  if (conn->state != KM_CONN_CLOSING) {
    do_deferred(conn);
    km_quic_write(conn);
  }
  if (conn->state != KM_CONN_CLOSING) {
    km_quic_select_written(conn);
    free_tls_if_due(conn);
    km_quic_path_check(conn);
    if (conn->prune_at <= km_endpoint_now(conn->ep)) {
      km_quic_path_prune(conn);
    }
  }
  if (conn->state == KM_CONN_CLOSING) {
    km_conn_finish_close(conn);
    return;
  }
  km_conn_update_timer(conn);
}

static km_addr_counter *half_open_counter(km_conn *conn) {
  return conn->progress.proven ? &conn->ep->proven_by_addr : &conn->ep->unproven_by_addr;
}

void km_conn_leave_half_open(km_conn *conn) {
  if (conn->progress.half_open) {
    conn->progress.half_open = false;
    conn->ep->half_open_count--;
    conn->ep->half_open_relayed -= conn->first_key.way == KM_WAY_RELAY;
    const km_udp_addr source = km_endpoint_source(&conn->first_key);
    km_addr_counter_remove(half_open_counter(conn), &source);
  }
}

bool km_conn_report_connected(km_conn *conn) {
  km_endpoint *ep = conn->ep;
  if (conn->reported_connected || conn->state == KM_CONN_CLOSING) {
    return conn->state != KM_CONN_CLOSING;
  }
  if (!conn->is_client && ep->opt.callbacks.on_peer != NULL &&
      !ep->opt.callbacks.on_peer(ep->opt.ctx, &conn->remote_id, conn->alpn)) {
    ep->stats.refused++;
    km_conn_begin_close(conn, KM_CLOSE_LOCAL_TRANSPORT, KM_ERR_REFUSED, false,
                        NGTCP2_CONNECTION_REFUSED, NULL, 0);
    return false;
  }
  if (conn->state == KM_CONN_CLOSING) {
    return false; /* on_peer closed the endpoint */
  }
  conn->state = KM_CONN_CONNECTED;
  conn->reported_connected = true;
  ep->established_count++;
  conn->handshake_us = (km_endpoint_now(ep) - conn->started) / 1000;
  conn->current = km_quic_path_current(conn);
  km_conn_note_event(conn, KM_EXPLAIN_EVENT_CONNECTED,
                     conn->current == NULL ? NULL : &conn->current->key, 0);
  km_quic_select_path_changed(conn);
  CONN_LOG(conn, KM_LOG_INFO, KM_LOGC_QUIC, "connected", "side=%s alpn=%s handshake_us=%llu%s",
           conn->is_client ? "client" : "server", conn->alpn,
           (unsigned long long)conn->handshake_us, conn->progress.resumed ? " resumed" : "");
  km_discover_worked(conn);
  if (conn->cb.on_connected != NULL) {
    conn->cb.on_connected(conn->ctx, conn);
  }
  return conn->state != KM_CONN_CLOSING;
}
