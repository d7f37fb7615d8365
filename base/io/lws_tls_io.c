/* The certificate of servers. lws' own context of a listener stays as it was made; each
 * handshake is moved to the current one, so that a reload disturbs nobody. */
#include "base/io/lws_tls_io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct km_lws_tls {
  const km_env *env;
  char *cert_file, *key_file;
  WOLFSSL_CTX *current;
  int bad_code;
};

/* wolfSSL does not say why a file could not be loaded: the usual reasons are looked at first. */
static int check_readable(const char *path, const char *what, km_errinfo *err) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return km_fail_errno(err, errno, "cannot read the %s %s", what, path);
  }
  (void)close(fd);
  return 0;
}

static int load(const km_lws_tls *tls, WOLFSSL_CTX **ret, km_errinfo *err) {
  int rv = check_readable(tls->cert_file, "certificate", err);
  if (rv == 0) {
    rv = check_readable(tls->key_file, "private key", err);
  }
  if (rv != 0) {
    return rv;
  }
  WOLFSSL_CTX *ctx = wolfSSL_CTX_new(wolfTLSv1_3_server_method());
  if (ctx == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  const char *wrong = NULL;
  if (wolfSSL_CTX_use_certificate_chain_file(ctx, tls->cert_file) != WOLFSSL_SUCCESS) {
    wrong = "has no PEM certificate chain that can be used";
  } else if (wolfSSL_CTX_use_PrivateKey_file(ctx, tls->key_file, WOLFSSL_FILETYPE_PEM) !=
             WOLFSSL_SUCCESS) {
    wrong = "goes with a key file that has no PEM private key";
  } else if (wolfSSL_CTX_check_private_key(ctx) != WOLFSSL_SUCCESS) {
    wrong = "does not belong to the private key";
  }
  if (wrong != NULL) {
    wolfSSL_CTX_free(ctx);
    return km_fail(err, tls->bad_code, "%s %s (key: %s)", tls->cert_file, wrong, tls->key_file);
  }
  (void)wolfSSL_CTX_no_ticket_TLSv13(ctx); /* nothing worth the memory is won by resuming */
  *ret = ctx;
  return 0;
}

int km_lws_tls_reload(km_lws_tls *tls, km_errinfo *err) {
  WOLFSSL_CTX *fresh = NULL;
  int rv = load(tls, &fresh, err);
  if (rv == 0) {
    wolfSSL_CTX_free(tls->current); /* connections hold references of their own */
    tls->current = fresh;
  }
  return rv;
}

int km_lws_tls_new(km_lws_tls **ret, const km_env *env, const char *cert_file, const char *key_file,
                   int bad_code, km_errinfo *err) {
  if (cert_file == NULL || key_file == NULL) {
    return km_fail(err, KM_ERR_INVALID, "HTTPS needs a certificate file and a key file");
  }
  km_lws_tls *tls = km_env_zalloc(env, 1, sizeof *tls);
  if (tls == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  tls->env = env;
  tls->bad_code = bad_code;
  tls->cert_file = km_env_strdup(env, cert_file);
  tls->key_file = km_env_strdup(env, key_file);
  int rv = tls->cert_file == NULL || tls->key_file == NULL ? km_fail(err, KM_ERR_NOMEM, NULL)
                                                           : load(tls, &tls->current, err);
  if (rv != 0) {
    km_lws_tls_free(tls);
    return rv;
  }
  *ret = tls;
  return 0;
}

void km_lws_tls_free(km_lws_tls *tls) {
  if (tls == NULL) {
    return;
  }
  wolfSSL_CTX_free(tls->current);
  km_env_free(tls->env, tls->cert_file);
  km_env_free(tls->env, tls->key_file);
  km_env_free(tls->env, tls);
}

void km_lws_tls_fill(const km_lws_tls *tls, struct lws_context_creation_info *info) {
  info->options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT | LWS_SERVER_OPTION_CREATE_VHOST_SSL_CTX;
  info->ssl_cert_filepath = tls->cert_file; /* wolfSSL starts no handshake without one */
  info->ssl_private_key_filepath = tls->key_file;
}

/* Called for every ClientHello, with a server name in it or not. */
static int on_client_hello(WOLFSSL *ssl, int *alert, void *arg) {
  const km_lws_tls *tls = arg;
  (void)alert;
  (void)wolfSSL_set_SSL_CTX(ssl, tls->current); /* NULL: out of memory, the old one serves */
  return 0;
}

void km_lws_tls_attach(km_lws_tls *tls, void *ssl_ctx) {
  wolfSSL_CTX_set_servername_callback(ssl_ctx, on_client_hello);
  (void)wolfSSL_CTX_set_servername_arg(ssl_ctx, tls);
  (void)wolfSSL_CTX_no_ticket_TLSv13(ssl_ctx);
}
