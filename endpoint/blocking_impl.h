/* The inside of the blocking wrapper: an endpoint on a thread of its own, driven by others.
 *
 * One mutex a km_blocking guards all fields but those marked "loop", which only the loop thread
 * touches. It is never held during a call of the callback API: that is where time is spent.
 *
 * An application thread changes state under the mutex, puts the object on the work list and, if it
 * has to, waits on a condition. The loop thread takes objects off the list and does what their
 * state asks for; its callbacks change state and signal.
 *
 * Who keeps what alive (references, counted under the mutex):
 *   km_blocking  the application until km_blocking_close has joined the thread; every km_bconn;
 *                every call while it runs
 *   km_bconn     the application (before: the accept queue); the km_conn below it until its
 *                on_closed; every km_bstream; its entry in the work list; calls while they wait
 *   km_bstream   the application (before: the queue of its connection); the km_stream below it
 *                until its on_closed; its entry in the work list; calls while they wait */
#ifndef KM_ENDPOINT_BLOCKING_IMPL_H
#define KM_ENDPOINT_BLOCKING_IMPL_H

#include <keymesh/blocking.h>
#include <keymesh/loop.h>
#include <keymesh/stream.h>

#include "base/env.h"
#include "endpoint/blocking_rx.h"
#include "endpoint/blocking_wait.h"
#include "base/list.h"

#define KM_BLOCKING_ACCEPT_QUEUE 128   /* connections that wait for km_blocking_accept */
#define KM_BLOCKING_DATAGRAM_QUEUE 256 /* datagrams that wait for km_bconn_recv_datagram */
/* Streams that wait for km_bconn_accept, over those that the peer may have open at once. Short
 * unidirectional streams end before they are accepted, so that the stream limit does not count
 * them. */
#define KM_BLOCKING_STREAM_BACKLOG 1024
#define KM_BLOCKING_REASON_MAX 1024 /* as in keymesh/conn.h */
#define KM_BLOCKING_ALPN_MAX 255
#define KM_BLOCKING_CODE_MAX ((UINT64_C(1) << 62) - 1) /* RFC 9000 section 16 */

/* Something the loop thread shall look at. `run` is called once per km_bwork_queue, on the loop
 * thread, with the mutex held; it may let go of it in between. */
typedef struct km_bwork {
  km_list node; /* in km_blocking.work */
  void (*run)(km_blocking *b, struct km_bwork *work);
} km_bwork;

/* What a thread waits for the loop thread to do; lives on the waiting thread's stack. */
typedef struct km_bop {
  km_list node; /* where the loop thread finds it; out of any list when it is done */
  pthread_cond_t cond;
  bool busy;  /* the loop thread works on it without the mutex: it must not go away */
  bool tried; /* it was looked at once; before that no timeout counts */
  bool done;
  int rv;
  km_errinfo err;
} km_bop;

struct km_blocking {
  pthread_mutex_t mutex;
  pthread_cond_t cond; /* a connection to accept, started, closing */
  pthread_t thread, loop_thread;
  size_t refs;
  bool started; /* the thread got so far that start_rv tells how it went */
  int start_rv;
  km_errinfo start_err;
  bool closing;  /* km_blocking_close was called */
  bool ended;    /* the loop runs no more */
  bool posted;   /* a wake of the loop thread is on its way */
  km_list work;  /* of km_bwork */
  km_list conns; /* of km_bconn.all */
  km_list accept_queue;
  size_t accept_count;
  bool online;     /* there is a home relay */
  bool has_relays; /* of its own: there may be one */

  km_id id;
  size_t stream_backlog, stream_backlog_bytes;
  km_endpoint_callbacks user; /* the application's; their context */
  void *user_ctx;

  km_loop *loop;           /* set before `started`; km_loop_post may be called until `ended` */
  km_endpoint *endpoint;   /* loop */
  km_discovery *discovery; /* loop; NULL: none */
  bool close_begun;        /* loop */
  bool endpoint_closed;    /* loop */
};

typedef struct km_bdatagram {
  km_list node;
  size_t len;
  uint8_t data[];
} km_bdatagram;

/* dialling -> open -> ending -> closed. */
struct km_bconn {
  km_blocking *b;
  size_t refs;
  km_list all;        /* in km_blocking.conns */
  km_list queue_node; /* in km_blocking.accept_queue */
  km_bwork work;
  pthread_cond_t cond; /* streams and datagrams that came, connected, ended */
  bool connected;
  bool freed;        /* the application let go of it */
  bool close_wanted; /* by km_bconn_close or km_bconn_free */
  bool ending;       /* close_wanted or closed */
  bool closed;       /* on_closed ran; `info` is set */
  uint64_t close_code;
  size_t reason_len;
  uint8_t reason[KM_BLOCKING_REASON_MAX]; /* ours until the close, then that of `info` */
  km_close_info info;
  km_id remote_id;
  char alpn[KM_BLOCKING_ALPN_MAX + 1];

  km_addr *dial_addr; /* not NULL: the dial is still to be made */
  bool dial_tried;
  int dial_rv;
  km_errinfo dial_err;

  km_list streams;  /* of km_bstream.all */
  km_list incoming; /* of km_bstream.queue_node */
  size_t incoming_count, incoming_bytes;
  km_list open_ops;
  km_list datagram_ops;
  km_list datagrams; /* of km_bdatagram */
  size_t datagram_count;

  km_conn *conn;    /* loop; NULL before the dial and after on_closed */
  bool close_begun; /* loop */
};

struct km_bstream {
  km_bconn *conn;
  size_t refs;
  km_list all;        /* in km_bconn.streams */
  km_list queue_node; /* in km_bconn.incoming */
  km_bwork work;
  bool can_send, can_receive;
  bool accepted; /* it is in the hands of the application */
  bool freed;

  pthread_cond_t readable;
  km_brx rx;
  size_t to_credit; /* read by the application, not yet told to the peer */
  bool rx_fin, rx_reset, rx_nomem;
  uint64_t rx_reset_code;
  bool stop_wanted; /* by km_bstream_stop or km_bstream_free */
  uint64_t stop_code;

  km_list write_ops; /* one at most */
  bool fin_sent;     /* the end was taken */
  bool tx_stopped;
  uint64_t tx_stop_code;
  bool reset_wanted;
  uint64_t reset_code;

  int end_error;     /* of on_closed */
  km_stream *stream; /* loop; NULL after on_closed */
};

/* blocking_online.c; on_home_relay of the endpoint. */
void km_blocking_on_home_relay(void *ctx, km_endpoint *endpoint);

/* blocking_work.c: the mutex, the way to the loop thread, operations. */

/* Takes the mutex and a reference; km_blocking_leave gives both back. */
void km_blocking_enter(km_blocking *b);
void km_blocking_leave(km_blocking *b);
/* The same for a call that waits. KM_ERR_THREAD on the loop thread, which would wait for itself;
 * KM_ERR_CLOSED after km_blocking_close. Nothing is entered on failure. */
KM_NODISCARD int km_blocking_enter_wait(km_blocking *b, km_errinfo *err);
/* Drops a reference other than the caller's last; mutex held. */
void km_blocking_unref(km_blocking *b);

static inline void km_blocking_lock(km_blocking *b) {
  (void)pthread_mutex_lock(&b->mutex);
}

static inline void km_blocking_unlock(km_blocking *b) {
  (void)pthread_mutex_unlock(&b->mutex);
}

void km_bwork_init(km_bwork *work, void (*run)(km_blocking *b, km_bwork *work));
bool km_bwork_queued(const km_bwork *work);
/* Puts `work` on the list and wakes the loop thread. KM_ERR_CLOSED when that has ended (nothing is
 * queued then); KM_ERR_NOMEM when it could not be woken (it is queued, and done with the next). */
int km_bwork_queue(km_blocking *b, km_bwork *work);
/* Wakes the loop thread. Returns 0, KM_ERR_NOMEM or KM_ERR_CLOSED. */
int km_blocking_wake(km_blocking *b);
/* Does the work that is on the list now. Loop thread, mutex held. */
void km_bwork_run_all(km_blocking *b);

KM_NODISCARD int km_bop_init(km_bop *op);
void km_bop_clear(km_bop *op);
/* The loop thread is about to work on `op` without the mutex; and has done so. */
void km_bop_begin(km_blocking *b, km_bop *op);
void km_bop_end(km_blocking *b, km_bop *op);
/* It is done with `rv`: leaves its list and wakes its owner. */
void km_bop_finish(km_bop *op, int rv);
/* It was tried and has to wait for the peer. */
void km_bop_wait_on(km_list *ops);
void km_bop_wake_all(km_list *ops);
/* Waits until `op` is done, `*ended` is set, `b` is being closed, or time is up, and takes it out
 * of its list. Returns op->rv, KM_ERR_TIMEOUT, KM_ERR_CLOSED (of `b`) or KM_ERR_CANCELLED
 * (`*ended`), without a sentence. */
int km_bop_wait(km_blocking *b, km_bop *op, const bool *ended, const km_bdeadline *deadline);

/* A question to the endpoint that is answered at once. */
typedef struct km_bquestion {
  km_bwork work;
  km_bop op;
  const char *alpn;
  km_addr *addr; /* the answer */
} km_bquestion;

/* Has `run` answer it on the loop thread. Returns op.rv or KM_ERR_THREAD, KM_ERR_CLOSED,
 * KM_ERR_NOMEM. */
KM_NODISCARD int km_blocking_ask(km_blocking *b, km_bquestion *q,
                                 void (*run)(km_blocking *b, km_bwork *work), km_errinfo *err);

/* Sentences for what ends a wait. */
int km_bfail_closing(km_errinfo *err);
int km_bfail_timeout(km_errinfo *err, int timeout_ms, const char *what);
int km_bfail_copy(km_errinfo *err, int rv, const km_errinfo *from);

/* blocking_thread_io.c */
/* Starts the thread and waits until its endpoint is open or could not be opened. */
KM_NODISCARD int km_blocking_start(km_blocking *b, km_endpoint_options *options,
                                   const km_blocking_discovery *discovery, km_errinfo *err);

/* blocking_accept.c */
/* Puts our callbacks before those of the application. */
void km_blocking_take_filters(km_blocking *b, km_endpoint_options *options);

/* blocking_conn.c */
/* With one reference, on the list of `b`. Mutex held. */
km_bconn *km_bconn_new(km_blocking *b);
void km_bconn_unref(km_bconn *c); /* mutex held */
/* Has the loop thread look at `c`; mutex held. Returns as km_bwork_queue. */
int km_bconn_kick(km_bconn *c);
/* Wakes everybody who waits on `c` or its streams; mutex held. */
void km_bconn_wake_all(km_bconn *c);
/* What ended `c`, for a call that can go no further; mutex held. */
int km_bconn_fail(const km_bconn *c, km_errinfo *err);
/* The application lets go of it; mutex held, takes one reference over. */
void km_bconn_release(km_bconn *c);
extern const km_conn_callbacks km_bconn_callbacks;

/* blocking_open.c */
void km_bconn_try_opens(km_bconn *c); /* loop thread, mutex held */
void km_bconn_on_stream(void *ctx, km_conn *conn, km_stream *stream);

/* blocking_datagram.c */
void km_bconn_try_datagrams(km_bconn *c); /* loop thread, mutex held */
void km_bconn_on_datagram(void *ctx, km_conn *conn, const void *data, size_t len);
void km_bconn_drop_datagrams(km_bconn *c); /* mutex held */

/* blocking_stream.c */
km_bstream *km_bstream_new(km_bconn *c); /* one reference; mutex held */
void km_bstream_unref(km_bstream *s);    /* mutex held */
void km_bstream_release(km_bstream *s);  /* as km_bconn_release */
void km_bstream_wake_all(km_bstream *s); /* mutex held */
extern const km_stream_callbacks km_bstream_callbacks;

#endif /* KM_ENDPOINT_BLOCKING_IMPL_H */
