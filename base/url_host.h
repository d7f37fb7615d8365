/* The host of a URL (WHATWG URL standard, section 3.5). */
#ifndef KM_BASE_URL_HOST_H
#define KM_BASE_URL_HOST_H

#include <stdbool.h>
#include <stddef.h>

#define KM_URL_HOST_CAP 1024

typedef enum km_url_host_result {
  KM_URL_HOST_OK,
  KM_URL_HOST_EMPTY,
  KM_URL_HOST_NOT_ASCII,
  KM_URL_HOST_BAD
} km_url_host_result;

/* Writes the serialised host and a NUL. `special`: of a scheme whose hosts are domain names. */
km_url_host_result km_url_host_normalise(char ret[KM_URL_HOST_CAP], const char *host, size_t len,
                                         bool special);

#endif /* KM_BASE_URL_HOST_H */
