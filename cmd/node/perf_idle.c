/* One connection that is left alone: what keeping it costs. */
#include "cmd/node/perf_client.h"

static double a_minute(const perf *p, uint64_t before, uint64_t after) {
  double seconds = (double)(p->ended - p->started) / 1e9;
  return seconds > 0 && after > before ? (double)(after - before) * 60 / seconds : 0;
}

static void report(perf *p, const perf_usage *server) {
  const km_conn_stats *a = &p->idle_before, *b = &p->idle_after;
  double client_ms = a_minute(p, p->client_before.cpu_ns, p->client_after.cpu_ns) / 1e6;
  double server_ms = a_minute(p, p->server_before.cpu_ns, server->cpu_ns) / 1e6;
  double out = a_minute(p, a->tx_packets, b->tx_packets);
  double in = a_minute(p, a->rx_packets, b->rx_packets);
  cJSON *event = cli_event(&p->n.out, "perf");
  cli_add_text(event, "mode", "idle");
  cli_add_number(event, "seconds", (double)(p->ended - p->started) / 1e9);
  cli_add_number(event, "cpu_client_ms_per_min", client_ms);
  cli_add_number(event, "cpu_server_ms_per_min", server_ms);
  cli_add_number(event, "packets_out_per_min", out);
  cli_add_number(event, "packets_in_per_min", in);
  cli_emit(event);
  cli_say(&p->n.out,
          "idle      a minute: CPU ms: client %.1f, server %.1f; packets: %.1f out, %.1f in",
          client_ms, server_ms, out, in);
  perf_next_mode(p);
}

/* Counts before it asks: the question is no part of the idleness. */
static void over(void *ctx) {
  perf *p = ctx;
  p->timer = NULL;
  p->ended = perf_now_ns();
  p->client_after = perf_usage_now();
  (void)km_conn_get_stats(p->conn, &p->idle_after);
  perf_ask_usage(p, report);
}

static void begin(perf *p, const perf_usage *server) {
  p->server_before = *server;
  p->client_before = perf_usage_now();
  p->idle_before.size = p->idle_after.size = sizeof p->idle_before;
  (void)km_conn_get_stats(p->conn, &p->idle_before);
  p->started = perf_now_ns();
  if (km_timer_start(&p->timer, p->n.loop, p->seconds * 1000, over, p) != 0) {
    perf_fail(p, KM_ERR_NOMEM, "out of memory for a timer");
  }
}

void perf_idle_start(perf *p) {
  perf_ask_usage(p, begin);
}
