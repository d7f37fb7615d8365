#include "cmd/cli/service.h"

#include <signal.h>

#include "base/env.h"
#include "cmd/cli/signals_io.h"
#include "cmd/cli/system_io.h"

static void on_hangup(uv_signal_t *handle, int number) {
  cli_service *s = handle->data;
  (void)number;
  if (s->stopping) {
    return;
  }
  system_notify_reloading();
  s->on_reload(s->ctx);
  system_notify("READY=1");
}

static void on_stop(void *ctx) {
  cli_service *s = ctx;
  s->stopping = true;
  system_notify("STOPPING=1");
  s->on_stop(s->ctx);
}

static void on_watchdog(void *ctx) {
  cli_service *s = ctx;
  s->watchdog = NULL;
  system_notify("WATCHDOG=1");
  if (s->watchdog_ms > 0) {
    /* Without memory for it the system restarts us, as it should. */
    (void)!km_timer_start(&s->watchdog, s->loop, s->watchdog_ms, on_watchdog, s);
  }
}

int cli_service_start(cli_service *s, km_errinfo *err) {
  int rv = cli_signals_watch(s->loop, on_stop, s);
  if (rv == 0 && uv_signal_init(km_loop_uv(s->loop), &s->hangup) == 0) {
    s->hangup_open = true;
    s->hangup.data = s;
    rv = uv_signal_start(&s->hangup, on_hangup, SIGHUP) == 0 ? 0 : KM_ERR_SYSTEM;
    uv_unref((uv_handle_t *)&s->hangup);
  }
  if (rv != 0) {
    return km_fail(err, rv, "cannot watch for signals");
  }
  s->watchdog_ms = system_watchdog_ms();
  if (s->watchdog_ms > 0) {
    on_watchdog(s);
  }
  return 0;
}

void cli_service_ready(void) {
  system_notify("READY=1");
}

void cli_service_end(cli_service *s) {
  cli_signals_stop();
  km_timer_cancel(s->watchdog);
  s->watchdog = NULL;
  if (s->hangup_open) {
    uv_close((uv_handle_t *)&s->hangup, NULL);
    s->hangup_open = false;
  }
}
