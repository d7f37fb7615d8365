/* IP addresses as text. Pure: nothing is looked up, no locale. */
#ifndef KM_BASE_IP_TEXT_H
#define KM_BASE_IP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KM_IP_TEXT_CAP 48

/* Four decimal numbers without leading zeros. `ret` is untouched on failure. */
bool km_ip4_parse(uint8_t ret[4], const char *text, size_t len);
/* RFC 4291 section 2.2, the last 32 bits also as IPv4. No zone. `ret` is untouched on failure. */
bool km_ip6_parse(uint8_t ret[16], const char *text, size_t len);
/* Either: 4, 6, or 0 (none; `ret` is untouched). */
uint8_t km_ip_parse(uint8_t ret[16], const char *text, size_t len);

typedef enum km_ip6_style {
  KM_IP6_RFC5952, /* ::ffff:a.b.c.d for mapped IPv4, as iroh prints addresses */
  KM_IP6_URL      /* always hexadecimal, as the WHATWG URL standard prints hosts */
} km_ip6_style;

/* Both write a NUL and return the length without it. */
size_t km_ip4_format(char ret[KM_IP_TEXT_CAP], const uint8_t ip[4]);
size_t km_ip6_format(char ret[KM_IP_TEXT_CAP], const uint8_t ip[16], km_ip6_style style);

#endif /* KM_BASE_IP_TEXT_H */
