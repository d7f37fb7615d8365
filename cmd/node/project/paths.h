/* Paths as text: nothing here looks at a file. */
#ifndef KM_CMD_NODE_PROJECT_PATHS_H
#define KM_CMD_NODE_PROJECT_PATHS_H

#include <stdbool.h>

/* `path` below `dir` (which is absolute), or as it is when it is absolute; without empty parts, "."
 * and "..". NULL: no memory. */
char *path_join(const char *dir, const char *path);
/* True for a path (as path_join makes them) that is `dir` or below it. */
bool path_is_inside(const char *dir, const char *path);
/* `path` as one would write it from `dir`: relative when it is below. Points into `path`. */
const char *path_shorten(const char *dir, const char *path);

#endif /* KM_CMD_NODE_PROJECT_PATHS_H */
