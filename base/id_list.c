#include "base/id_list.h"

#include <stdlib.h>
#include <string.h>

void km_id_list_add(km_id_list *list, const km_id *id) {
  if (list->failed) {
    return;
  }
  if (list->count == list->cap) {
    size_t cap = list->cap == 0 ? 16 : 2 * list->cap;
    km_id *grown = km_env_realloc(list->env, list->at, cap, sizeof *grown);
    if (grown == NULL) {
      list->failed = true;
      return;
    }
    list->at = grown;
    list->cap = cap;
  }
  list->at[list->count++] = *id;
}

static int compare(const void *a, const void *b) {
  return memcmp(((const km_id *)a)->bytes, ((const km_id *)b)->bytes, KM_ID_BYTES);
}

void km_id_list_sort(km_id_list *list) {
  if (list->count > 0) {
    qsort(list->at, list->count, sizeof *list->at, compare);
  }
}

bool km_id_list_has(const km_id_list *list, size_t count, const km_id *id) {
  return count > 0 && bsearch(id, list->at, count, sizeof *list->at, compare) != NULL;
}

void km_id_list_free(km_id_list *list) {
  km_env_free(list->env, list->at);
  *list = (km_id_list){.env = list->env};
}
