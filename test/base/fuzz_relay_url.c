/* Any text: no crash; a normalised url is normal, short enough, and printable ASCII. */
#include <stdlib.h>
#include <string.h>

#include "base/relay_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  char first[KM_RELAY_URL_MAX + 1];
  char second[KM_RELAY_URL_MAX + 1];
  km_errinfo err = {0};
  int n = km_relay_url_normalise(first, sizeof first, (const char *)data, len, &err);
  if (n < 0) {
    check(n == KM_ERR_BAD_RELAY_URL && err.code == n && err.text[0] != '\0');
    return 0;
  }
  check((size_t)n == strlen(first) && strstr(first, "://") != NULL);
  for (int i = 0; i < n; i++) {
    check(first[i] > 0x20 && first[i] < 0x7f);
  }
  check(km_relay_url_normalise(second, sizeof second, first, (size_t)n, NULL) == n);
  check(strcmp(first, second) == 0);
  return 0;
}
