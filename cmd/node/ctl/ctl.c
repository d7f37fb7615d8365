#include "cmd/node/ctl/ctl.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/env.h"

int ctl_usage(bool json, const km_errinfo *err) {
  cli_output out;
  cli_output_init(&out, json);
  return cli_error(&out, CLI_EXIT_USAGE, err);
}

/* As everywhere, except that what is not there is no peer that cannot be reached. */
static int status_of(int code) {
  return code == KM_ERR_NOT_FOUND ? CLI_EXIT_FAILED : cli_status_of(code);
}

int ctl_say_error(const cli_output *out, const km_errinfo *err) {
  km_errinfo shown = *err;
  bool is_for_programmers = err->code == KM_ERR_STATE || err->code == KM_ERR_LIMIT ||
                            err->code == KM_ERR_NOT_FOUND || err->code == KM_ERR_TIMEOUT;
  if (!out->json && is_for_programmers && err->text[0] != '\0') {
    shown.code = KM_ERR_INVALID; /* whose hint is not printed */
  }
  return cli_error(out, status_of(err->code), &shown);
}

int ctl_fail(const ctl *c, const km_errinfo *err) {
  return ctl_say_error(&c->show.out, err);
}

/* --- opening ---------------------------------------------------------------------------------- */

/* Whoever made a mistake in the file of a node that runs can still look at it, and stop it. */
static bool ask_anyway(ctl *c, const char *config, const km_errinfo *mistake) {
  km_errinfo unused;
  if (mistake->code != KM_ERR_INVALID || project_unread(&c->project, config, &unused) != 0) {
    return false;
  }
  if (control_client_open(&c->client, c->project->control_path, &unused) != 0) {
    project_free(c->project);
    c->project = NULL;
    return false;
  }
  (void)fprintf(stderr, "warning: %s\n  the node runs on with what it read before\n",
                mistake->text);
  return true;
}

static int open_project(ctl *c, const ctl_options *options, bool strict) {
  km_errinfo err = {0};
  memset(c, 0, sizeof *c);
  show_init(&c->show, options->json, options->full);
  int rv = project_load(&c->project, options->config, &err);
  if (rv == 0) {
    rv = control_client_open(&c->client, c->project->control_path, &err);
    rv = rv == KM_ERR_NOT_FOUND ? 0 : rv;
  } else if (!strict && ask_anyway(c, options->config, &err)) {
    return CLI_EXIT_OK;
  }
  if (rv == 0) {
    return CLI_EXIT_OK;
  }
  err.code = rv;
  int status = ctl_fail(c, &err);
  ctl_close(c);
  return status;
}

int ctl_open(ctl *c, const ctl_options *options) {
  return open_project(c, options, false);
}

int ctl_open_strict(ctl *c, const ctl_options *options) {
  return open_project(c, options, true);
}

void ctl_close(ctl *c) {
  show_close(&c->show);
  control_client_close(c->client);
  ctl_release_store(c);
  km_secret_key_free(c->key);
  if (c->node.loop != NULL) {
    (void)km_loop_free(c->node.loop); /* nothing is open on it */
  }
  project_free(c->project);
  memset(c, 0, sizeof *c);
}

/* No daemon runs: the store belongs to us. */
int ctl_open_store(ctl *c, km_errinfo *err) {
  if (c->client != NULL || c->node.store != NULL) {
    return 0;
  }
  int rv = c->key != NULL ? 0 : project_key(c->project, &c->key, err);
  if (rv != 0) {
    c->key = NULL;
    return rv;
  }
  rv = project_store(c->project, c->key, &c->node.store, err);
  if (rv != 0) {
    c->node.store = NULL;
  }
  if (rv == 0 && c->node.loop == NULL) {
    rv = km_loop_new(&c->node.loop);
    rv = rv == 0 ? 0 : km_fail(err, rv, NULL);
  }
  c->node.project = c->project;
  c->node.started_ms = km_clock_wall().unix_ns / 1000000;
  return rv;
}

void ctl_release_store(ctl *c) {
  km_store_close(c->node.store);
  c->node.store = NULL;
}

/* --- asking ----------------------------------------------------------------------------------- */

/* One request of ctl_ask. */
typedef struct asked {
  const ctl_reader *reader;
  km_errinfo *err;
  bool done;
  int rv;
} asked;

static void on_row(void *ctx, cJSON *row) {
  const asked *a = ctx;
  if (a->reader->row != NULL) {
    a->reader->row(a->reader->ctx, row);
  } else {
    cJSON_Delete(row);
  }
}

static void on_done(void *ctx, cJSON *result, const km_errinfo *err) {
  asked *a = ctx;
  a->done = true;
  if (err != NULL) {
    a->rv = err->code != 0 ? err->code : KM_ERR_INTERNAL;
    *a->err = *err;
  }
  if (a->rv == 0 && a->reader->result != NULL) {
    a->reader->result(a->reader->ctx, result);
  } else {
    cJSON_Delete(result);
  }
}

static int ask_store(ctl *c, const char *name, const cJSON *args, asked *a) {
  const request_reply reply = {.row = on_row, .done = on_done, .ctx = a};
  request *r = NULL;
  if (request_needs_daemon(name)) {
    return km_fail(a->err, KM_ERR_STATE,
                   "no node runs in %.100s: start it with 'km-node run', then ask again",
                   c->project->dir);
  }
  int rv = ctl_open_store(c, a->err);
  if (rv != 0) {
    return rv;
  }
  request_run(&c->node, name, args, &reply, &r);
  while (!a->done) {
    (void)km_loop_run_once(c->node.loop, -1);
  }
  return a->rv;
}

int ctl_ask(ctl *c, const char *name, cJSON *args, const ctl_reader *reader, km_errinfo *err) {
  asked a = {.reader = reader, .err = err};
  int rv;
  *err = (km_errinfo){0};
  if (args == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  if (c->client != NULL) {
    const request_reply reply = {.row = on_row, .done = on_done, .ctx = &a};
    rv = control_client_run(c->client, name, args, &reply, err);
  } else {
    rv = ask_store(c, name, args, &a);
  }
  cJSON_Delete(args);
  if (rv != 0 && err->code == 0) {
    (void)km_fail(err, rv, NULL);
  }
  return rv;
}

static void shown_row(void *ctx, cJSON *row) {
  show_row(ctx, row);
}

static void shown_result(void *ctx, cJSON *result) {
  show_end(ctx, result);
}

static void name_row(void *ctx, cJSON *row) {
  names_add_answer(ctx, row);
  cJSON_Delete(row);
}

/* What fails here fails again, with its sentence, in what is asked next. */
static void ask_names(ctl *c) {
  name_list *names = &c->show.names;
  const ctl_reader reader = {.row = name_row, .result = name_row, .ctx = names};
  km_errinfo err;
  names_clear(names);
  names_add_project(names, c->project);
  (void)!ctl_ask(c, "peer.list", ctl_args(NULL, NULL, NULL), &reader, &err);
  if (c->client != NULL) {
    (void)!ctl_ask(c, "peers", ctl_args(NULL, NULL, NULL), &reader, &err);
  }
}

int ctl_run(ctl *c, const char *name, cJSON *args) {
  const ctl_reader reader = {.row = shown_row, .result = shown_result, .ctx = &c->show};
  km_errinfo err;
  if (show_wants_names(&c->show, name)) {
    ask_names(c);
  }
  show_begin(&c->show, name);
  int rv = ctl_ask(c, name, args, &reader, &err);
  if (rv == 0) {
    return CLI_EXIT_OK;
  }
  show_break(&c->show);
  return ctl_fail(c, &err);
}

int ctl_once(const ctl_options *options, const char *name, cJSON *args) {
  ctl c;
  int status = ctl_open(&c, options);
  if (status != CLI_EXIT_OK) {
    cJSON_Delete(args);
    return status;
  }
  status = ctl_run(&c, name, args);
  ctl_close(&c);
  return status;
}

cJSON *ctl_args(const char *name, const char *text, ...) {
  cJSON *args = cJSON_CreateObject();
  va_list more;
  va_start(more, text);
  while (args != NULL && name != NULL) {
    if (text != NULL && cJSON_AddStringToObject(args, name, text) == NULL) {
      cJSON_Delete(args);
      args = NULL;
    }
    name = va_arg(more, const char *);
    text = name == NULL ? NULL : va_arg(more, const char *);
  }
  va_end(more);
  return args;
}
