/* What a service and the system that runs it have to say to each other. */
#ifndef KM_CMD_CLI_SYSTEM_IO_H
#define KM_CMD_CLI_SYSTEM_IO_H

#include <stdbool.h>
#include <stdint.h>

/* sd_notify(3)'s protocol: to $NOTIFY_SOCKET if that is set. `state`: "READY=1". */
void system_notify(const char *state);
/* The same for a reload that begins; "READY=1" ends it. */
void system_notify_reloading(void);
/* How often "WATCHDOG=1" is wanted, in ms; 0: never. */
uint64_t system_watchdog_ms(void);

/* Raises the limit of open descriptors to `wanted` or as near as it may. Returns what it is now. */
uint64_t system_raise_nofile(uint64_t wanted);

#endif /* KM_CMD_CLI_SYSTEM_IO_H */
