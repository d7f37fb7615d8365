/* A question in, an answer out (RFC 1035 section 4, RFC 6891). What an authority needs of DNS
 * messages, without allocating. Pure. */
#ifndef KM_DISCOVERY_SERVER_DNS_REPLY_H
#define KM_DISCOVERY_SERVER_DNS_REPLY_H

#include "discovery/dns_name.h"

enum { KM_DNS_HEADER = 12, KM_DNS_UDP_MIN = 512, KM_DNS_UDP_MAX = 1232 };

typedef enum km_dns_rcode {
  KM_DNS_NOERROR = 0,
  KM_DNS_FORMERR = 1,
  KM_DNS_SERVFAIL = 2,
  KM_DNS_NXDOMAIN = 3,
  KM_DNS_NOTIMP = 4,
  KM_DNS_REFUSED = 5,
  KM_DNS_BADVERS = 16 /* its upper bits stand in the OPT record */
} km_dns_rcode;

enum {
  KM_DNS_A = 1,
  KM_DNS_NS = 2,
  KM_DNS_CNAME = 5,
  KM_DNS_SOA = 6,
  KM_DNS_HINFO = 13,
  KM_DNS_MX = 15,
  KM_DNS_TXT = 16,
  KM_DNS_AAAA = 28,
  KM_DNS_SRV = 33,
  KM_DNS_OPT = 41,
  KM_DNS_IXFR = 251,
  KM_DNS_AXFR = 252,
  KM_DNS_ANY = 255,
  KM_DNS_CAA = 257
};
enum { KM_DNS_IN = 1 };

typedef struct km_dns_query {
  uint16_t id;
  uint8_t opcode;
  bool rd, cd;
  bool has_question; /* name, type, qclass are there */
  km_dns_name name;  /* as asked */
  uint16_t type, qclass;
  bool edns, dnssec; /* OPT; its DO bit */
  uint8_t version;
  uint16_t payload; /* that the asker can take over UDP, at least 512 */
} km_dns_query;

/* False: nothing may be answered (no header, or a response). `ret_rcode`: what reading it gives, 0
 * when it can be answered. */
bool km_dns_query_read(km_dns_query *ret, km_dns_rcode *ret_rcode, const uint8_t *msg, size_t len);

/* An answer being written. Names are compressed against the question's. */
typedef struct km_dns_reply {
  uint8_t *bytes;
  size_t len, cap;
  bool full; /* something did not fit */
  const km_dns_query *query;
  uint16_t counts[4];
  uint32_t least_ttl;
} km_dns_reply;

typedef enum km_dns_section { KM_DNS_ANSWER = 1, KM_DNS_AUTHORITY = 2 } km_dns_section;

/* Writes header and question. `cap`: at least KM_DNS_HEADER. */
void km_dns_reply_begin(km_dns_reply *r, uint8_t *bytes, size_t cap, const km_dns_query *query);
/* A record: owner, type and TTL, then its data by the functions below, then the end. An owner of
 * NULL is the question's name. */
size_t km_dns_reply_record(km_dns_reply *r, km_dns_section section, const km_dns_name *owner,
                           uint16_t type, uint32_t ttl_s);
void km_dns_reply_bytes(km_dns_reply *r, const void *bytes, size_t len);
void km_dns_reply_name(km_dns_reply *r, const km_dns_name *name, bool compress);
void km_dns_reply_record_end(km_dns_reply *r, size_t record);
/* Takes the answer's records back. */
void km_dns_reply_clear(km_dns_reply *r);
/* Sets rcode and flags, adds OPT if the query had one; cut to `limit` bytes with TC set when it is
 * longer. Returns the length. */
size_t km_dns_reply_end(km_dns_reply *r, km_dns_rcode rcode, bool authoritative, size_t limit,
                        bool *ret_truncated);

/* What makes an honest asker come again over TCP: the question with TC set. Returns the length, 0:
 * nothing is due. `ret`: KM_DNS_UDP_MIN bytes. */
size_t km_dns_truncated(uint8_t *ret, const uint8_t *query, size_t len);

#endif /* KM_DISCOVERY_SERVER_DNS_REPLY_H */
