#include "cmd/node/project/config.h"

#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "cmd/node/project/paths.h"

#define DAY_MS 86400000u

/* --- the table of all keys but those of peers and shares ------------------------------------- */

#define AT(member) offsetof(project_file, pub.member)
#define LIST(member, count) AT(member), AT(count)
#define ONE(member) AT(member), 0
#define UNUSED_KEY(key)                                                                            \
  { key, CONFIG_NO_EFFECT, 0, 0, 0, 0, NULL }

static const char *const levels[] = {"development", "signed", "secure", "strict", NULL};
static const char *const durabilities[] = {"process", "power", NULL};
static const char *const relay_modes[] = {"off", "default", "staging", "custom", "dial-only", NULL};
static const char *const log_levels[] = {"off", "error", "warn", "info", "debug", "trace", NULL};

static const config_field node_fields[] = {
    {"id", CONFIG_NAME, ONE(node_id), 0, 0, NULL},
    {"bind_host", CONFIG_IP, ONE(bind_host), 0, 0, NULL},
    {"listen_port", CONFIG_NUMBER16, ONE(listen_port), 0, 65535, NULL},
    {"control_socket", CONFIG_PATH, ONE(control_path), 0, 0, NULL},
    {0},
};

static const config_field security_fields[] = {
    {"key", CONFIG_PATH, ONE(key_file), 0, 0, NULL},
    {"passphrase_file", CONFIG_PATH, ONE(passphrase_file), 0, 0, NULL},
    {"level", CONFIG_CHOICE, ONE(level), 0, 0, levels},
    {"recommend_threshold", CONFIG_NUMBER, ONE(recommend_threshold), 0, 100, NULL},
    {"accept_revocations", CONFIG_BOOL, ONE(accept_revocations), 0, 0, NULL},
    {"allow", CONFIG_IDS, LIST(allow, allow_count), 0, 0, NULL},
    {"block", CONFIG_IDS, LIST(block, block_count), 0, 0, NULL},
    {"fingerprint_whitelist", CONFIG_FINGERPRINTS, LIST(fingerprints, fingerprint_count), 0, 0,
     NULL},
    {"certs_file", CONFIG_PATH, ONE(certs_file), 0, 0, NULL},
    {"ca_cert", CONFIG_PATH, offsetof(project_file, ca_cert), 0, 0, 0, NULL},
    {"cert", CONFIG_PATH, offsetof(project_file, cert), 0, 0, 0, NULL},
    {0},
};

static const config_field store_fields[] = {
    {"path", CONFIG_PATH, ONE(store_path), 0, 0, NULL},
    {"durability", CONFIG_CHOICE, ONE(durability), 0, 0, durabilities},
    {"max_key", CONFIG_NUMBER, ONE(max_key), 1, 1024, NULL},
    {"max_value", CONFIG_NUMBER, ONE(max_value), 1, 1048576, NULL},
    {"max_skew_ms", CONFIG_NUMBER, ONE(max_skew_ms), 0, DAY_MS, NULL},
    {"tombstone_min_sec", CONFIG_NUMBER, ONE(tombstone_min_s), 0, 315360000, NULL},
    {0},
};

static const config_field limits_fields[] = {
    {"max_message", CONFIG_NUMBER, ONE(max_message), 1, KM_MESSAGE_BODY_MAX, NULL},
    {"rate_per_minute", CONFIG_NUMBER, ONE(rate_per_minute), 0, 1000000, NULL},
    {"rate_per_second", CONFIG_NUMBER, ONE(rate_per_second), 0, 1000000, NULL},
    {"max_conns_per_addr", CONFIG_NUMBER, ONE(max_conns_per_addr), 1, 65535, NULL},
    {"max_faults", CONFIG_NUMBER, ONE(max_faults), 1, 1000000, NULL},
    {0},
};

static const config_field connectivity_fields[] = {
    {"heartbeat_sec", CONFIG_SECONDS, ONE(heartbeat_ms), 100, 3600000, NULL},
    {"heartbeat_timeout_sec", CONFIG_SECONDS, ONE(heartbeat_timeout_ms), 0, DAY_MS, NULL},
    {"connect_timeout_ms", CONFIG_NUMBER, ONE(connect_timeout_ms), 100, 600000, NULL},
    {"sync_interval_sec", CONFIG_SECONDS, ONE(sync_interval_ms), 1000, DAY_MS, NULL},
    {"backoff", CONFIG_BACKOFF, ONE(backoff_ms), 100, 3600000, NULL},
    {"backoff_jitter_percent", CONFIG_NUMBER8, ONE(backoff_jitter_percent), 0, 50, NULL},
    {"relay", CONFIG_CHOICE, ONE(relay_mode), 0, 0, relay_modes},
    {"relay_urls", CONFIG_URLS, LIST(relay_urls, relay_url_count), 0, 0, NULL},
    {"relay_ca", CONFIG_PATH, ONE(relay_ca_file), 0, 0, NULL},
    {"port_mapping", CONFIG_BOOL, ONE(port_mapping), 0, 0, NULL},
    {0},
};

static const config_field discovery_fields[] = {
    {"mdns", CONFIG_BOOL, ONE(mdns), 0, 0, NULL},
    {"publish", CONFIG_BOOL, ONE(publish), 0, 0, NULL},
    {"publish_direct", CONFIG_BOOL, ONE(publish_direct), 0, 0, NULL},
    {"pkarr", CONFIG_TEXTS, LIST(pkarr_urls, pkarr_url_count), 0, 0, NULL},
    {"dns_origins", CONFIG_TEXTS, LIST(dns_origins, dns_origin_count), 0, 0, NULL},
    {0},
};

static const config_field status_fields[] = {
    {"enabled", CONFIG_BOOL, ONE(status_enabled), 0, 0, NULL},
    {"host", CONFIG_IP, ONE(status_host), 0, 0, NULL},
    {"port", CONFIG_NUMBER16, ONE(status_port), 0, 65535, NULL},
    {"token", CONFIG_TOKEN, ONE(status_token), 0, 0, NULL},
    {0},
};

static const config_field hooks_fields[] = {
    {"on_message", CONFIG_TEXT, ONE(on_message), 0, 4096, NULL},
    {0},
};

static const config_field logging_fields[] = {
    {"level", CONFIG_CHOICE, ONE(log_level), 0, 0, log_levels},
    {"file", CONFIG_PATH, ONE(log_file), 0, 0, NULL},
    {0},
};

static const config_field transfer_fields[] = {
    UNUSED_KEY("chunk_mb"),
    UNUSED_KEY("concurrent_files"),
    UNUSED_KEY("concurrent_chunks_per_file"),
    UNUSED_KEY("rate_limit_mbps"),
    {0},
};

const config_section config_sections[] = {
    {"node", node_fields},
    {"security", security_fields},
    {"store", store_fields},
    {"limits", limits_fields},
    {"connectivity", connectivity_fields},
    {"discovery", discovery_fields},
    {"status_http", status_fields},
    {"hooks", hooks_fields},
    {"logging", logging_fields},
    {"transfer", transfer_fields},
    {0},
};

/* --- defaults -------------------------------------------------------------------------------- */

static void take_numbers(project *p) {
  km_mesh_options mesh;
  km_store_options store;
  km_mesh_options_default(&mesh);
  km_store_options_default(&store);
  p->level = mesh.level;
  p->recommend_threshold = mesh.recommend_threshold;
  p->accept_revocations = mesh.accept_revocations;
  p->durability = store.durability;
  p->max_key = store.max_key;
  p->max_value = store.max_value;
  p->max_skew_ms = store.max_skew_ms;
  p->tombstone_min_s = store.tombstone_min_s;
  p->max_message = mesh.max_message;
  p->rate_per_minute = mesh.rate_per_minute;
  p->rate_per_second = mesh.rate_per_second;
  p->max_conns_per_addr = mesh.max_conns_per_addr;
  p->max_faults = mesh.max_faults;
  p->heartbeat_ms = mesh.heartbeat_ms;
  p->heartbeat_timeout_ms = mesh.heartbeat_timeout_ms;
  p->connect_timeout_ms = mesh.connect_timeout_ms;
  p->sync_interval_ms = mesh.sync_interval_ms;
  p->backoff_jitter_percent = mesh.backoff_jitter_percent;
}

static void take_defaults(project *p) {
  static const uint32_t backoff[] = {1000, 3000, 10000, 30000}; /* as km_mesh_options_default */
  take_numbers(p);
  memcpy(p->backoff_ms, backoff, sizeof backoff);
  p->backoff_count = sizeof backoff / sizeof backoff[0];
  p->relay_mode = KM_RELAY_MODE_DIAL_ONLY;
  p->port_mapping = p->mdns = p->publish = p->status_enabled = true;
  p->status_port = 52180;
  p->log_level = KM_LOG_INFO;
}

/* What is to be somewhere if the file does not say where. */
static int take_default_paths(project *p, km_errinfo *err) {
  const struct {
    char **path;
    const char *name;
  } all[] = {{&p->key_file, "keys/node.key"},
             {&p->certs_file, "keys/certs.yaml"},
             {&p->store_path, "data/store.db"},
             {&p->control_path, "run/control.sock"}};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    *all[i].path = *all[i].path != NULL ? *all[i].path : path_join(p->dir, all[i].name);
    if (*all[i].path == NULL) {
      return km_fail(err, KM_ERR_NOMEM, NULL);
    }
  }
  if (p->status_host == NULL) {
    p->status_host = km_env_strdup(&km_env_system, "127.0.0.1");
  }
  return p->status_host == NULL ? km_fail(err, KM_ERR_NOMEM, NULL) : 0;
}

/* --- reading --------------------------------------------------------------------------------- */

static int take_section(const config_at *root, const config_section *section, const tree *t) {
  const char *keys[33] = {NULL};
  for (size_t i = 0; section->fields[i].key != NULL; i++) {
    keys[i] = section->fields[i].key;
  }
  const config_at at = config_step(root, section->name);
  int rv = t == NULL || tree_is_null(t) ? 0 : config_check_map(&at, t, keys);
  for (const config_field *f = section->fields; rv == 0 && f->key != NULL; f++) {
    const tree *value = tree_get(t, f->key);
    const config_at here = config_step(&at, f->key);
    rv = value == NULL ? 0 : config_take_field(&here, value, f);
  }
  return rv;
}

static int take_all_sections(const config_at *at, const tree *root) {
  const char *keys[sizeof config_sections / sizeof config_sections[0] + 2] = {"peers", "shares"};
  for (size_t i = 0; config_sections[i].name != NULL; i++) {
    keys[i + 2] = config_sections[i].name;
  }
  int rv = config_check_map(at, root, keys);
  for (const config_section *s = config_sections; rv == 0 && s->name != NULL; s++) {
    rv = take_section(at, s, tree_get(root, s->name));
  }
  return rv;
}

/* What does not go together. */
static int check_together(const config_at *root, const tree *t) {
  project *p = &root->file->pub;
  const tree *section = tree_get(t, "connectivity");
  const tree *mode = tree_get(section, "relay");
  const config_at at = config_step(root, "connectivity.relay");
  bool given = mode != NULL && !tree_is_null(mode);
  if (p->node_id == NULL) {
    const config_at id = config_step(root, "node.id");
    return config_refuse(&id, t, "this is missing: what is the node to be called?");
  }
  if (!given && p->relay_url_count > 0) {
    p->relay_mode = KM_RELAY_MODE_CUSTOM;
  }
  if (p->relay_mode == KM_RELAY_MODE_CUSTOM && p->relay_url_count == 0) {
    return config_refuse(&at, mode, "custom needs connectivity.relay_urls");
  }
  if (p->relay_mode != KM_RELAY_MODE_CUSTOM && p->relay_url_count > 0) {
    return config_refuse(&at, mode, "with relay_urls this has to be custom");
  }
  if (p->heartbeat_timeout_ms != 0 && p->heartbeat_timeout_ms < p->heartbeat_ms) {
    const config_at timeout = config_step(root, "connectivity.heartbeat_timeout_sec");
    return config_refuse(&timeout, tree_get(section, "heartbeat_timeout_sec"),
                         "this is shorter than the time between heartbeats");
  }
  return 0;
}

/* Two files in one: the log's lines would end up in the secret key. */
static int check_files(const config_at *root, const tree *t) {
  const project *p = &root->file->pub;
  const struct {
    const char *section, *key, *path;
  } all[] = {{"logging", "file", p->log_file},
             {"store", "path", p->store_path},
             {"node", "control_socket", p->control_path},
             {"security", "certs_file", p->certs_file},
             {"security", "passphrase_file", p->passphrase_file},
             {"security", "key", p->key_file},
             {"the configuration", "", p->config_path}};
  const size_t count = sizeof all / sizeof all[0];
  for (size_t i = 0; i < count; i++) {
    for (size_t k = i + 1; k < count; k++) {
      if (all[i].path != NULL && all[k].path != NULL && strcmp(all[i].path, all[k].path) == 0) {
        const config_at section = config_step(root, all[i].section);
        const config_at at = config_step(&section, all[i].key);
        const tree *given = tree_get(tree_get(t, all[i].section), all[i].key);
        return config_refuse(&at, given != NULL ? given : t, "this file is that of %s%s%s, too",
                             all[k].section, all[k].key[0] == '\0' ? "" : ".", all[k].key);
      }
    }
  }
  return 0;
}

static int parse(project_file *f, const char *text, size_t len, km_errinfo *err) {
  tree root;
  const config_at at = {.file = f, .err = err};
  int rv = tree_parse(&root, f->name, text, len, err);
  if (rv != 0) {
    return rv;
  }
  rv = take_all_sections(&at, &root);
  rv = rv != 0 ? rv : check_together(&at, &root);
  rv = rv != 0 ? rv : config_take_shares(&at, tree_get(&root, "shares"));
  rv = rv != 0 ? rv : config_take_peers(&at, tree_get(&root, "peers"));
  rv = rv != 0 ? rv : take_default_paths(&f->pub, err);
  rv = rv != 0 ? rv : check_files(&at, &root);
  tree_free(&root);
  return rv;
}

int config_parse(project_file **ret, const char *dir, const char *path, const char *name,
                 const char *text, size_t len, km_errinfo *err) {
  km_errinfo unused;
  project_file *f = km_env_zalloc(&km_env_system, 1, sizeof *f);
  if (f == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  take_defaults(&f->pub);
  f->pub.dir = path_join(dir, "");
  f->pub.config_path = path_join(dir, path);
  f->name = km_env_strdup(&km_env_system, name);
  int rv = f->pub.dir == NULL || f->pub.config_path == NULL || f->name == NULL
               ? km_fail(err, KM_ERR_NOMEM, NULL)
               : parse(f, text, len, err == NULL ? &unused : err);
  if (rv != 0) {
    config_free(f);
    return rv;
  }
  *ret = f;
  return 0;
}

/* --- freeing --------------------------------------------------------------------------------- */

static void free_text(char *text) {
  km_env_free(&km_env_system, text);
}

static void free_texts(char **list, size_t count) {
  for (size_t i = 0; i < count; i++) {
    free_text(list[i]);
  }
  km_env_free(&km_env_system, list);
}

static void free_peer(project_peer *p) {
  free_text(p->id_text);
  free_text(p->name);
  free_text(p->addr_text);
  free_text(p->fingerprint);
  km_addr_free(p->addr);
  for (size_t i = 0; i < p->grant_count; i++) {
    free_text((char *)(uintptr_t)p->grants[i].share);
  }
  km_env_free(&km_env_system, p->grants);
}

static void free_extra(config_peer_extra *x) {
  free_texts(x->relays, x->relay_count);
  km_env_free(&km_env_system, x->udp);
  km_addr_free(x->ticket);
}

static void free_peers(project_file *f) {
  for (size_t i = 0; i < f->pub.peer_count; i++) {
    free_peer(&f->pub.peers[i]);
    free_extra(&f->extra[i]);
  }
  km_env_free(&km_env_system, f->pub.peers);
  km_env_free(&km_env_system, f->extra);
}

static void free_shares(project *p) {
  for (size_t i = 0; i < p->share_count; i++) {
    free_text(p->shares[i].name);
    free_text(p->shares[i].path);
    free_text(p->shares[i].ignore_file);
  }
  km_env_free(&km_env_system, p->shares);
}

static void free_single_texts(project *p) {
  char *all[] = {p->dir,        p->config_path,  p->node_id,       p->bind_host,      p->key_file,
                 p->certs_file, p->store_path,   p->status_host,   p->status_token,   p->on_message,
                 p->log_file,   p->control_path, p->relay_ca_file, p->passphrase_file};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    free_text(all[i]);
  }
}

void config_free(project_file *f) {
  if (f == NULL) {
    return;
  }
  project *p = &f->pub;
  free_peers(f);
  free_shares(p);
  free_single_texts(p);
  free_texts(p->fingerprints, p->fingerprint_count);
  free_texts(p->relay_urls, p->relay_url_count);
  free_texts(p->pkarr_urls, p->pkarr_url_count);
  free_texts(p->dns_origins, p->dns_origin_count);
  free_texts(f->no_effect, f->no_effect_count);
  km_env_free(&km_env_system, p->allow);
  km_env_free(&km_env_system, p->block);
  free_text(f->name);
  free_text(f->ca_cert);
  free_text(f->cert);
  km_env_free(&km_env_system, f->mesh_peers);
  km_env_free(&km_env_system, f->mesh_shares);
  km_env_free(&km_env_system, f);
}
