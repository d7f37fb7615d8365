/* Signed packets (pubky/pkarr, iroh-dns/src/pkarr.rs): a DNS message and a time, signed by the key
 * they are about as BEP 44 signs. Pure. */
#ifndef KM_DISCOVERY_PKARR_H
#define KM_DISCOVERY_PKARR_H

#include "discovery/details.h"

#define KM_PKARR_DNS_MAX 1000
#define KM_PKARR_HEADER 72 /* signature and time, before the message in a relay's payload */
#define KM_PKARR_PAYLOAD_MAX (KM_PKARR_HEADER + KM_PKARR_DNS_MAX)

/* Verified: only the functions here make one. */
typedef struct km_pkarr {
  km_id id;
  uint8_t signature[KM_SIGNATURE_BYTES];
  uint64_t timestamp_us; /* since 1970, by the clock of who signed */
  uint16_t dns_len;
  uint8_t dns[KM_PKARR_DNS_MAX];
} km_pkarr;

/* Reads a relay's payload (signature, time, message) about `id`. The signature is checked first,
 * then that the message is DNS. `ret` is undefined on failure. 0 or KM_ERR_BAD_PACKET. */
KM_NODISCARD int km_pkarr_read(km_pkarr *ret, const km_id *id, const uint8_t *payload, size_t len,
                               km_errinfo *err);
/* Returns the payload's length. */
size_t km_pkarr_write(const km_pkarr *p, uint8_t ret[KM_PKARR_PAYLOAD_MAX]);

/* Signs a DNS message that somebody else made. 0, KM_ERR_LIMIT (too long), or KM_ERR_INVALID (no
 * DNS message). */
KM_NODISCARD int km_pkarr_sign(km_pkarr *ret, const km_secret_key *key, uint64_t timestamp_us,
                               const uint8_t *dns, size_t len);
/* Signs what `info` says, and its record. Relays come before addresses; addresses that do not fit
 * any more are left out. 0, KM_ERR_INVALID (another key's, or user data that is no UTF-8 or too
 * long) or KM_ERR_LIMIT (not even the relays, user data and record fit). */
KM_NODISCARD int km_pkarr_from_info(km_pkarr *ret, const km_secret_key *key, uint64_t timestamp_us,
                                    const km_peer_info *info, bool direct, uint32_t ttl_s,
                                    km_errinfo *err);

/* Below, equal to or above 0: `a` is older than, as old as, or newer than `b`: by time, then by the
 * bytes of the message (pkarr's `more_recent_than`). */
int km_pkarr_compare(const km_pkarr *a, const km_pkarr *b);

/* What it says of the peer; `ret` was initialised for its id. 0, KM_ERR_NOMEM, or KM_ERR_BAD_PACKET
 * when the message is damaged. */
KM_NODISCARD int km_pkarr_details(const km_pkarr *p, km_details *ret);

#endif /* KM_DISCOVERY_PKARR_H */
