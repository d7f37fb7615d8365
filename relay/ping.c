#include "relay/ping.h"

#include <string.h>

uint64_t km_relay_patience(uint64_t usual, unsigned trips, uint64_t rtt, uint64_t most) {
  uint64_t far = rtt < most / trips ? trips * rtt : most;
  return far > usual ? far : usual;
}

void km_relay_ping_init(km_relay_ping *p, km_ts now) {
  memset(p, 0, sizeof *p);
  p->deadline = KM_TS_NEVER;
  p->next = now;
}

void km_relay_ping_expect(km_relay_ping *p, uint64_t rtt) {
  p->expected = rtt;
}

uint64_t km_relay_ping_timeout(const km_relay_ping *p) {
  bool measured = p->rtt != 0;
  return km_relay_patience(measured ? KM_RELAY_PONG_MIN : KM_RELAY_PONG_FIRST, KM_RELAY_TRIPS,
                           measured ? p->rtt : p->expected, KM_RELAY_PONG_MAX);
}

void km_relay_ping_start(km_relay_ping *p, const km_env *env, km_ts now, uint64_t patience) {
  p->waiting = true;
  p->checking = patience > 0;
  km_env_random(env, p->bytes, sizeof p->bytes);
  p->sent = now;
  p->patience = patience > 0 ? patience : km_relay_ping_timeout(p);
  p->deadline = now + p->patience;
  p->next = now + KM_RELAY_PING_INTERVAL;
}

void km_relay_ping_heard(km_relay_ping *p, km_ts now) {
  if (p->waiting) {
    km_ts most = p->sent + KM_RELAY_PONG_STUCK, next = now + p->patience;
    p->deadline = next < most ? next : most;
  }
  p->next = now + KM_RELAY_PING_INTERVAL;
}

bool km_relay_ping_pong(km_relay_ping *p, km_ts now, const uint8_t bytes[KM_RELAY_PING_LEN]) {
  if (!p->waiting || memcmp(p->bytes, bytes, sizeof p->bytes) != 0) {
    return false;
  }
  p->waiting = p->checking = false;
  p->deadline = KM_TS_NEVER;
  p->rtt = now > p->sent ? now - p->sent : 1;
  return true;
}
