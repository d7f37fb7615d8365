#include "cmd/node/project/project.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "cmd/cli/file_io.h"
#include "cmd/node/project/files_io.h"
#include "cmd/node/project/paths.h"
#include "cmd/node/project/project_impl.h"
#include "cmd/node/project/resolve_peers.h"

#define NAME_MAX_SHOWN 40 /* bytes of a path in an error's sentence */

/* --- finding the file ------------------------------------------------------------------------ */

/* The configuration's path without symbolic links: `path` may be its folder. */
static int find_config(char **ret, const char *path, km_errinfo *err) {
  const char *from_env = path == NULL ? getenv("KM_PROJECT") : NULL;
  const char *wanted = path != NULL                              ? path
                       : from_env != NULL && from_env[0] != '\0' ? from_env
                                                                 : PROJECT_CONFIG;
  files_info info;
  char *config = NULL;
  if (files_look(&info, wanted) && info.is_folder) {
    size_t cap = strlen(wanted) + sizeof PROJECT_CONFIG + 1;
    config = km_env_alloc(&km_env_system, cap);
    if (config == NULL) {
      return km_fail(err, KM_ERR_NOMEM, NULL);
    }
    (void)snprintf(config, cap, "%s/" PROJECT_CONFIG, wanted);
    wanted = config;
  }
  int rv = files_look(&info, wanted) || path != NULL
               ? files_real_path(ret, wanted, err)
               : km_fail(err, KM_ERR_FILE_NOT_FOUND,
                         "there is no %.100s: make a project with km-node init, or say where it "
                         "is with --config",
                         wanted);
  km_env_free(&km_env_system, config);
  return rv;
}

/* --- reading --------------------------------------------------------------------------------- */

static int parse_file(project_file **ret, const char *path, const char *shown, km_errinfo *err) {
  file_text text;
  char *dir = path_join(path, "..");
  if (dir == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  int rv = file_read(&text, path, "configuration", err);
  if (rv == 0) {
    rv = config_parse(ret, dir, path, shown, text.bytes, text.len, err);
    file_free(&text);
  }
  km_env_free(&km_env_system, dir);
  return rv;
}

/* What errors call the file: as it was asked for, if that is short, for an error's sentence is. */
static const char *name_for(const char *asked, const char *found, char buf[NAME_MAX_SHOWN + 1]) {
  const char *base = strrchr(found, '/') + 1;
  files_info info;
  bool is_folder = asked != NULL && files_look(&info, asked) && info.is_folder;
  size_t len = asked == NULL ? 0 : strlen(asked);
  bool slash = len > 0 && asked[len - 1] == '/';
  int size = snprintf(buf, NAME_MAX_SHOWN + 1, "%s%s%s", asked == NULL ? base : asked,
                      is_folder && !slash ? "/" : "", is_folder ? base : "");
  return size > 0 && size <= NAME_MAX_SHOWN ? buf : base;
}

int project_read(project_file **ret, const char *path, km_errinfo *err) {
  char name[NAME_MAX_SHOWN + 1];
  char *found = NULL;
  int rv = find_config(&found, path, err);
  if (rv != 0 || found == NULL) {
    return rv;
  }
  rv = parse_file(ret, found, name_for(path, found, name), err);
  km_env_free(&km_env_system, found);
  return rv;
}

int project_certs(const project *p, certs *ret, km_errinfo *err) {
  files_info info;
  file_text text;
  *ret = (certs){0};
  if (!files_look(&info, p->certs_file)) {
    return 0;
  }
  int rv = file_read(&text, p->certs_file, "certificates' file", err);
  if (rv == 0) {
    rv = certs_parse(ret, path_shorten(p->dir, p->certs_file), text.bytes, text.len, err);
    file_free(&text);
  }
  return rv;
}

int project_load(project **ret, const char *path, km_errinfo *err) {
  project_file *f = NULL;
  certs c = {0};
  int rv = project_read(&f, path, err);
  if (rv != 0 || f == NULL) {
    return rv;
  }
  rv = project_certs(&f->pub, &c, err);
  if (rv == 0) {
    rv = project_resolve(f, &c, err);
    certs_free(&c);
  }
  if (rv != 0) {
    config_free(f);
    return rv;
  }
  *ret = &f->pub;
  return 0;
}

int project_unread(project **ret, const char *path, km_errinfo *err) {
  static const char least[] = "node:\n  id: node\n";
  project_file *f = NULL;
  char *found = NULL;
  int rv = find_config(&found, path, err);
  if (rv != 0 || found == NULL) {
    return rv;
  }
  char *dir = path_join(found, "..");
  rv = dir == NULL ? km_fail(err, KM_ERR_NOMEM, NULL)
                   : config_parse(&f, dir, found, PROJECT_CONFIG, least, strlen(least), err);
  km_env_free(&km_env_system, dir);
  km_env_free(&km_env_system, found);
  if (rv != 0) {
    return rv;
  }
  *ret = &f->pub;
  return 0;
}

void project_free(project *p) {
  config_free((project_file *)p); /* its first member */
}

/* --- what is made of it ---------------------------------------------------------------------- */

int project_store(const project *p, const km_secret_key *key, km_store **ret, km_errinfo *err) {
  bool made;
  km_store_options options;
  km_store_options_default(&options);
  options.path = p->store_path;
  options.secret_key = key;
  options.durability = p->durability;
  options.max_key = p->max_key;
  options.max_value = p->max_value;
  options.max_skew_ms = p->max_skew_ms;
  options.tombstone_min_s = p->tombstone_min_s;
  char *dir = path_join(p->store_path, "..");
  int rv =
      dir == NULL ? km_fail(err, KM_ERR_NOMEM, NULL) : files_make_folder(dir, 0700, &made, err);
  km_env_free(&km_env_system, dir);
  return rv != 0 ? rv : km_store_open(ret, &options, err);
}

static void fill_limits(const project *p, km_mesh_options *o) {
  o->heartbeat_ms = p->heartbeat_ms;
  o->heartbeat_timeout_ms = p->heartbeat_timeout_ms;
  o->connect_timeout_ms = p->connect_timeout_ms;
  o->backoff_ms = p->backoff_ms;
  o->backoff_count = p->backoff_count;
  o->backoff_jitter_percent = p->backoff_jitter_percent;
  o->sync_interval_ms = p->sync_interval_ms;
  o->max_message = p->max_message;
  o->rate_per_minute = p->rate_per_minute;
  o->rate_per_second = p->rate_per_second;
  o->max_conns_per_addr = p->max_conns_per_addr;
  o->max_faults = p->max_faults;
}

void project_mesh_options(const project *p, km_mesh_options *ret) {
  const project_file *f = (const project_file *)p;
  km_mesh_options_default(ret);
  ret->node_id = p->node_id;
  ret->shares = f->mesh_shares;
  ret->share_count = p->share_count;
  ret->peers = f->mesh_peers;
  ret->peer_count = f->mesh_peer_count;
  ret->allow = p->allow;
  ret->allow_count = p->allow_count;
  ret->allow_fingerprints = (const char *const *)p->fingerprints;
  ret->allow_fingerprint_count = p->fingerprint_count;
  ret->block = p->block;
  ret->block_count = p->block_count;
  ret->level = p->level;
  ret->recommend_threshold = p->recommend_threshold;
  ret->accept_revocations = p->accept_revocations;
  fill_limits(p, ret);
}
