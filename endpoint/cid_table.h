/* Who owns a connection id. Open addressing with a keyed hash, because clients choose some of the
 * ids; pure. */
#ifndef KM_ENDPOINT_CID_TABLE_H
#define KM_ENDPOINT_CID_TABLE_H

#include "base/env.h"

#define KM_CID_MAX 20
#define KM_CID_LEN 8 /* of the ids that we issue */

/* What an id leads to. The first member of every owner. */
typedef struct km_cid_owner {
  enum { KM_CID_OWNER_CONN, KM_CID_OWNER_TOMBSTONE } kind;
} km_cid_owner;

typedef struct km_cid_entry {
  km_cid_owner *owner; /* NULL: the slot is free */
  uint8_t len;
  uint8_t data[KM_CID_MAX];
} km_cid_entry;

typedef struct km_cid_table {
  const km_env *env;
  km_cid_entry *slots;
  size_t cap; /* a power of two, or 0 */
  size_t count;
  size_t last; /* slot of the id found last, most likely also the next one */
  uint8_t key[16];
} km_cid_table;

void km_cid_table_init(km_cid_table *table, const km_env *env);
void km_cid_table_clear(km_cid_table *table);

/* 0, KM_ERR_STATE (the id is taken), KM_ERR_INVALID (longer than 20 bytes) or KM_ERR_NOMEM. */
KM_NODISCARD int km_cid_table_add(km_cid_table *table, const uint8_t *cid, size_t len,
                                  km_cid_owner *owner);
/* Unknown ids are ignored, and so are those of other owners. */
void km_cid_table_remove(km_cid_table *table, const uint8_t *cid, size_t len,
                         const km_cid_owner *owner);
/* Hands an id over to another owner; false when it is unknown. */
bool km_cid_table_move(km_cid_table *table, const uint8_t *cid, size_t len, km_cid_owner *owner);
km_cid_owner *km_cid_table_find(km_cid_table *table, const uint8_t *cid, size_t len);

#endif /* KM_ENDPOINT_CID_TABLE_H */
