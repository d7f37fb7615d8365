/* Programs of the system, and who runs us. */
#ifndef KM_CMD_NODE_PROJECT_TOOL_IO_H
#define KM_CMD_NODE_PROJECT_TOOL_IO_H

#include <stdbool.h>
#include <stddef.h>

#include <keymesh/error.h>

/* Runs a program of $PATH to its end; `argv` ends with NULL. `quiet`: what it prints is dropped.
 * Its exit status, 128 and the signal that killed it, or -1: it could not be started. */
int tool_run(const char *const *argv, bool quiet);
/* The same for its first line, which is put into `ret`. */
int tool_word(const char *const *argv, char *ret, size_t cap);
/* Becomes it; returns only when that fails. */
int tool_become(const char *const *argv, km_errinfo *err);

/* Is systemd the one that runs services here (of this user, or of the machine)? */
bool tool_systemd_runs(bool system);
bool tool_is_root(void);
/* Whose file that is; false: nobody knows, or root. */
bool tool_owner(const char *path, char *ret, size_t cap);

/* The last lines of a file; `follow`: and those that come, until it is killed. `fn` gets each line
 * without its end. 0 or an error. */
KM_NODISCARD int tool_tail(const char *path, size_t lines, bool follow,
                           void (*fn)(void *ctx, const char *line), void *ctx, km_errinfo *err);

#endif /* KM_CMD_NODE_PROJECT_TOOL_IO_H */
