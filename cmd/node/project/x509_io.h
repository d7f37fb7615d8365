/* X.509 certificates of the first KeyMesh. */
#ifndef KM_CMD_NODE_PROJECT_X509_IO_H
#define KM_CMD_NODE_PROJECT_X509_IO_H

#include <stdbool.h>

#include <keymesh/trust.h>

#include "cmd/node/project/certs.h"

typedef struct x509_cert {
  char name[KM_PEER_NAME_MAX + 1]; /* the subject's common name */
  char cert_fingerprint[KM_ID_TEXT_CAP];
  char spki_fingerprint[KM_ID_TEXT_CAP];
  char not_after[24]; /* "2030-01-31T12:00:00Z" */
  bool has_id;        /* its key is an Ed25519 one */
  km_id id;
} x509_cert;

/* Reads a PEM certificate and checks signature and dates against the authorities in another file.
 * KM_ERR_FILE_NOT_FOUND, KM_ERR_INVALID (no certificate, or a name that cannot be a peer's),
 * KM_ERR_CRYPTO (not signed by that authority), KM_ERR_STATE (not yet, or no longer valid). */
KM_NODISCARD int x509_read(x509_cert *ret, const char *file, const char *ca_file, km_errinfo *err);

#endif /* KM_CMD_NODE_PROJECT_X509_IO_H */
