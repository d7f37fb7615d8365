#include "cmd/node/finder.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cli/signals_io.h"
#include "cmd/node/key_option.h"

void finder_add_options(cli_option table[FINDER_OPTIONS_MAX], finder_options *o, bool publishes) {
  const cli_option rows[] = {
      {"--secret-key", CLI_TEXT, &o->secret_key, "HEX", "secret key (ps shows it; prefer a file)",
       0, 0},
      {"--key-file", CLI_TEXT, &o->key_file, "PATH", "file with the secret key, mode 0600", 0, 0},
      {"--log", CLI_TEXT, &o->log, "FILTER", "log to stderr: info,discovery=debug (or KM_LOG)", 0,
       0},
      {"--json", CLI_FLAG, &o->json, NULL, "one JSON object a line on stdout", 0, 0},
      {0},
  };
  discovery_add_options(table, FINDER_OPTIONS_MAX, &o->discovery, publishes);
  const cli_option *from = publishes ? rows : rows + 2; /* with a key, that is */
  size_t count = sizeof rows / sizeof rows[0] - (publishes ? 0 : 2);
  size_t used = 0;
  while (table[used].name != NULL) {
    used++;
  }
  assert(used + count <= FINDER_OPTIONS_MAX);
  memcpy(table + used, from, count * sizeof rows[0]);
}

static void on_stop(void *ctx) {
  finder_finish(ctx, 130);
}

static int open_discovery(finder *f, const finder_options *o, const discovery_setup *setup,
                          km_errinfo *err) {
  km_log_filter filter;
  discovery_setup full = *setup;
  const char *log = cli_log_filter(o->log);
  memset(filter.level, KM_LOG_INFO, sizeof filter.level);
  if (log != NULL) {
    int rv = km_log_filter_parse(&filter, log, err);
    if (rv != 0) {
      return rv;
    }
    full.log = km_log_to_stderr;
  }
  int rv = key_option_load(o->secret_key, o->key_file, &f->key, err);
  rv = rv != 0 ? rv : km_loop_new(&f->loop);
  if (rv != 0) {
    err->code = rv;
    return rv;
  }
  full.loop = f->loop;
  full.key = f->key;
  full.log_filter = &filter;
  full.relay_mode = KM_RELAY_MODE_DIAL_ONLY;
  return discovery_open(&f->discovery, &o->discovery, &full, err);
}

static void clear(finder *f) {
  km_timer_cancel(f->timer);
  km_timer_cancel(f->renewal);
  f->timer = f->renewal = NULL;
  km_discovery_free(f->discovery);
  f->discovery = NULL;
  km_secret_key_free(f->key);
  f->key = NULL;
  if (f->loop != NULL) {
    (void)km_loop_free(f->loop);
  }
  f->loop = NULL;
}

int finder_open(finder *f, const finder_options *o, const discovery_setup *setup) {
  km_errinfo err = {0};
  cli_output_init(&f->out, o->json);
  int rv = open_discovery(f, o, setup, &err);
  if (rv == 0 && f->discovery == NULL) {
    err = (km_errinfo){.code = KM_ERR_INVALID, .text = "--no-discovery leaves nothing to do"};
    rv = KM_ERR_INVALID;
  }
  rv = rv != 0 ? rv : cli_signals_watch(f->loop, on_stop, f);
  if (rv == 0) {
    return CLI_EXIT_OK;
  }
  err.code = rv;
  clear(f);
  return cli_error(&f->out, CLI_EXIT_USAGE, &err);
}

int finder_run(finder *f) {
  while (!f->done) {
    (void)km_loop_run(f->loop);
  }
  cli_signals_stop();
  clear(f);
  return f->status;
}

void finder_finish(finder *f, int status) {
  f->status = f->done ? f->status : status;
  f->done = true;
  km_loop_stop(f->loop);
}
