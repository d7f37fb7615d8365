/* An echo server with the blocking calls: a few threads, each serves one connection at a time.
 *
 *   echo_server_blocking [IP:PORT]
 *
 * Prints its ticket, then sends every stream back to whoever opened it, until SIGINT or SIGTERM. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <keymesh/keymesh.h>

#define WORKERS 16

static void echo(km_bstream *s) {
  char buf[65536];
  size_t n;
  km_errinfo err;
  int rv;
  /* Not reading is what slows the peer down: as long as a write waits, nothing is read. */
  while ((rv = km_bstream_read(s, buf, sizeof buf, &n, -1, &err)) == 0) {
    bool end = n == 0;
    if ((rv = km_bstream_write(s, buf, n, end, -1, &err)) != 0 || end) {
      break;
    }
  }
  if (rv != 0) {
    fprintf(stderr, "echo_server_blocking: a stream ended early: %s\n", err.text);
  }
}

static void *work(void *arg) {
  km_blocking *b = arg;
  km_bconn *conn;
  km_bstream *s;
  while (km_blocking_accept(b, &conn, -1, NULL) == 0) {
    char id[KM_ID_TEXT_CAP];
    (void)km_id_format(km_bconn_remote_id(conn), KM_ID_SHORT, id, sizeof id);
    fprintf(stderr, "echo_server_blocking: %s connected\n", id);
    while (km_bconn_accept(conn, &s, -1, NULL) == 0) {
      echo(s);
      km_bstream_free(s);
    }
    km_bconn_free(conn);
  }
  return NULL; /* km_blocking_close was called */
}

static int print_ticket(km_blocking *b) {
  static char ticket[KM_TICKET_MAX];
  km_addr *addr = NULL;
  int rv = km_blocking_addr(b, &addr);
  if (rv == 0) {
    rv = km_ticket_format(addr, ticket, sizeof ticket, NULL);
  }
  if (rv == 0) {
    rv = puts(ticket) < 0 || fflush(stdout) != 0;
  }
  km_addr_free(addr);
  return rv;
}

static void wait_for_signal(const sigset_t *signals) {
  int number;
  while (sigwait(signals, &number) != 0) {
  }
}

int main(int argc, char **argv) {
  km_errinfo err = {.text = ""};
  km_blocking *b;
  km_endpoint_options opt;
  km_udp_addr bind;
  pthread_t workers[WORKERS];
  size_t started = 0;
  sigset_t signals;

  /* Before the first thread: all of them inherit it, so that sigwait gets the signal. */
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);

  km_endpoint_options_default(&opt);
  if (argc > 1) {
    opt.bind = &bind;
    opt.bind_count = 1;
  }
  if ((argc > 1 && km_udp_addr_parse(&bind, argv[1], strlen(argv[1]), &err) != 0) ||
      km_blocking_open(&b, &opt, &err) != 0) {
    fprintf(stderr, "echo_server_blocking: %s\n", err.text);
    return 1;
  }
  int rv = km_blocking_listen(b, "km/echo/1", &err);
  if (rv != 0) {
    fprintf(stderr, "echo_server_blocking: %s\n", err.text);
  }
  while (rv == 0 && started < WORKERS) {
    rv = pthread_create(&workers[started], NULL, work, b);
    started += rv == 0 ? 1 : 0;
  }
  if (rv == 0 && (rv = print_ticket(b)) == 0) {
    wait_for_signal(&signals);
  }
  km_blocking_close(b); /* every call of the workers returns KM_ERR_CLOSED */
  while (started > 0) {
    (void)pthread_join(workers[--started], NULL);
  }
  return rv != 0;
}
