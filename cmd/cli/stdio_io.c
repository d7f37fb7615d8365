#include "cmd/cli/stdio_io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "cmd/cli/output.h"

void cli_stdio_begin(void) {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
    if (fcntl(fd, F_GETFD) == -1 && errno == EBADF) {
      (void)open("/dev/null", O_RDWR); /* takes the lowest free number: this one */
    }
  }
}

static bool reader_left(void) {
  struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};
  return poll(&p, 1, 0) == 1 && (p.revents & POLLERR) != 0;
}

int cli_stdio_end(int status) {
  bool lost = fflush(stdout) != 0 || ferror(stdout) != 0;
  if (!lost || status != CLI_EXIT_OK || reader_left()) {
    return status;
  }
  (void)fputs("error: standard output cannot be written to; is the disk full?\n", stderr);
  return CLI_EXIT_FAILED;
}
