/* Values of entries in JSON: "value" when they are text, else "value_b64". */
#ifndef KM_CMD_NODE_CTL_VALUES_H
#define KM_CMD_NODE_CTL_VALUES_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <keymesh/error.h>

/* Adds the bytes. False: no memory. */
bool value_add(cJSON *object, const uint8_t *bytes, size_t len);
/* The bytes, with a NUL behind, from malloc. 0, KM_ERR_INVALID (no base64, or not one of the two),
 * KM_ERR_NOMEM. */
KM_NODISCARD int value_take(const cJSON *object, uint8_t **ret, size_t *ret_len, km_errinfo *err);
/* A whole file of JSON, or a word of the command line: 0 or KM_ERR_INVALID, with what to do. */
KM_NODISCARD int value_parse_json(cJSON **ret, const char *text, km_errinfo *err);

#endif /* KM_CMD_NODE_CTL_VALUES_H */
