/* Replies of a status page. */
#include <stdio.h>
#include <string.h>

#include "cmd/node/page/page_impl_io.h"

/* --- bodies ---------------------------------------------------------------------------------- */

page_body *page_body_new(const km_env *env, const void *bytes, size_t len) {
  page_body *body = km_env_alloc(env, sizeof *body + len);
  if (body != NULL) {
    body->refs = 1;
    body->len = len;
    memcpy(body->bytes, bytes, len);
  }
  return body;
}

page_body *page_body_ref(page_body *body) {
  body->refs++;
  return body;
}

void page_body_unref(const km_env *env, page_body *body) {
  if (body != NULL && --body->refs == 0) {
    km_env_free(env, body);
  }
}

/* --- heads ----------------------------------------------------------------------------------- */

typedef struct head {
  struct lws *wsi;
  uint8_t *start, *at, *end;
  bool full;
} head;

static void add(head *h, const char *name, const char *value) {
  h->full = h->full || lws_add_http_header_by_name(h->wsi, (const unsigned char *)name,
                                                   (const unsigned char *)value, (int)strlen(value),
                                                   &h->at, h->end) != 0;
}

static const char nothing[] = "default-src 'none'; base-uri 'none'; form-action 'none'; "
                              "frame-ancestors 'none'";

/* What every reply has: nobody keeps it, frames it, embeds it or guesses another type. */
static void head_begin(head *h, page_conn *c, const page_reply *r) {
  h->wsi = c->conn.wsi;
  h->start = h->at = c->s->out + LWS_PRE;
  h->end = h->start + PAGE_HEAD_MAX;
  h->full = lws_add_http_header_status(h->wsi, r->status, &h->at, h->end) != 0;
  add(h, "content-type:", r->type);
  add(h, "cache-control:", "no-store");
  add(h, "content-security-policy:", r->policy != NULL ? r->policy : nothing);
  add(h, "cross-origin-opener-policy:", "same-origin");
  add(h, "cross-origin-resource-policy:", "same-origin");
  add(h, "referrer-policy:", "no-referrer");
  add(h, "x-content-type-options:", "nosniff");
  add(h, "x-frame-options:", "DENY");
  if (c->last) {
    add(h, "connection:", "close");
  }
}

static bool head_end(head *h) {
  h->full = h->full || lws_finalize_http_header(h->wsi, &h->at, h->end) != 0;
  return !h->full;
}

static int head_write(head *h) {
  return lws_write(h->wsi, h->start, (size_t)(h->at - h->start), LWS_WRITE_HTTP_HEADERS) < 0 ? -1
                                                                                             : 0;
}

/* --- replies --------------------------------------------------------------------------------- */

static int finish(page_conn *c) {
  page_body_unref(c->s->env, c->body);
  c->body = NULL;
  c->state = PAGE_CONN_IDLE;
  page_conn_arm(c);
  return c->last || lws_http_transaction_completed(c->conn.wsi) != 0 ? -1 : 0;
}

/* The first chunk goes out with the head: often that is all. */
static int begin(page_conn *c, head *h, page_body *body) {
  size_t len = c->head ? 0 : body->len < PAGE_CHUNK ? body->len : PAGE_CHUNK;
  memcpy(h->at, body->bytes, len);
  h->at += len;
  page_conn_arm(c);
  c->body = body;
  c->sent = len;
  if (head_write(h) != 0) {
    return -1;
  }
  if (c->head || c->sent == body->len) {
    return finish(c);
  }
  c->state = PAGE_CONN_SENDING;
  return lws_callback_on_writable(c->conn.wsi) < 0 ? -1 : 0;
}

int page_reply_send(page_conn *c, const page_reply *r) {
  head h;
  if (r->body == NULL) {
    return -1;
  }
  head_begin(&h, c, r);
  for (const page_field *f = r->fields; f->name != NULL; f++) {
    add(&h, f->name, f->value);
  }
  h.full =
      h.full || lws_add_http_header_content_length(c->conn.wsi, r->body->len, &h.at, h.end) != 0;
  if (!head_end(&h)) {
    page_body_unref(c->s->env, r->body);
    return -1;
  }
  return begin(c, &h, r->body);
}

int page_refuse(page_conn *c, unsigned status, const char *why) {
  char text[400];
  c->s->counts.refused++;
  /* Sentences of ours alone: there is nothing in them to escape. */
  int len = snprintf(text, sizeof text, "{\"ok\":false,\"error\":\"%s\"}\n", why);
  page_reply r = {.status = status, .type = "application/json"};
  if (status == 405) {
    r.fields[0] = (page_field){"allow:", "GET, HEAD"};
  } else if (status == 429 || status == 503) {
    r.fields[0] = (page_field){"retry-after:", "5"};
  } else if (status == 401) {
    r.fields[0] = (page_field){"www-authenticate:", "Bearer realm=\"km-node\""};
  }
  r.body = page_body_new(c->s->env, text, (size_t)len);
  return page_reply_send(c, &r);
}

int page_reply_stream(page_conn *c) {
  head h;
  c->last = true;
  head_begin(&h, c, &(page_reply){.status = 200, .type = "text/event-stream"});
  if (!head_end(&h) || head_write(&h) != 0) {
    return -1;
  }
  return c->head ? finish(c) : 0;
}

/* A chunk at a time: lws keeps what the socket does not take, and asks for more when it is gone. */
int page_reply_go_on(page_conn *c) {
  size_t left = c->body->len - c->sent;
  size_t len = left < PAGE_CHUNK ? left : PAGE_CHUNK;
  uint8_t *start = c->s->out + LWS_PRE;
  memcpy(start, c->body->bytes + c->sent, len);
  c->sent += len;
  if (lws_write(c->conn.wsi, start, len, len == left ? LWS_WRITE_HTTP_FINAL : LWS_WRITE_HTTP) < 0) {
    return -1;
  }
  page_conn_arm(c);
  if (c->sent < c->body->len) {
    return lws_callback_on_writable(c->conn.wsi) < 0 ? -1 : 0;
  }
  return finish(c);
}
