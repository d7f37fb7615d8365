/* Server-sent events (WHATWG HTML, section 9.2): each watcher gets the newest state there is when
 * its socket takes it; a slow one misses what lies between. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmd/node/page/page_impl_io.h"

/* So many times what making the state took: it never fills more than a twentieth of the loop. */
#define REST 19
/* The same of a look at latencies, which goes on when nobody watches: half a percent. */
#define LOOK_REST 199

#define TIME_CAP 80

/* --- what is told ---------------------------------------------------------------------------- */

/* An event after `before`; printed JSON has no line ends. */
static page_body *frame(status_page *s, const char *before, const char *name, const char *json) {
  static const char form[] = "%sevent: %s\ndata: %s\n\n";
  size_t cap = sizeof form + strlen(before) + strlen(name) + strlen(json);
  page_body *body = km_env_alloc(s->env, sizeof *body + cap);
  if (body != NULL) {
    int len = snprintf((char *)body->bytes, cap, form, before, name, json);
    *body = (page_body){.refs = 1, .len = (size_t)len};
  }
  return body;
}

/* For watchers whose clock is another one, and for those who would take silence for a loss; proxies
 * count the comment before it. */
static void write_time(char ret[TIME_CAP]) {
  int64_t ms = km_clock_wall().unix_ns / (int64_t)KM_NS_PER_MS;
  (void)snprintf(ret, TIME_CAP, ":\nretry: 2000\nevent: time\ndata: %" PRId64 ".%03d\n\n",
                 ms / 1000, (int)(ms % 1000));
}

static page_body *time_frame(status_page *s) {
  char text[TIME_CAP];
  write_time(text);
  return page_body_new(s->env, text, strlen(text));
}

/* What a watcher is told once: the time, and the latencies of the past. */
static page_body *greeting(status_page *s) {
  char text[TIME_CAP];
  char *json = page_history_text(&s->history);
  if (json == NULL) {
    return NULL;
  }
  write_time(text);
  page_body *body = frame(s, text, "latency", json);
  km_env_free(s->env, json);
  return body;
}

/* Makes the event if there is news; false: there is none, or no memory for it. */
static bool make_event(status_page *s) {
  km_ts began = page_now(s);
  char *state = page_state(s->node);
  km_loop_update(s->node->loop);
  km_ts took = page_now(s) - began;
  s->changed = false;
  s->told_at = page_now(s) + took * REST;
  s->look_at = s->told_at + PAGE_LOOK_NS;
  if (state == NULL || (s->told != NULL && strcmp(state, s->told) == 0)) {
    cJSON_free(state);
    return false;
  }
  page_body *event = frame(s, "", "state", state);
  if (event == NULL) {
    cJSON_free(state);
    return false;
  }
  page_body_unref(s->env, s->event);
  cJSON_free(s->told);
  s->event = event;
  s->told = state;
  return true;
}

/* --- latencies ------------------------------------------------------------------------------- */

static void look_at_peer(void *ctx, const km_peer_status *peer) {
  page_history_add(ctx, peer);
}

void page_look(void *ctx) {
  status_page *s = ctx;
  km_loop_update(s->node->loop);
  km_ts began = page_now(s);
  if (s->node->mesh != NULL) {
    page_history_begin(&s->history);
    (void)km_peer_list(s->node->mesh, look_at_peer, &s->history);
    page_history_end(&s->history);
  }
  km_loop_update(s->node->loop);
  km_ts now = page_now(s);
  km_deadline_set(s->look, now + PAGE_SAMPLE_NS + (now - began) * LOOK_REST);
}

/* --- watchers -------------------------------------------------------------------------------- */

/* In place of what it was to get next. */
static void offer(page_conn *c, page_body *body) {
  page_body_unref(c->s->env, c->due);
  c->due = page_body_ref(body);
  if (c->body == NULL) {
    page_conn_arm(c);
  }
  (void)lws_callback_on_writable(c->conn.wsi);
}

static page_conn *conn_at(km_list *node) {
  return KM_LIST_ITEM(KM_LIST_ITEM(node, km_lws_conn, node), page_conn, conn);
}

static void offer_all(status_page *s, page_body *body) {
  for (km_list *at = s->conns.all.next; at != &s->conns.all; at = at->next) {
    page_conn *c = conn_at(at);
    if (c->state == PAGE_CONN_WATCHING) {
      offer(c, body);
    }
  }
  s->beat_at = page_now(s) + PAGE_HEARTBEAT_NS;
}

static void beat(status_page *s) {
  page_body *body = time_frame(s);
  for (km_list *at = s->conns.all.next; body != NULL && at != &s->conns.all; at = at->next) {
    page_conn *c = conn_at(at);
    if (c->state == PAGE_CONN_WATCHING && c->body == NULL && c->due == NULL) {
      offer(c, body);
    }
  }
  page_body_unref(s->env, body);
  s->beat_at = page_now(s) + PAGE_HEARTBEAT_NS;
}

static km_ts soonest(const status_page *s) {
  return s->told_at + PAGE_SOONEST_NS;
}

static void plan(status_page *s) {
  km_ts at = s->changed ? soonest(s) : s->look_at;
  at = at < s->beat_at ? at : s->beat_at;
  km_deadline_set(s->tick, s->counts.watchers > 0 ? at : KM_TS_NEVER);
}

void page_watch_tick(void *ctx) {
  status_page *s = ctx;
  km_ts now = page_now(s);
  if (now >= (s->changed ? soonest(s) : s->look_at) && make_event(s)) {
    offer_all(s, s->event);
  }
  if (now >= s->beat_at) {
    beat(s);
  }
  plan(s);
  km_lws_touch(s->lws);
}

void status_page_changed(status_page *s) {
  if (!s->changed) {
    s->changed = true;
    plan(s);
  }
}

int page_watch(page_conn *c) {
  status_page *s = c->s;
  if (s->counts.watchers >= PAGE_WATCHERS) {
    return page_refuse(c, 503, "too many pages are open: close one");
  }
  int rv = page_reply_stream(c);
  if (rv != 0 || c->head) {
    return rv;
  }
  c->state = PAGE_CONN_WATCHING;
  c->watches = true;
  if (s->counts.watchers++ == 0) {
    s->beat_at = page_now(s) + PAGE_HEARTBEAT_NS;
  }
  c->body = greeting(s);
  c->sent = 0;
  /* Others are told with it, so that nothing they have not seen counts as told. */
  if (page_now(s) >= soonest(s) && make_event(s)) {
    offer_all(s, s->event);
  } else if (s->event != NULL) {
    offer(c, s->event);
  }
  plan(s);
  page_conn_arm(c);
  return lws_callback_on_writable(c->conn.wsi) < 0 ? -1 : 0;
}

void page_watch_end(page_conn *c) {
  status_page *s = c->s;
  if (c->watches) {
    c->watches = false;
    s->counts.watchers--;
    plan(s);
  }
}

int page_watch_go_on(page_conn *c) {
  status_page *s = c->s;
  if (c->body == NULL) {
    c->body = c->due;
    c->due = NULL;
    c->sent = 0;
  }
  if (c->body == NULL) {
    page_conn_disarm(c); /* all of it was taken */
    return 0;
  }
  size_t left = c->body->len - c->sent;
  size_t len = left < PAGE_CHUNK ? left : PAGE_CHUNK;
  uint8_t *start = s->out + LWS_PRE;
  memcpy(start, c->body->bytes + c->sent, len);
  if (lws_write(c->conn.wsi, start, len, LWS_WRITE_HTTP) < 0) {
    return -1;
  }
  c->sent += len;
  if (c->sent == c->body->len) {
    page_body_unref(s->env, c->body);
    c->body = NULL;
  }
  page_conn_arm(c);
  return lws_callback_on_writable(c->conn.wsi) < 0 ? -1 : 0;
}
