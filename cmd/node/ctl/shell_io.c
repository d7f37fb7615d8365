#include "cmd/node/ctl/shell_io.h"

#include <errno.h>
#include <fcntl.h>
#include <keymesh/uv.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/env.h"
#include "base/io/loop_io.h"
#include "cmd/node/ctl/editor_io.h"

#define LINE_CAP (8u << 20) /* of the longest line */
#define READ_CAP 4096
#define ESCAPE_MS 100 /* keys that begin with ESC come at once, or it was ESC itself */
#define CTRL_C 0x03

struct shell {
  shell_core core;
  shell_setup setup;
  km_poll *poll;  /* NULL: a file, which is read as it is needed */
  km_defer *next; /* another step */
  km_timer *escape;
  uv_signal_t *resized; /* NULL: plain lines */
  editor *editor;       /* NULL: plain lines */
  bool terminal;        /* somebody types */
  bool begun;           /* the first prompt was shown */
  bool ended;           /* of input */
  bool late;            /* the rest of a key did not come */
  bool quitting;
  char *in; /* what was read and not used */
  size_t len, cap;
};

/* --- input ------------------------------------------------------------------------------------ */

static bool make_room(shell *s) {
  if (s->cap - s->len >= READ_CAP) {
    return true;
  }
  size_t cap = s->cap == 0 ? 2 * READ_CAP : 2 * s->cap;
  char *in = cap > LINE_CAP ? NULL : realloc(s->in, cap);
  if (in == NULL) {
    return false;
  }
  s->in = in;
  s->cap = cap;
  return true;
}

static void read_input(shell *s) {
  if (!make_room(s)) {
    km_errinfo err;
    (void)km_fail(&err, KM_ERR_LIMIT, "a line is longer than %u bytes", LINE_CAP);
    shell_core_fail(&s->core, &err);
    s->len = 0;
    s->ended = true; /* what follows is no command */
    return;
  }
  ssize_t n = read(STDIN_FILENO, s->in + s->len, READ_CAP);
  if (n > 0) {
    s->len += (size_t)n;
  } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
    s->ended = true;
  }
}

static void drop(shell *s, size_t n) {
  memmove(s->in, s->in + n, s->len - n);
  s->len -= n;
}

static void show_prompt(shell *s) {
  char text[SHELL_PROMPT_CAP];
  if (s->editor != NULL) {
    editor_begin(s->editor);
  } else if (s->terminal) {
    (void)fputs(shell_core_prompt(&s->core, text), stdout);
    (void)fflush(stdout);
  }
}

/* --- lines ------------------------------------------------------------------------------------ */

static void run_line(shell *s, const char *line) {
  shell_core_line(&s->core, line);
  if (s->core.waiting && s->editor != NULL) {
    editor_watch_keys(s->editor, true);
  } else if (!s->core.waiting && !s->core.quit) {
    show_prompt(s);
  }
}

/* The next line of what was read; the last one needs no end. False: there is none. */
static bool plain_line(shell *s) {
  char *end = s->len == 0 ? NULL : memchr(s->in, '\n', s->len);
  if (end == NULL && (!s->ended || s->len == 0)) {
    return false;
  }
  size_t len = end == NULL ? s->len : (size_t)(end - s->in);
  char *line = malloc(len + 1);
  if (line == NULL) {
    s->ended = true;
    return false;
  }
  memcpy(line, s->in, len);
  line[len] = '\0';
  drop(s, end == NULL ? len : len + 1);
  run_line(s, line);
  free(line);
  return true;
}

static void on_late(void *ctx);

static bool edited_line(shell *s) {
  size_t used;
  if (s->len == 0) {
    return false;
  }
  editor_event event =
      editor_feed(s->editor, (const uint8_t *)s->in, s->len, s->late || s->ended, &used);
  s->late = false;
  drop(s, used);
  if (event == EDITOR_LINE) {
    run_line(s, editor_line(s->editor));
  } else if (event == EDITOR_CANCEL) {
    show_prompt(s);
  } else if (event == EDITOR_END) {
    s->ended = true;
    s->len = 0;
  } else if (s->len > 0 && s->escape == NULL &&
             km_timer_start(&s->escape, s->setup.loop, ESCAPE_MS, on_late, s) != 0) {
    s->escape = NULL; /* the next key shows what it was */
  }
  return event == EDITOR_LINE || event == EDITOR_CANCEL;
}

/* A command goes on: of what is typed meanwhile Ctrl-C counts, the rest is for later. */
static void look_for_cancel(shell *s) {
  char *key = s->editor == NULL || s->len == 0 ? NULL : memchr(s->in, CTRL_C, s->len);
  if (key != NULL) {
    drop(s, (size_t)(key - s->in) + 1);
    (void)fputs("^C\n", stdout);
    shell_core_cancel(&s->core);
  }
}

/* --- steps ------------------------------------------------------------------------------------ */

static void wait_for_input(shell *s) {
  bool wanted = !s->ended && !s->quitting && (s->editor != NULL || !s->core.waiting);
  if (s->poll != NULL) {
    if (km_poll_set(s->poll, wanted ? KM_POLL_READ : 0) != 0) {
      s->ended = true;
    }
  } else if (wanted) {
    km_defer_run(s->next);
  }
}

static void quit(shell *s) {
  s->quitting = true;
  wait_for_input(s);
  s->setup.on_quit(s->setup.ctx, s->terminal ? 0 : s->core.status);
}

/* What was read is worked off; then more is waited for, or it is over. */
static void step(void *ctx) {
  shell *s = ctx;
  if (s->quitting) {
    return;
  }
  if (!s->begun) {
    s->begun = true;
    show_prompt(s);
  }
  if (s->poll == NULL && !s->ended && !s->core.waiting) {
    read_input(s);
  }
  bool more = true;
  while (more && !s->core.waiting && !s->core.quit) {
    more = s->editor != NULL ? edited_line(s) : plain_line(s);
  }
  if (!s->core.waiting && (s->core.quit || s->ended)) {
    quit(s);
    return;
  }
  wait_for_input(s);
}

static void on_late(void *ctx) {
  shell *s = ctx;
  s->escape = NULL;
  s->late = true;
  step(s);
}

static void on_readable(void *ctx, int events) {
  shell *s = ctx;
  (void)events;
  read_input(s);
  km_timer_cancel(s->escape);
  s->escape = NULL;
  if (s->core.waiting) {
    look_for_cancel(s);
  }
  if (s->ended && s->terminal) {
    shell_core_cancel(&s->core); /* it was hung up: nobody is there to see more */
  }
  step(s);
}

/* A command that went on has ended; from inside a callback of the node. */
static void on_idle(void *ctx) {
  shell *s = ctx;
  if (s->editor != NULL) {
    editor_watch_keys(s->editor, false);
  }
  if (!s->core.quit) {
    show_prompt(s);
  }
  km_defer_run(s->next);
}

/* --- life ------------------------------------------------------------------------------------- */

static void on_resized(uv_signal_t *handle, int number) {
  shell *s = handle->data;
  (void)number;
  if (s != NULL && s->editor != NULL) {
    editor_resized(s->editor);
  }
}

static void on_signal_closed(uv_handle_t *handle) {
  free(handle);
}

/* Without it a resized terminal is drawn as it was: no reason to fail. */
static void watch_size(shell *s) {
  s->resized = calloc(1, sizeof *s->resized);
  if (s->resized == NULL) {
    return;
  }
  if (uv_signal_init(km_loop_uv(s->setup.loop), s->resized) != 0) {
    free(s->resized);
    s->resized = NULL;
    return;
  }
  s->resized->data = s;
  uv_unref((uv_handle_t *)s->resized);
  (void)uv_signal_start(s->resized, on_resized, SIGWINCH);
}

/* libuv makes what it polls non-blocking, but a terminal is one file with standard output, whose
 * writers do not expect it; and what is readable does not block. */
static int open_input(shell *s, km_errinfo *err) {
  int flags = fcntl(STDIN_FILENO, F_GETFL);
  int rv = km_poll_new(&s->poll, s->setup.loop, STDIN_FILENO, on_readable, s);
  if (rv == KM_ERR_NOMEM) {
    return km_fail(err, rv, NULL);
  }
  if (rv != 0) {
    s->poll = NULL;
  } else if (flags != -1) {
    (void)fcntl(STDIN_FILENO, F_SETFL, flags);
  }
  return 0;
}

/* Beside the control socket, in a folder that may not be there before the first run. From
 * malloc. */
static char *history_path(const project *p) {
  static const char name[] = "shell_history";
  const char *slash = strrchr(p->control_path, '/');
  size_t len = slash == NULL ? 0 : (size_t)(slash - p->control_path) + 1;
  char *path = malloc(len + sizeof name);
  if (path == NULL) {
    return NULL;
  }
  memcpy(path, p->control_path, len);
  path[len] = '\0';
  if (len > 0) {
    (void)mkdir(path, 0700); /* there is one already, or there is no history */
  }
  memcpy(path + len, name, sizeof name);
  return path;
}

static int open_editor(shell *s, km_errinfo *err) {
  char *path = history_path(s->setup.project);
  int rv = editor_open(&s->editor, &s->core, path, err);
  free(path);
  if (rv != 0) {
    s->editor = NULL;
    return rv == KM_ERR_UNSUPPORTED ? 0 : rv;
  }
  watch_size(s);
  return 0;
}

int shell_start(shell **ret, const shell_setup *setup, km_errinfo *err) {
  shell *s = calloc(1, sizeof *s);
  if (s == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  s->setup = *setup;
  s->terminal = isatty(STDIN_FILENO) != 0;
  shell_core_init(&s->core, setup->project, setup->json, setup->ask, setup->ask_ctx);
  s->core.on_idle = on_idle;
  s->core.idle_ctx = s;
  int rv = km_defer_new(&s->next, setup->loop, step, s);
  rv = rv != 0 ? km_fail(err, rv, NULL) : open_input(s, err);
  rv = rv == 0 && s->terminal ? open_editor(s, err) : rv;
  if (rv != 0) {
    shell_detach(s);
    return rv;
  }
  if (s->terminal && setup->greeting != NULL) {
    cli_say(&s->core.show.out, "%s", setup->greeting);
  }
  km_defer_run(s->next); /* behind what the node says when it begins */
  *ret = s;
  return 0;
}

void shell_detach(shell *s) {
  if (s == NULL) {
    return;
  }
  s->quitting = true;
  s->core.on_idle = NULL;
  shell_core_cancel(&s->core);
  editor_close(s->editor);
  shell_core_close(&s->core);
  if (s->resized != NULL) {
    s->resized->data = NULL;
    uv_close((uv_handle_t *)s->resized, on_signal_closed);
  }
  km_timer_cancel(s->escape);
  km_poll_free(s->poll);
  km_defer_free(s->next);
  free(s->in);
  free(s);
}

/* --- beside a running node -------------------------------------------------------------------- */

static void ask_node(void *ctx, const char *name, cJSON *args, const request_reply *reply,
                     request **ret) {
  request_run(ctx, name, args, reply, ret);
  cJSON_Delete(args);
}

int shell_attach(shell **ret, node_context *node, void (*on_quit)(void *ctx, int status), void *ctx,
                 km_errinfo *err) {
  const shell_setup setup = {.loop = node->loop,
                             .project = node->project,
                             .ask = ask_node,
                             .ask_ctx = node,
                             .greeting = "'help' lists the commands; Ctrl-D ends the node",
                             .on_quit = on_quit,
                             .ctx = ctx};
  return shell_start(ret, &setup, err);
}
