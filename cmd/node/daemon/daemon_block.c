/* security.block, changed while the node runs: the mesh knows that of the start, the store what
 * came since. Its rows say that they are of the configuration, so that they end with it, and what
 * they stand in the place of. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/node/daemon/daemon.h"

#define BLOCK_NOTE "security.block of keymesh.yaml"
#define WAS_TRUSTED BLOCK_NOTE "; was trusted until " /* UNIX seconds, ": ", the note it had */

/* A row of the store: what is listed may not be changed while it is listed. */
typedef struct blocked {
  km_id id;
  char name[KM_PEER_NAME_MAX + 1], note[KM_PEER_NOTE_MAX + 1];
} blocked;

static void copy_row(blocked *ret, const km_trust_info *info) {
  ret->id = info->id;
  (void)snprintf(ret->name, sizeof ret->name, "%s", info->name);
  (void)snprintf(ret->note, sizeof ret->note, "%s", info->note);
}

/* Not what a person said since, nor somebody's revocation, whatever reason it gives. */
static bool is_ours(const km_trust_info *info) {
  return info->state == KM_TRUST_BLOCKED && info->origin == KM_TRUST_BY_CONFIG &&
         strncmp(info->note, BLOCK_NOTE, strlen(BLOCK_NOTE)) == 0;
}

/* --- blocking --------------------------------------------------------------------------------- */

/* A decision of a person's comes back when the block ends. */
static bool is_decision(const km_trust_info *info) {
  return info->state == KM_TRUST_TRUSTED &&
         (info->origin == KM_TRUST_BY_HAND || info->origin == KM_TRUST_BY_APPROVAL);
}

static void make_note(char ret[KM_PEER_NOTE_MAX + 1], const km_trust_info *before) {
  if (before == NULL || !is_decision(before)) {
    (void)snprintf(ret, KM_PEER_NOTE_MAX + 1, "%s", BLOCK_NOTE);
    return;
  }
  long long until = (long long)before->expires;
  int len = snprintf(ret, KM_PEER_NOTE_MAX + 1, WAS_TRUSTED "%lld: %s", until, before->note);
  if (len < 0 || len > KM_PEER_NOTE_MAX) { /* too long: the trust, without its note */
    (void)snprintf(ret, KM_PEER_NOTE_MAX + 1, WAS_TRUSTED "%lld: ", until);
  }
}

int daemon_block(node_daemon *d, const km_id *id, km_errinfo *err) {
  char note[KM_PEER_NOTE_MAX + 1];
  km_trust_info info;
  bool known = km_trust_get(d->node.store, id, &info, NULL) == 0;
  if (known && info.state == KM_TRUST_BLOCKED) {
    return 0; /* by hand or by a revocation, which outlive the configuration */
  }
  make_note(note, known ? &info : NULL);
  return km_trust_block_by_config(d->node.store, id, note, err);
}

/* --- its end ---------------------------------------------------------------------------------- */

/* As it was before; trust that ran out meanwhile is refused by the store, and gone. */
static int lift(km_store *store, const blocked *b) {
  char *note;
  int rv = km_trust_forget(store, &b->id, NULL);
  if (rv != 0 || strncmp(b->note, WAS_TRUSTED, strlen(WAS_TRUSTED)) != 0) {
    return rv;
  }
  long long until = strtoll(b->note + strlen(WAS_TRUSTED), &note, 10);
  note += strncmp(note, ": ", 2) == 0 ? 2 : 0;
  (void)!km_trust_add(store, &b->id, b->name, note, until, NULL);
  return 0;
}

bool daemon_unblock(node_daemon *d, const km_id *id) {
  km_trust_info info;
  blocked b;
  if (km_trust_get(d->node.store, id, &info, NULL) != 0 || info.state != KM_TRUST_BLOCKED) {
    return true; /* somebody decided otherwise meanwhile */
  }
  if (!is_ours(&info)) {
    return false;
  }
  copy_row(&b, &info);
  return lift(d->node.store, &b) == 0;
}

typedef struct batch {
  blocked rows[32];
  size_t count;
} batch;

static void take_blocked(void *ctx, const km_trust_info *info) {
  batch *b = ctx;
  if (b->count < sizeof b->rows / sizeof b->rows[0] && is_ours(info)) {
    copy_row(&b->rows[b->count++], info);
  }
}

void daemon_forget_blocked(node_daemon *d) {
  batch b;
  do {
    b.count = 0;
    if (km_trust_list(d->node.store, KM_TRUST_BLOCKED, take_blocked, &b, NULL) < 0) {
      return; /* they stay blocked, which does no harm */
    }
    for (size_t i = 0; i < b.count; i++) {
      if (lift(d->node.store, &b.rows[i]) != 0) {
        return;
      }
    }
  } while (b.count > 0);
}
