/* One GET from a status page on this machine. */
#ifndef KM_CMD_NODE_CTL_PAGE_CLIENT_IO_H
#define KM_CMD_NODE_CTL_PAGE_CLIENT_IO_H

#include <cjson/cJSON.h>
#include <stdint.h>

#include <keymesh/error.h>

/* The JSON at http://127.0.0.1:PORT/path; waits for 5 s at most. 0, KM_ERR_UNREACHABLE,
 * KM_ERR_SERVER_HTTP (no JSON object, or a status that is not 200), KM_ERR_TIMEOUT, KM_ERR_LIMIT or
 * KM_ERR_SYSTEM. */
KM_NODISCARD int page_client_get(cJSON **ret, uint16_t port, const char *path, km_errinfo *err);

#endif /* KM_CMD_NODE_CTL_PAGE_CLIENT_IO_H */
