/* Two km_blocking on loopback and threads that call them. cmocka must not fail in a thread of its
 * own: threads return a status, the test looks at it. */
#ifndef KM_TEST_BLOCKING_PAIR_H
#define KM_TEST_BLOCKING_PAIR_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <keymesh/keymesh.h>

#define PAIR_ALPN "km/echo/1"
#define PATIENCE_MS 60000 /* far more than anything here takes */

typedef struct pair {
  km_blocking *client, *server; /* the server accepts PAIR_ALPN */
  km_addr *addr;                /* of the server */
  km_bconn *at_client, *at_server;
} pair;

/* Defaults on 127.0.0.1 with any port. */
void pair_options(km_endpoint_options *ret);
/* NULL takes pair_options. */
void pair_open(pair *p, const km_endpoint_options *client, const km_endpoint_options *server);
/* The same with a connection. */
void pair_connect(pair *p, const km_endpoint_options *client, const km_endpoint_options *server);
/* Opens a stream at the client, sends one byte on it and takes the stream at the server. */
void pair_stream(pair *p, km_bstream **at_client, km_bstream **at_server);
/* Closes and frees what is not NULL. */
void pair_close(pair *p);

/* A call in a thread of its own. */
typedef struct task {
  pthread_t thread;
  int (*run)(void *arg);
  void *arg;
  int rv;
  atomic_int tid;
} task;

void task_start(task *t, int (*run)(void *arg), void *arg);
/* Returns what `run` did. */
int task_join(task *t);
/* Returns once the thread sleeps, that is: waits in the call. */
void task_wait_asleep(task *t);

/* Byte `at` of a sequence that does not repeat soon. */
uint8_t pattern_at(uint64_t at);
void pattern_fill(uint8_t *buf, size_t len, uint64_t at);
/* Writes and finishes `len` bytes of the pattern; reads and checks them with the end behind them.
 * Return 0 or what failed, -1000 for other bytes than expected. */
int pattern_write(km_bstream *s, uint64_t len);
int pattern_read(km_bstream *s, uint64_t len);
/* Sends back what comes until the end. Returns 0 or what failed. */
int echo_stream(km_bstream *s);

/* Monotonic, milliseconds. */
uint64_t now_ms(void);
void sleep_ms(unsigned ms);

/* Takes turns of sleeping until `condition` holds. */
#define WAIT_FOR(condition)                                                                        \
  do {                                                                                             \
    uint64_t until_ = now_ms() + PATIENCE_MS;                                                      \
    while (!(condition)) {                                                                         \
      if (now_ms() > until_) {                                                                     \
        fail_msg("%s:%d: waited too long for: %s", __FILE__, __LINE__, #condition);                \
      }                                                                                            \
      sleep_ms(2);                                                                                 \
    }                                                                                              \
  } while (0)

#endif /* KM_TEST_BLOCKING_PAIR_H */
