/* Who is let in, and who may do what with a share. */
#include <stdio.h>
#include <string.h>

#include "base/id_list.h"
#include "endpoint/mesh/mesh_impl.h"
#include "store/kv_sync.h"
#include "store/store_impl.h"

/* Authors whose trust was looked up since it changed last: entries of one author come in runs. */
enum { KNOWN_AUTHORS = 64 };
/* Strangers that on_request still has to be told of. */
enum { REQUESTS_MAX = 64 };

typedef struct known_author {
  km_id id;
  uint64_t epoch; /* 0: empty */
  bool blocked;
} known_author;

struct km_gate {
  uint64_t epoch;
  known_author authors[KNOWN_AUTHORS];
  km_id requests[REQUESTS_MAX];
  size_t request_count;
};

int km_gate_open(km_mesh *m) {
  m->gate = km_env_zalloc(m->env, 1, sizeof *m->gate);
  if (m->gate == NULL) {
    return KM_ERR_NOMEM;
  }
  m->gate->epoch = 1;
  return 0;
}

void km_gate_close(km_mesh *m) {
  km_env_free(m->env, m->gate);
  m->gate = NULL;
}

void km_gate_changed(km_mesh *m) {
  m->gate->epoch++;
}

/* --- let in ---------------------------------------------------------------------------------- */

static bool is_in(const km_id *list, size_t count, const km_id *id) {
  size_t i = 0;
  while (i < count && !km_id_equal(&list[i], id)) {
    i++;
  }
  return i < count;
}

static bool is_allowed(const km_mesh *m, const km_id *id) {
  const km_mesh_options *o = &m->options;
  char text[KM_ID_TEXT_CAP];
  if (is_in(o->allow, o->allow_count, id)) {
    return true;
  }
  if (o->allow_fingerprint_count == 0 ||
      km_id_format(id, KM_ID_FINGERPRINT, text, sizeof text) < 0) {
    return false;
  }
  for (size_t i = 0; i < o->allow_fingerprint_count; i++) {
    if (strcmp(o->allow_fingerprints[i], text) == 0) {
      return true;
    }
  }
  return false;
}

bool km_gate_is_configured(const km_mesh *m, const km_id *id) {
  const km_mpeer *p = km_mpeer_find(m, id);
  return (p != NULL && p->configured && !p->by_trust) || is_allowed(m, id);
}

static bool is_configured(void *ctx, const km_id *id) {
  return km_gate_is_configured(ctx, id);
}

/* What cannot be looked up is not let in. */
static km_trust_verdict decide(km_mesh *m, const km_id *peer, km_trust_question *q,
                               const char **reason) {
  const km_mesh_options *o = &m->options;
  km_errinfo err;
  *q = (km_trust_question){.level = o->level,
                           .configured = km_gate_is_configured(m, peer),
                           .blocked_by_config = is_in(o->block, o->block_count, peer),
                           .threshold = o->recommend_threshold};
  if (km_trust_ask(m->store, peer, is_configured, m, q, &err) != 0) {
    KM_LOG(&m->env->logger, KM_LOG_ERROR, KM_LOGC_MESH, peer, NULL, "store", "%s", err.text);
    *reason = "its trust cannot be looked up now";
    return KM_LET_OUT;
  }
  return km_trust_decide(q, reason);
}

bool km_gate_lets_in(km_mesh *m, const km_id *peer) {
  km_trust_question q;
  const char *reason;
  km_trust_verdict verdict = decide(m, peer, &q, &reason);
  return verdict == KM_LET_IN || verdict == KM_LET_IN_FIRST;
}

/* on_request is told of the first request only: what there is no room for counts for none. */
static void note_request(km_mesh *m, const km_id *peer, const char *name, bool first) {
  struct km_gate *g = m->gate;
  km_errinfo err;
  if (first && g->request_count == REQUESTS_MAX) {
    return;
  }
  if (km_trust_request(m->store, peer, name, &err) != 0) {
    KM_LOG(&m->env->logger, KM_LOG_ERROR, KM_LOGC_MESH, peer, NULL, "store", "%s", err.text);
    return;
  }
  if (first && !is_in(g->requests, g->request_count, peer)) {
    g->requests[g->request_count++] = *peer;
    km_defer_run(m->work);
  }
}

/* Strangers that anybody may bring by the thousand are not waited for. */
static bool waits_for_all(const km_mesh *m) {
  return !km_security_rules_of(m->options.level)->lets_strangers_in;
}

/* It reads from now on: deletions wait until it has them, in whatever way it was let in. */
static void note_reader(km_mesh *m, const km_id *peer) {
  for (size_t i = 0; i < m->options.share_count && waits_for_all(m); i++) {
    const char *share = m->options.shares[i].name;
    km_errinfo err;
    if (km_gate_access(m, peer, share, NULL) != KM_ACCESS_NONE &&
        km_kv_add_reader(m->store, share, peer, &err) != 0) {
      KM_LOG(&m->env->logger, KM_LOG_ERROR, KM_LOGC_MESH, peer, NULL, "store", "%s", err.text);
    }
  }
}

const char *km_gate_refuses(km_mesh *m, const km_id *peer, const char *node_id) {
  km_trust_question q;
  const char *reason = "";
  km_errinfo err;
  switch (decide(m, peer, &q, &reason)) {
  case KM_LET_IN:
    note_reader(m, peer);
    return NULL;
  case KM_LET_IN_FIRST:
    if (km_trust_first_use(m->store, peer, node_id, &err) == 0) {
      return NULL;
    }
    KM_LOG(&m->env->logger, KM_LOG_ERROR, KM_LOGC_MESH, peer, NULL, "store", "%s", err.text);
    return "its key cannot be remembered now";
  case KM_LET_WAIT:
    note_request(m, peer, node_id, q.state != KM_TRUST_PENDING);
    return reason;
  case KM_LET_OUT:
    break;
  }
  return reason;
}

static void tell(km_mesh *m, const km_id *id) {
  km_trust_info info;
  char name[KM_PEER_NAME_MAX + 1], note[KM_PEER_NOTE_MAX + 1];
  if (km_trust_get(m->store, id, &info, NULL) != 0 || info.state != KM_TRUST_PENDING) {
    return; /* decided meanwhile */
  }
  /* Its texts live until the next call on the store, which the callback may make. */
  (void)snprintf(name, sizeof name, "%s", info.name);
  (void)snprintf(note, sizeof note, "%s", info.note);
  info.name = name;
  info.note = note;
  m->options.callbacks.on_request(m->options.ctx, m, &info);
}

void km_gate_requests(km_mesh *m) {
  struct km_gate *g = m->gate;
  while (g->request_count > 0 && !m->closing) {
    km_id id = g->requests[0];
    g->request_count--;
    memmove(g->requests, g->requests + 1, g->request_count * sizeof g->requests[0]);
    if (m->options.callbacks.on_request != NULL) {
      tell(m, &id);
    }
  }
}

/* --- shares ---------------------------------------------------------------------------------- */

static bool is_blocked(km_mesh *m, const km_id *id) {
  known_author *k = &m->gate->authors[id->bytes[0] % KNOWN_AUTHORS];
  if (k->epoch == m->gate->epoch && km_id_equal(&k->id, id)) {
    return k->blocked;
  }
  km_trust_info info;
  km_errinfo err;
  int rv = km_trust_get(m->store, id, &info, &err);
  bool blocked = is_in(m->options.block, m->options.block_count, id) ||
                 (rv == 0 && info.state == KM_TRUST_BLOCKED) || (rv != 0 && rv != KM_ERR_NOT_FOUND);
  if (rv == 0 || rv == KM_ERR_NOT_FOUND) { /* an error of the database is for this time only */
    *k = (known_author){.id = *id, .epoch = m->gate->epoch, .blocked = blocked};
  }
  return blocked;
}

static km_access because(km_access access, const char *reason, const char **ret_reason) {
  if (ret_reason != NULL) {
    *ret_reason = reason;
  }
  return access;
}

/* Of one that is neither blocked nor this node. */
static km_access given(const km_mesh *m, const km_id *peer, size_t place, const char **ret_reason) {
  const km_mesh_share *share = &m->options.shares[place];
  const km_mpeer *p = km_mpeer_find(m, peer);
  for (size_t i = 0; p != NULL && i < p->grant_count; i++) {
    if (strcmp(p->grants[i].share, share->name) == 0) {
      return because(p->grants[i].access, "the configuration grants it to this peer", ret_reason);
    }
  }
  return because(share->others, "what the share gives to all that are let in", ret_reason);
}

km_access km_gate_access(km_mesh *m, const km_id *peer, const char *share,
                         const char **ret_reason) {
  size_t place;
  if (!km_mesh_has_share(m, share, &place)) {
    return because(KM_ACCESS_NONE, "there is no such share here", ret_reason);
  }
  if (km_id_equal(peer, km_store_id(m->store))) {
    return because(KM_ACCESS_WRITE, "it is this node itself", ret_reason);
  }
  if (is_blocked(m, peer)) {
    return because(KM_ACCESS_NONE, "it is blocked", ret_reason);
  }
  return given(m, peer, place, ret_reason);
}

bool km_gate_counts(km_mesh *m, const km_id *peer) {
  km_trust_info info;
  if (is_blocked(m, peer)) {
    return false;
  }
  if (km_gate_is_configured(m, peer)) {
    return true;
  }
  int64_t now_s = km_store_wall(m->store).unix_ns / (int64_t)KM_NS_PER_S;
  return km_trust_get(m->store, peer, &info, NULL) == 0 && info.state == KM_TRUST_TRUSTED &&
         (info.expires == 0 || info.expires > now_s) &&
         (info.origin == KM_TRUST_BY_HAND || info.origin == KM_TRUST_BY_APPROVAL ||
          info.origin == KM_TRUST_BY_CONFIG);
}

bool km_gate_takes_revocations(const km_mesh *m) {
  return m->options.accept_revocations || km_security_rules_of(m->options.level)->takes_revocations;
}

/* --- readers --------------------------------------------------------------------------------- */

/* They are waited for whether they came or not: those configured, and those that are trusted. */
static bool is_configured_alone(const km_mpeer *p) {
  return p != NULL && p->configured && !p->by_trust;
}

typedef struct trusted {
  const km_mesh *mesh;
  km_id_list *list;
} trusted;

static void add_trusted(void *ctx, const km_trust_info *info) {
  const trusted *t = ctx;
  const km_mesh_options *o = &t->mesh->options;
  if (!is_configured_alone(km_mpeer_find(t->mesh, &info->id)) &&
      !is_in(o->block, o->block_count, &info->id)) {
    km_id_list_add(t->list, &info->id); /* configured ones are added apart */
  }
}

/* By id. */
static int64_t list_chosen(km_mesh *m, km_id_list *ret, km_errinfo *err) {
  trusted t = {.mesh = m, .list = ret};
  int64_t rv = km_trust_list(m->store, KM_TRUST_TRUSTED, add_trusted, &t, err);
  for (const km_mpeer *p = m->peers; p != NULL; p = p->next) {
    if (is_configured_alone(p) && !is_blocked(m, &p->id)) {
      km_id_list_add(ret, &p->id);
    }
  }
  km_id_list_sort(ret);
  return rv;
}

static void add_reader(void *ctx, const km_id *peer) {
  km_id_list_add(ctx, peer);
}

/* Who has read the share before and still may, though neither trusted by itself nor configured. */
static int64_t add_let_in(km_mesh *m, const char *share, km_id_list *readers, km_errinfo *err) {
  const size_t sorted = readers->count;
  km_id_list before = {.env = m->env};
  int64_t rv = waits_for_all(m) ? km_kv_readers(m->store, share, add_reader, &before, err) : 0;
  for (size_t i = 0; rv >= 0 && i < before.count; i++) {
    const km_id *peer = &before.at[i];
    if (!km_id_list_has(readers, sorted, peer) && km_gate_lets_in(m, peer) &&
        km_gate_access(m, peer, share, NULL) != KM_ACCESS_NONE) {
      km_id_list_add(readers, peer);
    }
  }
  readers->failed = readers->failed || before.failed;
  km_id_list_free(&before);
  return rv;
}

/* The peers whose copies km_kv_collect waits for, by share. */
int km_gate_set_readers(km_mesh *m, km_errinfo *err) {
  km_id_list chosen = {.env = m->env}, readers = {.env = m->env};
  int64_t rv = list_chosen(m, &chosen, err);
  for (size_t i = 0; rv >= 0 && i < m->options.share_count; i++) {
    const char *share = m->options.shares[i].name;
    readers.count = 0;
    for (size_t k = 0; k < chosen.count; k++) {
      if (given(m, &chosen.at[k], i, NULL) != KM_ACCESS_NONE) {
        km_id_list_add(&readers, &chosen.at[k]);
      }
    }
    rv = add_let_in(m, share, &readers, err);
    if (rv >= 0) {
      rv = chosen.failed || readers.failed
               ? km_fail(err, KM_ERR_NOMEM, NULL)
               : km_kv_set_readers(m->store, share, readers.at, readers.count, err);
    }
  }
  km_id_list_free(&chosen);
  km_id_list_free(&readers);
  return rv < 0 ? (int)rv : 0;
}

/* What km_gate_set_readers would make of this one. */
static int set_reader(km_mesh *m, const km_id *peer, bool chosen, km_errinfo *err) {
  const bool stays = waits_for_all(m) && km_gate_lets_in(m, peer);
  int rv = 0;
  for (size_t i = 0; rv == 0 && i < m->options.share_count; i++) {
    const char *share = m->options.shares[i].name;
    bool may = km_gate_access(m, peer, share, NULL) != KM_ACCESS_NONE;
    if (may && chosen) {
      rv = km_kv_add_reader(m->store, share, peer, err);
    } else if (!may || !stays) {
      rv = km_kv_drop_reader(m->store, share, peer, err);
    }
  }
  return rv;
}

int km_gate_set_reader(km_mesh *m, const km_id *peer, bool *ret_counted, km_errinfo *err) {
  km_trust_info info;
  int rv = km_trust_get(m->store, peer, &info, err);
  bool known = rv == 0;
  bool chosen =
      (known && info.state == KM_TRUST_TRUSTED) || is_configured_alone(km_mpeer_find(m, peer));
  *ret_counted = known && info.origin != KM_TRUST_BY_FIRST_USE;
  rv = known || rv == KM_ERR_NOT_FOUND ? km_kv_begin(m->store, err) : rv;
  if (rv != 0) {
    return rv;
  }
  rv = set_reader(m, peer, chosen, err);
  if (rv == 0) {
    return km_kv_commit(m->store, err);
  }
  km_kv_rollback(m->store);
  return rv;
}
