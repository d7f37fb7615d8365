/* What the words of km-node record share. */
#ifndef KM_CMD_NODE_RECORD_H
#define KM_CMD_NODE_RECORD_H

#include "cmd/node/announce.h"
#include "cmd/node/finder.h"

typedef struct recorder {
  finder f;
  announcer announcer;
  km_lookup *lookup;
  km_addr *addr;        /* where the key is published to be now */
  int64_t published_ms; /* of the packet that says so */
  char user_data[KM_USER_DATA_MAX + 1];
  bool new_user_data; /* --user-data replaces it */
  km_record record;
  uint64_t life_s;
  const char *file;
  bool keep, published;
  size_t seen, refused; /* records of a look-up */
} recorder;

/* Prints the error and ends with its status. */
void record_fail(recorder *r, km_errinfo *err, int code);

/* "publish": signs `record`, and publishes it or writes it to `file`. The exit status. */
int record_publish(recorder *r, finder_options *o);

#endif /* KM_CMD_NODE_RECORD_H */
