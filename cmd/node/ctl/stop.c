/* km-node stop, reload: what is told to a running node. */
#include <stdio.h>

#include "base/env.h"
#include "cmd/node/ctl/commands.h"
#include "cmd/node/ctl/ctl.h"
#include "cmd/node/ctl/process_io.h"

#define TICK_MS 100
#define PATIENCE_S 30
#define PATIENCE_MAX_S 3600

typedef struct stopping {
  ctl_options common;
  uint64_t timeout_s;
  ctl c;
  process_watch node;
  km_ts since;
  int shown; /* width of the progress line; 0: none */
} stopping;

/* --- for who waits ---------------------------------------------------------------------------- */

static double waited_s(const stopping *s) {
  return (double)(km_clock_now() - s->since) / (double)KM_NS_PER_S;
}

static void show_progress(stopping *s) {
  if (cli_watched(&s->c.show.out)) {
    int width = fprintf(stderr, "\rstopping, %.1f s", waited_s(s));
    s->shown = width > s->shown ? width : s->shown;
  }
}

static void end_progress(const stopping *s) {
  if (s->shown > 0) {
    (void)fprintf(stderr, "\r%*s\r", s->shown, "");
  }
}

static void tell_stopped(const stopping *s) {
  const cli_output *out = &s->c.show.out;
  cJSON *event = cli_event(out, "stopped");
  cli_add_number(event, "pid", (double)s->node.pid);
  cli_add_number(event, "took_s", waited_s(s));
  cli_emit_to(out, event);
  cli_say(out, "the node has ended (process %ld)", s->node.pid);
}

/* --- the wait --------------------------------------------------------------------------------- */

/* Of one that cannot be seen: it has let go of its socket. */
static bool has_left(const stopping *s) {
  control_client *c;
  km_errinfo err;
  int rv = control_client_open(&c, s->c.project->control_path, &err);
  if (rv == 0) {
    control_client_close(c);
  }
  return rv == KM_ERR_NOT_FOUND;
}

/* A process of another container has no number here. */
static bool ended(const stopping *s) {
  bool gone = process_watch_ended(&s->node, TICK_MS);
  return s->node.pid > 0 ? gone : has_left(s);
}

static int still_runs(stopping *s) {
  km_errinfo err;
  end_progress(s);
  (void)km_fail(&err, KM_ERR_TIMEOUT,
                "the node was told to stop, and process %ld still runs after %llu s: wait on with "
                "--timeout, or end it with kill -KILL %ld",
                s->node.pid, (unsigned long long)s->timeout_s, s->node.pid);
  return ctl_fail(&s->c, &err);
}

static int wait_for_end(stopping *s) {
  while (!ended(s)) {
    if (waited_s(s) >= (double)s->timeout_s) {
      return still_runs(s);
    }
    show_progress(s);
  }
  end_progress(s);
  tell_stopped(s);
  return CLI_EXIT_OK;
}

static int stop(stopping *s) {
  static const ctl_reader nothing = {0};
  km_errinfo err;
  if (s->c.client == NULL) {
    (void)km_fail(&err, KM_ERR_STATE, "no node runs in %.100s: there is nothing to stop",
                  s->c.project->dir);
    return ctl_fail(&s->c, &err);
  }
  s->since = km_clock_now();
  process_watch_open(&s->node, control_client_pid(s->c.client));
  control_client_patience(s->c.client, s->timeout_s);
  int rv = ctl_ask(&s->c, "stop", ctl_args(NULL, NULL, NULL), &nothing, &err);
  /* It may be faster than its answer, or too busy for one. */
  bool told = rv == 0 || rv == KM_ERR_CLOSED || rv == KM_ERR_TIMEOUT;
  int status = told ? wait_for_end(s) : ctl_fail(&s->c, &err);
  process_watch_close(&s->node);
  return status;
}

/* --- the command lines ------------------------------------------------------------------------ */

int cmd_stop(int argc, char **argv) {
  stopping s = {.timeout_s = PATIENCE_S};
  const cli_option options[] = {
      CTL_OPTIONS(&s.common),
      {"--timeout", CLI_NUMBER, &s.timeout_s, "SECONDS", "to wait for its end (default 30)", 1,
       PATIENCE_MAX_S},
      {0},
  };
  const cli_command command = {
      .name = "km-node stop",
      .usage = "km-node stop [--timeout SECONDS] [OPTION]...",
      .about = "Ends the running node of a project, as SIGTERM does: it says goodbye to its peers\n"
               "and closes its store. Waits until its process is gone; then the exit status is 0.\n"
               "Exit status 1: no node runs, or it did not end in time.",
      .example = "  km-node stop && km-node run",
      .options = options,
  };
  cli_words words;
  km_errinfo err;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  if (result != CLI_RUN) {
    return result == CLI_HELPED ? CLI_EXIT_OK : ctl_usage(s.common.json, &err);
  }
  int status = ctl_open(&s.c, &s.common);
  if (status == CLI_EXIT_OK) {
    status = stop(&s);
    ctl_close(&s.c);
  }
  return status;
}

int cmd_reload(int argc, char **argv) {
  ctl_options o = {0};
  const cli_option options[] = {
      CTL_OPTIONS(&o),
      {0},
  };
  const cli_command command = {
      .name = "km-node reload",
      .usage = "km-node reload [OPTION]...",
      .about = "Lets the running node of a project read its keymesh.yaml again, as SIGHUP does:\n"
               "peers, security.allow, security.block and the hook take effect at once. Says what\n"
               "changed, and what waits for a restart. A file that is wrong changes nothing.",
      .example = "  km-node reload        # km-node check says beforehand what is wrong",
      .options = options,
  };
  cli_words words;
  km_errinfo err;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  if (result != CLI_RUN) {
    return result == CLI_HELPED ? CLI_EXIT_OK : ctl_usage(o.json, &err);
  }
  ctl c;
  int status = ctl_open_strict(&c, &o);
  if (status == CLI_EXIT_OK) {
    status = ctl_run(&c, "reload", ctl_args(NULL, NULL, NULL));
    ctl_close(&c);
  }
  return status;
}
