/**
 * @file keymesh/addr.h
 * Where an endpoint can be reached: an id, UDP addresses and relay urls.
 *
 * km_udp_addr is a plain value. km_addr is a list without duplicates, kept in the order that iroh
 * writes it (relays by url, then IPv4, then IPv6). Not thread-safe: one thread at a time.
 */
#ifndef KEYMESH_ADDR_H
#define KEYMESH_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <keymesh/error.h>
#include <keymesh/export.h>
#include <keymesh/id.h>

KM_BEGIN_DECLS

/** An IP address and port. */
typedef struct km_udp_addr {
  uint8_t family;    /**< 4 or 6; 0 is "no address" */
  uint16_t port;     /**< host byte order */
  uint32_t scope_id; /**< interface index of a link-local IPv6 address, else 0 */
  uint8_t ip[16];    /**< network order; IPv4 uses the first 4 bytes, the rest is zero */
} km_udp_addr;

#define KM_UDP_ADDR_TEXT_CAP 64 /**< holds any address text with the NUL */

/**
 * Reads "192.0.2.1:4433", "[2001:db8::1]:4433" or "[fe80::1%2]:4433" (numeric scope). The port is
 * required. Numeric only, nothing is looked up.
 * @return 0 or KM_ERR_BAD_ADDR
 */
KM_EXPORT KM_NODISCARD int km_udp_addr_parse(km_udp_addr *ret, const char *text, size_t len,
                                             km_errinfo *err);

/** Writes an address, NUL-terminated. Returns the length or KM_ERR_BUFFER. */
KM_EXPORT int km_udp_addr_format(const km_udp_addr *addr, char *buf, size_t cap);

/** Same family, ip, port and scope. */
KM_EXPORT bool km_udp_addr_equal(const km_udp_addr *a, const km_udp_addr *b);

/** An endpoint's id and the ways to reach it. */
typedef struct km_addr km_addr;

#define KM_ADDR_MAX_DIRECT 32 /**< UDP addresses in one km_addr */
#define KM_ADDR_MAX_RELAYS 8  /**< relay urls in one km_addr */
#define KM_RELAY_URL_MAX 2048 /**< bytes of a relay url */

/** A new address of `id` without any way to reach it. Free with km_addr_free. */
KM_EXPORT KM_NODISCARD int km_addr_new(km_addr **ret, const km_id *id);
KM_EXPORT KM_NODISCARD int km_addr_copy(km_addr **ret, const km_addr *addr);
KM_EXPORT void km_addr_free(km_addr *addr);

KM_EXPORT const km_id *km_addr_id(const km_addr *addr);

/**
 * Adds a UDP address; one that is there already changes nothing. The scope is dropped, as on
 * iroh's wire.
 * @return 0, KM_ERR_BAD_ADDR (port 0 or no family), KM_ERR_LIMIT or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_addr_add_udp(km_addr *addr, const km_udp_addr *udp);
KM_EXPORT size_t km_addr_udp_count(const km_addr *addr);
/** The address at `index` (below km_addr_udp_count), owned by `addr`; NULL when out of range. */
KM_EXPORT const km_udp_addr *km_addr_udp_at(const km_addr *addr, size_t index);

/**
 * Adds a relay url after normalising it as iroh does (lower-case host, default port dropped, path
 * at least "/").
 * @return 0, KM_ERR_BAD_RELAY_URL, KM_ERR_LIMIT or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_addr_add_relay(km_addr *addr, const char *url, size_t len,
                                             km_errinfo *err);
KM_EXPORT size_t km_addr_relay_count(const km_addr *addr);
/** The normalised url at `index`, NUL-terminated, owned by `addr`; NULL when out of range. */
KM_EXPORT const char *km_addr_relay_at(const km_addr *addr, size_t index);

KM_END_DECLS

#endif /* KEYMESH_ADDR_H */
