/* Watching descriptors. */
#include <stdlib.h>

#include "base/io/loop_impl.h"

struct km_poll {
  uv_poll_t handle;
  km_loop *loop;
  km_poll_fn fn;
  void *ctx;
  int events;
};

static void on_event(uv_poll_t *handle, int status, int uv_events) {
  km_poll *poll = handle->data;
  int events = 0;
  if (status < 0) {
    /* The read that follows gets the error. libuv has stopped the watch: go on. */
    int rv = km_poll_set(poll, poll->events);
    (void)rv; /* it was running a moment ago: nothing new can fail */
    events = KM_POLL_READ;
  } else {
    events |= (uv_events & UV_READABLE) != 0 ? KM_POLL_READ : 0;
    events |= (uv_events & UV_WRITABLE) != 0 ? KM_POLL_WRITE : 0;
  }
  poll->fn(poll->ctx, events);
}

int km_poll_new(km_poll **ret, km_loop *loop, int fd, km_poll_fn fn, void *ctx) {
  km_poll *poll = calloc(1, sizeof *poll);
  if (poll == NULL) {
    return KM_ERR_NOMEM;
  }
  if (uv_poll_init(loop->uv, &poll->handle, fd) != 0) {
    free(poll);
    return KM_ERR_SYSTEM;
  }
  poll->handle.data = poll;
  poll->loop = loop;
  poll->fn = fn;
  poll->ctx = ctx;
  loop->open++;
  *ret = poll;
  return 0;
}

int km_poll_set(km_poll *poll, int events) {
  poll->events = events;
  if (events == 0) {
    return uv_poll_stop(&poll->handle) == 0 ? 0 : KM_ERR_SYSTEM;
  }
  int uv_events = ((events & KM_POLL_READ) != 0 ? UV_READABLE : 0) |
                  ((events & KM_POLL_WRITE) != 0 ? UV_WRITABLE : 0);
  return uv_poll_start(&poll->handle, uv_events, on_event) == 0 ? 0 : KM_ERR_SYSTEM;
}

static void on_closed(uv_handle_t *handle) {
  free(handle->data);
}

void km_poll_free(km_poll *poll) {
  if (poll == NULL) {
    return;
  }
  poll->loop->open--;
  (void)uv_poll_stop(&poll->handle);
  uv_close((uv_handle_t *)&poll->handle, on_closed);
}
