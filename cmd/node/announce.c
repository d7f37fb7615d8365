#include "cmd/node/announce.h"

#include <stdio.h>

#define TICK_MS 50
#define SLOW_TICK_MS 1000 /* once all was told */
#define MAX_PLACES 32

static void print_done(const announcer *a, const km_publish_state *state) {
  cJSON *event = cli_event(&a->f->out, "published");
  cli_add_text(event, "source", state->source);
  cli_add_text(event, "where", state->where);
  cli_emit(event);
  cli_say(&a->f->out, "published  %s%s%s", state->source, state->where[0] != '\0' ? " " : "",
          state->where);
}

static void print_failed(const announcer *a, const km_publish_state *state) {
  km_errinfo err = state->error;
  if (err.code == 0) {
    err.code = KM_ERR_TIMEOUT;
    (void)snprintf(err.text, sizeof err.text, "%s %.120s did not answer in time", state->source,
                   state->where);
  }
  (void)cli_error(&a->f->out, CLI_EXIT_FAILED, &err);
}

static void look(announcer *a, bool late, size_t *ret_places, size_t *ret_open) {
  km_publish_state state = {.size = sizeof state};
  *ret_places = *ret_open = 0;
  for (size_t i = 0; i < MAX_PLACES; i++) {
    uint32_t bit = UINT32_C(1) << i;
    if (km_discovery_publish_state(a->f->discovery, i, &state) != 0) {
      return;
    }
    if (!state.wanted) {
      continue;
    }
    ++*ret_places;
    if (state.done) {
      if ((a->told & bit) == 0) {
        print_done(a, &state);
      }
      a->told |= bit;
      a->failed &= ~bit;
    } else if ((a->failed & bit) == 0 && (state.failures > 0 || (late && (a->told & bit) == 0))) {
      print_failed(a, &state);
      a->failed |= bit;
      a->told &= ~bit;
    }
    *ret_open += ((a->told | a->failed) & bit) == 0;
  }
}

static void on_tick(void *ctx);

static void again(announcer *a) {
  if (km_timer_start(&a->f->timer, a->f->loop, a->over ? SLOW_TICK_MS : TICK_MS, on_tick, a) != 0) {
    finder_finish(a->f, CLI_EXIT_FAILED);
  }
}

static void end_without_places(announcer *a) {
  km_errinfo err = {.code = KM_ERR_INVALID};
  (void)snprintf(err.text, sizeof err.text, "there is nowhere to publish to: %s", a->nowhere);
  finder_finish(a->f, cli_error(&a->f->out, CLI_EXIT_USAGE, &err));
}

static void on_tick(void *ctx) {
  announcer *a = ctx;
  size_t places, open;
  a->f->timer = NULL;
  a->waited_ms += TICK_MS;
  look(a, a->waited_ms >= a->timeout_ms, &places, &open);
  if (places == 0) {
    end_without_places(a);
    return;
  }
  if (open == 0 && !a->over) {
    a->over = true;
    if (!a->keep) {
      finder_finish(a->f, a->failed == 0 ? CLI_EXIT_OK : CLI_EXIT_FAILED);
      return;
    }
    cli_say(&a->f->out, "ctrl-c ends");
  }
  again(a);
}

void announce_start(announcer *a) {
  again(a);
}
