/* km-relay: a relay that people host themselves. */
#include <stdio.h>
#include <string.h>

#include <keymesh/keymesh.h>
#include <sodium.h>

#include "cmd/cli/options.h"
#include "cmd/cli/output.h"
#include "cmd/cli/signals_io.h"
#include "cmd/cli/stdio_io.h"
#include "relay/server.h"

#define GRACE_MS 2000

typedef struct relay {
  cli_output out;
  km_env env;
  km_loop *loop;
  km_relay_server *server;
} relay;

static void on_stopped(void *ctx) {
  relay *r = ctx;
  km_loop_stop(r->loop);
}

static void on_stop(void *ctx) {
  relay *r = ctx;
  km_relay_server_shutdown(r->server, GRACE_MS, on_stopped, r);
}

int main(int argc, char **argv) {
  relay r = {0};
  km_errinfo err;
  bool dev = false, json = false;
  const char *config = NULL;
  cli_stdio_begin();
  const cli_option options[] = {
      {"--dev", CLI_FLAG, &dev, NULL, "plain HTTP on [::]:3340", 0, 0},
      {"--config", CLI_TEXT, &config, "FILE", "configuration", 0, 0},
      {"--json", CLI_FLAG, &json, NULL, "one JSON object a line on stdout", 0, 0},
      {0},
  };
  const cli_command command = {.name = "km-relay",
                               .usage = "km-relay [--config FILE] [--dev]",
                               .about = "A relay.",
                               .example = "  km-relay --dev",
                               .options = options};
  cli_words words;
  cli_result result = cli_parse(&command, argc - 1, argv + 1, &words, &err);
  if (result != CLI_RUN) {
    return 2;
  }
  cli_output_init(&r.out, json);
  km_udp_addr bind = {.family = 6, .port = 3340};
  if (config != NULL) {
    FILE *f = fopen(config, "r");
    char line[256], addr[100];
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
      if (sscanf(line, "http_bind_addr = \"%99[^\"]\"", addr) == 1) {
        (void)!km_udp_addr_parse(&bind, addr, strlen(addr), NULL);
      }
    }
    if (f != NULL) {
      fclose(f);
    }
  }
  r.env = km_env_system;
  if (sodium_init() < 0 || km_loop_new(&r.loop) != 0) {
    return 1;
  }
  km_relay_server_config c = {.env = &r.env,
                              .loop = r.loop,
                              .http = &bind,
                              .http_count = 1,
                              .relay_over_http = true,
                              .version = km_version(),
                              .ctx = &r};
  km_relay_server_limits_default(&c.limits);
  int rv = km_relay_server_new(&r.server, &c, &err);
  if (rv != 0) {
    return cli_error(&r.out, 2, &err);
  }
  if (cli_signals_watch(r.loop, on_stop, &r) != 0) {
    return 1;
  }
  (void)km_loop_run(r.loop);
  cli_signals_stop();
  km_relay_server_free(r.server);
  (void)km_loop_free(r.loop);
  return cli_stdio_end(0);
}
