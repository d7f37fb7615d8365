/* km-node check: what is wrong with a project, and how to mend it. */
#include "cmd/node/project/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/env.h"
#include "cmd/node/project/commands.h"
#include "cmd/node/project/files_io.h"
#include "cmd/node/project/paths.h"
#include "cmd/node/project/project_option.h"

static const char *const level_names[] = {"ok", "warning", "error"};

/* --- rows ------------------------------------------------------------------------------------ */

void check_row(check *c, check_level level, const char *topic, const char *hint, const char *fmt,
               ...) {
  char text[512];
  va_list args;
  va_start(args, fmt);
  (void)vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  c->counts[level]++;
  cJSON *event = cli_event(&c->out, "check");
  cli_add_text(event, "level", level_names[level]);
  cli_add_text(event, "topic", topic);
  cli_add_text(event, "text", text);
  if (hint != NULL) {
    cli_add_text(event, "hint", hint);
  }
  cli_emit(event);
  cli_say(&c->out, "%-8s %-10s %s", level_names[level], topic, text);
  if (hint != NULL) {
    cli_say(&c->out, "                    %s", hint);
  }
}

void check_row_err(check *c, const char *topic, const char *hint, const km_errinfo *err) {
  check_row(c, CHECK_ERROR, topic,
            hint != NULL                  ? hint
            : err->code == KM_ERR_INVALID ? NULL
                                          : km_error_hint(err->code),
            "%s", err->text);
}

static const char *shown(const check *c, const char *path) {
  return path_shorten(c->file->pub.dir, path);
}

/* --- folders --------------------------------------------------------------------------------- */

static void check_folder(check *c) {
  const project *p = &c->file->pub;
  files_info info;
  if (!files_look(&info, p->dir) || !info.writable) {
    check_row(c, CHECK_ERROR, "folder", "run km-node as the user whose project it is",
              "%s cannot be written to", p->dir);
  } else if ((info.mode & 0002) != 0) {
    check_row(c, CHECK_WARNING, "folder", "chmod o-w the folder", "everybody may write to %s",
              p->dir);
  } else {
    check_row(c, CHECK_OK, "folder", NULL, "%s", p->dir);
  }
}

/* Who writes it says which commands are run for messages. */
static void check_config(check *c) {
  const char *path = c->file->pub.config_path;
  files_info info;
  if (!files_look(&info, path) || (info.mode & 0002) == 0) {
    if (info.exists && !info.ours && !info.roots) {
      check_row(c, CHECK_WARNING, "config", "make it yours: chown",
                "%s belongs to another user, who says what this node does", shown(c, path));
    }
    check_row(c, CHECK_OK, "config", NULL, "%s", path);
  } else {
    check_row(c, CHECK_ERROR, "config", "chmod o-w it, and look at what is in it",
              "everybody may write to %s", path);
  }
}

/* A file that is to be written: its folder has to be there, or has to be makeable. */
static bool can_write(const char *path) {
  files_info info;
  char *dir = path_join(path, "..");
  bool ok = false;
  while (dir != NULL && !files_look(&info, dir) && strcmp(dir, "/") != 0) {
    char *above = path_join(dir, "..");
    km_env_free(&km_env_system, dir);
    dir = above;
  }
  ok = dir != NULL && files_look(&info, dir) && info.is_folder && info.writable;
  km_env_free(&km_env_system, dir);
  return ok && (!files_look(&info, path) || (info.writable && !info.is_folder));
}

static void check_log(check *c) {
  const project *p = &c->file->pub;
  if (p->log_file == NULL) {
    check_row(c, CHECK_OK, "log", NULL, "standard error");
  } else if (can_write(p->log_file)) {
    check_row(c, CHECK_OK, "log", NULL, "%s", shown(c, p->log_file));
  } else {
    check_row(c, CHECK_ERROR, "log", "make its folder, or name another one in logging.file",
              "%s cannot be written to", shown(c, p->log_file));
  }
}

/* As control_path_claim has it. */
static bool folder_is_shared(const char *path) {
  files_info info;
  char *dir = path_join(path, "..");
  bool shared = dir != NULL && files_look(&info, dir) && (!info.ours || (info.mode & 0022) != 0);
  km_env_free(&km_env_system, dir);
  return shared;
}

static void check_socket(check *c) {
  const project *p = &c->file->pub;
  const size_t max = sizeof((struct sockaddr_un *)0)->sun_path - 1;
  if (strlen(p->control_path) > max) {
    check_row(c, CHECK_ERROR, "socket",
              "name a shorter path in node.control_socket, as /run/user/UID/km-node.sock",
              "the path of the control socket has %zu bytes, and the system takes %zu",
              strlen(p->control_path), max);
  } else if (!can_write(p->control_path)) {
    check_row(c, CHECK_ERROR, "socket", "make its folder writable",
              "the control socket %s cannot be made", shown(c, p->control_path));
  } else if (folder_is_shared(p->control_path)) {
    check_row(c, CHECK_ERROR, "socket", "give node.control_socket a folder of its own",
              "others may write to the folder of the control socket %s", shown(c, p->control_path));
  } else {
    check_row(c, CHECK_OK, "socket", NULL, "%s", shown(c, p->control_path));
  }
}

/* --- the configuration ----------------------------------------------------------------------- */

static bool is_loopback(const char *host) {
  return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

static void check_status(check *c) {
  const project *p = &c->file->pub;
  files_info info;
  bool shared = files_look(&info, p->config_path) && (info.mode & 0044) != 0;
  if (!p->status_enabled) {
    check_row(c, CHECK_OK, "status", NULL, "there is no status page");
  } else if (!is_loopback(p->status_host) && p->status_token == NULL) {
    check_row(c, CHECK_ERROR, "status", "set status_http.token, or status_http.host to 127.0.0.1",
              "the status page on %s has no token", p->status_host);
  } else if (p->status_token != NULL && shared) {
    check_row(c, CHECK_WARNING, "status", "chmod 600 the configuration",
              "others may read the token in %s", shown(c, p->config_path));
  } else if (p->status_port == 0) {
    check_row(c, CHECK_OK, "status", NULL, "on any port of %s: km-node run says which",
              p->status_host);
  } else {
    check_row(c, CHECK_OK, "status", NULL, "http://%s%s%s:%u/",
              strchr(p->status_host, ':') != NULL ? "[" : "", p->status_host,
              strchr(p->status_host, ':') != NULL ? "]" : "", p->status_port);
  }
}

static void check_level_of(check *c) {
  const project *p = &c->file->pub;
  const char *name = km_security_level_name(p->level);
  if (p->level == KM_SECURITY_DEVELOPMENT) {
    check_row(c, CHECK_WARNING, "security", "set security.level to secure when others can reach it",
              "level %s: everybody is let in", name);
  } else {
    check_row(c, CHECK_OK, "security", NULL, "level %s (km-node security status explains it)",
              name);
  }
}

static void check_relays(check *c) {
  const project *p = &c->file->pub;
  files_info info;
  if (p->relay_ca_file != NULL && (!files_look(&info, p->relay_ca_file) || !info.readable)) {
    check_row(c, CHECK_ERROR, "relay", "correct connectivity.relay_ca",
              "the authorities in %s cannot be read", shown(c, p->relay_ca_file));
  }
  if (p->relay_mode == KM_RELAY_MODE_CUSTOM) {
    check_row(c, CHECK_OK, "relay", NULL, "%zu of your own, the first: %s", p->relay_url_count,
              p->relay_urls[0]);
  } else if (p->relay_mode == KM_RELAY_MODE_DEFAULT || p->relay_mode == KM_RELAY_MODE_STAGING) {
    check_row(c, CHECK_OK, "relay", NULL, "iroh's public ones");
  }
}

static void check_no_effect(check *c) {
  const project_file *f = c->file;
  for (size_t i = 0; i < f->no_effect_count; i++) {
    check_row(c, CHECK_WARNING, "config", "it may be taken out", "%s is without effect here",
              f->no_effect[i]);
  }
  if (f->ca_cert != NULL || f->cert != NULL) {
    check_row(c, CHECK_OK, "config", NULL,
              "security.ca_cert and cert are used by km-node cert import alone");
  }
}

/* --- the command ----------------------------------------------------------------------------- */

static void check_all(check *c) {
  km_errinfo err;
  check_config(c);
  check_no_effect(c);
  check_folder(c);
  check_key(c);
  check_level_of(c);
  if (project_certs(&c->file->pub, &c->certs, &err) != 0) {
    check_row_err(c, "certs", "run km-node cert import again", &err);
  }
  check_shares(c);
  check_peers(c);
  check_store(c);
  check_relays(c);
  check_status(c);
  check_log(c);
  check_socket(c);
  check_ports(c);
  certs_free(&c->certs);
  km_secret_key_free(c->key);
}

static void tell_sum(const check *c) {
  cJSON *event = cli_event(&c->out, "summary");
  cli_add_number(event, "errors", (double)c->counts[CHECK_ERROR]);
  cli_add_number(event, "warnings", (double)c->counts[CHECK_WARNING]);
  cli_emit(event);
  size_t errors = c->counts[CHECK_ERROR], warnings = c->counts[CHECK_WARNING];
  cli_say(&c->out, "\n%zu error%s, %zu warning%s", errors, errors == 1 ? "" : "s", warnings,
          warnings == 1 ? "" : "s");
}

int cmd_check(int argc, char **argv) {
  project_option o = {0};
  check c = {0};
  const cli_option options[] = {PROJECT_OPTION_ROWS(o), {0}};
  const cli_command command = {
      .name = "km-node check",
      .usage = "km-node check [--config PATH]",
      .about =
          "Looks at a project and says, line by line, what is well, what may be a mistake, and\n"
          "what has to be mended, and how. Status 1 when something has to be.",
      .example = "  km-node check",
      .options = options,
  };
  cli_words words;
  km_errinfo err;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  cli_output_init(&c.out, o.json);
  if (result != CLI_RUN) {
    return result == CLI_HELPED ? CLI_EXIT_OK : cli_error(&c.out, CLI_EXIT_USAGE, &err);
  }
  int rv = project_read(&c.file, o.config, &err);
  if (rv == 0) {
    check_all(&c);
    config_free(c.file);
  } else {
    check_row_err(&c, "config",
                  rv == KM_ERR_FILE_NOT_FOUND ? "make a project with km-node init, or name it with "
                                                "--config"
                                              : NULL,
                  &err);
  }
  tell_sum(&c);
  return c.counts[CHECK_ERROR] == 0 ? CLI_EXIT_OK : CLI_EXIT_FAILED;
}
