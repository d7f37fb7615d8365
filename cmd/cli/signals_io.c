#include "cmd/cli/signals_io.h"

#include <errno.h>
#include <keymesh/uv.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

static uv_signal_t watches[2];
static void (*stop_fn)(void *ctx);
static void *stop_ctx;
static bool watching, asked;

static void on_signal(uv_signal_t *handle, int number) {
  (void)handle;
  if (asked) {
    _Exit(128 + number);
  }
  asked = true;
  stop_fn(stop_ctx);
}

int cli_signals_watch(km_loop *loop, void (*fn)(void *ctx), void *ctx) {
  const int numbers[2] = {SIGINT, SIGTERM};
  stop_fn = fn;
  stop_ctx = ctx;
  (void)signal(SIGPIPE, SIG_IGN);
  for (size_t i = 0; i < 2; i++) {
    if (uv_signal_init(km_loop_uv(loop), &watches[i]) != 0 ||
        uv_signal_start(&watches[i], on_signal, numbers[i]) != 0) {
      return KM_ERR_SYSTEM;
    }
    uv_unref((uv_handle_t *)&watches[i]);
  }
  watching = true;
  return 0;
}

void cli_signals_stop(void) {
  for (size_t i = 0; watching && i < 2; i++) {
    uv_close((uv_handle_t *)&watches[i], NULL);
  }
  watching = false;
}
