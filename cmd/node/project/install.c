/* km-node install, uninstall: the node as a service of this user or this machine. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "base/env.h"
#include "cmd/cli/file_io.h"
#include "cmd/node/project/commands.h"
#include "cmd/node/project/files_io.h"
#include "cmd/node/project/key.h"
#include "cmd/node/project/paths.h"
#include "cmd/node/project/project.h"
#include "cmd/node/project/project_option.h"
#include "cmd/node/project/service_files.h"
#include "cmd/node/project/service_place.h"
#include "cmd/node/project/tool_io.h"

#define PATH_CAP 4096
#define USER_CAP 65

typedef struct install {
  project_option o;
  cli_output out;
  const char *name, *platform_name, *program;
  bool user, system, print;
  service_platform platform;
  char *path; /* of the service's file */
} install;

static const char *scope_name(const install *in) {
  return in->system ? "system" : "user";
}

/* --- what was asked for ---------------------------------------------------------------------- */

static int take_platform(install *in, km_errinfo *err) {
  in->platform = service_platform_here();
  if (in->platform_name == NULL) {
    return 0;
  }
  for (unsigned i = 0; service_platform_names[i] != NULL; i++) {
    if (strcmp(service_platform_names[i], in->platform_name) == 0) {
      in->platform = (service_platform)i;
      return 0;
    }
  }
  return km_fail(err, KM_ERR_INVALID, "--platform is linux, macos or windows");
}

static int take_options(install *in, km_errinfo *err) {
  int rv = take_platform(in, err);
  if (rv != 0) {
    return rv;
  }
  if (in->user && in->system) {
    return km_fail(err, KM_ERR_INVALID, "give --user or --system, not both");
  }
  if (!service_name_is_good(in->name)) {
    return km_fail(err, KM_ERR_INVALID,
                   "--name takes 1 to 64 of a-z A-Z 0-9 . _ -, a letter or "
                   "digit first");
  }
  if (in->platform != service_platform_here() && !in->print) {
    return km_fail(err, KM_ERR_INVALID, "this is not %s: --print shows what would be written there",
                   service_platform_names[in->platform]);
  }
  in->system = in->system || (!in->user && tool_is_root());
  return 0;
}

static int take_path(install *in, km_errinfo *err) {
  const service_home home = {getenv("HOME"), getenv("XDG_CONFIG_HOME"), getenv("APPDATA")};
  const service_home nowhere = {"~", NULL, "%APPDATA%"};
  bool here = in->platform == service_platform_here();
  return service_place(&in->path, in->platform, in->system, in->name, here ? &home : &nowhere, err);
}

/* --- what is written ------------------------------------------------------------------------- */

typedef struct spec_memory {
  char program[PATH_CAP], user[USER_CAP];
  char *folders[3];
} spec_memory;

static void free_folders(spec_memory *m) {
  for (size_t i = 0; i < 3; i++) {
    km_env_free(&km_env_system, m->folders[i]);
  }
}

/* Where the node writes outside of its project. */
static void add_folders(service_spec *s, spec_memory *m, const project *p) {
  const char *files[] = {p->store_path, p->log_file, p->control_path};
  size_t n = 0;
  s->writable[n++] = p->dir;
  for (size_t i = 0; i < 3; i++) {
    m->folders[i] = files[i] == NULL ? NULL : path_join(files[i], "..");
    if (m->folders[i] != NULL && !path_is_inside(p->dir, m->folders[i])) {
      s->writable[n++] = m->folders[i];
    }
  }
}

static int fill_spec(const install *in, service_spec *s, spec_memory *m, const project *p,
                     km_errinfo *err) {
  size_t len = sizeof m->program;
  if (in->program == NULL && uv_exepath(m->program, &len) != 0) {
    return km_fail(err, KM_ERR_SYSTEM, "cannot find out where this program is: give --program");
  }
  s->name = in->name;
  s->program = in->program != NULL ? in->program : m->program;
  s->config = p->config_path;
  s->node_id = p->node_id;
  s->log_file = p->log_file;
  s->system = in->system;
  s->user = in->system && tool_owner(p->dir, m->user, sizeof m->user) ? m->user : NULL;
  s->low_port = (p->listen_port > 0 && p->listen_port < 1024) ||
                (p->status_enabled && p->status_port > 0 && p->status_port < 1024);
  s->runs_hooks = p->on_message != NULL;
  add_folders(s, m, p);
  return 0;
}

static int make_text(const install *in, char **ret, const project *p, km_errinfo *err) {
  service_spec spec = {0};
  spec_memory memory = {.folders = {NULL}};
  int rv = fill_spec(in, &spec, &memory, p, err);
  if (rv == 0) {
    switch (in->platform) {
    case SERVICE_LINUX:
      rv = service_systemd(ret, &spec, err);
      break;
    case SERVICE_MACOS:
      rv = service_launchd(ret, &spec, err);
      break;
    case SERVICE_WINDOWS:
      rv = in->system ? service_windows_reg(ret, &spec, err) : service_windows_cmd(ret, &spec, err);
      break;
    }
  }
  free_folders(&memory);
  return rv;
}

/* --- writing and starting -------------------------------------------------------------------- */

/* A file that is there may be replaced when it starts the same project. */
static int check_other(const install *in, const char *text, km_errinfo *err) {
  files_info info;
  file_text old;
  if (!files_look(&info, in->path)) {
    return 0;
  }
  int rv = file_read(&old, in->path, "service's file", err);
  if (rv != 0) {
    return rv;
  }
  const char *config = strstr(text, "--config");
  size_t len = config == NULL ? 0 : strcspn(config, "\n");
  len += in->platform == SERVICE_MACOS ? 1 + strcspn(config + len + 1, "\n") : 0;
  bool same = false;
  for (const char *at = old.bytes; !same && config != NULL && (at = strstr(at, "--config")) != NULL;
       at++) {
    same = strncmp(at, config, len) == 0;
  }
  file_free(&old);
  return same ? 0
              : km_fail(err, KM_ERR_FILE_EXISTS,
                        "%.90s starts another project: give this one another --name", in->path);
}

static int write_file(const install *in, const char *text, km_errinfo *err) {
  bool made;
  char *dir = path_join(in->path, "..");
  int rv =
      dir == NULL ? km_fail(err, KM_ERR_NOMEM, NULL) : files_make_folder(dir, 0755, &made, err);
  km_env_free(&km_env_system, dir);
  rv = rv != 0 ? rv : check_other(in, text, err);
  return rv != 0 ? rv : files_replace(in->path, text, strlen(text), 0644, err);
}

static int systemctl(const install *in, const char *a, const char *b, bool quiet) {
  char unit[80];
  const char *argv[8] = {"systemctl"};
  size_t n = 1;
  (void)snprintf(unit, sizeof unit, "%s.service", in->name);
  if (!in->system) {
    argv[n++] = "--user";
  }
  argv[n++] = a;
  if (b != NULL) {
    argv[n++] = b;
  }
  if (strcmp(a, "daemon-reload") != 0) {
    argv[n++] = unit;
  }
  return tool_run(argv, quiet || in->out.json);
}

static int launchctl(const install *in, const char *word) {
  const char *const argv[] = {"launchctl", word, "-w", in->path, NULL};
  return tool_run(argv, in->out.json);
}

/* True: it runs, and will when the machine starts. One that runs already runs anew, as the file (or
 * the program) may be another one. */
static bool start(const install *in) {
  if (in->platform == SERVICE_MACOS) {
    return launchctl(in, "load") == 0;
  }
  return tool_systemd_runs(in->system) && systemctl(in, "daemon-reload", NULL, false) == 0 &&
         systemctl(in, "enable", NULL, false) == 0 && systemctl(in, "restart", NULL, false) == 0;
}

static void stop(const install *in) {
  if (in->platform == SERVICE_MACOS) {
    (void)launchctl(in, "unload"); /* what does not run is stopped */
  } else if (tool_systemd_runs(in->system)) {
    (void)systemctl(in, "disable", "--now", false);  /* the same */
    (void)systemctl(in, "reset-failed", NULL, true); /* else it is remembered as failed */
  }
}

/* --- telling --------------------------------------------------------------------------------- */

static cJSON *event_of(const install *in, const char *name) {
  cJSON *event = cli_event(&in->out, name);
  cli_add_text(event, "platform", service_platform_names[in->platform]);
  cli_add_text(event, "scope", scope_name(in));
  cli_add_text(event, "name", in->name);
  cli_add_text(event, "path", in->path);
  return event;
}

static void print_text(const install *in, const char *text) {
  if (in->out.json) {
    cJSON *event = event_of(in, "service-file");
    cli_add_text(event, "text", text);
    cli_emit(event);
  } else {
    (void)fputs(text, stdout);
  }
}

static bool lingers(const project *p) {
  char user[USER_CAP], path[USER_CAP + 32];
  files_info info;
  if (!tool_owner(p->dir, user, sizeof user)) {
    return false;
  }
  (void)snprintf(path, sizeof path, "/var/lib/systemd/linger/%s", user);
  return files_look(&info, path);
}

static void say_advice(const install *in, const project *p) {
  char user[USER_CAP];
  if (key_is_sealed(p->key_file) && p->passphrase_file == NULL) {
    cli_say(&in->out, "The key is sealed and nobody is there to ask: name a file in "
                      "security.passphrase_file.");
  }
  if (in->system && !tool_owner(p->dir, user, sizeof user)) {
    cli_say(&in->out, "The project belongs to root, so the node would run as root: give it to a "
                      "user of its own\n(chown -R) and install again.");
  }
  if (!in->system && in->platform == SERVICE_LINUX && !lingers(p)) {
    cli_say(&in->out, "It runs while you are logged in; for longer: loginctl enable-linger");
  }
}

static void say_not_started(const install *in) {
  const char *flag = in->system ? "" : "--user ";
  if (tool_systemd_runs(in->system)) {
    cli_say(&in->out, "It was not started. Why: journalctl %s %s --lines 20",
            in->system ? "--unit" : "--user-unit", in->name);
  } else {
    cli_say(&in->out,
            "It was not started: systemd does not run here%s. By hand:\n"
            "  systemctl %sdaemon-reload && systemctl %senable --now %s",
            in->system ? "" : " for this user", flag, flag, in->name);
  }
}

static void tell_installed(const install *in, const project *p, bool started) {
  cJSON *event = event_of(in, "installed");
  if (event != NULL) {
    (void)cJSON_AddBoolToObject(event, "started", started);
  }
  cli_emit(event);
  cli_say(&in->out, "written  %s", in->path);
  if (started) {
    cli_say(&in->out, "started  %s; km-node service status tells how it is", in->name);
  } else if (in->platform == SERVICE_LINUX) {
    say_not_started(in);
  }
  say_advice(in, p);
}

/* --- the commands ---------------------------------------------------------------------------- */

static int do_install(install *in, const project *p, km_errinfo *err) {
  char *text = NULL;
  int rv = make_text(in, &text, p, err);
  if (rv == 0 && in->print) {
    print_text(in, text);
  } else if (rv == 0) {
    rv = write_file(in, text, err);
    if (rv == 0) {
      tell_installed(in, p, start(in));
    }
  }
  km_env_free(&km_env_system, text);
  return rv;
}

static int finish(install *in, int rv, const km_errinfo *err) {
  km_env_free(&km_env_system, in->path);
  return rv == 0 ? CLI_EXIT_OK : cli_error(&in->out, cli_status_of(rv), err);
}

int cmd_install(int argc, char **argv) {
  install in = {.name = "km-node"};
  const cli_option options[] = {
      PROJECT_OPTION_ROWS(in.o),
      {"--user", CLI_FLAG, &in.user, NULL, "for this user; the default, but for root", 0, 0},
      {"--system", CLI_FLAG, &in.system, NULL, "for the machine", 0, 0},
      {"--name", CLI_TEXT, &in.name, "NAME", "of the service; default: km-node", 0, 0},
      {"--program", CLI_TEXT, &in.program, "PATH", "the km-node that is run; default: this one", 0,
       0},
      {"--platform", CLI_TEXT, &in.platform_name, "NAME", "linux, macos or windows; default: this",
       0, 0},
      {"--print", CLI_FLAG, &in.print, NULL, "show the file, write nothing", 0, 0},
      {0},
  };
  const cli_command command = {
      .name = "km-node install",
      .usage = "km-node install [--user | --system] [--name NAME] [--print]",
      .about = "Makes the node of a project a service, which runs from now on and whenever the\n"
               "machine starts: a systemd unit, a LaunchAgent, or a start-up script of Windows.",
      .example = "  km-node install --user",
      .options = options,
  };
  cli_words words;
  km_errinfo err;
  project *p;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  cli_output_init(&in.out, in.o.json);
  if (result != CLI_RUN) {
    return result == CLI_HELPED ? CLI_EXIT_OK : cli_error(&in.out, CLI_EXIT_USAGE, &err);
  }
  int rv = take_options(&in, &err);
  rv = rv != 0 ? rv : project_load(&p, in.o.config, &err);
  if (rv != 0) {
    return finish(&in, rv, &err);
  }
  rv = take_path(&in, &err);
  rv = rv != 0 ? rv : do_install(&in, p, &err);
  project_free(p);
  return finish(&in, rv, &err);
}

static int do_uninstall(install *in, km_errinfo *err) {
  files_info info;
  int rv = take_path(in, err);
  if (rv != 0) {
    return rv;
  }
  if (!files_look(&info, in->path)) {
    return km_fail(err, KM_ERR_FILE_NOT_FOUND, "nothing is installed: there is no %.120s",
                   in->path);
  }
  stop(in);
  rv = files_remove(in->path, err);
  if (rv != 0) {
    return rv;
  }
  if (in->platform == SERVICE_LINUX && tool_systemd_runs(in->system)) {
    (void)systemctl(in, "daemon-reload", NULL, false); /* it forgets the unit now or later */
  }
  cli_emit(event_of(in, "uninstalled"));
  cli_say(&in->out, "removed  %s\nThe project and its data stay.", in->path);
  return 0;
}

int cmd_uninstall(int argc, char **argv) {
  install in = {.name = "km-node"};
  const cli_option options[] = {
      {"--user", CLI_FLAG, &in.user, NULL, "that of this user; the default, but for root", 0, 0},
      {"--system", CLI_FLAG, &in.system, NULL, "that of the machine", 0, 0},
      {"--name", CLI_TEXT, &in.name, "NAME", "of the service; default: km-node", 0, 0},
      {"--json", CLI_FLAG, &in.o.json, NULL, "one JSON object a line", 0, 0},
      {0},
  };
  const cli_command command = {
      .name = "km-node uninstall",
      .usage = "km-node uninstall [--user | --system] [--name NAME]",
      .about = "Stops the service that km-node install made, and takes it away. The project stays.",
      .example = "  km-node uninstall --user",
      .options = options,
  };
  cli_words words;
  km_errinfo err;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  cli_output_init(&in.out, in.o.json);
  if (result != CLI_RUN) {
    return result == CLI_HELPED ? CLI_EXIT_OK : cli_error(&in.out, CLI_EXIT_USAGE, &err);
  }
  int rv = take_options(&in, &err);
  rv = rv != 0 ? rv : do_uninstall(&in, &err);
  return finish(&in, rv, &err);
}
