/* Domain names as they stand in DNS messages (RFC 1035 section 3.1). Pure. */
#ifndef KM_DISCOVERY_DNS_NAME_H
#define KM_DISCOVERY_DNS_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KM_DNS_NAME_MAX 255
#define KM_DNS_LABEL_MAX 63

/* Uncompressed, with the root's zero byte; letters as they came. */
typedef struct km_dns_name {
  uint8_t len;
  uint8_t bytes[KM_DNS_NAME_MAX];
} km_dns_name;

/* Reads the name at `*pos`, which moves behind it. Compression pointers lead strictly backwards, so
 * that they end. False: damaged. */
bool km_dns_name_read(km_dns_name *ret, const uint8_t *msg, size_t len, size_t *pos);
/* Moves `*pos` behind a name without following it. */
bool km_dns_name_skip(const uint8_t *msg, size_t len, size_t *pos);

/* Reads text, with or without the final dot; "." is the root. "\." and "\123" are known. */
bool km_dns_name_parse(km_dns_name *ret, const char *text, size_t text_len);

/* Equal without regard to the case of ASCII letters (RFC 4343). */
bool km_dns_name_equal(const km_dns_name *a, const km_dns_name *b);
void km_dns_name_lower(km_dns_name *name);

/* Where `suffix` begins in `name`, or -1: it is neither the name itself nor above it. */
int km_dns_name_under(const km_dns_name *name, const km_dns_name *suffix);
/* The first `prefix_len` bytes of `name` (whole labels), then `suffix`. False: too long. */
bool km_dns_name_join(km_dns_name *ret, const km_dns_name *name, size_t prefix_len,
                      const km_dns_name *suffix);

#endif /* KM_DISCOVERY_DNS_NAME_H */
