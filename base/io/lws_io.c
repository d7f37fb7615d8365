/* libwebsockets on a km_loop: the loop is handed to it as its event library, so that it says which
 * descriptors it wants watched; its timers and what it has read already are looked after at the
 * end of every turn in which it did anything. */
#include "base/io/lws_io.h"

/* What a descriptor is watched for. */
typedef struct watch {
  struct km_lws *owner;
  km_poll *poll;
  int fd;
  int events;
  struct watch *next; /* the free ones */
} watch;

struct km_lws {
  const km_env *env;
  km_loop *loop;
  struct lws_context *context;
  void *user;
  km_deadline *timer;
  km_defer *after; /* at the end of the turn */
  watch **watches; /* by descriptor */
  size_t cap;
  watch *free;
  bool closing;
};

/* lws finds its way back through the context's own user pointer. */
static km_lws *owner_of(struct lws_context *context) {
  return lws_context_user(context);
}

/* --- descriptors ----------------------------------------------------------------------------- */

static void on_ready(void *ctx, int events) {
  watch *w = ctx;
  km_lws *l = w->owner;
  struct lws_pollfd pfd = {.fd = w->fd};
  pfd.events = (short)(((w->events & KM_POLL_READ) != 0 ? LWS_POLLIN : 0) |
                       ((w->events & KM_POLL_WRITE) != 0 ? LWS_POLLOUT : 0));
  pfd.revents = (short)(((events & KM_POLL_READ) != 0 ? LWS_POLLIN : 0) |
                        ((events & KM_POLL_WRITE) != 0 ? LWS_POLLOUT : 0));
  (void)lws_service_fd(l->context, &pfd); /* says whether the connection is gone */
  km_lws_touch(l);
}

static bool make_room(km_lws *l, int fd) {
  if ((size_t)fd < l->cap) {
    return true;
  }
  size_t cap = l->cap > 0 ? l->cap : 64;
  while (cap <= (size_t)fd) {
    cap *= 2;
  }
  watch **grown = km_env_realloc(l->env, l->watches, cap, sizeof *grown);
  if (grown == NULL) {
    return false;
  }
  for (size_t i = l->cap; i < cap; i++) {
    grown[i] = NULL;
  }
  l->watches = grown;
  l->cap = cap;
  return true;
}

static watch *start_watch(km_lws *l, int fd) {
  if (!make_room(l, fd)) {
    return NULL;
  }
  watch *w = l->free;
  if (w != NULL) {
    l->free = w->next;
  } else {
    w = km_env_alloc(l->env, sizeof *w);
  }
  if (w == NULL) {
    return NULL;
  }
  *w = (watch){.owner = l, .fd = fd};
  if (km_poll_new(&w->poll, l->loop, fd, on_ready, w) != 0) {
    w->next = l->free;
    l->free = w;
    return NULL;
  }
  l->watches[fd] = w;
  return w;
}

static void stop_watch(km_lws *l, watch *w) {
  km_poll_free(w->poll);
  l->watches[w->fd] = NULL;
  w->next = l->free;
  l->free = w;
}

static int to_poll(unsigned flags) {
  return ((flags & LWS_EV_READ) != 0 ? KM_POLL_READ : 0) |
         ((flags & LWS_EV_WRITE) != 0 ? KM_POLL_WRITE : 0);
}

/* lws stops both at once only when the descriptor is about to be closed. Where memory or
 * descriptors have run out the connection stays deaf until its timeout ends it. */
static void on_io(struct lws *wsi, unsigned int flags) {
  km_lws *l = owner_of(lws_get_context(wsi));
  int fd = lws_get_socket_fd(wsi);
  if (l == NULL || fd < 0) {
    return; /* the pipe that other threads would wake lws by: there are none */
  }
  watch *w = (size_t)fd < l->cap ? l->watches[fd] : NULL;
  if ((flags & LWS_EV_STOP) != 0) {
    if (w == NULL) {
      return;
    }
    if (to_poll(flags) == (KM_POLL_READ | KM_POLL_WRITE)) {
      stop_watch(l, w);
      return;
    }
    w->events &= ~to_poll(flags);
  } else {
    w = w != NULL ? w : start_watch(l, fd);
    if (w == NULL) {
      return;
    }
    w->events |= to_poll(flags);
  }
  if (km_poll_set(w->poll, w->events) != 0) {
    stop_watch(l, w);
  }
}

/* --- timers ---------------------------------------------------------------------------------- */

enum { LONGEST_MS = 60 * 60 * 1000 };

/* Runs what is due, and data that TLS has decrypted already: its socket may stay silent. */
static void look_after(km_lws *l) {
  int ms = lws_service_adjust_timeout(l->context, LONGEST_MS, 0);
  if (ms == 0) {
    (void)_lws_plat_service_forced_tsi(l->context, 0);
    ms = lws_service_adjust_timeout(l->context, LONGEST_MS, 0);
  }
  km_deadline_set(l->timer, km_loop_now(l->loop) + (km_ts)(ms > 0 ? ms : 1) * KM_NS_PER_MS);
}

static void on_after(void *ctx) {
  look_after(ctx);
}

static void on_timer(void *ctx) {
  look_after(ctx);
}

void km_lws_touch(km_lws *l) {
  if (!l->closing) {
    km_defer_run(l->after);
  }
}

/* --- life ------------------------------------------------------------------------------------ */

static const struct lws_event_loop_ops loop_ops = {
    .name = "keymesh", .io = on_io, .flags = LELOF_ISPOLL};

static const lws_plugin_evlib_t loop_plugin = {
    .hdr = {.name = "keymesh",
            ._class = "lws_evlib_plugin",
            .lws_build_hash = "n/a",
            .api_magic = LWS_PLUGIN_API_MAGIC},
    .ops = &loop_ops,
};

static void be_silent(int level, const char *line) {
  (void)level;
  (void)line;
}

int km_lws_new(km_lws **ret, const km_env *env, km_loop *loop,
               struct lws_context_creation_info *info, void *user, km_errinfo *err) {
  km_lws *l = km_env_zalloc(env, 1, sizeof *l);
  if (l == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  l->env = env;
  l->loop = loop;
  l->user = user;
  int rv = km_deadline_new(&l->timer, loop, on_timer, l);
  if (rv == 0) {
    rv = km_defer_new(&l->after, loop, on_after, l);
  }
  if (rv != 0) {
    km_lws_free(l);
    return km_fail(err, rv, NULL);
  }
  /* The library says what matters through its own log; this setting is one of the process. */
  lws_set_log_level(0, be_silent);
  info->event_lib_custom = &loop_plugin;
  info->user = l;
  info->count_threads = 1;
  l->context = lws_create_context(info);
  if (l->context == NULL) {
    km_lws_free(l);
    return km_fail(err, KM_ERR_SYSTEM, "libwebsockets could not be set up");
  }
  km_lws_touch(l);
  *ret = l;
  return 0;
}

void km_lws_free(km_lws *l) {
  if (l == NULL) {
    return;
  }
  l->closing = true;
  if (l->context != NULL) {
    lws_context_destroy(l->context);
  }
  for (size_t fd = 0; fd < l->cap; fd++) {
    if (l->watches[fd] != NULL) {
      stop_watch(l, l->watches[fd]);
    }
  }
  while (l->free != NULL) {
    watch *w = l->free;
    l->free = w->next;
    km_env_free(l->env, w);
  }
  km_env_free(l->env, l->watches);
  km_defer_free(l->after);
  km_deadline_free(l->timer);
  km_env_free(l->env, l);
}

struct lws_context *km_lws_context(km_lws *l) {
  return l->context;
}

void *km_lws_user(struct lws_context *context) {
  return owner_of(context)->user;
}

int km_lws_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t len) {
  return lws_callback_http_dummy(wsi, reason, user, in, len);
}
