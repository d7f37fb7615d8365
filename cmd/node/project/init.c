/* km-node init: makes a project. */
#include <stdio.h>
#include <string.h>

#include <uv.h>

#include "base/env.h"
#include "base/text.h"
#include "cmd/cli/options.h"
#include "cmd/node/project/commands.h"
#include "cmd/node/project/config.h"
#include "cmd/node/project/files_io.h"
#include "cmd/node/project/key.h"
#include "cmd/node/project/paths.h"

typedef struct init {
  cli_output out;
  const char *name, *passphrase_file;
  bool force, sealed, json;
  char *dir, *config, *key; /* paths */
  char node_id[KM_PEER_NAME_MAX + 1];
  km_id id;
  bool made_key, replaced; /* there was a key before; a configuration was */
} init;

static const char ignored[] = "# Secrets and what a node writes: nothing of it belongs into git.\n"
                              "keys/\n"
                              "data/\n"
                              "logs/\n"
                              "run/\n";

/* --- names and paths ------------------------------------------------------------------------- */

/* The machine's name, of characters that suit everywhere. */
static void take_host_name(char ret[KM_PEER_NAME_MAX + 1]) {
  char name[UV_MAXHOSTNAMESIZE] = "";
  size_t len = sizeof name, used = 0;
  if (uv_os_gethostname(name, &len) != 0) {
    name[0] = '\0';
  }
  for (const char *p = name; *p != '\0' && *p != '.' && used < KM_PEER_NAME_MAX; p++) {
    bool good = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9');
    ret[used++] = good ? *p : '-';
  }
  ret[used] = '\0';
  if (used == 0) {
    (void)snprintf(ret, KM_PEER_NAME_MAX + 1, "%s", "node");
  }
}

static int make_folder(init *in, const char *name, mode_t mode, km_errinfo *err) {
  bool made;
  char *path = path_join(in->dir, name);
  int rv =
      path == NULL ? km_fail(err, KM_ERR_NOMEM, NULL) : files_make_folder(path, mode, &made, err);
  km_env_free(&km_env_system, path);
  return rv;
}

static int make_folders(init *in, const char *dir, km_errinfo *err) {
  bool made;
  int rv = files_make_folder(dir, 0755, &made, err);
  rv = rv != 0 ? rv : files_real_path(&in->dir, dir, err);
  rv = rv != 0 ? rv : make_folder(in, "keys", 0700, err);
  rv = rv != 0 ? rv : make_folder(in, "data", 0700, err);
  rv = rv != 0 ? rv : make_folder(in, "logs", 0755, err);
  rv = rv != 0 ? rv : make_folder(in, "run", 0700, err);
  if (rv != 0) {
    return rv;
  }
  in->config = path_join(in->dir, PROJECT_CONFIG);
  in->key = path_join(in->dir, "keys/node.key");
  return in->config == NULL || in->key == NULL ? km_fail(err, KM_ERR_NOMEM, NULL) : 0;
}

/* --- the key --------------------------------------------------------------------------------- */

static int new_key(init *in, km_secret_key **ret, km_errinfo *err) {
  passphrase p = {.len = 0};
  const passphrase_source source = {in->passphrase_file, "KM_PASSPHRASE",
                                    "Passphrase for the new key: ", true};
  int rv = in->sealed ? passphrase_get(&p, &source, err) : 0;
  if (rv != 0) {
    return rv;
  }
  rv = km_secret_key_generate(ret);
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  rv = key_write(*ret, in->key, in->sealed ? &p : NULL, err);
  passphrase_wipe(&p);
  if (rv != 0) {
    km_secret_key_free(*ret);
  }
  in->made_key = rv == 0;
  return rv;
}

/* One that is there stays. */
static int take_key(init *in, km_errinfo *err) {
  files_info info;
  km_secret_key *key = NULL;
  const passphrase_source source = {in->passphrase_file, "KM_PASSPHRASE",
                                    "Passphrase of the key that is there: ", false};
  int rv =
      files_look(&info, in->key) ? key_read(&key, in->key, &source, err) : new_key(in, &key, err);
  if (rv == 0) {
    km_secret_key_id(key, &in->id);
    km_secret_key_free(key);
  }
  return rv;
}

/* --- the configuration ----------------------------------------------------------------------- */

static int write_config(init *in, km_errinfo *err) {
  files_info info;
  char *text = config_sample(in->node_id), *old = path_join(in->dir, PROJECT_CONFIG ".old");
  if (text == NULL || old == NULL) {
    km_env_free(&km_env_system, text);
    km_env_free(&km_env_system, old);
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  in->replaced = files_look(&info, in->config);
  int rv = in->replaced ? files_rename(in->config, old, err) : 0;
  rv = rv != 0 ? rv : files_write_new(in->config, text, strlen(text), 0644, err);
  km_env_free(&km_env_system, text);
  km_env_free(&km_env_system, old);
  return rv;
}

static int write_ignored(init *in, km_errinfo *err) {
  char *path = path_join(in->dir, ".gitignore");
  if (path == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  int rv = files_write_new(path, ignored, sizeof ignored - 1, 0644, err);
  km_env_free(&km_env_system, path);
  return rv == KM_ERR_FILE_EXISTS ? 0 : rv;
}

static int check_free(const init *in, const char *dir, km_errinfo *err) {
  files_info info;
  size_t cap = strlen(dir) + sizeof PROJECT_CONFIG + 1;
  char *config = km_env_alloc(&km_env_system, cap);
  if (config == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  (void)snprintf(config, cap, "%s/" PROJECT_CONFIG, dir);
  int rv =
      files_look(&info, config) && !in->force
          ? km_fail(
                err, KM_ERR_FILE_EXISTS,
                "%.90s is there already: --force writes a new one and keeps it as " PROJECT_CONFIG
                ".old",
                config)
          : 0;
  km_env_free(&km_env_system, config);
  return rv;
}

static int make_project(init *in, const char *dir, km_errinfo *err) {
  int rv = check_free(in, dir, err);
  rv = rv != 0 ? rv : make_folders(in, dir, err);
  rv = rv != 0 ? rv : take_key(in, err);
  rv = rv != 0 ? rv : write_config(in, err);
  return rv != 0 ? rv : write_ignored(in, err);
}

/* --- telling --------------------------------------------------------------------------------- */

static void tell_next(const init *in, const char *dir) {
  bool here = strcmp(dir, ".") == 0;
  cli_say(&in->out, "\nNext:");
  cli_say(&in->out,
          "  1. %s%s%skm-node check && km-node run   (km-node install makes it a service)",
          here ? "" : "cd ", here ? "" : dir, here ? "" : " && ");
  cli_say(
      &in->out,
      "  2. On each side, with the other one's id or ticket (km-node status --long says them):\n"
      "     km-node peer add TICKET --name bob --share common=rw");
  cli_say(&in->out,
          "  3. A share is open to those who were given it, as above, and to others as its\n"
          "     default_mode in " PROJECT_CONFIG " says: none. Back the key up.");
}

static void tell(const init *in, const char *dir) {
  char id[KM_ID_TEXT_CAP];
  (void)km_id_format(&in->id, KM_ID_HEX, id, sizeof id);
  cJSON *event = cli_event(&in->out, "init");
  cli_add_text(event, "dir", in->dir);
  cli_add_text(event, "config", in->config);
  cli_add_text(event, "key", in->key);
  cli_add_text(event, "id", id);
  cli_add_text(event, "node_id", in->node_id);
  if (event != NULL) {
    (void)cJSON_AddBoolToObject(event, "made_key", in->made_key);
    (void)cJSON_AddBoolToObject(event, "sealed", key_is_sealed(in->key));
  }
  cli_emit(event);
  cli_say(&in->out, "project  %s", in->dir);
  cli_say(&in->out, "config   %s%s", in->config,
          in->replaced ? "  (the former one: " PROJECT_CONFIG ".old)" : "");
  cli_say(&in->out, "key      %s%s", in->key, in->made_key ? "" : "  (it was there and is kept)");
  cli_say(&in->out, "id       %s", id);
  tell_next(in, dir);
}

static int check_name(init *in, km_errinfo *err) {
  if (in->name == NULL) {
    take_host_name(in->node_id);
    return 0;
  }
  char cleaned[KM_PEER_NAME_MAX + 1];
  size_t len = strlen(in->name);
  if (len == 0 || len > KM_PEER_NAME_MAX) {
    return km_fail(err, KM_ERR_INVALID, "--name takes 1 to %d bytes", KM_PEER_NAME_MAX);
  }
  (void)snprintf(in->node_id, sizeof in->node_id, "%s", in->name);
  (void)snprintf(cleaned, sizeof cleaned, "%s", in->name);
  km_text_clean(cleaned);
  return strcmp(cleaned, in->name) == 0
             ? 0
             : km_fail(err, KM_ERR_INVALID, "--name takes text without control characters");
}

int cmd_init(int argc, char **argv) {
  init in = {0};
  const cli_option options[] = {
      {"--name", CLI_TEXT, &in.name, "NAME", "what others are shown; default: this machine's name",
       0, 0},
      {"--sealed", CLI_FLAG, &in.sealed, NULL, "seal the key with a passphrase", 0, 0},
      {"--passphrase-file", CLI_TEXT, &in.passphrase_file, "PATH",
       "its first line is the passphrase; else $KM_PASSPHRASE", 0, 0},
      {"--force", CLI_FLAG, &in.force, NULL, "write a new " PROJECT_CONFIG "; a key is kept", 0, 0},
      {"--json", CLI_FLAG, &in.json, NULL, "one JSON object", 0, 0},
      {0},
  };
  const cli_command command = {
      .name = "km-node init",
      .usage = "km-node init [DIR] [--name NAME] [--sealed]",
      .about = "Makes a project: a folder with a key, a configuration in which every key is\n"
               "explained, and room for what a node writes. A key that is there is kept.",
      .example = "  km-node init office --name office-1",
      .options = options,
      .max_words = 1,
  };
  cli_words words;
  km_errinfo err;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  cli_output_init(&in.out, in.json);
  if (result == CLI_HELPED) {
    return CLI_EXIT_OK;
  }
  if (result == CLI_BAD || check_name(&in, &err) != 0) {
    return cli_error(&in.out, CLI_EXIT_USAGE, &err);
  }
  const char *dir = words.count == 0 ? "." : words.at[0];
  int rv = make_project(&in, dir, &err);
  if (rv == 0) {
    tell(&in, dir);
  }
  km_env_free(&km_env_system, in.dir);
  km_env_free(&km_env_system, in.config);
  km_env_free(&km_env_system, in.key);
  return rv == 0 ? CLI_EXIT_OK : cli_error(&in.out, cli_status_of(rv), &err);
}
