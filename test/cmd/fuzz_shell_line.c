/* Any bytes as a line of the shell, and as keys of its terminal: no crash, words that are quoted
 * come back, keys use up what was typed. */
#include <stdlib.h>
#include <string.h>

#include "cmd/node/ctl/keys.h"
#include "cmd/node/ctl/words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

static void come_back(const char *word, char quote) {
  word_list w;
  km_errinfo err;
  char *text = words_quote(word, quote);
  check(text != NULL);
  check(words_split(&w, text, &err) == 0);
  check(w.count == 1 && strcmp(w.at[0], word) == 0);
  words_free(&w);
  free(text);
}

static void as_line(const char *line) {
  word_list w;
  km_errinfo err = {0};
  int rv = words_split(&w, line, &err);
  check(rv == 0 || (rv == KM_ERR_INVALID && err.text[0] != '\0'));
  if (rv != 0) {
    return;
  }
  check(w.count <= WORDS_MAX && w.quote == 0);
  for (size_t i = 0; i < w.count; i++) {
    check(w.from[i] < strlen(line));
    come_back(w.at[i], 0);
    come_back(w.at[i], '"');
    come_back(w.at[i], '\'');
  }
  words_free(&w);
}

static void as_typed(const uint8_t *data, size_t len) {
  word_list w;
  check(words_split_partial(&w, (const char *)data, len) == 0);
  words_free(&w);
  while (len > 0) {
    keys_key key;
    keys_next(&key, data, len);
    check(key.used <= len && strlen(key.text) < sizeof key.text);
    if (key.used == 0) {
      break;
    }
    data += key.used;
    len -= key.used;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  char *line = malloc(len + 1);
  check(line != NULL);
  if (len > 0) {
    memcpy(line, data, len);
  }
  line[len] = '\0';
  as_line(line);
  if (len > 0) {
    uint8_t *typed = malloc(len);
    check(typed != NULL);
    memcpy(typed, data, len);
    as_typed(typed, len);
    free(typed);
  }
  free(line);
  return 0;
}
