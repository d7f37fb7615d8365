/* The shell of port mapping: two sockets, a timer and UPnP's threads. */
#include "holepunch/portmap_io.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/udp_addr.h"
#include "holepunch/gateway_io.h"
#include "holepunch/portmap.h"
#include "holepunch/portmap_upnp_io.h"

#define PACKETS_PER_TURN 16

typedef struct portmap_socket {
  int fd;
  km_poll *poll;
} portmap_socket;

struct km_portmap {
  const km_env *env;
  km_loop *loop;
  km_portmap_core core;
  km_deadline *timer;
  km_defer *teller;
  km_gateway gateway;
  portmap_socket asking;    /* connected to the gateway: the kernel drops what others send */
  portmap_socket announced; /* multicast of the gateway */
  km_upnp *job;
  km_upnp_what job_what;
  km_upnp_igd igd;
  void (*fn)(void *ctx, const km_portmap_status *status);
  void *ctx;
};

static km_ts now_of(const km_portmap *p) {
  return km_loop_now(p->loop);
}

static void pump(km_portmap *p);

/* --- UPnP ------------------------------------------------------------------------------------ */

static void on_upnp(void *ctx, const km_upnp_result *result) {
  km_portmap *p = ctx;
  const char *trouble = result->trouble[0] != '\0' ? result->trouble : NULL;
  km_upnp_free(p->job);
  p->job = NULL;
  if (p->job_what == KM_UPNP_MAP) {
    km_portmap_core_upnp_mapped(&p->core, &result->external, result->lifetime_s, trouble,
                                now_of(p));
  } else {
    if (trouble == NULL) {
      p->igd = result->igd;
    }
    km_portmap_core_upnp_found(&p->core, trouble, now_of(p));
  }
  pump(p);
}

static km_upnp_request request_of(const km_portmap *p, const km_portmap_out *out) {
  return (km_upnp_request){.gateway = p->gateway,
                           .igd = p->igd,
                           .internal_port = out->internal_port,
                           .external_port = out->external_port,
                           .lifetime_s = out->lifetime_s};
}

/* A job that is under way belongs to what was wanted before. */
static void start_job(km_portmap *p, km_upnp_what what, const km_portmap_out *out) {
  km_upnp_request request = request_of(p, out);
  km_upnp_free(p->job);
  p->job = NULL;
  p->job_what = request.what = what;
  if (km_upnp_new(&p->job, p->env, p->loop, &request, on_upnp, p) == 0) {
    return;
  }
  static const char busy[] = "too much is under way";
  if (what == KM_UPNP_MAP) {
    km_portmap_core_upnp_mapped(&p->core, &(km_udp_addr){0}, 0, busy, now_of(p));
  } else {
    km_portmap_core_upnp_found(&p->core, busy, now_of(p));
  }
}

/* --- doing what the core says ---------------------------------------------------------------- */

/* Lost packets are the core's affair. */
static void send_bytes(const km_portmap *p, const km_portmap_out *out) {
  if (p->asking.fd >= 0 && send(p->asking.fd, out->bytes, out->len, MSG_DONTWAIT) < 0 &&
      errno == ECONNREFUSED) { /* what was sent before found nobody: once more for this one */
    (void)send(p->asking.fd, out->bytes, out->len, MSG_DONTWAIT);
  }
}

static void pump(km_portmap *p) {
  km_portmap_out out;
  while (km_portmap_core_next(&p->core, &out)) {
    switch (out.what) {
    case KM_PORTMAP_SEND:
      send_bytes(p, &out);
      break;
    case KM_PORTMAP_UPNP_FIND:
      start_job(p, KM_UPNP_FIND, &out);
      break;
    case KM_PORTMAP_UPNP_MAP:
      start_job(p, KM_UPNP_MAP, &out);
      break;
    case KM_PORTMAP_UPNP_UNMAP: {
      km_upnp_request request = request_of(p, &out);
      km_upnp_unmap(&request);
      break;
    }
    default:
      km_defer_run(p->teller);
      break;
    }
  }
  km_deadline_set(p->timer, km_portmap_core_deadline(&p->core));
}

static void on_timer(void *ctx) {
  km_portmap *p = ctx;
  km_portmap_core_timeout(&p->core, now_of(p));
  pump(p);
}

static void on_tell(void *ctx) {
  km_portmap *p = ctx;
  km_portmap_status status;
  char text[KM_UDP_ADDR_TEXT_CAP] = "none";
  km_portmap_core_status(&p->core, &status);
  if (status.external.family != 0) {
    (void)km_udp_addr_format(&status.external, text, sizeof text);
  }
  KM_LOG(&p->env->logger, KM_LOG_INFO, KM_LOGC_PUNCH, NULL, NULL, "port-mapping",
         "protocol=%s external=%s lifetime_s=%u found=%u probing=%d trouble=\"%s\"",
         km_portmap_protocol_name(status.protocol), text, (unsigned)status.lifetime_s, status.found,
         status.probing, status.trouble);
  p->fn(p->ctx, &status); /* may free it */
}

/* --- sockets --------------------------------------------------------------------------------- */

static void close_socket(portmap_socket *s) {
  km_poll_free(s->poll);
  s->poll = NULL;
  if (s->fd >= 0) {
    (void)close(s->fd); /* what was sent is sent */
  }
  s->fd = -1;
}

static void on_answer(void *ctx, int events) {
  km_portmap *p = ctx;
  uint8_t bytes[KM_PCP_MAX_LEN + 1]; /* one more: what is longer is none of ours */
  (void)events;
  for (int i = 0; i < PACKETS_PER_TURN && p->asking.fd >= 0; i++) {
    ssize_t len = recv(p->asking.fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (len >= 0) {
      km_portmap_core_input(&p->core, bytes, (size_t)len, now_of(p));
    } else if (errno == ECONNREFUSED) {
      km_portmap_core_no_listener(&p->core, now_of(p));
    } else {
      break; /* nothing more, or a network that is away: netmon will say */
    }
    pump(p);
  }
}

static void on_announced(void *ctx, int events) {
  km_portmap *p = ctx;
  (void)events;
  for (int i = 0; i < PACKETS_PER_TURN && p->announced.fd >= 0; i++) {
    uint8_t bytes[KM_PCP_MAX_LEN + 1];
    struct sockaddr_storage ss;
    socklen_t ss_len = (socklen_t)sizeof ss;
    km_udp_addr from;
    ssize_t len = recvfrom(p->announced.fd, bytes, sizeof bytes, MSG_DONTWAIT,
                           (struct sockaddr *)&ss, &ss_len);
    if (len < 0) {
      break;
    }
    if (km_udp_addr_from_sockaddr(&from, (const struct sockaddr *)&ss, ss_len) &&
        from.family == p->gateway.addr.family &&
        memcmp(from.ip, p->gateway.addr.ip, sizeof from.ip) == 0) {
      km_portmap_core_announced(&p->core, bytes, (size_t)len, now_of(p));
      pump(p);
    }
  }
}

static int watch(km_portmap *p, portmap_socket *s, km_poll_fn fn) {
  int rv = km_poll_new(&s->poll, p->loop, s->fd, fn, p);
  return rv == 0 ? km_poll_set(s->poll, KM_POLL_READ) : rv;
}

static bool open_asking(km_portmap *p) {
  struct sockaddr_storage ss;
  km_udp_addr server = p->gateway.addr;
  server.port = KM_PCP_PORT;
  socklen_t len = km_udp_addr_to_sockaddr(&server, &ss);
  p->asking.fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  return p->asking.fd >= 0 && connect(p->asking.fd, (const struct sockaddr *)&ss, len) == 0 &&
         watch(p, &p->asking, on_answer) == 0;
}

/* Other programs listen there as well. Without it a restart of the gateway is noticed later. */
static void open_announced(km_portmap *p) {
  const struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(KM_PCP_CLIENT_PORT)};
  struct ip_mreq all_hosts = {.imr_multiaddr = {.s_addr = htonl(INADDR_ALLHOSTS_GROUP)}};
  int one = 1;
  memcpy(&all_hosts.imr_interface, p->gateway.local.ip, sizeof all_hosts.imr_interface);
  p->announced.fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (p->announced.fd < 0 ||
      setsockopt(p->announced.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
      bind(p->announced.fd, (const struct sockaddr *)&any, sizeof any) != 0 ||
      watch(p, &p->announced, on_announced) != 0) {
    close_socket(&p->announced);
    return;
  }
  /* Everybody is in that group; some systems want to hear it all the same. */
  (void)setsockopt(p->announced.fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &all_hosts, sizeof all_hosts);
}

/* --- the network ----------------------------------------------------------------------------- */

static const char no_need[] = "this machine has a public address: there is nothing to map";

/* False with a reason. Where the system does not name the gateway, UPnP alone can find it. */
static bool find_gateway(km_portmap *p, km_errinfo *err) {
  int rv = km_gateway_find(p->env, 4, &p->gateway, err);
  if (rv == KM_ERR_UNSUPPORTED) {
    p->gateway.addr.family = 4;
    return true;
  }
  if (rv != 0) {
    return false;
  }
  if (!km_gateway_is_private(&p->gateway.local)) {
    (void)snprintf(err->text, sizeof err->text, "%s", no_need);
    return false;
  }
  if (!open_asking(p)) {
    (void)km_fail(err, KM_ERR_SYSTEM, "the gateway cannot be reached");
    return false;
  }
  open_announced(p);
  return true;
}

static void leave_network(km_portmap *p) {
  close_socket(&p->asking);
  close_socket(&p->announced);
  km_upnp_free(p->job);
  p->job = NULL;
  p->gateway = (km_gateway){0};
}

static void enter_network(km_portmap *p) {
  km_errinfo err = {0};
  leave_network(p);
  bool ok = find_gateway(p, &err);
  if (!ok) {
    leave_network(p);
  }
  km_portmap_core_set_gateway(&p->core, &p->gateway.addr, &p->gateway.local, ok ? NULL : err.text,
                              now_of(p));
}

void km_portmap_network_changed(km_portmap *p) {
  if (p->core.port != 0) {
    enter_network(p);
    pump(p);
  }
}

void km_portmap_set_port(km_portmap *p, uint16_t local_port) {
  bool rested = p->core.port == 0;
  km_portmap_core_set_port(&p->core, local_port, now_of(p));
  if (rested && local_port != 0) {
    enter_network(p);
  }
  pump(p);
  if (local_port == 0) {
    leave_network(p);
  }
}

/* --- lifecycle ------------------------------------------------------------------------------- */

static int start(km_portmap *p, const km_portmap_config *config) {
  uint8_t allowed = config->allowed != 0 ? config->allowed : UINT8_MAX;
  if (!km_upnp_is_built_in()) {
    allowed &= (uint8_t) ~(1u << KM_PORTMAP_UPNP);
  }
  km_portmap_core_init(&p->core, p->env,
                       config->lifetime_s != 0 ? config->lifetime_s : KM_PORTMAP_LIFETIME_S,
                       allowed);
  int rv = km_deadline_new(&p->timer, p->loop, on_timer, p);
  return rv == 0 ? km_defer_new(&p->teller, p->loop, on_tell, p) : rv;
}

int km_portmap_new_with(km_portmap **ret, const km_env *env, km_loop *loop,
                        const km_portmap_config *config,
                        void (*fn)(void *ctx, const km_portmap_status *), void *ctx) {
  km_portmap *p = km_env_zalloc(env, 1, sizeof *p);
  if (p == NULL) {
    return KM_ERR_NOMEM;
  }
  p->env = env;
  p->loop = loop;
  p->asking.fd = p->announced.fd = -1;
  p->fn = fn;
  p->ctx = ctx;
  int rv = start(p, config);
  if (rv != 0) {
    km_portmap_free(p);
    return rv;
  }
  *ret = p;
  return 0;
}

int km_portmap_new(km_portmap **ret, const km_env *env, km_loop *loop,
                   void (*fn)(void *ctx, const km_portmap_status *), void *ctx) {
  const km_portmap_config config = {0};
  return km_portmap_new_with(ret, env, loop, &config, fn, ctx);
}

void km_portmap_get_status(const km_portmap *p, km_portmap_status *ret) {
  km_portmap_core_status(&p->core, ret);
}

void km_portmap_free(km_portmap *p) {
  if (p == NULL) {
    return;
  }
  if (p->timer != NULL && p->teller != NULL) {
    km_portmap_set_port(p, 0);
  }
  leave_network(p);
  km_deadline_free(p->timer);
  km_defer_free(p->teller);
  km_env_free(p->env, p);
}
