/* How trust looks. */
#include <stdio.h>
#include <string.h>

#include "cmd/node/ctl/show.h"

static void row_trust(show *s, const cJSON *info) {
  char id[SHOW_ID_CAP], since[WHEN_TEXT_CAP], expires[WHEN_TEXT_CAP], votes[24];
  (void)snprintf(votes, sizeof votes, "%.0f", show_number(info, "recommended_by"));
  table_add(&s->table,
            (const char *const[]){
                show_id(s, info, "id", NULL, id), show_text(info, "name"), show_text(info, "state"),
                show_text(info, "origin"), show_time(s, info, "since", since),
                show_time(s, info, "expires", expires), votes, show_text(info, "note")});
}

static void row_request(show *s, const cJSON *info) {
  char id[KM_ID_TEXT_CAP], seen[WHEN_TEXT_CAP], votes[24];
  /* All digits: whoever approves one must see whom. */
  (void)snprintf(id, sizeof id, "%.64s", show_text(info, "id"));
  (void)snprintf(votes, sizeof votes, "%.0f", show_number(info, "recommended_by"));
  table_add(&s->table, (const char *const[]){id, show_text(info, "name"),
                                             show_time(s, info, "last_seen", seen), votes,
                                             show_text(info, "note")});
}

static void row_access(show *s, const cJSON *o) {
  table_add(&s->table, (const char *const[]){show_text(o, "share"), show_text(o, "access"),
                                             show_text(o, "reason")});
}

static void result_access(show *s, const cJSON *o) {
  cli_say(&s->out, "%s on %s: %s", show_text(o, "access"), show_text(o, "share"),
          show_text(o, "reason"));
}

/* What was done to whom; by the request's name. */
static void result_done(show *s, const cJSON *result) {
  static const char *const said[][2] = {
      {"peer.trust", "is trusted"},
      {"peer.block", "is blocked"},
      {"peer.revoke", "is revoked: blocked here, and all others are told"},
      {"peer.forget", "is forgotten"},
      {"peer.recommend", "is recommended to all others"},
      {"peer.withdraw", "is not recommended any more"},
      {"peer.approve", "is let in from now on"},
      {"peer.deny", "is refused from now on"},
  };
  char id[SHOW_ID_CAP];
  for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
    if (strcmp(said[i][0], s->view->request) == 0) {
      cli_say(&s->out, "%s %s", show_id(s, result, "id", "name", id), said[i][1]);
    }
  }
}

static void result_dial(show *s, const cJSON *o) {
  char id[SHOW_ID_CAP];
  bool up = strcmp(show_text(o, "state"), "connected") == 0;
  cli_say(&s->out, "%s %s", show_id(s, o, "id", "name", id),
          up ? "is connected already" : "is dialled");
}

/* Who is let in is not dialled yet: two that only trust each other never meet. */
static void result_let_in(show *s, const cJSON *result) {
  result_done(s, result);
  if (!show_flag(result, "configured")) {
    cli_say(&s->out,
            "  it is let in when it dials this node; to dial it from here:\n  km-node peer add %s",
            show_text(result, "id"));
  }
}

static const char *const trust_heads[] = {"ID",      "NAME",         "STATE", "BY", "SINCE",
                                          "EXPIRES", ">RECOMMENDED", "NOTE",  NULL};
static const char *const request_heads[] = {"ID", "NAME", "ASKED", ">RECOMMENDED", "NOTE", NULL};
static const char *const access_heads[] = {"SHARE", "MAY", "BECAUSE", NULL};

const show_view show_peer_views[] = {
    {.request = "peer.list",
     .event = "trust",
     .heads = trust_heads,
     .none = "no peer is known",
     .row = row_trust},
    {.request = "peer.requests",
     .event = "request",
     .heads = request_heads,
     .none = "nobody waits to be let in",
     .row = row_request},
    {.request = "peer.access",
     .event = "access",
     .heads = access_heads,
     .row = row_access,
     .result = result_access},
    {.request = "peer.trust", .event = "trust", .result = result_let_in},
    {.request = "peer.block", .event = "trust", .result = result_done},
    {.request = "peer.revoke", .event = "trust", .result = result_done},
    {.request = "peer.forget", .event = "trust", .result = result_done},
    {.request = "peer.recommend", .event = "trust", .result = result_done},
    {.request = "peer.withdraw", .event = "trust", .result = result_done},
    {.request = "peer.approve", .event = "trust", .result = result_let_in},
    {.request = "peer.deny", .event = "trust", .result = result_done},
    {.request = "peer.dial", .event = "trust", .result = result_dial},
    {0},
};
