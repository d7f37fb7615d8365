/* Answers of a node, for people or for machines. */
#ifndef KM_CMD_NODE_CTL_SHOW_H
#define KM_CMD_NODE_CTL_SHOW_H

#include <cjson/cJSON.h>

#include "cmd/cli/output.h"
#include "cmd/node/ctl/names.h"
#include "cmd/node/ctl/table.h"
#include "cmd/node/ctl/when.h"

typedef struct show show;

/* How the answers of one request look. */
typedef struct show_view {
  const char *request;           /* "kv.list" */
  const char *event;             /* of a row, and of a result that is one */
  const char *const *heads;      /* of the table of its rows; NULL: none */
  const char *const *heads_full; /* with --long; NULL: the same */
  const char *list;              /* member of the result that is a list of rows; NULL: none */
  bool names;                    /* it shows ids that have no names beside them */
  const char *none;              /* said when there was no row */
  void (*row)(show *s, const cJSON *row);       /* adds to the table, or prints */
  void (*result)(show *s, const cJSON *result); /* NULL: nothing is said of it */
} show_view;

struct show {
  cli_output out;
  bool full;   /* --long */
  bool colour; /* stdout is a terminal that wants it */
  int64_t now_ms;
  name_list names; /* that were asked for */
  const show_view *view;
  table table;
  uint64_t rows;
};

void show_init(show *s, bool json, bool full);
void show_close(show *s);
/* True when the answers of a request are better to read with show.names filled. */
bool show_wants_names(const show *s, const char *request);
/* Answers of one request: its rows, then its result (NULL: none). They are freed. */
void show_begin(show *s, const char *request);
void show_row(show *s, cJSON *row);
void show_end(show *s, cJSON *result);
void show_break(show *s); /* it failed; what came before is shown */

/* --- for views --- */

/* Views are looked for in these; each ends with a NULL request. */
extern const show_view show_kv_views[], show_peer_views[], show_message_views[], show_node_views[];

/* "3 s ago", with --long the date; of UNIX seconds. */
const char *show_time(const show *s, const cJSON *object, const char *name,
                      char buf[WHEN_TEXT_CAP]);
/* A member's text, "" if it is none. */
const char *show_text(const cJSON *object, const char *name);
double show_number(const cJSON *object, const char *name); /* 0 if it is none */
bool show_flag(const cJSON *object, const char *name);
/* Up to 10 digits of an id, all with --long; the name behind it when there is one. */
#define SHOW_ID_CAP 160
const char *show_id(const show *s, const cJSON *object, const char *id, const char *name,
                    char buf[SHOW_ID_CAP]);
/* "1 entry", "2 entries": of a member, whose plural has another end. */
#define SHOW_COUNT_CAP 64
const char *show_count(const cJSON *object, const char *name, const char *one, const char *more,
                       char buf[SHOW_COUNT_CAP]);
/* A value as one line: cut when it is long, except with --long. From malloc; NULL: no memory. */
char *show_line(const show *s, const char *text, size_t max);

#endif /* KM_CMD_NODE_CTL_SHOW_H */
