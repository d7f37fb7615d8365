/* Any packet: no crash; what is answered is answered with a message that can be read, is not longer
 * than it may be, and says the address that it was given. */
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "holepunch/stun.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

/* The same of a server as of RFC 5780. */
static void check_long(const km_stun_message *msg, const km_udp_addr *from) {
  const km_udp_addr origin = {.family = from->family, .port = 1, .ip = {4, 5}};
  const km_udp_addr other = {.family = from->family, .port = 2, .ip = {6, 7}};
  uint8_t answer[KM_STUN_MAX_LONG_ANSWER];
  km_stun_message request = *msg, back;
  km_stun_allow_change(&request);
  size_t len = km_stun_answer_long(answer, &request, from, &origin, &other);
  check(request.unknown_count + 1 >= msg->unknown_count);
  if (len == 0) {
    return;
  }
  check(km_stun_read(&back, answer, len) && back.fingerprint == msg->fingerprint);
  check(request.unknown_count > 0 ||
        (km_udp_addr_equal(&back.mapped, from) && km_udp_addr_equal(&back.origin, &origin) &&
         km_udp_addr_equal(&back.other, &other)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  km_udp_addr from = {.family = len % 2 == 0 ? 4 : 6, .port = (uint16_t)len, .ip = {1, 2, 3}};
  uint8_t answer[KM_STUN_MAX_ANSWER];
  km_stun_message msg, back;
  km_udp_addr mapped;
  km_errinfo err = {0};
  if (!km_stun_read(&msg, data, len)) {
    return 0;
  }
  check(msg.unknown_count <= KM_STUN_MAX_UNKNOWN);
  check(msg.software == NULL ||
        (msg.software > data && msg.software + msg.software_len <= data + len));
  check(msg.error == 0 || (msg.error >= 300 && msg.error <= 699));
  int rv = km_stun_response_read(&mapped, msg.id, data, len, &err);
  check(rv == 0 ? mapped.family != 0 : err.code == rv && err.text[0] != '\0');
  check(msg.origin.family == 0 || msg.origin.family == 4 || msg.origin.family == 6);
  check(msg.other.family == 0 || msg.other.family == 4 || msg.other.family == 6);
  check_long(&msg, &from);
  size_t answer_len = km_stun_answer(answer, &msg, &from);
  if (answer_len == 0) {
    check(msg.cls != KM_STUN_REQUEST || msg.method != KM_STUN_BINDING);
    return 0;
  }
  check(10 * (28 + answer_len) <= 14 * (28 + len) || from.family == 6);
  check(km_stun_read(&back, answer, answer_len) && back.fingerprint == msg.fingerprint);
  rv = km_stun_response_read(&mapped, msg.id, answer, answer_len, &err);
  check(msg.unknown_count > 0 ? rv == KM_ERR_REFUSED && err.peer_code == 420
                              : rv == 0 && km_udp_addr_equal(&mapped, &from));
  return 0;
}
