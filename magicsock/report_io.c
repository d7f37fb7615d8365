#include "magicsock/report_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/udp_addr.h"
#include "holepunch/nat_probe.h"
#include "holepunch/net_report.h"
#include "magicsock/interfaces_io.h"
#include "magicsock/mapped_addr.h"
#include "relay/resolve_io.h"
#include "relay/url.h"

/* Short enough for the NATs that forget after 30 s (RFC 4787 wants two minutes), not in step with
 * those of others: as iroh. */
#define EVERY_NS (20 * KM_NS_PER_S)
#define EVERY_MORE_NS (5 * KM_NS_PER_S)
#define SILENT_MAX 4                      /* the time doubles so often while nothing answers */
#define PATIENCE_NS (10 * KM_NS_PER_S)    /* without any answer */
#define NAMES_NS (5 * KM_NS_PER_S)        /* that a full measurement waits for name servers */
#define NAMES_AGAIN_NS (30 * KM_NS_PER_S) /* names without an address are looked up again */
enum { ADDRS_OF_FAMILY = 2 };             /* of one name: two tell what NAT there is */

typedef struct stun_name {
  km_reporter *all;
  char text[KM_STUN_HOST_CAP + 8];
  char host[KM_STUN_HOST_CAP];
  uint16_t port;
  km_resolve *resolve; /* under way */
  km_udp_addr addrs[2 * ADDRS_OF_FAMILY];
  size_t count;
} stun_name;

/* The socket that nobody knows. */
typedef struct second_socket {
  km_reporter *all;
  int fd; /* -1: not open */
  km_poll *poll;
} second_socket;

struct km_reporter {
  km_reporter_config config;
  km_nat_probe *probe;
  km_deadline *timer;
  stun_name names[KM_REPORTER_MAX_NAMES];
  size_t name_count;
  km_udp_addr own[KM_NAT_MAX_OWN];
  size_t own_count;
  second_socket second[2]; /* IPv4, IPv6 */
  bool active;
  bool refresh;      /* wanted, in the next turn */
  bool ask_all;      /* the next refresh asks all servers */
  bool resolve;      /* names are to be looked up, in the next turn */
  km_ts refresh_at;  /* when active */
  unsigned silent;   /* refreshes in a row before which nothing had answered */
  km_ts resolved_at; /* names were last looked up */
  uint32_t changes;  /* that were told */
  km_net_report_fn full_fn;
  void *full_ctx;
  bool full_begun;
  km_ts full_by; /* begins with the names that are there */
};

static km_ts now_of(const km_reporter *r) {
  return km_loop_now(r->config.loop);
}

static void pump(km_reporter *r);

/* In the next turn at the latest. */
static void wake(km_reporter *r) {
  km_deadline_set(r->timer, now_of(r));
}

/* --- addresses of our own --------------------------------------------------------------------- */

/* A wildcard socket has those of loopback as well, which are no candidates but where servers on
 * this machine see us. */
static void add_loopback(km_udp_addr *list, size_t *count, const km_udp_addr *bound) {
  static const uint8_t zero[16] = {0};
  if (*count == KM_NAT_MAX_OWN || memcmp(bound->ip, zero, 16) != 0) {
    return;
  }
  km_udp_addr *a = &list[(*count)++];
  *a = (km_udp_addr){.family = bound->family, .port = bound->port};
  if (a->family == 4) {
    a->ip[0] = 127;
  }
  a->ip[a->family == 4 ? 3 : 15] = 1;
}

static size_t own_addresses(const km_reporter *r, km_udp_addr list[KM_NAT_MAX_OWN]) {
  km_udp_addr bound[KM_MAGICSOCK_MAX_SOCKETS];
  size_t sockets = km_magicsock_bound(r->config.ms, bound, KM_MAGICSOCK_MAX_SOCKETS);
  size_t count = 0;
  for (size_t i = 0; i < sockets; i++) {
    add_loopback(list, &count, &bound[i]);
  }
  return count + km_magicsock_candidates(r->config.ms, list + count, KM_NAT_MAX_OWN - count);
}

/* True: they are others than before, and nothing that was known holds any more. */
static bool own_changed(km_reporter *r) {
  km_udp_addr fresh[KM_NAT_MAX_OWN];
  size_t count = own_addresses(r, fresh);
  bool same = count == r->own_count;
  for (size_t i = 0; same && i < count; i++) {
    same = km_udp_addr_equal(&fresh[i], &r->own[i]);
  }
  memcpy(r->own, fresh, count * sizeof *fresh);
  r->own_count = count;
  km_nat_probe_set_own(r->probe, fresh, count);
  return !same;
}

/* --- servers ---------------------------------------------------------------------------------- */

static bool can_reach(const km_reporter *r, const km_udp_addr *addr) {
  km_path_key key;
  return km_magicsock_key(r->config.ms, addr, &key) == 0;
}

/* The first address of every name before the second of any. A full measurement goes on with those
 * that it began with. */
static void list_servers(km_reporter *r) {
  if (r->full_begun) {
    return;
  }
  km_udp_addr list[KM_NAT_MAX_SERVERS];
  size_t count = 0;
  for (size_t round = 0; round < 2 * ADDRS_OF_FAMILY; round++) {
    for (size_t i = 0; i < r->name_count && count < KM_NAT_MAX_SERVERS; i++) {
      const stun_name *n = &r->names[i];
      if (round < n->count && can_reach(r, &n->addrs[round])) {
        list[count++] = n->addrs[round];
      }
    }
  }
  r->ask_all = km_nat_probe_set_servers(r->probe, list, count) || r->ask_all;
}

/* IPv4 and IPv6 in turn, so that one address of each is among the first two. */
static void take_addresses(stun_name *n, const km_resolve_result *found) {
  n->count = 0;
  for (size_t round = 0; round < ADDRS_OF_FAMILY; round++) {
    for (uint8_t family = 4; family <= 6; family += 2) {
      size_t skip = round;
      for (size_t i = 0; i < found->count; i++) {
        if (found->addrs[i].family == family && skip-- == 0) {
          n->addrs[n->count++] = found->addrs[i];
          break;
        }
      }
    }
  }
}

static void on_resolved(void *ctx, const km_resolve_result *result) {
  stun_name *n = ctx;
  km_reporter *r = n->all;
  if (result->status == 0) {
    take_addresses(n, result);
  } else {
    KM_LOG(&r->config.env->logger, KM_LOG_INFO, KM_LOGC_PUNCH, NULL, NULL, "stun-no-address",
           "name=%s", n->text);
  }
  km_resolve_free(n->resolve);
  n->resolve = NULL;
  list_servers(r);
  r->refresh = true;
  pump(r);
}

static void resolve(km_reporter *r, stun_name *n) {
  if (n->resolve != NULL) {
    return;
  }
  if (km_relay_host_literal(n->host, n->port, &n->addrs[0])) {
    n->count = 1;
  } else if (km_resolve_new(&n->resolve, r->config.env, r->config.loop, n->host, n->port,
                            on_resolved, n) != 0) {
    n->resolve = NULL; /* no thread for it now: tried again later */
  }
}

static bool names_wait(const km_reporter *r) {
  for (size_t i = 0; i < r->name_count; i++) {
    if (r->names[i].resolve != NULL) {
      return true;
    }
  }
  return false;
}

static void resolve_all(km_reporter *r, bool missing_only) {
  for (size_t i = 0; i < r->name_count; i++) {
    if (!missing_only || r->names[i].count == 0) {
      resolve(r, &r->names[i]);
    }
  }
  r->resolved_at = now_of(r);
  list_servers(r);
}

/* --- packets ---------------------------------------------------------------------------------- */

static void on_stun(void *ctx, const km_path_key *from, const uint8_t *data, size_t len) {
  km_reporter *r = ctx;
  if (km_nat_probe_receive(r->probe, now_of(r), KM_NAT_MAIN, &from->remote, data, len)) {
    pump(r);
  }
}

static void on_second_readable(void *ctx, int events) {
  second_socket *s = ctx;
  km_reporter *r = s->all;
  bool news = false;
  (void)events;
  for (unsigned i = 0; i < 32; i++) {
    uint8_t data[600];
    struct sockaddr_storage ss;
    socklen_t ss_len = sizeof ss;
    km_udp_addr from;
    ssize_t len = recvfrom(s->fd, data, sizeof data, 0, (struct sockaddr *)&ss, &ss_len);
    if (len < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      break;
    }
    if (len > 0 && km_udp_addr_from_sockaddr(&from, (struct sockaddr *)&ss, ss_len)) {
      news = km_nat_probe_receive(r->probe, now_of(r), KM_NAT_SECOND, &from, data, (size_t)len) ||
             news;
    }
  }
  if (news) {
    pump(r);
  }
}

static void second_close(second_socket *s) {
  if (s->poll != NULL) {
    km_poll_free(s->poll);
    s->poll = NULL;
  }
  if (s->fd >= 0) {
    (void)close(s->fd);
    s->fd = -1;
  }
}

/* Where the magicsock's socket of the family is, at any other port. */
static bool second_bind(const second_socket *s, uint8_t family) {
  km_udp_addr bound[KM_MAGICSOCK_MAX_SOCKETS];
  size_t count = km_magicsock_bound(s->all->config.ms, bound, KM_MAGICSOCK_MAX_SOCKETS);
  for (size_t i = 0; i < count; i++) {
    if (bound[i].family == family) {
      struct sockaddr_storage ss;
      const int on = 1;
      bound[i].port = 0;
      socklen_t len = km_udp_addr_to_sockaddr(&bound[i], &ss);
      return (family == 4 || setsockopt(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0) &&
             bind(s->fd, (const struct sockaddr *)&ss, len) == 0;
    }
  }
  return false;
}

/* Without it some of a full measurement stays unknown. */
static void second_open(second_socket *s, uint8_t family) {
  if (s->fd >= 0) {
    return;
  }
  s->fd = socket(family == 4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0);
  if (s->fd < 0) {
    return;
  }
  if (fcntl(s->fd, F_SETFD, FD_CLOEXEC) != 0 || fcntl(s->fd, F_SETFL, O_NONBLOCK) != 0 ||
      !second_bind(s, family) ||
      km_poll_new(&s->poll, s->all->config.loop, s->fd, on_second_readable, s) != 0 ||
      km_poll_set(s->poll, KM_POLL_READ) != 0) {
    second_close(s);
  }
}

static void send_out(km_reporter *r, const km_stun_out *out) {
  km_path_key key;
  if (out->socket == KM_NAT_MAIN) {
    if (km_magicsock_key(r->config.ms, &out->to, &key) == 0) {
      km_magicsock_reply(r->config.ms, &key, out->bytes, out->len);
    }
    return;
  }
  const second_socket *s = &r->second[out->to.family == 4 ? 0 : 1];
  struct sockaddr_storage ss;
  socklen_t len = km_udp_addr_to_sockaddr(&out->to, &ss);
  if (s->fd >= 0 && sendto(s->fd, out->bytes, out->len, 0, (struct sockaddr *)&ss, len) < 0) {
    return; /* as if it was lost on the way: it is sent again, or is given up */
  }
}

/* --- the full measurement --------------------------------------------------------------------- */

static void begin_full(km_reporter *r) {
  r->refresh = false;
  (void)own_changed(r);
  list_servers(r);
  r->full_begun = true;
  second_open(&r->second[0], 4);
  second_open(&r->second[1], 6);
  km_nat_probe_start(r->probe, KM_NAT_FULL, PATIENCE_NS, now_of(r));
}

static void fill_family(const km_reporter *r, uint8_t family, km_net_family *ret) {
  km_udp_addr bound[KM_MAGICSOCK_MAX_SOCKETS];
  size_t count = km_magicsock_bound(r->config.ms, bound, KM_MAGICSOCK_MAX_SOCKETS);
  const km_nat_family *f = km_nat_probe_family(r->probe, family);
  for (size_t i = 0; i < count; i++) {
    ret->bound = ret->bound || bound[i].family == family;
  }
  ret->works = f->works;
  if (!km_mapped_addr_is(&f->mapped)) {
    ret->public_addr = f->mapped;
  }
  ret->mapping = f->mapping;
  ret->filtering = f->filtering;
  ret->hairpin = f->hairpin;
  ret->port_step = f->port_step;
}

static void add_stun(km_net_report *report, const char *name, const km_nat_server *server) {
  if (report->stun_count == KM_NET_REPORT_MAX_STUN) {
    return;
  }
  km_net_stun *s = &report->stun[report->stun_count++];
  (void)snprintf(s->name, sizeof s->name, "%.255s", name);
  if (server == NULL) {
    return;
  }
  s->addr = server->addr;
  s->mapped = server->mapped;
  if (server->mapped.family != 0) { /* it answered, be it in no time */
    s->latency_us = server->rtt_ns < 1000 ? 1 : server->rtt_ns / 1000;
  }
}

static void fill_servers(const km_reporter *r, km_net_report *report) {
  km_nat_server servers[KM_NAT_MAX_SERVERS];
  size_t count = km_nat_probe_servers(r->probe, servers, KM_NAT_MAX_SERVERS);
  for (size_t i = 0; i < r->name_count; i++) {
    const stun_name *n = &r->names[i];
    bool found = false;
    for (size_t k = 0; k < n->count; k++) {
      for (size_t j = 0; j < count; j++) {
        if (km_udp_addr_equal(&servers[j].addr, &n->addrs[k])) {
          add_stun(report, n->text, &servers[j]);
          found = true;
        }
      }
    }
    if (!found) {
      add_stun(report, n->text, NULL);
    }
  }
}

static void end_full(km_reporter *r) {
  km_net_report report = {.size = sizeof report};
  km_net_report_fn fn = r->full_fn;
  void *ctx = r->full_ctx;
  fill_family(r, 4, &report.udp4);
  fill_family(r, 6, &report.udp6);
  fill_servers(r, &report);
  km_net_report_conclude(&report);
  km_reporter_full_cancel(r);
  fn(ctx, &report);
}

int km_reporter_full(km_reporter *r, km_net_report_fn fn, void *ctx) {
  if (r->full_fn != NULL) {
    return KM_ERR_STATE;
  }
  r->full_fn = fn;
  r->full_ctx = ctx;
  r->full_by = now_of(r) + NAMES_NS;
  wake(r);
  return 0;
}

void km_reporter_full_cancel(km_reporter *r) {
  r->full_fn = NULL;
  r->full_begun = false;
  second_close(&r->second[0]);
  second_close(&r->second[1]);
}

/* --- a turn ----------------------------------------------------------------------------------- */

/* Less and less often where nobody answers: these servers may not be any. */
static void schedule(km_reporter *r) {
  uint64_t every = EVERY_NS + km_env_random_below(r->config.env, EVERY_MORE_NS);
  r->refresh_at = r->active ? now_of(r) + (every << r->silent) : KM_TS_NEVER;
}

static void refresh(km_reporter *r) {
  bool other_network = own_changed(r);
  r->refresh = false;
  bool silent = km_nat_probe_answered(r->probe) == 0 && !other_network && !r->ask_all;
  r->silent = !silent ? 0 : r->silent < SILENT_MAX ? r->silent + 1 : SILENT_MAX;
  if (other_network) {
    km_nat_probe_forget(r->probe);
    r->full_begun = false; /* it begins again */
  }
  if (other_network || r->resolve || now_of(r) - r->resolved_at > NAMES_AGAIN_NS) {
    resolve_all(r, !other_network && !r->resolve);
    r->resolve = false;
  }
  km_nat_probe_start(r->probe, r->ask_all ? KM_NAT_QUICK : KM_NAT_REFRESH, PATIENCE_NS, now_of(r));
  r->ask_all = false;
  schedule(r);
}

static void send_all(km_reporter *r) {
  km_stun_out out;
  while (km_nat_probe_pull(r->probe, now_of(r), &out)) {
    send_out(r, &out);
  }
}

static void arm(km_reporter *r) {
  km_ts next = km_nat_probe_deadline(r->probe);
  next = r->refresh_at < next ? r->refresh_at : next;
  if (r->full_fn != NULL && !r->full_begun && r->full_by < next) {
    next = r->full_by;
  }
  if (r->refresh) {
    next = now_of(r);
  }
  km_deadline_set(r->timer, next);
}

static void log_change(const km_reporter *r) {
  char text[KM_UDP_ADDR_TEXT_CAP] = "unknown";
  for (uint8_t family = 4; family <= 6; family += 2) {
    const km_nat_family *f = km_nat_probe_family(r->probe, family);
    if (f->works && km_udp_addr_format(&f->mapped, text, sizeof text) > 0) {
      KM_LOG(&r->config.env->logger, KM_LOG_DEBUG, KM_LOGC_PUNCH, NULL, NULL, "nat",
             "family=%u seen_as=%s mapping=%s filtering=%s", (unsigned)family, text,
             km_nat_mapping_name(f->mapping), km_nat_filtering_name(f->filtering));
    }
  }
}

/* Runs from the loop only. */
static void pump(km_reporter *r) {
  km_ts now = now_of(r);
  if (r->refresh || now >= r->refresh_at) {
    refresh(r);
  }
  if (r->full_fn != NULL && !r->full_begun && (now >= r->full_by || !names_wait(r))) {
    begin_full(r);
  }
  send_all(r);
  uint32_t changes = km_nat_probe_changes(r->probe);
  if (changes != r->changes) {
    r->changes = changes;
    log_change(r);
    if (r->config.on_change != NULL) {
      r->config.on_change(r->config.ctx);
    }
  }
  if (r->full_fn != NULL && r->full_begun && !km_nat_probe_busy(r->probe)) {
    end_full(r);
  }
  arm(r);
}

static void on_timer(void *ctx) {
  pump(ctx);
}

/* --- life ------------------------------------------------------------------------------------- */

static int take_name(km_reporter *r, const char *name, km_errinfo *err) {
  if (r->name_count == KM_REPORTER_MAX_NAMES) {
    return 0;
  }
  stun_name *n = &r->names[r->name_count];
  n->all = r;
  int rv = km_stun_name_read(n->host, &n->port, name, err);
  if (rv != 0) {
    return rv;
  }
  (void)snprintf(n->text, sizeof n->text, "%s", name);
  r->name_count++;
  return 0;
}

static int take_names(km_reporter *r, const km_reporter_config *config, km_errinfo *err) {
  int rv = 0;
  for (size_t i = 0; rv == 0 && i < config->stun_count; i++) {
    rv = take_name(r, config->stun_servers[i], err);
  }
  return rv;
}

int km_reporter_new(km_reporter **ret, const km_reporter_config *config, km_errinfo *err) {
  km_reporter *r = km_env_zalloc(config->env, 1, sizeof *r);
  if (r == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  r->config = *config;
  r->config.stun_servers = NULL;
  r->refresh_at = KM_TS_NEVER;
  r->refresh = r->resolve = true;
  for (size_t i = 0; i < 2; i++) {
    r->second[i] = (second_socket){.all = r, .fd = -1};
  }
  int rv = take_names(r, config, err);
  if (rv == 0 && (km_nat_probe_new(&r->probe, config->env) != 0 ||
                  km_deadline_new(&r->timer, config->loop, on_timer, r) != 0)) {
    rv = km_fail(err, KM_ERR_NOMEM, NULL);
  }
  if (rv != 0) {
    km_reporter_free(r);
    return rv;
  }
  km_magicsock_watch_stun(config->ms, on_stun, r);
  wake(r);
  *ret = r;
  return 0;
}

void km_reporter_free(km_reporter *r) {
  if (r == NULL) {
    return;
  }
  if (r->timer != NULL) { /* else it never watched */
    km_magicsock_watch_stun(r->config.ms, NULL, NULL);
    km_deadline_free(r->timer);
  }
  for (size_t i = 0; i < r->name_count; i++) {
    km_resolve_free(r->names[i].resolve);
  }
  km_reporter_full_cancel(r);
  km_nat_probe_del(r->probe);
  km_env_free(r->config.env, r);
}

void km_reporter_set_active(km_reporter *r, bool active) {
  if (r->active == active) {
    return;
  }
  r->active = active;
  r->refresh = r->refresh || active;
  schedule(r);
  wake(r);
}

void km_reporter_add(km_reporter *r, const char *name) {
  size_t before = r->name_count;
  for (size_t i = 0; i < before; i++) {
    if (strcmp(r->names[i].text, name) == 0) {
      return;
    }
  }
  if (take_name(r, name, NULL) == 0 && r->name_count > before) {
    resolve(r, &r->names[before]);
    list_servers(r);
    km_reporter_refresh(r);
  }
}

void km_reporter_refresh(km_reporter *r) {
  r->refresh = true;
  wake(r);
}

/* --- answers ---------------------------------------------------------------------------------- */

size_t km_reporter_reflexive(const km_reporter *r, km_udp_addr *ret, size_t cap) {
  km_udp_addr all[KM_NAT_MAX_REFLEXIVE];
  size_t count = km_nat_probe_reflexive(r->probe, now_of(r), all, KM_NAT_MAX_REFLEXIVE);
  size_t kept = 0;
  for (size_t i = 0; i < count && kept < cap; i++) {
    if (!km_mapped_addr_is(&all[i])) {
      ret[kept++] = all[i];
    }
  }
  return kept;
}

uint64_t km_reporter_age(const km_reporter *r) {
  km_ts at = km_nat_probe_answered(r->probe);
  return at == 0 ? UINT64_MAX : now_of(r) - at;
}

void km_reporter_nat(const km_reporter *r, km_nat_info *ret) {
  km_nat_probe_info(r->probe, ret);
}
