/* How long a relay takes to answer a GET of /ping. */
#include "relay/client_link_io.h"
#include "relay/connect_io.h"

struct km_relay_probe {
  km_relay_clients *all;
  km_relay_url url;
  km_relay_probe_fn on_done;
  void *ctx;
  km_deadline *timer;
  km_defer *later; /* on_done runs there, outside of lws */
  km_relay_dial *dial;
  km_relay_link *link;
  km_udp_addr remote; /* family 0: through a proxy */
  bool proxied;
  km_ts began, asked;
  uint64_t timeout_ns;
  km_relay_probe_result result;
};

static void done(km_relay_probe *p) {
  km_deadline_set(p->timer, KM_TS_NEVER);
  km_defer_run(p->later);
}

static void fail(km_relay_probe *p, const km_errinfo *why) {
  p->result.err = *why;
  done(p);
}

/* The turn's time is too coarse where a few microseconds count. */
static km_ts now_of(const km_relay_probe *p) {
  km_loop_update(p->all->loop);
  return km_loop_now(p->all->loop);
}

static void on_request(void *ctx) {
  km_relay_probe *p = ctx;
  p->asked = now_of(p);
  p->result.connect_ns = p->asked - p->began;
}

static void on_status(void *ctx, int status) {
  km_relay_probe *p = ctx;
  km_relay_link *link = p->link;
  p->result.rtt_ns = now_of(p) - p->asked;
  p->result.status = status;
  p->result.remote = p->remote;
  if (status < 200 || status > 299) {
    (void)km_fail(&p->result.err, KM_ERR_RELAY_HTTP, "%.80s answered HTTP %d to GET /ping",
                  p->url.host, status);
    p->result.err.peer_code = status > 0 ? (uint64_t)status : 0;
  }
  p->link = NULL;
  km_relay_link_close(link, false);
  done(p);
}

static void on_closed(void *ctx, const km_errinfo *why) {
  km_relay_probe *p = ctx;
  p->link = NULL;
  fail(p, why);
}

static void on_dialled(void *ctx, int fd, const km_udp_addr *remote, const km_errinfo *err) {
  km_relay_probe *p = ctx;
  km_errinfo why;
  km_relay_dial_free(p->dial);
  p->dial = NULL;
  if (fd < 0) {
    fail(p, err);
    return;
  }
  if (!p->proxied) {
    p->remote = *remote;
  }
  const km_relay_link_config config = {
      .url = &p->url, .fd = fd, .remote = *remote, .plain_get = true};
  const km_relay_link_callbacks cb = {
      .on_request = on_request, .on_status = on_status, .on_closed = on_closed, .ctx = p};
  if (km_relay_link_new(&p->link, p->all, &config, &cb, &why) != 0) {
    fail(p, &why);
  }
}

static void on_timer(void *ctx) {
  km_relay_probe *p = ctx;
  (void)km_fail(&p->result.err, KM_ERR_RELAY_UNREACHABLE,
                "%.80s did not answer GET /ping within %llu ms", p->url.host,
                (unsigned long long)(p->timeout_ns / KM_NS_PER_MS));
  done(p);
}

static void on_later(void *ctx) {
  km_relay_probe *p = ctx;
  const km_relay_probe_result result = p->result;
  km_relay_probe_fn fn = p->on_done;
  void *fn_ctx = p->ctx;
  km_relay_probe_free(p);
  fn(fn_ctx, &result);
}

static int begin(km_relay_probe *p, const char *url, km_errinfo *err) {
  km_relay_proxy proxy;
  km_loop *loop = p->all->loop;
  int rv = km_relay_url_read(&p->url, url, err);
  rv = rv == 0 ? km_relay_clients_proxy(&proxy, &p->url, err) : rv;
  if (rv != 0) {
    return rv;
  }
  p->proxied = proxy.used;
  p->began = now_of(p);
  const km_relay_dial_config config = {
      .env = p->all->env, .loop = loop, .url = &p->url, .proxy = &proxy};
  if (km_deadline_new(&p->timer, loop, on_timer, p) != 0 ||
      km_defer_new(&p->later, loop, on_later, p) != 0 ||
      km_relay_dial_new(&p->dial, &config, on_dialled, p) != 0) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  km_deadline_set(p->timer, p->began + p->timeout_ns);
  return 0;
}

int km_relay_probe_new(km_relay_probe **ret, km_relay_clients *all, const char *url,
                       uint64_t timeout_ns, km_relay_probe_fn on_done, void *ctx, km_errinfo *err) {
  km_relay_probe *p = km_env_zalloc(all->env, 1, sizeof *p);
  if (p == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  p->all = all;
  p->on_done = on_done;
  p->ctx = ctx;
  p->timeout_ns = timeout_ns;
  int rv = begin(p, url, err);
  if (rv != 0) {
    km_relay_probe_free(p);
    return rv;
  }
  *ret = p;
  return 0;
}

void km_relay_probe_free(km_relay_probe *p) {
  if (p == NULL) {
    return;
  }
  km_relay_link_close(p->link, false);
  km_relay_dial_free(p->dial);
  km_defer_free(p->later);
  km_deadline_free(p->timer);
  km_env_free(p->all->env, p);
}
