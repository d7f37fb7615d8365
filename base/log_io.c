#include <errno.h>
#include <keymesh/log.h>
#include <string.h>
#include <unistd.h>

/* ECMA-48 colours of the level's word; whole lines would tire the eye. */
static const char *colour_of(km_log_level level) {
  switch (level) {
  case KM_LOG_ERROR:
    return "\033[31m";
  case KM_LOG_WARN:
    return "\033[33m";
  case KM_LOG_INFO:
    return "\033[32m";
  default:
    return "\033[2m";
  }
}

/* One write for a line, so that lines of several threads do not mix. */
static void write_line(const char *text, size_t len) {
  while (len > 0) {
    ssize_t n = write(STDERR_FILENO, text, len);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      return; /* nobody is left who could be told */
    }
    text += n;
    len -= (size_t)n;
  }
}

void km_log_to_stderr(void *ctx, const km_log_entry *entry) {
  (void)ctx;
  int saved_errno = errno;
  char text[1024];
  size_t len = km_log_format(entry, text, sizeof text - 1);
  text[len++] = '\n';

  static const char reset[] = "\033[0m";
  const char *level = km_log_level_name(entry->level);
  size_t level_len = strlen(level);
  const char *space = memchr(text, ' ', len);
  size_t before = space != NULL ? (size_t)(space - text) + 1 : len;
  if (isatty(STDERR_FILENO) == 1 && before + level_len < len) {
    const char *colour = colour_of(entry->level);
    size_t colour_len = strlen(colour);
    char line[sizeof text + 32];
    char *at = line;
    memcpy(at, text, before);
    memcpy(at += before, colour, colour_len);
    memcpy(at += colour_len, level, level_len);
    memcpy(at += level_len, reset, sizeof reset - 1);
    at += sizeof reset - 1;
    memcpy(at, text + before + level_len, len - before - level_len);
    write_line(line, len + colour_len + sizeof reset - 1);
  } else {
    write_line(text, len);
  }
  errno = saved_errno;
}
