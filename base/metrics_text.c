#include "base/metrics_text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

void km_metrics_begin(km_metrics_text *t, char *buf, size_t cap) {
  *t = (km_metrics_text){buf, buf, buf + cap, false};
}

int km_metrics_end(km_metrics_text *t) {
  km_metrics_put(t, "# EOF\n");
  return t->full ? KM_ERR_BUFFER : (int)(t->at - t->begin);
}

void km_metrics_put(km_metrics_text *t, const char *fmt, ...) {
  va_list args;
  size_t room = (size_t)(t->end - t->at);
  va_start(args, fmt);
  int len = vsnprintf(t->at, room, fmt, args);
  va_end(args);
  t->full |= len < 0 || (size_t)len >= room;
  t->at += t->full ? 0 : len;
}

void km_metrics_head(km_metrics_text *t, const char *name, const char *type, const char *help) {
  km_metrics_put(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void km_metrics_counter(km_metrics_text *t, const char *name, uint64_t value, const char *help) {
  km_metrics_head(t, name, "counter", help);
  km_metrics_put(t, "%s_total %" PRIu64 "\n", name, value);
}

void km_metrics_gauge(km_metrics_text *t, const char *name, uint64_t value, const char *help) {
  km_metrics_head(t, name, "gauge", help);
  km_metrics_put(t, "%s %" PRIu64 "\n", name, value);
}

static void put_known(km_metrics_text *t, const char *name, int64_t value, const char *help) {
  if (value >= 0) {
    km_metrics_gauge(t, name, (uint64_t)value, help);
  }
}

void km_metrics_process(km_metrics_text *t, const km_process_stats *p) {
  put_known(t, "process_resident_memory_bytes", p->resident_bytes, "Resident memory.");
  put_known(t, "process_virtual_memory_bytes", p->virtual_bytes, "Virtual memory.");
  put_known(t, "process_open_fds", p->open_fds, "Open file descriptors.");
  put_known(t, "process_max_fds", p->max_fds, "The limit on them.");
  if (p->cpu_seconds >= 0) {
    km_metrics_head(t, "process_cpu_seconds", "counter", "User and system time.");
    km_metrics_put(t, "process_cpu_seconds_total %.2f\n", p->cpu_seconds);
  }
  if (p->start_time >= 0) {
    km_metrics_head(t, "process_start_time_seconds", "gauge", "When it started, in UNIX time.");
    km_metrics_put(t, "process_start_time_seconds %.2f\n", p->start_time);
  }
}
