#include "cmd/node/ctl/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *names_find(const name_list *n, const char *id) {
  for (size_t i = 0; i < n->count; i++) {
    if (strcmp(n->at[i].id, id) == 0) {
      return n->at[i].name;
    }
  }
  return "";
}

void names_add(name_list *n, const char *id, const char *name) {
  if (name == NULL || name[0] == '\0' || strlen(id) != KM_ID_HEX_LEN ||
      names_find(n, id)[0] != '\0') {
    return;
  }
  if (n->count == n->cap) {
    size_t cap = n->cap == 0 ? 16 : 2 * n->cap;
    names_entry *at = realloc(n->at, cap * sizeof *at);
    if (at == NULL) {
      return;
    }
    n->at = at;
    n->cap = cap;
  }
  names_entry *entry = &n->at[n->count];
  entry->name = strdup(name);
  if (entry->name != NULL) {
    (void)snprintf(entry->id, sizeof entry->id, "%s", id);
    n->count++;
  }
}

void names_add_project(name_list *n, const project *p) {
  for (size_t i = 0; i < p->peer_count; i++) {
    char id[KM_ID_TEXT_CAP];
    if (p->peers[i].has_id && km_id_format(&p->peers[i].id, KM_ID_HEX, id, sizeof id) > 0) {
      names_add(n, id, p->peers[i].name);
    }
  }
}

static void add_member(name_list *n, const cJSON *o) {
  const char *id = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "id"));
  if (id != NULL) {
    names_add(n, id, cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "name")));
    names_add(n, id, cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "node_id")));
  }
}

void names_add_answer(name_list *n, const cJSON *answer) {
  const cJSON *peer;
  add_member(n, answer);
  cJSON_ArrayForEach(peer, cJSON_GetObjectItemCaseSensitive(answer, "peers")) {
    add_member(n, peer);
  }
}

void names_clear(name_list *n) {
  for (size_t i = 0; i < n->count; i++) {
    free(n->at[i].name);
  }
  free(n->at);
  memset(n, 0, sizeof *n);
}
