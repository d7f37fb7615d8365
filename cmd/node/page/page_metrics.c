/* The metrics of a node's status page. */
#include <inttypes.h>

#include "cmd/node/page/page_data.h"

#define TEXT_BYTES 16384 /* of all but the peers */
#define BYTES_A_PEER 512 /* two lines, each with an id */

typedef struct peer_lines {
  km_metrics_text *text;
  bool rtt;
} peer_lines;

static void put_peer(void *ctx, const km_peer_status *peer) {
  peer_lines *lines = ctx;
  char id[KM_ID_TEXT_CAP];
  (void)km_id_format(&peer->id, KM_ID_HEX, id, sizeof id);
  if (!lines->rtt) {
    km_metrics_put(lines->text, "km_mesh_peer_connected{id=\"%s\"} %d\n", id,
                   peer->state == KM_PEER_CONNECTED);
  } else if (peer->state == KM_PEER_CONNECTED && peer->rtt_us > 0) {
    km_metrics_put(lines->text, "km_mesh_peer_rtt_seconds{id=\"%s\"} %.6f\n", id,
                   (double)peer->rtt_us / 1e6);
  }
}

static void put_peers(km_metrics_text *t, km_mesh *mesh) {
  peer_lines lines = {.text = t};
  km_metrics_head(t, "km_mesh_peer_connected", "gauge", "Whether there is a connection to it.");
  (void)km_peer_list(mesh, put_peer, &lines);
  lines.rtt = true;
  km_metrics_put(t, "# UNIT km_mesh_peer_rtt_seconds seconds\n");
  km_metrics_head(t, "km_mesh_peer_rtt_seconds", "gauge", "Round trip of its heartbeats.");
  (void)km_peer_list(mesh, put_peer, &lines);
}

static void put_faults(km_metrics_text *t, const km_peer_faults *f) {
  const struct {
    const char *kind;
    uint64_t count;
  } rows[] = {{"forged", f->forged},       {"future", f->future},   {"forbidden", f->forbidden},
              {"malformed", f->malformed}, {"flooded", f->flooded}, {"cut", f->cut}};
  km_metrics_head(t, "km_mesh_faults", "counter", "What peers did that they should not.");
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    km_metrics_put(t, "km_mesh_faults_total{kind=\"%s\"} %" PRIu64 "\n", rows[i].kind,
                   rows[i].count);
  }
}

static void put_mesh(km_metrics_text *t, const km_mesh_stats *s) {
  km_metrics_gauge(t, "km_mesh_peers", s->peers, "Peers that are known.");
  km_metrics_gauge(t, "km_mesh_connected", s->connected, "Peers that are connected.");
  const struct {
    const char *name, *help;
    uint64_t value;
  } counters[] = {
      {"km_mesh_handshakes", "Handshakes that succeeded.", s->handshakes},
      {"km_mesh_refused_in", "Peers that were refused.", s->refused_in},
      {"km_mesh_refused_out", "Times that a peer refused this node.", s->refused_out},
      {"km_mesh_heartbeats_in", "Heartbeats received.", s->heartbeats_in},
      {"km_mesh_heartbeats_out", "Heartbeats sent.", s->heartbeats_out},
      {"km_mesh_syncs", "Synchronizations that ended well.", s->syncs},
      {"km_mesh_syncs_failed", "Synchronizations that failed.", s->syncs_failed},
      {"km_mesh_entries_in", "Entries received.", s->entries_in},
      {"km_mesh_entries_out", "Entries sent.", s->entries_out},
      {"km_mesh_entries_relayed", "Entries of others passed on.", s->entries_relayed},
      {"km_mesh_messages_in", "Messages received.", s->messages_in},
      {"km_mesh_messages_out", "Messages sent.", s->messages_out},
      {"km_mesh_messages_relayed", "Messages of others passed on.", s->messages_relayed},
  };
  for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
    km_metrics_counter(t, counters[i].name, counters[i].value, counters[i].help);
  }
  put_faults(t, &s->faults);
}

static void put_page(km_metrics_text *t, const page_counts *c) {
  km_metrics_counter(t, "km_status_requests", c->requests, "Requests to the status page.");
  km_metrics_counter(t, "km_status_refused", c->refused, "Requests that it refused.");
  km_metrics_gauge(t, "km_status_connections", c->connections, "Connections to it.");
  km_metrics_gauge(t, "km_status_watchers", c->watchers, "Pages that are open.");
}

static void count_peer(void *ctx, const km_peer_status *peer) {
  size_t *count = ctx;
  (void)peer;
  (*count)++;
}

char *page_metrics(const km_env *env, node_context *node, const page_counts *counts,
                   const km_process_stats *process) {
  km_mesh_stats stats = {.size = sizeof stats};
  bool has_mesh = node->mesh != NULL && km_mesh_get_stats(node->mesh, &stats) == 0;
  size_t peers = 0;
  km_metrics_text t;
  if (has_mesh) {
    (void)km_peer_list(node->mesh, count_peer, &peers);
  }
  size_t cap = TEXT_BYTES + peers * BYTES_A_PEER;
  char *text = km_env_alloc(env, cap);
  if (text == NULL) {
    return NULL;
  }
  km_metrics_begin(&t, text, cap);
  if (has_mesh) {
    put_mesh(&t, &stats);
    put_peers(&t, node->mesh);
  }
  put_page(&t, counts);
  km_metrics_process(&t, process);
  if (km_metrics_end(&t) < 0) {
    km_env_free(env, text);
    return NULL;
  }
  return text;
}
