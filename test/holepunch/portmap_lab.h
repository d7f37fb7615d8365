/* Port mapping in virtual time, for tests that play the gateway. */
#ifndef KM_TEST_HOLEPUNCH_PORTMAP_LAB_H
#define KM_TEST_HOLEPUNCH_PORTMAP_LAB_H

#include "holepunch/portmap.h"
#include "test/base/test_env.h"

#define MS KM_NS_PER_MS
#define S KM_NS_PER_S
#define PORT 4433
#define BIT(protocol) (1u << (protocol))

extern const km_udp_addr gateway, local, outside; /* the router's two sides, and ours */

/* What was sent or begun. */
typedef enum kind { PCP, PCP_DELETE, ADDRESS, MAP, MAP_DELETE, FIND, UPNP_MAP, UNMAP, TELL } kind;

typedef struct event {
  kind what;
  km_ts at;
  km_portmap_out out;
} event;

typedef struct lab {
  test_env t;
  km_portmap_core c;
  km_ts now;
  event events[4096];
  size_t count;
} lab;

typedef struct answer {
  uint8_t result;
  uint32_t lifetime_s, epoch_s;
  km_udp_addr external;
} answer;

void start(lab *l); /* with a gateway and PORT */
void start_with(lab *l, uint8_t allowed);
void pull(lab *l);               /* notes what the core wants done */
void run_to(lab *l, km_ts then); /* through all deadlines up to then */

size_t count_of(const lab *l, kind what);
const event *nth(const lab *l, kind what, size_t n);
void forget(lab *l);
km_portmap_status status(const lab *l);

void put(uint8_t *at, uint32_t value, unsigned bytes); /* big-endian */
void pcp_answer(lab *l, const answer *a);              /* to what was asked */
void pcp_grants(lab *l, uint32_t lifetime_s);
void natpmp_address(lab *l, uint32_t epoch_s);
void natpmp_mapped(lab *l, uint16_t port, uint32_t lifetime_s);
void natpmp_refuses(lab *l, uint8_t op, uint8_t result);
void upnp_found(lab *l, const char *trouble);
void upnp_mapped(lab *l, uint32_t lifetime_s, const char *trouble);
void announce(lab *l, bool pcp, uint32_t epoch_s); /* to everybody */

#endif /* KM_TEST_HOLEPUNCH_PORTMAP_LAB_H */
