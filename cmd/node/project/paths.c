#include "cmd/node/project/paths.h"

#include <string.h>

#include "base/env.h"

/* Appends one part to what stands in `ret` without an end. Returns the new length. */
static size_t add_part(char *ret, size_t used, const char *part, size_t len) {
  if (len == 0 || (len == 1 && part[0] == '.')) {
    return used;
  }
  if (len == 2 && memcmp(part, "..", 2) == 0) {
    while (used > 0 && ret[used - 1] != '/') {
      used--;
    }
    return used > 0 ? used - 1 : 0;
  }
  ret[used] = '/';
  memcpy(ret + used + 1, part, len);
  return used + 1 + len;
}

static size_t add_parts(char *ret, size_t used, const char *path) {
  while (*path != '\0') {
    size_t len = strcspn(path, "/");
    used = add_part(ret, used, path, len);
    path += len + (path[len] == '/');
  }
  return used;
}

char *path_join(const char *dir, const char *path) {
  char *ret = km_env_alloc(&km_env_system, strlen(dir) + strlen(path) + 3);
  if (ret == NULL) {
    return NULL;
  }
  size_t used = path[0] == '/' ? 0 : add_parts(ret, 0, dir);
  used = add_parts(ret, used, path);
  if (used == 0) {
    ret[used++] = '/';
  }
  ret[used] = '\0';
  return ret;
}

bool path_is_inside(const char *dir, const char *path) {
  size_t len = strlen(dir);
  len -= len > 0 && dir[len - 1] == '/';
  return strncmp(dir, path, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

const char *path_shorten(const char *dir, const char *path) {
  size_t len = strlen(dir);
  if (!path_is_inside(dir, path) || path[len] != '/') {
    return path;
  }
  return path + len + 1;
}
