/* km-node: endpoints from the command line. */
#include <stdio.h>
#include <string.h>

#include "cmd/cli/stdio_io.h"
#include "cmd/node/node.h"

/* A row without `run` is the heading of those below it. */
static const struct {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *about;
} commands[] = {
    {"Keys and tickets", NULL, NULL},
    {"id", cmd_id, "show an endpoint id in every form"},
    {"ticket", cmd_ticket, "take a ticket apart, or make one"},
    {"key", cmd_key, "make and show secret keys"},
    {"record", cmd_record, "publish, show and look up key name records"},
    {"Connect and measure", NULL, NULL},
    {"node1", cmd_node1, "accept connections and echo what comes"},
    {"node2", cmd_node2, "dial a node, send, check the echo"},
    {"discover", cmd_discover, "list the nodes that can be seen on this network"},
    {"resolve", cmd_resolve, "look up where an id is"},
    {"publish", cmd_publish, "publish where a key is, without running a node"},
    {"relay", cmd_relay, "measure the way to a relay"},
    {"doctor", cmd_doctor, "find out what this network allows, and what to do"},
    {"why", cmd_why, "say why the way to a node is direct or not, and what to change"},
    {"perf", cmd_perf, "measure goodput, latency, handshakes and memory"},
};

#define COMMANDS (sizeof commands / sizeof commands[0])

static void print_help(FILE *to) {
  (void)fprintf(
      to, "usage: km-node COMMAND ...\n\n"
          "Dials public keys: authenticated QUIC connections, wire-compatible with iroh 1.x.\n");
  for (size_t i = 0; i < COMMANDS; i++) {
    if (commands[i].run == NULL) {
      (void)fprintf(to, "\n%s:\n", commands[i].name);
    } else {
      (void)fprintf(to, "  %-12s %s\n", commands[i].name, commands[i].about);
    }
  }
  (void)fprintf(to, "\nOptions:\n"
                    "  --version    version of the program and the libraries inside\n"
                    "  --help       this text; km-node COMMAND --help for a command\n\n"
                    "Exit status: 0 done, 1 failed, 2 bad arguments, 3 unreachable, 4 wrong key,\n"
                    "5 ALPN refused, 6 connection lost, 7 relayed (why).\n\n"
                    "Example:\n"
                    "  km-node node1                      # prints a ticket\n"
                    "  km-node node2 TICKET --send hello  # in another terminal\n");
}

static int unknown(const char *word) {
  const char *names[COMMANDS + 1] = {NULL};
  for (size_t i = 0, n = 0; i < COMMANDS; i++) {
    if (commands[i].run != NULL) {
      names[n++] = commands[i].name;
    }
  }
  const char *near = cli_did_you_mean(word, names);
  km_errinfo err = {.code = KM_ERR_INVALID};
  cli_output out;
  cli_output_init(&out, false);
  (void)snprintf(err.text, sizeof err.text, "unknown command '%.40s'%s%s%s", word,
                 near == NULL ? ": see km-node --help" : ": did you mean ",
                 near == NULL ? "" : near, near == NULL ? "" : "?");
  return cli_error(&out, CLI_EXIT_USAGE, &err);
}

static int run(int argc, char **argv) {
  if (argc < 2) {
    print_help(stderr);
    return CLI_EXIT_USAGE;
  }
  const char *word = argv[1];
  if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
    print_help(stdout);
    return CLI_EXIT_OK;
  }
  if (strcmp(word, "--version") == 0) {
    printf("km-node %s (%s)\n", km_version(), km_version_details());
    return CLI_EXIT_OK;
  }
  for (size_t i = 0; i < COMMANDS; i++) {
    if (commands[i].run != NULL && strcmp(word, commands[i].name) == 0) {
      return commands[i].run(argc - 2, argv + 2);
    }
  }
  return unknown(word);
}

int main(int argc, char **argv) {
  cli_stdio_begin();
  return cli_stdio_end(run(argc, argv));
}
