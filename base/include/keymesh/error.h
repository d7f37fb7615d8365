/**
 * @file keymesh/error.h
 * Error codes, their names, and sentences for people.
 *
 * Every function that can fail returns 0 or a negative km_error. Many also fill a caller-owned
 * km_errinfo with the sentence that fits the case ("cannot bind 127.0.0.1:443: permission denied").
 *
 * Threads: everything here is pure and may be called from any thread.
 */
#ifndef KEYMESH_ERROR_H
#define KEYMESH_ERROR_H

#include <stdint.h>

#include <keymesh/export.h>

KM_BEGIN_DECLS

/** Error codes; 0 is success. The list with sentences and hints is keymesh/error.def. */
enum km_error {
  KM_OK = 0,
#define KM_ERR(name, number, sentence, hint) KM_ERR_##name = (number),
#include <keymesh/error.def>
#undef KM_ERR
};

/** What went wrong, filled by the function that failed. It lives with the caller. */
typedef struct km_errinfo {
  int code;           /**< km_error, 0 when nothing failed */
  int sys_errno;      /**< errno of the failed system call, or 0 */
  uint64_t peer_code; /**< the code that the peer or the protocol gave, where there is one */
  char text[192];     /**< one sentence for people, NUL-terminated, without a newline */
} km_errinfo;

/**
 * Names a code as in "UNREACHABLE" (the enum without KM_ERR_). Unknown codes give "UNKNOWN", 0
 * gives "OK". The string is static.
 */
KM_EXPORT const char *km_error_name(int code);

/** The general sentence of a code, "the peer did not answer ...". Static, never NULL. */
KM_EXPORT const char *km_strerror(int code);

/** What a person can do about it, one sentence. Static, never NULL, may be empty. */
KM_EXPORT const char *km_error_hint(int code);

KM_END_DECLS

#endif /* KEYMESH_ERROR_H */
