/* First byte: under which origin. The rest, any DNS message: no crash, what is found keeps to its
 * limits, and TXT records that c-ares reads are read as the same. */
#include <ares.h>
#include <ares_dns_record.h>
#include <stdlib.h>
#include <string.h>

#include "discovery/dns_message.h"
#include "discovery/txt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char *const origins[] = {"", "dns.example", "example"};

/* The id of secret 01 02 ... 20. */
static const km_id id = {{0x79, 0xb5, 0x56, 0x2e, 0x8f, 0xe6, 0x54, 0xf9, 0x40, 0x78, 0xb1,
                          0x12, 0xe8, 0xa9, 0x8b, 0xa7, 0x90, 0x1f, 0x85, 0x3a, 0xe6, 0x95,
                          0xbe, 0xd7, 0xe0, 0xe3, 0x91, 0x0b, 0xad, 0x04, 0x96, 0x64}};

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

/* c-ares has no limit of the length of a name, nor of the number of pointers. */
static bool within_limits(const uint8_t *bytes, size_t len) {
  size_t pointers = 0;
  for (size_t i = 0; i < len; i++) {
    pointers += bytes[i] >= 0xc0;
  }
  return len < 200 && pointers < 100;
}

static void check_like_cares(const uint8_t *bytes, size_t len) {
  ares_dns_record_t *theirs;
  km_dnsmsg m;
  km_dnsmsg_rr rr;
  char text[256];
  if (!within_limits(bytes, len) || ares_dns_parse(bytes, len, 0, &theirs) != ARES_SUCCESS) {
    return;
  }
  check(km_dnsmsg_open(&m, bytes, len) == 0 && km_dnsmsg_next(&m, &rr) == 1);
  size_t answers = ares_dns_record_rr_cnt(theirs, ARES_SECTION_ANSWER);
  for (size_t i = 0; i < answers; i++) {
    const ares_dns_rr_t *t = ares_dns_record_rr_get_const(theirs, ARES_SECTION_ANSWER, i);
    check(km_dnsmsg_next(&m, &rr) == 1 && rr.section == KM_DNSMSG_ANSWER);
    if (ares_dns_rr_get_type(t) == ARES_REC_TYPE_TXT) {
      size_t n;
      const uint8_t *bin = ares_dns_rr_get_bin(t, ARES_RR_TXT_DATA, &n);
      check(km_dnsmsg_txt_join(&rr, text, sizeof text) == (int)n);
      check(n == 0 || memcmp(text, bin, n) == 0);
    }
  }
  ares_dns_record_destroy(theirs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  km_details d;
  km_errinfo err = {0};
  if (len == 0) {
    return 0;
  }
  const char *origin = origins[data[0] % (sizeof origins / sizeof origins[0])];
  check(km_details_init(&d, &km_env_system, &id) == 0);
  int rv = km_txt_read(&d, data + 1, len - 1, origin, &err);
  check(rv == 0 || rv == KM_ERR_BAD_PACKET);
  check(err.code == rv);
  check(km_user_data_valid(d.user_data, strlen(d.user_data)));
  check(d.record_len <= sizeof d.record);
  check(d.any || (km_addr_udp_count(d.addr) == 0 && km_addr_relay_count(d.addr) == 0 &&
                  d.record_len == 0 && d.user_data[0] == '\0'));
  km_details_clear(&d);
  check_like_cares(data + 1, len - 1);
  return 0;
}
