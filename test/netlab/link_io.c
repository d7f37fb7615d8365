/* km-netlab-link: a cable between two network namespaces that behaves as a long-distance link does.
 * Its ends are Ethernet interfaces (TAP), so that it goes wherever a veth pair goes. Obeys lines on
 * standard input (link_settings.h), answers each with a line, and ends with its input. A test
 * program, never installed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/env.h"
#include "test/netlab/link_frame.h"
#include "test/netlab/link_settings.h"
#include "test/netlab/link_tap_io.h"

#define FRAMES_A_TURN 256 /* read from one end before the other gets its turn */
#define MAX_FRAME 65550
/* The least time that is slept with packets under way: at high rates many leave in one turn. */
#define SLACK_NS UINT64_C(50000)

#define USAGE                                                                                      \
  "usage: km-netlab-link END END [--mtu N] [--seed N] [SETTING]...\n"                              \
  "END is an interface to be made, or NAMESPACE-FILE:INTERFACE. Settings: delay=MS jitter=MS\n"    \
  "loss=P burst=N reorder=P hold=MS dup=P corrupt=P rate=MBIT queue=BYTES buffer=BYTES "           \
  "max=BYTES\n"                                                                                    \
  "cut=on|off. Lines on standard input: [ab|ba|both] SETTING ... | stats\n"

typedef struct way {
  link_pipe pipe;
  pipe_options options;
  int from, to;
  uint64_t seed;
  uint64_t refused; /* by the kernel at the far end */
} way;

typedef struct emulator {
  way ab, ba;
  int epoll, timer;
  int mtu;
  char line[512]; /* of standard input, as far as it came */
  size_t line_len;
  bool done;
} emulator;

static int watch(const emulator *e, int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  return epoll_ctl(e->epoll, EPOLL_CTL_ADD, fd, &event);
}

static void put(way *w, const void *frame, size_t len) {
  if (write(w->to, frame, len) < 0) {
    w->refused++;
  }
}

static void take(way *w) {
  static uint8_t frame[MAX_FRAME];
  uint64_t now = km_clock_now();
  for (int i = 0; i < FRAMES_A_TURN; i++) {
    ssize_t n = read(w->from, frame, sizeof frame);
    if (n <= 0) {
      return;
    }
    if (frame_is_neighbour(frame, (size_t)n)) {
      if (!w->options.blackhole) {
        put(w, frame, (size_t)n);
      }
    } else if (!pipe_send(&w->pipe, now, frame, (size_t)n, FRAME_HEAD)) {
      fprintf(stderr, "km-netlab-link: out of memory\n");
    }
  }
}

static void deliver(way *w, uint64_t now) {
  link_packet *p;
  while ((p = link_pop(&w->pipe.dir, now)) != NULL) {
    put(w, p->data, p->len);
    free(p);
  }
}

static uint64_t least(uint64_t a, uint64_t b) {
  return a < b ? a : b;
}

static void arm(const emulator *e) {
  uint64_t next = least(link_next(&e->ab.pipe.dir), link_next(&e->ba.pipe.dir));
  struct itimerspec at = {0};
  if (next != LINK_NEVER) {
    uint64_t soon = km_clock_now() + SLACK_NS;
    next = next < soon ? soon : next;
    at.it_value.tv_sec = (time_t)(next / KM_NS_PER_S);
    at.it_value.tv_nsec = (long)(next % KM_NS_PER_S);
  }
  (void)timerfd_settime(e->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static void print_way(const char *name, const way *w) {
  const link_stats *s = &w->pipe.dir.stats;
  printf("\"%s\":{\"sent\":%llu,\"sent_bytes\":%llu,\"delivered\":%llu,\"delivered_bytes\":%llu,"
         "\"lost\":%llu,\"overflowed\":%llu,\"cut\":%llu,\"duplicated\":%llu,\"corrupted\":%llu,"
         "\"reordered\":%llu,\"too_long\":%llu,\"refused\":%llu}",
         name, (unsigned long long)s->sent_packets, (unsigned long long)s->sent_bytes,
         (unsigned long long)s->delivered_packets, (unsigned long long)s->delivered_bytes,
         (unsigned long long)s->lost, (unsigned long long)s->overflowed,
         (unsigned long long)s->blackholed, (unsigned long long)s->duplicated,
         (unsigned long long)s->corrupted, (unsigned long long)s->reordered,
         (unsigned long long)w->pipe.too_long, (unsigned long long)w->refused);
}

static void print_stats(const emulator *e) {
  putchar('{');
  print_way("ab", &e->ab);
  putchar(',');
  print_way("ba", &e->ba);
  puts("}");
}

static void obey(emulator *e, char *line) {
  km_errinfo err = {0};
  if (strcmp(line, "stats") == 0) {
    print_stats(e);
  } else if (settings_line(&e->ab.options, &e->ba.options, line, &err) != 0) {
    printf("error: %s\n", err.text);
  } else {
    pipe_set(&e->ab.pipe, &e->ab.options);
    pipe_set(&e->ba.pipe, &e->ba.options);
    puts("ok");
  }
  fflush(stdout);
}

static void read_lines(emulator *e) {
  size_t room = sizeof e->line - 1 - e->line_len;
  ssize_t n = read(STDIN_FILENO, e->line + e->line_len, room);
  if (n <= 0) {
    e->done = true;
    return;
  }
  e->line_len += (size_t)n;
  e->line[e->line_len] = '\0';
  char *start = e->line, *end;
  while ((end = strchr(start, '\n')) != NULL) {
    *end = '\0';
    obey(e, start);
    start = end + 1;
  }
  e->line_len -= (size_t)(start - e->line);
  memmove(e->line, start, e->line_len + 1);
  if (e->line_len == sizeof e->line - 1) {
    fprintf(stderr, "km-netlab-link: a line without an end\n");
    e->done = true;
  }
}

static void turn(emulator *e) {
  struct epoll_event events[4];
  int ready = epoll_wait(e->epoll, events, 4, -1);
  for (int i = 0; i < ready; i++) {
    int fd = events[i].data.fd;
    uint64_t ticks;
    if (fd == e->ab.from) {
      take(&e->ab);
    } else if (fd == e->ba.from) {
      take(&e->ba);
    } else if (fd == STDIN_FILENO) {
      read_lines(e);
    } else if (read(e->timer, &ticks, sizeof ticks) < 0 && errno != EAGAIN) {
      e->done = true;
    }
  }
  uint64_t now = km_clock_now();
  deliver(&e->ab, now);
  deliver(&e->ba, now);
  arm(e);
}

/* A whole number from 0 to `high`. */
static bool whole(uint64_t *ret, const char *text, uint64_t high) {
  char *end;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 10);
  *ret = value;
  return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && value <= high;
}

static int read_word(emulator *e, char **argv, int *i, km_errinfo *err) {
  uint64_t value;
  if (strncmp(argv[*i], "--", 2) != 0) {
    int rv = settings_word(&e->ab.options, argv[*i], err);
    e->ba.options = e->ab.options;
    return rv;
  }
  const char *name = argv[*i], *text = argv[*i + 1];
  *i += 1;
  if (strcmp(name, "--mtu") == 0 && text != NULL && whole(&value, text, 65535)) {
    e->mtu = (int)value;
  } else if (strcmp(name, "--seed") == 0 && text != NULL && whole(&value, text, UINT64_MAX)) {
    e->ab.seed = value;
    e->ba.seed = ~value;
  } else {
    return km_fail(err, KM_ERR_INVALID, "%s is unknown, or does not take '%s'", name,
                   text != NULL ? text : "");
  }
  return 0;
}

static int read_words(emulator *e, int argc, char **argv, km_errinfo *err) {
  e->mtu = 1500;
  e->ba.seed = ~e->ab.seed;
  pipe_options_default(&e->ab.options);
  e->ba.options = e->ab.options;
  if (argc < 3) {
    return km_fail(err, KM_ERR_INVALID, "two ends are needed");
  }
  for (int i = 3; i < argc; i++) {
    int rv = read_word(e, argv, &i, err);
    if (rv != 0) {
      return rv;
    }
  }
  return 0;
}

static int open_ends(emulator *e, char **argv, km_errinfo *err) {
  int a = tap_open(argv[1], e->mtu, err);
  int b = a < 0 ? a : tap_open(argv[2], e->mtu, err);
  if (b < 0) {
    return b;
  }
  e->ab.from = e->ba.to = a;
  e->ab.to = e->ba.from = b;
  e->epoll = epoll_create1(EPOLL_CLOEXEC);
  e->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (e->epoll < 0 || e->timer < 0 || watch(e, a) != 0 || watch(e, b) != 0 ||
      watch(e, e->timer) != 0 || watch(e, STDIN_FILENO) != 0) {
    return km_fail_errno(err, errno, "cannot watch the link and standard input");
  }
  return 0;
}

int main(int argc, char **argv) {
  static emulator e;
  km_errinfo err = {0};
  if (read_words(&e, argc, argv, &err) != 0) {
    fprintf(stderr, "km-netlab-link: %s\n%s", err.text, USAGE);
    return 2;
  }
  if (open_ends(&e, argv, &err) != 0) {
    fprintf(stderr, "km-netlab-link: %s\n", err.text);
    return 1;
  }
  pipe_init(&e.ab.pipe, &e.ab.options, link_splitmix, &e.ab.seed);
  pipe_init(&e.ba.pipe, &e.ba.options, link_splitmix, &e.ba.seed);
  puts("ready");
  fflush(stdout);
  while (!e.done) {
    turn(&e);
  }
  pipe_clear(&e.ab.pipe);
  pipe_clear(&e.ba.pipe);
  return 0;
}
