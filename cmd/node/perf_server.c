/* km-node perf server. */
#include <stdlib.h>
#include <string.h>

#include "cmd/node/perf.h"

static const uint8_t zeros[65536];

/* One command under way. */
typedef struct job {
  uint8_t head[PERF_HEAD_BYTES];
  size_t head_len;
  uint64_t argument, received;
  uint64_t left;  /* PERF_REQUEST: zeros still to be written */
  uint64_t until; /* PERF_DOWNLOAD */
  bool answering;
} job;

static void lent(void *ctx, const void *data, size_t len) {
  (void)ctx; /* static bytes: nothing to give back */
  (void)data;
  (void)len;
}

static void download(job *j, km_stream *s) {
  for (;;) {
    bool last = perf_now_ns() >= j->until;
    if (km_stream_write_ref(s, zeros, sizeof zeros, last, lent, NULL, NULL) != 0 || last) {
      return;
    }
  }
}

static void respond(job *j, km_stream *s) {
  while (j->answering) {
    size_t len = j->left < sizeof zeros ? (size_t)j->left : sizeof zeros;
    size_t taken = 0;
    bool last = len == j->left;
    if (km_stream_write(s, zeros, len, last, &taken, NULL) != 0) {
      j->answering = false;
      return;
    }
    j->left -= taken;
    if (taken < len) {
      return; /* on_writable goes on */
    }
    j->answering = !last;
  }
}

static void answer_numbers(km_stream *s, uint64_t first, uint64_t second, size_t count) {
  uint8_t buf[16];
  size_t taken;
  perf_put64(buf, first);
  perf_put64(buf + 8, second);
  if (km_stream_write(s, buf, 8 * count, true, &taken, NULL) != 0) {
    (void)km_stream_reset(s, 1);
  }
}

/* The head is complete. */
static void begin(job *j, km_stream *s) {
  j->argument = perf_get64(j->head + 1);
  switch (j->head[0]) {
  case PERF_DOWNLOAD:
    j->until = perf_now_ns() + (j->argument < 3600000 ? j->argument : 3600000) * 1000000u;
    j->answering = true;
    download(j, s);
    break;
  case PERF_USAGE: {
    perf_usage usage = perf_usage_now();
    answer_numbers(s, usage.cpu_ns, usage.resident, 2);
    break;
  }
  case PERF_UPLOAD:
  case PERF_REQUEST:
    break;
  default:
    (void)km_stream_reset(s, 2);
    (void)km_stream_stop(s, 2);
    break;
  }
}

static void end_of_request(job *j, km_stream *s) {
  if (j->head_len < PERF_HEAD_BYTES) {
    (void)km_stream_reset(s, 2);
  } else if (j->head[0] == PERF_UPLOAD) {
    answer_numbers(s, j->received, 0, 1);
  } else if (j->head[0] == PERF_REQUEST) {
    j->left = j->argument < PERF_REQUEST_MAX ? j->argument : PERF_REQUEST_MAX;
    j->answering = true;
    respond(j, s);
  }
}

static void on_data(void *ctx, km_stream *s, const void *data, size_t len, bool fin) {
  job *j = ctx;
  const uint8_t *at = data;
  if (j->head_len < PERF_HEAD_BYTES && len > 0) {
    size_t n = PERF_HEAD_BYTES - j->head_len < len ? PERF_HEAD_BYTES - j->head_len : len;
    memcpy(j->head + j->head_len, at, n);
    j->head_len += n;
    len -= n;
    if (j->head_len == PERF_HEAD_BYTES) {
      begin(j, s);
    }
  }
  j->received += len;
  if (fin) {
    end_of_request(j, s);
  }
}

static void on_writable(void *ctx, km_stream *s) {
  job *j = ctx;
  if (j->answering && j->head[0] == PERF_DOWNLOAD) {
    download(j, s);
  } else if (j->answering) {
    respond(j, s);
  }
}

static void on_closed(void *ctx, km_stream *s, int error) {
  (void)s;
  (void)error;
  free(ctx);
}

static void on_stream(void *ctx, km_conn *conn, km_stream *stream) {
  static const km_stream_callbacks callbacks = {
      .size = sizeof callbacks,
      .on_data = on_data,
      .on_writable = on_writable,
      .on_closed = on_closed,
  };
  (void)ctx;
  (void)conn;
  job *j = km_stream_is_bidi(stream) ? calloc(1, sizeof *j) : NULL;
  if (j != NULL) {
    km_stream_set_callbacks(stream, &callbacks, j);
  }
}

int perf_server(int argc, char **argv) {
  node_options o = {0};
  cli_option options[NODE_OPTIONS_MAX] = {0};
  node_add_options(options, &o);
  const cli_command command = {
      .name = "km-node perf server",
      .usage = "km-node perf server [--bind IP:PORT]...",
      .about = "Serves measurements until SIGINT or SIGTERM. Prints its ticket.",
      .example = "  km-node perf server --bind 127.0.0.1:0",
      .options = options,
  };
  node n = {0};
  km_errinfo err;
  cli_words words;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  cli_output_init(&n.out, o.json);
  if (result != CLI_RUN) {
    return result == CLI_HELPED ? CLI_EXIT_OK : cli_error(&n.out, CLI_EXIT_USAGE, &err);
  }
  int status = node_open(&n, &o);
  if (status != CLI_EXIT_OK) {
    return status;
  }
  const km_protocol protocol = {
      .size = sizeof protocol, .alpn = PERF_ALPN, .conn = {.on_stream = on_stream}, .ctx = &n};
  int rv = km_endpoint_add_protocol(n.endpoint, &protocol, &err);
  if (rv == 0) {
    err.code = rv = node_print_ready(&n);
    err.text[0] = '\0';
  }
  if (rv != 0) {
    node_fail(&n, &err);
  }
  return node_run(&n);
}
