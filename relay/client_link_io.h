/* One HTTP connection to a relay on libwebsockets, over a socket that is connected already: TLS,
 * the request, then WebSocket messages (a client) or the status alone (a probe). And what all
 * connections of an endpoint share. Included by relay/client*_io.c and relay/probe_io.c only. */
#ifndef KM_RELAY_CLIENT_LINK_IO_H
#define KM_RELAY_CLIENT_LINK_IO_H

#include "base/io/lws_io.h"
#include "relay/client.h"
#include "relay/connect_proxy.h"
#include "relay/url.h"

struct WOLFSSL_CTX;
typedef struct km_relay_link km_relay_link;

struct km_relay_clients {
  const km_env *env;
  km_loop *loop;
  const km_secret_key *key;
  km_id id;
  char *user_agent;
  struct WOLFSSL_CTX *tls;
  km_lws *lws;
  km_relay_link *links; /* all that lws knows of */
  unsigned inside;      /* callbacks of lws */
  uint8_t *tx;          /* a message being written, with LWS_PRE bytes before it */
};

/* The proxy that the environment asks for. 0 or KM_ERR_UNSUPPORTED. */
KM_NODISCARD int km_relay_clients_proxy(km_relay_proxy *ret, const km_relay_url *url,
                                        km_errinfo *err);

/* All run inside of lws: nothing may be freed in them but by km_relay_link_close, which they may
 * call. on_closed is the last one and does not follow km_relay_link_close. */
typedef struct km_relay_link_callbacks {
  void (*on_request)(void *ctx); /* TLS is done, the request goes out; may be NULL */
  void (*on_upgraded)(void *ctx, km_relay_version version); /* WebSocket */
  void (*on_status)(void *ctx, int status);                 /* a plain GET was answered */
  void (*on_message)(void *ctx, const uint8_t *msg, size_t len);
  void (*on_writable)(void *ctx);
  void (*on_closed)(void *ctx, const km_errinfo *why);
  void *ctx;
} km_relay_link_callbacks;

typedef struct km_relay_link_config {
  const km_relay_url *url; /* outlives the link */
  const char *token;       /* outlives the link; NULL: none */
  int fd;                  /* taken over, also on failure */
  km_udp_addr remote;
  bool plain_get; /* GET /ping; otherwise the WebSocket upgrade */
} km_relay_link_config;

/* 0, KM_ERR_NOMEM, KM_ERR_RELAY_TLS or another reason why it could not even begin. */
KM_NODISCARD int km_relay_link_new(km_relay_link **ret, km_relay_clients *all,
                                   const km_relay_link_config *config,
                                   const km_relay_link_callbacks *cb, km_errinfo *err);
/* No callback runs any more. `goodbye`: with a WebSocket close frame if it can be sent at once. */
void km_relay_link_close(km_relay_link *link, bool goodbye);

/* False while an earlier message waits in lws for room in the socket; on_writable follows. */
bool km_relay_link_is_free(const km_relay_link *link);
/* Sends a binary message, which has LWS_PRE bytes before it that are overwritten, as it is
 * itself. False: the connection is broken; on_closed follows, but not before it returns. */
bool km_relay_link_send(km_relay_link *link, uint8_t *msg, size_t len);
/* The address of ours that the connection goes from. False: not known. */
bool km_relay_link_local(const km_relay_link *link, km_udp_addr *ret);
/* Whether messages are handed over or wait. */
void km_relay_link_let_in(km_relay_link *link, bool let);

#endif /* KM_RELAY_CLIENT_LINK_IO_H */
