/* Messages of multicast DNS: what is written is read, and what is damaged is not. */
#include "discovery/mdns_packet.h"

#include <stdio.h>

#include "test/base/test_env.h"

static km_mdns_name named(const char *text) {
  km_mdns_name name;
  assert_true(km_mdns_name_set(&name, text));
  return name;
}

static void names(void **state) {
  (void)state;
  km_mdns_name a = named("AbC._irohv1._UDP.local"), b = named("abc._irohv1._udp.local");
  km_mdns_name service = named("_irohv1._udp.local"), made, root;
  const char *label;
  size_t len;
  assert_true(km_mdns_name_equal(&a, &b));
  assert_true(km_mdns_name_under(&a, &service, &label, &len));
  assert_int_equal(len, 3);
  assert_memory_equal(label, "abc", 3);
  assert_false(km_mdns_name_under(&service, &service, &label, &len));
  assert_false(km_mdns_name_under(&service, &a, &label, &len));
  assert_true(km_mdns_name_prefix(&made, "ABC", 3, &service));
  assert_true(km_mdns_name_equal(&made, &a));
  assert_true(km_mdns_name_set(&root, ""));
  assert_int_equal(root.len, 1);
  assert_false(km_mdns_name_under(&root, &service, &label, &len));
}

static void names_that_are_none(void **state) {
  (void)state;
  km_mdns_name name;
  char text[300];
  assert_false(km_mdns_name_set(&name, "a..b"));
  assert_false(km_mdns_name_set(&name, ".a"));
  memset(text, 'x', sizeof text);
  text[64] = '\0';
  assert_false(km_mdns_name_set(&name, text));
  text[63] = '\0';
  assert_true(km_mdns_name_set(&name, text));
  /* 4 * 62 + 3 dots: 4 * 63 + 1 = 253 bytes; one label more is too much. */
  for (size_t i = 0; i < 4; i++) {
    memset(text + 63 * i, 'x', 62);
    text[63 * i + 62] = '.';
  }
  text[251] = '\0';
  assert_true(km_mdns_name_set(&name, text));
  assert_int_equal(name.len, 253);
  km_mdns_name longer;
  assert_true(km_mdns_name_prefix(&longer, "y", 1, &name));
  assert_int_equal(longer.len, 255);
  assert_false(km_mdns_name_prefix(&longer, "yy", 2, &name));
  assert_false(km_mdns_name_prefix(&longer, "", 0, &name));
}

/* One of each, as we send them. */
static size_t write_all(uint8_t *bytes, size_t cap) {
  km_mdns_writer w;
  km_mdns_name service = named("_irohv1._udp.local"), instance = named("me._irohv1._udp.local");
  km_mdns_name host = named("me-4433.local");
  km_udp_addr v4 = {.family = 4, .ip = {192, 0, 2, 1}};
  km_udp_addr v6 = {.family = 6, .ip = {0x20, 1, 0xd, 0xb8, [15] = 1}};
  km_mdns_writer_init(&w, bytes, cap, 0, true);
  assert_true(km_mdns_write_question(&w, &service, KM_MDNS_PTR));
  assert_true(km_mdns_write_ptr(&w, KM_MDNS_ANSWERS, &service, 120, &instance));
  assert_true(km_mdns_write_srv(&w, KM_MDNS_ANSWERS, &instance, 120, 4433, &host));
  assert_true(km_mdns_write_txt(&w, KM_MDNS_ANSWERS, &instance, 0x12345678,
                                (const uint8_t *)"\3abc\0\2de", 8));
  assert_true(km_mdns_write_ip(&w, KM_MDNS_ADDITIONALS, &host, 120, &v4));
  assert_true(km_mdns_write_ip(&w, KM_MDNS_ADDITIONALS, &host, 120, &v6));
  return w.len;
}

static void expect_item(km_mdns_reader *r, km_mdns_item *item, km_mdns_section section,
                        const char *name, uint16_t type, uint32_t ttl) {
  km_mdns_name expected = named(name);
  assert_true(km_mdns_next_item(r, item));
  assert_int_equal(item->section, section);
  assert_true(km_mdns_name_equal(&item->name, &expected));
  assert_int_equal(item->type, type);
  assert_int_equal(item->class, KM_MDNS_CLASS_IN);
  assert_false(item->flag);
  assert_int_equal(item->ttl, ttl);
}

static void written_and_read(void **state) {
  (void)state;
  uint8_t bytes[512];
  km_mdns_reader r;
  km_mdns_item item;
  km_mdns_name name, instance = named("me._irohv1._udp.local"), host = named("me-4433.local");
  km_udp_addr addr;
  uint16_t port;
  const char *text;
  size_t len = write_all(bytes, sizeof bytes), at = 0, n;
  assert_true(km_mdns_open(&r, bytes, len));
  assert_true(r.response);
  assert_false(r.truncated);
  assert_int_equal(r.id, 0);
  expect_item(&r, &item, KM_MDNS_QUESTIONS, "_irohv1._udp.local", KM_MDNS_PTR, 0);
  expect_item(&r, &item, KM_MDNS_ANSWERS, "_irohv1._udp.local", KM_MDNS_PTR, 120);
  assert_true(km_mdns_read_ptr(&r, &item, &name) && km_mdns_name_equal(&name, &instance));
  assert_false(km_mdns_read_srv(&r, &item, &port, &name));
  assert_false(km_mdns_read_ip(&item, &addr));
  assert_false(km_mdns_read_txt(&item, &at, &text, &n));
  expect_item(&r, &item, KM_MDNS_ANSWERS, "me._irohv1._udp.local", KM_MDNS_SRV, 120);
  assert_true(km_mdns_read_srv(&r, &item, &port, &name) && km_mdns_name_equal(&name, &host));
  assert_int_equal(port, 4433);
  assert_false(km_mdns_read_ptr(&r, &item, &name));
  expect_item(&r, &item, KM_MDNS_ANSWERS, "me._irohv1._udp.local", KM_MDNS_TXT, 0x12345678);
  assert_true(km_mdns_read_txt(&item, &at, &text, &n) && n == 3 && memcmp(text, "abc", 3) == 0);
  assert_true(km_mdns_read_txt(&item, &at, &text, &n) && n == 0);
  assert_true(km_mdns_read_txt(&item, &at, &text, &n) && n == 2 && memcmp(text, "de", 2) == 0);
  assert_false(km_mdns_read_txt(&item, &at, &text, &n));
  expect_item(&r, &item, KM_MDNS_ADDITIONALS, "me-4433.local", KM_MDNS_A, 120);
  assert_true(km_mdns_read_ip(&item, &addr) && addr.family == 4 && addr.ip[0] == 192);
  expect_item(&r, &item, KM_MDNS_ADDITIONALS, "me-4433.local", KM_MDNS_AAAA, 120);
  assert_true(km_mdns_read_ip(&item, &addr) && addr.family == 6 && addr.ip[15] == 1);
  assert_false(km_mdns_next_item(&r, &item));
  assert_false(r.damaged);
  assert_int_equal(r.at, len);
}

static void names_are_compressed(void **state) {
  (void)state;
  uint8_t bytes[512];
  /* 12 + question 18+2+4 + PTR 2+10+5 + SRV 2+10+6+10 (me-4433 and a pointer) + TXT 2+10+8
   * + A 2+10+4 + AAAA 2+10+16 */
  assert_int_equal(write_all(bytes, sizeof bytes), 12 + 24 + 17 + 28 + 20 + 16 + 28);
}

static void what_does_not_fit_is_taken_back(void **state) {
  (void)state;
  uint8_t whole[512], bytes[512];
  size_t len = write_all(whole, sizeof whole);
  km_mdns_name service = named("_irohv1._udp.local"), instance = named("me._irohv1._udp.local");
  for (size_t cap = 0; cap < len; cap++) {
    km_mdns_writer w;
    km_mdns_reader r;
    km_mdns_item item;
    unsigned written = 0, seen = 0;
    km_mdns_writer_init(&w, bytes, cap, 7, false);
    for (int i = 0; i < 3; i++) {
      written += km_mdns_write_question(&w, &service, KM_MDNS_PTR) ? 1 : 0;
    }
    for (int i = 0; i < 3; i++) {
      written += km_mdns_write_ptr(&w, KM_MDNS_ANSWERS, &service, 1, &instance) ? 1 : 0;
    }
    if (cap < 12) {
      assert_int_equal(written, 0);
      continue;
    }
    assert_true(w.len <= cap);
    assert_true(km_mdns_open(&r, bytes, w.len));
    assert_int_equal(r.id, 7);
    assert_false(r.response);
    while (km_mdns_next_item(&r, &item)) {
      seen++;
    }
    assert_false(r.damaged);
    assert_int_equal(seen, written);
  }
}

/* Cut anywhere, it is damaged, and nothing behind the cut is read. */
static void cut_messages(void **state) {
  (void)state;
  uint8_t bytes[512];
  size_t len = write_all(bytes, sizeof bytes);
  for (size_t cut = 0; cut < len; cut++) {
    uint8_t *exact = malloc(cut > 0 ? cut : 1);
    km_mdns_reader r;
    km_mdns_item item;
    unsigned seen = 0;
    assert_non_null(exact);
    memcpy(exact, bytes, cut);
    if (!km_mdns_open(&r, exact, cut)) {
      assert_true(cut < 12);
      free(exact);
      continue;
    }
    while (km_mdns_next_item(&r, &item)) {
      km_mdns_name name;
      km_udp_addr addr;
      uint16_t port;
      const char *text;
      size_t at = 0, n;
      (void)km_mdns_read_ptr(&r, &item, &name);
      (void)km_mdns_read_srv(&r, &item, &port, &name);
      (void)km_mdns_read_ip(&item, &addr);
      while (item.section != KM_MDNS_QUESTIONS && km_mdns_read_txt(&item, &at, &text, &n)) {
      }
      seen++;
    }
    assert_true(r.damaged);
    assert_true(seen < 6);
    assert_false(km_mdns_next_item(&r, &item)); /* and stays so */
    free(exact);
  }
}

/* A question whose name is `name`, at byte 12. */
static bool read_name(const uint8_t *name, size_t len, km_mdns_item *ret) {
  uint8_t bytes[600] = {0, 0, 0, 0, 0, 1};
  km_mdns_reader r;
  memcpy(bytes + 12, name, len);
  assert_true(km_mdns_open(&r, bytes, 12 + len + 4));
  return km_mdns_next_item(&r, ret);
}

static void pointers_that_lead_nowhere(void **state) {
  (void)state;
  km_mdns_item item;
  assert_false(read_name((const uint8_t *)"\xc0\x0c", 2, &item));         /* itself */
  assert_false(read_name((const uint8_t *)"\x01z\xc0\x0c", 4, &item));    /* its own beginning */
  assert_false(read_name((const uint8_t *)"\xc0\x0e\xc0\x0c", 4, &item)); /* ahead */
  assert_false(read_name((const uint8_t *)"\xc0\x00", 2, &item));         /* the header */
  assert_false(read_name((const uint8_t *)"\xff\xff", 2, &item));
  assert_false(read_name((const uint8_t *)"\x80", 1, &item)); /* no kind of label */
  assert_false(read_name((const uint8_t *)"\x40", 1, &item));
  assert_true(read_name((const uint8_t *)"\1z\0", 3, &item));
  assert_int_equal(item.name.len, 3);
}

/* A second name that is a pointer to the first, up to the greatest length and beyond. */
static void long_names_by_pointers(void **state) {
  (void)state;
  for (unsigned more = 1; more <= 4; more++) {
    uint8_t bytes[700] = {0, 0, 0, 0, 0, 2};
    km_mdns_reader r;
    km_mdns_item item;
    size_t at = 12;
    for (int i = 0; i < 4; i++) {
      bytes[at] = 62;
      memset(bytes + at + 1, 'a', 62);
      at += 63;
    }
    bytes[at] = 0;
    at += 5;
    bytes[at] = (uint8_t)more;
    memset(bytes + at + 1, 'b', more);
    bytes[at + more + 1] = 0xc0;
    bytes[at + more + 2] = 12;
    at += more + 3 + 4;
    assert_true(km_mdns_open(&r, bytes, at));
    assert_true(km_mdns_next_item(&r, &item));
    assert_int_equal(km_mdns_next_item(&r, &item), more == 1);
  }
}

static void data_of_wrong_form(void **state) {
  (void)state;
  uint8_t bytes[64];
  km_mdns_reader r = {.bytes = bytes, .len = sizeof bytes};
  km_mdns_name name;
  km_udp_addr addr;
  uint16_t port;
  const char *text;
  size_t at = 0, n;
  memset(bytes, 0, sizeof bytes);
  km_mdns_item item = {.type = KM_MDNS_A, .data = bytes + 20, .len = 5};
  assert_false(km_mdns_read_ip(&item, &addr));
  item.type = KM_MDNS_AAAA;
  item.len = 4;
  assert_false(km_mdns_read_ip(&item, &addr));
  item.type = KM_MDNS_SRV;
  item.len = 6;
  assert_false(km_mdns_read_srv(&r, &item, &port, &name));
  item.len = 7;
  assert_true(km_mdns_read_srv(&r, &item, &port, &name)); /* the root */
  item.len = 8;
  assert_false(km_mdns_read_srv(&r, &item, &port, &name)); /* something behind it */
  item.type = KM_MDNS_PTR;
  item.len = 0;
  assert_false(km_mdns_read_ptr(&r, &item, &name));
  bytes[20] = 3; /* a label that ends behind the data */
  item.len = 3;
  assert_false(km_mdns_read_ptr(&r, &item, &name));
  item.type = KM_MDNS_TXT;
  assert_false(km_mdns_read_txt(&item, &at, &text, &n));
}

static void headers_that_are_to_be_ignored(void **state) {
  (void)state;
  uint8_t bytes[12] = {0};
  km_mdns_reader r;
  assert_true(km_mdns_open(&r, bytes, 12));
  bytes[2] = 0x02;
  assert_true(km_mdns_open(&r, bytes, 12) && r.truncated);
  bytes[2] = 0x08; /* opcode 1 */
  assert_false(km_mdns_open(&r, bytes, 12));
  bytes[2] = 0;
  bytes[3] = 3; /* "no such name" */
  assert_false(km_mdns_open(&r, bytes, 12));
  bytes[3] = 0x30; /* AD and CD are of no concern */
  assert_true(km_mdns_open(&r, bytes, 12));
}

static void too_many_records(void **state) {
  (void)state;
  static uint8_t bytes[12 + 5 * 1000];
  km_mdns_reader r;
  km_mdns_item item;
  unsigned seen = 0;
  bytes[4] = 1000 >> 8;
  bytes[5] = 1000 & 0xff;
  assert_true(km_mdns_open(&r, bytes, sizeof bytes));
  while (km_mdns_next_item(&r, &item)) {
    seen++;
  }
  assert_int_equal(seen, KM_MDNS_RECORDS_MAX);
  assert_true(r.damaged);
}

/* A name may be put together of a few parts, not of a hundred. */
static void chains_of_pointers(void **state) {
  (void)state;
  for (unsigned hops = 7; hops <= 10; hops++) {
    uint8_t bytes[256] = {[5] = 1};
    km_mdns_reader r;
    km_mdns_item item;
    size_t at = 12, last = 0;
    /* "a" and the end, then "a" and a pointer to the one before, in what is read as one question:
     * its name is the last of them. The first byte of each is before where it is pointed from. */
    for (unsigned i = 0; i <= hops; i++) {
      size_t here = at;
      bytes[at++] = 1;
      bytes[at++] = 'a';
      if (i == 0) {
        bytes[at++] = 0;
      } else {
        bytes[at++] = 0xc0;
        bytes[at++] = (uint8_t)last;
      }
      last = here;
    }
    bytes[at + 1] = KM_MDNS_A;
    bytes[at + 3] = KM_MDNS_CLASS_IN;
    assert_true(km_mdns_open(&r, bytes, at + 4));
    r.at = last;
    assert_int_equal(km_mdns_next_item(&r, &item), hops <= 8);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names),
      cmocka_unit_test(names_that_are_none),
      cmocka_unit_test(written_and_read),
      cmocka_unit_test(names_are_compressed),
      cmocka_unit_test(what_does_not_fit_is_taken_back),
      cmocka_unit_test(cut_messages),
      cmocka_unit_test(pointers_that_lead_nowhere),
      cmocka_unit_test(long_names_by_pointers),
      cmocka_unit_test(data_of_wrong_form),
      cmocka_unit_test(headers_that_are_to_be_ignored),
      cmocka_unit_test(too_many_records),
      cmocka_unit_test(chains_of_pointers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
