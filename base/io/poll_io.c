/* Watching descriptors. */
#include "base/io/loop_impl.h"

struct km_poll {
  uv_poll_t handle;
  km_loop *loop;
  km_poll_fn fn;
  void *ctx;
  int events;
};

static void on_event(uv_poll_t *handle, int status, int uv_events);

static int watch(km_poll *poll) {
  int uv_events = ((poll->events & KM_POLL_READ) != 0 ? UV_READABLE : 0) |
                  ((poll->events & KM_POLL_WRITE) != 0 ? UV_WRITABLE : 0);
  poll->loop->changed = true;
  return uv_events != 0 ? uv_poll_start(&poll->handle, uv_events, on_event)
                        : uv_poll_stop(&poll->handle);
}

static void on_event(uv_poll_t *handle, int status, int uv_events) {
  km_poll *poll = handle->data;
  km_loop *loop = poll->loop;
  int events = 0;
  if (status < 0) {
    /* An error waits on the descriptor, and libuv has stopped the watch. Whatever was asked for
     * will meet the error and take it away, so the watch goes on. */
    events = poll->events;
    (void)watch(poll); /* worked before with the same events */
  } else {
    events |= (uv_events & UV_READABLE) != 0 ? KM_POLL_READ : 0;
    events |= (uv_events & UV_WRITABLE) != 0 ? KM_POLL_WRITE : 0;
  }
  km_loop_enter(loop);
  poll->fn(poll->ctx, events); /* may free it; the memory stays until libuv has closed it */
  km_loop_leave(loop);
}

static void on_closed(uv_handle_t *handle) {
  km_poll *poll = handle->data;
  km_env_free(poll->loop->env, poll);
}

int km_poll_new(km_poll **ret, km_loop *loop, int fd, km_poll_fn fn, void *ctx) {
  km_poll *poll = km_env_zalloc(loop->env, 1, sizeof *poll);
  if (poll == NULL) {
    return KM_ERR_NOMEM;
  }
  int rv = uv_poll_init(loop->uv, &poll->handle, fd);
  if (rv != 0) {
    km_env_free(loop->env, poll);
    return rv == UV_ENOMEM ? KM_ERR_NOMEM : KM_ERR_SYSTEM;
  }
  poll->handle.data = poll;
  poll->loop = loop;
  poll->fn = fn;
  poll->ctx = ctx;
  km_loop_opened(loop);
  *ret = poll;
  return 0;
}

int km_poll_set(km_poll *poll, int events) {
  poll->events = events;
  return watch(poll) == 0 ? 0 : KM_ERR_SYSTEM;
}

void km_poll_free(km_poll *poll) {
  if (poll == NULL) {
    return;
  }
  km_loop_shut(poll->loop);
  uv_close((uv_handle_t *)&poll->handle, on_closed);
}
