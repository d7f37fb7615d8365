#include "endpoint/mesh/control.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/enc.h"
#include "base/text.h"

#define INTEGER_MAX (UINT64_C(1) << 53) /* what a JSON number holds without loss (RFC 8259, 6) */

enum { HEADER = 4, NAME_MAX_BYTES = 64, INSTANCE_DIGITS = 16 };

/* --- out ------------------------------------------------------------------------------------- */

static bool add_list(cJSON *to, const char *name, char *const *items, size_t count) {
  cJSON *list = cJSON_AddArrayToObject(to, name);
  for (size_t i = 0; list != NULL && i < count; i++) {
    cJSON *item = cJSON_CreateString(items[i]);
    if (item == NULL || !cJSON_AddItemToArray(list, item)) {
      cJSON_Delete(item);
      return false;
    }
  }
  return list != NULL;
}

static bool add_capabilities(cJSON *to, const km_capabilities *caps) {
  cJSON *object = cJSON_AddObjectToObject(to, "capabilities");
  return object != NULL && add_list(object, "shares", caps->shares, caps->share_count) &&
         add_list(object, "features", caps->features, caps->feature_count);
}

static bool add_text(cJSON *to, const char *name, const char *text) {
  return cJSON_AddStringToObject(to, name, text) != NULL;
}

static bool add_number(cJSON *to, const char *name, uint64_t value) {
  return cJSON_AddNumberToObject(to, name, (double)value) != NULL;
}

/* As text: a JSON number has 53 bits. */
static bool add_instance(cJSON *to, uint64_t instance) {
  char text[INSTANCE_DIGITS + 1];
  (void)snprintf(text, sizeof text, "%016" PRIx64, instance);
  return instance == 0 || add_text(to, "instance", text);
}

static bool add_hello(cJSON *to, const km_control *c) {
  return add_text(to, "type", "HELLO") && add_text(to, "node_id", c->node_id) &&
         add_text(to, "version", c->version) && add_instance(to, c->instance) &&
         add_capabilities(to, &c->caps);
}

static bool add_ack(cJSON *to, const km_control *c) {
  bool reason = c->reason[0] == '\0' ? cJSON_AddNullToObject(to, "reason") != NULL
                                     : add_text(to, "reason", c->reason);
  return reason && add_text(to, "type", "ACK") && cJSON_AddBoolToObject(to, "ok", c->ok) != NULL &&
         add_text(to, "peer_id", c->node_id) && add_text(to, "version", c->version) &&
         add_instance(to, c->instance) && add_capabilities(to, &c->caps);
}

static bool add_heartbeat(cJSON *to, const km_control *c) {
  return add_text(to, "type", "HEARTBEAT") && add_number(to, "ts", c->ts) &&
         add_number(to, "seq", c->seq) && add_number(to, "echo", c->echo) &&
         add_number(to, "echo_delay_us", c->echo_delay_us) &&
         add_number(to, "interval_ms", c->interval_ms);
}

static bool add_members(cJSON *to, const km_control *c) {
  switch (c->type) {
  case KM_CONTROL_HELLO:
    return add_hello(to, c);
  case KM_CONTROL_ACK:
    return add_ack(to, c);
  case KM_CONTROL_HEARTBEAT:
    return add_heartbeat(to, c);
  case KM_CONTROL_UNKNOWN:
    break;
  }
  return false;
}

static int64_t to_frame(const km_env *env, const char *text, uint8_t **ret) {
  size_t len = strlen(text);
  if (len > KM_CONTROL_FRAME_MAX) {
    return KM_ERR_LIMIT;
  }
  uint8_t *frame = km_env_alloc(env, HEADER + len);
  if (frame == NULL) {
    return KM_ERR_NOMEM;
  }
  for (size_t i = 0; i < HEADER; i++) {
    frame[i] = (uint8_t)(len >> (8 * (HEADER - 1 - i)));
  }
  memcpy(frame + HEADER, text, len);
  *ret = frame;
  return (int64_t)(HEADER + len);
}

int64_t km_control_encode(const km_env *env, const km_control *c, uint8_t **ret) {
  cJSON *object = cJSON_CreateObject();
  char *text = object != NULL && add_members(object, c) ? cJSON_PrintUnformatted(object) : NULL;
  int64_t len = text == NULL ? KM_ERR_NOMEM : to_frame(env, text, ret);
  cJSON_free(text);
  cJSON_Delete(object);
  return len;
}

/* --- in -------------------------------------------------------------------------------------- */

static const cJSON *member(const cJSON *object, const char *name) {
  return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* A text of 1 to `max` bytes, or nothing if it is optional and not there. */
static int get_text(const cJSON *object, const char *name, bool optional, char *ret, size_t max,
                    km_errinfo *err) {
  const cJSON *item = member(object, name);
  if (item == NULL && optional) {
    return 0;
  }
  if (item == NULL || !cJSON_IsString(item)) {
    return km_fail(err, KM_ERR_BAD_PACKET, "%s is not a string", name);
  }
  size_t len = strlen(item->valuestring);
  if (len == 0 || len > max || !km_text_is_clean(item->valuestring, len)) {
    return km_fail(err, KM_ERR_BAD_PACKET,
                   "%s is not a text of 1 to %zu bytes without control characters", name, max);
  }
  memcpy(ret, item->valuestring, len + 1);
  return 0;
}

/* A reason is for people: better cut than refused. */
static int get_reason(const cJSON *object, char ret[KM_CONTROL_REASON_MAX + 1], km_errinfo *err) {
  const cJSON *item = member(object, "reason");
  if (item == NULL || cJSON_IsNull(item)) {
    return 0;
  }
  if (!cJSON_IsString(item)) {
    return km_fail(err, KM_ERR_BAD_PACKET, "reason is neither a string nor null");
  }
  (void)snprintf(ret, KM_CONTROL_REASON_MAX + 1, "%s", item->valuestring);
  km_text_clean(ret);
  return 0;
}

static int get_integer(const cJSON *object, const char *name, bool optional, uint64_t *ret,
                       km_errinfo *err) {
  const cJSON *item = member(object, name);
  if (item == NULL && optional) {
    return 0;
  }
  double value = item != NULL && cJSON_IsNumber(item) ? item->valuedouble : -1;
  if (!(value >= 0 && value <= (double)INTEGER_MAX) || (double)(uint64_t)value < value) {
    return km_fail(err, KM_ERR_BAD_PACKET, "%s is not an integer from 0 to 2^53", name);
  }
  *ret = (uint64_t)value;
  return 0;
}

static int get_instance(const cJSON *object, uint64_t *ret, km_errinfo *err) {
  const cJSON *item = member(object, "instance");
  uint8_t bytes[INSTANCE_DIGITS / 2];
  if (item == NULL) {
    return 0;
  }
  if (!cJSON_IsString(item) ||
      !km_hex_decode(bytes, sizeof bytes, item->valuestring, strlen(item->valuestring))) {
    return km_fail(err, KM_ERR_BAD_PACKET, "instance is not a string of %d hex digits",
                   INSTANCE_DIGITS);
  }
  for (size_t i = 0; i < sizeof bytes; i++) {
    *ret = *ret << 8 | bytes[i];
  }
  return 0;
}

/* `count` grows with what was copied, so that a list cut short by an error can be freed. */
static int get_list(const km_env *env, const cJSON *object, const char *name, size_t max,
                    char ***ret, size_t *count, km_errinfo *err) {
  const cJSON *list = member(object, name);
  if (list == NULL) {
    return 0;
  }
  int n = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : -1;
  if (n < 0 || (size_t)n > max) {
    return km_fail(err, KM_ERR_BAD_PACKET, "capabilities.%s is not a list of at most %zu", name,
                   max);
  }
  if (n == 0) {
    return 0;
  }
  *ret = km_env_zalloc(env, (size_t)n, sizeof **ret);
  if (*ret == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  const cJSON *item;
  cJSON_ArrayForEach(item, list) {
    size_t len = cJSON_IsString(item) ? strlen(item->valuestring) : 0;
    if (len == 0 || len > NAME_MAX_BYTES || !km_text_is_clean(item->valuestring, len)) {
      return km_fail(err, KM_ERR_BAD_PACKET,
                     "capabilities.%s has what is not a text of 1 to %d bytes", name,
                     NAME_MAX_BYTES);
    }
    (*ret)[*count] = km_env_strdup(env, item->valuestring);
    if ((*ret)[*count] == NULL) {
      return km_fail(err, KM_ERR_NOMEM, NULL);
    }
    (*count)++;
  }
  return 0;
}

static int get_capabilities(const km_env *env, const cJSON *object, km_capabilities *ret,
                            km_errinfo *err) {
  const cJSON *caps = member(object, "capabilities");
  if (!cJSON_IsObject(caps)) {
    return km_fail(err, KM_ERR_BAD_PACKET, "capabilities is not an object");
  }
  int rv =
      get_list(env, caps, "shares", KM_CONTROL_SHARES_MAX, &ret->shares, &ret->share_count, err);
  if (rv == 0) {
    rv = get_list(env, caps, "features", KM_CONTROL_FEATURES_MAX, &ret->features,
                  &ret->feature_count, err);
  }
  return rv;
}

static int get_hello(const km_env *env, const cJSON *object, km_control *ret, km_errinfo *err) {
  int rv = get_text(object, "node_id", false, ret->node_id, KM_NODE_ID_MAX, err);
  if (rv == 0) {
    rv = get_text(object, "version", false, ret->version, sizeof ret->version - 1, err);
  }
  if (rv == 0) {
    rv = get_instance(object, &ret->instance, err);
  }
  return rv == 0 ? get_capabilities(env, object, &ret->caps, err) : rv;
}

static int get_ack(const km_env *env, const cJSON *object, km_control *ret, km_errinfo *err) {
  const cJSON *ok = member(object, "ok");
  if (!cJSON_IsBool(ok)) {
    return km_fail(err, KM_ERR_BAD_PACKET, "ok is neither true nor false");
  }
  ret->ok = cJSON_IsTrue(ok);
  int rv = get_reason(object, ret->reason, err);
  if (rv == 0) {
    rv = get_text(object, "peer_id", false, ret->node_id, KM_NODE_ID_MAX, err);
  }
  if (rv == 0) {
    rv = get_text(object, "version", true, ret->version, sizeof ret->version - 1, err);
  }
  if (rv == 0) {
    rv = get_instance(object, &ret->instance, err);
  }
  return rv == 0 ? get_capabilities(env, object, &ret->caps, err) : rv;
}

static int get_heartbeat(const cJSON *object, km_control *ret, km_errinfo *err) {
  int rv = get_integer(object, "ts", false, &ret->ts, err);
  if (rv == 0) {
    rv = get_integer(object, "seq", true, &ret->seq, err);
  }
  if (rv == 0) {
    rv = get_integer(object, "echo", true, &ret->echo, err);
  }
  if (rv == 0) {
    rv = get_integer(object, "echo_delay_us", true, &ret->echo_delay_us, err);
  }
  return rv == 0 ? get_integer(object, "interval_ms", true, &ret->interval_ms, err) : rv;
}

static int get_members(const km_env *env, const cJSON *object, km_control *ret, km_errinfo *err) {
  const cJSON *type = member(object, "type");
  if (!cJSON_IsString(type)) {
    return km_fail(err, KM_ERR_BAD_PACKET, "type is not a string");
  }
  if (strcmp(type->valuestring, "HELLO") == 0) {
    ret->type = KM_CONTROL_HELLO;
    return get_hello(env, object, ret, err);
  }
  if (strcmp(type->valuestring, "ACK") == 0) {
    ret->type = KM_CONTROL_ACK;
    return get_ack(env, object, ret, err);
  }
  if (strcmp(type->valuestring, "HEARTBEAT") == 0) {
    ret->type = KM_CONTROL_HEARTBEAT;
    return get_heartbeat(object, ret, err);
  }
  ret->type = KM_CONTROL_UNKNOWN;
  return 0;
}

static bool only_space(const char *from, const char *end) {
  while (from < end && (*from == ' ' || *from == '\t' || *from == '\n' || *from == '\r')) {
    from++;
  }
  return from == end;
}

int km_control_decode(const km_env *env, km_control *ret, const uint8_t *json, size_t len,
                      km_errinfo *err) {
  const char *text = (const char *)json, *end = NULL;
  cJSON *object = cJSON_ParseWithLengthOpts(text, len, &end, false);
  if (!cJSON_IsObject(object) || !only_space(end, text + len)) {
    cJSON_Delete(object);
    return km_fail(err, KM_ERR_BAD_PACKET, "a control frame is not a JSON object");
  }
  km_control c = {.type = KM_CONTROL_UNKNOWN};
  int rv = get_members(env, object, &c, err);
  cJSON_Delete(object);
  if (rv != 0) {
    km_control_free(env, &c);
    return rv;
  }
  *ret = c;
  return 0;
}

static void free_list(const km_env *env, char ***list, size_t *count) {
  for (size_t i = 0; i < *count; i++) {
    km_env_free(env, (*list)[i]);
  }
  km_env_free(env, *list);
  *list = NULL;
  *count = 0;
}

void km_capabilities_free(const km_env *env, km_capabilities *caps) {
  free_list(env, &caps->shares, &caps->share_count);
  free_list(env, &caps->features, &caps->feature_count);
}

void km_control_free(const km_env *env, km_control *c) {
  km_capabilities_free(env, &c->caps);
}

/* "1", "1.0", "1.2.3": the length of the major number; 0: no version. */
static size_t major_len(const char *version) {
  size_t major = 0, at = 0;
  for (;;) {
    size_t digits = strspn(version + at, "0123456789");
    if (digits == 0) {
      return 0;
    }
    at += digits;
    major = major == 0 ? at : major;
    if (version[at] == '\0') {
      return major;
    }
    if (version[at++] != '.') {
      return 0;
    }
  }
}

bool km_version_fits(const char *ours, const char *theirs) {
  size_t n = major_len(ours);
  return n > 0 && n == major_len(theirs) && memcmp(ours, theirs, n) == 0;
}
