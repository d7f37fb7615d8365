/* Lines into a pipe that is read late, or never. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
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
      cmocka_unit_test(full_disk_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
