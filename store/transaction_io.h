/* Several statements as one change of a store. */
#ifndef KM_STORE_TRANSACTION_IO_H
#define KM_STORE_TRANSACTION_IO_H

#include "store/store_impl.h"

/* 0, or KM_ERR_STATE while a batch of the key-value store is open: what joined it would be undone
 * with it after its caller was told that it is kept. */
KM_NODISCARD int km_transaction_alone(const km_store *s, km_errinfo *err);

/* Begins one; within a batch of km_kv_begin it becomes a part of that. */
KM_NODISCARD int km_transaction_begin(km_store *s, km_errinfo *err);
/* Keeps what was done when `rv` >= 0, undoes it otherwise. `rv`, or why it could not be kept. */
KM_NODISCARD int km_transaction_end(km_store *s, int rv, km_errinfo *err);

#endif /* KM_STORE_TRANSACTION_IO_H */
