/* km-node security: what the level means, and the sealing of the key. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "cmd/node/daemon/control_io.h"
#include "cmd/node/project/commands.h"
#include "cmd/node/project/files_io.h"
#include "cmd/node/project/key.h"
#include "cmd/node/project/paths.h"
#include "cmd/node/project/project_impl.h"
#include "cmd/node/project/project_option.h"
#include "store/trust_rules.h"

typedef struct security {
  project_option o;
  cli_output out;
  const char *passphrase_file, *old_file;
  bool unseal;
} security;

/* --- status ---------------------------------------------------------------------------------- */

typedef struct trust_counts {
  bool known;
  double trusted, pending, blocked;
} trust_counts;

static double number_of(const cJSON *object, const char *name) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
  return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

static void ignore_row(void *ctx, cJSON *row) {
  (void)ctx;
  cJSON_Delete(row);
}

static void take_result(void *ctx, cJSON *result, const km_errinfo *err) {
  trust_counts *counts = ctx;
  if (err == NULL && result != NULL) {
    *counts = (trust_counts){true, number_of(result, "trusted"), number_of(result, "pending"),
                             number_of(result, "blocked")};
  }
  cJSON_Delete(result);
}

/* The daemon knows, as it holds the store. */
static bool ask_daemon(const project *p, trust_counts *counts) {
  control_client *client;
  const request_reply reply = {.row = ignore_row, .done = take_result, .ctx = counts};
  if (control_client_open(&client, p->control_path, NULL) != 0) {
    return false;
  }
  km_errinfo err;
  int rv = control_client_run(client, "security.status", NULL, &reply, &err);
  control_client_close(client);
  return rv == 0;
}

static void count_peer(void *ctx, const km_trust_info *info) {
  trust_counts *c = ctx;
  c->trusted += info->state == KM_TRUST_TRUSTED;
  c->pending += info->state == KM_TRUST_PENDING;
  c->blocked += info->state == KM_TRUST_BLOCKED;
}

/* Without one the store may be looked into, if it is there and the key is at hand. */
static void ask_store(const security *s, const project *p, trust_counts *counts) {
  files_info info;
  km_secret_key *key;
  km_store *store;
  const char *file = s->passphrase_file != NULL ? s->passphrase_file : p->passphrase_file;
  const passphrase_source source = {file, "KM_PASSPHRASE", NULL, false};
  if (!files_look(&info, p->store_path) || key_read(&key, p->key_file, &source, NULL) != 0) {
    return;
  }
  if (project_store(p, key, &store, NULL) == 0) {
    counts->known = km_trust_list(store, KM_TRUST_UNKNOWN, count_peer, counts, NULL) >= 0;
    km_store_close(store);
  }
  km_secret_key_free(key);
}

static void add_flag(cJSON *event, const char *name, bool value) {
  if (event != NULL) {
    (void)cJSON_AddBoolToObject(event, name, value);
  }
}

static void emit_status(const security *s, const project *p, const files_info *key,
                        const trust_counts *counts) {
  const km_security_rules *rules = km_security_rules_of(p->level);
  cJSON *event = cli_event(&s->out, "security");
  cli_add_text(event, "level", km_security_level_name(p->level));
  cli_add_text(event, "summary", rules->summary);
  add_flag(event, "lets_strangers_in", rules->lets_strangers_in);
  add_flag(event, "remembers_first_use", rules->remembers_first_use);
  add_flag(event, "queues_strangers", rules->queues_strangers);
  add_flag(event, "takes_recommendations", rules->takes_recommendations);
  cli_add_number(event, "recommend_threshold", p->recommend_threshold);
  add_flag(event, "takes_revocations", rules->takes_revocations || p->accept_revocations);
  add_flag(event, "needs_private_key", rules->needs_private_key);
  cli_add_text(event, "key", p->key_file);
  add_flag(event, "key_exists", key->exists);
  add_flag(event, "sealed", key_is_sealed(p->key_file));
  add_flag(event, "private", key->exists && (key->mode & 077) == 0);
  cli_add_number(event, "configured", (double)p->peer_count);
  if (counts->known) {
    cli_add_number(event, "trusted", counts->trusted);
    cli_add_number(event, "pending", counts->pending);
    cli_add_number(event, "blocked", counts->blocked);
  }
  cli_emit(event);
}

static const char *yes(bool value) {
  return value ? "yes" : "no";
}

static void say_status(const security *s, const project *p, const files_info *key,
                       const trust_counts *counts) {
  const km_security_rules *rules = km_security_rules_of(p->level);
  char needed[32] = "no";
  if (rules->takes_recommendations && p->recommend_threshold > 0) {
    (void)snprintf(needed, sizeof needed, "of %u trusted peers", p->recommend_threshold);
  }
  const cli_output *out = &s->out;
  cli_say(out, "level             %s: %s", km_security_level_name(p->level), rules->summary);
  cli_say(out, "strangers         %s",
          rules->lets_strangers_in     ? "let in"
          : rules->remembers_first_use ? "let in on first use, and remembered"
          : rules->queues_strangers    ? "wait for approval (km-node peer requests)"
                                       : "refused");
  cli_say(out, "recommendations   %s", needed);
  cli_say(out, "revocations       %s", yes(rules->takes_revocations || p->accept_revocations));
  cli_say(out, "key               %s", path_shorten(p->dir, p->key_file));
  if (!key->exists) {
    cli_say(out, "  there is none: km-node security init makes one");
  } else {
    cli_say(out, "  sealed          %s", yes(key_is_sealed(p->key_file)));
    cli_say(out, "  private         %s", (key->mode & 077) == 0 ? "yes" : "NO: chmod 600 it");
  }
  cli_say(out, "peers configured  %zu", p->peer_count);
  if (counts->known) {
    cli_say(out, "peers trusted     %.0f\npeers waiting     %.0f\npeers blocked     %.0f",
            counts->trusted, counts->pending, counts->blocked);
  }
}

static int show_status(const security *s, km_errinfo *err) {
  project *p;
  files_info key;
  trust_counts counts = {0};
  int rv = project_load(&p, s->o.config, err);
  if (rv != 0) {
    return rv;
  }
  (void)files_look(&key, p->key_file);
  if (!ask_daemon(p, &counts)) {
    ask_store(s, p, &counts);
  }
  if (s->out.json) {
    emit_status(s, p, &key, &counts);
  } else {
    say_status(s, p, &key, &counts);
  }
  project_free(p);
  return 0;
}

/* --- init ------------------------------------------------------------------------------------ */

/* Writes beside the old file, then puts it in its place: at no moment is there no key. */
static int replace_key(const km_secret_key *key, const char *path, const passphrase *p,
                       km_errinfo *err) {
  size_t cap = strlen(path) + 8;
  char *fresh = km_env_alloc(&km_env_system, cap);
  if (fresh == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  (void)snprintf(fresh, cap, "%s.new", path);
  int rv = files_remove(fresh, err); /* of one that was interrupted */
  rv = rv != 0 ? rv : key_write(key, fresh, p, err);
  if (rv == 0) {
    rv = files_rename(fresh, path, err);
    if (rv != 0) {
      int gone = files_remove(fresh, NULL); /* or the next time */
      (void)gone;
    }
  }
  km_env_free(&km_env_system, fresh);
  return rv;
}

static int get_old_key(const security *s, const project *p, km_secret_key **ret, bool *made,
                       km_errinfo *err) {
  files_info info;
  const char *file = s->old_file != NULL ? s->old_file : p->passphrase_file;
  const passphrase_source source = {file, "KM_OLD_PASSPHRASE",
                                    "Present passphrase of the key: ", false};
  const passphrase_source unsealing = {s->passphrase_file != NULL ? s->passphrase_file : file,
                                       "KM_PASSPHRASE", "Passphrase of the key: ", false};
  bool found = files_look(&info, p->key_file);
  *made = !found && !s->unseal;
  if (found) {
    return key_read(ret, p->key_file, s->unseal && s->old_file == NULL ? &unsealing : &source, err);
  }
  if (s->unseal) {
    return km_fail(err, KM_ERR_FILE_NOT_FOUND, "there is no key %.120s", p->key_file);
  }
  int rv = km_secret_key_generate(ret);
  return rv == 0 ? 0 : km_fail(err, rv, NULL);
}

static int make_key_folder(const project *p, km_errinfo *err) {
  bool made;
  char *dir = path_join(p->key_file, "..");
  int rv =
      dir == NULL ? km_fail(err, KM_ERR_NOMEM, NULL) : files_make_folder(dir, 0700, &made, err);
  km_env_free(&km_env_system, dir);
  return rv;
}

static void tell_sealed(const security *s, const project *p, const km_secret_key *key, bool made) {
  char text[KM_ID_TEXT_CAP];
  km_id id;
  km_secret_key_id(key, &id);
  (void)km_id_format(&id, KM_ID_HEX, text, sizeof text);
  cJSON *event = cli_event(&s->out, "sealed");
  cli_add_text(event, "key", p->key_file);
  cli_add_text(event, "id", text);
  add_flag(event, "made", made);
  add_flag(event, "sealed", !s->unseal);
  cli_emit(event);
  cli_say(&s->out, "key   %s%s\nid    %s", p->key_file, made ? "  (new)" : "", text);
  if (s->unseal) {
    cli_say(&s->out, "It is no longer sealed: whoever can read the file has the key.");
  } else {
    cli_say(&s->out, "It is sealed. Nobody can help who forgets the passphrase. A node that starts "
                     "by itself\nfinds it in security.passphrase_file.");
  }
}

static int seal(const security *s, const project *p, km_errinfo *err) {
  km_secret_key *key = NULL;
  passphrase fresh = {.len = 0};
  bool made = false;
  /* The configured file is for the next start: a key that is sealed for the first time takes it. */
  const char *file = s->passphrase_file != NULL || key_is_sealed(p->key_file) ? s->passphrase_file
                                                                              : p->passphrase_file;
  const passphrase_source source = {file, "KM_PASSPHRASE", "New passphrase for the key: ", true};
  int rv = get_old_key(s, p, &key, &made, err);
  if (rv != 0) {
    return rv;
  }
  rv = s->unseal ? 0 : passphrase_get(&fresh, &source, err);
  rv = rv != 0 ? rv : make_key_folder(p, err);
  if (rv == 0) {
    rv = made ? key_write(key, p->key_file, &fresh, err)
              : replace_key(key, p->key_file, s->unseal ? NULL : &fresh, err);
  }
  passphrase_wipe(&fresh);
  if (rv == 0) {
    tell_sealed(s, p, key, made);
  }
  km_secret_key_free(key);
  return rv;
}

static int do_init(const security *s, km_errinfo *err) {
  project_file *f;
  int rv = project_read(&f, s->o.config, err);
  if (rv != 0) {
    return rv;
  }
  rv = seal(s, &f->pub, err);
  config_free(f);
  return rv;
}

/* --- the command ----------------------------------------------------------------------------- */

int cmd_security(int argc, char **argv) {
  security s = {0};
  const cli_option options[] = {
      PROJECT_OPTION_ROWS(s.o),
      {"--passphrase-file", CLI_TEXT, &s.passphrase_file, "PATH",
       "init: its first line is the new passphrase; else $KM_PASSPHRASE", 0, 0},
      {"--old-passphrase-file", CLI_TEXT, &s.old_file, "PATH",
       "init: that of a sealed key; else $KM_OLD_PASSPHRASE", 0, 0},
      {"--unseal", CLI_FLAG, &s.unseal, NULL, "init: take the seal off", 0, 0},
      {0},
  };
  const cli_command command = {
      .name = "km-node security",
      .usage = "km-node security init | status",
      .about =
          "init seals the key of a project with a passphrase, or makes a sealed key, or changes\n"
          "the passphrase. status shows the security level and what it means.",
      .example = "  km-node security status",
      .options = options,
      .min_words = 1,
      .max_words = 1,
  };
  cli_words words;
  km_errinfo err;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  cli_output_init(&s.out, s.o.json);
  if (result != CLI_RUN) {
    return result == CLI_HELPED ? CLI_EXIT_OK : cli_error(&s.out, CLI_EXIT_USAGE, &err);
  }
  int rv =
      strcmp(words.at[0], "init") == 0 ? do_init(&s, &err)
      : strcmp(words.at[0], "status") == 0
          ? show_status(&s, &err)
          : km_fail(&err, KM_ERR_INVALID, "say 'init' or 'status': see km-node security --help");
  return rv == 0 ? CLI_EXIT_OK : cli_error(&s.out, cli_status_of(rv), &err);
}
