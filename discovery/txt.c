#include "discovery/txt.h"

#include <stdio.h>
#include <string.h>

#include "discovery/dns_message.h"

#define MAX_CNAMES 8
/* An answer about a peer has some dozens. Reading goes through all of them up to 18 times. */
#define MAX_RECORDS 512
/* The longest attribute there is, "relay=" and a url; longer ones are none of ours. */
#define ATTRIBUTE_CAP (KM_RELAY_URL_MAX + 16)

int km_txt_name(char ret[KM_TXT_NAME_CAP], const char *name, const km_id *id, const char *origin) {
  char z32[KM_ID_TEXT_CAP];
  char text[KM_TXT_NAME_CAP];
  km_dns_name wire;
  (void)km_id_format(id, KM_ID_Z32, z32, sizeof z32); /* fits */
  size_t origin_len = strlen(origin);
  if (origin_len > 0 && origin[origin_len - 1] == '.') {
    origin_len--;
  }
  if (origin_len >= sizeof text || (origin_len > 0 && origin[origin_len - 1] == '.')) {
    return KM_ERR_LIMIT;
  }
  int len = snprintf(text, sizeof text, "%s.%s%s%.*s", name, z32, origin_len > 0 ? "." : "",
                     (int)origin_len, origin);
  if ((size_t)len >= sizeof text || !km_dnsmsg_name_from_text(&wire, text)) {
    return KM_ERR_LIMIT;
  }
  memcpy(ret, text, (size_t)len + 1);
  return 0;
}

/* Adds what the record says, if it is a TXT record of `owner`. */
static int take_record(km_details *ret, const km_dnsmsg_rr *rr, const km_dns_name *owner,
                       const char *only, uint32_t *ttl_s) {
  char text[ATTRIBUTE_CAP];
  if (rr->section != KM_DNSMSG_ANSWER || rr->type != KM_DNSMSG_TYPE_TXT ||
      rr->class_ != KM_DNSMSG_CLASS_IN || !km_dns_name_equal(&rr->owner, owner)) {
    return 0;
  }
  int len = km_dnsmsg_txt_join(rr, text, sizeof text);
  if (len < 0) {
    return len == KM_ERR_LIMIT ? 0 : len;
  }
  *ttl_s = rr->ttl_s < *ttl_s ? rr->ttl_s : *ttl_s;
  size_t only_len = strlen(only);
  if ((size_t)len < only_len || memcmp(text, only, only_len) != 0) {
    return 0;
  }
  return km_details_add(ret, text, (size_t)len);
}

static bool too_many_records(const km_dnsmsg *m) {
  size_t count = 0;
  for (size_t i = 0; i < KM_DNSMSG_SECTION_COUNT_; i++) {
    count += m->left[i];
  }
  return count > MAX_RECORDS;
}

/* One way through the message. Sets `ret_alias` when `owner` is another name for it. */
static int pass(km_details *ret, const km_dnsmsg *message, const km_dns_name *owner,
                const char *only, uint32_t *ttl_s, km_dns_name *ret_alias) {
  km_dnsmsg m = *message;
  km_dnsmsg_rr rr;
  int rv;
  ret_alias->len = 0;
  while ((rv = km_dnsmsg_next(&m, &rr)) > 0) {
    rv = take_record(ret, &rr, owner, only, ttl_s);
    if (rv != 0) {
      return rv;
    }
    if (rr.section == KM_DNSMSG_ANSWER && rr.type == KM_DNSMSG_TYPE_CNAME &&
        rr.class_ == KM_DNSMSG_CLASS_IN && ret_alias->len == 0 &&
        km_dns_name_equal(&rr.owner, owner)) {
      if (!km_dnsmsg_rdata_name(&m, &rr, ret_alias)) {
        return KM_ERR_BAD_PACKET;
      }
      *ttl_s = rr.ttl_s < *ttl_s ? rr.ttl_s : *ttl_s;
    }
  }
  return rv;
}

/* The records of `name`, and of what it is an alias of. */
static int read_name(km_details *ret, const km_dnsmsg *message, const char *name, const char *only,
                     const char *origin, uint32_t *ttl_s) {
  char text[KM_TXT_NAME_CAP];
  km_dns_name owner, alias;
  if (km_txt_name(text, name, km_addr_id(ret->addr), origin) != 0 ||
      !km_dnsmsg_name_from_text(&owner, text)) {
    return 0; /* no record can have such a name */
  }
  for (int i = 0; i <= MAX_CNAMES; i++) {
    int rv = pass(ret, message, &owner, only, ttl_s, &alias);
    if (rv != 0 || alias.len == 0) {
      return rv;
    }
    owner = alias;
  }
  return 0;
}

int km_txt_read(km_details *ret, const uint8_t *dns, size_t len, const char *origin,
                km_errinfo *err) {
  km_dnsmsg message;
  uint32_t ttl_s = UINT32_MAX;
  bool any = ret->any;
  int rv = km_dnsmsg_open(&message, dns, len);
  if (rv == 0 && too_many_records(&message)) {
    return km_fail(err, KM_ERR_BAD_PACKET, "the DNS answer has more than %d records", MAX_RECORDS);
  }
  if (rv == 0) {
    rv = read_name(ret, &message, KM_TXT_NAME, "", origin, &ttl_s);
  }
  if (rv == 0) {
    rv = read_name(ret, &message, KM_RECORD_TXT_NAME, KM_RECORD_ATTRIBUTE, origin, &ttl_s);
  }
  if (ttl_s != UINT32_MAX && (!any || ttl_s < ret->ttl_s)) {
    ret->ttl_s = ttl_s;
  }
  if (rv == KM_ERR_BAD_PACKET) {
    return km_fail(err, rv, "the DNS answer is damaged; ask another server");
  }
  return rv == 0 ? 0 : km_fail(err, rv, NULL);
}
