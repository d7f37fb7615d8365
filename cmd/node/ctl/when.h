/* Times as people write and read them. Pure: now comes in. */
#ifndef KM_CMD_NODE_CTL_WHEN_H
#define KM_CMD_NODE_CTL_WHEN_H

#include <keymesh/error.h>
#include <stdint.h>

#define WHEN_TEXT_CAP 40

/* "90s", "15m", "24h", "7d", "2w", "1h30m": seconds, 1 to a hundred years. 0 or KM_ERR_INVALID. */
KM_NODISCARD int when_parse_duration(int64_t *ret_s, const char *text, km_errinfo *err);

/* A duration from `now` on, "never" (0), "2026-12-31" (to the end of that day, UTC) or
 * "2026-12-31T18:00[:00]Z": UNIX seconds. 0 or KM_ERR_INVALID. */
KM_NODISCARD int when_parse(int64_t *ret, const char *text, int64_t now, km_errinfo *err);

/* "now", "3 s ago", "in 2 h", "never" for 0. UNIX milliseconds. Returns `buf`. */
const char *when_ago(char buf[WHEN_TEXT_CAP], int64_t then_ms, int64_t now_ms);
/* "4 s", "2 min 5 s", "3 h 10 min", "5 d 2 h". */
const char *when_span(char buf[WHEN_TEXT_CAP], int64_t ms);
/* "2026-12-31 18:00:00 UTC"; "never" for 0. UNIX seconds. */
const char *when_date(char buf[WHEN_TEXT_CAP], int64_t s);

#endif /* KM_CMD_NODE_CTL_WHEN_H */
