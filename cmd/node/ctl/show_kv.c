/* How entries look. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/node/ctl/show.h"
#include "cmd/node/ctl/values.h"

#define VALUE_SHOWN 60

static const char *by(const show *s, const cJSON *entry, char buf[SHOW_ID_CAP]) {
  if (show_flag(entry, "own") && !s->full) {
    (void)snprintf(buf, SHOW_ID_CAP, "this node");
    return buf;
  }
  return show_id(s, entry, "author", NULL, buf);
}

/* The value as a line of text, or how many bytes it has. From malloc. */
static char *value_of(const show *s, const cJSON *entry) {
  uint8_t *bytes;
  size_t len;
  char text[64];
  if (show_flag(entry, "deleted")) {
    return show_line(s, "(deleted)", VALUE_SHOWN);
  }
  const cJSON *coded = cJSON_GetObjectItemCaseSensitive(entry, "value_b64");
  if (coded == NULL) {
    const cJSON *plain = cJSON_GetObjectItemCaseSensitive(entry, "value");
    return plain == NULL ? NULL : show_line(s, show_text(entry, "value"), VALUE_SHOWN);
  }
  km_errinfo err;
  if (value_take(entry, &bytes, &len, &err) != 0) {
    return NULL;
  }
  free(bytes);
  (void)snprintf(text, sizeof text, "(%zu bytes)", len);
  return s->full ? show_line(s, coded->valuestring, VALUE_SHOWN) : show_line(s, text, VALUE_SHOWN);
}

static void row_listed(show *s, const cJSON *entry) {
  char who[SHOW_ID_CAP], at[WHEN_TEXT_CAP];
  char *value = value_of(s, entry);
  table_add(&s->table,
            (const char *const[]){show_text(entry, "key"), value, by(s, entry, who),
                                  show_time(s, entry, "time", at), show_text(entry, "clock")});
  free(value);
}

/* A change as it happens: a line each. */
static void row_watched(show *s, const cJSON *entry) {
  char who[SHOW_ID_CAP];
  char *value = value_of(s, entry);
  bool deleted = show_flag(entry, "deleted");
  cli_say(&s->out, "%s %s %s%s   by %s", show_text(entry, "share"), show_text(entry, "key"),
          deleted ? "" : "= ", value == NULL ? "" : value, by(s, entry, who));
  free(value);
}

static void result_got(show *s, const cJSON *entry) {
  char *value = value_of(s, entry);
  cli_say(&s->out, "%s", value == NULL ? "" : value);
  free(value);
}

static void result_written(show *s, const cJSON *entry) {
  cli_say(&s->out, "%s: %s written", show_text(entry, "share"), show_text(entry, "key"));
}

static void result_deleted(show *s, const cJSON *entry) {
  cli_say(&s->out, "%s: %s deleted", show_text(entry, "share"), show_text(entry, "key"));
}

static void result_verified(show *s, const cJSON *result) {
  char who[SHOW_ID_CAP], count[SHOW_COUNT_CAP];
  if (show_text(result, "author")[0] != '\0') {
    cli_say(&s->out, "written by %s; the signature is good", by(s, result, who));
  } else {
    cli_say(&s->out, "%s checked; the signatures are good",
            show_count(result, "checked", "entry", "entries", count));
  }
}

static void result_imported(show *s, const cJSON *result) {
  char count[SHOW_COUNT_CAP];
  cli_say(&s->out, "%s written, %.0f deleted", show_count(result, "put", "entry", "entries", count),
          show_number(result, "deleted"));
}

static void result_hash(show *s, const cJSON *result) {
  cli_say(&s->out, "%s  %s", show_text(result, "hash"), show_text(result, "share"));
}

static void result_collected(show *s, const cJSON *result) {
  char count[SHOW_COUNT_CAP];
  cli_say(&s->out, "%s forgotten",
          show_count(result, "collected", "old deletion", "old deletions", count));
}

static const char *const entry_heads[] = {"KEY", "VALUE", "BY", "CHANGED", NULL};
static const char *const entry_heads_full[] = {"KEY", "VALUE", "BY", "CHANGED", "CLOCK", NULL};

const show_view show_kv_views[] = {
    {.request = "kv.list",
     .event = "entry",
     .heads = entry_heads,
     .heads_full = entry_heads_full,
     .names = true,
     .none = "nothing there",
     .row = row_listed},
    {.request = "kv.watch", .event = "entry", .names = true, .row = row_watched},
    {.request = "kv.get", .event = "entry", .result = result_got},
    {.request = "kv.put", .event = "written", .result = result_written},
    {.request = "kv.delete", .event = "deleted", .result = result_deleted},
    {.request = "kv.verify", .event = "verified", .names = true, .result = result_verified},
    {.request = "kv.hash", .event = "hash", .none = "nothing there", .row = result_hash},
    {.request = "kv.import", .event = "imported", .result = result_imported},
    {.request = "cleanup", .event = "cleanup", .result = result_collected},
    {0},
};
