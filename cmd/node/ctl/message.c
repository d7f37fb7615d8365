/* km-node send, broadcast, messages. */
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "cmd/node/ctl/commands.h"
#include "cmd/node/ctl/ctl.h"
#include "cmd/node/ctl/input_io.h"
#include "cmd/node/ctl/values.h"

typedef struct send_options {
  ctl_options common;
  const char *ttl;
} send_options;

/* The JSON as it was written, digits and all: only looked at. */
static int add_body(cJSON *args, const char *word, km_errinfo *err) {
  uint8_t *own = NULL;
  size_t len;
  cJSON *parsed;
  int rv = strcmp(word, "-") == 0 ? input_read("-", KM_MESSAGE_BODY_MAX, &own, &len, err) : 0;
  const char *text = own != NULL ? (const char *)own : word;
  rv = rv == 0 ? value_parse_json(&parsed, text, err) : rv;
  if (rv == 0) {
    cJSON_Delete(parsed);
    bool ok = cJSON_AddStringToObject(args, "json", text) != NULL;
    rv = ok ? 0 : km_fail(err, KM_ERR_NOMEM, NULL);
  }
  free(own);
  return rv;
}

static int add_ttl(cJSON *args, const send_options *o, km_errinfo *err) {
  int64_t ttl;
  int rv = o->ttl == NULL ? 0 : when_parse_duration(&ttl, o->ttl, err);
  if (rv == 0 && o->ttl != NULL) {
    (void)cJSON_AddNumberToObject(args, "ttl_s", (double)ttl);
  }
  return rv;
}

/* `peer` NULL: to all. */
static int send_it(const send_options *o, const char *peer, const char *type, const char *body) {
  km_errinfo err = {0};
  cJSON *args = ctl_args("peer", peer, "type", type, NULL);
  int rv = args == NULL ? km_fail(&err, KM_ERR_NOMEM, NULL) : add_body(args, body, &err);
  rv = rv == 0 ? add_ttl(args, o, &err) : rv;
  if (rv != 0) {
    cJSON_Delete(args);
    return ctl_usage(o->common.json, &err);
  }
  return ctl_once(&o->common, peer != NULL ? "send" : "broadcast", args);
}

int cmd_send(int argc, char **argv) {
  send_options o = {0};
  const cli_option options[] = {
      CTL_OPTIONS(&o.common),
      {"--ttl", CLI_TEXT, &o.ttl, "SPAN", "how long delivery is tried: 1h, 7d; default 7d", 0, 0},
      {0},
  };
  const cli_command command = {
      .name = "km-node send",
      .usage = "km-node send PEER TYPE JSON|- [OPTION]...",
      .about = "Sends a message to a peer. It is signed, and waits on disk until the peer has it;\n"
               "with - the JSON is read from standard input.",
      .example = "  km-node send bob note '{\"text\": \"hello\"}'",
      .options = options,
      .min_words = 3,
      .max_words = 3,
  };
  cli_words words;
  km_errinfo err;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  if (result != CLI_RUN) {
    return result == CLI_HELPED ? CLI_EXIT_OK : ctl_usage(o.common.json, &err);
  }
  return send_it(&o, words.at[0], words.at[1], words.at[2]);
}

int cmd_broadcast(int argc, char **argv) {
  send_options o = {0};
  const cli_option options[] = {
      CTL_OPTIONS(&o.common),
      {"--ttl", CLI_TEXT, &o.ttl, "SPAN", "how long it is spread: 1h, 7d; default 24h", 0, 0},
      {0},
  };
  const cli_command command = {
      .name = "km-node broadcast",
      .usage = "km-node broadcast TYPE JSON|- [OPTION]...",
      .about = "Sends a message to all: peers pass it on to those that are not connected to this\n"
               "node. With - the JSON is read from standard input.",
      .example = "  km-node broadcast alarm '{\"level\": 2}'",
      .options = options,
      .min_words = 2,
      .max_words = 2,
  };
  cli_words words;
  km_errinfo err;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  if (result != CLI_RUN) {
    return result == CLI_HELPED ? CLI_EXIT_OK : ctl_usage(o.common.json, &err);
  }
  return send_it(&o, NULL, words.at[0], words.at[1]);
}

static int list(const ctl_options *common, bool outbox, uint64_t limit) {
  cJSON *args = ctl_args(NULL, NULL, NULL);
  if (!outbox && limit > 0) {
    (void)cJSON_AddNumberToObject(args, "limit", (double)limit);
  }
  return ctl_once(common, outbox ? "outbox" : "messages", args);
}

int cmd_messages(int argc, char **argv) {
  ctl_options common = {0};
  bool outbox = false;
  const char *cancel = NULL;
  uint64_t limit = 0;
  const cli_option options[] = {
      CTL_OPTIONS(&common),
      CTL_OPTION_LONG(&common),
      {"--outbox", CLI_FLAG, &outbox, NULL, "what waits to be delivered", 0, 0},
      {"--cancel", CLI_TEXT, &cancel, "MESSAGE", "take a message out of the outbox", 0, 0},
      {"--limit", CLI_NUMBER, &limit, "N", "at most so many; default 100", 1, 1000},
      {0},
  };
  const cli_command command = {
      .name = "km-node messages",
      .usage = "km-node messages [--outbox | --cancel MESSAGE] [--limit N] [OPTION]...",
      .about =
          "Lists the messages that came, the newest first, or those that wait to be delivered.",
      .example = "  km-node messages --limit 10\n"
                 "  km-node messages --outbox",
      .options = options,
  };
  cli_words words;
  km_errinfo err;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  if (result == CLI_RUN &&
      ((outbox && cancel != NULL) || (limit > 0 && (outbox || cancel != NULL)))) {
    (void)km_fail(&err, KM_ERR_INVALID, "--outbox, --cancel and --limit do not go together");
    result = CLI_BAD;
  }
  if (result != CLI_RUN) {
    return result == CLI_HELPED ? CLI_EXIT_OK : ctl_usage(common.json, &err);
  }
  if (cancel != NULL) {
    return ctl_once(&common, "outbox.cancel", ctl_args("message", cancel, NULL));
  }
  return list(&common, outbox, limit);
}
