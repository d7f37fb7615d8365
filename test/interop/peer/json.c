#include "peer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int peer_int(const cJSON *request, const char *name, int fallback) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(request, name);
  return cJSON_IsNumber(item) ? item->valueint : fallback;
}

bool peer_flag(const cJSON *request, const char *name) {
  return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(request, name));
}

const char *peer_text(const cJSON *request, const char *name) {
  const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(request, name));
  return text ? text : "";
}

uint64_t peer_code(const cJSON *request, const char *name) {
  return strtoull(peer_text(request, name), NULL, 10);
}

cJSON *peer_answer_to(int id) {
  cJSON *line = cJSON_CreateObject();
  cJSON_AddNumberToObject(line, "id", id);
  cJSON_AddTrueToObject(line, "ok");
  return line;
}

cJSON *peer_answer(const cJSON *request) {
  return peer_answer_to(peer_int(request, "id", 0));
}

cJSON *peer_event(const char *name) {
  cJSON *line = cJSON_CreateObject();
  cJSON_AddStringToObject(line, "event", name);
  return line;
}

void peer_add_u64(cJSON *line, const char *name, uint64_t value) {
  cJSON_AddNumberToObject(line, name, (double)value);
}

void peer_add_code(cJSON *line, const char *name, uint64_t code) {
  char text[24];
  (void)snprintf(text, sizeof text, "%" PRIu64, code);
  cJSON_AddStringToObject(line, name, text);
}

void peer_add_id(cJSON *line, const char *name, const km_id *id) {
  char text[KM_ID_TEXT_CAP] = "";
  (void)km_id_format(id, KM_ID_HEX, text, sizeof text);
  cJSON_AddStringToObject(line, name, text);
}

cJSON *peer_udp_json(const km_udp_addr *addr) {
  char text[KM_UDP_ADDR_TEXT_CAP] = "";
  if (addr->family != 0)
    (void)km_udp_addr_format(addr, text, sizeof text);
  return cJSON_CreateString(text);
}

void peer_add_udp(cJSON *line, const char *name, const km_udp_addr *addr) {
  cJSON_AddItemToObject(line, name, peer_udp_json(addr));
}

void peer_send(cJSON *line) {
  char *text = cJSON_PrintUnformatted(line);
  cJSON_Delete(line);
  if (!text) {
    (void)fputs("km_interop_peer: out of memory\n", stderr);
    abort();
  }
  (void)puts(text);
  (void)fflush(stdout);
  cJSON_free(text);
}

void peer_ok(const cJSON *request) {
  peer_send(peer_answer(request));
}

void peer_fail(int id, int code, const char *text) {
  cJSON *line = cJSON_CreateObject();
  cJSON_AddNumberToObject(line, "id", id);
  cJSON_AddFalseToObject(line, "ok");
  cJSON_AddStringToObject(line, "error", km_error_name(code));
  cJSON_AddStringToObject(line, "text", text && *text ? text : km_strerror(code));
  peer_send(line);
}

void peer_fail_info(int id, const km_errinfo *err) {
  peer_fail(id, err->code, err->text);
}
