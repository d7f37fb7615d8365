#include "cmd/node/project/key.h"

#include "base/env.h"
#include "cmd/node/project/project.h"

bool key_is_sealed(const char *path) {
  return km_secret_key_is_sealed(path);
}

int key_read(km_secret_key **ret, const char *path, const passphrase_source *source,
             km_errinfo *err) {
  passphrase p;
  if (!km_secret_key_is_sealed(path)) {
    return km_secret_key_load(ret, path, err);
  }
  int rv = passphrase_get(&p, source, err);
  if (rv != 0) {
    return rv;
  }
  rv = km_secret_key_load_sealed(ret, path, p.text, p.len, err);
  passphrase_wipe(&p);
  return rv;
}

int key_write(const km_secret_key *key, const char *path, const passphrase *p, km_errinfo *err) {
  return p == NULL ? km_secret_key_save(key, path, err)
                   : km_secret_key_save_sealed(key, path, p->text, p->len, err);
}

int project_key(const project *p, km_secret_key **ret, km_errinfo *err) {
  const passphrase_source source = {p->passphrase_file, "KM_PASSPHRASE",
                                    "Passphrase of this node's key: ", false};
  int rv = key_read(ret, p->key_file, &source, err);
  return rv != KM_ERR_NOT_FOUND
             ? rv
             : km_fail(err, KM_ERR_INVALID,
                       "the key is sealed, and there is no terminal to ask for its passphrase at: "
                       "name a file in security.passphrase_file, or set $KM_PASSPHRASE");
}
