#include "base/io/lws_conns_io.h"

#include "base/io/lws_listen_io.h"

static void arm(km_lws_conns *conns) {
  km_deadline_set(conns->deadline, km_timer_heap_next(&conns->timers));
}

static km_lws_conn *conn_of(km_timer_node *node) {
  return KM_LIST_ITEM(node, km_lws_conn, timer);
}

static void on_timer(km_timer_node *node) {
  km_lws_conn *c = conn_of(node);
  c->conns->on_late(c);
}

static void on_deadline(void *ctx) {
  km_lws_conns *conns = ctx;
  km_timer_node *node;
  while ((node = km_timer_heap_pop(&conns->timers, km_loop_now(conns->loop))) != NULL) {
    node->fire(node);
  }
  arm(conns);
}

int km_lws_conns_init(km_lws_conns *conns, const km_env *env, km_loop *loop,
                      void (*on_late)(km_lws_conn *c)) {
  *conns = (km_lws_conns){.loop = loop, .on_late = on_late};
  km_list_init(&conns->all);
  km_timer_heap_init(&conns->timers, env);
  return km_deadline_new(&conns->deadline, loop, on_deadline, conns);
}

void km_lws_conns_clear(km_lws_conns *conns) {
  if (conns->timers.env != NULL) {
    km_timer_heap_clear(&conns->timers);
  }
  km_deadline_free(conns->deadline);
  conns->deadline = NULL;
}

bool km_lws_conns_enter(km_lws_conns *conns, km_lws_conn *c, struct lws *wsi) {
  if (!km_lws_peer(lws_get_socket_fd(wsi), &c->remote) ||
      km_timer_heap_reserve(&conns->timers, conns->count + 1) != 0) {
    return false;
  }
  c->conns = conns;
  c->wsi = wsi;
  c->timer.fire = on_timer;
  km_list_init(&c->node);
  km_list_append(&conns->all, &c->node);
  conns->count++;
  lws_set_opaque_user_data(wsi, c);
  return true;
}

void km_lws_conns_leave(km_lws_conn *c) {
  km_lws_conns *conns = c->conns;
  km_timer_heap_set(&conns->timers, &c->timer, KM_TS_NEVER);
  km_list_remove(&c->node);
  conns->count--;
  conns->evicted -= c->evicted;
  lws_set_opaque_user_data(c->wsi, NULL);
}

km_lws_conn *km_lws_conns_find(struct lws *wsi) {
  return wsi == NULL ? NULL : lws_get_opaque_user_data(wsi);
}

size_t km_lws_conns_held(const km_lws_conns *conns) {
  return conns->count - conns->evicted;
}

km_lws_conn *km_lws_conns_nearest(const km_lws_conns *conns) {
  return conns->timers.count == 0 ? NULL : conn_of(conns->timers.nodes[0]);
}

void km_lws_conn_set_deadline(km_lws_conn *c, km_ts at) {
  km_timer_heap_set(&c->conns->timers, &c->timer, at);
  arm(c->conns);
}

void km_lws_conn_kill(km_lws_conn *c, km_lws *lws) {
  km_lws_conn_set_deadline(c, KM_TS_NEVER);
  lws_set_timeout(c->wsi, PENDING_TIMEOUT_CLOSE_ACK, LWS_TO_KILL_ASYNC);
  km_lws_touch(lws);
}

void km_lws_conn_evict(km_lws_conn *c, km_lws *lws) {
  c->conns->evicted += !c->evicted;
  c->evicted = true;
  km_lws_conn_kill(c, lws);
}
