/* km-node shell: a client of the daemon, or on the store when none runs. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/env.h"
#include "cmd/node/ctl/commands.h"
#include "cmd/node/ctl/ctl.h"
#include "cmd/node/ctl/shell_io.h"

typedef struct client {
  ctl c;
  km_loop *loop;
  shell *shell;
  bool terminal;
  int status;
} client;

/* --- asking ----------------------------------------------------------------------------------- */

/* One request, whose reply is not that of ctl_ask. */
typedef struct relayed {
  const request_reply *reply;
  cJSON *result;
} relayed;

static void relay_row(void *ctx, cJSON *row) {
  const relayed *r = ctx;
  r->reply->row(r->reply->ctx, row);
}

static void keep_result(void *ctx, cJSON *result) {
  ((relayed *)ctx)->result = result;
}

static int ask(ctl *c, const char *name, cJSON *args, const request_reply *reply, cJSON **result,
               km_errinfo *err) {
  relayed r = {.reply = reply};
  const ctl_reader reader = {.row = relay_row, .result = keep_result, .ctx = &r};
  int rv = ctl_ask(c, name, args, &reader, err);
  *result = r.result;
  return rv;
}

/* In the child: on a connection of its own, until Ctrl-C. */
static void watch_changes(client *k, cJSON *args, const request_reply *reply) {
  km_errinfo err;
  cJSON *result = NULL;
  ctl own = {.show = k->c.show, .project = k->c.project};
  (void)signal(SIGINT, SIG_DFL);
  int rv = control_client_open(&own.client, k->c.project->control_path, &err);
  rv = rv == 0 ? ask(&own, "kv.watch", args, reply, &result, &err) : rv;
  (void)fflush(stdout);
  if (rv != 0) {
    (void)ctl_fail(&own, &err);
  }
  _exit(rv == 0 ? CLI_EXIT_OK : CLI_EXIT_FAILED); /* what the parent has is not ours to end */
}

/* A watch ends by Ctrl-C, the shell does not: a process each. */
static int run_watch(client *k, cJSON *args, const request_reply *reply, km_errinfo *err) {
  int status = 0;
  (void)fflush(stdout);
  void (*before)(int) = signal(SIGINT, SIG_IGN);
  pid_t child = fork();
  if (child == 0) {
    watch_changes(k, args, reply);
  }
  cJSON_Delete(args);
  if (child < 0) {
    (void)signal(SIGINT, before);
    return km_fail(err, KM_ERR_SYSTEM, "no process for the watch");
  }
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  (void)signal(SIGINT, before);
  if (WIFSIGNALED(status)) {
    (void)fputc('\n', stdout); /* behind ^C */
    return 0;
  }
  return WEXITSTATUS(status) == 0 ? 0 : km_fail(err, KM_ERR_CANCELLED, "the watch has ended");
}

/* The daemon may have gone, or come, since the last request. */
static void look_for_daemon(client *k) {
  km_errinfo err;
  if (k->c.client == NULL && k->c.node.store == NULL &&
      control_client_open(&k->c.client, k->c.project->control_path, &err) != 0) {
    k->c.client = NULL;
  }
}

static void ask_any(void *ctx, const char *name, cJSON *args, const request_reply *reply,
                    request **ret) {
  client *k = ctx;
  km_errinfo err = {0};
  cJSON *result = NULL;
  bool is_watch = strcmp(name, "kv.watch") == 0;
  *ret = NULL;
  look_for_daemon(k);
  int rv = is_watch && k->terminal && k->c.client != NULL
               ? run_watch(k, args, reply, &err)
               : ask(&k->c, name, args, reply, &result, &err);
  if (rv == KM_ERR_CLOSED) {
    control_client_close(k->c.client);
    k->c.client = NULL;
  }
  if (k->terminal) {
    ctl_release_store(&k->c); /* a node may want to start while somebody thinks */
  }
  reply->done(reply->ctx, result, rv == 0 ? NULL : &err);
}

/* --- life ------------------------------------------------------------------------------------- */

static void on_quit(void *ctx, int status) {
  client *k = ctx;
  k->status = status;
  km_loop_stop(k->loop);
}

static int run(client *k, km_errinfo *err) {
  char greeting[256];
  (void)snprintf(greeting, sizeof greeting, "%.64s: %s. 'help' lists the commands, Ctrl-D leaves.",
                 k->c.project->node_id,
                 k->c.client != NULL ? "the running node answers"
                                     : "no node runs, the store answers");
  const shell_setup setup = {.loop = k->loop,
                             .project = k->c.project,
                             .json = k->c.show.out.json,
                             .ask = ask_any,
                             .ask_ctx = k,
                             .greeting = greeting,
                             .on_quit = on_quit,
                             .ctx = k};
  int rv = shell_start(&k->shell, &setup, err);
  if (rv == 0) {
    (void)km_loop_run(k->loop);
    shell_detach(k->shell);
  }
  return rv;
}

int cmd_shell(int argc, char **argv) {
  ctl_options o = {0};
  const cli_option options[] = {
      CTL_OPTIONS(&o),
      {0},
  };
  const cli_command command = {
      .name = "km-node shell",
      .usage = "km-node shell [OPTION]...",
      .about =
          "Reads commands, line by line: on a terminal with history and completion, else as a\n"
          "script, whose exit status is that of the last command that failed. 'help' in it\n"
          "lists the commands.",
      .example = "  km-node shell\n"
                 "  echo 'list docs' | km-node shell",
      .options = options,
  };
  cli_words words;
  km_errinfo err;
  client k = {.terminal = isatty(STDIN_FILENO) != 0};
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  if (result != CLI_RUN) {
    return result == CLI_HELPED ? CLI_EXIT_OK : ctl_usage(o.json, &err);
  }
  int status = ctl_open(&k.c, &o);
  if (status != CLI_EXIT_OK) {
    return status;
  }
  int rv = ctl_open_store(&k.c, &err); /* asks for a passphrase while nobody edits a line */
  rv = rv != 0 ? rv : km_loop_new(&k.loop);
  rv = rv != 0 ? rv : run(&k, &err);
  status = rv != 0 ? ctl_fail(&k.c, &err) : k.status;
  (void)km_loop_free(k.loop); /* nothing is open on it */
  ctl_close(&k.c);
  return status;
}
