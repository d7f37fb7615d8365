#include "cmd/relay/admit.h"

#include <stdlib.h>

/* Somebody who is asked. One that was replaced still answers what it was asked before. */
typedef struct counsel {
  admit *owner;
  km_relay_asker *asker;
  km_timer *end; /* of a replaced one; else NULL */
  struct counsel *next;
} counsel;

struct admit {
  const km_env *env;
  km_loop *loop;
  km_relay_server *server; /* of the last login */
  km_relay_access access;
  counsel *now;      /* KM_RELAY_ACCESS_HTTP */
  counsel *replaced; /* a list */
};

static void log_denied(const admit *a, const km_id *id, const char *why) {
  KM_LOG(&a->env->logger, KM_LOG_DEBUG, KM_LOGC_RELAY, id, NULL, "client-denied", "%s", why);
}

/* --- asking ---------------------------------------------------------------------------------- */

static void on_answer(void *ctx, uint64_t number, bool allowed) {
  const counsel *c = ctx;
  km_relay_server_decide(c->owner->server, number, allowed ? NULL : KM_RELAY_NOT_AUTHORIZED);
}

static void counsel_free(counsel *c) {
  if (c != NULL) {
    km_timer_cancel(c->end);
    km_relay_asker_free(c->asker);
    free(c);
  }
}

static int counsel_new(counsel **ret, admit *a, const relay_config *config, km_errinfo *err) {
  counsel *c = calloc(1, sizeof *c);
  if (c == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  const km_relay_asker_config asker = {
      .env = a->env,
      .loop = a->loop,
      .url = config->ask_url,
      .bearer = config->ask_bearer,
      .ca_file = config->ask_ca,
      .timeout_ns = config->ask_timeout_ms * KM_NS_PER_MS,
      .behind_proxy = config->limits.connections_per_addr == 0,
      .on_answer = on_answer,
      .ctx = c,
  };
  c->owner = a;
  int rv = km_relay_asker_new(&c->asker, &asker, err);
  if (rv != 0) {
    free(c);
    return rv;
  }
  *ret = c;
  return 0;
}

static bool is_done(const counsel *c) {
  const km_relay_asker_stats *s = km_relay_asker_get_stats(c->asker);
  return s->in_flight == 0 && s->waiting == 0;
}

static void on_end(void *ctx) {
  counsel *c = ctx;
  counsel **at = &c->owner->replaced;
  c->end = NULL;
  if (!is_done(c) && km_timer_start(&c->end, c->owner->loop, 1000, on_end, c) == 0) {
    return;
  }
  while (*at != c) {
    at = &(*at)->next;
  }
  *at = c->next;
  counsel_free(c);
}

/* Its questions have deadlines, so that it comes to an end. */
static void retire(admit *a, counsel *c) {
  if (c == NULL) {
    return;
  }
  if (km_timer_start(&c->end, a->loop, 1000, on_end, c) != 0) {
    counsel_free(c);
    return;
  }
  c->next = a->replaced;
  a->replaced = c;
}

/* --- judging --------------------------------------------------------------------------------- */

void admit_authorize(void *ctx, km_relay_server *server, const km_relay_login *login) {
  admit *a = ctx;
  a->server = server;
  km_relay_verdict verdict = km_relay_access_judge(&a->access, &login->id, login->token);
  if (verdict == KM_RELAY_ASK && a->now != NULL) {
    if (km_relay_ask(a->now->asker, login->number, &login->id, &login->remote) == 0) {
      return;
    }
    log_denied(a, &login->id, "too many questions wait for the access server");
    verdict = KM_RELAY_DENY;
  } else if (verdict != KM_RELAY_ALLOW) {
    log_denied(a, &login->id, relay_access_name(a->access.kind));
    verdict = KM_RELAY_DENY;
  }
  km_relay_server_decide(server, login->number,
                         verdict == KM_RELAY_ALLOW ? NULL : KM_RELAY_NOT_AUTHORIZED);
}

int admit_replace(admit *a, relay_config *config, km_errinfo *err) {
  counsel *fresh = NULL;
  int rv = config->access.kind == KM_RELAY_ACCESS_HTTP ? counsel_new(&fresh, a, config, err) : 0;
  if (rv != 0) {
    return rv;
  }
  retire(a, a->now);
  a->now = fresh;
  km_relay_access_clear(&a->access);
  a->access = config->access;
  km_relay_access_init(&config->access, a->env, KM_RELAY_ACCESS_EVERYONE); /* it is here now */
  return 0;
}

/* --- life ------------------------------------------------------------------------------------ */

int admit_new(admit **ret, km_loop *loop, relay_config *config, km_errinfo *err) {
  admit *a = calloc(1, sizeof *a);
  if (a == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  a->env = config->env;
  a->loop = loop;
  km_relay_access_init(&a->access, a->env, KM_RELAY_ACCESS_EVERYONE);
  int rv = admit_replace(a, config, err);
  if (rv != 0) {
    free(a);
    return rv;
  }
  *ret = a;
  return 0;
}

void admit_free(admit *a) {
  if (a == NULL) {
    return;
  }
  counsel_free(a->now);
  while (a->replaced != NULL) {
    counsel *c = a->replaced;
    a->replaced = c->next;
    counsel_free(c);
  }
  km_relay_access_clear(&a->access);
  free(a);
}

km_relay_access_kind admit_kind(const admit *a) {
  return a->access.kind;
}

const km_relay_asker_stats *admit_asker_stats(const admit *a) {
  return a->now == NULL ? NULL : km_relay_asker_get_stats(a->now->asker);
}
