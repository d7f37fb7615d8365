/* Owner, type and value of a static record, in lines: it is refused with a sentence, or an answer
 * with it can be read. */
#include <ares.h>
#include <stdlib.h>
#include <string.h>

#include "discovery/dns_name.h"
#include "discovery/server/zone.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

static int no_packet(void *ctx, const km_id *id, km_pkarr *ret, int64_t *stored) {
  (void)ctx;
  (void)id;
  (void)ret;
  (void)stored;
  return 0;
}

static void ask(km_zone *zone, const char *owner, const char *type) {
  static uint8_t answer[KM_ZONE_ANSWER_MAX];
  uint8_t query[512] = {1, 2, 1, 0, 0, 1};
  km_dns_name name;
  ares_dns_rec_type_t number;
  check(km_dns_name_parse(&name, owner, strlen(owner)));
  check(ares_dns_rec_type_fromstr(&number, type) == ARES_TRUE);
  memcpy(query + 12, name.bytes, name.len);
  const uint8_t tail[] = {(uint8_t)((unsigned)number >> 8), (uint8_t)number, 0, 1};
  memcpy(query + 12 + name.len, tail, sizeof tail);
  size_t n = km_zone_answer(zone, query, 16u + name.len, KM_ZONE_TCP, answer, NULL);
  ares_dns_record_t *dns = NULL;
  check(n > 0 && ares_dns_parse(answer, n, 0, &dns) == ARES_SUCCESS);
  check(ares_dns_record_get_rcode(dns) == ARES_RCODE_NOERROR);
  check(ares_dns_record_rr_cnt(dns, ARES_SECTION_ANSWER) >= 1);
  ares_dns_record_destroy(dns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  static const char *const origins[] = {"dns.test"};
  char text[2048];
  if (len >= sizeof text || memchr(data, 0, len) != NULL) {
    return 0;
  }
  memcpy(text, data, len);
  text[len] = '\0';
  char *type = strchr(text, '\n');
  char *value = type != NULL ? strchr(type + 1, '\n') : NULL;
  if (value == NULL) {
    return 0;
  }
  *type++ = *value++ = '\0';
  km_zone_config config = {
      .env = &km_env_system, .origins = origins, .origin_count = 1, .packet = no_packet};
  km_zone *zone;
  km_errinfo err = {0};
  check(km_zone_new(&zone, &config, NULL) == 0);
  int rv = km_zone_add(zone, text, type, value, 60, &err);
  if (rv == 0) {
    ask(zone, text, type);
  } else {
    check(rv == KM_ERR_INVALID && err.text[0] != '\0');
  }
  km_zone_free(zone);
  return 0;
}
