/* Options of a mesh: defaults, checks, a copy that is ours. */
#include <stdalign.h>
#include <string.h>

#include "base/text.h"
#include "endpoint/mesh/mesh_impl.h"

enum { LIST_MAX = 65536, SYNC_INTERVAL_MIN_MS = 100 };
#define DAY_MS 86400000u

static const uint32_t default_backoff[] = {1000, 3000, 10000, 30000};
/* What this version can do, said in the handshake. */
static const char *const own_features[] = {"heartbeat", "kv", "messages", "statements"};

enum { OWN_FEATURES = sizeof own_features / sizeof own_features[0] };

void km_mesh_options_default(km_mesh_options *options) {
  if (options == NULL) {
    return;
  }
  *options = (km_mesh_options){
      .size = sizeof *options,
      .level = KM_SECURITY_SECURE,
      .recommend_threshold = 2,
      .heartbeat_ms = 20000,
      .connect_timeout_ms = 5000,
      .backoff_ms = default_backoff,
      .backoff_count = sizeof default_backoff / sizeof default_backoff[0],
      .backoff_jitter_percent = 20,
      .sync_interval_ms = 60000,
      .max_message = KM_MESSAGE_BODY_MAX,
      .rate_per_minute = 60,
      .rate_per_second = 10,
      .max_conns_per_addr = 16,
      .max_faults = 16,
  };
  (void)!km_log_filter_parse(&options->log_filter, "info", NULL);
}

/* --- checks ---------------------------------------------------------------------------------- */

int km_mesh_text_check(const char *text, size_t max, const char *what, km_errinfo *err) {
  size_t len = text == NULL ? 0 : strlen(text);
  if (!km_text_is_clean(text, len)) {
    return km_fail(err, KM_ERR_INVALID, "%s has control characters or is not UTF-8", what);
  }
  return len > 0 && len <= max
             ? 0
             : km_fail(err, KM_ERR_INVALID, "%s must have 1 to %zu bytes", what, max);
}

static int check_range(const char *name, uint32_t value, uint32_t from, uint32_t to,
                       km_errinfo *err) {
  return value >= from && value <= to
             ? 0
             : km_fail(err, KM_ERR_INVALID, "%s is %u, but must be %u to %u", name, value, from,
                       to);
}

static int check_numbers(const km_mesh_options *o, km_errinfo *err) {
  const struct {
    const char *name;
    uint32_t value, from, to;
  } ranges[] = {
      {"heartbeat_ms", o->heartbeat_ms, 100, 3600000},
      {"heartbeat_timeout_ms", o->heartbeat_timeout_ms, 0, 10800000},
      {"connect_timeout_ms", o->connect_timeout_ms, 100, 600000},
      {"backoff_jitter_percent", o->backoff_jitter_percent, 0, 50},
      {"sync_interval_ms", o->sync_interval_ms, SYNC_INTERVAL_MIN_MS, DAY_MS},
      {"max_message", o->max_message, 1, KM_MESSAGE_BODY_MAX},
      {"max_conns_per_addr", o->max_conns_per_addr, 1, 65536},
      {"max_faults", o->max_faults, 1, 1000000},
      {"level", o->level, KM_SECURITY_DEVELOPMENT, KM_SECURITY_STRICT},
  };
  for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
    int rv = check_range(ranges[i].name, ranges[i].value, ranges[i].from, ranges[i].to, err);
    if (rv != 0) {
      return rv;
    }
  }
  return o->heartbeat_timeout_ms == 0 || o->heartbeat_timeout_ms > o->heartbeat_ms
             ? 0
             : km_fail(err, KM_ERR_INVALID, "heartbeat_timeout_ms must be more than heartbeat_ms");
}

static int check_backoff(const km_mesh_options *o, km_errinfo *err) {
  if (o->backoff_ms == NULL || o->backoff_count < 1 || o->backoff_count > KM_MESH_BACKOFF_MAX) {
    return km_fail(err, KM_ERR_INVALID, "backoff_ms must have 1 to %d waits", KM_MESH_BACKOFF_MAX);
  }
  for (size_t i = 0; i < o->backoff_count; i++) {
    int rv = check_range("a wait of backoff_ms", o->backoff_ms[i], 1, DAY_MS, err);
    if (rv != 0) {
      return rv;
    }
  }
  return 0;
}

static bool is_there(const km_mesh_share *shares, size_t count, const char *name) {
  size_t i = 0;
  while (i < count && strcmp(shares[i].name, name) != 0) {
    i++;
  }
  return i < count;
}

static int check_shares(const km_mesh_options *o, km_errinfo *err) {
  if (o->share_count > KM_MESH_MAX_SHARES) {
    return km_fail(err, KM_ERR_INVALID, "a mesh has at most %d shares", KM_MESH_MAX_SHARES);
  }
  for (size_t i = 0; i < o->share_count; i++) {
    const km_mesh_share *s = &o->shares[i];
    if (s->name == NULL) {
      return km_fail(err, KM_ERR_INVALID, "a share has no name");
    }
    int rv = km_share_name_check(s->name, strlen(s->name), err);
    if (rv != 0) {
      return rv;
    }
    if (s->others > KM_ACCESS_WRITE) {
      return km_fail(err, KM_ERR_INVALID, "the access to share %s is not a km_access", s->name);
    }
    if (is_there(o->shares, i, s->name)) {
      return km_fail(err, KM_ERR_INVALID, "the share %s is there twice", s->name);
    }
  }
  return 0;
}

static int check_texts(const km_mesh_options *o, km_errinfo *err) {
  int rv = o->node_id == NULL ? 0 : km_mesh_text_check(o->node_id, KM_NODE_ID_MAX, "node_id", err);
  if (o->feature_count > KM_CONTROL_FEATURES_MAX - OWN_FEATURES) {
    return km_fail(err, KM_ERR_INVALID, "at most %d features",
                   KM_CONTROL_FEATURES_MAX - OWN_FEATURES);
  }
  for (size_t i = 0; rv == 0 && i < o->feature_count; i++) {
    rv = km_mesh_text_check(o->features[i], KM_NODE_ID_MAX, "a feature", err);
  }
  for (size_t i = 0; rv == 0 && i < o->allow_fingerprint_count; i++) {
    rv = km_mesh_text_check(o->allow_fingerprints[i], KM_ID_TEXT_CAP, "a fingerprint", err);
  }
  return rv;
}

static int check(const km_mesh_options *o, km_errinfo *err) {
  if (o->size != sizeof *o) {
    return km_fail(err, KM_ERR_INVALID, "fill km_mesh_options with km_mesh_options_default");
  }
  if (o->store == NULL) {
    return km_fail(err, KM_ERR_INVALID, "a mesh needs a store");
  }
  if (o->peer_count > KM_MESH_MAX_PEERS) {
    return km_fail(err, KM_ERR_INVALID, "a mesh has at most %d peers", KM_MESH_MAX_PEERS);
  }
  if (o->allow_count > LIST_MAX || o->block_count > LIST_MAX ||
      o->allow_fingerprint_count > LIST_MAX) {
    return km_fail(err, KM_ERR_INVALID, "a list of ids has at most %d members", LIST_MAX);
  }
  int rv = check_numbers(o, err);
  rv = rv == 0 ? check_backoff(o, err) : rv;
  rv = rv == 0 ? check_shares(o, err) : rv;
  return rv == 0 ? check_texts(o, err) : rv;
}

/* --- copy ------------------------------------------------------------------------------------ */

/* Everything that the options point to in one piece of memory: laid out twice, the first time only
 * to learn its size. */
typedef struct layout {
  uint8_t *base; /* NULL the first time */
  size_t at;
} layout;

static void *put(layout *l, const void *bytes, size_t len) {
  size_t place = (l->at + alignof(max_align_t) - 1) / alignof(max_align_t) * alignof(max_align_t);
  l->at = place + len;
  if (l->base == NULL) {
    return NULL;
  }
  if (len > 0 && bytes != NULL) {
    memcpy(l->base + place, bytes, len);
  }
  return l->base + place;
}

static const char *put_text(layout *l, const char *text) {
  return text == NULL ? NULL : put(l, text, strlen(text) + 1);
}

static const km_mesh_share *put_shares(layout *l, const km_mesh_options *o) {
  km_mesh_share *shares = put(l, o->shares, o->share_count * sizeof *shares);
  for (size_t i = 0; i < o->share_count; i++) {
    const char *name = put_text(l, o->shares[i].name);
    if (shares != NULL) {
      shares[i].name = name;
    }
  }
  return shares;
}

static const char *const *put_texts(layout *l, const char *const *own, size_t own_count,
                                    const char *const *texts, size_t count) {
  const char **list = put(l, NULL, (own_count + count) * sizeof *list);
  for (size_t i = 0; i < own_count + count; i++) {
    const char *text = i < own_count ? own[i] : put_text(l, texts[i - own_count]);
    if (list != NULL) {
      list[i] = text;
    }
  }
  return list;
}

static void put_all(layout *l, km_mesh_options *to, const km_mesh_options *from) {
  to->shares = put_shares(l, from);
  to->features = put_texts(l, own_features, OWN_FEATURES, from->features, from->feature_count);
  to->feature_count = OWN_FEATURES + from->feature_count;
  to->allow_fingerprints =
      put_texts(l, NULL, 0, from->allow_fingerprints, from->allow_fingerprint_count);
  to->allow = put(l, from->allow, from->allow_count * sizeof *from->allow);
  to->block = put(l, from->block, from->block_count * sizeof *from->block);
  to->backoff_ms = put(l, from->backoff_ms, from->backoff_count * sizeof *from->backoff_ms);
}

int km_mesh_options_copy(km_mesh *m, const km_mesh_options *from, km_errinfo *err) {
  int rv = check(from, err);
  if (rv != 0) {
    return rv;
  }
  km_mesh_options *to = &m->options;
  *to = *from;
  layout sized = {0};
  put_all(&sized, to, from);
  m->lists = km_env_zalloc(m->env, 1, sized.at + 1);
  m->allowed_names = km_env_zalloc(m->env, from->share_count + 1, sizeof *m->allowed_names);
  if (m->lists == NULL || m->allowed_names == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  layout laid = {.base = m->lists};
  put_all(&laid, to, from);
  to->peers = NULL; /* they are in m->peers */
  to->peer_count = 0;
  to->node_id = NULL; /* m->node_id */
  if (to->heartbeat_timeout_ms == 0) {
    to->heartbeat_timeout_ms = 3 * to->heartbeat_ms;
  }
  return 0;
}

bool km_mesh_has_share(const km_mesh *m, const char *name, size_t *ret_place) {
  for (size_t i = 0; i < m->options.share_count; i++) {
    if (strcmp(m->options.shares[i].name, name) == 0) {
      *ret_place = i;
      return true;
    }
  }
  return false;
}
