/* DNS over HTTPS: questions in query strings, answers as JSON. */
#include "discovery/server/doh.h"

#include <ares.h>
#include <ares_dns_record.h>
#include <arpa/inet.h>
#include <cjson/cJSON.h>

#include "base/enc.h"
#include "test/base/test_env.h"

static int param(km_doh_request *r, const char *text) {
  km_errinfo err = {0};
  int rv = km_doh_param(r, text, strlen(text), &err);
  assert_int_equal(err.code, rv);
  assert_true(rv == 0 || err.text[0] != '\0');
  return rv;
}

static void check_query(const km_doh_request *r, const char *hex) {
  uint8_t wanted[512];
  size_t len = strlen(hex) / 2;
  assert_true(km_hex_decode(wanted, len, hex, 2 * len));
  assert_int_equal(r->len, len);
  assert_memory_equal(r->query, wanted, len);
}

/* RFC 8484 section 4.1.1. */
static const char www_dns[] = "dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB";
static const char www_hex[] = "00000100000100000000000003777777076578616d706c6503636f6d0000010001";
static const char long_dns[] =
    "dns=AAABAAABAAAAAAAAAWE-NjJjaGFyYWN0ZXJsYWJlbC1tYWtlcy1iYXNlNjR1cmwtZGlzdGluY3QtZnJvbS1z"
    "dGFuZGFyZC1iYXNlNjQHZXhhbXBsZQNjb20AAAEAAQ";
static const char long_hex[] = "0000010000010000000000000161"
                               "3e3632636861726163746572"
                               "6c6162656c2d6d616b65732d"
                               "6261736536347572"
                               "6c2d64697374696e63742d66726f6d2d"
                               "7374616e646172642d6261736536"
                               "34"
                               "076578616d706c6503636f6d0000010001";

static void messages(void **state) {
  (void)state;
  km_doh_request r;
  km_errinfo err;
  const struct {
    const char *param, *hex;
  } good[] = {{www_dns, www_hex},  {long_dns, long_hex}, {"dns=AA", "00"},   {"dns=AA==", "00"},
              {"dns=AAA", "0000"}, {"dns=AAA=", "0000"}, {"dns=-_8", "fbff"}};
  for (size_t i = 0; i < COUNT_OF(good); i++) {
    km_doh_begin(&r);
    assert_int_equal(param(&r, good[i].param), 0);
    assert_true(km_doh_accept(&r, NULL));
    assert_int_equal(km_doh_finish(&r, &err), 0);
    check_query(&r, good[i].hex);
    assert_int_equal(r.form, KM_DOH_MESSAGE);
  }
  const char *const bad[] = {
      "dns",     "dns=",    "dns=A", "dns=AAAAA", "dns=AB",    "dns=AAB",  "dns=AA+A", "dns=AA/A",
      "dns=A A", "dns=AA=", "dns==", "dns====",   "dns=AA===", "dns=AA=A", "dns=\xff"};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    km_doh_begin(&r);
    assert_int_equal(param(&r, bad[i]), KM_ERR_INVALID);
  }
}

static void messages_that_are_long(void **state) {
  (void)state;
  static char text[16000];
  km_doh_request r;
  km_errinfo err = {0};
  memcpy(text, "dns=", 4);
  memset(text + 4, 'A', sizeof text - 4);
  for (size_t bytes = KM_DOH_QUERY_MAX - 3; bytes < KM_DOH_QUERY_MAX + 8; bytes++) {
    size_t len = 4 + bytes / 3 * 4 + (bytes % 3 == 0 ? 0 : bytes % 3 + 1);
    km_doh_begin(&r);
    int rv = km_doh_param(&r, text, len, &err);
    assert_int_equal(rv, bytes > KM_DOH_QUERY_MAX ? KM_ERR_LIMIT : 0);
    assert_true(rv != 0 || r.len == bytes);
  }
  assert_int_equal(km_doh_param(&r, text, sizeof text, &err), KM_ERR_LIMIT);
}

static void questions_in_words(void **state) {
  (void)state;
  km_doh_request r;
  km_errinfo err;
  const struct {
    const char *params[4];
    const char *hex;
  } good[] = {
      {{"name=www.example.com"}, www_hex},
      {{"name=www.example.com.", "type=A"}, www_hex},
      {{"type=1", "name=www.example.com", "random_padding=xyz"}, www_hex},
      {{"name=www.example.com", "type=a", "cd", "do=false"}, www_hex},
      {{"name=."}, "0000010000010000000000000000010001"},
      {{"name=a", "type=TXT", "cd=1"}, "00000110000100000000000001610000100001"},
      {{"name=a", "type=TYPE65280", "rd=0"}, "000000000001000000000000016100ff000001"},
      {{"name=A", "type=65534"}, "000001000001000000000000014100fffe0001"},
      {{"name=a\\.b.\\065\\\\c"}, "00000100000100000000000003612e6203415c630000010001"},
      {{"name=a", "do=true"}, "0000010000010000000000010161000001000100002904d0000080000000"},
  };
  for (size_t i = 0; i < COUNT_OF(good); i++) {
    km_doh_begin(&r);
    for (size_t k = 0; k < COUNT_OF(good[i].params) && good[i].params[k] != NULL; k++) {
      assert_int_equal(param(&r, good[i].params[k]), 0);
    }
    assert_int_equal(km_doh_finish(&r, &err), 0);
    check_query(&r, good[i].hex);
    assert_int_equal(r.form, KM_DOH_JSON);
  }
}

static void words_that_are_none(void **state) {
  (void)state;
  km_doh_request r;
  km_errinfo err = {0};
  const char *const bad[] = {
      "name=",         "name",     "name=..",     "name=.a",    "name=a..b",        "name=a b",
      "name=\xc3\xa4", "name=a\\", "name=a\\256", "name=a\\1x", "name=a\tb",        "name=a.b..",
      "type=",         "type=FOO", "type=0",      "type=65535", "type=99999999999", "type=-1",
      "type=TYPE",     "cd=2",     "do=maybe",    "rd=x"};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    km_doh_begin(&r);
    bool type_left_out = strcmp(bad[i], "type=") == 0;
    assert_int_equal(param(&r, bad[i]), type_left_out ? 0 : KM_ERR_INVALID);
  }
  km_doh_begin(&r);
  assert_int_equal(param(&r, "type=TXT"), 0);
  assert_int_equal(km_doh_finish(&r, &err), KM_ERR_INVALID);
  /* A NUL is no end. */
  assert_int_equal(km_doh_param(&r, "name=a\0b", 8, &err), KM_ERR_INVALID);
}

/* Labels of 63, names of 255 bytes, and one more. */
static void names_that_are_long(void **state) {
  (void)state;
  char text[400];
  km_doh_request r;
  for (int labels = 1; labels <= 5; labels++) {
    for (int last = 1; last <= 64; last++) {
      size_t len = (size_t)snprintf(text, sizeof text, "name=");
      for (int i = 0; i < labels; i++) {
        len +=
            (size_t)snprintf(text + len, sizeof text - len, "%.*s.", i + 1 == labels ? last : 63,
                             "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
      }
      bool fits = last <= 63 && 64 * (labels - 1) + 1 + last + 1 <= 255;
      for (int dot = 0; dot < 2; dot++) {
        km_doh_begin(&r);
        assert_int_equal(param(&r, text), fits ? 0 : KM_ERR_INVALID);
        assert_true(!fits || r.name_len == (size_t)(64 * (labels - 1) + 1 + last + 1));
        text[strlen(text) - 1] = '\0';
      }
    }
  }
}

static void forms(void **state) {
  (void)state;
  const struct {
    const char *accept, *ct;
    int form; /* below 0: refused */
  } table[] = {
      {NULL, NULL, KM_DOH_DEFAULT},
      {"", NULL, KM_DOH_DEFAULT},
      {"*/*", NULL, KM_DOH_DEFAULT},
      {"application/*", NULL, KM_DOH_DEFAULT},
      {"application/dns-message", NULL, KM_DOH_MESSAGE},
      {"Application/DNS-JSON", NULL, KM_DOH_JSON},
      {"application/json", NULL, KM_DOH_JSON},
      {"application/x-javascript;q=0.3", NULL, KM_DOH_JSON},
      {"text/html, application/dns-json", NULL, KM_DOH_JSON},
      {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", NULL, KM_DOH_DEFAULT},
      {"*/*, application/dns-message", NULL, KM_DOH_MESSAGE},
      {"text/html", NULL, -1},
      {"application/dns-messages", NULL, -1},
      {",", NULL, -1},
      {"text/html", "ct=application/dns-json", KM_DOH_JSON},
      {"application/dns-json", "ct=application/dns-message", KM_DOH_MESSAGE},
      {"application/dns-json", "ct=text/html", KM_DOH_JSON},
  };
  for (size_t i = 0; i < COUNT_OF(table); i++) {
    km_doh_request r;
    km_doh_begin(&r);
    assert_true(table[i].ct == NULL || param(&r, table[i].ct) == 0);
    assert_int_equal(km_doh_accept(&r, table[i].accept), table[i].form >= 0);
    assert_true(table[i].form < 0 || (int)r.form == table[i].form);
  }
}

/* --- JSON ------------------------------------------------------------------------------------ */

/* An answer as c-ares writes it; free it with ares_free_string. */
typedef struct message {
  ares_dns_record_t *record;
  uint8_t *bytes;
  size_t len;
} message;

static void begin(message *m, ares_dns_rec_type_t type, unsigned short flags) {
  assert_int_equal(
      ares_dns_record_create(&m->record, 0, flags, ARES_OPCODE_QUERY, ARES_RCODE_NOERROR),
      ARES_SUCCESS);
  assert_int_equal(ares_dns_record_query_add(m->record, "n.Example", type, ARES_CLASS_IN),
                   ARES_SUCCESS);
}

static ares_dns_rr_t *add(message *m, ares_dns_section_t section, ares_dns_rec_type_t type) {
  ares_dns_rr_t *rr = NULL;
  assert_int_equal(
      ares_dns_record_rr_add(&rr, m->record, section, "n.example", type, ARES_CLASS_IN, 60),
      ARES_SUCCESS);
  return rr;
}

static void finish(message *m) {
  assert_int_equal(ares_dns_write(m->record, &m->bytes, &m->len), ARES_SUCCESS);
  ares_dns_record_destroy(m->record);
}

static void check_json(const uint8_t *bytes, size_t len, const char *wanted) {
  char text[4096];
  int n = km_doh_json(text, sizeof text, bytes, len);
  assert_true(n > 0);
  assert_string_equal(text, wanted);
  assert_int_equal(n, strlen(wanted));
  cJSON *parsed = cJSON_ParseWithOpts(text, NULL, 1);
  assert_non_null(parsed);
  cJSON_Delete(parsed);
  for (size_t cap = 0; cap <= (size_t)n; cap++) {
    char *small = malloc(cap + 1);
    assert_int_equal(km_doh_json(small, cap, bytes, len), KM_ERR_BUFFER);
    free(small);
  }
  assert_int_equal(km_doh_json(text, (size_t)n + 1, bytes, len), n);
  for (size_t cut = 0; cut < len; cut++) {
    assert_int_equal(km_doh_json(text, sizeof text, bytes, cut), KM_ERR_BAD_PACKET);
  }
}

static const char json_head[] =
    "{\"Status\":0,\"TC\":false,\"RD\":true,\"RA\":false,\"AD\":false,\"CD\":false,";
static const char json_question[] = "{\"name\":\"n.example.\",\"type\":255";
#define RECORD "{\"name\":\"n.example.\",\"type\":%u,\"TTL\":60,\"data\":\"%s\"}"

static void json_of_types(void **state) {
  (void)state;
  const struct in_addr ip4 = {htonl(0xc0000201)};
  const struct ares_in6_addr ip6 = {{{0x20, 0x01, 0x0d, 0xb8, [15] = 1}}};
  enum { ANSWERS = 8 };
  const struct {
    unsigned type;
    const char *data;
  } types[] = {
      {1, "192.0.2.1"},
      {28, "2001:db8::1"},
      {5, "c.example."},
      {15, "10 mx.n.example."},
      {33, "1 2 443 t.other."},
      {16, "a\\\"\\\\\xc3\xa4\\\\010\\\\255z"},
      {257, "128 issue \\\"ca.example\\\""},
      {256, "\\\\# 5 0000000078"},
      {2, "a\\\\.b.example."},
      {6, "ns.example. h.example. 4294967295 0 0 0 5"},
  };
  message m;
  begin(&m, ARES_REC_TYPE_ANY, ARES_FLAG_RD);
  ares_dns_rr_t *rr = add(&m, ARES_SECTION_ANSWER, ARES_REC_TYPE_A);
  assert_int_equal(ares_dns_rr_set_addr(rr, ARES_RR_A_ADDR, &ip4), 0);
  rr = add(&m, ARES_SECTION_ANSWER, ARES_REC_TYPE_AAAA);
  assert_int_equal(ares_dns_rr_set_addr6(rr, ARES_RR_AAAA_ADDR, &ip6), 0);
  rr = add(&m, ARES_SECTION_ANSWER, ARES_REC_TYPE_CNAME);
  assert_int_equal(ares_dns_rr_set_str(rr, ARES_RR_CNAME_CNAME, "c.example"), 0);
  rr = add(&m, ARES_SECTION_ANSWER, ARES_REC_TYPE_MX);
  assert_int_equal(ares_dns_rr_set_u16(rr, ARES_RR_MX_PREFERENCE, 10), 0);
  assert_int_equal(ares_dns_rr_set_str(rr, ARES_RR_MX_EXCHANGE, "mx.n.example"), 0);
  rr = add(&m, ARES_SECTION_ANSWER, ARES_REC_TYPE_SRV);
  assert_int_equal(ares_dns_rr_set_u16(rr, ARES_RR_SRV_PRIORITY, 1), 0);
  assert_int_equal(ares_dns_rr_set_u16(rr, ARES_RR_SRV_WEIGHT, 2), 0);
  assert_int_equal(ares_dns_rr_set_u16(rr, ARES_RR_SRV_PORT, 443), 0);
  assert_int_equal(ares_dns_rr_set_str(rr, ARES_RR_SRV_TARGET, "t.other"), 0);
  rr = add(&m, ARES_SECTION_ANSWER, ARES_REC_TYPE_TXT);
  const unsigned char first[] = {'a', '"', '\\', 0xc3, 0xa4, '\n', 0xff}, second[] = {'z'};
  assert_int_equal(ares_dns_rr_add_abin(rr, ARES_RR_TXT_DATA, first, sizeof first), 0);
  assert_int_equal(ares_dns_rr_add_abin(rr, ARES_RR_TXT_DATA, second, sizeof second), 0);
  rr = add(&m, ARES_SECTION_ANSWER, ARES_REC_TYPE_CAA);
  assert_int_equal(ares_dns_rr_set_u8(rr, ARES_RR_CAA_CRITICAL, 128), 0);
  assert_int_equal(ares_dns_rr_set_str(rr, ARES_RR_CAA_TAG, "issue"), 0);
  assert_int_equal(
      ares_dns_rr_set_bin(rr, ARES_RR_CAA_VALUE, (const unsigned char *)"ca.example", 10), 0);
  rr = add(&m, ARES_SECTION_ANSWER, ARES_REC_TYPE_URI);
  assert_int_equal(ares_dns_rr_set_str(rr, ARES_RR_URI_TARGET, "x"), 0);
  rr = add(&m, ARES_SECTION_AUTHORITY, ARES_REC_TYPE_NS);
  assert_int_equal(ares_dns_rr_set_str(rr, ARES_RR_NS_NSDNAME, "a\\.b.example"), 0);
  rr = add(&m, ARES_SECTION_AUTHORITY, ARES_REC_TYPE_SOA);
  assert_int_equal(ares_dns_rr_set_str(rr, ARES_RR_SOA_MNAME, "ns.example"), 0);
  assert_int_equal(ares_dns_rr_set_str(rr, ARES_RR_SOA_RNAME, "h.example"), 0);
  assert_int_equal(ares_dns_rr_set_u32(rr, ARES_RR_SOA_SERIAL, 4294967295u), 0);
  assert_int_equal(ares_dns_rr_set_u32(rr, ARES_RR_SOA_MINIMUM, 5), 0);
  rr = add(&m, ARES_SECTION_ADDITIONAL, ARES_REC_TYPE_A);
  assert_int_equal(ares_dns_rr_set_addr(rr, ARES_RR_A_ADDR, &ip4), 0);
  finish(&m);
  m.bytes[2] |= 0x80;
  m.bytes[3] = 0;
  char wanted[4096];
  size_t at =
      (size_t)snprintf(wanted, sizeof wanted, "%s\"Question\":[%s}]", json_head, json_question);
  for (size_t i = 0; i < COUNT_OF(types); i++) {
    const char *before = i == 0 ? ",\"Answer\":[" : i == ANSWERS ? "],\"Authority\":[" : ",";
    at += (size_t)snprintf(wanted + at, sizeof wanted - at, "%s" RECORD, before, types[i].type,
                           types[i].data);
  }
  (void)snprintf(wanted + at, sizeof wanted - at, "]}");
  check_json(m.bytes, m.len, wanted);
  ares_free_string(m.bytes);
}

static void json_of_flags(void **state) {
  (void)state;
  uint8_t nothing[12] = {0, 0, 0x83, 0xb3};
  check_json(nothing, sizeof nothing,
             "{\"Status\":3,\"TC\":true,\"RD\":true,\"RA\":true,\"AD\":true,\"CD\":true}");
}

/* Data that is not what its type says is shown as bytes. */
static void json_of_damaged_data(void **state) {
  (void)state;
  const struct {
    uint8_t type, len, data[12];
    const char *wanted;
  } table[] = {
      {1, 3, {1, 2, 3}, "\\\\# 3 010203"},
      {28, 4, {1, 2, 3, 4}, "\\\\# 4 01020304"},
      {2, 3, {1, 'a', 1}, "\\\\# 3 016101"},
      {2, 4, {1, 'a', 0, 0}, "\\\\# 4 01610000"},
      {15, 2, {0, 1}, "\\\\# 2 0001"},
      {33, 6, {0, 1, 0, 2, 0, 3}, "\\\\# 6 000100020003"},
      {6, 2, {0, 0}, "\\\\# 2 0000"},
      {16, 2, {2, 'a'}, "\\\\# 2 0261"},
      {16, 0, {0}, ""},
      {12, 0, {0}, "\\\\# 0 "},
  };
  for (size_t i = 0; i < COUNT_OF(table); i++) {
    uint8_t bytes[64] = {0, 0, 0x81,          0, 0, 0, 0, 1, 0, 0, 0,           0,
                         0, 0, table[i].type, 0, 1, 0, 0, 0, 9, 0, table[i].len};
    char wanted[256];
    memcpy(bytes + 23, table[i].data, table[i].len);
    (void)snprintf(wanted, sizeof wanted,
                   "%s\"Answer\":[{\"name\":\".\",\"type\":%u,\"TTL\":9,\"data\":\"%s\"}]}",
                   json_head, table[i].type, table[i].wanted);
    check_json(bytes, 23u + table[i].len, wanted);
  }
}

static void least_ttl(void **state) {
  (void)state;
  message m;
  begin(&m, ARES_REC_TYPE_A, 0);
  const unsigned ttls[] = {300, 7, 4000};
  for (size_t i = 0; i < COUNT_OF(ttls); i++) {
    ares_dns_rr_t *rr = NULL;
    assert_int_equal(ares_dns_record_rr_add(&rr, m.record, ARES_SECTION_ANSWER, "x",
                                            ARES_REC_TYPE_A, ARES_CLASS_IN, ttls[i]),
                     ARES_SUCCESS);
  }
  ares_dns_rr_t *soa = NULL; /* no answer */
  assert_int_equal(ares_dns_record_rr_add(&soa, m.record, ARES_SECTION_AUTHORITY, "x",
                                          ARES_REC_TYPE_SOA, ARES_CLASS_IN, 1),
                   ARES_SUCCESS);
  assert_int_equal(ares_dns_rr_set_str(soa, ARES_RR_SOA_MNAME, "ns.x"), 0);
  assert_int_equal(ares_dns_rr_set_str(soa, ARES_RR_SOA_RNAME, "h.x"), 0);
  finish(&m);
  assert_int_equal(km_doh_least_ttl(m.bytes, m.len), 7);
  assert_int_equal(km_doh_least_ttl(m.bytes, 12), UINT32_MAX);
  assert_int_equal(km_doh_least_ttl(m.bytes, 3), UINT32_MAX);
  ares_free_string(m.bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(messages),
      cmocka_unit_test(messages_that_are_long),
      cmocka_unit_test(questions_in_words),
      cmocka_unit_test(words_that_are_none),
      cmocka_unit_test(names_that_are_long),
      cmocka_unit_test(forms),
      cmocka_unit_test(json_of_types),
      cmocka_unit_test(json_of_flags),
      cmocka_unit_test(json_of_damaged_data),
      cmocka_unit_test(least_ttl),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
