/* The status page: HTTP on loopback, read-only. GET /health, /peers, /shares (the first KeyMesh's
 * JSON), /metrics, /events (server-sent, for the page), / (the page, one document). */
#ifndef KM_CMD_NODE_PAGE_STATUS_PAGE_IO_H
#define KM_CMD_NODE_PAGE_STATUS_PAGE_IO_H

#include "cmd/node/daemon/request.h"

typedef struct status_page status_page;

typedef struct status_page_config {
  node_context *node;
  const char *host;  /* an IP address; not loopback: KM_ERR_PERMISSION without a token */
  uint16_t port;     /* 0: any */
  const char *token; /* NULL: none. Authorization: Bearer, or ?token= once for the page, which sets
                        a cookie */
} status_page_config;

KM_NODISCARD int status_page_open(status_page **ret, const status_page_config *config,
                                  km_errinfo *err);
void status_page_close(status_page *s); /* NULL does nothing */
const km_udp_addr *status_page_bound(const status_page *s);
/* Something changed: tells those who watch, at most four times a second. */
void status_page_changed(status_page *s);

#endif /* KM_CMD_NODE_PAGE_STATUS_PAGE_IO_H */
