/* Unreliable datagrams (RFC 9221): a bounded queue a connection. */
#include <string.h>

#include "endpoint/conn_impl.h"

/* What a packet holds beside the datagram's bytes: short header with packet number, AEAD tag, frame
 * type and length. */
#define PACKET_NUMBER_MAX 4
#define AEAD_TAG 16
#define FRAME_HEAD 3
/* The peer's limit counts the frame with its type and length. */
#define FRAME_HEAD_MAX 9

size_t km_conn_max_datagram(const km_conn *conn) {
  if (conn == NULL || conn->state != KM_CONN_CONNECTED || !conn->progress.completed) {
    return 0;
  }
  const ngtcp2_transport_params *tp = ngtcp2_conn_get_remote_transport_params2(conn->quic);
  uint64_t limit = tp == NULL ? 0 : tp->max_datagram_frame_size;
  if (limit <= FRAME_HEAD_MAX) {
    return 0;
  }
  size_t overhead =
      1 + ngtcp2_conn_get_dcid2(conn->quic)->datalen + PACKET_NUMBER_MAX + AEAD_TAG + FRAME_HEAD;
  size_t room = ngtcp2_conn_get_path_max_tx_udp_payload_size2(conn->quic) - overhead;
  return limit - FRAME_HEAD_MAX < room ? (size_t)limit - FRAME_HEAD_MAX : room;
}

int km_conn_send_datagram(km_conn *conn, const void *data, size_t len) {
  if (conn == NULL || (data == NULL && len > 0)) {
    return KM_ERR_INVALID;
  }
  if (conn->state == KM_CONN_CLOSING) {
    return KM_ERR_CLOSED;
  }
  if (conn->state != KM_CONN_CONNECTED) {
    return KM_ERR_STATE;
  }
  if (!conn->progress
           .completed) { /* accepting side: early data came before the end of the handshake */
    conn->datagrams_wanted = true;
    return KM_ERR_AGAIN;
  }
  size_t max = km_conn_max_datagram(conn);
  if (max == 0) {
    return KM_ERR_UNSUPPORTED;
  }
  if (len > max) {
    return KM_ERR_DATAGRAM_TOO_LARGE;
  }
  if (conn->dgram_count >= conn->ep->opt.datagram_queue) {
    conn->datagrams_wanted = true;
    return KM_ERR_AGAIN;
  }
  km_conn_datagram *d = km_env_alloc(&conn->ep->env, sizeof *d + len);
  if (d == NULL) {
    return KM_ERR_NOMEM;
  }
  d->next = NULL;
  d->len = len;
  if (len > 0) {
    memcpy(d->data, data, len);
  }
  if (conn->dgram_last == NULL) {
    conn->dgram_first = d;
  } else {
    conn->dgram_last->next = d;
  }
  conn->dgram_last = d;
  conn->dgram_count++;
  km_conn_mark_dirty(conn);
  return 0;
}

void km_conn_pop_datagram(km_conn *conn) {
  km_conn_datagram *d = conn->dgram_first;
  conn->dgram_first = d->next;
  if (d->next == NULL) {
    conn->dgram_last = NULL;
  }
  conn->dgram_count--;
  km_env_free(&conn->ep->env, d);
}

void km_conn_drop_datagrams(km_conn *conn) {
  while (conn->dgram_first != NULL) {
    km_conn_pop_datagram(conn);
  }
}
