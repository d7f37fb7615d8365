/* km-node: endpoints from the command line. */
#include <stdio.h>
#include <string.h>

#include "cmd/cli/stdio_io.h"
#include "cmd/node/ctl/commands.h"
#include "cmd/node/daemon/commands.h"
#include "cmd/node/node.h"
#include "cmd/node/project/commands.h"

/* A row without `run` is the heading of those below it. */
static const struct {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *about;
} commands[] = {
    {"Run a mesh node", NULL, NULL},
    {"init", cmd_init, "make a project: folder, key, configuration"},
    {"check", cmd_check, "say what is wrong with a project, and how to mend it"},
    {"run", cmd_run, "run the node of a project"},
    {"stop", cmd_stop, "end the running node, and wait until it is gone"},
    {"reload", cmd_reload, "let the running node read its configuration again"},
    {"peers", cmd_peers, "show the peers and how they are connected"},
    {"status", cmd_status, "show how the node is doing"},
    {"health", cmd_health, "is the node up?"},
    {"list-shares", cmd_list_shares, "show the shares, and who may do what with them"},
    {"install", cmd_install, "make the node a service of this machine"},
    {"uninstall", cmd_uninstall, "take the service away"},
    {"service", cmd_service, "show the service's state and log"},
    {"Data and messages", NULL, NULL},
    {"kv", cmd_kv, "read, write and watch the key-value store"},
    {"send", cmd_send, "send a message to a peer"},
    {"broadcast", cmd_broadcast, "send a message to all"},
    {"messages", cmd_messages, "show messages that came, and those that wait"},
    {"shell", cmd_shell, "all of it by hand, with history and completion"},
    {"Trust", NULL, NULL},
    {"peer", cmd_peer, "add, trust, revoke, approve and recommend peers"},
    {"cert", cmd_cert, "map certificates of the first KeyMesh to ids"},
    {"security", cmd_security, "show the security level, seal the key"},
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
          "Dials public keys: authenticated QUIC connections, wire-compatible with iroh 1.x,\n"
          "and a mesh of nodes on top: data in sync, messages, trust.\n");
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
                    "  km-node init office && cd office   # a mesh node: a folder with its key\n"
                    "  km-node node1                      # or by hand: prints a ticket\n"
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
