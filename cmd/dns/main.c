/* km-dns: a discovery server that people host themselves. */
#include <stdio.h>
#include <stdlib.h>

#include <sodium.h>

#include "cmd/cli/options.h"
#include "cmd/cli/stdio_io.h"
#include "cmd/dns/dns.h"

typedef struct arguments {
  dns_options dns;
  const char *log;
  bool json, check, version;
} arguments;

static cli_result parse(arguments *a, int argc, char **argv, km_errinfo *err) {
  const cli_option options[] = {
      {"--config", CLI_TEXT, &a->dns.config, "FILE", "configuration; see km-dns(1)", 0, 0},
      {"--dev", CLI_FLAG, &a->dns.dev, NULL,
       "HTTP on 127.0.0.1:8080, DNS on 127.0.0.1:5300, all in memory", 0, 0},
      {"--check", CLI_FLAG, &a->check, NULL, "look whether it could run, and end", 0, 0},
      {"--log", CLI_TEXT, &a->log, "FILTER",
       "log to stderr: debug or warn,discovery=debug (or KM_LOG)", 0, 0},
      {"--json", CLI_FLAG, &a->json, NULL, "one JSON object a line on stdout", 0, 0},
      {"--version", CLI_FLAG, &a->version, NULL, "version of the program and what is inside", 0, 0},
      {0},
  };
  const cli_command command = {
      .name = "km-dns",
      .usage = "km-dns --config FILE | --dev [OPTION]...",
      .about =
          "Tells where endpoints can be reached: they publish signed packets by HTTP (pkarr),\n"
          "others ask by DNS over UDP, TCP and HTTPS. It works for iroh as well.\n\n"
          "SIGHUP reads the certificate again. SIGTERM ends it gracefully.",
      .example = "  km-dns --dev                             # to try it out\n"
                 "  km-dns --config /etc/km-dns/km-dns.toml",
      .options = options};
  cli_words words;
  return cli_parse(&command, argc - 1, argv + 1, &words, err);
}

static int choose_log(arguments *a, km_errinfo *err) {
  const char *filter = cli_log_filter(a->log);
  a->dns.logger.sink = km_log_to_stderr;
  a->dns.log_given = filter != NULL;
  return km_log_filter_parse(&a->dns.logger.filter, filter != NULL ? filter : "info", err);
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
    printf("km-dns %s (%s)\n", km_version(), km_version_details());
    return CLI_EXIT_OK;
  }
  if (sodium_init() < 0) {
    err.code = KM_ERR_SYSTEM;
    return cli_error(&out, CLI_EXIT_FAILED, &err);
  }
  return a.check ? dns_check(&out, &a.dns) : dns_run(&out, &a.dns);
}

int main(int argc, char **argv) {
  cli_stdio_begin();
  return cli_stdio_end(run(argc, argv));
}
