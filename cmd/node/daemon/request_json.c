/* Members of answers. */
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/enc.h"
#include "base/text.h"
#include "cmd/node/daemon/request_impl.h"

/* JSON text (RFC 8259) is UTF-8; a NUL would end it in C. */
static bool is_text(const uint8_t *bytes, size_t len) {
  for (size_t i = 0; i < len;) {
    size_t n = km_utf8_sequence((const char *)bytes + i, len - i);
    if (n == 0 || bytes[i] == 0) {
      return false;
    }
    i += n;
  }
  return true;
}

void put_text(cJSON *to, const char *name, const char *text) {
  if (to == NULL) {
    return;
  }
  if (text == NULL) {
    (void)cJSON_AddNullToObject(to, name);
  } else if (is_text((const uint8_t *)text, strlen(text))) {
    (void)cJSON_AddStringToObject(to, name, text);
  } else {
    cJSON *copy = cJSON_AddStringToObject(to, name, text);
    if (copy != NULL) {
      km_text_clean(copy->valuestring);
    }
  }
}

void put_id(cJSON *to, const char *name, const km_id *id) {
  char hex[KM_ID_TEXT_CAP];
  (void)km_id_format(id, KM_ID_HEX, hex, sizeof hex);
  put_text(to, name, hex);
}

void put_hex(cJSON *to, const char *name, const uint8_t *bytes, size_t len) {
  char hex[2 * KM_KV_HASH_BYTES + 1];
  if (2 * len < sizeof hex) {
    km_hex_encode(hex, bytes, len);
    put_text(to, name, hex);
  }
}

void put_number(cJSON *to, const char *name, double number) {
  if (to != NULL) {
    (void)cJSON_AddNumberToObject(to, name, number);
  }
}

void put_flag(cJSON *to, const char *name, bool value) {
  if (to != NULL) {
    (void)cJSON_AddBoolToObject(to, name, value);
  }
}

void put_seconds(cJSON *to, const char *name, int64_t ms) {
  if (ms == 0) {
    put_text(to, name, NULL);
  } else {
    put_number(to, name, (double)ms / 1000.0);
  }
}

void put_bytes(cJSON *to, const char *name, const uint8_t *bytes, size_t len) {
  size_t cap = sodium_base64_ENCODED_LEN(len, sodium_base64_VARIANT_ORIGINAL);
  cap = cap > len + 1 ? cap : len + 1;
  char name64[32], *text = malloc(cap);
  if (to == NULL || text == NULL) {
    free(text);
    return;
  }
  if (is_text(bytes, len)) {
    if (len > 0) {
      memcpy(text, bytes, len);
    }
    text[len] = '\0';
    (void)cJSON_AddStringToObject(to, name, text);
  } else {
    (void)snprintf(name64, sizeof name64, "%s_b64", name);
    (void)sodium_bin2base64(text, cap, bytes, len, sodium_base64_VARIANT_ORIGINAL);
    (void)cJSON_AddStringToObject(to, name64, text);
  }
  free(text);
}

void put_texts(cJSON *to, const char *name, const char *const *texts, size_t count) {
  cJSON *list = to == NULL ? NULL : cJSON_AddArrayToObject(to, name);
  for (size_t i = 0; list != NULL && i < count; i++) {
    cJSON *item = cJSON_CreateString(texts[i]);
    if (item != NULL) {
      km_text_clean(item->valuestring);
    }
    (void)cJSON_AddItemToArray(list, item);
  }
}

void put_clock(cJSON *to, uint64_t clock) {
  char text[24];
  (void)snprintf(text, sizeof text, "%" PRIu64, clock);
  put_text(to, "clock", text);
}

/* --- whole objects ---------------------------------------------------------------------------- */

cJSON *entry_json(const km_kv_entry *entry, bool with_value) {
  cJSON *o = cJSON_CreateObject();
  put_text(o, "share", entry->share);
  put_text(o, "key", entry->key);
  if (!entry->deleted && with_value) {
    put_bytes(o, "value", entry->value, entry->value_len);
  }
  if (!with_value && !entry->deleted) {
    put_number(o, "size", (double)entry->value_len);
  }
  put_flag(o, "deleted", entry->deleted);
  put_id(o, "author", &entry->author);
  put_flag(o, "own", entry->own);
  put_clock(o, entry->clock);
  put_seconds(o, "time", (int64_t)(entry->clock >> 16));
  return o;
}

void put_trust(cJSON *o, const km_trust_info *info) {
  static const char *const states[] = {"unknown", "pending", "trusted", "blocked"};
  static const char *const origins[] = {"by hand",  "configuration",  "first use",
                                        "approval", "recommendation", "revocation"};
  put_id(o, "id", &info->id);
  put_text(o, "state", states[info->state]);
  put_text(o, "origin", origins[info->origin]);
  put_text(o, "name", info->name);
  put_text(o, "note", info->note);
  put_seconds(o, "since", info->since * 1000);
  put_seconds(o, "expires", info->expires * 1000);
  put_seconds(o, "last_seen", info->last_seen * 1000);
  put_number(o, "recommended_by", info->recommended_by);
}

cJSON *trust_json(const km_trust_info *info) {
  cJSON *o = cJSON_CreateObject();
  put_trust(o, info);
  return o;
}

/* As it was sent, digits of numbers included, in one line: the store took strict JSON alone, so
 * line breaks are white space. */
static void put_body(cJSON *to, const char *body) {
  char *line = km_env_strdup(&km_env_system, body);
  if (line != NULL) {
    cJSON_Minify(line);
    (void)cJSON_AddRawToObject(to, "body", line);
  }
  km_env_free(&km_env_system, line);
}

void put_message(cJSON *o, node_context *node, const km_message *message) {
  char name[KM_PEER_NAME_MAX + 1];
  put_hex(o, "message", message->id, sizeof message->id);
  put_id(o, "sender", &message->sender);
  put_text(o, "sender_name", peer_name(node, &message->sender, name));
  put_flag(o, "broadcast", message->broadcast);
  if (message->broadcast) {
    put_text(o, "to", NULL);
  } else {
    put_id(o, "to", &message->to);
  }
  put_text(o, "type", message->type);
  if (o != NULL) {
    put_body(o, message->body);
  }
  put_seconds(o, "sent", message->sent_ms);
  put_seconds(o, "expires", message->expires_ms);
  if (message->refused != NULL) {
    put_text(o, "refused", message->refused);
  }
}

cJSON *message_json(node_context *node, const km_message *message) {
  cJSON *o = cJSON_CreateObject();
  put_message(o, node, message);
  return o;
}
