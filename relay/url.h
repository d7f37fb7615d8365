/* A normalised relay url taken apart into what a request needs. Pure. */
#ifndef KM_RELAY_URL_H
#define KM_RELAY_URL_H

#include <stdbool.h>
#include <stdint.h>

#include <keymesh/addr.h>

#define KM_RELAY_HOST_CAP 256

typedef struct km_relay_url {
  bool tls;
  uint16_t port;
  char host[KM_RELAY_HOST_CAP];           /* name or IP literal, without brackets and final dot */
  char authority[KM_RELAY_HOST_CAP + 16]; /* the Host header: with brackets, port if not default */
  char path[KM_RELAY_URL_MAX];            /* "/relay", with "?token=..." where the url has one */
} km_relay_url;

/* 0 or KM_ERR_BAD_RELAY_URL. http and ws are without TLS, every other scheme is with it. */
KM_NODISCARD int km_relay_url_read(km_relay_url *ret, const char *url, km_errinfo *err);
/* True when a host is an IP literal, "192.0.2.1" or "2001:db8::1"; `ret` has it, with the port. */
bool km_relay_host_literal(const char *host, uint16_t port, km_udp_addr *ret);

/* Whether it can stand in a header: 1 to KM_RELAY_TOKEN_MAX bytes of visible ASCII. */
#define KM_RELAY_TOKEN_MAX 512
bool km_relay_token_is_valid(const char *token);

#endif /* KM_RELAY_URL_H */
