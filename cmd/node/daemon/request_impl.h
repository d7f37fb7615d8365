/* Inside of request.c: the rows of its table, and what they share. Files: request_kv.c,
 * request_kv_list.c, request_peer.c, request_message.c, request_security.c, request_status.c. */
#ifndef KM_CMD_NODE_DAEMON_REQUEST_IMPL_H
#define KM_CMD_NODE_DAEMON_REQUEST_IMPL_H

#include "base/env.h"
#include "cmd/node/daemon/request.h"

/* A handler returns 0 (done; `*ret` may be set), an error (with its sentence), or this: it goes on,
 * and ends with request_end. */
#define REQUEST_GOES_ON 1

typedef struct request_command {
  const char *name;
  const char *args; /* names with a space behind each: "share key "; nothing else is taken */
  bool daemon;      /* needs a mesh */
  int (*run)(request *r, const cJSON *args, cJSON **ret, km_errinfo *err);
} request_command;

struct request {
  node_context *node;
  const request_command *command;
  request_reply reply;
  uint64_t rows;
  request **handle; /* set to NULL when it ends while request_run is running; NULL afterwards */
  /* Of one that goes on. */
  void *state;
  void (*resume)(request *r); /* NULL: nothing to resume */
  void (*clear)(request *r);  /* frees `state`; NULL: nothing */
};

extern const request_command request_kv_commands[], request_list_commands[],
    request_peer_commands[], request_message_commands[], request_security_commands[],
    request_status_commands[]; /* each ends with a NULL name */

void request_row(request *r, cJSON *row); /* `row` NULL (no memory) is passed over */
size_t request_backlog(const request *r);
/* Ends and frees one that went on. `err` NULL: well. */
void request_end(request *r, cJSON *result, const km_errinfo *err);
/* {"count": rows}; KM_ERR_NOMEM without memory. */
int request_count(const request *r, cJSON **ret, km_errinfo *err);
/* Ends a list with its count, or with an error `rv`. */
void request_end_list(request *r, int rv, km_errinfo *err);
/* 0 when there is a result to give, else KM_ERR_NOMEM. */
int request_result(cJSON *result, cJSON **ret, km_errinfo *err);

/* --- arguments --- */

/* NULL when it is not there and `needed` is false. 0 or KM_ERR_INVALID. */
KM_NODISCARD int arg_text(const cJSON *args, const char *name, bool needed, const char **ret,
                          km_errinfo *err);
/* `fallback` when it is not there. */
KM_NODISCARD int arg_number(const cJSON *args, const char *name, double fallback, double min,
                            double max, double *ret, km_errinfo *err);
KM_NODISCARD int arg_flag(const cJSON *args, const char *name, bool *ret, km_errinfo *err);
/* Bytes of `name` or, in base64, of `name`_b64; free with free(). One of them must be there. */
KM_NODISCARD int arg_bytes(const cJSON *args, const char *name, uint8_t **ret, size_t *ret_len,
                           km_errinfo *err);
/* Whom "peer" means: an id, a ticket, a name, digits. `ret_addr` (may be NULL): of a ticket, to be
 * freed; else NULL. */
KM_NODISCARD int arg_peer(const request *r, const cJSON *args, km_id *ret, km_addr **ret_addr,
                          km_errinfo *err);
/* The same for decisions on trust: a name that only the peer itself says is no name. */
KM_NODISCARD int arg_peer_decided(const request *r, const cJSON *args, km_id *ret, km_errinfo *err);

/* 0, or KM_ERR_INVALID: keymesh.yaml has no such share. */
KM_NODISCARD int request_check_share(const node_context *node, const char *share, km_errinfo *err);

/* --- answers: members that are left out without memory, as cJSON does --- */

void put_text(cJSON *to, const char *name, const char *text); /* cleaned of what is not UTF-8 */
void put_id(cJSON *to, const char *name, const km_id *id);
void put_hex(cJSON *to, const char *name, const uint8_t *bytes, size_t len);
void put_number(cJSON *to, const char *name, double number);
void put_flag(cJSON *to, const char *name, bool value);
void put_seconds(cJSON *to, const char *name, int64_t ms); /* 0: null */
/* As text, or in base64 under `name`_b64. */
void put_bytes(cJSON *to, const char *name, const uint8_t *bytes, size_t len);
void put_texts(cJSON *to, const char *name, const char *const *texts, size_t count);
/* The shortest digits of a clock, as text. */
void put_clock(cJSON *to, uint64_t clock);
/* Members of a peer of `peers`, of what is known of a peer's trust, of a message. */
void put_peer(cJSON *to, const km_peer_status *peer);
void put_trust(cJSON *to, const km_trust_info *info);
void put_message(cJSON *to, node_context *node, const km_message *message);
/* "relay", "ticket", "direct". */
void put_address(cJSON *to, km_endpoint *endpoint);
/* As objects; NULL: no memory. */
cJSON *trust_json(const km_trust_info *info);
cJSON *message_json(node_context *node, const km_message *message);
cJSON *entry_json(const km_kv_entry *entry, bool with_value);
/* The name a peer goes by here, "" for none; cut to fit. Returns `buf`. */
const char *peer_name(node_context *node, const km_id *id, char buf[KM_PEER_NAME_MAX + 1]);

void put_faults(cJSON *to, const km_peer_faults *faults);
const char *peer_state_name(km_peer_state state);

#endif /* KM_CMD_NODE_DAEMON_REQUEST_IMPL_H */
