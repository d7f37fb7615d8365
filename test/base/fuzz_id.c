/* Any text and any 32 bytes: no crash; what is an id prints in two forms that read back. */
#include <keymesh/id.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

static void read_back(const km_id *id, km_id_form form) {
  char text[KM_ID_TEXT_CAP];
  int len = km_id_format(id, form, text, sizeof text);
  check(len > 0 && (size_t)len == strlen(text));
  km_id back;
  check(km_id_parse(&back, text, (size_t)len, NULL) == 0);
  check(km_id_equal(id, &back));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  km_id id;
  km_errinfo err = {0};
  if (km_id_parse(&id, (const char *)data, len, &err) == 0) {
    read_back(&id, KM_ID_HEX);
    read_back(&id, KM_ID_BASE32);
  } else {
    check(err.code == KM_ERR_BAD_ID && err.text[0] != '\0');
  }
  if (len >= KM_ID_BYTES && km_id_from_bytes(&id, data) == 0) {
    check(memcmp(id.bytes, data, KM_ID_BYTES) == 0);
    read_back(&id, KM_ID_HEX);
    read_back(&id, KM_ID_BASE32);
    char text[KM_ID_TEXT_CAP];
    check(km_id_format(&id, KM_ID_TLS_NAME, text, sizeof text) == 65);
    check(km_id_format(&id, KM_ID_FINGERPRINT, text, sizeof text) == 71);
  }
  return 0;
}
