/* Which of the configured relays to keep a connection to, and which one is home: the relay at
 * which others find us. Pure: values in, a plan out.
 *
 * The preferred relay is the one with the lowest latency, unless the present home is up and
 * nobody's latency is 2/3 of its own or less (iroh's net_report.rs has the same rule against
 * flapping), and by more than nobody would notice. The same goes for its standby. A working home is
 * not left for a relay that was lost a moment ago. Preferred and next best are both kept connected,
 * so that when home dies the other, the standby, takes its place without a handshake. Home is
 * always one that is up. */
#ifndef KM_MAGICSOCK_HOME_RELAY_H
#define KM_MAGICSOCK_HOME_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <keymesh/addr.h>

#define KM_HOME_NONE (-1)
#define KM_HOME_WORTH_NS 1000000u /* 1 ms */

typedef enum km_home_state {
  KM_HOME_UNTRIED, /* not connected, nothing speaks against it */
  KM_HOME_UP,      /* connected, and answers */
  KM_HOME_DOWN     /* the last attempt or connection failed */
} km_home_state;

typedef struct km_home_relay {
  km_home_state state;
  uint64_t latency_ns; /* 0: not measured */
  bool shaky;          /* it was lost, or could not be reached, a moment ago */
} km_home_relay;

typedef struct km_home_plan {
  int home;    /* index, or KM_HOME_NONE */
  int standby; /* up, not home; or KM_HOME_NONE */
  bool keep[KM_ADDR_MAX_RELAYS];
} km_home_plan;

/* `count` is KM_ADDR_MAX_RELAYS at most; `home` and `standby` are those of the plan before. */
void km_home_plan_make(km_home_plan *ret, const km_home_relay *relays, size_t count, int home,
                       int standby);

#endif /* KM_MAGICSOCK_HOME_RELAY_H */
