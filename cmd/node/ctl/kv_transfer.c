/* Export and import: a JSON object a line, {"share":"docs","key":"a","value":"text"}, with
 * "value_b64" for bytes that are no text and "deleted":true for a deletion. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "cmd/node/ctl/input_io.h"
#include "cmd/node/ctl/kv.h"
#include "cmd/node/ctl/values.h"
#include "store/json_text.h"

#define BATCH_LINES 1000
#define BATCH_BYTES (1u << 20)
/* The longest value in the longest form (each byte as \u00xx), and room for the rest. */
#define LINE_MAX_BYTES (6 * KV_VALUE_MAX + (1u << 16))

/* --- export ----------------------------------------------------------------------------------- */

static void print_line(void *ctx, cJSON *row) {
  char *line = cJSON_PrintUnformatted(row);
  (void)ctx;
  if (line != NULL) {
    (void)puts(line);
    cJSON_free(line);
  }
  cJSON_Delete(row);
}

int kv_export(ctl *c, const char *share) {
  km_errinfo err;
  const ctl_reader reader = {.row = print_line};
  /* Many lines into a file: not one write each. */
  (void)fflush(stdout);
  (void)setvbuf(stdout, NULL, _IOFBF, 1u << 16);
  int rv = ctl_ask(c, "kv.export", ctl_args("share", share, NULL), &reader, &err);
  return rv == 0 ? CLI_EXIT_OK : ctl_fail(c, &err);
}

/* --- import ----------------------------------------------------------------------------------- */

typedef struct importer {
  ctl *c;
  const char *share; /* NULL: each line's own */
  cJSON *batch;
  size_t lines, bytes; /* of the batch */
  uint64_t numbers[BATCH_LINES];
  uint64_t line;         /* the last one read */
  uint64_t put, deleted; /* kept so far */
  bool said;             /* progress was shown */
} importer;

/* What is wrong with a line is said before anything of it is sent. */
static int check_names(const importer *in, const cJSON *o, km_errinfo *err) {
  const cJSON *share = cJSON_GetObjectItemCaseSensitive(o, "share");
  if (!cJSON_IsObject(o)) {
    return km_fail(err, KM_ERR_INVALID, "it is no JSON object");
  }
  if (show_text(o, "key")[0] == '\0') {
    return km_fail(err, KM_ERR_INVALID, "there is no \"key\", or it is no text");
  }
  if (share != NULL && !cJSON_IsString(share)) {
    return km_fail(err, KM_ERR_INVALID, "\"share\" is no text");
  }
  if (in->share == NULL && share == NULL) {
    return km_fail(err, KM_ERR_INVALID, "there is no \"share\": name one, km-node kv import SHARE");
  }
  return 0;
}

/* What an import needs of a line: author and clock are of the one who exported. */
static int row_of(const importer *in, const cJSON *o, cJSON **ret, km_errinfo *err) {
  uint8_t *bytes = NULL;
  size_t len;
  int rv = check_names(in, o, err);
  bool deleted = rv == 0 && show_flag(o, "deleted");
  rv = rv != 0 || deleted ? rv : value_take(o, &bytes, &len, err);
  if (rv != 0) {
    return rv;
  }
  const char *share = in->share != NULL ? in->share : show_text(o, "share");
  cJSON *row = ctl_args("share", share, "key", show_text(o, "key"), NULL);
  bool ok = row != NULL &&
            (deleted ? cJSON_AddTrueToObject(row, "deleted") != NULL : value_add(row, bytes, len));
  free(bytes);
  if (!ok) {
    cJSON_Delete(row);
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  *ret = row;
  return 0;
}

static void progress(importer *in, bool last) {
  uint64_t done = in->put + in->deleted;
  if (!cli_watched(&in->c->show.out) || (last && !in->said)) {
    return;
  }
  (void)fprintf(stderr, "\r%llu entries%s", (unsigned long long)done, last ? "\n" : "");
  in->said = true;
}

static void on_imported(void *ctx, cJSON *result) {
  importer *in = ctx;
  in->put += (uint64_t)show_number(result, "put");
  in->deleted += (uint64_t)show_number(result, "deleted");
  cJSON_Delete(result);
}

static int send_rows(importer *in, cJSON *rows, km_errinfo *err) {
  const ctl_reader reader = {.result = on_imported, .ctx = in};
  cJSON *args = ctl_args(NULL, NULL, NULL);
  if (args == NULL || !cJSON_AddItemToObject(args, "entries", rows)) {
    cJSON_Delete(args);
    cJSON_Delete(rows);
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  return ctl_ask(in->c, "kv.import", args, &reader, err);
}

static void name_line(km_errinfo *err, uint64_t line) {
  km_errinfo why = *err;
  (void)km_fail(err, why.code, "line %llu: %s", (unsigned long long)line,
                why.text[0] != '\0' ? why.text : km_strerror(why.code));
}

/* The batch was refused as a whole: entry by entry, to the one that is bad. */
static int find_bad(importer *in, cJSON *rows, km_errinfo *err) {
  for (size_t i = 0; i < in->lines; i++) {
    cJSON *row = cJSON_DetachItemFromArray(rows, 0);
    bool deleted = show_flag(row, "deleted");
    cJSON_DeleteItemFromObjectCaseSensitive(row, "deleted");
    const ctl_reader nothing = {0};
    int rv = ctl_ask(in->c, deleted ? "kv.delete" : "kv.put", row, &nothing, err);
    rv = deleted && rv == KM_ERR_NOT_FOUND ? 0 : rv;
    if (rv != 0) {
      name_line(err, in->numbers[i]);
      return rv;
    }
    in->put += deleted ? 0 : 1;
    in->deleted += deleted ? 1 : 0;
  }
  return 0;
}

static int flush(importer *in, km_errinfo *err) {
  cJSON *batch = in->batch;
  if (in->lines == 0) {
    return 0;
  }
  in->batch = NULL;
  cJSON *copy = cJSON_Duplicate(batch, true);
  int rv = copy == NULL ? km_fail(err, KM_ERR_NOMEM, NULL) : send_rows(in, copy, err);
  if (rv == KM_ERR_INVALID) {
    rv = find_bad(in, batch, err);
  }
  cJSON_Delete(batch);
  in->lines = in->bytes = 0;
  progress(in, false);
  return rv;
}

static int add_row(importer *in, cJSON *row, size_t len, km_errinfo *err) {
  if (in->batch == NULL) {
    in->batch = cJSON_CreateArray();
  }
  if (!cJSON_AddItemToArray(in->batch, row)) {
    cJSON_Delete(row);
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  in->numbers[in->lines++] = in->line;
  in->bytes += len;
  return in->lines == BATCH_LINES || in->bytes >= BATCH_BYTES ? flush(in, err) : 0;
}

/* cJSON would end a text at a NUL, escaped or not, and keep what stands before it. */
static cJSON *parse_line(const char *line, size_t len) {
  return km_json_text_ok(line, len) ? cJSON_ParseWithOpts(line, NULL, true) : NULL;
}

static int take_line(importer *in, const char *line, size_t len, km_errinfo *err) {
  cJSON *row = NULL;
  if (len == 0) {
    return 0;
  }
  cJSON *o = parse_line(line, len);
  int rv = o == NULL ? km_fail(err, KM_ERR_INVALID,
                               "it is no JSON in UTF-8 without NUL (such bytes go into value_b64)")
                     : row_of(in, o, &row, err);
  cJSON_Delete(o);
  if (rv != 0) {
    name_line(err, in->line);
    return rv;
  }
  return add_row(in, row, len, err);
}

static int read_all(importer *in, km_errinfo *err) {
  char *line = NULL;
  size_t cap = 0, len;
  int rv;
  while ((rv = input_line(stdin, LINE_MAX_BYTES, &line, &cap, &len, err)) == 1) {
    in->line++;
    rv = take_line(in, line, len, err);
    if (rv != 0) {
      break;
    }
  }
  if (rv == KM_ERR_LIMIT && in->line > 0) {
    name_line(err, in->line + 1);
  }
  free(line);
  return rv;
}

/* What stands before a bad line is kept. */
static int end(importer *in, int rv, const km_errinfo *why) {
  km_errinfo err = *why;
  cJSON *result = ctl_args(NULL, NULL, NULL);
  progress(in, true);
  if (result != NULL) {
    (void)cJSON_AddNumberToObject(result, "put", (double)in->put);
    (void)cJSON_AddNumberToObject(result, "deleted", (double)in->deleted);
    show_begin(&in->c->show, "kv.import");
    show_end(&in->c->show, result);
  }
  return rv == 0 ? CLI_EXIT_OK : ctl_fail(in->c, &err);
}

int kv_import(ctl *c, const char *share) {
  importer *in = calloc(1, sizeof *in);
  km_errinfo err = {0}, late = {0};
  if (in == NULL) {
    (void)km_fail(&err, KM_ERR_NOMEM, NULL);
    return ctl_fail(c, &err);
  }
  in->c = c;
  in->share = share;
  int rv = read_all(in, &err);
  int flushed = flush(in, &late); /* also what stood before a bad line */
  cJSON_Delete(in->batch);
  int status = rv != 0 ? end(in, rv, &err) : end(in, flushed, &late);
  free(in);
  return status;
}
