#include "relay/connect_proxy.h"

#include <sodium/utils.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/env.h"

/* --- no_proxy -------------------------------------------------------------------------------- */

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits) {
  unsigned whole = bits / 8, rest = bits % 8;
  uint8_t mask = (uint8_t)(0xff << (8 - rest));
  return memcmp(a, b, whole) == 0 && (rest == 0 || ((a[whole] ^ b[whole]) & mask) == 0);
}

/* "192.0.2.0/24", "2001:db8::/32", or an address alone. */
static bool covers_address(const char *entry, const km_udp_addr *addr) {
  char text[KM_RELAY_HOST_CAP];
  size_t len = strcspn(entry, "/");
  unsigned bits = addr->family == 4 ? 32 : 128, most = bits;
  memcpy(text, entry, len);
  text[len] = '\0';
  if (entry[len] == '/') {
    char *end;
    unsigned long value = strtoul(entry + len + 1, &end, 10);
    if (end == entry + len + 1 || *end != '\0' || value > most) {
      return false;
    }
    bits = (unsigned)value;
  }
  km_udp_addr net;
  return km_relay_host_literal(text, 1, &net) && net.family == addr->family &&
         same_bits(net.ip, addr->ip, bits);
}

/* The name itself or a name below it. */
static bool covers_name(const char *entry, const char *host) {
  entry += *entry == '.';
  size_t len = strlen(entry), host_len = strlen(host);
  if (len > 0 && entry[len - 1] == '.') {
    len--;
  }
  if (len == 0 || len > host_len || strncasecmp(host + host_len - len, entry, len) != 0) {
    return false;
  }
  return len == host_len || host[host_len - len - 1] == '.';
}

static bool covers(const char *entry, const char *host) {
  km_udp_addr addr;
  return km_relay_host_literal(host, 1, &addr) ? covers_address(entry, &addr)
                                               : covers_name(entry, host);
}

static bool is_exempt(const char *list, const char *host) {
  static const char between[] = ", \t";
  if (list == NULL) {
    return false;
  }
  for (list += strspn(list, between); *list != '\0'; list += strspn(list, between)) {
    size_t len = strcspn(list, between);
    char entry[KM_RELAY_HOST_CAP];
    if (len < sizeof entry) {
      memcpy(entry, list, len);
      entry[len] = '\0';
      if (strcmp(entry, "*") == 0 || covers(entry, host)) {
        return true;
      }
    }
    list += len;
  }
  return false;
}

/* --- the proxy ------------------------------------------------------------------------------- */

/* http_proxy has no upper-case form: a web server hands HTTP_PROXY to its scripts from a request's
 * header. */
static const char *find_proxy(bool tls, km_relay_getenv_fn get, void *ctx, const char **ret_name) {
  static const char *const for_tls[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};
  static const char *const plain[] = {"http_proxy", "all_proxy", "ALL_PROXY"};
  const char *const *names = tls ? for_tls : plain;
  size_t count = tls ? sizeof for_tls / sizeof for_tls[0] : sizeof plain / sizeof plain[0];
  for (size_t i = 0; i < count; i++) {
    const char *value = get(ctx, names[i]);
    if (value != NULL) {
      *ret_name = names[i];
      return *value != '\0' ? value : NULL; /* set to nothing: none */
    }
  }
  return NULL;
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  c = (char)(c | 0x20);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t percent_decode(char *ret, const char *text, size_t len) {
  size_t n = 0;
  for (size_t i = 0; i < len; i++) {
    int high = text[i] == '%' && i + 2 < len ? hex_digit(text[i + 1]) : -1;
    int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
    ret[n++] = low >= 0 ? (char)(high * 16 + low) : text[i];
    i += low >= 0 ? 2 : 0;
  }
  return n;
}

static bool read_auth(km_relay_proxy *ret, const char *text, size_t len) {
  char plain[KM_RELAY_PROXY_AUTH_CAP / 2];
  if (len >= sizeof plain) {
    return false;
  }
  size_t n = percent_decode(plain, text, len);
  if (memchr(plain, ':', n) == NULL) {
    plain[n++] = ':';
  }
  (void)sodium_bin2base64(ret->auth, sizeof ret->auth, (const uint8_t *)plain, n,
                          sodium_base64_VARIANT_ORIGINAL);
  return true;
}

/* host, host:port, [ip]:port; read as a url of its own. */
static bool read_where(km_relay_proxy *ret, const char *text, size_t len) {
  char as_url[KM_RELAY_HOST_CAP + 32];
  km_relay_url url;
  int n = snprintf(as_url, sizeof as_url, "http://%.*s/", (int)len, text);
  if (n < 0 || (size_t)n >= sizeof as_url || km_relay_url_read(&url, as_url, NULL) != 0) {
    return false;
  }
  const char *colon = memchr(text, ']', len);
  colon =
      memchr(colon != NULL ? colon : text, ':', colon != NULL ? len - (size_t)(colon - text) : len);
  ret->port = colon != NULL ? url.port : 1080; /* as curl has it */
  memcpy(ret->host, url.host, sizeof ret->host);
  return true;
}

static bool read_proxy(km_relay_proxy *ret, const char *text) {
  const char *scheme_end = strstr(text, "://");
  if (scheme_end != NULL) {
    if (strncasecmp(text, "http://", 7) != 0) {
      return false;
    }
    text = scheme_end + 3;
  }
  size_t len = strcspn(text, "/?#");
  for (size_t i = len; i > 0; i--) {
    if (text[i - 1] == '@') {
      if (!read_auth(ret, text, i - 1)) {
        return false;
      }
      text += i;
      len -= i;
      break;
    }
  }
  return len < KM_RELAY_HOST_CAP && read_where(ret, text, len);
}

int km_relay_proxy_choose(km_relay_proxy *ret, const km_relay_url *url, km_relay_getenv_fn get,
                          void *ctx, km_errinfo *err) {
  memset(ret, 0, sizeof *ret);
  const char *name = "";
  const char *text = find_proxy(url->tls, get, ctx, &name);
  const char *exempt = get(ctx, "no_proxy");
  exempt = exempt != NULL ? exempt : get(ctx, "NO_PROXY");
  if (text == NULL || is_exempt(exempt, url->host)) {
    return 0;
  }
  if (!read_proxy(ret, text)) {
    return km_fail(err, KM_ERR_UNSUPPORTED,
                   "the proxy in %s cannot be used: write http://[user:password@]host:port", name);
  }
  ret->used = true;
  return 0;
}

/* --- CONNECT --------------------------------------------------------------------------------- */

size_t km_relay_proxy_request(char ret[KM_RELAY_PROXY_REQUEST_CAP], const km_relay_proxy *proxy,
                              const km_relay_url *url) {
  const char *open = strchr(url->host, ':') != NULL ? "[" : "";
  const char *close = *open != '\0' ? "]" : "";
  const char *auth = proxy->auth[0] != '\0' ? "Proxy-Authorization: Basic " : "";
  const char *eol = proxy->auth[0] != '\0' ? "\r\n" : "";
  int n = snprintf(ret, KM_RELAY_PROXY_REQUEST_CAP,
                   "CONNECT %s%s%s:%u HTTP/1.1\r\nHost: %s%s%s:%u\r\n%s%s%s\r\n", open, url->host,
                   close, (unsigned)url->port, open, url->host, close, (unsigned)url->port, auth,
                   proxy->auth, eol);
  return n > 0 ? (size_t)n : 0;
}

static int refused(const km_relay_proxy *proxy, unsigned status, km_errinfo *err) {
  const char *hint = status == 407 ? ": it wants a user and password in its url" : "";
  return km_fail(err, KM_ERR_RELAY_UNREACHABLE, "the proxy %s answered %u%s", proxy->host, status,
                 hint);
}

int km_relay_proxy_answer(const char *text, size_t len, const km_relay_proxy *proxy,
                          km_errinfo *err) {
  static const char digits[] = "0123456789";
  char line[16] = "";
  memcpy(line, text, len < sizeof line - 1 ? len : sizeof line - 1);
  size_t known = len < 7 ? len : 7;
  if (memcmp(line, "HTTP/1.", known) != 0) {
    return km_fail(err, KM_ERR_RELAY_UNREACHABLE, "%s is no HTTP proxy", proxy->host);
  }
  const char *end = len >= 4 ? text + len - 4 : text;
  if (len < 16 || memcmp(end, "\r\n\r\n", 4) != 0) {
    /* Nothing may follow the headers: the other side has not been spoken to yet. */
    return len < KM_RELAY_PROXY_ANSWER_MAX ? 0
                                           : km_fail(err, KM_ERR_RELAY_UNREACHABLE,
                                                     "the proxy %s answers too much", proxy->host);
  }
  if (strspn(line + 7, digits) != 1 || line[8] != ' ' || strspn(line + 9, digits) != 3) {
    return km_fail(err, KM_ERR_RELAY_UNREACHABLE, "%s is no HTTP proxy", proxy->host);
  }
  unsigned status = (unsigned)strtoul(line + 9, NULL, 10);
  return status >= 200 && status < 300 ? 1 : refused(proxy, status, err);
}
