#include "discovery/dns_name.h"

#include <string.h>

#define POINTER 0xc0
/* A name has 127 labels at most, and each can be reached by a pointer. */
#define MAX_POINTERS 127

static uint8_t lower(uint8_t c) {
  return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

/* The bytes that tell lengths are below 'A', so a whole name can be compared byte by byte. */
static bool same(const uint8_t *a, const uint8_t *b, size_t len) {
  for (size_t i = 0; i < len; i++) {
    if (lower(a[i]) != lower(b[i])) {
      return false;
    }
  }
  return true;
}

bool km_dns_name_read(km_dns_name *ret, const uint8_t *msg, size_t len, size_t *pos) {
  size_t at = *pos, below = *pos; /* pointers lead to before what was read so far */
  size_t used = 0, end = 0;
  unsigned pointers = 0;
  for (;;) {
    if (at >= len) {
      return false;
    }
    uint8_t n = msg[at];
    if ((n & POINTER) == POINTER) {
      if (at + 1 >= len) {
        return false;
      }
      size_t to = (size_t)(n & 0x3f) << 8 | msg[at + 1];
      if (to >= below || ++pointers > MAX_POINTERS) {
        return false;
      }
      end = end == 0 ? at + 2 : end;
      at = below = to;
      continue;
    }
    if ((n & POINTER) != 0 || n + 1u > len - at || used + n + 1u > KM_DNS_NAME_MAX) {
      return false;
    }
    memcpy(ret->bytes + used, msg + at, n + 1u);
    used += n + 1u;
    at += n + 1u;
    if (n == 0) {
      ret->len = (uint8_t)used;
      *pos = end == 0 ? at : end;
      return true;
    }
  }
}

bool km_dns_name_skip(const uint8_t *msg, size_t len, size_t *pos) {
  size_t at = *pos;
  for (;;) {
    if (at >= len) {
      return false;
    }
    uint8_t n = msg[at];
    if ((n & POINTER) == POINTER) {
      *pos = at + 2;
      return at + 1 < len;
    }
    if ((n & POINTER) != 0) {
      return false;
    }
    at += n + 1u;
    if (n == 0) {
      *pos = at;
      return true;
    }
  }
}

/* One character, maybe escaped. False: a wrong escape. */
static bool take_char(const char **at, const char *end, uint8_t *ret) {
  if (**at != '\\') {
    *ret = (uint8_t) * (*at)++;
    return true;
  }
  (*at)++;
  if (*at == end) {
    return false;
  }
  if (**at < '0' || **at > '9') {
    *ret = (uint8_t) * (*at)++;
    return true;
  }
  unsigned value = 0;
  for (int i = 0; i < 3; i++, (*at)++) {
    if (*at == end || **at < '0' || **at > '9') {
      return false;
    }
    value = value * 10 + (unsigned)(**at - '0');
  }
  *ret = (uint8_t)value;
  return value <= 255;
}

bool km_dns_name_parse(km_dns_name *ret, const char *text, size_t text_len) {
  const char *at = text, *end = text + text_len;
  if (text_len == 0) {
    return false;
  }
  if (text_len == 1 && text[0] == '.') {
    at = end;
  }
  size_t used = 0;
  while (at < end) {
    uint8_t label[KM_DNS_LABEL_MAX];
    size_t n = 0;
    while (at < end && *at != '.') {
      if (n == sizeof label || !take_char(&at, end, &label[n++])) {
        return false;
      }
    }
    if (n == 0 || used + n + 2 > KM_DNS_NAME_MAX) { /* with the root's byte */
      return false;
    }
    at += at < end; /* the dot */
    ret->bytes[used++] = (uint8_t)n;
    memcpy(ret->bytes + used, label, n);
    used += n;
  }
  ret->bytes[used++] = 0;
  ret->len = (uint8_t)used;
  return true;
}

bool km_dns_name_equal(const km_dns_name *a, const km_dns_name *b) {
  return a->len == b->len && same(a->bytes, b->bytes, a->len);
}

void km_dns_name_lower(km_dns_name *name) {
  for (size_t i = 0; i < name->len; i++) {
    name->bytes[i] = lower(name->bytes[i]);
  }
}

int km_dns_name_under(const km_dns_name *name, const km_dns_name *suffix) {
  if (suffix->len > name->len) {
    return -1;
  }
  size_t want = (size_t)name->len - suffix->len, at = 0;
  while (at < want) {
    at += name->bytes[at] + 1u;
  }
  return at == want && same(name->bytes + at, suffix->bytes, suffix->len) ? (int)at : -1;
}

bool km_dns_name_join(km_dns_name *ret, const km_dns_name *name, size_t prefix_len,
                      const km_dns_name *suffix) {
  if (prefix_len + suffix->len > KM_DNS_NAME_MAX) {
    return false;
  }
  memmove(ret->bytes, name->bytes, prefix_len);
  memcpy(ret->bytes + prefix_len, suffix->bytes, suffix->len);
  ret->len = (uint8_t)(prefix_len + suffix->len);
  return true;
}
