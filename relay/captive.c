#include "relay/captive.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

void km_captive_url(km_relay_url *ret, const km_relay_url *relay) {
  bool six = strchr(relay->host, ':') != NULL;
  *ret = *relay;
  if (relay->tls) {
    ret->tls = false;
    ret->port = 80;
    (void)snprintf(ret->authority, sizeof ret->authority, six ? "[%s]" : "%s", relay->host);
  }
  (void)snprintf(ret->path, sizeof ret->path, "/generate_204");
}

size_t km_captive_request(char ret[KM_CAPTIVE_REQUEST_CAP], const km_relay_url *url,
                          const char *challenge) {
  int len = snprintf(ret, KM_CAPTIVE_REQUEST_CAP,
                     "GET /generate_204 HTTP/1.1\r\nHost: %s\r\nX-Iroh-Challenge: %s\r\n"
                     "User-Agent: keymesh\r\nAccept: */*\r\nConnection: close\r\n\r\n",
                     url->authority, challenge);
  return len > 0 && len < KM_CAPTIVE_REQUEST_CAP ? (size_t)len : 0;
}

/* The value of a header; NULL when it is not in these lines. `ret_len` without white space around.
 */
static const char *header(const char *text, size_t len, const char *name, size_t *ret_len) {
  size_t name_len = strlen(name);
  const char *end = text + len, *line = memchr(text, '\n', len);
  while (line != NULL && ++line < end) {
    const char *next = memchr(line, '\n', (size_t)(end - line));
    const char *stop = next != NULL ? next : end;
    if ((size_t)(stop - line) > name_len && line[name_len] == ':' &&
        strncasecmp(line, name, name_len) == 0) {
      const char *value = line + name_len + 1;
      while (value < stop && (*value == ' ' || *value == '\t')) {
        value++;
      }
      while (stop > value && (stop[-1] == '\r' || stop[-1] == ' ' || stop[-1] == '\t')) {
        stop--;
      }
      *ret_len = (size_t)(stop - value);
      return value;
    }
    line = next;
  }
  return NULL;
}

/* Where the headers end; 0: they have not come yet. */
static size_t headers_end(const char *text, size_t len) {
  for (size_t i = 1; i < len; i++) {
    if (text[i] == '\n' &&
        (text[i - 1] == '\n' || (i >= 3 && memcmp(text + i - 3, "\r\n\r", 3) == 0))) {
      return i + 1;
    }
  }
  return 0;
}

km_net_answer km_captive_read(const char *text, size_t len, bool ended, const char *challenge) {
  static const char word[] = "response ";
  size_t end = headers_end(text, len), value_len;
  if (end == 0 && !ended && len < KM_CAPTIVE_ANSWER_MAX) {
    return KM_NET_UNKNOWN;
  }
  if (len == 0) {
    return KM_NET_UNKNOWN;
  }
  end = end == 0 ? len : end;
  if (end < 12 || memcmp(text, "HTTP/1.", 7) != 0 || memcmp(text + 8, " 204", 4) != 0) {
    return KM_NET_YES;
  }
  const char *value = header(text, end, "X-Iroh-Response", &value_len);
  bool repeated = value != NULL && value_len == sizeof word - 1 + strlen(challenge) &&
                  memcmp(value, word, sizeof word - 1) == 0 &&
                  memcmp(value + sizeof word - 1, challenge, strlen(challenge)) == 0;
  return repeated ? KM_NET_NO : KM_NET_YES;
}
