#include "discovery/details.h"

#include <keymesh/record.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/addr_impl.h"
#include "base/text.h"

/* The attributes of iroh-dns/src/attrs.rs, and ours. */
#define RELAY "relay="
#define ADDR "addr="
#define USER_DATA "user-data="

int km_details_init(km_details *d, const km_env *env, const km_id *id) {
  memset(d, 0, sizeof *d);
  return km_addr_new_in(&d->addr, env, id);
}

void km_details_clear(km_details *d) {
  km_addr_free(d->addr);
  d->addr = NULL;
}

bool km_user_data_valid(const char *text, size_t len) {
  return len <= KM_USER_DATA_MAX && km_text_is_utf8(text, len);
}

/* `value` of an attribute that begins with `key`, else NULL. */
static const char *value_of(const char *key, const char *text, size_t len, size_t *ret_len) {
  size_t n = strlen(key);
  if (len < n || memcmp(text, key, n) != 0) {
    return NULL;
  }
  *ret_len = len - n;
  return text + n;
}

static int add_relay(km_details *d, const char *url, size_t len) {
  int rv = km_addr_add_relay(d->addr, url, len, NULL);
  if (rv == 0) {
    d->any = true;
  }
  return rv == KM_ERR_NOMEM ? rv : 0;
}

static void add_addr(km_details *d, const char *text, size_t len) {
  km_udp_addr addr;
  if (km_udp_addr_parse(&addr, text, len, NULL) == 0 && km_addr_add_udp(d->addr, &addr) == 0) {
    d->any = true;
  }
}

/* The first that can be read counts. */
static void add_user_data(km_details *d, const char *text, size_t len) {
  if (!km_user_data_valid(text, len)) {
    return;
  }
  d->any = true;
  if (d->user_data[0] == '\0') {
    memcpy(d->user_data, text, len);
    d->user_data[len] = '\0';
  }
}

/* Of several records the newest that the key signed; where none is, the first: whoever asked for it
 * can say what is wrong with it. */
static bool is_better(km_details *d, const uint8_t *record, size_t len) {
  km_record r = {.size = sizeof r};
  bool is_signed = d->records_read < KM_DETAILS_MAX_RECORDS &&
                   km_record_read(&r, km_addr_id(d->addr), record, len, 0, NULL) == 0;
  d->records_read++;
  if (!is_signed) {
    return d->record_len == 0;
  }
  bool better = !d->record_signed || r.issued_s > d->record_issued_s;
  d->record_signed = true;
  d->record_issued_s = better ? r.issued_s : d->record_issued_s;
  return better;
}

static void add_record(km_details *d, const char *text, size_t len) {
  uint8_t record[KM_RECORD_BYTES_MAX];
  size_t n;
  if (len == 0 || sodium_base642bin(record, sizeof record, text, len, NULL, &n, NULL,
                                    sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0) {
    return;
  }
  d->any = true;
  if (is_better(d, record, n)) {
    d->record_len = n;
    memcpy(d->record, record, n);
  }
}

int km_details_add(km_details *d, const char *text, size_t len) {
  size_t n;
  const char *value = value_of(RELAY, text, len, &n);
  if (value != NULL) {
    return add_relay(d, value, n);
  }
  if ((value = value_of(ADDR, text, len, &n)) != NULL) {
    add_addr(d, value, n);
  } else if ((value = value_of(USER_DATA, text, len, &n)) != NULL) {
    add_user_data(d, value, n);
  } else if ((value = value_of(KM_RECORD_ATTRIBUTE, text, len, &n)) != NULL) {
    add_record(d, value, n);
  }
  return 0;
}

static int write_one(const char *key, const char *value, km_details_fn fn, void *ctx) {
  char text[sizeof USER_DATA + KM_RELAY_URL_MAX];
  int len = snprintf(text, sizeof text, "%s%s", key, value);
  return (size_t)len < sizeof text ? fn(ctx, text, (size_t)len) : KM_ERR_LIMIT;
}

int km_details_write(const km_peer_info *info, bool direct, km_details_fn fn, void *ctx) {
  int rv = 0;
  if (info->user_data != NULL && !km_user_data_valid(info->user_data, strlen(info->user_data))) {
    return KM_ERR_INVALID;
  }
  size_t relays = km_addr_relay_count(info->addr);
  for (size_t i = 0; i < relays && rv == 0; i++) {
    rv = write_one(RELAY, km_addr_relay_at(info->addr, i), fn, ctx);
  }
  size_t addrs = direct ? km_addr_udp_count(info->addr) : 0;
  for (size_t i = 0; i < addrs && rv == 0; i++) {
    char text[KM_UDP_ADDR_TEXT_CAP];
    (void)km_udp_addr_format(km_addr_udp_at(info->addr, i), text, sizeof text); /* fits */
    rv = write_one(ADDR, text, fn, ctx);
  }
  if (info->user_data != NULL && info->user_data[0] != '\0' && rv == 0) {
    rv = write_one(USER_DATA, info->user_data, fn, ctx);
  }
  return rv;
}

size_t km_record_attribute(char ret[KM_RECORD_ATTRIBUTE_CAP], const uint8_t *record, size_t len) {
  size_t key_len = strlen(KM_RECORD_ATTRIBUTE);
  memcpy(ret, KM_RECORD_ATTRIBUTE, key_len);
  (void)sodium_bin2base64(ret + key_len, KM_RECORD_ATTRIBUTE_CAP - key_len, record, len,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING);
  return key_len + strlen(ret + key_len);
}

void km_details_found(const km_details *d, km_found *ret) {
  *ret = (km_found){
      .size = sizeof *ret,
      .addr = d->addr,
      .user_data = d->user_data[0] != '\0' ? d->user_data : NULL,
      .record = d->record_len != 0 ? d->record : NULL,
      .record_len = d->record_len,
      .valid_s = d->ttl_s,
  };
}
