#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "base/env.h"

int km_error_from_errno(int sys_errno) {
  switch (sys_errno) {
  case 0:
    return KM_OK;
  case ENOMEM:
    return KM_ERR_NOMEM;
  case EAGAIN:
#if EWOULDBLOCK != EAGAIN
  case EWOULDBLOCK:
#endif
    return KM_ERR_AGAIN;
  case ETIMEDOUT:
    return KM_ERR_TIMEOUT;
  case EADDRINUSE:
    return KM_ERR_ADDR_IN_USE;
  case EADDRNOTAVAIL:
    return KM_ERR_ADDR_NOT_AVAILABLE;
  case EACCES:
  case EPERM:
  case EROFS:
    return KM_ERR_PERMISSION;
  case ENOSPC:
  case EDQUOT:
    return KM_ERR_NO_SPACE;
  case ENOENT:
  case ENOTDIR:
    return KM_ERR_FILE_NOT_FOUND;
  case EEXIST:
    return KM_ERR_FILE_EXISTS;
  case EIO:
  case EFBIG:
  case EISDIR:
    return KM_ERR_IO;
  case ENETDOWN:
  case ENETUNREACH:
  case EHOSTUNREACH:
    return KM_ERR_NO_NETWORK;
  case EAFNOSUPPORT:
  case EOPNOTSUPP:
  case EPROTONOSUPPORT:
  case ENOSYS:
    return KM_ERR_UNSUPPORTED;
  default:
    return KM_ERR_SYSTEM;
  }
}

int km_fail_errno(km_errinfo *err, int sys_errno, const char *fmt, ...) {
  int code = km_error_from_errno(sys_errno);
  if (err == NULL) {
    return code;
  }
  char what[sizeof err->text];
  what[0] = '\0';
  if (fmt != NULL) {
    va_list args;
    va_start(args, fmt);
    if (vsnprintf(what, sizeof what, fmt, args) < 0) {
      what[0] = '\0';
    }
    va_end(args);
  }
  char reason[96];
  (void)uv_strerror_r(-sys_errno, reason, sizeof reason); /* returns its buffer */
  /* The reason matters more than the end of a long path, so it always fits. */
  int room = (int)(sizeof what - strlen(reason) - 3);
  if (what[0] == '\0') {
    (void)km_fail(err, code, "%s", reason); /* returns the code it was given */
  } else {
    (void)km_fail(err, code, "%.*s: %s", room, what, reason);
  }
  err->sys_errno = sys_errno;
  return code;
}
