#include "store/refused.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 64

typedef struct group {
  char share[KM_SHARE_NAME_MAX + 1]; /* "": free */
  bool any_author;
  km_id author;
} group;

typedef struct refused_item {
  km_item item;
  uint16_t group;
} refused_item;

struct km_refused {
  const km_env *env;
  refused_item *items;
  size_t count, cap;
  group groups[KM_REFUSED_GROUPS_MAX];
  km_item *list; /* what km_refused_list gave */
};

int km_refused_new(km_refused **ret, const km_env *env) {
  km_refused *r = km_env_zalloc(env, 1, sizeof *r);
  if (r == NULL) {
    return KM_ERR_NOMEM;
  }
  r->env = env;
  *ret = r;
  return 0;
}

void km_refused_free(km_refused *r) {
  if (r != NULL) {
    km_env_free(r->env, r->items);
    km_env_free(r->env, r->list);
    km_env_free(r->env, r);
  }
}

static bool is_group(const group *g, const char *share, const km_id *author) {
  return strcmp(g->share, share) == 0 && g->any_author == (author == NULL) &&
         (author == NULL || km_id_equal(&g->author, author));
}

/* Found or made. KM_REFUSED_GROUPS_MAX: there is no room for one more. */
static size_t group_of(km_refused *r, const char *share, const km_id *author) {
  size_t unused = KM_REFUSED_GROUPS_MAX;
  for (size_t i = 0; i < KM_REFUSED_GROUPS_MAX; i++) {
    if (is_group(&r->groups[i], share, author)) {
      return i;
    }
    if (r->groups[i].share[0] == '\0' && unused == KM_REFUSED_GROUPS_MAX) {
      unused = i;
    }
  }
  if (unused < KM_REFUSED_GROUPS_MAX) {
    group *g = &r->groups[unused];
    *g = (group){.any_author = author == NULL};
    memcpy(g->share, share, strlen(share) + 1); /* a share's name */
    if (author != NULL) {
      g->author = *author;
    }
  }
  return unused;
}

static bool grow(km_refused *r) {
  if (r->count < r->cap) {
    return true;
  }
  size_t cap = r->cap == 0 ? FIRST_CAP : 2 * r->cap;
  refused_item *grown = km_env_realloc(r->env, r->items, cap, sizeof *grown);
  if (grown == NULL) {
    return false;
  }
  r->items = grown;
  r->cap = cap;
  return true;
}

void km_refused_add(km_refused *r, const char *share, const km_item *item, const km_id *author) {
  size_t at =
      r->count < KM_REFUSED_MAX && grow(r) ? group_of(r, share, author) : KM_REFUSED_GROUPS_MAX;
  if (at < KM_REFUSED_GROUPS_MAX) {
    r->items[r->count++] = (refused_item){.item = *item, .group = (uint16_t)at};
  }
}

void km_refused_drop(km_refused *r, const char *share, const km_item *item) {
  size_t kept = 0;
  for (size_t i = 0; i < r->count; i++) {
    const refused_item *it = &r->items[i];
    if (strcmp(r->groups[it->group].share, share) != 0 || km_item_compare(&it->item, item) != 0) {
      r->items[kept++] = *it;
    }
  }
  r->count = kept;
}

/* Groups without items are free again. */
static void forget_welcome(km_refused *r, const char *share, km_refused_may_write may_write,
                           void *ctx) {
  bool keeps[KM_REFUSED_GROUPS_MAX], used[KM_REFUSED_GROUPS_MAX] = {false};
  for (size_t i = 0; i < KM_REFUSED_GROUPS_MAX; i++) {
    const group *g = &r->groups[i];
    keeps[i] = strcmp(g->share, share) != 0 || g->any_author || !may_write(ctx, share, &g->author);
  }
  size_t kept = 0;
  for (size_t i = 0; i < r->count; i++) {
    if (keeps[r->items[i].group]) {
      used[r->items[i].group] = true;
      r->items[kept++] = r->items[i];
    }
  }
  r->count = kept;
  for (size_t i = 0; i < KM_REFUSED_GROUPS_MAX; i++) {
    if (!used[i]) {
      r->groups[i].share[0] = '\0';
    }
  }
}

static int compare(const void *a, const void *b) {
  return km_item_compare(a, b);
}

int64_t km_refused_list(km_refused *r, const char *share, km_refused_may_write may_write, void *ctx,
                        const km_item **ret) {
  forget_welcome(r, share, may_write, ctx);
  km_env_free(r->env, r->list);
  r->list = r->count == 0 ? NULL : km_env_zalloc(r->env, r->count, sizeof *r->list);
  if (r->list == NULL) {
    return r->count == 0 ? 0 : KM_ERR_NOMEM;
  }
  size_t found = 0, count = 0;
  for (size_t i = 0; i < r->count; i++) {
    if (strcmp(r->groups[r->items[i].group].share, share) == 0) {
      r->list[found++] = r->items[i].item;
    }
  }
  qsort(r->list, found, sizeof *r->list, compare);
  for (size_t i = 0; i < found; i++) {
    if (count == 0 || km_item_compare(&r->list[count - 1], &r->list[i]) != 0) {
      r->list[count++] = r->list[i];
    }
  }
  *ret = r->list;
  return (int64_t)count;
}
