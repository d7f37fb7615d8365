/* What a login over TLS is bound to: RFC 5705 keying material of the connection. */
#include <string.h>

#include "relay/server_impl.h"

bool km_server_tls_export(struct lws *wsi, const km_id *id, uint8_t ret[KM_RELAY_EXPORTED_LEN]) {
  WOLFSSL *ssl = (WOLFSSL *)lws_get_ssl(wsi);
  return ssl != NULL &&
         wolfSSL_export_keying_material(ssl, ret, KM_RELAY_EXPORTED_LEN, KM_RELAY_EXPORTER_LABEL,
                                        strlen(KM_RELAY_EXPORTER_LABEL), id->bytes,
                                        sizeof id->bytes, 1) == WOLFSSL_SUCCESS;
}

void km_server_tls_export_done(struct lws *wsi) {
  WOLFSSL *ssl = (WOLFSSL *)lws_get_ssl(wsi);
  if (ssl != NULL) {
    wolfSSL_FreeArrays(ssl);
  }
}
