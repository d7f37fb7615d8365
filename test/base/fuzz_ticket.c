/* Any text: no crash; what parses prints as a ticket that parses to the same ticket. */
#include <keymesh/ticket.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  static char first[KM_TICKET_MAX + 1];
  static char second[KM_TICKET_MAX + 1];
  km_addr *addr;
  km_errinfo err = {0};
  int rv = km_ticket_parse(&addr, (const char *)data, len, &err);
  if (rv != 0) {
    check(err.code == rv && err.text[0] != '\0');
    return 0;
  }
  size_t first_len;
  check(km_ticket_format(addr, first, sizeof first, &first_len) == 0);
  check(first_len == strlen(first));
  km_addr *back;
  check(km_ticket_parse(&back, first, first_len, NULL) == 0);
  check(km_ticket_format(back, second, sizeof second, NULL) == 0);
  check(strcmp(first, second) == 0);
  check(km_id_equal(km_addr_id(addr), km_addr_id(back)));
  check(km_addr_udp_count(addr) == km_addr_udp_count(back));
  check(km_addr_relay_count(addr) == km_addr_relay_count(back));
  km_addr_free(addr);
  km_addr_free(back);
  return 0;
}
