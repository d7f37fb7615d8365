#include "relay/resolve_io.h"

#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io/thread_io.h"
#include "base/udp_addr.h"

/* Threads that are at it now, in this process: a name server that is silent holds each for as long
 * as the system's resolver has patience. */
static km_thread_limit threads = {.max = KM_RESOLVE_MAX_THREADS};

/* Belongs to the thread and to the km_resolve; who leaves last frees it. */
typedef struct query {
  pthread_mutex_t lock;
  bool shared; /* both are still there */
  char *host;
  char service[8];
  int done_fd; /* a pipe's end; the thread writes to it, and closes it */
  km_resolve_result result;
} query;

struct km_resolve {
  const km_env *env;
  query *query;
  int fd;
  km_poll *poll;
  void (*fn)(void *ctx, const km_resolve_result *result);
  void *ctx;
};

static void query_leave(query *q) {
  (void)pthread_mutex_lock(&q->lock);
  bool last = !q->shared;
  q->shared = false;
  (void)pthread_mutex_unlock(&q->lock);
  if (last) {
    (void)pthread_mutex_destroy(&q->lock);
    km_env_free(&km_env_system, q->host);
    km_env_free(&km_env_system, q);
  }
}

static void *run(void *arg) {
  query *q = arg;
  const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  struct addrinfo *list = NULL;
  km_resolve_result found = {.status = getaddrinfo(q->host, q->service, &hints, &list)};
  for (const struct addrinfo *at = found.status == 0 ? list : NULL;
       at != NULL && found.count < KM_RELAY_MAX_ADDRESSES; at = at->ai_next) {
    bool usable = km_udp_addr_from_sockaddr(&found.addrs[found.count], at->ai_addr, at->ai_addrlen);
    found.count += usable ? 1 : 0;
  }
  if (found.status == 0) {
    freeaddrinfo(list);
  }
  (void)pthread_mutex_lock(&q->lock); /* these fail for a wrong mutex only */
  q->result = found;
  (void)pthread_mutex_unlock(&q->lock);
  /* A byte, as a forked child may hold another end of the pipe open. */
  (void)!write(q->done_fd, "", 1); /* nobody listens any more: then nothing is lost */
  (void)close(q->done_fd);
  query_leave(q);
  km_thread_over(&threads);
  return NULL;
}

/* The memory is the system's: it may outlive every environment. */
static query *query_new(const char *host, uint16_t port, int done_fd) {
  query *q = km_env_zalloc(&km_env_system, 1, sizeof *q);
  if (q == NULL || (q->host = km_env_strdup(&km_env_system, host)) == NULL ||
      pthread_mutex_init(&q->lock, NULL) != 0) {
    if (q != NULL) {
      km_env_free(&km_env_system, q->host);
    }
    km_env_free(&km_env_system, q);
    return NULL;
  }
  (void)snprintf(q->service, sizeof q->service, "%u", (unsigned)port);
  q->done_fd = done_fd;
  return q;
}

static void on_done(void *ctx, int events) {
  (void)events;
  km_resolve *r = ctx;
  (void)pthread_mutex_lock(&r->query->lock);
  const km_resolve_result result = r->query->result;
  (void)pthread_mutex_unlock(&r->query->lock);
  km_poll_free(r->poll); /* the pipe stays readable: told once */
  r->poll = NULL;
  r->fn(r->ctx, &result);
}

/* Takes over both ends of the pipe. */
static int begin(km_resolve *r, km_loop *loop, const char *host, uint16_t port, const int fds[2]) {
  r->fd = fds[0];
  int rv = km_poll_new(&r->poll, loop, fds[0], on_done, r);
  rv = rv == 0 ? km_poll_set(r->poll, KM_POLL_READ) : rv;
  query *q = rv == 0 ? query_new(host, port, fds[1]) : NULL;
  if (q == NULL) {
    (void)close(fds[1]); /* nothing was written to it */
    return rv == 0 ? KM_ERR_NOMEM : rv;
  }
  q->shared = true;
  rv = km_thread_start(&threads, run, q);
  if (rv != 0) {
    (void)close(fds[1]);
    q->shared = false;
    query_leave(q);
    return rv;
  }
  r->query = q;
  return 0;
}

int km_resolve_new(km_resolve **ret, const km_env *env, km_loop *loop, const char *host,
                   uint16_t port, void (*fn)(void *ctx, const km_resolve_result *result),
                   void *ctx) {
  int fds[2];
  km_resolve *r = km_env_zalloc(env, 1, sizeof *r);
  if (r == NULL) {
    return KM_ERR_NOMEM;
  }
  *r = (km_resolve){.env = env, .fd = -1, .fn = fn, .ctx = ctx};
  int rv =
      pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0 ? begin(r, loop, host, port, fds) : KM_ERR_SYSTEM;
  if (rv != 0) {
    km_resolve_free(r);
    return rv;
  }
  *ret = r;
  return 0;
}

void km_resolve_free(km_resolve *r) {
  if (r == NULL) {
    return;
  }
  km_poll_free(r->poll);
  if (r->fd >= 0) {
    (void)close(r->fd); /* nothing was written to it */
  }
  if (r->query != NULL) {
    query_leave(r->query);
  }
  km_env_free(r->env, r);
}
