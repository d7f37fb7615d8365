#include "test/netlab/link_pipe.h"

#define NS_PER_S 1e9

void pipe_options_default(pipe_options *options) {
  *options = (pipe_options){.burst = 1};
  link_options_default(&options->link);
}

void pipe_init(link_pipe *pipe, const pipe_options *options, link_random_fn random, void *ctx) {
  *pipe = (link_pipe){.bad = false};
  link_init(&pipe->dir, &options->link, random, ctx);
  pipe_set(pipe, options);
}

void pipe_clear(link_pipe *pipe) {
  link_clear(&pipe->dir);
}

void pipe_set(link_pipe *pipe, const pipe_options *options) {
  pipe->options = *options;
  pipe->dir.options = options->link;
  pipe->dir.blackhole = options->blackhole;
  if (options->burst > 1) {
    pipe->dir.options.loss = 0; /* decided here */
  } else {
    pipe->bad = false;
  }
}

static bool happens(link_pipe *pipe, double p) {
  double draw = (double)(pipe->dir.random(pipe->dir.random_ctx) >> 11) * 0x1p-53; /* [0, 1) */
  return draw < p;
}

/* The bad state is left with probability 1/burst and entered as often as makes the share of its
 * packets `loss`. */
static bool lost_in_burst(link_pipe *pipe) {
  double loss = pipe->options.link.loss, burst = pipe->options.burst;
  if (burst <= 1 || loss <= 0) {
    return false;
  }
  if (loss >= 1) {
    return true;
  }
  if (pipe->bad) {
    pipe->bad = !happens(pipe, 1 / burst);
  } else {
    pipe->bad = happens(pipe, loss / (burst * (1 - loss)));
  }
  return pipe->bad;
}

/* Bytes that wait for the bottleneck. */
static double backlog(const link_dir *dir, uint64_t now) {
  if (dir->options.rate_bps == 0 || dir->free_at <= now) {
    return 0;
  }
  return (double)(dir->free_at - now) * (double)dir->options.rate_bps / 8 / NS_PER_S;
}

static bool buffer_full(const link_pipe *pipe, uint64_t now, size_t len) {
  size_t buffer = pipe->options.buffer_bytes;
  return buffer != 0 && backlog(&pipe->dir, now) + (double)len > (double)buffer;
}

/* Counted as link_send counts what it takes in. */
static bool vanish(link_pipe *pipe, size_t len, uint64_t *counter) {
  pipe->dir.stats.sent_packets++;
  pipe->dir.stats.sent_bytes += len;
  (*counter)++;
  return true;
}

bool pipe_send(link_pipe *pipe, uint64_t now, const void *data, size_t len, size_t head) {
  size_t packet = len > head ? len - head : 0;
  if (!pipe->options.blackhole) {
    if (pipe->options.max_len != 0 && packet > pipe->options.max_len) {
      return vanish(pipe, len, &pipe->too_long);
    }
    if (lost_in_burst(pipe)) {
      return vanish(pipe, len, &pipe->dir.stats.lost);
    }
    if (buffer_full(pipe, now, len)) {
      return vanish(pipe, len, &pipe->dir.stats.overflowed);
    }
  }
  return link_send(&pipe->dir, now, data, len, NULL);
}
