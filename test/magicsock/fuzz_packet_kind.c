/* Two bytes of segment length, then a batch: every datagram of it lies in exactly one run or is
 * counted as skipped, and a run holds QUIC packets only. */
#include <stdint.h>
#include <stdlib.h>

#include "magicsock/packet_kind.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void demand(bool condition) {
  if (!condition) {
    abort();
  }
}

static size_t check_run(const uint8_t *run, size_t len, size_t segment) {
  size_t packets = 0;
  for (size_t at = 0; at < len; at += segment) {
    size_t left = len - at;
    demand(km_packet_is_quic(run + at, left < segment ? left : segment));
    packets++;
  }
  return packets;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  if (len < 2) {
    return 0;
  }
  size_t segment = ((size_t)data[0] << 8 | data[1]) + 1;
  data += 2;
  len -= 2;
  size_t at = 0, found, in_runs = 0, end_of_last = 0;
  uint64_t skipped = 0;
  while ((found = km_packet_run(data, len, segment, &at, &skipped)) > 0) {
    demand(at % segment == 0 && at >= end_of_last && found <= len - at);
    demand(end_of_last == 0 || at > end_of_last); /* runs are as long as they can be */
    in_runs += check_run(data + at, found, segment);
    at += found;
    end_of_last = at;
  }
  demand(at == len);
  demand(in_runs + skipped == (len + segment - 1) / segment);
  return 0;
}
