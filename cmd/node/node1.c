/* km-node node1: accepts and echoes. */
#include <string.h>

#include "cmd/node/echo.h"
#include "cmd/node/report.h"

static void on_connected(void *ctx, km_conn *conn) {
  report_connected(ctx, conn);
}

static void on_stream(void *ctx, km_conn *conn, km_stream *stream) {
  echo_serve(ctx, conn, stream);
}

static void on_datagram(void *ctx, km_conn *conn, const void *data, size_t len) {
  (void)ctx;
  int rv = km_conn_send_datagram(conn, data, len);
  (void)rv; /* a datagram that finds no room is lost, as datagrams are */
}

static void on_path(void *ctx, km_conn *conn, const km_path_info *path) {
  report_path(ctx, conn, path);
}

static void on_closed(void *ctx, km_conn *conn, const km_close_info *info) {
  report_closed(ctx, conn, info);
}

static void on_ready(node *n) {
  int rv = node_print_ready(n);
  if (rv != 0) {
    const km_errinfo err = {.code = rv};
    node_fail(n, &err);
    return;
  }
  cli_say(&n->out, "accepting connections; ctrl-c ends");
}

static void serve(node *n, const char *alpn) {
  km_errinfo err;
  const km_protocol protocol = {
      .size = sizeof protocol,
      .alpn = alpn,
      .conn = {.on_connected = on_connected,
               .on_stream = on_stream,
               .on_datagram = on_datagram,
               .on_path = on_path,
               .on_closed = on_closed},
      .ctx = n,
  };
  if (km_endpoint_add_protocol(n->endpoint, &protocol, &err) != 0) {
    node_fail(n, &err);
    return;
  }
  node_when_ready(n, on_ready);
}

int cmd_node1(int argc, char **argv) {
  node n = {0};
  node_options o = {0};
  const char *alpn = NODE_DEFAULT_ALPN;
  cli_option options[NODE_OPTIONS_MAX] = {
      {"--alpn", CLI_TEXT, &alpn, "NAME", "protocol to accept (default " NODE_DEFAULT_ALPN ")", 0,
       0},
      {"--qr", CLI_FLAG, &n.qr, NULL, "print the ticket as a QR code too", 0, 0},
  };
  node_add_options(options, &o);
  node_add_discovery(options, &o);
  const cli_command command = {
      .name = "km-node node1",
      .usage = "km-node node1 [--bind IP:PORT]... [--relay URL]... [--key-file PATH]",
      .about = "Accepts connections and echoes every stream and datagram. Prints id, ticket and\n"
               "addresses when ready, then who connects. SIGINT and SIGTERM end it gracefully.",
      .example = "  km-node node1 --bind 0.0.0.0:4433 --key-file node.key\n"
                 "  km-node node1 --relay https://relay.example.org",
      .options = options,
  };
  km_errinfo err;
  cli_words words;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  if (result != CLI_RUN) {
    cli_output_init(&n.out, o.json);
    return result == CLI_HELPED ? CLI_EXIT_OK : cli_error(&n.out, CLI_EXIT_USAGE, &err);
  }
  int status = node_open(&n, &o);
  if (status != CLI_EXIT_OK) {
    return status;
  }
  serve(&n, alpn);
  return node_run(&n);
}
