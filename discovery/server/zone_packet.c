#include "discovery/server/zone_packet.h"

#include "base/wire.h"

/* A record where it stands in the packet. */
typedef struct rr {
  km_dns_name owner;
  uint16_t type, rclass;
  uint32_t ttl_s;
  size_t data, data_len;
} rr;

static bool next_rr(rr *ret, const uint8_t *msg, size_t len, size_t *pos) {
  if (!km_dns_name_read(&ret->owner, msg, len, pos) || len - *pos < 10) {
    return false;
  }
  km_rd rd = km_rd_init(msg + *pos, 10);
  ret->type = (uint16_t)km_rd_be(&rd, 2);
  ret->rclass = (uint16_t)km_rd_be(&rd, 2);
  ret->ttl_s = (uint32_t)km_rd_be(&rd, 4);
  ret->data_len = (size_t)km_rd_be(&rd, 2);
  ret->data = *pos + 10;
  *pos += 10;
  if (len - *pos < ret->data_len) {
    return false;
  }
  *pos += ret->data_len;
  return true;
}

/* Data with names in it. They may be compressed in the packet (RFC 1035, and before RFC 3597 others
 * did it too), and a pointer means nothing in another message. */
static const struct layout {
  uint8_t type, fixed, strings, names;
} layouts[] = {
    {3, 0, 0, 1},  /* MD */
    {4, 0, 0, 1},  /* MF */
    {5, 0, 0, 1},  /* CNAME */
    {7, 0, 0, 1},  /* MB */
    {8, 0, 0, 1},  /* MG */
    {9, 0, 0, 1},  /* MR */
    {12, 0, 0, 1}, /* PTR */
    {14, 0, 0, 2}, /* MINFO */
    {15, 2, 0, 1}, /* MX */
    {17, 0, 0, 2}, /* RP */
    {18, 2, 0, 1}, /* AFSDB */
    {21, 2, 0, 1}, /* RT */
    {26, 2, 0, 2}, /* PX */
    {33, 6, 0, 1}, /* SRV */
    {35, 4, 3, 1}, /* NAPTR */
    {36, 2, 0, 1}, /* KX */
    {39, 0, 0, 1}, /* DNAME */
};

static const struct layout *layout_of(uint16_t type) {
  for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
    if (layouts[i].type == type) {
      return &layouts[i];
    }
  }
  return NULL;
}

/* SOA and NS would say who is the authority. SIG and NXT are of the first DNSSEC and have names in
 * them; 128 to 255 and OPT are questions and what goes with them. */
static bool is_served(const rr *x) {
  return x->rclass == KM_DNS_IN && x->type != 0 && x->type != KM_DNS_SOA && x->type != KM_DNS_NS &&
         x->type != KM_DNS_OPT && x->type != 24 && x->type != 30 &&
         (x->type < 128 || x->type > 255);
}

/* Whether `count` strings begin at `*pos`; 0: as many as fill it, and at least one. */
static bool skip_strings(const uint8_t *msg, size_t end, size_t *pos, unsigned count) {
  unsigned seen = 0;
  while (count != 0 ? seen < count : *pos < end) {
    if (*pos >= end || msg[*pos] >= end - *pos) {
      return false;
    }
    *pos += msg[*pos] + 1u;
    seen++;
  }
  return seen > 0;
}

static bool is_plain_valid(const uint8_t *msg, const rr *x) {
  size_t pos = x->data;
  switch (x->type) {
  case KM_DNS_A:
    return x->data_len == 4;
  case KM_DNS_AAAA:
    return x->data_len == 16;
  case KM_DNS_TXT:
    return skip_strings(msg, x->data + x->data_len, &pos, 0);
  default:
    return true;
  }
}

/* What stands before the names, and the names. False: the data is not what its type says. */
static bool split(const struct layout *l, const uint8_t *msg, const rr *x, size_t *ret_before,
                  km_dns_name names[2]) {
  size_t end = x->data + x->data_len, pos = x->data + l->fixed;
  if (l->fixed > x->data_len || (l->strings != 0 && !skip_strings(msg, end, &pos, l->strings))) {
    return false;
  }
  *ret_before = pos - x->data;
  for (unsigned i = 0; i < l->names; i++) {
    if (pos >= end || !km_dns_name_read(&names[i], msg, end, &pos)) {
      return false;
    }
  }
  return pos == end;
}

static bool write_rr(km_dns_reply *reply, const km_dns_name *owner, const uint8_t *msg,
                     const rr *x) {
  const struct layout *l = layout_of(x->type);
  km_dns_name names[2];
  size_t before = x->data_len;
  if (l != NULL ? !split(l, msg, x, &before, names) : !is_plain_valid(msg, x)) {
    return false;
  }
  size_t at = km_dns_reply_record(reply, KM_DNS_ANSWER, owner, x->type, x->ttl_s);
  km_dns_reply_bytes(reply, msg + x->data, before);
  for (unsigned i = 0; l != NULL && i < l->names; i++) {
    km_dns_reply_name(reply, &names[i], false);
  }
  km_dns_reply_record_end(reply, at);
  return true;
}

static void note_target(km_zone_packet_found *ret, const uint8_t *msg, const rr *x) {
  size_t before;
  km_dns_name names[2];
  if (x->type == KM_DNS_CNAME && !ret->has_target &&
      split(layout_of(KM_DNS_CNAME), msg, x, &before, names)) {
    ret->target = names[0];
    ret->target_ttl = x->ttl_s;
    ret->has_target = true;
  }
}

/* Behind header and questions; the number of answers. */
static bool begin(const uint8_t *msg, size_t len, size_t *ret_pos, unsigned *ret_count) {
  if (len < KM_DNS_HEADER) {
    return false;
  }
  *ret_pos = KM_DNS_HEADER;
  for (unsigned i = (unsigned)msg[4] << 8 | msg[5]; i > 0; i--) {
    if (!km_dns_name_skip(msg, len, ret_pos) || len - *ret_pos < 4) {
      return false;
    }
    *ret_pos += 4;
  }
  *ret_count = (unsigned)msg[6] << 8 | msg[7];
  return true;
}

void km_zone_packet_find(km_zone_packet_found *ret, const km_pkarr *packet, const km_dns_name *name,
                         uint16_t type, km_dns_reply *reply, const km_dns_name *owner) {
  const uint8_t *msg = packet->dns;
  size_t len = packet->dns_len, pos;
  unsigned count;
  ret->count = 0;
  ret->exists = ret->has_target = false;
  ret->damaged = !begin(msg, len, &pos, &count);
  for (; !ret->damaged && count > 0; count--) {
    rr x;
    if (!next_rr(&x, msg, len, &pos)) {
      ret->damaged = true;
      return;
    }
    int at = is_served(&x) ? km_dns_name_under(&x.owner, name) : -1;
    ret->exists |= at >= 0;
    if (at != 0) {
      continue;
    }
    if (x.type == type) {
      ret->count += write_rr(reply, owner, msg, &x);
    } else {
      note_target(ret, msg, &x);
    }
  }
}
