#include "base/ip_text.h"

#include <stdio.h>
#include <string.h>

#define GROUPS 8

/* A decimal number of 0 to 255 without leading zeros at text[*at]; moves *at behind it. */
static bool parse_octet(const char *text, size_t len, size_t *at, uint8_t *ret) {
  size_t start = *at;
  unsigned value = 0;
  while (*at < len && *at - start < 3 && text[*at] >= '0' && text[*at] <= '9') {
    value = value * 10 + (unsigned)(text[*at] - '0');
    (*at)++;
  }
  size_t digits = *at - start;
  if (digits == 0 || value > 255 || (digits > 1 && text[start] == '0')) {
    return false;
  }
  *ret = (uint8_t)value;
  return true;
}

bool km_ip4_parse(uint8_t ret[4], const char *text, size_t len) {
  uint8_t ip[4];
  size_t at = 0;
  for (int i = 0; i < 4; i++) {
    if (i > 0 && (at >= len || text[at++] != '.')) {
      return false;
    }
    if (!parse_octet(text, len, &at, &ip[i])) {
      return false;
    }
  }
  if (at != len) {
    return false;
  }
  memcpy(ret, ip, sizeof ip);
  return true;
}

static int hex_value(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  if (c >= 'a' && c <= 'f') {
    return c - 'a' + 10;
  }
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

typedef struct ip6_reader {
  const char *text;
  size_t len;
  size_t at;
  uint16_t groups[GROUPS];
  int count;
  int gap; /* groups before "::", -1 while there is none */
} ip6_reader;

/* One group at the cursor, or the IPv4 tail as two. */
static bool read_group(ip6_reader *r) {
  unsigned value = 0;
  size_t start = r->at;
  while (r->at < r->len && r->at - start < 4 && hex_value(r->text[r->at]) >= 0) {
    value = value << 4 | (unsigned)hex_value(r->text[r->at]);
    r->at++;
  }
  if (r->at < r->len && r->text[r->at] == '.') {
    uint8_t ip[4];
    if (r->count > GROUPS - 2 || !km_ip4_parse(ip, r->text + start, r->len - start)) {
      return false;
    }
    r->groups[r->count++] = (uint16_t)(ip[0] << 8 | ip[1]);
    r->groups[r->count++] = (uint16_t)(ip[2] << 8 | ip[3]);
    r->at = r->len;
    return true;
  }
  if (r->at == start || r->count == GROUPS) {
    return false;
  }
  r->groups[r->count++] = (uint16_t)value;
  return true;
}

static bool at_gap(const ip6_reader *r) {
  return r->len - r->at >= 2 && r->text[r->at] == ':' && r->text[r->at + 1] == ':';
}

static bool read_groups(ip6_reader *r) {
  bool first = true;
  while (r->at < r->len) {
    if (at_gap(r)) {
      if (r->gap >= 0) {
        return false;
      }
      r->gap = r->count;
      r->at += 2;
      if (r->at == r->len) {
        break;
      }
    } else if (!first && r->text[r->at++] != ':') {
      return false;
    }
    if (!read_group(r)) {
      return false;
    }
    first = false;
  }
  /* "::" stands for one group or more. */
  return r->gap >= 0 ? r->count < GROUPS : r->count == GROUPS;
}

bool km_ip6_parse(uint8_t ret[16], const char *text, size_t len) {
  ip6_reader r = {.text = text, .len = len, .gap = -1};
  if (!read_groups(&r)) {
    return false;
  }
  uint16_t groups[GROUPS] = {0};
  int head = r.gap >= 0 ? r.gap : r.count;
  int tail = r.count - head;
  memcpy(groups, r.groups, (size_t)head * sizeof groups[0]);
  memcpy(groups + GROUPS - tail, r.groups + head, (size_t)tail * sizeof groups[0]);
  for (int i = 0; i < GROUPS; i++) {
    ret[2 * i] = (uint8_t)(groups[i] >> 8);
    ret[2 * i + 1] = (uint8_t)groups[i];
  }
  return true;
}

uint8_t km_ip_parse(uint8_t ret[16], const char *text, size_t len) {
  return km_ip4_parse(ret, text, len) ? 4 : km_ip6_parse(ret, text, len) ? 6 : 0;
}

size_t km_ip4_format(char ret[KM_IP_TEXT_CAP], const uint8_t ip[4]) {
  return (size_t)snprintf(ret, KM_IP_TEXT_CAP, "%u.%u.%u.%u", ip[0], ip[1], ip[2], ip[3]);
}

/* The first longest run of two zero groups or more (RFC 5952 section 4.2); *len is 0 without. */
static int longest_zero_run(const uint16_t groups[GROUPS], int *len) {
  int best = 0;
  *len = 0;
  for (int i = 0; i < GROUPS; i++) {
    int n = 0;
    while (i + n < GROUPS && groups[i + n] == 0) {
      n++;
    }
    if (n >= 2 && n > *len) {
      best = i;
      *len = n;
    }
    i += n;
  }
  return best;
}

size_t km_ip6_format(char ret[KM_IP_TEXT_CAP], const uint8_t ip[16], km_ip6_style style) {
  static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
  if (style == KM_IP6_RFC5952 && memcmp(ip, mapped, sizeof mapped) == 0) {
    return (size_t)snprintf(ret, KM_IP_TEXT_CAP, "::ffff:%u.%u.%u.%u", ip[12], ip[13], ip[14],
                            ip[15]);
  }
  uint16_t groups[GROUPS];
  for (int i = 0; i < GROUPS; i++) {
    groups[i] = (uint16_t)(ip[2 * i] << 8 | ip[2 * i + 1]);
  }
  int run_len;
  int run = longest_zero_run(groups, &run_len);
  size_t at = 0;
  for (int i = 0; i < GROUPS; i++) {
    if (run_len > 0 && i == run) {
      at += (size_t)snprintf(ret + at, KM_IP_TEXT_CAP - at, "::");
      i += run_len - 1;
      continue;
    }
    const char *colon = at > 0 && ret[at - 1] != ':' ? ":" : "";
    at += (size_t)snprintf(ret + at, KM_IP_TEXT_CAP - at, "%s%x", colon, groups[i]);
  }
  return at;
}
