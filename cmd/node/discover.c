/* km-node discover: who is there. */
#include <stdio.h>

#include "cmd/node/finder.h"
#include "cmd/node/node.h"

typedef struct seeker {
  finder f;
  km_watch *watch;
  uint64_t seconds;
  bool keep; /* --watch */
  size_t found;
} seeker;

static void on_found(void *ctx, const km_found *found) {
  seeker *s = ctx;
  s->found++;
  discovery_print_found(&s->f.out, "found", found);
}

static void on_lost(void *ctx, const km_id *id, const char *source) {
  const seeker *s = ctx;
  char text[KM_ID_TEXT_CAP];
  cJSON *event = cli_event(&s->f.out, "lost");
  (void)km_id_format(id, KM_ID_HEX, text, sizeof text);
  cli_add_text(event, "id", text);
  cli_add_text(event, "source", source);
  cli_emit(event);
  cli_say(&s->f.out, "%s  is gone (%s)", text, source);
}

static void on_time(void *ctx) {
  seeker *s = ctx;
  s->f.timer = NULL;
  if (s->found == 0) {
    km_errinfo err = {.code = KM_ERR_TIMEOUT};
    (void)snprintf(err.text, sizeof err.text,
                   "nobody answered for %llu s: are they on this network, and is UDP port 5353 "
                   "open?",
                   (unsigned long long)s->seconds);
    finder_finish(&s->f, cli_error(&s->f.out, CLI_EXIT_UNREACHABLE, &err));
    return;
  }
  finder_finish(&s->f, CLI_EXIT_OK);
}

static int run(seeker *s, const finder_options *o, bool lan) {
  static const km_watch_callbacks callbacks = {
      .size = sizeof callbacks, .on_found = on_found, .on_lost = on_lost};
  const discovery_setup setup = {.lan = lan, .no_publish = true};
  int status = finder_open(&s->f, o, &setup);
  if (status != CLI_EXIT_OK) {
    return status;
  }
  km_errinfo err = {0};
  int rv = km_discovery_watch(s->f.discovery, &s->watch, &callbacks, s, &err);
  if (rv == 0 && !s->keep) {
    rv = km_timer_start(&s->f.timer, s->f.loop, s->seconds * 1000, on_time, s);
  }
  if (rv != 0) {
    err.code = rv;
    finder_finish(&s->f, cli_error(&s->f.out, CLI_EXIT_FAILED, &err));
  } else if (cli_watched(&s->f.out)) {
    (void)fprintf(stderr, "looking around%s ...\n", s->keep ? "; ctrl-c ends" : "");
  }
  return finder_run(&s->f);
}

int cmd_discover(int argc, char **argv) {
  finder_options o = {0};
  seeker s = {.seconds = 3};
  bool lan = false;
  cli_option options[FINDER_OPTIONS_MAX] = {
      {"--lan", CLI_FLAG, &lan, NULL, "only the local network, which has to work then", 0, 0},
      {"--watch", CLI_FLAG, &s.keep, NULL, "go on, and say who comes and goes", 0, 0},
      {"--seconds", CLI_NUMBER, &s.seconds, "N", "how long to look (default 3)", 1, 3600},
      {0},
  };
  finder_add_options(options, &o, false);
  const cli_command command = {
      .name = "km-node discover",
      .usage = "km-node discover [--lan] [--watch | --seconds N]",
      .about = "Lists the nodes that can be seen without knowing their ids: those of the local\n"
               "network (mDNS; KeyMesh's and iroh's), and of --peers. Exit status 3: nobody.",
      .example = "  km-node discover --lan --watch --json",
      .options = options,
  };
  km_errinfo err;
  cli_words words;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  if (result != CLI_RUN) {
    cli_output_init(&s.f.out, o.json);
    return result == CLI_HELPED ? CLI_EXIT_OK : cli_error(&s.f.out, CLI_EXIT_USAGE, &err);
  }
  return run(&s, &o, lan);
}
