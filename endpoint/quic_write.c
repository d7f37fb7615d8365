/* Filling packets: QUIC's own frames, datagrams, then streams in the scheduler's order. */
#include "endpoint/conn_impl.h"
#include "endpoint/discover.h"

#define SEND_VECS 8
#define BATCH_BYTES 65000u /* of one system call; UDP over IPv4 carries 65,507 */
#define BATCH_PACKETS 64u  /* UDP_MAX_SEGMENTS of older kernels */
#define BATCHES_PER_TURN 4 /* then others have their turn */

typedef struct packet {
  ngtcp2_conn *quic;
  ngtcp2_path *path;
  ngtcp2_pkt_info *pi;
  uint8_t *dest;
  size_t dest_len;
  ngtcp2_tstamp ts;
} packet;

/* What became of one frame. */
typedef enum frame_result {
  FRAME_MORE, /* the packet has room for another */
  FRAME_DONE  /* the packet is complete (`*ret` > 0), nothing fits (0), or all failed (< 0) */
} frame_result;

static frame_result write_datagram(km_conn *conn, const packet *p, ngtcp2_ssize *ret) {
  const km_conn_datagram *d = conn->dgram_first;
  int accepted = 0;
  if (d->len > km_conn_max_datagram(conn)) {
    conn->dgram_lost++; /* the path's MTU shrank since it was queued */
    km_conn_pop_datagram(conn);
    return FRAME_MORE;
  }
  const ngtcp2_vec vec = {(uint8_t *)(uintptr_t)d->data, d->len};
  *ret = ngtcp2_conn_writev_datagram(p->quic, p->path, p->pi, p->dest, p->dest_len, &accepted,
                                     NGTCP2_WRITE_DATAGRAM_FLAG_MORE, 0, &vec, 1, p->ts);
  if (accepted) {
    conn->dgram_tx++;
    km_conn_pop_datagram(conn);
  }
  if (*ret == NGTCP2_ERR_INVALID_ARGUMENT || *ret == NGTCP2_ERR_INVALID_STATE) {
    conn->dgram_lost++;
    km_conn_pop_datagram(conn);
    return FRAME_MORE;
  }
  return *ret == NGTCP2_ERR_WRITE_MORE ? FRAME_MORE : FRAME_DONE;
}

static void stream_sent(km_stream *s, ngtcp2_ssize len, bool fin) {
  if (len < 0) {
    return;
  }
  km_send_queue_sent(&s->send, (size_t)len);
  s->conn->stream_tx += (uint64_t)len;
  s->frames_new++;
  if (fin && km_send_queue_waiting(&s->send) == 0) {
    s->fin_with_data = !s->fin_sent && len > 0;
    s->fin_sent = true;
  }
  if (km_send_queue_waiting(&s->send) == 0 || km_stream_frames_full(s)) {
    km_stream_sched_remove(&s->conn->sched, &s->sched);
  }
}

static frame_result write_stream(km_conn *conn, km_stream *s, const packet *p, ngtcp2_ssize *ret) {
  km_send_vec waiting[SEND_VECS];
  ngtcp2_vec vec[SEND_VECS];
  size_t count = km_send_queue_peek(&s->send, waiting, SEND_VECS, p->dest_len);
  size_t total = 0;
  for (size_t i = 0; i < count; i++) {
    vec[i] = (ngtcp2_vec){(uint8_t *)(uintptr_t)waiting[i].base, waiting[i].len};
    total += waiting[i].len;
  }
  bool fin = s->fin_queued && total == km_send_queue_waiting(&s->send);
  uint32_t flags = NGTCP2_WRITE_STREAM_FLAG_MORE | (fin ? NGTCP2_WRITE_STREAM_FLAG_FIN : 0);
  ngtcp2_ssize taken = -1;
  *ret = ngtcp2_conn_writev_stream(p->quic, p->path, p->pi, p->dest, p->dest_len, &taken, flags,
                                   s->id, vec, count, p->ts);
  switch (*ret) {
  case NGTCP2_ERR_STREAM_DATA_BLOCKED:
    s->flow_blocked = true;
    km_stream_sched_remove(&conn->sched, &s->sched);
    return FRAME_MORE;
  case NGTCP2_ERR_STREAM_SHUT_WR:
  case NGTCP2_ERR_STREAM_NOT_FOUND:
    km_stream_sched_remove(&conn->sched, &s->sched);
    return FRAME_MORE;
  case NGTCP2_ERR_WRITE_MORE:
    stream_sent(s, taken, fin);
    return FRAME_MORE;
  default:
    stream_sent(s, taken, fin);
    if (*ret > 0 && taken >= 0 && s->sched.queued) {
      km_stream_sched_rotate(&conn->sched, &s->sched);
    }
    return FRAME_DONE;
  }
}

/* The next stream with something to send; NULL while the connection's flow control is used up. */
static km_stream *next_stream(const km_conn *conn) {
  km_sched_node *node = km_stream_sched_first(&conn->sched);
  if (node == NULL) {
    return NULL;
  }
  km_stream *s = KM_LIST_ITEM(node, km_stream, sched);
  bool needs_credit = km_send_queue_waiting(&s->send) > 0;
  return needs_credit && ngtcp2_conn_get_max_data_left2(conn->quic) == 0 ? NULL : s;
}

bool km_quic_batch_goes_on(const ngtcp2_conn *quic, const ngtcp2_path *batch,
                           const ngtcp2_path *given) {
  return given == batch || ngtcp2_path_eq(batch, ngtcp2_conn_get_path2(quic));
}

static ngtcp2_ssize write_packet(ngtcp2_conn *quic, ngtcp2_path *path, ngtcp2_pkt_info *pi,
                                 uint8_t *dest, size_t dest_len, ngtcp2_tstamp ts,
                                 void *user_data) {
  km_conn *conn = user_data;
  const packet p = {quic, path, pi, dest, dest_len, ts};
  ngtcp2_ssize n = 0;
  if (!km_quic_batch_goes_on(quic, conn->batch, path)) {
    return 0;
  }
  while (conn->dgram_first != NULL && conn->progress.completed) {
    if (write_datagram(conn, &p, &n) == FRAME_DONE) {
      return n;
    }
  }
  km_stream *s;
  while ((s = next_stream(conn)) != NULL) {
    if (write_stream(conn, s, &p, &n) == FRAME_DONE) {
      return n;
    }
  }
  return ngtcp2_conn_writev_stream(quic, path, pi, dest, dest_len, NULL,
                                   NGTCP2_WRITE_STREAM_FLAG_NONE, -1, NULL, 0, ts);
}

static bool blocked(km_conn *conn, const km_path *path) {
  if (path == NULL || km_path_can_send(conn->ep->ms, path)) {
    return false;
  }
  km_list_append(&conn->ep->blocked, &conn->blocked);
  return true;
}

static void tell_datagrams_sendable(km_conn *conn) {
  if (conn->datagrams_wanted && conn->progress.completed &&
      conn->dgram_count < conn->ep->opt.datagram_queue) {
    conn->datagrams_wanted = false;
    if (conn->cb.on_datagrams_sendable != NULL) {
      conn->cb.on_datagrams_sendable(conn->ctx, conn);
    }
  }
}

/* One batch. Returns what ngtcp2 returned: bytes, 0 when there is no more, or an error. */
static ngtcp2_ssize write_batch(km_conn *conn, km_ts now, bool *ret_blocked) {
  km_endpoint *ep = conn->ep;
  ngtcp2_path_storage ps;
  ngtcp2_pkt_info pi = {0};
  size_t segment = 0;
  ngtcp2_path_storage_zero(&ps);
  conn->batch = &ps.path;
  ngtcp2_ssize n =
      ngtcp2_conn_write_aggregate_pkt2(conn->quic, &ps.path, &pi, ep->tx_buf, BATCH_BYTES, &segment,
                                       write_packet, BATCH_PACKETS, now);
  conn->batch = NULL;
  if (n <= 0) {
    return n;
  }
  const km_quic_path *cp = km_quic_path_of_addrs(conn, &ps.path);
  if (cp != NULL) { /* else a path that was given up meanwhile: lost, as the network may */
    km_magicsock_send(ep->ms, cp->path, ep->tx_buf, (size_t)n, segment, (uint8_t)pi.ecn);
    *ret_blocked = blocked(conn, cp->path);
  }
  return n;
}

void km_quic_write(km_conn *conn) {
  if (km_discover_is_waited_for(conn)) {
    return;
  }
  km_ts now = km_endpoint_now(conn->ep);
  const km_quic_path *cp = km_quic_path_of_addrs(conn, ngtcp2_conn_get_path2(conn->quic));
  if (cp != NULL && blocked(conn, cp->path)) {
    return;
  }
  bool stop = false;
  ngtcp2_ssize n = 1;
  ngtcp2_conn_info info;
  ngtcp2_conn_get_conn_info2(conn->quic, &info);
  conn->waiting_since = info.bytes_in_flight == 0 ? now : conn->waiting_since;
  conn->in_quic = true;
  for (int i = 0; i < BATCHES_PER_TURN && n > 0 && !stop; i++) {
    n = write_batch(conn, now, &stop);
  }
  ngtcp2_conn_update_pkt_tx_time(conn->quic, now);
  conn->in_quic = false;
  if (n < 0) {
    km_conn_close_by_liberr(conn, (int)n);
    return;
  }
  tell_datagrams_sendable(conn);
}
