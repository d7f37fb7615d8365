/* Where a service's file belongs on each platform. */
#ifndef KM_CMD_NODE_PROJECT_SERVICE_PLACE_H
#define KM_CMD_NODE_PROJECT_SERVICE_PLACE_H

#include <stdbool.h>

#include <keymesh/error.h>

typedef enum service_platform { SERVICE_LINUX, SERVICE_MACOS, SERVICE_WINDOWS } service_platform;

extern const char *const service_platform_names[]; /* ends with NULL */
/* The one that this program was built for. */
service_platform service_platform_here(void);

/* What the environment says of the user's folders; NULL: not set. */
typedef struct service_home {
  const char *home, *xdg_config, *appdata;
} service_home;

/* The path; the caller's to free with km_env_free. KM_ERR_NOT_FOUND: the environment does not say
 * where the user is at home. */
KM_NODISCARD int service_place(char **ret, service_platform platform, bool system, const char *name,
                               const service_home *home, km_errinfo *err);

#endif /* KM_CMD_NODE_PROJECT_SERVICE_PLACE_H */
