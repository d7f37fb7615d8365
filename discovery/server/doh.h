/* DNS over HTTPS: questions out of a query string, as a message (RFC 8484) or in words, and answers
 * as JSON, in the form that Google, Cloudflare and iroh-dns-server give it. Pure. */
#ifndef KM_DISCOVERY_SERVER_DOH_H
#define KM_DISCOVERY_SERVER_DOH_H

#include <keymesh/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KM_DOH_QUERY_MAX 4096 /* bytes of a question; padded ones have 128 (RFC 8467) */

typedef enum km_doh_form { KM_DOH_DEFAULT, KM_DOH_MESSAGE, KM_DOH_JSON } km_doh_form;

typedef struct km_doh_request {
  km_doh_form form; /* what is wanted back; km_doh_finish decides */
  uint8_t query[KM_DOH_QUERY_MAX];
  size_t len; /* 0: no message, or not yet */
  /* A question in words. */
  bool has_name;
  uint8_t name[255]; /* as DNS writes it */
  size_t name_len;
  uint16_t type;
  bool recursion, unchecked, dnssec;
} km_doh_request;

void km_doh_begin(km_doh_request *r);
/* A parameter of the query string, decoded: "name=value". Unknown ones do nothing. 0, KM_ERR_LIMIT
 * (too long) or KM_ERR_INVALID. */
KM_NODISCARD int km_doh_param(km_doh_request *r, const char *text, size_t len, km_errinfo *err);
/* The Accept header; a form that a parameter named goes before it. False: nothing of ours. */
KM_NODISCARD bool km_doh_accept(km_doh_request *r, const char *accept);
/* All parameters are there: `query` is the question. 0 or KM_ERR_INVALID: there is none. */
KM_NODISCARD int km_doh_finish(km_doh_request *r, km_errinfo *err);

/* Writes an answer as JSON, with a NUL. Its length, KM_ERR_BUFFER or KM_ERR_BAD_PACKET. */
KM_NODISCARD int km_doh_json(char *ret, size_t cap, const uint8_t *answer, size_t len);

/* The least TTL of the answers in a message; UINT32_MAX: it has none. */
uint32_t km_doh_least_ttl(const uint8_t *message, size_t len);

#endif /* KM_DISCOVERY_SERVER_DOH_H */
