/* Publishing without an endpoint: says it everywhere, and how that went. */
#ifndef KM_CMD_NODE_ANNOUNCE_H
#define KM_CMD_NODE_ANNOUNCE_H

#include "cmd/node/finder.h"

/* Waits until every place has what was published, or failed, prints each, and ends the finder: 0
 * when all have it. With `keep` it goes on until a signal, and prints what changes. */
typedef struct announcer {
  finder *f;
  bool keep;
  uint64_t timeout_ms;
  const char *nowhere; /* the sentence for who named no place */
  uint64_t waited_ms;
  uint32_t told; /* bits: places that were printed as done */
  uint32_t failed;
  bool over; /* all was told once */
} announcer;

void announce_start(announcer *a);

#endif /* KM_CMD_NODE_ANNOUNCE_H */
