/* What a request to the status page has to pass, and where it goes. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/io/metrics_page_io.h"
#include "cmd/node/page/page_impl_io.h"

#define PATH_MAX_BYTES 256
#define FETCH_CAP 32
#define TOKEN_MAX 600 /* bytes of what is compared; the field has "Bearer " before it */

static const char *header(const page_conn *c, enum lws_token_indexes token, char *buf, size_t cap) {
  return lws_hdr_total_length(c->conn.wsi, token) > 0 &&
                 lws_hdr_copy(c->conn.wsi, buf, (int)cap, token) > 0
             ? buf
             : NULL;
}

static bool has(const page_conn *c, enum lws_token_indexes token) {
  return lws_hdr_total_length(c->conn.wsi, token) > 0;
}

/* --- where it comes from --------------------------------------------------------------------- */

/* What browsers say of themselves; a field that is not there says nothing: "". */
static const char *fetch_field(const page_conn *c, const char *name, char buf[FETCH_CAP]) {
  int len = (int)strlen(name);
  if (lws_hdr_custom_length(c->conn.wsi, name, len) <= 0) {
    return "";
  }
  /* None that there is is longer. */
  return lws_hdr_custom_copy(c->conn.wsi, buf, FETCH_CAP, name, len) < 0 ? "unknown" : buf;
}

static bool from_elsewhere(const page_conn *c) {
  char buf[FETCH_CAP];
  const char *site = fetch_field(c, "sec-fetch-site:", buf);
  return *site != '\0' && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0;
}

/* Of the whole window, not of an image or a script. */
static bool is_navigation(const page_conn *c) {
  char buf[FETCH_CAP];
  return strcmp(fetch_field(c, "sec-fetch-mode:", buf), "navigate") == 0;
}

/* 0, or the status to refuse it with. */
static unsigned judge_source(page_conn *c, const char *path, const char **why) {
  char origin[PAGE_HOST_MAX];
  *c->host = '\0';
  if (header(c, WSI_TOKEN_HOST, c->host, sizeof c->host) == NULL ||
      !page_host_is_ours(c->host, &c->local, c->s->host)) {
    *why = "this page is not served under that name: use localhost or its IP address, and the "
           "port that km-node listens on";
    return 421;
  }
  *why = "only the page of this very node may ask for that";
  if (has(c, WSI_TOKEN_ORIGIN) && (header(c, WSI_TOKEN_ORIGIN, origin, sizeof origin) == NULL ||
                                   !page_origin_is(origin, c->host))) {
    return 403;
  }
  /* A link on some other page may lead to ours; nothing else of it may ask for anything. */
  c->elsewhere = from_elsewhere(c);
  return c->elsewhere && (strcmp(path, "/") != 0 || !is_navigation(c)) ? 403 : 0;
}

static bool has_body(const page_conn *c) {
  char text[4];
  return has(c, WSI_TOKEN_HTTP_TRANSFER_ENCODING) ||
         (has(c, WSI_TOKEN_HTTP_CONTENT_LENGTH) &&
          (header(c, WSI_TOKEN_HTTP_CONTENT_LENGTH, text, sizeof text) == NULL ||
           strcmp(text, "0") != 0));
}

/* A request has no body: two readers that disagree about where it ends are a hole (RFC 9112
 * section 11.2), so the connection ends after one that might. */
static unsigned judge_form(page_conn *c, const char *path, const char **why) {
  c->head = has(c, WSI_TOKEN_HEAD_URI);
  c->last = has_body(c);
  if (!km_lws_has_version(c->conn.wsi)) {
    *why = "the first line of the request names no version of HTTP";
    return 400;
  }
  if (!c->head && !has(c, WSI_TOKEN_GET_URI)) {
    *why = "this page is read-only: GET and HEAD only";
    return 405;
  }
  if (c->last) {
    *why = "a request here has no body";
    return 400;
  }
  *why = "no path here is that long";
  return strlen(path) >= PATH_MAX_BYTES ? 414 : 0;
}

/* --- the token ------------------------------------------------------------------------------- */

typedef enum entry { ENTRY_OPEN, ENTRY_COOKIE_WANTED, ENTRY_WRONG, ENTRY_TOO_OFTEN } entry;

static bool has_cookie(page_conn *c) {
  char value[PAGE_COOKIE_CAP + 1];
  size_t len = sizeof value;
  return lws_http_cookie_get(c->conn.wsi, c->s->cookie_name, value, &len) == 0 &&
         page_cookie_is(&c->s->token, value);
}

static entry judge_token(page_conn *c, const char *token, entry right) {
  status_page *s = c->s;
  if (!page_guesses_may(&s->guesses, &c->conn.remote, page_now(s))) {
    return ENTRY_TOO_OFTEN;
  }
  if (page_token_is(&s->token, token)) {
    return right;
  }
  page_guesses_wrong(&s->guesses, &c->conn.remote, page_now(s));
  return ENTRY_WRONG;
}

static entry judge_entry(page_conn *c) {
  static const char scheme[] = "bearer ";
  char text[TOKEN_MAX];
  if (!c->s->has_token) {
    return ENTRY_OPEN;
  }
  /* Other pages may not use up what a person here may try. */
  if (!c->elsewhere && lws_get_urlarg_by_name_safe(c->conn.wsi, "token=", text, sizeof text) >= 0) {
    return judge_token(c, text, ENTRY_COOKIE_WANTED);
  }
  if (has_cookie(c)) {
    return ENTRY_OPEN;
  }
  if (header(c, WSI_TOKEN_HTTP_AUTHORIZATION, text, sizeof text) == NULL) {
    return ENTRY_WRONG;
  }
  return strncasecmp(text, scheme, sizeof scheme - 1) == 0
             ? judge_token(c, text + sizeof scheme - 1, ENTRY_OPEN)
             : ENTRY_WRONG;
}

/* The token goes from the address bar into a cookie that no script can read. */
static int give_cookie(page_conn *c, const char *path) {
  char cookie[200];
  status_page *s = c->s;
  (void)snprintf(cookie, sizeof cookie, "%s=%s; Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict",
                 s->cookie_name, s->token.cookie);
  return page_reply_send(c,
                         &(page_reply){.status = 303,
                                       .type = "text/plain",
                                       .body = page_body_new(s->env, "", 0),
                                       .fields = {{"location:", path}, {"set-cookie:", cookie}}});
}

/* --- what is asked for ----------------------------------------------------------------------- */

static int serve_document(page_conn *c, unsigned status, const page_document *d) {
  return page_reply_send(c, &(page_reply){.status = status,
                                          .type = "text/html; charset=utf-8",
                                          .policy = d->policy,
                                          .body = page_body_ref(d->body)});
}

static int serve_page(page_conn *c) {
  return serve_document(c, 200, &c->s->page);
}

static int serve_json(page_conn *c, cJSON *json) {
  char *text = json == NULL ? NULL : cJSON_PrintUnformatted(json);
  cJSON_Delete(json);
  if (text == NULL) {
    return page_refuse(c, 503, "out of memory");
  }
  page_body *body = page_body_new(c->s->env, text, strlen(text));
  cJSON_free(text);
  return page_reply_send(c, &(page_reply){.status = 200, .type = "application/json", .body = body});
}

static int serve_health(page_conn *c) {
  return serve_json(c, report_health(c->s->node));
}

static int serve_peers(page_conn *c) {
  return serve_json(c, report_peers(c->s->node));
}

static int serve_shares(page_conn *c) {
  return serve_json(c, report_shares(c->s->node));
}

static int serve_metrics(page_conn *c) {
  status_page *s = c->s;
  km_process_stats process;
  km_process_stats_read(&process);
  s->counts.connections = s->conns.count;
  char *text = page_metrics(s->env, s->node, &s->counts, &process);
  if (text == NULL) {
    return page_refuse(c, 503, "out of memory");
  }
  page_body *body = page_body_new(s->env, text, strlen(text));
  km_env_free(s->env, text);
  return page_reply_send(c, &(page_reply){.status = 200, .type = KM_METRICS_TYPE, .body = body});
}

static const struct route {
  const char *path;
  int (*serve)(page_conn *c);
} routes[] = {
    {"/", serve_page},         {"/health", serve_health},   {"/peers", serve_peers},
    {"/shares", serve_shares}, {"/metrics", serve_metrics}, {"/events", page_watch},
};

static const struct route *find_route(const char *path) {
  for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
    if (strcmp(path, routes[i].path) == 0) {
      return &routes[i];
    }
  }
  return NULL;
}

static int enter(page_conn *c, const char *path) {
  const struct route *route = find_route(path);
  switch (judge_entry(c)) {
  case ENTRY_TOO_OFTEN:
    return page_refuse(c, 429, "too many wrong tokens: wait a little");
  case ENTRY_WRONG:
    if (route != NULL && route->serve == serve_page) {
      c->s->counts.refused++;
      return serve_document(c, 401, &c->s->login);
    }
    return page_refuse(c, 401, "give the token: Authorization: Bearer TOKEN");
  case ENTRY_COOKIE_WANTED:
    if (route != NULL) {
      return give_cookie(c, route->path);
    }
    break;
  case ENTRY_OPEN:
    break;
  }
  return route != NULL
             ? route->serve(c)
             : page_refuse(c, 404, "not found: see /, /health, /peers, /shares, /metrics");
}

int page_request(page_conn *c, const char *uri) {
  const char *why = NULL;
  char path[PATH_MAX_BYTES];
  c->s->counts.requests++;
  unsigned status = judge_form(c, uri, &why);
  status = status != 0 ? status : judge_source(c, uri, &why);
  if (status != 0) {
    c->last = true;
    return page_refuse(c, status, why);
  }
  memcpy(path, uri, strlen(uri) + 1); /* lws' own copy goes when a reply is sent */
  return enter(c, path);
}
