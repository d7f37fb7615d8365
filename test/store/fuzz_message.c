/* Any bytes as a message, and its body as JSON: no crash, what is taken is written the same again,
 * and cJSON reads what is taken for JSON. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "store/json_text.h"
#include "store/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

static void check_json(const uint8_t *data, size_t len) {
  if (km_json_text_ok((const char *)data, len)) {
    char *text = malloc(len + 1);
    check(text != NULL);
    memcpy(text, data, len);
    text[len] = '\0';
    cJSON *tree = cJSON_ParseWithOpts(text, NULL, 1);
    check(tree != NULL);
    cJSON_Delete(tree);
    free(text);
  }
}

/* Signed anew by a key of ours: the form decides alone. */
static void check_written_again(km_message *m, const uint8_t *data, size_t len) {
  uint8_t seed[KM_SECRET_KEY_BYTES] = {1};
  km_secret_key *key = NULL;
  uint8_t *bytes = malloc(len);
  char *scratch = malloc(len + 2);
  km_message back;
  memcpy(m->id, data + 1, KM_MESSAGE_ID_BYTES);
  check(bytes != NULL && scratch != NULL && km_secret_key_from_bytes(&key, seed) == 0);
  check(km_message_size(m) == len);
  km_wr wr = km_wr_init(bytes, len);
  if (km_json_text_ok(m->body, m->body_len) && km_message_encode(m, key, &wr, NULL) == 0) {
    check(wr.at == wr.end);
    check(km_message_decode(&back, bytes, len, scratch, NULL) == 0);
    check(memcmp(back.id, m->id, sizeof back.id) == 0);
    check(strcmp(back.type, m->type) == 0 && strcmp(back.body, m->body) == 0);
    memcpy(bytes + 1 + KM_MESSAGE_ID_BYTES, data + 1 + KM_MESSAGE_ID_BYTES, KM_ID_BYTES);
    check(memcmp(bytes, data, len - KM_SIGNATURE_BYTES) == 0);
  }
  km_secret_key_free(key);
  free(scratch);
  free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  char *scratch = malloc(len + 2);
  km_message m;
  km_errinfo err = {0};
  check(scratch != NULL);
  check_json(data, len);
  int rv = km_message_decode(&m, data, len, scratch, &err);
  check(rv == 0 || rv == KM_ERR_BAD_PACKET || rv == KM_ERR_CRYPTO);
  check(err.code == rv);
  if (km_message_read(&m, data, len, scratch, NULL) == 0) {
    check(strlen(m.type) <= KM_MESSAGE_TYPE_MAX && m.body[m.body_len] == '\0');
    check(m.expires_ms > m.sent_ms && m.sent_ms > 0);
    check_written_again(&m, data, len);
  } else {
    check(rv == KM_ERR_BAD_PACKET);
  }
  free(scratch);
  return 0;
}
