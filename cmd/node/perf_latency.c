/* Requests and answers, one stream each, one after another. Also the samples of other modes. */
#include <stdlib.h>
#include <string.h>

#include "cmd/node/perf_client.h"

/* --- samples --------------------------------------------------------------------------------- */

int perf_sample(perf *p, uint64_t microseconds) {
  if (p->samples == NULL) {
    p->samples = malloc(PERF_SAMPLES_MAX * sizeof *p->samples);
    p->sample_count = 0;
  }
  if (p->samples == NULL) {
    return KM_ERR_NOMEM;
  }
  if (p->sample_count < PERF_SAMPLES_MAX) {
    p->samples[p->sample_count++] = microseconds > UINT32_MAX ? UINT32_MAX : (uint32_t)microseconds;
  }
  return 0;
}

void perf_drop_samples(perf *p) {
  free(p->samples);
  p->samples = NULL;
  p->sample_count = 0;
}

static int by_size(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

void perf_sort(perf *p) {
  if (p->sample_count > 0) {
    qsort(p->samples, p->sample_count, sizeof *p->samples, by_size);
  }
}

uint32_t perf_percentile(const perf *p, unsigned percent) {
  return p->sample_count == 0 ? 0 : p->samples[(p->sample_count - 1) * percent / 100];
}

/* --- requests -------------------------------------------------------------------------------- */

static void report(perf *p) {
  perf_sort(p);
  cJSON *event = cli_event(&p->n.out, "perf");
  cli_add_text(event, "mode", perf_mode_name(p));
  cli_add_number(event, "count", (double)p->sample_count);
  cli_add_number(event, "bytes", (double)p->size);
  cli_add_number(event, "p50_us", perf_percentile(p, 50));
  cli_add_number(event, "p99_us", perf_percentile(p, 99));
  cli_emit(event);
  cli_say(&p->n.out, "latency   p50 %u us, p99 %u us, %zu requests of %llu bytes",
          perf_percentile(p, 50), perf_percentile(p, 99), p->sample_count,
          (unsigned long long)p->size);
  perf_drop_samples(p);
  perf_next_mode(p);
}

static void request(perf *p);

static void on_data(void *ctx, km_stream *s, const void *data, size_t len, bool fin) {
  perf *p = ctx;
  (void)s;
  (void)data;
  p->bytes += len;
  if (fin && perf_sample(p, (perf_now_ns() - p->sent_at) / 1000) != 0) {
    perf_fail(p, KM_ERR_NOMEM, "out of memory for the samples");
  }
}

static void send_more(perf *p, km_stream *s) {
  static const uint8_t zeros[4096];
  while (p->sending) {
    size_t len = p->left < sizeof zeros ? (size_t)p->left : sizeof zeros;
    size_t taken = 0;
    bool last = len == p->left;
    if (km_stream_write(s, zeros, len, last, &taken, NULL) != 0) {
      return; /* the stream's end tells why */
    }
    p->left -= taken;
    if (taken < len) {
      return; /* on_writable goes on */
    }
    p->sending = !last;
  }
}

static void on_writable(void *ctx, km_stream *s) {
  send_more(ctx, s);
}

static void on_closed(void *ctx, km_stream *s, int error) {
  perf *p = ctx;
  (void)s;
  if (error != 0) {
    if (error != KM_ERR_CLOSED) {
      perf_fail(p, error, "the server broke a stream off");
    }
  } else if (p->bytes != p->size) {
    perf_fail(p, KM_ERR_TRANSPORT, "an answer had the wrong length");
  } else if (perf_now_ns() >= p->until) {
    report(p);
  } else {
    request(p);
  }
}

static void request(perf *p) {
  static const km_stream_callbacks callbacks = {.size = sizeof callbacks,
                                                .on_data = on_data,
                                                .on_writable = on_writable,
                                                .on_closed = on_closed};
  km_stream *s;
  p->bytes = 0;
  int rv = km_conn_open_stream(p->conn, &s, true, &callbacks, p);
  if (rv != 0) {
    perf_fail(p, rv, "no stream for a request");
    return;
  }
  uint8_t head[PERF_HEAD_BYTES] = {PERF_REQUEST};
  size_t taken = 0;
  perf_put64(head + 1, p->size);
  p->sent_at = perf_now_ns();
  p->left = p->size;
  p->sending = km_stream_write(s, head, sizeof head, false, &taken, NULL) == 0;
  send_more(p, s);
}

void perf_latency_start(perf *p) {
  p->until = perf_now_ns() + p->seconds * 1000000000u;
  request(p);
}
