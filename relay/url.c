#include "relay/url.h"

#include <stdio.h>
#include <string.h>

#include "base/env.h"

typedef struct span {
  const char *at;
  size_t len;
} span;

static int bad(km_errinfo *err, const char *what) {
  return km_fail(err, KM_ERR_BAD_RELAY_URL, "not a relay url: %s", what);
}

static bool span_is(span s, const char *text) {
  return s.len == strlen(text) && memcmp(s.at, text, s.len) == 0;
}

/* Up to the first of `stops`, or all. */
static span until(const char *at, const char *stops) {
  return (span){at, strcspn(at, stops)};
}

static bool read_port(span text, uint16_t *ret) {
  unsigned value = 0;
  for (size_t i = 0; i < text.len; i++) {
    if (text.at[i] < '0' || text.at[i] > '9') {
      return false;
    }
    value = value * 10 + (unsigned)(text.at[i] - '0');
    if (value > UINT16_MAX) {
      return false;
    }
  }
  *ret = (uint16_t)value;
  return text.len > 0 && value > 0;
}

static bool copy(char *ret, size_t cap, span text) {
  if (text.len >= cap) {
    return false;
  }
  memcpy(ret, text.at, text.len);
  ret[text.len] = '\0';
  return true;
}

/* host, host:port, [ip]:port; `ret->port` has the default. */
static bool read_host(km_relay_url *ret, span authority) {
  span host = authority, port = {NULL, 0};
  bool brackets = authority.len > 0 && authority.at[0] == '[';
  const char *end = brackets ? memchr(authority.at, ']', authority.len) : NULL;
  if (brackets && end == NULL) {
    return false;
  }
  const char *after = brackets ? end + 1 : authority.at;
  size_t left = authority.len - (size_t)(after - authority.at);
  const char *colon = memchr(after, ':', left);
  if (brackets) {
    host = (span){authority.at + 1, (size_t)(end - authority.at) - 1};
    if (left > 0 && colon != after) {
      return false;
    }
  }
  if (colon != NULL) {
    port = (span){colon + 1, authority.len - (size_t)(colon + 1 - authority.at)};
    host.len = brackets ? host.len : (size_t)(colon - authority.at);
    if (!read_port(port, &ret->port)) {
      return false;
    }
  }
  if (!brackets && host.len > 1 && host.at[host.len - 1] == '.') {
    host.len--; /* iroh's own urls have it, certificates have not */
  }
  return host.len > 0 && copy(ret->host, sizeof ret->host, host);
}

static void write_authority(km_relay_url *ret) {
  const char *open = strchr(ret->host, ':') != NULL ? "[" : "";
  const char *close = *open != '\0' ? "]" : "";
  if (ret->port == (ret->tls ? 443 : 80)) {
    (void)snprintf(ret->authority, sizeof ret->authority, "%s%s%s", open, ret->host, close);
  } else {
    (void)snprintf(ret->authority, sizeof ret->authority, "%s%s%s:%u", open, ret->host, close,
                   (unsigned)ret->port);
  }
}

/* Of the query only the token stays. */
static bool write_path(km_relay_url *ret, const char *query) {
  static const char path[] = "/relay";
  memcpy(ret->path, path, sizeof path);
  while (query != NULL) {
    span pair = until(query, "&#");
    if (pair.len > 6 && memcmp(pair.at, "token=", 6) == 0) {
      size_t len = sizeof path - 1;
      ret->path[len++] = '?';
      return copy(ret->path + len, sizeof ret->path - len, pair);
    }
    query = pair.at[pair.len] == '&' ? pair.at + pair.len + 1 : NULL;
  }
  return true;
}

int km_relay_url_read(km_relay_url *ret, const char *url, km_errinfo *err) {
  memset(ret, 0, sizeof *ret);
  const char *sep = strstr(url, "://");
  if (sep == NULL || strlen(url) >= KM_RELAY_URL_MAX) {
    return bad(err, "it does not begin with https://");
  }
  span scheme = {url, (size_t)(sep - url)};
  ret->tls = !span_is(scheme, "http") && !span_is(scheme, "ws");
  ret->port = ret->tls ? 443 : 80;
  span authority = until(sep + 3, "/?#");
  const char *rest = authority.at + authority.len;
  for (const char *at; (at = memchr(authority.at, '@', authority.len)) != NULL;) {
    authority.len -= (size_t)(at + 1 - authority.at); /* user and password say nothing to a relay */
    authority.at = at + 1;
  }
  if (!read_host(ret, authority)) {
    return bad(err, "its host or port cannot be read");
  }
  write_authority(ret);
  span before = until(rest, "?#");
  const char *query = before.at[before.len] == '?' ? before.at + before.len + 1 : NULL;
  return write_path(ret, query) ? 0 : bad(err, "its token is too long");
}

bool km_relay_host_literal(const char *host, uint16_t port, km_udp_addr *ret) {
  char text[KM_RELAY_HOST_CAP + 16];
  bool six = strchr(host, ':') != NULL;
  int len = snprintf(text, sizeof text, six ? "[%s]:%u" : "%s:%u", host, (unsigned)port);
  return len > 0 && (size_t)len < sizeof text &&
         km_udp_addr_parse(ret, text, (size_t)len, NULL) == 0;
}

bool km_relay_token_is_valid(const char *token) {
  size_t len = 0;
  while (token[len] > ' ' && token[len] < 0x7f && len <= KM_RELAY_TOKEN_MAX) {
    len++;
  }
  return token[len] == '\0' && len > 0 && len <= KM_RELAY_TOKEN_MAX;
}
