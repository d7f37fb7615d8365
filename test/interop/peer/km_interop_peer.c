/* A peer of the interop driver (PROTOCOL.md) on KeyMesh's public API: reads requests from stdin,
 * runs the endpoint's loop beside it, writes answers and events to stdout. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer.h"

#define LINE_MAX_BYTES (1U << 20)

typedef struct line_reader {
  char *buf; /* LINE_MAX_BYTES */
  size_t len;
} line_reader;

static void serve_mode(peer *self, const cJSON *request) {
  (void)self;
  peer_ok(request); // on_stopped is always reported; only iroh's binding needs to be told
}

static const struct operation {
  const char *name;
  void (*run)(peer *self, const cJSON *request);
  bool needs_endpoint;
} operations[] = {
    {"open", peer_open, false},
    {"dial", peer_dial, true},
    {"transfer", peer_transfer_request, true},
    {"datagrams", peer_datagrams, true},
    {"serve", serve_mode, true},
    {"break", peer_break, true},
    {"stats", peer_stats, true},
    {"totals", peer_totals, true},
    {"rebind", peer_rebind, true},
    {"update_keys", peer_update_keys, true},
    {"close", peer_close, true},
    {"shutdown", peer_shutdown, false},
    {"key", peer_key, false},
    {"id_parse", peer_id_parse, false},
    {"ticket_parse", peer_ticket_parse, false},
    {"ticket_make", peer_ticket_make, false},
};

static void run_request(peer *self, const cJSON *request) {
  const char *name = peer_text(request, "op");
  for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
    const struct operation *op = &operations[i];
    if (strcmp(op->name, name) != 0)
      continue;
    if (op->needs_endpoint && !self->endpoint)
      break;
    op->run(self, request);
    return;
  }
  peer_fail(peer_int(request, "id", 0), KM_ERR_UNSUPPORTED, "no such operation here and now");
}

static void run_line(peer *self, const char *text, size_t len) {
  cJSON *request = cJSON_ParseWithLength(text, len);
  if (!request) {
    (void)fprintf(stderr, "km_interop_peer: not JSON: %.*s\n", (int)len, text);
    return;
  }
  run_request(self, request);
  cJSON_Delete(request);
}

static void run_lines(peer *self, line_reader *in) {
  size_t from = 0;
  for (;;) {
    const char *end = memchr(in->buf + from, '\n', in->len - from);
    if (!end)
      break;
    size_t len = (size_t)(end - (in->buf + from));
    run_line(self, in->buf + from, len);
    from += len + 1;
  }
  in->len -= from;
  memmove(in->buf, in->buf + from, in->len);
}

/* False at the end of stdin. */
static bool read_stdin(peer *self, line_reader *in) {
  ssize_t n = read(STDIN_FILENO, in->buf + in->len, LINE_MAX_BYTES - in->len);
  if (n < 0 && errno == EINTR)
    return true;
  if (n <= 0)
    return false;
  in->len += (size_t)n;
  run_lines(self, in);
  return true;
}

static void say_hello(void) {
  static const char *const features[] = {"options", "early",  "paths",       "figures",
                                         "totals",  "rebind", "update_keys", "several_relays"};
  cJSON *line = peer_event("hello");
  cJSON_AddStringToObject(line, "peer", "keymesh");
  cJSON_AddStringToObject(line, "version", km_version());
  cJSON *list = cJSON_AddArrayToObject(line, "features");
  for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
    cJSON_AddItemToArray(list, cJSON_CreateString(features[i]));
  }
  peer_send(line);
}

/* An embedder's loop: KeyMesh's descriptor beside one of our own. */
static bool run(peer *self, line_reader *in) {
  while (!self->finished) {
    struct pollfd fds[] = {{STDIN_FILENO, POLLIN, 0}, {km_loop_fd(self->loop), POLLIN, 0}};
    if (poll(fds, 2, km_loop_timeout_ms(self->loop)) < 0 && errno != EINTR)
      return false;
    if (fds[0].revents != 0 && !read_stdin(self, in))
      return false;
    (void)km_loop_run_nowait(self->loop);
  }
  return true;
}

int main(void) {
  peer self = {0};
  line_reader in = {.buf = malloc(LINE_MAX_BYTES)};
  // A driver that is gone shows as the end of stdin.
  if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || !in.buf || km_loop_new(&self.loop) != 0) {
    (void)fputs("km_interop_peer: cannot start\n", stderr);
    return 1;
  }
  say_hello();
  bool orderly = run(&self, &in);
  free(in.buf);
  if (!orderly)
    return 1; // nobody is there to tell
  if (self.shutdown_request != 0)
    peer_send(peer_answer_to(self.shutdown_request));
  if (km_loop_free(self.loop) != 0) {
    (void)fputs("km_interop_peer: the loop still has something open\n", stderr);
    return 1;
  }
  return 0;
}
