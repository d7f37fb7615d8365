#include "cmd/node/report.h"

#include <stdio.h>

static const char *remote_of(const km_conn *conn, km_id_form form, char *buf) {
  (void)km_id_format(km_conn_remote_id(conn), form, buf, KM_ID_TEXT_CAP);
  return buf;
}

static void path_text(const km_path_info *path, char *buf, size_t cap) {
  char addr[CLI_PATH_TEXT_CAP];
  (void)snprintf(buf, cap, "%s %s, rtt %.2f ms", cli_path_name(path), cli_path_addr(path, addr),
                 (double)path->rtt_us / 1000);
}

/* The path in use, with what `path` in `connected` does not say. */
static void emit_path(const node *n, const km_conn *conn, const km_path_info *path) {
  char id[KM_ID_TEXT_CAP];
  km_conn_stats stats = {.size = sizeof stats};
  cJSON *event = cli_event(&n->out, "path");
  (void)km_conn_get_stats(conn, &stats);
  uint64_t age_ms = stats.age_us / 1000;
  cli_add_text(event, "remote", remote_of(conn, KM_ID_HEX, id));
  cli_add_text(event, "kind", cli_path_name(path));
  cli_add_path(event, path);
  if (path->relay_url != NULL) {
    cli_add_text(event, "relay", path->relay_url);
  }
  cli_add_number(event, "rtt_us", (double)path->rtt_us);
  cli_add_number(event, "since_connect_ms", (double)age_ms);
  cli_emit(event);
}

void report_connected(const node *n, const km_conn *conn) {
  char id[KM_ID_TEXT_CAP], text[CLI_PATH_TEXT_CAP + 64];
  km_path_info path;
  km_conn_stats stats = {.size = sizeof stats};
  (void)km_conn_path(conn, &path);
  (void)km_conn_get_stats(conn, &stats);
  cJSON *event = cli_event(&n->out, "connected");
  cli_add_text(event, "remote", remote_of(conn, KM_ID_HEX, id));
  cli_add_text(event, "alpn", km_conn_alpn(conn));
  cli_add_path(event, &path);
  cli_add_number(event, "handshake_ms", (double)stats.handshake_us / 1000);
  cli_emit(event);
  emit_path(n, conn, &path);
  path_text(&path, text, sizeof text);
  cli_say(&n->out, "connected to %s over %s, handshake %.2f ms", remote_of(conn, KM_ID_HEX, id),
          text, (double)stats.handshake_us / 1000);
}

void report_path(const node *n, const km_conn *conn, const km_path_info *path) {
  char id[KM_ID_TEXT_CAP], text[CLI_PATH_TEXT_CAP + 64];
  emit_path(n, conn, path);
  path_text(path, text, sizeof text);
  cli_say(&n->out, "%s moved to %s", remote_of(conn, KM_ID_SHORT, id), text);
}

void report_stream(const node *n, const km_conn *conn, const km_stream *stream, uint64_t received,
                   uint64_t sent) {
  char id[KM_ID_TEXT_CAP];
  cJSON *event = cli_event(&n->out, "stream");
  cli_add_text(event, "remote", remote_of(conn, KM_ID_HEX, id));
  cli_add_number(event, "id", (double)km_stream_id(stream));
  cli_add_number(event, "rx_bytes", (double)received);
  cli_add_number(event, "tx_bytes", (double)sent);
  cli_emit(event);
  cli_say(&n->out, "%s stream %lld: %llu bytes in, %llu out", remote_of(conn, KM_ID_SHORT, id),
          (long long)km_stream_id(stream), (unsigned long long)received, (unsigned long long)sent);
}

void report_closed(const node *n, const km_conn *conn, const km_close_info *info) {
  char id[KM_ID_TEXT_CAP];
  cJSON *event = cli_event(&n->out, "closed");
  cli_add_text(event, "remote", remote_of(conn, KM_ID_HEX, id));
  cli_add_number(event, "code", (double)info->code);
  cli_add_bytes(event, "reason", info->reason, info->reason_len);
  cli_add_text(event, "name", km_error_name(info->error));
  cli_add_text(event, "message", info->text);
  cli_emit(event);
  cli_say(&n->out, "%s closed: %s", remote_of(conn, KM_ID_SHORT, id), info->text);
}
