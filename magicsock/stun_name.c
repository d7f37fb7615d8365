/* How STUN servers are named: "host", "host:port", "192.0.2.1", "[2001:db8::1]:3478". */
#include <string.h>

#include "base/ip_text.h"
#include "holepunch/stun.h"
#include "magicsock/report_io.h"

static int bad(km_errinfo *err, const char *name) {
  return km_fail(err, KM_ERR_INVALID,
                 "'%.60s' is no STUN server: give HOST, HOST:PORT or [IPV6]:PORT", name);
}

/* 1 to 65535, digits only. */
static bool read_port(uint16_t *ret, const char *text) {
  unsigned long port = 0;
  size_t len = strspn(text, "0123456789");
  if (len == 0 || len > 5 || text[len] != '\0') {
    return false;
  }
  for (size_t i = 0; i < len; i++) {
    port = port * 10 + (unsigned long)(text[i] - '0');
  }
  *ret = (uint16_t)port;
  return port >= 1 && port <= 65535;
}

/* A name, or an address: what has a colon is IPv6. */
static bool good_host(const char *host, size_t len) {
  uint8_t ip[16];
  if (memchr(host, ':', len) != NULL) {
    return km_ip6_parse(ip, host, len);
  }
  for (size_t i = 0; i < len; i++) {
    if (host[i] <= ' ' || host[i] > '~' || strchr("/@[]\"'?#", host[i]) != NULL) {
      return false;
    }
  }
  return len > 0 && len < KM_STUN_HOST_CAP;
}

int km_stun_name_read(char ret_host[KM_STUN_HOST_CAP], uint16_t *ret_port, const char *name,
                      km_errinfo *err) {
  const char *host = name, *after;
  size_t len;
  if (name[0] == '[') {
    host = name + 1;
    len = strcspn(host, "]");
    if (host[len] != ']' || memchr(host, ':', len) == NULL) {
      return bad(err, name);
    }
    after = host + len + 1;
  } else {
    const char *colon = strchr(name, ':');
    bool bare_six = colon != NULL && strchr(colon + 1, ':') != NULL;
    len = colon == NULL || bare_six ? strlen(name) : (size_t)(colon - name);
    after = host + len;
  }
  uint16_t port = KM_STUN_PORT;
  if (!good_host(host, len) ||
      (after[0] != '\0' && (after[0] != ':' || !read_port(&port, after + 1)))) {
    return bad(err, name);
  }
  memcpy(ret_host, host, len);
  ret_host[len] = '\0';
  *ret_port = port;
  return 0;
}
