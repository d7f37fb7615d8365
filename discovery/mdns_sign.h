/* What an announcement says, its TXT attributes, and the signature that proves it is of the key it
 * is about (docs/protocol-mdns.md). Pure. */
#ifndef KM_DISCOVERY_MDNS_SIGN_H
#define KM_DISCOVERY_MDNS_SIGN_H

#include "base/env.h"
#include "discovery/mdns_packet.h"

#include <keymesh/id.h>

#define KM_MDNS_RELAYS_MAX 2      /* that are announced and read; iroh's nodes read the first */
#define KM_MDNS_ATTRIBUTE_MAX 255 /* bytes of one attribute */
#define KM_MDNS_RELAY_URL_MAX 249 /* "relay=" and this are one attribute */
#define KM_MDNS_TXT_MAX 1280      /* bytes of all of them */
#define KM_MDNS_SKEW_MS INT64_C(86400000)    /* how far a signature's time may be from our clock */
#define KM_MDNS_QUERY_SKEW_MS INT64_C(60000) /* the same of a question's */
#define KM_MDNS_DIGEST_BYTES 32

typedef struct km_mdns_text {
  const char *at;
  size_t len;
} km_mdns_text;

/* An announcement as it stands in a packet; texts point into it. */
typedef struct km_mdns_details {
  km_id id;
  km_udp_addr addrs[KM_ADDR_MAX_DIRECT]; /* ascending, each once */
  size_t addr_count;
  km_mdns_text relays[KM_MDNS_RELAYS_MAX];
  size_t relay_count;
  km_mdns_text user_data; /* at == NULL: none */
  bool has_time, has_signature;
  uint64_t time_ms; /* since 1970 */
  uint8_t signature[KM_SIGNATURE_BYTES];
} km_mdns_details;

/* One that is there already, or one too many, changes nothing. */
void km_mdns_add_addr(km_mdns_details *d, const km_udp_addr *addr);

/* Reads a TXT record's attributes into `d`; unknown ones are passed over, of several with one key
 * the first counts (RFC 6763 section 6.4), except for relays. */
void km_mdns_read_attributes(km_mdns_details *d, const km_mdns_item *txt);
/* The data of a TXT record; its length. */
size_t km_mdns_write_attributes(const km_mdns_details *d, uint8_t ret[KM_MDNS_TXT_MAX]);

/* Signs all of `d` as of `time_ms`. */
void km_mdns_sign(km_mdns_details *d, const km_secret_key *key, uint64_t time_ms);
/* True when it is signed by the key that it is about. */
bool km_mdns_verify(const km_mdns_details *d);
/* A fingerprint of all that is signed, and the signature. */
void km_mdns_digest(const km_mdns_details *d, uint8_t ret[KM_MDNS_DIGEST_BYTES]);

/* The same for who leaves: signed are id and time only. */
void km_mdns_sign_goodbye(km_mdns_details *d, const km_secret_key *key, uint64_t time_ms);
bool km_mdns_verify_goodbye(const km_mdns_details *d);
/* And for who asks. */
void km_mdns_sign_query(km_mdns_details *d, const km_secret_key *key, uint64_t time_ms);
bool km_mdns_verify_query(const km_mdns_details *d);

/* The time is not too far from `wall`. */
bool km_mdns_is_fresh(uint64_t time_ms, km_wall wall);
/* The same for questions, which nobody keeps. */
bool km_mdns_is_recent(uint64_t time_ms, km_wall wall);
uint64_t km_mdns_time(km_wall wall);

#endif /* KM_DISCOVERY_MDNS_SIGN_H */
