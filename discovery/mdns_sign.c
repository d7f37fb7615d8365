#include "discovery/mdns_sign.h"

#include <sodium.h>
#include <string.h>

#include "base/enc.h"
#include "base/wire.h"

#define ANNOUNCEMENT "keymesh mdns announcement 1"
#define QUERY "keymesh mdns query 1"
#define GOODBYE "keymesh mdns goodbye 1"
#define SIGNATURE_LEN KM_BASE32_LEN(KM_SIGNATURE_BYTES)
#define TIME_DIGITS 16
/* Context, id, time, addresses, and at most the attributes. */
#define SIGNED_MAX (64 + KM_ID_BYTES + 8 + KM_ADDR_MAX_DIRECT * 19 + KM_MDNS_TXT_MAX)

static const char key_relay[] = "relay=";
static const char key_user_data[] = "user-data=";
static const char key_time[] = "km-time=";
static const char key_signature[] = "km-sig=";

/* IPv4 before IPv6, then by bytes, then by port. */
static int compare(const km_udp_addr *a, const km_udp_addr *b) {
  if (a->family != b->family) {
    return a->family < b->family ? -1 : 1;
  }
  int order = memcmp(a->ip, b->ip, sizeof a->ip);
  return order != 0 ? order : (int)a->port - (int)b->port;
}

void km_mdns_add_addr(km_mdns_details *d, const km_udp_addr *addr) {
  size_t at = 0;
  while (at < d->addr_count && compare(&d->addrs[at], addr) < 0) {
    at++;
  }
  if (d->addr_count == KM_ADDR_MAX_DIRECT ||
      (at < d->addr_count && compare(&d->addrs[at], addr) == 0)) {
    return;
  }
  memmove(&d->addrs[at + 1], &d->addrs[at], (d->addr_count - at) * sizeof d->addrs[0]);
  d->addrs[at] = *addr;
  d->addrs[at].scope_id = 0;
  d->addr_count++;
}

/* --- attributes --- */

static bool take(km_mdns_text *text, const char *key) {
  size_t len = strlen(key);
  if (text->len < len || memcmp(text->at, key, len) != 0) {
    return false;
  }
  text->at += len;
  text->len -= len;
  return true;
}

static void read_time(km_mdns_details *d, const km_mdns_text *text) {
  uint64_t value = 0;
  if (d->has_time || text->len == 0 || text->len > TIME_DIGITS) {
    return;
  }
  for (size_t i = 0; i < text->len; i++) {
    if (text->at[i] < '0' || text->at[i] > '9') {
      return;
    }
    value = value * 10 + (uint64_t)(text->at[i] - '0');
  }
  d->time_ms = value;
  d->has_time = true;
}

static void read_signature(km_mdns_details *d, const km_mdns_text *text) {
  uint8_t bytes[KM_BASE32_BYTES(SIGNATURE_LEN)];
  if (!d->has_signature && text->len == SIGNATURE_LEN &&
      km_base32_decode(KM_BASE32_RFC4648, bytes, text->at, text->len)) {
    memcpy(d->signature, bytes, sizeof d->signature);
    d->has_signature = true;
  }
}

void km_mdns_read_attributes(km_mdns_details *d, const km_mdns_item *txt) {
  km_mdns_text text;
  size_t at = 0;
  while (km_mdns_read_txt(txt, &at, &text.at, &text.len)) {
    if (take(&text, key_relay)) {
      if (d->relay_count < KM_MDNS_RELAYS_MAX) {
        d->relays[d->relay_count++] = text;
      }
    } else if (take(&text, key_user_data)) {
      d->user_data = d->user_data.at == NULL ? text : d->user_data;
    } else if (take(&text, key_time)) {
      read_time(d, &text);
    } else if (take(&text, key_signature)) {
      read_signature(d, &text);
    }
  }
}

static void write_attribute(km_wr *wr, const char *key, const char *value, size_t len) {
  size_t all = strlen(key) + len;
  if (all > KM_MDNS_ATTRIBUTE_MAX) {
    wr->failed = true;
    return;
  }
  km_wr_u8(wr, (uint8_t)all);
  km_wr_bytes(wr, key, strlen(key));
  km_wr_bytes(wr, value, len);
}

static void write_time(km_wr *wr, uint64_t time_ms) {
  char digits[20];
  size_t at = sizeof digits;
  do {
    digits[--at] = (char)('0' + time_ms % 10);
    time_ms /= 10;
  } while (time_ms != 0);
  write_attribute(wr, key_time, digits + at, sizeof digits - at);
}

size_t km_mdns_write_attributes(const km_mdns_details *d, uint8_t ret[KM_MDNS_TXT_MAX]) {
  km_wr wr = km_wr_init(ret, KM_MDNS_TXT_MAX);
  for (size_t i = 0; i < d->relay_count; i++) {
    write_attribute(&wr, key_relay, d->relays[i].at, d->relays[i].len);
  }
  if (d->user_data.at != NULL) {
    write_attribute(&wr, key_user_data, d->user_data.at, d->user_data.len);
  }
  if (d->has_signature && d->has_time) {
    char text[SIGNATURE_LEN + 1];
    km_base32_encode(KM_BASE32_RFC4648, text, d->signature, sizeof d->signature);
    write_time(&wr, d->time_ms);
    write_attribute(&wr, key_signature, text, SIGNATURE_LEN);
  }
  return wr.failed ? 0 : (size_t)(wr.at - ret);
}

/* --- signatures --- */

static void write_text(km_wr *wr, const km_mdns_text *text) {
  km_wr_be(wr, text->len, 2);
  km_wr_bytes(wr, text->at, text->len);
}

/* `context` with its NUL: none begins with another. */
static size_t signed_presence(const km_mdns_details *d, const char *context, size_t len,
                              uint8_t ret[SIGNED_MAX]) {
  km_wr wr = km_wr_init(ret, SIGNED_MAX);
  km_wr_bytes(&wr, context, len);
  km_wr_bytes(&wr, d->id.bytes, sizeof d->id.bytes);
  km_wr_be(&wr, d->time_ms, 8);
  return wr.failed ? 0 : (size_t)(wr.at - ret);
}

static size_t signed_query(const km_mdns_details *d, uint8_t ret[SIGNED_MAX]) {
  return signed_presence(d, QUERY, sizeof QUERY, ret);
}

static size_t signed_goodbye(const km_mdns_details *d, uint8_t ret[SIGNED_MAX]) {
  return signed_presence(d, GOODBYE, sizeof GOODBYE, ret);
}

/* 0: more than ever is signed. */
static size_t signed_bytes(const km_mdns_details *d, uint8_t ret[SIGNED_MAX]) {
  km_wr wr = km_wr_init(ret, SIGNED_MAX);
  km_wr_bytes(&wr, ANNOUNCEMENT, sizeof ANNOUNCEMENT);
  km_wr_bytes(&wr, d->id.bytes, sizeof d->id.bytes);
  km_wr_be(&wr, d->time_ms, 8);
  km_wr_u8(&wr, (uint8_t)d->addr_count);
  for (size_t i = 0; i < d->addr_count; i++) {
    const km_udp_addr *a = &d->addrs[i];
    km_wr_u8(&wr, a->family);
    km_wr_bytes(&wr, a->ip, a->family == 4 ? 4 : 16);
    km_wr_be(&wr, a->port, 2);
  }
  km_wr_u8(&wr, (uint8_t)d->relay_count);
  for (size_t i = 0; i < d->relay_count; i++) {
    write_text(&wr, &d->relays[i]);
  }
  km_wr_u8(&wr, d->user_data.at != NULL ? 1 : 0);
  if (d->user_data.at != NULL) {
    write_text(&wr, &d->user_data);
  }
  return wr.failed ? 0 : (size_t)(wr.at - ret);
}

static void sign(km_mdns_details *d, const km_secret_key *key, uint64_t time_ms,
                 size_t (*bytes_of)(const km_mdns_details *, uint8_t *)) {
  uint8_t bytes[SIGNED_MAX];
  d->time_ms = time_ms;
  km_secret_key_sign(key, bytes, bytes_of(d, bytes), d->signature);
  d->has_time = d->has_signature = true;
}

static bool verify(const km_mdns_details *d,
                   size_t (*bytes_of)(const km_mdns_details *, uint8_t *)) {
  uint8_t bytes[SIGNED_MAX];
  size_t len = d->has_time && d->has_signature ? bytes_of(d, bytes) : 0;
  return len != 0 && km_id_verify(&d->id, bytes, len, d->signature) == 0;
}

void km_mdns_sign(km_mdns_details *d, const km_secret_key *key, uint64_t time_ms) {
  sign(d, key, time_ms, signed_bytes);
}

bool km_mdns_verify(const km_mdns_details *d) {
  return verify(d, signed_bytes);
}

void km_mdns_sign_goodbye(km_mdns_details *d, const km_secret_key *key, uint64_t time_ms) {
  sign(d, key, time_ms, signed_goodbye);
}

bool km_mdns_verify_goodbye(const km_mdns_details *d) {
  return verify(d, signed_goodbye);
}

void km_mdns_sign_query(km_mdns_details *d, const km_secret_key *key, uint64_t time_ms) {
  sign(d, key, time_ms, signed_query);
}

bool km_mdns_verify_query(const km_mdns_details *d) {
  return verify(d, signed_query);
}

void km_mdns_digest(const km_mdns_details *d, uint8_t ret[KM_MDNS_DIGEST_BYTES]) {
  uint8_t bytes[SIGNED_MAX];
  size_t len = signed_bytes(d, bytes);
  (void)crypto_generichash(ret, KM_MDNS_DIGEST_BYTES, bytes, len, d->signature,
                           sizeof d->signature); /* cannot fail with these lengths */
}

uint64_t km_mdns_time(km_wall wall) {
  return wall.unix_ns < 0 ? 0 : (uint64_t)wall.unix_ns / KM_NS_PER_MS;
}

static bool is_within(uint64_t time_ms, km_wall wall, int64_t skew_ms) {
  uint64_t now = km_mdns_time(wall);
  return (now > time_ms ? now - time_ms : time_ms - now) <= (uint64_t)skew_ms;
}

bool km_mdns_is_fresh(uint64_t time_ms, km_wall wall) {
  return is_within(time_ms, wall, KM_MDNS_SKEW_MS);
}

bool km_mdns_is_recent(uint64_t time_ms, km_wall wall) {
  return is_within(time_ms, wall, KM_MDNS_QUERY_SKEW_MS);
}
