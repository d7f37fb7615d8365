/* The lines of a file of peers. */
#include "discovery/peer_file.h"

#include <keymesh/ticket.h>

#include "core_lab.h"

typedef struct bad {
  char text[4096]; /* "number: why\n" of each */
} bad;

static void on_bad(void *ctx, uint32_t number, const char *why) {
  bad *b = ctx;
  size_t len = strlen(b->text);
  (void)snprintf(b->text + len, sizeof b->text - len, "%u: %s\n", (unsigned)number, why);
}

static void init(km_peer_file *f, const km_env *env, const char *text, size_t len) {
  char *copy = km_env_alloc(env, len);
  assert_non_null(copy);
  memcpy(copy, text, len);
  km_peer_file_init(f, env, copy, len);
}

static void read_text(km_peer_file *f, const char *text, size_t len, size_t step, bad *b) {
  init(f, &km_env_system, text, len);
  b->text[0] = '\0';
  int rv;
  size_t steps = 0;
  while ((rv = km_peer_file_step(f, step, on_bad, b)) > 0) {
    assert_true(++steps <= len);
  }
  assert_int_equal(rv, 0);
}

static void expect(const km_peer_file *f, uint32_t number, const char *want) {
  km_id id = lab_id(number);
  size_t at = km_peer_file_find(f, &id);
  if (want == NULL) {
    assert_int_equal(at, f->count);
    return;
  }
  km_addr *addr;
  char ways[4096];
  assert_true(at < f->count);
  assert_int_equal(km_peer_file_addr(f, at, &addr), 0);
  km_ways_write(addr, ways, sizeof ways);
  assert_true(km_id_equal(km_addr_id(addr), &id));
  assert_string_equal(ways, want);
  km_addr_free(addr);
}

static const char *hex(uint32_t number) {
  static char text[16][KM_ID_TEXT_CAP];
  static size_t turn;
  km_id id = lab_id(number);
  char *ret = text[turn++ % 16];
  assert_true(km_id_format(&id, KM_ID_HEX, ret, KM_ID_TEXT_CAP) > 0);
  return ret;
}

static void lines(void **state) {
  (void)state;
  char ticket[1024], text[4096];
  km_addr *addr = lab_addr(2, "192.0.2.2:2 https://r.example/");
  assert_int_equal(km_ticket_format(addr, ticket, sizeof ticket, NULL), 0);
  km_addr_free(addr);
  int len = snprintf(text, sizeof text,
                     "\xef\xbb\xbf# peers\n\n"
                     "  %s\t192.0.2.1:1 HTTPS://Relay.Example:443 [2001:db8::1]:7 # mine\r\n"
                     "%s#none\n" /* 4: it is part of the word */
                     "%s\n"
                     "%s # 6: nothing behind it\n"
                     "%s 192.0.2.1\n" /* 7 */
                     "hello 192.0.2.1:1\n"
                     "%s 192.0.2.1:9 # 9: more of the first\n"
                     "%s ftp://x.example/\n" /* 10: any scheme is a relay's */
                     "%s 192.0.2.3:3",       /* 11: no newline */
                     hex(1), hex(9), ticket, hex(3), hex(4), hex(1), hex(6), hex(5));
  assert_true(len > 0 && (size_t)len < sizeof text);
  for (size_t step = 1; step <= 20; step += 19) {
    km_peer_file f;
    bad b;
    read_text(&f, text, (size_t)len, step, &b);
    expect(&f, 1, "192.0.2.1:1 192.0.2.1:9 [2001:db8::1]:7 https://relay.example/");
    expect(&f, 2, "192.0.2.2:2 https://r.example/");
    expect(&f, 3, NULL);
    expect(&f, 4, NULL);
    expect(&f, 5, "192.0.2.3:3");
    expect(&f, 6, "ftp://x.example/");
    assert_int_equal(f.bad, 4);
    assert_non_null(strstr(b.text, "4: not an endpoint id: it has 69 characters"));
    assert_non_null(strstr(b.text, "6: no address: write IP:PORT"));
    assert_non_null(strstr(b.text, "7: "));
    assert_non_null(strstr(b.text, "8: not an endpoint id: it has 5 characters"));
    assert_null(strstr(b.text, "9: "));
    km_peer_file_clear(&f);
  }
}

static void nothing(void **state) {
  (void)state;
  static const char *const texts[] = {"", "\n", "#", "\n\n#\n  \t\r\n"};
  for (size_t i = 0; i < COUNT_OF(texts); i++) {
    km_peer_file f;
    bad b;
    read_text(&f, texts[i], strlen(texts[i]), 1, &b);
    assert_int_equal(f.count, 0);
    assert_string_equal(b.text, "");
    expect(&f, 1, NULL);
    km_peer_file_clear(&f);
  }
}

static void strange_bytes(void **state) {
  (void)state;
  char text[256];
  int len = snprintf(text, sizeof text, "%s 192.0.2.1:1\n%s 192.0.2.1:1", hex(1), hex(2));
  assert_true(len > 0);
  for (int at = 0; at < len; at++) { /* a NUL, or half of a character, anywhere */
    for (int value = 0; value <= 0xc3; value += 0xc3) {
      char copy[256];
      memcpy(copy, text, sizeof copy);
      copy[at] = (char)value;
      km_peer_file f;
      bad b;
      read_text(&f, copy, (size_t)len, SIZE_MAX, &b);
      assert_true(f.count < 2 && f.count + f.bad >= 1);
      km_peer_file_clear(&f);
    }
  }
}

static void many_addresses(void **state) {
  (void)state;
  char text[8192] = "";
  size_t len = 0;
  for (int line = 0; line < 2; line++) { /* each within the limit, together beyond */
    len += (size_t)snprintf(text + len, sizeof text - len, "%s", hex(1));
    for (int i = 0; i < KM_ADDR_MAX_DIRECT; i++) {
      len += (size_t)snprintf(text + len, sizeof text - len, " 192.0.2.%d:%d", line, i + 1);
    }
    len += (size_t)snprintf(text + len, sizeof text - len, "\n");
  }
  km_peer_file f;
  bad b;
  read_text(&f, text, len, SIZE_MAX, &b);
  assert_int_equal(f.bad, 0);
  km_addr *addr;
  assert_int_equal(km_peer_file_addr(&f, 0, &addr), 0);
  assert_int_equal(km_addr_udp_count(addr), KM_ADDR_MAX_DIRECT);
  km_addr_free(addr);
  km_peer_file_clear(&f);
  len -= 1;
  (void)snprintf(text + len, sizeof text - len, " 192.0.2.1:7777\n");
  read_text(&f, text, strlen(text), SIZE_MAX, &b);
  assert_string_equal(b.text, "2: more addresses than one peer can have\n");
  km_peer_file_clear(&f);
}

static void too_many_lines(void **state) {
  (void)state;
  char line[128];
  int one = snprintf(line, sizeof line, "%s 192.0.2.1:1\n", hex(1));
  assert_true(one > 0);
  size_t len = (size_t)one * (KM_PEER_FILE_MAX_LINES + 1);
  char *text = malloc(len);
  assert_non_null(text);
  for (size_t i = 0; i <= KM_PEER_FILE_MAX_LINES; i++) {
    memcpy(text + i * (size_t)one, line, (size_t)one);
  }
  km_peer_file f;
  bad b = {""};
  init(&f, &km_env_system, text, len);
  assert_int_equal(km_peer_file_step(&f, SIZE_MAX, on_bad, &b), KM_ERR_LIMIT);
  km_peer_file_clear(&f);
  read_text(&f, text, len - (size_t)one, SIZE_MAX, &b);
  assert_int_equal(f.count, KM_PEER_FILE_MAX_LINES);
  expect(&f, 1, "192.0.2.1:1");
  assert_int_equal(km_peer_file_next(&f, 0), f.count);
  km_peer_file_clear(&f);
  free(text);
}

static void without_memory(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t);
  char text[512];
  int len = snprintf(text, sizeof text, "%s 192.0.2.1:1 https://r.example/\n%s 192.0.2.1:1", hex(1),
                     hex(2));
  assert_true(len > 0);
  int rv = KM_ERR_NOMEM;
  for (long n = 0; rv == KM_ERR_NOMEM; n++) {
    assert_true(n < 1000);
    t.fail_after = -1;
    km_peer_file f;
    bad b = {""};
    init(&f, &t.env, text, (size_t)len);
    t.fail_after = n;
    rv = km_peer_file_step(&f, SIZE_MAX, on_bad, &b);
    km_addr *addr;
    if (rv == 0) {
      rv = km_peer_file_addr(&f, 0, &addr);
    }
    if (rv == 0) {
      km_addr_free(addr);
    }
    km_peer_file_clear(&f);
    assert_int_equal(t.live, 0);
    assert_string_equal(b.text, ""); /* want of memory is no fault of the line's */
  }
  assert_int_equal(rv, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lines),          cmocka_unit_test(nothing),
      cmocka_unit_test(strange_bytes),  cmocka_unit_test(many_addresses),
      cmocka_unit_test(too_many_lines), cmocka_unit_test(without_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
