/* A project: the folder that `km-node init` makes, and its configuration, keymesh.yaml. */
#ifndef KM_CMD_NODE_PROJECT_PROJECT_H
#define KM_CMD_NODE_PROJECT_PROJECT_H

#include <keymesh/keymesh.h>
#include <keymesh/mesh.h>

#include "cmd/cli/output.h"

#define PROJECT_CONFIG "keymesh.yaml"

typedef struct project_share {
  char *name;
  char *path; /* as configured, may be NULL; of file transfer to come, shown by /shares */
  bool delete_propagation; /* the same */
  char *ignore_file;       /* the same; NULL */
  km_access others;        /* default_mode: none, ro, rw */
} project_share;

typedef struct project_peer {
  char *id_text; /* as configured: an id, a ticket, or a name of `certs` */
  km_id id;      /* once resolved */
  bool has_id;
  char *name;            /* may be NULL */
  km_addr *addr;         /* of ticket, addr, relay; NULL */
  char *addr_text;       /* for /peers; NULL */
  char *fingerprint;     /* cert_fingerprint: "sha256:" and 64 digits; NULL */
  km_mesh_grant *grants; /* shares_access */
  size_t grant_count;
  bool dial; /* default true */
  unsigned line;
} project_peer;

/* Everything of keymesh.yaml; paths are absolute. Every key is explained in the file that init
 * writes and in docs/man/km-node-config.5. */
typedef struct project {
  char *dir, *config_path;
  /* node */
  char *node_id;
  char *bind_host;      /* NULL: all addresses */
  uint16_t listen_port; /* 0: any */
  /* security */
  char *key_file;        /* default keys/node.key */
  char *passphrase_file; /* NULL: $KM_PASSPHRASE, else asked for on a terminal */
  km_security_level level;
  uint32_t recommend_threshold;
  bool accept_revocations;
  km_id *allow, *block;
  size_t allow_count, block_count;
  char **fingerprints; /* fingerprint_whitelist: of SPKIs */
  size_t fingerprint_count;
  char *certs_file; /* what `cert import` wrote: keys/certs.yaml */
  /* peers, shares */
  project_peer *peers;
  size_t peer_count;
  project_share *shares;
  size_t share_count;
  /* store */
  char *store_path; /* default data/store.db */
  km_durability durability;
  uint32_t max_key, max_value, max_skew_ms, tombstone_min_s;
  /* limits */
  uint32_t max_message, rate_per_minute, rate_per_second, max_conns_per_addr, max_faults;
  /* connectivity */
  uint32_t heartbeat_ms, heartbeat_timeout_ms, connect_timeout_ms, sync_interval_ms;
  uint32_t backoff_ms[KM_MESH_BACKOFF_MAX];
  size_t backoff_count;
  uint8_t backoff_jitter_percent;
  km_relay_mode relay_mode;
  char **relay_urls;
  size_t relay_url_count;
  char *relay_ca_file;
  bool port_mapping;
  /* discovery */
  bool mdns, publish, publish_direct;
  char **pkarr_urls, **dns_origins;
  size_t pkarr_url_count, dns_origin_count;
  /* status_http */
  bool status_enabled;
  char *status_host;    /* default 127.0.0.1 */
  uint16_t status_port; /* default 52180 */
  char *status_token;   /* NULL: none; needed when the host is not loopback */
  /* hooks */
  char *on_message; /* shell command, JSON on its stdin; NULL */
  /* logging */
  km_log_level log_level;
  char *log_file;     /* NULL: stderr */
  char *control_path; /* the daemon's socket: run/control.sock */
} project;

/* Reads the configuration. `path` NULL: keymesh.yaml here, or $KM_PROJECT's. Every error names
 * file, line and key. 0 or KM_ERR_FILE_NOT_FOUND, KM_ERR_INVALID, KM_ERR_NOMEM, ... */
KM_NODISCARD int project_load(project **ret, const char *path, km_errinfo *err);
/* A project of which the file is not read, in the folder where it is: defaults alone. What a node
 * that runs there is asked with while its file has a mistake. */
KM_NODISCARD int project_unread(project **ret, const char *path, km_errinfo *err);
void project_free(project *p);

/* The key, unsealed if need be: KM_ERR_KEY_SEALED is a wrong passphrase. Else as
 * km_secret_key_load. */
KM_NODISCARD int project_key(const project *p, km_secret_key **ret, km_errinfo *err);
/* The store. */
KM_NODISCARD int project_store(const project *p, const km_secret_key *key, km_store **ret,
                               km_errinfo *err);
/* Fills what the configuration says; lists point into the project. */
void project_mesh_options(const project *p, km_mesh_options *ret);

#endif /* KM_CMD_NODE_PROJECT_PROJECT_H */
