#include "holepunch/portmap_upnp_io.h"

#include <fcntl.h>
#include <limits.h>
#include <miniupnpc/miniupnpc.h>
#include <miniupnpc/upnperrors.h>
#include <miniupnpc/upnpreplyparse.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io/thread_io.h"
#include "base/ip_text.h"
#include "holepunch/igd_io.h"

#define SEARCH_NS (2 * KM_NS_PER_S)
#define ANSWER_NS (4 * KM_NS_PER_S) /* from connecting to the last byte */
#define MAX_PORTS 4                 /* external ones that are tried when others have them */
/* UPnP's error codes */
enum { INVALID_ARGS = 402, CONFLICT = 718, SAME_PORT_REQUIRED = 724, ONLY_PERMANENT = 725 };

static km_thread_limit threads = {.max = KM_UPNP_MAX_THREADS};

/* Belongs to the thread and to the km_upnp; who leaves last frees it. */
typedef struct work {
  pthread_mutex_t lock;
  bool shared; /* both are still there */
  bool taken;  /* the result was heard */
  int done_fd; /* a pipe's end; the thread writes to it, and closes it; -1: nobody waits */
  km_upnp_request request;
  km_upnp_result result;
} work;

struct km_upnp {
  const km_env *env;
  work *work;
  int fd;
  km_poll *poll;
  km_deadline *watchdog;
  void (*fn)(void *ctx, const km_upnp_result *result);
  void *ctx;
};

bool km_upnp_is_built_in(void) {
  return true;
}

/* --- finding ---------------------------------------------------------------------------------- */

static bool same_host(const km_udp_addr *a, const km_udp_addr *b) {
  return a->family == b->family && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

/* Fits, and is not empty. */
static bool copy_text(char *ret, size_t cap, const char *text) {
  int len = text != NULL ? snprintf(ret, cap, "%s", text) : 0;
  return len > 0 && (size_t)len < cap;
}

static int error_of(struct NameValueParserData *answer) {
  const char *code = GetValueFromNameValueList(answer, "errorCode");
  long number = code != NULL ? strtol(code, NULL, 10) : 0;
  return number > 0 && number <= INT_MAX ? (int)number : -1;
}

/* One question to a service. 0, with the value of that `name` in its answer (NULL: none is wanted);
 * UPnP's error code; or -1: it did not answer, or not that. */
static int call(const km_upnp_igd *igd, const char *action, const char *arguments, const char *name,
                char *value, size_t cap) {
  char request[KM_IGD_REQUEST_CAP];
  km_igd_http http = {0};
  km_udp_addr own;
  struct NameValueParserData parsed = {0};
  size_t len = km_igd_call(request, &igd->url, igd->service, action, arguments);
  char *answer = len > 0 ? km_env_alloc(&km_env_system, KM_IGD_MAX_HTTP) : NULL;
  int rv = -1;
  if (answer != NULL) {
    len = km_igd_exchange(answer, &igd->url.host, request, len, ANSWER_NS, &own);
  }
  if (answer != NULL && km_igd_http_read(&http, answer, len)) {
    ParseNameValue(http.body, (int)http.len, &parsed);
    rv = http.status == 200 ? 0 : error_of(&parsed);
    if (rv == 0 && name != NULL &&
        !copy_text(value, cap, GetValueFromNameValueList(&parsed, name))) {
      rv = -1;
    }
    ClearNameValueList(&parsed);
  }
  km_env_free(&km_env_system, answer);
  return rv;
}

static bool external_address(const km_upnp_igd *igd, km_udp_addr *ret) {
  char text[32] = "";
  *ret = (km_udp_addr){.family = 4};
  return call(igd, "GetExternalIPAddress", "", "NewExternalIPAddress", text, sizeof text) == 0 &&
         km_ip4_parse(ret->ip, text, strlen(text)) && ret->ip[0] != 0;
}

/* The control url comes from a document that anybody may have written: it must lead to where that
 * came from. */
static bool try_service(struct IGDdatas *data, const char *desc_url, const km_udp_addr *host,
                        km_upnp_igd *ret) {
  struct UPNPUrls urls = {0};
  km_udp_addr external;
  if (!km_igd_service_is_good(data->first.servicetype)) {
    return false;
  }
  GetUPNPUrls(&urls, data, desc_url, 0);
  bool ok = urls.controlURL != NULL && km_igd_url_read(&ret->url, urls.controlURL) &&
            same_host(&ret->url.host, host) &&
            copy_text(ret->service, sizeof ret->service, data->first.servicetype);
  FreeUPNPUrls(&urls);
  return ok && external_address(ret, &external);
}

static bool try_description(char *text, size_t len, const char *desc_url, const km_udp_addr *host,
                            km_upnp_igd *ret) {
  struct IGDdatas *data = km_env_zalloc(&km_env_system, 1, sizeof *data);
  bool ok = false;
  if (data != NULL) {
    parserootdesc(text, (int)len, data);
    ok = try_service(data, desc_url, host, ret);
    if (!ok) { /* a modem may have a service for IP and one for PPP, and only one is connected */
      data->first = data->second;
      ok = try_service(data, desc_url, host, ret);
    }
  }
  km_env_free(&km_env_system, data);
  return ok;
}

/* Only who speaks for himself is called, and never this very machine. */
static bool try_answer(const km_igd_answer *heard, const km_gateway *gateway, km_upnp_igd *ret) {
  char request[KM_IGD_REQUEST_CAP];
  km_igd_url url;
  km_igd_http http;
  if (!km_igd_url_read(&url, heard->location) || !same_host(&url.host, &heard->from) ||
      same_host(&url.host, &gateway->local)) {
    return false;
  }
  char *answer = km_env_alloc(&km_env_system, KM_IGD_MAX_HTTP);
  size_t len = answer != NULL ? km_igd_get(request, &url) : 0;
  len = len > 0 ? km_igd_exchange(answer, &url.host, request, len, ANSWER_NS, &ret->client) : 0;
  bool ok = len > 0 && km_igd_http_read(&http, answer, len) && http.status == 200 &&
            try_description(http.body, http.len, heard->location, &url.host, ret);
  km_env_free(&km_env_system, answer);
  return ok;
}

static bool try_answers(const km_igd_answer *heard, size_t count, const km_gateway *gateway,
                        bool of_gateway, km_upnp_igd *ret) {
  for (size_t i = 0; i < count; i++) {
    if (same_host(&heard[i].from, &gateway->addr) == of_gateway &&
        try_answer(&heard[i], gateway, ret)) {
      return true;
    }
  }
  return false;
}

static void find(const km_upnp_request *request, km_upnp_result *ret) {
  km_igd_answer heard[KM_IGD_MAX_ANSWERS];
  const km_gateway *gateway = &request->gateway;
  size_t count = km_igd_discover(heard, gateway, SEARCH_NS);
  if (!try_answers(heard, count, gateway, true, &ret->igd) &&
      !try_answers(heard, count, gateway, false, &ret->igd)) {
    (void)snprintf(ret->trouble, sizeof ret->trouble, "no gateway answers");
  }
}

/* --- mapping ---------------------------------------------------------------------------------- */

static int add_mapping(const km_upnp_request *r, uint16_t external_port, uint32_t lifetime_s) {
  char arguments[640], client[KM_IP_TEXT_CAP];
  (void)km_ip4_format(client, r->igd.client.ip);
  (void)snprintf(arguments, sizeof arguments,
                 "<NewRemoteHost></NewRemoteHost><NewExternalPort>%u</NewExternalPort>"
                 "<NewProtocol>UDP</NewProtocol><NewInternalPort>%u</NewInternalPort>"
                 "<NewInternalClient>%s</NewInternalClient><NewEnabled>1</NewEnabled>"
                 "<NewPortMappingDescription>KeyMesh</NewPortMappingDescription>"
                 "<NewLeaseDuration>%u</NewLeaseDuration>",
                 external_port, r->internal_port, client, (unsigned)lifetime_s);
  return call(&r->igd, "AddPortMapping", arguments, NULL, NULL, 0);
}

static void unmap(const km_upnp_igd *igd, uint16_t external_port) {
  char arguments[160];
  (void)snprintf(arguments, sizeof arguments,
                 "<NewRemoteHost></NewRemoteHost><NewExternalPort>%u</NewExternalPort>"
                 "<NewProtocol>UDP</NewProtocol>",
                 external_port);
  (void)call(igd, "DeletePortMapping", arguments, NULL, NULL, 0); /* best effort */
}

static uint16_t any_port(void) {
  return (uint16_t)(1024 + km_env_random_below(&km_env_system, 65536 - 1024));
}

static const char *reason_of(int rv) {
  const char *known = rv > 0 ? strupnperror(rv) : NULL;
  return known != NULL ? known : rv > 0 ? "an error" : "nothing";
}

static void map(const km_upnp_request *r, km_upnp_result *ret) {
  uint16_t port = r->external_port;
  uint32_t lifetime_s = r->lifetime_s;
  int rv = -1;
  for (int i = 0; i < MAX_PORTS; i++) {
    rv = add_mapping(r, port, lifetime_s);
    if ((rv == ONLY_PERMANENT || rv == INVALID_ARGS) && lifetime_s != 0) {
      lifetime_s = 0;
      rv = add_mapping(r, port, lifetime_s);
    }
    if (rv == SAME_PORT_REQUIRED && port != r->internal_port) {
      port = r->internal_port;
    } else if (rv == CONFLICT) {
      port = any_port();
    } else {
      break;
    }
  }
  if (rv != 0) {
    (void)snprintf(ret->trouble, sizeof ret->trouble, "%s (%d)", reason_of(rv), rv);
    return;
  }
  if (!external_address(&r->igd, &ret->external)) {
    (void)snprintf(ret->trouble, sizeof ret->trouble, "that it has no external address");
    unmap(&r->igd, port);
    return;
  }
  ret->external.port = port;
  ret->lifetime_s = lifetime_s;
}

/* --- the thread ------------------------------------------------------------------------------ */

/* True when the other side has left before. */
static bool leave(work *w) {
  (void)pthread_mutex_lock(&w->lock); /* these fail for a wrong mutex only */
  bool last = !w->shared;
  w->shared = false;
  (void)pthread_mutex_unlock(&w->lock);
  return last;
}

/* A mapping that nobody heard of would never be renewed or deleted. */
static bool is_orphan(const work *w) {
  return w->request.what == KM_UPNP_MAP && !w->taken && w->result.external.port != 0;
}

static void free_work(work *w) {
  (void)pthread_mutex_destroy(&w->lock);
  km_env_free(&km_env_system, w);
}

static void *run(void *arg) {
  work *w = arg;
  const km_upnp_request *r = &w->request;
  km_upnp_result result = {0};
  switch (r->what) {
  case KM_UPNP_FIND:
    find(r, &result);
    break;
  case KM_UPNP_MAP:
    map(r, &result);
    break;
  default:
    unmap(&r->igd, r->external_port);
    break;
  }
  (void)pthread_mutex_lock(&w->lock);
  w->result = result;
  (void)pthread_mutex_unlock(&w->lock);
  if (w->done_fd >= 0) {
    (void)!write(w->done_fd, "", 1); /* nobody listens any more: seen below */
    (void)close(w->done_fd);
  }
  if (leave(w)) {
    if (is_orphan(w)) {
      unmap(&r->igd, result.external.port);
    }
    free_work(w);
  }
  km_thread_over(&threads);
  return NULL;
}

/* Takes over the descriptor. The memory is the system's: it may outlive every environment. */
static int begin_work(work **ret, const km_upnp_request *request, int done_fd) {
  work *w = km_env_zalloc(&km_env_system, 1, sizeof *w);
  int rv = w == NULL || pthread_mutex_init(&w->lock, NULL) != 0 ? KM_ERR_NOMEM : 0;
  if (rv == 0) {
    w->request = *request;
    w->done_fd = done_fd;
    w->shared = ret != NULL;
    if (ret != NULL) {
      *ret = w;
    }
    rv = km_thread_start(&threads, run, w); /* no SIGPIPE when a gateway hangs up */
    if (rv != 0) {
      (void)pthread_mutex_destroy(&w->lock);
    }
  }
  if (rv != 0) {
    km_env_free(&km_env_system, w);
    if (done_fd >= 0) {
      (void)close(done_fd); /* nothing was written to it */
    }
  }
  return rv;
}

/* --- the loop's side ------------------------------------------------------------------------- */

void km_upnp_unmap(const km_upnp_request *request) {
  km_upnp_request r = *request;
  r.what = KM_UPNP_UNMAP;
  (void)begin_work(NULL, &r, -1); /* best effort */
}

static void end(km_upnp *job, const km_upnp_result *result) {
  km_poll_free(job->poll); /* the pipe stays readable: told once */
  job->poll = NULL;
  km_deadline_set(job->watchdog, KM_TS_NEVER);
  job->fn(job->ctx, result); /* may free it */
}

static void on_done(void *ctx, int events) {
  km_upnp *job = ctx;
  (void)events;
  (void)pthread_mutex_lock(&job->work->lock);
  const km_upnp_result result = job->work->result;
  job->work->taken = true;
  (void)pthread_mutex_unlock(&job->work->lock);
  end(job, &result);
}

static void on_too_long(void *ctx) {
  end(ctx, &(km_upnp_result){.trouble = "nothing for too long"});
}

static int begin(km_upnp *job, km_loop *loop, const km_upnp_request *request, const int fds[2]) {
  job->fd = fds[0];
  int rv = km_poll_new(&job->poll, loop, fds[0], on_done, job);
  rv = rv == 0 ? km_poll_set(job->poll, KM_POLL_READ) : rv;
  rv = rv == 0 ? km_deadline_new(&job->watchdog, loop, on_too_long, job) : rv;
  if (rv != 0) {
    (void)close(fds[1]); /* nothing was written to it */
    return rv;
  }
  km_deadline_set(job->watchdog, km_loop_now(loop) + KM_UPNP_LONGEST_NS);
  work *w = NULL;
  rv = begin_work(&w, request, fds[1]);
  job->work = rv == 0 ? w : NULL;
  return rv;
}

int km_upnp_new(km_upnp **ret, const km_env *env, km_loop *loop, const km_upnp_request *request,
                void (*fn)(void *ctx, const km_upnp_result *result), void *ctx) {
  int fds[2];
  km_upnp *job = km_env_zalloc(env, 1, sizeof *job);
  if (job == NULL) {
    return KM_ERR_NOMEM;
  }
  *job = (km_upnp){.env = env, .fd = -1, .fn = fn, .ctx = ctx};
  int rv = pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0 ? begin(job, loop, request, fds) : KM_ERR_SYSTEM;
  if (rv != 0) {
    km_upnp_free(job);
    return rv;
  }
  *ret = job;
  return 0;
}

void km_upnp_free(km_upnp *job) {
  if (job == NULL) {
    return;
  }
  km_poll_free(job->poll);
  km_deadline_free(job->watchdog);
  if (job->fd >= 0) {
    (void)close(job->fd); /* nothing was written to it */
  }
  if (job->work != NULL && leave(job->work)) {
    if (is_orphan(job->work)) {
      km_upnp_request r = job->work->request;
      r.external_port = job->work->result.external.port;
      km_upnp_unmap(&r);
    }
    free_work(job->work);
  }
  km_env_free(job->env, job);
}
