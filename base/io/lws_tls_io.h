/* The certificate of servers on a km_lws, which a reload replaces while they run. */
#ifndef KM_BASE_IO_LWS_TLS_IO_H
#define KM_BASE_IO_LWS_TLS_IO_H

#include "base/io/lws_io.h"

typedef struct km_lws_tls km_lws_tls;

/* PEM files, the certificate with its chain. 0; `bad_code` when they cannot be used;
 * KM_ERR_FILE_NOT_FOUND, KM_ERR_PERMISSION, KM_ERR_INVALID (a NULL), KM_ERR_NOMEM. */
KM_NODISCARD int km_lws_tls_new(km_lws_tls **ret, const km_env *env, const char *cert_file,
                                const char *key_file, int bad_code, km_errinfo *err);
void km_lws_tls_free(km_lws_tls *tls); /* after the km_lws; NULL does nothing */
/* Reads both again, for connections from now on. On failure the old ones stay. */
KM_NODISCARD int km_lws_tls_reload(km_lws_tls *tls, km_errinfo *err);

/* Makes a listener one with TLS. */
void km_lws_tls_fill(const km_lws_tls *tls, struct lws_context_creation_info *info);
/* On LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS, with its `user`. */
void km_lws_tls_attach(km_lws_tls *tls, void *ssl_ctx);

#endif /* KM_BASE_IO_LWS_TLS_IO_H */
