#include "discovery/server/doh.h"

#include <sodium/utils.h>
#include <string.h>
#include <strings.h>

#include "base/env.h"
#include "discovery/dns_message.h"

enum { TYPE_A = 1, TYPE_OPT = 41 };
enum { FLAG_RD = 0x0100, FLAG_CD = 0x0010 };

#define EDNS_PAYLOAD 1232
#define EDNS_DO 0x80

void km_doh_begin(km_doh_request *r) {
  *r = (km_doh_request){.type = TYPE_A, .recursion = true};
}

/* RFC 4648 section 5, without padding as RFC 8484 asks; padding that is right is forgiven. */
static int read_message(km_doh_request *r, const char *text, size_t len, km_errinfo *err) {
  if (len > 0 && len % 4 == 0 && text[len - 1] == '=') {
    len -= text[len - 2] == '=' ? 2 : 1;
  }
  if (len * 3 / 4 > sizeof r->query) {
    return km_fail(err, KM_ERR_LIMIT, "a question has at most %d bytes", KM_DOH_QUERY_MAX);
  }
  /* The decoder refuses one character too many, and bits that stand for no byte. */
  if (sodium_base642bin(r->query, sizeof r->query, text, len, NULL, &r->len, NULL,
                        sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
      r->len == 0) {
    r->len = 0;
    return km_fail(err, KM_ERR_INVALID, "dns: this is not base64url");
  }
  return 0;
}

/* A byte of a name, escaped (RFC 1035 section 5.1) or not. Moves on; below 0: bad. */
static int name_byte(const char **at, const char *end) {
  const char *p = *at;
  if (*p != '\\') {
    (*at)++;
    return *p > 0x20 && *p < 0x7f ? *p : -1;
  }
  if (end - p >= 2 && p[1] >= '0' && p[1] <= '9') {
    int value = end - p >= 4 ? 0 : 1000;
    for (int i = 1; i <= 3 && value < 1000; i++) {
      value = p[i] >= '0' && p[i] <= '9' ? value * 10 + (p[i] - '0') : 1000;
    }
    *at += 4;
    return value <= 255 ? value : -1;
  }
  *at += 2;
  return end - p >= 2 && p[1] > 0x20 && p[1] < 0x7f ? p[1] : -1;
}

static bool write_name(km_doh_request *r, const char *text, size_t len) {
  const char *at = text, *end = text + len;
  size_t label = 0; /* where the length of the present one goes */
  r->name_len = 1;
  if (len == 0) {
    return false;
  }
  if (len == 1 && *text == '.') {
    r->name[0] = 0;
    return true;
  }
  while (at < end) {
    bool dot = *at == '.';
    int byte = name_byte(&at, end);
    size_t used = r->name_len - label - 1;
    if (byte < 0 || (dot ? used == 0 : used == KM_DNS_LABEL_MAX) || r->name_len == sizeof r->name) {
      return false;
    }
    if (dot) {
      r->name[label] = (uint8_t)used;
      label = r->name_len++;
    } else {
      r->name[r->name_len++] = (uint8_t)byte;
    }
  }
  r->name[label] = (uint8_t)(r->name_len - label - 1);
  if (r->name[label] != 0) { /* no final dot */
    if (r->name_len == sizeof r->name) {
      return false;
    }
    r->name[r->name_len++] = 0;
  }
  return true;
}

static bool read_type(uint16_t *ret, const char *text, size_t len) {
  static const struct {
    const char *name;
    uint16_t type;
  } types[] = {{"A", 1},     {"NS", 2},     {"CNAME", 5},  {"SOA", 6},   {"PTR", 12},
               {"MX", 15},   {"TXT", 16},   {"AAAA", 28},  {"SRV", 33},  {"NAPTR", 35},
               {"DS", 43},   {"SSHFP", 44}, {"RRSIG", 46}, {"NSEC", 47}, {"DNSKEY", 48},
               {"TLSA", 52}, {"SVCB", 64},  {"HTTPS", 65}, {"ANY", 255}, {"URI", 256},
               {"CAA", 257}, {"*", 255},    {"HINFO", 13}, {"LOC", 29},  {"OPENPGPKEY", 61}};
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    if (strlen(types[i].name) == len && strncasecmp(types[i].name, text, len) == 0) {
      *ret = types[i].type;
      return true;
    }
  }
  if (len > 4 && strncasecmp(text, "TYPE", 4) == 0) { /* RFC 3597 */
    text += 4;
    len -= 4;
  }
  uint32_t value = 0;
  for (size_t i = 0; i < len; i++) {
    value = text[i] >= '0' && text[i] <= '9' ? value * 10 + (uint32_t)(text[i] - '0') : UINT16_MAX;
    if (value >= UINT16_MAX) {
      return false;
    }
  }
  *ret = (uint16_t)value;
  return value > 0;
}

static bool read_bool(bool *ret, const char *text, size_t len) {
  bool yes = (len == 1 && *text == '1') || (len == 4 && strncasecmp(text, "true", 4) == 0);
  *ret = yes;
  return yes || len == 0 || (len == 1 && *text == '0') ||
         (len == 5 && strncasecmp(text, "false", 5) == 0);
}

static km_doh_form form_of(const char *text, size_t len) {
  static const struct {
    const char *type;
    km_doh_form form;
  } forms[] = {{"application/dns-message", KM_DOH_MESSAGE},
               {"application/dns-json", KM_DOH_JSON},
               {"application/x-javascript", KM_DOH_JSON},
               {"application/json", KM_DOH_JSON}};
  for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
    if (strlen(forms[i].type) == len && strncasecmp(forms[i].type, text, len) == 0) {
      return forms[i].form;
    }
  }
  return KM_DOH_DEFAULT;
}

int km_doh_param(km_doh_request *r, const char *text, size_t len, km_errinfo *err) {
  const char *equals = memchr(text, '=', len);
  size_t name_len = equals == NULL ? len : (size_t)(equals - text);
  const char *value = equals == NULL ? text + len : equals + 1;
  size_t value_len = len - (size_t)(value - text);
  struct {
    const char *name;
    bool good;
  } bad = {NULL, true};
#define IS(word) (name_len == strlen(word) && memcmp(text, word, name_len) == 0)
  if (IS("dns")) {
    return read_message(r, value, value_len, err);
  }
  if (IS("name")) {
    bad.good = r->has_name = write_name(r, value, value_len);
    bad.name = "name";
  } else if (IS("type")) {
    bad.good = value_len == 0 || read_type(&r->type, value, value_len);
    bad.name = "type";
  } else if (IS("cd")) {
    bad.good = read_bool(&r->unchecked, value, value_len);
    bad.name = "cd";
  } else if (IS("do")) {
    bad.good = read_bool(&r->dnssec, value, value_len);
    bad.name = "do";
  } else if (IS("rd")) {
    bad.good = read_bool(&r->recursion, value, value_len);
    bad.name = "rd";
  } else if (IS("ct")) {
    r->form = form_of(value, value_len);
  }
#undef IS
  return bad.good ? 0 : km_fail(err, KM_ERR_INVALID, "%s: this is no value for it", bad.name);
}

bool km_doh_accept(km_doh_request *r, const char *accept) {
  if (r->form != KM_DOH_DEFAULT || accept == NULL || accept[0] == '\0') {
    return true;
  }
  bool anything = false;
  while (*accept != '\0') {
    accept += strspn(accept, ", \t");
    size_t len = strcspn(accept, ",; \t");
    km_doh_form form = form_of(accept, len);
    if (form != KM_DOH_DEFAULT) {
      r->form = form;
      return true;
    }
    anything |= (len == 3 && memcmp(accept, "*/*", 3) == 0) ||
                (len == 13 && memcmp(accept, "application/*", 13) == 0);
    accept += strcspn(accept, ",");
  }
  return anything;
}

static size_t put16(uint8_t *at, unsigned value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
  return 2;
}

int km_doh_finish(km_doh_request *r, km_errinfo *err) {
  if (r->len > 0) {
    r->form = r->form == KM_DOH_DEFAULT ? KM_DOH_MESSAGE : r->form;
    return 0;
  }
  if (!r->has_name) {
    return km_fail(err, KM_ERR_INVALID, "what is the question? give dns=, or name= and type=");
  }
  r->form = r->form == KM_DOH_DEFAULT ? KM_DOH_JSON : r->form;
  uint8_t *at = r->query;
  memset(at, 0, KM_DNSMSG_HEADER);
  (void)put16(at + 2, (r->recursion ? FLAG_RD : 0u) | (r->unchecked ? FLAG_CD : 0u));
  (void)put16(at + 4, 1);
  (void)put16(at + 10, r->dnssec);
  at += KM_DNSMSG_HEADER;
  memcpy(at, r->name, r->name_len);
  at += r->name_len;
  at += put16(at, r->type);
  at += put16(at, KM_DNSMSG_CLASS_IN);
  if (r->dnssec) {
    const uint8_t opt[] = {0, 0, TYPE_OPT, EDNS_PAYLOAD >> 8, EDNS_PAYLOAD & 0xff, 0, 0, EDNS_DO,
                           0, 0, 0};
    memcpy(at, opt, sizeof opt);
    at += sizeof opt;
  }
  r->len = (size_t)(at - r->query);
  return 0;
}
