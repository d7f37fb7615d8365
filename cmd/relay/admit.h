/* Lets clients in or not: a server's `authorize`, by access lists or by asking a web server. Loop
 * thread only. */
#ifndef KM_CMD_RELAY_ADMIT_H
#define KM_CMD_RELAY_ADMIT_H

#include "cmd/relay/config.h"
#include "relay/access_http_io.h"

typedef struct admit admit;

/* Judges as `config` says, out of which it takes the lists. */
KM_NODISCARD int admit_new(admit **ret, km_loop *loop, relay_config *config, km_errinfo *err);
void admit_free(admit *a); /* NULL does nothing */

/* The same for who comes from now on. On failure everything stays as it was. */
KM_NODISCARD int admit_replace(admit *a, relay_config *config, km_errinfo *err);

/* For km_relay_server_config; `ctx` is the admit. */
void admit_authorize(void *ctx, km_relay_server *server, const km_relay_login *login);

km_relay_access_kind admit_kind(const admit *a);
/* NULL: nobody is asked. */
const km_relay_asker_stats *admit_asker_stats(const admit *a);

#endif /* KM_CMD_RELAY_ADMIT_H */
