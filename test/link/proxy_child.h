/* A km-udp-proxy as a child process of a test. Every function fails the running cmocka test when
 * something goes wrong. */
#ifndef KM_TEST_LINK_PROXY_CHILD_H
#define KM_TEST_LINK_PROXY_CHILD_H

#include <sys/types.h>

#include <keymesh/addr.h>

typedef struct proxy_child {
  pid_t pid;
  int out; /* its standard output */
  km_udp_addr listen;
  char stats[2048]; /* its last line, after proxy_child_stop */
} proxy_child;

/* Starts $KM_BIN_DIR/km-udp-proxy towards `to`; `args` are further arguments, NULL at the end. The
 * child ends with its parent at the latest. */
void proxy_child_start(proxy_child *child, const km_udp_addr *to, const char *const *args);

/* Toggles the blackhole, or moves the upstream sockets; returns when it was done. */
void proxy_child_toggle_blackhole(proxy_child *child);
void proxy_child_rebind(proxy_child *child);

/* Ends it and checks that its status is 0. */
void proxy_child_stop(proxy_child *child);

/* A number in the stats line: `name` of `direction` ("up" or "down"), or of the whole (NULL). */
unsigned long long proxy_child_stat(const proxy_child *child, const char *direction,
                                    const char *name);

#endif /* KM_TEST_LINK_PROXY_CHILD_H */
