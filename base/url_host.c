#include "base/url_host.h"

#include <stdint.h>
#include <string.h>

#include "base/ip_text.h"

static int hex_value(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  if (c >= 'a' && c <= 'f') {
    return c - 'a' + 10;
  }
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* "Forbidden host code point", beside the control characters that each caller treats itself. */
static bool is_forbidden(char c) {
  return c == '\0' || strchr("\t\n\r #/:<>?@[\\]^|", c) != NULL;
}

static bool is_control(char c) {
  return (uint8_t)c < 0x20 || c == 0x7f;
}

/* The number of one part of an IPv4 host, in any base of C. False where it is none. Values beyond
 * 32 bits become UINT32_MAX + 1. */
static bool parse_ip4_number(const char *text, size_t len, uint64_t *ret) {
  int base = 10;
  if (len >= 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
    base = 16;
    text += 2;
    len -= 2;
  } else if (len >= 2 && text[0] == '0') {
    base = 8;
    text += 1;
    len -= 1;
  } else if (len == 0) {
    return false;
  }
  const uint64_t too_large = (uint64_t)UINT32_MAX + 1;
  uint64_t value = 0;
  for (size_t i = 0; i < len; i++) {
    int digit = hex_value(text[i]);
    if (digit < 0 || digit >= base) {
      return false;
    }
    value = value * (uint64_t)base + (uint64_t)digit;
    value = value < too_large ? value : too_large;
  }
  *ret = value;
  return true;
}

static bool all_digits(const char *text, size_t len) {
  for (size_t i = 0; i < len; i++) {
    if (text[i] < '0' || text[i] > '9') {
      return false;
    }
  }
  return len > 0;
}

static size_t without_last_dot(const char *host, size_t len) {
  return len > 1 && host[len - 1] == '.' ? len - 1 : len;
}

/* True when the host must be an IPv4 address, or is wrong. */
static bool ends_in_number(const char *host, size_t len) {
  len = without_last_dot(host, len);
  size_t start = len;
  while (start > 0 && host[start - 1] != '.') {
    start--;
  }
  uint64_t ignored;
  return all_digits(host + start, len - start) ||
         parse_ip4_number(host + start, len - start, &ignored);
}

/* One to four numbers; the last fills the bytes that are left ("127.1"). */
static bool parse_ip4(uint8_t ret[4], const char *host, size_t len) {
  len = without_last_dot(host, len);
  uint64_t numbers[4];
  size_t count = 0;
  size_t start = 0;
  for (size_t at = 0; at <= len; at++) {
    if (at < len && host[at] != '.') {
      continue;
    }
    if (count == 4 || !parse_ip4_number(host + start, at - start, &numbers[count])) {
      return false;
    }
    count++;
    start = at + 1;
  }
  uint64_t ip = numbers[count - 1];
  if (ip >= UINT64_C(1) << (8 * (5 - count))) {
    return false;
  }
  for (size_t i = 0; i + 1 < count; i++) {
    if (numbers[i] > 255) {
      return false;
    }
    ip |= numbers[i] << (8 * (3 - i));
  }
  for (size_t i = 0; i < 4; i++) {
    ret[i] = (uint8_t)(ip >> (8 * (3 - i)));
  }
  return true;
}

static km_url_host_result bracketed(char ret[KM_URL_HOST_CAP], const char *host, size_t len) {
  uint8_t ip[16];
  if (len < 2 || host[len - 1] != ']' || !km_ip6_parse(ip, host + 1, len - 2)) {
    return KM_URL_HOST_BAD;
  }
  ret[0] = '[';
  size_t n = km_ip6_format(ret + 1, ip, KM_IP6_URL);
  ret[n + 1] = ']';
  ret[n + 2] = '\0';
  return KM_URL_HOST_OK;
}

/* Percent-decoded and in lower case; the length, or 0 where it does not fit. */
static size_t decode_domain(char ret[KM_URL_HOST_CAP], const char *host, size_t len) {
  size_t n = 0;
  for (size_t i = 0; i < len; i++) {
    char c = host[i];
    if (c == '%' && len - i > 2 && hex_value(host[i + 1]) >= 0 && hex_value(host[i + 2]) >= 0) {
      c = (char)(hex_value(host[i + 1]) << 4 | hex_value(host[i + 2]));
      i += 2;
    }
    if (n == KM_URL_HOST_CAP - 1) {
      return 0;
    }
    ret[n++] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
  }
  ret[n] = '\0';
  return n;
}

static km_url_host_result domain(char ret[KM_URL_HOST_CAP], const char *host, size_t len) {
  size_t n = decode_domain(ret, host, len);
  if (n == 0) {
    return KM_URL_HOST_BAD;
  }
  for (size_t i = 0; i < n; i++) {
    if ((uint8_t)ret[i] >= 0x80) {
      return KM_URL_HOST_NOT_ASCII;
    }
    if (is_forbidden(ret[i]) || is_control(ret[i]) || ret[i] == '%') {
      return KM_URL_HOST_BAD;
    }
  }
  uint8_t ip[4];
  if (!ends_in_number(ret, n)) {
    return KM_URL_HOST_OK;
  }
  if (!parse_ip4(ip, ret, n)) {
    return KM_URL_HOST_BAD;
  }
  (void)km_ip4_format(ret, ip); /* the length is not needed */
  return KM_URL_HOST_OK;
}

/* A host that the standard does not understand: kept, made printable. */
static km_url_host_result opaque(char ret[KM_URL_HOST_CAP], const char *host, size_t len) {
  static const char digits[] = "0123456789ABCDEF";
  size_t n = 0;
  for (size_t i = 0; i < len; i++) {
    if (is_forbidden(host[i]) || n + 4 > KM_URL_HOST_CAP) {
      return KM_URL_HOST_BAD;
    }
    uint8_t byte = (uint8_t)host[i];
    if (is_control(host[i]) || byte >= 0x80) {
      ret[n++] = '%';
      ret[n++] = digits[byte >> 4];
      ret[n++] = digits[byte & 15];
    } else {
      ret[n++] = host[i];
    }
  }
  ret[n] = '\0';
  return KM_URL_HOST_OK;
}

km_url_host_result km_url_host_normalise(char ret[KM_URL_HOST_CAP], const char *host, size_t len,
                                         bool special) {
  if (len == 0) {
    return KM_URL_HOST_EMPTY;
  }
  if (host[0] == '[') {
    return bracketed(ret, host, len);
  }
  return special ? domain(ret, host, len) : opaque(ret, host, len);
}
