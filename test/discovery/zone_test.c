/* What a zone answers, as c-ares reads it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "discovery/server/dns_reply.h"
#include "discovery/server/zone.h"
#include "server_lab.h"

#define SOA "SOA ns.dns.test hostmaster.dns.test 1 3600 600 604800 60"

typedef struct lab {
  lab_key key, other;
  km_pkarr packets[2];
  size_t packet_count, asked;
  bool unreadable;
  km_zone *zone;
  uint8_t answer[KM_ZONE_ANSWER_MAX];
  size_t answer_len;
  uint32_t ttl;
  char text[LAB_TEXT_CAP];
} lab;

static int find_packet(void *ctx, const km_id *id, km_pkarr *ret, int64_t *stored) {
  lab *l = ctx;
  (void)stored;
  l->asked++;
  if (l->unreadable) {
    return KM_ERR_STORE;
  }
  for (size_t i = 0; i < l->packet_count; i++) {
    if (km_id_equal(&l->packets[i].id, id)) {
      *ret = l->packets[i];
      return 1;
    }
  }
  return 0;
}

static const char records[] = "_iroh.@ TXT 30 relay=https://relay.test/\n"
                              "_iroh.@ TXT 30 addr=192.0.2.1:4433\n"
                              "_iroh.@ TXT 20 user-data=x\n"
                              "a.@ A 60 192.0.2.7\n"
                              "a.@ AAAA 60 2001:db8::7\n"
                              "www.@ CNAME 50 a.@\n"
                              "www2.@ CNAME 50 www.@\n"
                              "out.@ CNAME 50 elsewhere.test\n"
                              "loop.@ CNAME 50 loop2.@\n"
                              "loop2.@ CNAME 50 loop.@\n"
                              "self.@ CNAME 50 self.@\n"
                              "gone.@ CNAME 50 nothing.@\n"
                              "deep.er.name.@ A 60 192.0.2.8\n";

static const char more_records[] = "web.@ HTTPS 70 1 a.@\n"
                                   "m.@ MX 70 10 mail.test\n"
                                   "_x._udp.@ SRV 70 1 2 3 a.@\n"
                                   "@ NS 70 evil.test\n"
                                   "@ SOA 70 evil.test evil.test\n"
                                   "@ TXT 40 apex\n"
                                   "elsewhere.test A 60 192.0.2.66\n";

static const char *const origins[] = {"dns.test", "sub.dns.test.", "."};

static void make_zone(lab *l, size_t origin_count) {
  km_zone_config config = {.env = &km_env_system,
                           .origins = origins,
                           .origin_count = origin_count,
                           .negative_ttl_s = 60,
                           .packet = find_packet,
                           .ctx = l};
  km_errinfo err = {0};
  assert_int_equal(km_zone_new(&l->zone, &config, &err), 0);
}

static int set_up_with(void **state, size_t origin_count) {
  lab *l = calloc(1, sizeof *l);
  assert_non_null(l);
  lab_key_init(&l->key, 1);
  lab_key_init(&l->other, 2);
  lab_packet(&l->packets[0], &l->key, 1000, records);
  lab_packet(&l->packets[1], &l->other, 1000, "a.@ A 60 192.0.2.99\n");
  l->packet_count = 2;
  make_zone(l, origin_count);
  *state = l;
  return 0;
}

static int set_up(void **state) {
  return set_up_with(state, 1);
}

static int set_up_all(void **state) {
  return set_up_with(state, 3);
}

static int tear_down(void **state) {
  lab *l = *state;
  km_zone_free(l->zone);
  lab_key_clear(&l->key);
  lab_key_clear(&l->other);
  free(l);
  return 0;
}

static void with_key(char ret[512], const char *name, const char *z32) {
  const char *at = strchr(name, '@');
  (void)snprintf(ret, 512, "%.*s%s%s", at != NULL ? (int)(at - name) : (int)strlen(name), name,
                 at != NULL ? z32 : "", at != NULL ? at + 1 : "");
}

static size_t make_query(const lab *l, uint8_t *ret, const char *name, const char *type,
                         uint16_t edns) {
  char full[512];
  with_key(full, name, l->key.z32);
  return lab_query(ret, full, lab_type(type), edns);
}

static const char *send_query(lab *l, const uint8_t *query, size_t len, km_zone_transport how) {
  /* In memory of its own length, so that sanitizers see what is read behind it. */
  uint8_t *own = malloc(len > 0 ? len : 1);
  assert_non_null(own);
  memcpy(own, query, len);
  l->answer_len = km_zone_answer(l->zone, own, len, how, l->answer, &l->ttl);
  free(own);
  l->text[0] = '\0';
  if (l->answer_len > 0) {
    lab_render(l->text, l->answer, l->answer_len, &l->key);
  }
  return l->text;
}

static const char *ask(lab *l, const char *name, const char *type) {
  uint8_t query[1024];
  return send_query(l, query, make_query(l, query, name, type, 0), KM_ZONE_TCP);
}

#define ASK(name, type, want) assert_string_equal(ask(l, name, type), want)

static void test_records_of_a_packet(void **state) {
  lab *l = *state;
  ASK("_iroh.@.dns.test", "TXT",
      "NOERROR aa rd | _iroh.@.dns.test. 30 TXT relay=https://relay.test/"
      " | _iroh.@.dns.test. 30 TXT addr=192.0.2.1:4433"
      " | _iroh.@.dns.test. 20 TXT user-data=x");
  assert_int_equal(l->ttl, 20);
  ASK("a.@.dns.test", "A", "NOERROR aa rd | a.@.dns.test. 60 A 192.0.2.7");
  ASK("a.@.dns.test", "AAAA", "NOERROR aa rd | a.@.dns.test. 60 AAAA 2001:db8::7");
}

static void test_other_types(void **state) {
  lab *l = *state;
  lab_packet(&l->packets[0], &l->key, 1000, more_records);
  ASK("web.@.dns.test", "HTTPS", "NOERROR aa rd | web.@.dns.test. 70 HTTPS 1 a.@");
  ASK("m.@.dns.test", "MX", "NOERROR aa rd | m.@.dns.test. 70 MX 10 mail.test");
  ASK("_x._udp.@.dns.test", "SRV", "NOERROR aa rd | _x._udp.@.dns.test. 70 SRV 1 2 3 a.@");
  ASK("@.dns.test", "TXT", "NOERROR aa rd | @.dns.test. 40 TXT apex");
  /* Who is the authority is not the packet's to say. */
  ASK("@.dns.test", "NS", "NOERROR aa rd | auth dns.test. 60 " SOA);
  ASK("@.dns.test", "SOA", "NOERROR aa rd | auth dns.test. 60 " SOA);
  /* What is not below the key is not served. */
  ASK("elsewhere.test.@.dns.test", "A", "NXDOMAIN aa rd | auth dns.test. 60 " SOA);
}

static void test_negative_answers(void **state) {
  lab *l = *state;
  ASK("nothing.@.dns.test", "TXT", "NXDOMAIN aa rd | auth dns.test. 60 " SOA);
  assert_int_equal(l->ttl, 60);
  ASK("_iroh.@.dns.test", "A", "NOERROR aa rd | auth dns.test. 60 " SOA);
  /* A name that only has names below it is there. */
  ASK("name.@.dns.test", "A", "NOERROR aa rd | auth dns.test. 60 " SOA);
  ASK("er.name.@.dns.test", "A", "NOERROR aa rd | auth dns.test. 60 " SOA);
  ASK("x.er.name.@.dns.test", "A", "NXDOMAIN aa rd | auth dns.test. 60 " SOA);
  ASK("@.dns.test", "TXT", "NOERROR aa rd | auth dns.test. 60 " SOA);
  /* The key itself is there as soon as it has a packet. */
  km_pkarr whole = l->packets[0];
  lab_packet(&l->packets[0], &l->key, 1000, "elsewhere.test A 60 192.0.2.66\n");
  ASK("@.dns.test", "A", "NOERROR aa rd | auth dns.test. 60 " SOA);
  l->packets[0] = whole;
  l->packet_count = 0;
  ASK("_iroh.@.dns.test", "TXT", "NXDOMAIN aa rd | auth dns.test. 60 " SOA);
  km_zone_stats stats;
  km_zone_get_stats(l->zone, &stats);
  assert_int_equal(stats.nxdomain, 3);
  assert_int_equal(stats.nodata, 5);
  assert_int_equal(stats.queries, 8);
}

static void test_cnames(void **state) {
  lab *l = *state;
  ASK("www2.@.dns.test", "A",
      "NOERROR aa rd | www2.@.dns.test. 50 CNAME www.@.dns.test"
      " | www.@.dns.test. 50 CNAME a.@.dns.test | a.@.dns.test. 60 A 192.0.2.7");
  assert_int_equal(l->asked, 1); /* one look at the store */
  ASK("www.@.dns.test", "CNAME", "NOERROR aa rd | www.@.dns.test. 50 CNAME a.@");
  ASK("www.@.dns.test", "TXT",
      "NOERROR aa rd | www.@.dns.test. 50 CNAME a.@.dns.test | auth dns.test. 60 " SOA);
  ASK("out.@.dns.test", "A", "NOERROR aa rd | out.@.dns.test. 50 CNAME elsewhere.test");
  ASK("gone.@.dns.test", "A",
      "NXDOMAIN aa rd | gone.@.dns.test. 50 CNAME nothing.@.dns.test | auth dns.test. 60 " SOA);
  ASK("self.@.dns.test", "A", "NOERROR aa rd | self.@.dns.test. 50 CNAME self.@.dns.test");
  ask(l, "loop.@.dns.test", "A");
  size_t links = 0;
  for (const char *at = l->text; (at = strstr(at, " CNAME ")) != NULL; at++) {
    links++;
  }
  assert_true(strncmp(l->text, "NOERROR", 7) == 0 && links == 2);
}

static void test_case(void **state) {
  lab *l = *state;
  char name[512];
  with_key(name, "_IrOh.@.DnS.TesT", l->key.z32);
  size_t name_len = strlen(name);
  for (size_t i = 0; i < name_len; i += 2) {
    name[i] = (char)(name[i] >= 'a' && name[i] <= 'z' ? name[i] - 32 : name[i]);
  }
  uint8_t query[512];
  size_t len = lab_query(query, name, lab_type("TXT"), 0);
  const char *text = send_query(l, query, len, KM_ZONE_UDP);
  assert_non_null(strstr(text, "relay=https://relay.test/"));
  /* Bit by bit as it was asked (draft 0x20), and owners are pointers to it. */
  assert_memory_equal(l->answer + 12, query + 12, len - 12);
  assert_int_equal(l->answer[len], 0xc0);
  assert_int_equal(l->answer[len + 1], 12);
}

static void test_any(void **state) {
  lab *l = *state;
  ASK("_iroh.@.dns.test", "ANY", "NOERROR aa rd | _iroh.@.dns.test. 3600 HINFO RFC8482 ");
  ASK("nothing.@.dns.test", "ANY", "NXDOMAIN aa rd | auth dns.test. 60 " SOA);
}

static void test_the_apex(void **state) {
  lab *l = *state;
  ASK("dns.test", "SOA", "NOERROR aa rd | dns.test. 3600 " SOA);
  ASK("dns.test", "NS", "NOERROR aa rd | dns.test. 3600 NS ns.dns.test");
  ASK("dns.test", "A", "NOERROR aa rd | auth dns.test. 60 " SOA);
  ASK("x.dns.test", "A", "NXDOMAIN aa rd | auth dns.test. 60 " SOA);
  ASK("elsewhere.test", "A", "REFUSED rd");
  ASK("test", "A", "REFUSED rd");
  ASK("xdns.test", "A", "REFUSED rd");
  ASK(".", "NS", "REFUSED rd");
}

static void add(lab *l, const char *owner, const char *type, const char *value) {
  km_errinfo err = {0};
  if (km_zone_add(l->zone, owner, type, value, 300, &err) != 0) {
    fail_msg("%s %s: %s", owner, type, err.text);
  }
}

static void test_static_records(void **state) {
  lab *l = *state;
  add(l, "ns.dns.test", "A", "192.0.2.53");
  add(l, "ns.dns.test.", "A", "192.0.2.54");
  add(l, "NS.dns.test", "aaaa", "2001:db8::53");
  add(l, "ns.dns.test", "A", "192.0.2.53"); /* again */
  add(l, "dns.test", "NS", "other.test.");
  add(l, "dns.test", "MX", "10 mail.dns.test");
  add(l, "dns.test", "CAA", "0 issue \"letsencrypt.org\"");
  add(l, "t.dns.test", "TXT", "\"one two\" three \"a\\\"b\\065\"");
  add(l, "_a._tcp.dns.test", "SRV", "1 2 443 host.dns.test");
  add(l, "alias.dns.test", "CNAME", "ns.dns.test");
  ASK("ns.dns.test", "A",
      "NOERROR aa rd | ns.dns.test. 300 A 192.0.2.54 | ns.dns.test. 300 A 192.0.2.53");
  ASK("ns.dns.test", "AAAA", "NOERROR aa rd | ns.dns.test. 300 AAAA 2001:db8::53");
  ASK("dns.test", "NS", "NOERROR aa rd | dns.test. 300 NS other.test");
  ASK("dns.test", "MX", "NOERROR aa rd | dns.test. 300 MX 10 mail.dns.test");
  ASK("dns.test", "CAA", "NOERROR aa rd | dns.test. 300 CAA 0 issue letsencrypt.org");
  ASK("t.dns.test", "TXT", "NOERROR aa rd | t.dns.test. 300 TXT one two three a\"bA");
  ASK("_a._tcp.dns.test", "SRV", "NOERROR aa rd | _a._tcp.dns.test. 300 SRV 1 2 443 host.dns.test");
  ASK("_tcp.dns.test", "SRV", "NOERROR aa rd | auth dns.test. 60 " SOA);
  ASK("tcp.dns.test", "SRV", "NXDOMAIN aa rd | auth dns.test. 60 " SOA);
  ASK("alias.dns.test", "AAAA",
      "NOERROR aa rd | alias.dns.test. 300 CNAME ns.dns.test"
      " | ns.dns.test. 300 AAAA 2001:db8::53");
}

static void test_static_alias_of_a_packet(void **state) {
  lab *l = *state;
  char name[512];
  with_key(name, "www2.@.dns.test", l->key.z32);
  add(l, "app.dns.test", "CNAME", name);
  ask(l, "app.dns.test", "A");
  assert_non_null(strstr(l->text, "app.dns.test. 300 CNAME www2.@.dns.test | "));
  assert_non_null(strstr(l->text, " | a.@.dns.test. 60 A 192.0.2.7"));
}

static void test_bad_static_records(void **state) {
  lab *l = *state;
  static const struct {
    const char *owner, *type, *value, *says;
  } bad[] = {
      {"x.dns.test", "A", "1.2.3", "IPv4"},
      {"x.dns.test", "A", "1.2.3.4 5", "IPv4"},
      {"x.dns.test", "AAAA", "::g", "IPv6"},
      {"x.dns.test", "TXT", "\"open", "strings"},
      {"x.dns.test", "TXT", "", "strings"},
      {"x.dns.test", "TXT", "\\999", "strings"},
      {"x.dns.test", "MX", "70000 a.test", "preference"},
      {"x.dns.test", "MX", "a.test", "preference"},
      {"x.dns.test", "SRV", "1 2 a.test", "priority"},
      {"x.dns.test", "CAA", "0 issue", "flags"},
      {"x.dns.test", "CNAME", "a..b", "a name"},
      {"x.dns.test", "SOA", "a b", "type"},
      {"x..dns.test", "A", "1.2.3.4", "domain name"},
      {"x.other.test", "A", "1.2.3.4", "origins"},
      {"x.dns.test", "NS", "a.test", "delegated"},
      {"dns.test", "CNAME", "a.test", "origin"},
      {"taken.dns.test", "CNAME", "a.test", "alone"},
      {"x.dns.test", "nS", "a.test", "delegated"},
      {"dns.test", "Cname", "a.test", "origin"},
      {"*.dns.test", "A", "192.0.2.1", "wildcard"},
      {"a.*.x.dns.test", "A", "192.0.2.1", "wildcard"},
      {"taken.dns.test", "A", "192.0.2.2", "one TTL"},
  };
  add(l, "taken.dns.test", "A", "192.0.2.1");
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    km_errinfo err = {0};
    int rv = km_zone_add(l->zone, bad[i].owner, bad[i].type, bad[i].value, 1, &err);
    if (rv != KM_ERR_INVALID || strstr(err.text, bad[i].says) == NULL) {
      fail_msg("%s %s %s: %d %s", bad[i].owner, bad[i].type, bad[i].value, rv, err.text);
    }
  }
  char name[512];
  with_key(name, "x.@.dns.test", l->key.z32);
  km_errinfo err = {0};
  assert_int_equal(km_zone_add(l->zone, name, "A", "1.2.3.4", 1, &err), KM_ERR_INVALID);
  assert_non_null(strstr(err.text, "key"));
  ASK("x.dns.test", "A", "NXDOMAIN aa rd | auth dns.test. 60 " SOA);
}

static void test_many_static_records(void **state) {
  lab *l = *state;
  char owner[64];
  km_errinfo err = {0};
  for (size_t i = 0; i < KM_ZONE_MAX_RECORDS; i++) {
    (void)snprintf(owner, sizeof owner, "h%zu.dns.test", i * 7919 % KM_ZONE_MAX_RECORDS);
    add(l, owner, "A", "192.0.2.1");
  }
  assert_int_equal(km_zone_add(l->zone, "more.dns.test", "A", "192.0.2.1", 1, &err), KM_ERR_LIMIT);
  for (size_t i = 0; i < KM_ZONE_MAX_RECORDS; i += 61) {
    char want[128];
    (void)snprintf(owner, sizeof owner, "h%zu.dns.test", i);
    (void)snprintf(want, sizeof want, "NOERROR aa rd | %s. 300 A 192.0.2.1", owner);
    ASK(owner, "A", want);
  }
}

static void test_several_origins(void **state) {
  lab *l = *state;
  ASK("a.@.sub.dns.test", "A", "NOERROR aa rd | a.@.sub.dns.test. 60 A 192.0.2.7");
  ASK("www.@.sub.dns.test", "A",
      "NOERROR aa rd | www.@.sub.dns.test. 50 CNAME a.@.sub.dns.test"
      " | a.@.sub.dns.test. 60 A 192.0.2.7");
  ASK("x.sub.dns.test", "A",
      "NXDOMAIN aa rd | auth sub.dns.test. 60 SOA ns.sub.dns.test hostmaster.sub.dns.test 1 3600"
      " 600 604800 60");
  /* The root: keys, and itself, and nothing else. */
  ASK("_iroh.@", "A", "NOERROR aa rd | auth . 60 SOA ns hostmaster 1 3600 600 604800 60");
  ASK("www.@", "A", "NOERROR aa rd | www.@. 50 CNAME a.@ | a.@. 60 A 192.0.2.7");
  ASK(".", "NS", "NOERROR aa rd | . 3600 NS ns");
  ASK("elsewhere.test", "A", "REFUSED rd");
  ASK("com", "NS", "REFUSED rd");
}

static void test_another_keys_packet_is_left_alone(void **state) {
  lab *l = *state;
  char line[256];
  (void)snprintf(line, sizeof line, "b.@ CNAME 5 a.%s.dns.test\n", l->other.z32);
  lab_packet(&l->packets[0], &l->key, 1001, line);
  ask(l, "b.@.dns.test", "A");
  assert_true(strncmp(l->text, "NOERROR aa rd | b.@.dns.test. 5 CNAME a.", 40) == 0);
  assert_null(strstr(l->text, "192.0.2.99"));
  assert_int_equal(l->asked, 1);
}

/* --- messages that are not as they should be -------------------------------------------------- */

static void test_odd_questions(void **state) {
  lab *l = *state;
  static const struct {
    size_t at;
    uint8_t value;
    const char *want; /* NULL: no answer */
  } changes[] = {
      {2, 0x81, NULL},            /* a response */
      {2, 0x29, "NOTIMP rd"},     /* UPDATE */
      {2, 0x11, "NOTIMP rd"},     /* STATUS */
      {2, 0x00, "NOERROR aa | "}, /* without RD */
      {5, 0, "FORMERR rd"},       /* no question */
      {5, 2, "FORMERR rd"},       /* two, one is there */
      {7, 1, "FORMERR rd"},       /* an answer in a question */
      {9, 1, "FORMERR rd"},       /* an authority */
      {11, 1, "FORMERR rd"},      /* an additional record that is not there */
      {12, 0xc0, "FORMERR rd"},   /* a pointer */
      {12, 0x40, "FORMERR rd"},   /* a label of a kind that nobody has */
      {12, 63, "FORMERR rd"},     /* a label of other length */
  };
  uint8_t query[512];
  size_t len = make_query(l, query, "_iroh.@.dns.test", "TXT", 0);
  for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
    uint8_t changed[512];
    memcpy(changed, query, len);
    changed[changes[i].at] = changes[i].value;
    const char *text = send_query(l, changed, len, KM_ZONE_UDP);
    if (changes[i].want == NULL) {
      assert_int_equal(l->answer_len, 0);
    } else if (strncmp(text, changes[i].want, strlen(changes[i].want)) != 0) {
      fail_msg("byte %zu as %u: %s", changes[i].at, changes[i].value, text);
    }
  }
  for (size_t cut = 0; cut < len; cut++) {
    const char *text = send_query(l, query, cut, KM_ZONE_UDP);
    assert_string_equal(text, cut < 12 ? "" : "FORMERR rd");
  }
  query[len] = 0;
  assert_string_equal(send_query(l, query, len + 1, KM_ZONE_UDP), "FORMERR rd");
  /* A name that is a pointer into the header. */
  const uint8_t pointer[] = {0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 4, 0, 16, 0, 1};
  assert_string_equal(send_query(l, pointer, sizeof pointer, KM_ZONE_UDP), "FORMERR rd");
}

static void test_types_and_classes(void **state) {
  lab *l = *state;
  static const struct {
    uint16_t type, qclass;
    const char *want;
  } list[] = {
      {16, 3, "REFUSED rd"},
      {16, 255, "REFUSED rd"},
      {16, 254, "REFUSED rd"},
      {252, 1, "REFUSED rd"},
      {251, 1, "REFUSED rd"},
      {253, 1, "NOTIMP rd"},
      {254, 1, "NOTIMP rd"},
      {250, 1, "NOTIMP rd"},
      {249, 1, "NOTIMP rd"},
      {128, 1, "NOTIMP rd"},
      {41, 1, "FORMERR rd"},
      {0, 1, "FORMERR rd"},
      {65280, 1, "NOERROR aa rd | auth dns.test. 60 " SOA},
  };
  for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
    uint8_t query[512];
    size_t len = make_query(l, query, "_iroh.@.dns.test", "TXT", 0);
    query[len - 4] = (uint8_t)(list[i].type >> 8);
    query[len - 3] = (uint8_t)list[i].type;
    query[len - 2] = (uint8_t)(list[i].qclass >> 8);
    query[len - 1] = (uint8_t)list[i].qclass;
    assert_string_equal(send_query(l, query, len, KM_ZONE_TCP), list[i].want);
  }
}

#define OPT_HAS " | add . 0 OPT 1232 0 0"

static void test_edns(void **state) {
  lab *l = *state;
  uint8_t query[512];
  size_t len = make_query(l, query, "a.@.dns.test", "A", 4096);
  assert_string_equal(send_query(l, query, len, KM_ZONE_UDP),
                      "NOERROR aa rd | a.@.dns.test. 60 A 192.0.2.7" OPT_HAS);
  /* DO is copied (RFC 3225 section 3), options are ignored. */
  query[len - 4] = 0x80;
  query[len - 1] = 8;
  const uint8_t option[] = {0, 10, 0, 4, 1, 2, 3, 4};
  memcpy(query + len, option, sizeof option);
  assert_string_equal(send_query(l, query, len + sizeof option, KM_ZONE_UDP),
                      "NOERROR aa rd | a.@.dns.test. 60 A 192.0.2.7 | add . 0 OPT 1232 0 32768");
  /* Another version: the upper bits of 16. */
  len = make_query(l, query, "a.@.dns.test", "A", 4096);
  query[len - 5] = 1;
  send_query(l, query, len, KM_ZONE_UDP);
  assert_int_equal(l->answer[3] & 0xf, 0);
  assert_int_equal(l->answer[l->answer_len - 6], 1);
  assert_int_equal(l->answer[7], 0);
  /* Two of them; one that is not the root's. */
  len = make_query(l, query, "a.@.dns.test", "A", 4096);
  memcpy(query + len, query + len - 11, 11);
  query[11] = 2;
  assert_string_equal(send_query(l, query, len + 11, KM_ZONE_UDP), "FORMERR rd");
  len = make_query(l, query, "a.@.dns.test", "A", 4096);
  query[len - 11] = 0xc0;
  memmove(query + len - 9, query + len - 10, 10);
  query[len - 10] = 12;
  assert_string_equal(send_query(l, query, len + 1, KM_ZONE_UDP), "FORMERR rd");
}

/* A packet near the largest that there is. */
static void make_large(lab *l) {
  char text[2048] = "";
  for (int i = 0; i < 4; i++) {
    size_t at = strlen(text);
    (void)snprintf(text + at, sizeof text - at, "big.@ TXT 30 %0200d\n", i);
  }
  lab_packet(&l->packets[0], &l->key, 1002, text);
}

static void test_truncation(void **state) {
  lab *l = *state;
  make_large(l);
  uint8_t query[512];
  static const struct {
    uint16_t edns;
    bool cut;
  } list[] = {{0, true}, {1, true}, {512, true}, {800, true}, {1000, false}, {65535, false}};
  for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
    size_t len = make_query(l, query, "big.@.dns.test", "TXT", list[i].edns);
    const char *text = send_query(l, query, len, KM_ZONE_UDP);
    assert_int_equal(strncmp(text, "NOERROR aa tc rd", 16) == 0, list[i].cut);
    assert_true(l->answer_len <= (list[i].cut ? len : 1232));
    assert_int_equal(strstr(text, "OPT") != NULL, list[i].edns != 0);
    assert_int_equal(strstr(text, "TXT") != NULL, !list[i].cut);
  }
  size_t len = make_query(l, query, "big.@.dns.test", "TXT", 0);
  assert_null(strstr(send_query(l, query, len, KM_ZONE_TCP), " tc"));
  assert_true(l->answer_len > 800);
  assert_null(strstr(send_query(l, query, len, KM_ZONE_HTTPS), " tc"));
}

/* Whatever the size: never more than was allowed, and never more than 1,232. */
static void test_limits_to_the_byte(void **state) {
  lab *l = *state;
  static const uint16_t sizes[] = {512, 600, 1232, 4096};
  char owner[64], value[1400];
  uint8_t query[512];
  for (size_t n = 200; n < 1300; n += 1) {
    size_t at = 0;
    for (size_t left = n; left > 0;) {
      size_t part = left < 250 ? left : 250;
      at += (size_t)snprintf(value + at, sizeof value - at, "%0*d ", (int)part, 0);
      left -= part;
    }
    (void)snprintf(owner, sizeof owner, "t%zu.dns.test", n);
    add(l, owner, "TXT", value);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
      size_t len = lab_query(query, owner, lab_type("TXT"), sizes[i]);
      size_t limit = sizes[i] < 1232 ? sizes[i] : 1232;
      size_t got = km_zone_answer(l->zone, query, len, KM_ZONE_UDP, l->answer, NULL);
      size_t whole = len + 12 + n + (n + 249) / 250; /* with OPT, which the question has too */
      assert_int_equal(got, whole <= limit ? whole : len);
    }
  }
}

static void test_more_than_a_message_holds(void **state) {
  lab *l = *state;
  char value[4000];
  for (int i = 0; i < 40; i++) {
    size_t at = 0;
    for (int j = 0; j < 12; j++) {
      at += (size_t)snprintf(value + at, sizeof value - at, "%0250d ", i);
    }
    add(l, "huge.dns.test", "TXT", value);
  }
  ASK("huge.dns.test", "TXT", "SERVFAIL rd");
  uint8_t query[512];
  size_t len = make_query(l, query, "huge.dns.test", "TXT", 1232);
  assert_string_equal(send_query(l, query, len, KM_ZONE_UDP), "NOERROR aa tc rd" OPT_HAS);
}

/* --- packets that are not as they should be --------------------------------------------------- */

static void raw_packet(lab *l, const uint8_t *records_bytes, size_t len, uint8_t count) {
  km_pkarr *p = &l->packets[0];
  memset(p->dns, 0, sizeof p->dns);
  p->dns[2] = 0x80;
  p->dns[7] = count;
  size_t at = 12;
  p->dns[at++] = 1;
  p->dns[at++] = 'a';
  p->dns[at++] = 52;
  memcpy(p->dns + at, l->key.z32, 52);
  at += 52;
  p->dns[at++] = 0;
  memcpy(p->dns + at, records_bytes, len);
  p->dns_len = (uint16_t)(at + len);
}

static void test_malformed_packets(void **state) {
  lab *l = *state;
  static const struct {
    const char *type;
    uint8_t len, bytes[40];
    const char *want;
  } list[] = {
      /* type, class, TTL, length, data */
      {"A",
       14,
       {0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4},
       "NOERROR aa rd | a.@.dns.test. 9 A 1.2.3.4"},
      {"A", 13, {0, 1, 0, 1, 0, 0, 0, 9, 0, 3, 1, 2, 3}, "NOERROR aa rd | auth"},
      {"AAAA", 14, {0, 28, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4}, "NOERROR aa rd | auth"},
      {"A", 14, {0, 1, 0, 3, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4}, "NXDOMAIN aa rd | auth"}, /* CHAOS */
      {"A", 14, {0, 1, 0, 1, 0x80, 0, 0, 9, 0, 4, 1, 2, 3, 4}, "NOERROR aa rd | a.@.dns.test. 0 A"},
      {"A", 14, {0, 1, 0, 1, 0, 0, 0, 9, 0, 5, 1, 2, 3, 4}, "SERVFAIL rd"},
      {"A", 9, {0, 1, 0, 1, 0, 0, 0, 9, 0}, "SERVFAIL rd"},
      {"TXT", 10, {0, 16, 0, 1, 0, 0, 0, 9, 0, 0}, "NOERROR aa rd | auth"},
      {"TXT", 12, {0, 16, 0, 1, 0, 0, 0, 9, 0, 2, 2, 'x'}, "NOERROR aa rd | auth"},
      {"TXT", 11, {0, 16, 0, 1, 0, 0, 0, 9, 0, 1, 0}, "NOERROR aa rd | a.@.dns.test. 9 TXT "},
      /* names in data: a pointer to itself, forwards, to the owner, cut, with bytes behind */
      {"PTR", 12, {0, 12, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 78}, "NOERROR aa rd | auth"},
      {"PTR", 12, {0, 12, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 200}, "NOERROR aa rd | auth"},
      {"PTR",
       12,
       {0, 12, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 12},
       "NOERROR aa rd | a.@.dns.test. 9 PTR a.@"},
      {"PTR", 11, {0, 12, 0, 1, 0, 0, 0, 9, 0, 1, 0xc0}, "NOERROR aa rd | auth"},
      {"PTR", 13, {0, 12, 0, 1, 0, 0, 0, 9, 0, 3, 0xc0, 12, 0}, "NOERROR aa rd | auth"},
      {"PTR", 10, {0, 12, 0, 1, 0, 0, 0, 9, 0, 0}, "NOERROR aa rd | auth"},
      {"MX",
       14,
       {0, 15, 0, 1, 0, 0, 0, 9, 0, 4, 0, 5, 0xc0, 12},
       "NOERROR aa rd | a.@.dns.test. 9 MX 5 a.@"},
      {"MX", 11, {0, 15, 0, 1, 0, 0, 0, 9, 0, 1, 0}, "NOERROR aa rd | auth"},
      {"NAPTR",
       25,
       {0, 35, 0,   1, 0,   0,   0,   9, 0,   15,  0,    1, 0,
        2, 1,  's', 3, 'S', 'I', 'P', 2, 'r', 'e', 0xc0, 12},
       "NOERROR aa rd | a.@.dns.test. 9 NAPTR 1 2 s SIP re a.@"},
      {"NAPTR", 15, {0, 35, 0, 1, 0, 0, 0, 9, 0, 5, 0, 1, 0, 2, 9}, "NOERROR aa rd | auth"},
  };
  for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
    raw_packet(l, list[i].bytes, list[i].len, 1);
    const char *text = ask(l, "a.@.dns.test", list[i].type);
    if (strncmp(text, list[i].want, strlen(list[i].want)) != 0) {
      fail_msg("%zu (%s): %s", i, list[i].type, text);
    }
  }
  l->packets[0].dns_len = 11;
  ASK("a.@.dns.test", "A", "SERVFAIL rd");
  l->packets[0].dns_len = 12;
  ASK("a.@.dns.test", "A", "SERVFAIL rd");
  l->packets[0].dns[5] = 1; /* a question that is not there */
  ASK("a.@.dns.test", "A", "SERVFAIL rd");
}

/* No packet and no question makes it read where nothing is, or answer what cannot be read. */
static void test_random_changes(void **state) {
  lab *l = *state;
  km_pkarr whole = l->packets[0];
  uint32_t seed = 1;
  static const char *const names[] = {"_iroh.@.dns.test", "www2.@.dns.test", "a.@.dns.test"};
  static const char *const types[] = {"TXT", "A", "AAAA"};
  for (int round = 0; round < 20000; round++) {
    l->packets[0] = whole;
    for (int i = 0; i < 3; i++) {
      seed = seed * 1664525 + 1013904223;
      l->packets[0].dns[12 + (seed >> 8) % (whole.dns_len - 12u)] = (uint8_t)(seed >> 24);
    }
    uint8_t query[512];
    size_t len = make_query(l, query, names[round % 3], types[round % 3], 1232);
    size_t n = km_zone_answer(l->zone, query, len, KM_ZONE_UDP, l->answer, NULL);
    assert_true(n >= len && n <= 1232);
    assert_memory_equal(l->answer + 12, query + 12, len - 12 - 11);
  }
}

/* That a packet is not known to be there does not mean that it is known not to be. */
static void test_an_unreadable_packet(void **state) {
  lab *l = *state;
  l->unreadable = true;
  ASK("a.@.dns.test", "A", "SERVFAIL rd");
  ASK("@.dns.test", "A", "SERVFAIL rd");
  l->unreadable = false;
  ASK("a.@.dns.test", "A", "NOERROR aa rd | a.@.dns.test. 60 A 192.0.2.7");
}

static void test_name_servers_have_addresses(void **state) {
  lab *l = *state;
  km_errinfo err = {0};
  assert_int_equal(km_zone_check(l->zone, &err), KM_ERR_STATE);
  assert_non_null(strstr(err.text, "dns.test. has no NS"));
  add(l, "ns.dns.test", "A", "192.0.2.53");
  assert_int_equal(km_zone_check(l->zone, &err), 0); /* the SOA's name is one */
  add(l, "dns.test", "NS", "ns.elsewhere.test.");
  assert_int_equal(km_zone_check(l->zone, &err), 0); /* is for others to say */
  add(l, "dns.test", "NS", "ns1.dns.test.");
  assert_int_equal(km_zone_check(l->zone, &err), KM_ERR_INVALID);
  assert_non_null(strstr(err.text, "ns1.dns.test. 3600 A"));
  add(l, "ns1.dns.test", "TXT", "none");
  assert_int_equal(km_zone_check(l->zone, &err), KM_ERR_INVALID);
  add(l, "NS1.dns.test", "AAAA", "2001:db8::53");
  assert_int_equal(km_zone_check(l->zone, &err), 0);
}

static void test_bad_configuration(void **state) {
  (void)state;
  static const struct {
    const char *origins[2];
    size_t count;
    const char *mname;
  } list[] = {
      {{"a..b"}, 1, NULL},   {{""}, 1, NULL},         {{"a.test", "A.TEST."}, 2, NULL},
      {{"a.test"}, 0, NULL}, {{"a.test"}, 1, "x..y"}, {{".."}, 1, NULL},
  };
  for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
    km_zone_config config = {.env = &km_env_system,
                             .origins = list[i].origins,
                             .origin_count = list[i].count,
                             .soa_mname = list[i].mname,
                             .packet = find_packet};
    km_zone *zone;
    km_errinfo err = {0};
    assert_int_equal(km_zone_new(&zone, &config, &err), KM_ERR_INVALID);
    assert_true(err.text[0] != '\0');
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define WITH(test, setup) cmocka_unit_test_setup_teardown(test, setup, tear_down)
      WITH(test_records_of_a_packet, set_up),
      WITH(test_other_types, set_up),
      WITH(test_negative_answers, set_up),
      WITH(test_cnames, set_up),
      WITH(test_case, set_up),
      WITH(test_any, set_up),
      WITH(test_the_apex, set_up),
      WITH(test_static_records, set_up),
      WITH(test_static_alias_of_a_packet, set_up),
      WITH(test_bad_static_records, set_up),
      WITH(test_many_static_records, set_up),
      WITH(test_several_origins, set_up_all),
      WITH(test_another_keys_packet_is_left_alone, set_up),
      WITH(test_odd_questions, set_up),
      WITH(test_types_and_classes, set_up),
      WITH(test_edns, set_up),
      WITH(test_truncation, set_up),
      WITH(test_limits_to_the_byte, set_up),
      WITH(test_more_than_a_message_holds, set_up),
      WITH(test_malformed_packets, set_up),
      WITH(test_random_changes, set_up),
      WITH(test_an_unreadable_packet, set_up),
      WITH(test_name_servers_have_addresses, set_up),
      cmocka_unit_test(test_bad_configuration),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
