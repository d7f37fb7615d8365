/* Byte 0: the mode, and how long the first packet is (in 16ths); the rest: two packets, the second
 * after a while. No crash; what the node sends is DNS, not longer than a packet, and little. */
#include <stdlib.h>
#include <string.h>

#include "discovery/mdns.h"
#include "discovery/mdns_packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(bool holds) {
  if (!holds) {
    abort();
  }
}

static void on_send(void *ctx, uint32_t index, uint8_t family, const km_udp_addr *to,
                    const uint8_t *bytes, size_t len) {
  unsigned *sent = ctx;
  km_mdns_reader r;
  km_mdns_item item;
  (void)to;
  check(index == 1 && family == 4 && len <= 1472);
  check(km_mdns_open(&r, bytes, len));
  while (km_mdns_next_item(&r, &item)) {
  }
  check(!r.damaged && r.at == len);
  (*sent)++;
}

static void on_found(void *ctx, const km_found *found, bool changed) {
  (void)ctx;
  (void)changed;
  check(km_addr_udp_count(found->addr) + km_addr_relay_count(found->addr) > 0);
  check(found->user_data == NULL || strlen(found->user_data) <= KM_USER_DATA_MAX);
}

static void on_lost(void *ctx, const km_id *id) {
  (void)ctx;
  (void)id;
}

static void draw(void *ctx, void *buf, size_t len) {
  (void)ctx;
  memset(buf, 7, len);
}

static km_mdns *start(km_env *env, km_mdns_mode mode, const km_secret_key *key, unsigned *sent) {
  static const km_mdns_ops ops = {.send = on_send, .found = on_found, .lost = on_lost};
  km_mdns *m = NULL;
  km_addr *addr = NULL;
  km_id id;
  km_mdns_link link = {.index = 1,
                       .family = 4,
                       .net_count = 1,
                       .nets = {{.addr = {.family = 4, .ip = {192, 168, 9, 1}}, .bits = 24}}};
  km_udp_addr udp = {.family = 4, .port = 4433, .ip = {192, 168, 9, 1}};
  *env = km_env_system;
  env->random = draw;
  km_secret_key_id(key, &id);
  km_mdns_options options = {
      .size = sizeof options, .mode = mode, .trusted = &id, .trusted_count = 1};
  km_mdns_config config = {.env = env, .key = key, .options = &options, .ops = &ops, .ctx = sent};
  check(km_mdns_new(&m, &config, 0, NULL) == 0);
  km_mdns_set_links(m, &link, 1, 0);
  check(km_addr_new(&addr, &id) == 0 && km_addr_add_udp(addr, &udp) == 0);
  km_mdns_publish(m, &(km_peer_info){.size = sizeof(km_peer_info), .addr = addr}, 0);
  km_addr_free(addr);
  km_mdns_watch(m, true, 0);
  return m;
}

static void run(km_mdns *m, km_ts *now, km_ts until, km_wall wall) {
  while (km_mdns_next(m) <= until) {
    *now = km_mdns_next(m) > *now ? km_mdns_next(m) : *now;
    km_mdns_step(m, *now, wall);
  }
  *now = until;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  static const uint8_t seed[KM_SECRET_KEY_BYTES] = {42};
  km_secret_key *key = NULL;
  km_env env;
  km_ts now = 0;
  km_wall wall = {.unix_ns = INT64_C(1700000000) * 1000000000};
  unsigned sent = 0;
  if (len == 0) {
    return 0;
  }
  check(km_secret_key_from_bytes(&key, seed) == 0);
  km_mdns *m = start(&env, (km_mdns_mode)(data[0] % 3), key, &sent);
  size_t first = (len - 1) * (data[0] >> 4) / 15;
  km_mdns_arrival a = {.index = 1,
                       .from = {.family = 4, .port = KM_MDNS_PORT, .ip = {192, 168, 9, 9}},
                       .multicast = (data[0] & 4) == 0};
  km_mdns_receive(m, &a, data + 1, first, now, wall);
  run(m, &now, 3 * KM_NS_PER_S, wall);
  a.from.port = (data[0] & 8) == 0 ? KM_MDNS_PORT : 40000;
  km_mdns_receive(m, &a, data + 1 + first, len - 1 - first, now, wall);
  run(m, &now, 30 * KM_NS_PER_S, wall);
  check(sent < 100);
  km_mdns_free(m);
  km_secret_key_free(key);
  return 0;
}
