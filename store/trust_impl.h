/* What trust_io.c and trust_statements_io.c share. */
#ifndef KM_STORE_TRUST_IMPL_H
#define KM_STORE_TRUST_IMPL_H

#include "store/store_impl.h"
#include "store/trust_db.h"

#define KM_TRUST_PENDING_MAX 1000
#define KM_TRUST_FIRST_USE_MAX 10000
#define KM_STATEMENTS_PER_AUTHOR 256
#define KM_STATEMENT_LIFE_S (90 * 86400)
#define KM_TRUST_DATE_MAX INT64_C(253402128000) /* years have four digits */

typedef enum km_trust_sql {
  KM_TRUST_SQL_FIND,
  KM_TRUST_SQL_PUT,
  KM_TRUST_SQL_DROP,
  KM_TRUST_SQL_LIST,
  KM_TRUST_SQL_EXCESS,
  KM_TRUST_SQL_CHANGES,
  KM_STATEMENT_SQL_FIND,
  KM_STATEMENT_SQL_PUT,
  KM_STATEMENT_SQL_COUNT,
  KM_STATEMENT_SQL_MAKE_ROOM,
  KM_STATEMENT_SQL_RECOMMENDERS,
  KM_STATEMENT_SQL_ALL,
  KM_STATEMENT_SQL_EXPIRE,
  KM_STATEMENT_SQL_UNTIL,
  KM_STATEMENT_SQL_PUT_UNTIL,
  KM_STATEMENT_SQL_EXPIRE_UNTIL,
  KM_TRUST_SQL_COUNT
} km_trust_sql;

typedef struct km_trust_db {
  km_db_stmt *sql[KM_TRUST_SQL_COUNT];
  km_trust_changed_fn changed;
  void *changed_ctx;
  bool (*configured)(void *ctx, const km_id *id);
  void *configured_ctx;
  bool listing; /* km_trust_list or km_trust_statements is under way */
  char name[KM_PEER_NAME_MAX + 1], note[KM_PEER_NOTE_MAX + 1]; /* of the last km_trust_info */
} km_trust_db;

/* A row of the table. */
typedef struct km_trust_row {
  km_trust_state state;
  km_trust_origin origin;
  char name[KM_PEER_NAME_MAX + 1], note[KM_PEER_NOTE_MAX + 1];
  int64_t since, expires, seen;
} km_trust_row;

/* 1: found; 0: nothing is known, `*ret` is all zero. */
KM_NODISCARD int km_trust_row_find(km_store *s, const km_id *id, km_trust_row *ret,
                                   km_errinfo *err);
KM_NODISCARD int km_trust_row_put(km_store *s, const km_id *id, const km_trust_row *row,
                                  km_errinfo *err);
bool km_trust_row_expired(const km_trust_row *row, int64_t now);

int64_t km_trust_now(const km_store *s); /* UNIX seconds */
/* Rows that the last statement changed. */
KM_NODISCARD int64_t km_trust_changes(km_store *s, km_errinfo *err);
/* Calls the hook. */
void km_trust_tell(km_store *s, const km_id *id, const km_statement *statement);
/* 0, or KM_ERR_INVALID with the sentence. `what` begins it. NULL is a good text. */
KM_NODISCARD int km_trust_text_check(const char *what, const char *text, size_t max,
                                     km_errinfo *err);
KM_NODISCARD int km_trust_date_check(int64_t expires, int64_t now, km_errinfo *err);
KM_NODISCARD int km_trust_not_own(const km_store *s, const km_id *id, km_errinfo *err);
/* Blocks in the table, without telling anybody; `note` NULL: left as it is. */
KM_NODISCARD int km_trust_block_row(km_store *s, const km_id *id, km_trust_origin origin,
                                    const char *note, km_errinfo *err);

/* trust_statements_io.c */
KM_NODISCARD int64_t km_trust_recommenders(km_store *s, const km_id *subject,
                                           bool (*configured)(void *ctx, const km_id *id),
                                           void *ctx, km_errinfo *err);
/* "" when it announced none. */
void km_trust_announced(km_store *s, const km_id *id, char buf[KM_PEER_NAME_MAX + 1]);

#endif /* KM_STORE_TRUST_IMPL_H */
