/* Any text: no crash; what parses prints as a text that parses to the same address. */
#include <stdlib.h>
#include <string.h>

#include "base/udp_addr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  km_udp_addr addr;
  km_errinfo err = {0};
  if (km_udp_addr_parse(&addr, (const char *)data, len, &err) != 0) {
    check(err.code == KM_ERR_BAD_ADDR && err.text[0] != '\0');
    return 0;
  }
  char text[KM_UDP_ADDR_TEXT_CAP];
  int text_len = km_udp_addr_format(&addr, text, sizeof text);
  check(text_len > 0);
  km_udp_addr back;
  check(km_udp_addr_parse(&back, text, (size_t)text_len, NULL) == 0);
  check(km_udp_addr_equal(&addr, &back));
  check(km_udp_addr_compare(&addr, &back) == 0);
  struct sockaddr_storage ss;
  socklen_t ss_len = km_udp_addr_to_sockaddr(&addr, &ss);
  check(ss_len > 0);
  check(km_udp_addr_from_sockaddr(&back, (const struct sockaddr *)&ss, ss_len));
  check(km_udp_addr_equal(&addr, &back));
  return 0;
}
