#include "discovery/dns_answer.h"

#include "discovery/txt.h"

uint32_t km_dns_answer_ttl(const ares_dns_record_t *record, bool absent) {
  uint32_t ttl = absent ? 0 : UINT32_MAX;
  ares_dns_section_t section = absent ? ARES_SECTION_AUTHORITY : ARES_SECTION_ANSWER;
  for (size_t i = 0; i < ares_dns_record_rr_cnt(record, section); i++) {
    const ares_dns_rr_t *rr = ares_dns_record_rr_get_const(record, section, i);
    uint32_t own = ares_dns_rr_get_ttl(rr);
    if (!absent) {
      ttl = own < ttl ? own : ttl;
    } else if (ares_dns_rr_get_type(rr) == ARES_REC_TYPE_SOA) {
      uint32_t minimum = ares_dns_rr_get_u32(rr, ARES_RR_SOA_MINIMUM);
      ttl = own < minimum ? own : minimum;
    }
  }
  return ttl;
}

bool km_dns_answer_says(const km_env *env, const km_id *id, const uint8_t *bytes, size_t len,
                        const char *origin) {
  km_details details;
  km_errinfo err;
  if (km_details_init(&details, env, id) != 0) {
    return false;
  }
  bool says = km_txt_read(&details, bytes, len, origin, &err) == 0 &&
              (details.any || details.record_len > 0);
  km_details_clear(&details);
  return says;
}
