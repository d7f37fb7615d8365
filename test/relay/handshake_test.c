#include "relay/handshake.h"

#include <stdlib.h>
#include <string.h>

#include "test/relay/hex.h"

static const uint8_t counting[KM_RELAY_EXPORTED_LEN] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10,
                                                        11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                                                        22, 23, 24, 25, 26, 27, 28, 29, 30, 31};

static km_secret_key *key_of(const char *hex) {
  km_secret_key *key;
  assert_int_equal(km_secret_key_parse(&key, hex, strlen(hex), NULL), 0);
  return key;
}

#define SECRET_1 "0101010101010101010101010101010101010101010101010101010101010101"
#define SECRET_2 "0202020202020202020202020202020202020202020202020202020202020202"
#define SECRET_COUNT "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"

/* ClientAuth frames of the real iroh for the challenge 00 01 02 ... 0f. */
static const struct {
  const char *secret, *frame;
} auths[] = {
    {SECRET_1,
     "018a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c404d5e2e27b1f48ba675"
     "54ffa68589791ddfec1529574c3f26e4356bc075cee0a3ddaedea5fb0b3de1359d135dce06aa7f192562"
     "e48df781df865c77f1d716f00d"},
    {SECRET_2,
     "018139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b39440ef0157e4d946ff69f1"
     "dc5e382117b873dfd4dbc54a0b0a9fbd9d33a7ae8618d8b88ebbb8566b96f22675c191575674a631182d"
     "4a1d2425264a5f17255a5c4704"},
};

static void a_challenge_is_answered_as_iroh_does(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT_OF(auths); i++) {
    km_secret_key *key = key_of(auths[i].secret);
    uint8_t want[128], out[KM_RELAY_HANDSHAKE_MAX], challenge[KM_RELAY_HANDSHAKE_MAX];
    size_t want_len = from_hex(want, sizeof want, auths[i].frame), len;
    km_relay_server_handshake server;
    km_relay_client_handshake client;
    km_relay_client_handshake_init(&client);
    size_t n = km_relay_server_handshake_init(&server, NULL, counting, challenge);
    assert_int_equal(n, 17);
    assert_int_equal(challenge[0], KM_RELAY_SERVER_CHALLENGE);
    assert_memory_equal(challenge + 1, counting, 16);
    assert_int_equal(km_relay_client_handshake_read(&client, key, challenge, n, out, &len, NULL),
                     0);
    assert_int_equal(len, want_len);
    assert_memory_equal(out, want, want_len);
    assert_int_equal(client.state, KM_RELAY_HS_WAITING);

    assert_int_equal(km_relay_server_handshake_read(&server, want, want_len, out, &len, NULL), 0);
    assert_int_equal(len, 0);
    assert_int_equal(server.state, KM_RELAY_HS_DECIDING);
    assert_memory_equal(server.id.bytes, want + 1, 32);
    n = km_relay_server_handshake_decide(&server, NULL, out);
    assert_int_equal(n, 1);
    assert_int_equal(server.state, KM_RELAY_HS_DONE);
    assert_int_equal(km_relay_client_handshake_read(&client, key, out, n, out, &len, NULL), 0);
    assert_int_equal(client.state, KM_RELAY_HS_DONE);
    km_secret_key_free(key);
  }
}

static void an_answer_to_another_challenge_is_denied(void **state) {
  (void)state;
  uint8_t auth[128], out[KM_RELAY_HANDSHAKE_MAX];
  size_t auth_len = from_hex(auth, sizeof auth, auths[0].frame), len;
  km_relay_server_handshake server;
  (void)km_relay_server_handshake_init(&server, NULL, counting + 1, out);
  assert_int_equal(km_relay_server_handshake_read(&server, auth, auth_len, out, &len, NULL),
                   KM_ERR_RELAY_DENIED);
  assert_int_equal(server.state, KM_RELAY_HS_FAILED);

  km_secret_key *key = key_of(SECRET_1);
  km_relay_client_handshake client;
  km_relay_client_handshake_init(&client);
  km_errinfo err;
  assert_int_equal(km_relay_client_handshake_read(&client, key, out, len, out, &len, &err),
                   KM_ERR_RELAY_DENIED);
  assert_string_equal(client.denial, "signature invalid");
  assert_non_null(strstr(err.text, "signature invalid"));
  assert_int_equal(client.state, KM_RELAY_HS_FAILED);
  km_secret_key_free(key);
}

static void a_denial_is_cut_and_cleaned(void **state) {
  (void)state;
  static char reason[KM_RELAY_DENIAL_MAX + 10];
  memset(reason, '\033', sizeof reason - 1);
  uint8_t out[KM_RELAY_HANDSHAKE_MAX];
  km_relay_server_handshake server;
  km_id id = {{1}};
  assert_int_equal(km_relay_server_handshake_init(&server, &id, counting, out), 0);
  assert_int_equal(server.state, KM_RELAY_HS_DECIDING);
  size_t len = km_relay_server_handshake_decide(&server, reason, out);
  assert_int_equal(len, 1 + 2 + KM_RELAY_DENIAL_MAX);
  assert_int_equal(server.state, KM_RELAY_HS_FAILED);
  assert_int_equal(km_relay_server_handshake_decide(&server, NULL, out + len), 0);

  km_secret_key *key = key_of(SECRET_1);
  km_relay_client_handshake client;
  km_relay_client_handshake_init(&client);
  assert_int_equal(km_relay_client_handshake_read(&client, key, out, len, out, &len, NULL),
                   KM_ERR_RELAY_DENIED);
  assert_int_equal(strlen(client.denial), sizeof client.denial - 1);
  assert_null(strchr(client.denial, '\033'));
  km_secret_key_free(key);
}

static void a_client_refuses_what_a_server_may_not_say(void **state) {
  (void)state;
  static const char *const bad[] = {
      "",                                     /* no type */
      "00",                                   /* no challenge */
      "00000102030405060708090a0b0c0d0e0f10", /* a long one */
      "0200",                                 /* a confirmation with a body */
      "0305414243",                           /* a reason cut off */
      "03ffffffffff",                         /* and one without end */
      "0a0000000000000000",                   /* a pong */
  };
  km_secret_key *key = key_of(SECRET_1);
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    uint8_t msg[64], out[KM_RELAY_HANDSHAKE_MAX];
    size_t len = from_hex(msg, sizeof msg, bad[i]);
    km_relay_client_handshake client;
    km_relay_client_handshake_init(&client);
    assert_int_equal(km_relay_client_handshake_read(&client, key, msg, len, out, &len, NULL),
                     KM_ERR_RELAY_PROTOCOL);
    assert_int_equal(client.state, KM_RELAY_HS_FAILED);
    assert_int_equal(len, 0);
  }
  km_secret_key_free(key);
}

static void one_challenge_is_answered(void **state) {
  (void)state;
  km_secret_key *key = key_of(SECRET_1);
  uint8_t msg[17] = {KM_RELAY_SERVER_CHALLENGE}, out[KM_RELAY_HANDSHAKE_MAX];
  size_t len;
  km_relay_client_handshake client;
  km_relay_client_handshake_init(&client);
  assert_int_equal(km_relay_client_handshake_read(&client, key, msg, 17, out, &len, NULL), 0);
  assert_int_equal(km_relay_client_handshake_read(&client, key, msg, 17, out, &len, NULL),
                   KM_ERR_RELAY_PROTOCOL);
  assert_int_equal(len, 0);
  assert_int_equal(km_relay_client_handshake_read(&client, key, msg, 17, out, &len, NULL),
                   KM_ERR_STATE);
  km_secret_key_free(key);
}

static void a_server_refuses_anything_but_an_answer(void **state) {
  (void)state;
  uint8_t auth[128], out[KM_RELAY_HANDSHAKE_MAX];
  size_t auth_len = from_hex(auth, sizeof auth, auths[0].frame), len;
  km_relay_server_handshake server;
  for (size_t cut = 0; cut < auth_len; cut++) {
    (void)km_relay_server_handshake_init(&server, NULL, counting, out);
    assert_int_equal(km_relay_server_handshake_read(&server, auth, cut, out, &len, NULL),
                     KM_ERR_RELAY_PROTOCOL);
    assert_int_equal(len, 0);
  }
  auth[33] = 63; /* not the length of a signature */
  (void)km_relay_server_handshake_init(&server, NULL, counting, out);
  assert_int_equal(km_relay_server_handshake_read(&server, auth, auth_len, out, &len, NULL),
                   KM_ERR_RELAY_PROTOCOL);
  auth[33] = 64;
  assert_int_equal(km_relay_server_handshake_read(&server, auth, auth_len, out, &len, NULL),
                   KM_ERR_RELAY_PROTOCOL); /* too late */
}

/* --- the header ------------------------------------------------------------------------------ */

#define HEADER                                                                                     \
  "ebVWLo_"                                                                                        \
  "mVPlAeLES6KmLp5AfhTrmlb7X4OORC60ElmRAltAvL5Frc1ubp4COwUexZ1whxNLqroaARHZlu1n5GVByMsyeUKfcLAD"   \
  "T9ki4CVCxgG0BuPBcY2jH9QAXvDO1DhAREhMUFRYXGBkaGxwdHh8"

static void a_header_is_written_as_iroh_does(void **state) {
  (void)state;
  km_secret_key *key = key_of(SECRET_COUNT);
  char text[KM_RELAY_AUTH_HEADER_LEN + 1];
  km_relay_auth_header_write(text, key, counting);
  assert_string_equal(text, HEADER);
  km_relay_auth_header header;
  assert_int_equal(km_relay_auth_header_read(&header, text, strlen(text)), 0);
  km_id id;
  km_secret_key_id(key, &id);
  assert_true(km_id_equal(&header.id, &id));
  assert_true(km_relay_auth_header_verify(&header, counting));
  km_secret_key_free(key);
}

static void a_header_of_another_session_proves_nothing(void **state) {
  (void)state;
  km_relay_auth_header header;
  uint8_t other[KM_RELAY_EXPORTED_LEN];
  assert_int_equal(km_relay_auth_header_read(&header, HEADER, strlen(HEADER)), 0);
  for (size_t i = 0; i < sizeof other; i++) {
    memcpy(other, counting, sizeof other);
    other[i] ^= 1;
    assert_false(km_relay_auth_header_verify(&header, other));
  }
}

static void a_damaged_header_is_refused(void **state) {
  (void)state;
  km_relay_auth_header header;
  char text[KM_RELAY_AUTH_HEADER_LEN + 2] = HEADER;
  for (size_t len = 0; len < KM_RELAY_AUTH_HEADER_LEN; len++) {
    assert_int_equal(km_relay_auth_header_read(&header, text, len), KM_ERR_RELAY_PROTOCOL);
  }
  text[KM_RELAY_AUTH_HEADER_LEN] = 'A';
  assert_int_equal(km_relay_auth_header_read(&header, text, KM_RELAY_AUTH_HEADER_LEN + 1),
                   KM_ERR_RELAY_PROTOCOL);
  text[7] = '+'; /* of the other base64 */
  assert_int_equal(km_relay_auth_header_read(&header, text, KM_RELAY_AUTH_HEADER_LEN),
                   KM_ERR_RELAY_PROTOCOL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_challenge_is_answered_as_iroh_does),
      cmocka_unit_test(an_answer_to_another_challenge_is_denied),
      cmocka_unit_test(a_denial_is_cut_and_cleaned),
      cmocka_unit_test(a_client_refuses_what_a_server_may_not_say),
      cmocka_unit_test(one_challenge_is_answered),
      cmocka_unit_test(a_server_refuses_anything_but_an_answer),
      cmocka_unit_test(a_header_is_written_as_iroh_does),
      cmocka_unit_test(a_header_of_another_session_proves_nothing),
      cmocka_unit_test(a_damaged_header_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
