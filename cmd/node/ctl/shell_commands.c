/* The commands of the shell: a table, and how words become arguments. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "cmd/node/ctl/shell.h"
#include "cmd/node/ctl/values.h"

const shell_command shell_commands[] = {
    {"add", "kv.put", "@share key value", "KEY VALUE", "write an entry of the share in use"},
    {"get", "kv.get", "@share key", "KEY", "show the value of an entry"},
    {"list", "kv.list", "share?@ prefix?", "[SHARE [PREFIX]]", "list entries"},
    {"delete", "kv.delete", "@share key", "KEY", "delete an entry, on all nodes"},
    {"watch", "kv.watch", "share? prefix?", "[SHARE [PREFIX]]",
     "show changes as they happen, until Ctrl-C"},
    {"hash", "kv.hash", "share?", "[SHARE]", "show the hash of what a share holds"},
    {"use", NULL, "share?", "[SHARE]", "choose the share that commands are about, or show it"},
    {"shares", "shares", "", "", "list the shares"},
    {"peers", "peers", "", "", "list the peers and their connections"},
    {"status", "status", "", "", "show the node at a glance"},
    {"health", "health", "", "", "show whether the node is well"},
    {"why", "why", "peer", "PEER", "say why the way to a peer is direct or not"},
    {"sync", "sync", "peer?", "[PEER]", "synchronize now, with one or with all"},
    {"dial", "peer.dial", "peer", "PEER", "dial a peer now"},
    {"announce-key", "announce", "name?", "[NAME]", "tell all others whose id ours is: our name"},
    {"request-keys", "request-keys", "", "",
     "ask peers for the names, recommendations and revocations they know"},
    {"request-whitelist", "request-access", "", "",
     "ask to be let in: dial the peers that refused us again"},
    {"recommend-peer", "peer.recommend", "peer name?", "PEER [NAME]",
     "vouch for a peer to all others"},
    {"withdraw", "peer.withdraw", "peer", "PEER", "take a recommendation back"},
    {"trust", "peer.trust", "peer name?", "PEER [NAME]", "let a peer in"},
    {"revoke", "peer.revoke", "peer reason?", "PEER [REASON]", "block a peer and tell all others"},
    {"block", "peer.block", "peer note?", "PEER [NOTE]", "block a peer here"},
    {"forget", "peer.forget", "peer", "PEER", "as if the peer had never been seen"},
    {"known", "peer.list", "state?", "[trusted|pending|blocked]", "list whom the node knows"},
    {"requests", "peer.requests", "", "", "list who waits to be let in"},
    {"approve", "peer.approve", "peer", "PEER", "let in who waits"},
    {"deny", "peer.deny", "peer", "PEER", "refuse who waits"},
    {"test-access-control", "peer.access", "peer share?@", "PEER [SHARE]",
     "show what a peer may do with a share, and why"},
    {"verify-signature", "kv.verify", "@share key?", "[KEY]",
     "check the signature of an entry, or of all"},
    {"send", "send", "peer type json...", "PEER TYPE JSON", "send a message to a peer"},
    {"broadcast", "broadcast", "type json...", "TYPE JSON", "send a message to all"},
    {"messages", "messages", "limit?", "[N]", "list the messages that came"},
    {"outbox", "outbox", "", "", "list the messages that wait"},
    {"cleanup", "cleanup", "", "", "forget old deletions that all peers have"},
    {"reload-cache", "reload", "", "", "read keymesh.yaml again"},
    {"help", NULL, "command?", "[COMMAND]", "this list, or one of it"},
    {"quit", NULL, "", "", "leave; so does Ctrl-D"},
    {"exit", NULL, "", "", "the same"},
    {0},
};

const shell_command *shell_command_find(const char *name) {
  for (const shell_command *c = shell_commands; c->name != NULL; c++) {
    if (strcmp(c->name, name) == 0) {
      return c;
    }
  }
  return NULL;
}

/* --- the words of a command ------------------------------------------------------------------- */

#define MEMBER_CAP 16

typedef struct member {
  char name[MEMBER_CAP];
  bool in_use;   /* "@share": no word */
  bool optional; /* "?" */
  bool fallback; /* "?@" */
  bool rest;     /* "..." */
} member;

/* The next member of a template; false at its end. */
static bool next_member(const char **p, member *ret) {
  memset(ret, 0, sizeof *ret);
  *p += strspn(*p, " ");
  size_t len = strcspn(*p, " ");
  if (len == 0) {
    return false;
  }
  const char *at = *p;
  ret->in_use = at[0] == '@';
  at += ret->in_use ? 1 : 0;
  size_t name = strcspn(at, " ?.");
  (void)snprintf(ret->name, sizeof ret->name, "%.*s", (int)name, at);
  ret->optional = at[name] == '?';
  ret->fallback = ret->optional && at[name + 1] == '@';
  ret->rest = at[name] == '.';
  *p += len;
  return true;
}

void shell_command_member(const shell_command *command, size_t at, char *buf, size_t cap) {
  const char *p = command->args;
  member m;
  buf[0] = '\0';
  while (at > 0 && next_member(&p, &m)) {
    at -= m.in_use ? 0 : 1;
    if (at == 0) {
      (void)snprintf(buf, cap, "%s", m.name);
    }
  }
}

static int missing(const shell_command *command, km_errinfo *err) {
  return km_fail(err, KM_ERR_INVALID, "something is missing: %s %s", command->name, command->usage);
}

static int add_text(cJSON *args, const member *m, const char *word, km_errinfo *err) {
  bool ok;
  if (strcmp(m->name, "limit") == 0) {
    char *end;
    double number = strtod(word, &end);
    if (*end != '\0' || !(number >= 1 && number <= 1e9)) {
      return km_fail(err, KM_ERR_INVALID, "'%.20s' is no number of lines", word);
    }
    ok = cJSON_AddNumberToObject(args, m->name, number) != NULL;
  } else if (strcmp(m->name, "value") == 0) {
    ok = value_add(args, (const uint8_t *)word, strlen(word));
  } else {
    ok = cJSON_AddStringToObject(args, m->name, word) != NULL;
  }
  return ok ? 0 : km_fail(err, KM_ERR_NOMEM, NULL);
}

static int add_share(const shell_core *s, cJSON *args, const member *m, km_errinfo *err) {
  if (s->share[0] == '\0') {
    return km_fail(err, KM_ERR_INVALID,
                   "no share is in use: choose one with 'use SHARE', or name some in keymesh.yaml");
  }
  return add_text(args, m, s->share, err);
}

/* JSON as it stands in the line, so that it needs no quotes around it; else the word, whose quotes
 * are off. */
static int add_json(cJSON *args, const member *m, const word_list *w, size_t at, const char *line,
                    km_errinfo *err) {
  cJSON *parsed;
  const char *text = line + w->from[at];
  if (value_parse_json(&parsed, text, err) != 0) {
    text = w->at[at];
    int rv = at + 1 == w->count ? value_parse_json(&parsed, text, err) : KM_ERR_INVALID;
    if (rv != 0) {
      return rv;
    }
  }
  cJSON_Delete(parsed);
  return add_text(args, m, text, err);
}

static int fill(const shell_core *s, const shell_command *command, const word_list *w,
                const char *line, cJSON *args, km_errinfo *err) {
  const char *p = command->args;
  size_t at = 1;
  int rv = 0;
  member m;
  while (rv == 0 && next_member(&p, &m)) {
    bool there = at < w->count && !m.in_use;
    if (m.in_use || (!there && m.fallback)) {
      rv = add_share(s, args, &m, err);
    } else if (there && m.rest) {
      rv = add_json(args, &m, w, at, line, err);
      at = w->count;
    } else if (there) {
      rv = add_text(args, &m, w->at[at++], err);
    } else if (!m.optional) {
      rv = missing(command, err);
    }
  }
  if (rv == 0 && at < w->count) {
    rv = km_fail(err, KM_ERR_INVALID, "'%.40s' is one word too many: %s %s (quote blanks)",
                 w->at[at], command->name, command->usage);
  }
  return rv;
}

int shell_command_args(const shell_core *s, const shell_command *command, const word_list *w,
                       const char *line, cJSON **ret, km_errinfo *err) {
  cJSON *args = cJSON_CreateObject();
  int rv = args == NULL ? km_fail(err, KM_ERR_NOMEM, NULL) : fill(s, command, w, line, args, err);
  if (rv != 0) {
    cJSON_Delete(args);
    return rv;
  }
  *ret = args;
  return 0;
}

/* --- help ------------------------------------------------------------------------------------- */

static void say_one(const shell_core *s, const shell_command *c) {
  char head[64];
  (void)snprintf(head, sizeof head, "%s %s", c->name, c->usage);
  cli_say(&s->show.out, "  %-34s %s", head, c->help);
}

void shell_help(const shell_core *s, const char *name) {
  const shell_command *one = name == NULL ? NULL : shell_command_find(name);
  for (const shell_command *c = shell_commands; c->name != NULL; c++) {
    if (one == NULL || one == c) {
      say_one(s, c);
    }
  }
  if (one == NULL) {
    cli_say(
        &s->show.out, "%s",
        "\nWords with blanks need quotes: add greeting 'hello world'. PEER is an id, its first\n"
        "digits, a ticket or a name.");
  }
}
