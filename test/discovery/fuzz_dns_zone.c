/* First byte: bit 0, the question is a whole message, otherwise it is only name (below the key) and
 * type; bit 1, over UDP; bit 2, of a root origin. Second byte: the question's length. Then the
 * question, and the message in the key's packet. The answer is a message for that question within
 * its limits; if c-ares can read the packet, it can read the answer. */
#include <ares.h>
#include <stdlib.h>
#include <string.h>

#include "discovery/server/dns_reply.h"
#include "discovery/server/zone.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char z32[] = "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"; /* all zero */

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

static int find_packet(void *ctx, const km_id *id, km_pkarr *ret, int64_t *stored) {
  static const km_id zero;
  const km_pkarr *packet = ctx;
  (void)stored;
  *ret = *packet;
  return km_id_equal(id, &zero);
}

static km_zone *zone_of(km_pkarr *packet, bool root) {
  static const char *const origins[] = {"dns.test", "."};
  km_zone_config config = {.env = &km_env_system,
                           .origins = origins,
                           .origin_count = root ? 2 : 1,
                           .negative_ttl_s = 60,
                           .packet = find_packet,
                           .ctx = packet};
  km_zone *zone;
  check(km_zone_new(&zone, &config, NULL) == 0);
  check(km_zone_add(zone, "www.dns.test", "A", "192.0.2.1", 60, NULL) == 0);
  check(km_zone_add(zone, "alias.dns.test", "CNAME", "www.dns.test", 60, NULL) == 0);
  return zone;
}

/* Labels out of `data`, then the key and the origin. */
static size_t make_query(uint8_t ret[512], const uint8_t *data, size_t len, bool root) {
  static const uint8_t header[] = {1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0};
  const char *origin = root ? ""
                            : "\x03"
                              "dns"
                              "\x04"
                              "test";
  size_t labels = len > 2 ? len - 2 : 0, at = sizeof header;
  memcpy(ret, header, sizeof header);
  memcpy(ret + at, data, labels);
  at += labels;
  ret[at++] = sizeof z32 - 1;
  memcpy(ret + at, z32, sizeof z32 - 1);
  at += sizeof z32 - 1;
  memcpy(ret + at, origin, strlen(origin) + 1);
  at += strlen(origin) + 1;
  ret[at++] = len > 1 ? data[len - 2] : 0;
  ret[at++] = len > 0 ? data[len - 1] : 16;
  ret[at++] = 0;
  ret[at++] = 1;
  return at;
}

static bool can_read(const uint8_t *msg, size_t len, bool *ret_servfail) {
  ares_dns_record_t *dns = NULL;
  ares_status_t status = ares_dns_parse(msg, len, 0, &dns);
  if (status == ARES_SUCCESS && ret_servfail != NULL) {
    *ret_servfail = ares_dns_record_get_rcode(dns) == ARES_RCODE_SERVFAIL;
  }
  ares_dns_record_destroy(dns);
  return status == ARES_SUCCESS;
}

static void check_answer(const uint8_t *query, size_t query_len, const uint8_t *answer, size_t n,
                         const km_pkarr *packet) {
  check(n >= KM_DNS_HEADER && query_len >= KM_DNS_HEADER);
  check(memcmp(answer, query, 2) == 0);
  check((answer[2] & 0x80) != 0 && (answer[3] & 0x80) == 0);
  if (answer[5] == 0) { /* without its question: c-ares takes none of these */
    check(n == KM_DNS_HEADER && (answer[3] & 0xf) != 0);
    return;
  }
  if (can_read(packet->dns, packet->dns_len, NULL)) {
    bool servfail = false;
    check(can_read(answer, n, &servfail));
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  static uint8_t answer[KM_ZONE_ANSWER_MAX], again[KM_ZONE_ANSWER_MAX];
  static km_pkarr packet;
  uint8_t built[512];
  if (len < 2) {
    return 0;
  }
  bool whole = (data[0] & 1) != 0, root = (data[0] & 4) != 0;
  km_zone_transport how = (data[0] & 2) != 0 ? KM_ZONE_UDP : KM_ZONE_TCP;
  size_t query_len = data[1] < len - 2 ? data[1] : len - 2;
  const uint8_t *query = data + 2;
  size_t packet_len = len - 2 - query_len;
  packet.dns_len = (uint16_t)(packet_len < KM_PKARR_DNS_MAX ? packet_len : KM_PKARR_DNS_MAX);
  memcpy(packet.dns, query + query_len, packet.dns_len);
  if (!whole) {
    query_len = make_query(built, query, query_len, root);
    query = built;
  }
  static km_zone *zones[2]; /* kept: making them takes longer than asking them */
  km_zone *zone = zones[root];
  if (zone == NULL) {
    zone = zones[root] = zone_of(&packet, root);
  }
  uint32_t ttl;
  size_t n = km_zone_answer(zone, query, query_len, how, answer, &ttl);
  check(n <= (how == KM_ZONE_UDP ? KM_DNS_UDP_MAX : KM_ZONE_ANSWER_MAX));
  if (n > 0) {
    check_answer(query, query_len, answer, n, &packet);
  }
  check(km_zone_answer(zone, query, query_len, how, again, NULL) == n);
  check(memcmp(answer, again, n) == 0);
  size_t cut = km_dns_truncated(again, query, query_len);
  check((cut == 0) == (n == 0) && cut <= query_len + 11);
  return 0;
}
