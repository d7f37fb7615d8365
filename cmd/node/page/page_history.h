/* The latencies of the last heartbeats of each peer, so that a page that is opened has a line to
 * show at once. Pure. */
#ifndef KM_CMD_NODE_PAGE_PAGE_HISTORY_H
#define KM_CMD_NODE_PAGE_PAGE_HISTORY_H

#include <keymesh/mesh.h>

#include "base/env.h"

#define PAGE_SAMPLES 60 /* of a peer; the page draws as many */

typedef struct page_trace {
  km_id id;
  int64_t beat_ms; /* of the newest sample; 0: the connection is gone since */
  bool seen;       /* in this round */
  uint8_t next, count;
  uint32_t rtt_us[PAGE_SAMPLES]; /* 0: without a connection */
} page_trace;

typedef struct page_history {
  const km_env *env;
  page_trace *traces; /* in the order of the mesh's list, so that each is found where it is due */
  size_t count, cap;
  size_t due; /* in this round */
} page_history;

void page_history_init(page_history *h, const km_env *env);
void page_history_clear(page_history *h);

/* A round: every peer there is, as it is now. Whoever is missing is forgotten. */
void page_history_begin(page_history *h);
void page_history_add(page_history *h, const km_peer_status *peer);
void page_history_end(page_history *h);

/* {"ID":{"beat":UNIX seconds,"us":[...]},...}, oldest first, 0: a gap; peers without a sample are
 * left out. NUL-terminated; free with km_env_free. NULL: no memory. */
char *page_history_text(const page_history *h);

#endif /* KM_CMD_NODE_PAGE_PAGE_HISTORY_H */
