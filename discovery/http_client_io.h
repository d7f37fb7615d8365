/* HTTP/1.1 requests to discovery servers, over libwebsockets: a few at a time, with limits. TLS is
 * version 1.3 (relay/trust_io.h), and the certificate must be for the url's host. A connection a
 * request; redirects are answers like others; proxies are those of the environment. */
#ifndef KM_DISCOVERY_HTTP_CLIENT_IO_H
#define KM_DISCOVERY_HTTP_CLIENT_IO_H

#include <keymesh/error.h>

#include "base/io/loop_io.h"

#define KM_HTTP_IN_FLIGHT 64 /* requests at once */
#define KM_HTTP_WAITING 1024 /* that wait for their turn, their time running */

/* A client: its TLS context and its connections. */
typedef struct km_http_client km_http_client;

typedef struct km_http_client_config {
  const km_env *env; /* outlives it */
  km_loop *loop;
  const char *ca_file;    /* NULL: the system's authorities */
  const char *user_agent; /* static */
} km_http_client_config;

/* 0, KM_ERR_SERVER_TLS, KM_ERR_FILE_NOT_FOUND, KM_ERR_SYSTEM, KM_ERR_NOMEM */
KM_NODISCARD int km_http_client_new(km_http_client **ret, const km_http_client_config *config,
                                    km_errinfo *err);
/* Requests under way end without a callback. Not from inside a callback. NULL does nothing. */
void km_http_client_free(km_http_client *c);

typedef enum km_http_method { KM_HTTP_GET, KM_HTTP_PUT, KM_HTTP_POST } km_http_method;

typedef struct km_http_request_config {
  km_http_method method;
  const char *url;          /* http or https; copied */
  const char *content_type; /* of the body; NULL: none */
  const char *accept;       /* NULL: none */
  const void *body;         /* copied */
  size_t body_len;
  size_t max_answer; /* bytes of the answer's body; more is an error */
  km_ts timeout_ns;  /* for all of it */
} km_http_request_config;

typedef struct km_http_answer {
  int status;          /* 200, ...; 0: there is none, see the error */
  const uint8_t *body; /* of a status from 200 to 299 only */
  size_t len;
  uint32_t retry_after_s; /* of the header; 0: none */
} km_http_answer;

typedef struct km_http_request km_http_request;

/* Runs once, from the loop; the request is freed when it returns. `err`: why there is no answer
 * (KM_ERR_SERVER_UNREACHABLE, _SERVER_TLS, _SERVER_HTTP, KM_ERR_TIMEOUT, KM_ERR_LIMIT); its code is
 * 0 when there is one. */
typedef void (*km_http_fn)(void *ctx, const km_http_answer *answer, const km_errinfo *err);

/* 0, KM_ERR_INVALID (the url), KM_ERR_LIMIT (too many wait), KM_ERR_UNSUPPORTED (the proxy that the
 * environment asks for), KM_ERR_SYSTEM, KM_ERR_NOMEM */
KM_NODISCARD int km_http_request_new(km_http_request **ret, km_http_client *client,
                                     const km_http_request_config *config, km_http_fn fn, void *ctx,
                                     km_errinfo *err);
/* No callback any more. At any time, inside of callbacks too. NULL does nothing. */
void km_http_request_cancel(km_http_request *r);

#endif /* KM_DISCOVERY_HTTP_CLIENT_IO_H */
