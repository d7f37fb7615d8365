#include "cmd/node/project/passphrase_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <sodium.h>

#include "base/env.h"

#define INTERRUPT 3 /* Ctrl-C: ends a line while asked, so that the echo comes back */

void passphrase_wipe(passphrase *p) {
  sodium_memzero(p, sizeof *p);
}

static int check(passphrase *p, km_errinfo *err) {
  if (p->len == 0) {
    return km_fail(err, KM_ERR_INVALID, "the passphrase must not be empty");
  }
  if (p->len > PASSPHRASE_MAX || memchr(p->text, '\0', p->len) != NULL) {
    return km_fail(err, KM_ERR_INVALID, "a passphrase has at most %d bytes, and no NUL",
                   PASSPHRASE_MAX);
  }
  p->text[p->len] = '\0';
  return 0;
}

/* Reads a line; its end is not kept. 0 or an errno. */
static int read_line(int fd, passphrase *ret) {
  ret->len = 0;
  for (;;) {
    char c;
    ssize_t n = read(fd, &c, 1);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return errno;
    }
    if (n == 1 && c == INTERRUPT) {
      return ECANCELED;
    }
    if (n == 0 || c == '\n') {
      ret->len -= ret->len > 0 && ret->len <= PASSPHRASE_MAX && ret->text[ret->len - 1] == '\r';
      return 0;
    }
    if (ret->len < PASSPHRASE_MAX) {
      ret->text[ret->len] = c;
    }
    ret->len++;
  }
}

static int from_file(passphrase *ret, const char *path, km_errinfo *err) {
  struct stat st;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (fd < 0 || fstat(fd, &st) != 0) {
    int rv = km_fail_errno(err, errno, "cannot read the passphrase's file %.80s", path);
    if (fd >= 0) {
      (void)close(fd);
    }
    return rv;
  }
  bool open_to_others = S_ISREG(st.st_mode) && (st.st_mode & 077) != 0;
  int sys_errno = open_to_others ? 0 : read_line(fd, ret);
  (void)close(fd);
  if (open_to_others) {
    return km_fail(err, KM_ERR_KEY_FILE_MODE,
                   "others may read the passphrase's file %.60s: run chmod 600 on it", path);
  }
  if (sys_errno != 0) {
    return km_fail_errno(err, sys_errno, "cannot read the passphrase's file %.80s", path);
  }
  return check(ret, err);
}

static int from_env(passphrase *ret, const char *text, km_errinfo *err) {
  ret->len = strlen(text);
  memcpy(ret->text, text, ret->len <= PASSPHRASE_MAX ? ret->len : PASSPHRASE_MAX);
  return check(ret, err);
}

/* What the terminal is told; nothing can be done if it does not hear. */
static void tell(int tty, const char *text) {
  ssize_t n = write(tty, text, strlen(text));
  (void)n;
}

/* One question, without an echo. */
static int ask(int tty, const char *prompt, passphrase *ret, km_errinfo *err) {
  struct termios before, quiet;
  if (tcgetattr(tty, &before) != 0) {
    return km_fail_errno(err, errno, "cannot ask for the passphrase");
  }
  quiet = before;
  quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL | ISIG);
  quiet.c_cc[VEOL] = INTERRUPT;
  /* First quiet, then the question: what is typed after it is read, and never shown. */
  (void)tcsetattr(tty, TCSAFLUSH, &quiet);
  tell(tty, prompt);
  int sys_errno = read_line(tty, ret);
  (void)tcsetattr(tty, TCSAFLUSH, &before);
  tell(tty, "\n");
  return sys_errno != 0 ? km_fail_errno(err, sys_errno, "cannot read the passphrase")
                        : check(ret, err);
}

static int from_person(passphrase *ret, const passphrase_source *source, int tty, km_errinfo *err) {
  passphrase again = {.len = 0};
  int rv = ask(tty, source->prompt, ret, err);
  if (rv != 0 || !source->twice) {
    return rv;
  }
  rv = ask(tty, "The same again: ", &again, err);
  if (rv == 0 && (again.len != ret->len || memcmp(again.text, ret->text, ret->len) != 0)) {
    rv = km_fail(err, KM_ERR_INVALID, "these were two different passphrases");
  }
  passphrase_wipe(&again);
  return rv;
}

int passphrase_get(passphrase *ret, const passphrase_source *source, km_errinfo *err) {
  const char *text = source->env == NULL ? NULL : getenv(source->env);
  int rv, tty;
  memset(ret, 0, sizeof *ret);
  if (source->file != NULL) {
    rv = from_file(ret, source->file, err);
  } else if (text != NULL && text[0] != '\0') {
    rv = from_env(ret, text, err);
  } else if (source->prompt != NULL &&
             (tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)) >= 0) {
    rv = from_person(ret, source, tty, err);
    (void)close(tty);
  } else {
    rv = km_fail(err, KM_ERR_NOT_FOUND,
                 "a passphrase is needed, and there is no terminal to ask at: give "
                 "--passphrase-file, or set $KM_PASSPHRASE");
  }
  if (rv != 0) {
    passphrase_wipe(ret);
  }
  return rv;
}
