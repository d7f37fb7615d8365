#include "holepunch/gateway.h"

#include <string.h>

#include "base/ip_text.h"

static int compare_numbers(uint32_t a, uint32_t b) {
  return a < b ? -1 : a > b;
}

int km_default_route_compare(const km_default_route *a, const km_default_route *b) {
  const uint32_t pairs[][2] = {{a->family, b->family},   {a->part, b->part},
                               {a->table, b->table},     {a->metric, b->metric},
                               {a->ifindex, b->ifindex}, {a->gateway.family, b->gateway.family}};
  for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
    int order = compare_numbers(pairs[i][0], pairs[i][1]);
    if (order != 0) {
      return order;
    }
  }
  return memcmp(a->gateway.ip, b->gateway.ip, sizeof a->gateway.ip);
}

#define TABLE_MAIN 254u

bool km_gateway_route_better(const km_default_route *a, const km_default_route *b) {
  if (a->table != TABLE_MAIN || a->part != KM_ROUTE_ALL || a->gateway.family != a->family) {
    return false;
  }
  return b->family == 0 || km_default_route_compare(a, b) < 0;
}

bool km_gateway_is_private(const km_udp_addr *addr) {
  const uint8_t *ip = addr->ip;
  if (addr->family != 4) {
    return false;
  }
  return ip[0] == 10 || (ip[0] == 172 && (ip[1] & 0xf0) == 16) || (ip[0] == 192 && ip[1] == 168) ||
         (ip[0] == 100 && (ip[1] & 0xc0) == 64) || (ip[0] == 169 && ip[1] == 254);
}

/* Digits of a port; 0: that is none. */
static uint16_t parse_port(const char *text, size_t len) {
  uint32_t port = 0;
  for (size_t i = 0; i < len && port <= UINT16_MAX; i++) {
    if (text[i] < '0' || text[i] > '9') {
      return 0;
    }
    port = port * 10 + (uint32_t)(text[i] - '0');
  }
  return port <= UINT16_MAX ? (uint16_t)port : 0;
}

bool km_gateway_url_allowed(km_udp_addr *ret, const char *url) {
  static const char scheme[] = "http://";
  if (strncmp(url, scheme, sizeof scheme - 1) != 0) {
    return false;
  }
  const char *host = url + sizeof scheme - 1;
  size_t whole = strcspn(host, "/"), len = strcspn(host, ":/");
  km_udp_addr addr = {.family = 4, .port = 80};
  if (whole > len) {
    addr.port = parse_port(host + len + 1, whole - len - 1);
  }
  if (addr.port == 0 || !km_ip4_parse(addr.ip, host, len) || !km_gateway_is_private(&addr)) {
    return false;
  }
  *ret = addr;
  return true;
}
