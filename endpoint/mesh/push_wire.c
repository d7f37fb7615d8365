#include "endpoint/mesh/push.h"

int km_push_frame(const uint8_t *data, size_t len, size_t max, size_t *used, size_t *want,
                  uint8_t *ret_type, km_rd *ret_body) {
  *want = 0;
  km_rd rd = km_rd_init(data, len);
  uint64_t size = km_rd_varint(&rd, 32);
  if (rd.failed) {
    return len >= KM_PUSH_HEAD_MAX - 1 ? KM_ERR_BAD_PACKET : 0;
  }
  if (size == 0 || size > max) {
    return KM_ERR_BAD_PACKET;
  }
  size_t head = (size_t)(rd.at - data);
  *want = head + (size_t)size;
  if (len < *want) {
    return 0;
  }
  *used = *want;
  *ret_type = km_rd_u8(&rd);
  *ret_body = km_rd_init(rd.at, (size_t)size - 1);
  return 1;
}

void km_push_head(km_wr *wr, uint8_t type, size_t len) {
  km_wr_varint(wr, (uint64_t)len + 1);
  km_wr_u8(wr, type);
}
