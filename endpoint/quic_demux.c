#include "endpoint/quic_demux.h"

#include <string.h>

#include "endpoint/conn_impl.h"
#include "endpoint/quic_close.h"
#include "endpoint/redial.h"

#define LONG_HEADER 0x80
/* The shortest packet worth a reset, and the longest reset (RFC 9000 section 10.3). A reset is
 * shorter than what it answers, so that two endpoints cannot keep each other busy. */
#define RESET_ANSWERS_MIN 43
#define RESET_MAX 43
#define RESET_MIN (5 + NGTCP2_STATELESS_RESET_TOKENLEN)

static void send_version_negotiation(km_endpoint *ep, const km_path_key *from,
                                     const ngtcp2_version_cid *vc) {
  uint8_t buf[512], random;
  const uint32_t versions[] = {NGTCP2_PROTO_VER_V1, 0x1a2a3a4a}; /* and a greased one */
  if (vc->scidlen + vc->dcidlen + 64 > sizeof buf ||
      !km_endpoint_spend_stateless(ep, KM_STATELESS_VERSION)) {
    return;
  }
  km_env_random(&ep->env, &random, 1);
  ngtcp2_ssize n = ngtcp2_pkt_write_version_negotiation(
      buf, sizeof buf, random, vc->scid, vc->scidlen, vc->dcid, vc->dcidlen, versions, 2);
  if (n > 0) {
    ep->stats.version_negotiations_sent++;
    km_magicsock_reply(ep->ms, from, buf, (size_t)n);
  }
}

static void send_reset(km_endpoint *ep, const km_path_key *from, const ngtcp2_version_cid *vc,
                       size_t len) {
  uint8_t buf[RESET_MAX], random[RESET_MAX];
  ngtcp2_stateless_reset_token token;
  ngtcp2_cid cid;
  if (len < RESET_ANSWERS_MIN || !km_endpoint_spend_stateless(ep, KM_STATELESS_RESET)) {
    ep->stats.rx_dropped++;
    return;
  }
  ngtcp2_cid_init(&cid, vc->dcid, vc->dcidlen);
  if (ngtcp2_crypto_generate_stateless_reset_token(token.data, ep->reset_secret,
                                                   sizeof ep->reset_secret, &cid) != 0) {
    return;
  }
  size_t size = len - 1 < RESET_MAX ? len - 1 : RESET_MAX;
  km_env_random(&ep->env, random, sizeof random);
  ngtcp2_ssize n = ngtcp2_pkt_write_stateless_reset2(buf, size, &token, random,
                                                     size - NGTCP2_STATELESS_RESET_TOKENLEN);
  if (n > 0) {
    ep->stats.resets_sent++;
    km_magicsock_reply(ep->ms, from, buf, (size_t)n);
  }
}

static void to_connection(km_conn *conn, const km_path_key *from, uint8_t ecn, const uint8_t *data,
                          size_t len) {
  if (conn->state == KM_CONN_CLOSING) {
    return;
  }
  int rv = km_quic_read(conn, from, ecn, data, len);
  if (rv != 0 && !km_redial_without(conn, from, rv)) {
    km_conn_close_by_liberr(conn, rv);
  }
  km_conn_mark_dirty(conn);
}

/* Only connections own reset tokens. NULL when it is no reset for one of ours. */
static km_cid_owner *owner_of_reset(km_endpoint *ep, const uint8_t *data, size_t len) {
  const size_t token = NGTCP2_STATELESS_RESET_TOKENLEN;
  return len < RESET_MIN ? NULL : km_cid_table_find(&ep->reset_tokens, data + len - token, token);
}

/* Any answer would tell a stranger that somebody is at this address. */
static bool is_hidden_from(const km_endpoint *ep, const km_path_key *from) {
  return ep->opt.path_policy == KM_POLICY_RELAY_ONLY && from->way == KM_WAY_DIRECT;
}

void km_quic_demux(km_endpoint *ep, const km_path_key *from, uint8_t ecn, const uint8_t *data,
                   size_t len) {
  ngtcp2_version_cid vc;
  int rv = ngtcp2_pkt_decode_version_cid(&vc, data, len, KM_CID_LEN);
  if (rv == NGTCP2_ERR_VERSION_NEGOTIATION && !is_hidden_from(ep, from)) {
    send_version_negotiation(ep, from, &vc);
    return;
  }
  if (rv != 0) {
    ep->stats.rx_dropped++;
    return;
  }
  const bool is_short = (data[0] & LONG_HEADER) == 0;
  km_cid_owner *owner = km_cid_table_find(&ep->cids, vc.dcid, vc.dcidlen);
  if (owner == NULL && is_short) {
    owner = owner_of_reset(ep, data, len);
  }
  if (owner != NULL && owner->kind == KM_CID_OWNER_CONN) {
    to_connection((km_conn *)(void *)owner, from, ecn, data, len);
  } else if (owner != NULL) {
    km_tombstone_answer((km_tombstone *)(void *)owner, from, len);
  } else if (is_hidden_from(ep, from) || (!is_short && vc.version == 0)) {
    ep->stats.rx_dropped++; /* the latter is version negotiation for nobody */
  } else if (is_short) {
    send_reset(ep, from, &vc, len);
  } else {
    km_quic_accept(ep, from, ecn, data, len);
  }
}
