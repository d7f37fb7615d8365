/* What a TXT attribute, or some of them, say of a peer (iroh-dns/src/attrs.rs, endpoint_info.rs):
 * "relay=<url>", "addr=<ip:port>", "user-data=<text>". Pure. */
#ifndef KM_DISCOVERY_DETAILS_H
#define KM_DISCOVERY_DETAILS_H

#include <keymesh/discovery.h>

#include "base/env.h"

#define KM_TXT_NAME "_iroh"            /* owner of the attributes, before the z-base-32 id */
#define KM_RECORD_TXT_NAME "_kmrecord" /* owner of a key name record */

/* The attribute of a key name record: this and base64url without padding (RFC 4648 section 5). */
#define KM_RECORD_ATTRIBUTE "kmrecord1="
#define KM_RECORD_ATTRIBUTE_CAP (sizeof KM_RECORD_ATTRIBUTE + (KM_RECORD_BYTES_MAX * 4 + 2) / 3)

#define KM_DETAILS_MAX_RECORDS 16 /* of which signatures are checked */

typedef struct km_details {
  km_addr *addr;
  char user_data[KM_USER_DATA_MAX + 1]; /* "": none */
  uint8_t record[KM_RECORD_BYTES_MAX];
  size_t record_len; /* 0: none */
  bool record_signed;
  int64_t record_issued_s; /* when it is */
  size_t records_read;     /* so far */
  uint32_t ttl_s;          /* the least of what was read */
  bool any;                /* at least one attribute was understood */
} km_details;

/* Empty, about `id`. 0 or KM_ERR_NOMEM. */
KM_NODISCARD int km_details_init(km_details *d, const km_env *env, const km_id *id);
void km_details_clear(km_details *d);

/* One attribute, as it stands in a TXT record (its strings joined). One that is unknown, or whose
 * value cannot be read, is left out, so that newer peers can say more: iroh gives the whole answer
 * up then. Beyond the limits of km_addr the rest is dropped. Only KM_ERR_NOMEM is an error. */
KM_NODISCARD int km_details_add(km_details *d, const char *text, size_t len);

/* UTF-8 (RFC 3629) of at most KM_USER_DATA_MAX bytes without NUL. Control characters are user data
 * too, as for iroh: who prints it cleans it (base/text.h). */
bool km_user_data_valid(const char *text, size_t len);

/* The attributes of `info` in iroh's order: relays, addresses (if `direct`), user data. `fn` is
 * called for each; what it returns other than 0 ends it and is returned. KM_ERR_INVALID: user data
 * that is none. */
typedef int (*km_details_fn)(void *ctx, const char *text, size_t len);
KM_NODISCARD int km_details_write(const km_peer_info *info, bool direct, km_details_fn fn,
                                  void *ctx);

/* Writes the attribute of a record of at most KM_RECORD_BYTES_MAX bytes, and a NUL. Returns the
 * length without it. */
size_t km_record_attribute(char ret[KM_RECORD_ATTRIBUTE_CAP], const uint8_t *record, size_t len);

/* As a source reports it: source, time and proof are its own to say. Points into `d`. */
void km_details_found(const km_details *d, km_found *ret);

#endif /* KM_DISCOVERY_DETAILS_H */
