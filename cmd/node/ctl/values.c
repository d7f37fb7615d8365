#include "cmd/node/ctl/values.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/text.h"

#define BASE64 sodium_base64_VARIANT_ORIGINAL

/* What a JSON string can hold here, and holds in fewer bytes than base64 does: a control character
 * takes six. */
static bool is_text(const uint8_t *bytes, size_t len) {
  size_t escaped = 0;
  for (size_t i = 0; i < len; i++) {
    escaped += bytes[i] < 0x20 ? 5 : 0;
  }
  return km_text_is_utf8((const char *)bytes, len) && escaped <= len / 3 + 16;
}

bool value_add(cJSON *object, const uint8_t *bytes, size_t len) {
  bool plain = is_text(bytes, len);
  size_t cap = plain ? len + 1 : sodium_base64_encoded_len(len, BASE64);
  char *text = malloc(cap);
  if (text == NULL) {
    return false;
  }
  if (plain) {
    memcpy(text, bytes, len);
    text[len] = '\0';
  } else {
    (void)sodium_bin2base64(text, cap, bytes, len, BASE64);
  }
  bool ok = cJSON_AddStringToObject(object, plain ? "value" : "value_b64", text) != NULL;
  free(text);
  return ok;
}

int value_take(const cJSON *object, uint8_t **ret, size_t *ret_len, km_errinfo *err) {
  const cJSON *plain = cJSON_GetObjectItemCaseSensitive(object, "value");
  const cJSON *coded = cJSON_GetObjectItemCaseSensitive(object, "value_b64");
  const char *text = cJSON_GetStringValue(plain != NULL ? plain : coded);
  if (plain == NULL && coded == NULL) {
    return km_fail(err, KM_ERR_INVALID, "there is neither \"value\" nor \"value_b64\"");
  }
  if (text == NULL || (plain != NULL && coded != NULL)) {
    return km_fail(err, KM_ERR_INVALID,
                   "one of \"value\" and \"value_b64\" is wanted, and as a string");
  }
  size_t len = strlen(text);
  uint8_t *bytes = malloc(len + 1);
  if (bytes == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  if (plain != NULL) {
    memcpy(bytes, text, len);
  } else if (sodium_base642bin(bytes, len, text, len, NULL, &len, NULL, BASE64) != 0) {
    free(bytes);
    return km_fail(err, KM_ERR_INVALID, "\"value_b64\" is no base64 (RFC 4648, with padding)");
  }
  bytes[len] = 0;
  *ret = bytes;
  *ret_len = len;
  return 0;
}

int value_parse_json(cJSON **ret, const char *text, km_errinfo *err) {
  *ret = cJSON_ParseWithOpts(text, NULL, true);
  if (*ret == NULL) {
    return km_fail(err, KM_ERR_INVALID,
                   "'%.60s' is no JSON: a text needs its quotes, '\"like this\"'", text);
  }
  return 0;
}
