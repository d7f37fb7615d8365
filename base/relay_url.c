/* The WHATWG URL standard, sections 4.4 (parsing) and 4.5 (serialising), as far as relay_url.h
 * says, as one pass from the text to its normal form. */
#include "base/relay_url.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/env.h"
#include "base/text.h"
#include "base/url_host.h"

#define TEXT_MAX KM_RELAY_URL_MAX
#define SHOWN 72

typedef struct span {
  const char *at;
  size_t len;
} span;

/* The parts of a url, still as they were written. */
typedef struct url_parts {
  span scheme;
  bool special;
  int default_port; /* -1 where the scheme has none */
  span user;        /* before the first ':' */
  span password;
  span host;
  span port;
  span path;
  bool has_query;
  span query;
  bool has_fragment;
  span fragment;
} url_parts;

typedef struct writer {
  char *buf;
  size_t cap;
  size_t len;
  bool full;
} writer;

static void put(writer *w, const char *bytes, size_t len) {
  if (w->full || len >= w->cap - w->len) {
    w->full = true;
    return;
  }
  memcpy(w->buf + w->len, bytes, len);
  w->len += len;
}

static void put_char(writer *w, char c) {
  put(w, &c, 1);
}

static bool in_set(const char *set, char c) {
  return c != '\0' && strchr(set, c) != NULL;
}

/* Percent-encodes controls, all beyond ASCII, and what is in `set`. */
static void put_encoded(writer *w, span text, const char *set) {
  static const char digits[] = "0123456789ABCDEF";
  for (size_t i = 0; i < text.len; i++) {
    uint8_t byte = (uint8_t)text.at[i];
    if (byte < 0x20 || byte > 0x7e || in_set(set, text.at[i])) {
      const char encoded[3] = {'%', digits[byte >> 4], digits[byte & 15]};
      put(w, encoded, sizeof encoded);
    } else {
      put_char(w, text.at[i]);
    }
  }
}

/* The percent-encode sets of section 1.3, beside controls. */
#define SET_FRAGMENT " \"<>`"
#define SET_QUERY " \"#<>"
#define SET_SPECIAL_QUERY SET_QUERY "'"
#define SET_PATH SET_QUERY "?`{}"
#define SET_USERINFO SET_PATH "/:;=@[\\]^|"

/* Cuts the ends (controls and spaces), drops tabs and newlines, and refuses bytes that are not
 * UTF-8. Returns the length, or -1. */
static int clean(char ret[TEXT_MAX], const char *url, size_t len) {
  while (len > 0 && (uint8_t)url[len - 1] <= 0x20) {
    len--;
  }
  while (len > 0 && (uint8_t)url[0] <= 0x20) {
    url++;
    len--;
  }
  size_t n = 0;
  while (len > 0) {
    size_t step = km_utf8_sequence(url, len);
    if (step == 0) {
      return -1;
    }
    if (*url != '\t' && *url != '\n' && *url != '\r') {
      memcpy(ret + n, url, step);
      n += step;
    }
    url += step;
    len -= step;
  }
  return (int)n;
}

static bool is_alpha(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static char lower(char c) {
  return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool scheme_is(span scheme, const char *name) {
  if (scheme.len != strlen(name)) {
    return false;
  }
  for (size_t i = 0; i < scheme.len; i++) {
    if (lower(scheme.at[i]) != name[i]) {
      return false;
    }
  }
  return true;
}

static void look_up_scheme(url_parts *parts) {
  static const struct {
    const char *name;
    int port;
  } special[] = {{"https", 443}, {"http", 80}, {"wss", 443}, {"ws", 80}, {"ftp", 21}};
  parts->default_port = -1;
  for (size_t i = 0; i < sizeof special / sizeof special[0]; i++) {
    if (scheme_is(parts->scheme, special[i].name)) {
      parts->special = true;
      parts->default_port = special[i].port;
    }
  }
}

static span take(span *text, size_t len) {
  span taken = {text->at, len};
  text->at += len;
  text->len -= len;
  return taken;
}

/* Bytes before the first one of `stops`. */
static size_t length_before(span text, const char *stops) {
  size_t n = 0;
  while (n < text.len && !in_set(stops, text.at[n])) {
    n++;
  }
  return n;
}

/* "scheme:" and the slashes after it. */
static bool take_scheme(url_parts *parts, span *text) {
  size_t n = 0;
  while (n < text->len && (is_alpha(text->at[n]) ||
                           (n > 0 && (is_digit(text->at[n]) || in_set("+-.", text->at[n]))))) {
    n++;
  }
  if (n == 0 || n == text->len || text->at[n] != ':') {
    return false;
  }
  parts->scheme = take(text, n);
  (void)take(text, 1); /* the colon */
  look_up_scheme(parts);
  if (parts->special) {
    size_t slashes = 0;
    while (slashes < text->len && in_set("/\\", text->at[slashes])) {
      slashes++;
    }
    (void)take(text, slashes); /* any number of them means the same */
    return true;
  }
  if (scheme_is(parts->scheme, "file") || text->len < 2 || memcmp(text->at, "//", 2) != 0) {
    return false;
  }
  (void)take(text, 2); /* the slashes */
  return true;
}

static void split_userinfo(url_parts *parts, span userinfo) {
  size_t n = length_before(userinfo, ":");
  parts->user = take(&userinfo, n);
  if (userinfo.len > 0) {
    (void)take(&userinfo, 1); /* the colon */
    parts->password = userinfo;
  }
}

/* "user:password@host:port". */
static bool split_authority(url_parts *parts, span authority) {
  for (size_t i = authority.len; i > 0; i--) {
    if (authority.at[i - 1] == '@') {
      split_userinfo(parts, take(&authority, i - 1));
      (void)take(&authority, 1); /* the at sign */
      break;
    }
  }
  bool in_brackets = false;
  size_t n = 0;
  for (; n < authority.len; n++) {
    char c = authority.at[n];
    if (c == ':' && !in_brackets) {
      break;
    }
    in_brackets = c == '[' || (in_brackets && c != ']');
  }
  parts->host = take(&authority, n);
  if (authority.len > 0) {
    (void)take(&authority, 1); /* the colon */
    parts->port = authority;
  }
  return parts->host.len > 0;
}

static bool split(url_parts *parts, span text) {
  if (!take_scheme(parts, &text)) {
    return false;
  }
  const char *stops = parts->special ? "/\\?#" : "/?#";
  if (!split_authority(parts, take(&text, length_before(text, stops)))) {
    return false;
  }
  parts->path = take(&text, length_before(text, "?#"));
  if (text.len > 0 && text.at[0] == '?') {
    (void)take(&text, 1); /* the question mark */
    parts->has_query = true;
    parts->query = take(&text, length_before(text, "#"));
  }
  if (text.len > 0) {
    (void)take(&text, 1); /* the number sign */
    parts->has_fragment = true;
    parts->fragment = text;
  }
  return true;
}

/* The port to print, -1 for none, -2 where it is no port. */
static int port_of(const url_parts *parts) {
  if (parts->port.len == 0) {
    return -1;
  }
  int port = 0;
  for (size_t i = 0; i < parts->port.len; i++) {
    if (!is_digit(parts->port.at[i])) {
      return -2;
    }
    port = port * 10 + (parts->port.at[i] - '0');
    if (port > UINT16_MAX) {
      return -2;
    }
  }
  return port == parts->default_port ? -1 : port;
}

static void put_port(writer *w, int port) {
  char digits[5];
  size_t n = sizeof digits;
  do {
    digits[--n] = (char)('0' + port % 10);
    port /= 10;
  } while (port > 0);
  put_char(w, ':');
  put(w, digits + n, sizeof digits - n);
}

/* Dots that a path segment consists of, each also as %2e; 0 for any other segment. */
static int dots_of(span segment) {
  int dots = 0;
  while (segment.len > 0) {
    if (segment.at[0] == '.') {
      (void)take(&segment, 1);
    } else if (segment.len >= 3 && segment.at[0] == '%' && segment.at[1] == '2' &&
               lower(segment.at[2]) == 'e') {
      (void)take(&segment, 3);
    } else {
      return 0;
    }
    dots++;
  }
  return dots <= 2 ? dots : 0;
}

/* Writes "/segment" for each segment; ".." takes one back, but never below `start`. */
static void put_path(writer *w, const url_parts *parts) {
  span path = parts->path;
  const char *slashes = parts->special ? "/\\" : "/";
  if (path.len == 0) {
    if (parts->special) {
      put_char(w, '/');
    }
    return;
  }
  size_t start = w->len;
  while (path.len > 0) {
    (void)take(&path, 1); /* the slash */
    span segment = take(&path, length_before(path, slashes));
    int dots = dots_of(segment);
    if (dots == 2) {
      while (w->len > start && w->buf[--w->len] != '/') {
      }
    }
    if (dots == 0) {
      put_char(w, '/');
      put_encoded(w, segment, SET_PATH);
    } else if (path.len == 0) {
      put_char(w, '/');
    }
  }
}

static void put_userinfo(writer *w, const url_parts *parts) {
  if (parts->user.len == 0 && parts->password.len == 0) {
    return;
  }
  put_encoded(w, parts->user, SET_USERINFO);
  if (parts->password.len > 0) {
    put_char(w, ':');
    put_encoded(w, parts->password, SET_USERINFO);
  }
  put_char(w, '@');
}

static void put_url(writer *w, const url_parts *parts, const char *host, int port) {
  for (size_t i = 0; i < parts->scheme.len; i++) {
    put_char(w, lower(parts->scheme.at[i]));
  }
  put(w, "://", 3);
  put_userinfo(w, parts);
  put(w, host, strlen(host));
  if (port >= 0) {
    put_port(w, port);
  }
  put_path(w, parts);
  if (parts->has_query) {
    put_char(w, '?');
    put_encoded(w, parts->query, parts->special ? SET_SPECIAL_QUERY : SET_QUERY);
  }
  if (parts->has_fragment) {
    put_char(w, '#');
    put_encoded(w, parts->fragment, SET_FRAGMENT);
  }
}

static int bad(km_errinfo *err, span url, const char *why) {
  return km_fail(err, KM_ERR_BAD_RELAY_URL, "'%.*s' is not a relay url: %s",
                 url.len < SHOWN ? (int)url.len : SHOWN, url.at, why);
}

static int check_host(km_errinfo *err, span url, km_url_host_result result) {
  switch (result) {
  case KM_URL_HOST_OK:
    return 0;
  case KM_URL_HOST_NOT_ASCII:
    return bad(err, url, "write the host in its xn-- form");
  case KM_URL_HOST_EMPTY:
  case KM_URL_HOST_BAD:
  default:
    return bad(err, url, "its host is neither a name nor an address");
  }
}

int km_relay_url_normalise(char *ret, size_t cap, const char *url, size_t len, km_errinfo *err) {
  span shown = {url, len};
  if (len > TEXT_MAX) {
    return bad(err, shown, "it is longer than 2048 bytes");
  }
  char text[TEXT_MAX];
  int text_len = clean(text, url, len);
  if (text_len < 0) {
    return bad(err, shown, "it is not UTF-8");
  }
  url_parts parts = {0};
  if (!split(&parts, (span){text, (size_t)text_len})) {
    return bad(err, shown, "write https://host/ or http://host:port/");
  }
  char host[KM_URL_HOST_CAP];
  int rv = check_host(err, shown,
                      km_url_host_normalise(host, parts.host.at, parts.host.len, parts.special));
  if (rv != 0) {
    return rv;
  }
  int port = port_of(&parts);
  if (port == -2) {
    return bad(err, shown, "its port is not a number of 0 to 65535");
  }
  writer w = {.buf = ret, .cap = cap};
  if (cap > 0) {
    put_url(&w, &parts, host, port);
  }
  if (cap == 0 || w.full) {
    return bad(err, shown, "it is longer than 2048 bytes");
  }
  ret[w.len] = '\0';
  return (int)w.len;
}

int km_relay_url_take(char *ret, size_t cap, const char *url, size_t len, km_errinfo *err) {
  static const char *const heads[] = {"https://", "http://", "wss://", "ws://"};
  int rv = km_relay_url_normalise(ret, cap, url, len, err);
  for (size_t i = 0; rv >= 0 && i < sizeof heads / sizeof heads[0]; i++) {
    if (strncmp(ret, heads[i], strlen(heads[i])) == 0) {
      return rv;
    }
  }
  return rv < 0 ? rv : bad(err, (span){url, len}, "write https://host/ or http://host:port/");
}
