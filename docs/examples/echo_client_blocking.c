/* An echo client with the blocking calls: one thread sends standard input, the other prints what
 * comes back. (One thread that first sends all and then reads would wait forever as soon as the
 * input is larger than the buffers on the way: the server reads no more while we do not.)
 *
 *   echo_client_blocking TICKET < bytes > echo */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <keymesh/keymesh.h>

#define TIMEOUT_MS 30000

static int fail(const char *what, const km_errinfo *err) {
  fprintf(stderr, "echo_client_blocking: %s: %s. %s\n", what, err->text, km_error_hint(err->code));
  return 1;
}

/* Returns NULL when all was sent, else the stream. */
static void *send_input(void *arg) {
  km_bstream *s = arg;
  char buf[65536];
  ssize_t n;
  km_errinfo err;
  do {
    n = read(STDIN_FILENO, buf, sizeof buf);
    if (n < 0) {
      perror("echo_client_blocking: standard input");
      km_bstream_reset(s, 1);
      return s;
    }
    if (km_bstream_write(s, buf, (size_t)n, n == 0, TIMEOUT_MS, &err) != 0) {
      (void)fail("sending", &err);
      km_bstream_reset(s, 1);
      return s;
    }
  } while (n > 0);
  return NULL;
}

static int print_echo(km_bstream *s) {
  char buf[65536];
  size_t n;
  km_errinfo err;
  do {
    if (km_bstream_read(s, buf, sizeof buf, &n, TIMEOUT_MS, &err) != 0) {
      return fail("receiving", &err);
    }
    if (fwrite(buf, 1, n, stdout) != n) {
      perror("echo_client_blocking: standard output");
      return 1;
    }
  } while (n > 0);
  return fflush(stdout) == 0 ? 0 : 1;
}

static int talk(km_bstream *s) {
  pthread_t sender;
  void *unsent;
  if (pthread_create(&sender, NULL, send_input, s) != 0) {
    fprintf(stderr, "echo_client_blocking: no thread to be had\n");
    return 1;
  }
  int rv = print_echo(s);
  if (rv != 0) {
    km_bstream_reset(s, 1); /* the sender's calls fail from now on */
  }
  (void)pthread_join(sender, &unsent);
  return rv != 0 || unsent != NULL;
}

static int run(km_blocking *b, const km_addr *addr) {
  km_bconn *conn;
  km_bstream *s;
  km_errinfo err;
  if (km_blocking_dial(b, &conn, addr, "km/echo/1", TIMEOUT_MS, &err) != 0) {
    return fail("dialling", &err);
  }
  int rv = 1;
  if (km_bconn_open(conn, &s, true, TIMEOUT_MS, &err) != 0) {
    (void)fail("opening a stream", &err);
  } else {
    rv = talk(s);
    km_bstream_free(s);
  }
  km_bconn_free(conn);
  return rv;
}

int main(int argc, char **argv) {
  km_blocking *b;
  km_addr *addr;
  km_errinfo err;
  if (argc != 2) {
    fprintf(stderr, "usage: echo_client_blocking TICKET < bytes > echo\n");
    return 2;
  }
  if (km_ticket_parse(&addr, argv[1], strlen(argv[1]), &err) != 0) {
    return fail("the ticket", &err);
  }
  int rv = 1;
  if (km_blocking_open(&b, NULL, &err) != 0) {
    (void)fail("starting", &err);
  } else {
    rv = run(b, addr);
    km_blocking_close(b);
  }
  km_addr_free(addr);
  return rv;
}
