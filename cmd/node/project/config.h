/* keymesh.yaml as text, made a project: the table of its keys, and the reading. Pure. */
#ifndef KM_CMD_NODE_PROJECT_CONFIG_H
#define KM_CMD_NODE_PROJECT_CONFIG_H

#include "cmd/cli/yaml.h"
#include "cmd/node/project/project.h"

typedef enum config_kind {
  CONFIG_TEXT,         /* char *; one line */
  CONFIG_NAME,         /* char *: as names of peers */
  CONFIG_IP,           /* char *: an IP address, or "localhost" */
  CONFIG_PATH,         /* char *, made absolute */
  CONFIG_BOOL,         /* bool */
  CONFIG_NUMBER,       /* uint32_t */
  CONFIG_NUMBER16,     /* uint16_t */
  CONFIG_NUMBER8,      /* uint8_t */
  CONFIG_SECONDS,      /* uint32_t of milliseconds; the table's limits as well */
  CONFIG_CHOICE,       /* an enum: the place in `choices` */
  CONFIG_URLS,         /* char ** and a size_t behind: relays */
  CONFIG_TEXTS,        /* char ** and a size_t behind */
  CONFIG_IDS,          /* km_id * and a size_t behind */
  CONFIG_FINGERPRINTS, /* char ** and a size_t behind, "sha256:" and 64 digits */
  CONFIG_BACKOFF,      /* backoff_ms and backoff_count */
  CONFIG_NO_EFFECT,    /* of the first KeyMesh: any scalar, told by `check` */
  CONFIG_TOKEN         /* char *: 8 to 512 visible ASCII characters */
} config_kind;

typedef struct config_field {
  const char *key;
  config_kind kind;
  size_t offset, count_offset; /* within project_file */
  uint32_t min, max;
  const char *const *choices; /* ends with NULL */
} config_field;

typedef struct config_section {
  const char *name;
  const config_field *fields; /* ends with a NULL key */
} config_section;

/* All sections of scalars and lists of scalars; NULL at the end. */
extern const config_section config_sections[];
/* Keys of an entry of `peers`, of its `shares_access`, of `shares`; NULL at the end. */
extern const char *const config_peer_keys[];
extern const char *const config_access_keys[];
extern const char *const config_share_keys[];

/* What stands in the file of a peer beside project_peer. */
typedef struct config_peer_extra {
  char **relays;
  size_t relay_count;
  km_udp_addr *udp;
  size_t udp_count;
  km_addr *ticket; /* NULL: `id` was no ticket */
} config_peer_extra;

/* A project as it is allocated: what others see comes first. */
typedef struct project_file {
  project pub;
  char *name;           /* of the file, for errors */
  char *ca_cert, *cert; /* security.ca_cert, security.cert; NULL */
  char **no_effect;     /* "line 12: transfer.chunk_mb" */
  size_t no_effect_count;
  config_peer_extra *extra; /* one a peer */
  km_mesh_peer *mesh_peers; /* those with an id */
  size_t mesh_peer_count;
  km_mesh_share *mesh_shares;
} project_file;

/* Where the reading is. */
typedef struct config_at {
  project_file *file;
  km_errinfo *err;
  char where[128]; /* "peers[1].addr" */
} config_at;

/* KM_ERR_INVALID with "FILE:LINE: KEY: ...". */
int config_refuse(const config_at *at, const tree *t, const char *fmt, ...) KM_PRINTF(3, 4);
/* A deeper place: "peers[1]" and "addr". */
config_at config_step(const config_at *at, const char *key);
config_at config_step_into(const config_at *at, size_t index);
/* An unknown key of a mapping is an error; so is something that is no mapping. */
int config_check_map(const config_at *at, const tree *t, const char *const *keys);
int config_check_list(const config_at *at, const tree *t, size_t max);

/* Values. Each leaves its target alone when `t` is NULL or null. */
int config_take_text(const config_at *at, const tree *t, size_t max, char **ret);
int config_take_bool(const config_at *at, const tree *t, bool *ret);
int config_take_choice(const config_at *at, const tree *t, const char *const *choices,
                       unsigned *ret);
int config_take_texts(const config_at *at, const tree *t, char ***ret, size_t *ret_count);
int config_take_urls(const config_at *at, const tree *t, char ***ret, size_t *ret_count);
/* "sha256:" and digits of either case, with or without colons between; also without "sha256:". */
bool config_fingerprint(char ret[KM_ID_TEXT_CAP], const char *text);
int config_take_fingerprint(const config_at *at, const tree *t, char **ret);
int config_take_field(const config_at *at, const tree *t, const config_field *field);

/* `peers` and `shares` (config_peers.c). */
int config_take_shares(const config_at *at, const tree *t);
int config_take_peers(const config_at *at, const tree *t);

/* Reads the text of a file in `dir`. Peers are not resolved yet. Free with project_free. */
KM_NODISCARD int config_parse(project_file **ret, const char *dir, const char *path,
                              const char *name, const char *text, size_t len, km_errinfo *err);
void config_free(project_file *f);

/* What init writes: every key with a comment and its default. The caller's to free; NULL: no
 * memory. */
char *config_sample(const char *node_id);

#endif /* KM_CMD_NODE_PROJECT_CONFIG_H */
