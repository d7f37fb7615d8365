#include "relay/trust_io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

/* Where systems keep them. */
static const char *find_bundle(void) {
  static const char *const files[] = {"/etc/ssl/certs/ca-certificates.crt",
                                      "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
                                      "/etc/ssl/cert.pem"};
  const char *named = getenv("SSL_CERT_FILE");
  if (named != NULL && *named != '\0') {
    return named;
  }
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    if (access(files[i], R_OK) == 0) {
      return files[i];
    }
  }
  return NULL;
}

static int load_own(WOLFSSL_CTX *tls, const char *file, km_errinfo *err) {
  if (access(file, R_OK) != 0) {
    int sys_errno = errno;
    return km_fail(err, sys_errno == ENOENT ? KM_ERR_FILE_NOT_FOUND : KM_ERR_RELAY_TLS,
                   "cannot read the CA file %.100s: %s", file, strerror(sys_errno));
  }
  if (wolfSSL_CTX_load_verify_locations(tls, file, NULL) != WOLFSSL_SUCCESS) {
    return km_fail(err, KM_ERR_RELAY_TLS, "the CA file %.100s holds no usable certificate (PEM)",
                   file);
  }
  return 0;
}

/* Certificates of a system's bundle that are too old or too new for us are left out. */
static void load_system(WOLFSSL_CTX *tls, const km_env *env) {
  const unsigned flags = WOLFSSL_LOAD_FLAG_IGNORE_ERR | WOLFSSL_LOAD_FLAG_DATE_ERR_OKAY;
  const char *file = find_bundle();
  if (file == NULL ||
      wolfSSL_CTX_load_verify_locations_ex(tls, file, NULL, flags) != WOLFSSL_SUCCESS) {
    KM_LOG(&env->logger, KM_LOG_WARN, KM_LOGC_RELAY, NULL, NULL, "no-trust-store",
           "no authorities found on this system: set SSL_CERT_FILE, or name a CA file");
  }
}

int km_relay_trust_new(struct WOLFSSL_CTX **ret, const km_env *env, const char *ca_file,
                       km_errinfo *err) {
  WOLFSSL_CTX *tls = wolfSSL_CTX_new(wolfTLSv1_3_client_method());
  if (tls == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  wolfSSL_CTX_set_verify(tls, WOLFSSL_VERIFY_PEER, NULL);
  int rv = 0;
  if (ca_file != NULL) {
    rv = load_own(tls, ca_file, err);
  } else {
    load_system(tls, env);
  }
  if (rv != 0) {
    wolfSSL_CTX_free(tls);
    return rv;
  }
  *ret = tls;
  return 0;
}

const char *km_relay_trust_explain(int number) {
  switch (-number) {
  case 322:
  case 325:
    return "its certificate is made out to another name";
  case 188:
  case 275:
  case 313:
    return "its certificate is not signed by an authority that is trusted here";
  case 151:
    return "its certificate has expired";
  case 150:
    return "its certificate is not valid yet; is the clock right?";
  case 326:
  case 328:
    return "it does not speak TLS 1.3 at this port";
  case 0:
  case 308:
  case 397:
    return "it hung up";
  default:
    return wolfSSL_ERR_reason_error_string((unsigned long)number);
  }
}
