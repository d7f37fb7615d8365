/* One qlog file a connection (JSON text sequences, as ngtcp2 writes them), on request. */
#ifndef KM_ENDPOINT_QLOG_IO_H
#define KM_ENDPOINT_QLOG_IO_H

#include "base/env.h"

typedef struct km_qlog km_qlog;

/* 0 if files can be made in `dir`, else KM_ERR_FILE_NOT_FOUND or another code with a sentence. */
KM_NODISCARD int km_qlog_check_dir(const char *dir, km_errinfo *err);

/* For `dir`/<first destination connection id>_<client|server>.sqlog. There is no file before
 * km_qlog_begin; what is written until then is kept, up to a bound. NULL without memory: a
 * connection works without its qlog. */
km_qlog *km_qlog_new(const km_env *env, const char *dir, const uint8_t *cid, size_t cid_len,
                     bool client);
/* Makes the file; nothing the second time, and for NULL. A failure is logged. An accepting endpoint
 * calls it when the client proved its address: one packet with a forged source must not make files.
 */
void km_qlog_begin(km_qlog *qlog);
void km_qlog_free(km_qlog *qlog); /* takes NULL */

/* ngtcp2's qlog_write; `user_data` is the km_conn. */
void km_qlog_write(void *user_data, uint32_t flags, const void *data, size_t len);

#endif /* KM_ENDPOINT_QLOG_IO_H */
