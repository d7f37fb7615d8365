#include "cmd/node/ctl/peer_config.h"

#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "base/text.h"
#include "cmd/cli/file_io.h"
#include "cmd/node/project/config_edit.h"
#include "cmd/node/project/files_io.h"

#define MIN_PREFIX 6
#define SHOWN_NAME PROJECT_CONFIG

/* A change of the file, under way. */
typedef struct change {
  const peer_config_options *o;
  ctl c;
  km_errinfo err;
  km_id id, own;
  bool has_own, reloaded;
  char trust[16]; /* "trusted", "pending", "blocked"; "": not known */
  char *ticket;   /* ours; NULL: not known */
  char *entry;    /* what a hand has to put there; NULL: none has to */
  km_addr *addr;
  char name[KM_PEER_NAME_MAX + 1]; /* "": none */
  km_mesh_grant grants[CLI_LIST_MAX];
  char shares[CLI_LIST_MAX][KM_SHARE_NAME_MAX + 1];
  size_t grant_count;
  file_text text; /* as it was */
} change;

/* --- what is asked of the node ---------------------------------------------------------------- */

static void take_own(void *ctx, cJSON *result) {
  change *ch = ctx;
  const char *id = show_text(result, "id");
  ch->has_own = km_id_parse(&ch->own, id, strlen(id), NULL) == 0;
  ch->ticket = km_env_strdup(&km_env_system, show_text(result, "ticket"));
  cJSON_Delete(result);
}

static void take_trust(void *ctx, cJSON *row) {
  change *ch = ctx;
  km_id id;
  const char *text = show_text(row, "id");
  if (km_id_parse(&id, text, strlen(text), NULL) == 0 && km_id_equal(&id, &ch->id)) {
    (void)snprintf(ch->trust, sizeof ch->trust, "%s", show_text(row, "state"));
  }
  cJSON_Delete(row);
}

/* Who we are: the node says so, else the key, unless it is sealed. */
static void find_own(change *ch) {
  const ctl_reader reader = {.result = take_own, .ctx = ch};
  km_secret_key *key;
  km_errinfo err;
  if (ch->c.client != NULL) {
    (void)!ctl_ask(&ch->c, "status", ctl_args(NULL, NULL, NULL), &reader, &err);
  } else if (km_secret_key_load(&key, ch->c.project->key_file, &err) == 0) {
    km_secret_key_id(key, &ch->own);
    ch->has_own = true;
    km_secret_key_free(key);
  }
}

static void find_trust(change *ch) {
  const ctl_reader reader = {.row = take_trust, .ctx = ch};
  km_errinfo err;
  if (ch->c.client != NULL) {
    (void)!ctl_ask(&ch->c, "peer.list", ctl_args(NULL, NULL, NULL), &reader, &err);
  }
}

/* --- the file --------------------------------------------------------------------------------- */

static int read_file(change *ch) {
  return file_read(&ch->text, ch->c.project->config_path, "configuration", &ch->err);
}

/* Is what was written a configuration? Else the former one comes back. */
static int try_it(change *ch) {
  static const ctl_reader nothing = {0};
  project *fresh;
  int rv = project_load(&fresh, ch->c.project->config_path, &ch->err);
  if (rv != 0) {
    return rv;
  }
  project_free(fresh);
  if (ch->c.client != NULL) {
    rv = ctl_ask(&ch->c, "reload", ctl_args(NULL, NULL, NULL), &nothing, &ch->err);
  }
  ch->reloaded = rv == 0 && ch->c.client != NULL;
  return rv;
}

static int write_file(change *ch, const char *text) {
  const char *path = ch->c.project->config_path;
  int rv = files_rewrite(path, text, strlen(text), &ch->err);
  if (rv != 0) {
    return rv;
  }
  rv = try_it(ch);
  if (rv != 0 && files_rewrite(path, ch->text.bytes, ch->text.len, NULL) == 0 &&
      ch->c.client != NULL) {
    const ctl_reader nothing = {0};
    km_errinfo again;
    (void)!ctl_ask(&ch->c, "reload", ctl_args(NULL, NULL, NULL), &nothing, &again);
  }
  return rv;
}

/* --- adding ----------------------------------------------------------------------------------- */

static int take_peer(change *ch, const char *text) {
  if (strncmp(text, "endpoint", 8) == 0) {
    int rv = km_ticket_parse(&ch->addr, text, strlen(text), &ch->err);
    if (rv == 0) {
      ch->id = *km_addr_id(ch->addr);
    }
    return rv;
  }
  if (km_id_parse(&ch->id, text, strlen(text), NULL) != 0) {
    return km_fail(&ch->err, KM_ERR_INVALID,
                   "'%.60s' is no whole id and no ticket: its node says them with km-node status "
                   "--long; of a peer that asked, km-node peer requests shows the id",
                   text);
  }
  int rv = km_addr_new(&ch->addr, &ch->id);
  return rv == 0 ? 0 : km_fail(&ch->err, rv, NULL);
}

static int take_addrs(change *ch) {
  const cli_list *addrs = &ch->o->addrs;
  for (size_t i = 0; i < addrs->count; i++) {
    km_udp_addr udp;
    if (km_udp_addr_parse(&udp, addrs->at[i], strlen(addrs->at[i]), &ch->err) != 0 ||
        udp.port == 0) {
      return km_fail(&ch->err, KM_ERR_INVALID,
                     "--addr %.60s: this has to be IP:PORT, as 192.0.2.1:51888 or [::1]:51888",
                     addrs->at[i]);
    }
    int rv = km_addr_add_udp(ch->addr, &udp);
    if (rv != 0) {
      return km_fail(&ch->err, rv, "--addr %.60s cannot be added: %s", addrs->at[i],
                     km_strerror(rv));
    }
  }
  return 0;
}

static int take_name(change *ch) {
  const char *name = ch->o->name;
  size_t len = name == NULL ? 0 : strlen(name);
  if (name == NULL) {
    return 0;
  }
  if (len == 0 || len > KM_PEER_NAME_MAX || !km_text_is_clean(name, len)) {
    return km_fail(&ch->err, KM_ERR_INVALID,
                   "--name takes 1 to %d bytes of text without control characters",
                   KM_PEER_NAME_MAX);
  }
  memcpy(ch->name, name, len + 1);
  return 0;
}

static bool has_share(const project *p, const char *name) {
  for (size_t i = 0; i < p->share_count; i++) {
    if (strcmp(p->shares[i].name, name) == 0) {
      return true;
    }
  }
  return false;
}

static int take_share(change *ch, const char *text) {
  const char *mode = strrchr(text, '=');
  size_t len = mode == NULL ? 0 : (size_t)(mode - text);
  char *share = ch->shares[ch->grant_count];
  bool rw = mode != NULL && strcmp(mode, "=rw") == 0;
  if (mode == NULL || (!rw && strcmp(mode, "=ro") != 0) || len > KM_SHARE_NAME_MAX) {
    return km_fail(&ch->err, KM_ERR_INVALID,
                   "--share %.60s: this has to be NAME=ro (it may read) or NAME=rw (and write)",
                   text);
  }
  memcpy(share, text, len);
  share[len] = '\0';
  if (!has_share(ch->c.project, share)) {
    return km_fail(
        &ch->err, KM_ERR_INVALID,
        "there is no share '%.64s' in " PROJECT_CONFIG ": km-node list-shares shows them", share);
  }
  for (size_t i = 0; i < ch->grant_count; i++) {
    if (strcmp(ch->shares[i], share) == 0) {
      return km_fail(&ch->err, KM_ERR_INVALID, "--share %.64s is given twice", share);
    }
  }
  ch->grants[ch->grant_count++] =
      (km_mesh_grant){.share = share, .access = rw ? KM_ACCESS_WRITE : KM_ACCESS_READ};
  return 0;
}

static int take_shares(change *ch) {
  int rv = 0;
  for (size_t i = 0; rv == 0 && i < ch->o->shares_mode.count; i++) {
    rv = take_share(ch, ch->o->shares_mode.at[i]);
  }
  return rv;
}

static int check_new(change *ch) {
  const project *p = ch->c.project;
  for (size_t i = 0; i < p->peer_count; i++) {
    if (p->peers[i].has_id && km_id_equal(&p->peers[i].id, &ch->id)) {
      return km_fail(&ch->err, KM_ERR_STATE,
                     "this peer is in line %u of %.60s already: change it there, then run km-node "
                     "reload",
                     p->peers[i].line, p->config_path);
    }
  }
  find_own(ch);
  if (ch->has_own && km_id_equal(&ch->own, &ch->id)) {
    return km_fail(&ch->err, KM_ERR_INVALID, "this is the node's own id: give its peer's");
  }
  find_trust(ch);
  return 0;
}

static int put_in(change *ch) {
  const km_mesh_peer peer = {.size = sizeof peer,
                             .id = ch->id,
                             .name = ch->name[0] == '\0' ? NULL : ch->name,
                             .addr = ch->addr,
                             .grants = ch->grants,
                             .grant_count = ch->grant_count};
  char *text = NULL;
  int rv = read_file(ch);
  if (rv != 0) {
    return rv;
  }
  rv = config_add_entry(&text, SHOWN_NAME, ch->text.bytes, ch->text.len, &peer, &ch->err);
  if (rv == KM_ERR_INVALID) {
    ch->entry = config_peer_entry(&peer, "    ");
  }
  rv = rv != 0 ? rv : write_file(ch, text);
  km_env_free(&km_env_system, text);
  return rv;
}

/* --- telling ---------------------------------------------------------------------------------- */

static const char *who(const change *ch, char buf[SHOW_ID_CAP]) {
  char hex[KM_ID_TEXT_CAP];
  (void)km_id_format(&ch->id, KM_ID_SHORT, hex, sizeof hex);
  (void)snprintf(buf, SHOW_ID_CAP, ch->name[0] == '\0' ? "%s" : "%s %s", hex, ch->name);
  return buf;
}

static void emit(const change *ch, const char *name) {
  char hex[KM_ID_TEXT_CAP];
  const cli_output *out = &ch->c.show.out;
  cJSON *event = cli_event(out, name);
  (void)km_id_format(&ch->id, KM_ID_HEX, hex, sizeof hex);
  cli_add_text(event, "id", hex);
  cli_add_text(event, "name", ch->name);
  cli_add_text(event, "config", ch->c.project->config_path);
  if (event != NULL) {
    (void)cJSON_AddBoolToObject(event, "reloaded", ch->reloaded);
  }
  if (ch->trust[0] != '\0') {
    cli_add_text(event, "trust", ch->trust);
  } else {
    cli_add_null(event, "trust");
  }
  cli_emit_to(out, event);
}

/* What a peer without a grant of its own may do: is it anything? */
static bool is_shared(const project *p) {
  for (size_t i = 0; i < p->share_count; i++) {
    if (p->shares[i].others != KM_ACCESS_NONE) {
      return true;
    }
  }
  return false;
}

static void tell_added(const change *ch) {
  char buf[SHOW_ID_CAP], own[KM_ID_TEXT_CAP] = "ID_OF_THIS_NODE";
  const cli_output *out = &ch->c.show.out;
  emit(ch, "added");
  cli_say(out, "%s is in %s now: it is let in, and dialled%s", who(ch, buf),
          ch->c.project->config_path, ch->reloaded ? "" : " once the node runs");
  if (strcmp(ch->trust, "blocked") == 0) {
    cli_say(out, "  but it is blocked; to lift that: km-node peer trust %s", who(ch, buf));
  }
  if (ch->grant_count == 0 && !is_shared(ch->c.project)) {
    cli_say(out, "  it may not read or write any share: that is --share NAME=ro or rw");
  }
  if (ch->has_own) {
    (void)km_id_format(&ch->own, KM_ID_HEX, own, sizeof own);
  }
  cli_say(out, "  the other side has to let this node in too; there:\n  km-node peer add %s",
          ch->ticket != NULL && ch->ticket[0] != '\0' ? ch->ticket : own);
}

/* --- removing --------------------------------------------------------------------------------- */

static bool is_meant(const project_peer *peer, const char *text) {
  char hex[KM_ID_TEXT_CAP] = "";
  size_t len = strlen(text);
  if (peer->has_id) {
    (void)km_id_format(&peer->id, KM_ID_HEX, hex, sizeof hex);
  }
  return strcmp(peer->id_text, text) == 0 ||
         (peer->name != NULL && strcmp(peer->name, text) == 0) ||
         (len >= MIN_PREFIX && strncmp(hex, text, len) == 0);
}

static int find_configured(change *ch, const char *text, size_t *ret) {
  const project *p = ch->c.project;
  size_t found = 0;
  for (size_t i = 0; i < p->peer_count; i++) {
    if (is_meant(&p->peers[i], text)) {
      *ret = i;
      found++;
    }
  }
  if (found != 1) {
    return km_fail(&ch->err, found == 0 ? KM_ERR_NOT_FOUND : KM_ERR_INVALID,
                   found == 0 ? "no peer '%.64s' in " PROJECT_CONFIG
                                ": of one that is only trusted, km-node peer forget"
                              : "'%.64s' is more than one peer of " PROJECT_CONFIG ": give the id",
                   text);
  }
  ch->id = p->peers[*ret].id;
  (void)snprintf(ch->name, sizeof ch->name, "%s",
                 p->peers[*ret].name == NULL ? "" : p->peers[*ret].name);
  return 0;
}

static int take_out(change *ch, size_t index) {
  char *text = NULL;
  int rv = read_file(ch);
  rv = rv != 0
           ? rv
           : config_remove_entry(&text, SHOWN_NAME, ch->text.bytes, ch->text.len, index, &ch->err);
  rv = rv != 0 ? rv : write_file(ch, text);
  km_env_free(&km_env_system, text);
  return rv;
}

static void tell_removed(const change *ch) {
  char buf[SHOW_ID_CAP];
  emit(ch, "removed");
  cli_say(&ch->c.show.out, "%s is no longer in %s", who(ch, buf), ch->c.project->config_path);
  if (strcmp(ch->trust, "trusted") == 0) {
    cli_say(&ch->c.show.out,
            "  but it is trusted, and let in when it dials; to end that: km-node peer forget");
  }
}

/* --- both ------------------------------------------------------------------------------------- */

static int end(change *ch, int rv) {
  if (rv != 0 && ch->err.code == 0) {
    (void)km_fail(&ch->err, rv, NULL);
  }
  int status = rv == 0 ? CLI_EXIT_OK : ctl_fail(&ch->c, &ch->err);
  if (ch->entry != NULL && !ch->o->common.json) {
    (void)fprintf(stderr, "  put there:\n%s", ch->entry);
  }
  km_env_free(&km_env_system, ch->entry);
  file_free(&ch->text);
  km_addr_free(ch->addr);
  km_env_free(&km_env_system, ch->ticket);
  ctl_close(&ch->c);
  return status;
}

int peer_config_add(const peer_config_options *o, const char *peer) {
  change ch = {.o = o};
  int status = ctl_open_strict(&ch.c, &o->common);
  if (status != CLI_EXIT_OK) {
    return status;
  }
  int rv = take_peer(&ch, peer);
  rv = rv != 0 ? rv : take_addrs(&ch);
  rv = rv != 0 ? rv : take_name(&ch);
  rv = rv != 0 ? rv : take_shares(&ch);
  rv = rv != 0 ? rv : check_new(&ch);
  rv = rv != 0 ? rv : put_in(&ch);
  if (rv == 0) {
    tell_added(&ch);
  }
  return end(&ch, rv);
}

int peer_config_remove(const peer_config_options *o, const char *peer) {
  change ch = {.o = o};
  size_t index = 0;
  int status = ctl_open_strict(&ch.c, &o->common);
  if (status != CLI_EXIT_OK) {
    return status;
  }
  int rv = find_configured(&ch, peer, &index);
  rv = rv != 0 ? rv : take_out(&ch, index);
  if (rv == 0) {
    find_trust(&ch);
    tell_removed(&ch);
  }
  return end(&ch, rv);
}
