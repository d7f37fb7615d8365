/* TXT records of a DNS answer about a peer. Pure. */
#ifndef KM_DISCOVERY_TXT_H
#define KM_DISCOVERY_TXT_H

#include "discovery/details.h"

/* Reads the TXT records of `id` out of a whole DNS message: those owned by "_iroh.<z32>" and
 * "_kmrecord.<z32>" followed by `origin` ("": the root, as in signed packets; no final dot needed);
 * names are compared without regard to case; CNAMEs within the answer are followed, at most 8.
 * Strings of one record are joined. `ret` was initialised for the id.
 * 0 (maybe nothing was there: ret->any), KM_ERR_NOMEM, or KM_ERR_BAD_PACKET: no DNS message, or one
 * of more than 512 records; what stood before the damage is in `ret`. */
KM_NODISCARD int km_txt_read(km_details *ret, const uint8_t *dns, size_t len, const char *origin,
                             km_errinfo *err);

#define KM_TXT_NAME_CAP 256
/* "<name>.<z32>.<origin>" without a final dot. 0 or KM_ERR_LIMIT (longer than DNS allows). */
KM_NODISCARD int km_txt_name(char ret[KM_TXT_NAME_CAP], const char *name, const km_id *id,
                             const char *origin);

#endif /* KM_DISCOVERY_TXT_H */
