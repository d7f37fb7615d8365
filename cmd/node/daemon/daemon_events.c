/* What the mesh tells: events on stdout, the status page, the hook. */
#include <string.h>
#include <time.h>

#include "cmd/node/daemon/daemon.h"
#include "cmd/node/daemon/request_impl.h"

#define SHORT KM_ID_SHORT_LEN

/* Something that is shown has changed. */
static void changed(node_daemon *d) {
  if (d->page != NULL) {
    status_page_changed(d->page);
  }
}

/* "NAME (3b6a27bcce)", or the digits alone. */
static const char *who(const km_id *id, const char *name, char buf[KM_PEER_NAME_MAX + 16]) {
  char hex[KM_ID_TEXT_CAP];
  (void)km_id_format(id, KM_ID_SHORT, hex, sizeof hex);
  bool named = name != NULL && name[0] != '\0';
  (void)snprintf(buf, KM_PEER_NAME_MAX + 16, named ? "%s (%s)" : "%s%s", named ? name : "", hex);
  return buf;
}

/* --- peers ------------------------------------------------------------------------------------ */

static void say_peer(const node_daemon *d, const km_peer_status *peer) {
  char name[KM_PEER_NAME_MAX + 16];
  (void)who(&peer->id, peer->name, name);
  if (peer->state == KM_PEER_CONNECTED) {
    cli_say(&d->out, "%s is connected, %s%s%s", name,
            peer->path == KM_PATH_RELAY ? "by a relay" : "direct",
            peer->addr[0] != '\0' ? ", " : "", peer->addr);
  } else if (peer->state == KM_PEER_REFUSED || (peer->state == KM_PEER_WAITING && //
                                                peer->attempts <= 1)) {
    cli_say(&d->out, "%s is not connected: %s", name,
            peer->last_error != NULL ? peer->last_error : "it closed the connection");
  }
}

static void on_peer(void *ctx, km_mesh *mesh, const km_peer_status *peer) {
  node_daemon *d = ctx;
  (void)mesh;
  changed(d);
  if (d->once != NULL) {
    once_peer(d, peer);
    return;
  }
  cJSON *event = cli_event(&d->out, "peer");
  put_peer(event, peer);
  cli_emit_to(&d->out, event);
  say_peer(d, peer);
}

static void on_request(void *ctx, km_mesh *mesh, const km_trust_info *info) {
  node_daemon *d = ctx;
  char name[KM_PEER_NAME_MAX + 16];
  (void)mesh;
  cJSON *event = cli_event(&d->out, "request");
  put_trust(event, info);
  cli_emit_to(&d->out, event);
  cli_say(&d->out, "%s asks to be let in: km-node peer approve, or deny",
          who(&info->id, info->name, name));
  changed(d);
}

static void on_sync(void *ctx, km_mesh *mesh, const km_id *peer, const char *share, int error,
                    uint64_t received, uint64_t sent) {
  node_daemon *d = ctx;
  (void)mesh;
  cJSON *event = cli_event(&d->out, "sync");
  put_id(event, "peer", peer);
  put_text(event, "share", share);
  put_text(event, "error", error == 0 ? NULL : km_error_name(error));
  put_number(event, "received", (double)received);
  put_number(event, "sent", (double)sent);
  cli_emit_to(&d->out, event);
  changed(d);
}

/* --- messages --------------------------------------------------------------------------------- */

static void run_hook(node_daemon *d, const km_message *message) {
  cJSON *o = message_json(&d->node, message);
  char *json = o == NULL ? NULL : cJSON_PrintUnformatted(o);
  const cJSON *id = cJSON_GetObjectItemCaseSensitive(o, "message");
  const cJSON *sender = cJSON_GetObjectItemCaseSensitive(o, "sender");
  if (json != NULL && cJSON_IsString(id) && cJSON_IsString(sender)) {
    const hook_message m = {
        .id = id->valuestring, .type = message->type, .sender = sender->valuestring, .json = json};
    hook_run(d->hook, &m);
  } else {
    DAEMON_LOG(d, KM_LOG_ERROR, "hook-failed", "out of memory");
  }
  cJSON_free(json);
  cJSON_Delete(o);
}

static void on_message(void *ctx, km_mesh *mesh, const km_message *message) {
  node_daemon *d = ctx;
  char peer[KM_PEER_NAME_MAX + 16], name[KM_PEER_NAME_MAX + 1];
  (void)mesh;
  if (d->once != NULL) { /* it counts as received, though nobody asked for it now */
    run_hook(d, message);
    return;
  }
  cJSON *event = cli_event(&d->out, "message");
  put_message(event, &d->node, message);
  cli_emit_to(&d->out, event);
  cli_say(&d->out, "%s sent %s %.200s",
          who(&message->sender, peer_name(&d->node, &message->sender, name), peer), message->type,
          message->body);
  run_hook(d, message);
  changed(d);
}

static void on_closed(void *ctx, km_mesh *mesh) {
  node_daemon *d = ctx;
  (void)mesh;
  d->node.mesh = NULL;
  if (d->stopping) { /* else --once-handshake waits for the hook, and stops it then */
    km_endpoint_close(d->endpoint);
  }
}

void daemon_set_callbacks(node_daemon *d, km_mesh_options *options) {
  options->callbacks = (km_mesh_callbacks){.size = sizeof options->callbacks,
                                           .on_peer = on_peer,
                                           .on_message = on_message,
                                           .on_request = on_request,
                                           .on_sync = on_sync,
                                           .on_closed = on_closed};
  options->ctx = d;
  options->log = d->logger.sink;
  options->log_ctx = d->logger.ctx;
  options->log_filter = d->logger.filter;
}

/* --- the node itself -------------------------------------------------------------------------- */

static void status_url(const node_daemon *d, char *buf, size_t cap) {
  char addr[KM_UDP_ADDR_TEXT_CAP];
  (void)km_udp_addr_format(status_page_bound(d->page), addr, sizeof addr);
  (void)snprintf(buf, cap, "http://%s/", addr);
}

static void say_ready(const node_daemon *d, const cJSON *ready) {
  static const struct {
    const char *member, *label;
  } rows[] = {{"id", "id"},
              {"ticket", "ticket"},
              {"relay", "relay"},
              {"status", "status"},
              {"control", "control"}};
  const cJSON *direct;
  cli_say(&d->out, "%-8s%s", "node", d->project->node_id);
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(ready, //
                                                                             rows[i].member));
    if (text != NULL) {
      cli_say(&d->out, "%-8s%s", rows[i].label, text);
    }
  }
  cJSON_ArrayForEach(direct, cJSON_GetObjectItemCaseSensitive(ready, "direct")) {
    cli_say(&d->out, "%-8s%s", "direct", direct->valuestring);
  }
}

void daemon_tell_ready(node_daemon *d) {
  char url[KM_UDP_ADDR_TEXT_CAP + 16];
  cJSON *event = cJSON_CreateObject();
  put_text(event, "event", "ready");
  put_text(event, "node_id", d->project->node_id);
  put_id(event, "id", km_endpoint_id(d->endpoint));
  put_address(event, d->endpoint);
  if (d->page != NULL) {
    status_url(d, url, sizeof url);
  }
  put_text(event, "status", d->page != NULL ? url : NULL);
  put_text(event, "control", d->project->control_path);
  say_ready(d, event);
  if (d->out.json) {
    cli_emit_to(&d->out, event);
  } else {
    cJSON_Delete(event);
  }
  cli_service_ready();
  DAEMON_LOG(d, KM_LOG_INFO, "ready", "node_id=%s level=%s peers=%zu", d->project->node_id,
             km_security_level_name(d->project->level), d->project->peer_count);
}

void daemon_tell_relay(node_daemon *d) {
  const char *home = km_endpoint_home_relay(d->endpoint);
  cJSON *event = cli_event(&d->out, "relay");
  put_text(event, "home", home);
  cli_emit_to(&d->out, event);
  changed(d);
}
