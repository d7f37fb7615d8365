/* km-relay: a relay that people host themselves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "cmd/cli/options.h"
#include "cmd/cli/stdio_io.h"
#include "cmd/relay/relay.h"

typedef struct arguments {
  relay_options relay;
  const char *log;
  bool json, check, version;
} arguments;

static cli_result parse(arguments *a, int argc, char **argv, km_errinfo *err) {
  const cli_option options[] = {
      {"--config", CLI_TEXT, &a->relay.config, "FILE", "configuration; see km-relay(1)", 0, 0},
      {"--config-path", CLI_TEXT, &a->relay.config, "FILE", "the same, as iroh-relay calls it", 0,
       0},
      {"--dev", CLI_FLAG, &a->relay.dev, NULL, "plain HTTP on port 3340, to try things out", 0, 0},
      {"--check", CLI_FLAG, &a->check, NULL, "look whether it could run, and end", 0, 0},
      {"--log", CLI_TEXT, &a->log, "FILTER", "log to stderr: debug or warn,relay=debug (or KM_LOG)",
       0, 0},
      {"--json", CLI_FLAG, &a->json, NULL, "one JSON object a line on stdout", 0, 0},
      {"--version", CLI_FLAG, &a->version, NULL, "version of the program and what is inside", 0, 0},
      {0},
  };
  const cli_command command = {
      .name = "km-relay",
      .usage = "km-relay [--config FILE] [--dev] [OPTION]...",
      .about =
          "Relays encrypted packets between endpoints that cannot reach each other, by iroh's\n"
          "relay protocol, and tells them their addresses (STUN).\n\n"
          "SIGHUP reads lists, tokens and the certificate again. SIGTERM ends it gracefully.",
      .example = "  km-relay --dev                             # to try it out\n"
                 "  km-relay --config /etc/km-relay/km-relay.toml",
      .options = options};
  cli_words words;
  return cli_parse(&command, argc - 1, argv + 1, &words, err);
}

static int choose_log(arguments *a, km_errinfo *err) {
  const char *filter = cli_log_filter(a->log);
  a->relay.logger.sink = km_log_to_stderr;
  return km_log_filter_parse(&a->relay.logger.filter, filter != NULL ? filter : "info", err);
}

static int run(int argc, char **argv) {
  arguments a = {.log = NULL};
  cli_output out;
  km_errinfo err = {0};
  cli_result result = parse(&a, argc, argv, &err);
  cli_output_init(&out, a.json);
  if (result == CLI_HELPED) {
    return CLI_EXIT_OK;
  }
  if (result == CLI_BAD || choose_log(&a, &err) != 0) {
    return cli_error(&out, CLI_EXIT_USAGE, &err);
  }
  if (a.version) {
    printf("km-relay %s (%s)\n", km_version(), km_version_details());
    return CLI_EXIT_OK;
  }
  if (sodium_init() < 0) {
    err.code = KM_ERR_SYSTEM;
    return cli_error(&out, CLI_EXIT_FAILED, &err);
  }
  return a.check ? relay_check(&out, &a.relay) : relay_run(&out, &a.relay);
}

int main(int argc, char **argv) {
  cli_stdio_begin();
  return cli_stdio_end(run(argc, argv));
}
