/* Dates of HTTP headers (RFC 9110 section 5.6.7), in the form that is not obsolete. Pure. */
#ifndef KM_DISCOVERY_SERVER_HTTP_DATE_H
#define KM_DISCOVERY_SERVER_HTTP_DATE_H

#include <stdbool.h>
#include <stdint.h>

#define KM_HTTP_DATE_CAP 30

/* "Sun, 06 Nov 1994 08:49:37 GMT". False: before 1970 or after the year 9999. */
bool km_http_date_write(char ret[KM_HTTP_DATE_CAP], int64_t unix_s);
/* `ret` is untouched on failure. */
bool km_http_date_read(int64_t *ret, const char *text);

#endif /* KM_DISCOVERY_SERVER_HTTP_DATE_H */
