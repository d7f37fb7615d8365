/* Whether a peer is let in: the rules of the security levels, as a table and a function. Pure. */
#ifndef KM_STORE_TRUST_RULES_H
#define KM_STORE_TRUST_RULES_H

#include <keymesh/trust.h>

typedef struct km_security_rules {
  bool lets_strangers_in;     /* everybody not blocked */
  bool remembers_first_use;   /* and keeps them as trusted by first use */
  bool queues_strangers;      /* keeps their requests for approval */
  bool takes_recommendations; /* threshold of them is enough */
  bool takes_revocations;     /* of peers trusted by hand or configuration, without being asked */
  bool needs_private_key;     /* sealed, or a file that its owner alone can read */
  const char *summary;        /* one sentence for `security status` */
} km_security_rules;

const km_security_rules *km_security_rules_of(km_security_level level);

typedef struct km_trust_question {
  km_security_level level;
  bool configured; /* the peer stands in the configuration, or is allowed there */
  bool blocked_by_config;
  km_trust_state state;   /* as stored; KM_TRUST_UNKNOWN when nothing is */
  km_trust_origin origin; /* of KM_TRUST_TRUSTED */
  bool expired;
  uint32_t recommended_by, threshold; /* threshold 0: recommendations do not count */
} km_trust_question;

typedef enum km_trust_verdict {
  KM_LET_IN,
  KM_LET_IN_FIRST,
  KM_LET_WAIT,
  KM_LET_OUT
} km_trust_verdict;

/* `*reason` (static): what the peer is told, "blocked", "waiting for approval", "not trusted here",
 * "trust expired"; "" when it is let in. */
km_trust_verdict km_trust_decide(const km_trust_question *q, const char **reason);

#endif /* KM_STORE_TRUST_RULES_H */
