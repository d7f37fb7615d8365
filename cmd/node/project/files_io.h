/* Files and folders of a project. */
#ifndef KM_CMD_NODE_PROJECT_FILES_IO_H
#define KM_CMD_NODE_PROJECT_FILES_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <keymesh/error.h>

/* The path of what is there, without symbolic links. The caller's to free with km_env_free.
 * KM_ERR_FILE_NOT_FOUND, ... */
KM_NODISCARD int files_real_path(char **ret, const char *path, km_errinfo *err);

typedef struct files_info {
  bool exists, is_folder, is_file, is_socket;
  bool ours;               /* it belongs to who runs this */
  bool roots;              /* it belongs to root */
  bool readable, writable; /* by who runs this */
  mode_t mode;             /* its permissions: 07777 */
} files_info;

/* False when it cannot be seen, for want of it or of a right. */
bool files_look(files_info *ret, const char *path);

/* Makes a folder, and those above it. One that is there is left as it is: `*made` says which. */
KM_NODISCARD int files_make_folder(const char *path, mode_t mode, bool *made, km_errinfo *err);
/* Makes a file that is not there. KM_ERR_FILE_EXISTS, ... */
KM_NODISCARD int files_write_new(const char *path, const char *text, size_t len, mode_t mode,
                                 km_errinfo *err);
/* Writes a file, in one step in place of the one that is there. */
KM_NODISCARD int files_replace(const char *path, const char *text, size_t len, mode_t mode,
                               km_errinfo *err);
/* The same for one that is there, whose owner and permissions stay. */
KM_NODISCARD int files_rewrite(const char *path, const char *text, size_t len, km_errinfo *err);
/* 0, or what unlink says; a file that is not there is gone. */
KM_NODISCARD int files_remove(const char *path, km_errinfo *err);
/* Of a new file in place of another, both in one folder. */
KM_NODISCARD int files_rename(const char *from, const char *to, km_errinfo *err);

#endif /* KM_CMD_NODE_PROJECT_FILES_IO_H */
