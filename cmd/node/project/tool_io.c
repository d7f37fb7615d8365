#include "cmd/node/project/tool_io.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/env.h"

#define TAIL_MAX (1 << 20) /* bytes at the end in which lines are looked for */
#define TAIL_WAIT_MS 250
#define LINE_CAP 65536

/* --- programs -------------------------------------------------------------------------------- */

static void become(const char *const *argv) {
  /* execvp keeps its hands off the words. */
  (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
}

static int wait_for(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) {
      return -1;
    }
  }
  if (WIFSIGNALED(status)) {
    return 128 + WTERMSIG(status);
  }
  return WEXITSTATUS(status) == 127 ? -1 : WEXITSTATUS(status);
}

int tool_run(const char *const *argv, bool quiet) {
  pid_t child = fork();
  if (child == 0) {
    int null = quiet ? open("/dev/null", O_RDWR | O_CLOEXEC) : -1;
    if (null >= 0) {
      (void)dup2(null, STDOUT_FILENO);
      (void)dup2(null, STDERR_FILENO);
    }
    become(argv);
    _exit(127);
  }
  return child < 0 ? -1 : wait_for(child);
}

int tool_become(const char *const *argv, km_errinfo *err) {
  (void)fflush(stdout);
  become(argv);
  return km_fail_errno(err, errno, "cannot run %.40s", argv[0]);
}

/* To its end, or until `ret` is full. */
static void read_all(int fd, char *ret, size_t cap) {
  size_t len = 0;
  while (len + 1 < cap) {
    ssize_t n = read(fd, ret + len, cap - 1 - len);
    if (n == 0 || (n < 0 && errno != EINTR)) {
      break;
    }
    len += n > 0 ? (size_t)n : 0;
  }
  ret[len] = '\0';
}

int tool_word(const char *const *argv, char *ret, size_t cap) {
  int fds[2];
  ret[0] = '\0';
  if (pipe(fds) != 0) {
    return -1;
  }
  pid_t child = fork();
  if (child == 0) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    (void)dup2(fds[1], STDOUT_FILENO);
    if (null >= 0) {
      (void)dup2(null, STDERR_FILENO);
    }
    (void)close(fds[0]);
    (void)close(fds[1]);
    become(argv);
    _exit(127);
  }
  (void)close(fds[1]);
  if (child > 0) {
    read_all(fds[0], ret, cap);
  }
  (void)close(fds[0]);
  ret[strcspn(ret, "\n")] = '\0';
  return child < 0 ? -1 : wait_for(child);
}

/* --- the system ------------------------------------------------------------------------------ */

/* A login sets it; sudo -u and cron do not, though the user's systemd may run. */
static const char *runtime_folder(void) {
  char path[64];
  if (getenv("XDG_RUNTIME_DIR") == NULL) {
    (void)snprintf(path, sizeof path, "/run/user/%lu", (unsigned long)geteuid());
    (void)setenv("XDG_RUNTIME_DIR", path, 0); /* systemctl wants it too */
  }
  return getenv("XDG_RUNTIME_DIR");
}

bool tool_systemd_runs(bool system) {
  char path[512];
  struct stat st;
  if (lstat("/run/systemd/system", &st) != 0 || !S_ISDIR(st.st_mode)) { /* sd_booted(3) */
    return false;
  }
  if (system) {
    return true;
  }
  const char *runtime = runtime_folder();
  int n = snprintf(path, sizeof path, "%s/systemd", runtime == NULL ? "" : runtime);
  return runtime != NULL && n > 0 && (size_t)n < sizeof path && stat(path, &st) == 0;
}

bool tool_is_root(void) {
  return geteuid() == 0;
}

bool tool_owner(const char *path, char *ret, size_t cap) {
  struct stat st;
  struct passwd entry, *found = NULL;
  char buf[4096];
  if (stat(path, &st) != 0 || st.st_uid == 0 ||
      getpwuid_r(st.st_uid, &entry, buf, sizeof buf, &found) != 0 || found == NULL) {
    return false;
  }
  int n = snprintf(ret, cap, "%s", found->pw_name);
  return n > 0 && (size_t)n < cap;
}

/* --- a log ----------------------------------------------------------------------------------- */

typedef struct tail {
  int fd;
  off_t at;
  char *line;
  size_t len;
  void (*fn)(void *ctx, const char *line);
  void *ctx;
} tail;

static void end_line(tail *t) {
  t->line[t->len] = '\0';
  t->len = 0;
  t->fn(t->ctx, t->line);
}

static void take_bytes(tail *t, const char *bytes, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (bytes[i] == '\n') {
      end_line(t);
      continue;
    }
    t->line[t->len++] = bytes[i];
    if (t->len == LINE_CAP) {
      end_line(t);
    }
  }
}

/* Reads to the end. 0 or an errno. */
static int read_on(tail *t) {
  char buf[8192];
  for (;;) {
    ssize_t n = pread(t->fd, buf, sizeof buf, t->at);
    if (n < 0 && errno != EINTR) {
      return errno;
    }
    if (n == 0) {
      return 0;
    }
    t->at += n > 0 ? n : 0;
    take_bytes(t, buf, n > 0 ? (size_t)n : 0);
  }
}

/* Where the last `lines` lines begin. */
static off_t find_start(int fd, off_t size, size_t lines) {
  char c;
  off_t at = size;
  off_t first = size > TAIL_MAX ? size - TAIL_MAX : 0;
  size_t seen = 0;
  while (at > first) {
    if (pread(fd, &c, 1, at - 1) != 1) {
      return at;
    }
    if (c == '\n' && at != size && ++seen == lines) {
      return at;
    }
    at--;
  }
  return lines == 0 ? size : at;
}

static bool was_replaced(const tail *t, const char *path) {
  struct stat now, had;
  return stat(path, &now) == 0 && fstat(t->fd, &had) == 0 &&
         (now.st_ino != had.st_ino || now.st_dev != had.st_dev || had.st_size < t->at);
}

static int open_log(tail *t, const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) {
    return errno;
  }
  if (t->fd >= 0) {
    (void)close(t->fd);
  }
  t->fd = fd;
  t->at = 0;
  return 0;
}

static int follow_log(tail *t, const char *path) {
  const struct timespec wait = {.tv_nsec = TAIL_WAIT_MS * 1000000L};
  int sys_errno = 0;
  while (sys_errno == 0) {
    (void)fflush(stdout);
    if (ferror(stdout) != 0) {
      return 0; /* who listened has gone */
    }
    (void)nanosleep(&wait, NULL);
    if (was_replaced(t, path)) {
      (void)open_log(t, path); /* else the old one goes on */
    }
    sys_errno = read_on(t);
  }
  return sys_errno;
}

int tool_tail(const char *path, size_t lines, bool follow, void (*fn)(void *ctx, const char *line),
              void *ctx, km_errinfo *err) {
  struct stat st;
  tail t = {.fd = -1, .fn = fn, .ctx = ctx, .line = malloc(LINE_CAP + 1)};
  if (t.line == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  int sys_errno = open_log(&t, path);
  if (sys_errno == 0 && fstat(t.fd, &st) == 0) {
    t.at = find_start(t.fd, st.st_size, lines);
  }
  sys_errno = sys_errno != 0 ? sys_errno : read_on(&t);
  if (sys_errno == 0 && t.len > 0 && !follow) {
    end_line(&t);
  }
  sys_errno = sys_errno == 0 && follow ? follow_log(&t, path) : sys_errno;
  if (t.fd >= 0) {
    (void)close(t.fd);
  }
  free(t.line);
  return sys_errno == 0 ? 0 : km_fail_errno(err, sys_errno, "cannot read the log %.100s", path);
}
