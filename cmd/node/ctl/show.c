#include "cmd/node/ctl/show.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/env.h"
#include "base/text.h"

static const show_view *const groups[] = {show_kv_views, show_peer_views, show_message_views,
                                          show_node_views};

static const show_view *find(const char *request) {
  for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
    for (const show_view *v = groups[i]; v->request != NULL; v++) {
      if (strcmp(v->request, request) == 0) {
        return v;
      }
    }
  }
  return NULL;
}

void show_init(show *s, bool json, bool full) {
  const char *no_color = getenv("NO_COLOR"); /* empty counts as not set: no-color.org */
  memset(s, 0, sizeof *s);
  cli_output_init(&s->out, json);
  s->full = full;
  s->colour = !json && isatty(STDOUT_FILENO) != 0 && (no_color == NULL || no_color[0] == '\0');
}

void show_close(show *s) {
  table_free(&s->table);
  names_clear(&s->names);
}

bool show_wants_names(const show *s, const char *request) {
  const show_view *view = find(request);
  return !s->out.json && view != NULL && view->names;
}

void show_begin(show *s, const char *request) {
  static const char *const no_heads[] = {NULL};
  s->view = find(request);
  s->rows = 0;
  s->now_ms = km_clock_wall().unix_ns / 1000000;
  const char *const *heads = s->view == NULL ? NULL : s->view->heads;
  if (heads != NULL && s->full && s->view->heads_full != NULL) {
    heads = s->view->heads_full;
  }
  table_init(&s->table, heads == NULL ? no_heads : heads);
}

/* The object as an event: its members behind "event". */
static void emit(const show *s, const char *name, cJSON *object) {
  cJSON *event = cli_event(&s->out, name), *member;
  while (event != NULL && (member = cJSON_DetachItemViaPointer(object, object->child)) != NULL) {
    if (!cJSON_AddItemToObject(event, member->string, member)) {
      cJSON_Delete(member);
    }
  }
  cJSON_Delete(object);
  cli_emit(event);
}

static const char *event_of(const show *s) {
  return s->view == NULL ? "answer" : s->view->event;
}

/* What nobody wrote a view for. */
static void print_plain(const show *s, const cJSON *object) {
  char *text = cJSON_PrintUnformatted(object);
  if (text != NULL) {
    cli_say(&s->out, "%s", text);
    cJSON_free(text);
  }
}

void show_row(show *s, cJSON *row) {
  s->rows++;
  if (s->out.json) {
    emit(s, event_of(s), row);
    return;
  }
  if (s->view != NULL && s->view->row != NULL) {
    s->view->row(s, row);
  } else {
    print_plain(s, row);
  }
  cJSON_Delete(row);
}

static void show_result(show *s, const cJSON *result) {
  if (s->view == NULL && s->rows == 0) {
    print_plain(s, result);
  } else if (s->view != NULL && s->view->result != NULL) {
    s->view->result(s, result);
  }
}

/* The rows that stand in a result. */
static void take_list(show *s, cJSON *result) {
  cJSON *list = cJSON_GetObjectItemCaseSensitive(result, s->view->list), *row;
  while (list != NULL && (row = cJSON_DetachItemFromArray(list, 0)) != NULL) {
    show_row(s, row);
  }
}

void show_end(show *s, cJSON *result) {
  const show_view *view = s->view;
  if (view != NULL && view->list != NULL && result != NULL) {
    take_list(s, result);
  }
  bool empty = s->rows == 0;
  show_break(s);
  if (view != NULL && view->none != NULL && empty) {
    cli_say(&s->out, "%s", view->none);
  }
  bool is_list = view != NULL && view->result == NULL && view->row != NULL;
  if (result == NULL || is_list) {
    cJSON_Delete(result);
  } else if (s->out.json) {
    emit(s, event_of(s), result);
  } else {
    show_result(s, result);
    cJSON_Delete(result);
  }
}

void show_break(show *s) {
  table_print(&s->table, s->colour);
}

/* --- for views -------------------------------------------------------------------------------- */

const char *show_text(const cJSON *object, const char *name) {
  const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
  return text == NULL ? "" : text;
}

double show_number(const cJSON *object, const char *name) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
  return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

bool show_flag(const cJSON *object, const char *name) {
  return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, name));
}

const char *show_time(const show *s, const cJSON *object, const char *name,
                      char buf[WHEN_TEXT_CAP]) {
  double at = show_number(object, name);
  return s->full ? when_date(buf, (int64_t)at) : when_ago(buf, (int64_t)(at * 1000), s->now_ms);
}

const char *show_id(const show *s, const cJSON *object, const char *id, const char *name,
                    char buf[SHOW_ID_CAP]) {
  const char *digits = show_text(object, id);
  const char *called = name == NULL ? "" : show_text(object, name);
  called = called[0] == '\0' ? names_find(&s->names, digits) : called;
  int shown = s->full ? KM_ID_HEX_LEN : KM_ID_SHORT_LEN;
  (void)snprintf(buf, SHOW_ID_CAP, called[0] == '\0' ? "%.*s" : "%.*s %s", shown, digits, called);
  return buf;
}

const char *show_count(const cJSON *object, const char *name, const char *one, const char *more,
                       char buf[SHOW_COUNT_CAP]) {
  double count = show_number(object, name);
  (void)snprintf(buf, SHOW_COUNT_CAP, "%.0f %s", count, count < 1 || count > 1 ? more : one);
  return buf;
}

char *show_line(const show *s, const char *text, size_t max) {
  size_t len = 0, width = 0;
  while (text[len] != '\0' && (s->full || width <= max)) {
    width += ((uint8_t)text[len] & 0xc0) != 0x80 ? 1 : 0;
    len++;
  }
  bool cut = text[len] != '\0';
  while (cut && len > 0 && ((uint8_t)text[len] & 0xc0) == 0x80) {
    len--;
  }
  char *ret = malloc(len + sizeof "...");
  if (ret != NULL) {
    memcpy(ret, text, len);
    memcpy(ret + len, cut ? "..." : "", cut ? 4 : 1);
    km_text_clean(ret);
  }
  return ret;
}
