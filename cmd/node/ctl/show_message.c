/* How messages look. */
#include <stdio.h>
#include <stdlib.h>

#include "cmd/node/ctl/show.h"

#define BODY_SHOWN 60

static char *body_of(const show *s, const cJSON *message) {
  const cJSON *body = cJSON_GetObjectItemCaseSensitive(message, "body");
  char *text = body == NULL ? NULL : cJSON_PrintUnformatted(body);
  char *line = show_line(s, text == NULL ? "" : text, BODY_SHOWN);
  cJSON_free(text);
  return line;
}

static void row_received(show *s, const cJSON *message) {
  char who[SHOW_ID_CAP], at[WHEN_TEXT_CAP];
  char *body = body_of(s, message);
  table_add(&s->table,
            (const char *const[]){show_time(s, message, "sent", at),
                                  show_id(s, message, "sender", "sender_name", who),
                                  show_flag(message, "broadcast") ? "all" : "us",
                                  show_text(message, "type"), body, show_text(message, "message")});
  free(body);
}

static void row_waiting(show *s, const cJSON *message) {
  char who[SHOW_ID_CAP], at[WHEN_TEXT_CAP], until[WHEN_TEXT_CAP], end[160];
  bool refused = cJSON_GetObjectItemCaseSensitive(message, "refused") != NULL;
  (void)snprintf(end, sizeof end, "%s%s", refused ? "refused: " : "",
                 refused ? show_text(message, "refused") : show_time(s, message, "expires", until));
  char *body = body_of(s, message);
  bool all = show_flag(message, "broadcast");
  table_add(&s->table,
            (const char *const[]){show_text(message, "message"), show_time(s, message, "sent", at),
                                  all ? "all" : show_id(s, message, "to", NULL, who),
                                  show_text(message, "type"), body, end});
  free(body);
}

static void result_sent(show *s, const cJSON *result) {
  cli_say(&s->out, "message %s is in the outbox", show_text(result, "message"));
}

static void result_cancelled(show *s, const cJSON *result) {
  (void)result;
  cli_say(&s->out, "taken out of the outbox");
}

static const char *const heads_in[] = {"SENT", "FROM", "TO", "TYPE", "BODY", NULL};
static const char *const heads_in_full[] = {"SENT", "FROM", "TO", "TYPE", "BODY", "MESSAGE", NULL};
static const char *const heads_out[] = {"MESSAGE", "SENT", "TO", "TYPE", "BODY", "GIVEN UP", NULL};

const show_view show_message_views[] = {
    {.request = "messages",
     .event = "message",
     .heads = heads_in,
     .heads_full = heads_in_full,
     .names = true,
     .none = "no messages",
     .row = row_received},
    {.request = "outbox",
     .event = "message",
     .heads = heads_out,
     .names = true,
     .none = "no message waits",
     .row = row_waiting},
    {.request = "outbox.cancel", .event = "cancelled", .result = result_cancelled},
    {.request = "send", .event = "sent", .result = result_sent},
    {.request = "broadcast", .event = "sent", .result = result_sent},
    {0},
};
