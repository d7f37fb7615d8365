/* What happened to the path of a connection: a list of bounded length, for explanations. Pure. */
#ifndef KM_ENDPOINT_EXPLAIN_NOTES_H
#define KM_ENDPOINT_EXPLAIN_NOTES_H

#include <keymesh/explain.h>

#include "base/env.h"
#include "magicsock/path.h"

#define KM_CONN_MAX_NOTES 32

typedef struct km_conn_note {
  km_ts at;
  km_udp_addr addr; /* direct; family 0: none, or a relay */
  uint32_t value;
  uint32_t times;
  const char *source; /* of discovery, its name; or NULL */
  uint16_t relay;     /* its index */
  bool relayed;
  uint8_t kind; /* km_explain_event_kind */
} km_conn_note;

typedef struct km_conn_notes {
  km_conn_note *at;
  size_t count, cap;
} km_conn_notes;

/* The same again, without another path in between, counts the last one up. The first is kept; of
 * the others the oldest makes room. Without memory the note is lost. `key` may be NULL. */
void km_conn_notes_add(km_conn_notes *notes, const km_env *env, km_ts now,
                       km_explain_event_kind kind, const km_path_key *key, uint32_t value);
/* The same about a source of discovery, whose name lives as long as the connection. */
void km_conn_notes_add_found(km_conn_notes *notes, const km_env *env, km_ts now, const char *source,
                             uint32_t value);
void km_conn_notes_clear(km_conn_notes *notes, const km_env *env);

#endif /* KM_ENDPOINT_EXPLAIN_NOTES_H */
