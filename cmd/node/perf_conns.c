/* Handshakes a second, and memory a connection. */
#include <string.h>

#include "cmd/node/perf_client.h"

#define DIALS_AT_ONCE 32
#define SETTLE_MS 2000

static void on_dial_closed(void *ctx, km_conn *conn, const km_close_info *info);

/* --- handshakes ------------------------------------------------------------------------------ */

static void handshake_dial(perf *p);

static void handshake_connected(void *ctx, km_conn *conn) {
  perf *p = ctx;
  km_conn_stats stats = {.size = sizeof stats};
  p->connected++;
  (void)km_conn_get_stats(conn, &stats);
  (void)perf_sample(p, stats.handshake_us);
  km_conn_close(conn, 0, NULL, 0);
  p->ended = perf_now_ns();
  if (p->ended < p->until) {
    handshake_dial(p);
  }
}

static const km_conn_callbacks handshake_callbacks = {.size = sizeof handshake_callbacks,
                                                      .on_connected = handshake_connected,
                                                      .on_closed = on_dial_closed};

static void dial(perf *p, const km_conn_callbacks *callbacks) {
  km_conn *conn;
  km_errinfo err;
  int rv = km_endpoint_dial(p->n.endpoint, &conn, p->addr, PERF_ALPN, callbacks, p, NULL, &err);
  if (rv != 0) {
    perf_fail(p, rv, err.text);
    return;
  }
  p->dialled++;
}

static void handshake_dial(perf *p) {
  dial(p, &handshake_callbacks);
}

static void report_handshakes(perf *p) {
  double seconds = (double)(p->ended - p->started) / 1e9;
  double rate = seconds > 0 ? (double)p->connected / seconds : 0;
  perf_sort(p);
  cJSON *event = cli_event(&p->n.out, "perf");
  cli_add_text(event, "mode", "handshake");
  cli_add_number(event, "count", (double)p->connected);
  cli_add_number(event, "parallel", (double)p->parallel);
  cli_add_number(event, "per_second", rate);
  cli_add_number(event, "p50_us", perf_percentile(p, 50));
  cli_add_number(event, "p99_us", perf_percentile(p, 99));
  cli_emit(event);
  cli_say(&p->n.out, "handshake %.0f a second, p50 %u us, p99 %u us, %llu at once", rate,
          perf_percentile(p, 50), perf_percentile(p, 99), (unsigned long long)p->parallel);
  perf_drop_samples(p);
}

void perf_handshake_start(perf *p) {
  p->dialled = p->connected = p->closed = 0;
  p->started = perf_now_ns();
  p->until = p->started + p->seconds * 1000000000u;
  for (uint64_t i = 0; i < p->parallel && !p->done; i++) {
    handshake_dial(p);
  }
}

/* --- memory ---------------------------------------------------------------------------------- */

static void memory_connected(void *ctx, km_conn *conn);

static const km_conn_callbacks memory_callbacks = {
    .size = sizeof memory_callbacks, .on_connected = memory_connected, .on_closed = on_dial_closed};

static double each(uint64_t before, uint64_t after, uint64_t count) {
  return after <= before ? 0 : (double)(after - before) / (double)count;
}

static void report_memory(perf *p, const perf_usage *server) {
  double client_each = each(p->client_before.resident, perf_usage_now().resident, p->connections);
  double server_each = each(p->server_before.resident, server->resident, p->connections);
  cJSON *event = cli_event(&p->n.out, "perf");
  cli_add_text(event, "mode", "memory");
  cli_add_number(event, "connections", (double)p->connections);
  cli_add_number(event, "client_bytes_per_conn", client_each);
  cli_add_number(event, "server_bytes_per_conn", server_each);
  cli_emit(event);
  cli_say(&p->n.out, "memory    %.1f KiB (client), %.1f KiB (server) a connection, %llu idle",
          client_each / 1024, server_each / 1024, (unsigned long long)p->connections);
  perf_next_mode(p);
}

static void settled(void *ctx) {
  perf *p = ctx;
  if (!p->done) {
    perf_ask_usage(p, report_memory);
  }
}

static void memory_connected(void *ctx, km_conn *conn) {
  perf *p = ctx;
  (void)conn;
  p->connected++;
  if (p->dialled < p->connections) {
    dial(p, &memory_callbacks);
  }
  km_timer *timer;
  if (p->connected == p->connections &&
      km_timer_start(&timer, p->n.loop, SETTLE_MS, settled, p) != 0) {
    perf_fail(p, KM_ERR_NOMEM, "out of memory for a timer");
  }
}

static void begin_memory(perf *p, const perf_usage *server) {
  p->server_before = *server;
  p->client_before = perf_usage_now();
  p->dialled = p->connected = p->closed = 0;
  for (int i = 0; i < DIALS_AT_ONCE && p->dialled < p->connections && !p->done; i++) {
    dial(p, &memory_callbacks);
  }
}

void perf_memory_start(perf *p) {
  perf_ask_usage(p, begin_memory);
}

/* --- ends ------------------------------------------------------------------------------------ */

static void on_dial_closed(void *ctx, km_conn *conn, const km_close_info *info) {
  perf *p = ctx;
  (void)conn;
  p->closed++;
  if (p->done) {
    return;
  }
  if (info->error != KM_OK) {
    perf_fail(p, info->error, info->text);
    return;
  }
  bool handshakes = strcmp(perf_mode_name(p), "handshake") == 0;
  if (handshakes && p->closed == p->dialled && perf_now_ns() >= p->until) {
    report_handshakes(p);
    perf_next_mode(p);
  }
}
