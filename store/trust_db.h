/* Trust as the mesh uses it, beside keymesh/trust.h. */
#ifndef KM_STORE_TRUST_DB_H
#define KM_STORE_TRUST_DB_H

#include "store/statement.h"
#include "store/trust_rules.h"

/* A stranger asked to be let in: kept as pending (a pending one: last_seen and name are renewed).
 * At most 1,000 are kept, the oldest go. 0 or KM_ERR_STORE, KM_ERR_NOMEM. */
KM_NODISCARD int km_trust_request(km_store *store, const km_id *id, const char *name,
                                  km_errinfo *err);
/* First use: trusted with KM_TRUST_BY_FIRST_USE, unless something is known of it. */
KM_NODISCARD int km_trust_first_use(km_store *store, const km_id *id, const char *name,
                                    km_errinfo *err);

/* Fills state, origin, expired and recommended_by of a question. Recommendations count of
 * recommenders that are trusted by hand, approval or configuration (`configured(ctx, id)`), not
 * expired, not us. */
KM_NODISCARD int km_trust_ask(km_store *store, const km_id *id,
                              bool (*configured)(void *ctx, const km_id *id), void *ctx,
                              km_trust_question *q, km_errinfo *err);

/* What became of a statement that came. */
typedef enum km_statement_verdict {
  KM_STATEMENT_NEW,    /* kept: pass it on */
  KM_STATEMENT_KNOWN,  /* the same or a later one is here */
  KM_STATEMENT_REFUSED /* expired, from the future, author not trusted, too many of it */
} km_statement_verdict;
/* `author_counts`: the author is trusted by hand, approval or configuration. A revocation that is
 * taken (`take_revocation`) blocks its subject with KM_TRUST_BY_REVOCATION, unless the subject is
 * configured here or is us. At most 256 statements an author. One of our own that is later than
 * what is here, and takes less back, makes us say ours again: the hook is called with that. An
 * error is below 0. */
KM_NODISCARD int km_trust_take(km_store *store, const km_statement *s, bool author_counts,
                               bool take_revocation, bool subject_configured, km_errinfo *err);
/* All that are kept and not expired, ours included, for a peer that connects: revocations first,
 * then the newest. */
typedef void (*km_statement_fn)(void *ctx, const km_statement *s);
KM_NODISCARD int64_t km_trust_statements(km_store *store, km_statement_fn fn, void *ctx,
                                         km_errinfo *err);
/* The same in parts: at most `max` from behind `place` (all zero: from the first on), which moves.
 * What is taken anew meanwhile may not be among them. */
typedef struct km_statement_place {
  bool begun;
  km_statement_kind kind;
  int64_t at;
  km_id author, subject;
} km_statement_place;
KM_NODISCARD int64_t km_trust_statements_next(km_store *store, km_statement_place *place,
                                              size_t max, km_statement_fn fn, void *ctx,
                                              km_errinfo *err);
/* The name a peer announced, or that it is trusted under, the latter first; "" if neither. Returns
 * `buf`. */
const char *km_trust_name(km_store *store, const km_id *id, char buf[KM_PEER_NAME_MAX + 1]);
/* Drops what is expired. How much, or an error. */
KM_NODISCARD int64_t km_trust_cleanup(km_store *store, km_errinfo *err);

/* Called after each change of trust, also of who was forgotten to make room, and for each statement
 * of our own. One hook; NULL takes it away. `s` is NULL for a change of trust alone. */
typedef void (*km_trust_changed_fn)(void *ctx, const km_id *id, const km_statement *s);
void km_trust_on_change(km_store *store, km_trust_changed_fn fn, void *ctx);
/* Who stands in the configuration, for the number of recommendations that km_trust_get and
 * km_trust_list give. Without it those of configured peers are not counted there. */
void km_trust_on_configured(km_store *store, bool (*fn)(void *ctx, const km_id *id), void *ctx);

#endif /* KM_STORE_TRUST_DB_H */
