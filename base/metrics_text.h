/* Numbers as OpenMetrics text, and what every server says of its process. Pure. */
#ifndef KM_BASE_METRICS_TEXT_H
#define KM_BASE_METRICS_TEXT_H

#include "base/env.h"

#define KM_METRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

typedef struct km_metrics_text {
  char *begin, *at, *end;
  bool full;
} km_metrics_text;

void km_metrics_begin(km_metrics_text *t, char *buf, size_t cap);
/* The end mark. Returns the length of the text, or KM_ERR_BUFFER. */
int km_metrics_end(km_metrics_text *t);

void km_metrics_put(km_metrics_text *t, const char *fmt, ...) KM_PRINTF(2, 3);
void km_metrics_head(km_metrics_text *t, const char *name, const char *type, const char *help);
void km_metrics_counter(km_metrics_text *t, const char *name, uint64_t value, const char *help);
void km_metrics_gauge(km_metrics_text *t, const char *name, uint64_t value, const char *help);

/* What the system says about this process; -1 where it does not. */
typedef struct km_process_stats {
  int64_t resident_bytes, virtual_bytes;
  int64_t open_fds, max_fds;
  double cpu_seconds, start_time; /* start: UNIX time */
} km_process_stats;

/* Under Prometheus' own names. */
void km_metrics_process(km_metrics_text *t, const km_process_stats *p);

#endif /* KM_BASE_METRICS_TEXT_H */
