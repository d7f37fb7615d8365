/* Messages, and what is said to all. */
#include <stdlib.h>
#include <string.h>

#include "base/enc.h"
#include "cmd/node/daemon/request_impl.h"
#include "store/outbox.h"

#define MAX_TTL_S 2592000 /* of km_message_send */
#define MAX_LISTED 1000   /* of km_message_received */

/* The body's text; free with cJSON_free when `*ret_own`. */
static int arg_body(const cJSON *args, char **ret_own, const char **ret, km_errinfo *err) {
  const cJSON *body = cJSON_GetObjectItemCaseSensitive(args, "body");
  *ret_own = NULL;
  int rv = arg_text(args, "json", false, ret, err);
  if (rv != 0) {
    return rv;
  }
  if ((body == NULL) == (*ret == NULL)) {
    return km_fail(err, KM_ERR_INVALID, "give 'body' (any JSON) or 'json' (its text)");
  }
  if (body != NULL) {
    *ret = *ret_own = cJSON_PrintUnformatted(body);
  }
  return *ret != NULL ? 0 : km_fail(err, KM_ERR_NOMEM, NULL);
}

static int sent(const uint8_t id[KM_MESSAGE_ID_BYTES], cJSON **ret, km_errinfo *err) {
  cJSON *o = cJSON_CreateObject();
  put_hex(o, "message", id, KM_MESSAGE_ID_BYTES);
  return request_result(o, ret, err);
}

/* `to` NULL: to all. */
static int send_it(request *r, const cJSON *args, const km_id *to, cJSON **ret, km_errinfo *err) {
  uint8_t id[KM_MESSAGE_ID_BYTES];
  const char *type, *json;
  char *own = NULL;
  double ttl;
  int rv = arg_text(args, "type", true, &type, err);
  rv = rv != 0 ? rv : arg_number(args, "ttl_s", 0, 0, MAX_TTL_S, &ttl, err);
  rv = rv != 0 ? rv : arg_body(args, &own, &json, err);
  if (rv != 0) {
    return rv;
  }
  km_store *store = r->node->store;
  rv = to != NULL ? km_message_send(store, to, type, json, (uint32_t)ttl, id, err)
                  : km_message_broadcast(store, type, json, (uint32_t)ttl, id, err);
  cJSON_free(own);
  return rv != 0 ? rv : sent(id, ret, err);
}

static int run_send(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  km_id to;
  int rv = arg_peer(r, args, &to, NULL, err);
  return rv != 0 ? rv : send_it(r, args, &to, ret, err);
}

static int run_broadcast(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  return send_it(r, args, NULL, ret, err);
}

/* --- lists ------------------------------------------------------------------------------------ */

/* One by one: a message may have a megabyte. */
typedef struct listing {
  int (*next)(km_store *store, int64_t *place, km_message_fn fn, void *ctx, km_errinfo *err);
  int64_t place;
  uint64_t left;
} listing;

static void clear_listing(request *r) {
  free(r->state);
}

static void on_message(void *ctx, const km_message *message) {
  request *r = ctx;
  request_row(r, message_json(r->node, message));
}

static void resume_listing(request *r) {
  listing *l = r->state;
  km_errinfo err = {0};
  int rv = 1;
  for (; rv > 0 && l->left > 0; l->left--) {
    if (request_backlog(r) >= REQUEST_PAUSE) {
      return;
    }
    rv = l->next(r->node->store, &l->place, on_message, r, &err);
  }
  request_end_list(r, rv < 0 ? rv : 0, &err);
}

static int start_listing(request *r, const listing *from, km_errinfo *err) {
  listing *l = malloc(sizeof *l);
  if (l == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  *l = *from;
  r->state = l;
  r->clear = clear_listing;
  r->resume = resume_listing;
  return REQUEST_GOES_ON;
}

static int run_messages(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  double limit;
  (void)ret;
  int rv = arg_number(args, "limit", 100, 1, MAX_LISTED, &limit, err);
  if (rv != 0) {
    return rv;
  }
  const listing l = {.next = km_inbox_next, .place = INT64_MAX, .left = (uint64_t)limit};
  return start_listing(r, &l, err);
}

static int run_outbox(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  const listing l = {.next = km_outbox_next_own, .left = UINT64_MAX};
  (void)args;
  (void)ret;
  return start_listing(r, &l, err);
}

static int run_cancel(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  uint8_t id[KM_MESSAGE_ID_BYTES];
  const char *text;
  int rv = arg_text(args, "message", true, &text, err);
  if (rv == 0 && !km_hex_decode(id, sizeof id, text, strlen(text))) {
    rv = km_fail(err, KM_ERR_INVALID, "'message' is the id of a message, %d hex digits",
                 2 * KM_MESSAGE_ID_BYTES);
  }
  rv = rv != 0 ? rv : km_message_cancel(r->node->store, id, err);
  return rv != 0 ? rv : sent(id, ret, err);
}

/* --- names ------------------------------------------------------------------------------------ */

static int run_announce(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  const char *name;
  int rv = arg_text(args, "name", false, &name, err);
  if (rv == 0 && name == NULL) {
    name = r->node->project == NULL ? NULL : r->node->project->node_id;
    rv = name != NULL ? 0 : km_fail(err, KM_ERR_INVALID, "'name' is missing");
  }
  rv = rv != 0 ? rv : km_trust_announce(r->node->store, name, err);
  if (rv != 0) {
    return rv;
  }
  cJSON *o = cJSON_CreateObject();
  put_text(o, "name", name);
  return request_result(o, ret, err);
}

const request_command request_message_commands[] = {
    {"announce", "name ", false, run_announce},
    {"send", "peer type body json ttl_s ", false, run_send},
    {"broadcast", "type body json ttl_s ", false, run_broadcast},
    {"messages", "limit ", false, run_messages},
    {"outbox", "", false, run_outbox},
    {"outbox.cancel", "message ", false, run_cancel},
    {0},
};
