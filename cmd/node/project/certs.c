#include "cmd/node/project/certs.h"

#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "cmd/cli/yaml.h"
#include "cmd/node/project/config.h"

#define ENTRY_MAX 1024 /* bytes of an entry's text */

static const char head[] =
    "# Which id a certificate of the first KeyMesh stands for. Written by `km-node cert import`.\n"
    "certs:\n";

/* --- the list -------------------------------------------------------------------------------- */

static void free_entry(cert_entry *e) {
  km_env_free(&km_env_system, e->name);
  km_env_free(&km_env_system, e->not_after);
  *e = (cert_entry){0};
}

void certs_free(certs *c) {
  for (size_t i = 0; i < c->count; i++) {
    free_entry(&c->at[i]);
  }
  km_env_free(&km_env_system, c->at);
  *c = (certs){0};
}

const cert_entry *certs_by_name(const certs *c, const char *name) {
  for (size_t i = 0; i < c->count; i++) {
    if (strcmp(c->at[i].name, name) == 0) {
      return &c->at[i];
    }
  }
  return NULL;
}

const cert_entry *certs_by_fingerprint(const certs *c, const char *fingerprint) {
  for (size_t i = 0; i < c->count; i++) {
    if (strcmp(c->at[i].cert_fingerprint, fingerprint) == 0 ||
        strcmp(c->at[i].spki_fingerprint, fingerprint) == 0) {
      return &c->at[i];
    }
  }
  return NULL;
}

int certs_put(certs *c, const cert_entry *entry, km_errinfo *err) {
  cert_entry copy = *entry;
  copy.name = km_env_strdup(&km_env_system, entry->name);
  copy.not_after = km_env_strdup(&km_env_system, entry->not_after);
  cert_entry *before = (cert_entry *)(uintptr_t)certs_by_name(c, entry->name);
  cert_entry *grown = c->at;
  if (before == NULL && c->count < CERTS_MAX) {
    grown = km_env_realloc(&km_env_system, c->at, c->count + 1, sizeof *grown);
    c->at = grown == NULL ? c->at : grown;
  }
  if (copy.name == NULL || copy.not_after == NULL || grown == NULL ||
      (before == NULL && c->count == CERTS_MAX)) {
    bool full = c->count == CERTS_MAX;
    free_entry(&copy);
    return full ? km_fail(err, KM_ERR_LIMIT, "there are %d certificates already", CERTS_MAX)
                : km_fail(err, KM_ERR_NOMEM, NULL);
  }
  if (before != NULL) {
    free_entry(before);
    *before = copy;
  } else {
    c->at[c->count++] = copy;
  }
  return 0;
}

/* --- the file -------------------------------------------------------------------------------- */

char *certs_format(const certs *c) {
  size_t cap = sizeof head + 8 + c->count * ENTRY_MAX, used = 0;
  char *ret = km_env_alloc(&km_env_system, cap);
  char id[KM_ID_TEXT_CAP];
  if (ret == NULL) {
    return NULL;
  }
  used = (size_t)snprintf(ret, cap, "%s", head);
  for (size_t i = 0; i < c->count; i++) {
    const cert_entry *e = &c->at[i];
    (void)km_id_format(&e->id, KM_ID_HEX, id, sizeof id);
    int n = snprintf(ret + used, cap - used,
                     "  - name: \"%.*s\"\n    id: \"%s\"\n    cert_fingerprint: \"%s\"\n"
                     "    spki_fingerprint: \"%s\"\n    not_after: \"%.32s\"\n",
                     KM_PEER_NAME_MAX, e->name, id, e->cert_fingerprint, e->spki_fingerprint,
                     e->not_after);
    used += n > 0 ? (size_t)n : 0;
  }
  if (c->count == 0) {
    (void)snprintf(ret + used, cap - used, "  []\n");
  }
  return ret;
}

static const char *const keys[] = {"name",      "id", "cert_fingerprint", "spki_fingerprint",
                                   "not_after", NULL};

static const char *text_of(const tree *map, const char *key) {
  const tree *t = tree_get(map, key);
  return t == NULL || t->kind != TREE_SCALAR ? "" : t->text;
}

static int take_entry(const config_at *at, const tree *map, certs *c) {
  cert_entry e = {0};
  int rv = config_check_map(at, map, keys);
  if (rv != 0) {
    return rv;
  }
  const char *id = text_of(map, "id"), *name = text_of(map, "name");
  if (name[0] == '\0' || strlen(name) > KM_PEER_NAME_MAX || certs_by_name(c, name) != NULL) {
    return config_refuse(at, map, "the name is missing, too long, or there twice");
  }
  if (km_id_parse(&e.id, id, strlen(id), at->err) != 0) {
    return config_refuse(at, map, "its id is none");
  }
  if (!config_fingerprint(e.cert_fingerprint, text_of(map, "cert_fingerprint")) ||
      !config_fingerprint(e.spki_fingerprint, text_of(map, "spki_fingerprint"))) {
    return config_refuse(at, map, "a fingerprint is missing or none");
  }
  e.name = (char *)(uintptr_t)name; /* certs_put copies */
  e.not_after = (char *)(uintptr_t)text_of(map, "not_after");
  return certs_put(c, &e, at->err);
}

int certs_parse(certs *ret, const char *name, const char *text, size_t len, km_errinfo *err) {
  static const char *const top[] = {"certs", NULL};
  km_errinfo unused;
  project_file file = {.name = (char *)(uintptr_t)name}; /* for the errors' sake */
  const config_at root = {.file = &file, .err = err == NULL ? &unused : err};
  const config_at at = config_step(&root, "certs");
  tree t;
  *ret = (certs){0};
  int rv = tree_parse(&t, name, text, len, root.err);
  if (rv != 0) {
    return rv;
  }
  rv = config_check_map(&root, &t, top);
  const tree *list = tree_get(&t, "certs");
  if (rv == 0 && list != NULL && !tree_is_null(list)) {
    rv = config_check_list(&at, list, CERTS_MAX);
    for (size_t i = 0; rv == 0 && i < list->count; i++) {
      const config_at here = config_step_into(&at, i);
      rv = take_entry(&here, &list->items[i], ret);
    }
  }
  tree_free(&t);
  if (rv != 0) {
    certs_free(ret);
  }
  return rv;
}
