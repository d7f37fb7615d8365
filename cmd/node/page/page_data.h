/* What the status page shows, as text. */
#ifndef KM_CMD_NODE_PAGE_PAGE_DATA_H
#define KM_CMD_NODE_PAGE_PAGE_DATA_H

#include "base/metrics_text.h"
#include "cmd/node/daemon/request.h"

/* {"health":{...},"peers":[...],"shares":[...],"started":UNIX seconds}: what the page is told when
 * something changed. Without the time, so that equal texts are no news. NULL: no memory; free with
 * cJSON_free. */
char *page_state(node_context *node);

/* What the page counts of itself. */
typedef struct page_counts {
  uint64_t requests, refused, connections, watchers;
} page_counts;

/* Mesh, page and process as OpenMetrics, NUL-terminated. NULL: no memory; free with km_env_free. */
char *page_metrics(const km_env *env, node_context *node, const page_counts *counts,
                   const km_process_stats *process);

#endif /* KM_CMD_NODE_PAGE_PAGE_DATA_H */
