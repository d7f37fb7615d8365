#include "test/store/sim_pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool anybody_reads(void *ctx, const char *share) {
  (void)ctx;
  (void)share;
  return true;
}

static bool anybody_writes(void *ctx, const char *share, const km_id *author) {
  (void)ctx;
  (void)share;
  (void)author;
  return true;
}

void sim_pair_init(sim_pair *p, km_store *a, km_store *b) {
  *p = (sim_pair){0};
  p->end[0].store = a;
  p->end[1].store = b;
  for (unsigned i = 0; i < 2; i++) {
    p->end[i].may_read = anybody_reads;
    p->end[i].may_write = anybody_writes;
  }
}

void sim_pair_begin_with(sim_pair *p, const km_sync_config *first, const km_sync_config *second) {
  if (km_sync_new(&p->end[0].sync, first) != 0 || km_sync_new(&p->end[1].sync, second) != 0) {
    (void)fprintf(stderr, "no session can be made\n");
    abort();
  }
}

void sim_pair_begin(sim_pair *p, const char *share) {
  km_sync_config config[2];
  for (unsigned i = 0; i < 2; i++) {
    sim_end *e = &p->end[i];
    config[i] = (km_sync_config){.env = &km_env_system,
                                 .store = e->store,
                                 .peer = *km_store_id(p->end[1 - i].store),
                                 .initiator = i == 0,
                                 .share = i == 0 ? share : NULL,
                                 .may_read = e->may_read,
                                 .may_write = e->may_write,
                                 .ctx = e->ctx,
                                 .refused = e->refused};
  }
  sim_pair_begin_with(p, &config[0], &config[1]);
}

void sim_pair_free(sim_pair *p) {
  for (unsigned i = 0; i < 2; i++) {
    km_sync_free(p->end[i].sync);
    free(p->end[i].out.bytes);
  }
  *p = (sim_pair){0};
}

bool sim_pair_work(sim_pair *p, unsigned end) {
  sim_end *e = &p->end[end];
  bool more = km_sync_work(e->sync, &e->err);
  return more;
}

static void push(sim_pipe *pipe, const uint8_t *bytes, size_t len) {
  if (pipe->len + len > pipe->cap) {
    pipe->cap = (pipe->len + len) * 2;
    pipe->bytes = realloc(pipe->bytes, pipe->cap);
    if (pipe->bytes == NULL) {
      abort();
    }
  }
  memcpy(pipe->bytes + pipe->len, bytes, len);
  pipe->len += len;
}

bool sim_pair_send(sim_pair *p, unsigned end, size_t max) {
  sim_end *e = &p->end[end];
  const uint8_t *bytes;
  bool fin = false;
  if (e->out.fin) {
    return false;
  }
  size_t len = km_sync_output(e->sync, &bytes, &fin);
  e->longest_out = len > e->longest_out ? len : e->longest_out;
  size_t taken = len < max ? len : max;
  if (taken > 0) {
    push(&e->out, bytes, taken);
    km_sync_sent(e->sync, taken);
  }
  e->out.fin = fin && taken == len;
  return taken > 0 || e->out.fin;
}

bool sim_pair_deliver(sim_pair *p, unsigned from, size_t max) {
  sim_pipe *pipe = &p->end[from].out;
  sim_end *to = &p->end[1 - from];
  size_t left = pipe->len - pipe->at;
  size_t len = left < max ? left : max;
  bool fin = pipe->fin && len == left;
  if (len == 0 && (!fin || pipe->fin_delivered)) {
    return false;
  }
  /* A copy of its own, so that a sanitizer sees what is read behind its end. */
  uint8_t *piece = malloc(len > 0 ? len : 1);
  if (piece == NULL) {
    abort();
  }
  if (len > 0) {
    memcpy(piece, pipe->bytes + pipe->at, len);
  }
  km_errinfo err = {0};
  if (km_sync_receive(to->sync, piece, len, fin, &err) != 0 && to->err.code == 0) {
    to->err = err;
  }
  free(piece);
  pipe->at += len;
  pipe->fin_delivered = fin;
  if (pipe->at == pipe->len) {
    pipe->at = pipe->len = 0;
  }
  return true;
}

void sim_pair_run(sim_pair *p, size_t max) {
  bool moved = true;
  while (moved) {
    moved = false;
    for (unsigned i = 0; i < 2; i++) {
      moved = sim_pair_work(p, i) || moved;
      moved = sim_pair_send(p, i, max) || moved;
      moved = sim_pair_deliver(p, i, max) || moved;
    }
  }
}

bool sim_pair_done(const sim_pair *p) {
  return km_sync_get_state(p->end[0].sync) == KM_SYNC_DONE &&
         km_sync_get_state(p->end[1].sync) == KM_SYNC_DONE;
}

km_sync_stats sim_pair_stats(const sim_pair *p, unsigned end) {
  km_sync_stats stats;
  km_sync_get_stats(p->end[end].sync, &stats);
  return stats;
}
