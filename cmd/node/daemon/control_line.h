/* Lines of the control socket, both ways. Pure. */
#ifndef KM_CMD_NODE_DAEMON_CONTROL_LINE_H
#define KM_CMD_NODE_DAEMON_CONTROL_LINE_H

#include <cjson/cJSON.h>
#include <keymesh/error.h>
#include <stdbool.h>
#include <stddef.h>

#define CONTROL_LINE_MAX (4u << 20) /* bytes of a line, its end included */

/* {"id":id,...}; `id` NULL is null. NULL: no memory. */
cJSON *control_answer(const cJSON *id);
/* "ok" and "result" (which it takes) or "error". */
void control_add_end(cJSON *answer, cJSON *result, const km_errinfo *err);
/* The error of an answer that is not ok. */
void control_read_error(const cJSON *answer, km_errinfo *ret);

/* What was asked; lives as long as `json`. */
typedef struct control_request {
  cJSON *json; /* to be freed */
  const cJSON *id, *args;
  const char *cmd;
} control_request;

/* A line without its end. 0 or KM_ERR_INVALID; then there may be an id to answer to. */
KM_NODISCARD int control_parse(control_request *ret, const char *line, size_t len, km_errinfo *err);

#endif /* KM_CMD_NODE_DAEMON_CONTROL_LINE_H */
