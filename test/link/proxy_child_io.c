#include "test/link/proxy_child.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_ARGS = 32, PATIENCE_MS = 20000 };

static void run_proxy(const char *program, const char *to, const char *const *args) {
  char *argv[MAX_ARGS] = {(char *)(uintptr_t)program,     (char *)(uintptr_t) "--json",
                          (char *)(uintptr_t) "--listen", (char *)(uintptr_t) "127.0.0.1:0",
                          (char *)(uintptr_t) "--to",     (char *)(uintptr_t)to};
  for (size_t i = 0; args != NULL && args[i] != NULL && i + 7 < MAX_ARGS; i++) {
    argv[6 + i] = (char *)(uintptr_t)args[i];
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  execv(program, argv);
  _exit(127);
}

/* One line of its output, without the newline. */
static void read_line(const proxy_child *child, char *line, size_t cap) {
  size_t len = 0;
  for (;;) {
    struct pollfd fd = {.fd = child->out, .events = POLLIN};
    assert_int_equal(poll(&fd, 1, PATIENCE_MS), 1);
    char c;
    assert_int_equal(read(child->out, &c, 1), 1);
    if (c == '\n') {
      break;
    }
    assert_true(len + 1 < cap);
    line[len++] = c;
  }
  line[len] = '\0';
}

void proxy_child_start(proxy_child *child, const km_udp_addr *to, const char *const *args) {
  char program[1024], text[KM_UDP_ADDR_TEXT_CAP], line[256];
  const char *dir = getenv("KM_BIN_DIR");
  int fds[2];
  assert_non_null(dir);
  snprintf(program, sizeof program, "%s/km-udp-proxy", dir);
  assert_true(km_udp_addr_format(to, text, sizeof text) > 0);
  assert_int_equal(pipe(fds), 0);
  memset(child, 0, sizeof *child);
  child->pid = fork();
  assert_true(child->pid >= 0);
  if (child->pid == 0) {
    dup2(fds[1], STDOUT_FILENO);
    close(fds[0]);
    close(fds[1]);
    run_proxy(program, text, args);
  }
  close(fds[1]);
  child->out = fds[0];
  read_line(child, line, sizeof line);
  const char *start = strstr(line, "\"listen\":\"");
  assert_non_null(start);
  start += strlen("\"listen\":\"");
  assert_int_equal(km_udp_addr_parse(&child->listen, start, strcspn(start, "\""), NULL), 0);
}

static void signal_and_wait(proxy_child *child, int number, const char *event) {
  char line[256];
  assert_int_equal(kill(child->pid, number), 0);
  read_line(child, line, sizeof line);
  assert_non_null(strstr(line, event));
}

void proxy_child_toggle_blackhole(proxy_child *child) {
  signal_and_wait(child, SIGUSR1, "\"event\":\"blackhole\"");
}

void proxy_child_rebind(proxy_child *child) {
  signal_and_wait(child, SIGUSR2, "\"event\":\"rebound\"");
}

void proxy_child_stop(proxy_child *child) {
  int status;
  assert_int_equal(kill(child->pid, SIGTERM), 0);
  read_line(child, child->stats, sizeof child->stats);
  assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  close(child->out);
}

unsigned long long proxy_child_stat(const proxy_child *child, const char *direction,
                                    const char *name) {
  char key[64];
  const char *from = child->stats;
  if (direction != NULL) {
    snprintf(key, sizeof key, "\"%s\":{", direction);
    from = strstr(from, key);
    assert_non_null(from);
  }
  snprintf(key, sizeof key, "\"%s\":", name);
  from = strstr(from, key);
  assert_non_null(from);
  return strtoull(from + strlen(key), NULL, 10);
}
