/* An echo server on an event loop of its own: poll() waits for KeyMesh and for a signal.
 *
 *   echo_server_loop [IP:PORT]
 *
 * Prints its ticket, then sends every stream back to whoever opened it, until SIGINT or SIGTERM. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <keymesh/keymesh.h>

#define WINDOW 65536 /* bytes that a peer may have sent and not got back, a stream */

typedef struct echo {
  unsigned char buf[WINDOW]; /* received, not written yet */
  size_t len;
  bool fin;
} echo;

/* Writes what the stream takes now; only that much may the peer send anew. */
static void pump(void *ctx, km_stream *s) {
  echo *e = ctx;
  size_t taken = 0;
  if (km_stream_write(s, e->buf, e->len, e->fin, &taken, NULL) != 0) {
    (void)km_stream_stop(s, 0); /* nobody wants the echo */
    return;
  }
  memmove(e->buf, e->buf + taken, e->len - taken);
  e->len -= taken;
  km_stream_consume(s, taken);
}

static void on_data(void *ctx, km_stream *s, const void *data, size_t len, bool fin) {
  echo *e = ctx;
  memcpy(e->buf + e->len, data, len); /* fits: held credit keeps the peer within the window */
  e->len += len;
  e->fin = fin;
  pump(e, s);
}

static void on_stream_closed(void *ctx, km_stream *s, int error) {
  (void)s, (void)error;
  free(ctx);
}

static void on_stream(void *ctx, km_conn *conn, km_stream *s) {
  static const km_stream_callbacks callbacks = {.size = sizeof callbacks,
                                                .on_data = on_data,
                                                .on_writable = pump,
                                                .on_closed = on_stream_closed};
  (void)ctx, (void)conn;
  echo *e = km_stream_is_bidi(s) ? calloc(1, sizeof *e) : NULL;
  if (e != NULL) { /* a stream without callbacks is refused */
    km_stream_set_callbacks(s, &callbacks, e);
    km_stream_hold_credit(s, true);
  }
}

static void on_closed(void *ctx, km_endpoint *endpoint) {
  *(bool *)ctx = endpoint != NULL;
}

static int signal_pipe[2];

static void on_signal(int number) {
  (void)!write(signal_pipe[1], &number, 1);
}

static int print_ticket(km_endpoint *endpoint) {
  static char ticket[KM_TICKET_MAX];
  km_addr *addr = NULL;
  if (km_endpoint_addr(endpoint, &addr) != 0 ||
      km_ticket_format(addr, ticket, sizeof ticket, NULL) != 0 || puts(ticket) < 0) {
    ticket[0] = '\0';
  }
  km_addr_free(addr);
  return ticket[0] == '\0' || fflush(stdout) != 0 ? -1 : 0;
}

int main(int argc, char **argv) {
  km_errinfo err = {.text = "no memory"};
  km_loop *loop;
  km_endpoint *endpoint;
  km_endpoint_options opt;
  km_udp_addr bind;
  bool closed = false;
  const km_protocol echo_protocol = {
      .size = sizeof echo_protocol, .alpn = "km/echo/1", .conn = {.on_stream = on_stream}};

  km_endpoint_options_default(&opt);
  opt.stream_window = WINDOW;
  opt.callbacks.on_closed = on_closed;
  opt.ctx = &closed;
  if (argc > 1) {
    opt.bind = &bind;
    opt.bind_count = 1;
  }
  if ((argc > 1 && km_udp_addr_parse(&bind, argv[1], strlen(argv[1]), &err) != 0) ||
      pipe(signal_pipe) != 0 || km_loop_new(&loop) != 0 ||
      km_endpoint_open(&endpoint, loop, &opt, &err) != 0) {
    fprintf(stderr, "echo_server_loop: %s\n", err.text);
    return 1;
  }
  (void)signal(SIGINT, on_signal);
  (void)signal(SIGTERM, on_signal);
  int rv = km_endpoint_add_protocol(endpoint, &echo_protocol, &err) | print_ticket(endpoint);
  while (!closed) {
    struct pollfd fds[] = {{km_loop_fd(loop), POLLIN, 0}, {signal_pipe[0], POLLIN, 0}};
    (void)poll(fds, 2, km_loop_timeout_ms(loop));
    if (rv != 0 || fds[1].revents != 0) {
      km_endpoint_close(endpoint); /* on_closed follows; again does nothing */
    }
    (void)km_loop_run_nowait(loop);
  }
  return km_loop_free(loop) != 0 || rv != 0;
}
