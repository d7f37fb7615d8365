#include "cmd/node/ctl/editor_io.h"

#include "base/env.h"

#ifdef KM_WITH_LIBEDIT

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

#include "base/text.h"
#include "cmd/node/ctl/keys.h"

#define HISTORY_LINES 1000
#define SCREEN_COLUMNS 80 /* of lists of choices */
#define CTRL_C 0x03
#define CTRL_D 0x04

struct editor {
  shell_core *core;
  EditLine *el;
  History *history;
  char *history_path; /* NULL: none */
  wchar_t keys[8];    /* of one key, for libedit to read */
  size_t key_at, key_count;
  char *line; /* the last one */
  char prompt[SHELL_PROMPT_CAP];
  struct termios before; /* of the time between editor_pause and editor_begin */
  bool active, watching;
};

static editor *of(EditLine *el) {
  void *e = NULL;
  (void)el_get(el, EL_CLIENTDATA, &e);
  return e;
}

static char *prompt(EditLine *el) {
  editor *e = of(el);
  (void)shell_core_prompt(e->core, e->prompt);
  return e->prompt;
}

/* libedit reads here: what we have, never the terminal. */
static int next_key(EditLine *el, wchar_t *ret) {
  editor *e = of(el);
  if (e->key_at == e->key_count) {
    return -1;
  }
  *ret = e->keys[e->key_at++];
  return 1;
}

/* --- completion ------------------------------------------------------------------------------- */

static void list_choices(const shell_choices *c) {
  size_t width = 0;
  for (size_t i = 0; i < c->count; i++) {
    size_t n = table_width(c->at[i]);
    width = n > width ? n : width;
  }
  size_t columns = SCREEN_COLUMNS / (width + 2);
  columns = columns == 0 ? 1 : columns;
  (void)putchar('\n');
  for (size_t i = 0; i < c->count; i++) {
    bool last = (i + 1) % columns == 0 || i + 1 == c->count;
    km_text_clean(c->at[i]); /* keys are what others wrote */
    printf("%s%*s", c->at[i], last ? 0 : (int)(width + 2 - table_width(c->at[i])), "");
    if (last) {
      (void)putchar('\n');
    }
  }
  (void)fflush(stdout);
}

static unsigned char complete(EditLine *el, int ch) {
  editor *e = of(el);
  const LineInfo *info = el_line(el);
  size_t len = (size_t)(info->cursor - info->buffer);
  shell_choices choices;
  unsigned char ret = CC_REFRESH_BEEP;
  (void)ch;
  shell_complete(e->core, info->buffer, len, &choices);
  if (choices.insert != NULL) {
    char *typed = strndup(info->buffer + choices.from, len - choices.from);
    if (typed != NULL) {
      el_deletestr(el, (int)table_width(typed));
      ret = el_insertstr(el, choices.insert) == 0 ? CC_REFRESH : CC_ERROR;
      free(typed);
    }
  } else if (choices.count > 1) {
    list_choices(&choices);
    ret = CC_REDISPLAY;
  }
  shell_choices_free(&choices);
  return ret;
}

/* --- history ---------------------------------------------------------------------------------- */

static void load_history(editor *e) {
  HistEvent ev;
  e->history = history_init();
  if (e->history == NULL) {
    return;
  }
  (void)history(e->history, &ev, H_SETSIZE, HISTORY_LINES);
  (void)history(e->history, &ev, H_SETUNIQUE, 1);
  (void)el_set(e->el, EL_HIST, history, e->history);
  if (e->history_path != NULL) {
    (void)history(e->history, &ev, H_LOAD, e->history_path); /* the first time there is none */
  }
}

/* Only its owner may read it, from the moment it is there. */
static void save_history(editor *e) {
  HistEvent ev;
  if (e->history == NULL || e->history_path == NULL) {
    return;
  }
  int fd = open(e->history_path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) {
    return; /* a shell that cannot remember is still one */
  }
  bool ours = fchmod(fd, 0600) == 0;
  (void)close(fd);
  if (ours) {
    (void)history(e->history, &ev, H_SAVE, e->history_path);
  }
}

/* --- life ------------------------------------------------------------------------------------- */

static void configure(editor *e) {
  EditLine *el = e->el;
  (void)el_set(el, EL_CLIENTDATA, e);
  (void)el_set(el, EL_PROMPT, prompt);
  (void)el_set(el, EL_EDITOR, "emacs");
  (void)el_set(el, EL_SIGNAL, 0);
  (void)el_set(el, EL_GETCFN, next_key);
  /* Ctrl-C, Ctrl-Z and the like are keys: the signals would be for the node. */
  (void)el_set(el, EL_SETTY, "-d", "-isig", NULL);
  /* el_set would keep copies of the texts for ever. */
  (void)el_wset(el, EL_ADDFN, L"km-complete", L"completes a word", complete);
  (void)el_set(el, EL_BIND, "^I", "km-complete", NULL);
  (void)el_set(el, EL_BIND, "^D", "ed-delete-next-char", NULL);
  (void)el_set(el, EL_BIND, "^_", "ed-delete-next-char", NULL); /* keys.h: the Delete key */
  (void)el_set(el, EL_BIND, "^R", "ed-search-prev-history", NULL);
  (void)el_set(el, EL_BIND, "^W", "ed-delete-prev-word", NULL);
}

int editor_open(editor **ret, shell_core *core, const char *history, km_errinfo *err) {
  if (isatty(STDIN_FILENO) == 0 || isatty(STDOUT_FILENO) == 0) {
    return km_fail(err, KM_ERR_UNSUPPORTED, "standard input and output are no terminal");
  }
  /* libedit asks the locale what a character is. */
  if (setlocale(LC_CTYPE, "") == NULL || MB_CUR_MAX == 1) {
    (void)setlocale(LC_CTYPE, "C.UTF-8");
  }
  editor *e = calloc(1, sizeof *e);
  if (e == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  e->core = core;
  e->history_path = history == NULL ? NULL : strdup(history);
  e->el = el_init("km-node", stdin, stdout, stderr);
  if (e->el == NULL) {
    free(e->history_path);
    free(e);
    return km_fail(err, KM_ERR_UNSUPPORTED, "this terminal cannot be used");
  }
  configure(e);
  load_history(e);
  *ret = e;
  return 0;
}

void editor_close(editor *e) {
  if (e == NULL) {
    return;
  }
  if (e->active) {
    editor_pause(e);
    (void)putchar('\n');
  }
  editor_watch_keys(e, false);
  save_history(e);
  el_end(e->el);
  if (e->history != NULL) {
    history_end(e->history);
  }
  free(e->history_path);
  free(e->line);
  free(e);
}

/* --- the terminal ----------------------------------------------------------------------------- */

void editor_begin(editor *e) {
  if (!e->active) {
    (void)fflush(stdout);
    (void)el_set(e->el, EL_UNBUFFERED, 1);
    e->active = true;
  }
}

void editor_pause(editor *e) {
  if (e->active) {
    (void)el_set(e->el, EL_UNBUFFERED, 0);
    e->active = false;
  }
}

void editor_watch_keys(editor *e, bool on) {
  if (on == e->watching) {
    return;
  }
  if (!on) {
    (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &e->before);
  } else if (tcgetattr(STDIN_FILENO, &e->before) == 0) {
    struct termios keys = e->before;
    keys.c_lflag &= ~(tcflag_t)(ISIG | ICANON | ECHO);
    keys.c_cc[VMIN] = 1;
    keys.c_cc[VTIME] = 0;
    (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &keys);
  } else {
    return;
  }
  e->watching = on;
}

void editor_resized(editor *e) {
  el_resize(e->el);
}

/* --- keys ------------------------------------------------------------------------------------- */

static bool is_empty(editor *e) {
  const LineInfo *info = el_line(e->el);
  return info->lastchar == info->buffer;
}

static void keep_line(editor *e, const char *text, size_t len) {
  HistEvent ev;
  free(e->line);
  e->line = strndup(text, len);
  bool blank = e->line == NULL || e->line[strspn(e->line, " \t")] == '\0';
  if (!blank && e->history != NULL) {
    (void)history(e->history, &ev, H_ENTER, e->line);
  }
}

/* One key. */
static editor_event press(editor *e, const char *text) {
  if (text[0] == CTRL_C || (text[0] == CTRL_D && is_empty(e))) {
    editor_pause(e);
    (void)fputs(text[0] == CTRL_C ? "^C\n" : "\n", stdout);
    return text[0] == CTRL_C ? EDITOR_CANCEL : EDITOR_END;
  }
  size_t count = mbstowcs(e->keys, text, sizeof e->keys / sizeof e->keys[0]);
  e->key_at = 0;
  e->key_count = count == (size_t)-1 ? 0 : count;
  while (e->key_at < e->key_count) {
    int len = 0;
    const char *line = el_gets(e->el, &len);
    if (line != NULL && len > 0 && line[len - 1] == '\n') {
      keep_line(e, line, (size_t)len - 1);
      editor_pause(e);
      return EDITOR_LINE;
    }
  }
  return EDITOR_MORE;
}

editor_event editor_feed(editor *e, const uint8_t *bytes, size_t len, bool last, size_t *used) {
  editor_event event = EDITOR_MORE;
  *used = 0;
  while (*used < len && event == EDITOR_MORE) {
    keys_key key;
    keys_next(&key, bytes + *used, len - *used);
    if (key.used == 0 && !last) {
      return EDITOR_MORE;
    }
    *used += key.used == 0 ? 1 : key.used;
    if (key.text[0] != '\0') {
      event = press(e, key.text);
    }
  }
  return event;
}

const char *editor_line(const editor *e) {
  return e->line == NULL ? "" : e->line;
}

#else /* KM_WITH_LIBEDIT */

int editor_open(editor **ret, shell_core *core, const char *history, km_errinfo *err) {
  (void)ret;
  (void)core;
  (void)history;
  return km_fail(err, KM_ERR_UNSUPPORTED, "built without libedit");
}

void editor_close(editor *e) {
  (void)e;
}

editor_event editor_feed(editor *e, const uint8_t *bytes, size_t len, bool last, size_t *used) {
  (void)e;
  (void)bytes;
  (void)last;
  *used = len;
  return EDITOR_END;
}

const char *editor_line(const editor *e) {
  (void)e;
  return "";
}

void editor_begin(editor *e) {
  (void)e;
}

void editor_pause(editor *e) {
  (void)e;
}

void editor_watch_keys(editor *e, bool on) {
  (void)e;
  (void)on;
}

void editor_resized(editor *e) {
  (void)e;
}

#endif /* KM_WITH_LIBEDIT */
