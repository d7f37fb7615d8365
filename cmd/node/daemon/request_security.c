/* What the security level means here, and whether it is kept. */
#include <string.h>

#include "cmd/cli/file_io.h"
#include "cmd/node/daemon/request_impl.h"
#include "store/trust_rules.h"

typedef struct counts {
  double by_state[KM_TRUST_BLOCKED + 1];
} counts;

static void count_one(void *ctx, const km_trust_info *info) {
  counts *c = ctx;
  c->by_state[info->state]++;
}

static void put_rules(cJSON *to, const project *p) {
  const km_security_rules *rules = km_security_rules_of(p->level);
  bool recommended = rules->takes_recommendations && p->recommend_threshold > 0;
  put_text(to, "level", km_security_level_name(p->level));
  put_text(to, "summary", rules->summary);
  cJSON *o = to == NULL ? NULL : cJSON_AddObjectToObject(to, "rules");
  put_flag(o, "lets_strangers_in", rules->lets_strangers_in);
  put_flag(o, "remembers_first_use", rules->remembers_first_use);
  put_flag(o, "queues_strangers", rules->queues_strangers);
  put_flag(o, "takes_recommendations", recommended);
  put_number(o, "recommendations_needed", recommended ? p->recommend_threshold : 0);
  put_flag(o, "takes_revocations", rules->takes_revocations || p->accept_revocations);
  put_flag(o, "needs_private_key", rules->needs_private_key);
}

static int run_status(request *r, const cJSON *args, cJSON **ret, km_errinfo *err) {
  const project *p = r->node->project;
  counts c = {0};
  (void)args;
  int64_t count = km_trust_list(r->node->store, KM_TRUST_UNKNOWN, count_one, &c, err);
  if (count < 0) {
    return (int)count;
  }
  cJSON *o = cJSON_CreateObject();
  put_id(o, "id", km_store_id(r->node->store));
  put_rules(o, p);
  put_text(o, "key_file", p->key_file);
  put_flag(o, "key_file_private", p->key_file != NULL && !file_is_world_readable(p->key_file));
  put_number(o, "configured", (double)p->peer_count);
  put_number(o, "allowed", (double)(p->allow_count + p->fingerprint_count));
  put_number(o, "trusted", c.by_state[KM_TRUST_TRUSTED]);
  put_number(o, "pending", c.by_state[KM_TRUST_PENDING]);
  put_number(o, "blocked", c.by_state[KM_TRUST_BLOCKED] + (double)p->block_count);
  return request_result(o, ret, err);
}

const request_command request_security_commands[] = {
    {"security.status", "", false, run_status},
    {0},
};
