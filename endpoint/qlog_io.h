/* One qlog file a connection (JSON text sequences, as ngtcp2 writes them), on request. */
#ifndef KM_ENDPOINT_QLOG_IO_H
#define KM_ENDPOINT_QLOG_IO_H

#include "base/env.h"

typedef struct km_qlog km_qlog;

/* 0 if files can be made in `dir`, else KM_ERR_FILE_NOT_FOUND or another code with a sentence. */
KM_NODISCARD int km_qlog_check_dir(const char *dir, km_errinfo *err);

/* Opens `dir`/<first destination connection id>_<client|server>.sqlog. NULL on failure, which is
 * logged: a connection works without its qlog. */
km_qlog *km_qlog_open(const km_env *env, const char *dir, const uint8_t *cid, size_t cid_len,
                      bool client);
void km_qlog_close(km_qlog *qlog); /* takes NULL */

/* ngtcp2's qlog_write; `user_data` is the km_conn. */
void km_qlog_write(void *user_data, uint32_t flags, const void *data, size_t len);

#endif /* KM_ENDPOINT_QLOG_IO_H */
