/* Dialling: from an address with many ways to one connection. */
#include <string.h>

#include "endpoint/conn_impl.h"
#include "endpoint/discover.h"
#include "endpoint/redial.h"
#include "magicsock/relays.h"

static int check(const km_endpoint *ep, km_conn **ret, const km_addr *addr, const char *alpn,
                 const km_dial_options *options, km_errinfo *err) {
  if (ep == NULL || ret == NULL || addr == NULL) {
    return km_fail(err, KM_ERR_INVALID,
                   "an endpoint, a place for the result and an address "
                   "are needed");
  }
  if (options != NULL && options->size < sizeof options->size) {
    return km_fail(err, KM_ERR_INVALID, "km_dial_options.size must be sizeof(km_dial_options)");
  }
  if (ep->state != KM_ENDPOINT_OPEN) {
    return km_fail(err, KM_ERR_CLOSED, "the endpoint is closed");
  }
  size_t len = alpn == NULL ? 0 : strlen(alpn);
  if (len == 0 || len > 255) {
    return km_fail(err, KM_ERR_BAD_ALPN, NULL);
  }
  if (strchr(alpn, ',') != NULL) { /* wolfSSL takes the names as a list with commas */
    return km_fail(err, KM_ERR_BAD_ALPN, "an ALPN that is dialled may not contain a comma");
  }
  if (km_id_equal(km_addr_id(addr), &ep->id)) {
    return km_fail(err, KM_ERR_SELF_DIAL, NULL);
  }
  if (ep->conn_count >= ep->opt.max_connections) {
    return km_fail(err, KM_ERR_LIMIT, "the endpoint has %zu connections, its limit",
                   ep->conn_count);
  }
  return 0;
}

#define MAX_CANDIDATES KM_MIXED_MAX_CANDIDATES

int km_dial_key(const km_endpoint *ep, const km_udp_addr *at, km_path_key *ret) {
  km_udp_addr v6;
  bool translated = km_gather_translate(km_remotes_gather(ep->remotes), at, &v6);
  return km_magicsock_key(ep->ms, translated ? &v6 : at, ret);
}

size_t km_dial_keys(const km_endpoint *ep, const km_addr *addr, bool direct,
                    km_path_key keys[KM_MIXED_MAX_CANDIDATES]) {
  size_t count = 0;
  size_t given = direct ? km_addr_udp_count(addr) : 0;
  size_t relays = km_addr_relay_count(addr);
  for (size_t i = 0; i < given && count < KM_ADDR_MAX_DIRECT; i++) {
    if (km_dial_key(ep, km_addr_udp_at(addr, i), &keys[count]) == 0) {
      count++;
    }
  }
  for (size_t i = 0; i < relays && count < MAX_CANDIDATES; i++) {
    if (km_magicsock_relay_key(ep->ms, km_addr_relay_at(addr, i), km_addr_id(addr), &keys[count]) ==
        0) {
      count++;
    }
  }
  return count;
}

static bool has_no_place(const km_endpoint *ep, const km_addr *addr) {
  km_path_key key;
  return km_magicsock_relay_key(ep->ms, km_addr_relay_at(addr, 0), km_addr_id(addr), &key) ==
         KM_ERR_LIMIT;
}

/* Why there is no way to try. */
static int no_candidates(const km_endpoint *ep, const km_addr *addr, bool direct, km_errinfo *err) {
  size_t given = direct ? km_addr_udp_count(addr) : 0;
  size_t relays = km_addr_relay_count(addr);
  if (given > 0) {
    return km_fail(err, KM_ERR_NO_ADDRESS,
                   "none of the %zu addresses can be reached from the sockets bound here "
                   "(IPv6 without an IPv6 socket, or the other way round)",
                   given);
  }
  if (relays > 0 && has_no_place(ep, addr)) {
    return km_fail(err, KM_ERR_LIMIT,
                   "%d relays are in use, the most that an endpoint knows at once: close "
                   "connections through others",
                   KM_RELAYS_MAX);
  }
  return km_fail(
      err, KM_ERR_NO_ADDRESS,
      !direct && relays == 0 ? "the policy is relays only, and no relay of the peer's is known"
      : relays > 0 ? "the address has only relays, and none of them can be used: relays are "
                     "disabled, or their urls are not http or https"
                   : "no address is known for the peer: give a ticket or an address, or set the "
                     "endpoint's option discovery");
}

/* So that our own address is known by the time that the peer is to be told of it. */
void km_dial_learn_relays(const km_conn *conn, const km_addr *addr) {
  const km_endpoint *ep = conn->ep;
  km_path_policy policy = conn->select.policy;
  if (policy == KM_POLICY_RELAY_ONLY || policy == KM_POLICY_ANY ||
      ep->opt.relay_mode == KM_RELAY_MODE_DISABLED) {
    return;
  }
  for (size_t i = 0; i < km_addr_relay_count(addr); i++) {
    km_gather_learn_relay(km_remotes_gather(ep->remotes), km_addr_relay_at(addr, i));
  }
}

static int copy_alpn(km_conn *conn, const char *alpn) {
  conn->alpn = km_env_strdup(&conn->ep->env, alpn);
  return conn->alpn != NULL ? 0 : KM_ERR_NOMEM;
}

static int add_first_flight(km_conn *conn, const km_path_key *keys, size_t count) {
  km_magicsock *ms = conn->ep->ms;
  int rv = km_mixed_new(ms, keys, count, &conn->mixed);
  if (rv != 0) {
    conn->mixed = NULL;
    return rv;
  }
  return km_quic_path_add(conn, conn->mixed); /* cannot fail: it is the first */
}

int km_endpoint_dial(km_endpoint *ep, km_conn **ret, const km_addr *addr, const char *alpn,
                     const km_conn_callbacks *callbacks, void *ctx, const km_dial_options *options,
                     km_errinfo *err) {
  km_path_key keys[MAX_CANDIDATES];
  int rv = check(ep, ret, addr, alpn, options, err);
  if (rv != 0) {
    return rv;
  }
  km_dial_options opt = {0};
  if (options != NULL) {
    memcpy(&opt, options, options->size < sizeof opt ? options->size : sizeof opt);
  }
  km_path_policy policy = opt.policy == KM_POLICY_DEFAULT ? ep->opt.path_policy : opt.policy;
  size_t count = km_dial_keys(ep, addr, policy != KM_POLICY_RELAY_ONLY, keys);
  if (count == 0 && ep->opt.discovery == NULL) {
    return no_candidates(ep, addr, policy != KM_POLICY_RELAY_ONLY, err);
  }
  km_conn *conn;
  rv = km_conn_new(ep, true, &conn);
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  if (km_quic_select_policy(conn, policy, opt.direct_within_ms) != 0) {
    km_conn_free(conn);
    return km_fail(err, KM_ERR_INVALID,
                   "km_dial_options: no such policy, or direct_within_ms is "
                   "not 1 to 600,000");
  }
  conn->remote_id = *km_addr_id(addr);
  km_conn_take_callbacks(&conn->cb, callbacks);
  conn->ctx = ctx;
  rv = copy_alpn(conn, alpn);
  if (rv == 0) {
    rv = add_first_flight(conn, keys, count);
  }
  if (rv != 0) {
    km_conn_free(conn);
    return km_fail(err, rv, NULL);
  }
  uint32_t timeout_ms = opt.timeout_ms != 0 ? opt.timeout_ms : ep->opt.handshake_timeout_ms;
  conn->handshake_deadline = conn->started + timeout_ms * KM_NS_PER_MS;
  conn->patient = opt.timeout_ms == 0;
  rv = km_quic_client_new(conn, timeout_ms, opt.early_data, err);
  if (rv != 0) {
    km_conn_free(conn);
    return rv;
  }
  EP_LOG(ep, KM_LOG_DEBUG, KM_LOGC_ENDPOINT, &conn->remote_id, NULL, "dial",
         "alpn=%s candidates=%zu", alpn, count);
  km_dial_learn_relays(conn, addr);
  km_redial_begin(conn);
  rv = km_discover_begin(conn, err);
  if (rv != 0) {
    km_conn_free(conn);
    return rv;
  }
  km_conn_mark_dirty(conn);
  *ret = conn;
  return 0;
}

int km_endpoint_rebind(km_endpoint *ep, const km_udp_addr *bind, km_errinfo *err) {
  if (ep == NULL || ep->state != KM_ENDPOINT_OPEN) {
    return km_fail(err, KM_ERR_CLOSED, "the endpoint is closed");
  }
  const km_udp_addr any = {.family = 4};
  const km_udp_addr *to = bind == NULL ? &any : bind;
  if (to->family != 4 && to->family != 6) {
    return km_fail(err, KM_ERR_INVALID, "the address to bind is neither IPv4 nor IPv6");
  }
  int rv = km_magicsock_rebind(ep->ms, to, err);
  if (rv != 0) {
    return rv;
  }
  km_remotes_rebound(ep->remotes, to->family);
  for (km_list *n = ep->conns.next; n != &ep->conns; n = n->next) {
    km_conn *conn = KM_LIST_ITEM(n, km_conn, all);
    const km_path *path = km_quic_path_current(conn);
    km_path_key key;
    if (!conn->is_client || conn->state != KM_CONN_CONNECTED || path == NULL ||
        path->key.way != KM_WAY_DIRECT || path->key.remote.family != to->family ||
        km_magicsock_key(ep->ms, &path->key.remote, &key) != 0) {
      continue;
    }
    km_errinfo why;
    if (km_quic_migrate(conn, &key, &why) != 0) {
      CONN_LOG(conn, KM_LOG_WARN, KM_LOGC_PATH, "migration-failed", "%s", why.text);
    }
  }
  return 0;
}
