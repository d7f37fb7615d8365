#include "cmd/node/page/page_check.h"

#include <sodium.h>
#include <string.h>
#include <strings.h>

#include "base/enc.h"
#include "base/ip_text.h"

#define HTTP_PORT 80

/* --- hosts ----------------------------------------------------------------------------------- */

/* A mapped IPv4 address is the IPv4 address. */
static km_udp_addr unmapped(const km_udp_addr *addr) {
  static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
  km_udp_addr plain = *addr;
  if (addr->family == 6 && memcmp(addr->ip, mapped, sizeof mapped) == 0) {
    plain = (km_udp_addr){.family = 4, .port = addr->port};
    memcpy(plain.ip, addr->ip + 12, 4);
  }
  return plain;
}

bool page_is_loopback(const km_udp_addr *addr) {
  static const uint8_t one[16] = {[15] = 1};
  km_udp_addr plain = unmapped(addr);
  return plain.family == 4 ? plain.ip[0] == 127
                           : plain.family == 6 && memcmp(plain.ip, one, sizeof one) == 0;
}

static bool read_port(const char *text, uint16_t *ret) {
  uint32_t port = 0;
  size_t len = strlen(text);
  if (len == 0 || len > 5 || strspn(text, "0123456789") != len) {
    return false;
  }
  for (size_t i = 0; i < len; i++) {
    port = port * 10 + (uint32_t)(text[i] - '0');
  }
  *ret = (uint16_t)port;
  return port <= UINT16_MAX;
}

/* "host", "host:port", "[v6]", "[v6]:port"; the brackets are not part of the host. */
static bool split_host(const char *field, const char **host, size_t *len, uint16_t *port) {
  const char *end;
  *port = HTTP_PORT;
  if (*field == '[') {
    *host = field + 1;
    end = strchr(field, ']');
    if (end == NULL) {
      return false;
    }
    *len = (size_t)(end - *host);
    end++;
  } else {
    *host = field;
    *len = strcspn(field, ":");
    end = field + *len;
  }
  return *len > 0 && (*end == '\0' || (*end == ':' && read_port(end + 1, port)));
}

static bool is_word(const char *text, size_t len, const char *word) {
  return word != NULL && strlen(word) == len && strncasecmp(text, word, len) == 0;
}

bool page_host_is_ours(const char *field, const km_udp_addr *local, const char *configured) {
  const char *host;
  size_t len;
  uint16_t port;
  km_udp_addr literal = {0};
  if (!split_host(field, &host, &len, &port) || port != local->port) {
    return false;
  }
  if (is_word(host, len, "localhost") || is_word(host, len, configured)) {
    return true;
  }
  literal.family = km_ip_parse(literal.ip, host, len);
  km_udp_addr said = unmapped(&literal), here = unmapped(local);
  return literal.family != 0 &&
         (page_is_loopback(&literal) ||
          (said.family == here.family && memcmp(said.ip, here.ip, sizeof said.ip) == 0));
}

bool page_origin_is(const char *origin, const char *host_field) {
  static const char scheme[] = "http://";
  return strncasecmp(origin, scheme, sizeof scheme - 1) == 0 &&
         strcasecmp(origin + sizeof scheme - 1, host_field) == 0;
}

/* --- the token ------------------------------------------------------------------------------- */

static void digest(uint8_t ret[32], const char *text, const char *use) {
  (void)crypto_generichash(ret, 32, (const uint8_t *)text, strlen(text), (const uint8_t *)use,
                           strlen(use));
}

void page_token_init(page_token *t, const char *token) {
  uint8_t bytes[32];
  digest(t->digest, token, "keymesh status page: token");
  digest(bytes, token, "keymesh status page: cookie");
  km_hex_encode(t->cookie, bytes, sizeof bytes);
}

bool page_token_is(const page_token *t, const char *token) {
  uint8_t said[32];
  digest(said, token, "keymesh status page: token");
  return sodium_memcmp(said, t->digest, sizeof said) == 0;
}

bool page_cookie_is(const page_token *t, const char *cookie) {
  uint8_t said[32], right[32];
  digest(said, cookie, "keymesh status page: value");
  digest(right, t->cookie, "keymesh status page: value");
  return sodium_memcmp(said, right, sizeof said) == 0;
}

/* --- wrong tokens ---------------------------------------------------------------------------- */

void page_guesses_init(page_guesses *g, const km_env *env, km_ts now) {
  km_env_random(env, g->key, sizeof g->key);
  for (size_t i = 0; i < PAGE_GUESS_SLOTS; i++) {
    km_token_bucket_init(&g->slots[i], 1, PAGE_GUESS_BURST, now);
  }
}

static size_t slot_of(const page_guesses *g, const km_udp_addr *source) {
  uint8_t hash[crypto_shorthash_BYTES];
  km_udp_addr plain = unmapped(source);
  (void)crypto_shorthash(hash, plain.ip, plain.family == 4 ? 4 : 8, g->key);
  return hash[0] % PAGE_GUESS_SLOTS;
}

bool page_guesses_may(const page_guesses *g, const km_udp_addr *source, km_ts now) {
  km_token_bucket copy = g->slots[slot_of(g, source)];
  return km_token_bucket_take(&copy, now);
}

void page_guesses_wrong(page_guesses *g, const km_udp_addr *source, km_ts now) {
  (void)km_token_bucket_take(&g->slots[slot_of(g, source)], now);
}
