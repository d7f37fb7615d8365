#include "cmd/node/daemon/hook_io.h"

#include <keymesh/uv.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/list.h"

#define VARIABLES 3

/* One message: waiting, then running. */
typedef struct run {
  km_list node; /* in `waiting` or `running` */
  hook *hook;   /* NULL once that is closed */
  char *command, *json;
  char *variables[VARIABLES];
  uv_process_t process;
  uv_pipe_t input;
  uv_write_t write;
  km_timer *timer;
  unsigned handles; /* open; it is freed with the last */
  bool killed;
} run;

struct hook {
  hook_config config;
  char *command;
  km_list waiting, running;
  size_t waiting_count, waiting_bytes, running_count;
  uint64_t dropped;
};

#define LOG(h, level, event, ...)                                                                  \
  KM_LOG((h)->config.logger, level, KM_LOGC_MESH, NULL, NULL, event, __VA_ARGS__)

static const char *id_of(const run *r) {
  return r->variables[0] + strlen("KM_MESSAGE_ID=");
}

static void free_run(run *r) {
  km_env_free(&km_env_system, r->command);
  km_env_free(&km_env_system, r->json);
  for (size_t i = 0; i < VARIABLES; i++) {
    free(r->variables[i]);
  }
  free(r);
}

/* --- environment ------------------------------------------------------------------------------ */

/* "NAME=value"; from malloc. */
static char *variable(const char *name, const char *value) {
  size_t cap = strlen(name) + strlen(value) + 2;
  char *text = malloc(cap);
  if (text != NULL) {
    (void)snprintf(text, cap, "%s=%s", name, value);
  }
  return text;
}

/* What opens the node's key, or a relay, is no business of the command's. */
static bool is_secret(const char *entry) {
  static const char *const names[] = {
      "KM_PASSPHRASE=", "KM_OLD_PASSPHRASE=", "KM_RELAY_TOKEN=", "NOTIFY_SOCKET=", "WATCHDOG_USEC=",
      "WATCHDOG_PID=",  "LISTEN_FDS=",        "LISTEN_PID=",     "LISTEN_FDNAMES="};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (strncmp(entry, names[i], strlen(names[i])) == 0) {
      return true;
    }
  }
  return false;
}

/* Ours, and the message's; the list alone is to be freed. */
static char **environment(const run *r) {
  size_t count = 0, used = 0;
  while (environ[count] != NULL) {
    count++;
  }
  char **list = calloc(count + VARIABLES + 1, sizeof *list);
  for (size_t i = 0; list != NULL && i < count; i++) {
    if (!is_secret(environ[i])) {
      list[used++] = environ[i];
    }
  }
  for (size_t i = 0; list != NULL && i < VARIABLES; i++) {
    list[used++] = r->variables[i];
  }
  return list;
}

/* --- the end of one --------------------------------------------------------------------------- */

static void start_waiting(hook *h);

static void on_handle_closed(uv_handle_t *handle) {
  run *r = handle->data;
  if (--r->handles == 0) {
    free_run(r);
  }
}

static void leave(run *r) {
  hook *h = r->hook;
  km_timer_cancel(r->timer);
  r->timer = NULL;
  if (h != NULL) {
    km_list_remove(&r->node);
    h->running_count--;
    r->hook = NULL;
    start_waiting(h);
  }
}

static void close_input(run *r) {
  if (!uv_is_closing((uv_handle_t *)&r->input)) {
    uv_close((uv_handle_t *)&r->input, on_handle_closed);
  }
}

static void tell_end(const run *r, int64_t status, int sig) {
  const char *id = id_of(r);
  if (r->killed) {
    LOG(r->hook, KM_LOG_WARN, "hook-killed", "message=%s it ran for more than %u s", id,
        r->hook->config.limit_ms / 1000);
  } else if (sig != 0) {
    LOG(r->hook, KM_LOG_WARN, "hook-failed", "message=%s signal=%d", id, sig);
  } else if (status != 0) {
    LOG(r->hook, KM_LOG_WARN, "hook-failed", "message=%s exit_status=%d", id, (int)status);
  } else {
    LOG(r->hook, KM_LOG_DEBUG, "hook-done", "message=%s", id);
  }
}

static void on_ended(uv_process_t *process, int64_t status, int sig) {
  run *r = process->data;
  if (r->hook != NULL) {
    tell_end(r, status, sig);
  }
  leave(r);
  close_input(r);
  uv_close((uv_handle_t *)process, on_handle_closed);
}

/* With all that it started: it leads a process group. */
static void on_limit(void *ctx) {
  run *r = ctx;
  r->timer = NULL;
  r->killed = true;
  (void)uv_kill(-uv_process_get_pid(&r->process), SIGKILL);
}

/* --- the beginning ---------------------------------------------------------------------------- */

/* A command that does not read its input is no failure. */
static void on_written(uv_write_t *req, int status) {
  (void)status;
  close_input(req->data);
}

static void write_message(run *r) {
  const uv_buf_t buf = uv_buf_init(r->json, (unsigned)strlen(r->json));
  r->write.data = r;
  if (uv_write(&r->write, (uv_stream_t *)&r->input, &buf, 1, on_written) != 0) {
    close_input(r);
  }
}

static int spawn(run *r, char **env) {
  char shell[] = "/bin/sh", dash_c[] = "-c";
  char *args[] = {shell, dash_c, r->command, NULL};
  uv_stdio_container_t stdio[] = {
      {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&r->input},
      {.flags = UV_INHERIT_FD, .data.fd = 2}, /* our stdout is for events */
      {.flags = UV_INHERIT_FD, .data.fd = 2},
  };
  const uv_process_options_t options = {.exit_cb = on_ended,
                                        .file = shell,
                                        .args = args,
                                        .env = env,
                                        .cwd = r->hook->config.folder,
                                        .flags = UV_PROCESS_DETACHED,
                                        .stdio_count = 3,
                                        .stdio = stdio};
  return uv_spawn(km_loop_uv(r->hook->config.loop), &r->process, &options);
}

static void start(hook *h, run *r) {
  char **env = environment(r);
  r->input.data = r->process.data = r;
  if (env == NULL || uv_pipe_init(km_loop_uv(h->config.loop), &r->input, 0) != 0) {
    LOG(h, KM_LOG_ERROR, "hook-failed", "message=%s out of memory", id_of(r));
    free(env);
    free_run(r);
    return;
  }
  km_list_append(&h->running, &r->node);
  h->running_count++;
  r->handles = 2;
  int rv = spawn(r, env);
  free(env);
  if (rv != 0) {
    LOG(h, KM_LOG_ERROR, "hook-failed", "message=%s cannot start /bin/sh: %s", id_of(r),
        uv_strerror(rv));
    km_list_remove(&r->node);
    h->running_count--;
    r->hook = NULL;
    close_input(r);
    uv_close((uv_handle_t *)&r->process, on_handle_closed);
    return;
  }
  if (km_timer_start(&r->timer, h->config.loop, h->config.limit_ms, on_limit, r) != 0) {
    r->timer = NULL; /* no memory: it runs for as long as it likes */
  }
  write_message(r);
}

static void start_waiting(hook *h) {
  for (km_list *node = h->waiting.next, *next;
       node != &h->waiting && h->running_count < HOOK_RUNNING_MAX; node = next) {
    run *r = KM_LIST_ITEM(node, run, node);
    next = node->next;
    km_list_remove(node);
    h->waiting_count--;
    h->waiting_bytes -= strlen(r->json);
    start(h, r);
  }
}

/* --- the hook --------------------------------------------------------------------------------- */

static run *new_run(hook *h, const hook_message *m) {
  run *r = calloc(1, sizeof *r);
  if (r == NULL) {
    return NULL;
  }
  km_list_init(&r->node);
  r->hook = h;
  r->command = km_env_strdup(&km_env_system, h->command);
  r->json = km_env_strdup(&km_env_system, m->json);
  r->variables[0] = variable("KM_MESSAGE_ID", m->id);
  r->variables[1] = variable("KM_MESSAGE_TYPE", m->type);
  r->variables[2] = variable("KM_MESSAGE_SENDER", m->sender);
  bool whole = r->command != NULL && r->json != NULL;
  for (size_t i = 0; i < VARIABLES; i++) {
    whole = whole && r->variables[i] != NULL;
  }
  if (!whole) {
    free_run(r);
    return NULL;
  }
  return r;
}

void hook_run(hook *h, const hook_message *message) {
  if (h->command == NULL) {
    return;
  }
  bool room = h->waiting_count < HOOK_WAITING_MAX &&
              strlen(message->json) <= HOOK_WAITING_BYTES - h->waiting_bytes;
  run *r = room ? new_run(h, message) : NULL;
  if (r == NULL) {
    h->dropped++;
    LOG(h, KM_LOG_ERROR, "hook-skipped",
        "message=%s too many wait (%llu so far); km-node messages still shows it", message->id,
        (unsigned long long)h->dropped);
    return;
  }
  km_list_append(&h->waiting, &r->node);
  h->waiting_count++;
  h->waiting_bytes += strlen(r->json);
  start_waiting(h);
}

bool hook_is_busy(const hook *h) {
  return h->running_count + h->waiting_count > 0;
}

int hook_set_command(hook *h, const char *command) {
  char *copy = command == NULL ? NULL : km_env_strdup(&km_env_system, command);
  if (command != NULL && copy == NULL) {
    return KM_ERR_NOMEM;
  }
  km_env_free(&km_env_system, h->command);
  h->command = copy;
  return 0;
}

int hook_open(hook **ret, const hook_config *config) {
  hook *h = calloc(1, sizeof *h);
  if (h == NULL) {
    return KM_ERR_NOMEM;
  }
  h->config = *config;
  h->config.limit_ms = config->limit_ms != 0 ? config->limit_ms : HOOK_LIMIT_MS;
  km_list_init(&h->waiting);
  km_list_init(&h->running);
  *ret = h;
  return 0;
}

/* Asked to end. Half a message would be worse than none: who has not got all of it is killed. */
static void abandon(run *r) {
  bool whole = uv_is_closing((uv_handle_t *)&r->input);
  km_timer_cancel(r->timer);
  r->timer = NULL;
  r->hook = NULL;
  (void)uv_kill(-uv_process_get_pid(&r->process), whole ? SIGTERM : SIGKILL);
  close_input(r);
  if (!uv_is_closing((uv_handle_t *)&r->process)) {
    uv_close((uv_handle_t *)&r->process, on_handle_closed);
  }
}

void hook_close(hook *h) {
  if (h == NULL) {
    return;
  }
  for (km_list *node = h->waiting.next, *next; node != &h->waiting; node = next) {
    next = node->next;
    free_run(KM_LIST_ITEM(node, run, node));
  }
  while (!km_list_empty(&h->running)) {
    run *r = KM_LIST_ITEM(h->running.next, run, node);
    km_list_remove(&r->node);
    abandon(r);
  }
  km_env_free(&km_env_system, h->command);
  free(h);
}
