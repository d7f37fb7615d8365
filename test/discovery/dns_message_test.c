#include "discovery/dns_message.h"

#include <ares.h>
#include <ares_dns_record.h>
#include <string.h>

#include "test/relay/hex.h"

#define HEADER "000080000000000000000000"

/* --- names -------------------------------------------------------------------------------------*/

typedef struct name_case {
  const char *what;
  const char *hex; /* behind the header, offset 12 */
  size_t at;
  size_t taken;     /* 0: refused */
  const char *wire; /* hex */
} name_case;

static const name_case name_cases[] = {
    {"the root", "00", 12, 1, "00"},
    {"labels",
     "0161026263"
     "00",
     12, 6, "016102626300"},
    {"letters in capitals",
     "024142035a5b40"
     "00",
     12, 8, "026162037a5b4000"},
    {"bytes of all kinds", "0400ff2e5c00", 12, 6, "0400ff2e5c00"},
    {"a pointer",
     "016100"
     "c00c",
     15, 2, "016100"},
    {"a label and a pointer",
     "016100"
     "0162c00c",
     15, 4, "0162016100"},
    {"a pointer into the middle",
     "0161016200"
     "c00e",
     17, 2, "016200"},
    {"pointer to pointer",
     "016100"
     "c00c"
     "c00f",
     17, 2, "016100"},
    {"a pointer into the header", "c004", 12, 2, "00"},
    {"a pointer to itself", "c00c", 12, 0, ""},
    {"a label that points to itself", "0161c00c", 12, 0, ""},
    {"a pointer forward", "c00e016100", 12, 0, ""},
    {"two that point to each other", "c00ec00c", 14, 0, ""},
    {"back, then forward to a label", "0161c010016200", 12, 0, ""},
    {"half a pointer", "c0", 12, 0, ""},
    {"a pointer beyond the end", "c0ff", 12, 0, ""},
    {"a reserved label type 01", "4161", 12, 0, ""},
    {"a reserved label type 10", "8161", 12, 0, ""},
    {"no end", "0161", 12, 0, ""},
    {"a label longer than the message", "0561620000", 12, 0, ""},
    {"nothing there", "", 12, 0, ""},
    {"far beyond the end", "00", 4000, 0, ""},
};

static void test_names(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT_OF(name_cases); i++) {
    const name_case *c = &name_cases[i];
    uint8_t bytes[64], wire[64];
    char hex[128];
    (void)snprintf(hex, sizeof hex, "%s%s", HEADER, c->hex);
    size_t len = from_hex(bytes, sizeof bytes, hex);
    uint8_t *exact = malloc(len); /* so that a sanitizer sees a byte too many */
    memcpy(exact, bytes, len);
    km_dnsmsg m;
    km_dns_name name;
    assert_int_equal(km_dnsmsg_open(&m, exact, len), 0);
    size_t taken = km_dnsmsg_name_at(&m, c->at, &name);
    if (taken != c->taken) {
      fail_msg("%s: %zu bytes taken, not %zu", c->what, taken, c->taken);
    }
    if (taken != 0) {
      size_t wire_len = from_hex(wire, sizeof wire, c->wire);
      assert_int_equal(name.len, wire_len);
      assert_memory_equal(name.bytes, wire, wire_len);
    }
    free(exact);
  }
}

/* Three labels of 63 bytes and one of `last` bytes. Returns their length with the final zero. */
static size_t long_name(uint8_t *bytes, uint8_t last) {
  size_t len = 0;
  for (int i = 0; i < 4; i++) {
    uint8_t n = i < 3 ? 63 : last;
    bytes[len++] = n;
    memset(bytes + len, 'a' + i, n);
    len += n;
  }
  bytes[len++] = 0;
  return len;
}

static void test_longest_name(void **state) {
  (void)state;
  uint8_t bytes[512] = {0};
  km_dnsmsg m;
  km_dns_name name;
  size_t len = long_name(bytes + 12, 61);
  assert_int_equal(len, 255);
  assert_int_equal(km_dnsmsg_open(&m, bytes, sizeof bytes), 0);
  assert_int_equal(km_dnsmsg_name_at(&m, 12, &name), 255);
  assert_int_equal(name.len, 255);
  (void)long_name(bytes + 12, 62);
  assert_int_equal(km_dnsmsg_name_at(&m, 12, &name), 0);
  /* The same by a pointer: one byte too many in front of a name that is as long as can be. */
  len = 12 + long_name(bytes + 12, 61);
  memcpy(bytes + len, "\x01x\xc0\x0c", 4);
  assert_int_equal(km_dnsmsg_name_at(&m, len, &name), 0);
}

/* Pointers to pointers, each one step back: bounded, whatever their number. */
static void test_pointer_chain(void **state) {
  (void)state;
  static uint8_t bytes[16384];
  km_dnsmsg m;
  km_dns_name name;
  memset(bytes, 0, 13);
  for (size_t at = 13; at + 1 < sizeof bytes; at += 2) {
    size_t target = at == 13 ? 12 : at - 2;
    bytes[at] = (uint8_t)(0xc0 | target >> 8);
    bytes[at + 1] = (uint8_t)target;
  }
  assert_int_equal(km_dnsmsg_open(&m, bytes, sizeof bytes), 0);
  assert_int_equal(km_dnsmsg_name_at(&m, 13 + 2 * (127 - 1), &name), 2);
  assert_int_equal(km_dnsmsg_name_at(&m, 13 + 2 * (128 - 1), &name), 0);
  assert_int_equal(km_dnsmsg_name_at(&m, 16381, &name), 0);
}

static void test_name_from_text(void **state) {
  (void)state;
  static const struct {
    const char *text;
    const char *wire; /* hex; NULL: refused */
  } cases[] = {
      {"", "00"},
      {".", "00"},
      {"a", "016100"},
      {"a.", "016100"},
      {"Ab.C", "02616201"
               "6300"},
      {"..", NULL},
      {"a..b", NULL},
      {".a", NULL},
      {"a\\.b", "03612e6200"},                                            /* RFC 1035 section 5.1 */
      {"012345678901234567890123456789012345678901234567890123456789012", /* 63 */
       "3f30313233343536373839303132333435363738393031323334353637383930313233343536373839303132333"
       "4353637383930313233343536373839303132"
       "00"},
      {"0123456789012345678901234567890123456789012345678901234567890123", NULL},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    km_dns_name name;
    uint8_t wire[256];
    bool ok = km_dnsmsg_name_from_text(&name, cases[i].text);
    if (ok != (cases[i].wire != NULL)) {
      fail_msg("'%s': %d", cases[i].text, ok);
    }
    if (ok) {
      size_t len = from_hex(wire, sizeof wire, cases[i].wire);
      assert_int_equal(name.len, len);
      assert_memory_equal(name.bytes, wire, len);
    }
  }
  /* 255 bytes are a name, 256 are none. */
  char text[300];
  km_dns_name name;
  memset(text, 'x', sizeof text);
  text[63] = text[127] = text[191] = '.';
  text[253] = '\0';
  assert_true(km_dnsmsg_name_from_text(&name, text));
  assert_int_equal(name.len, 255);
  text[253] = 'x';
  text[254] = '\0';
  assert_false(km_dnsmsg_name_from_text(&name, text));
}

/* A dot within a label is no boundary. */
static void test_equality(void **state) {
  (void)state;
  km_dns_name a, b;
  uint8_t bytes[] = "\0\0\0\0\0\0\0\0\0\0\0\0\x03"
                    "a.b";
  km_dnsmsg m;
  assert_int_equal(km_dnsmsg_open(&m, bytes, sizeof bytes), 0);
  assert_int_equal(km_dnsmsg_name_at(&m, 12, &a), 5);
  assert_true(km_dnsmsg_name_from_text(&b, "a.b"));
  assert_int_equal(a.len, b.len);
  assert_false(km_dns_name_equal(&a, &b));
  assert_true(km_dnsmsg_name_from_text(&a, "A.B."));
  assert_true(km_dns_name_equal(&a, &b));
  assert_true(km_dnsmsg_name_from_text(&a, "a.b.c"));
  assert_false(km_dns_name_equal(&a, &b));
}

/* --- messages ----------------------------------------------------------------------------------*/

/* One question, two answers (the second one's owner a pointer), an authority, an additional. */
static const char whole[] = "abcd81800001000200010001"
                            "0161"
                            "00"
                            "00100001"
                            "c00c00050001ffffffff0003"
                            "0162"
                            "00"
                            "c00c00100001"
                            "0000001e0005"
                            "0161026263"
                            "000002000100000e100002c00c"
                            "0000290000000000000000";

static void test_message(void **state) {
  (void)state;
  uint8_t bytes[128];
  size_t len = from_hex(bytes, sizeof bytes, whole);
  km_dnsmsg m;
  km_dnsmsg_rr rr;
  km_dns_name name;
  char text[16];
  assert_int_equal(km_dnsmsg_open(&m, bytes, len), 0);
  assert_int_equal(m.id, 0xabcd);
  assert_int_equal(m.flags, 0x8180);

  memset(&rr, 0xff, sizeof rr);
  assert_int_equal(km_dnsmsg_next(&m, &rr), 1);
  assert_int_equal(rr.section, KM_DNSMSG_QUESTION);
  assert_int_equal(rr.ttl_s, 0);
  assert_int_equal(rr.rdata_len, 0);
  assert_int_equal(rr.type, KM_DNSMSG_TYPE_TXT);
  assert_int_equal(rr.class_, KM_DNSMSG_CLASS_IN);
  assert_null(rr.rdata);
  assert_false(km_dnsmsg_rdata_name(&m, &rr, &name));

  assert_int_equal(km_dnsmsg_next(&m, &rr), 1);
  assert_int_equal(rr.section, KM_DNSMSG_ANSWER);
  assert_int_equal(rr.type, KM_DNSMSG_TYPE_CNAME);
  assert_int_equal(rr.ttl_s, 0); /* the highest bit makes it none */
  assert_int_equal(rr.owner.len, 3);
  assert_true(km_dnsmsg_rdata_name(&m, &rr, &name));
  assert_memory_equal(name.bytes,
                      "\x01"
                      "b",
                      3);

  assert_int_equal(km_dnsmsg_next(&m, &rr), 1);
  assert_int_equal(rr.section, KM_DNSMSG_ANSWER);
  assert_int_equal(rr.ttl_s, 30);
  assert_int_equal(km_dnsmsg_txt_join(&rr, text, sizeof text), 3);
  assert_memory_equal(text, "abc", 3);
  assert_false(km_dnsmsg_rdata_name(&m, &rr, &name)); /* 01 61 02 62 63: no end */

  assert_int_equal(km_dnsmsg_next(&m, &rr), 1);
  assert_int_equal(rr.section, KM_DNSMSG_AUTHORITY);
  assert_int_equal(rr.ttl_s, 3600);
  assert_true(km_dnsmsg_rdata_name(&m, &rr, &name));

  assert_int_equal(km_dnsmsg_next(&m, &rr), 1);
  assert_int_equal(rr.section, KM_DNSMSG_ADDITIONAL);
  assert_int_equal(rr.type, 41);
  assert_int_equal(rr.rdata_len, 0);
  assert_int_equal(km_dnsmsg_next(&m, &rr), 0);
  assert_int_equal(km_dnsmsg_next(&m, &rr), 0);
}

static void test_ttl(void **state) {
  (void)state;
  static const struct {
    const char *ttl;
    uint32_t read;
  } cases[] = {
      {"00000000", 0}, {"0000001e", 30}, {"7fffffff", INT32_MAX}, {"80000000", 0}, {"8000001e", 0}};
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    char hex[128];
    uint8_t bytes[64];
    km_dnsmsg m;
    km_dnsmsg_rr rr;
    (void)snprintf(hex, sizeof hex,
                   "000080000000000100000000"
                   "00"
                   "00100001"
                   "%s"
                   "0000",
                   cases[i].ttl);
    size_t len = from_hex(bytes, sizeof bytes, hex);
    assert_int_equal(km_dnsmsg_open(&m, bytes, len), 0);
    assert_int_equal(km_dnsmsg_next(&m, &rr), 1);
    assert_int_equal(rr.ttl_s, cases[i].read);
  }
}

static int walk(const uint8_t *bytes, size_t len) {
  km_dnsmsg m;
  km_dnsmsg_rr rr;
  int rv = km_dnsmsg_open(&m, bytes, len);
  while (rv == 0 && (rv = km_dnsmsg_next(&m, &rr)) > 0) {
    rv = 0;
  }
  return rv;
}

static void test_truncated(void **state) {
  (void)state;
  uint8_t bytes[128];
  size_t len = from_hex(bytes, sizeof bytes, whole);
  for (size_t cut = 0; cut <= len + 1; cut++) {
    uint8_t *exact = malloc(cut + 1);
    memcpy(exact, bytes, cut < len ? cut : len);
    exact[cut < len ? cut : len] = 0;
    /* One byte more than the message is left alone: c-ares and iroh's parser do so too. */
    assert_int_equal(walk(exact, cut), cut < len ? KM_ERR_BAD_PACKET : 0);
    free(exact);
  }
}

static void test_sizes(void **state) {
  (void)state;
  uint8_t *big = calloc(1, KM_DNSMSG_MAX + 1);
  assert_non_null(big);
  km_dnsmsg m;
  assert_int_equal(km_dnsmsg_open(&m, big, KM_DNSMSG_MAX), 0);
  assert_int_equal(km_dnsmsg_open(&m, big, KM_DNSMSG_MAX + 1), KM_ERR_BAD_PACKET);
  assert_int_equal(km_dnsmsg_open(&m, big, 11), KM_ERR_BAD_PACKET);
  /* 65535 records promised, nothing there. */
  memset(big + 4, 0xff, 8);
  assert_int_equal(walk(big, 12), KM_ERR_BAD_PACKET);
  free(big);
}

static void test_txt(void **state) {
  (void)state;
  static const struct {
    const char *hex;
    int result;
    const char *text;
  } cases[] = {
      {"", KM_ERR_BAD_PACKET, ""},
      {"00", 0, ""},
      {"0161", 1, "a"},
      {"016100026263", 3, "abc"},
      {"02", KM_ERR_BAD_PACKET, ""},
      {"0161ff62", KM_ERR_BAD_PACKET, ""},
      {"0461626364", 4, "abcd"},
      {"056162636465", KM_ERR_LIMIT, ""},
      {"0361626302"
       "6465",
       KM_ERR_LIMIT, ""},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    uint8_t bytes[16];
    char text[4];
    km_dnsmsg_rr rr = {.rdata = bytes};
    rr.rdata_len = (uint16_t)from_hex(bytes, sizeof bytes, cases[i].hex);
    int rv = km_dnsmsg_txt_join(&rr, text, sizeof text);
    if (rv != cases[i].result) {
      fail_msg("%s: %d, not %d", cases[i].hex, rv, cases[i].result);
    }
    if (rv > 0) {
      assert_memory_equal(text, cases[i].text, (size_t)rv);
    }
  }
}

/* --- beside c-ares -----------------------------------------------------------------------------*/

static uint32_t next_random(uint32_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 17;
  *state ^= *state << 5;
  return *state;
}

/* What c-ares reads, we read as the same: TXT records, counts, TTLs. */
static bool same_as_cares(const uint8_t *bytes, size_t len) {
  ares_dns_record_t *theirs;
  if (ares_dns_parse(bytes, len, 0, &theirs) != ARES_SUCCESS) {
    return false;
  }
  km_dnsmsg m;
  km_dnsmsg_rr rr;
  assert_int_equal(km_dnsmsg_open(&m, bytes, len), 0);
  assert_int_equal(km_dnsmsg_next(&m, &rr), 1);
  size_t answers = ares_dns_record_rr_cnt(theirs, ARES_SECTION_ANSWER);
  assert_int_equal(m.left[KM_DNSMSG_ANSWER], answers);
  for (size_t i = 0; i < answers; i++) {
    const ares_dns_rr_t *t = ares_dns_record_rr_get_const(theirs, ARES_SECTION_ANSWER, i);
    assert_int_equal(km_dnsmsg_next(&m, &rr), 1);
    if (ares_dns_rr_get_type(t) != ARES_REC_TYPE_TXT) {
      continue;
    }
    char text[1024];
    size_t n;
    int ours = km_dnsmsg_txt_join(&rr, text, sizeof text);
    const uint8_t *bin = ares_dns_rr_get_bin(t, ARES_RR_TXT_DATA, &n);
    assert_int_equal(ours, n);
    assert_true(n == 0 || memcmp(text, bin, n) == 0);
    uint32_t ttl = ares_dns_rr_get_ttl(t);
    assert_int_equal(rr.ttl_s, ttl > INT32_MAX ? 0 : ttl);
  }
  ares_dns_record_destroy(theirs);
  return true;
}

static void test_beside_cares(void **state) {
  (void)state;
  uint8_t bytes[128], changed[128];
  uint32_t seed = 20261121;
  size_t read = 0;
  size_t len = from_hex(bytes, sizeof bytes, whole);
  assert_true(same_as_cares(bytes, len));
  for (int i = 0; i < 5000; i++) {
    memcpy(changed, bytes, len);
    for (uint32_t n = next_random(&seed) % 4; n > 0; n--) {
      changed[next_random(&seed) % len] = (uint8_t)next_random(&seed);
    }
    read += same_as_cares(changed, len);
  }
  assert_true(read > 300); /* it was no empty comparison */
}

/* Why this reader is here. */
static void test_cares_needs_a_question(void **state) {
  (void)state;
  uint8_t bytes[12];
  ares_dns_record_t *record;
  size_t len = from_hex(bytes, sizeof bytes, HEADER);
  assert_int_equal(walk(bytes, len), 0);
  assert_int_not_equal(ares_dns_parse(bytes, len, 0, &record), ARES_SUCCESS);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_names),         cmocka_unit_test(test_longest_name),
      cmocka_unit_test(test_pointer_chain), cmocka_unit_test(test_name_from_text),
      cmocka_unit_test(test_equality),      cmocka_unit_test(test_message),
      cmocka_unit_test(test_truncated),     cmocka_unit_test(test_ttl),
      cmocka_unit_test(test_sizes),         cmocka_unit_test(test_txt),
      cmocka_unit_test(test_beside_cares),  cmocka_unit_test(test_cares_needs_a_question),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
