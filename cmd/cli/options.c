#include "cmd/cli/options.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 32

/* --- did you mean ---------------------------------------------------------------------------- */

static size_t min3(size_t a, size_t b, size_t c) {
  size_t m = a < b ? a : b;
  return m < c ? m : c;
}

/* Edit distance of two short words. */
static size_t distance(const char *a, const char *b) {
  size_t row[33];
  size_t la = strlen(a), lb = strlen(b);
  if (la > 32 || lb > 32) {
    return 99;
  }
  for (size_t j = 0; j <= lb; j++) {
    row[j] = j;
  }
  for (size_t i = 1; i <= la; i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= lb; j++) {
      size_t above = row[j];
      row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1));
      diagonal = above;
    }
  }
  return row[lb];
}

const char *cli_did_you_mean(const char *word, const char *const *names) {
  const char *best = NULL;
  size_t best_distance = 3;
  for (; *names != NULL; names++) {
    size_t d = distance(word, *names);
    if (d < best_distance && d < strlen(*names)) {
      best = *names;
      best_distance = d;
    }
  }
  return best;
}

/* --- parsing --------------------------------------------------------------------------------- */

static const cli_option *find(const cli_command *command, const char *name, size_t len) {
  for (const cli_option *o = command->options; o->name != NULL; o++) {
    if (strlen(o->name) == len && memcmp(o->name, name, len) == 0) {
      return o;
    }
  }
  return NULL;
}

static KM_PRINTF(2, 3) int bad(km_errinfo *err, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  err->code = KM_ERR_INVALID;
  (void)vsnprintf(err->text, sizeof err->text, fmt, args);
  va_end(args);
  return KM_ERR_INVALID;
}

static int unknown(const cli_command *command, const char *name, km_errinfo *err) {
  const char *names[NAMES_MAX];
  size_t n = 0;
  for (const cli_option *o = command->options; o->name != NULL && n < NAMES_MAX - 2; o++) {
    names[n++] = o->name;
  }
  names[n++] = "--help";
  names[n] = NULL;
  const char *near = cli_did_you_mean(name, names);
  (void)bad(err, "unknown option '%.40s'", name);
  size_t used = strlen(err->text);
  if (near != NULL) {
    (void)snprintf(err->text + used, sizeof err->text - used, ": did you mean %s?", near);
  } else {
    (void)snprintf(err->text + used, sizeof err->text - used, ": see %s --help", command->name);
  }
  return KM_ERR_INVALID;
}

static int take_number(const cli_option *o, const char *text, km_errinfo *err) {
  uint64_t value = 0;
  bool ok = text[0] != '\0' && strlen(text) <= 18;
  for (const char *p = text; ok && *p != '\0'; p++) {
    ok = *p >= '0' && *p <= '9';
    value = value * 10 + (uint64_t)(*p - '0');
  }
  if (!ok || value < o->min || value > o->max) {
    err->code = KM_ERR_INVALID;
    (void)snprintf(err->text, sizeof err->text, "%s takes a number from %llu to %llu", o->name,
                   (unsigned long long)o->min, (unsigned long long)o->max);
    return KM_ERR_INVALID;
  }
  *(uint64_t *)o->target = value;
  return 0;
}

static int take_value(const cli_option *o, const char *text, km_errinfo *err) {
  switch (o->kind) {
  case CLI_NUMBER:
    return take_number(o, text, err);
  case CLI_LIST: {
    cli_list *list = o->target;
    if (list->count == CLI_LIST_MAX) {
      return bad(err, "%s was given too often", o->name);
    }
    list->at[list->count++] = text;
    return 0;
  }
  case CLI_TEXT:
    *(const char **)o->target = text;
    return 0;
  case CLI_FLAG:
    break;
  }
  return 0;
}

/* One option at argv[*at]; moves *at over what it took. */
static int take_option(const cli_command *command, int argc, char **argv, int *at,
                       km_errinfo *err) {
  const char *word = argv[*at];
  const char *equals = strchr(word, '=');
  const cli_option *o =
      find(command, word, equals == NULL ? strlen(word) : (size_t)(equals - word));
  if (o == NULL) {
    return unknown(command, word, err);
  }
  if (o->kind == CLI_FLAG) {
    if (equals != NULL) {
      return bad(err, "%s takes no value", o->name);
    }
    *(bool *)o->target = true;
    return 0;
  }
  if (equals != NULL) {
    return take_value(o, equals + 1, err);
  }
  if (*at + 1 >= argc) {
    return bad(err, "%s needs a value", o->name);
  }
  return take_value(o, argv[++*at], err);
}

static bool is_help(const char *word) {
  return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static int check_words(const cli_command *command, const cli_words *words, km_errinfo *err) {
  if (words->count < command->min_words) {
    return strchr(command->usage, '\n') == NULL
               ? bad(err, "something is missing: %s", command->usage)
               : bad(err, "something is missing: %s --help has the ways to write it",
                     command->name);
  }
  if (words->count > command->max_words) {
    return bad(err, "'%.60s' is one word too many", words->at[command->max_words]);
  }
  return 0;
}

/* A bad line is complained about in the form asked for, also when that is asked for last. */
static cli_result bad_line(const cli_command *command, int argc, char **argv) {
  const cli_option *json = find(command, "--json", strlen("--json"));
  for (int i = 0; json != NULL && i < argc && strcmp(argv[i], "--") != 0; i++) {
    if (strcmp(argv[i], json->name) == 0) {
      *(bool *)json->target = true;
    }
  }
  return CLI_BAD;
}

cli_result cli_parse(const cli_command *command, int argc, char **argv, cli_words *ret_words,
                     km_errinfo *err) {
  bool options = true;
  memset(ret_words, 0, sizeof *ret_words);
  memset(err, 0, sizeof *err);
  for (int i = 0; i < argc; i++) {
    const char *word = argv[i];
    if (options && is_help(word)) {
      cli_print_help(command);
      return CLI_HELPED;
    }
    if (options && strcmp(word, "--") == 0) {
      options = false;
    } else if (options && word[0] == '-' && word[1] != '\0') {
      if (take_option(command, argc, argv, &i, err) != 0) {
        return bad_line(command, argc, argv);
      }
    } else if (ret_words->count == CLI_LIST_MAX) {
      (void)bad(err, "%s", "too many words");
      return bad_line(command, argc, argv);
    } else {
      ret_words->at[ret_words->count++] = word;
    }
  }
  return check_words(command, ret_words, err) == 0 ? CLI_RUN : bad_line(command, argc, argv);
}

/* --- help ------------------------------------------------------------------------------------ */

void cli_print_help(const cli_command *command) {
  printf("usage: %s\n\n%s\n", command->usage, command->about);
  printf("\nOptions:\n");
  for (const cli_option *o = command->options; o->name != NULL; o++) {
    char head[64];
    (void)snprintf(head, sizeof head, "%s%s%s", o->name, o->value == NULL ? "" : " ",
                   o->value == NULL ? "" : o->value);
    printf("  %-26s %s\n", head, o->help);
  }
  printf("  %-26s %s\n", "--help", "this text");
  printf("\nExample:\n%s\n", command->example);
}

const char *cli_log_filter(const char *option) {
  const char *filter = option != NULL ? option : getenv("KM_LOG");
  return filter != NULL && filter[0] != '\0' ? filter : NULL;
}
