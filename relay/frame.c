#include "relay/frame.h"

#include <string.h>

#include "base/env.h"
#include "base/wire.h"

enum { DENIAL_LEN_BITS = 32 };

static int broken(km_errinfo *err, const char *what) {
  return km_fail(err, KM_ERR_RELAY_PROTOCOL, "%s", what);
}

static void read_id(km_rd *rd, km_id *ret) {
  const uint8_t *bytes = km_rd_bytes(rd, sizeof ret->bytes);
  if (bytes != NULL) {
    memcpy(ret->bytes, bytes, sizeof ret->bytes);
  }
}

static void read_rest(km_rd *rd, km_relay_frame *ret) {
  ret->len = km_rd_left(rd);
  ret->data = km_rd_bytes(rd, ret->len);
}

static void read_exactly(km_rd *rd, km_relay_frame *ret, size_t len) {
  ret->len = len;
  ret->data = km_rd_bytes(rd, len);
}

static bool all_read(const km_rd *rd) {
  return !rd->failed && rd->at == rd->end;
}

static int read_type(km_rd *rd, km_relay_frame *ret, size_t len, uint64_t *type, km_errinfo *err) {
  memset(ret, 0, sizeof *ret);
  if (len > KM_RELAY_MAX_MESSAGE) {
    return broken(err, "a message is longer than 65,537 bytes");
  }
  *type = km_rd_quic_varint(rd);
  return rd->failed ? broken(err, "a message without a frame type") : 0;
}

/* --- the handshake --------------------------------------------------------------------------- */

static void read_client_auth(km_rd *rd, km_relay_frame *ret) {
  read_id(rd, &ret->peer);
  if (km_rd_varint(rd, DENIAL_LEN_BITS) != KM_RELAY_SIGNATURE_LEN) {
    rd->failed = true;
  }
  read_exactly(rd, ret, KM_RELAY_SIGNATURE_LEN);
}

int km_relay_frame_read_handshake(km_relay_frame *ret, km_relay_reader reader, const uint8_t *msg,
                                  size_t len, km_errinfo *err) {
  km_rd rd = km_rd_init(msg, len);
  uint64_t type = 0;
  int rv = read_type(&rd, ret, len, &type, err);
  if (rv != 0) {
    return rv;
  }
  bool from_client = type == KM_RELAY_CLIENT_AUTH;
  if (type > KM_RELAY_SERVER_DENIES || from_client != (reader == KM_RELAY_READ_SERVER)) {
    return broken(err, "a frame that has no place in the handshake");
  }
  ret->type = (km_relay_type)type;
  switch (ret->type) {
  case KM_RELAY_SERVER_CHALLENGE:
    read_exactly(&rd, ret, KM_RELAY_CHALLENGE_LEN);
    break;
  case KM_RELAY_CLIENT_AUTH:
    read_client_auth(&rd, ret);
    break;
  case KM_RELAY_SERVER_DENIES:
    read_exactly(&rd, ret, (size_t)km_rd_varint(&rd, DENIAL_LEN_BITS));
    break;
  default: /* KM_RELAY_SERVER_CONFIRMS */
    break;
  }
  return all_read(&rd) ? 0 : broken(err, "a damaged frame in the handshake");
}

/* --- after it -------------------------------------------------------------------------------- */

static bool is_batch(km_relay_type type) {
  return type == KM_RELAY_TO_RELAY_BATCH || type == KM_RELAY_TO_CLIENT_BATCH;
}

static void read_datagrams(km_rd *rd, km_relay_frame *ret) {
  read_id(rd, &ret->peer);
  ret->ecn = km_rd_u8(rd);
  ret->ecn = ret->ecn <= 3 ? ret->ecn : 0;
  ret->segment = is_batch(ret->type) ? (uint16_t)km_rd_be(rd, 2) : 0;
  read_rest(rd, ret);
}

static bool is_expected(uint64_t type, km_relay_reader reader, km_relay_version version) {
  switch (type) {
  case KM_RELAY_TO_RELAY:
  case KM_RELAY_TO_RELAY_BATCH:
    return reader == KM_RELAY_READ_SERVER;
  case KM_RELAY_TO_CLIENT:
  case KM_RELAY_TO_CLIENT_BATCH:
  case KM_RELAY_ENDPOINT_GONE:
  case KM_RELAY_RESTARTING:
    return reader == KM_RELAY_READ_CLIENT;
  case KM_RELAY_HEALTH:
    return reader == KM_RELAY_READ_CLIENT && version == KM_RELAY_V1;
  case KM_RELAY_STATUS:
    return reader == KM_RELAY_READ_CLIENT && version == KM_RELAY_V2;
  default:
    return type == KM_RELAY_PING || type == KM_RELAY_PONG;
  }
}

static void read_body(km_rd *rd, km_relay_frame *ret) {
  switch (ret->type) {
  case KM_RELAY_ENDPOINT_GONE:
    read_id(rd, &ret->peer);
    break;
  case KM_RELAY_PING:
  case KM_RELAY_PONG:
    read_exactly(rd, ret, KM_RELAY_PING_LEN);
    break;
  case KM_RELAY_HEALTH:
    read_rest(rd, ret);
    break;
  case KM_RELAY_RESTARTING:
    ret->reconnect_in_ms = (uint32_t)km_rd_be(rd, 4);
    ret->try_for_ms = (uint32_t)km_rd_be(rd, 4);
    break;
  case KM_RELAY_STATUS:
    ret->status = km_rd_u8(rd);
    read_rest(rd, ret); /* what later versions may add */
    break;
  default:
    read_datagrams(rd, ret);
    break;
  }
}

int km_relay_frame_read(km_relay_frame *ret, km_relay_reader reader, km_relay_version version,
                        const uint8_t *msg, size_t len, km_errinfo *err) {
  km_rd rd = km_rd_init(msg, len);
  uint64_t type = 0;
  int rv = read_type(&rd, ret, len, &type, err);
  if (rv != 0) {
    return rv;
  }
  if (!is_expected(type, reader, version)) {
    return broken(err, "a frame of a type that may not come here");
  }
  ret->type = (km_relay_type)type;
  read_body(&rd, ret);
  return all_read(&rd) ? 0 : broken(err, "a damaged frame");
}

/* --- writing --------------------------------------------------------------------------------- */

size_t km_relay_datagram_header(uint8_t ret[KM_RELAY_MAX_HEADER], km_relay_type type,
                                const km_id *peer, uint8_t ecn, uint16_t segment,
                                size_t payload_len) {
  bool batch = segment > 0 && segment < payload_len;
  km_wr wr = km_wr_init(ret, KM_RELAY_MAX_HEADER);
  km_wr_u8(&wr, (uint8_t)(batch ? type + 1 : type));
  km_wr_bytes(&wr, peer->bytes, sizeof peer->bytes);
  km_wr_u8(&wr, ecn & 3);
  if (batch) {
    km_wr_be(&wr, segment, 2);
  }
  return (size_t)(wr.at - ret);
}

static void write_body(km_wr *wr, const km_relay_frame *f) {
  switch (f->type) {
  case KM_RELAY_CLIENT_AUTH:
    km_wr_bytes(wr, f->peer.bytes, sizeof f->peer.bytes);
    km_wr_varint(wr, f->len);
    km_wr_bytes(wr, f->data, f->len);
    break;
  case KM_RELAY_SERVER_DENIES:
    km_wr_varint(wr, f->len);
    km_wr_bytes(wr, f->data, f->len);
    break;
  case KM_RELAY_SERVER_CONFIRMS:
    break;
  case KM_RELAY_ENDPOINT_GONE:
    km_wr_bytes(wr, f->peer.bytes, sizeof f->peer.bytes);
    break;
  case KM_RELAY_RESTARTING:
    km_wr_be(wr, f->reconnect_in_ms, 4);
    km_wr_be(wr, f->try_for_ms, 4);
    break;
  case KM_RELAY_STATUS:
    km_wr_u8(wr, f->status);
    break;
  default: /* challenge, ping, pong, health: the bytes alone */
    km_wr_bytes(wr, f->data, f->len);
    break;
  }
}

int km_relay_frame_write(uint8_t *ret, size_t cap, const km_relay_frame *f) {
  km_wr wr = km_wr_init(ret, cap);
  if (f->type >= KM_RELAY_TO_RELAY && f->type <= KM_RELAY_TO_CLIENT_BATCH) {
    uint8_t header[KM_RELAY_MAX_HEADER];
    km_relay_type single = is_batch(f->type) ? (km_relay_type)(f->type - 1) : f->type;
    km_wr_bytes(&wr, header,
                km_relay_datagram_header(header, single, &f->peer, f->ecn, f->segment, f->len));
    km_wr_bytes(&wr, f->data, f->len);
  } else {
    km_wr_u8(&wr, (uint8_t)f->type);
    write_body(&wr, f);
  }
  return wr.failed ? KM_ERR_BUFFER : (int)(wr.at - ret);
}
