#include "test/link/link.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_QUEUE ((size_t)16 << 20)
#define DEFAULT_HOLD UINT64_C(5000000)
#define NS_PER_S UINT64_C(1000000000)

void link_options_default(link_options *options) {
  memset(options, 0, sizeof *options);
  options->queue_bytes = DEFAULT_QUEUE;
  options->reorder_hold_ns = DEFAULT_HOLD;
}

void link_init(link_dir *link, const link_options *options, link_random_fn random, void *ctx) {
  memset(link, 0, sizeof *link);
  link->options = *options;
  link->random = random;
  link->random_ctx = ctx;
}

void link_clear(link_dir *link) {
  for (size_t i = 0; i < link->count; i++) {
    free(link->heap[i]);
  }
  free(link->heap);
  link->heap = NULL;
  link->count = link->cap = link->queued_bytes = 0;
}

uint64_t link_splitmix(void *ctx) {
  uint64_t *state = ctx;
  uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

/* True with probability `p`. */
static bool happens(link_dir *link, double p) {
  double draw = (double)(link->random(link->random_ctx) >> 11) * 0x1p-53; /* [0, 1) */
  return draw < p;
}

static uint64_t below(link_dir *link, uint64_t bound) {
  uint64_t draw = link->random(link->random_ctx);
  return bound == 0 ? 0 : draw % bound;
}

static bool before(const link_packet *a, const link_packet *b) {
  return a->due != b->due ? a->due < b->due : a->order < b->order;
}

static bool make_room(link_dir *link) {
  if (link->count < link->cap) {
    return true;
  }
  size_t cap = link->cap == 0 ? 64 : link->cap * 2;
  link_packet **heap = realloc(link->heap, cap * sizeof *heap);
  if (heap == NULL) {
    return false;
  }
  link->heap = heap;
  link->cap = cap;
  return true;
}

static void sift_down(link_dir *link, size_t i, link_packet *p) {
  for (;;) {
    size_t child = 2 * i + 1;
    if (child + 1 < link->count && before(link->heap[child + 1], link->heap[child])) {
      child++;
    }
    if (child >= link->count || before(p, link->heap[child])) {
      break;
    }
    link->heap[i] = link->heap[child];
    i = child;
  }
  link->heap[i] = p;
}

static void push(link_dir *link, link_packet *p) {
  size_t i = link->count++;
  while (i > 0 && before(p, link->heap[(i - 1) / 2])) {
    link->heap[i] = link->heap[(i - 1) / 2];
    i = (i - 1) / 2;
  }
  link->heap[i] = p;
  link->queued_bytes += p->len;
}

/* When a packet that leaves the queue at `departs` comes out. */
static uint64_t due_of(link_dir *link, uint64_t departs) {
  const link_options *o = &link->options;
  uint64_t due = departs + o->delay_ns + below(link, o->jitter_ns + 1);
  if (due < link->last_due) {
    due = link->last_due;
  }
  if (happens(link, o->reorder)) {
    link->stats.reordered++;
    return due + o->reorder_hold_ns;
  }
  link->last_due = due;
  return due;
}

static bool enter(link_dir *link, uint64_t departs, const void *data, size_t len, void *tag) {
  link_packet *p = make_room(link) ? malloc(sizeof *p + len) : NULL;
  if (p == NULL) {
    return false;
  }
  p->tag = tag;
  p->len = len;
  p->order = link->entered++;
  if (len > 0) {
    memcpy(p->data, data, len);
  }
  bool corrupt = happens(link, link->options.corrupt);
  uint64_t bit = below(link, 8 * (uint64_t)len);
  if (corrupt && len > 0) {
    p->data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    link->stats.corrupted++;
  }
  p->due = due_of(link, departs);
  push(link, p);
  return true;
}

/* When the last bit of a packet has left through the rate limit. */
static uint64_t depart(link_dir *link, uint64_t now, size_t len) {
  uint64_t starts = link->free_at > now ? link->free_at : now;
  if (link->options.rate_bps == 0) {
    return now;
  }
  link->free_at = starts + (uint64_t)len * 8 * NS_PER_S / link->options.rate_bps;
  return link->free_at;
}

bool link_send(link_dir *link, uint64_t now, const void *data, size_t len, void *tag) {
  link->stats.sent_packets++;
  link->stats.sent_bytes += len;
  bool lost = happens(link, link->options.loss);
  bool twice = happens(link, link->options.dup);
  if (link->blackhole) {
    link->stats.blackholed++;
    return true;
  }
  if (lost) {
    link->stats.lost++;
    return true;
  }
  if (len > link->options.queue_bytes || link->queued_bytes > link->options.queue_bytes - len) {
    link->stats.overflowed++;
    return true;
  }
  uint64_t departs = depart(link, now, len);
  bool ok = enter(link, departs, data, len, tag);
  if (ok && twice) {
    link->stats.duplicated++;
    ok = enter(link, departs, data, len, tag);
  }
  return ok;
}

uint64_t link_next(const link_dir *link) {
  return link->count == 0 ? LINK_NEVER : link->heap[0]->due;
}

link_packet *link_pop(link_dir *link, uint64_t now) {
  if (link->count == 0 || link->heap[0]->due > now) {
    return NULL;
  }
  link_packet *p = link->heap[0];
  link_packet *last = link->heap[--link->count];
  if (link->count > 0) {
    sift_down(link, 0, last);
  }
  link->queued_bytes -= p->len;
  link->stats.delivered_packets++;
  link->stats.delivered_bytes += p->len;
  return p;
}

void link_forget(link_dir *link, const void *tag) {
  size_t kept = 0;
  for (size_t i = 0; i < link->count; i++) {
    if (link->heap[i]->tag == tag) {
      link->queued_bytes -= link->heap[i]->len;
      free(link->heap[i]);
    } else {
      link->heap[kept++] = link->heap[i];
    }
  }
  link->count = kept;
  for (size_t i = kept / 2; i > 0; i--) {
    sift_down(link, i - 1, link->heap[i - 1]);
  }
}
