#include "store/message_schema.h"
#include "store/store_impl.h"
#include "store/trust_schema.h"

/* One row a share and key: who won. `seq` is the change number; a change takes the row to the end,
 * so that whoever asks for what is new reads on where he was. `state` is a set of KM_KV_STATE_*.
 *
 * kv_meta keeps what must not fall although rows go: the highest clock and change number. `horizon`
 * is the highest clock of a deletion that was forgotten. */
#define KV_SCHEMA                                                                                  \
  "CREATE TABLE kv_meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;"                              \
  "CREATE TABLE kv_share(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"                       \
  " horizon INTEGER NOT NULL DEFAULT 0);"                                                          \
  "CREATE TABLE kv_entry(seq INTEGER PRIMARY KEY, share INTEGER NOT NULL, clock INTEGER NOT NULL," \
  " flags INTEGER NOT NULL, state INTEGER NOT NULL, hash BLOB NOT NULL, author BLOB NOT NULL,"     \
  " key BLOB NOT NULL, sig BLOB, value BLOB);"                                                     \
  "CREATE UNIQUE INDEX kv_entry_key ON kv_entry(share, key);"                                      \
  "CREATE INDEX kv_entry_item ON kv_entry(share, clock, hash);"                                    \
  "CREATE INDEX kv_entry_deleted ON kv_entry(share, clock) WHERE flags = 1;"                       \
  "CREATE TABLE kv_reader(share INTEGER NOT NULL, peer BLOB NOT NULL, seq INTEGER NOT NULL,"       \
  " PRIMARY KEY(share, peer)) WITHOUT ROWID;"

const char *const km_store_migrations[] = {KV_SCHEMA KM_TRUST_SCHEMA KM_MESSAGE_SCHEMA,
                                           KM_MESSAGE_SCHEMA_2, KM_TRUST_SCHEMA_2};
const size_t km_store_migration_count = sizeof km_store_migrations / sizeof km_store_migrations[0];
