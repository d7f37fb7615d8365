/* DNS messages (RFC 1035 section 4), read in place: no memory is taken, and lengths, counts and
 * compression pointers may be a stranger's. c-ares' ares_dns_parse cannot stand here: it refuses
 * messages without a question, as signed packets and mDNS answers are. Pure. */
#ifndef KM_DISCOVERY_DNS_MESSAGE_H
#define KM_DISCOVERY_DNS_MESSAGE_H

#include <keymesh/error.h>
#include <keymesh/export.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "discovery/dns_name.h"

#define KM_DNSMSG_HEADER 12
#define KM_DNSMSG_MAX 65535

enum { KM_DNSMSG_TYPE_CNAME = 5, KM_DNSMSG_TYPE_TXT = 16, KM_DNSMSG_CLASS_IN = 1 };

typedef enum km_dnsmsg_section {
  KM_DNSMSG_QUESTION,
  KM_DNSMSG_ANSWER,
  KM_DNSMSG_AUTHORITY,
  KM_DNSMSG_ADDITIONAL,
  KM_DNSMSG_SECTION_COUNT_
} km_dnsmsg_section;

/* A question, or a resource record. */
typedef struct km_dnsmsg_rr {
  km_dnsmsg_section section;
  km_dns_name owner;
  uint16_t type;
  uint16_t class_;
  uint32_t ttl_s;       /* at most 2^31 - 1 (RFC 2181 section 8); questions: 0 */
  const uint8_t *rdata; /* in the message; questions: NULL */
  uint16_t rdata_len;
} km_dnsmsg_rr;

typedef struct km_dnsmsg {
  const uint8_t *bytes;
  size_t len;
  size_t at;
  uint16_t id;
  uint16_t flags;
  uint16_t left[KM_DNSMSG_SECTION_COUNT_]; /* records that were not read yet */
} km_dnsmsg;

/* Begins to read; `bytes` must outlive `ret`. 0 or KM_ERR_BAD_PACKET: no header, or too long. */
KM_NODISCARD int km_dnsmsg_open(km_dnsmsg *ret, const uint8_t *bytes, size_t len);
/* The next question or record. 1, 0 (that were all), or KM_ERR_BAD_PACKET. */
KM_NODISCARD int km_dnsmsg_next(km_dnsmsg *m, km_dnsmsg_rr *ret);

/* Reads the name at offset `at`, in lower case. Returns the bytes that it takes there, or 0: it is
 * damaged. */
size_t km_dnsmsg_name_at(const km_dnsmsg *m, size_t at, km_dns_name *ret);
/* The name that is the whole data of `rr` (CNAME). */
bool km_dnsmsg_rdata_name(const km_dnsmsg *m, const km_dnsmsg_rr *rr, km_dns_name *ret);

/* From text, "a.b.c", a final dot or none; "" and "." are the root. In lower case. False when DNS
 * has no such name: a label of no or more than 63 bytes, or more than 255 bytes in all. */
bool km_dnsmsg_name_from_text(km_dns_name *ret, const char *text);

/* Joins the strings of a TXT record. Returns the length, at most rdata_len; KM_ERR_BAD_PACKET:
 * they do not fill the record; KM_ERR_LIMIT: longer than `cap`. No NUL is written. */
KM_NODISCARD int km_dnsmsg_txt_join(const km_dnsmsg_rr *rr, char *ret, size_t cap);

#endif /* KM_DISCOVERY_DNS_MESSAGE_H */
