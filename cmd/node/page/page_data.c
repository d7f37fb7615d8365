#include "cmd/node/page/page_data.h"

/* Puts a member of `from` into the state, and the rest away. */
static bool take(cJSON *state, const char *name, cJSON *from) {
  cJSON *list = cJSON_DetachItemFromObjectCaseSensitive(from, name);
  bool taken = list != NULL && cJSON_AddItemToObject(state, name, list);
  if (!taken) {
    cJSON_Delete(list);
  }
  cJSON_Delete(from);
  return taken;
}

static bool add_health(cJSON *state, cJSON *health) {
  if (health == NULL || !cJSON_AddItemToObject(state, "health", health)) {
    cJSON_Delete(health);
    return false;
  }
  cJSON_DeleteItemFromObjectCaseSensitive(health, "time");
  cJSON_DeleteItemFromObjectCaseSensitive(health, "uptime_s");
  return true;
}

char *page_state(node_context *node) {
  cJSON *state = cJSON_CreateObject();
  bool done = state != NULL && add_health(state, report_health(node)) &&
              take(state, "peers", report_peers(node)) &&
              take(state, "shares", report_shares(node)) &&
              cJSON_AddNumberToObject(state, "started", (double)node->started_ms / 1000) != NULL;
  char *text = done ? cJSON_PrintUnformatted(state) : NULL;
  cJSON_Delete(state);
  return text;
}
