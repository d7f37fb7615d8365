/**
 * @file keymesh/record.h
 * Key name records: what stands behind a key, said and signed by its owner, for a short time.
 *
 * A record names the devices (ids) that belong to a key, the addresses of services, and whether the
 * owner provides for others. It travels in a PKARR packet, under `_kmrecord.<z-base-32 id>`, and is
 * signed by itself, so that it can be checked wherever it comes from: DNS, a file, a message. The
 * format is KeyMesh's own (docs/protocol-record.md).
 *
 * Threads: values and pure functions.
 */
#ifndef KEYMESH_RECORD_H
#define KEYMESH_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <keymesh/discovery.h>
#include <keymesh/error.h>
#include <keymesh/export.h>
#include <keymesh/id.h>

KM_BEGIN_DECLS

#define KM_RECORD_MAX_DEVICES 8
#define KM_RECORD_MAX_SERVICES 8
#define KM_RECORD_NAME_MAX 63     /**< bytes of a name, UTF-8 without control characters */
#define KM_RECORD_ADDRESS_MAX 128 /**< bytes of a service's address, the same */
#define KM_RECORD_DEFAULT_LIFE_S 300
#define KM_RECORD_MAX_LIFE_S 86400

/** A device of the key's owner. */
typedef struct km_record_device {
  km_id id;
  char name[KM_RECORD_NAME_MAX + 1]; /**< "" = none */
} km_record_device;

/** Where a service is: "http" at "https://example.org/" or "ssh" at "192.0.2.1:22". */
typedef struct km_record_service {
  char name[KM_RECORD_NAME_MAX + 1];
  char address[KM_RECORD_ADDRESS_MAX + 1];
} km_record_service;

typedef struct km_record {
  size_t size;                       /**< sizeof this struct */
  km_id id;                          /**< the key it is about, which signed it */
  char name[KM_RECORD_NAME_MAX + 1]; /**< what the owner calls itself; "" = nothing. A claim */
  bool provider;                     /**< it serves others */
  int64_t issued_s;                  /**< Unix time in seconds */
  int64_t expires_s;                 /**< the same; at most KM_RECORD_MAX_LIFE_S after issued_s */
  km_record_device devices[KM_RECORD_MAX_DEVICES];
  size_t device_count;
  km_record_service services[KM_RECORD_MAX_SERVICES];
  size_t service_count;
} km_record;

/**
 * Signs a record. `record->id` need not be set: the key's is taken.
 * @param[out] ret  at least KM_RECORD_BYTES_MAX bytes
 * @return the length, KM_ERR_INVALID (a name that is no UTF-8, a life that is none or too long, the
 *   same device twice; the text says which) or KM_ERR_LIMIT (more than KM_RECORD_BYTES_MAX bytes)
 */
KM_EXPORT KM_NODISCARD int km_record_sign(const km_record *record, const km_secret_key *key,
                                          uint8_t *ret, km_errinfo *err);

/**
 * Reads and checks a record.
 * @param now_s  Unix time in seconds; 0: the expiry is not looked at
 * @param[out] ret  its `size` is set by the caller; otherwise untouched on failure
 * @return 0; KM_ERR_BAD_RECORD: damaged, of another format, of another key than `id`, or the
 *   signature is wrong; KM_ERR_RECORD_EXPIRED: it does not hold now, because it is expired (the
 *   text says since when) or was issued more than five minutes in the future; KM_ERR_INVALID:
 *   `size` is not set
 */
KM_EXPORT KM_NODISCARD int km_record_read(km_record *ret, const km_id *id, const uint8_t *bytes,
                                          size_t len, int64_t now_s, km_errinfo *err);

KM_END_DECLS

#endif /* KEYMESH_RECORD_H */
