#include <stddef.h>
#include <string.h>

#include "discovery/core.h"

#define SOURCE_NAME_MAX 16

/* An answer on its way to those who remember. */
typedef struct learnt {
  km_list node;
  km_answer *answer;
} learnt;

/* --- those who remember ----------------------------------------------------------------------- */

/* What was remembered is not remembered again: it would never grow old. */
static bool is_news(const km_discovery *d, const km_answer *answer) {
  if (answer->source != NULL && answer->source->ops.learn != NULL) {
    return false;
  }
  for (size_t i = 0; i < d->source_count; i++) {
    if (d->sources[i].ops.learn != NULL) {
      return true;
    }
  }
  return false;
}

void km_discovery_learn(km_discovery *d, km_answer *answer) {
  if (!is_news(d, answer) || d->learnt_count >= KM_DISCOVERY_MAX_LEARNT) {
    return;
  }
  learnt *l = km_env_zalloc(&d->env, 1, sizeof *l);
  if (l == NULL) {
    return; /* a hint less */
  }
  l->answer = km_answer_ref(answer);
  km_list_init(&l->node);
  km_list_append(&d->learnt, &l->node);
  d->learnt_count++;
  km_discovery_wake(d);
}

static void tell_learnt(km_discovery *d) {
  while (!km_list_empty(&d->learnt)) {
    learnt *l = KM_LIST_ITEM(d->learnt.next, learnt, node);
    km_list_remove(&l->node);
    d->learnt_count--;
    for (size_t i = 0; i < d->source_count; i++) {
      const km_source *s = &d->sources[i];
      if (s->ops.learn != NULL) {
        s->ops.learn(s->ctx, &l->answer->found, l->answer->source == NULL);
      }
    }
    km_answer_unref(l->answer);
    km_env_free(&d->env, l);
  }
}

void km_discovery_worked(km_discovery *discovery, const km_addr *addr) {
  if (discovery == NULL || addr == NULL) {
    return;
  }
  km_found found = {.size = sizeof found, .addr = addr, .proven = true};
  km_answer *answer;
  if (km_answer_new(&answer, &discovery->env, discovery->hash_key, NULL, "", &found) == 0) {
    km_discovery_learn(discovery, answer);
    km_answer_unref(answer);
  }
}

/* --- the turn --------------------------------------------------------------------------------- */

void km_discovery_wake(km_discovery *d) {
  km_defer_run(d->turn);
}

static void end_turn(km_discovery *d) {
  d->in_turn = false;
  if (d->closed) {
    km_env env = d->env;
    km_env_free(&env, d);
  }
}

static void on_turn(void *ctx) {
  km_discovery *d = ctx;
  /* Learning comes before looking up, which asks those who learnt, and after it. */
  static void (*const steps[])(km_discovery *) = {
      km_discovery_tell_publish,    tell_learnt, km_discovery_tell_watch,
      km_discovery_start_lookups,   tell_learnt, km_discovery_deliver_lookups,
      km_discovery_deliver_watches,
  };
  d->in_turn = true;
  for (size_t i = 0; i < sizeof steps / sizeof steps[0] && !d->closed; i++) {
    steps[i](d);
  }
  end_turn(d);
}

/* --- life ------------------------------------------------------------------------------------- */

static int check_options(const km_discovery_options *options, km_errinfo *err) {
  if (options->size < offsetof(km_discovery_options, state_file) || options->size > 65536) {
    return km_fail(err, KM_ERR_INVALID, "options.size is %zu: set it to sizeof the struct",
                   options->size);
  }
  return 0;
}

static void set_log(km_discovery *d, const km_discovery_options *o) {
  d->env.logger = (km_logger){.sink = o->log, .ctx = o->log_ctx};
  if (o->log_filter != NULL) {
    d->env.logger.filter = *o->log_filter;
  } else {
    memset(d->env.logger.filter.level, KM_LOG_INFO, sizeof d->env.logger.filter.level);
  }
}

static int set_up(km_discovery *d, const km_discovery_options *o, km_errinfo *err) {
  set_log(d, o);
  km_env_random(&d->env, d->hash_key, sizeof d->hash_key);
  if (o->secret_key != NULL && km_secret_key_copy(&d->key, o->secret_key) != 0) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  int rv = km_defer_new(&d->turn, d->loop, on_turn, d);
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  rv = km_discovery_state_open(&d->state, &d->env, o->state_file, err);
  return rv != 0 ? rv : km_memory_add(&d->memory, d, err);
}

int km_discovery_new(km_discovery **ret, km_loop *loop, const km_discovery_options *options,
                     km_errinfo *err) {
  if (ret == NULL || loop == NULL) {
    return km_fail(err, KM_ERR_INVALID, NULL);
  }
  km_discovery_options o = {.size = sizeof o};
  if (options != NULL) {
    int rv = check_options(options, err);
    if (rv != 0) {
      return rv;
    }
    memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  }
  km_discovery *d = km_env_zalloc(&km_env_system, 1, sizeof *d);
  if (d == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  d->env = km_env_system;
  d->loop = loop;
  km_list *lists[] = {&d->lookups, &d->fresh, &d->ready, &d->watches, &d->learnt};
  for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
    km_list_init(lists[i]);
  }
  int rv = set_up(d, &o, err);
  if (rv != 0) {
    km_discovery_free(d);
    return rv;
  }
  *ret = d;
  return 0;
}

static void close_sources(km_discovery *d) {
  while (d->source_count > 0) {
    const km_source *s = &d->sources[--d->source_count];
    if (s->ops.close != NULL) {
      s->ops.close(s->ctx);
    }
  }
}

void km_discovery_free(km_discovery *discovery) {
  km_discovery *d = discovery;
  if (d == NULL || d->closed) {
    return;
  }
  if (d->used) {
    d->used = false;
    d->user.on_gone(d->user.ctx);
  }
  d->closed = true;
  tell_learnt(d);
  km_discovery_cancel_lookups(d);
  km_discovery_cancel_watches(d);
  km_discovery_withdraw(d);
  close_sources(d);
  km_discovery_clear_publish(d);
  km_discovery_state_close(d->state);
  km_secret_key_free(d->key);
  km_defer_free(d->turn);
  if (!d->in_turn) {
    end_turn(d);
  }
}

const km_env *km_discovery_env(const km_discovery *d) {
  return &d->env;
}

km_loop *km_discovery_loop(const km_discovery *d) {
  return d->loop;
}

const km_secret_key *km_discovery_key(const km_discovery *d) {
  return d->key;
}

km_discovery_state *km_discovery_get_state(km_discovery *d) {
  return d->state;
}

/* --- the endpoint that uses it ---------------------------------------------------------------- */

int km_discovery_use(km_discovery *d, const km_discovery_user *user, km_errinfo *err) {
  km_id own, theirs;
  if (d->loop != user->loop) {
    return km_fail(err, KM_ERR_INVALID,
                   "option discovery lives on another loop: make it on the endpoint's");
  }
  if (d->used) {
    return km_fail(err, KM_ERR_STATE,
                   "another endpoint uses this km_discovery: make one for each endpoint");
  }
  if (d->key != NULL && user->key != NULL) {
    km_secret_key_id(d->key, &own);
    km_secret_key_id(user->key, &theirs);
    if (!km_id_equal(&own, &theirs)) {
      return km_fail(err, KM_ERR_INVALID,
                     "option discovery signs with another key than the endpoint's: give both the "
                     "same secret_key, or set publish to false");
    }
  }
  d->used = true;
  d->user = *user;
  return 0;
}

void km_discovery_leave(km_discovery *d) {
  d->used = false;
}

/* --- sources ---------------------------------------------------------------------------------- */

static bool is_name(const char *name) {
  size_t len = name == NULL ? 0 : strnlen(name, SOURCE_NAME_MAX + 1);
  for (size_t i = 0; i < len; i++) {
    if (name[i] < 'a' || name[i] > 'z') {
      return false;
    }
  }
  return len > 0 && len <= SOURCE_NAME_MAX;
}

int km_discovery_add(km_discovery *discovery, km_source **ret, const km_source_ops *ops, void *ctx,
                     km_errinfo *err) {
  if (discovery == NULL || ops == NULL || ops->size < offsetof(km_source_ops, publish) ||
      ops->size > 65536) {
    return km_fail(err, KM_ERR_INVALID, "a source needs its functions, and their size set");
  }
  if (!is_name(ops->name)) {
    return km_fail(err, KM_ERR_INVALID, "a source's name has 1 to %d lower-case letters",
                   SOURCE_NAME_MAX);
  }
  if (discovery->source_count == KM_DISCOVERY_MAX_SOURCES) {
    return km_fail(err, KM_ERR_LIMIT, "there are %d sources already", KM_DISCOVERY_MAX_SOURCES);
  }
  km_source *s = &discovery->sources[discovery->source_count];
  *s = (km_source){.discovery = discovery, .ctx = ctx, .index = discovery->source_count};
  memcpy(&s->ops, ops, ops->size < sizeof s->ops ? ops->size : sizeof s->ops);
  discovery->source_count++;
  if (ret != NULL) {
    *ret = s;
  }
  km_discovery_wake(discovery);
  return 0;
}

bool km_discovery_has(const km_discovery *d, const char *name) {
  for (size_t i = 0; i < d->source_count; i++) {
    if (strcmp(d->sources[i].ops.name, name) == 0) {
      return true;
    }
  }
  return false;
}

km_answer *km_discovery_answer(km_source *source, const km_found *found) {
  km_answer *answer;
  km_discovery *d = source->discovery;
  if (found == NULL || found->size < offsetof(km_found, user_data) || found->addr == NULL ||
      km_answer_new(&answer, &d->env, d->hash_key, source, source->ops.name, found) != 0) {
    return NULL;
  }
  return answer;
}

int km_discovery_put(km_discovery *discovery, const km_addr *addr, const char *user_data) {
  if (discovery == NULL || addr == NULL ||
      (user_data != NULL && !km_user_data_is_valid(user_data))) {
    return KM_ERR_INVALID;
  }
  return km_memory_put(discovery->memory, addr, user_data);
}

int km_discovery_remove(km_discovery *discovery, const km_id *id) {
  return discovery == NULL || id == NULL ? KM_ERR_NOT_FOUND
                                         : km_memory_remove(discovery->memory, id);
}
