#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "base/ip_text.h"
#include "base/text.h"
#include "discovery/dns_message.h"
#include "discovery/server/doh.h"

enum {
  TYPE_A = 1,
  TYPE_NS = 2,
  TYPE_SOA = 6,
  TYPE_PTR = 12,
  TYPE_MX = 15,
  TYPE_AAAA = 28,
  TYPE_SRV = 33,
  TYPE_CAA = 257
};
enum { FLAG_TC = 0x0200, FLAG_RD = 0x0100, FLAG_RA = 0x0080, FLAG_AD = 0x0020, FLAG_CD = 0x0010 };

typedef struct text {
  char *at, *end;
  bool full;
} text;

static void put_bytes(text *t, const char *bytes, size_t len) {
  t->full |= (size_t)(t->end - t->at) <= len;
  if (!t->full) {
    memcpy(t->at, bytes, len);
    t->at += len;
  }
}

static void put(text *t, const char *fmt, ...) KM_PRINTF(2, 3);
static void put(text *t, const char *fmt, ...) {
  char piece[256];
  va_list args;
  va_start(args, fmt);
  int len = vsnprintf(piece, sizeof piece, fmt, args);
  va_end(args);
  put_bytes(t, piece, (size_t)len); /* numbers and short words alone */
}

/* Inside a string of JSON. What is no text is escaped as DNS does it, \DDD. */
static void put_chars(text *t, const char *bytes, size_t len) {
  while (len > 0) {
    size_t n = km_utf8_sequence(bytes, len);
    if (n == 0 || km_utf8_is_control(bytes, n)) {
      put(t, "\\\\%03u", (unsigned)(uint8_t)*bytes);
      n = 1;
    } else if (*bytes == '"' || *bytes == '\\') {
      put(t, "\\%c", *bytes);
    } else {
      put_bytes(t, bytes, n);
    }
    bytes += n;
    len -= n;
  }
}

static void put_name(text *t, const km_dns_name *name) {
  size_t at = 0;
  if (name->bytes[0] == 0) {
    put(t, ".");
  }
  while (name->bytes[at] != 0) {
    size_t end = at + 1 + name->bytes[at];
    for (at++; at < end; at++) {
      uint8_t c = name->bytes[at];
      if (c <= 0x20 || c >= 0x7f) {
        put(t, "\\\\%03u", c);
      } else if (c == '.' || c == '"' || c == '\\') {
        put(t, c == '.' ? "\\\\%c" : "\\\\\\%c", c);
      } else {
        put(t, "%c", c);
      }
    }
    put(t, ".");
  }
}

static unsigned get16(const uint8_t *at) {
  return (unsigned)at[0] << 8 | at[1];
}

static uint32_t get32(const uint8_t *at) {
  return (uint32_t)get16(at) << 16 | get16(at + 2);
}

/* RFC 3597 section 5: any data of any type. */
static void put_unknown(text *t, const km_dnsmsg_rr *rr) {
  put(t, "\\\\# %u ", rr->rdata_len);
  for (size_t i = 0; i < rr->rdata_len; i++) {
    put(t, "%02x", rr->rdata[i]);
  }
}

/* A name `skip` bytes into the data, which it has to fill; puts it behind what stands before. */
static size_t name_in(const km_dnsmsg *m, const km_dnsmsg_rr *rr, size_t skip, km_dns_name *ret) {
  size_t offset = (size_t)(rr->rdata - m->bytes) + skip;
  size_t used = skip < rr->rdata_len ? km_dnsmsg_name_at(m, offset, ret) : 0;
  return used > 0 && used <= rr->rdata_len - skip ? used : 0;
}

static bool put_soa(text *t, const km_dnsmsg *m, const km_dnsmsg_rr *rr) {
  km_dns_name mname, rname;
  size_t first = name_in(m, rr, 0, &mname);
  size_t second = first == 0 ? 0 : name_in(m, rr, first, &rname);
  if (second == 0 || rr->rdata_len - first - second != 20) {
    return false;
  }
  put_name(t, &mname);
  put(t, " ");
  put_name(t, &rname);
  for (size_t i = 0; i < 5; i++) {
    put(t, " %lu", (unsigned long)get32(rr->rdata + first + second + 4 * i));
  }
  return true;
}

static bool put_ip(text *t, const km_dnsmsg_rr *rr) {
  char ip[KM_IP_TEXT_CAP];
  if (rr->rdata_len != (rr->type == TYPE_A ? 4 : 16)) {
    return false;
  }
  (void)(rr->type == TYPE_A ? km_ip4_format(ip, rr->rdata)
                            : km_ip6_format(ip, rr->rdata, KM_IP6_RFC5952));
  put(t, "%s", ip);
  return true;
}

/* Numbers of 16 bits, then a name: MX, SRV. */
static bool put_numbers(text *t, const km_dnsmsg *m, const km_dnsmsg_rr *rr, size_t count) {
  km_dns_name name;
  if (rr->rdata_len <= 2 * count || name_in(m, rr, 2 * count, &name) != rr->rdata_len - 2 * count) {
    return false;
  }
  for (size_t i = 0; i < count; i++) {
    put(t, "%u ", get16(rr->rdata + 2 * i));
  }
  put_name(t, &name);
  return true;
}

static bool put_caa(text *t, const km_dnsmsg_rr *rr) {
  if (rr->rdata_len < 2 || rr->rdata[1] > rr->rdata_len - 2) {
    return false;
  }
  size_t tag = rr->rdata[1];
  put(t, "%u ", rr->rdata[0]);
  put_chars(t, (const char *)rr->rdata + 2, tag);
  put(t, " \\\"");
  put_chars(t, (const char *)rr->rdata + 2 + tag, rr->rdata_len - 2 - tag);
  put(t, "\\\"");
  return true;
}

static bool put_txt(text *t, const km_dnsmsg_rr *rr) {
  const uint8_t *at = rr->rdata, *end = at + rr->rdata_len;
  for (const uint8_t *p = at; p < end; p += 1 + *p) {
    if (*p >= end - p) {
      return false;
    }
  }
  /* Strings of one record are joined, without quotes: as iroh-dns-server and Google do it. */
  for (; at < end; at += 1 + *at) {
    put_chars(t, (const char *)at + 1, *at);
  }
  return true;
}

static void put_data(text *t, const km_dnsmsg *m, const km_dnsmsg_rr *rr) {
  text before = *t;
  bool done = false;
  switch (rr->type) {
  case TYPE_A:
  case TYPE_AAAA:
    done = put_ip(t, rr);
    break;
  case TYPE_NS:
  case KM_DNSMSG_TYPE_CNAME:
  case TYPE_PTR:
    done = put_numbers(t, m, rr, 0);
    break;
  case TYPE_MX:
    done = put_numbers(t, m, rr, 1);
    break;
  case TYPE_SRV:
    done = put_numbers(t, m, rr, 3);
    break;
  case TYPE_SOA:
    done = put_soa(t, m, rr);
    break;
  case KM_DNSMSG_TYPE_TXT:
    done = put_txt(t, rr);
    break;
  case TYPE_CAA:
    done = put_caa(t, rr);
    break;
  default:
    break;
  }
  if (!done) {
    *t = before;
    put_unknown(t, rr);
  }
}

static void put_head(text *t, const km_dnsmsg *m) {
  static const struct {
    const char *name;
    unsigned flag;
  } flags[] = {{"TC", FLAG_TC}, {"RD", FLAG_RD}, {"RA", FLAG_RA}, {"AD", FLAG_AD}, {"CD", FLAG_CD}};
  put(t, "{\"Status\":%u", m->flags & 0xfu);
  for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
    put(t, ",\"%s\":%s", flags[i].name, (m->flags & flags[i].flag) != 0 ? "true" : "false");
  }
}

static void put_record(text *t, const km_dnsmsg *m, const km_dnsmsg_rr *rr) {
  put(t, "{\"name\":\"");
  put_name(t, &rr->owner);
  put(t, "\",\"type\":%u", rr->type);
  if (rr->section != KM_DNSMSG_QUESTION) {
    put(t, ",\"TTL\":%lu,\"data\":\"", (unsigned long)rr->ttl_s);
    put_data(t, m, rr);
    put(t, "\"");
  }
  put(t, "}");
}

int km_doh_json(char *ret, size_t cap, const uint8_t *answer, size_t len) {
  static const char *const sections[] = {"Question", "Answer", "Authority"};
  text t = {ret, ret + cap, cap == 0};
  km_dnsmsg m;
  km_dnsmsg_rr rr;
  int rv = km_dnsmsg_open(&m, answer, len);
  if (rv != 0) {
    return rv;
  }
  put_head(&t, &m);
  int section = -1;
  while ((rv = km_dnsmsg_next(&m, &rr)) > 0 && rr.section < KM_DNSMSG_ADDITIONAL) {
    if ((int)rr.section != section) {
      put(&t, "%s,\"%s\":[", section < 0 ? "" : "]", sections[rr.section]);
      section = (int)rr.section;
    } else {
      put(&t, ",");
    }
    put_record(&t, &m, &rr);
  }
  put(&t, "%s}", section < 0 ? "" : "]");
  if (rv < 0) {
    return rv;
  }
  if (t.full) {
    return KM_ERR_BUFFER;
  }
  *t.at = '\0'; /* put_bytes leaves room */
  return (int)(t.at - ret);
}

uint32_t km_doh_least_ttl(const uint8_t *message, size_t len) {
  km_dnsmsg m;
  km_dnsmsg_rr rr;
  uint32_t least = UINT32_MAX;
  if (km_dnsmsg_open(&m, message, len) != 0) {
    return least;
  }
  while (km_dnsmsg_next(&m, &rr) > 0) {
    if (rr.section == KM_DNSMSG_ANSWER && rr.ttl_s < least) {
      least = rr.ttl_s;
    }
  }
  return least;
}
