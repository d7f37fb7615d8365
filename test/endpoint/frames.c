#include "test/endpoint/frames.h"

#include <string.h>

/* A frame is a list of fields: v is a number, l a number of bytes and then these, c the same with
 * the number in one byte, 8 eight bytes, t sixteen, r what is left, a the ranges of an ACK. */
static const char *layout_of(uint64_t type) {
  static const char *const layouts[0x20] = {
      [0x01] = "",   [0x02] = "vva", [0x03] = "vvavvv", [0x04] = "vvv",  [0x05] = "vv",
      [0x06] = "vl", [0x07] = "l",   [0x08] = "vr",     [0x09] = "vr",   [0x0a] = "vl",
      [0x0b] = "vl", [0x0c] = "vvr", [0x0d] = "vvr",    [0x0e] = "vvl",  [0x0f] = "vvl",
      [0x10] = "v",  [0x11] = "vv",  [0x12] = "v",      [0x13] = "v",    [0x14] = "v",
      [0x15] = "vv", [0x16] = "v",   [0x17] = "v",      [0x18] = "vvct", [0x19] = "v",
      [0x1a] = "8",  [0x1b] = "8",   [0x1c] = "vvl",    [0x1d] = "vl",   [0x1e] = "",
      [0x00] = "",
  };
  if (type == 0x30 || type == 0x31) {
    return type == 0x30 ? "r" : "l";
  }
  return type < 0x20 ? layouts[type] : NULL;
}

bool take_varint(const uint8_t **at, const uint8_t *end, uint64_t *ret) {
  if (*at == end || (size_t)(end - *at) < (size_t)1 << (**at >> 6)) {
    return false;
  }
  size_t size = (size_t)1 << (**at >> 6);
  uint64_t value = **at & 0x3f;
  for (size_t i = 1; i < size; i++) {
    value = value << 8 | (*at)[i];
  }
  *at += size;
  *ret = value;
  return true;
}

static bool skip(const uint8_t **at, const uint8_t *end, uint64_t count) {
  if (count > (uint64_t)(end - *at)) {
    return false;
  }
  *at += count;
  return true;
}

/* Range count, first range, then gap and length of each further one. */
static bool take_ranges(const uint8_t **at, const uint8_t *end, frame *ret) {
  uint64_t count, value;
  if (!take_varint(at, end, &count) || !take_varint(at, end, &value)) {
    return false;
  }
  ret->ranges = count + 1;
  for (uint64_t i = 0; i < 2 * count; i++) {
    if (!take_varint(at, end, &value)) {
      return false;
    }
  }
  return true;
}

static bool take_field(char kind, const uint8_t **at, const uint8_t *end, frame *ret,
                       uint64_t *value) {
  switch (kind) {
  case 'v':
    return take_varint(at, end, value);
  case 'l':
    return take_varint(at, end, value) && skip(at, end, *value);
  case 'c':
    return *at < end && skip(at, end, 1 + (uint64_t) * *at);
  case 't':
    return skip(at, end, 16);
  case '8':
    return skip(at, end, 8);
  case 'a':
    return take_ranges(at, end, ret);
  default:
    return skip(at, end, (uint64_t)(end - *at));
  }
}

bool frame_next(const uint8_t **at, const uint8_t *end, frame *ret) {
  const uint8_t *p = *at;
  memset(ret, 0, sizeof *ret);
  ret->at = p;
  const char *layout = take_varint(&p, end, &ret->type) ? layout_of(ret->type) : NULL;
  if (layout == NULL) {
    return false;
  }
  for (size_t i = 0; layout[i] != '\0'; i++) {
    uint64_t value = 0;
    if (!take_field(layout[i], &p, end, ret, &value)) {
      return false;
    }
    ret->first = i == 0 ? value : ret->first;
  }
  ret->len = (size_t)(p - ret->at);
  *at = p;
  return true;
}

bool frame_find(const uint8_t *data, size_t len, uint64_t type, frame *ret) {
  const uint8_t *at = data, *end = data + len;
  while (frame_next(&at, end, ret)) {
    if (ret->type == type) {
      return true;
    }
  }
  return false;
}

uint8_t *put_varint(uint8_t *at, uint64_t value) {
  unsigned log = value < 64 ? 0 : value < 16384 ? 1 : value < 1u << 30 ? 2 : 3;
  size_t size = (size_t)1 << log;
  for (size_t i = 0; i < size; i++) {
    at[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
  }
  at[0] = (uint8_t)(at[0] | log << 6);
  return at + size;
}
