#include "discovery/dns_message.h"

#include <string.h>

#include "base/wire.h"

int km_dnsmsg_open(km_dnsmsg *ret, const uint8_t *bytes, size_t len) {
  if (len < KM_DNSMSG_HEADER || len > KM_DNSMSG_MAX) {
    return KM_ERR_BAD_PACKET;
  }
  km_rd rd = km_rd_init(bytes, len);
  *ret = (km_dnsmsg){.bytes = bytes, .len = len, .at = KM_DNSMSG_HEADER};
  ret->id = (uint16_t)km_rd_be(&rd, 2);
  ret->flags = (uint16_t)km_rd_be(&rd, 2);
  for (size_t i = 0; i < KM_DNSMSG_SECTION_COUNT_; i++) {
    ret->left[i] = (uint16_t)km_rd_be(&rd, 2);
  }
  return 0;
}

size_t km_dnsmsg_name_at(const km_dnsmsg *m, size_t at, km_dns_name *ret) {
  size_t end = at;
  if (!km_dns_name_read(ret, m->bytes, m->len, &end)) {
    return 0;
  }
  km_dns_name_lower(ret);
  return end - at;
}

static bool rest_of_record(km_dnsmsg_rr *ret, km_rd *rd) {
  uint32_t ttl = (uint32_t)km_rd_be(rd, 4);
  ret->ttl_s = ttl > INT32_MAX ? 0 : ttl;
  ret->rdata_len = (uint16_t)km_rd_be(rd, 2);
  ret->rdata = km_rd_bytes(rd, ret->rdata_len);
  return !rd->failed;
}

int km_dnsmsg_next(km_dnsmsg *m, km_dnsmsg_rr *ret) {
  unsigned section = KM_DNSMSG_QUESTION;
  while (section < KM_DNSMSG_SECTION_COUNT_ && m->left[section] == 0) {
    section++;
  }
  if (section == KM_DNSMSG_SECTION_COUNT_) {
    return 0;
  }
  ret->section = (km_dnsmsg_section)section;
  size_t taken = km_dnsmsg_name_at(m, m->at, &ret->owner);
  if (taken == 0) {
    return KM_ERR_BAD_PACKET;
  }
  km_rd rd = km_rd_init(m->bytes + m->at + taken, m->len - m->at - taken);
  ret->type = (uint16_t)km_rd_be(&rd, 2);
  ret->class_ = (uint16_t)km_rd_be(&rd, 2);
  ret->ttl_s = 0;
  ret->rdata = NULL;
  ret->rdata_len = 0;
  if (rd.failed || (section != KM_DNSMSG_QUESTION && !rest_of_record(ret, &rd))) {
    return KM_ERR_BAD_PACKET;
  }
  m->at = (size_t)(rd.at - m->bytes);
  m->left[section]--;
  return 1;
}

bool km_dnsmsg_rdata_name(const km_dnsmsg *m, const km_dnsmsg_rr *rr, km_dns_name *ret) {
  if (rr->rdata == NULL) {
    return false;
  }
  size_t taken = km_dnsmsg_name_at(m, (size_t)(rr->rdata - m->bytes), ret);
  return taken != 0 && taken == rr->rdata_len;
}

bool km_dnsmsg_name_from_text(km_dns_name *ret, const char *text) {
  if (!km_dns_name_parse(ret, text[0] == '\0' ? "." : text, text[0] == '\0' ? 1 : strlen(text))) {
    return false;
  }
  km_dns_name_lower(ret);
  return true;
}

int km_dnsmsg_txt_join(const km_dnsmsg_rr *rr, char *ret, size_t cap) {
  km_rd rd = km_rd_init(rr->rdata, rr->rdata_len);
  size_t len = 0;
  if (rr->rdata_len == 0) { /* "one or more" (RFC 1035 section 3.3.14) */
    return KM_ERR_BAD_PACKET;
  }
  while (km_rd_left(&rd) > 0) {
    uint8_t n = km_rd_u8(&rd);
    const uint8_t *string = km_rd_bytes(&rd, n);
    if (string == NULL) {
      return KM_ERR_BAD_PACKET;
    }
    if (n > cap - len) {
      return KM_ERR_LIMIT;
    }
    memcpy(ret + len, string, n);
    len += n;
  }
  return (int)len;
}
