/* What the relay server answers over HTTP, and which upgrades it takes. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/env.h"
#include "relay/server_impl.h"

#define HEADERS_MAX 2048
#define PROTOCOLS_MAX 120 /* bytes of a list of them; lws has room for no more */
#define CHALLENGE_MAX 63  /* as iroh-relay/src/server.rs */

static const char page[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Relay</title></head>\n"
    "<body><h1>This is a relay</h1>\n<p>It passes encrypted packets on between endpoints that are "
    "known by their keys.\nIt cannot read them. The protocol is that of "
    "<a href=\"https://www.iroh.computer/\">iroh</a>; the software is KeyMesh's "
    "<code>km-relay</code>.</p></body></html>\n";
static const char robots[] = "User-agent: *\nDisallow: /\n";

typedef struct answer {
  unsigned status;
  const char *type; /* NULL: no body */
  const char *body;
  const char *name, *value; /* one more header; NULL: none */
} answer;

static bool add(struct lws *wsi, const char *name, const char *value, uint8_t **at, uint8_t *end) {
  return lws_add_http_header_by_name(wsi, (const unsigned char *)name, (const unsigned char *)value,
                                     (int)strlen(value), at, end) == 0;
}

/* Head and body in one write. The connection may serve another request then. */
static int reply(km_server_conn *c, const answer *a) {
  uint8_t buf[LWS_PRE + HEADERS_MAX + sizeof page];
  uint8_t *at = buf + LWS_PRE, *end = buf + LWS_PRE + HEADERS_MAX;
  size_t len = a->body == NULL ? 0 : strlen(a->body);
  struct lws *wsi = c->conn.wsi;
  c->s->stats.http_requests++;
  bool whole =
      lws_add_http_header_status(wsi, a->status, &at, end) == 0 &&
      add(wsi, "strict-transport-security:", "max-age=63072000; includeSubDomains", &at, end) &&
      add(wsi, "content-security-policy:",
          "default-src 'none'; frame-ancestors 'none'; form-action 'none'; base-uri 'self'", &at,
          end) &&
      (a->type == NULL || add(wsi, "content-type:", a->type, &at, end)) &&
      (a->name == NULL || add(wsi, a->name, a->value, &at, end)) &&
      lws_add_http_header_content_length(wsi, len, &at, end) == 0 &&
      lws_finalize_http_header(wsi, &at, end) == 0;
  if (!whole) {
    return -1;
  }
  if (len > 0) {
    memcpy(at, a->body, len);
    at += len;
  }
  if (lws_write(wsi, buf + LWS_PRE, (size_t)(at - (buf + LWS_PRE)), LWS_WRITE_HTTP_HEADERS) < 0) {
    return -1;
  }
  return 0;
}

/* --- pages ----------------------------------------------------------------------------------- */

static bool is_challenge(const char *text) {
  size_t len = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_");
  return len > 0 && len <= CHALLENGE_MAX && text[len] == '\0';
}

static int reply_generate_204(km_server_conn *c) {
  static const char name[] = "x-iroh-challenge:";
  char challenge[CHALLENGE_MAX + 2] = "", response[sizeof challenge + 16];
  int n = lws_hdr_custom_copy(c->conn.wsi, challenge, sizeof challenge, name, (int)sizeof name - 1);
  answer a = {.status = 204};
  if (n > 0 && is_challenge(challenge)) {
    (void)snprintf(response, sizeof response, "response %s", challenge);
    a.name = "x-iroh-response:";
    a.value = response;
  }
  return reply(c, &a);
}

/* A plain listener beside TLS is there for captive portals alone. */
static bool serves_all(const km_server_conn *c) {
  return lws_is_ssl(c->conn.wsi) || c->s->config.relay_over_http;
}

static int reply_page(km_server_conn *c, const char *uri) {
  static const answer pages[] = {
      {200, "text/html; charset=utf-8", page, NULL, NULL},
      {200, "text/plain", "", "access-control-allow-origin:", "*"},
      {200, "text/plain", robots, NULL, NULL},
  };
  static const struct {
    const char *uri;
    int page;
  } table[] = {{"/", 0}, {"/index.html", 0}, {"/ping", 1}, {"/robots.txt", 2}};
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    if (strcmp(uri, table[i].uri) == 0) {
      return reply(c, &pages[table[i].page]);
    }
  }
  if (strcmp(uri, "/healthz") == 0) {
    char body[128];
    (void)snprintf(body, sizeof body, "{\"status\":\"ok\",\"version\":\"%s\",\"git_hash\":\"\"}",
                   c->s->config.version);
    return reply(c, &(answer){200, "application/json", body, NULL, NULL});
  }
  if (strcmp(uri, "/relay") == 0) {
    c->s->stats.bad_upgrades++;
    return reply(c, &(answer){400, "text/plain", "a WebSocket upgrade was expected\n", NULL, NULL});
  }
  return reply(c, &(answer){404, "text/plain", "Not Found", NULL, NULL});
}

int km_server_http(km_server_conn *c, const char *uri) {
  int rv;
  if (lws_hdr_total_length(c->conn.wsi, WSI_TOKEN_GET_URI) == 0) {
    (void)reply(c, &(answer){404, NULL, NULL, NULL, NULL}); /* what else it sends is not wanted */
    return -1;
  }
  if (strcmp(uri, "/generate_204") == 0) {
    rv = reply_generate_204(c);
  } else if (serves_all(c)) {
    rv = reply_page(c, uri);
  } else {
    rv = reply(c, &(answer){404, "text/plain", "Not Found", NULL, NULL});
  }
  return rv != 0 || lws_http_transaction_completed(c->conn.wsi) != 0 ? -1 : 0;
}

/* --- upgrades -------------------------------------------------------------------------------- */

static int refuse(km_server_conn *c, const char *why, const char *name, const char *value) {
  c->s->stats.bad_upgrades++;
  return reply(c, &(answer){400, "text/plain", why, name, value}) == 0 ? 1 : -1;
}

/* The word of a comma-separated list that starts at `*at`, which moves behind it. 0: no more. */
static size_t next_word(const char **at, const char **ret) {
  *ret = *at += strspn(*at, ", \t");
  size_t len = strcspn(*at, ", \t");
  *at += len;
  return len;
}

static bool has_word(const char *list, const char *word,
                     int (*compare)(const char *, const char *, size_t)) {
  const char *found;
  for (size_t len; (len = next_word(&list, &found)) > 0;) {
    if (len == strlen(word) && compare(found, word, len) == 0) {
      return true;
    }
  }
  return false;
}

/* The highest version that is offered; 0: none, or the list is none that lws can read. */
static km_relay_version choose_version(struct lws *wsi) {
  char list[PROTOCOLS_MAX];
  if (lws_hdr_copy(wsi, list, sizeof list, WSI_TOKEN_PROTOCOL) <= 0 ||
      list[strspn(list, ", \t-._abcdefghijklmnopqrstuvwxyz"
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")] != '\0') {
    return 0;
  }
  return has_word(list, KM_RELAY_PROTOCOL_V2, strncmp)   ? KM_RELAY_V2
         : has_word(list, KM_RELAY_PROTOCOL_V1, strncmp) ? KM_RELAY_V1
                                                         : 0;
}

/* lws takes the first version of the client's list that it knows, and has written it into the end
 * of the response by now. */
int km_server_fix_version(km_server_conn *c, const struct lws_process_html_args *response) {
  static const char v1[] = KM_RELAY_PROTOCOL_V1 "\r\n", v2[] = KM_RELAY_PROTOCOL_V2 "\r\n";
  _Static_assert(sizeof v1 == sizeof v2, "one is written over the other");
  size_t len = sizeof v1 - 1;
  if (c->version != KM_RELAY_V2 || memcmp(response->p - len, v2, len) == 0) {
    return 0;
  }
  if (memcmp(response->p - len, v1, len) != 0) {
    return -1;
  }
  memcpy(response->p - len, v2, len);
  return 0;
}

static bool wants_upgrade(struct lws *wsi) {
  char connection[PROTOCOLS_MAX];
  return lws_hdr_copy(wsi, connection, sizeof connection, WSI_TOKEN_CONNECTION) > 0 &&
         has_word(connection, "upgrade", strncasecmp);
}

int km_server_check_upgrade(km_server_conn *c, const char *to) {
  char uri[64], version[8] = "";
  if (lws_hdr_total_length(c->conn.wsi, WSI_TOKEN_GET_URI) == 0) {
    c->s->stats.bad_upgrades++; /* another method, or to what lws has refused already */
    return -1;
  }
  if (lws_hdr_copy(c->conn.wsi, uri, sizeof uri, WSI_TOKEN_GET_URI) <= 0 ||
      strcmp(uri, "/relay") != 0 || !serves_all(c)) {
    return refuse(c, "there is nothing to upgrade here\n", NULL, NULL);
  }
  if (strcmp(to, "websocket") != 0) {
    return refuse(c, "only an upgrade to websocket is known\n", NULL, NULL);
  }
  if (lws_hdr_total_length(c->conn.wsi, WSI_TOKEN_HOST) == 0) {
    return refuse(c, "the Host header is missing\n", NULL, NULL);
  }
  if (!wants_upgrade(c->conn.wsi)) {
    return refuse(c, "the Connection header does not say upgrade\n", NULL, NULL);
  }
  if (lws_hdr_copy(c->conn.wsi, version, sizeof version, WSI_TOKEN_VERSION) <= 0 ||
      strcmp(version, "13") != 0) {
    return refuse(c, "the WebSocket version has to be 13\n", "sec-websocket-version:", "13");
  }
  if (lws_hdr_total_length(c->conn.wsi, WSI_TOKEN_KEY) != 24) {
    return refuse(c, "the Sec-WebSocket-Key is missing or not 16 bytes\n", NULL, NULL);
  }
  km_relay_version version_offered = choose_version(c->conn.wsi);
  if (version_offered == 0) {
    return refuse(c,
                  "the Sec-WebSocket-Protocol has to be " KM_RELAY_PROTOCOL_V2
                  " or " KM_RELAY_PROTOCOL_V1 "\n",
                  NULL, NULL);
  }
  c->version = version_offered;
  return 0;
}

/* --- the login ------------------------------------------------------------------------------- */

static bool keep_token(km_server_conn *c, const char *text) {
  c->token = km_env_strdup(c->s->config.env, text);
  return c->token != NULL;
}

static bool read_token(km_server_conn *c) {
  char text[1024];
  int n = lws_hdr_copy(c->conn.wsi, text, sizeof text, WSI_TOKEN_HTTP_AUTHORIZATION);
  if (n > 7 && strncasecmp(text, "bearer ", 7) == 0) {
    return keep_token(c, text + 7);
  }
  n = lws_get_urlarg_by_name_safe(c->conn.wsi, "token=", text, sizeof text);
  return n <= 0 ? n > -2 : keep_token(c, text);
}

/* A header that proves nothing (TLS ends at a proxy, say) leads to a challenge; one that is none
 * to the end. */
static bool read_header(km_server_conn *c) {
  static const char name[] = KM_RELAY_AUTH_HEADER ":";
  char text[KM_RELAY_AUTH_HEADER_LEN + 2];
  uint8_t exported[KM_RELAY_EXPORTED_LEN];
  km_relay_auth_header header;
  int len = lws_hdr_custom_length(c->conn.wsi, name, (int)sizeof name - 1);
  if (len <= 0) {
    return true;
  }
  if (lws_hdr_custom_copy(c->conn.wsi, text, sizeof text, name, (int)sizeof name - 1) != len ||
      km_relay_auth_header_read(&header, text, (size_t)len) != 0) {
    return false;
  }
  if (km_server_tls_export(c->conn.wsi, &header.id, exported) &&
      km_relay_auth_header_verify(&header, exported)) {
    c->header_proven = true;
    c->proven = header.id;
  }
  return true;
}

bool km_server_read_login(km_server_conn *c) {
  bool good = read_header(c) && read_token(c);
  km_server_tls_export_done(c->conn.wsi);
  if (!good) {
    c->s->stats.bad_upgrades++;
  }
  return good;
}
