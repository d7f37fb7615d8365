/* km-node list-shares: the shares of the configuration. */
#include <stdio.h>
#include <string.h>

#include "cmd/node/project/commands.h"
#include "cmd/node/project/paths.h"
#include "cmd/node/project/project.h"
#include "cmd/node/project/project_option.h"

static const char *mode_name(km_access access) {
  return access == KM_ACCESS_WRITE ? "rw" : access == KM_ACCESS_READ ? "ro" : "none";
}

static const km_mesh_grant *find_grant(const project_peer *peer, const char *share) {
  for (size_t i = 0; i < peer->grant_count; i++) {
    if (strcmp(peer->grants[i].share, share) == 0) {
      return &peer->grants[i];
    }
  }
  return NULL;
}

static const char *peer_name(const project_peer *peer) {
  return peer->name != NULL ? peer->name : peer->id_text;
}

static void add_text_or_null(cJSON *event, const char *name, const char *text) {
  if (text == NULL) {
    cli_add_null(event, name);
  } else {
    cli_add_text(event, name, text);
  }
}

static void emit(const cli_output *out, const project *p, const project_share *s) {
  cJSON *event = cli_event(out, "share");
  if (event == NULL) {
    return;
  }
  cli_add_text(event, "name", s->name);
  cli_add_text(event, "default_mode", mode_name(s->others));
  add_text_or_null(event, "path", s->path);
  (void)cJSON_AddBoolToObject(event, "delete_propagation", s->delete_propagation);
  add_text_or_null(event, "ignore_file", s->ignore_file);
  cJSON *peers = cJSON_AddArrayToObject(event, "peers");
  for (size_t i = 0; i < p->peer_count; i++) {
    const km_mesh_grant *grant = find_grant(&p->peers[i], s->name);
    cJSON *row = grant == NULL ? NULL : cJSON_CreateObject();
    cli_add_text(row, "peer", peer_name(&p->peers[i]));
    cli_add_text(row, "mode", grant == NULL ? "" : mode_name(grant->access));
    if (row != NULL && !cJSON_AddItemToArray(peers, row)) {
      cJSON_Delete(row);
    }
  }
  cli_emit(event);
}

static void say(const cli_output *out, const project *p, const project_share *s) {
  cli_say(out, "%-20s default %-5s %s", s->name, mode_name(s->others),
          s->path == NULL ? "" : path_shorten(p->dir, s->path));
  for (size_t i = 0; i < p->peer_count; i++) {
    const km_mesh_grant *grant = find_grant(&p->peers[i], s->name);
    if (grant != NULL) {
      cli_say(out, "  %s  %.64s", mode_name(grant->access), peer_name(&p->peers[i]));
    }
  }
}

int cmd_list_shares(int argc, char **argv) {
  project_option o = {0};
  const cli_option options[] = {PROJECT_OPTION_ROWS(o), {0}};
  const cli_command command = {
      .name = "km-node list-shares",
      .usage = "km-node list-shares [--config PATH]",
      .about = "Shows the shares of a project, and what each configured peer may do with them:\n"
               "ro (read), rw (read and write).",
      .example = "  km-node list-shares",
      .options = options,
  };
  cli_output out;
  cli_words words;
  km_errinfo err;
  project *p;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  cli_output_init(&out, o.json);
  if (result != CLI_RUN) {
    return result == CLI_HELPED ? CLI_EXIT_OK : cli_error(&out, CLI_EXIT_USAGE, &err);
  }
  int rv = project_load(&p, o.config, &err);
  if (rv != 0) {
    return cli_error(&out, cli_status_of(rv), &err);
  }
  for (size_t i = 0; i < p->share_count; i++) {
    if (out.json) {
      emit(&out, p, &p->shares[i]);
    } else {
      say(&out, p, &p->shares[i]);
    }
  }
  if (p->share_count == 0) {
    cli_say(&out, "No shares: add some under `shares` in %s", p->config_path);
  }
  project_free(p);
  return CLI_EXIT_OK;
}
