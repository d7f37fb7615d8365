/* Replies of a discovery server. */
#include <stdio.h>
#include <string.h>

#include "discovery/server/http_date.h"
#include "discovery/server/http_impl.h"

typedef struct head {
  struct lws *wsi;
  uint8_t *at, *end;
  bool full;
} head;

static void add(head *h, const char *name, const char *value) {
  h->full = h->full || lws_add_http_header_by_name(h->wsi, (const unsigned char *)name,
                                                   (const unsigned char *)value, (int)strlen(value),
                                                   &h->at, h->end) != 0;
}

static void write_head(head *h, const km_dns_http_conn *c, const km_dns_http_reply *r) {
  char date[KM_HTTP_DATE_CAP];
  h->full = lws_add_http_header_status(h->wsi, r->status, &h->at, h->end) != 0;
  if (km_http_date_write(date, km_clock_wall().unix_ns / (int64_t)KM_NS_PER_S)) {
    add(h, "date:", date);
  }
  add(h, "access-control-allow-origin:", "*");
  add(h, "x-content-type-options:", "nosniff");
  if (r->type != NULL) {
    add(h, "content-type:", r->type);
  }
  for (const km_dns_http_field *f = r->fields; f->name != NULL; f++) {
    if (f->value != NULL) {
      add(h, f->name, f->value);
    }
  }
  if (c->last) {
    add(h, "connection:", "close");
  }
  if (r->status != 204 && r->status != 304) {
    h->full = h->full || lws_add_http_header_content_length(h->wsi, r->len, &h->at, h->end) != 0;
  }
  h->full = h->full || lws_finalize_http_header(h->wsi, &h->at, h->end) != 0;
}

static void forget_request(km_dns_http_conn *c) {
  km_env_free(c->s->config.env, c->body);
  c->body = NULL;
  c->body_len = c->body_cap = 0;
  c->on_body = NULL;
  c->state = KM_DNS_HTTP_IDLE;
}

/* Head and body in one write: lws keeps for later what the socket does not take of it. */
int km_dns_http_reply_send(km_dns_http_conn *c, const km_dns_http_reply *r) {
  km_dns_http *s = c->s;
  uint8_t *start = s->out + LWS_PRE;
  head h = {c->conn.wsi, start, start + KM_DNS_HTTP_HEAD_MAX, false};
  c->last |= s->stopping || c->unread > 0;
  s->stats.http_bad += r->status >= 400 && r->status != 404 && r->status != 429;
  write_head(&h, c, r);
  forget_request(c);
  if (h.full || r->len > KM_DNS_HTTP_BODY_MAX) {
    return -1;
  }
  if (r->len > 0 && c->method != KM_DNS_HTTP_HEAD) {
    memcpy(h.at, r->body, r->len);
    h.at += r->len;
  }
  if (lws_write(c->conn.wsi, start, (size_t)(h.at - start), LWS_WRITE_HTTP_HEADERS) < 0) {
    return -1;
  }
  km_dns_http_arm(c);
  if (c->unread > 0) {
    c->state = KM_DNS_HTTP_DISCARDING;
    return 0;
  }
  return c->last || lws_http_transaction_completed(c->conn.wsi) != 0 ? -1 : 0;
}

/* Sentences of ours alone: nothing in them needs escapes but what may stand in a name. */
static size_t write_refusal(char *ret, size_t cap, unsigned status, const char *detail) {
  char plain[200];
  size_t len = 0;
  for (; detail[len] != '\0' && len < sizeof plain - 1; len++) {
    char c = detail[len];
    plain[len] = c == '"' || c == '\\' || (uint8_t)c < 0x20 ? '\'' : c;
  }
  plain[len] = '\0';
  int n = snprintf(ret, cap, "{\"status\":\"%u\",\"detail\":\"%s\"}", status, plain);
  return n < 0 || (size_t)n >= cap ? 0 : (size_t)n;
}

int km_dns_http_refuse(km_dns_http_conn *c, unsigned status, const char *detail) {
  return km_dns_http_refuse_rate(c, status, 0, detail);
}

int km_dns_http_refuse_rate(km_dns_http_conn *c, unsigned status, uint32_t retry_after_s,
                            const char *detail) {
  char body[300], seconds[16];
  km_dns_http_reply r = {.status = status, .type = "application/json", .body = body};
  r.len = write_refusal(body, sizeof body, status, detail);
  if (retry_after_s > 0) {
    (void)snprintf(seconds, sizeof seconds, "%u", retry_after_s);
    r.fields[0] = (km_dns_http_field){"retry-after:", seconds};
  }
  return km_dns_http_reply_send(c, &r);
}

int km_dns_http_go_on(km_dns_http_conn *c) {
  static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";
  uint8_t *start = c->s->out + LWS_PRE;
  memcpy(start, line, sizeof line - 1);
  return lws_write(c->conn.wsi, start, sizeof line - 1, LWS_WRITE_HTTP_HEADERS) < 0 ? -1 : 0;
}
