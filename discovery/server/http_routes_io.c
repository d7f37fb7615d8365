/* Which request goes where, and what every one of them has to pass. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/enc.h"
#include "base/ip_text.h"
#include "discovery/server/http_impl.h"

/* A refused body of so many bytes is read to its end, so that its sender hears why: to one that is
 * still sending when we close, the reply may be lost. */
#define DISCARD_MAX (1u << 20)

#define METHODS_ALL "GET, HEAD, PUT, POST, OPTIONS"

const char *km_dns_http_header(const km_dns_http_conn *c, enum lws_token_indexes token, char *buf,
                               size_t cap) {
  return lws_hdr_total_length(c->conn.wsi, token) > 0 &&
                 lws_hdr_copy(c->conn.wsi, buf, (int)cap, token) > 0
             ? buf
             : NULL;
}

/* --- heads ----------------------------------------------------------------------------------- */

static km_dns_http_method method_of(struct lws *wsi) {
  static const struct {
    enum lws_token_indexes token;
    km_dns_http_method method;
  } table[] = {{WSI_TOKEN_GET_URI, KM_DNS_HTTP_GET},
               {WSI_TOKEN_HEAD_URI, KM_DNS_HTTP_HEAD},
               {WSI_TOKEN_PUT_URI, KM_DNS_HTTP_PUT},
               {WSI_TOKEN_POST_URI, KM_DNS_HTTP_POST},
               {WSI_TOKEN_OPTIONS_URI, KM_DNS_HTTP_OPTIONS}};
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    if (lws_hdr_total_length(wsi, table[i].token) > 0) {
      return table[i].method;
    }
  }
  return KM_DNS_HTTP_OTHER;
}

/* The last address is the one that our own proxy put there; those before it anybody can claim. */
static bool read_forwarded(const char *list, km_udp_addr *ret) {
  const char *comma = strrchr(list, ',');
  const char *at = comma == NULL ? list : comma + 1;
  at += strspn(at, " \t");
  size_t len = strcspn(at, " \t");
  *ret = (km_udp_addr){.port = 0};
  ret->family = km_ip_parse(ret->ip, at, len);
  return ret->family != 0 || km_udp_addr_parse(ret, at, len, NULL) == 0;
}

/* Who is asking. False: our proxy says something else than an address, which must not count as the
 * proxy itself: all who bring that about would share its rate. */
static bool find_source(km_dns_http_conn *c) {
  char list[KM_DNS_HTTP_REQUEST_HEAD_MAX];
  c->source = c->conn.remote;
  return c->s->config.client != KM_DNS_SERVER_FORWARDED ||
         km_dns_http_header(c, WSI_TOKEN_X_FORWARDED_FOR, list, sizeof list) == NULL ||
         read_forwarded(list, &c->source);
}

/* The length that the head gives; false: it gives one in a way that cannot be trusted. Two readers
 * that disagree about where a request ends are a hole (RFC 9112 section 11.2). */
static bool read_length(const km_dns_http_conn *c, size_t *ret, bool *given) {
  char text[24];
  *ret = 0;
  *given = lws_hdr_total_length(c->conn.wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH) > 0;
  if (lws_hdr_total_length(c->conn.wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING) > 0) {
    return false;
  }
  if (!*given) {
    return true;
  }
  if (km_dns_http_header(c, WSI_TOKEN_HTTP_CONTENT_LENGTH, text, sizeof text) == NULL ||
      strlen(text) > 15 || text[strspn(text, "0123456789")] != '\0') {
    return false;
  }
  for (const char *p = text; *p != '\0'; p++) {
    *ret = *ret * 10 + (size_t)(*p - '0');
  }
  return true;
}

/* --- bodies ---------------------------------------------------------------------------------- */

static bool expects_continue(const km_dns_http_conn *c) {
  char expect[32];
  return km_dns_http_header(c, WSI_TOKEN_HTTP_EXPECT, expect, sizeof expect) != NULL &&
         strcasecmp(expect, "100-continue") == 0;
}

int km_dns_http_expect(km_dns_http_conn *c, size_t max, km_dns_http_body_fn fn) {
  size_t len = 0;
  bool given = false;
  (void)read_length(c, &len, &given); /* was good before */
  if (!given) {
    c->last = true;
    return km_dns_http_refuse(c, 411, "the Content-Length is missing");
  }
  if (len == 0 || len > max) {
    char detail[64];
    (void)snprintf(detail, sizeof detail, "the body has to have 1 to %zu bytes", max);
    return km_dns_http_refuse(c, len == 0 ? 400 : 413, detail);
  }
  c->body = km_env_alloc(c->s->config.env, len);
  if (c->body == NULL) {
    return km_dns_http_refuse_rate(c, 503, 1, "out of memory");
  }
  c->unread = 0;
  c->last = false;
  c->body_cap = len;
  c->body_len = 0;
  c->on_body = fn;
  c->state = KM_DNS_HTTP_BODY;
  return expects_continue(c) ? km_dns_http_go_on(c) : 0;
}

/* lws does not look where a body ends: what follows in the same read is given to us as well. The
 * next request is lost with it, so that the connection has to end. */
int km_dns_http_received(km_dns_http_conn *c, const uint8_t *bytes, size_t len) {
  if (c->state == KM_DNS_HTTP_DISCARDING) {
    c->unread -= len < c->unread ? len : c->unread;
    return c->unread == 0 ? -1 : 0;
  }
  if (c->state != KM_DNS_HTTP_BODY) {
    return 0;
  }
  size_t room = c->body_cap - c->body_len;
  memcpy(c->body + c->body_len, bytes, len < room ? len : room);
  c->body_len += len < room ? len : room;
  if (len > room) {
    c->last = true;
    return c->on_body(c);
  }
  return 0;
}

int km_dns_http_received_all(km_dns_http_conn *c) {
  return c->state == KM_DNS_HTTP_BODY && c->body_len == c->body_cap ? c->on_body(c) : 0;
}

/* --- pages ----------------------------------------------------------------------------------- */

static int serve_text(km_dns_http_conn *c, const char *type, const char *text) {
  return km_dns_http_reply_send(c,
                                &(km_dns_http_reply){.status = 200,
                                                     .type = type,
                                                     .body = text,
                                                     .len = strlen(text),
                                                     .fields = {{"cache-control:", "no-cache"}}});
}

static int serve_index(km_dns_http_conn *c) {
  return serve_text(c, "text/plain; charset=utf-8",
                    "This is a discovery server: km-dns of KeyMesh.\n"
                    "Endpoints publish here, signed by their keys, where they can be reached;\n"
                    "others look them up by key. Nobody but the owner of a key can publish for "
                    "it.\n\n"
                    "  PUT, GET  /pkarr/<key>  signed packets (pkarr), also at /<key>\n"
                    "  GET, POST /dns-query    DNS over HTTPS (RFC 8484), and JSON\n"
                    "  GET       /healthz      for monitors\n");
}

static int serve_healthcheck(km_dns_http_conn *c) {
  return serve_text(c, "text/plain; charset=utf-8", "OK");
}

static int serve_healthz(km_dns_http_conn *c) {
  char body[128];
  const char *version = c->s->config.version;
  km_packet_store_stats stats;
  km_packet_store_get_stats(c->s->store, &stats);
  int len =
      snprintf(body, sizeof body, "{\"status\":\"%s\",\"version\":\"%.64s\",\"git_hash\":\"\"}",
               stats.failing ? "store" : "ok", version == NULL ? "" : version);
  return km_dns_http_reply_send(c,
                                &(km_dns_http_reply){.status = stats.failing ? 503 : 200,
                                                     .type = "application/json",
                                                     .body = body,
                                                     .len = (size_t)len,
                                                     .fields = {{"cache-control:", "no-cache"}}});
}

static int serve_robots(km_dns_http_conn *c) {
  return serve_text(c, "text/plain; charset=utf-8", "User-agent: *\nDisallow: /\n");
}

/* --- routes ---------------------------------------------------------------------------------- */

#define READS (KM_DNS_HTTP_GET | KM_DNS_HTTP_HEAD)

static const struct route {
  const char *path;
  unsigned methods;
  const char *allow;
  int (*serve)(km_dns_http_conn *c);
} routes[] = {
    {"/", READS, "GET, HEAD, OPTIONS", serve_index},
    {"/healthz", READS, "GET, HEAD, OPTIONS", serve_healthz},
    {"/healthcheck", READS, "GET, HEAD, OPTIONS", serve_healthcheck},
    {"/robots.txt", READS, "GET, HEAD, OPTIONS", serve_robots},
    {"/dns-query", READS | KM_DNS_HTTP_POST, "GET, HEAD, POST, OPTIONS", km_dns_http_doh},
};

static const char pkarr_allow[] = "GET, HEAD, PUT, OPTIONS";

static int refuse_method(km_dns_http_conn *c, const char *allow) {
  static const char body[] = "{\"status\":\"405\",\"detail\":\"this path does not take that "
                             "method\"}";
  return km_dns_http_reply_send(c, &(km_dns_http_reply){.status = 405,
                                                        .type = "application/json",
                                                        .body = body,
                                                        .len = sizeof body - 1,
                                                        .fields = {{"allow:", allow}}});
}

/* A browser asks before it does more than GET. */
static int serve_options(km_dns_http_conn *c, const char *allow) {
  return km_dns_http_reply_send(
      c, &(km_dns_http_reply){.status = 204,
                              .fields = {{"allow:", allow},
                                         {"access-control-allow-methods:", allow},
                                         {"access-control-allow-headers:",
                                          "content-type, accept, if-modified-since, if-none-match, "
                                          "if-unmodified-since"},
                                         {"access-control-max-age:", "86400"}}});
}

/* "/pkarr/<key>", and "/<key>" where it can be nothing else. */
static const char *key_in(const char *uri) {
  static const char prefix[] = "/pkarr/";
  if (strncmp(uri, prefix, sizeof prefix - 1) == 0) {
    return uri + sizeof prefix - 1;
  }
  return strlen(uri) == 1 + KM_ID_BASE32_LEN && strchr(uri + 1, '/') == NULL ? uri + 1 : NULL;
}

static int dispatch(km_dns_http_conn *c, const char *uri) {
  const char *key = key_in(uri);
  if (key != NULL) {
    return c->method == KM_DNS_HTTP_OPTIONS               ? serve_options(c, pkarr_allow)
           : (c->method & (READS | KM_DNS_HTTP_PUT)) == 0 ? refuse_method(c, pkarr_allow)
                                                          : km_dns_http_pkarr(c, key);
  }
  for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
    const struct route *r = &routes[i];
    if (strcmp(uri, r->path) == 0) {
      return c->method == KM_DNS_HTTP_OPTIONS ? serve_options(c, r->allow)
             : (c->method & r->methods) == 0  ? refuse_method(c, r->allow)
                                              : r->serve(c);
    }
  }
  return c->method == KM_DNS_HTTP_OPTIONS ? serve_options(c, METHODS_ALL)
                                          : km_dns_http_refuse(c, 404, "there is nothing here");
}

int km_dns_http_request(km_dns_http_conn *c, const char *uri) {
  km_dns_http *s = c->s;
  char path[256];
  size_t len = 0;
  bool given = false;
  s->stats.http_requests++;
  km_dns_http_arm(c);
  c->method = method_of(c->conn.wsi);
  c->last = false;
  c->unread = 0;
  bool known = find_source(c);
  if (!known || !km_lws_has_version(c->conn.wsi)) {
    c->last = true;
    return km_dns_http_refuse(c, 400,
                              known ? "the request's first line names no version"
                                    : "X-Forwarded-For does not end with an address");
  }
  if (!read_length(c, &len, &given) ||
      (len > 0 && (c->method & (KM_DNS_HTTP_PUT | KM_DNS_HTTP_POST)) == 0)) {
    c->last = true;
    return km_dns_http_refuse(c, given ? 400 : 411, "give the body's length with Content-Length");
  }
  c->unread = len <= DISCARD_MAX && !expects_continue(c) ? len : 0;
  c->last = len > 0 && c->unread == 0;
  if (!km_rate_limit_take(s->requests, &c->source, km_dns_http_now(s))) {
    s->stats.http_limited++;
    return km_dns_http_refuse_rate(c, 429, 1, "too many requests from your address");
  }
  if (snprintf(path, sizeof path, "%s", uri) >= (int)sizeof path) {
    return km_dns_http_refuse(c, 414, "no path here is that long");
  }
  return dispatch(c, path); /* lws' own copy goes when a reply is sent */
}
