#include "discovery/pkarr.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/wire.h"
#include "discovery/dns_message.h"
#include "discovery/txt.h"

#define FLAGS_RESPONSE 0x8000
#define POINTER 0xc000
#define STRING_MAX 255
/* What stands between the owner and the data of a record: type, class, TTL, length. */
#define RECORD_FIXED 10

/* "3:seqi<time>e1:v<length>:" before the message (BEP 44). */
#define SIGNABLE_MAX (40 + KM_PKARR_DNS_MAX)

static size_t signable(const km_pkarr *p, uint8_t ret[SIGNABLE_MAX]) {
  /* Fits: 7 characters, 20 digits, 4 characters, 4 digits, 1 character. */
  int len = snprintf((char *)ret, SIGNABLE_MAX, "3:seqi%" PRIu64 "e1:v%u:", p->timestamp_us,
                     (unsigned)p->dns_len);
  memcpy(ret + len, p->dns, p->dns_len);
  return (size_t)len + p->dns_len;
}

/* Whether it can be read to its end. What records say is not looked at, but TXT must be TXT. */
static bool is_dns(const uint8_t *dns, size_t len) {
  km_dnsmsg m;
  km_dnsmsg_rr rr;
  int rv;
  if (km_dnsmsg_open(&m, dns, len) != 0) {
    return false;
  }
  while ((rv = km_dnsmsg_next(&m, &rr)) > 0) {
    char text[KM_PKARR_DNS_MAX];
    if (rr.type == KM_DNSMSG_TYPE_TXT && rr.section != KM_DNSMSG_QUESTION &&
        km_dnsmsg_txt_join(&rr, text, sizeof text) < 0) {
      return false;
    }
  }
  return rv == 0;
}

int km_pkarr_read(km_pkarr *ret, const km_id *id, const uint8_t *payload, size_t len,
                  km_errinfo *err) {
  uint8_t text[SIGNABLE_MAX];
  if (len < KM_PKARR_HEADER || len > KM_PKARR_PAYLOAD_MAX) {
    return km_fail(err, KM_ERR_BAD_PACKET, "a signed packet has %d to %d bytes, not %zu",
                   KM_PKARR_HEADER, KM_PKARR_PAYLOAD_MAX, len);
  }
  km_rd rd = km_rd_init(payload, len);
  ret->id = *id;
  memcpy(ret->signature, km_rd_bytes(&rd, KM_SIGNATURE_BYTES), KM_SIGNATURE_BYTES);
  ret->timestamp_us = km_rd_be(&rd, 8);
  ret->dns_len = (uint16_t)km_rd_left(&rd);
  memcpy(ret->dns, rd.at, ret->dns_len);
  if (km_id_verify(id, text, signable(ret, text), ret->signature) != 0) {
    return km_fail(err, KM_ERR_BAD_PACKET,
                   "the packet's signature is wrong: it is damaged, forged, or of another key");
  }
  if (!is_dns(ret->dns, ret->dns_len)) {
    return km_fail(err, KM_ERR_BAD_PACKET,
                   "what the packet's key signed is no DNS message; publish it again");
  }
  return 0;
}

size_t km_pkarr_write(const km_pkarr *p, uint8_t ret[KM_PKARR_PAYLOAD_MAX]) {
  km_wr wr = km_wr_init(ret, KM_PKARR_PAYLOAD_MAX);
  km_wr_bytes(&wr, p->signature, sizeof p->signature);
  km_wr_be(&wr, p->timestamp_us, 8);
  km_wr_bytes(&wr, p->dns, p->dns_len);
  return (size_t)(wr.at - ret);
}

/* `ret->dns` is there already. */
static void sign(km_pkarr *ret, const km_secret_key *key, uint64_t timestamp_us) {
  uint8_t text[SIGNABLE_MAX];
  km_secret_key_id(key, &ret->id);
  ret->timestamp_us = timestamp_us;
  km_secret_key_sign(key, text, signable(ret, text), ret->signature);
}

int km_pkarr_sign(km_pkarr *ret, const km_secret_key *key, uint64_t timestamp_us,
                  const uint8_t *dns, size_t len) {
  if (len > KM_PKARR_DNS_MAX) {
    return KM_ERR_LIMIT;
  }
  if (!is_dns(dns, len)) {
    return KM_ERR_INVALID;
  }
  memcpy(ret->dns, dns, len);
  ret->dns_len = (uint16_t)len;
  sign(ret, key, timestamp_us);
  return 0;
}

/* A message that is being built: TXT records of one id. */
typedef struct builder {
  km_wr wr;
  const uint8_t *begin;
  km_dns_name zone; /* <z32>. */
  uint32_t ttl_s;
  uint16_t count;
  uint16_t owner_at; /* of _iroh.<z32>, once it is written */
  size_t reserved;   /* bytes that addresses must leave to what follows them */
} builder;

static size_t left(const builder *b) {
  return (size_t)(b->wr.end - b->wr.at);
}

/* A text, which is never empty, as character-strings. */
static size_t strings_size(size_t len) {
  return len + (len + STRING_MAX - 1) / STRING_MAX;
}

static void write_rest(builder *b, const char *text, size_t len) {
  km_wr_be(&b->wr, KM_DNSMSG_TYPE_TXT, 2);
  km_wr_be(&b->wr, KM_DNSMSG_CLASS_IN, 2);
  km_wr_be(&b->wr, b->ttl_s, 4);
  km_wr_be(&b->wr, strings_size(len), 2);
  while (len > 0) {
    size_t n = len < STRING_MAX ? len : STRING_MAX;
    km_wr_u8(&b->wr, (uint8_t)n);
    km_wr_bytes(&b->wr, text, n);
    text += n;
    len -= n;
  }
  b->count++;
}

static size_t owner_size(const builder *b, const char *label) {
  return 1 + strlen(label) + (b->owner_at != 0 ? 2 : (size_t)b->zone.len);
}

/* `label` and the zone, which is a pointer once it stands behind _iroh. */
static void write_owner(builder *b, const char *label) {
  km_wr_u8(&b->wr, (uint8_t)strlen(label));
  km_wr_bytes(&b->wr, label, strlen(label));
  if (b->owner_at != 0) {
    km_wr_be(&b->wr, POINTER | (b->owner_at + 1 + strlen(KM_TXT_NAME)), 2);
  } else {
    km_wr_bytes(&b->wr, b->zone.bytes, b->zone.len);
  }
}

static bool is_addr(const char *text, size_t len) {
  return len >= 5 && memcmp(text, "addr=", 5) == 0;
}

static int add_attribute(void *ctx, const char *text, size_t len) {
  builder *b = ctx;
  size_t size = RECORD_FIXED + strings_size(len);
  size += b->owner_at != 0 ? 2 : owner_size(b, KM_TXT_NAME);
  bool optional = is_addr(text, len);
  if (size + (optional ? b->reserved : 0) > left(b)) {
    return optional ? 0 : KM_ERR_LIMIT;
  }
  if (b->owner_at != 0) {
    km_wr_be(&b->wr, POINTER | b->owner_at, 2);
  } else {
    uint16_t at = (uint16_t)(b->wr.at - b->begin);
    write_owner(b, KM_TXT_NAME);
    b->owner_at = at;
  }
  write_rest(b, text, len);
  return 0;
}

static bool has_record(const km_peer_info *info) {
  return info->record != NULL && info->record_len > 0;
}

static int add_record(builder *b, const km_peer_info *info) {
  char text[KM_RECORD_ATTRIBUTE_CAP];
  if (!has_record(info)) {
    return 0;
  }
  size_t len = km_record_attribute(text, info->record, info->record_len);
  if (owner_size(b, KM_RECORD_TXT_NAME) + RECORD_FIXED + strings_size(len) > left(b)) {
    return KM_ERR_LIMIT;
  }
  write_owner(b, KM_RECORD_TXT_NAME);
  write_rest(b, text, len);
  return 0;
}

/* What user data and record take behind an address, whose owner they can point to. */
static size_t reserve(const km_peer_info *info) {
  size_t size = 0;
  if (info->user_data != NULL && info->user_data[0] != '\0') {
    size += 2 + RECORD_FIXED + strings_size(strlen("user-data=") + strlen(info->user_data));
  }
  if (has_record(info)) {
    size_t text = strlen(KM_RECORD_ATTRIBUTE) + (info->record_len * 4 + 2) / 3;
    size += 1 + strlen(KM_RECORD_TXT_NAME) + 2 + RECORD_FIXED + strings_size(text);
  }
  return size;
}

static int build(km_pkarr *ret, const km_peer_info *info, bool direct, uint32_t ttl_s) {
  char z32[KM_ID_TEXT_CAP];
  builder b = {.wr = km_wr_init(ret->dns, sizeof ret->dns), .begin = ret->dns, .ttl_s = ttl_s};
  (void)km_id_format(km_addr_id(info->addr), KM_ID_Z32, z32, sizeof z32); /* fits */
  (void)km_dnsmsg_name_from_text(&b.zone, z32);                           /* one short label */
  b.reserved = reserve(info);
  km_wr_be(&b.wr, 0, 2); /* id */
  km_wr_be(&b.wr, FLAGS_RESPONSE, 2);
  km_wr_be(&b.wr, 0, 8); /* counts */
  int rv = km_details_write(info, direct, add_attribute, &b);
  if (rv == 0) {
    rv = add_record(&b, info);
  }
  if (rv != 0) {
    return rv;
  }
  ret->dns_len = (uint16_t)(b.wr.at - ret->dns);
  b.wr = km_wr_init(ret->dns + 6, 2);
  km_wr_be(&b.wr, b.count, 2);
  return 0;
}

int km_pkarr_from_info(km_pkarr *ret, const km_secret_key *key, uint64_t timestamp_us,
                       const km_peer_info *info, bool direct, uint32_t ttl_s, km_errinfo *err) {
  km_id id;
  km_secret_key_id(key, &id);
  if (!km_id_equal(&id, km_addr_id(info->addr))) {
    return km_fail(err, KM_ERR_INVALID,
                   "a packet can only be signed with the key that it is about");
  }
  int rv = KM_ERR_LIMIT;
  if (!has_record(info) || info->record_len <= KM_RECORD_BYTES_MAX) {
    rv = build(ret, info, direct, ttl_s);
  }
  if (rv == KM_ERR_INVALID) {
    return km_fail(err, rv, "user data is at most %d bytes of UTF-8", KM_USER_DATA_MAX);
  }
  if (rv != 0) {
    return km_fail(err, KM_ERR_LIMIT,
                   "relay urls, user data and record do not fit into a packet of %d bytes; "
                   "publish fewer or shorter ones",
                   KM_PKARR_DNS_MAX);
  }
  sign(ret, key, timestamp_us);
  return 0;
}

int km_pkarr_compare(const km_pkarr *a, const km_pkarr *b) {
  if (a->timestamp_us != b->timestamp_us) {
    return a->timestamp_us < b->timestamp_us ? -1 : 1;
  }
  size_t both = a->dns_len < b->dns_len ? a->dns_len : b->dns_len;
  int order = memcmp(a->dns, b->dns, both);
  return order != 0 ? order : (a->dns_len > b->dns_len) - (a->dns_len < b->dns_len);
}

int km_pkarr_details(const km_pkarr *p, km_details *ret) {
  return km_txt_read(ret, p->dns, p->dns_len, "", NULL);
}
