#include "store/transaction_io.h"

#include "store/kv_impl.h"

int km_transaction_alone(const km_store *s, km_errinfo *err) {
  return s->kv->batch == KM_KV_BATCH_NONE
             ? 0
             : km_fail(err, KM_ERR_STATE, "a batch is open: commit it or roll it back first");
}

int km_transaction_begin(km_store *s, km_errinfo *err) {
  int rv = km_transaction_alone(s, err);
  return rv != 0 ? rv : km_db_exec(s->db, "SAVEPOINT km_change", err);
}

int km_transaction_end(km_store *s, int rv, km_errinfo *err) {
  if (rv >= 0) {
    int failed = km_db_exec(s->db, "RELEASE km_change", err);
    if (failed == 0) {
      return rv;
    }
    rv = failed;
  }
  int undone = km_db_exec(s->db, "ROLLBACK TO km_change; RELEASE km_change", NULL);
  (void)undone; /* fails where SQLite has undone everything itself, on a full disk for one */
  return rv;
}
