/* The command that is run for each message: real processes. */
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/node/daemon/hook_io.h"
#include "test/base/test_env.h"

typedef struct lab {
  char dir[64];
  km_loop *loop;
  km_logger logger;
  hook *hook;
  unsigned failed, killed, skipped, done; /* as the log tells */
} lab;

static void on_log(void *ctx, const km_log_entry *entry) {
  lab *l = ctx;
  l->failed += strcmp(entry->event, "hook-failed") == 0;
  l->killed += strcmp(entry->event, "hook-killed") == 0;
  l->skipped += strcmp(entry->event, "hook-skipped") == 0;
  l->done += strcmp(entry->event, "hook-done") == 0;
}

static void open_lab(lab *l, uint32_t limit_ms, const char *command) {
  *l = (lab){0};
  (void)snprintf(l->dir, sizeof l->dir, "%s", "/tmp/km-hook-XXXXXX");
  assert_non_null(mkdtemp(l->dir));
  l->logger = (km_logger){.sink = on_log, .ctx = l};
  memset(l->logger.filter.level, KM_LOG_DEBUG, sizeof l->logger.filter.level);
  assert_int_equal(km_loop_new(&l->loop), 0);
  const hook_config config = {
      .loop = l->loop, .folder = l->dir, .limit_ms = limit_ms, .logger = &l->logger};
  assert_int_equal(hook_open(&l->hook, &config), 0);
  assert_int_equal(hook_set_command(l->hook, command), 0);
}

static void close_lab(lab *l) {
  char command[128];
  hook_close(l->hook);
  assert_int_equal(km_loop_free(l->loop), 0);
  (void)snprintf(command, sizeof command, "rm -r %s", l->dir);
  assert_int_equal(system(command), 0);
}

static void send_message(lab *l, const char *id, const char *type, const char *json) {
  const hook_message m = {.id = id, .type = type, .sender = "5e4d", .json = json};
  hook_run(l->hook, &m);
}

static void until(lab *l, const unsigned *counter, unsigned wanted) {
  while (*counter < wanted) {
    (void)km_loop_run_once(l->loop, -1);
  }
  assert_int_equal(*counter, wanted);
}

/* The content of a file in the folder; the caller frees it. */
static char *content(const lab *l, const char *name) {
  char path[128];
  (void)snprintf(path, sizeof path, "%s/%s", l->dir, name);
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  char *text = calloc(1, 4 << 20);
  assert_non_null(text);
  assert_true(fread(text, 1, (4 << 20) - 1, file) > 0);
  assert_int_equal(fclose(file), 0);
  return text;
}

static unsigned long number_of(const char *text) {
  char *end;
  unsigned long number = strtoul(text, &end, 10);
  assert_true(end > text);
  return number;
}

static bool exists(const lab *l, const char *name) {
  char path[128];
  struct stat st;
  (void)snprintf(path, sizeof path, "%s/%s", l->dir, name);
  return stat(path, &st) == 0;
}

static void command_gets_message_and_variables(void **state) {
  (void)state;
  lab l;
  open_lab(&l, 0, "cat >body; echo $KM_MESSAGE_ID $KM_MESSAGE_TYPE $KM_MESSAGE_SENDER >vars");
  send_message(&l, "00ff", "note", "{\"n\":1}");
  until(&l, &l.done, 1);
  char *body = content(&l, "body"), *vars = content(&l, "vars");
  assert_string_equal(body, "{\"n\":1}");
  assert_string_equal(vars, "00ff note 5e4d\n");
  free(body);
  free(vars);
  close_lab(&l);
}

/* Whatever stands in a message, the shell never reads it. */
static void message_is_never_run(void **state) {
  (void)state;
  lab l;
  const char *evil = "\"; touch stolen; `touch stolen` $(touch stolen)\n'";
  open_lab(&l, 0, "cat >body");
  send_message(&l, "00", "t", evil);
  until(&l, &l.done, 1);
  char *body = content(&l, "body");
  assert_string_equal(body, evil);
  assert_false(exists(&l, "stolen"));
  free(body);
  close_lab(&l);
}

static void large_message_comes_whole(void **state) {
  (void)state;
  lab l;
  size_t len = 2 << 20; /* more than a pipe holds */
  char *json = malloc(len + 1);
  assert_non_null(json);
  memset(json, 'x', len);
  json[len] = '\0';
  open_lab(&l, 0, "wc -c >size");
  send_message(&l, "00", "t", json);
  until(&l, &l.done, 1);
  char *size = content(&l, "size");
  assert_int_equal(number_of(size), len);
  free(size);
  free(json);
  close_lab(&l);
}

static void secrets_stay_out(void **state) {
  (void)state;
  lab l;
  assert_int_equal(setenv("KM_PASSPHRASE", "open sesame", 1), 0);
  assert_int_equal(setenv("KM_OLD_PASSPHRASE", "open sesame", 1), 0);
  assert_int_equal(setenv("KM_HOOK_TEST", "kept", 1), 0);
  open_lab(&l, 0, "echo \"[$KM_PASSPHRASE$KM_OLD_PASSPHRASE][$KM_HOOK_TEST]\" >vars");
  send_message(&l, "00", "t", "{}");
  until(&l, &l.done, 1);
  char *vars = content(&l, "vars");
  assert_string_equal(vars, "[][kept]\n");
  free(vars);
  close_lab(&l);
  assert_int_equal(unsetenv("KM_PASSPHRASE"), 0);
  assert_int_equal(unsetenv("KM_OLD_PASSPHRASE"), 0);
}

static void failures_are_told(void **state) {
  (void)state;
  lab l;
  open_lab(&l, 0, "exit 3");
  send_message(&l, "00", "t", "{}");
  until(&l, &l.failed, 1);
  assert_int_equal(hook_set_command(l.hook, "kill -9 $$"), 0);
  send_message(&l, "01", "t", "{}");
  until(&l, &l.failed, 2);
  assert_int_equal(l.done, 0);
  close_lab(&l);
}

/* With what it started in the background. */
static void late_command_is_killed(void **state) {
  (void)state;
  lab l;
  open_lab(&l, 200, "sleep 1000 & echo $! >child; sleep 1000");
  send_message(&l, "00", "t", "{}");
  until(&l, &l.killed, 1);
  char *child = content(&l, "child"), path[64];
  (void)snprintf(path, sizeof path, "/proc/%d/cwd", (int)number_of(child));
  /* It may wait as a zombie for whoever inherits it: a zombie has no folder. */
  char folder[8];
  while (readlink(path, folder, sizeof folder) >= 0) {
    (void)usleep(1000);
  }
  free(child);
  close_lab(&l);
}

static void few_run_at_once_and_none_is_lost(void **state) {
  (void)state;
  lab l;
  /* Each leaves a mark while it runs, and notes how many it saw. */
  open_lab(&l, 0,
           "touch run.$KM_MESSAGE_ID; sleep 0.05; ls | grep -c '^run' >>seen; "
           "rm run.$KM_MESSAGE_ID");
  for (unsigned i = 0; i < 20; i++) {
    char id[8];
    (void)snprintf(id, sizeof id, "%02x", i);
    send_message(&l, id, "t", "{}");
  }
  until(&l, &l.done, 20);
  char *seen = content(&l, "seen");
  unsigned lines = 0;
  for (char *at = seen; *at != '\0'; lines++) {
    assert_in_range(number_of(at), 1, HOOK_RUNNING_MAX);
    at = strchr(at, '\n') + 1;
  }
  assert_int_equal(lines, 20);
  free(seen);
  close_lab(&l);
}

static void flood_is_cut_and_told(void **state) {
  (void)state;
  lab l;
  open_lab(&l, 0, "sleep 1000");
  for (unsigned i = 0; i < HOOK_RUNNING_MAX + HOOK_WAITING_MAX + 3; i++) {
    send_message(&l, "00", "t", "{}");
  }
  assert_int_equal(l.skipped, 3);
  close_lab(&l);
}

static void large_messages_that_wait_are_bounded(void **state) {
  (void)state;
  lab l;
  const size_t len = 1 << 20;
  char *json = malloc(len + 1);
  assert_non_null(json);
  memset(json, 'x', len);
  json[len] = '\0';
  open_lab(&l, 0, "sleep 1000");
  for (unsigned i = 0; i < HOOK_RUNNING_MAX + HOOK_WAITING_BYTES / len + 3; i++) {
    send_message(&l, "00", "t", json);
  }
  assert_int_equal(l.skipped, 3);
  free(json);
  close_lab(&l);
}

static void without_command_nothing_happens(void **state) {
  (void)state;
  lab l;
  open_lab(&l, 0, NULL);
  send_message(&l, "00", "t", "{}");
  (void)km_loop_run_nowait(l.loop);
  assert_int_equal(l.done + l.failed + l.skipped, 0);
  close_lab(&l);
}

int main(void) {
  (void)signal(SIGPIPE, SIG_IGN); /* as programs do */
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(command_gets_message_and_variables),
      cmocka_unit_test(message_is_never_run),
      cmocka_unit_test(large_message_comes_whole),
      cmocka_unit_test(secrets_stay_out),
      cmocka_unit_test(failures_are_told),
      cmocka_unit_test(late_command_is_killed),
      cmocka_unit_test(few_run_at_once_and_none_is_lost),
      cmocka_unit_test(flood_is_cut_and_told),
      cmocka_unit_test(large_messages_that_wait_are_bounded),
      cmocka_unit_test(without_command_nothing_happens),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
