#include "cmd/node/ctl/shell.h"

#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "cmd/cli/options.h"
#include "cmd/node/ctl/ctl.h"

void shell_core_init(shell_core *s, const project *p, bool json, shell_ask_fn ask, void *ask_ctx) {
  memset(s, 0, sizeof *s);
  show_init(&s->show, json, false);
  s->project = p;
  s->ask = ask;
  s->ask_ctx = ask_ctx;
  if (p->share_count > 0) {
    (void)snprintf(s->share, sizeof s->share, "%s", p->shares[0].name);
  }
}

const char *shell_core_prompt(const shell_core *s, char buf[SHELL_PROMPT_CAP]) {
  (void)snprintf(buf, SHELL_PROMPT_CAP, "%s> ", s->share);
  return buf;
}

void shell_core_fail(shell_core *s, const km_errinfo *err) {
  (void)fflush(stdout); /* what came before it is seen before it */
  s->status = ctl_say_error(&s->show.out, err);
}

/* --- requests --------------------------------------------------------------------------------- */

static void ended(shell_core *s) {
  s->running = NULL;
  s->waiting = false;
  if (!s->in_line && s->on_idle != NULL) {
    s->on_idle(s->idle_ctx);
  }
}

static void on_row(void *ctx, cJSON *row) {
  shell_core *s = ctx;
  show_row(&s->show, row);
}

static void on_done(void *ctx, cJSON *result, const km_errinfo *err) {
  shell_core *s = ctx;
  if (err == NULL) {
    show_end(&s->show, result);
  } else {
    cJSON_Delete(result);
    show_break(&s->show);
    shell_core_fail(s, err);
  }
  ended(s);
}

static void name_row(void *ctx, cJSON *row) {
  names_add_answer(ctx, row);
  cJSON_Delete(row);
}

static void name_done(void *ctx, cJSON *result, const km_errinfo *err) {
  if (err == NULL) {
    names_add_answer(ctx, result);
  }
  cJSON_Delete(result);
}

/* Both answer at once, or there are no names. */
static void ask_names(shell_core *s) {
  static const char *const requests[] = {"peer.list", "peers"};
  const request_reply reply = {.row = name_row, .done = name_done, .ctx = &s->show.names};
  names_clear(&s->show.names);
  names_add_project(&s->show.names, s->project);
  for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
    request *running = NULL;
    s->ask(s->ask_ctx, requests[i], cJSON_CreateObject(), &reply, &running);
    request_cancel(running);
  }
}

void shell_core_close(shell_core *s) {
  show_close(&s->show);
}

static void ask(shell_core *s, const char *name, cJSON *args) {
  const request_reply reply = {.row = on_row, .done = on_done, .ctx = s};
  request *running = NULL;
  if (show_wants_names(&s->show, name)) {
    ask_names(s);
  }
  s->waiting = true;
  show_begin(&s->show, name);
  s->ask(s->ask_ctx, name, args, &reply, &running);
  s->running = s->waiting ? running : NULL;
}

void shell_core_cancel(shell_core *s) {
  if (s->waiting) {
    request_cancel(s->running);
    show_break(&s->show);
    ended(s);
  }
}

/* --- the shell's own commands ----------------------------------------------------------------- */

static const shell_command *find(shell_core *s, const char *name) {
  const shell_command *command = shell_command_find(name);
  if (command == NULL) {
    km_errinfo err;
    const char *names[64] = {NULL};
    for (size_t i = 0; i < 63 && shell_commands[i].name != NULL; i++) {
      names[i] = shell_commands[i].name;
    }
    const char *near = cli_did_you_mean(name, names);
    (void)km_fail(&err, KM_ERR_INVALID, "no command '%.40s': %s%s", name,
                  near == NULL ? "see help" : "did you mean ", near == NULL ? "" : near);
    shell_core_fail(s, &err);
  }
  return command;
}

static void use(shell_core *s, const word_list *w) {
  km_errinfo err;
  if (w->count == 1) {
    cli_say(&s->show.out, "%s", s->share[0] == '\0' ? "no share is in use" : s->share);
    return;
  }
  if (strlen(w->at[1]) >= sizeof s->share) {
    (void)km_fail(&err, KM_ERR_INVALID, "a share's name has at most %d bytes", KM_SHARE_NAME_MAX);
    shell_core_fail(s, &err);
    return;
  }
  (void)snprintf(s->share, sizeof s->share, "%s", w->at[1]);
}

static void run_own(shell_core *s, const shell_command *command, const word_list *w) {
  if (strcmp(command->name, "use") == 0) {
    use(s, w);
  } else if (strcmp(command->name, "help") == 0) {
    if (w->count == 1 || find(s, w->at[1]) != NULL) {
      shell_help(s, w->count > 1 ? w->at[1] : NULL);
    }
  } else {
    s->quit = true;
  }
}

/* --- lines ------------------------------------------------------------------------------------ */

static void run(shell_core *s, const word_list *w, const char *line) {
  cJSON *args;
  km_errinfo err;
  const shell_command *command = find(s, w->at[0]);
  if (command == NULL) {
    return;
  }
  int rv = shell_command_args(s, command, w, line, &args, &err);
  if (rv != 0) {
    shell_core_fail(s, &err);
  } else if (command->request == NULL) {
    cJSON_Delete(args);
    run_own(s, command, w);
  } else {
    ask(s, command->request, args);
  }
}

void shell_core_line(shell_core *s, const char *line) {
  word_list w;
  km_errinfo err;
  s->in_line = true;
  if (words_split(&w, line, &err) != 0) {
    shell_core_fail(s, &err);
  } else {
    if (w.count > 0) {
      run(s, &w, line);
    }
    words_free(&w);
  }
  s->in_line = false;
}
