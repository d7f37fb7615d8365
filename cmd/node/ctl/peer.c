/* km-node peer: whom the node dials and trusts. */
#include <string.h>

#include "base/env.h"
#include "cmd/node/ctl/commands.h"
#include "cmd/node/ctl/ctl.h"
#include "cmd/node/ctl/peer_config.h"

typedef struct peer_options {
  peer_config_options config; /* what all take, and add */
  const char *note, *expires, *state;
} peer_options;

typedef struct peer_verb {
  const char *name, *request;
  size_t words;      /* behind it, the peer first */
  const char *takes; /* initials of: name, note (o), expires, state, addr, share (h) */
  int (*configure)(const peer_config_options *o, const char *peer); /* instead of a request */
} peer_verb;

static const peer_verb verbs[] = {
    {"add", NULL, 1, "nah", peer_config_add},   {"remove", NULL, 1, "", peer_config_remove},
    {"trust", "peer.trust", 1, "noe", NULL},    {"revoke", "peer.revoke", 1, "o", NULL},
    {"block", "peer.block", 1, "o", NULL},      {"forget", "peer.forget", 1, "", NULL},
    {"list", "peer.list", 0, "s", NULL},        {"recommend", "peer.recommend", 1, "ne", NULL},
    {"withdraw", "peer.withdraw", 1, "", NULL}, {"requests", "peer.requests", 0, "", NULL},
    {"approve", "peer.approve", 1, "", NULL},   {"deny", "peer.deny", 1, "", NULL},
    {"dial", "peer.dial", 1, "", NULL},         {"access", "peer.access", 2, "", NULL},
};

#define VERBS (sizeof verbs / sizeof verbs[0])

static const peer_verb *find(const char *word, km_errinfo *err) {
  const char *names[VERBS + 1] = {NULL};
  for (size_t i = 0; i < VERBS; i++) {
    if (strcmp(verbs[i].name, word) == 0) {
      return &verbs[i];
    }
    names[i] = verbs[i].name;
  }
  const char *near = cli_did_you_mean(word, names);
  (void)km_fail(err, KM_ERR_INVALID, "unknown word '%.40s'%s%s%s", word,
                near == NULL ? ": see km-node peer --help" : ": did you mean ",
                near == NULL ? "" : near, near == NULL ? "" : "?");
  return NULL;
}

static int check(const peer_verb *verb, const peer_options *o, const cli_words *words,
                 km_errinfo *err) {
  const struct {
    bool given;
    const char *name;
    char initial;
  } given[] = {{o->config.name != NULL, "--name", 'n'},
               {o->note != NULL, "--note", 'o'},
               {o->expires != NULL, "--expires", 'e'},
               {o->state != NULL, "--state", 's'},
               {o->config.addrs.count > 0, "--addr", 'a'},
               {o->config.shares_mode.count > 0, "--share", 'h'}};
  for (size_t i = 0; i < sizeof given / sizeof given[0]; i++) {
    if (given[i].given && strchr(verb->takes, given[i].initial) == NULL) {
      return km_fail(err, KM_ERR_INVALID, "peer %s takes no %s", verb->name, given[i].name);
    }
  }
  if (words->count - 1 < verb->words) {
    return km_fail(err, KM_ERR_INVALID, "%s km-node peer %s %s",
                   words->count == 1 ? "whom?" : "of which share?", verb->name,
                   verb->words == 2 ? "PEER SHARE" : "PEER");
  }
  if (words->count - 1 > verb->words) {
    return km_fail(err, KM_ERR_INVALID, "'%.60s' is one word too many", words->at[verb->words + 1]);
  }
  return 0;
}

static int run(const peer_verb *verb, const peer_options *o, const cli_words *words) {
  km_errinfo err;
  int64_t expires = 0;
  if (verb->configure != NULL) {
    return verb->configure(&o->config, words->at[1]);
  }
  bool revoked = strcmp(verb->request, "peer.revoke") == 0;
  if (o->expires != NULL) {
    int64_t now = km_clock_wall().unix_ns / (int64_t)KM_NS_PER_S;
    if (when_parse(&expires, o->expires, now, &err) != 0) {
      return ctl_usage(o->config.common.json, &err);
    }
  }
  cJSON *args = ctl_args("peer", verb->words > 0 ? words->at[1] : NULL, "share",
                         verb->words > 1 ? words->at[2] : NULL, "name", o->config.name,
                         revoked ? "reason" : "note", o->note, "state", o->state, NULL);
  if (expires != 0) {
    (void)cJSON_AddNumberToObject(args, "expires", (double)expires);
  }
  return ctl_once(&o->config.common, verb->request, args);
}

int cmd_peer(int argc, char **argv) {
  peer_options o = {0};
  const cli_option options[] = {
      CTL_OPTIONS(&o.config.common),
      CTL_OPTION_LONG(&o.config.common),
      {"--name", CLI_TEXT, &o.config.name, "NAME", "add, trust, recommend: what to call it", 0, 0},
      {"--note", CLI_TEXT, &o.note, "TEXT", "trust, block: a note; revoke: the reason, for all", 0,
       0},
      {"--expires", CLI_TEXT, &o.expires, "WHEN", "trust, recommend: 24h, 7d, 2030-12-31; never", 0,
       0},
      {"--addr", CLI_LIST, &o.config.addrs, "IP:PORT", "add: where it is (again for more)", 0, 0},
      {"--share", CLI_LIST, &o.config.shares_mode, "NAME=ro|rw",
       "add: what it may do here with a share (again for more)", 0, 0},
      {"--state", CLI_TEXT, &o.state, "STATE", "list: trusted, pending or blocked only", 0, 0},
      {0},
  };
  const cli_command command = {
      .name = "km-node peer",
      .usage = "km-node peer WORD [PEER] [OPTION]...",
      .about =
          "Says whom a node dials and whom it lets in. PEER is an id, a ticket, a name, or the\n"
          "first digits of an id.\n\n"
          "  add PEER             put it into keymesh.yaml: let it in, and dial it from now on\n"
          "                       (an id or a ticket)\n"
          "  remove PEER          take it out of there\n"
          "  trust PEER           let it in when it dials\n"
          "  revoke PEER          block it and tell all others\n"
          "  block PEER           block it here\n"
          "  forget PEER          as if it had never been seen\n"
          "  list                 who is known\n"
          "  recommend PEER       vouch for it to all others\n"
          "  withdraw PEER        take that back\n"
          "  requests             who waits to be let in\n"
          "  approve|deny PEER    let it in, or not\n"
          "  dial PEER            dial it now (of a running node)\n"
          "  access PEER SHARE    what it may do, and why (of a running node)",
      .example = "  km-node peer add endpointab43kv... --name bob --share common=rw\n"
                 "  km-node peer requests\n"
                 "  km-node peer trust bob --expires 30d --note 'for the demo'",
      .options = options,
      .min_words = 1,
      .max_words = 3,
  };
  cli_words words;
  km_errinfo err;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  if (result == CLI_HELPED) {
    return CLI_EXIT_OK;
  }
  const peer_verb *verb = result == CLI_RUN ? find(words.at[0], &err) : NULL;
  if (verb == NULL || check(verb, &o, &words, &err) != 0) {
    return ctl_usage(o.config.common.json, &err);
  }
  return run(verb, &o, &words);
}
