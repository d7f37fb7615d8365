#include "base/udp_addr.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "base/ip_text.h"

#define ADDR_FORM "write IP:PORT, or [IP]:PORT for IPv6"
/* How much of a text is repeated in an error. */
#define SHOWN 72

static bool is_link_local(const uint8_t ip6[16]) {
  return ip6[0] == 0xfe && (ip6[1] & 0xc0) == 0x80;
}

/* A decimal number without leading zeros, at most `max`. */
static bool parse_number(const char *text, size_t len, uint64_t max, uint64_t *ret) {
  if (len == 0 || len > 10 || (len > 1 && text[0] == '0')) {
    return false;
  }
  uint64_t value = 0;
  for (size_t i = 0; i < len; i++) {
    if (text[i] < '0' || text[i] > '9') {
      return false;
    }
    value = value * 10 + (uint64_t)(text[i] - '0');
  }
  if (value > max) {
    return false;
  }
  *ret = value;
  return true;
}

/* What stands between the brackets. */
static bool parse_ip6_scope(km_udp_addr *ret, const char *text, size_t len) {
  const char *percent = memchr(text, '%', len);
  size_t ip_len = percent != NULL ? (size_t)(percent - text) : len;
  if (!km_ip6_parse(ret->ip, text, ip_len)) {
    return false;
  }
  ret->family = 6;
  if (percent == NULL) {
    return true;
  }
  uint64_t scope;
  if (!is_link_local(ret->ip) || !parse_number(percent + 1, len - ip_len - 1, UINT32_MAX, &scope)) {
    return false;
  }
  ret->scope_id = (uint32_t)scope;
  return true;
}

static bool parse_ip(km_udp_addr *ret, const char *text, size_t len) {
  if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
    return parse_ip6_scope(ret, text + 1, len - 2);
  }
  ret->family = 4;
  return km_ip4_parse(ret->ip, text, len);
}

int km_udp_addr_parse(km_udp_addr *ret, const char *text, size_t len, km_errinfo *err) {
  int shown = len < SHOWN ? (int)len : SHOWN;
  const char *colon = NULL;
  for (size_t i = 0; i < len; i++) {
    if (text[i] == ':') {
      colon = text + i;
    }
  }
  if (colon == NULL) {
    return km_fail(err, KM_ERR_BAD_ADDR, "'%.*s' has no port: " ADDR_FORM, shown, text);
  }
  km_udp_addr addr = {0};
  size_t ip_len = (size_t)(colon - text);
  if (!parse_ip(&addr, text, ip_len)) {
    return km_fail(err, KM_ERR_BAD_ADDR, "'%.*s' is not an IP address and port: " ADDR_FORM, shown,
                   text);
  }
  uint64_t port;
  if (!parse_number(colon + 1, len - ip_len - 1, UINT16_MAX, &port)) {
    return km_fail(err, KM_ERR_BAD_ADDR, "'%.*s' has no port of 0 to 65535 at its end", shown,
                   text);
  }
  addr.port = (uint16_t)port;
  *ret = addr;
  return 0;
}

int km_udp_addr_format(const km_udp_addr *addr, char *buf, size_t cap) {
  char ip[KM_IP_TEXT_CAP];
  char text[KM_UDP_ADDR_TEXT_CAP + 16];
  int len;
  if (addr->family == 6) {
    (void)km_ip6_format(ip, addr->ip, KM_IP6_RFC5952); /* the length is not needed */
    char scope[16] = "";
    if (addr->scope_id != 0) {
      (void)snprintf(scope, sizeof scope, "%%%u", (unsigned)addr->scope_id); /* fits: 11 at most */
    }
    len = snprintf(text, sizeof text, "[%s%s]:%u", ip, scope, addr->port);
  } else if (addr->family == 4) {
    (void)km_ip4_format(ip, addr->ip); /* the length is not needed */
    len = snprintf(text, sizeof text, "%s:%u", ip, addr->port);
  } else {
    len = snprintf(text, sizeof text, "none");
  }
  if ((size_t)len >= cap) {
    return KM_ERR_BUFFER;
  }
  memcpy(buf, text, (size_t)len + 1);
  return len;
}

bool km_udp_addr_equal(const km_udp_addr *a, const km_udp_addr *b) {
  return a->family == b->family && a->port == b->port && a->scope_id == b->scope_id &&
         memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

int km_udp_addr_compare(const km_udp_addr *a, const km_udp_addr *b) {
  if (a->family != b->family) {
    return a->family < b->family ? -1 : 1;
  }
  int order = memcmp(a->ip, b->ip, sizeof a->ip);
  if (order != 0) {
    return order;
  }
  if (a->port != b->port) {
    return a->port < b->port ? -1 : 1;
  }
  return (a->scope_id > b->scope_id) - (a->scope_id < b->scope_id);
}

bool km_udp_addr_from_sockaddr(km_udp_addr *ret, const struct sockaddr *sa, socklen_t len) {
  km_udp_addr addr = {0};
  sa_family_t family;
  if (len < offsetof(struct sockaddr, sa_family) + sizeof family) {
    return false;
  }
  /* Copied, because `sa` may lie anywhere in a message buffer. */
  memcpy(&family, (const uint8_t *)sa + offsetof(struct sockaddr, sa_family), sizeof family);
  if (family == AF_INET && len >= sizeof(struct sockaddr_in)) {
    struct sockaddr_in in;
    memcpy(&in, sa, sizeof in);
    addr.family = 4;
    addr.port = ntohs(in.sin_port);
    memcpy(addr.ip, &in.sin_addr, 4);
  } else if (family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
    struct sockaddr_in6 in;
    memcpy(&in, sa, sizeof in);
    addr.family = 6;
    addr.port = ntohs(in.sin6_port);
    memcpy(addr.ip, &in.sin6_addr, 16);
    addr.scope_id = is_link_local(addr.ip) ? in.sin6_scope_id : 0;
  } else {
    return false;
  }
  *ret = addr;
  return true;
}

socklen_t km_udp_addr_to_sockaddr(const km_udp_addr *addr, struct sockaddr_storage *ret) {
  memset(ret, 0, sizeof *ret);
  if (addr->family == 4) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(addr->port)};
    memcpy(&in.sin_addr, addr->ip, 4);
    memcpy(ret, &in, sizeof in);
    return (socklen_t)sizeof in;
  }
  if (addr->family == 6) {
    struct sockaddr_in6 in = {
        .sin6_family = AF_INET6, .sin6_port = htons(addr->port), .sin6_scope_id = addr->scope_id};
    memcpy(&in.sin6_addr, addr->ip, 16);
    memcpy(ret, &in, sizeof in);
    return (socklen_t)sizeof in;
  }
  return 0;
}
