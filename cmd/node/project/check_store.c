/* km-node check: the key and the store. */
#include <string.h>

#include "base/env.h"
#include "cmd/node/project/check.h"
#include "cmd/node/project/files_io.h"
#include "cmd/node/project/key.h"
#include "cmd/node/project/paths.h"

static const char *shown(const check *c, const char *path) {
  return path_shorten(c->file->pub.dir, path);
}

/* --- the key --------------------------------------------------------------------------------- */

static void check_key_folder(check *c) {
  const project *p = &c->file->pub;
  files_info info;
  char *dir = path_join(p->key_file, "..");
  if (dir != NULL && files_look(&info, dir) && (info.mode & 0077) != 0 &&
      strcmp(dir, p->dir) != 0) {
    check_row(c, CHECK_WARNING, "key", "chmod 700 the folder", "others may look into %s",
              shown(c, dir));
  }
  km_env_free(&km_env_system, dir);
}

/* A sealed key is opened when the passphrase is at hand; nobody is asked. */
static void read_sealed(check *c) {
  const project *p = &c->file->pub;
  km_errinfo err;
  const passphrase_source source = {p->passphrase_file, "KM_PASSPHRASE", NULL, false};
  int rv = key_read(&c->key, p->key_file, &source, &err);
  if (rv == KM_ERR_NOT_FOUND) {
    check_row(c, CHECK_OK, "key", NULL, "%s is sealed; without its passphrase it was not opened",
              shown(c, p->key_file));
  } else if (rv != 0) {
    check_row_err(c, "key",
                  rv == KM_ERR_KEY_SEALED ? "correct the passphrase: it is in "
                                            "security.passphrase_file or $KM_PASSPHRASE"
                                          : NULL,
                  &err);
  }
}

static void tell_key(check *c) {
  char id[KM_ID_TEXT_CAP];
  const project *p = &c->file->pub;
  km_secret_key_id(c->key, &c->own);
  (void)km_id_format(&c->own, KM_ID_HEX, id, sizeof id);
  check_row(c, CHECK_OK, "key", NULL, "%s%s, id %s", shown(c, p->key_file),
            key_is_sealed(p->key_file) ? ", sealed" : "", id);
}

static const char *hint_of(int code) {
  return code == KM_ERR_FILE_NOT_FOUND ? "make one with km-node key new --out PATH, or km-node "
                                         "security init"
         : code == KM_ERR_BAD_KEY_FILE ? "an Ed25519 key has to be in it (PKCS#8 in PEM form, hex "
                                         "or base32): make one with km-node key new --out PATH"
                                       : NULL;
}

void check_key(check *c) {
  const project *p = &c->file->pub;
  km_errinfo err;
  files_info info;
  check_key_folder(c);
  if (key_is_sealed(p->key_file)) {
    read_sealed(c);
  } else {
    int rv = km_secret_key_load(&c->key, p->key_file, &err);
    if (rv != 0) {
      check_row_err(c, "key", hint_of(rv), &err);
    }
  }
  if (c->key != NULL) {
    tell_key(c);
  }
  if (p->passphrase_file != NULL && !files_look(&info, p->passphrase_file)) {
    check_row(c, CHECK_ERROR, "key", "make it, with mode 600, or correct security.passphrase_file",
              "there is no passphrase's file %s", shown(c, p->passphrase_file));
  }
}

/* --- the store ------------------------------------------------------------------------------- */

static void check_new_store(check *c, const char *path) {
  files_info info;
  char *dir = path_join(path, "..");
  if (dir != NULL && files_look(&info, dir) && !info.writable) {
    check_row(c, CHECK_ERROR, "store", "make its folder writable, or name another in store.path",
              "%s cannot be made", shown(c, path));
  } else {
    check_row(c, CHECK_OK, "store", NULL, "%s will be made", shown(c, path));
  }
  km_env_free(&km_env_system, dir);
}

static void open_store(check *c, const project *p) {
  km_store *store;
  km_errinfo err;
  int rv = project_store(p, c->key, &store, &err);
  if (rv == 0) {
    rv = km_store_check(store, &err);
    km_store_close(store);
  }
  if (rv == 0) {
    check_row(c, CHECK_OK, "store", NULL, "%s", shown(c, p->store_path));
  } else if (rv == KM_ERR_STORE_BUSY) {
    check_row(c, CHECK_OK, "store", NULL, "%s is held by the running node",
              shown(c, p->store_path));
  } else {
    check_row_err(c, "store",
                  rv == KM_ERR_STATE ? "put the key back with which it was made, or name another "
                                       "store in store.path"
                  : rv == KM_ERR_STORE_DAMAGED ? "restore it from a backup; or move it away: what "
                                                 "peers have of it comes back from them"
                                               : NULL,
                  &err);
  }
}

void check_store(check *c) {
  const project *p = &c->file->pub;
  files_info info;
  if (!files_look(&info, p->store_path)) {
    check_new_store(c, p->store_path);
  } else if (c->key == NULL) {
    check_row(c, CHECK_OK, "store", NULL, "%s; without the key it was not opened",
              shown(c, p->store_path));
  } else {
    open_store(c, p);
  }
}
