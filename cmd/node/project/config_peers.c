/* `peers` and `shares` of keymesh.yaml. */
#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "base/text.h"
#include "cmd/node/project/config.h"
#include "cmd/node/project/paths.h"

#define GRANTS_MAX KM_MESH_MAX_SHARES
#define TEXT_MAX 4096

const char *const config_peer_keys[] = {
    "id", "name", "addr", "relay", "cert_fingerprint", "shares_access", "dial", NULL};
const char *const config_access_keys[] = {"share", "mode", NULL};
const char *const config_share_keys[] = {
    "name", "path", "default_mode", "delete_propagation", "ignore_file", NULL};

static const char *const modes[] = {"none", "ro", "rw", NULL}; /* km_access */
static const char *const granted_modes[] = {"ro", "rw", NULL}; /* and one more */

static int no_memory(const config_at *at) {
  return km_fail(at->err, KM_ERR_NOMEM, NULL);
}

/* Is something there? A list of nothing is as good as none. */
static bool is_empty(const tree *t) {
  return t == NULL || tree_is_null(t) || (t->kind == TREE_LIST && t->count == 0);
}

static int require(const config_at *at, const tree *map, const char *key) {
  const tree *t = tree_get(map, key);
  const config_at here = config_step(at, key);
  return t == NULL || tree_is_null(t) ? config_refuse(&here, map, "this is missing") : 0;
}

/* --- shares ---------------------------------------------------------------------------------- */

static bool is_share_name(const char *text) {
  size_t len = strlen(text);
  size_t good = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
  return len > 0 && len <= KM_SHARE_NAME_MAX && good == len && strchr("._-", text[0]) == NULL;
}

static const project_share *find_share(const project *p, const char *name) {
  for (size_t i = 0; i < p->share_count; i++) {
    if (strcmp(p->shares[i].name, name) == 0) {
      return &p->shares[i];
    }
  }
  return NULL;
}

static int take_share_name(const config_at *at, const tree *map, project_share *s) {
  const tree *t = tree_get(map, "name");
  const config_at here = config_step(at, "name");
  int rv = require(at, map, "name");
  rv = rv != 0 ? rv : config_take_text(&here, t, TEXT_MAX, &s->name);
  if (rv != 0) {
    return rv;
  }
  if (!is_share_name(s->name)) {
    return config_refuse(&here, t,
                         "a share's name has 1 to 64 of a-z A-Z 0-9 . _ - and begins "
                         "with a letter or digit");
  }
  const project_share *before = find_share(&at->file->pub, s->name);
  return before != NULL ? config_refuse(&here, t, "there are two shares of the name %s", s->name)
                        : 0;
}

static int take_share_path(const config_at *at, const tree *t, project_share *s) {
  const project *p = &at->file->pub;
  const config_at here = config_step(at, "path");
  char *text = NULL;
  int rv = config_take_text(&here, t, TEXT_MAX, &text);
  if (rv != 0 || text == NULL) {
    return rv;
  }
  s->path = path_join(p->dir, text);
  if (s->path == NULL) {
    rv = no_memory(at);
  } else if (!path_is_inside(p->dir, s->path)) {
    rv = config_refuse(&here, t, "path traversal refused: %.60s is outside of the project", text);
  }
  km_env_free(&km_env_system, text);
  return rv;
}

/* The name of a file within the share. */
static int take_ignore_file(const config_at *at, const tree *t, project_share *s) {
  const config_at here = config_step(at, "ignore_file");
  int rv = config_take_text(&here, t, 255, &s->ignore_file);
  if (rv == 0 && s->ignore_file != NULL &&
      (strchr(s->ignore_file, '/') != NULL || strcmp(s->ignore_file, "..") == 0)) {
    rv = config_refuse(&here, t, "this has to be the name of a file, without a folder");
  }
  return rv;
}

static int take_share(const config_at *at, const tree *map, project_share *s) {
  unsigned mode = KM_ACCESS_NONE;
  int rv = config_check_map(at, map, config_share_keys);
  rv = rv != 0 ? rv : take_share_name(at, map, s);
  rv = rv != 0 ? rv : take_share_path(at, tree_get(map, "path"), s);
  const config_at mode_at = config_step(at, "default_mode");
  rv = rv != 0 ? rv : config_take_choice(&mode_at, tree_get(map, "default_mode"), modes, &mode);
  s->others = (km_access)mode;
  const config_at bool_at = config_step(at, "delete_propagation");
  const tree *propagation = tree_get(map, "delete_propagation");
  rv = rv != 0 ? rv : config_take_bool(&bool_at, propagation, &s->delete_propagation);
  return rv != 0 ? rv : take_ignore_file(at, tree_get(map, "ignore_file"), s);
}

int config_take_shares(const config_at *root, const tree *t) {
  project *p = &root->file->pub;
  const config_at at = config_step(root, "shares");
  if (is_empty(t)) {
    return 0;
  }
  int rv = config_check_list(&at, t, KM_MESH_MAX_SHARES);
  if (rv != 0) {
    return rv;
  }
  p->shares = km_env_zalloc(&km_env_system, t->count, sizeof *p->shares);
  root->file->mesh_shares = km_env_zalloc(&km_env_system, t->count, sizeof(km_mesh_share));
  if (p->shares == NULL || root->file->mesh_shares == NULL) {
    return no_memory(root);
  }
  for (size_t i = 0; rv == 0 && i < t->count; i++) {
    const config_at here = config_step_into(&at, i);
    p->shares[i].name = NULL;
    p->share_count = i; /* those before are whole */
    project_share *s = &p->shares[i];
    rv = take_share(&here, &t->items[i], s);
    p->share_count = i + 1;
    if (rv == 0) {
      root->file->mesh_shares[i] = (km_mesh_share){.name = s->name, .others = s->others};
    }
  }
  return rv;
}

/* --- what a peer may do ---------------------------------------------------------------------- */

static int take_grant(const config_at *at, const tree *map, project_peer *peer) {
  char *share = NULL;
  unsigned mode = 0;
  const tree *share_tree = tree_get(map, "share");
  int rv = config_check_map(at, map, config_access_keys);
  rv = rv != 0 ? rv : require(at, map, "share");
  rv = rv != 0 ? rv : require(at, map, "mode");
  const config_at share_at = config_step(at, "share"), mode_at = config_step(at, "mode");
  rv = rv != 0 ? rv : config_take_choice(&mode_at, tree_get(map, "mode"), granted_modes, &mode);
  rv = rv != 0 ? rv : config_take_text(&share_at, share_tree, TEXT_MAX, &share);
  if (rv == 0 && find_share(&at->file->pub, share) == NULL) {
    rv = config_refuse(&share_at, share_tree, "there is no share of the name %.64s under shares",
                       share);
  }
  for (size_t i = 0; rv == 0 && i < peer->grant_count; i++) {
    rv = strcmp(peer->grants[i].share, share) == 0
             ? config_refuse(&share_at, share_tree, "%.64s was given before", share)
             : 0;
  }
  if (rv != 0) {
    km_env_free(&km_env_system, share);
    return rv;
  }
  peer->grants[peer->grant_count++] =
      (km_mesh_grant){.share = share, .access = mode == 0 ? KM_ACCESS_READ : KM_ACCESS_WRITE};
  return 0;
}

static int take_grants(const config_at *peer_at, const tree *t, project_peer *peer) {
  const config_at at = config_step(peer_at, "shares_access");
  if (is_empty(t)) {
    return 0;
  }
  int rv = config_check_list(&at, t, GRANTS_MAX);
  if (rv != 0) {
    return rv;
  }
  peer->grants = km_env_zalloc(&km_env_system, t->count, sizeof *peer->grants);
  if (peer->grants == NULL) {
    return no_memory(peer_at);
  }
  for (size_t i = 0; rv == 0 && i < t->count; i++) {
    const config_at here = config_step_into(&at, i);
    rv = take_grant(&here, &t->items[i], peer);
  }
  return rv;
}

/* --- where a peer is ------------------------------------------------------------------------- */

static int take_udp(const config_at *at, const tree *t, config_peer_extra *x) {
  km_errinfo why;
  if (t->kind != TREE_SCALAR ||
      km_udp_addr_parse(&x->udp[x->udp_count], t->text, strlen(t->text), &why) != 0 ||
      x->udp[x->udp_count].port == 0) {
    return config_refuse(at, t,
                         "this has to be IP:PORT, as 192.0.2.1:51888 or \"[::1]:51888\"; "
                         "names are not looked up");
  }
  x->udp_count++;
  return 0;
}

/* "192.0.2.1:1, 192.0.2.2:2" */
static int join_addrs(const config_at *at, const config_peer_extra *x, char **ret) {
  char text[KM_ADDR_MAX_DIRECT * (KM_UDP_ADDR_TEXT_CAP + 2)] = "";
  size_t used = 0;
  for (size_t i = 0; i < x->udp_count; i++) {
    int n = snprintf(text + used, sizeof text - used, "%s", i == 0 ? "" : ", ");
    used += n > 0 ? (size_t)n : 0;
    n = km_udp_addr_format(&x->udp[i], text + used, sizeof text - used);
    used += n > 0 ? (size_t)n : 0;
  }
  *ret = km_env_strdup(&km_env_system, text);
  return *ret == NULL ? no_memory(at) : 0;
}

static int take_addrs(const config_at *peer_at, const tree *t, project_peer *peer,
                      config_peer_extra *x) {
  const config_at at = config_step(peer_at, "addr");
  if (is_empty(t)) {
    return 0;
  }
  int rv = t->kind == TREE_SCALAR ? 0 : config_check_list(&at, t, KM_ADDR_MAX_DIRECT);
  if (rv != 0) {
    return rv;
  }
  size_t count = t->kind == TREE_SCALAR ? 1 : t->count;
  x->udp = km_env_zalloc(&km_env_system, count, sizeof *x->udp);
  if (x->udp == NULL) {
    return no_memory(&at);
  }
  for (size_t i = 0; rv == 0 && i < count; i++) {
    const config_at here = config_step_into(&at, i);
    rv = t->kind == TREE_SCALAR ? take_udp(&at, t, x) : take_udp(&here, &t->items[i], x);
  }
  return rv != 0 ? rv : join_addrs(&at, x, &peer->addr_text);
}

/* --- who a peer is --------------------------------------------------------------------------- */

/* An id, a ticket, or a name that `certs` may know. */
static int take_id(const config_at *peer_at, const tree *map, project_peer *peer,
                   config_peer_extra *x) {
  km_errinfo why;
  const tree *t = tree_get(map, "id");
  const config_at at = config_step(peer_at, "id");
  int rv = require(peer_at, map, "id");
  rv = rv != 0 ? rv : config_take_text(&at, t, KM_TICKET_MAX, &peer->id_text);
  if (rv != 0) {
    return rv;
  }
  size_t len = strlen(peer->id_text);
  if (km_id_parse(&peer->id, peer->id_text, len, &why) == 0) {
    peer->has_id = true;
    return 0;
  }
  if (strncmp(peer->id_text, "endpoint", 8) == 0 && len > KM_PEER_NAME_MAX) {
    if (km_ticket_parse(&x->ticket, peer->id_text, len, &why) != 0) {
      return config_refuse(&at, t, "this is no whole ticket: %.90s", why.text);
    }
    peer->id = *km_addr_id(x->ticket);
    peer->has_id = true;
    return 0;
  }
  /* Lengths of ids: somebody meant one. */
  if (len > KM_PEER_NAME_MAX || len == KM_ID_HEX_LEN || len == KM_ID_BASE32_LEN) {
    return config_refuse(&at, t, "this is no id: %.120s", why.text);
  }
  return 0;
}

static int take_peer(const config_at *at, const tree *map, project_peer *peer,
                     config_peer_extra *x) {
  peer->dial = true;
  peer->line = map->line;
  const config_at name = config_step(at, "name"), print = config_step(at, "cert_fingerprint");
  const config_at dial = config_step(at, "dial"), relay = config_step(at, "relay");
  const tree *relays = tree_get(map, "relay");
  int rv = config_check_map(at, map, config_peer_keys);
  rv = rv != 0 ? rv : take_id(at, map, peer, x);
  rv = rv != 0 ? rv : config_take_text(&name, tree_get(map, "name"), KM_PEER_NAME_MAX, &peer->name);
  rv = rv != 0 ? rv : take_addrs(at, tree_get(map, "addr"), peer, x);
  rv = rv != 0 ? rv : config_take_urls(&relay, relays, &x->relays, &x->relay_count);
  rv = rv != 0
           ? rv
           : config_take_fingerprint(&print, tree_get(map, "cert_fingerprint"), &peer->fingerprint);
  rv = rv != 0 ? rv : take_grants(at, tree_get(map, "shares_access"), peer);
  return rv != 0 ? rv : config_take_bool(&dial, tree_get(map, "dial"), &peer->dial);
}

static bool is_same_peer(const project_peer *a, const project_peer *b) {
  return a->has_id && b->has_id ? km_id_equal(&a->id, &b->id) : strcmp(a->id_text, b->id_text) == 0;
}

static int check_twice(const config_at *at, const tree *map, size_t index) {
  const project *p = &at->file->pub;
  for (size_t i = 0; i < index; i++) {
    if (is_same_peer(&p->peers[i], &p->peers[index])) {
      return config_refuse(at, map, "this peer was given before, in line %u", p->peers[i].line);
    }
  }
  return 0;
}

int config_take_peers(const config_at *root, const tree *t) {
  project_file *f = root->file;
  const config_at at = config_step(root, "peers");
  if (is_empty(t)) {
    return 0;
  }
  int rv = config_check_list(&at, t, KM_MESH_MAX_PEERS);
  if (rv != 0) {
    return rv;
  }
  f->pub.peers = km_env_zalloc(&km_env_system, t->count, sizeof *f->pub.peers);
  f->extra = km_env_zalloc(&km_env_system, t->count, sizeof *f->extra);
  f->mesh_peers = km_env_zalloc(&km_env_system, t->count, sizeof *f->mesh_peers);
  if (f->pub.peers == NULL || f->extra == NULL || f->mesh_peers == NULL) {
    return no_memory(root);
  }
  for (size_t i = 0; rv == 0 && i < t->count; i++) {
    const config_at here = config_step_into(&at, i);
    f->pub.peer_count = i + 1;
    rv = take_peer(&here, &t->items[i], &f->pub.peers[i], &f->extra[i]);
    rv = rv != 0 ? rv : check_twice(&here, &t->items[i], i);
  }
  return rv;
}
