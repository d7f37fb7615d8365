/* km-node service: state and log of what km-node install made. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "cmd/node/daemon/control_io.h"
#include "cmd/node/project/commands.h"
#include "cmd/node/project/files_io.h"
#include "cmd/node/project/project.h"
#include "cmd/node/project/project_option.h"
#include "cmd/node/project/service_files.h"
#include "cmd/node/project/service_place.h"
#include "cmd/node/project/tool_io.h"

typedef struct service {
  project_option o;
  cli_output out;
  const char *name;
  bool user, system, follow;
  uint64_t lines;
  char unit[80], state[32];
  char *path; /* of the service's file */
  bool installed;
} service;

/* --- which one ------------------------------------------------------------------------------- */

/* True: such a file is there. */
static bool look(service *s, bool system, km_errinfo *err) {
  const service_home home = {getenv("HOME"), getenv("XDG_CONFIG_HOME"), getenv("APPDATA")};
  files_info info;
  km_env_free(&km_env_system, s->path);
  s->path = NULL;
  s->system = system;
  return service_place(&s->path, service_platform_here(), system, s->name, &home, err) == 0 &&
         files_look(&info, s->path);
}

/* That of the user is looked at first. */
static int find(service *s, km_errinfo *err) {
  bool only_user = s->user, only_system = s->system;
  if (only_user && only_system) {
    return km_fail(err, KM_ERR_INVALID, "give --user or --system, not both");
  }
  if (!service_name_is_good(s->name)) {
    return km_fail(err, KM_ERR_INVALID,
                   "--name takes 1 to 64 of a-z A-Z 0-9 . _ -, a letter or "
                   "digit first");
  }
  (void)snprintf(s->unit, sizeof s->unit, "%s.service", s->name);
  s->installed = (!only_system && look(s, false, err)) || (!only_user && look(s, true, err));
  return 0;
}

/* --- status ---------------------------------------------------------------------------------- */

/* Without systemd somebody may have started it by hand. */
static bool answers(const project *p) {
  control_client *client = NULL;
  bool yes = control_client_open(&client, p->control_path, NULL) == 0;
  if (yes) {
    control_client_close(client);
  }
  return yes;
}

/* True: it runs. */
static bool take_state(service *s, const project *p) {
  const char *const argv[] = {"systemctl", s->system ? "--system" : "--user", "is-active", s->unit,
                              NULL};
  bool runs;
  const char *word;
  if (s->installed && tool_systemd_runs(s->system)) {
    runs = tool_word(argv, s->state, sizeof s->state) == 0;
    word = s->state[0] == '\0' ? "unknown" : NULL;
  } else {
    runs = answers(p);
    word = runs ? "answering" : "inactive";
  }
  if (word != NULL) {
    (void)snprintf(s->state, sizeof s->state, "%s", word);
  }
  return runs;
}

static int show_status(service *s, const project *p) {
  bool runs = take_state(s, p);
  cJSON *event = cli_event(&s->out, "service");
  cli_add_text(event, "name", s->name);
  if (event != NULL) {
    (void)cJSON_AddBoolToObject(event, "installed", s->installed);
  }
  cli_add_text(event, "state", s->state);
  if (s->installed) {
    cli_add_text(event, "scope", s->system ? "system" : "user");
    cli_add_text(event, "path", s->path);
  }
  if (p->log_file != NULL) {
    cli_add_text(event, "log", p->log_file);
  }
  cli_emit(event);
  cli_say(&s->out, "service  %s%s", s->name,
          s->installed ? "" : ", not installed (km-node install does that)");
  if (s->installed) {
    cli_say(&s->out, "file     %s", s->path);
  }
  cli_say(&s->out, "state    %s",
          strcmp(s->state, "answering") == 0 ? "a node answers: km-node status asks it" : s->state);
  cli_say(&s->out, "log      %s", p->log_file == NULL ? "standard error" : p->log_file);
  return runs ? CLI_EXIT_OK : CLI_EXIT_FAILED;
}

/* --- logs ------------------------------------------------------------------------------------ */

static void show_line(void *ctx, const char *line) {
  const service *s = ctx;
  cJSON *event = cli_event(&s->out, "log");
  cli_add_text(event, "line", line);
  cli_emit(event);
  cli_say(&s->out, "%s", line);
}

static int show_journal(const service *s, km_errinfo *err) {
  char lines[24];
  const char *argv[10] = {"journalctl", s->system ? "--unit" : "--user-unit", s->unit, "--lines",
                          lines};
  size_t n = 5;
  (void)snprintf(lines, sizeof lines, "%" PRIu64, s->lines);
  if (s->out.json) {
    argv[n++] = "--output=json";
  }
  argv[n++] = s->follow ? "--follow" : "--no-pager";
  return tool_become(argv, err);
}

static int show_logs(service *s, const project *p, km_errinfo *err) {
  if (p->log_file != NULL) {
    return tool_tail(p->log_file, (size_t)s->lines, s->follow, show_line, s, err);
  }
  if (s->installed && tool_systemd_runs(true)) { /* one journal is for all */
    return show_journal(s, err);
  }
  return km_fail(err, KM_ERR_NOT_FOUND,
                 "there is no log to show: name a file in logging.file, or run the node as a "
                 "service of systemd (km-node install)");
}

/* --- the command ----------------------------------------------------------------------------- */

static int run(service *s, const char *word, km_errinfo *err) {
  project *p;
  bool logs = strcmp(word, "logs") == 0;
  if (!logs && strcmp(word, "status") != 0) {
    (void)km_fail(err, KM_ERR_INVALID, "say 'status' or 'logs': see km-node service --help");
    return cli_error(&s->out, CLI_EXIT_USAGE, err);
  }
  int rv = find(s, err);
  rv = rv != 0 ? rv : project_load(&p, s->o.config, err);
  if (rv != 0) {
    return cli_error(&s->out, cli_status_of(rv), err);
  }
  int status = CLI_EXIT_OK;
  if (logs) {
    rv = show_logs(s, p, err);
    status = rv == 0 ? CLI_EXIT_OK : cli_error(&s->out, cli_status_of(rv), err);
  } else {
    status = show_status(s, p);
  }
  project_free(p);
  return status;
}

int cmd_service(int argc, char **argv) {
  service s = {.name = "km-node", .lines = 50};
  const cli_option options[] = {
      PROJECT_OPTION_ROWS(s.o),
      {"--user", CLI_FLAG, &s.user, NULL, "that of this user; default: whichever is there", 0, 0},
      {"--system", CLI_FLAG, &s.system, NULL, "that of the machine", 0, 0},
      {"--name", CLI_TEXT, &s.name, "NAME", "of the service; default: km-node", 0, 0},
      {"--lines", CLI_NUMBER, &s.lines, "N", "logs: so many of the last lines; default: 50", 0,
       100000},
      {"--follow", CLI_FLAG, &s.follow, NULL, "logs: and those that come", 0, 0},
      {"-f", CLI_FLAG, &s.follow, NULL, "the same", 0, 0},
      {0},
  };
  const cli_command command = {
      .name = "km-node service",
      .usage = "km-node service status | logs [-f] [--lines N]",
      .about = "Tells whether the service of a project runs, or shows its log: the file of\n"
               "logging.file, else systemd's journal. Status 0: it runs.",
      .example = "  km-node service logs --follow",
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
  int status = run(&s, words.at[0], &err);
  km_env_free(&km_env_system, s.path);
  return status;
}
