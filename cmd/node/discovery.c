#include "cmd/node/discovery.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/env.h"
#include "cmd/node/record_file_io.h"

#define MAX_TRUSTED CLI_LIST_MAX

static void append(cli_option *table, size_t cap, const cli_option *rows, size_t count) {
  size_t used = 0;
  while (table[used].name != NULL) {
    used++;
  }
  assert(used + count < cap);
  (void)cap;
  memcpy(table + used, rows, count * sizeof rows[0]);
}

static void add_lookup_options(cli_option *table, size_t cap, discovery_options *o) {
  const cli_option rows[] = {
      {"--pkarr", CLI_LIST, &o->pkarr, "URL",
       "PKARR relay to tell and to ask (again for more), or default, staging", 0, 0},
      {"--dns-origin", CLI_LIST, &o->dns_origin, "DOMAIN",
       "ask the DNS under this domain (again for more), or default, staging", 0, 0},
      {"--dns-server", CLI_LIST, &o->dns_server, "IP[:PORT]",
       "name server (again for more; default the system's)", 0, 0},
      {"--mdns", CLI_TEXT, &o->mdns, "MODE",
       "the local network: open (default), signed, trusted or off", 0, 0},
      {"--trust", CLI_LIST, &o->trust, "ID", "whom --mdns trusted believes (again for more)", 0, 0},
      {"--peers", CLI_TEXT, &o->peers, "FILE", "file of tickets, or ids with addresses", 0, 0},
      {"--state", CLI_TEXT, &o->state, "FILE",
       "remember here where peers were reached (default in memory)", 0, 0},
      {"--no-discovery", CLI_FLAG, &o->none, NULL, "ask nobody and tell nobody", 0, 0},
  };
  append(table, cap, rows, sizeof rows / sizeof rows[0]);
}

static void add_publish_options(cli_option *table, size_t cap, discovery_options *o) {
  const cli_option rows[] = {
      {"--user-data", CLI_TEXT, &o->user_data, "TEXT", "publish this text beside the addresses", 0,
       0},
      {"--record", CLI_TEXT, &o->record, "FILE", "publish this key name record too", 0, 0},
      {"--publish-direct", CLI_FLAG, &o->publish_direct, NULL,
       "publish IP addresses to PKARR relays, not only our relays", 0, 0},
      {"--no-publish", CLI_FLAG, &o->no_publish, NULL, "look others up, tell nobody of us", 0, 0},
  };
  append(table, cap, rows, sizeof rows / sizeof rows[0]);
}

void discovery_add_options(cli_option *table, size_t cap, discovery_options *o, bool publishes) {
  add_lookup_options(table, cap, o);
  if (publishes) {
    add_publish_options(table, cap, o);
  }
}

/* --- sources ---------------------------------------------------------------------------------- */

static int parse_mode(const discovery_options *o, km_mdns_mode *ret, bool *ret_off,
                      km_errinfo *err) {
  static const struct {
    const char *word;
    km_mdns_mode mode;
  } modes[] = {{"open", KM_MDNS_OPEN}, {"signed", KM_MDNS_SIGNED}, {"trusted", KM_MDNS_TRUSTED}};
  *ret_off = o->mdns != NULL && strcmp(o->mdns, "off") == 0;
  *ret = KM_MDNS_OPEN;
  if (o->mdns == NULL || *ret_off) {
    return o->trust.count == 0 ? 0
                               : km_fail(err, KM_ERR_INVALID, "--trust goes with --mdns trusted");
  }
  for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
    if (strcmp(o->mdns, modes[i].word) == 0) {
      *ret = modes[i].mode;
      bool fits = (modes[i].mode == KM_MDNS_TRUSTED) == (o->trust.count > 0);
      return fits ? 0 : km_fail(err, KM_ERR_INVALID, "--mdns trusted and --trust ID go together");
    }
  }
  return km_fail(err, KM_ERR_INVALID, "--mdns is open, signed, trusted or off, not '%.40s'",
                 o->mdns);
}

static int add_mdns(km_discovery *d, const discovery_options *o, const discovery_setup *setup,
                    km_errinfo *err) {
  km_id trusted[MAX_TRUSTED];
  km_mdns_options mdns = {.size = sizeof mdns, .trusted = trusted};
  bool off;
  int rv = parse_mode(o, &mdns.mode, &off, err);
  for (size_t i = 0; rv == 0 && i < o->trust.count; i++) {
    rv = km_id_parse(&trusted[i], o->trust.at[i], strlen(o->trust.at[i]), err);
  }
  if (rv != 0 || setup->no_mdns || (off && !setup->lan)) {
    return rv;
  }
  mdns.trusted_count = o->trust.count;
  mdns.no_publish = o->no_publish || setup->no_publish || setup->key == NULL;
  rv = km_discovery_add_mdns(d, &mdns, err);
  if (rv != 0 && o->mdns == NULL && !setup->lan) {
    (void)fprintf(stderr, "warning: nobody is looked for on the local network: %s\n", err->text);
    return 0;
  }
  return rv;
}

/* "default" and "staging" stand for iroh's servers. */
static int expand(const cli_list *given, const char *option, const char *production,
                  const char *staging, km_relay_mode mode, cli_list *ret, km_errinfo *err) {
  *ret = *given;
  if (given->count == 0 && (mode == KM_RELAY_MODE_DEFAULT || mode == KM_RELAY_MODE_STAGING)) {
    ret->at[ret->count++] = mode == KM_RELAY_MODE_DEFAULT ? production : staging;
  }
  for (size_t i = 0; i < ret->count; i++) {
    ret->at[i] = strcmp(ret->at[i], "default") == 0   ? production
                 : strcmp(ret->at[i], "staging") == 0 ? staging
                                                      : ret->at[i];
  }
  return ret->count <= 8
             ? 0
             : km_fail(err, KM_ERR_INVALID, "%s was given too often: 8 are enough", option);
}

static int add_pkarr(km_discovery *d, const discovery_options *o, const discovery_setup *setup,
                     km_errinfo *err) {
  cli_list urls;
  int rv = expand(&o->pkarr, "--pkarr", KM_PKARR_RELAY_IROH, KM_PKARR_RELAY_IROH_STAGING,
                  setup->relay_mode, &urls, err);
  if (rv != 0 || urls.count == 0) {
    return rv;
  }
  const km_pkarr_options options = {.size = sizeof options,
                                    .relays = urls.at,
                                    .relay_count = urls.count,
                                    .no_publish =
                                        o->no_publish || setup->no_publish || setup->key == NULL,
                                    .publish_direct = o->publish_direct};
  return km_discovery_add_pkarr(d, &options, err);
}

static int add_dns(km_discovery *d, const discovery_options *o, const discovery_setup *setup,
                   km_errinfo *err) {
  cli_list origins;
  int rv = expand(&o->dns_origin, "--dns-origin", KM_DNS_ORIGIN_IROH, KM_DNS_ORIGIN_IROH_STAGING,
                  setup->relay_mode, &origins, err);
  if (rv != 0) {
    return rv;
  }
  if (origins.count == 0) {
    return o->dns_server.count == 0
               ? 0
               : km_fail(err, KM_ERR_INVALID, "--dns-server needs a --dns-origin to ask for");
  }
  const km_dns_options options = {.size = sizeof options,
                                  .origins = origins.at,
                                  .origin_count = origins.count,
                                  .servers = o->dns_server.at,
                                  .server_count = o->dns_server.count};
  return km_discovery_add_dns(d, &options, err);
}

/* Nobody would believe one of another key, or an expired one. */
static int check_record(const char *path, const uint8_t *bytes, size_t len,
                        const km_secret_key *key, km_errinfo *err) {
  km_id id;
  km_errinfo why;
  km_record record = {.size = sizeof record};
  if (key == NULL) {
    return km_fail(err, KM_ERR_INVALID,
                   "--record needs the key that signed it: give --key-file PATH");
  }
  km_secret_key_id(key, &id);
  int rv = km_record_read(&record, &id, bytes, len, (int64_t)time(NULL), &why);
  return rv == 0 ? 0 : km_fail(err, KM_ERR_INVALID, "--record %.80s: %s", path, why.text);
}

static int add_extras(km_discovery *d, const discovery_options *o, const discovery_setup *setup,
                      km_errinfo *err) {
  if (o->user_data != NULL && km_discovery_set_user_data(d, o->user_data) != 0) {
    return km_fail(err, KM_ERR_INVALID, "--user-data is at most %d bytes of UTF-8",
                   KM_USER_DATA_MAX);
  }
  if (o->record == NULL) {
    return 0;
  }
  uint8_t record[KM_RECORD_BYTES_MAX];
  int len = record_file_read(o->record, record, err);
  int rv = len < 0 ? len : check_record(o->record, record, (size_t)len, setup->key, err);
  return rv != 0 ? rv : km_discovery_set_record(d, record, (size_t)len);
}

static int add_sources(km_discovery *d, const discovery_options *o, const discovery_setup *setup,
                       km_errinfo *err) {
  int rv = add_mdns(d, o, setup, err);
  if (setup->lan) {
    return rv;
  }
  rv = rv != 0 ? rv : km_discovery_add_cache(d, 0, err);
  rv = rv != 0 || o->peers == NULL ? rv : km_discovery_add_file(d, o->peers, err);
  rv = rv != 0 ? rv : add_pkarr(d, o, setup, err);
  rv = rv != 0 ? rv : add_dns(d, o, setup, err);
  return rv != 0 ? rv : add_extras(d, o, setup, err);
}

int discovery_open(km_discovery **ret, const discovery_options *o, const discovery_setup *setup,
                   km_errinfo *err) {
  *ret = NULL;
  if (o->none && !setup->lan) {
    return 0;
  }
  km_discovery *d;
  const km_discovery_options options = {.size = sizeof options,
                                        .secret_key = setup->key,
                                        .state_file = o->state,
                                        .log = setup->log,
                                        .log_filter = setup->log_filter};
  int rv = km_discovery_new(&d, setup->loop, &options, err);
  if (rv != 0) {
    return rv;
  }
  rv = add_sources(d, o, setup, err);
  if (rv != 0) {
    km_discovery_free(d);
    err->code = rv;
    return rv;
  }
  *ret = d;
  return 0;
}

/* --- what was found --------------------------------------------------------------------------- */

static void add_list(cJSON *event, const char *name, const km_addr *addr, bool direct) {
  cJSON *list = event == NULL ? NULL : cJSON_AddArrayToObject(event, name);
  size_t count = direct ? km_addr_udp_count(addr) : km_addr_relay_count(addr);
  for (size_t i = 0; list != NULL && i < count; i++) {
    char text[KM_UDP_ADDR_TEXT_CAP];
    if (direct) {
      (void)km_udp_addr_format(km_addr_udp_at(addr, i), text, sizeof text);
    }
    (void)cJSON_AddItemToArray(list, cJSON_CreateString(direct ? text : km_addr_relay_at(addr, i)));
  }
}

void discovery_add_record(cJSON *event, const km_record *r) {
  cJSON *o = event == NULL ? NULL : cJSON_AddObjectToObject(event, "record");
  if (o == NULL) {
    return;
  }
  cli_add_text(o, "name", r->name);
  (void)cJSON_AddBoolToObject(o, "provider", r->provider);
  cli_add_number(o, "issued", (double)r->issued_s);
  cli_add_number(o, "expires", (double)r->expires_s);
  cJSON *devices = cJSON_AddArrayToObject(o, "devices");
  for (size_t i = 0; devices != NULL && i < r->device_count; i++) {
    char id[KM_ID_TEXT_CAP];
    cJSON *device = cJSON_CreateObject();
    (void)km_id_format(&r->devices[i].id, KM_ID_HEX, id, sizeof id);
    cli_add_text(device, "id", id);
    cli_add_text(device, "name", r->devices[i].name);
    (void)cJSON_AddItemToArray(devices, device);
  }
  cJSON *services = cJSON_AddArrayToObject(o, "services");
  for (size_t i = 0; services != NULL && i < r->service_count; i++) {
    cJSON *service = cJSON_CreateObject();
    cli_add_text(service, "name", r->services[i].name);
    cli_add_text(service, "address", r->services[i].address);
    (void)cJSON_AddItemToArray(services, service);
  }
}

void discovery_say_record(const cli_output *out, const km_record *r) {
  cli_say(out, "  record    %s%s, for %lld s more", r->name[0] == '\0' ? "(no name)" : r->name,
          r->provider ? ", provider" : "", (long long)(r->expires_s - (int64_t)time(NULL)));
  for (size_t i = 0; i < r->device_count; i++) {
    char id[KM_ID_TEXT_CAP];
    (void)km_id_format(&r->devices[i].id, KM_ID_HEX, id, sizeof id);
    cli_say(out, "  device    %s %s", id, r->devices[i].name);
  }
  for (size_t i = 0; i < r->service_count; i++) {
    cli_say(out, "  service   %s %s", r->services[i].name, r->services[i].address);
  }
}

/* The record that came with an answer, or why it counts for nothing. */
static void print_record(const cli_output *out, cJSON *event, const km_found *found) {
  km_record record = {.size = sizeof record};
  km_errinfo err;
  if (found->record == NULL) {
    return;
  }
  if (km_record_read(&record, km_addr_id(found->addr), found->record, found->record_len,
                     (int64_t)time(NULL), &err) == 0) {
    discovery_add_record(event, &record);
    discovery_say_record(out, &record);
    return;
  }
  cli_add_text(event, "record_refused", err.text);
  cli_say(out, "  record    refused: %s", err.text);
}

static void add_facts(cJSON *event, const km_found *found) {
  cli_add_text(event, "source", found->source);
  add_list(event, "direct", found->addr, true);
  add_list(event, "relays", found->addr, false);
  if (found->user_data != NULL) {
    cli_add_text(event, "user_data", found->user_data);
  }
  if (found->published_ms != 0) {
    cli_add_number(event, "published_ms", (double)found->published_ms);
  }
  cli_add_number(event, "age_s", found->age_s);
  if (found->valid_s != 0) {
    cli_add_number(event, "valid_s", found->valid_s);
  }
  if (event != NULL) {
    (void)cJSON_AddBoolToObject(event, "proven", found->proven);
    (void)cJSON_AddBoolToObject(event, "worked", found->worked);
  }
}

/* What a stranger wrote stays on its line: a line break could pretend to be our words. */
static void say_user_data(const cli_output *out, const char *text) {
  char line[KM_USER_DATA_MAX + 1];
  (void)snprintf(line, sizeof line, "%s", text);
  for (char *p = line; *p != '\0'; p++) {
    *p = *p == '\n' ? '?' : *p;
  }
  cli_say(out, "  user data %s", line);
}

static void say_facts(const cli_output *out, const km_found *found) {
  for (size_t i = 0; i < km_addr_relay_count(found->addr); i++) {
    cli_say(out, "  relay     %s", km_addr_relay_at(found->addr, i));
  }
  for (size_t i = 0; i < km_addr_udp_count(found->addr); i++) {
    char text[KM_UDP_ADDR_TEXT_CAP];
    (void)km_udp_addr_format(km_addr_udp_at(found->addr, i), text, sizeof text);
    cli_say(out, "  direct    %s", text);
  }
  if (found->user_data != NULL) {
    say_user_data(out, found->user_data);
  }
}

void discovery_print_found(const cli_output *out, const char *name, const km_found *found) {
  char id[KM_ID_TEXT_CAP], age[48] = "";
  (void)km_id_format(km_addr_id(found->addr), KM_ID_HEX, id, sizeof id);
  if (found->age_s > 0) {
    (void)snprintf(age, sizeof age, ", %u s old", found->age_s);
  }
  cJSON *event = cli_event(out, name);
  cli_add_text(event, "id", id);
  add_facts(event, found);
  cli_say(out, "%s  by %s%s%s", id, found->source,
          found->worked   ? ", reached there"
          : found->proven ? ", signed"
                          : "",
          age);
  say_facts(out, found);
  print_record(out, event, found);
  cli_emit(event);
}
