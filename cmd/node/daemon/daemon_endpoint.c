/* Sockets, relays and discovery of the daemon. */
#include <stdlib.h>
#include <string.h>

#include "cmd/node/daemon/daemon.h"
#include "cmd/node/discovery.h"
#include "cmd/node/node.h"

#define STATE_FILE "discovery.db" /* beside the store */

bool daemon_has_relays(const node_daemon *d) {
  km_relay_mode mode = d->project->relay_mode;
  return mode != KM_RELAY_MODE_DISABLED && mode != KM_RELAY_MODE_DIAL_ONLY;
}

/* --- sockets ---------------------------------------------------------------------------------- */

static int parse_host(const char *host, uint16_t port, km_udp_addr *ret, km_errinfo *err) {
  char text[KM_UDP_ADDR_TEXT_CAP];
  bool six = strchr(host, ':') != NULL && host[0] != '[';
  host = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
  int len = snprintf(text, sizeof text, six ? "[%s]:%u" : "%s:%u", host, port);
  if (len < 0 || (size_t)len >= sizeof text) {
    return km_fail(err, KM_ERR_BAD_ADDR, "'%.60s' is no IP address", host);
  }
  return km_udp_addr_parse(ret, text, (size_t)len, err);
}

/* How many were written; 0: any, as the endpoint does it. */
static int choose_binds(const node_daemon *d, km_udp_addr ret[2], km_errinfo *err) {
  const project *p = d->project;
  const char *host = d->options->bind_host != NULL ? d->options->bind_host : p->bind_host;
  int rv;
  if (host != NULL) {
    rv = parse_host(host, p->listen_port, &ret[0], err);
    return rv != 0 ? rv : 1;
  }
  if (p->listen_port == 0) {
    return 0;
  }
  rv = parse_host("0.0.0.0", p->listen_port, &ret[0], err);
  rv = rv != 0 ? rv : parse_host("::", p->listen_port, &ret[1], err);
  return rv != 0 ? rv : 2;
}

/* --- discovery -------------------------------------------------------------------------------- */

static int fill_list(cli_list *list, char **from, size_t count, const char *key, km_errinfo *err) {
  if (count > CLI_LIST_MAX) {
    return km_fail(err, KM_ERR_INVALID, "%s has too many members", key);
  }
  for (size_t i = 0; i < count; i++) {
    list->at[list->count++] = from[i];
  }
  return 0;
}

static char *state_path(const project *p) {
  const char *slash = strrchr(p->store_path, '/');
  size_t dir = slash == NULL ? 0 : (size_t)(slash - p->store_path) + 1;
  char *path = malloc(dir + sizeof STATE_FILE);
  if (path != NULL) {
    memcpy(path, p->store_path, dir);
    memcpy(path + dir, STATE_FILE, sizeof STATE_FILE);
  }
  return path;
}

/* What is remembered there only helps: a file that cannot be used (a full disk, damage, rights) is
 * left as it is, and stops nothing. */
static int open_with_state(node_daemon *d, discovery_options *o, const discovery_setup *setup,
                           km_errinfo *err) {
  char *state = state_path(d->project);
  if (state == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  km_errinfo why = {0};
  o->state = state;
  int rv = discovery_open(&d->discovery, o, setup, &why);
  if (rv != 0) {
    o->state = NULL;
    rv = discovery_open(&d->discovery, o, setup, err);
    if (rv == 0) {
      KM_LOG(&d->logger, KM_LOG_WARN, KM_LOGC_DISCOVERY, NULL, NULL, "cache-unusable",
             "%s; addresses are remembered in memory only, until the next start", why.text);
    }
  }
  free(state);
  return rv;
}

static int open_discovery(node_daemon *d, const km_secret_key *key, km_errinfo *err) {
  const project *p = d->project;
  discovery_options o = {.publish_direct = p->publish_direct, .no_publish = !p->publish};
  const discovery_setup setup = {.loop = d->loop,
                                 .key = key,
                                 .relay_mode = p->relay_mode,
                                 .log = d->logger.sink,
                                 .log_filter = &d->logger.filter,
                                 .no_mdns = !p->mdns,
                                 .no_publish = !p->publish};
  int rv = fill_list(&o.pkarr, p->pkarr_urls, p->pkarr_url_count, "discovery.pkarr", err);
  rv = rv != 0
           ? rv
           : fill_list(&o.dns_origin, p->dns_origins, p->dns_origin_count, "discovery.dns", err);
  if (rv != 0) {
    return rv;
  }
  return open_with_state(d, &o, &setup, err);
}

/* --- the endpoint ----------------------------------------------------------------------------- */

static void be_ready(node_daemon *d) {
  km_timer_cancel(d->ready_timer);
  d->ready_timer = NULL;
  d->ready = true;
  daemon_tell_ready(d);
}

static void on_home_relay(void *ctx, km_endpoint *endpoint) {
  node_daemon *d = ctx;
  (void)endpoint;
  if (d->once != NULL || d->stopping) {
    return;
  }
  if (d->ready) {
    daemon_tell_relay(d);
  } else if (d->node.mesh != NULL && km_endpoint_online(d->endpoint)) {
    be_ready(d);
  }
}

static void on_closed(void *ctx, km_endpoint *endpoint) {
  node_daemon *d = ctx;
  (void)endpoint;
  d->endpoint = NULL;
  km_loop_stop(d->loop);
}

int daemon_open_endpoint(node_daemon *d, const km_secret_key *key, km_errinfo *err) {
  const project *p = d->project;
  km_udp_addr binds[2];
  km_endpoint_options o;
  km_endpoint_options_default(&o);
  int count = choose_binds(d, binds, err);
  int rv = count < 0 ? count : open_discovery(d, key, err);
  if (rv != 0) {
    return rv;
  }
  o.secret_key = key;
  o.bind = binds;
  o.bind_count = (size_t)count;
  o.relay_mode = p->relay_mode;
  o.relay_urls = (const char *const *)p->relay_urls;
  o.relay_url_count = p->relay_url_count;
  o.relay_ca_file = p->relay_ca_file;
  o.relay_token = p->relay_mode == KM_RELAY_MODE_CUSTOM ? node_relay_token(NULL) : NULL;
  o.port_mapping = p->port_mapping;
  o.discovery = d->discovery;
  o.publish = p->publish;
  o.log = d->logger.sink;
  o.log_ctx = d->logger.ctx;
  o.log_filter = d->logger.filter;
  o.callbacks = (km_endpoint_callbacks){
      .size = sizeof o.callbacks, .on_home_relay = on_home_relay, .on_closed = on_closed};
  o.ctx = d;
  return km_endpoint_open(&d->endpoint, d->loop, &o, err);
}
