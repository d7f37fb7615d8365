/* A line editor with history and completion on a terminal (libedit), that never waits: it is given
 * what was typed. */
#ifndef KM_CMD_NODE_CTL_EDITOR_IO_H
#define KM_CMD_NODE_CTL_EDITOR_IO_H

#include "cmd/node/ctl/shell.h"

typedef struct editor editor;

typedef enum editor_event {
  EDITOR_MORE,   /* wants more */
  EDITOR_LINE,   /* a line was entered */
  EDITOR_CANCEL, /* Ctrl-C: the line was thrown away */
  EDITOR_END     /* Ctrl-D on an empty line */
} editor_event;

/* On standard input and output. `history` (may be NULL) is a file, kept with mode 0600. 0,
 * KM_ERR_UNSUPPORTED (no terminal, or built without libedit) or KM_ERR_NOMEM. */
KM_NODISCARD int editor_open(editor **ret, shell_core *core, const char *history, km_errinfo *err);
void editor_close(editor *e); /* writes the history; the terminal is as before */

/* Takes keys until a line is there or no whole key is left; `*used` says how far. `last`: what is
 * not whole will not become so. */
editor_event editor_feed(editor *e, const uint8_t *bytes, size_t len, bool last, size_t *used);
/* After EDITOR_LINE: the line, until the next call. It goes into the history. */
const char *editor_line(const editor *e);

/* The terminal is ours (a new prompt is shown), or a command's. */
void editor_begin(editor *e);
void editor_pause(editor *e);
/* While a command goes on: keys come as they are typed, Ctrl-C as one of them. */
void editor_watch_keys(editor *e, bool on);
void editor_resized(editor *e);

#endif /* KM_CMD_NODE_CTL_EDITOR_IO_H */
