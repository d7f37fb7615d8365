/* What a program that runs as a service does beside its work: signals, systemd's watchdog. */
#ifndef KM_CMD_CLI_SERVICE_H
#define KM_CMD_CLI_SERVICE_H

#include <keymesh/error.h>
#include <keymesh/uv.h>
#include <stdbool.h>
#include <stdint.h>

/* Zero it first, and let it stay where it is. */
typedef struct cli_service {
  km_loop *loop;
  void (*on_stop)(void *ctx);   /* SIGTERM, SIGINT */
  void (*on_reload)(void *ctx); /* SIGHUP; systemd is told around it */
  void *ctx;
  uv_signal_t hangup;
  bool hangup_open, stopping;
  km_timer *watchdog;
  uint64_t watchdog_ms;
} cli_service;

/* Once a process. 0 or KM_ERR_SYSTEM. */
KM_NODISCARD int cli_service_start(cli_service *s, km_errinfo *err);
void cli_service_ready(void);         /* tells systemd */
void cli_service_end(cli_service *s); /* before the loop is freed */

#endif /* KM_CMD_CLI_SERVICE_H */
