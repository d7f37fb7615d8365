/* Two ends of a synchronization and the stream between them, which delivers in any pieces. */
#ifndef KM_TEST_STORE_SIM_PAIR_H
#define KM_TEST_STORE_SIM_PAIR_H

#include "store/sync.h"

/* What the bytes of one direction went through. */
typedef struct sim_pipe {
  uint8_t *bytes;
  size_t at, len, cap;
  bool fin, fin_delivered;
} sim_pipe;

typedef struct sim_end {
  km_store *store;
  km_sync *sync;
  km_errinfo err; /* of the first failure */
  sim_pipe out;
  size_t longest_out; /* of what km_sync_output gave at once */
  /* Rules; NULL: everything is allowed. */
  bool (*may_read)(void *ctx, const char *share);
  bool (*may_write)(void *ctx, const char *share, const km_id *author);
  void *ctx;
  km_refused *refused; /* the test's own; NULL: none */
} sim_end;

typedef struct sim_pair {
  sim_end end[2]; /* the first one begins */
} sim_pair;

/* Sets the stores only; rules may be set before sim_pair_begin. */
void sim_pair_init(sim_pair *p, km_store *a, km_store *b);
/* Aborts when a session cannot be made. */
void sim_pair_begin(sim_pair *p, const char *share);
void sim_pair_begin_with(sim_pair *p, const km_sync_config *first, const km_sync_config *second);
void sim_pair_free(sim_pair *p);

/* One slice of work of an end, one helping of output of at most `max` bytes onto the pipe, and one
 * delivery of at most `max` bytes to the other end. True: something happened. */
bool sim_pair_work(sim_pair *p, unsigned end);
bool sim_pair_send(sim_pair *p, unsigned end, size_t max);
bool sim_pair_deliver(sim_pair *p, unsigned from, size_t max);
/* Until nothing happens any more, in pieces of at most `max` bytes. */
void sim_pair_run(sim_pair *p, size_t max);
/* Both ends ended well. */
bool sim_pair_done(const sim_pair *p);
km_sync_stats sim_pair_stats(const sim_pair *p, unsigned end);

#endif /* KM_TEST_STORE_SIM_PAIR_H */
