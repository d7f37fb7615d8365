/* The connections of a server on a km_lws: all of them, each with a deadline, and which one goes
 * when there are too many. */
#ifndef KM_BASE_IO_LWS_CONNS_IO_H
#define KM_BASE_IO_LWS_CONNS_IO_H

#include <keymesh/addr.h>

#include "base/io/lws_io.h"
#include "base/list.h"
#include "base/timer_heap.h"

typedef struct km_lws_conn km_lws_conn;

typedef struct km_lws_conns {
  km_loop *loop;
  void (*on_late)(km_lws_conn *c); /* the deadline of `c` has passed, and is none any more */
  km_list all;
  size_t count, evicted; /* evicted: of `count`, about to be gone */
  km_timer_heap timers;
  km_deadline *deadline; /* the nearest of theirs */
} km_lws_conns;

/* A member of what a server keeps of a connection, zeroed at first. */
struct km_lws_conn {
  km_lws_conns *conns;
  struct lws *wsi;
  km_udp_addr remote;
  km_list node; /* in `all` */
  km_timer_node timer;
  bool evicted;
};

/* Keep it where it is. 0, KM_ERR_NOMEM or KM_ERR_SYSTEM. */
KM_NODISCARD int km_lws_conns_init(km_lws_conns *conns, const km_env *env, km_loop *loop,
                                   void (*on_late)(km_lws_conn *c));
/* After all have left. One that is zeroed, or whose init failed, is fine. */
void km_lws_conns_clear(km_lws_conns *conns);

/* LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED; false: it is gone already, or memory ran out. */
bool km_lws_conns_enter(km_lws_conns *conns, km_lws_conn *c, struct lws *wsi);
/* LWS_CALLBACK_WSI_DESTROY. */
void km_lws_conns_leave(km_lws_conn *c);
/* The connection of a callback; NULL: none, or one that has not entered. */
km_lws_conn *km_lws_conns_find(struct lws *wsi);

/* How many there are without those that were told to go. */
size_t km_lws_conns_held(const km_lws_conns *conns);
/* The one with the nearest deadline; NULL: none has one. */
km_lws_conn *km_lws_conns_nearest(const km_lws_conns *conns);

void km_lws_conn_set_deadline(km_lws_conn *c, km_ts at); /* KM_TS_NEVER: none */
/* Ends it, and its deadline, as soon as it is safe. Not from its own callbacks. */
void km_lws_conn_kill(km_lws_conn *c, km_lws *lws);
/* The same, to make room. */
void km_lws_conn_evict(km_lws_conn *c, km_lws *lws);

#endif /* KM_BASE_IO_LWS_CONNS_IO_H */
