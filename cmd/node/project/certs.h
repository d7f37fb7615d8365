/* keys/certs.yaml: which id an X.509 certificate of the first KeyMesh stands for. Pure. */
#ifndef KM_CMD_NODE_PROJECT_CERTS_H
#define KM_CMD_NODE_PROJECT_CERTS_H

#include <keymesh/id.h>

#define CERTS_MAX 4096

typedef struct cert_entry {
  char *name; /* the subject's common name */
  km_id id;
  char cert_fingerprint[KM_ID_TEXT_CAP]; /* SHA-256 of the certificate */
  char spki_fingerprint[KM_ID_TEXT_CAP]; /* and of the public key in it */
  char *not_after;                       /* "2030-01-31T12:00:00Z" */
} cert_entry;

typedef struct certs {
  cert_entry *at;
  size_t count;
} certs;

/* `name`: of the file, for errors. 0, KM_ERR_INVALID or KM_ERR_NOMEM; `ret` is empty then. */
KM_NODISCARD int certs_parse(certs *ret, const char *name, const char *text, size_t len,
                             km_errinfo *err);
void certs_free(certs *c);
/* Adds a copy, in place of the one of that name. 0, KM_ERR_LIMIT or KM_ERR_NOMEM. */
KM_NODISCARD int certs_put(certs *c, const cert_entry *entry, km_errinfo *err);
/* The file's text; the caller's to free with km_env_free. NULL: no memory. */
char *certs_format(const certs *c);

const cert_entry *certs_by_name(const certs *c, const char *name);
/* By either fingerprint. */
const cert_entry *certs_by_fingerprint(const certs *c, const char *fingerprint);

#endif /* KM_CMD_NODE_PROJECT_CERTS_H */
