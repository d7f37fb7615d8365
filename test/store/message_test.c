/* Messages as bytes. */
#include "store/message.h"

#include <sodium.h>

#include "test/store/trust_lab.h"

#define SENT_MS (START_S * 1000)

static km_message example(const char *body) {
  km_message m = {.to = lab_id(2),
                  .type = "chat.line",
                  .body = body,
                  .body_len = strlen(body),
                  .sent_ms = SENT_MS,
                  .expires_ms = SENT_MS + 1000};
  memset(m.id, 7, sizeof m.id);
  return m;
}

/* The bytes; free them. */
static uint8_t *encode(km_message *m, size_t *ret_len) {
  *ret_len = km_message_size(m);
  uint8_t *bytes = malloc(*ret_len);
  km_secret_key *key = lab_key(1);
  assert_non_null(bytes);
  km_wr wr = km_wr_init(bytes, *ret_len);
  assert_int_equal(km_message_encode(m, key, &wr, NULL), 0);
  assert_ptr_equal(wr.at, wr.end);
  km_secret_key_free(key);
  return bytes;
}

static int decode(const uint8_t *bytes, size_t len) {
  char *scratch = malloc(len + 2);
  uint8_t *exact = malloc(len + 1);
  km_message m;
  km_errinfo err = {0};
  assert_non_null(scratch);
  assert_non_null(exact);
  memcpy(exact + 1, bytes, len);
  int rv = km_message_decode(&m, exact + 1, len, scratch, &err);
  assert_int_equal(err.code, rv);
  free(exact);
  free(scratch);
  return rv;
}

static void what_is_encoded_comes_back(void **state) {
  (void)state;
  for (int broadcast = 0; broadcast < 2; broadcast++) {
    km_message m = example("{\"text\": \"gr\xc3\xbc\xc3\x9f dich\"}"), back;
    if (broadcast == 1) {
      m.broadcast = true;
      memset(&m.to, 0, sizeof m.to);
    }
    size_t len;
    uint8_t *bytes = encode(&m, &len);
    char *scratch = malloc(len + 2);
    km_id sender = lab_id(1);
    assert_non_null(scratch);
    assert_int_equal(km_message_decode(&back, bytes, len, scratch, NULL), 0);
    assert_memory_equal(back.id, m.id, sizeof m.id);
    assert_true(km_id_equal(&back.sender, &sender));
    assert_true(km_id_equal(&back.to, &m.to));
    assert_int_equal(back.broadcast, broadcast);
    assert_string_equal(back.type, m.type);
    assert_string_equal(back.body, m.body);
    assert_int_equal(back.body_len, m.body_len);
    assert_int_equal(back.sent_ms, m.sent_ms);
    assert_int_equal(back.expires_ms, m.expires_ms);
    free(scratch);
    free(bytes);
  }
}

/* The layout that docs/protocol-mesh.md shows, the digest and the signing domain, by hand. */
static void the_layout_is_the_documented_one(void **state) {
  (void)state;
  km_message m = example("[1]");
  uint8_t expected[512], digest[64], text[18 + 64];
  size_t len;
  km_id sender = lab_id(1), to = lab_id(2);
  uint8_t *bytes = encode(&m, &len);
  km_wr wr = km_wr_init(expected, sizeof expected);
  km_wr_u8(&wr, 1);
  for (int i = 0; i < 16; i++) {
    km_wr_u8(&wr, 7);
  }
  km_wr_bytes(&wr, sender.bytes, 32);
  km_wr_bytes(&wr, to.bytes, 32);
  km_wr_be(&wr, (uint64_t)SENT_MS, 8);
  km_wr_be(&wr, (uint64_t)SENT_MS + 1000, 8);
  km_wr_u8(&wr, 9);
  km_wr_bytes(&wr, "chat.line", 9);
  km_wr_be(&wr, 3, 4);
  km_wr_bytes(&wr, "[1]", 3);
  size_t unsigned_len = (size_t)(wr.at - expected);
  assert_int_equal(len, unsigned_len + 64);
  assert_memory_equal(bytes, expected, unsigned_len);
  assert_int_equal(crypto_generichash(digest, sizeof digest, expected, unsigned_len, NULL, 0), 0);
  assert_memory_equal(m.id, digest, 16);
  memcpy(text, "KeyMesh message 1", 18);
  memcpy(text + 18, digest, 64);
  assert_int_equal(km_id_verify(&sender, text, sizeof text, bytes + unsigned_len), 0);
  free(bytes);
}

static void the_example_of_the_document_is_right(void **state) {
  (void)state;
  static const char to[] = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
  uint8_t documented[512], buf[512];
  char scratch[514], name[2 * KM_MESSAGE_ID_BYTES + 1], line[512];
  km_message m = example("{\"text\":\"hello\"}"), back;
  m.expires_ms = m.sent_ms + INT64_C(604800000);
  assert_int_equal(km_id_parse(&m.to, to, strlen(to), NULL), 0);
  for (size_t i = 0; i < sizeof m.id; i++) {
    m.id[i] = (uint8_t)i;
  }
  km_secret_key *key = lab_example_key();
  km_wr wr = km_wr_init(buf, sizeof buf);
  assert_int_equal(km_message_encode(&m, key, &wr, NULL), 0);
  km_secret_key_free(key);
  size_t len =
      lab_from_document(documented, sizeof documented, KM_MESH_DOCUMENT, "A message in hex:");
  assert_int_equal(wr.at - buf, (int)len);
  assert_memory_equal(buf, documented, len);
  assert_int_equal(km_message_decode(&back, documented, len, scratch, NULL), 0);
  km_hex_encode(name, back.id, sizeof back.id);
  FILE *file = fopen(KM_MESH_DOCUMENT, "r");
  bool named = false;
  assert_non_null(file);
  while (fgets(line, sizeof line, file) != NULL) {
    named = named || strstr(line, name) != NULL;
  }
  assert_int_equal(fclose(file), 0);
  assert_true(named);
}

static void every_changed_bit_is_noticed(void **state) {
  (void)state;
  km_message m = example("{\"a\":[1,2]}");
  size_t len;
  uint8_t *bytes = encode(&m, &len);
  for (size_t bit = 0; bit < len * 8; bit++) {
    bytes[bit / 8] ^= (uint8_t)(1 << (bit % 8));
    int rv = decode(bytes, len);
    assert_true(rv == KM_ERR_BAD_PACKET || rv == KM_ERR_CRYPTO);
    bytes[bit / 8] ^= (uint8_t)(1 << (bit % 8));
  }
  assert_int_equal(decode(bytes, len), 0);
  free(bytes);
}

static void cut_or_longer_it_is_refused(void **state) {
  (void)state;
  km_message m = example("null");
  size_t len;
  uint8_t *bytes = encode(&m, &len);
  for (size_t n = 0; n < len; n++) {
    assert_int_equal(decode(bytes, n), KM_ERR_BAD_PACKET);
  }
  uint8_t *longer = calloc(1, len + 1);
  assert_non_null(longer);
  memcpy(longer, bytes, len);
  assert_int_equal(decode(longer, len + 1), KM_ERR_BAD_PACKET);
  free(longer);
  free(bytes);
}

static void what_is_no_message_is_not_signed(void **state) {
  (void)state;
  km_secret_key *key = lab_key(1);
  for (int i = 0; i < 11; i++) {
    km_message m = example("{}");
    km_errinfo err = {0};
    uint8_t buf[512];
    static const char *const types[] = {"", "a b", "a/b", "gr\xc3\xbc\x6e"};
    static const char *const bodies[] = {"", "{", "nul"};
    if (i < 4) {
      m.type = types[i];
    } else if (i < 7) {
      m.body = bodies[i - 4];
      m.body_len = strlen(m.body);
    } else if (i == 7) {
      m.to = lab_id(1); /* the sender itself */
    } else if (i == 8) {
      memset(&m.to, 0, sizeof m.to); /* nobody, and yet no broadcast */
    } else if (i == 9) {
      m.expires_ms = m.sent_ms;
    } else {
      m.expires_ms = m.sent_ms + INT64_C(2592000000) + 1;
    }
    km_wr wr = km_wr_init(buf, sizeof buf);
    assert_int_equal(km_message_encode(&m, key, &wr, &err), KM_ERR_INVALID);
    assert_int_equal(err.code, KM_ERR_INVALID);
  }
  km_secret_key_free(key);
}

/* A hostile sender signs what he wants. */
static int decode_signed(uint8_t *bytes, size_t len) {
  km_secret_key *key = lab_key(1);
  uint8_t text[18 + 64];
  memcpy(text, "KeyMesh message 1", 18);
  assert_int_equal(crypto_generichash(text + 18, 64, bytes, len - 64, NULL, 0), 0);
  km_secret_key_sign(key, text, sizeof text, bytes + len - 64);
  km_secret_key_free(key);
  return decode(bytes, len);
}

static void bad_messages_are_refused_although_signed(void **state) {
  (void)state;
  km_message m = example("[12]");
  size_t len;
  uint8_t *bytes = encode(&m, &len);
  assert_int_equal(decode_signed(bytes, len), 0);
  static const struct {
    size_t at;
    uint8_t value;
  } changes[] = {
      {0, 2},     /* version */
      {49, 2},    /* the receiver is no key, see below */
      {81, 0x01}, /* sent in the year 2286000 */
      {89, 0x80}, /* expires before 1970 */
      {95, 0x00}, /* expires before it was sent */
      {97, 0},    /* an empty type: what follows is no length */
      {98, ' '},  /* a type with a blank */
      {98, 0},    /* or a NUL */
      {111, '{'}, /* the body is no JSON */
      {111, 0},   /* or has a NUL */
  };
  for (size_t i = 0; i < COUNT_OF(changes); i++) {
    uint8_t *copy = malloc(len);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    copy[changes[i].at] = changes[i].value;
    if (changes[i].at == 49) {
      memset(copy + 49, 0, 32);
      copy[49] = 2; /* no point of the curve has y = 2 */
    }
    assert_int_equal(decode_signed(copy, len), KM_ERR_BAD_PACKET);
    free(copy);
  }
  free(bytes);
}

static void the_largest_body_fits_and_no_larger_one(void **state) {
  (void)state;
  char *body = malloc(KM_MESSAGE_BODY_MAX + 2);
  assert_non_null(body);
  memset(body, 'x', KM_MESSAGE_BODY_MAX + 1);
  body[0] = '"';
  body[KM_MESSAGE_BODY_MAX - 1] = '"';
  body[KM_MESSAGE_BODY_MAX] = '\0';
  km_message m = example(body);
  char type[KM_MESSAGE_TYPE_MAX + 2];
  memset(type, 't', sizeof type);
  type[KM_MESSAGE_TYPE_MAX] = '\0';
  m.type = type;
  size_t len;
  uint8_t *bytes = encode(&m, &len);
  assert_true(len <= KM_MESSAGE_BODY_MAX + KM_MESSAGE_OVERHEAD_MAX);
  assert_int_equal(decode(bytes, len), 0);
  body[KM_MESSAGE_BODY_MAX - 1] = 'x';
  body[KM_MESSAGE_BODY_MAX] = '"';
  body[KM_MESSAGE_BODY_MAX + 1] = '\0';
  km_errinfo err = {0};
  assert_int_equal(km_message_body_check(body, KM_MESSAGE_BODY_MAX + 1, &err), KM_ERR_INVALID);
  assert_non_null(strstr(err.text, "1048576"));
  /* One byte more, signed by who does not keep to it. */
  size_t body_at = len - KM_SIGNATURE_BYTES - KM_MESSAGE_BODY_MAX;
  uint8_t *longer = malloc(len + 1);
  assert_non_null(longer);
  memcpy(longer, bytes, body_at);
  memcpy(longer + body_at, body, KM_MESSAGE_BODY_MAX + 1);
  longer[body_at - 1]++; /* the lowest byte of its length */
  assert_int_equal(decode_signed(longer, len + 1), KM_ERR_BAD_PACKET);
  free(longer);
  type[KM_MESSAGE_TYPE_MAX] = 't';
  assert_int_equal(km_message_type_check(type, KM_MESSAGE_TYPE_MAX + 1, NULL), KM_ERR_INVALID);
  free(bytes);
  free(body);
}

/* Whoever wants a message to be taken for another one needs its id. */
static void ids_hang_on_all_that_is_said(void **state) {
  (void)state;
  km_message a = example("1"), b = example("2"), c = example("1");
  c.id[0]++;
  size_t len;
  free(encode(&a, &len));
  free(encode(&b, &len));
  free(encode(&c, &len));
  assert_memory_not_equal(a.id, b.id, sizeof a.id);
  assert_memory_not_equal(a.id, c.id, sizeof a.id);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_encoded_comes_back),
      cmocka_unit_test(the_layout_is_the_documented_one),
      cmocka_unit_test(the_example_of_the_document_is_right),
      cmocka_unit_test(every_changed_bit_is_noticed),
      cmocka_unit_test(cut_or_longer_it_is_refused),
      cmocka_unit_test(what_is_no_message_is_not_signed),
      cmocka_unit_test(bad_messages_are_refused_although_signed),
      cmocka_unit_test(the_largest_body_fits_and_no_larger_one),
      cmocka_unit_test(ids_hang_on_all_that_is_said),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
