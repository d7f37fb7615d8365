/* Ids in a list that grows. */
#ifndef KM_BASE_ID_LIST_H
#define KM_BASE_ID_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include <keymesh/id.h>

#include "base/env.h"

typedef struct km_id_list {
  const km_env *env;
  km_id *at;
  size_t count, cap;
  bool failed; /* no memory: ids are missing */
} km_id_list;

void km_id_list_add(km_id_list *list, const km_id *id);
void km_id_list_sort(km_id_list *list);
/* Among the first `count`, which are sorted. */
bool km_id_list_has(const km_id_list *list, size_t count, const km_id *id);
void km_id_list_free(km_id_list *list);

#endif /* KM_BASE_ID_LIST_H */
