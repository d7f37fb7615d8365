/* The format of key name records: docs/protocol-record.md. */
#include <keymesh/record.h>
#include <string.h>
#include <time.h>

#include "base/env.h"
#include "base/text.h"
#include "base/wire.h"

#define VERSION 1
#define FLAG_PROVIDER 0x01
/* Before the bytes that are signed, with its NUL: the signature is good for nothing else. */
#define CONTEXT "KeyMesh key name record 1"
/* Version, id, issued, life, flags, and three empty lists or names; then the signature. */
#define BODY_MIN (1 + KM_ID_BYTES + 8 + 4 + 1 + 1 + 1 + 1)
#define BYTES_MIN (BODY_MIN + KM_SIGNATURE_BYTES)
/* 9999-12-31T00:00:00Z less a life: years have four digits. */
#define ISSUED_MAX INT64_C(253402128000)
#define CLOCKS_DIFFER_S 300

/* --- texts -------------------------------------------------------------------------------------*/

/* Reads a text of at most `max` bytes into an array of max + 1. */
static bool read_text(km_rd *rd, char *ret, size_t min, size_t max) {
  size_t len = km_rd_u8(rd);
  const char *text = (const char *)km_rd_bytes(rd, len);
  if (text == NULL || len < min || len > max || !km_text_is_clean(text, len)) {
    return false;
  }
  memcpy(ret, text, len);
  ret[len] = '\0';
  return true;
}

static bool write_text(km_wr *wr, const char *text, size_t min, size_t max) {
  const char *end = memchr(text, '\0', max + 1);
  size_t len = end != NULL ? (size_t)(end - text) : 0;
  if (end == NULL || len < min || !km_text_is_clean(text, len)) {
    return false;
  }
  km_wr_u8(wr, (uint8_t)len);
  km_wr_bytes(wr, text, len);
  return true;
}

static bool named_twice(const km_record *r, size_t index) {
  for (size_t i = 0; i < index; i++) {
    if (km_id_equal(&r->devices[i].id, &r->devices[index].id)) {
      return true;
    }
  }
  return false;
}

/* --- writing -----------------------------------------------------------------------------------*/

static int write_head(km_wr *wr, const km_record *r, km_errinfo *err) {
  if (r->issued_s < 0 || r->issued_s > ISSUED_MAX) {
    return km_fail(err, KM_ERR_INVALID, "a record's time of issue is in Unix seconds, up to 9999");
  }
  if (r->expires_s <= r->issued_s || r->expires_s - r->issued_s > KM_RECORD_MAX_LIFE_S) {
    return km_fail(err, KM_ERR_INVALID, "a record expires 1 to %d seconds after it is issued",
                   KM_RECORD_MAX_LIFE_S);
  }
  km_wr_u8(wr, VERSION);
  km_wr_bytes(wr, r->id.bytes, KM_ID_BYTES);
  km_wr_be(wr, (uint64_t)r->issued_s, 8);
  km_wr_be(wr, (uint64_t)(r->expires_s - r->issued_s), 4);
  km_wr_u8(wr, r->provider ? FLAG_PROVIDER : 0);
  if (!write_text(wr, r->name, 0, KM_RECORD_NAME_MAX)) {
    return km_fail(err, KM_ERR_INVALID,
                   "the record's name is no UTF-8 of at most %d bytes without control characters",
                   KM_RECORD_NAME_MAX);
  }
  return 0;
}

static int write_devices(km_wr *wr, const km_record *r, km_errinfo *err) {
  if (r->device_count > KM_RECORD_MAX_DEVICES) {
    return km_fail(err, KM_ERR_INVALID, "a record has at most %d devices", KM_RECORD_MAX_DEVICES);
  }
  km_wr_u8(wr, (uint8_t)r->device_count);
  for (size_t i = 0; i < r->device_count; i++) {
    char id[KM_ID_TEXT_CAP];
    (void)km_id_format(&r->devices[i].id, KM_ID_SHORT, id, sizeof id); /* fits */
    if (named_twice(r, i)) {
      return km_fail(err, KM_ERR_INVALID, "the record has device %s twice", id);
    }
    km_wr_bytes(wr, r->devices[i].id.bytes, KM_ID_BYTES);
    if (!write_text(wr, r->devices[i].name, 0, KM_RECORD_NAME_MAX)) {
      return km_fail(err, KM_ERR_INVALID,
                     "the name of device %s is no UTF-8 of at most %d bytes without control "
                     "characters",
                     id, KM_RECORD_NAME_MAX);
    }
  }
  return 0;
}

static int write_services(km_wr *wr, const km_record *r, km_errinfo *err) {
  if (r->service_count > KM_RECORD_MAX_SERVICES) {
    return km_fail(err, KM_ERR_INVALID, "a record has at most %d services", KM_RECORD_MAX_SERVICES);
  }
  km_wr_u8(wr, (uint8_t)r->service_count);
  for (size_t i = 0; i < r->service_count; i++) {
    const km_record_service *s = &r->services[i];
    if (!write_text(wr, s->name, 1, KM_RECORD_NAME_MAX) ||
        !write_text(wr, s->address, 1, KM_RECORD_ADDRESS_MAX)) {
      return km_fail(err, KM_ERR_INVALID,
                     "service %zu needs a name of 1 to %d and an address of 1 to %d bytes, UTF-8 "
                     "without control characters",
                     i + 1, KM_RECORD_NAME_MAX, KM_RECORD_ADDRESS_MAX);
    }
  }
  return 0;
}

static void sign_text(km_wr *wr, const uint8_t *body, size_t len) {
  km_wr_bytes(wr, CONTEXT, sizeof CONTEXT);
  km_wr_bytes(wr, body, len);
}

int km_record_sign(const km_record *record, const km_secret_key *key, uint8_t *ret,
                   km_errinfo *err) {
  uint8_t body[KM_RECORD_BYTES_MAX - KM_SIGNATURE_BYTES];
  uint8_t text[sizeof CONTEXT + sizeof body];
  if (record->size < sizeof record->size) {
    return km_fail(err, KM_ERR_INVALID, "the record's size is not set");
  }
  km_record r = {0};
  memcpy(&r, record, record->size < sizeof r ? record->size : sizeof r);
  km_secret_key_id(key, &r.id);
  km_wr wr = km_wr_init(body, sizeof body);
  int rv = write_head(&wr, &r, err);
  rv = rv == 0 ? write_devices(&wr, &r, err) : rv;
  rv = rv == 0 ? write_services(&wr, &r, err) : rv;
  if (rv != 0) {
    return rv;
  }
  if (wr.failed) {
    return km_fail(err, KM_ERR_LIMIT,
                   "a signed record has at most %d bytes; use fewer or shorter names",
                   KM_RECORD_BYTES_MAX);
  }
  size_t len = (size_t)(wr.at - body);
  km_wr signed_text = km_wr_init(text, sizeof text);
  sign_text(&signed_text, body, len);
  memcpy(ret, body, len);
  km_secret_key_sign(key, text, (size_t)(signed_text.at - text), ret + len);
  return (int)(len + KM_SIGNATURE_BYTES);
}

/* --- reading -----------------------------------------------------------------------------------*/

static int check_outside(const km_id *id, const uint8_t *bytes, size_t len, km_errinfo *err) {
  uint8_t text[sizeof CONTEXT + KM_RECORD_BYTES_MAX];
  km_id theirs;
  if (len < BYTES_MIN || len > KM_RECORD_BYTES_MAX) {
    return km_fail(err, KM_ERR_BAD_RECORD, "a key name record has %d to %d bytes, not %zu",
                   BYTES_MIN, KM_RECORD_BYTES_MAX, len);
  }
  if (bytes[0] != VERSION) {
    return km_fail(err, KM_ERR_BAD_RECORD,
                   "the key name record is of format %u, this program reads format %d", bytes[0],
                   VERSION);
  }
  memcpy(theirs.bytes, bytes + 1, KM_ID_BYTES);
  if (!km_id_equal(&theirs, id)) {
    char found[KM_ID_TEXT_CAP], wanted[KM_ID_TEXT_CAP];
    (void)km_id_format(&theirs, KM_ID_SHORT, found, sizeof found); /* fits */
    (void)km_id_format(id, KM_ID_SHORT, wanted, sizeof wanted);    /* fits */
    return km_fail(err, KM_ERR_BAD_RECORD, "the key name record is of %s, not of %s", found,
                   wanted);
  }
  km_wr wr = km_wr_init(text, sizeof text);
  size_t body_len = len - KM_SIGNATURE_BYTES;
  sign_text(&wr, bytes, body_len);
  if (km_id_verify(id, text, (size_t)(wr.at - text), bytes + body_len) != 0) {
    return km_fail(err, KM_ERR_BAD_RECORD,
                   "the key name record's signature is wrong: it is damaged or forged");
  }
  return 0;
}

static bool read_head(km_record *ret, km_rd *rd) {
  (void)km_rd_bytes(rd, 1 + KM_ID_BYTES); /* looked at before */
  uint64_t issued_s = km_rd_be(rd, 8);
  uint64_t life_s = km_rd_be(rd, 4);
  uint8_t flags = km_rd_u8(rd);
  if (issued_s > ISSUED_MAX || life_s == 0 || life_s > KM_RECORD_MAX_LIFE_S ||
      (flags & ~FLAG_PROVIDER) != 0) {
    return false;
  }
  ret->issued_s = (int64_t)issued_s;
  ret->expires_s = (int64_t)(issued_s + life_s);
  ret->provider = (flags & FLAG_PROVIDER) != 0;
  return read_text(rd, ret->name, 0, KM_RECORD_NAME_MAX);
}

static bool read_devices(km_record *ret, km_rd *rd) {
  ret->device_count = km_rd_u8(rd);
  if (ret->device_count > KM_RECORD_MAX_DEVICES) {
    return false;
  }
  for (size_t i = 0; i < ret->device_count; i++) {
    const uint8_t *id = km_rd_bytes(rd, KM_ID_BYTES);
    if (id == NULL) {
      return false;
    }
    memcpy(ret->devices[i].id.bytes, id, KM_ID_BYTES);
    if (named_twice(ret, i) || !read_text(rd, ret->devices[i].name, 0, KM_RECORD_NAME_MAX)) {
      return false;
    }
  }
  return true;
}

static bool read_services(km_record *ret, km_rd *rd) {
  ret->service_count = km_rd_u8(rd);
  if (ret->service_count > KM_RECORD_MAX_SERVICES) {
    return false;
  }
  for (size_t i = 0; i < ret->service_count; i++) {
    if (!read_text(rd, ret->services[i].name, 1, KM_RECORD_NAME_MAX) ||
        !read_text(rd, ret->services[i].address, 1, KM_RECORD_ADDRESS_MAX)) {
      return false;
    }
  }
  return true;
}

/* Fits: years have four digits. */
static void format_time(char ret[32], int64_t unix_s) {
  time_t t = (time_t)unix_s;
  struct tm tm;
  ret[0] = '\0';
  if (gmtime_r(&t, &tm) != NULL) {
    (void)strftime(ret, 32, "%Y-%m-%d %H:%M:%S UTC", &tm);
  }
}

static int check_time(const km_record *r, int64_t now_s, km_errinfo *err) {
  char when[32];
  if (now_s == 0) {
    return 0;
  }
  if (now_s >= r->expires_s) {
    format_time(when, r->expires_s);
    return km_fail(err, KM_ERR_RECORD_EXPIRED,
                   "the key name record is expired since %s; its owner has to publish it again",
                   when);
  }
  if (r->issued_s > CLOCKS_DIFFER_S && now_s < r->issued_s - CLOCKS_DIFFER_S) {
    format_time(when, r->issued_s);
    return km_fail(err, KM_ERR_RECORD_EXPIRED,
                   "the key name record is issued in the future, at %s; compare the clocks here "
                   "and there",
                   when);
  }
  return 0;
}

int km_record_read(km_record *ret, const km_id *id, const uint8_t *bytes, size_t len, int64_t now_s,
                   km_errinfo *err) {
  if (ret->size < sizeof ret->size) {
    return km_fail(err, KM_ERR_INVALID, "the record's size is not set");
  }
  int rv = check_outside(id, bytes, len, err);
  if (rv != 0) {
    return rv;
  }
  km_record r = {.size = ret->size, .id = *id};
  km_rd rd = km_rd_init(bytes, len - KM_SIGNATURE_BYTES);
  if (!read_head(&r, &rd) || !read_devices(&r, &rd) || !read_services(&r, &rd) || rd.failed ||
      km_rd_left(&rd) != 0) {
    return km_fail(err, KM_ERR_BAD_RECORD,
                   "the key name record is signed, but does not keep to the format");
  }
  rv = check_time(&r, now_s, err);
  if (rv != 0) {
    return rv;
  }
  memcpy(ret, &r, ret->size < sizeof r ? ret->size : sizeof r);
  return 0;
}
