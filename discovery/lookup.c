/* Look-ups: one id, asked of all sources at once. */
#include <stddef.h>
#include <string.h>

#include "discovery/core.h"

/* Of one source in one look-up; each source has its own, so that none can use up another's. */
#define ANSWERS_MAX 32

struct km_query {
  km_lookup *lookup;
  km_source *source;
  void *data;
  bool asked, done;
  km_errinfo err;
  size_t answers;
  uint64_t seen[ANSWERS_MAX]; /* their hashes */
};

typedef struct event {
  km_list node;
  km_answer *answer;
} event;

struct km_lookup {
  km_list node;   /* in km_discovery.lookups */
  km_list listed; /* in fresh or ready */
  km_discovery *discovery;
  km_id id;
  km_lookup_callbacks callbacks;
  void *ctx;
  km_list events; /* answers to deliver */
  size_t found;   /* delivered, with a way to reach the peer */
  size_t open;    /* queries that are not done */
  bool asked;
  size_t query_count;
  km_query queries[];
};

static void delete_event(km_discovery *d, event *e) {
  km_list_remove(&e->node);
  km_answer_unref(e->answer);
  km_env_free(&d->env, e);
}

static event *first_event(km_lookup *l) {
  return km_list_empty(&l->events) ? NULL : KM_LIST_ITEM(l->events.next, event, node);
}

/* Its queries are over. */
static void delete_lookup(km_lookup *l) {
  km_discovery *d = l->discovery;
  if (d->active == l) {
    d->active = NULL;
  }
  km_list_remove(&l->node);
  km_list_remove(&l->listed);
  for (event *e; (e = first_event(l)) != NULL;) {
    delete_event(d, e);
  }
  d->lookup_count--;
  km_env_free(&d->env, l);
}

static void set_ready(km_lookup *l) {
  if (l->asked) {
    km_list_append(&l->discovery->ready, &l->listed);
    km_discovery_wake(l->discovery);
  }
}

/* --- for users -------------------------------------------------------------------------------- */

static km_lookup *new_lookup(km_discovery *d) {
  size_t count = d->source_count;
  km_lookup *l =
      km_env_zalloc(&d->env, 1, offsetof(km_lookup, queries) + count * sizeof l->queries[0]);
  if (l == NULL) {
    return NULL;
  }
  l->discovery = d;
  km_list_init(&l->node);
  km_list_init(&l->listed);
  km_list_init(&l->events);
  l->query_count = count;
  for (size_t i = 0; i < count; i++) {
    l->queries[i].lookup = l;
    l->queries[i].source = &d->sources[i];
    l->queries[i].done = d->sources[i].ops.resolve == NULL;
    l->open += l->queries[i].done ? 0 : 1;
  }
  return l;
}

int km_discovery_lookup(km_discovery *discovery, km_lookup **ret, const km_id *id,
                        const km_lookup_callbacks *callbacks, void *ctx, km_errinfo *err) {
  km_discovery *d = discovery;
  if (d == NULL || ret == NULL || id == NULL || callbacks == NULL ||
      callbacks->size < sizeof callbacks->size || callbacks->size > 65536) {
    return km_fail(err, KM_ERR_INVALID, "a look-up needs an id and callbacks with their size set");
  }
  if (d->lookup_count >= KM_DISCOVERY_MAX_LOOKUPS) {
    return km_fail(err, KM_ERR_LIMIT, "%d look-ups are under way; wait for one to end",
                   KM_DISCOVERY_MAX_LOOKUPS);
  }
  km_lookup *l = new_lookup(d);
  if (l == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  l->id = *id;
  memcpy(&l->callbacks, callbacks,
         callbacks->size < sizeof l->callbacks ? callbacks->size : sizeof l->callbacks);
  l->ctx = ctx;
  km_list_append(&d->lookups, &l->node);
  km_list_append(&d->fresh, &l->listed);
  d->lookup_count++;
  km_discovery_wake(d);
  *ret = l;
  return 0;
}

void km_lookup_cancel(km_lookup *lookup) {
  if (lookup == NULL) {
    return;
  }
  for (size_t i = 0; i < lookup->query_count; i++) {
    km_query *q = &lookup->queries[i];
    bool under_way = q->asked && !q->done;
    q->done = true;
    if (under_way && q->source->ops.cancel != NULL) {
      q->source->ops.cancel(q->source->ctx, q);
    }
  }
  delete_lookup(lookup);
}

void km_discovery_cancel_lookups(km_discovery *d) {
  while (!km_list_empty(&d->lookups)) {
    km_lookup_cancel(KM_LIST_ITEM(d->lookups.next, km_lookup, node));
  }
}

/* --- for sources ------------------------------------------------------------------------------ */

static bool was_said(km_query *q, uint64_t hash) {
  for (size_t i = 0; i < q->answers; i++) {
    if (q->seen[i] == hash) {
      return true;
    }
  }
  return false;
}

void km_query_found(km_query *query, const km_found *found) {
  if (query == NULL || query->done || query->answers == ANSWERS_MAX) {
    return;
  }
  km_lookup *l = query->lookup;
  km_discovery *d = l->discovery;
  km_answer *answer = km_discovery_answer(query->source, found);
  if (answer == NULL) {
    return;
  }
  event *e = NULL;
  if (km_id_equal(km_addr_id(answer->addr), &l->id) && !was_said(query, answer->hash)) {
    e = km_env_zalloc(&d->env, 1, sizeof *e);
  }
  if (e != NULL) {
    query->seen[query->answers++] = answer->hash;
    e->answer = km_answer_ref(answer);
    km_list_init(&e->node);
    km_list_append(&l->events, &e->node);
    km_discovery_learn(d, answer);
    set_ready(l);
  }
  km_answer_unref(answer);
}

void km_query_done(km_query *query, const km_errinfo *err) {
  if (query == NULL || query->done) {
    return;
  }
  query->done = true;
  if (err != NULL) {
    query->err = *err;
  }
  if (--query->lookup->open == 0) {
    set_ready(query->lookup);
  }
}

void km_query_set_data(km_query *query, void *data) {
  query->data = data;
}

void *km_query_data(const km_query *query) {
  return query->data;
}

/* --- the turn --------------------------------------------------------------------------------- */

/* Sources answer from within, and those of others may cancel the look-up from within, too. */
static void ask(km_discovery *d, km_lookup *l) {
  l->asked = true;
  d->active = l;
  for (size_t i = 0; d->active == l && i < l->query_count; i++) {
    km_query *q = &l->queries[i];
    if (q->source->ops.resolve != NULL) {
      q->asked = true;
      q->source->ops.resolve(q->source->ctx, q, &l->id);
    }
  }
  if (d->active == l && l->open == 0) {
    set_ready(l);
  }
  d->active = NULL;
}

void km_discovery_start_lookups(km_discovery *d) {
  km_list due;
  km_list_take_all(&due, &d->fresh);
  while (!km_list_empty(&due)) {
    km_lookup *l = KM_LIST_ITEM(due.next, km_lookup, listed);
    km_list_remove(&l->listed);
    ask(d, l);
  }
}

static void finish(km_discovery *d, km_lookup *l) {
  km_errinfo err = {0};
  if (l->found == 0) {
    km_said said[KM_DISCOVERY_MAX_SOURCES];
    size_t count = 0;
    for (size_t i = 0; i < l->query_count; i++) {
      if (l->queries[i].source->ops.resolve != NULL) {
        said[count++] =
            (km_said){.source = l->queries[i].source->ops.name, .err = l->queries[i].err};
      }
    }
    km_said_summary(said, count, &err);
  }
  km_list_remove(&l->node);
  if (l->callbacks.on_done != NULL) {
    l->callbacks.on_done(l->ctx, l, l->found, &err);
  }
  if (d->active == l) {
    delete_lookup(l);
  }
}

static void deliver(km_discovery *d, km_lookup *l) {
  d->active = l;
  for (event *e; d->active == l && (e = first_event(l)) != NULL;) {
    km_answer *answer = km_answer_ref(e->answer);
    delete_event(d, e);
    l->found += km_addr_has_way(answer->addr) ? 1 : 0;
    if (l->callbacks.on_found != NULL) {
      l->callbacks.on_found(l->ctx, l, &answer->found);
    }
    km_answer_unref(answer);
  }
  if (d->active == l && l->open == 0) {
    finish(d, l);
  }
  d->active = NULL;
}

void km_discovery_deliver_lookups(km_discovery *d) {
  km_list due;
  km_list_take_all(&due, &d->ready);
  while (!km_list_empty(&due)) {
    km_lookup *l = KM_LIST_ITEM(due.next, km_lookup, listed);
    km_list_remove(&l->listed);
    deliver(d, l);
  }
}
