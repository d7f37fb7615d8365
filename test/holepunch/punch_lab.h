/* What the tests of the hole-punching core share: one core, its outputs collected, literal times in
 * milliseconds. */
#ifndef KM_TEST_HOLEPUNCH_PUNCH_LAB_H
#define KM_TEST_HOLEPUNCH_PUNCH_LAB_H

#include "test/base/test_env.h"

#include "holepunch/punch.h"

#define MS(n) ((km_ts)(n)*KM_NS_PER_MS)
#define LAB_OUTS 4096

typedef struct lab_out {
  km_punch_out_kind kind;
  km_punch_way way;
  size_t count;
  km_disco_message msg;
  km_ts at;
} lab_out;

typedef struct lab {
  test_env env;
  km_probe_budget budget;
  km_punch *p;
  km_ts now;
  lab_out *outs;
  size_t count;
} lab;

void lab_init(lab *l); /* a core at rest, at 0 ms; ours is the greater id */
void lab_clear(lab *l);
void lab_pull(lab *l);
void lab_forget(lab *l); /* the outputs so far */
/* Runs all that is due until then. */
void lab_run(lab *l, uint64_t to_ms);

km_udp_addr lab_addr(const char *text);
km_punch_way lab_way(const char *text);
size_t lab_outs(const lab *l, km_punch_out_kind kind);
size_t lab_pings(const lab *l, const char *addr);              /* sent there, by socket 0 */
const lab_out *lab_last(const lab *l, km_punch_out_kind kind); /* fails when there is none */
const lab_out *lab_last_ping(const lab *l, const char *addr);

void lab_want(lab *l, uint64_t at_ms);
/* An interface of ours; the NAT's mapping and filtering of IPv4. */
void lab_local(lab *l, const char *addr, uint8_t mapping, uint8_t filtering, uint64_t at_ms);
/* "source addr" entries, up to a NULL. */
km_disco_message lab_call(uint8_t flags, const char *const *addrs, uint8_t source);
void lab_called(lab *l, uint8_t flags, const char *addr, uint64_t at_ms); /* an address or NULL */
bool lab_pong(lab *l, const uint8_t tx[KM_DISCO_TX_LEN], const char *from, uint64_t at_ms);
void lab_ping(lab *l, const char *from, uint64_t at_ms);
/* Wished for at 0, called at 0, pinged at 0, answered at 30: open. Outputs are forgotten. */
void lab_open(lab *l, const char *addr);
km_punch_way_info lab_info(const lab *l, const char *addr); /* fails when not known */
bool lab_knows(const lab *l, const char *addr);
size_t lab_events(const lab *l, km_punch_event_kind kind);

#endif /* KM_TEST_HOLEPUNCH_PUNCH_LAB_H */
