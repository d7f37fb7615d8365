#include "holepunch/igd.h"

#include <stdio.h>
#include <string.h>

#include "base/ip_text.h"
#include "holepunch/gateway.h"

#define SERVICE_PREFIX "urn:schemas-upnp-org:service:WAN"

/* --- text ------------------------------------------------------------------------------------- */

static char lower(char c) {
  return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool begins_with(const char *text, size_t len, const char *word) {
  size_t i = 0;
  while (word[i] != '\0' && i < len && lower(text[i]) == word[i]) {
    i++;
  }
  return word[i] == '\0';
}

/* The value of a header, without blanks around it; NULL: there is none. `name` in lower case, with
 * its colon. The first line is no header. */
static const char *header(const char *head, size_t len, const char *name, size_t *ret_len) {
  const char *end = head + len;
  for (const char *at = memchr(head, '\n', len); at != NULL && ++at < end;
       at = memchr(at, '\n', (size_t)(end - at))) {
    if (!begins_with(at, (size_t)(end - at), name)) {
      continue;
    }
    const char *value = at + strlen(name);
    const char *stop = memchr(value, '\n', (size_t)(end - value));
    stop = stop != NULL ? stop : end;
    while (value < stop && (*value == ' ' || *value == '\t')) {
      value++;
    }
    while (stop > value && (stop[-1] == '\r' || stop[-1] == ' ' || stop[-1] == '\t')) {
      stop--;
    }
    *ret_len = (size_t)(stop - value);
    return value;
  }
  return NULL;
}

/* A number of that base, up to the first other character. False: none, or too much. */
static bool read_number(const char *text, size_t len, unsigned base, size_t *ret) {
  size_t value = 0, i = 0;
  for (; i < len; i++) {
    char c = lower(text[i]);
    unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                     : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                                            : base;
    if (digit >= base) {
      break;
    }
    value = value * base + digit;
    if (value > KM_IGD_MAX_HTTP) {
      return false;
    }
  }
  *ret = value;
  return i > 0;
}

static bool is_visible(const char *text, size_t len) {
  for (size_t i = 0; i < len; i++) {
    if (text[i] <= 0x20 || text[i] >= 0x7f) {
      return false;
    }
  }
  return true;
}

static size_t fits(int len) {
  return len > 0 && len < KM_IGD_REQUEST_CAP ? (size_t)len : 0;
}

/* --- searching (UPnP Device Architecture 1.1, section 1.3) ------------------------------------ */

size_t km_igd_search(char ret[KM_IGD_REQUEST_CAP], unsigned kind) {
  static const char *const kinds[KM_IGD_KINDS] = {
      "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
      "urn:schemas-upnp-org:service:WANIPConnection:1",
      "urn:schemas-upnp-org:service:WANPPPConnection:1"};
  return fits(snprintf(ret, KM_IGD_REQUEST_CAP,
                       "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n"
                       "MAN: \"ssdp:discover\"\r\nMX: 1\r\nST: %s\r\n\r\n",
                       kinds[kind % KM_IGD_KINDS]));
}

bool km_igd_location(char ret[KM_IGD_URL_CAP], const char *answer, size_t len) {
  size_t value_len = 0;
  if (!begins_with(answer, len, "http/1.1 200") && !begins_with(answer, len, "http/1.0 200")) {
    return false;
  }
  const char *value = header(answer, len, "location:", &value_len);
  if (value == NULL || value_len == 0 || value_len >= KM_IGD_URL_CAP ||
      !is_visible(value, value_len)) {
    return false;
  }
  memcpy(ret, value, value_len);
  ret[value_len] = '\0';
  return true;
}

bool km_igd_url_read(km_igd_url *ret, const char *url) {
  km_igd_url out = {0};
  size_t len = strlen(url);
  if (len >= KM_IGD_URL_CAP || !is_visible(url, len) || !km_gateway_url_allowed(&out.host, url)) {
    return false;
  }
  const char *path = strchr(url + sizeof "http://" - 1, '/');
  (void)snprintf(out.path, sizeof out.path, "%s", path != NULL ? path : "/");
  *ret = out;
  return true;
}

bool km_igd_service_is_good(const char *service) {
  static const char allowed[] =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:._-";
  size_t len = strlen(service);
  return len < KM_IGD_SERVICE_CAP && strspn(service, allowed) == len &&
         strncmp(service, SERVICE_PREFIX, sizeof SERVICE_PREFIX - 1) == 0;
}

/* --- asking ----------------------------------------------------------------------------------- */

static void format_host(char *ret, size_t cap, const km_udp_addr *host) {
  char ip[KM_IP_TEXT_CAP];
  (void)km_ip4_format(ip, host->ip);
  (void)snprintf(ret, cap, "%s:%u", ip, host->port);
}

size_t km_igd_get(char ret[KM_IGD_REQUEST_CAP], const km_igd_url *url) {
  char host[KM_UDP_ADDR_TEXT_CAP];
  format_host(host, sizeof host, &url->host);
  return fits(snprintf(ret, KM_IGD_REQUEST_CAP,
                       "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", url->path,
                       host));
}

size_t km_igd_call(char ret[KM_IGD_REQUEST_CAP], const km_igd_url *url, const char *service,
                   const char *action, const char *arguments) {
  static const char body[] = "<?xml version=\"1.0\"?>\r\n"
                             "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" "
                             "s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\">"
                             "<s:Body><u:%s xmlns:u=\"%s\">%s</u:%s></s:Body></s:Envelope>\r\n";
  char host[KM_UDP_ADDR_TEXT_CAP];
  format_host(host, sizeof host, &url->host);
  int len = snprintf(NULL, 0, body, action, service, arguments, action);
  int head = snprintf(ret, KM_IGD_REQUEST_CAP,
                      "POST %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n"
                      "Content-Type: text/xml; charset=\"utf-8\"\r\n"
                      "SOAPAction: \"%s#%s\"\r\nContent-Length: %d\r\n\r\n",
                      url->path, host, service, action, len);
  if (len < 0 || fits(head) == 0 || fits(head + len) == 0) {
    return 0;
  }
  (void)snprintf(ret + head, KM_IGD_REQUEST_CAP - (size_t)head, body, action, service, arguments,
                 action);
  return (size_t)head + (size_t)len;
}

/* --- answers ---------------------------------------------------------------------------------- */

/* Bytes up to and with the empty line; 0: it has not come yet. */
static size_t head_len(const char *answer, size_t len) {
  for (size_t i = 0; i + 3 < len; i++) {
    if (memcmp(answer + i, "\r\n\r\n", 4) == 0) {
      return i + 4;
    }
  }
  return 0;
}

static bool is_chunked(const char *answer, size_t head) {
  size_t len = 0;
  const char *value = header(answer, head, "transfer-encoding:", &len);
  return value != NULL && begins_with(value, len, "chunked");
}

/* Length of the chunk at `at`, whose bytes begin at *ret_data; false: its line has not come. */
static bool next_chunk(const char *body, size_t len, size_t at, size_t *ret_data, size_t *ret_len) {
  const char *line = body + at;
  const char *end = at < len ? memchr(line, '\n', len - at) : NULL;
  if (end == NULL || !read_number(line, (size_t)(end - line), 16, ret_len)) {
    return false;
  }
  *ret_data = (size_t)(end - body) + 1;
  return true;
}

static bool has_last_chunk(const char *body, size_t len) {
  size_t at = 0, data, size;
  while (next_chunk(body, len, at, &data, &size)) {
    if (size == 0) {
      return true;
    }
    at = data + size + 2; /* CR LF */
  }
  return false;
}

bool km_igd_http_is_whole(const char *answer, size_t len) {
  size_t head = head_len(answer, len), value_len = 0, promised = 0;
  if (head == 0) {
    return false;
  }
  if (is_chunked(answer, head)) {
    return has_last_chunk(answer + head, len - head);
  }
  const char *value = header(answer, head, "content-length:", &value_len);
  return value != NULL && read_number(value, value_len, 10, &promised) && len - head >= promised;
}

/* What there is of it, one piece after another. */
static size_t undo_chunks(char *body, size_t len) {
  size_t at = 0, out = 0, data, size;
  while (next_chunk(body, len, at, &data, &size) && size > 0 && data < len) {
    size_t here = size < len - data ? size : len - data;
    memmove(body + out, body + data, here);
    out += here;
    at = data + size + 2;
  }
  return out;
}

bool km_igd_http_read(km_igd_http *ret, char *answer, size_t len) {
  size_t head = head_len(answer, len), value_len = 0, promised = 0, status = 0;
  if (head == 0 || !begins_with(answer, len, "http/1.") ||
      !read_number(answer + 9, head - 9, 10, &status) || status > 999) {
    return false;
  }
  *ret = (km_igd_http){.status = (int)status, .body = answer + head, .len = len - head};
  if (is_chunked(answer, head)) {
    ret->len = undo_chunks(ret->body, ret->len);
    return true;
  }
  const char *value = header(answer, head, "content-length:", &value_len);
  if (value != NULL && read_number(value, value_len, 10, &promised) && promised < ret->len) {
    ret->len = promised;
  }
  return true;
}
