/* A libwebsockets context on a km_loop, by its external-poll interface: every descriptor is a
 * km_poll, its timers are one km_deadline, and freeing it is done when the call returns. */
#ifndef KM_BASE_IO_LWS_IO_H
#define KM_BASE_IO_LWS_IO_H

#include <libwebsockets.h>

#include "base/io/loop_io.h"

typedef struct km_lws km_lws;

/* `info` is filled by the caller (protocols, options, limits); `user`, event-loop members and the
 * log level are set here. Every protocol's callback passes what it does not handle to
 * km_lws_callback. One km_lws per context; several per process and thread are fine. */
KM_NODISCARD int km_lws_new(km_lws **ret, const km_env *env, km_loop *loop,
                            struct lws_context_creation_info *info, void *user, km_errinfo *err);
/* Not from inside a callback of lws. NULL does nothing. */
void km_lws_free(km_lws *l); /* closes all connections; callbacks run before it returns */

struct lws_context *km_lws_context(km_lws *l);
void *km_lws_user(struct lws_context *context); /* the `user` of km_lws_new */
/* The reasons of external polling; everything else goes to lws_callback_http_dummy. */
int km_lws_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t len);
/* To be called after lws functions outside an lws callback, so that timers they set are kept. */
void km_lws_touch(km_lws *l);

#endif /* KM_BASE_IO_LWS_IO_H */
