/* km-node kv: entries of shares. */
#include "cmd/node/ctl/kv.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/env.h"
#include "cmd/node/ctl/commands.h"
#include "cmd/node/ctl/input_io.h"
#include "cmd/node/ctl/values.h"

typedef struct kv_options {
  ctl_options common;
  const char *file, *out, *prefix;
  bool deleted;
  uint64_t limit;
} kv_options;

/* What one word does, and which options it takes. */
typedef struct kv_verb {
  const char *name, *usage;
  size_t min_words, max_words; /* behind it */
  const char *takes;           /* initials of: file, out, prefix, deleted, limit */
  int (*run)(const kv_options *o, const cli_words *words);
} kv_verb;

/* --- put, get --------------------------------------------------------------------------------- */

static int add_value(cJSON *args, const kv_options *o, const char *word, km_errinfo *err) {
  const uint8_t *bytes = (const uint8_t *)word;
  uint8_t *own = NULL;
  size_t len = word == NULL ? 0 : strlen(word);
  if ((word == NULL) == (o->file == NULL)) {
    return km_fail(err, KM_ERR_INVALID,
                   word == NULL
                       ? "what is to be written? Give a value, - (standard input) or --file"
                       : "give a value or --file, not both");
  }
  const char *path = o->file != NULL ? o->file : strcmp(word, "-") == 0 ? "-" : NULL;
  if (path != NULL) {
    int rv = input_read(path, KV_VALUE_MAX, &own, &len, err);
    if (rv != 0) {
      return rv;
    }
    bytes = own;
  }
  bool ok = value_add(args, bytes, len);
  free(own);
  return ok ? 0 : km_fail(err, KM_ERR_NOMEM, NULL);
}

static int run_put(const kv_options *o, const cli_words *words) {
  km_errinfo err = {0};
  const char *word = words->count > 3 ? words->at[3] : NULL;
  cJSON *args = ctl_args("share", words->at[1], "key", words->at[2], NULL);
  int rv = args == NULL ? km_fail(&err, KM_ERR_NOMEM, NULL) : add_value(args, o, word, &err);
  if (rv != 0) {
    cJSON_Delete(args);
    return ctl_usage(o->common.json, &err);
  }
  return ctl_once(&o->common, "kv.put", args);
}

/* Where the bytes of `get` go. */
typedef struct getting {
  const char *out;
  cJSON *entry;
} getting;

static void on_got(void *ctx, cJSON *result) {
  ((getting *)ctx)->entry = result;
}

/* As they are, except to a terminal, which they might steer. */
static int write_value(ctl *c, const getting *g, km_errinfo *err) {
  uint8_t *bytes;
  size_t len;
  if (g->out == NULL && isatty(STDOUT_FILENO) != 0) {
    show_begin(&c->show, "kv.get");
    c->show.full = true;
    show_end(&c->show, cJSON_Duplicate(g->entry, true));
    return 0;
  }
  int rv = value_take(g->entry, &bytes, &len, err);
  if (rv == 0) {
    rv = output_write(g->out, bytes, len, err);
    free(bytes);
  }
  return rv;
}

static int run_get(const kv_options *o, const cli_words *words) {
  ctl c;
  km_errinfo err;
  getting g = {.out = o->out};
  const ctl_reader reader = {.result = on_got, .ctx = &g};
  cJSON *args = ctl_args("share", words->at[1], "key", words->at[2], NULL);
  if (o->common.json && o->out == NULL) {
    return ctl_once(&o->common, "kv.get", args);
  }
  int status = ctl_open(&c, &o->common);
  if (status != CLI_EXIT_OK) {
    cJSON_Delete(args);
    return status;
  }
  int rv = ctl_ask(&c, "kv.get", args, &reader, &err);
  rv = rv == 0 ? write_value(&c, &g, &err) : rv;
  status = rv == 0 ? CLI_EXIT_OK : ctl_fail(&c, &err);
  cJSON_Delete(g.entry);
  ctl_close(&c);
  return status;
}

/* --- the others ------------------------------------------------------------------------------- */

static const char *word_at(const cli_words *words, size_t i) {
  return i < words->count ? words->at[i] : NULL;
}

static int run_delete(const kv_options *o, const cli_words *words) {
  return ctl_once(&o->common, "kv.delete",
                  ctl_args("share", words->at[1], "key", words->at[2], NULL));
}

static int run_list(const kv_options *o, const cli_words *words) {
  cJSON *args = ctl_args("share", words->at[1], "prefix", o->prefix, NULL);
  if (o->deleted) {
    (void)cJSON_AddTrueToObject(args, "deleted");
  }
  if (o->limit > 0) {
    (void)cJSON_AddNumberToObject(args, "limit", (double)o->limit);
  }
  return ctl_once(&o->common, "kv.list", args);
}

static int run_watch(const kv_options *o, const cli_words *words) {
  return ctl_once(&o->common, "kv.watch",
                  ctl_args("share", word_at(words, 1), "prefix", o->prefix, NULL));
}

static int run_hash(const kv_options *o, const cli_words *words) {
  return ctl_once(&o->common, "kv.hash", ctl_args("share", word_at(words, 1), NULL));
}

static int run_verify(const kv_options *o, const cli_words *words) {
  return ctl_once(&o->common, "kv.verify",
                  ctl_args("share", words->at[1], "key", word_at(words, 2), NULL));
}

static int transfer(const kv_options *o, const cli_words *words,
                    int (*run)(ctl *c, const char *share)) {
  ctl c;
  int status = ctl_open(&c, &o->common);
  if (status == CLI_EXIT_OK) {
    status = run(&c, word_at(words, 1));
    ctl_close(&c);
  }
  return status;
}

static int run_export(const kv_options *o, const cli_words *words) {
  return transfer(o, words, kv_export);
}

static int run_import(const kv_options *o, const cli_words *words) {
  return transfer(o, words, kv_import);
}

static const kv_verb verbs[] = {
    {"put", "kv put SHARE KEY VALUE|- [--file FILE]", 2, 3, "f", run_put},
    {"get", "kv get SHARE KEY [--out FILE]", 2, 2, "o", run_get},
    {"delete", "kv delete SHARE KEY", 2, 2, "", run_delete},
    {"list", "kv list SHARE [--prefix TEXT] [--deleted] [--limit N]", 1, 1, "pdl", run_list},
    {"watch", "kv watch [SHARE] [--prefix TEXT]", 0, 1, "p", run_watch},
    {"export", "kv export [SHARE] > FILE", 0, 1, "", run_export},
    {"import", "kv import [SHARE] < FILE", 0, 1, "", run_import},
    {"hash", "kv hash [SHARE]", 0, 1, "", run_hash},
    {"verify", "kv verify SHARE [KEY]", 1, 2, "", run_verify},
};

#define VERBS (sizeof verbs / sizeof verbs[0])

static const kv_verb *find(const char *word, km_errinfo *err) {
  const char *names[VERBS + 1] = {NULL};
  for (size_t i = 0; i < VERBS; i++) {
    if (strcmp(verbs[i].name, word) == 0) {
      return &verbs[i];
    }
    names[i] = verbs[i].name;
  }
  const char *near = cli_did_you_mean(word, names);
  (void)km_fail(err, KM_ERR_INVALID, "unknown word '%.40s'%s%s%s", word,
                near == NULL ? ": see km-node kv --help" : ": did you mean ",
                near == NULL ? "" : near, near == NULL ? "" : "?");
  return NULL;
}

static int check(const kv_verb *verb, const kv_options *o, const cli_words *words,
                 km_errinfo *err) {
  const struct {
    bool given;
    char initial;
    const char *name;
  } given[] = {{o->file != NULL, 'f', "--file"},
               {o->out != NULL, 'o', "--out"},
               {o->prefix != NULL, 'p', "--prefix"},
               {o->deleted, 'd', "--deleted"},
               {o->limit > 0, 'l', "--limit"}};
  for (size_t i = 0; i < sizeof given / sizeof given[0]; i++) {
    if (given[i].given && strchr(verb->takes, given[i].initial) == NULL) {
      return km_fail(err, KM_ERR_INVALID, "kv %s takes no %s", verb->name, given[i].name);
    }
  }
  size_t count = words->count - 1;
  if (count < verb->min_words) {
    return km_fail(err, KM_ERR_INVALID, "something is missing: km-node %s", verb->usage);
  }
  if (count > verb->max_words) {
    return km_fail(err, KM_ERR_INVALID, "'%.60s' is one word too many: km-node %s",
                   words->at[verb->max_words + 1], verb->usage);
  }
  return 0;
}

int cmd_kv(int argc, char **argv) {
  kv_options o = {0};
  const cli_option options[] = {
      CTL_OPTIONS(&o.common),
      CTL_OPTION_LONG(&o.common),
      {"--file", CLI_TEXT, &o.file, "FILE", "put: take the value from a file", 0, 0},
      {"--out", CLI_TEXT, &o.out, "FILE", "get: write the value to a file", 0, 0},
      {"--prefix", CLI_TEXT, &o.prefix, "TEXT", "list, watch: keys that begin so", 0, 0},
      {"--deleted", CLI_FLAG, &o.deleted, NULL, "list: deletions too", 0, 0},
      {"--limit", CLI_NUMBER, &o.limit, "N", "list: at most so many", 1, 1000000000},
      {0},
  };
  const cli_command command = {
      .name = "km-node kv",
      .usage = "km-node kv put|get|delete|list|watch|export|import|hash|verify ... [OPTION]...",
      .about =
          "Reads and writes the entries of a project's shares, by its daemon when one runs.\n\n"
          "  put SHARE KEY VALUE|-  write an entry; - reads standard input\n"
          "  get SHARE KEY          its value, as it is\n"
          "  delete SHARE KEY       delete it, on all nodes\n"
          "  list SHARE             entries in the order of their keys\n"
          "  watch [SHARE]          changes as they happen, until interrupted\n"
          "  export [SHARE]         all entries, one JSON object a line\n"
          "  import [SHARE]         reads such lines from standard input\n"
          "  hash [SHARE]           equal on nodes that are in sync\n"
          "  verify SHARE [KEY]     check signatures",
      .example = "  km-node kv put docs greeting hello\n"
                 "  km-node kv get docs greeting\n"
                 "  km-node kv list docs --prefix gr",
      .options = options,
      .min_words = 1,
      .max_words = 4,
  };
  cli_words words;
  km_errinfo err;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  if (result == CLI_HELPED) {
    return CLI_EXIT_OK;
  }
  const kv_verb *verb = result == CLI_RUN ? find(words.at[0], &err) : NULL;
  if (verb == NULL || check(verb, &o, &words, &err) != 0) {
    return ctl_usage(o.common.json, &err);
  }
  return verb->run(&o, &words);
}
