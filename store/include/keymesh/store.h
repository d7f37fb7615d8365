/**
 * @file keymesh/store.h
 * The file in which a node keeps what must survive: entries (keymesh/kv.h), whom it trusts
 * (keymesh/trust.h), messages that wait (keymesh/mesh.h). One SQLite database in WAL mode.
 *
 * One process at a time: a second one that opens the file gets KM_ERR_STORE_BUSY. A store works
 * alone; a km_mesh on an endpoint keeps it in sync with those of other nodes.
 *
 * Threads: a store belongs to one thread at a time, which is the loop's thread while a km_mesh uses
 * it. Callbacks run on it, from inside the call that names them.
 */
#ifndef KEYMESH_STORE_H
#define KEYMESH_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <keymesh/error.h>
#include <keymesh/export.h>
#include <keymesh/id.h>

KM_BEGIN_DECLS

typedef struct km_store km_store;

/** When km_kv_put and its like return. */
typedef enum km_durability {
  KM_DURABLE_PROCESS, /**< what was acknowledged survives the death of the process; a power failure
                           can take the last moments (WAL, synchronous=NORMAL) */
  KM_DURABLE_POWER    /**< and a power failure: one fsync a transaction (synchronous=FULL) */
} km_durability;

/** Options of a store. Fill with km_store_options_default. */
typedef struct km_store_options {
  size_t size;                     /**< sizeof this struct */
  const char *path;                /**< the file, made with mode 0600; NULL = in memory */
  const km_secret_key *secret_key; /**< whose node it is: signs what is written here; copied */
  km_durability durability;        /**< default KM_DURABLE_POWER */
  uint32_t max_key;                /**< bytes of a key, 1 to 1,024; default 256 */
  uint32_t max_value;              /**< bytes of a value, 1 to 1,048,576; default 65,536 */
  uint32_t max_skew_ms;     /**< how far in the future an entry of others may be, by our clock,
                                        0 to 86,400,000; default 60,000 */
  uint32_t tombstone_min_s; /**< a deletion is remembered at least so long; default 86,400 */
} km_store_options;

KM_EXPORT void km_store_options_default(km_store_options *options);

/**
 * Opens a store, makes it if there is none.
 * @return 0, KM_ERR_INVALID (no key; a limit out of range), KM_ERR_FILE_NOT_FOUND (no such
 *   directory), KM_ERR_PERMISSION, KM_ERR_NO_SPACE, KM_ERR_STORE_DAMAGED (it is left as it is),
 *   KM_ERR_STORE_BUSY, KM_ERR_STATE (the store is of another key), KM_ERR_STORE or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_store_open(km_store **ret, const km_store_options *options,
                                         km_errinfo *err);

/** Closes it; NULL does nothing. A km_mesh that uses it must be closed before. */
KM_EXPORT void km_store_close(km_store *store);

/** Whose it is. */
KM_EXPORT const km_id *km_store_id(const km_store *store);

/**
 * Reads the whole file and checks it (SQLite's integrity check, and each entry's hash).
 * @return 0, KM_ERR_STORE_DAMAGED (the text says what is wrong), KM_ERR_STORE or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_store_check(km_store *store, km_errinfo *err);

KM_END_DECLS

#endif /* KEYMESH_STORE_H */
