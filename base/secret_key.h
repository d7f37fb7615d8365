/* Inside access to a secret key. */
#ifndef KM_BASE_SECRET_KEY_H
#define KM_BASE_SECRET_KEY_H

#include <keymesh/id.h>

/* The 32-byte seed where it lies, in locked memory; valid while the key is. */
const uint8_t *km_secret_key_seed(const km_secret_key *key);

#endif /* KM_BASE_SECRET_KEY_H */
