/* The accepting side before there is a connection: filters, limits, Retry, refusals. */
#include <string.h>

#include "base/udp_addr.h"
#include "endpoint/conn_impl.h"
#include "endpoint/quic_demux.h"

#define RETRY_TOKEN_LIFETIME_NS (10 * KM_NS_PER_S)
#define NEW_TOKEN_LIFETIME_NS (UINT64_C(86400) * KM_NS_PER_S)

typedef struct attempt {
  km_endpoint *ep;
  const km_path_key *from;
  ngtcp2_pkt_hd hd;
  struct sockaddr_storage remote;
  socklen_t remote_len;
  ngtcp2_cid original_dcid; /* of the packet that was answered with Retry */
  bool retried;
  bool proven; /* the address is */
} attempt;

/* Refuses without keeping state: a CONNECTION_CLOSE under Initial keys. */
static void refuse(attempt *a, uint64_t code) {
  uint8_t buf[256];
  a->ep->stats.refused++;
  if (!km_endpoint_spend_stateless(a->ep, KM_STATELESS_REFUSAL)) {
    return;
  }
  ngtcp2_ssize n = ngtcp2_crypto_write_connection_close(buf, sizeof buf, a->hd.version, &a->hd.scid,
                                                        &a->hd.dcid, code, NULL, 0);
  if (n > 0) {
    km_magicsock_reply(a->ep->ms, a->from, buf, (size_t)n);
  }
}

static void ask_retry(attempt *a) {
  km_endpoint *ep = a->ep;
  uint8_t buf[512], token[NGTCP2_CRYPTO_MAX_RETRY_TOKENLEN2];
  ngtcp2_cid scid;
  if (!km_endpoint_spend_stateless(ep, KM_STATELESS_RETRY)) {
    return;
  }
  scid.datalen = KM_CID_LEN;
  km_env_random(&ep->env, scid.data, scid.datalen);
  ngtcp2_ssize token_len = ngtcp2_crypto_generate_retry_token2(
      token, ep->token_secret, sizeof ep->token_secret, a->hd.version,
      (const ngtcp2_sockaddr *)&a->remote, a->remote_len, &scid, &a->hd.dcid, km_endpoint_now(ep));
  if (token_len < 0) {
    return;
  }
  ngtcp2_ssize n = ngtcp2_crypto_write_retry(buf, sizeof buf, a->hd.version, &a->hd.scid, &scid,
                                             &a->hd.dcid, token, (size_t)token_len);
  if (n > 0) {
    ep->stats.retries_sent++;
    km_magicsock_reply(ep->ms, a->from, buf, (size_t)n);
  }
}

/* Reads the token of the packet. False: it claims to be from a Retry of ours and is not. */
static bool check_token(attempt *a) {
  km_endpoint *ep = a->ep;
  const ngtcp2_pkt_hd *hd = &a->hd;
  if (hd->tokenlen == 0) {
    return true;
  }
  if (hd->token[0] == NGTCP2_CRYPTO_TOKEN_MAGIC_RETRY2) {
    a->retried = a->proven =
        ngtcp2_crypto_verify_retry_token2(
            &a->original_dcid, hd->token, hd->tokenlen, ep->token_secret, sizeof ep->token_secret,
            hd->version, (const ngtcp2_sockaddr *)&a->remote, a->remote_len, &hd->dcid,
            RETRY_TOKEN_LIFETIME_NS, km_endpoint_now(ep)) == 0;
    return a->retried;
  }
  /* A token of NEW_TOKEN, maybe of an endpoint that was here before: no proof is no error. */
  a->proven = ngtcp2_crypto_verify_regular_token2(
                  NULL, 0, hd->token, hd->tokenlen, ep->token_secret, sizeof ep->token_secret,
                  (const ngtcp2_sockaddr *)&a->remote, a->remote_len, NEW_TOKEN_LIFETIME_NS,
                  km_endpoint_now(ep)) >= 0;
  return true;
}

static km_accept_verdict ask_application(const attempt *a) {
  const km_endpoint *ep = a->ep;
  if (ep->opt.callbacks.on_incoming == NULL) {
    return KM_ACCEPT;
  }
  const km_incoming incoming = {
      .remote = a->from->remote,
      .validated = a->proven,
      .half_open = ep->half_open_count,
      .connections = ep->established_count,
      .relay_peer = a->from->way == KM_WAY_RELAY ? &a->from->peer : NULL,
      .relay_url = km_magicsock_relay_url(ep->ms, a->from),
  };
  return ep->opt.callbacks.on_incoming(ep->opt.ctx, &incoming);
}

/* A relay can name any number of peers: all relays together have half of the places. */
static bool relays_have_their_share(const attempt *a) {
  return a->from->way == KM_WAY_RELAY &&
         a->ep->half_open_relayed >= (a->ep->opt.max_half_open + 1u) / 2;
}

static km_accept_verdict judge(const attempt *a) {
  const km_endpoint *ep = a->ep;
  if (ep->state != KM_ENDPOINT_OPEN || ep->protocol_count == 0 ||
      ep->conn_count >= ep->opt.max_connections || ep->half_open_count >= ep->opt.max_half_open ||
      relays_have_their_share(a)) {
    return KM_ACCEPT_REFUSE;
  }
  const km_addr_counter *counter = a->proven ? &ep->proven_by_addr : &ep->unproven_by_addr;
  const km_udp_addr source = km_endpoint_source(a->from);
  if (km_addr_counter_get(counter, &source) >= ep->opt.max_half_open_per_addr) {
    return a->proven ? KM_ACCEPT_REFUSE : KM_ACCEPT_RETRY;
  }
  km_accept_verdict verdict = ask_application(a);
  if (verdict == KM_ACCEPT && !a->proven && ep->half_open_count >= ep->opt.retry_threshold) {
    return KM_ACCEPT_RETRY;
  }
  return verdict == KM_ACCEPT_RETRY && a->proven ? KM_ACCEPT : verdict;
}

/* Counts the new connection as half-open. */
static int enter_half_open(km_conn *conn, const attempt *a) {
  km_endpoint *ep = conn->ep;
  conn->progress.proven = a->proven;
  conn->first_key = *a->from;
  const km_udp_addr source = km_endpoint_source(a->from);
  int rv = km_addr_counter_add(a->proven ? &ep->proven_by_addr : &ep->unproven_by_addr, &source);
  if (rv == 0) {
    conn->progress.half_open = true;
    ep->half_open_count++;
    ep->half_open_relayed += a->from->way == KM_WAY_RELAY;
  }
  return rv;
}

static int add_first_path(km_conn *conn, const km_path_key *from) {
  km_path *path;
  int rv = km_magicsock_path(conn->ep->ms, from, &path);
  if (rv != 0) {
    return rv;
  }
  conn->server_local = path->local;
  rv = km_quic_path_add(conn, path);
  if (rv != 0) {
    km_path_unref(conn->ep->ms, path);
  }
  return rv;
}

static void make_connection(attempt *a, uint8_t ecn, const uint8_t *data, size_t len) {
  km_conn *conn;
  if (km_conn_new(a->ep, false, &conn) != 0) {
    return;
  }
  if (enter_half_open(conn, a) != 0 || add_first_path(conn, a->from) != 0 ||
      km_quic_server_new(conn, &a->hd, a->retried ? &a->original_dcid : NULL, a->retried) != 0) {
    km_conn_free(conn);
    return;
  }
  int rv = km_quic_read(conn, a->from, ecn, data, len);
  if (rv == NGTCP2_ERR_RETRY || rv == NGTCP2_ERR_DROP_CONN) {
    km_conn_free(conn);
    if (rv == NGTCP2_ERR_RETRY) {
      ask_retry(a);
    }
    return;
  }
  if (rv != 0) {
    km_conn_close_by_liberr(conn, rv);
  }
  km_conn_mark_dirty(conn);
}

void km_quic_accept(km_endpoint *ep, const km_path_key *from, uint8_t ecn, const uint8_t *data,
                    size_t len) {
  attempt a = {.ep = ep, .from = from};
  if (ngtcp2_accept(&a.hd, data, len) != 0) {
    ep->stats.rx_dropped++;
    return;
  }
  a.remote_len = km_udp_addr_to_sockaddr(&from->remote, &a.remote);
  if (!check_token(&a)) {
    refuse(&a, NGTCP2_INVALID_TOKEN);
    return;
  }
  switch (judge(&a)) {
  case KM_ACCEPT:
    make_connection(&a, ecn, data, len);
    break;
  case KM_ACCEPT_RETRY:
    ask_retry(&a);
    break;
  case KM_ACCEPT_REFUSE:
    refuse(&a, NGTCP2_CONNECTION_REFUSED);
    break;
  case KM_ACCEPT_IGNORE:
    ep->stats.rx_dropped++;
    break;
  }
}
