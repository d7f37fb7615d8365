/* km-node check: peers and shares. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/env.h"
#include "cmd/node/project/check.h"
#include "cmd/node/project/files_io.h"
#include "cmd/node/project/paths.h"
#include "cmd/node/project/resolve_peers.h"

/* --- peers ----------------------------------------------------------------------------------- */

static const char *name_of(const project_peer *peer) {
  return peer->name != NULL ? peer->name : peer->id_text;
}

/* The dates of certs.yaml order like their texts. */
static bool is_past(const char *date) {
  char now[24] = "";
  struct tm utc;
  time_t seconds = (time_t)(km_clock_wall().unix_ns / 1000000000);
  if (gmtime_r(&seconds, &utc) == NULL ||
      strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0) {
    return false;
  }
  return date[0] != '\0' && strcmp(date, now) < 0;
}

/* Can it be found without an address of its own? */
static bool is_found(const project *p, const config_peer_extra *x) {
  return x->udp_count > 0 || x->relay_count > 0 || p->mdns || p->pkarr_url_count > 0 ||
         p->dns_origin_count > 0 || p->relay_mode == KM_RELAY_MODE_DEFAULT ||
         p->relay_mode == KM_RELAY_MODE_STAGING ||
         (x->ticket != NULL && km_addr_udp_count(x->ticket) + km_addr_relay_count(x->ticket) > 0);
}

static bool warn_of_way(check *c, const project_peer *peer, const config_peer_extra *x) {
  const project *p = &c->file->pub;
  if (peer->dial && !is_found(p, x)) {
    check_row(c, CHECK_WARNING, "peer",
              "give its addr or relay, switch discovery.mdns on, or name "
              "servers under discovery",
              "line %u: %s: nothing says where it is", peer->line, name_of(peer));
    return true;
  }
  if (x->relay_count > 0 && p->relay_mode == KM_RELAY_MODE_DISABLED) {
    check_row(c, CHECK_WARNING, "peer", "set connectivity.relay to dial-only",
              "line %u: %s has a relay, and connectivity.relay is off", peer->line, name_of(peer));
    return true;
  }
  return false;
}

static bool warn_of_certificate(check *c, const project_peer *peer) {
  const cert_entry *e = peer->fingerprint == NULL
                            ? certs_by_name(&c->certs, peer->id_text)
                            : certs_by_fingerprint(&c->certs, peer->fingerprint);
  if (e == NULL || !is_past(e->not_after)) {
    return false;
  }
  check_row(c, CHECK_WARNING, "peer", "name it by its id: certificates are not needed any more",
            "line %u: the certificate of %s expired at %s; it still counts here", peer->line,
            name_of(peer), e->not_after);
  return true;
}

static void check_found_peer(check *c, size_t index) {
  const project_peer *peer = &c->file->pub.peers[index];
  char id[KM_ID_TEXT_CAP];
  if (c->key != NULL && km_id_equal(&peer->id, &c->own)) {
    check_row(c, CHECK_ERROR, "peer", "take it out: a node is no peer of itself",
              "line %u: %s is this node's own id", peer->line, name_of(peer));
    return;
  }
  bool warned = warn_of_way(c, peer, &c->file->extra[index]);
  warned = warn_of_certificate(c, peer) || warned;
  (void)km_id_format(&peer->id, KM_ID_SHORT, id, sizeof id);
  if (!warned) {
    check_row(c, CHECK_OK, "peer", NULL, "%s, id %s, %s, %zu shares", name_of(peer), id,
              peer->addr_text != NULL ? peer->addr_text : "found by discovery", peer->grant_count);
  }
}

void check_peers(check *c) {
  project_file *f = c->file;
  km_errinfo err;
  for (size_t i = 0; i < f->pub.peer_count; i++) {
    int rv = project_resolve_peer(f, i, &c->certs, &err);
    if (rv != 0) {
      check_row_err(c, "peer", NULL, &err);
    } else if (!f->pub.peers[i].has_id) {
      check_row(c, CHECK_ERROR, "peer",
                "give its id or ticket, or run km-node cert import with its certificate",
                "line %u: '%s' is no id, no ticket, and no name of an imported certificate",
                f->pub.peers[i].line, f->pub.peers[i].id_text);
    } else {
      check_found_peer(c, i);
    }
  }
  if (f->pub.peer_count == 0) {
    check_row(c, CHECK_OK, "peer", NULL, "none are configured");
  }
}

/* --- shares ---------------------------------------------------------------------------------- */

static size_t count_grants(const project *p, const char *share) {
  size_t n = 0;
  for (size_t i = 0; i < p->peer_count; i++) {
    for (size_t k = 0; k < p->peers[i].grant_count; k++) {
      n += strcmp(p->peers[i].grants[k].share, share) == 0;
    }
  }
  return n;
}

/* A link may lead out of the project. */
static bool leads_out(const project *p, const char *path) {
  char *real = NULL;
  files_info info;
  if (!files_look(&info, path) || files_real_path(&real, path, NULL) != 0) {
    return false;
  }
  bool out = !path_is_inside(p->dir, real);
  km_env_free(&km_env_system, real);
  return out;
}

static void check_share(check *c, const project_share *s) {
  const project *p = &c->file->pub;
  files_info info;
  size_t grants = count_grants(p, s->name);
  if (s->path != NULL && leads_out(p, s->path)) {
    check_row(c, CHECK_ERROR, "share", "path traversal refused: put a real folder there",
              "%s: %s leads out of the project", s->name, path_shorten(p->dir, s->path));
  } else if (s->path != NULL && files_look(&info, s->path) && !info.is_folder) {
    check_row(c, CHECK_ERROR, "share", "name a folder", "%s: %s is no folder", s->name,
              path_shorten(p->dir, s->path));
  } else if (grants == 0 && s->others == KM_ACCESS_NONE && p->peer_count > 0) {
    check_row(c, CHECK_WARNING, "share",
              "name it in a peer's shares_access, or set its default_mode to ro or rw",
              "%s: no peer may read it", s->name);
  } else {
    check_row(c, CHECK_OK, "share", NULL, "%s, %zu peers, others: %s", s->name, grants,
              s->others == KM_ACCESS_NONE   ? "none"
              : s->others == KM_ACCESS_READ ? "ro"
                                            : "rw");
  }
}

void check_shares(check *c) {
  const project *p = &c->file->pub;
  for (size_t i = 0; i < p->share_count; i++) {
    check_share(c, &p->shares[i]);
  }
  if (p->share_count == 0) {
    check_row(c, CHECK_OK, "share", NULL, "none are configured");
  }
}
