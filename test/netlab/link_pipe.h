/* One direction of an emulated long-distance link: test/link with what such a link has beside delay
 * and rate: losses that come in bursts, a bottleneck with a buffer of its own, packets that are too
 * long and vanish. Pure, as test/link is: the same seed and input give the same output. */
#ifndef KM_TEST_NETLAB_LINK_PIPE_H
#define KM_TEST_NETLAB_LINK_PIPE_H

#include "test/link/link.h"

typedef struct pipe_options {
  link_options link;   /* `loss` in it: the share of packets, in bursts or not */
  double burst;        /* mean number of packets lost in a row; up to 1: each is lost on its own */
  size_t buffer_bytes; /* that may wait for the rate; 0: as many as link.queue_bytes */
  size_t max_len;      /* longer packets vanish without a word; 0: none does */
  bool blackhole;      /* everything vanishes */
} pipe_options;

void pipe_options_default(pipe_options *options);

typedef struct link_pipe {
  link_dir dir; /* its `stats` count losses in bursts and full buffers, too */
  pipe_options options;
  bool bad; /* Gilbert's model: in the bad state all packets are lost */
  uint64_t too_long;
} link_pipe;

void pipe_init(link_pipe *pipe, const pipe_options *options, link_random_fn random, void *ctx);
void pipe_clear(link_pipe *pipe);

/* From now on; what is under way stays as it is. */
void pipe_set(link_pipe *pipe, const pipe_options *options);

/* As link_send. The first `head` bytes are the link layer's: max_len does not count them. */
bool pipe_send(link_pipe *pipe, uint64_t now, const void *data, size_t len, size_t head);

#endif /* KM_TEST_NETLAB_LINK_PIPE_H */
