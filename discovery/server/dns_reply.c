#include "discovery/server/dns_reply.h"

#include <string.h>

enum {
  FLAG_QR = 0x80,
  FLAG_AA = 0x04,
  FLAG_TC = 0x02,
  FLAG_RD = 0x01,
  FLAG_CD = 0x10,
  FLAG_DO = 0x80
};
enum { OPT_LEN = 11, POINTER_BITS = 0xc000 };

static unsigned get16(const uint8_t *at) {
  return (unsigned)at[0] << 8 | at[1];
}

static void put16(uint8_t *at, unsigned value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

/* --- questions -------------------------------------------------------------------------------- */

/* Goes over a record of the additional section, and notes an OPT. */
static bool read_additional(km_dns_query *q, const uint8_t *msg, size_t len, size_t *pos) {
  size_t start = *pos;
  if (!km_dns_name_skip(msg, len, pos) || len - *pos < 10) {
    return false;
  }
  const uint8_t *fixed = msg + *pos;
  size_t data_len = get16(fixed + 8);
  *pos += 10;
  if (len - *pos < data_len) {
    return false;
  }
  *pos += data_len;
  if (get16(fixed) != KM_DNS_OPT) {
    return true;
  }
  if (q->edns || msg[start] != 0) { /* RFC 6891 section 6.1.1: one, of the root */
    return false;
  }
  q->edns = true;
  q->version = fixed[5];
  q->dnssec = (fixed[6] & FLAG_DO) != 0;
  q->payload = (uint16_t)get16(fixed + 2);
  if (q->payload < KM_DNS_UDP_MIN) {
    q->payload = KM_DNS_UDP_MIN;
  }
  return true;
}

/* Its name is not compressed: before it is nothing that a pointer could lead to. */
static bool read_question(km_dns_query *q, const uint8_t *msg, size_t len, size_t *pos) {
  if (!km_dns_name_read(&q->name, msg, len, pos) || *pos != KM_DNS_HEADER + (size_t)q->name.len ||
      len - *pos < 4) {
    return false;
  }
  q->type = (uint16_t)get16(msg + *pos);
  q->qclass = (uint16_t)get16(msg + *pos + 2);
  *pos += 4;
  q->has_question = true;
  return true;
}

bool km_dns_query_read(km_dns_query *ret, km_dns_rcode *ret_rcode, const uint8_t *msg, size_t len) {
  if (len < KM_DNS_HEADER || (msg[2] & FLAG_QR) != 0) {
    return false;
  }
  *ret = (km_dns_query){.id = (uint16_t)get16(msg),
                        .opcode = msg[2] >> 3 & 0xf,
                        .rd = (msg[2] & FLAG_RD) != 0,
                        .cd = (msg[3] & FLAG_CD) != 0,
                        .payload = KM_DNS_UDP_MIN};
  if (ret->opcode != 0) {
    *ret_rcode = KM_DNS_NOTIMP;
    return true;
  }
  *ret_rcode = KM_DNS_FORMERR;
  size_t pos = KM_DNS_HEADER;
  if (get16(msg + 4) != 1 || !read_question(ret, msg, len, &pos)) {
    return true;
  }
  if (get16(msg + 6) != 0 || get16(msg + 8) != 0) {
    return true;
  }
  for (unsigned i = get16(msg + 10); i > 0; i--) {
    if (!read_additional(ret, msg, len, &pos)) {
      ret->edns = false;
      return true;
    }
  }
  if (pos == len) {
    *ret_rcode = KM_DNS_NOERROR;
  }
  return true;
}

/* --- answers ---------------------------------------------------------------------------------- */

void km_dns_reply_bytes(km_dns_reply *r, const void *bytes, size_t len) {
  if (r->full || len > r->cap - r->len) {
    r->full = true;
    return;
  }
  if (len > 0) {
    memcpy(r->bytes + r->len, bytes, len);
    r->len += len;
  }
}

static void write16(km_dns_reply *r, unsigned value) {
  uint8_t bytes[2];
  put16(bytes, value);
  km_dns_reply_bytes(r, bytes, sizeof bytes);
}

void km_dns_reply_begin(km_dns_reply *r, uint8_t *bytes, size_t cap, const km_dns_query *query) {
  *r = (km_dns_reply){
      .bytes = bytes, .len = KM_DNS_HEADER, .cap = cap, .query = query, .least_ttl = UINT32_MAX};
  memset(bytes, 0, KM_DNS_HEADER);
  put16(bytes, query->id);
  bytes[2] = (uint8_t)(FLAG_QR | query->opcode << 3 | (query->rd ? FLAG_RD : 0));
  bytes[3] = query->cd ? FLAG_CD : 0;
  if (query->has_question) {
    km_dns_reply_bytes(r, query->name.bytes, query->name.len);
    write16(r, query->type);
    write16(r, query->qclass);
    r->counts[0] = 1;
  }
}

/* The longest end of `name` that the question has too: how many bytes of `name` come before it, and
 * where it stands in the message; the root alone is not worth a pointer. */
static size_t common_end(const km_dns_reply *r, const km_dns_name *name, size_t *ret_where) {
  size_t at = 0;
  for (; name->bytes[at] != 0; at += name->bytes[at] + 1u) {
    km_dns_name end;
    end.len = (uint8_t)(name->len - at);
    memcpy(end.bytes, name->bytes + at, end.len);
    int where = r->query->has_question ? km_dns_name_under(&r->query->name, &end) : -1;
    if (where >= 0) {
      *ret_where = KM_DNS_HEADER + (size_t)where;
      return at;
    }
  }
  *ret_where = 0;
  return at;
}

void km_dns_reply_name(km_dns_reply *r, const km_dns_name *name, bool compress) {
  if (!compress) {
    km_dns_reply_bytes(r, name->bytes, name->len);
    return;
  }
  size_t where;
  size_t before = common_end(r, name, &where);
  km_dns_reply_bytes(r, name->bytes, before);
  if (where != 0) {
    write16(r, POINTER_BITS | (unsigned)where);
  } else {
    km_dns_reply_bytes(r, "", 1);
  }
}

size_t km_dns_reply_record(km_dns_reply *r, km_dns_section section, const km_dns_name *owner,
                           uint16_t type, uint32_t ttl_s) {
  if (owner == NULL) {
    write16(r, POINTER_BITS | KM_DNS_HEADER);
  } else {
    km_dns_reply_name(r, owner, true);
  }
  if (ttl_s > INT32_MAX) {
    ttl_s = 0; /* RFC 2181 section 8 */
  }
  write16(r, type);
  write16(r, KM_DNS_IN);
  write16(r, ttl_s >> 16);
  write16(r, ttl_s & 0xffff);
  write16(r, 0); /* the length, when it is known */
  r->counts[section]++;
  r->least_ttl = ttl_s < r->least_ttl ? ttl_s : r->least_ttl;
  return r->len;
}

void km_dns_reply_record_end(km_dns_reply *r, size_t record) {
  if (!r->full) {
    put16(r->bytes + record - 2, (unsigned)(r->len - record));
  }
}

void km_dns_reply_clear(km_dns_reply *r) {
  r->len = KM_DNS_HEADER + (r->query->has_question ? r->query->name.len + 4u : 0);
  memset(&r->counts[1], 0, 3 * sizeof r->counts[0]);
  r->full = false;
  r->least_ttl = UINT32_MAX;
}

static void write_opt(km_dns_reply *r, km_dns_rcode rcode) {
  uint8_t opt[OPT_LEN] = {[2] = KM_DNS_OPT};
  put16(opt + 3, KM_DNS_UDP_MAX);
  opt[5] = (uint8_t)((unsigned)rcode >> 4);
  opt[7] = r->query->dnssec ? FLAG_DO : 0; /* RFC 3225 section 3: copied */
  km_dns_reply_bytes(r, opt, sizeof opt);
  r->counts[3]++;
}

size_t km_dns_reply_end(km_dns_reply *r, km_dns_rcode rcode, bool authoritative, size_t limit,
                        bool *ret_truncated) {
  size_t opt = r->query->edns ? OPT_LEN : 0;
  bool cut = r->full || r->len + opt > limit;
  if (cut) {
    km_dns_reply_clear(r);
  }
  if (opt != 0) {
    write_opt(r, rcode);
  }
  r->bytes[2] = (uint8_t)(r->bytes[2] | (authoritative ? FLAG_AA : 0) | (cut ? FLAG_TC : 0));
  r->bytes[3] = (uint8_t)(r->bytes[3] | ((unsigned)rcode & 0xf));
  for (size_t i = 0; i < 4; i++) {
    put16(r->bytes + 4 + 2 * i, r->counts[i]);
  }
  *ret_truncated = cut;
  return r->len;
}

size_t km_dns_truncated(uint8_t *ret, const uint8_t *query, size_t len) {
  km_dns_query q;
  km_dns_rcode rcode;
  if (!km_dns_query_read(&q, &rcode, query, len)) {
    return 0;
  }
  km_dns_reply r;
  bool truncated;
  km_dns_reply_begin(&r, ret, KM_DNS_UDP_MIN, &q);
  r.full = true; /* nothing of the answer fits */
  return km_dns_reply_end(&r, rcode, false, KM_DNS_UDP_MIN, &truncated);
}
