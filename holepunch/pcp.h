/* The Port Control Protocol's MAP and ANNOUNCE (RFC 6887), the client's half. Pure.
 * Of the options none is used. */
#ifndef KM_HOLEPUNCH_PCP_H
#define KM_HOLEPUNCH_PCP_H

#include <keymesh/addr.h>

#define KM_PCP_PORT 5351        /* servers */
#define KM_PCP_CLIENT_PORT 5350 /* clients hear announcements here */
#define KM_PCP_NONCE_LEN 12
#define KM_PCP_MAP_LEN 60
#define KM_PCP_MAX_LEN 1100

typedef enum km_pcp_result {
  KM_PCP_SUCCESS = 0,
  KM_PCP_UNSUPP_VERSION = 1,
  KM_PCP_NOT_AUTHORIZED = 2,
  KM_PCP_MALFORMED_REQUEST = 3,
  KM_PCP_UNSUPP_OPCODE = 4,
  KM_PCP_UNSUPP_OPTION = 5,
  KM_PCP_MALFORMED_OPTION = 6,
  KM_PCP_NETWORK_FAILURE = 7,
  KM_PCP_NO_RESOURCES = 8,
  KM_PCP_UNSUPP_PROTOCOL = 9,
  KM_PCP_USER_EX_QUOTA = 10,
  KM_PCP_CANNOT_PROVIDE_EXTERNAL = 11,
  KM_PCP_ADDRESS_MISMATCH = 12,
  KM_PCP_EXCESSIVE_REMOTE_PEERS = 13
} km_pcp_result;

/* "NOT_AUTHORIZED" ...; "?" for numbers that have no name. Static. */
const char *km_pcp_result_name(unsigned result);

/* A mapping of a UDP port. */
typedef struct km_pcp_map {
  uint8_t nonce[KM_PCP_NONCE_LEN]; /* the server lets only its owner change a mapping */
  uint16_t internal_port;
  km_udp_addr external; /* as suggested or assigned; family 0: no suggestion */
} km_pcp_map;

/* Asks for `map` for so long, 0: deletes it. `client`: the address that the packet is sent from. */
void km_pcp_map_request(uint8_t ret[KM_PCP_MAP_LEN], const km_pcp_map *map,
                        const km_udp_addr *client, uint32_t lifetime_s);

typedef enum km_pcp_kind {
  KM_PCP_MAP,          /* an answer to MAP; also one that only says that it failed */
  KM_PCP_ANNOUNCE,     /* the server has (re)started, or answers */
  KM_PCP_OTHER_VERSION /* a request was not of the `version` that the server speaks */
} km_pcp_kind;

typedef struct km_pcp_answer {
  km_pcp_kind kind;
  uint8_t version;     /* 2 is ours; others only in KM_PCP_OTHER_VERSION */
  uint8_t result;      /* km_pcp_result, or one that is newer */
  uint32_t lifetime_s; /* of the mapping; for an error: how long it will last */
  uint32_t epoch_s;    /* since the server started to keep account */
  bool has_map;
  km_pcp_map map;
} km_pcp_answer;

/* False: this is no answer of PCP. */
bool km_pcp_read(km_pcp_answer *ret, const uint8_t *bytes, size_t len);

#endif /* KM_HOLEPUNCH_PCP_H */
