/* An endpoint and the network its machine is in: direct ways to peers, and what to do when
 * addresses and routes change. */
#include <string.h>

#include "endpoint/conn_impl.h"
#include "endpoint/discover.h"
#include "relay/url.h"

/* Accepted connections stay where they are until their clients move them: the peer is told by a
 * Call-me-maybe, see holepunch/punch.h. */
static void network_changed(km_endpoint *ep, bool moved) {
  km_magicsock_network_changed(ep->ms);
  km_remotes_network_changed(ep->remotes);
  for (km_list *n = ep->conns.next; n != &ep->conns; n = n->next) {
    km_conn *conn = KM_LIST_ITEM(n, km_conn, all);
    if (conn->state == KM_CONN_CONNECTED) {
      km_quic_path_network_changed(conn, moved);
    }
  }
}

static void on_network(void *ctx, unsigned what) {
  km_endpoint *ep = ctx;
  if (ep->state != KM_ENDPOINT_OPEN) {
    return;
  }
  EP_LOG(ep, KM_LOG_INFO, KM_LOGC_ENDPOINT, NULL, NULL, "network-changed", "%s%s%s%s",
         (what & KM_NETMON_ADDRESS_ADDED) != 0 ? " address-added" : "",
         (what & KM_NETMON_ADDRESS_LOST) != 0 ? " address-lost" : "",
         (what & KM_NETMON_ROUTE) != 0 ? " default-route" : "",
         (what & KM_NETMON_RESUMED) != 0 ? " resumed" : "");
  network_changed(ep, (what & (KM_NETMON_ROUTE | KM_NETMON_RESUMED)) != 0);
}

void km_endpoint_network_changed(km_endpoint *ep) {
  if (ep != NULL && ep->state == KM_ENDPOINT_OPEN) {
    network_changed(ep, true);
  }
}

static void on_local_change(void *ctx) {
  km_endpoint_publish_soon(ctx);
}

/* The relays' hosts answer STUN, unless other servers were named. */
static size_t stun_names(const char *const *relay_urls, size_t count, km_relay_url *urls,
                         const char **names) {
  size_t n = 0;
  for (size_t i = 0; i < count && i < KM_ADDR_MAX_RELAYS; i++) {
    if (km_relay_url_read(&urls[n], relay_urls[i], NULL) == 0) {
      names[n] = urls[n].host;
      n++;
    }
  }
  return n;
}

int km_endpoint_open_remotes(km_endpoint *ep, const char *const *relay_urls, size_t count,
                             km_errinfo *err) {
  const char *names[KM_ADDR_MAX_RELAYS];
  km_relay_url *urls = km_env_zalloc(&ep->env, KM_ADDR_MAX_RELAYS, sizeof *urls);
  if (urls == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  km_remotes_config config = {.env = &ep->env,
                              .loop = ep->loop,
                              .ms = ep->ms,
                              .key = ep->key,
                              .stun_servers = ep->opt.stun_servers,
                              .stun_count = ep->opt.stun_server_count,
                              .port_mapping = ep->opt.port_mapping,
                              .on_local_change = on_local_change,
                              .ctx = ep};
  bool hidden = ep->opt.path_policy == KM_POLICY_RELAY_ONLY; /* where we are is nobody's business */
  config.stun_count = hidden ? 0 : config.stun_count;
  config.learn_servers = config.stun_count == 0 && !hidden;
  if (config.learn_servers) {
    config.stun_count = stun_names(relay_urls, count, urls, names);
    config.stun_servers = names;
  }
  int rv = km_remotes_new(&ep->remotes, &config, err);
  km_env_free(&ep->env, urls);
  ep->opt.stun_servers = NULL;
  ep->opt.stun_server_count = 0;
  if (rv != 0 || !ep->opt.network_monitor) {
    return rv;
  }
  rv = km_netmon_new(&ep->netmon, &ep->env, ep->loop, on_network, ep);
  return rv == 0 ? 0 : km_fail(err, rv, NULL);
}

void km_endpoint_close_remotes(km_endpoint *ep) {
  km_endpoint_cancel_net_report(ep);
  km_netmon_free(ep->netmon);
  km_remotes_free(ep->remotes);
  ep->netmon = NULL;
  ep->remotes = NULL;
}
