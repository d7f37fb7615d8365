#include "cmd/node/daemon/control_line.h"

#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "cmd/node/daemon/request_impl.h"
#include "store/json_text.h"

cJSON *control_answer(const cJSON *id) {
  cJSON *answer = cJSON_CreateObject();
  cJSON *copy = id == NULL ? cJSON_CreateNull() : cJSON_Duplicate(id, false);
  if (answer == NULL || copy == NULL || !cJSON_AddItemToObject(answer, "id", copy)) {
    cJSON_Delete(copy);
    cJSON_Delete(answer);
    return NULL;
  }
  return answer;
}

/* The library's hints of these are for programmers. */
static const char *hint_of(int code) {
  bool plain = code == KM_ERR_INVALID || code == KM_ERR_STATE || code == KM_ERR_NOT_FOUND;
  return plain ? "" : km_error_hint(code);
}

void control_add_end(cJSON *answer, cJSON *result, const km_errinfo *err) {
  put_flag(answer, "ok", err == NULL);
  if (err == NULL) {
    if (result != NULL && (answer == NULL || !cJSON_AddItemToObject(answer, "result", result))) {
      cJSON_Delete(result);
    }
    return;
  }
  cJSON *error = answer == NULL ? NULL : cJSON_AddObjectToObject(answer, "error");
  put_text(error, "code", km_error_name(err->code));
  put_text(error, "text", err->text[0] != '\0' ? err->text : km_strerror(err->code));
  put_text(error, "hint", hint_of(err->code));
  cJSON_Delete(result);
}

static int code_of(const char *name) {
  static const struct {
    const char *name;
    int code;
  } codes[] = {
#define KM_ERR(name_, number, sentence, hint) {#name_, number},
#include <keymesh/error.def>
#undef KM_ERR
  };
  for (size_t i = 0; name != NULL && i < sizeof codes / sizeof codes[0]; i++) {
    if (strcmp(codes[i].name, name) == 0) {
      return codes[i].code;
    }
  }
  return KM_ERR_INTERNAL;
}

void control_read_error(const cJSON *answer, km_errinfo *ret) {
  const cJSON *error = cJSON_GetObjectItemCaseSensitive(answer, "error");
  const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(error, "text"));
  (void)km_fail(ret, code_of(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(error, "code"))),
                "%s", text == NULL ? "the daemon gave no reason" : text);
}

int control_parse(control_request *ret, const char *line, size_t len, km_errinfo *err) {
  *ret = (control_request){0};
  if (!km_json_text_ok(line, len)) {
    return km_fail(err, KM_ERR_INVALID,
                   "the line is no JSON text in UTF-8 without NUL (RFC 8259); bytes that are no "
                   "text go in base64");
  }
  ret->json = cJSON_ParseWithLength(line, len);
  if (!cJSON_IsObject(ret->json)) {
    return km_fail(err, KM_ERR_INVALID,
                   "a request is an object: {\"id\":1,\"cmd\":\"health\",\"args\":{}}");
  }
  const cJSON *id = cJSON_GetObjectItemCaseSensitive(ret->json, "id");
  if (!cJSON_IsNumber(id) && !cJSON_IsString(id)) {
    return km_fail(err, KM_ERR_INVALID, "'id' must be a number or a text");
  }
  ret->id = id;
  ret->args = cJSON_GetObjectItemCaseSensitive(ret->json, "args");
  ret->cmd = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(ret->json, "cmd"));
  return ret->cmd != NULL ? 0 : km_fail(err, KM_ERR_INVALID, "'cmd' must be a text");
}
