#include "peer.h"

#include <stdlib.h>
#include <string.h>

static int read_key(km_secret_key **ret, const cJSON *request, km_errinfo *err) {
  const char *text = peer_text(request, "secret");
  return km_secret_key_parse(ret, text, strlen(text), err);
}

void peer_key(peer *self, const cJSON *request) {
  km_secret_key *key;
  km_errinfo err = {0};
  (void)self;
  if (read_key(&key, request, &err) != 0) {
    peer_fail_info(peer_int(request, "id", 0), &err);
    return;
  }
  km_id id;
  km_secret_key_id(key, &id);
  km_secret_key_free(key);
  cJSON *line = peer_answer(request);
  peer_add_id(line, "remote", &id);
  peer_send(line);
}

void peer_id_parse(peer *self, const cJSON *request) {
  const char *text = peer_text(request, "text");
  km_id id;
  km_errinfo err = {0};
  (void)self;
  if (km_id_parse(&id, text, strlen(text), &err) != 0) {
    peer_fail_info(peer_int(request, "id", 0), &err);
    return;
  }
  cJSON *line = peer_answer(request);
  peer_add_id(line, "hex", &id);
  peer_send(line);
}

static int add_all(km_addr *addr, const cJSON *request, km_errinfo *err) {
  const cJSON *item;
  cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(request, "addrs")) {
    const char *text = cJSON_GetStringValue(item);
    km_udp_addr udp;
    int rc = km_udp_addr_parse(&udp, text, strlen(text), err);
    if (rc == 0)
      rc = km_addr_add_udp(addr, &udp);
    if (rc != 0)
      return rc;
  }
  cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(request, "relays")) {
    const char *text = cJSON_GetStringValue(item);
    int rc = km_addr_add_relay(addr, text, strlen(text), err);
    if (rc != 0)
      return rc;
  }
  return 0;
}

/* Makes an address out of `remote`, `addrs` and `relays`. */
int peer_read_addr(km_addr **ret, const cJSON *request, km_errinfo *err) {
  const char *text = peer_text(request, "remote");
  km_id id;
  km_addr *addr;
  int rc = km_id_parse(&id, text, strlen(text), err);
  if (rc == 0)
    rc = km_addr_new(&addr, &id);
  if (rc != 0) {
    err->code = rc;
    return rc;
  }
  rc = add_all(addr, request, err);
  if (rc != 0) {
    km_addr_free(addr);
    err->code = rc;
    return rc;
  }
  *ret = addr;
  return 0;
}

static void add_ticket(cJSON *line, const km_addr *addr) {
  char *text = malloc(KM_TICKET_MAX + 1);
  if (!text)
    abort();
  if (km_ticket_format(addr, text, KM_TICKET_MAX + 1, NULL) != 0)
    text[0] = '\0';
  cJSON_AddStringToObject(line, "text", text);
  free(text);
}

void peer_ticket_make(peer *self, const cJSON *request) {
  km_addr *addr;
  km_errinfo err = {0};
  (void)self;
  if (peer_read_addr(&addr, request, &err) != 0) {
    peer_fail_info(peer_int(request, "id", 0), &err);
    return;
  }
  cJSON *line = peer_answer(request);
  add_ticket(line, addr);
  km_addr_free(addr);
  peer_send(line);
}

void peer_ticket_parse(peer *self, const cJSON *request) {
  const char *text = peer_text(request, "text");
  km_addr *addr;
  km_errinfo err = {0};
  (void)self;
  if (km_ticket_parse(&addr, text, strlen(text), &err) != 0) {
    peer_fail_info(peer_int(request, "id", 0), &err);
    return;
  }
  cJSON *line = peer_answer(request);
  peer_add_id(line, "remote", km_addr_id(addr));
  cJSON *addrs = cJSON_AddArrayToObject(line, "addrs");
  for (size_t i = 0; i < km_addr_udp_count(addr); i++) {
    cJSON_AddItemToArray(addrs, peer_udp_json(km_addr_udp_at(addr, i)));
  }
  cJSON *relays = cJSON_AddArrayToObject(line, "relays");
  for (size_t i = 0; i < km_addr_relay_count(addr); i++) {
    cJSON_AddItemToArray(relays, cJSON_CreateString(km_addr_relay_at(addr, i)));
  }
  add_ticket(line, addr);
  km_addr_free(addr);
  peer_send(line);
}
