/* Serves one text over plain HTTP on a port of its own: GET /metrics. Loop thread only. */
#ifndef KM_BASE_IO_METRICS_PAGE_IO_H
#define KM_BASE_IO_METRICS_PAGE_IO_H

#include <keymesh/addr.h>

#include "base/io/loop_io.h"
#include "base/metrics_text.h"

#define KM_METRICS_PAGE_MAX 16384 /* bytes of the text */

typedef struct km_metrics_page km_metrics_page;

typedef struct km_metrics_page_config {
  const km_env *env; /* outlives it */
  km_loop *loop;
  km_udp_addr bind; /* port 0 takes any */
  /* Writes the text as it is now, KM_METRICS_TYPE. Its length, or below 0: it does not fit. */
  int (*write)(void *ctx, char *ret, size_t cap);
  void *ctx;
} km_metrics_page_config;

/* 0; KM_ERR_ADDR_IN_USE, KM_ERR_PERMISSION, KM_ERR_ADDR_NOT_AVAILABLE; KM_ERR_SYSTEM;
 * KM_ERR_NOMEM. */
KM_NODISCARD int km_metrics_page_new(km_metrics_page **ret, const km_metrics_page_config *config,
                                     km_errinfo *err);
void km_metrics_page_free(km_metrics_page *p); /* NULL does nothing */
/* With the real port. */
const km_udp_addr *km_metrics_page_bound(const km_metrics_page *p);

/* Of this process, now (base/io/process_stats_io.c). */
void km_process_stats_read(km_process_stats *ret);

#endif /* KM_BASE_IO_METRICS_PAGE_IO_H */
