/* One direction of an imperfect link: packets go in, and come out later, twice, damaged, in another
 * order or not at all. Pure: time is an argument, chance comes from a function that is handed in;
 * the same inputs give the same outputs.
 *
 * A packet passes these stages in turn:
 *   blackhole -> loss -> queue and rate -> duplication -> corruption -> delay, jitter, reordering
 */
#ifndef KM_TEST_LINK_LINK_H
#define KM_TEST_LINK_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINK_NEVER UINT64_MAX

typedef struct link_options {
  double loss, dup, corrupt, reorder; /* probabilities, 0 to 1 */
  uint64_t delay_ns;
  uint64_t jitter_ns;       /* up to so much is added; does not change the order */
  uint64_t reorder_hold_ns; /* how long a reordered packet waits while later ones overtake it */
  uint64_t rate_bps;        /* bits a second, 0 = as fast as they come */
  size_t queue_bytes;       /* that may wait in the link; more is dropped */
} link_options;

/* Delay 0, no chance of anything, 16 MiB of queue, reordered packets held for 5 ms. */
void link_options_default(link_options *options);

typedef struct link_stats {
  uint64_t sent_packets, sent_bytes;           /* handed in */
  uint64_t delivered_packets, delivered_bytes; /* taken out */
  uint64_t lost, overflowed, blackholed;
  uint64_t duplicated, corrupted, reordered;
} link_stats;

/* A packet inside the link. */
typedef struct link_packet {
  uint64_t due;
  uint64_t order; /* of entry: breaks ties of `due` */
  void *tag;      /* the caller's: where it goes */
  size_t len;
  uint8_t data[];
} link_packet;

/* 64 random bits. */
typedef uint64_t (*link_random_fn)(void *ctx);

typedef struct link_dir {
  link_options options;
  link_random_fn random;
  void *random_ctx;
  bool blackhole; /* set and cleared by the caller at any time */
  link_stats stats;

  link_packet **heap; /* by due, then order */
  size_t count, cap;
  size_t queued_bytes;
  uint64_t entered;  /* packets so far */
  uint64_t free_at;  /* when the rate lets the next packet begin */
  uint64_t last_due; /* jitter keeps the order: nobody is due before this */
} link_dir;

void link_init(link_dir *link, const link_options *options, link_random_fn random, void *ctx);
void link_clear(link_dir *link);

/* Hands a packet in at `now`, which never goes back. False when memory ran out (the packet is
 * dropped then, too). */
bool link_send(link_dir *link, uint64_t now, const void *data, size_t len, void *tag);

/* When the next packet comes out; LINK_NEVER when the link is empty. */
uint64_t link_next(const link_dir *link);

/* The next packet that is due at `now`, or NULL. The caller frees it with free(). */
link_packet *link_pop(link_dir *link, uint64_t now);

/* Drops what is under way to `tag`. */
void link_forget(link_dir *link, const void *tag);

/* SplitMix64 as a link_random_fn; `ctx` is a uint64_t, the seed. */
uint64_t link_splitmix(void *ctx);

#endif /* KM_TEST_LINK_LINK_H */
