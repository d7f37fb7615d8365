/* Where the control socket lies, and who is on its other end. */
#include <errno.h>
#include <keymesh/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/env.h"
#include "cmd/node/daemon/control_path_io.h"

int control_path_check(const char *path, km_errinfo *err) {
  struct sockaddr_un un;
  if (strlen(path) < sizeof un.sun_path) {
    return 0;
  }
  return km_fail(err, KM_ERR_INVALID,
                 "the path of the control socket has %zu bytes, the system takes %zu: move the "
                 "project to a shorter path, or set node.control_socket in keymesh.yaml",
                 strlen(path), sizeof un.sun_path - 1);
}

int control_path_connect(const char *path, int *ret) {
  struct sockaddr_un un = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0) {
    return errno;
  }
  memcpy(un.sun_path, path, strlen(path) + 1);
  int rv;
  do {
    rv = connect(fd, (const struct sockaddr *)&un, sizeof un);
  } while (rv != 0 && errno == EINTR);
  if (rv != 0) {
    rv = errno;
    (void)close(fd);
    return rv;
  }
  *ret = fd;
  return 0;
}

/* The folder is ours, and nobody else writes to it. One that is there keeps its mode: it may be
 * shared with other programs, as /run is. */
static int make_private(const char *dir, km_errinfo *err) {
  struct stat st;
  if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
    return km_fail_errno(err, errno, "cannot make the folder %.100s", dir);
  }
  if (lstat(dir, &st) != 0) {
    return km_fail_errno(err, errno, "cannot look at %.100s", dir);
  }
  if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid()) {
    return km_fail(err, KM_ERR_INVALID,
                   "%.100s must be a folder of the user who runs the node: give "
                   "node.control_socket another one",
                   dir);
  }
  if ((st.st_mode & 022) != 0) {
    return km_fail(err, KM_ERR_INVALID,
                   "others may write to %.100s: give node.control_socket a folder of its own", dir);
  }
  return 0;
}

static int make_folder(const char *path, km_errinfo *err) {
  const char *slash = strrchr(path, '/');
  if (slash == NULL || slash == path) {
    return km_fail(err, KM_ERR_INVALID, "the control socket needs a folder of its own: %.100s",
                   path);
  }
  char *dir = km_env_strdup(&km_env_system, path);
  if (dir == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  dir[slash - path] = '\0';
  int rv = make_private(dir, err);
  km_env_free(&km_env_system, dir);
  return rv;
}

int control_path_claim(const char *path, km_errinfo *err) {
  struct stat st;
  int fd = -1;
  int rv = control_path_check(path, err);
  rv = rv != 0 ? rv : make_folder(path, err);
  if (rv != 0) {
    return rv;
  }
  if (lstat(path, &st) != 0) {
    return errno == ENOENT ? 0 : km_fail_errno(err, errno, "cannot look at %.100s", path);
  }
  if (!S_ISSOCK(st.st_mode)) {
    return km_fail(err, KM_ERR_FILE_EXISTS, "%.120s is no socket: move it away", path);
  }
  if (control_path_connect(path, &fd) == 0) {
    (void)close(fd);
    return km_fail(
        err, KM_ERR_STATE,
        "a node runs on this project already: km-node status shows it, km-node stop ends it");
  }
  /* Left behind by one that was killed. */
  return unlink(path) == 0 || errno == ENOENT
             ? 0
             : km_fail_errno(err, errno, "cannot remove the old socket %.100s", path);
}

bool control_peer_allowed(int fd) {
#ifdef SO_PEERCRED
  struct ucred who;
  socklen_t len = sizeof who;
  bool known = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0;
  return known && (who.uid == geteuid() || who.uid == 0);
#else
  uid_t uid;
  gid_t gid;
  return getpeereid(fd, &uid, &gid) == 0 && (uid == geteuid() || uid == 0);
#endif
}

long control_peer_pid(int fd) {
#if defined(SO_PEERCRED)
  struct ucred who;
  socklen_t len = sizeof who;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 ? (long)who.pid : 0;
#elif defined(LOCAL_PEERPID)
  pid_t pid = 0;
  socklen_t len = sizeof pid;
  return getsockopt(fd, SOL_LOCAL, LOCAL_PEERPID, &pid, &len) == 0 ? (long)pid : 0;
#else
  (void)fd;
  return 0;
#endif
}
