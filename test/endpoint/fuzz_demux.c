/* A whole accepting endpoint under packets of strangers. The first byte of an input says what the
 * rest is: a packet as it is, or the frames of a client's Initial that is sealed rightly and gets
 * as far as the TLS library. No input may crash it, and what it keeps stays within its limits. */
#include <stdlib.h>
#include <string.h>

#include "endpoint/endpoint_impl.h"
#include "endpoint/quic_demux.h"
#include "initial.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { HALF_OPEN_MAX = 8, PACKET_MAX = 1500, TURNS = 3 };

static km_loop *loop;
static km_endpoint *endpoint;
static km_path_key stranger;

static void demand(bool condition) {
  if (!condition) {
    abort();
  }
}

static void open_endpoint(void) {
  const km_udp_addr bind = {.family = 4, .ip = {127, 0, 0, 1}};
  const km_udp_addr discard = {.family = 4, .port = 9, .ip = {127, 0, 0, 1}};
  km_endpoint_options options;
  km_endpoint_options_default(&options);
  options.bind = &bind;
  options.bind_count = 1;
  options.max_half_open = HALF_OPEN_MAX;
  options.handshake_timeout_ms = 100;
  km_protocol protocol = {.size = sizeof protocol, .alpn = "fuzz"};
  demand(km_loop_new(&loop) == 0);
  demand(km_endpoint_open(&endpoint, loop, &options, NULL) == 0);
  demand(km_endpoint_add_protocol(endpoint, &protocol, NULL) == 0);
  demand(km_magicsock_key(endpoint->ms, &discard, &stranger) == 0);
}

static void send_sealed(const uint8_t *frames, size_t len) {
  initial in = {.dcid_len = 8, .scid_len = 8};
  uint8_t packet[INITIAL_MAX];
  km_env_random(&endpoint->env, in.dcid, in.dcid_len);
  in.payload_len = len < sizeof in.payload ? len : sizeof in.payload;
  memcpy(in.payload, frames, in.payload_len);
  size_t packet_len = initial_seal(&in, packet);
  km_quic_demux(endpoint, &stranger, 0, packet, packet_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  if (len < 2 || len > PACKET_MAX) {
    return 0;
  }
  if (endpoint == NULL) {
    open_endpoint();
  }
  if (data[0] == 'F') {
    if (len <= 1100) {
      send_sealed(data + 1, len - 1);
    }
  } else {
    km_quic_demux(endpoint, &stranger, data[0] & 3, data + 1, len - 1);
  }
  for (int i = 0; i < TURNS; i++) {
    demand(km_loop_run_nowait(loop) == 0);
  }
  demand(endpoint->half_open_count <= HALF_OPEN_MAX && endpoint->conn_count <= HALF_OPEN_MAX);
  return 0;
}
