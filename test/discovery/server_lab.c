#include "server_lab.h"

#include <ares.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "discovery/dns_name.h"

void lab_key_init(lab_key *ret, uint8_t seed) {
  uint8_t bytes[KM_SECRET_KEY_BYTES];
  memset(bytes, seed, sizeof bytes);
  assert_int_equal(km_secret_key_from_bytes(&ret->key, bytes), 0);
  km_secret_key_id(ret->key, &ret->id);
  assert_true(km_id_format(&ret->id, KM_ID_Z32, ret->z32, sizeof ret->z32) > 0);
}

void lab_key_clear(lab_key *k) {
  km_secret_key_free(k->key);
}

/* Copies `text` with `from` replaced by `to` everywhere. */
static void replace(char *ret, size_t cap, const char *text, const char *from, const char *to) {
  size_t used = 0;
  while (*text != '\0') {
    bool hit = strncmp(text, from, strlen(from)) == 0;
    const char *add = hit ? to : text;
    size_t len = hit ? strlen(to) : 1;
    assert_true(used + len < cap);
    memcpy(ret + used, add, len);
    used += len;
    text += hit ? strlen(from) : 1;
  }
  ret[used] = '\0';
}

/* --- packets ---------------------------------------------------------------------------------- */

static void set_number(ares_dns_rr_t *rr, ares_dns_rr_key_t key, char **value) {
  char *word = strtok_r(NULL, " ", value);
  assert_non_null(word);
  assert_int_equal(ares_dns_rr_set_u16(rr, key, (unsigned short)strtoul(word, NULL, 10)),
                   ARES_SUCCESS);
}

static void set_name(ares_dns_rr_t *rr, ares_dns_rr_key_t key, char **value) {
  char *word = strtok_r(NULL, " ", value);
  assert_non_null(word);
  assert_int_equal(ares_dns_rr_set_str(rr, key, word), ARES_SUCCESS);
}

static void set_soa(ares_dns_rr_t *rr, char **rest) {
  set_name(rr, ARES_RR_SOA_MNAME, rest);
  set_name(rr, ARES_RR_SOA_RNAME, rest);
}

static void set_addr(ares_dns_rr_t *rr, int family, const char *text) {
  uint8_t bytes[16];
  assert_int_equal(ares_inet_pton(family, text, bytes), 1);
  if (family == AF_INET) {
    assert_int_equal(ares_dns_rr_set_addr(rr, ARES_RR_A_ADDR, (const void *)bytes), ARES_SUCCESS);
  } else {
    assert_int_equal(ares_dns_rr_set_addr6(rr, ARES_RR_AAAA_ADDR, (const void *)bytes),
                     ARES_SUCCESS);
  }
}

static void set_value(ares_dns_rr_t *rr, ares_dns_rec_type_t type, char *value) {
  char *rest = value;
  switch ((int)type) {
  case ARES_REC_TYPE_A:
    set_addr(rr, AF_INET, value);
    return;
  case ARES_REC_TYPE_AAAA:
    set_addr(rr, AF_INET6, value);
    return;
  case ARES_REC_TYPE_TXT:
    assert_int_equal(
        ares_dns_rr_add_abin(rr, ARES_RR_TXT_DATA, (const unsigned char *)value, strlen(value)),
        ARES_SUCCESS);
    return;
  default:
    break;
  }
  char line[1024];
  (void)snprintf(line, sizeof line, "x %s", value);
  (void)strtok_r(line, " ", &rest);
  switch ((int)type) {
  case ARES_REC_TYPE_CNAME:
    set_name(rr, ARES_RR_CNAME_CNAME, &rest);
    return;
  case ARES_REC_TYPE_NS:
    set_name(rr, ARES_RR_NS_NSDNAME, &rest);
    return;
  case ARES_REC_TYPE_PTR:
    set_name(rr, ARES_RR_PTR_DNAME, &rest);
    return;
  case ARES_REC_TYPE_MX:
    set_number(rr, ARES_RR_MX_PREFERENCE, &rest);
    set_name(rr, ARES_RR_MX_EXCHANGE, &rest);
    return;
  case ARES_REC_TYPE_SRV:
    set_number(rr, ARES_RR_SRV_PRIORITY, &rest);
    set_number(rr, ARES_RR_SRV_WEIGHT, &rest);
    set_number(rr, ARES_RR_SRV_PORT, &rest);
    set_name(rr, ARES_RR_SRV_TARGET, &rest);
    return;
  case ARES_REC_TYPE_HTTPS:
    set_number(rr, ARES_RR_HTTPS_PRIORITY, &rest);
    set_name(rr, ARES_RR_HTTPS_TARGET, &rest);
    return;
  case ARES_REC_TYPE_SOA:
    set_soa(rr, &rest);
    return;
  case ARES_REC_TYPE_OPT:
    return;
  default:
    fail_msg("the lab cannot write type %d", (int)type);
  }
}

static void add_line(ares_dns_record_t *dns, char *line) {
  char *rest = line;
  const char *owner = strtok_r(NULL, " ", &rest), *type_name = strtok_r(NULL, " ", &rest);
  const char *ttl = strtok_r(NULL, " ", &rest);
  ares_dns_rec_type_t type;
  ares_dns_rr_t *rr;
  assert_non_null(ttl);
  assert_true(ares_dns_rec_type_fromstr(&type, type_name));
  assert_int_equal(ares_dns_record_rr_add(&rr, dns, ARES_SECTION_ANSWER, owner, type, ARES_CLASS_IN,
                                          (unsigned)strtoul(ttl, NULL, 10)),
                   ARES_SUCCESS);
  set_value(rr, type, rest);
}

void lab_packet(km_pkarr *ret, const lab_key *k, uint64_t timestamp_us, const char *records) {
  char text[LAB_TEXT_CAP], *rest = text;
  replace(text, sizeof text, records, "@", k->z32);
  ares_dns_record_t *dns;
  unsigned short flags = ARES_FLAG_QR | ARES_FLAG_AA;
  assert_int_equal(ares_dns_record_create(&dns, 0, flags, ARES_OPCODE_QUERY, ARES_RCODE_NOERROR),
                   ARES_SUCCESS);
  for (char *line; (line = strtok_r(NULL, "\n", &rest)) != NULL;) {
    add_line(dns, line);
  }
  unsigned char *bytes;
  size_t len;
  assert_int_equal(ares_dns_write(dns, &bytes, &len), ARES_SUCCESS);
  assert_int_equal(km_pkarr_sign(ret, k->key, timestamp_us, bytes, len), 0);
  ares_free_string(bytes);
  ares_dns_record_destroy(dns);
}

/* --- questions -------------------------------------------------------------------------------- */

uint16_t lab_type(const char *name) {
  ares_dns_rec_type_t type;
  assert_true(ares_dns_rec_type_fromstr(&type, name));
  return (uint16_t)type;
}

size_t lab_query(uint8_t *ret, const char *name, uint16_t type, uint16_t edns) {
  static const uint8_t header[] = {0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0};
  km_dns_name n;
  assert_true(km_dns_name_parse(&n, name, strlen(name)));
  memcpy(ret, header, sizeof header);
  size_t len = sizeof header;
  memcpy(ret + len, n.bytes, n.len);
  len += n.len;
  const uint8_t tail[] = {(uint8_t)(type >> 8), (uint8_t)type, 0, 1};
  memcpy(ret + len, tail, sizeof tail);
  len += sizeof tail;
  if (edns != 0) {
    const uint8_t opt[] = {0, 0, 41, (uint8_t)(edns >> 8), (uint8_t)edns, 0, 0, 0, 0, 0, 0};
    memcpy(ret + len, opt, sizeof opt);
    len += sizeof opt;
    ret[11] = 1;
  }
  return len;
}

/* --- answers ---------------------------------------------------------------------------------- */

typedef struct out {
  char *text;
  size_t len;
} out;

static void put(out *o, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(o->text + o->len, LAB_TEXT_CAP - o->len, fmt, args);
  va_end(args);
  assert_true(n >= 0 && o->len + (size_t)n < LAB_TEXT_CAP);
  o->len += (size_t)n;
}

static void put_field(out *o, const ares_dns_rr_t *rr, ares_dns_rr_key_t key) {
  char text[64];
  switch (ares_dns_rr_key_datatype(key)) {
  case ARES_DATATYPE_INADDR:
    put(o, " %s", ares_inet_ntop(AF_INET, ares_dns_rr_get_addr(rr, key), text, sizeof text));
    break;
  case ARES_DATATYPE_INADDR6:
    put(o, " %s", ares_inet_ntop(AF_INET6, ares_dns_rr_get_addr6(rr, key), text, sizeof text));
    break;
  case ARES_DATATYPE_U8:
    put(o, " %u", ares_dns_rr_get_u8(rr, key));
    break;
  case ARES_DATATYPE_U16:
    put(o, " %u", ares_dns_rr_get_u16(rr, key));
    break;
  case ARES_DATATYPE_U32:
    put(o, " %u", ares_dns_rr_get_u32(rr, key));
    break;
  case ARES_DATATYPE_NAME:
  case ARES_DATATYPE_STR:
    put(o, " %s", ares_dns_rr_get_str(rr, key));
    break;
  case ARES_DATATYPE_BINP:
  case ARES_DATATYPE_BIN: {
    size_t len;
    const unsigned char *bytes = ares_dns_rr_get_bin(rr, key, &len);
    put(o, " %.*s", (int)len, (const char *)bytes);
    break;
  }
  case ARES_DATATYPE_ABINP:
    for (size_t i = 0; i < ares_dns_rr_get_abin_cnt(rr, key); i++) {
      size_t len;
      const unsigned char *bytes = ares_dns_rr_get_abin(rr, key, i, &len);
      put(o, " %.*s", (int)len, (const char *)bytes);
    }
    break;
  case ARES_DATATYPE_OPT:
  default:
    break;
  }
}

static void put_rr(out *o, const char *section, const ares_dns_rr_t *rr) {
  size_t count;
  ares_dns_rec_type_t type = ares_dns_rr_get_type(rr);
  put(o, " | %s%s. %u %s", section, ares_dns_rr_get_name(rr), ares_dns_rr_get_ttl(rr),
      ares_dns_rec_type_tostr(type));
  assert_true(type == ARES_REC_TYPE_OPT || ares_dns_rr_get_class(rr) == ARES_CLASS_IN);
  const ares_dns_rr_key_t *keys = ares_dns_rr_get_keys(type, &count);
  for (size_t i = 0; i < count; i++) {
    put_field(o, rr, keys[i]);
  }
}

void lab_render(char ret[LAB_TEXT_CAP], const uint8_t *answer, size_t len, const lab_key *k) {
  char text[LAB_TEXT_CAP] = "";
  out o = {text, 0};
  ares_dns_record_t *dns;
  assert_true(len >= 12);
  if (answer[4] == 0 && answer[5] == 0) { /* c-ares takes no message without a question */
    assert_int_equal(len, 12);
    put(&o, "%s%s", ares_dns_rcode_tostr((ares_dns_rcode_t)(answer[3] & 0xf)),
        (answer[2] & 1) != 0 ? " rd" : "");
    memcpy(ret, text, o.len + 1);
    return;
  }
  ares_status_t status = ares_dns_parse(answer, len, 0, &dns);
  if (status != ARES_SUCCESS) {
    fail_msg("the answer cannot be read: %s", ares_strerror((int)status));
  }
  unsigned flags = ares_dns_record_get_flags(dns);
  assert_true((flags & ARES_FLAG_QR) != 0);
  put(&o, "%s%s%s%s%s", ares_dns_rcode_tostr(ares_dns_record_get_rcode(dns)),
      (flags & ARES_FLAG_AA) != 0 ? " aa" : "", (flags & ARES_FLAG_TC) != 0 ? " tc" : "",
      (flags & ARES_FLAG_RD) != 0 ? " rd" : "", (flags & ARES_FLAG_RA) != 0 ? " ra" : "");
  const struct {
    ares_dns_section_t section;
    const char *name;
  } sections[] = {{ARES_SECTION_ANSWER, ""},
                  {ARES_SECTION_AUTHORITY, "auth "},
                  {ARES_SECTION_ADDITIONAL, "add "}};
  for (size_t s = 0; s < 3; s++) {
    for (size_t i = 0; i < ares_dns_record_rr_cnt(dns, sections[s].section); i++) {
      put_rr(&o, sections[s].name, ares_dns_record_rr_get_const(dns, sections[s].section, i));
    }
  }
  ares_dns_record_destroy(dns);
  replace(ret, LAB_TEXT_CAP, text, k->z32, "@");
}
