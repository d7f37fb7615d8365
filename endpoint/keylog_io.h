/* The key log: TLS secrets in NSS form, appended to a file that the user asked for. */
#ifndef KM_ENDPOINT_KEYLOG_IO_H
#define KM_ENDPOINT_KEYLOG_IO_H

#include <keymesh/error.h>

/* Opens `path` for appending, mode 0600 when it is new. Returns a descriptor, or a KM_ERR_* with a
 * sentence: also for what is no regular file, is a symbolic link, belongs to another user, or may
 * be read or written by others. */
int km_keylog_open(const char *path, km_errinfo *err);
void km_keylog_write(int fd, const char *line);
void km_keylog_close(int fd);

#endif /* KM_ENDPOINT_KEYLOG_IO_H */
