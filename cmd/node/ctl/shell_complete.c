/* What a word could become. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/node/ctl/shell.h"

#define KEYS_MAX 200

/* --- choices ---------------------------------------------------------------------------------- */

/* Takes a word that begins as what was typed. */
static void add(shell_choices *c, const char *typed, const char *word, size_t len) {
  if (len == 0 || strncmp(word, typed, strlen(typed)) != 0) {
    return;
  }
  if (c->count == c->cap) {
    size_t cap = c->cap == 0 ? 32 : 2 * c->cap;
    char **at = realloc(c->at, cap * sizeof *at);
    if (at == NULL) {
      return;
    }
    c->at = at;
    c->cap = cap;
  }
  char *copy = malloc(len + 1);
  if (copy != NULL) {
    memcpy(copy, word, len);
    copy[len] = '\0';
    c->at[c->count++] = copy;
  }
}

static void add_word(shell_choices *c, const char *typed, const char *word) {
  add(c, typed, word, strlen(word));
}

static int compare(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort(shell_choices *c) {
  size_t kept = 0;
  if (c->count == 0) {
    return;
  }
  qsort(c->at, c->count, sizeof *c->at, compare);
  for (size_t i = 1; i < c->count; i++) {
    if (strcmp(c->at[kept], c->at[i]) == 0) {
      free(c->at[i]);
    } else {
      c->at[++kept] = c->at[i];
    }
  }
  c->count = kept + 1;
}

void shell_choices_free(shell_choices *c) {
  for (size_t i = 0; i < c->count; i++) {
    free(c->at[i]);
  }
  free(c->at);
  free(c->insert);
  memset(c, 0, sizeof *c);
}

/* --- asking the node -------------------------------------------------------------------------- */

typedef struct collecting {
  shell_choices *choices;
  const char *typed;
  const char *member; /* of a row */
  bool paths;         /* only up to the next slash */
  bool done;
} collecting;

static void take(collecting *g, const cJSON *row, const char *member) {
  const char *word = show_text(row, member);
  size_t len = strlen(word), typed = strlen(g->typed);
  const char *slash = g->paths && len > typed ? strchr(word + typed, '/') : NULL;
  add(g->choices, g->typed, word, slash == NULL ? len : (size_t)(slash - word) + 1);
}

static void take_row(collecting *g, const cJSON *row) {
  if (strcmp(g->member, "id") != 0) {
    take(g, row, g->member);
    return;
  }
  const char *name = show_text(row, "name");
  const char *node_id = show_text(row, "node_id");
  /* An id is worth typing where there is no name. */
  take(g, row, name[0] != '\0' ? "name" : node_id[0] != '\0' ? "node_id" : "id");
  if (g->typed[0] != '\0') {
    take(g, row, "id");
  }
}

static void on_row(void *ctx, cJSON *row) {
  take_row(ctx, row);
  cJSON_Delete(row);
}

static void on_done(void *ctx, cJSON *result, const km_errinfo *err) {
  collecting *g = ctx;
  const cJSON *row;
  g->done = true;
  if (err == NULL) {
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(result, "peers")) {
      take_row(g, row);
    }
  }
  cJSON_Delete(result);
}

/* What fails, or does not answer at once, offers nothing. */
static void collect(shell_core *s, collecting *g, const char *name, cJSON *args) {
  const request_reply reply = {.row = on_row, .done = on_done, .ctx = g};
  request *running = NULL;
  g->done = false;
  s->ask(s->ask_ctx, name, args, &reply, &running);
  if (!g->done) {
    request_cancel(running);
  }
}

static void offer_peers(shell_core *s, const char *typed, shell_choices *c) {
  collecting g = {.choices = c, .typed = typed, .member = "id"};
  collect(s, &g, "peers", cJSON_CreateObject());
  collect(s, &g, "peer.list", cJSON_CreateObject());
  for (size_t i = 0; i < s->project->peer_count; i++) {
    const char *name = s->project->peers[i].name;
    add_word(c, typed, name == NULL ? "" : name);
  }
}

static void offer_keys(shell_core *s, const char *share, const char *typed, shell_choices *c) {
  collecting g = {.choices = c, .typed = typed, .member = "key", .paths = true};
  cJSON *args = cJSON_CreateObject();
  if (args == NULL || share[0] == '\0') {
    cJSON_Delete(args);
    return;
  }
  (void)cJSON_AddStringToObject(args, "share", share);
  (void)cJSON_AddTrueToObject(args, "keys_only");
  (void)cJSON_AddNumberToObject(args, "limit", KEYS_MAX);
  if (typed[0] != '\0') {
    (void)cJSON_AddStringToObject(args, "prefix", typed);
  }
  collect(s, &g, "kv.list", args);
}

/* --- the word --------------------------------------------------------------------------------- */

/* `share`: the word before, of a prefix. */
static void offer(shell_core *s, const char *member, const char *share, const char *typed,
                  shell_choices *c) {
  static const char *const states[] = {"trusted", "pending", "blocked"};
  if (strcmp(member, "command") == 0) {
    for (const shell_command *at = shell_commands; at->name != NULL; at++) {
      add_word(c, typed, at->name);
    }
  } else if (strcmp(member, "share") == 0) {
    for (size_t i = 0; i < s->project->share_count; i++) {
      add_word(c, typed, s->project->shares[i].name);
    }
  } else if (strcmp(member, "peer") == 0) {
    offer_peers(s, typed, c);
  } else if (strcmp(member, "key") == 0 || strcmp(member, "prefix") == 0) {
    offer_keys(s, strcmp(member, "key") == 0 ? s->share : share, typed, c);
  } else if (strcmp(member, "state") == 0) {
    for (size_t i = 0; i < 3; i++) {
      add_word(c, typed, states[i]);
    }
  }
}

/* Bytes that all choices begin with. */
static size_t common(const shell_choices *c) {
  size_t len = strlen(c->at[0]);
  for (size_t i = 1; i < c->count; i++) {
    size_t n = 0;
    while (n < len && c->at[i][n] == c->at[0][n]) {
      n++;
    }
    len = n;
  }
  while (len > 0 && ((uint8_t)c->at[0][len] & 0xc0) == 0x80) {
    len--; /* whole characters */
  }
  return len;
}

static char *finish(const shell_choices *c, const char *typed, char quote) {
  size_t len = common(c);
  bool whole = c->count == 1 && c->at[0][len - 1] != '/';
  if (len <= strlen(typed) && !whole) {
    return NULL;
  }
  char *plain = strdup(c->at[0]), *ret = NULL;
  if (plain != NULL) {
    plain[len] = '\0';
    ret = words_quote(plain, quote);
    free(plain);
  }
  if (ret == NULL) {
    return NULL;
  }
  size_t used = strlen(ret);
  bool quoted = ret[0] == '"' || ret[0] == '\'';
  if (!whole) {
    ret[used - (quoted ? 1 : 0)] = '\0';
    return ret;
  }
  char *more = realloc(ret, used + 2);
  if (more == NULL) {
    return ret;
  }
  memcpy(more + used, " ", 2);
  return more;
}

void shell_complete(shell_core *s, const char *line, size_t len, shell_choices *ret) {
  word_list w;
  char member[16] = "command";
  memset(ret, 0, sizeof *ret);
  ret->from = len;
  if (words_split_partial(&w, line, len) != 0) {
    return;
  }
  bool begun = w.count > 0 && !w.ended;
  const char *typed = begun ? w.at[w.count - 1] : "";
  size_t at = begun ? w.count - 1 : w.count;
  if (at > 0) {
    const shell_command *command = shell_command_find(w.at[0]);
    member[0] = '\0';
    if (command != NULL) {
      shell_command_member(command, at, member, sizeof member);
    }
  }
  ret->from = begun ? w.from[w.count - 1] : len;
  offer(s, member, at > 0 ? w.at[at - 1] : "", typed, ret);
  sort(ret);
  if (ret->count > 0) {
    ret->insert = finish(ret, typed, w.quote);
  }
  words_free(&w);
}
