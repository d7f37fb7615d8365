#include "test/endpoint/moving.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cmocka.h>

#include "endpoint/conn_impl.h"
#include "test/endpoint/moving_tls.h"

enum {
  MAX_QUEUED = 8192,
  MAX_DATAGRAM = 1500,
  BATCH_BYTES = 64000,
  BATCHES = 16,
  CID_LEN = 8,
  DIRECT_LOCAL = 1
};

struct moving_datagram {
  uint64_t at, order;
  bool to_server;
  moving_way way;
  uint16_t port; /* the dialling side's, as the accepting one sees it */
  size_t len;
  uint8_t data[MAX_DATAGRAM];
};

/* xorshift64* */
uint64_t moving_random(moving *m, uint64_t below) {
  m->random ^= m->random >> 12;
  m->random ^= m->random << 25;
  m->random ^= m->random >> 27;
  return (m->random * UINT64_C(2685821657736338717) >> 16) % below;
}

static void random_bytes(moving *m, uint8_t *to, size_t len) {
  for (size_t i = 0; i < len; i++) {
    to[i] = (uint8_t)moving_random(m, 256);
  }
}

/* --- addresses ------------------------------------------------------------------------------- */

typedef struct pair {
  struct sockaddr_in local, remote;
} pair;

static struct sockaddr_in address(uint32_t host, uint16_t port) {
  return (struct sockaddr_in){
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(host)};
}

static ngtcp2_path path_of(pair *p) {
  return (ngtcp2_path){{(ngtcp2_sockaddr *)&p->local, sizeof p->local},
                       {(ngtcp2_sockaddr *)&p->remote, sizeof p->remote},
                       NULL};
}

static pair client_pair(const moving *m, moving_way way) {
  return way == MOVING_DIRECT ? (pair){address(0x0a000001, DIRECT_LOCAL), address(0x0a090909, 1)}
                              : (pair){address(0x0a000001, m->relayed), address(0x0a080808, 1)};
}

static pair server_pair(moving_way way, uint16_t port) {
  return (pair){address(0x0a090909, 1),
                address(way == MOVING_DIRECT ? 0x0a020202 : 0x0a010101, port)};
}

static uint16_t port_of(const ngtcp2_addr *addr) {
  const struct sockaddr_in *sin = (const void *)addr->addr;
  return ntohs(sin->sin_port);
}

static moving_way way_of(const moving_side *s, const ngtcp2_path *path) {
  const struct sockaddr_in *remote = (const void *)path->remote.addr;
  uint32_t host = ntohl(remote->sin_addr.s_addr);
  return s->server                               ? host == 0x0a020202 ? MOVING_DIRECT : MOVING_RELAY
         : port_of(&path->local) == DIRECT_LOCAL ? MOVING_DIRECT
                                                 : MOVING_RELAY;
}

moving_way moving_now_on(const moving_side *s) {
  return way_of(s, ngtcp2_conn_get_path2(s->conn));
}

static void on_rand(uint8_t *dest, size_t len, const ngtcp2_rand_ctx *ctx) {
  random_bytes(ctx->native_handle, dest, len);
}

static int on_new_cid(ngtcp2_conn *conn, ngtcp2_cid *cid, ngtcp2_stateless_reset_token *token,
                      size_t len, void *user_data) {
  (void)conn;
  const moving_side *s = user_data;
  cid->datalen = len;
  random_bytes(s->world, cid->data, len);
  random_bytes(s->world, token->data, sizeof token->data);
  return 0;
}

static int on_challenge(ngtcp2_conn *conn, ngtcp2_path_challenge_data *data, void *user_data) {
  (void)conn;
  const moving_side *s = user_data;
  random_bytes(s->world, data->data, sizeof data->data);
  return 0;
}

static int on_retry(ngtcp2_conn *conn, const ngtcp2_pkt_hd *hd, void *user_data) {
  (void)conn, (void)hd, (void)user_data;
  return NGTCP2_ERR_CALLBACK_FAILURE;
}

/* --- the transfer ----------------------------------------------------------------------------- */

static int on_stream_data(ngtcp2_conn *conn, uint32_t flags, int64_t id, uint64_t offset,
                          const uint8_t *data, size_t len, void *user_data, void *stream_data) {
  (void)flags, (void)data, (void)stream_data;
  const moving_side *s = user_data;
  moving *m = s->world;
  assert_int_equal(offset, m->received);
  if (m->received > 0 && m->now - m->received_at > m->longest) {
    m->longest = m->now - m->received_at;
    m->longest_at = m->received_at;
  }
  m->received += len;
  m->received_at = m->now;
  ngtcp2_conn_extend_max_offset(conn, len);
  return ngtcp2_conn_extend_max_stream_offset(conn, id, len);
}

static ngtcp2_ssize write_packet(ngtcp2_conn *conn, ngtcp2_path *path, ngtcp2_pkt_info *pi,
                                 uint8_t *dest, size_t len, ngtcp2_tstamp now, void *user_data) {
  static const uint8_t zeros[MAX_DATAGRAM];
  moving_side *s = user_data;
  if (!km_quic_batch_goes_on(conn, s->batch, path)) {
    return 0;
  }
  if (s->server && s->world->stream >= 0 && ngtcp2_conn_get_max_data_left2(conn) > 0) {
    const ngtcp2_vec vec = {(uint8_t *)(uintptr_t)zeros, sizeof zeros};
    ngtcp2_ssize taken;
    ngtcp2_ssize n = ngtcp2_conn_writev_stream(conn, path, pi, dest, len, &taken, 0,
                                               s->world->stream, &vec, 1, now);
    if (n != NGTCP2_ERR_STREAM_DATA_BLOCKED) {
      return n;
    }
  }
  return ngtcp2_conn_writev_stream(conn, path, pi, dest, len, NULL, 0, -1, NULL, 0, now);
}

/* --- the network ------------------------------------------------------------------------------ */

static bool before(const moving_datagram *a, const moving_datagram *b) {
  return a->at != b->at ? a->at < b->at : a->order < b->order;
}

/* A binary heap. */
static void push(moving *m, const moving_datagram *d) {
  assert_true(m->queued < MAX_QUEUED);
  size_t i = m->queued++;
  while (i > 0 && before(d, &m->queue[(i - 1) / 2])) {
    m->queue[i] = m->queue[(i - 1) / 2];
    i = (i - 1) / 2;
  }
  m->queue[i] = *d;
}

static void pop(moving *m, moving_datagram *ret) {
  *ret = m->queue[0];
  const moving_datagram *last = &m->queue[--m->queued];
  size_t i = 0;
  for (size_t child = 1; child < m->queued; child = 2 * i + 1) {
    child += child + 1 < m->queued && before(&m->queue[child + 1], &m->queue[child]);
    if (!before(&m->queue[child], last)) {
      break;
    }
    m->queue[i] = m->queue[child];
    i = child;
  }
  m->queue[i] = *last;
}

/* When it arrives; 0: it does not. */
static uint64_t arrival(moving *m, moving_link *link, size_t len) {
  uint64_t from = link->free_at > m->now ? link->free_at : m->now;
  uint64_t waiting = (from - m->now) * link->rate / MOVING_S;
  if (link->cut || moving_random(m, 1000) < link->lost_permille || waiting + len > link->room) {
    return 0;
  }
  link->free_at = from + len * MOVING_S / link->rate;
  return link->free_at + link->delay;
}

static void send_one(moving_side *s, const ngtcp2_path *path, const uint8_t *data, size_t len) {
  moving *m = s->world;
  moving_datagram d = {.to_server = !s->server, .way = way_of(s, path), .len = len, .port = 1};
  if (d.way == MOVING_DIRECT && s->server) {
    d.port = port_of(&path->remote);
    if (d.port != m->port) {
      return; /* the NAT knows it no more */
    }
  } else if (d.way == MOVING_DIRECT) {
    m->port = m->port == 0 ? ++m->last_port : m->port;
    d.port = m->port;
  }
  d.at = arrival(m, &m->links[d.way][d.to_server], len);
  d.order = m->order++;
  if (d.at > 0) {
    memcpy(d.data, data, len);
    push(m, &d);
  }
}

/* Each path has a connection id of its own: one batch, one path. */
static void expect_same_cid(const uint8_t *first, const uint8_t *other) {
  if ((*first & 0x80) == 0) {
    assert_memory_equal(first + 1, other + 1, CID_LEN);
  }
}

static bool write_batch(moving_side *s) {
  static uint8_t buf[BATCH_BYTES];
  moving *m = s->world;
  ngtcp2_path_storage ps;
  ngtcp2_pkt_info pi = {0};
  size_t segment = 0;
  ngtcp2_path_storage_zero(&ps);
  s->batch = &ps.path;
  ngtcp2_ssize n = ngtcp2_conn_write_aggregate_pkt2(s->conn, &ps.path, &pi, buf, sizeof buf,
                                                    &segment, write_packet, 64, m->now);
  assert_true(n >= 0);
  for (size_t at = 0; at < (size_t)n; at += segment) {
    expect_same_cid(buf, buf + at);
    size_t left = (size_t)n - at;
    send_one(s, &ps.path, buf + at, left < segment ? left : segment);
  }
  return n > 0;
}

static void write_all(moving_side *s) {
  for (int i = 0; s->conn != NULL && i < BATCHES && write_batch(s); i++) {
  }
  if (s->conn != NULL) {
    ngtcp2_conn_update_pkt_tx_time(s->conn, s->world->now);
  }
}

/* --- both sides ------------------------------------------------------------------------------- */

static void fill_callbacks(ngtcp2_callbacks *cb) {
  moving_tls_fill(cb);
  cb->recv_stream_data = on_stream_data;
  cb->recv_retry = on_retry;
  cb->rand = on_rand;
  cb->get_new_connection_id2 = on_new_cid;
  cb->get_path_challenge_data2 = on_challenge;
}

/* As endpoint/quic_conn.c does. */
static void fill_settings(moving *m, ngtcp2_settings *st) {
  ngtcp2_settings_default(st);
  st->initial_ts = m->now;
  st->initial_rtt = 100 * MOVING_MS;
  st->rand_ctx.native_handle = m;
}

static void fill_params(ngtcp2_transport_params *tp) {
  ngtcp2_transport_params_default(tp);
  tp->initial_max_stream_data_uni = tp->initial_max_data = 8u << 20;
  tp->initial_max_streams_uni = 1;
  tp->active_connection_id_limit = 7;
}

static void cid_init(moving *m, ngtcp2_cid *cid) {
  cid->datalen = CID_LEN;
  random_bytes(m, cid->data, CID_LEN);
}

static void client_open(moving *m) {
  ngtcp2_callbacks cb;
  ngtcp2_settings st;
  ngtcp2_transport_params tp;
  ngtcp2_cid dcid, scid;
  pair addrs = client_pair(m, MOVING_RELAY);
  const ngtcp2_path path = path_of(&addrs);
  fill_callbacks(&cb);
  fill_settings(m, &st);
  fill_params(&tp);
  cid_init(m, &dcid);
  cid_init(m, &scid);
  assert_int_equal(ngtcp2_conn_client_new(&m->client.conn, &dcid, &scid, &path, NGTCP2_PROTO_VER_V1,
                                          &cb, &st, &tp, NULL, &m->client),
                   0);
  /* Who only receives has nothing in flight that could be missed. */
  ngtcp2_conn_set_keep_alive_timeout(m->client.conn, 300 * MOVING_MS);
}

static void server_open(moving *m, const moving_datagram *first, const ngtcp2_path *path) {
  ngtcp2_callbacks cb;
  ngtcp2_settings st;
  ngtcp2_transport_params tp;
  ngtcp2_pkt_hd hd;
  ngtcp2_cid scid;
  assert_int_equal(ngtcp2_accept(&hd, first->data, first->len), 0);
  fill_callbacks(&cb);
  fill_settings(m, &st);
  fill_params(&tp);
  tp.original_dcid = hd.dcid;
  tp.original_dcid_present = 1;
  cid_init(m, &scid);
  assert_int_equal(ngtcp2_conn_server_new(&m->server.conn, &hd.scid, &scid, path, hd.version, &cb,
                                          &st, &tp, NULL, &m->server),
                   0);
}

/* The path by which the dialling side knows what came by a way: the one in use, or its newest. */
static pair arrived_at_client(const moving *m, moving_way way) {
  pair p = client_pair(m, way);
  if (way == moving_now_on(&m->client)) {
    p.local.sin_port = htons(port_of(&ngtcp2_conn_get_path2(m->client.conn)->local));
  }
  return p;
}

static void deliver(moving *m, moving_datagram *d) {
  pair addrs = d->to_server ? server_pair(d->way, d->port) : arrived_at_client(m, d->way);
  const ngtcp2_path path = path_of(&addrs);
  const ngtcp2_pkt_info pi = {0};
  if (d->to_server && m->server.conn == NULL) {
    server_open(m, d, &path);
  }
  m->heard += d->to_server;
  ngtcp2_conn *to = d->to_server ? m->server.conn : m->client.conn;
  assert_int_equal(ngtcp2_conn_read_pkt(to, &path, &pi, d->data, d->len, m->now), 0);
}

static uint64_t next_event(const moving *m) {
  uint64_t at = ngtcp2_conn_get_expiry2(m->client.conn);
  uint64_t server = m->server.conn == NULL ? UINT64_MAX : ngtcp2_conn_get_expiry2(m->server.conn);
  at = server < at ? server : at;
  return m->queued > 0 && m->queue[0].at < at ? m->queue[0].at : at;
}

static void expire(moving_side *s) {
  if (s->conn != NULL && ngtcp2_conn_get_expiry2(s->conn) <= s->world->now) {
    assert_int_equal(ngtcp2_conn_handle_expiry(s->conn, s->world->now), 0);
  }
}

static void turn(moving *m) {
  moving_datagram d;
  while (m->queued > 0 && m->queue[0].at <= m->now) {
    pop(m, &d);
    deliver(m, &d);
  }
  expire(&m->client);
  expire(&m->server);
  if (m->completed && m->stream < 0) {
    assert_int_equal(ngtcp2_conn_open_uni_stream(m->server.conn, &m->stream, NULL), 0);
  }
  write_all(&m->client);
  write_all(&m->server);
}

void moving_run(moving *m, uint64_t until) {
  uint64_t at;
  turn(m);
  while ((at = next_event(m)) <= until) {
    m->now = at > m->now ? at : m->now;
    turn(m);
  }
  m->now = until > m->now ? until : m->now;
}

void moving_open(moving *m, uint64_t seed) {
  *m = (moving){.now = MOVING_S, .random = 2 * seed + 1, .stream = -1, .relayed = 2};
  m->client = (moving_side){.world = m};
  m->server = (moving_side){.world = m, .server = true};
  m->queue = calloc(MAX_QUEUED, sizeof *m->queue);
  assert_non_null(m->queue);
  for (int i = 0; i < 64; i++) {
    (void)moving_random(m, 2); /* small seeds are alike */
  }
  for (int to = 0; to < 2; to++) {
    /* A relay's is TCP: nothing is lost, everything waits. */
    m->links[MOVING_RELAY][to] =
        (moving_link){.delay = 30 * MOVING_MS, .rate = 500000, .room = UINT64_MAX};
    m->links[MOVING_DIRECT][to] =
        (moving_link){.delay = 20 * MOVING_MS, .rate = 500000, .room = 30000};
  }
  client_open(m);
}

void moving_close(moving *m) {
  ngtcp2_conn_del(m->client.conn);
  ngtcp2_conn_del(m->server.conn);
  free(m->queue);
}

void moving_rebind(moving *m) {
  m->port = 0;
}

bool moving_go(moving *m, moving_way way, bool prove) {
  if (way == MOVING_RELAY) {
    m->relayed++; /* as a mixed path does */
  }
  pair addrs = client_pair(m, way);
  const ngtcp2_path path = path_of(&addrs);
  return (prove ? ngtcp2_conn_initiate_migration(m->client.conn, &path, m->now)
                : ngtcp2_conn_initiate_immediate_migration(m->client.conn, &path, m->now)) == 0;
}
