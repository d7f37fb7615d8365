#include "cmd/node/project/service_place.h"

#include <stddef.h>

#include "base/env.h"
#include "cmd/node/project/service_text.h"

const char *const service_platform_names[] = {"linux", "macos", "windows", NULL};

service_platform service_platform_here(void) {
#if defined(__APPLE__)
  return SERVICE_MACOS;
#elif defined(_WIN32)
  return SERVICE_WINDOWS;
#else
  return SERVICE_LINUX;
#endif
}

static bool is_set(const char *text) {
  return text != NULL && text[0] != '\0';
}

static int no_home(const char *variable, km_errinfo *err) {
  return km_fail(err, KM_ERR_NOT_FOUND, "$%s is not set: where is this user at home?", variable);
}

static int place_user(text_out *t, service_platform platform, const service_home *h,
                      km_errinfo *err) {
  if (platform == SERVICE_WINDOWS) {
    if (!is_set(h->appdata)) {
      return no_home("APPDATA", err);
    }
    text_add(t, h->appdata);
    text_add(t, "\\Microsoft\\Windows\\Start Menu\\Programs\\Startup\\");
    return 0;
  }
  if (platform == SERVICE_LINUX && is_set(h->xdg_config) && h->xdg_config[0] == '/') {
    text_add(t, h->xdg_config);
    text_add(t, "/systemd/user/");
    return 0;
  }
  if (!is_set(h->home)) {
    return no_home("HOME", err);
  }
  text_add(t, h->home);
  text_add(t, platform == SERVICE_LINUX ? "/.config/systemd/user/" : "/Library/LaunchAgents/");
  return 0;
}

int service_place(char **ret, service_platform platform, bool system, const char *name,
                  const service_home *home, km_errinfo *err) {
  static const char *const of_system[] = {"/etc/systemd/system/", "/Library/LaunchDaemons/",
                                          "C:\\ProgramData\\KeyMesh\\"};
  static const char *const of_prefix[] = {"", "org.keymesh.", ""};
  static const char *const endings[] = {".service", ".plist", ".cmd"};
  text_out t = {0};
  if (system) {
    text_add(&t, of_system[platform]);
  } else {
    int rv = place_user(&t, platform, home, err);
    if (rv != 0) {
      return rv;
    }
  }
  text_add(&t, of_prefix[platform]);
  text_add(&t, name);
  text_add(&t, system && platform == SERVICE_WINDOWS ? ".reg" : endings[platform]);
  return text_take(&t, ret, err);
}
