/* Asks a web server who may use the relay, as iroh-relay does: an empty POST with the id, in hex,
 * in X-Iroh-Endpoint-Id (as iroh documents it) and X-Iroh-NodeId (as it is sent); allowed is who
 * gets status 200 and the body "true", to the byte. Everything else, silence included, denies. Loop
 * thread only. */
#ifndef KM_RELAY_ACCESS_HTTP_IO_H
#define KM_RELAY_ACCESS_HTTP_IO_H

#include <keymesh/addr.h>

#include "base/env.h"
#include "base/io/loop_io.h"

#define KM_RELAY_ASK_TIMEOUT (5 * KM_NS_PER_S)
#define KM_RELAY_ASK_IN_FLIGHT 64 /* requests at once */
#define KM_RELAY_ASK_WAITING 4096 /* that wait for their turn, their time running */
#define KM_RELAY_ASK_PER_ADDR 16  /* of clients at one IPv4 address or IPv6 /64 */

typedef struct km_relay_asker km_relay_asker;

typedef struct km_relay_asker_config {
  const km_env *env; /* outlives it */
  km_loop *loop;
  const char *url;     /* http or https; copied */
  const char *bearer;  /* for the Authorization header; NULL: none. Copied */
  const char *ca_file; /* PEM; NULL: the system's authorities */
  uint64_t timeout_ns; /* from the question to the answer's end; 0: KM_RELAY_ASK_TIMEOUT */
  unsigned in_flight;  /* 0: KM_RELAY_ASK_IN_FLIGHT */
  bool behind_proxy;   /* all clients come from its address: no bound for one */
  /* The answer to the question with this number; from a later turn of the loop. The asker must not
   * be freed in it. */
  void (*on_answer)(void *ctx, uint64_t number, bool allowed);
  void *ctx;
} km_relay_asker_config;

typedef struct km_relay_asker_stats {
  uint64_t asked, allowed, denied; /* denied: by an answer */
  uint64_t failed;                 /* no answer, or none that we could use: denied as well */
  uint64_t in_flight, waiting;     /* now */
} km_relay_asker_stats;

/* 0; KM_ERR_BAD_RELAY_URL: the url is none; KM_ERR_FILE_NOT_FOUND, KM_ERR_RELAY_TLS (CA file);
 * KM_ERR_INVALID (bearer); KM_ERR_NOMEM, KM_ERR_SYSTEM. */
KM_NODISCARD int km_relay_asker_new(km_relay_asker **ret, const km_relay_asker_config *config,
                                    km_errinfo *err);
/* No answer comes any more. NULL does nothing. */
void km_relay_asker_free(km_relay_asker *a);

/* `remote`: where the client is. Keys cost nothing, so that many questions of one address say
 * little. A question keeps its place until it is answered, whether or not the client still waits.
 * 0, KM_ERR_NOMEM or KM_ERR_LIMIT (too many wait already): no answer will come, deny. */
KM_NODISCARD int km_relay_ask(km_relay_asker *a, uint64_t number, const km_id *id,
                              const km_udp_addr *remote);
const km_relay_asker_stats *km_relay_asker_get_stats(const km_relay_asker *a);

#endif /* KM_RELAY_ACCESS_HTTP_IO_H */
