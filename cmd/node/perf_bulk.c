/* Goodput, up and down. */
#include <stdlib.h>
#include <string.h>

#include "cmd/node/perf_client.h"

static const uint8_t zeros[65536];

static void report(perf *p, const perf_usage *server) {
  perf_usage client = perf_usage_now();
  double seconds = (double)(p->ended - p->started) / 1e9;
  double gb = (double)p->bytes / 1e9;
  double gbit = seconds > 0 ? gb * 8 / seconds : 0;
  double client_cpu = gb > 0 ? (double)(client.cpu_ns - p->client_before.cpu_ns) / 1e9 / gb : 0;
  double server_cpu = gb > 0 ? (double)(server->cpu_ns - p->server_before.cpu_ns) / 1e9 / gb : 0;
  cJSON *event = cli_event(&p->n.out, "perf");
  cli_add_text(event, "mode", perf_mode_name(p));
  cli_add_number(event, "seconds", seconds);
  cli_add_number(event, "bytes", (double)p->bytes);
  cli_add_number(event, "gbit_s", gbit);
  cli_add_number(event, "streams", (double)p->streams);
  cli_add_number(event, "cpu_client_s_per_gb", client_cpu);
  cli_add_number(event, "cpu_server_s_per_gb", server_cpu);
  cli_emit(event);
  cli_say(&p->n.out, "%-9s %6.2f Gbit/s, %llu stream(s), CPU s/GB: client %.2f, server %.2f",
          perf_mode_name(p), gbit, (unsigned long long)p->streams, client_cpu, server_cpu);
  perf_next_mode(p);
}

static void lent(void *ctx, const void *data, size_t len) {
  (void)ctx; /* static bytes: nothing to give back */
  (void)data;
  (void)len;
}

static void upload(perf *p, km_stream *s) {
  for (;;) {
    bool last = perf_now_ns() >= p->until;
    if (km_stream_write_ref(s, zeros, sizeof zeros, last, lent, NULL, NULL) != 0 || last) {
      return;
    }
  }
}

static bool is_upload(const perf *p) {
  return strcmp(perf_mode_name(p), "upload") == 0;
}

static void on_writable(void *ctx, km_stream *s) {
  if (is_upload(ctx)) {
    upload(ctx, s);
  }
}

/* The server's answer to an upload is the number of bytes that arrived; it comes in one piece. */
static void on_data(void *ctx, km_stream *s, const void *data, size_t len, bool fin) {
  perf *p = ctx;
  (void)s;
  (void)fin;
  if (!is_upload(p)) {
    p->bytes += len;
  } else if (len == 8) {
    p->bytes += perf_get64(data);
  }
}

static void on_closed(void *ctx, km_stream *s, int error) {
  perf *p = ctx;
  (void)s;
  if (error != 0 && error != KM_ERR_CLOSED) {
    perf_fail(p, error, "the server broke a stream off");
  }
  if (--p->open == 0 && error == 0 && !p->done) {
    p->ended = perf_now_ns();
    perf_ask_usage(p, report);
  }
}

static int open_one(perf *p) {
  static const km_stream_callbacks callbacks = {.size = sizeof callbacks,
                                                .on_data = on_data,
                                                .on_writable = on_writable,
                                                .on_closed = on_closed};
  km_stream *s;
  int rv = km_conn_open_stream(p->conn, &s, true, &callbacks, p);
  if (rv != 0) {
    return rv;
  }
  p->open++;
  uint8_t head[PERF_HEAD_BYTES] = {is_upload(p) ? PERF_UPLOAD : PERF_DOWNLOAD};
  size_t taken;
  perf_put64(head + 1, p->seconds * 1000);
  rv = km_stream_write(s, head, sizeof head, !is_upload(p), &taken, NULL);
  if (rv == 0 && is_upload(p)) {
    upload(p, s);
  }
  return rv;
}

static void start(perf *p, const perf_usage *server) {
  p->server_before = *server;
  p->client_before = perf_usage_now();
  p->bytes = p->open = 0;
  p->started = perf_now_ns();
  p->until = p->started + p->seconds * 1000000000u;
  for (uint64_t i = 0; i < p->streams; i++) {
    int rv = open_one(p);
    if (rv != 0) {
      perf_fail(p, rv, "the server allows fewer streams");
      return;
    }
  }
}

void perf_bulk_start(perf *p) {
  perf_ask_usage(p, start);
}
