/**
 * @file keymesh/version.h
 * The version of the library.
 */
#ifndef KEYMESH_VERSION_H
#define KEYMESH_VERSION_H

#include <keymesh/export.h>

KM_BEGIN_DECLS

#define KM_VERSION_MAJOR 0
#define KM_VERSION_MINOR 1
#define KM_VERSION_PATCH 0
#define KM_VERSION "0.1.0"

/** The version of the library that runs, "0.1.0". Static. Any thread. */
KM_EXPORT const char *km_version(void);

/** The versions of the libraries inside, "ngtcp2/1.24.0 wolfSSL/5.9.2 ...". Static. Any thread. */
KM_EXPORT const char *km_version_details(void);

KM_END_DECLS

#endif /* KEYMESH_VERSION_H */
