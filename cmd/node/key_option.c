#include "cmd/node/key_option.h"

#include <string.h>

#include "base/env.h"

int key_option_load(const char *text, const char *file, km_secret_key **ret, km_errinfo *err) {
  if (text != NULL && file != NULL) {
    return km_fail(err, KM_ERR_INVALID, "give --secret-key or --key-file, not both");
  }
  if (text != NULL) {
    return km_secret_key_parse(ret, text, strlen(text), err);
  }
  return file == NULL ? 0 : km_secret_key_load(ret, file, err);
}
