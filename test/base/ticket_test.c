#include <keymesh/ticket.h>

#include "base/addr_impl.h"
#include "base/enc.h"
#include "base/ticket_impl.h"
#include "test/base/test_env.h"
#include "test/base/vectors.h"

static int parse(km_addr **ret, const char *text) {
  return km_ticket_parse(ret, text, strlen(text), NULL);
}

static void assert_ticket(const km_addr *addr, const char *expected) {
  char text[1024];
  size_t len = 0;
  assert_int_equal(km_ticket_format(addr, text, sizeof text, &len), 0);
  assert_string_equal(text, expected);
  assert_int_equal(len, strlen(expected));
  /* A buffer without room for the NUL says what it needs. */
  len = 0;
  assert_int_equal(km_ticket_format(addr, text, strlen(expected), &len), KM_ERR_BUFFER);
  assert_int_equal(len, strlen(expected));
  assert_int_equal(km_ticket_format(addr, NULL, 0, NULL), KM_ERR_BUFFER);
}

static void assert_content(const km_addr *addr, const ticket_vector *v) {
  char text[KM_ID_TEXT_CAP];
  assert_int_equal(km_id_format(km_addr_id(addr), KM_ID_HEX, text, sizeof text), KM_ID_HEX_LEN);
  assert_string_equal(text, v->id);
  assert_int_equal(km_addr_relay_count(addr), v->relay_out != NULL);
  if (v->relay_out != NULL) {
    assert_string_equal(km_addr_relay_at(addr, 0), v->relay_out);
  }
  size_t count = 0;
  for (; v->udp_out[count] != NULL; count++) {
    const km_udp_addr *at = km_addr_udp_at(addr, count);
    assert_non_null(at);
    assert_true(km_udp_addr_format(at, text, sizeof text) > 0);
    assert_string_equal(text, v->udp_out[count]);
  }
  assert_int_equal(km_addr_udp_count(addr), count);
}

static void reads_and_writes_the_tickets_of_the_binding(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT_OF(ticket_vectors); i++) {
    const ticket_vector *v = &ticket_vectors[i];
    km_addr *addr;
    assert_int_equal(parse(&addr, v->ticket), 0);
    assert_content(addr, v);
    assert_ticket(addr, v->ticket);
    km_addr_free(addr);
  }
}

static void builds_the_tickets_of_the_binding(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT_OF(ticket_vectors); i++) {
    const ticket_vector *v = &ticket_vectors[i];
    km_id id;
    assert_int_equal(km_id_parse(&id, v->id, strlen(v->id), NULL), 0);
    km_addr *addr;
    assert_int_equal(km_addr_new(&addr, &id), 0);
    if (v->relay_in != NULL) {
      assert_int_equal(km_addr_add_relay(addr, v->relay_in, strlen(v->relay_in), NULL), 0);
    }
    for (size_t n = 0; v->udp_in[n] != NULL; n++) {
      km_udp_addr udp;
      assert_int_equal(km_udp_addr_parse(&udp, v->udp_in[n], strlen(v->udp_in[n]), NULL), 0);
      /* The binding writes port 0, the public function refuses to add it. */
      assert_int_equal(udp.port != 0 ? km_addr_add_udp(addr, &udp) : km_addr_insert_udp(addr, &udp),
                       0);
    }
    assert_ticket(addr, v->ticket);
    km_addr_free(addr);
  }
}

/* The ticket of `bytes` behind the head: variant 0 and the id of the second key vector. */
static int parse_body(km_addr **ret, const uint8_t *bytes, size_t len, km_errinfo *err) {
  uint8_t value[4096] = {0};
  assert_true(km_hex_decode(value + 1, KM_ID_BYTES, key_vectors[1].id, 64));
  assert_true(len <= sizeof value - 33);
  memcpy(value + 33, bytes, len);
  char text[8 + KM_BASE32_LEN(sizeof value) + 1] = "endpoint";
  km_base32_encode(KM_BASE32_RFC4648, text + 8, value, 33 + len);
  return km_ticket_parse(ret, text, strlen(text), err);
}

static void takes_and_refuses_the_bodies_that_the_binding_does(void **state) {
  (void)state;
  static const struct {
    int result;
    size_t len;
    uint8_t body[48];
    size_t udp_count;
  } cases[] = {
      {0, 1, {0}, 0},
      {KM_ERR_BAD_TICKET, 0, {0}, 0},
      {0, 4, {0, 1, 2, 3}, 0}, /* bytes behind the end */
      {0, 8, {1, 1, 0, 10, 0, 0, 1, 9}, 1},
      {0, 9, {1, 1, 0, 10, 0, 0, 1, 0x89, 0x00}, 1}, /* a port longer than need be */
      {KM_ERR_BAD_TICKET, 10, {1, 1, 0, 10, 0, 0, 1, 0xff, 0xff, 0x07}, 0}, /* port 131071 */
      {KM_ERR_BAD_TICKET, 7, {1, 1, 0, 10, 0, 0, 1}, 0},                    /* no port */
      {KM_ERR_BAD_TICKET, 8, {2, 1, 0, 10, 0, 0, 1, 9}, 0},                 /* one of two */
      {KM_ERR_BAD_TICKET, 8, {1, 1, 2, 10, 0, 0, 1, 9}, 0},                 /* family */
      {KM_ERR_BAD_TICKET, 5, {1, 3, 0, 0, 0}, 0},                           /* kind of address */
      {KM_ERR_BAD_TICKET, 6, {1, 0, 3, 'f', 'o', 'o'}, 0},                  /* a url that is none */
      {KM_ERR_BAD_TICKET, 3, {1, 0, 3}, 0},
      {KM_ERR_BAD_TICKET, 12, {1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 0},
      {0, 22, {3, 1, 0, 10, 0, 0, 2, 9, 1, 0, 10, 0, 0, 1, 9, 1, 0, 10, 0, 0, 2, 9}, 2},
      /* Custom transports, both layouts: skipped. */
      {0, 13, {2, 2, 7, 1, 1, 5, 1, 0, 10, 0, 0, 1, 9}, 1},
      {0, 14, {2, 2, 7, 3, 1, 2, 3, 1, 0, 10, 0, 0, 1, 9}, 1},
      {0, 35, {1, 2, 7, 0, 30}, 0}, /* inline: always 30 bytes */
      {0, 42, {2, 2, 7, 0, 3, [35] = 1, 0, 10, 0, 0, 1, 9}, 1},
      {0, 7, {1, 2, 7, 3, 1, 2, 3}, 0},              /* the later layout */
      {KM_ERR_BAD_TICKET, 6, {1, 2, 7, 3, 1, 2}, 0}, /* cut in either */
      {KM_ERR_BAD_TICKET, 3, {1, 2, 0x80}, 0},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    km_addr *addr = NULL;
    km_errinfo err = {0};
    assert_int_equal(parse_body(&addr, cases[i].body, cases[i].len, &err), cases[i].result);
    if (cases[i].result != 0) {
      assert_null(addr);
      assert_int_equal(err.code, cases[i].result);
      assert_true(strlen(err.text) > 20);
      continue;
    }
    assert_int_equal(km_addr_udp_count(addr), cases[i].udp_count);
    km_addr_free(addr);
  }
}

static void the_first_sentence_stays_when_no_layout_fits(void **state) {
  (void)state;
  const uint8_t body[] = {2, 2, 7, 1, 1, 5, 0, 3, 'f', 'o', 'o'};
  km_addr *addr;
  km_errinfo err;
  assert_int_equal(parse_body(&addr, body, sizeof body, &err), KM_ERR_BAD_TICKET);
  assert_non_null(strstr(err.text, "'foo'"));
}

static void takes_and_refuses_the_texts_that_the_binding_does(void **state) {
  (void)state;
  const char *good = ticket_vectors[6].ticket;
  size_t len = strlen(good);
  char text[512];
  km_addr *addr;

  memcpy(text, good, len + 1);
  for (size_t i = 8; i < len; i++) {
    text[i] = text[i] >= 'a' ? (char)(text[i] - 32) : text[i];
  }
  assert_int_equal(parse(&addr, text), 0); /* the body in upper case */
  assert_ticket(addr, good);
  km_addr_free(addr);
  text[0] = 'E';
  assert_int_equal(parse(&addr, text), KM_ERR_BAD_TICKET);

  static const char *const ends[] = {"\n", " ", "=", "======", "-"};
  for (size_t i = 0; i < COUNT_OF(ends); i++) {
    assert_true(snprintf(text, sizeof text, "%s%s", good, ends[i]) < (int)sizeof text);
    assert_int_equal(parse(&addr, text), KM_ERR_BAD_TICKET);
  }
  assert_true(snprintf(text, sizeof text, " %s", good) < (int)sizeof text);
  assert_int_equal(parse(&addr, text), KM_ERR_BAD_TICKET);
  assert_true(snprintf(text, sizeof text, "node%s", good + 8) < (int)sizeof text);
  assert_int_equal(parse(&addr, text), KM_ERR_BAD_TICKET);
  assert_int_equal(parse(&addr, ""), KM_ERR_BAD_TICKET);
  assert_int_equal(parse(&addr, "endpoin"), KM_ERR_BAD_TICKET);
  assert_int_equal(parse(&addr, "endpoint"), KM_ERR_BAD_TICKET);
  /* No part of a ticket is a ticket. */
  for (size_t n = 0; n < len; n++) {
    assert_int_equal(km_ticket_parse(&addr, good, n, NULL), KM_ERR_BAD_TICKET);
  }
}

static void other_versions_and_ids_that_are_none_are_refused(void **state) {
  (void)state;
  uint8_t value[34] = {1};
  char text[8 + KM_BASE32_LEN(sizeof value) + 1] = "endpoint";
  km_addr *addr;
  km_errinfo err;
  km_base32_encode(KM_BASE32_RFC4648, text + 8, value, sizeof value);
  assert_int_equal(km_ticket_parse(&addr, text, strlen(text), &err), KM_ERR_BAD_TICKET);
  assert_non_null(strstr(err.text, "version"));
  value[0] = 0;
  memset(value + 1, 2, 32);
  km_base32_encode(KM_BASE32_RFC4648, text + 8, value, sizeof value);
  assert_int_equal(km_ticket_parse(&addr, text, strlen(text), &err), KM_ERR_BAD_TICKET);
  assert_non_null(strstr(err.text, "public key"));
}

static void limits_hold(void **state) {
  (void)state;
  uint8_t body[1 + 33 * 8] = {33};
  for (size_t i = 0; i < 33; i++) {
    const uint8_t entry[] = {1, 0, 10, 0, 0, (uint8_t)i, 1};
    memcpy(body + 1 + i * sizeof entry, entry, sizeof entry);
  }
  km_addr *addr = NULL;
  km_errinfo err;
  assert_int_equal(parse_body(&addr, body, sizeof body, &err), KM_ERR_LIMIT);
  assert_int_equal(err.code, KM_ERR_LIMIT);
  body[0] = 32;
  assert_int_equal(parse_body(&addr, body, sizeof body, &err), 0);
  assert_int_equal(km_addr_udp_count(addr), 32);
  km_addr_free(addr);

  uint8_t relays[1 + 9 * 11] = {9};
  for (size_t i = 0; i < 9; i++) {
    uint8_t entry[] = {0, 9, 'h', 't', 't', 'p', ':', '/', '/', 'x', (uint8_t)('a' + i)};
    memcpy(relays + 1 + i * sizeof entry, entry, sizeof entry);
  }
  assert_int_equal(parse_body(&addr, relays, sizeof relays, &err), KM_ERR_LIMIT);
  assert_int_equal(err.code, KM_ERR_LIMIT);

  char *text = malloc(KM_TICKET_MAX + 1);
  assert_non_null(text);
  memset(text, 'a', KM_TICKET_MAX + 1);
  memcpy(text, "endpoint", 8);
  assert_int_equal(km_ticket_parse(&addr, text, KM_TICKET_MAX, NULL), 0); /* the zero id */
  km_addr_free(addr);
  assert_int_equal(km_ticket_parse(&addr, text, KM_TICKET_MAX + 1, &err), KM_ERR_BAD_TICKET);
  assert_non_null(strstr(err.text, "longer"));
  free(text);
}

static void the_largest_address_makes_a_ticket_that_reads_back(void **state) {
  (void)state;
  const km_id id = {{1}};
  km_addr *addr;
  assert_int_equal(km_addr_new(&addr, &id), 0);
  km_udp_addr udp = {.family = 6, .port = 65535};
  for (int i = 0; i < KM_ADDR_MAX_DIRECT; i++) {
    udp.ip[15] = (uint8_t)i;
    assert_int_equal(km_addr_add_udp(addr, &udp), 0);
  }
  char url[KM_RELAY_URL_MAX];
  memset(url, 'a', sizeof url);
  memcpy(url, "http://h/", 9);
  for (int i = 0; i < KM_ADDR_MAX_RELAYS; i++) {
    url[9] = (char)('a' + i);
    assert_int_equal(km_addr_add_relay(addr, url, sizeof url, NULL), 0);
  }
  static char text[KM_TICKET_MAX + 1];
  size_t len;
  assert_int_equal(km_ticket_format(addr, text, sizeof text, &len), 0);
  assert_int_equal(len, strlen(text));
  km_addr *back;
  assert_int_equal(km_ticket_parse(&back, text, len, NULL), 0);
  assert_int_equal(km_addr_udp_count(back), KM_ADDR_MAX_DIRECT);
  assert_int_equal(km_addr_relay_count(back), KM_ADDR_MAX_RELAYS);
  static char again[KM_TICKET_MAX + 1];
  assert_int_equal(km_ticket_format(back, again, sizeof again, NULL), 0);
  assert_string_equal(again, text);
  km_addr_free(addr);
  km_addr_free(back);
}

static void running_out_of_memory_leaks_nothing(void **state) {
  (void)state;
  const char *ticket = ticket_vectors[6].ticket;
  const long needed = 3; /* the bytes, the address, the url */
  for (long n = 0; n <= needed; n++) {
    test_env t;
    test_env_init(&t);
    t.fail_after = n;
    km_addr *addr = NULL;
    km_errinfo err = {0};
    int rv = km_ticket_parse_in(&addr, &t.env, ticket, strlen(ticket), &err);
    assert_int_equal(rv, n < needed ? KM_ERR_NOMEM : 0);
    assert_int_equal(err.code, rv);
    km_addr_free(addr);
    assert_int_equal(t.live, 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reads_and_writes_the_tickets_of_the_binding),
      cmocka_unit_test(builds_the_tickets_of_the_binding),
      cmocka_unit_test(takes_and_refuses_the_bodies_that_the_binding_does),
      cmocka_unit_test(the_first_sentence_stays_when_no_layout_fits),
      cmocka_unit_test(takes_and_refuses_the_texts_that_the_binding_does),
      cmocka_unit_test(other_versions_and_ids_that_are_none_are_refused),
      cmocka_unit_test(limits_hold),
      cmocka_unit_test(the_largest_address_makes_a_ticket_that_reads_back),
      cmocka_unit_test(running_out_of_memory_leaks_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
