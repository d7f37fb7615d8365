#include "store/entry.h"

#include <sodium.h>
#include <string.h>

#include "base/env.h"
#include "base/text.h"

enum { DIGEST_BYTES = 32 };

/* Its closing NUL is part of it. */
static const char domain[] = "KeyMesh entry 1";

/* --- names ------------------------------------------------------------------------------------ */

static bool is_alnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

int km_share_name_check(const char *name, size_t len, km_errinfo *err) {
  if (len == 0 || len > KM_SHARE_NAME_MAX) {
    return km_fail(err, KM_ERR_INVALID, "a share's name has 1 to %d bytes, not %zu",
                   KM_SHARE_NAME_MAX, len);
  }
  if (!is_alnum(name[0])) {
    return km_fail(err, KM_ERR_INVALID, "a share's name begins with a letter or a digit");
  }
  for (size_t i = 0; i < len; i++) {
    if (!is_alnum(name[i]) && name[i] != '.' && name[i] != '_' && name[i] != '-') {
      return km_fail(err, KM_ERR_INVALID, "a share's name has letters, digits and . _ - only");
    }
  }
  return 0;
}

static int check_characters(const char *key, size_t len, km_errinfo *err) {
  for (size_t at = 0; at < len;) {
    if ((uint8_t)key[at] >= 0x20 && (uint8_t)key[at] < 0x7f) {
      at++;
      continue;
    }
    size_t n = km_utf8_sequence(key + at, len - at);
    if (n == 0) {
      return km_fail(err, KM_ERR_INVALID, "the key is not UTF-8 at its byte %zu", at + 1);
    }
    if (km_utf8_is_control(key + at, n)) {
      return km_fail(err, KM_ERR_INVALID, "the key has a control character at its byte %zu",
                     at + 1);
    }
    at += n;
  }
  return 0;
}

static int check_part(const char *part, size_t len, km_errinfo *err) {
  if (len == 0) {
    return km_fail(err, KM_ERR_INVALID,
                   "a key does not begin or end with / and has no two of them side by side");
  }
  if (part[0] == '.' && (len == 1 || (len == 2 && part[1] == '.'))) {
    return km_fail(err, KM_ERR_INVALID, "no part of a key between slashes is . or ..");
  }
  return 0;
}

int km_entry_key_check(const char *key, size_t len, size_t max, km_errinfo *err) {
  if (len == 0 || len > max) {
    return km_fail(err, KM_ERR_INVALID, "a key has 1 to %zu bytes, not %zu", max, len);
  }
  int rv = check_characters(key, len, err);
  for (size_t at = 0; rv == 0 && at <= len;) {
    const char *slash = memchr(key + at, '/', len - at);
    size_t part = slash != NULL ? (size_t)(slash - key) - at : len - at;
    rv = check_part(key + at, part, err);
    at += part + 1;
  }
  return rv;
}

/* --- bytes ------------------------------------------------------------------------------------ */

size_t km_entry_size(const km_entry *e) {
  return 1 + 8 + KM_ID_BYTES + km_varint_len(e->key_len) + e->key_len +
         km_varint_len(e->value_len) + e->value_len + KM_SIGNATURE_BYTES;
}

void km_entry_encode(const km_entry *e, km_wr *wr) {
  km_wr_u8(wr, e->flags);
  km_wr_be(wr, e->clock, 8);
  km_wr_bytes(wr, e->author.bytes, KM_ID_BYTES);
  km_wr_varint(wr, e->key_len);
  km_wr_bytes(wr, e->key, e->key_len);
  km_wr_varint(wr, e->value_len);
  km_wr_bytes(wr, e->value, e->value_len);
  km_wr_bytes(wr, e->sig, KM_SIGNATURE_BYTES);
}

/* A length in its one, shortest form. */
static uint32_t read_length(km_rd *rd) {
  const uint8_t *from = rd->at;
  uint32_t len = (uint32_t)km_rd_varint(rd, 32);
  if (!rd->failed && (size_t)(rd->at - from) != km_varint_len(len)) {
    rd->failed = true;
  }
  return len;
}

static int check_decoded(const km_entry *e, size_t max_key, size_t max_value, km_errinfo *err) {
  if ((e->flags & ~KM_ENTRY_DELETED) != 0) {
    return km_fail(err, KM_ERR_BAD_PACKET, "an entry has unknown flags: %u", (unsigned)e->flags);
  }
  if (e->value_len > max_value) {
    return km_fail(err, KM_ERR_BAD_PACKET, "an entry's value has %u bytes, %zu are allowed",
                   (unsigned)e->value_len, max_value);
  }
  if ((e->flags & KM_ENTRY_DELETED) != 0 && e->value_len > 0) {
    return km_fail(err, KM_ERR_BAD_PACKET, "a deletion has a value");
  }
  if (km_entry_key_check(e->key, e->key_len, max_key, err) != 0) {
    if (err != NULL) {
      err->code = KM_ERR_BAD_PACKET;
    }
    return KM_ERR_BAD_PACKET;
  }
  return 0;
}

int km_entry_decode(km_entry *ret, km_rd *rd, const char *share, size_t share_len, size_t max_key,
                    size_t max_value, km_errinfo *err) {
  km_rd r = *rd;
  km_entry e = {.share = share, .share_len = (uint32_t)share_len};
  e.flags = km_rd_u8(&r);
  e.clock = km_rd_be(&r, 8);
  const uint8_t *author = km_rd_bytes(&r, KM_ID_BYTES);
  e.key_len = read_length(&r);
  e.key = (const char *)km_rd_bytes(&r, e.key_len);
  e.value_len = read_length(&r);
  e.value = km_rd_bytes(&r, e.value_len);
  e.sig = km_rd_bytes(&r, KM_SIGNATURE_BYTES);
  if (r.failed || author == NULL) {
    return km_fail(err, KM_ERR_BAD_PACKET, "an entry is cut short, or a length in it is too long");
  }
  memcpy(e.author.bytes, author, KM_ID_BYTES);
  int rv = check_decoded(&e, max_key, max_value, err);
  if (rv == 0) {
    *rd = r;
    *ret = e;
  }
  return rv;
}

/* --- hash and signature ----------------------------------------------------------------------- */

/* Every field has a fixed length or its length in front. */
static void digest(const km_entry *e, uint8_t ret[DIGEST_BYTES]) {
  uint8_t head[sizeof domain + 1 + KM_SHARE_NAME_MAX + 1 + 8 + KM_ID_BYTES + 2 + 4];
  km_wr wr = km_wr_init(head, sizeof head);
  km_wr_bytes(&wr, domain, sizeof domain);
  km_wr_u8(&wr, (uint8_t)e->share_len);
  km_wr_bytes(&wr, e->share, e->share_len);
  km_wr_u8(&wr, e->flags);
  km_wr_be(&wr, e->clock, 8);
  km_wr_bytes(&wr, e->author.bytes, KM_ID_BYTES);
  km_wr_be(&wr, e->key_len, 2);
  km_wr_be(&wr, e->value_len, 4);
  crypto_generichash_state h;
  (void)crypto_generichash_init(&h, NULL, 0, DIGEST_BYTES); /* these three cannot fail */
  (void)crypto_generichash_update(&h, head, (size_t)(wr.at - head));
  (void)crypto_generichash_update(&h, (const uint8_t *)e->key, e->key_len);
  (void)crypto_generichash_update(&h, e->value, e->value_len);
  (void)crypto_generichash_final(&h, ret, DIGEST_BYTES);
}

void km_entry_hash(const km_entry *e, uint8_t ret[KM_ENTRY_HASH_BYTES]) {
  uint8_t full[DIGEST_BYTES];
  digest(e, full);
  memcpy(ret, full, KM_ENTRY_HASH_BYTES);
}

enum { SIGNED_BYTES = sizeof domain + DIGEST_BYTES };

static void signed_bytes(const km_entry *e, uint8_t ret[SIGNED_BYTES]) {
  memcpy(ret, domain, sizeof domain);
  digest(e, ret + sizeof domain);
}

void km_entry_sign(const km_entry *e, const km_secret_key *key, uint8_t ret[KM_SIGNATURE_BYTES]) {
  uint8_t bytes[SIGNED_BYTES];
  signed_bytes(e, bytes);
  km_secret_key_sign(key, bytes, sizeof bytes, ret);
}

int km_entry_verify(const km_entry *e) {
  uint8_t bytes[SIGNED_BYTES];
  if (e->sig == NULL) {
    return KM_ERR_CRYPTO;
  }
  signed_bytes(e, bytes);
  return km_id_verify(&e->author, bytes, sizeof bytes, e->sig);
}

int km_entry_compare(uint64_t a_clock, const km_id *a_author, const uint8_t *a_hash,
                     uint64_t b_clock, const km_id *b_author, const uint8_t *b_hash) {
  if (a_clock != b_clock) {
    return a_clock < b_clock ? -1 : 1;
  }
  int by_author = memcmp(a_author->bytes, b_author->bytes, KM_ID_BYTES);
  return by_author != 0 ? by_author : memcmp(a_hash, b_hash, KM_ENTRY_HASH_BYTES);
}
