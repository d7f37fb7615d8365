#include "test/discovery/net_lab.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

km_loop *lab_loop;

int lab_setup(void **state) {
  (void)state;
  return km_loop_new(&lab_loop);
}

int lab_teardown(void **state) {
  (void)state;
  return km_loop_free(lab_loop);
}

void lab_run_ms(unsigned ms) {
  km_ts end = km_clock_now() + ms * KM_NS_PER_MS;
  while (km_clock_now() < end) {
    (void)km_loop_run_once(lab_loop, 10);
  }
}

pid_t lab_spawn(const char *const *argv, int *ret_in, int *ret_out) {
  int in[2], out[2];
  assert_int_equal(pipe2(in, O_CLOEXEC), 0);
  assert_int_equal(pipe2(out, O_CLOEXEC), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (dup2(in[0], 0) < 0 || dup2(out[1], 1) < 0) {
      _exit(126);
    }
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
  }
  (void)close(in[0]);
  (void)close(out[1]);
  *ret_in = in[1];
  *ret_out = out[0];
  return pid;
}

static void read_more(lab_peer *p) {
  ssize_t n = read(p->out, p->text + p->len, sizeof p->text - 1 - p->len);
  if (n > 0) {
    p->len += (size_t)n;
  }
  p->text[p->len] = '\0';
}

void lab_peer_start(lab_peer *p, const char *script, const char *const *args) {
  char path[512];
  const char *source = getenv("KM_SOURCE_DIR");
  const char *argv[16] = {"python3", path};
  *p = (lab_peer){0};
  assert_non_null(source);
  (void)snprintf(path, sizeof path, "%s/test/discovery/%s", source, script);
  for (size_t i = 0; args != NULL && args[i] != NULL; i++) {
    assert_true(i + 3 < COUNT_OF(argv));
    argv[i + 2] = args[i];
  }
  p->pid = lab_spawn(argv, &p->in, &p->out);
  while (strchr(p->text, '\n') == NULL) {
    struct pollfd pfd = {.fd = p->out, .events = POLLIN};
    size_t len = p->len;
    assert_int_equal(poll(&pfd, 1, 30000), 1);
    read_more(p);
    assert_true(p->len > len); /* it ended */
  }
  assert_int_equal(sscanf(p->text, "port %d", &p->port), 1);
  p->len = 0;
  assert_int_equal(fcntl(p->out, F_SETFL, O_NONBLOCK), 0);
}

void lab_peer_stop(lab_peer *p) {
  if (p->pid <= 0) {
    return; /* it was not started */
  }
  (void)kill(p->pid, SIGKILL);
  (void)waitpid(p->pid, NULL, 0);
  (void)close(p->in);
  (void)close(p->out);
}

unsigned lab_peer_lines(lab_peer *p, const char *text) {
  unsigned count = 0;
  size_t len;
  do {
    len = p->len;
    read_more(p);
  } while (p->len > len);
  for (char *line = p->text, *end; *line != '\0'; line = end) {
    end = line + strcspn(line, "\n");
    bool last = *end == '\0';
    *end = '\0';
    count += strstr(line, text) != NULL;
    end += !last;
  }
  p->len = 0;
  p->text[0] = '\0';
  return count;
}
