/* Who comes and goes, for those who watch. */
#include <stddef.h>
#include <string.h>

#include "discovery/core.h"

#define TOLD_MAX 131072   /* peers of one source whose state one watch keeps */
#define EVENTS_MAX 131072 /* that wait for the end of the turn */

typedef struct event {
  km_list node;
  km_answer *answer;  /* NULL: it is lost */
  const char *source; /* of what is lost */
  km_id id;
} event;

struct km_watch {
  km_list node;
  km_discovery *discovery;
  km_watch_callbacks callbacks;
  void *ctx;
  km_list events;
  size_t event_count;
  uint64_t round; /* the km_discovery's watch_round when it was delivered to */
  /* A source: the hash of what was told last of each of its peers. A new watch makes all sources
   * tell again; who heard it already does not want to. */
  km_id_map told[KM_DISCOVERY_MAX_SOURCES];
};

static event *first_event(km_watch *w) {
  return km_list_empty(&w->events) ? NULL : KM_LIST_ITEM(w->events.next, event, node);
}

static void delete_event(km_watch *w, event *e) {
  km_list_remove(&e->node);
  w->event_count--;
  km_answer_unref(e->answer);
  km_env_free(&w->discovery->env, e);
}

/* --- for users -------------------------------------------------------------------------------- */

int km_discovery_watch(km_discovery *discovery, km_watch **ret, const km_watch_callbacks *callbacks,
                       void *ctx, km_errinfo *err) {
  km_discovery *d = discovery;
  if (d == NULL || ret == NULL || callbacks == NULL || callbacks->size < sizeof callbacks->size ||
      callbacks->size > 65536) {
    return km_fail(err, KM_ERR_INVALID, "a watch needs callbacks with their size set");
  }
  if (d->watch_count >= KM_DISCOVERY_MAX_WATCHES) {
    return km_fail(err, KM_ERR_LIMIT, "%d watches are there already", KM_DISCOVERY_MAX_WATCHES);
  }
  km_watch *w = km_env_zalloc(&d->env, 1, sizeof *w);
  if (w == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  w->discovery = d;
  memcpy(&w->callbacks, callbacks,
         callbacks->size < sizeof w->callbacks ? callbacks->size : sizeof w->callbacks);
  w->ctx = ctx;
  km_list_init(&w->node);
  km_list_init(&w->events);
  for (size_t i = 0; i < KM_DISCOVERY_MAX_SOURCES; i++) {
    km_id_map_init(&w->told[i], &d->env);
  }
  km_list_append(&d->watches, &w->node);
  d->watch_count++;
  d->watch_changes++;
  km_discovery_wake(d);
  *ret = w;
  return 0;
}

void km_watch_cancel(km_watch *watch) {
  if (watch == NULL) {
    return;
  }
  km_discovery *d = watch->discovery;
  if (d->active_watch == watch) {
    d->active_watch = NULL;
  }
  km_list_remove(&watch->node);
  for (event *e; (e = first_event(watch)) != NULL;) {
    delete_event(watch, e);
  }
  for (size_t i = 0; i < KM_DISCOVERY_MAX_SOURCES; i++) {
    km_id_map_clear(&watch->told[i]);
  }
  d->watch_count--;
  km_env_free(&d->env, watch);
  km_discovery_wake(d);
}

void km_discovery_cancel_watches(km_discovery *d) {
  while (!km_list_empty(&d->watches)) {
    km_watch_cancel(KM_LIST_ITEM(d->watches.next, km_watch, node));
  }
}

/* --- for sources ------------------------------------------------------------------------------ */

static event *add_event(km_watch *w) {
  event *e = w->event_count < EVENTS_MAX ? km_env_zalloc(&w->discovery->env, 1, sizeof *e) : NULL;
  if (e != NULL) {
    km_list_init(&e->node);
    km_list_append(&w->events, &e->node);
    w->event_count++;
    km_discovery_wake(w->discovery);
  }
  return e;
}

static void watch_found(km_watch *w, km_answer *answer) {
  km_id_map *told = &w->told[answer->source->index];
  const km_id *id = km_addr_id(answer->addr);
  uintptr_t hash = (uintptr_t)answer->hash | 1;
  if ((uintptr_t)km_id_map_get(told, id) == hash) {
    return;
  }
  event *e = add_event(w);
  if (e == NULL) {
    return;
  }
  e->answer = km_answer_ref(answer);
  /* Where there is no room to remember it, it may be told twice. */
  if (told->count >= TOLD_MAX || km_id_map_set(told, id, (void *)hash) != 0) {
    (void)km_id_map_take(told, id);
  }
}

void km_source_found(km_source *source, const km_found *found) {
  if (source == NULL || source->discovery->closed) {
    return;
  }
  km_discovery *d = source->discovery;
  km_answer *answer = km_discovery_answer(source, found);
  if (answer == NULL) {
    return;
  }
  if (answer->found.proven) { /* nobody asked: what strangers claim is not remembered */
    km_discovery_learn(d, answer);
  }
  for (km_list *n = d->watches.next; n != &d->watches; n = n->next) {
    watch_found(KM_LIST_ITEM(n, km_watch, node), answer);
  }
  km_answer_unref(answer);
}

void km_source_lost(km_source *source, const km_id *id) {
  if (source == NULL || id == NULL || source->discovery->closed) {
    return;
  }
  km_discovery *d = source->discovery;
  for (km_list *n = d->watches.next; n != &d->watches; n = n->next) {
    km_watch *w = KM_LIST_ITEM(n, km_watch, node);
    km_id_map *told = &w->told[source->index];
    if (km_id_map_take(told, id) == NULL && told->count < TOLD_MAX) {
      continue; /* it was never told of */
    }
    event *e = add_event(w);
    if (e != NULL) {
      e->source = source->ops.name;
      e->id = *id;
    }
  }
}

/* --- the turn --------------------------------------------------------------------------------- */

void km_discovery_tell_watch(km_discovery *d) {
  for (size_t i = 0; i < d->source_count && !d->closed; i++) {
    km_source *s = &d->sources[i];
    bool on = d->watch_count > 0;
    if (s->ops.watch == NULL || (on ? s->watch_seen == d->watch_changes : !s->watched)) {
      continue;
    }
    s->watch_seen = on ? d->watch_changes : s->watch_seen;
    s->watched = on;
    s->ops.watch(s->ctx, on);
  }
}

static void deliver_one(km_watch *w, event *e) {
  event now = *e;
  e->answer = NULL;
  delete_event(w, e);
  if (now.answer == NULL) {
    if (w->callbacks.on_lost != NULL) {
      w->callbacks.on_lost(w->ctx, &now.id, now.source);
    }
    return;
  }
  if (w->callbacks.on_found != NULL) {
    w->callbacks.on_found(w->ctx, &now.answer->found);
  }
  km_answer_unref(now.answer);
}

static void deliver(km_discovery *d, km_watch *w, size_t count) {
  d->active_watch = w;
  for (event *e; count > 0 && d->active_watch == w && (e = first_event(w)) != NULL; count--) {
    deliver_one(w, e);
  }
  d->active_watch = NULL;
}

static km_watch *next_of_round(const km_discovery *d) {
  for (km_list *n = d->watches.next; n != &d->watches; n = n->next) {
    km_watch *w = KM_LIST_ITEM(n, km_watch, node);
    if (w->round != d->watch_round) {
      return w;
    }
  }
  return NULL;
}

void km_discovery_deliver_watches(km_discovery *d) {
  d->watch_round++;
  for (km_watch *w; !d->closed && (w = next_of_round(d)) != NULL;) {
    w->round = d->watch_round;
    deliver(d, w, w->event_count);
  }
}
