/* For tests against servers that are programs of their own, on loopback sockets. */
#ifndef KM_TEST_DISCOVERY_NET_LAB_H
#define KM_TEST_DISCOVERY_NET_LAB_H

#include <sys/types.h>

#include "base/io/loop_io.h"
#include "test/base/test_env.h"

extern km_loop *lab_loop;
int lab_setup(void **state);
int lab_teardown(void **state);

/* Turns the loop until `condition` holds. Half a minute is never needed. */
#define LAB_UNTIL(condition)                                                                       \
  do {                                                                                             \
    km_ts lab_end = km_clock_now() + 30 * KM_NS_PER_S;                                             \
    while (!(condition)) {                                                                         \
      if (km_clock_now() > lab_end) {                                                              \
        fail_msg("%s did not come true", #condition);                                              \
      }                                                                                            \
      (void)km_loop_run_once(lab_loop, 20);                                                        \
    }                                                                                              \
  } while (0)

/* Turns the loop for a while, for what must not happen. */
void lab_run_ms(unsigned ms);

typedef struct lab_peer {
  pid_t pid;
  int in;  /* closing it ends the program */
  int out; /* what it prints */
  int port;
  char text[1 << 17]; /* of its lines that were not looked at */
  size_t len;
} lab_peer;

/* Starts python3 with a script of this folder; its first line is "port N". `args` end with NULL. */
void lab_peer_start(lab_peer *p, const char *script, const char *const *args);
void lab_peer_stop(lab_peer *p);
/* How many lines came since the last call that contain `text`; all are forgotten. */
unsigned lab_peer_lines(lab_peer *p, const char *text);

/* A child without a shell; `argv` ends with NULL. */
pid_t lab_spawn(const char *const *argv, int *ret_in, int *ret_out);

#endif /* KM_TEST_DISCOVERY_NET_LAB_H */
