/* DNS over HTTPS (RFC 8484), and its JSON form. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "discovery/server/doh.h"
#include "discovery/server/http_impl.h"

static int reply_answer(km_dns_http_conn *c, km_doh_form form, size_t len, uint32_t ttl) {
  km_dns_http *s = c->s;
  char cache[32];
  (void)snprintf(cache, sizeof cache, "max-age=%u", ttl);
  km_dns_http_reply r = {.status = 200,
                         .type = "application/dns-message",
                         .body = s->answer,
                         .len = len,
                         .fields = {{"cache-control:", cache}, {"vary:", "accept"}}};
  if (form == KM_DOH_JSON) {
    int n = km_doh_json(s->page, sizeof s->page, s->answer, len);
    if (n < 0) {
      return km_dns_http_refuse(c, 500, "the answer does not fit into JSON");
    }
    s->stats.doh_json++;
    r.type = "application/dns-json";
    r.body = s->page;
    r.len = (size_t)n;
  }
  return km_dns_http_reply_send(c, &r);
}

static int answer(km_dns_http_conn *c, const uint8_t *query, size_t len, km_doh_form form) {
  uint32_t ttl = 0;
  size_t n = km_zone_answer(c->s->zone, query, len, KM_ZONE_HTTPS, c->s->answer, &ttl);
  return n == 0 ? km_dns_http_refuse(c, 400, "this is no DNS query")
                : reply_answer(c, form, n, ttl);
}

/* What lws calls a fragment of these is one of them, decoded. */
static int read_params(const km_dns_http_conn *c, km_doh_request *r, km_errinfo *err) {
  char param[4096]; /* no longer than lws' room for a whole head */
  for (int i = 0;; i++) {
    int len = lws_hdr_copy_fragment(c->conn.wsi, param, sizeof param, WSI_TOKEN_HTTP_URI_ARGS, i);
    int rv = len < 0 ? 0 : km_doh_param(r, param, (size_t)len, err);
    if (len < 0 || rv != 0) {
      return rv;
    }
  }
}

static int on_query(km_dns_http_conn *c) {
  uint8_t query[KM_DOH_QUERY_MAX];
  size_t len = c->body_len;
  memcpy(query, c->body, len);
  return answer(c, query, len, (km_doh_form)c->doh_form);
}

static bool is_message(const char *type) {
  static const char message[] = "application/dns-message";
  size_t len = strcspn(type, "; \t");
  return len == sizeof message - 1 && strncasecmp(type, message, len) == 0;
}

int km_dns_http_doh(km_dns_http_conn *c) {
  km_doh_request r;
  km_errinfo err = {0};
  char accept[512], type[128];
  bool post = c->method == KM_DNS_HTTP_POST;
  km_doh_begin(&r);
  int rv = read_params(c, &r, &err);
  if (rv != 0) {
    return km_dns_http_refuse(c, rv == KM_ERR_LIMIT ? 413 : 400, err.text);
  }
  if (!km_doh_accept(&r, km_dns_http_header(c, WSI_TOKEN_HTTP_ACCEPT, accept, sizeof accept))) {
    return km_dns_http_refuse(c, 406, "application/dns-message or application/dns-json it is");
  }
  if (post) {
    c->s->stats.doh_post++;
    if (km_dns_http_header(c, WSI_TOKEN_HTTP_CONTENT_TYPE, type, sizeof type) != NULL &&
        !is_message(type)) {
      return km_dns_http_refuse(c, 415, "the body has to be application/dns-message");
    }
    c->doh_form = (uint8_t)(r.form == KM_DOH_DEFAULT ? KM_DOH_MESSAGE : r.form);
    return km_dns_http_expect(c, KM_DOH_QUERY_MAX, on_query);
  }
  c->s->stats.doh_get++;
  if (km_doh_finish(&r, &err) != 0) {
    return km_dns_http_refuse(c, 400, err.text);
  }
  return answer(c, r.query, r.len, r.form);
}
