#include "cmd/node/project/files_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/env.h"

int files_real_path(char **ret, const char *path, km_errinfo *err) {
  char *found = realpath(path, NULL);
  if (found == NULL) {
    return km_fail_errno(err, errno, "%.120s", path);
  }
  *ret = km_env_strdup(&km_env_system, found);
  free(found);
  return *ret == NULL ? km_fail(err, KM_ERR_NOMEM, NULL) : 0;
}

bool files_look(files_info *ret, const char *path) {
  struct stat st;
  *ret = (files_info){0};
  if (stat(path, &st) != 0) {
    return false;
  }
  ret->exists = true;
  ret->is_folder = S_ISDIR(st.st_mode);
  ret->is_file = S_ISREG(st.st_mode);
  ret->is_socket = S_ISSOCK(st.st_mode);
  ret->ours = st.st_uid == geteuid();
  ret->roots = st.st_uid == 0;
  ret->readable = access(path, R_OK) == 0;
  ret->writable = access(path, W_OK) == 0;
  ret->mode = st.st_mode & 07777;
  return true;
}

/* Makes what is above `path`, which is changed and changed back. 0 or an errno. */
static int make_parents(char *path) {
  for (char *p = path + 1; (p = strchr(p, '/')) != NULL; p++) {
    *p = '\0';
    int sys_errno = mkdir(path, 0777) == 0 || errno == EEXIST ? 0 : errno;
    *p = '/';
    if (sys_errno != 0) {
      return sys_errno;
    }
  }
  return 0;
}

int files_make_folder(const char *path, mode_t mode, bool *made, km_errinfo *err) {
  files_info info;
  *made = false;
  if (files_look(&info, path)) {
    return info.is_folder ? 0
                          : km_fail(err, KM_ERR_FILE_EXISTS, "%.120s is there and no folder", path);
  }
  char *copy = km_env_strdup(&km_env_system, path);
  if (copy == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  int sys_errno = make_parents(copy);
  km_env_free(&km_env_system, copy);
  if (sys_errno == 0 && mkdir(path, mode) != 0) {
    sys_errno = errno;
  }
  if (sys_errno != 0) {
    return km_fail_errno(err, sys_errno, "cannot make the folder %.100s", path);
  }
  *made = true;
  return 0;
}

static int write_all(int fd, const char *text, size_t len) {
  while (len > 0) {
    ssize_t n = write(fd, text, len);
    if (n < 0 && errno != EINTR) {
      return errno;
    }
    text += n > 0 ? n : 0;
    len -= n > 0 ? (size_t)n : 0;
  }
  return fsync(fd) == 0 || errno == EINVAL || errno == EROFS ? 0 : errno;
}

/* Whose it is, and who may do what with it, as `like` says; NULL: as it was made. By its
 * descriptor: who may write to the folder could put something else there meanwhile. */
static int make_like(int fd, const struct stat *like) {
  struct stat st;
  if (like == NULL) {
    return 0;
  }
  if (fstat(fd, &st) != 0) {
    return errno;
  }
  bool same = st.st_uid == like->st_uid && st.st_gid == like->st_gid;
  return (same || fchown(fd, like->st_uid, like->st_gid) == 0) &&
                 fchmod(fd, like->st_mode & 07777) == 0
             ? 0
             : errno;
}

static int write_new(const char *path, const char *text, size_t len, mode_t mode,
                     const struct stat *like, km_errinfo *err) {
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
  if (fd < 0) {
    return km_fail_errno(err, errno, "cannot write %.120s", path);
  }
  int sys_errno = make_like(fd, like);
  sys_errno = sys_errno != 0 ? sys_errno : write_all(fd, text, len);
  if (close(fd) != 0 && sys_errno == 0) {
    sys_errno = errno;
  }
  if (sys_errno != 0) {
    (void)unlink(path);
    return km_fail_errno(err, sys_errno, "cannot write %.120s", path);
  }
  return 0;
}

int files_write_new(const char *path, const char *text, size_t len, mode_t mode, km_errinfo *err) {
  return write_new(path, text, len, mode, NULL, err);
}

int files_rename(const char *from, const char *to, km_errinfo *err) {
  return rename(from, to) == 0 ? 0 : km_fail_errno(err, errno, "cannot write %.120s", to);
}

static int write_over(const char *path, const char *text, size_t len, mode_t mode,
                      const struct stat *like, km_errinfo *err) {
  size_t cap = strlen(path) + 32;
  char *temporary = km_env_alloc(&km_env_system, cap);
  if (temporary == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  (void)snprintf(temporary, cap, "%s.%ld", path, (long)getpid());
  int rv = write_new(temporary, text, len, mode, like, err);
  if (rv == 0) {
    rv = files_rename(temporary, path, err);
    if (rv != 0) {
      (void)unlink(temporary);
    }
  }
  km_env_free(&km_env_system, temporary);
  return rv;
}

int files_replace(const char *path, const char *text, size_t len, mode_t mode, km_errinfo *err) {
  return write_over(path, text, len, mode, NULL, err);
}

int files_rewrite(const char *path, const char *text, size_t len, km_errinfo *err) {
  struct stat st;
  return stat(path, &st) != 0 ? km_fail_errno(err, errno, "cannot look at %.120s", path)
                              : write_over(path, text, len, 0600, &st, err);
}

int files_remove(const char *path, km_errinfo *err) {
  return unlink(path) == 0 || errno == ENOENT
             ? 0
             : km_fail_errno(err, errno, "cannot remove %.120s", path);
}
