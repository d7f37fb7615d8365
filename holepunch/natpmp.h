/* NAT-PMP (RFC 6886), the client's half. Pure. Twelve bytes at most that are asked: libnatpmp keeps
 * its own socket, its own clock and one request under way, which does not go with PCP on the same
 * socket of a loop, so that this is written here. */
#ifndef KM_HOLEPUNCH_NATPMP_H
#define KM_HOLEPUNCH_NATPMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KM_NATPMP_ADDRESS_LEN 2
#define KM_NATPMP_MAP_LEN 12

typedef enum km_natpmp_result {
  KM_NATPMP_SUCCESS = 0,
  KM_NATPMP_UNSUPP_VERSION = 1,
  KM_NATPMP_NOT_AUTHORIZED = 2,
  KM_NATPMP_NETWORK_FAILURE = 3,
  KM_NATPMP_NO_RESOURCES = 4,
  KM_NATPMP_UNSUPP_OPCODE = 5
} km_natpmp_result;

const char *km_natpmp_result_name(unsigned result); /* "?" for numbers that have no name. Static. */

/* Asks for the gateway's external address. */
void km_natpmp_address_request(uint8_t ret[KM_NATPMP_ADDRESS_LEN]);
/* Asks for a mapping of a UDP port; a lifetime of 0 deletes it. */
void km_natpmp_map_request(uint8_t ret[KM_NATPMP_MAP_LEN], uint16_t internal_port,
                           uint16_t external_port, uint32_t lifetime_s);

typedef enum km_natpmp_kind { KM_NATPMP_ADDRESS, KM_NATPMP_MAP, KM_NATPMP_FAILED } km_natpmp_kind;

typedef struct km_natpmp_answer {
  km_natpmp_kind kind;
  uint16_t result;  /* not 0 for KM_NATPMP_FAILED only */
  uint8_t op;       /* what was asked: 0 the address, 1 a mapping */
  uint32_t epoch_s; /* since the gateway started to keep account */
  uint8_t ip[4];    /* KM_NATPMP_ADDRESS */
  uint16_t internal_port, external_port;
  uint32_t lifetime_s;
} km_natpmp_answer;

/* False: this is no answer of NAT-PMP. */
bool km_natpmp_read(km_natpmp_answer *ret, const uint8_t *bytes, size_t len);

#endif /* KM_HOLEPUNCH_NATPMP_H */
