#include "cmd/node/project/resolve_peers.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/env.h"

static KM_PRINTF(4, 5) int refuse(const project_file *f, size_t index, km_errinfo *err,
                                  const char *fmt, ...) {
  char text[192];
  va_list args;
  va_start(args, fmt);
  (void)vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  return km_fail(err, KM_ERR_INVALID, "%s:%u: peers[%zu]%s", f->name, f->pub.peers[index].line,
                 index, text);
}

/* --- where it is ----------------------------------------------------------------------------- */

static int fill_addr(const config_peer_extra *x, km_addr *addr, km_errinfo *err) {
  int rv = 0;
  for (size_t i = 0; rv == 0 && i < x->udp_count; i++) {
    rv = km_addr_add_udp(addr, &x->udp[i]);
  }
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  for (size_t i = 0; rv == 0 && i < x->relay_count; i++) {
    rv = km_addr_add_relay(addr, x->relays[i], strlen(x->relays[i]), err);
  }
  return rv;
}

/* Of a ticket: its first address, for people. */
static int text_of_ticket(project_peer *peer, km_errinfo *err) {
  char text[KM_UDP_ADDR_TEXT_CAP];
  if (peer->addr_text != NULL || km_addr_udp_count(peer->addr) == 0 ||
      km_udp_addr_format(km_addr_udp_at(peer->addr, 0), text, sizeof text) < 0) {
    return 0;
  }
  peer->addr_text = km_env_strdup(&km_env_system, text);
  return peer->addr_text == NULL ? km_fail(err, KM_ERR_NOMEM, NULL) : 0;
}

static int make_addr(project_peer *peer, const config_peer_extra *x, km_errinfo *err) {
  if (x->ticket == NULL && x->udp_count == 0 && x->relay_count == 0) {
    return 0; /* discovery finds it */
  }
  int rv = x->ticket != NULL ? km_addr_copy(&peer->addr, x->ticket)
                             : km_addr_new(&peer->addr, &peer->id);
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  rv = fill_addr(x, peer->addr, err);
  return rv != 0 ? rv : text_of_ticket(peer, err);
}

/* --- who it is ------------------------------------------------------------------------------- */

static int take_name(project_peer *peer, const certs *c, km_errinfo *err) {
  const cert_entry *e = peer->has_id ? NULL : certs_by_name(c, peer->id_text);
  if (e == NULL) {
    return 0;
  }
  peer->id = e->id;
  peer->has_id = true;
  if (peer->name == NULL) {
    peer->name = km_env_strdup(&km_env_system, peer->id_text);
  }
  return peer->name == NULL ? km_fail(err, KM_ERR_NOMEM, NULL) : 0;
}

static int check_fingerprint(const project_file *f, size_t index, const certs *c, km_errinfo *err) {
  const project_peer *peer = &f->pub.peers[index];
  char own[KM_ID_TEXT_CAP];
  if (peer->fingerprint == NULL) {
    return 0;
  }
  (void)km_id_format(&peer->id, KM_ID_FINGERPRINT, own, sizeof own);
  const cert_entry *e = certs_by_fingerprint(c, peer->fingerprint);
  if (strcmp(own, peer->fingerprint) == 0 || (e != NULL && km_id_equal(&e->id, &peer->id))) {
    return 0;
  }
  return refuse(f, index, err,
                e == NULL ? ".cert_fingerprint: it is not that of this id, and of "
                            "no certificate that was imported (km-node cert import)"
                          : ".cert_fingerprint: it is that of another peer");
}

static int check_twice(const project_file *f, size_t index, km_errinfo *err) {
  for (size_t i = 0; i < f->pub.peer_count; i++) {
    const project_peer *other = &f->pub.peers[i];
    if (i != index && other->has_id && km_id_equal(&other->id, &f->pub.peers[index].id)) {
      return refuse(f, index, err, ": this is the same id as that of the peer in line %u",
                    other->line);
    }
  }
  return 0;
}

int project_resolve_peer(project_file *f, size_t index, const certs *c, km_errinfo *err) {
  project_peer *peer = &f->pub.peers[index];
  int rv = take_name(peer, c, err);
  if (rv != 0 || !peer->has_id) {
    return rv;
  }
  rv = check_twice(f, index, err);
  rv = rv != 0 ? rv : check_fingerprint(f, index, c, err);
  rv = rv != 0 ? rv : make_addr(peer, &f->extra[index], err);
  if (rv == 0) {
    f->mesh_peers[f->mesh_peer_count++] = (km_mesh_peer){
        .size = sizeof(km_mesh_peer),
        .id = peer->id,
        .name = peer->name,
        .addr = peer->addr,
        .grants = peer->grants,
        .grant_count = peer->grant_count,
        .dial = peer->dial,
    };
  }
  return rv;
}

/* Certificates in the whitelist whose ids are known. */
static int allow_certificates(project_file *f, const certs *c, km_errinfo *err) {
  project *p = &f->pub;
  for (size_t i = 0; i < p->fingerprint_count; i++) {
    const cert_entry *e = certs_by_fingerprint(c, p->fingerprints[i]);
    if (e == NULL) {
      continue;
    }
    km_id *grown = km_env_realloc(&km_env_system, p->allow, p->allow_count + 1, sizeof *grown);
    if (grown == NULL) {
      return km_fail(err, KM_ERR_NOMEM, NULL);
    }
    p->allow = grown;
    p->allow[p->allow_count++] = e->id;
  }
  return 0;
}

int project_resolve(project_file *f, const certs *c, km_errinfo *err) {
  int rv = 0;
  for (size_t i = 0; rv == 0 && i < f->pub.peer_count; i++) {
    rv = project_resolve_peer(f, i, c, err);
  }
  return rv != 0 ? rv : allow_certificates(f, c, err);
}
