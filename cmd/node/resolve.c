/* km-node resolve: where is this id? */
#include "cmd/node/resolve.h"

#include <stdio.h>
#include <string.h>

#include "cmd/node/node.h"

typedef struct resolver {
  finder f;
  km_lookup *lookup;
  uint64_t timeout_s;
  size_t found;
  bool first; /* end with the first answer */
} resolver;

int resolve_parse_id(const cli_output *out, const char *text, km_id *ret) {
  const cli_list none = {0};
  km_addr *addr;
  int status = node_parse_peer(out, &addr, text, &none, NULL);
  if (status == CLI_EXIT_OK) {
    *ret = *km_addr_id(addr);
    km_addr_free(addr);
  }
  return status;
}

static void finish(resolver *r, const km_errinfo *why) {
  km_lookup_cancel(r->lookup);
  r->lookup = NULL;
  if (r->found > 0) {
    finder_finish(&r->f, CLI_EXIT_OK);
    return;
  }
  finder_finish(&r->f, cli_error(&r->f.out, CLI_EXIT_UNREACHABLE, why));
}

static void on_found(void *ctx, km_lookup *lookup, const km_found *found) {
  resolver *r = ctx;
  (void)lookup;
  r->found++;
  discovery_print_found(&r->f.out, "found", found);
  if (r->first && km_addr_udp_count(found->addr) + km_addr_relay_count(found->addr) > 0) {
    finish(r, NULL);
  }
}

static void on_done(void *ctx, km_lookup *lookup, size_t found, const km_errinfo *err) {
  resolver *r = ctx;
  (void)lookup;
  (void)found;
  const km_errinfo nobody = {.code = KM_ERR_NOT_FOUND, .text = "nobody knows where it is"};
  r->lookup = NULL;
  finish(r, err != NULL && err->code != 0 ? err : &nobody);
}

static void on_time(void *ctx) {
  resolver *r = ctx;
  r->f.timer = NULL;
  km_errinfo err = {.code = KM_ERR_TIMEOUT};
  (void)snprintf(err.text, sizeof err.text, "nobody told within %llu s where it is",
                 (unsigned long long)r->timeout_s);
  finish(r, &err);
}

static int run(resolver *r, const finder_options *o, const char *text) {
  static const km_lookup_callbacks callbacks = {
      .size = sizeof callbacks, .on_found = on_found, .on_done = on_done};
  const discovery_setup setup = {.no_publish = true};
  km_id id;
  cli_output_init(&r->f.out, o->json);
  int status = resolve_parse_id(&r->f.out, text, &id);
  status = status != CLI_EXIT_OK ? status : finder_open(&r->f, o, &setup);
  if (status != CLI_EXIT_OK) {
    return status;
  }
  km_errinfo err = {0};
  int rv = km_discovery_lookup(r->f.discovery, &r->lookup, &id, &callbacks, r, &err);
  rv = rv != 0 ? rv : km_timer_start(&r->f.timer, r->f.loop, r->timeout_s * 1000, on_time, r);
  if (rv != 0) {
    err.code = rv;
    finder_finish(&r->f, cli_error(&r->f.out, CLI_EXIT_FAILED, &err));
  } else if (cli_watched(&r->f.out)) {
    (void)fprintf(stderr, "asking ...\n");
  }
  return finder_run(&r->f);
}

int cmd_resolve(int argc, char **argv) {
  finder_options o = {0};
  resolver r = {.timeout_s = 10};
  cli_option options[FINDER_OPTIONS_MAX] = {
      {"--first", CLI_FLAG, &r.first, NULL, "end with the first answer that can be dialled", 0, 0},
      {"--timeout", CLI_NUMBER, &r.timeout_s, "SECONDS", "give up after so long (10)", 1, 600},
      {0},
  };
  finder_add_options(options, &o, false);
  const cli_command command = {
      .name = "km-node resolve",
      .usage = "km-node resolve ID [--pkarr URL]... [--dns-origin DOMAIN [--dns-server IP]]...",
      .about = "Asks every source where an id is, and shows each answer with its source. Exit\n"
               "status 3: nobody knows.",
      .example = "  km-node resolve 3b6a27bcceb6... --pkarr https://dns.example.org/pkarr",
      .options = options,
      .min_words = 1,
      .max_words = 1,
  };
  km_errinfo err;
  cli_words words;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  if (result != CLI_RUN) {
    cli_output_init(&r.f.out, o.json);
    return result == CLI_HELPED ? CLI_EXIT_OK : cli_error(&r.f.out, CLI_EXIT_USAGE, &err);
  }
  return run(&r, &o, words.at[0]);
}
