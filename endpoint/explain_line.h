/* The time line of an explanation: what the search did and what the connection did, in order and in
 * words. Pure. */
#ifndef KM_ENDPOINT_EXPLAIN_LINE_H
#define KM_ENDPOINT_EXPLAIN_LINE_H

#include "endpoint/explain_notes.h"
#include "holepunch/punch.h"

#define KM_EXPLAIN_MAX_EVENTS (KM_PUNCH_MAX_EVENTS + KM_CONN_MAX_NOTES)

typedef struct km_explain_line {
  km_ts began;               /* the connection */
  const km_conn_note *notes; /* in order */
  size_t note_count;
  const km_punch_event *punch; /* in order */
  size_t punch_count;
  const char *(*relay_url)(void *ctx, uint16_t relay); /* NULL: not known any more */
  void *ctx;
} km_explain_line;

/* Writes note_count + punch_count events. */
void km_explain_line_write(const km_explain_line *line, km_explain_event *ret);

#endif /* KM_ENDPOINT_EXPLAIN_LINE_H */
