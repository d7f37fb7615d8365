/* What outbox_io.c and message_io.c share. */
#ifndef KM_STORE_OUTBOX_IMPL_H
#define KM_STORE_OUTBOX_IMPL_H

#include "store/outbox.h"
#include "store/store_impl.h"

#define KM_OUTBOX_WAITING_MAX 10000                         /* of ours */
#define KM_OUTBOX_SENDER_MAX 1000                           /* broadcasts of one other sender */
#define KM_OUTBOX_SENDER_BYTES (INT64_C(64) * 1024 * 1024)  /* the same */
#define KM_OUTBOX_OTHERS_BYTES (INT64_C(256) * 1024 * 1024) /* broadcasts of all others */
#define KM_INBOX_SEEN_MAX 1000000                           /* of one sender */
#define KM_INBOX_KEPT_MAX 1000                              /* the last that came */
#define KM_INBOX_KEPT_BYTES (INT64_C(64) * 1024 * 1024)     /* the same */

typedef enum km_outbox_sql {
  KM_OUTBOX_SQL_ADD,
  KM_OUTBOX_SQL_COUNT,
  KM_OUTBOX_SQL_OTHERS,
  KM_OUTBOX_SQL_NEXT_TO,
  KM_OUTBOX_SQL_NEXT_ALL,
  KM_OUTBOX_SQL_COUNT_FOR,
  KM_OUTBOX_SQL_DELIVERED,
  KM_OUTBOX_SQL_REFUSED,
  KM_OUTBOX_SQL_MARK,
  KM_OUTBOX_SQL_CANCEL,
  KM_OUTBOX_SQL_WAITING,
  KM_OUTBOX_SQL_NEXT_OWN,
  KM_OUTBOX_SQL_COUNT_OWN,
  KM_OUTBOX_SQL_EXPIRE,
  KM_OUTBOX_SQL_CHANGES,
  KM_INBOX_SQL_IS_SEEN,
  KM_INBOX_SQL_COUNT_SEEN,
  KM_INBOX_SQL_SEE,
  KM_INBOX_SQL_FORGET,
  KM_INBOX_SQL_KEEP,
  KM_INBOX_SQL_TRIM,
  KM_INBOX_SQL_TRIM_BYTES,
  KM_INBOX_SQL_LAST,
  KM_INBOX_SQL_BEFORE,
  KM_OUTBOX_SQL_ALL
} km_outbox_sql;

/* How many messages of a sender are remembered, so that they are not counted for each one. */
typedef struct km_inbox_sum {
  km_id sender;
  int64_t count;
  bool known;
} km_inbox_sum;

#define KM_INBOX_SUMS 16 /* a sender's place is its first byte modulo this */

typedef struct km_outbox {
  km_db_stmt *sql[KM_OUTBOX_SQL_ALL];
  km_outbox_changed_fn changed;
  void *changed_ctx;
  /* Messages of ours, and bytes of others' broadcasts; below 0: to be counted. May be too high
   * after a batch was rolled back: counted again before anything is refused. */
  int64_t waiting, others;
  km_inbox_sum sums[KM_INBOX_SUMS];
  bool listing;
  bool full_told; /* that a sender has no room, since the last cleanup */
  uint8_t *next;  /* what km_outbox_next gave */
  size_t next_cap;
} km_outbox;

int64_t km_outbox_now(const km_store *s); /* UNIX milliseconds */
/* Rows that the last statement changed. */
KM_NODISCARD int64_t km_outbox_changes(km_store *s, km_errinfo *err);
KM_NODISCARD int km_outbox_add(km_store *s, const km_message *m, const uint8_t *bytes, size_t len,
                               km_errinfo *err);
void km_outbox_tell(km_store *s, const km_id *to); /* calls the hook */

#endif /* KM_STORE_OUTBOX_IMPL_H */
