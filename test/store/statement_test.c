/* Statements as bytes. */
#include "store/statement.h"

#include "test/store/trust_lab.h"

static km_statement example(km_statement_kind kind) {
  km_statement s = {.kind = kind, .at = START_S, .expires = START_S + 100};
  km_secret_key *key = lab_key(1);
  s.subject = lab_id(kind == KM_STATEMENT_ANNOUNCE ? 1 : 2);
  s.text = kind == KM_STATEMENT_WITHDRAW ? "" : "gr\xc3\xbc\x6e";
  s.text_len = strlen(s.text);
  km_statement_sign(&s, key);
  km_secret_key_free(key);
  return s;
}

static void resign(km_statement *s) {
  km_secret_key *key = lab_key(1);
  km_statement_sign(s, key);
  km_secret_key_free(key);
}

static void what_is_encoded_comes_back(void **state) {
  (void)state;
  for (int kind = KM_STATEMENT_ANNOUNCE; kind <= KM_STATEMENT_REVOKE; kind++) {
    km_statement s = example((km_statement_kind)kind), back;
    uint8_t buf[KM_STATEMENT_MAX];
    int len = km_statement_encode(&s, buf, sizeof buf);
    assert_int_equal(len, 84 + (int)s.text_len + KM_SIGNATURE_BYTES);
    assert_int_equal(km_statement_decode(&back, buf, (size_t)len, NULL), 0);
    assert_int_equal(back.kind, kind);
    assert_true(km_id_equal(&back.author, &s.author));
    assert_true(km_id_equal(&back.subject, &s.subject));
    assert_int_equal(back.at, s.at);
    assert_int_equal(back.expires, s.expires);
    assert_int_equal(back.text_len, s.text_len);
    assert_memory_equal(back.text, s.text, s.text_len);
    assert_int_equal(km_statement_compare(&s, &back), 0);
    for (int cap = 0; cap < len; cap++) {
      assert_int_equal(km_statement_encode(&s, buf, (size_t)cap), KM_ERR_BUFFER);
    }
  }
}

/* The layout that docs/protocol-mesh.md shows, and the signing domain, spelled out by hand. */
static void the_layout_is_the_documented_one(void **state) {
  (void)state;
  km_statement s = example(KM_STATEMENT_RECOMMEND);
  uint8_t buf[KM_STATEMENT_MAX], expected[KM_STATEMENT_MAX], signed_text[KM_STATEMENT_MAX];
  int len = km_statement_encode(&s, buf, sizeof buf);
  km_wr wr = km_wr_init(expected, sizeof expected);
  km_wr_u8(&wr, 1);
  km_wr_u8(&wr, 2);
  km_wr_bytes(&wr, s.author.bytes, 32);
  km_wr_bytes(&wr, s.subject.bytes, 32);
  km_wr_be(&wr, (uint64_t)START_S, 8);
  km_wr_be(&wr, (uint64_t)START_S + 100, 8);
  km_wr_be(&wr, 5, 2);
  km_wr_bytes(&wr, "gr\xc3\xbc\x6e", 5);
  size_t unsigned_len = (size_t)(wr.at - expected);
  assert_int_equal(len, (int)unsigned_len + 64);
  assert_memory_equal(buf, expected, unsigned_len);
  memcpy(signed_text, "KeyMesh statement 1", 20);
  memcpy(signed_text + 20, expected, unsigned_len);
  assert_int_equal(km_id_verify(&s.author, signed_text, 20 + unsigned_len, buf + unsigned_len), 0);
}

static void the_example_of_the_document_is_right(void **state) {
  (void)state;
  static const char subject[] = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
  uint8_t documented[KM_STATEMENT_MAX], buf[KM_STATEMENT_MAX];
  km_statement back, s = {.kind = KM_STATEMENT_RECOMMEND,
                          .at = 1800000000,
                          .expires = 1807776000,
                          .text = "laptop",
                          .text_len = 6};
  assert_int_equal(km_id_parse(&s.subject, subject, strlen(subject), NULL), 0);
  km_secret_key *key = lab_example_key();
  km_statement_sign(&s, key);
  km_secret_key_free(key);
  size_t len =
      lab_from_document(documented, sizeof documented, KM_MESH_DOCUMENT, "A statement in hex:");
  assert_int_equal(km_statement_encode(&s, buf, sizeof buf), (int)len);
  assert_memory_equal(buf, documented, len);
  assert_int_equal(km_statement_decode(&back, documented, len, NULL), 0);
}

static void every_changed_bit_is_noticed(void **state) {
  (void)state;
  km_statement s = example(KM_STATEMENT_RECOMMEND), back;
  uint8_t buf[KM_STATEMENT_MAX];
  int len = km_statement_encode(&s, buf, sizeof buf);
  for (int bit = 0; bit < len * 8; bit++) {
    buf[bit / 8] ^= (uint8_t)(1 << (bit % 8));
    int rv = km_statement_decode(&back, buf, (size_t)len, NULL);
    assert_true(rv == KM_ERR_BAD_PACKET || rv == KM_ERR_CRYPTO || rv == KM_ERR_UNSUPPORTED);
    buf[bit / 8] ^= (uint8_t)(1 << (bit % 8));
  }
  assert_int_equal(km_statement_decode(&back, buf, (size_t)len, NULL), 0);
}

static void cut_or_longer_it_is_refused(void **state) {
  (void)state;
  km_statement s = example(KM_STATEMENT_REVOKE), back;
  uint8_t buf[KM_STATEMENT_MAX] = {0};
  int len = km_statement_encode(&s, buf, sizeof buf);
  for (size_t n = 0; n < sizeof buf; n++) {
    uint8_t *exact = malloc(n + 1);
    assert_non_null(exact);
    memcpy(exact + 1, buf, n);
    int rv = km_statement_decode(&back, exact + 1, n, NULL);
    assert_int_equal(rv, n == (size_t)len ? 0 : KM_ERR_BAD_PACKET);
    free(exact);
  }
}

/* Signed by its author, and still against the rules. */
static void bad_statements_are_refused_although_signed(void **state) {
  (void)state;
  static const struct {
    km_statement_kind kind;
    int64_t at, expires;
    const char *text;
    unsigned subject;
  } bad[] = {
      {KM_STATEMENT_ANNOUNCE, START_S, 0, "name", 2},           /* of somebody else */
      {KM_STATEMENT_ANNOUNCE, START_S, 0, "", 1},               /* no name */
      {KM_STATEMENT_ANNOUNCE, START_S, 0, "a\nb", 1},           /* control characters */
      {KM_STATEMENT_ANNOUNCE, START_S, 0, "\xc2\x9b", 1},       /* the same, C1 */
      {KM_STATEMENT_ANNOUNCE, START_S, 0, "\xff", 1},           /* no UTF-8 */
      {KM_STATEMENT_RECOMMEND, START_S, 0, "", 2},              /* without an end */
      {KM_STATEMENT_RECOMMEND, START_S, START_S, "", 2},        /* ends before it begins */
      {KM_STATEMENT_RECOMMEND, START_S, START_S + 1, "", 1},    /* of itself */
      {KM_STATEMENT_WITHDRAW, START_S, START_S + 1, "text", 2}, /* says something */
      {KM_STATEMENT_REVOKE, 0, 0, "", 2},                       /* no time */
      {KM_STATEMENT_REVOKE, INT64_C(1) << 60, 0, "", 2},        /* no possible time */
      {KM_STATEMENT_REVOKE, START_S, INT64_C(1) << 60, "", 2},  /* the same */
  };
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    uint8_t buf[KM_STATEMENT_MAX];
    km_statement s = {.kind = bad[i].kind,
                      .at = bad[i].at,
                      .expires = bad[i].expires,
                      .text = bad[i].text,
                      .text_len = strlen(bad[i].text),
                      .subject = lab_id(bad[i].subject)};
    resign(&s);
    assert_int_equal(km_statement_encode(&s, buf, sizeof buf), KM_ERR_INVALID);
    /* As a hostile author would write it. */
    km_wr wr = km_wr_init(buf, sizeof buf);
    km_wr_u8(&wr, 1);
    km_wr_u8(&wr, (uint8_t)s.kind);
    km_wr_bytes(&wr, s.author.bytes, 32);
    km_wr_bytes(&wr, s.subject.bytes, 32);
    km_wr_be(&wr, (uint64_t)s.at, 8);
    km_wr_be(&wr, (uint64_t)s.expires, 8);
    km_wr_be(&wr, s.text_len, 2);
    km_wr_bytes(&wr, s.text, s.text_len);
    km_wr_bytes(&wr, s.sig, 64);
    km_errinfo err = {0};
    km_statement back;
    assert_false(wr.failed);
    assert_int_equal(km_statement_decode(&back, buf, (size_t)(wr.at - buf), &err),
                     KM_ERR_BAD_PACKET);
    assert_int_equal(err.code, KM_ERR_BAD_PACKET);
  }
}

static void texts_have_limits(void **state) {
  (void)state;
  char text[KM_PEER_NOTE_MAX + 2];
  uint8_t buf[KM_STATEMENT_MAX];
  memset(text, 'x', sizeof text);
  for (int kind = KM_STATEMENT_ANNOUNCE; kind <= KM_STATEMENT_REVOKE; kind++) {
    size_t max = kind == KM_STATEMENT_REVOKE     ? KM_PEER_NOTE_MAX
                 : kind == KM_STATEMENT_WITHDRAW ? 0
                                                 : KM_PEER_NAME_MAX;
    km_statement s = example((km_statement_kind)kind), back;
    s.text = text;
    s.text_len = max;
    resign(&s);
    int len = km_statement_encode(&s, buf, sizeof buf);
    assert_true(len > 0);
    assert_int_equal(km_statement_decode(&back, buf, (size_t)len, NULL), 0);
    s.text_len = max + 1;
    resign(&s);
    assert_int_equal(km_statement_encode(&s, buf, sizeof buf), KM_ERR_INVALID);
  }
}

static void kinds_and_versions_to_come_are_passed_over(void **state) {
  (void)state;
  km_statement s = example(KM_STATEMENT_RECOMMEND), back;
  uint8_t buf[KM_STATEMENT_MAX];
  int len = km_statement_encode(&s, buf, sizeof buf);
  static const uint8_t heads[][2] = {{1, 0}, {1, 5}, {1, 255}, {2, 2}, {0, 2}};
  for (size_t i = 0; i < COUNT_OF(heads); i++) {
    memcpy(buf, heads[i], 2);
    assert_int_equal(km_statement_decode(&back, buf, (size_t)len, NULL), KM_ERR_UNSUPPORTED);
  }
}

/* The order is total, so that all nodes keep the same one. */
static void the_later_one_counts_and_of_equal_ones_the_stricter(void **state) {
  (void)state;
  km_statement old = example(KM_STATEMENT_REVOKE), late = example(KM_STATEMENT_RECOMMEND);
  late.at = old.at + 1;
  assert_true(km_statement_compare(&late, &old) > 0);
  assert_true(km_statement_compare(&old, &late) < 0);
  late.at = old.at;
  assert_true(km_statement_compare(&old, &late) > 0);
  assert_true(km_statement_compare(&late, &old) < 0);
  km_statement other = old;
  other.sig[0] ^= 1;
  assert_true((km_statement_compare(&old, &other) > 0) != (km_statement_compare(&other, &old) > 0));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_encoded_comes_back),
      cmocka_unit_test(the_layout_is_the_documented_one),
      cmocka_unit_test(the_example_of_the_document_is_right),
      cmocka_unit_test(every_changed_bit_is_noticed),
      cmocka_unit_test(cut_or_longer_it_is_refused),
      cmocka_unit_test(bad_statements_are_refused_although_signed),
      cmocka_unit_test(texts_have_limits),
      cmocka_unit_test(kinds_and_versions_to_come_are_passed_over),
      cmocka_unit_test(the_later_one_counts_and_of_equal_ones_the_stricter),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
