/* The parts of km_interop_peer, and what they share. The protocol it speaks is in PROTOCOL.md. */
#ifndef KM_INTEROP_PEER_H
#define KM_INTEROP_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include <cjson/cJSON.h>
#include <keymesh/keymesh.h>

#define PEER_TEXT_CAP 256

typedef struct peer_conn peer_conn;
typedef struct peer_transfer peer_transfer;
typedef struct peer_asking peer_asking;

/* The program: one endpoint on one loop, driven by requests. */
typedef struct peer {
  km_loop *loop;
  km_endpoint *endpoint; /* NULL before `open` and after it was closed */
  peer_conn *conns;
  int last_conn;
  km_accept_verdict incoming;
  cJSON *open_request; /* `open` still to be answered: the home relay is not there yet */
  int shutdown_request;
  bool finished; /* leave the main loop */
} peer;

/* A connection that the driver knows by its number. It lives from the dial or the accept until
 * on_closed. */
struct peer_conn {
  peer *peer;
  peer_conn *next;
  km_conn *conn;
  int number;
  int dial_request; /* the `dial` still to be answered, or 0 */
  bool connected;
  bool early;               /* the dial asked for early data */
  cJSON *early_flow;        /* what became of its stream, once that has ended */
  peer_transfer *transfers; /* under way */
  peer_asking *asking;      /* a `datagrams` request under way, or NULL */
};

/* json.c: members of requests; lines of answers and events. The helpers that send take `line`. */
int peer_int(const cJSON *request, const char *name, int fallback);
bool peer_flag(const cJSON *request, const char *name);
const char *peer_text(const cJSON *request, const char *name); /* "" when it is not there */
uint64_t peer_code(const cJSON *request, const char *name);
cJSON *peer_answer(const cJSON *request);
cJSON *peer_answer_to(int id);
cJSON *peer_event(const char *name);
void peer_add_u64(cJSON *line, const char *name, uint64_t value);
void peer_add_code(cJSON *line, const char *name, uint64_t code); /* as a decimal string */
void peer_add_id(cJSON *line, const char *name, const km_id *id);
void peer_add_udp(cJSON *line, const char *name, const km_udp_addr *addr);
cJSON *peer_udp_json(const km_udp_addr *addr);
void peer_send(cJSON *line);
void peer_ok(const cJSON *request);
void peer_fail(int id, int code, const char *text);
void peer_fail_info(int id, const km_errinfo *err);

/* names.c: ids, keys and tickets as text. */
int peer_read_addr(km_addr **ret, const cJSON *request, km_errinfo *err);
void peer_key(peer *self, const cJSON *request);
void peer_id_parse(peer *self, const cJSON *request);
void peer_ticket_parse(peer *self, const cJSON *request);
void peer_ticket_make(peer *self, const cJSON *request);

/* endpoint.c */
void peer_open(peer *self, const cJSON *request);
void peer_rebind(peer *self, const cJSON *request);
void peer_totals(peer *self, const cJSON *request);
void peer_shutdown(peer *self, const cJSON *request);

/* conn.c */
extern const km_conn_callbacks peer_accepted_callbacks; /* their ctx is the peer */
peer_conn *peer_conn_of(peer *self,
                        const cJSON *request); /* answers by itself when there is none */
void peer_dial(peer *self, const cJSON *request);
void peer_stats(peer *self, const cJSON *request);
void peer_update_keys(peer *self, const cJSON *request);
void peer_close(peer *self, const cJSON *request);
void peer_early_ended(peer_conn *pc, cJSON *flow); /* takes `flow` */

/* transfer.c: streams that we open. */
void peer_transfer_request(peer *self, const cJSON *request);
int peer_transfer_early(peer_conn *pc, uint64_t bytes);
void peer_transfer_resume(peer_conn *pc); /* the peer allows more streams */
void peer_break(peer *self, const cJSON *request);

/* serve.c: streams that the other side opens. */
void peer_serve_stream(peer_conn *pc, km_stream *stream);

/* datagrams.c */
void peer_datagrams(peer *self, const cJSON *request);
void peer_datagram_came(peer_conn *pc, const uint8_t *data, size_t len);
void peer_asking_free(peer_conn *pc);

#endif /* KM_INTEROP_PEER_H */
