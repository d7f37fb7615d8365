/* What explanations need of a connection while it lives. */
#ifndef KM_ENDPOINT_EXPLAIN_H
#define KM_ENDPOINT_EXPLAIN_H

#include <keymesh/explain.h>

#include "magicsock/path.h"

struct km_conn;

/* An entry for the time line; `key` may be NULL. */
void km_conn_note_event(struct km_conn *conn, km_explain_event_kind kind, const km_path_key *key,
                        uint32_t value);
/* "no direct path within 3000 ms: " and the reason. */
void km_explain_no_direct_path(const struct km_conn *conn, char *buf, size_t cap);

#endif /* KM_ENDPOINT_EXPLAIN_H */
