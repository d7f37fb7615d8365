#include "discovery/ways.h"

#include <string.h>

static bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

size_t km_ways_word(const char **at, const char *end, const char **ret) {
  const char *p = *at;
  while (p < end && is_blank(*p)) {
    p++;
  }
  *ret = p;
  while (p < end && !is_blank(*p)) {
    p++;
  }
  *at = p;
  return (size_t)(p - *ret);
}

static bool is_url(const char *word, size_t len) {
  for (size_t i = 0; i + 3 <= len; i++) {
    if (memcmp(word + i, "://", 3) == 0) {
      return true;
    }
  }
  return false;
}

int km_ways_add(km_addr *addr, const char *word, size_t len, km_errinfo *err) {
  if (is_url(word, len)) {
    return km_addr_add_relay(addr, word, len, err);
  }
  km_udp_addr udp;
  int rv = km_udp_addr_parse(&udp, word, len, err);
  return rv != 0 ? rv : km_addr_add_udp(addr, &udp);
}

void km_ways_read(km_addr *addr, const char *text) {
  const char *at = text, *end = text + strlen(text), *word;
  for (size_t len; (len = km_ways_word(&at, end, &word)) > 0;) {
    if (km_ways_add(addr, word, len, NULL) != 0) {
      continue;
    }
  }
}

static size_t append(char *buf, size_t cap, size_t at, const char *word) {
  size_t len = strlen(word), blank = at > 0 ? 1 : 0;
  if (at + blank + len >= cap) {
    return at;
  }
  if (blank == 1) {
    buf[at] = ' ';
  }
  memcpy(buf + at + blank, word, len + 1);
  return at + blank + len;
}

void km_ways_write(const km_addr *addr, char *buf, size_t cap) {
  size_t at = 0;
  buf[0] = '\0';
  for (size_t i = 0; i < km_addr_udp_count(addr); i++) {
    char word[KM_UDP_ADDR_TEXT_CAP];
    if (km_udp_addr_format(km_addr_udp_at(addr, i), word, sizeof word) > 0) {
      at = append(buf, cap, at, word);
    }
  }
  for (size_t i = 0; i < km_addr_relay_count(addr); i++) {
    at = append(buf, cap, at, km_addr_relay_at(addr, i));
  }
}

void km_ways_merge(km_addr *addr, const km_addr *from) {
  int rv = 0;
  for (size_t i = 0; i < km_addr_udp_count(from) && rv == 0; i++) {
    rv = km_addr_add_udp(addr, km_addr_udp_at(from, i));
  }
  rv = 0;
  for (size_t i = 0; i < km_addr_relay_count(from) && rv == 0; i++) {
    const char *url = km_addr_relay_at(from, i);
    rv = km_addr_add_relay(addr, url, strlen(url), NULL);
  }
}
