/* An endpoint ticket is "endpoint" and the lower-case base32 of a postcard value:
 *
 *   varint   0, the only variant
 *   32 bytes endpoint id
 *   varint   number of addresses, each one of
 *     varint 0  relay: varint length, url in UTF-8
 *     varint 1  UDP:   varint 0, 4 bytes   or   varint 1, 16 bytes;   varint port
 *     varint 2  custom transport, in one of two layouts (below)
 *
 * Written in the order of km_addr without duplicates, read in any order. Bytes after the value are
 * ignored, as iroh does. */
#include <keymesh/ticket.h>
#include <string.h>

#include "base/addr_impl.h"
#include "base/enc.h"
#include "base/ticket_impl.h"
#include "base/udp_addr.h"
#include "base/wire.h"

#define PREFIX "endpoint"
#define PREFIX_LEN (sizeof PREFIX - 1)

enum { ENTRY_RELAY = 0, ENTRY_UDP = 1, ENTRY_CUSTOM = 2 };
enum { FAMILY_V4 = 0, FAMILY_V6 = 1 };

/* iroh changed how a custom address is written after 1.0.3. A ticket does not say which layout it
 * has, but it was written by one version, so the one that reads to the end is it. */
typedef enum custom_layout {
  CUSTOM_RELEASED, /* varint id; 0, length byte, 30 bytes   or   1, varint length, bytes */
  CUSTOM_LATER     /* varint id; varint length, bytes */
} custom_layout;
enum { CUSTOM_INLINE = 0, CUSTOM_HEAP = 1, CUSTOM_INLINE_CAP = 30 };

typedef struct reader {
  km_rd rd;
  custom_layout layout;
  bool saw_custom;
  km_errinfo *err;
} reader;

static int bad(km_errinfo *err, const char *why) {
  return km_fail(err, KM_ERR_BAD_TICKET, "not an endpoint ticket: %s", why);
}

static int damaged(km_errinfo *err) {
  return bad(err, "it is damaged or cut off; copy the whole ticket");
}

static int read_relay(reader *r, km_addr *addr) {
  uint64_t len = km_rd_varint(&r->rd, 64);
  const uint8_t *url = km_rd_bytes(&r->rd, len);
  if (url == NULL) {
    return damaged(r->err);
  }
  km_errinfo why;
  int rv = km_addr_add_relay(addr, (const char *)url, (size_t)len, &why);
  if (rv == KM_ERR_BAD_RELAY_URL) {
    return km_fail(r->err, KM_ERR_BAD_TICKET, "not an endpoint ticket: %s", why.text);
  }
  return rv == 0 ? 0 : km_fail(r->err, rv, "%s", why.text);
}

static int read_udp(reader *r, km_addr *addr) {
  km_udp_addr udp = {0};
  uint64_t family = km_rd_varint(&r->rd, 32);
  if (r->rd.failed || family > FAMILY_V6) {
    return damaged(r->err);
  }
  size_t ip_len = family == FAMILY_V4 ? 4 : 16;
  const uint8_t *ip = km_rd_bytes(&r->rd, ip_len);
  uint64_t port = km_rd_varint(&r->rd, 16);
  if (r->rd.failed) {
    return damaged(r->err);
  }
  udp.family = family == FAMILY_V4 ? 4 : 6;
  udp.port = (uint16_t)port;
  memcpy(udp.ip, ip, ip_len);
  int rv = km_addr_insert_udp(addr, &udp);
  return rv == 0 ? 0
                 : km_fail(r->err, rv, "the ticket has more than %d direct addresses",
                           KM_ADDR_MAX_DIRECT);
}

static int skip_custom(reader *r) {
  r->saw_custom = true;
  (void)km_rd_varint(&r->rd, 64); /* the transport's id: KeyMesh has no such transports */
  uint64_t kind = r->layout == CUSTOM_RELEASED ? km_rd_varint(&r->rd, 32) : CUSTOM_HEAP;
  if (kind == CUSTOM_INLINE) {
    uint8_t used = km_rd_u8(&r->rd);
    (void)km_rd_bytes(&r->rd, CUSTOM_INLINE_CAP);
    return r->rd.failed || used > CUSTOM_INLINE_CAP ? damaged(r->err) : 0;
  }
  (void)km_rd_bytes(&r->rd, km_rd_varint(&r->rd, 64));
  return r->rd.failed || kind > CUSTOM_HEAP ? damaged(r->err) : 0;
}

static int read_entries(reader *r, km_addr *addr) {
  uint64_t count = km_rd_varint(&r->rd, 64);
  for (uint64_t i = 0; i < count && !r->rd.failed; i++) {
    int rv;
    switch (km_rd_varint(&r->rd, 32)) {
    case ENTRY_RELAY:
      rv = read_relay(r, addr);
      break;
    case ENTRY_UDP:
      rv = read_udp(r, addr);
      break;
    case ENTRY_CUSTOM:
      rv = skip_custom(r);
      break;
    default:
      rv = bad(r->err, "it has an address of an unknown kind; a newer version may read it");
      break;
    }
    if (rv != 0) {
      return rv;
    }
  }
  return r->rd.failed ? damaged(r->err) : 0;
}

static int read_addr(km_addr **ret, const km_env *env, const km_id *id, reader *r) {
  km_addr *addr;
  int rv = km_addr_new_in(&addr, env, id);
  if (rv != 0) {
    return km_fail(r->err, rv, NULL);
  }
  rv = read_entries(r, addr);
  if (rv != 0) {
    km_addr_free(addr);
    return rv;
  }
  *ret = addr;
  return 0;
}

static int read_value(km_addr **ret, const km_env *env, const uint8_t *bytes, size_t len,
                      km_errinfo *err) {
  reader r = {.rd = km_rd_init(bytes, len), .err = err};
  uint64_t variant = km_rd_varint(&r.rd, 32);
  const uint8_t *id_bytes = km_rd_bytes(&r.rd, KM_ID_BYTES);
  if (id_bytes == NULL) {
    return damaged(err);
  }
  if (variant != 0) {
    return bad(err, "it has an unknown version");
  }
  km_id id;
  if (km_id_from_bytes(&id, id_bytes) != 0) {
    return bad(err, "its endpoint id is not a public key");
  }
  reader again = {.rd = r.rd, .layout = CUSTOM_LATER};
  int rv = read_addr(ret, env, &id, &r);
  if (rv != KM_ERR_BAD_TICKET || !r.saw_custom) {
    return rv;
  }
  /* Where neither layout fits, the sentence of the first stays: it is the one in use. */
  return read_addr(ret, env, &id, &again) == 0 ? 0 : rv;
}

int km_ticket_parse_in(km_addr **ret, const km_env *env, const char *text, size_t len,
                       km_errinfo *err) {
  if (len > KM_TICKET_MAX) {
    return km_fail(err, KM_ERR_BAD_TICKET,
                   "not an endpoint ticket: it is longer than %d characters", KM_TICKET_MAX);
  }
  if (len < PREFIX_LEN || memcmp(text, PREFIX, PREFIX_LEN) != 0) {
    return bad(err, "it does not begin with '" PREFIX "'");
  }
  const char *body = text + PREFIX_LEN;
  size_t body_len = len - PREFIX_LEN;
  uint8_t *bytes = km_env_alloc(env, KM_BASE32_BYTES(body_len));
  if (bytes == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  int rv;
  if (km_base32_decode(KM_BASE32_RFC4648, bytes, body, body_len)) {
    rv = read_value(ret, env, bytes, KM_BASE32_BYTES(body_len), err);
  } else {
    rv = bad(err, "a character is missing or is not of a to z, 2 to 7");
  }
  km_env_free(env, bytes);
  return rv;
}

int km_ticket_parse(km_addr **ret, const char *text, size_t len, km_errinfo *err) {
  return km_ticket_parse_in(ret, &km_env_system, text, len, err);
}

/* The largest value: every relay url at its longest, every address IPv6 with a 3-byte port. */
#define VALUE_MAX                                                                                  \
  (1 + KM_ID_BYTES + 1 + KM_ADDR_MAX_RELAYS * (1 + 3 + KM_RELAY_URL_MAX) +                         \
   KM_ADDR_MAX_DIRECT * (2 + 16 + 3))
_Static_assert(PREFIX_LEN + KM_BASE32_LEN(VALUE_MAX) <= KM_TICKET_MAX, "we read what we write");

static void write_value(km_wr *wr, const km_addr *addr) {
  km_wr_varint(wr, 0);
  km_wr_bytes(wr, addr->id.bytes, KM_ID_BYTES);
  km_wr_varint(wr, addr->relay_count + addr->udp_count);
  for (size_t i = 0; i < addr->relay_count; i++) {
    size_t len = strlen(addr->relays[i]);
    km_wr_varint(wr, ENTRY_RELAY);
    km_wr_varint(wr, len);
    km_wr_bytes(wr, addr->relays[i], len);
  }
  for (size_t i = 0; i < addr->udp_count; i++) {
    const km_udp_addr *udp = &addr->udp[i];
    km_wr_varint(wr, ENTRY_UDP);
    km_wr_varint(wr, udp->family == 4 ? FAMILY_V4 : FAMILY_V6);
    km_wr_bytes(wr, udp->ip, udp->family == 4 ? 4 : 16);
    km_wr_varint(wr, udp->port);
  }
}

int km_ticket_format(const km_addr *addr, char *buf, size_t cap, size_t *ret_len) {
  uint8_t value[VALUE_MAX];
  km_wr wr = km_wr_init(value, sizeof value);
  write_value(&wr, addr);
  size_t value_len = (size_t)(wr.at - value);
  size_t len = PREFIX_LEN + KM_BASE32_LEN(value_len);
  if (ret_len != NULL) {
    *ret_len = len;
  }
  if (len >= cap) {
    return KM_ERR_BUFFER;
  }
  memcpy(buf, PREFIX, PREFIX_LEN);
  km_base32_encode(KM_BASE32_RFC4648, buf + PREFIX_LEN, value, value_len);
  return 0;
}
