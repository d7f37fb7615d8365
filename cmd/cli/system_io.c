#include "cmd/cli/system_io.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* libwebsockets makes tables as long as the limit is high. */
#define NOFILE_MAX 1048576

void system_notify(const char *state) {
  const char *path = getenv("NOTIFY_SOCKET");
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  size_t len = path == NULL ? 0 : strlen(path);
  if (len == 0 || len >= sizeof to.sun_path || (path[0] != '/' && path[0] != '@')) {
    return;
  }
  memcpy(to.sun_path, path, len);
  if (path[0] == '@') {
    to.sun_path[0] = '\0'; /* Linux' abstract names */
  }
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return;
  }
  /* Whoever started us finds out by itself that nothing comes. */
  (void)sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&to,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
  (void)close(fd);
}

void system_notify_reloading(void) {
  struct timespec now;
  char text[80];
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  (void)snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld",
                 (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
  system_notify(text);
}

uint64_t system_watchdog_ms(void) {
  const char *text = getenv("WATCHDOG_USEC");
  char *end = NULL;
  unsigned long long usec = text == NULL ? 0 : strtoull(text, &end, 10);
  return text == NULL || *end != '\0' ? 0 : usec / 2000;
}

uint64_t system_raise_nofile(uint64_t wanted) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return wanted;
  }
  rlim_t had = limit.rlim_cur;
  rlim_t aim = had < wanted ? (rlim_t)wanted : had;
  aim = aim < NOFILE_MAX ? aim : NOFILE_MAX;
  limit.rlim_cur = aim < limit.rlim_max ? aim : limit.rlim_max;
  return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : had;
}
