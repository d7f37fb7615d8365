/* A line of the control socket, and the request in it, over a store in memory. */
#include <stdlib.h>
#include <string.h>

#include "cmd/node/daemon/control_line.h"
#include "cmd/node/daemon/request.h"

typedef struct asked {
  km_store *store;
  unsigned ends;
} asked;

static void on_row(void *ctx, cJSON *row) {
  const asked *a = ctx;
  if (a->ends != 0) {
    abort(); /* a row after the end */
  }
  cJSON_Delete(row);
}

static void on_done(void *ctx, cJSON *result, const km_errinfo *err) {
  asked *a = ctx;
  if (a->ends++ != 0 || (err != NULL && (err->code == 0 || err->text[0] == '\0'))) {
    abort(); /* ended twice, or without a reason */
  }
  cJSON_Delete(result);
}

static km_store *open_store(void) {
  const uint8_t seed[KM_SECRET_KEY_BYTES] = {1};
  km_secret_key *key;
  km_store *store;
  km_store_options o;
  if (km_secret_key_from_bytes(&key, seed) != 0) {
    abort();
  }
  km_store_options_default(&o);
  o.secret_key = key;
  o.durability = KM_DURABLE_PROCESS;
  if (km_store_open(&store, &o, NULL) != 0) {
    abort();
  }
  km_secret_key_free(key);
  return store;
}

static void run(const control_request *r) {
  static char node_id[] = "fuzz", docs[] = "docs", other[] = "d";
  project_share shares[] = {{.name = docs}, {.name = other}};
  const project p = {.node_id = node_id, .shares = shares, .share_count = 2};
  asked a = {.store = open_store()};
  node_context node = {.store = a.store, .project = &p};
  const request_reply reply = {.row = on_row, .done = on_done, .ctx = &a};
  request *under_way;
  request_run(&node, r->cmd, r->args, &reply, &under_way);
  request_cancel(under_way);
  if ((under_way == NULL) != (a.ends == 1)) {
    abort();
  }
  km_store_close(a.store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  control_request r;
  km_errinfo err;
  if (size < CONTROL_LINE_MAX && control_parse(&r, (const char *)data, size, &err) == 0) {
    run(&r);
  }
  if (size < CONTROL_LINE_MAX) {
    cJSON_Delete(r.json);
  }
  return 0;
}
