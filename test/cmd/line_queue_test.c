/* Lines into a pipe that is read late, or never, and into a file whose disk is full for a while. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/node/daemon/line_queue_io.h"
#include "test/base/test_env.h"

typedef struct lab {
  int read_end, write_end;
  km_loop *loop;
  line_queue *queue;
} lab;

static char *lost_line(void *ctx, uint64_t lines) {
  char text[32];
  (void)ctx;
  (void)snprintf(text, sizeof text, "lost %llu", (unsigned long long)lines);
  return strdup(text);
}

static void open_lab(lab *l) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  *l = (lab){.read_end = ends[0], .write_end = ends[1]};
  assert_int_equal(fcntl(l->read_end, F_SETFL, O_NONBLOCK), 0);
  assert_int_equal(km_loop_new(&l->loop), 0);
  assert_int_equal(line_queue_open(&l->queue, l->loop, l->write_end, lost_line, NULL), 0);
}

static void close_lab(lab *l) {
  (void)close(l->read_end);
  (void)close(l->write_end);
  assert_int_equal(km_loop_free(l->loop), 0);
}

/* Reads on until it has `len` bytes; the loop runs meanwhile. */
static char *take(const lab *l, size_t len) {
  char *text = malloc(len + 1);
  size_t have = 0;
  assert_non_null(text);
  while (have < len) {
    ssize_t n = read(l->read_end, text + have, len - have);
    if (n > 0) {
      have += (size_t)n;
    } else {
      (void)km_loop_run_once(l->loop, -1);
    }
  }
  text[len] = '\0';
  return text;
}

static void lines_come_at_once(void **state) {
  (void)state;
  lab l;
  open_lab(&l);
  line_queue_add(l.queue, "one");
  line_queue_add(l.queue, "two");
  char text[16] = "";
  assert_int_equal(read(l.read_end, text, sizeof text - 1), 8);
  assert_string_equal(text, "one\ntwo\n");
  assert_int_equal(line_queue_close(l.queue), 0);
  close_lab(&l);
}

static void late_reader_gets_all(void **state) {
  (void)state;
  lab l;
  char line[101];
  open_lab(&l);
  for (unsigned i = 0; i < 20000; i++) { /* 2 MB: more than a pipe holds */
    (void)snprintf(line, sizeof line, "%099u", i);
    line_queue_add(l.queue, line);
  }
  char *text = take(&l, 20000 * 100);
  for (unsigned i = 0; i < 20000; i++) {
    (void)snprintf(line, sizeof line, "%099u\n", i);
    assert_memory_equal(text + (size_t)i * 100, line, 100);
  }
  free(text);
  assert_int_equal(line_queue_close(l.queue), 0);
  close_lab(&l);
}

static void too_many_are_left_out_and_told(void **state) {
  (void)state;
  lab l;
  char line[1001];
  unsigned next = 0, lost = 0;
  open_lab(&l);
  for (unsigned i = 0; i < 6000; i++) { /* 6 MB */
    (void)snprintf(line, sizeof line, "%0999u", i);
    line_queue_add(l.queue, line);
  }
  do { /* whole lines, in their order, then how many are missing */
    char *text = take(&l, 5);
    if (memcmp(text, "lost ", 5) == 0) {
      free(text);
      text = take(&l, 5); /* 1740 or so */
      assert_int_equal(text[4], '\n');
      lost = (unsigned)strtoul(text, NULL, 10);
    } else {
      free(text);
      text = take(&l, 995);
      assert_int_equal(strtoul(text, NULL, 10), next++);
    }
    free(text);
  } while (lost == 0);
  assert_in_range(next, LINE_QUEUE_MAX / 1000 - 1, LINE_QUEUE_MAX / 1000 + 1100);
  assert_int_equal(next + lost, 6000);
  line_queue_add(l.queue, "again");
  char *text = take(&l, 6);
  assert_string_equal(text, "again\n");
  free(text);
  assert_int_equal(line_queue_close(l.queue), 0);
  close_lab(&l);
}

static void nobody_reads_at_the_end(void **state) {
  (void)state;
  lab l;
  char line[1001];
  open_lab(&l);
  (void)snprintf(line, sizeof line, "%0999u", 7U);
  for (unsigned i = 0; i < 6000; i++) {
    line_queue_add(l.queue, line);
  }
  assert_int_equal(line_queue_close(l.queue), 0); /* it does not wait for ever */
  close_lab(&l);
}

static void reader_leaves(void **state) {
  (void)state;
  lab l;
  open_lab(&l);
  (void)close(l.read_end);
  l.read_end = -1;
  line_queue_add(l.queue, "one");
  line_queue_add(l.queue, "two");
  assert_int_equal(line_queue_close(l.queue), 0);
  close_lab(&l);
}

/* --- disks ------------------------------------------------------------------------------------ */

static void open_disk_lab(lab *l, int fd) {
  *l = (lab){.read_end = -1, .write_end = fd};
  assert_true(fd >= 0);
  assert_int_equal(km_loop_new(&l->loop), 0);
  assert_int_equal(line_queue_open(&l->queue, l->loop, fd, lost_line, NULL), 0);
}

/* Of a full disk, or -1. */
static int open_full(void) {
  return open("/dev/full", O_WRONLY | O_CLOEXEC);
}

/* An empty file takes the place of what the lines go to; it has no name. */
static void give_room(const lab *l) {
  char path[] = "line_queue.XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(unlink(path), 0);
  assert_int_equal(dup2(fd, l->write_end), l->write_end);
  (void)close(fd);
}

static off_t size_of(int fd) {
  struct stat st;
  assert_int_equal(fstat(fd, &st), 0);
  return st.st_size;
}

/* Runs the loop until that many bytes are in the file, but no longer than 10 s. */
static void wait_for_size(const lab *l, off_t size) {
  uint64_t end = km_clock_now() + 10 * KM_NS_PER_S;
  while (size_of(l->write_end) < size && km_clock_now() < end) {
    (void)km_loop_run_once(l->loop, 100);
  }
  assert_int_equal(size_of(l->write_end), size);
}

static void assert_text(int fd, off_t at, const char *text) {
  char got[32] = "";
  assert_int_equal(pread(fd, got, strlen(text), at), strlen(text));
  assert_string_equal(got, text);
}

static void after_a_full_disk_all_lines_come(void **state) {
  (void)state;
  lab l;
  int fd = open_full();
  if (fd < 0) {
    skip();
  }
  open_disk_lab(&l, fd);
  line_queue_add(l.queue, "one");
  line_queue_add(l.queue, "two");
  give_room(&l);
  uint64_t before = km_clock_now();
  line_queue_add(l.queue, "three"); /* in its turn: when the disk is tried again */
  assert_int_equal(size_of(l.write_end), 0);
  wait_for_size(&l, 14);
  assert_in_range(km_clock_now() - before, KM_NS_PER_S / 2, 9 * KM_NS_PER_S);
  line_queue_add(l.queue, "four");
  assert_text(l.write_end, 0, "one\ntwo\nthree\nfour\n");
  assert_int_equal(line_queue_close(l.queue), 0);
  close_lab(&l);
}

static void what_a_full_disk_costs_is_told(void **state) {
  (void)state;
  lab l;
  char line[1001], text[32];
  int fd = open_full();
  if (fd < 0) {
    skip();
  }
  open_disk_lab(&l, fd);
  (void)snprintf(line, sizeof line, "%0999u", 7U);
  for (unsigned i = 0; i < 6000; i++) {
    line_queue_add(l.queue, line);
  }
  give_room(&l);
  off_t kept = (off_t)(LINE_QUEUE_MAX - 1) / 1000;
  int len = snprintf(text, sizeof text, "lost %d\n", 6000 - (int)kept);
  wait_for_size(&l, kept * 1000 + len);
  assert_text(l.write_end, kept * 1000, text);
  assert_int_equal(line_queue_close(l.queue), 0);
  close_lab(&l);
}

/* The end of a line that was begun comes too. Needs the right to mount. */
static void a_small_disk_that_was_full_has_whole_lines(void **state) {
  (void)state;
  lab l;
  char line[100], dir[] = "line_queue.XXXXXX", filler[12288] = {0};
  assert_non_null(mkdtemp(dir));
  if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0 ||
      mount("none", dir, "tmpfs", 0, "size=16k") != 0) {
    assert_int_equal(rmdir(dir), 0);
    skip();
  }
  int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int fd = openat(folder, "filler", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  assert_int_equal(write(fd, filler, sizeof filler), sizeof filler);
  (void)close(fd);
  open_disk_lab(&l, openat(folder, "out", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  for (unsigned i = 0; i < 100; i++) {
    (void)snprintf(line, sizeof line, "%099u", i);
    line_queue_add(l.queue, line);
  }
  assert_int_equal(size_of(l.write_end), 4096); /* a page, and so a part of a line */
  assert_int_equal(unlinkat(folder, "filler", 0), 0);
  wait_for_size(&l, 10000);
  for (unsigned i = 0; i < 100; i++) {
    (void)snprintf(line, sizeof line, "%02u\n", i);
    assert_text(l.write_end, (off_t)i * 100 + 97, line);
  }
  assert_int_equal(line_queue_close(l.queue), 0);
  (void)close(folder);
  close_lab(&l);
  assert_int_equal(umount(dir), 0);
  assert_int_equal(rmdir(dir), 0);
}

/* It says EIO, as a disk may for a while. */
static void a_terminal_that_is_gone_is_left_alone(void **state) {
  (void)state;
  lab l;
  int master = posix_openpt(O_RDWR | O_NOCTTY);
  if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) {
    skip();
  }
  open_disk_lab(&l, open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC));
  (void)close(master);
  line_queue_add(l.queue, "one");
  give_room(&l);
  assert_int_equal(line_queue_close(l.queue), EIO);
  assert_int_equal(size_of(l.write_end), 0);
  close_lab(&l);
}

static void full_disk_is_told(void **state) {
  (void)state;
  lab l;
  open_lab(&l);
  assert_int_equal(line_queue_close(l.queue), 0);
  (void)close(l.write_end);
  l.write_end = open("/dev/full", O_WRONLY | O_CLOEXEC); /* where there is none: a bad descriptor */
  assert_int_equal(line_queue_open(&l.queue, l.loop, l.write_end, lost_line, NULL), 0);
  line_queue_add(l.queue, "one");
  assert_int_not_equal(line_queue_close(l.queue), 0);
  close_lab(&l);
}

int main(void) {
  (void)signal(SIGPIPE, SIG_IGN); /* as programs do */
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lines_come_at_once),
      cmocka_unit_test(late_reader_gets_all),
      cmocka_unit_test(too_many_are_left_out_and_told),
      cmocka_unit_test(nobody_reads_at_the_end),
      cmocka_unit_test(reader_leaves),
      cmocka_unit_test(after_a_full_disk_all_lines_come),
      cmocka_unit_test(what_a_full_disk_costs_is_told),
      cmocka_unit_test(a_small_disk_that_was_full_has_whole_lines),
      cmocka_unit_test(a_terminal_that_is_gone_is_left_alone),
      cmocka_unit_test(full_disk_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
