/* km-node key: makes and shows secret keys. */
#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "cmd/node/node.h"

static int form_of(const char *name, km_key_form *ret) {
  static const char *const names[] = {"hex", "base32", "pem"};
  for (size_t i = 0; i < 3; i++) {
    if (strcmp(name, names[i]) == 0) {
      *ret = (km_key_form)i;
      return 0;
    }
  }
  return KM_ERR_INVALID;
}

static void wipe(char *text, size_t cap) {
  volatile char *p = text;
  while (cap-- > 0) {
    *p++ = 0;
  }
}

/* With a file the key stays in it; without one, or when a form was asked for, it is printed. */
static void print(const cli_output *out, const km_secret_key *key, const char *file,
                  const char *format) {
  char secret[KM_SECRET_KEY_TEXT_CAP] = "", id_text[KM_ID_TEXT_CAP];
  km_key_form form = KM_KEY_HEX;
  if (format != NULL) {
    (void)form_of(format, &form);
  }
  km_id id;
  km_secret_key_id(key, &id);
  (void)km_id_format(&id, KM_ID_HEX, id_text, sizeof id_text);
  cJSON *event = cli_event(out, "key");
  cli_add_text(event, "id", id_text);
  cli_say(out, "id      %s", id_text);
  if (file == NULL || format != NULL) {
    int len = km_secret_key_format(key, form, secret, sizeof secret);
    if (len > 0 && secret[len - 1] == '\n') {
      secret[len - 1] = '\0';
    }
    cli_add_text(event, "secret", secret);
    cli_say(out, form == KM_KEY_PEM ? "%s" : "secret  %s", secret);
  }
  if (file != NULL) {
    cli_add_text(event, "file", file);
    cli_say(out, "file    %s", file);
  }
  cli_emit(event);
  wipe(secret, sizeof secret);
}

static int check(const char *word, const char *file, const char *format, const char *import,
                 km_errinfo *err) {
  km_key_form form;
  if (strcmp(word, "show") == 0 && (file != NULL || import != NULL)) {
    return km_fail(err, KM_ERR_INVALID, "--out and --import belong to 'key new'");
  }
  if (format != NULL && form_of(format, &form) != 0) {
    return km_fail(err, KM_ERR_INVALID, "--format is hex, base32 or pem");
  }
  return 0;
}

static int make(const cli_output *out, const char *file, const char *format, const char *import,
                km_errinfo *err) {
  km_secret_key *key;
  int rv = import != NULL ? km_secret_key_parse(&key, import, strlen(import), err)
                          : km_secret_key_generate(&key);
  if (rv != 0) {
    err->code = rv;
    return rv;
  }
  rv = file == NULL ? 0 : km_secret_key_save(key, file, err);
  if (rv == 0) {
    print(out, key, file, format);
  }
  km_secret_key_free(key);
  return rv;
}

static int show(const cli_output *out, const char *file, const char *format, km_errinfo *err) {
  km_secret_key *key;
  int rv = km_secret_key_load(&key, file, err);
  if (rv == 0) {
    print(out, key, file, format);
    km_secret_key_free(key);
  }
  return rv;
}

int cmd_key(int argc, char **argv) {
  bool json = false;
  const char *file = NULL, *format = NULL, *import = NULL;
  const cli_option options[] = {
      {"--out", CLI_TEXT, &file, "PATH", "new: write a key file (PEM, mode 0600)", 0, 0},
      {"--import", CLI_TEXT, &import, "KEY", "new: take this key, in any form", 0, 0},
      {"--format", CLI_TEXT, &format, "FORM", "print the secret as hex, base32 or pem", 0, 0},
      {"--json", CLI_FLAG, &json, NULL, "one JSON object", 0, 0},
      {0},
  };
  const cli_command command = {
      .name = "km-node key",
      .usage = "km-node key new [--out PATH] | km-node key show PATH [--format FORM]",
      .about = "Makes a secret key, or shows whose a key file is. An existing file is never\n"
               "overwritten.",
      .example = "  km-node key new --out node.key",
      .options = options,
      .min_words = 1,
      .max_words = 2,
  };
  cli_output out;
  cli_words words;
  km_errinfo err;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  cli_output_init(&out, json);
  if (result == CLI_HELPED) {
    return CLI_EXIT_OK;
  }
  if (result == CLI_BAD || check(words.at[0], file, format, import, &err) != 0) {
    return cli_error(&out, CLI_EXIT_USAGE, &err);
  }
  if (strcmp(words.at[0], "new") == 0 && words.count == 1) {
    int rv = make(&out, file, format, import, &err);
    return rv == 0 ? CLI_EXIT_OK : cli_error(&out, cli_status_of(rv), &err);
  }
  if (strcmp(words.at[0], "show") == 0 && words.count == 2) {
    int rv = show(&out, words.at[1], format, &err);
    return rv == 0 ? CLI_EXIT_OK : cli_error(&out, CLI_EXIT_USAGE, &err);
  }
  (void)km_fail(&err, KM_ERR_INVALID, "say 'new', or 'show' and a file: see km-node key --help");
  return cli_error(&out, CLI_EXIT_USAGE, &err);
}
