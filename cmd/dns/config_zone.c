#include "cmd/dns/config_zone.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "discovery/server/zone.h"

#define DEFAULT_TTL_S 900 /* iroh-dns-server's default_ttl */
#define MAX_TTL_S 604800

static int copy_list(char ***ret, size_t *ret_count, char *const *items, size_t count) {
  *ret = calloc(count, sizeof **ret);
  *ret_count = 0;
  for (size_t i = 0; *ret != NULL && i < count; i++) {
    (*ret)[i] = strdup(items[i]);
    if ((*ret)[i] == NULL) {
      return KM_ERR_NOMEM;
    }
    *ret_count = i + 1;
  }
  return *ret == NULL ? KM_ERR_NOMEM : 0;
}

/* The next word at `*at`, ended in place; NULL: there is none. */
static char *take_word(char **at) {
  char *word = *at + strspn(*at, " \t");
  char *end = word + strcspn(word, " \t");
  if (*word == '\0') {
    return NULL;
  }
  *at = *end == '\0' ? end : end + 1;
  *end = '\0';
  return word;
}

/* "OWNER [TTL] [IN] TYPE VALUE", cut up in place. */
static const char *split_record(char *text, const char *first_origin, km_dns_server_record *ret) {
  char *at = text, *end;
  ret->owner = take_word(&at);
  char *word = take_word(&at);
  ret->ttl_s = DEFAULT_TTL_S;
  if (word != NULL && word[0] >= '0' && word[0] <= '9') {
    unsigned long ttl = strtoul(word, &end, 10);
    if (*end != '\0' || ttl > MAX_TTL_S) {
      return "its TTL has to be from 0 to 604800 seconds";
    }
    ret->ttl_s = (uint32_t)ttl;
    word = take_word(&at);
  }
  if (word != NULL && strcmp(word, "IN") == 0) {
    word = take_word(&at);
  }
  ret->type = word;
  ret->value = at + strspn(at, " \t");
  if (word == NULL || *ret->value == '\0') {
    return "write \"OWNER TTL TYPE VALUE\", as \"ns1.dns.example.org 3600 A 192.0.2.1\"";
  }
  if (strcmp(ret->owner, "@") == 0) {
    ret->owner = first_origin;
  }
  return NULL;
}

static int no_packet(void *ctx, const km_id *id, km_pkarr *ret, int64_t *stored) {
  (void)ctx;
  (void)id;
  (void)ret;
  (void)stored;
  return 0;
}

/* The zone itself says what is wrong with one; here the line is known. */
static int try_zone(config_reader *r) {
  const dns_config *c = dns_config_of(r);
  const km_zone_config config = {.env = c->env,
                                 .origins = c->server.origins,
                                 .origin_count = c->origin_count,
                                 .soa_mname = c->mname,
                                 .soa_rname = c->rname,
                                 .packet = no_packet};
  km_zone *zone = NULL;
  km_errinfo why = {0};
  int rv = km_zone_new(&zone, &config, &why);
  if (rv != 0) {
    return config_bad(r, "origins", "%s", why.text[0] != '\0' ? why.text : km_strerror(rv));
  }
  for (size_t i = 0; rv == 0 && i < c->record_count; i++) {
    const km_dns_server_record *record = &c->records[i];
    rv = km_zone_add(zone, record->owner, record->type, record->value, record->ttl_s, &why);
    if (rv != 0) {
      rv = config_bad(r, "records", "record %zu: %s", i + 1,
                      why.text[0] != '\0' ? why.text : km_strerror(rv));
    }
  }
  if (rv == 0 && km_zone_check(zone, &why) == KM_ERR_INVALID) {
    rv = config_bad(r, "records", "%s", why.text);
  } else if (rv == 0) {
    dns_config_of(r)->zone_advice = why;
  }
  km_zone_free(zone);
  return rv;
}

/* DNS has names with blanks in them; people have not. */
static int check_names(config_reader *r) {
  const dns_config *c = dns_config_of(r);
  for (size_t i = 0; i < c->origin_count; i++) {
    if (strpbrk(c->origins[i], " \t") != NULL) {
      return config_bad(r, "origins", "'%.64s' is not a domain name", c->origins[i]);
    }
  }
  if (c->mname != NULL && strpbrk(c->mname, " \t") != NULL) {
    return config_bad(r, "dns.soa_mname", "this is not a domain name");
  }
  if (c->rname != NULL && strpbrk(c->rname, " \t@") != NULL) {
    return config_bad(r, "dns.soa_rname", "write user@example.org as \"user.example.org\"");
  }
  return 0;
}

static int read_records(config_reader *r) {
  dns_config *c = dns_config_of(r);
  const toml_value *list = NULL;
  int rv = config_list(r, "records", &list);
  if (rv != 0 || list == NULL || list->item_count == 0) {
    return rv;
  }
  c->records = calloc(list->item_count, sizeof *c->records);
  if (c->records == NULL ||
      copy_list(&c->record_texts, &c->record_count, list->items, list->item_count) != 0) {
    return km_fail(r->err, KM_ERR_NOMEM, NULL);
  }
  for (size_t i = 0; i < c->record_count; i++) {
    const char *wrong = split_record(c->record_texts[i], c->origins[0], &c->records[i]);
    if (wrong != NULL) {
      return config_bad_value(r, list, "record %zu: %s", i + 1, wrong);
    }
  }
  return 0;
}

static void point(dns_config *c) {
  c->server.origins = (const char *const *)c->origins;
  c->server.origin_count = c->origin_count;
  c->server.records = c->records;
  c->server.record_count = c->record_count;
}

int config_dev_zone(dns_config *c) {
  char example[] = "irohdns.example.", root[] = ".";
  char *const origins[] = {example, root};
  int rv = c->origins != NULL ? 0 : copy_list(&c->origins, &c->origin_count, origins, 2);
  point(c);
  return rv;
}

int config_read_zone(config_reader *r) {
  dns_config *c = dns_config_of(r);
  const toml_value *list = NULL;
  int rv = config_list(r, "origins", &list);
  if (rv != 0) {
    return rv;
  }
  if (list != NULL && list->item_count > 0) {
    rv = copy_list(&c->origins, &c->origin_count, list->items, list->item_count);
  } else if (list != NULL || !c->dev) {
    return config_bad(r, "origins",
                      "name the domains that this server answers for: [\"dns.example.org\"]");
  } else {
    rv = config_dev_zone(c);
  }
  if (rv != 0) {
    return km_fail(r->err, rv, NULL);
  }
  rv = check_names(r);
  rv = rv != 0 ? rv : read_records(r);
  point(c);
  return rv != 0 ? rv : try_zone(r);
}
