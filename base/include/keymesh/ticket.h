/**
 * @file keymesh/ticket.h
 * Endpoint tickets: a km_addr as one line of text, byte-compatible with iroh's EndpointTicket.
 *
 * "endpoint" + base32 (lower case, no padding) of the postcard form of the address; the layout is
 * drawn in base/ticket.c. Pure functions, any thread.
 */
#ifndef KEYMESH_TICKET_H
#define KEYMESH_TICKET_H

#include <keymesh/addr.h>

KM_BEGIN_DECLS

#define KM_TICKET_MAX 32768 /**< bytes of ticket text that km_ticket_parse accepts */

/**
 * Reads a ticket. Strict where iroh is strict (prefix in lower case, no padding, no white space),
 * lenient where it is lenient (body in either case, bytes after the end ignored). Custom-transport
 * entries of iroh (tag 2) are skipped, because KeyMesh has no such transports.
 *
 * @param[out] ret  free with km_addr_free; untouched on failure
 * @return 0, KM_ERR_BAD_TICKET, KM_ERR_LIMIT (more addresses than km_addr holds) or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_ticket_parse(km_addr **ret, const char *text, size_t len,
                                           km_errinfo *err);

/**
 * Writes the ticket of `addr`, NUL-terminated.
 * @param[out] ret_len  length without the NUL, also set (to the length needed) on KM_ERR_BUFFER;
 *                      may be NULL
 * @return 0 or KM_ERR_BUFFER
 */
KM_EXPORT KM_NODISCARD int km_ticket_format(const km_addr *addr, char *buf, size_t cap,
                                            size_t *ret_len);

KM_END_DECLS

#endif /* KEYMESH_TICKET_H */
