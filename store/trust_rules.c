#include "store/trust_rules.h"

#include <string.h>

static const char *const names[] = {
    [KM_SECURITY_DEVELOPMENT] = "development",
    [KM_SECURITY_SIGNED] = "signed",
    [KM_SECURITY_SECURE] = "secure",
    [KM_SECURITY_STRICT] = "strict",
};

#define LEVELS (sizeof names / sizeof names[0])

static const km_security_rules rules[LEVELS] = {
    [KM_SECURITY_DEVELOPMENT] =
        {
            .lets_strangers_in = true,
            .summary = "Everybody who is not blocked is let in; nothing is remembered.",
        },
    [KM_SECURITY_SIGNED] =
        {
            .lets_strangers_in = true,
            .remembers_first_use = true,
            .summary = "Strangers are let in on first use and remembered.",
        },
    [KM_SECURITY_SECURE] =
        {
            .queues_strangers = true,
            .takes_recommendations = true,
            .summary = "Peers that are configured, trusted by hand or recommended often enough are "
                       "let in; others wait for approval.",
        },
    [KM_SECURITY_STRICT] =
        {
            .takes_revocations = true,
            .needs_private_key = true,
            .summary = "Only peers that are configured or trusted by hand are let in; others are "
                       "refused and not kept.",
        },
};

const km_security_rules *km_security_rules_of(km_security_level level) {
  return &rules[(size_t)level < LEVELS ? level : KM_SECURITY_STRICT];
}

const char *km_security_level_name(km_security_level level) {
  return (size_t)level < LEVELS ? names[level] : "unknown";
}

int km_security_level_parse(km_security_level *ret, const char *text) {
  for (size_t i = 0; text != NULL && i < LEVELS; i++) {
    if (strcmp(text, names[i]) == 0) {
      *ret = (km_security_level)i;
      return 0;
    }
  }
  return KM_ERR_INVALID;
}

/* Trust that stands by itself. What came by first use was never looked at by anybody: it counts
 * where strangers are let in. What came by recommendations is counted anew each time. */
static bool stands(const km_trust_question *q, const km_security_rules *r) {
  if (q->state != KM_TRUST_TRUSTED || q->expired || q->origin == KM_TRUST_BY_RECOMMENDATION) {
    return false;
  }
  return q->origin != KM_TRUST_BY_FIRST_USE || r->lets_strangers_in;
}

static bool recommended(const km_trust_question *q, const km_security_rules *r) {
  return r->takes_recommendations && q->threshold > 0 && q->recommended_by >= q->threshold;
}

km_trust_verdict km_trust_decide(const km_trust_question *q, const char **reason) {
  const km_security_rules *r = km_security_rules_of(q->level);
  bool expired = q->state == KM_TRUST_TRUSTED && q->expired;
  *reason = "";
  if (q->blocked_by_config || q->state == KM_TRUST_BLOCKED) {
    *reason = "blocked";
    return KM_LET_OUT;
  }
  if (q->configured || stands(q, r) || recommended(q, r)) {
    return KM_LET_IN;
  }
  if (r->lets_strangers_in && !r->remembers_first_use) {
    return KM_LET_IN;
  }
  /* Who was trusted up to a date comes back by hand only, not as a first use without an end. */
  if (r->remembers_first_use && !expired) {
    return KM_LET_IN_FIRST;
  }
  if (r->queues_strangers) {
    *reason = expired ? "trust expired" : "waiting for approval";
    return KM_LET_WAIT;
  }
  *reason = expired ? "trust expired" : "not trusted here";
  return KM_LET_OUT;
}
