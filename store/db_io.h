/* An SQLite database of ours: opened with the settings that all of them share, brought up to the
 * present schema, statements kept prepared, errors as ours with a sentence. One thread at a time; a
 * child of fork(2) must not touch it, not even to close it. */
#ifndef KM_STORE_DB_IO_H
#define KM_STORE_DB_IO_H

#include <keymesh/error.h>
#include <keymesh/id.h>

#include "base/env.h"

typedef struct km_db km_db;
typedef struct km_db_stmt km_db_stmt;

typedef struct km_db_config {
  const km_env *env;
  const char *path;        /* NULL: in memory */
  uint32_t application_id; /* SQLite's, says whose file it is */
  /* migrations[i] is SQL that leads from version i (PRAGMA user_version) to i + 1. */
  const char *const *migrations;
  size_t migration_count;
  bool full_sync;   /* survives a power failure after each commit, not only a killed process */
  bool exclusive;   /* one process only: KM_ERR_STORE_BUSY for a second one */
  size_t cache_kib; /* 0: SQLite's default */
  uint16_t wait_ms; /* how long each statement waits for another process; 0: 100 */
} km_db_config;

/* Makes the file (mode 0600) if there is none, in a directory that exists. 0;
 * KM_ERR_FILE_NOT_FOUND, KM_ERR_PERMISSION, KM_ERR_NO_SPACE, KM_ERR_STORE_DAMAGED (no database,
 * somebody else's, or of a newer version of KeyMesh; it is left as it is), KM_ERR_STORE_BUSY,
 * KM_ERR_STORE, KM_ERR_NOMEM. */
KM_NODISCARD int km_db_open(km_db **ret, const km_db_config *config, km_errinfo *err);
void km_db_close(km_db *db); /* statements go with it; NULL does nothing */

/* False also when an error made SQLite give the transaction up (a full disk can). */
bool km_db_in_transaction(const km_db *db);

/* SQL without parameters or results. 0 or an error with SQLite's sentence. */
KM_NODISCARD int km_db_exec(km_db *db, const char *sql, km_errinfo *err);

/* A statement, prepared once; belongs to the database. */
KM_NODISCARD int km_db_prepare(km_db *db, km_db_stmt **ret, const char *sql, km_errinfo *err);
/* Parameters count from 1. Bytes must outlive the steps until km_db_reset. */
void km_db_bind_int(km_db_stmt *s, int at, int64_t value);
void km_db_bind_bytes(km_db_stmt *s, int at, const void *bytes, size_t len);
void km_db_bind_text(km_db_stmt *s, int at, const char *text); /* NULL: null */
/* 1: a row is there; 0: done; below 0: an error. After 0 and errors the statement is reset. */
KM_NODISCARD int km_db_step(km_db_stmt *s, km_errinfo *err);
/* All steps; rows are ignored. */
KM_NODISCARD int km_db_run(km_db_stmt *s, km_errinfo *err);
void km_db_reset(km_db_stmt *s);
/* Columns count from 0; valid until the next step. */
int64_t km_db_int(km_db_stmt *s, int column);
const uint8_t *km_db_bytes(km_db_stmt *s, int column, size_t *ret_len);
const char *km_db_text(km_db_stmt *s, int column);    /* NULL: null */
bool km_db_id(km_db_stmt *s, int column, km_id *ret); /* false: it holds something else */
/* The number of its only row, or an error below 0; without a row 0. The statement is reset. */
KM_NODISCARD int64_t km_db_number(km_db_stmt *s, km_errinfo *err);

#endif /* KM_STORE_DB_IO_H */
