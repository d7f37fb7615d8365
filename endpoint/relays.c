/* An endpoint and its relays: which ones, and what connections do when one is lost. */
#include <string.h>

#include "base/relay_url.h"
#include "endpoint/conn_impl.h"

/* iroh/src/defaults.rs */
static const char *const production[] = {
    "https://use1-1.relay.n0.iroh.link./",
    "https://usw1-1.relay.n0.iroh.link./",
    "https://euc1-1.relay.n0.iroh.link./",
    "https://aps1-1.relay.n0.iroh.link./",
};
static const char *const staging[] = {
    "https://use1-1.staging-relay.n0.iroh.link./",
    "https://euc1-1.staging-relay.n0.iroh.link./",
};

typedef struct url_list {
  const km_env *env;
  char *at[KM_ADDR_MAX_RELAYS];
  size_t count;
} url_list;

static void urls_clear(url_list *urls) {
  while (urls->count > 0) {
    km_env_free(urls->env, urls->at[--urls->count]);
  }
}

static int urls_take(url_list *urls, const char *const *from, size_t count, km_errinfo *err) {
  for (size_t i = 0; i < count; i++) {
    char *url = km_env_alloc(urls->env, KM_RELAY_URL_MAX + 1);
    if (url == NULL) {
      return km_fail(err, KM_ERR_NOMEM, NULL);
    }
    urls->at[urls->count++] = url;
    int len = km_relay_url_take(url, KM_RELAY_URL_MAX + 1, from[i], strlen(from[i]), err);
    if (len < 0) {
      return len;
    }
  }
  return 0;
}

static int urls_of_mode(url_list *urls, const km_endpoint_options *o, km_errinfo *err) {
  switch (o->relay_mode) {
  case KM_RELAY_MODE_DEFAULT:
    return urls_take(urls, production, sizeof production / sizeof production[0], err);
  case KM_RELAY_MODE_STAGING:
    return urls_take(urls, staging, sizeof staging / sizeof staging[0], err);
  case KM_RELAY_MODE_CUSTOM:
    return urls_take(urls, o->relay_urls, o->relay_url_count, err);
  case KM_RELAY_MODE_DISABLED:
  case KM_RELAY_MODE_DIAL_ONLY:
    break;
  }
  return 0;
}

/* All mapped addresses are of one /64, which is what counters go by: the number goes first. */
km_udp_addr km_endpoint_source(const km_path_key *from) {
  km_udp_addr source = from->remote;
  if (from->way == KM_WAY_RELAY) {
    memcpy(source.ip, from->remote.ip + 8, 8);
  }
  return source;
}

static void on_home(void *ctx) {
  km_endpoint *ep = ctx;
  if (ep->remotes != NULL) {
    km_remotes_local_changed(ep->remotes);
  }
  if (ep->state == KM_ENDPOINT_OPEN && ep->opt.callbacks.on_home_relay != NULL) {
    ep->opt.callbacks.on_home_relay(ep->opt.ctx, ep);
  }
}

/* A client whose packets went through that relay looks for its peer everywhere again; all peers, or
 * only this one. A server waits for its client to come back another way (RFC 9000 section 9:
 * clients migrate). */
static void reopen_paths(km_endpoint *ep, uint16_t relay, const km_id *peer) {
  for (km_list *n = ep->conns.next; n != &ep->conns; n = n->next) {
    km_conn *conn = KM_LIST_ITEM(n, km_conn, all);
    const km_path *path = km_quic_path_current(conn);
    if (path != NULL && path->key.way == KM_WAY_RELAY && path->key.relay == relay &&
        (peer == NULL || km_id_equal(peer, &conn->remote_id))) {
      km_quic_path_reopen(conn, false);
    }
  }
}

static void on_lost(void *ctx, uint16_t relay) {
  reopen_paths(ctx, relay, NULL);
}

static void on_gone(void *ctx, uint16_t relay, const km_id *peer) {
  reopen_paths(ctx, relay, peer);
}

int km_endpoint_open_magicsock(km_endpoint *ep, km_magicsock_config *config, km_errinfo *err) {
  url_list urls = {.env = &ep->env};
  int rv = urls_of_mode(&urls, &ep->opt, err);
  const km_magicsock_relay_config relay = {
      .key = ep->key,
      .ca_file = ep->opt.relay_ca_file,
      .token = ep->opt.relay_token,
      .check_ns = ep->opt.relay_check_ms * KM_NS_PER_MS,
      .urls = (const char *const *)urls.at,
      .url_count = urls.count,
      .on_home = on_home,
      .on_lost = on_lost,
      .on_gone = on_gone,
  };
  if (rv == 0) {
    config->relay = ep->opt.relay_mode == KM_RELAY_MODE_DISABLED ? NULL : &relay;
    rv = km_magicsock_new(&ep->ms, config, err);
  }
  if (rv == 0) {
    rv = km_endpoint_open_remotes(ep, (const char *const *)urls.at, urls.count, err);
  }
  urls_clear(&urls);
  return rv;
}

const char *km_endpoint_home_relay(const km_endpoint *ep) {
  const char *home = NULL;
  if (ep != NULL && ep->ms != NULL) {
    (void)km_magicsock_home(ep->ms, &home, 1);
  }
  return home;
}

bool km_endpoint_online(const km_endpoint *ep) {
  return km_endpoint_home_relay(ep) != NULL;
}
