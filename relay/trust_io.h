/* The authorities that a TLS client trusts. */
#ifndef KM_RELAY_TRUST_IO_H
#define KM_RELAY_TRUST_IO_H

#include "base/env.h"

struct WOLFSSL_CTX;

/* A client's context for TLS 1.3 that verifies the server. `ca_file`: PEM; NULL: $SSL_CERT_FILE,
 * else the system's. Where the system has none a warning is logged, and nobody is trusted.
 * Free with wolfSSL_CTX_free. 0, KM_ERR_NOMEM, KM_ERR_FILE_NOT_FOUND or KM_ERR_RELAY_TLS. */
KM_NODISCARD int km_relay_trust_new(struct WOLFSSL_CTX **ret, const km_env *env,
                                    const char *ca_file, km_errinfo *err);

/* Why a handshake failed, in words that follow "failed: ". `number`: wolfSSL's, negative as a rule,
 * which is all that lws passes on; 0: none. Static. */
const char *km_relay_trust_explain(int number);

#endif /* KM_RELAY_TRUST_IO_H */
