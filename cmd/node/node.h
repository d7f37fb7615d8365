/* What the commands of km-node share: an endpoint made from the command line, on a loop. */
#ifndef KM_CMD_NODE_NODE_H
#define KM_CMD_NODE_NODE_H

#include <keymesh/keymesh.h>

#include "cmd/cli/options.h"
#include "cmd/cli/output.h"
#include "cmd/node/discovery.h"

#define NODE_DEFAULT_ALPN "km/echo/1"

typedef struct node_options {
  cli_list bind, relay, stun;
  const char *secret_key, *key_file, *relay_ca, *relay_token, *log, *qlog, *keylog, *congestion;
  const char *policy;
  bool post_quantum, no_port_mapping, json;
  bool finds_peers; /* node_add_discovery was called */
  bool dials;       /* nobody is to find it: a key that is made up is not published */
  discovery_options discovery;
} node_options;

#define NODE_OPTIONS_MAX 48 /* rows of an option table, the end included */

/* Appends the rows of `o` to a table that ends with a NULL name. */
void node_add_options(cli_option table[NODE_OPTIONS_MAX], node_options *o);

/* And those of discovery: ids can be dialled, and the node says where it is. */
void node_add_discovery(cli_option table[NODE_OPTIONS_MAX], node_options *o);

typedef struct node {
  cli_output out;
  km_loop *loop;
  km_endpoint *endpoint;
  km_discovery *discovery;          /* NULL: none */
  int status;                       /* the exit status so far */
  bool qr;                          /* print the ticket as a QR code too */
  int stop_status;                  /* of one that a signal ends */
  bool has_relays;                  /* of its own: one of them becomes home */
  void (*on_ready)(struct node *n); /* node_when_ready's, until it ran */
  bool ready;                       /* it ran: from now on changes are told */
  km_timer *ready_timer;
  char home[KM_RELAY_URL_MAX + 1]; /* the home relay that was told last; "": none */
} node;

/* What --relay-token says, else the environment; NULL: neither. */
const char *node_relay_token(const char *option);

/* Opens loop and endpoint and watches signals: the first closes the endpoint. 0, or an exit status
 * after the error was printed. `node` must be zeroed. */
int node_open(node *n, const node_options *options);
/* Runs until the endpoint is closed, frees all, returns the exit status. */
int node_run(node *n);
/* Closes the endpoint with this status, unless a status was set before. */
void node_finish(node *n, int status);
/* Prints an error and closes the endpoint with its status. */
void node_fail(node *n, const km_errinfo *err);

/* Runs `fn` once the home relay is there, or will not be soon; at once without relays. */
void node_when_ready(node *n, void (*fn)(node *n));
/* Id, ticket and addresses: the `ready` event. */
int node_print_ready(node *n);

/* A peer from the command line: a ticket, or an id, with addresses and relays beside it. 0 or an
 * exit status. */
int node_parse_peer(const cli_output *out, km_addr **ret, const char *text, const cli_list *addrs,
                    const cli_list *relays);

/* A dialler needs no home: the relays it is given are where the peer may be, and are taken out of
 * the options. With a token they are its own as well: no others get to see it. */
cli_list node_take_relays(node_options *o);
#define NODE_NO_ADDRESS                                                                            \
  "an id alone does not say where the peer is, and with --no-discovery nobody is asked: add "      \
  "--addr IP:PORT or --relay URL, or dial its ticket"

/* The commands. Each takes the words after its name and returns the exit status. */
int cmd_node1(int argc, char **argv);
int cmd_node2(int argc, char **argv);
int cmd_id(int argc, char **argv);
int cmd_ticket(int argc, char **argv);
int cmd_key(int argc, char **argv);
int cmd_perf(int argc, char **argv);
int cmd_relay(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_why(int argc, char **argv);
int cmd_discover(int argc, char **argv);
int cmd_resolve(int argc, char **argv);
int cmd_publish(int argc, char **argv);
int cmd_record(int argc, char **argv);

#endif /* KM_CMD_NODE_NODE_H */
