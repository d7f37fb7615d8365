/* The public functions of a connection that need no module of their own. */
#include <keymesh/conn.h>

#include <string.h>

#include "endpoint/conn_impl.h"

void km_conn_set_callbacks(km_conn *conn, const km_conn_callbacks *callbacks, void *ctx) {
  km_conn_take_callbacks(&conn->cb, callbacks);
  conn->ctx = ctx;
}

void *km_conn_ctx(const km_conn *conn) {
  return conn->ctx;
}

km_endpoint *km_conn_endpoint(const km_conn *conn) {
  return conn->ep;
}

const km_id *km_conn_remote_id(const km_conn *conn) {
  return &conn->remote_id;
}

const char *km_conn_alpn(const km_conn *conn) {
  return conn->alpn == NULL ? "" : conn->alpn;
}

bool km_conn_is_client(const km_conn *conn) {
  return conn->is_client;
}

bool km_conn_is_connected(const km_conn *conn) {
  return conn->state == KM_CONN_CONNECTED;
}

km_early_state km_conn_early_state(const km_conn *conn) {
  return conn->early;
}

void km_conn_close(km_conn *conn, uint64_t code, const void *reason, size_t reason_len) {
  if (conn == NULL) {
    return;
  }
  km_conn_begin_close(conn, KM_CLOSE_LOCAL_APP, KM_OK, true,
                      code > KM_QUIC_CODE_MAX ? KM_QUIC_CODE_MAX : code, reason,
                      reason == NULL ? 0 : reason_len);
}

int km_conn_update_keys(km_conn *conn) {
  if (conn == NULL) {
    return KM_ERR_INVALID;
  }
  if (conn->state == KM_CONN_CLOSING) {
    return KM_ERR_CLOSED;
  }
  if (!conn->progress.confirmed) {
    return KM_ERR_STATE;
  }
  if (conn->in_quic) {
    conn->key_update_due = true;
  } else if (ngtcp2_conn_initiate_key_update(conn->quic, km_endpoint_now(conn->ep)) != 0) {
    return KM_ERR_STATE;
  }
  km_conn_mark_dirty(conn);
  return 0;
}

void km_conn_set_keep_alive(km_conn *conn, uint32_t interval_ms) {
  conn->keep_alive_ms = interval_ms;
  if (conn->quic != NULL) {
    km_quic_set_keep_alive(conn, interval_ms);
    km_conn_mark_dirty(conn);
  }
}

int km_conn_migrate(km_conn *conn, const km_udp_addr *remote, km_errinfo *err) {
  if (conn == NULL || remote == NULL || remote->port == 0) {
    return km_fail(err, KM_ERR_BAD_ADDR, "an address with a port is needed");
  }
  if (conn->state == KM_CONN_CLOSING) {
    return km_fail(err, KM_ERR_CLOSED, NULL);
  }
  km_path_key key;
  int rv = km_magicsock_key(conn->ep->ms, remote, &key);
  if (rv != 0) {
    return km_fail(err, KM_ERR_BAD_ADDR, "no socket of ours reaches that kind of address");
  }
  return km_quic_migrate(conn, &key, err);
}

int km_conn_set_policy(km_conn *conn, km_path_policy policy, uint32_t direct_within_ms) {
  if (conn == NULL) {
    return KM_ERR_INVALID;
  }
  return conn->state == KM_CONN_CLOSING ? KM_ERR_CLOSED
                                        : km_quic_select_policy(conn, policy, direct_within_ms);
}

int km_conn_path(const km_conn *conn, km_path_info *ret) {
  if (conn == NULL || ret == NULL) {
    return KM_ERR_INVALID;
  }
  const km_path *path = km_quic_path_current(conn);
  if (path != NULL) {
    km_quic_path_info(conn, path, ret);
    return 0;
  }
  memset(ret, 0, sizeof *ret);
  return conn->state == KM_CONN_CLOSING ? KM_ERR_CLOSED : 0;
}

static uint64_t age_us(const km_conn *conn) {
  uint64_t started_us = (km_endpoint_now(conn->ep) - conn->started) / 1000;
  return conn->reported_connected ? started_us - conn->handshake_us : 0;
}

int km_conn_get_stats(const km_conn *conn, km_conn_stats *ret) {
  if (conn == NULL || ret == NULL || ret->size < sizeof ret->size) {
    return KM_ERR_INVALID;
  }
  if (conn->quic == NULL) {
    return KM_ERR_CLOSED;
  }
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(conn->quic, &info);
  const km_conn_stats s = {
      .size = ret->size,
      .handshake_us = conn->handshake_us,
      .rtt_us = info.min_rtt == UINT64_MAX ? 0 : info.smoothed_rtt / 1000,
      .min_rtt_us = info.min_rtt == UINT64_MAX ? 0 : info.min_rtt / 1000,
      .rtt_var_us = info.rttvar / 1000,
      .cwnd_bytes = info.cwnd,
      .bytes_in_flight = info.bytes_in_flight,
      .tx_packets = info.pkt_sent,
      .tx_bytes = info.bytes_sent,
      .rx_packets = info.pkt_recv,
      .rx_bytes = info.bytes_recv,
      .lost_packets = info.pkt_lost,
      .lost_bytes = info.bytes_lost,
      .stream_tx_bytes = conn->stream_tx,
      .stream_rx_bytes = conn->stream_rx,
      .datagrams_tx = conn->dgram_tx,
      .datagrams_rx = conn->dgram_rx,
      .datagrams_lost = conn->dgram_lost,
      .streams_open = conn->stream_count + conn->waiting_count,
      /* The first preparation is for the keys after the handshake's. */
      .key_updates = conn->key_preparations == 0 ? 0 : conn->key_preparations - 1,
      .migrations = conn->migrations,
      .mtu = (uint32_t)ngtcp2_conn_get_path_max_tx_udp_payload_size2(conn->quic),
      .cipher = conn->cipher,
      .group = conn->group,
      .resumed = conn->progress.resumed,
      .ecn = conn->ecn_seen,
      .age_us = age_us(conn),
  };
  memcpy(ret, &s, ret->size < sizeof s ? ret->size : sizeof s);
  return 0;
}
