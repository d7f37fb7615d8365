/* Who others see us as, and what NAT is in between: holepunch/nat_probe.h on the sockets of a
 * magicsock, and on two of its own where a test needs one that nobody knows. Takes the magicsock's
 * STUN packets (km_magicsock_watch_stun). Loop thread only; callbacks run from the loop. */
#ifndef KM_MAGICSOCK_REPORT_IO_H
#define KM_MAGICSOCK_REPORT_IO_H

#include "holepunch/nat.h"
#include "magicsock/magicsock.h"

#define KM_REPORTER_MAX_NAMES 16

typedef struct km_reporter km_reporter;

typedef struct km_reporter_config {
  const km_env *env; /* outlives it */
  km_loop *loop;
  km_magicsock *ms; /* outlives it */
  /* "host", "host:port", "[v6]", "[v6]:port"; the port is 3478 if it is not said. Copied; beyond
   * KM_REPORTER_MAX_NAMES they are left out. */
  const char *const *stun_servers;
  size_t stun_count;
  /* km_reporter_reflexive or km_reporter_nat would give something else now; may be NULL. May call
   * everything but km_reporter_free. */
  void (*on_change)(void *ctx);
  void *ctx;
} km_reporter_config;

/* Asks once, in the next turn. 0, KM_ERR_INVALID (a server that cannot be read; the text names it)
 * or KM_ERR_NOMEM. */
KM_NODISCARD int km_reporter_new(km_reporter **ret, const km_reporter_config *config,
                                 km_errinfo *err);
/* No callback runs any more. NULL does nothing. */
void km_reporter_free(km_reporter *r);

/* True: connections need our addresses: they are asked for every 20 to 25 s, which keeps the
 * mappings alive too. False (at first): silence, once what was begun is over. */
void km_reporter_set_active(km_reporter *r, bool active);
/* One more server, unless it is known or there are KM_REPORTER_MAX_NAMES. It is asked soon. */
void km_reporter_add(km_reporter *r, const char *name);
/* Asks soon, in this turn or the next: one server when the addresses of our own are what they were,
 * else everything anew, names included. */
void km_reporter_refresh(km_reporter *r);

/* Our addresses as servers saw them in the last minute; at most 8, the first server's first. */
size_t km_reporter_reflexive(const km_reporter *r, km_udp_addr *ret, size_t cap);
/* How old the newest answer is; UINT64_MAX: there is none. */
uint64_t km_reporter_age(const km_reporter *r);
void km_reporter_nat(const km_reporter *r, km_nat_info *ret);

/* The whole measurement: `fn` runs once, with what a reporter knows filled in (udp4, udp6, stun,
 * and a verdict from these). Takes one to four seconds, 15 when nothing answers. 0, or
 * KM_ERR_STATE: one is under way. */
KM_NODISCARD int km_reporter_full(km_reporter *r, km_net_report_fn fn, void *ctx);
/* `fn` does not run any more. */
void km_reporter_full_cancel(km_reporter *r);

/* Takes "host:port" and the like apart. 0 or KM_ERR_INVALID. */
#define KM_STUN_HOST_CAP 256
KM_NODISCARD int km_stun_name_read(char ret_host[KM_STUN_HOST_CAP], uint16_t *ret_port,
                                   const char *name, km_errinfo *err);

#endif /* KM_MAGICSOCK_REPORT_IO_H */
