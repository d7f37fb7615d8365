/* Signs and reads packets for run.mjs.
 *
 *   km_pkarr_peer sign SEED TIME TTL ATTRIBUTE...   a payload in hex; "record=" takes hex
 *   km_pkarr_peer read ID PAYLOAD                   what it says, as JSON; status 1: refused
 *   km_pkarr_peer answer ID ORIGIN MESSAGE          the same of a DNS answer */
#include <cjson/cJSON.h>
#include <keymesh/id.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/enc.h"
#include "discovery/pkarr.h"
#include "discovery/txt.h"

static int fail(const char *what, const km_errinfo *err) {
  (void)fprintf(stderr, "%s: %s: %s\n", what, km_error_name(err->code), err->text);
  return 1;
}

static int usage(void) {
  (void)fputs("usage: km_pkarr_peer sign SEED TIME TTL ATTRIBUTE... | read ID PAYLOAD | "
              "answer ID ORIGIN MESSAGE\n",
              stderr);
  return 2;
}

/* --- sign --------------------------------------------------------------------------------------*/

typedef struct said {
  km_details details;
  const char *user_data;
  uint8_t record[KM_RECORD_BYTES_MAX];
  size_t record_len;
} said;

static int add(said *s, const char *text) {
  const char *value = strchr(text, '=');
  if (value == NULL) {
    return -1;
  }
  value++;
  if (strncmp(text, "record=", 7) == 0) {
    s->record_len = strlen(value) / 2;
    return s->record_len <= sizeof s->record &&
                   km_hex_decode(s->record, s->record_len, value, strlen(value))
               ? 0
               : -1;
  }
  if (strncmp(text, "user-data=", 10) == 0) {
    s->user_data = value;
    return 0;
  }
  return km_details_add(&s->details, text, strlen(text));
}

static void print_payload(const km_pkarr *p) {
  uint8_t payload[KM_PKARR_PAYLOAD_MAX];
  char hex[2 * KM_PKARR_PAYLOAD_MAX + 1];
  km_hex_encode(hex, payload, km_pkarr_write(p, payload));
  (void)puts(hex);
}

/* argv: "sign", seed, time, TTL, attributes. */
static int do_sign(const km_secret_key *key, char **argv) {
  static said s;
  km_id id;
  km_pkarr p;
  km_errinfo err = {0};
  km_secret_key_id(key, &id);
  int rv = km_details_init(&s.details, &km_env_system, &id);
  for (char **text = argv + 4; rv == 0 && *text != NULL; text++) {
    rv = add(&s, *text);
  }
  if (rv != 0) {
    (void)fputs("an attribute cannot be read\n", stderr);
    km_details_clear(&s.details);
    return 2;
  }
  km_peer_info info = {.size = sizeof info, .addr = s.details.addr, .user_data = s.user_data};
  info.record = s.record;
  info.record_len = s.record_len;
  rv = km_pkarr_from_info(&p, key, strtoull(argv[2], NULL, 10), &info, true,
                          (uint32_t)strtoul(argv[3], NULL, 10), &err);
  km_details_clear(&s.details);
  if (rv != 0) {
    return fail("sign", &err);
  }
  print_payload(&p);
  return 0;
}

/* --- read --------------------------------------------------------------------------------------*/

/* `p` is NULL for what was not signed. */
static void print_details(const km_pkarr *p, const km_details *d) {
  char text[2 * KM_RECORD_BYTES_MAX + 1];
  cJSON *json = cJSON_CreateObject();
  if (p != NULL) {
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)p->timestamp_us);
    cJSON_AddStringToObject(json, "timestamp", text);
  }
  cJSON_AddNumberToObject(json, "ttl", d->ttl_s);
  cJSON *relays = cJSON_AddArrayToObject(json, "relays");
  for (size_t i = 0; i < km_addr_relay_count(d->addr); i++) {
    cJSON_AddItemToArray(relays, cJSON_CreateString(km_addr_relay_at(d->addr, i)));
  }
  cJSON *addrs = cJSON_AddArrayToObject(json, "addrs");
  for (size_t i = 0; i < km_addr_udp_count(d->addr); i++) {
    (void)km_udp_addr_format(km_addr_udp_at(d->addr, i), text, sizeof text); /* fits */
    cJSON_AddItemToArray(addrs, cJSON_CreateString(text));
  }
  cJSON_AddStringToObject(json, "userData", d->user_data);
  km_hex_encode(text, d->record, d->record_len);
  cJSON_AddStringToObject(json, "record", text);
  char *out = cJSON_PrintUnformatted(json);
  (void)puts(out != NULL ? out : "");
  cJSON_free(out);
  cJSON_Delete(json);
}

/* A packet, or with an origin a DNS answer. */
static int do_read(const char *id_text, const char *origin, const char *hex) {
  static uint8_t bytes[65535];
  size_t len = strlen(hex) / 2;
  km_id id;
  km_pkarr p;
  km_details d;
  km_errinfo err = {0};
  if (len > sizeof bytes || !km_hex_decode(bytes, len, hex, strlen(hex)) ||
      km_id_parse(&id, id_text, strlen(id_text), NULL) != 0) {
    return usage();
  }
  if (origin == NULL && km_pkarr_read(&p, &id, bytes, len, &err) != 0) {
    return fail("read", &err);
  }
  if (km_details_init(&d, &km_env_system, &id) != 0) {
    return 2;
  }
  int rv = origin == NULL ? km_pkarr_details(&p, &d) : km_txt_read(&d, bytes, len, origin, &err);
  if (rv == 0) {
    print_details(origin == NULL ? &p : NULL, &d);
  } else {
    (void)fprintf(stderr, "%s: the message is damaged\n", km_error_name(rv));
  }
  km_details_clear(&d);
  return rv == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
  km_secret_key *key;
  km_errinfo err = {0};
  if (argc == 4 && strcmp(argv[1], "read") == 0) {
    return do_read(argv[2], NULL, argv[3]);
  }
  if (argc == 5 && strcmp(argv[1], "answer") == 0) {
    return do_read(argv[2], argv[3], argv[4]);
  }
  if (argc < 5 || strcmp(argv[1], "sign") != 0) {
    return usage();
  }
  if (km_secret_key_parse(&key, argv[2], strlen(argv[2]), &err) != 0) {
    return fail("key", &err);
  }
  int status = do_sign(key, argv + 1);
  km_secret_key_free(key);
  return status;
}
