/* An echo client on an event loop of its own: poll() waits for KeyMesh and for standard input.
 *
 *   echo_client_loop TICKET < bytes > echo */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <keymesh/keymesh.h>

typedef struct client {
  km_stream *stream; /* NULL once it is closed */
  char buf[16384];   /* read, not written to the stream yet: buf[start .. end) */
  size_t start, end;
  bool eof;      /* of standard input */
  bool full;     /* the stream takes no more until on_writable */
  bool received; /* the whole echo came */
  bool closed;   /* the endpoint is */
} client;

/* Hands what was read to the stream, the end included. */
static void pump(void *ctx, km_stream *s) {
  client *c = ctx;
  size_t len = c->end - c->start, taken = 0;
  km_errinfo err;
  if (km_stream_write(s, c->buf + c->start, len, c->eof, &taken, &err) != 0) {
    fprintf(stderr, "echo_client_loop: %s\n", err.text);
    km_conn_close(km_stream_conn(s), 1, NULL, 0);
    return;
  }
  c->start += taken;
  c->full = c->start < c->end;
}

static void read_input(client *c) {
  ssize_t n = read(STDIN_FILENO, c->buf, sizeof c->buf);
  c->start = 0;
  c->end = n > 0 ? (size_t)n : 0;
  c->eof = n <= 0;
  pump(c, c->stream);
}

static void on_data(void *ctx, km_stream *s, const void *data, size_t len, bool fin) {
  client *c = ctx;
  if (fwrite(data, 1, len, stdout) != len) {
    km_conn_close(km_stream_conn(s), 1, NULL, 0);
  }
  c->received = fin;
}

static void on_stream_closed(void *ctx, km_stream *s, int error) {
  client *c = ctx;
  c->stream = NULL;
  if (error == 0) { /* all sent, all received */
    km_conn_close(km_stream_conn(s), 0, NULL, 0);
  }
}

static void on_conn_closed(void *ctx, km_conn *conn, const km_close_info *info) {
  client *c = ctx;
  if (!c->received) {
    fprintf(stderr, "echo_client_loop: %s. %s\n", info->text, km_error_hint(info->error));
  }
  km_endpoint_close(km_conn_endpoint(conn));
}

static void on_endpoint_closed(void *ctx, km_endpoint *endpoint) {
  ((client *)ctx)->closed = endpoint != NULL; /* always */
}

static int dial(km_endpoint *endpoint, client *c, const char *ticket, km_errinfo *err) {
  static const km_conn_callbacks conn_callbacks = {.size = sizeof conn_callbacks,
                                                   .on_closed = on_conn_closed};
  static const km_stream_callbacks stream_callbacks = {.size = sizeof stream_callbacks,
                                                       .on_data = on_data,
                                                       .on_writable = pump,
                                                       .on_closed = on_stream_closed};
  km_addr *addr = NULL;
  km_conn *conn;
  int rv = km_ticket_parse(&addr, ticket, strlen(ticket), err);
  if (rv == 0) {
    rv = km_endpoint_dial(endpoint, &conn, addr, "km/echo/1", &conn_callbacks, c, NULL, err);
  }
  if (rv == 0) { /* no need to wait for the connection: the stream does */
    rv = km_conn_open_stream(conn, &c->stream, true, &stream_callbacks, c);
  }
  km_addr_free(addr);
  return rv;
}

int main(int argc, char **argv) {
  client c = {.closed = false};
  km_errinfo err = {.text = "give a ticket"};
  km_loop *loop;
  km_endpoint *endpoint;
  km_endpoint_options opt;
  km_endpoint_options_default(&opt);
  opt.callbacks.on_closed = on_endpoint_closed;
  opt.ctx = &c;
  if (argc != 2 || km_loop_new(&loop) != 0 || km_endpoint_open(&endpoint, loop, &opt, &err) != 0) {
    fprintf(stderr, "echo_client_loop: %s\n", err.text);
    return 2;
  }
  if (dial(endpoint, &c, argv[1], &err) != 0) {
    fprintf(stderr, "echo_client_loop: %s\n", err.text);
    km_endpoint_close(endpoint); /* ends in on_endpoint_closed, as ever */
  }
  while (!c.closed) {
    int input = c.stream != NULL && !c.full && !c.eof ? STDIN_FILENO : -1;
    struct pollfd fds[] = {{km_loop_fd(loop), POLLIN, 0}, {input, POLLIN, 0}};
    (void)poll(fds, 2, km_loop_timeout_ms(loop));
    if (fds[1].revents != 0) {
      read_input(&c);
    }
    (void)km_loop_run_nowait(loop);
  }
  return km_loop_free(loop) != 0 || !c.received || fflush(stdout) != 0;
}
