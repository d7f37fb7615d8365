/* Any configuration: no crash; what is read keeps its promises, what is not has a sentence with its
 * line. The first byte chooses: a tree, a project, the file of certificates. */
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "cmd/node/project/certs.h"
#include "cmd/node/project/config.h"
#include "cmd/node/project/paths.h"
#include "cmd/node/project/resolve_peers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

static void check_error(int rv, const km_errinfo *err) {
  check(rv < 0 && err->code == rv && err->text[0] != '\0');
}

static void check_tree(const tree *t, unsigned depth) {
  check(depth <= TREE_MAX_DEPTH && t->line >= 1);
  check((t->kind == TREE_SCALAR) == (t->text != NULL));
  for (size_t i = 0; i < t->count; i++) {
    check_tree(&t->items[i], depth + 1);
    check(t->kind != TREE_MAP || tree_get(t, t->keys[i]) == &t->items[i]);
  }
}

static void try_tree(const char *text, size_t len) {
  tree t;
  km_errinfo err = {0};
  int rv = tree_parse(&t, "f", text, len, &err);
  if (rv != 0) {
    check_error(rv, &err);
    check(strncmp(err.text, "f:", 2) == 0 && t.items == NULL && t.text == NULL);
    return;
  }
  check_tree(&t, 0);
  tree_free(&t);
}

static void check_project(const project *p) {
  check(p->node_id != NULL && p->node_id[0] != '\0' && strlen(p->node_id) <= KM_PEER_NAME_MAX);
  check(p->backoff_count >= 1 && p->backoff_count <= KM_MESH_BACKOFF_MAX);
  check(p->heartbeat_ms >= 100 && p->connect_timeout_ms >= 100 && p->backoff_jitter_percent <= 50);
  check(p->max_key >= 1 && p->max_key <= 1024 && p->max_value >= 1 && p->max_value <= 1048576);
  check(p->store_path[0] == '/' && p->key_file[0] == '/' && p->control_path[0] == '/');
  for (size_t i = 0; i < p->share_count; i++) {
    const char *path = p->shares[i].path;
    check(path == NULL || (path_is_inside(p->dir, path) && strstr(path, "/../") == NULL));
  }
  for (size_t i = 0; i < p->peer_count; i++) {
    check(p->peers[i].id_text != NULL);
    check(p->peers[i].fingerprint == NULL || strlen(p->peers[i].fingerprint) == 71);
  }
}

static void try_project(const char *text, size_t len) {
  project_file *f;
  const certs none = {0};
  km_errinfo err = {0};
  int rv = config_parse(&f, "/p", "keymesh.yaml", "f", text, len, &err);
  if (rv != 0) {
    check_error(rv, &err);
    return;
  }
  check_project(&f->pub);
  rv = project_resolve(f, &none, &err);
  if (rv == 0) {
    check(f->mesh_peer_count <= f->pub.peer_count);
  } else {
    check_error(rv, &err);
  }
  config_free(f);
}

static void try_certs(const char *text, size_t len) {
  certs c, again;
  km_errinfo err = {0};
  int rv = certs_parse(&c, "f", text, len, &err);
  if (rv != 0) {
    check_error(rv, &err);
    return;
  }
  for (size_t i = 0; i < c.count; i++) {
    check(strlen(c.at[i].cert_fingerprint) == 71 && strlen(c.at[i].spki_fingerprint) == 71);
    check(certs_by_name(&c, c.at[i].name) == &c.at[i]);
  }
  char *written = certs_format(&c);
  check(written != NULL);
  if (certs_parse(&again, "f", written, strlen(written), &err) == 0) {
    check(again.count == c.count);
    certs_free(&again);
  } else {
    check(strpbrk(text, "\"\\'|>") != NULL); /* names that cert import never writes */
  }
  km_env_free(&km_env_system, written);
  certs_free(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  if (len == 0) {
    return 0;
  }
  char *text = malloc(len);
  check(text != NULL);
  memcpy(text, data + 1, len - 1);
  text[len - 1] = '\0';
  switch (data[0] % 3) {
  case 0:
    try_tree(text, len - 1);
    break;
  case 1:
    try_project(text, len - 1);
    break;
  default:
    try_certs(text, len - 1);
  }
  free(text);
  return 0;
}
