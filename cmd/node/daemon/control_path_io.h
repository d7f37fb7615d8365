/* Where the control socket lies, and who is on its other end. */
#ifndef KM_CMD_NODE_DAEMON_CONTROL_PATH_IO_H
#define KM_CMD_NODE_DAEMON_CONTROL_PATH_IO_H

#include <keymesh/error.h>
#include <stdbool.h>

/* 0, or KM_ERR_INVALID: too long for a socket. */
KM_NODISCARD int control_path_check(const char *path, km_errinfo *err);
/* Makes the folder, and takes away a socket that nobody listens on. KM_ERR_STATE: somebody does. */
KM_NODISCARD int control_path_claim(const char *path, km_errinfo *err);
/* A connected descriptor; 0 or an errno. The path was checked. */
int control_path_connect(const char *path, int *ret);
/* True when the process on the other end is of our user or root. */
bool control_peer_allowed(int fd);
/* The process that listens on the other end; 0: it cannot be seen from here. */
long control_peer_pid(int fd);

#endif /* KM_CMD_NODE_DAEMON_CONTROL_PATH_IO_H */
