/* km-node peers, status, health: what a running node says of itself. */
#include <string.h>

#include "base/env.h"
#include "cmd/node/ctl/commands.h"
#include "cmd/node/ctl/ctl.h"
#include "cmd/node/ctl/page_client_io.h"

typedef struct asking {
  ctl_options common;
  uint64_t port; /* of the status page; 0: the control socket */
} asking;

/* Asks the status page of whatever node serves it, without a project. */
static int ask_page(const asking *a, const char *name, const char *path) {
  ctl c = {0};
  km_errinfo err;
  cJSON *answer;
  show_init(&c.show, a->common.json, a->common.full);
  int rv = page_client_get(&answer, (uint16_t)a->port, path, &err);
  if (rv != 0) {
    return ctl_fail(&c, &err);
  }
  show_begin(&c.show, name);
  show_end(&c.show, answer);
  return CLI_EXIT_OK;
}

/* One of the commands that take nothing but options. CLI_RUN, or the exit status in `*ret`. */
static cli_result parse(const cli_command *command, int argc, char **argv, const asking *a,
                        int *ret) {
  cli_words words;
  km_errinfo err;
  cli_result result = cli_parse(command, argc, argv, &words, &err);
  *ret = CLI_EXIT_OK;
  if (result == CLI_BAD) {
    *ret = ctl_usage(a->common.json, &err);
  }
  return result;
}

int cmd_peers(int argc, char **argv) {
  asking a = {0};
  const cli_option options[] = {
      CTL_OPTIONS(&a.common),
      CTL_OPTION_LONG(&a.common),
      {"--port", CLI_NUMBER, &a.port, "PORT", "ask the status page on this port of 127.0.0.1", 1,
       65535},
      {0},
  };
  const cli_command command = {
      .name = "km-node peers",
      .usage = "km-node peers [--port PORT] [OPTION]...",
      .about =
          "Lists the peers of a running node: who is connected, how, since when it is silent,\n"
          "and why not.",
      .example = "  km-node peers\n"
                 "  km-node peers --json",
      .options = options,
  };
  int status;
  if (parse(&command, argc, argv, &a, &status) != CLI_RUN) {
    return status;
  }
  return a.port != 0 ? ask_page(&a, "peers", "/peers")
                     : ctl_once(&a.common, "peers", ctl_args(NULL, NULL, NULL));
}

/* 1 unless it runs and says that it is well. */
static int health(const asking *a) {
  ctl c;
  int status = a->port != 0 ? ask_page(a, "health", "/health") : ctl_open(&c, &a->common);
  if (a->port == 0 && status == CLI_EXIT_OK) {
    status = ctl_run(&c, "health", ctl_args(NULL, NULL, NULL));
    ctl_close(&c);
  }
  return status == CLI_EXIT_OK || status == CLI_EXIT_USAGE ? status : CLI_EXIT_FAILED;
}

int cmd_health(int argc, char **argv) {
  asking a = {0};
  const cli_option options[] = {
      CTL_OPTIONS(&a.common),
      {"--port", CLI_NUMBER, &a.port, "PORT", "ask the status page on this port of 127.0.0.1", 1,
       65535},
      {0},
  };
  const cli_command command = {
      .name = "km-node health",
      .usage = "km-node health [--port PORT] [OPTION]...",
      .about = "Says whether a node runs and answers: exit status 0, else 1.",
      .example = "  km-node health && echo it runs",
      .options = options,
  };
  int status;
  return parse(&command, argc, argv, &a, &status) == CLI_RUN ? health(&a) : status;
}

/* No daemon: what the store says, and that it is all there is. */
static int status_of_store(ctl *c) {
  km_errinfo err;
  int status = ctl_run(c, "shares", ctl_args(NULL, NULL, NULL));
  if (status != CLI_EXIT_OK) {
    return status;
  }
  (void)km_fail(&err, KM_ERR_STATE, "no node runs in %.100s: start it with 'km-node run'",
                c->project->dir);
  return ctl_fail(c, &err);
}

static int status_of_daemon(ctl *c) {
  static const char *const requests[] = {"status", "shares", "peers"};
  int status = CLI_EXIT_OK;
  for (size_t i = 0; status == CLI_EXIT_OK && i < sizeof requests / sizeof requests[0]; i++) {
    if (i > 0) {
      cli_say(&c->show.out, "%s", "");
    }
    status = ctl_run(c, requests[i], ctl_args(NULL, NULL, NULL));
  }
  return status;
}

int cmd_status(int argc, char **argv) {
  asking a = {0};
  const cli_option options[] = {
      CTL_OPTIONS(&a.common),
      CTL_OPTION_LONG(&a.common),
      {0},
  };
  const cli_command command = {
      .name = "km-node status",
      .usage = "km-node status [OPTION]...",
      .about = "Shows a node at a glance: id, version, addresses, shares, peers, synchronization.\n"
               "Without a running node: what its store says, and exit status 1.",
      .example = "  km-node status",
      .options = options,
  };
  int status;
  ctl c;
  if (parse(&command, argc, argv, &a, &status) != CLI_RUN) {
    return status;
  }
  status = ctl_open(&c, &a.common);
  if (status == CLI_EXIT_OK) {
    status = c.client != NULL ? status_of_daemon(&c) : status_of_store(&c);
    ctl_close(&c);
  }
  return status;
}
