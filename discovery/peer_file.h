/* A file of peers (keymesh/discovery.h, km_discovery_add_file): its text, read in steps so that a
 * long one does not hold the loop up, and an index of its lines. Pure. */
#ifndef KM_DISCOVERY_PEER_FILE_H
#define KM_DISCOVERY_PEER_FILE_H

#include <keymesh/addr.h>

#include "base/env.h"

#define KM_PEER_FILE_MAX ((size_t)16 << 20) /* bytes */
#define KM_PEER_FILE_MAX_LINES 65536        /* with a peer */

typedef struct km_peer_line {
  km_id id;
  uint32_t at, len; /* in the text */
  uint32_t number;  /* from 1 */
} km_peer_line;

typedef struct km_peer_file {
  const km_env *env;
  char *text;
  size_t len, at; /* read up to `at` */
  uint32_t number;
  size_t bad; /* lines that could not be read */
  km_peer_line *lines;
  size_t count, cap;
} km_peer_file;

/* Takes `text`, which `env` allocated, at most KM_PEER_FILE_MAX bytes. */
void km_peer_file_init(km_peer_file *f, const km_env *env, char *text, size_t len);
void km_peer_file_clear(km_peer_file *f);

/* A line that cannot be read, and why. */
typedef void (*km_peer_file_bad_fn)(void *ctx, uint32_t number, const char *why);
/* Reads at most `lines` lines. 1: there are more; 0: that was all, the file can be asked;
 * KM_ERR_LIMIT, KM_ERR_NOMEM. */
KM_NODISCARD int km_peer_file_step(km_peer_file *f, size_t lines, km_peer_file_bad_fn on_bad,
                                   void *ctx);

/* The first line of `id`, f->count where there is none; its other lines follow. */
size_t km_peer_file_find(const km_peer_file *f, const km_id *id);
/* Behind the last line of the peer whose first line is at `index`. */
size_t km_peer_file_next(const km_peer_file *f, size_t index);
/* What all lines of the peer whose first line is at `index` say. 0 or KM_ERR_NOMEM. */
KM_NODISCARD int km_peer_file_addr(const km_peer_file *f, size_t index, km_addr **ret);

#endif /* KM_DISCOVERY_PEER_FILE_H */
