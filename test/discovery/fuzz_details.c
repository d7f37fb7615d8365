/* Attributes, a line each: no crash; what is understood is written as attributes that are
 * understood as the same. */
#include <stdlib.h>
#include <string.h>

#include "discovery/details.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

static int add(void *ctx, const char *text, size_t len) {
  check(text[len] == '\0');
  check(km_details_add(ctx, text, len) == 0);
  return 0;
}

static void check_same(const km_details *a, const km_details *b) {
  size_t addrs = km_addr_udp_count(a->addr), relays = km_addr_relay_count(a->addr);
  check(km_addr_udp_count(b->addr) == addrs && km_addr_relay_count(b->addr) == relays);
  for (size_t i = 0; i < addrs; i++) {
    check(km_udp_addr_equal(km_addr_udp_at(a->addr, i), km_addr_udp_at(b->addr, i)));
  }
  for (size_t i = 0; i < relays; i++) {
    check(strcmp(km_addr_relay_at(a->addr, i), km_addr_relay_at(b->addr, i)) == 0);
  }
  check(strcmp(a->user_data, b->user_data) == 0 && a->record_len == b->record_len);
  check(a->record_len == 0 || memcmp(a->record, b->record, a->record_len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  static const km_id id = {{1}};
  km_details d, again;
  check(km_details_init(&d, &km_env_system, &id) == 0);
  check(km_details_init(&again, &km_env_system, &id) == 0);
  for (size_t at = 0; at < len;) {
    const uint8_t *end = memchr(data + at, '\n', len - at);
    size_t n = end != NULL ? (size_t)(end - (data + at)) : len - at;
    check(km_details_add(&d, (const char *)data + at, n) == 0);
    at += n + 1;
  }
  km_found found;
  km_details_found(&d, &found);
  km_peer_info info = {.size = sizeof info, .addr = found.addr, .user_data = found.user_data};
  check(km_details_write(&info, true, add, &again) == 0);
  if (found.record != NULL) {
    char text[KM_RECORD_ATTRIBUTE_CAP];
    check(add(&again, text, km_record_attribute(text, found.record, found.record_len)) == 0);
  }
  check_same(&d, &again);
  km_details_clear(&d);
  km_details_clear(&again);
  return 0;
}
