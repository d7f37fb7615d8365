#include "store/sync_wire.h"

#include <string.h>

int km_sync_frame_read(km_sync_frame *ret, const uint8_t *bytes, size_t len, size_t max_size,
                       km_errinfo *err) {
  km_rd rd = km_rd_init(bytes, len);
  uint64_t size = km_rd_varint(&rd, 32);
  if (rd.failed) {
    return len < KM_SYNC_FRAME_HEAD_MAX - 1
               ? 0
               : km_fail(err, KM_ERR_BAD_PACKET, "a synchronization frame's length is malformed");
  }
  if (size == 0) {
    return km_fail(err, KM_ERR_BAD_PACKET, "a synchronization frame is empty");
  }
  if (size > max_size) {
    return km_fail(err, KM_ERR_BAD_PACKET, "a synchronization frame of %llu bytes, %zu are allowed",
                   (unsigned long long)size, max_size);
  }
  uint8_t type = km_rd_u8(&rd);
  if (rd.failed) {
    return 0;
  }
  if (type < KM_SYNC_OPEN || type > KM_SYNC_REFUSE) {
    return km_fail(err, KM_ERR_BAD_PACKET, "a synchronization frame of unknown type %u", type);
  }
  const uint8_t *body = km_rd_bytes(&rd, size - 1);
  if (body == NULL) {
    return 0;
  }
  ret->type = (km_sync_type)type;
  ret->body = km_rd_init(body, (size_t)size - 1);
  ret->size = (size_t)(rd.at - bytes);
  return 1;
}

size_t km_sync_frame_put_head(uint8_t *body, size_t body_len, km_sync_type type) {
  size_t head = km_varint_len(body_len + 1) + 1;
  km_wr wr = km_wr_init(body - head, head);
  km_wr_varint(&wr, body_len + 1);
  km_wr_u8(&wr, (uint8_t)type);
  return head;
}

void km_sync_open_write(km_wr *wr, const km_sync_open *open) {
  size_t len = strlen(open->share);
  km_wr_u8(wr, open->version);
  km_wr_u8(wr, (uint8_t)len);
  km_wr_bytes(wr, open->share, len);
  km_wr_bytes(wr, open->key, sizeof open->key);
  km_wr_bytes(wr, open->message, open->message_len);
}

int km_sync_open_read(km_sync_open *ret, km_rd body, km_errinfo *err) {
  km_sync_open o = {.version = km_rd_u8(&body)};
  if (!body.failed && o.version != KM_SYNC_VERSION) {
    *ret = o;
    return 0;
  }
  uint8_t len = km_rd_u8(&body);
  const uint8_t *share = km_rd_bytes(&body, len);
  const uint8_t *key = km_rd_bytes(&body, sizeof o.key);
  if (share == NULL || key == NULL || len > KM_SHARE_NAME_MAX ||
      km_share_name_check((const char *)share, len, NULL) != 0) {
    return km_fail(err, KM_ERR_BAD_PACKET, "a synchronization is opened without a share's name");
  }
  memcpy(o.share, share, len);
  memcpy(o.key, key, sizeof o.key);
  o.message = body.at;
  o.message_len = km_rd_left(&body);
  *ret = o;
  return 0;
}

km_sync_refusal km_sync_refusal_of(int error) {
  switch (error) {
  case KM_ERR_PERMISSION:
    return KM_SYNC_NOT_ALLOWED;
  case KM_ERR_UNSUPPORTED:
    return KM_SYNC_OTHER_VERSION;
  case KM_ERR_LIMIT:
    return KM_SYNC_TOO_MUCH;
  case KM_ERR_BAD_PACKET:
    return KM_SYNC_BROKEN;
  default:
    return KM_SYNC_TROUBLE;
  }
}

int km_sync_refuse_read(km_rd body, km_errinfo *err) {
  static const int errors[] = {[KM_SYNC_NOT_ALLOWED] = KM_ERR_PERMISSION,
                               [KM_SYNC_OTHER_VERSION] = KM_ERR_UNSUPPORTED,
                               [KM_SYNC_TOO_MUCH] = KM_ERR_LIMIT};
  uint8_t code = km_rd_u8(&body);
  int error = code < sizeof errors / sizeof errors[0] ? errors[code] : 0;
  size_t len = km_rd_left(&body);
  int shown = len < sizeof err->text ? (int)len : (int)sizeof err->text;
  return km_fail(err, error != 0 ? error : KM_ERR_CLOSED_BY_PEER,
                 "the peer refuses the synchronization: %.*s", shown, (const char *)body.at);
}
