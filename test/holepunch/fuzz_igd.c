/* Any text: no crash; what is found in it lies within it, and may be written into a request. */
#include <stdlib.h>
#include <string.h>

#include "holepunch/igd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

static void check_url(const char *text) {
  char request[KM_IGD_REQUEST_CAP];
  km_igd_url url;
  if (km_igd_url_read(&url, text)) {
    check(url.host.family == 4 && url.host.port != 0 && url.path[0] == '/');
    size_t len = km_igd_get(request, &url);
    check(len > 0 && strstr(request, "\r\n\r\n") == request + len - 4);
    check(km_igd_call(request, &url, "s", "a", "") > 0);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  char location[KM_IGD_URL_CAP];
  km_igd_http http;
  char *text = malloc(len + 1);
  check(text != NULL);
  if (len > 0) {
    memcpy(text, data, len);
  }
  text[len] = '\0';
  check_url(text);
  check(!km_igd_service_is_good(text) || strpbrk(text, "\r\n\"<> ") == NULL);
  free(text);
  text = malloc(len > 0 ? len : 1); /* nothing behind the end now */
  check(text != NULL);
  if (len > 0) {
    memcpy(text, data, len);
  }
  if (km_igd_location(location, text, len)) {
    check(location[0] != '\0' && strlen(location) < KM_IGD_URL_CAP);
    check_url(location);
  }
  (void)km_igd_http_is_whole(text, len);
  if (km_igd_http_read(&http, text, len)) {
    check(http.status >= 0 && http.status <= 999);
    check(http.body >= text && http.len <= (size_t)(text + len - http.body));
  }
  free(text);
  return 0;
}
