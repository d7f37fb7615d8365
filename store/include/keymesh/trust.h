/**
 * @file keymesh/trust.h
 * Whom a node lets in: peers by hand, by the configuration, on first use, or because others that
 * are trusted recommend them.
 *
 * While a batch is open (km_kv_begin) whatever changes something gives KM_ERR_STATE.
 *
 * Threads: as in keymesh/store.h. A km_mesh that uses the store acts on every change at once:
 * connections of a peer that is no longer let in are closed.
 */
#ifndef KEYMESH_TRUST_H
#define KEYMESH_TRUST_H

#include <keymesh/store.h>

KM_BEGIN_DECLS

/** What a node does about peers that it does not know. `km-node security status` says the same. */
typedef enum km_security_level {
  KM_SECURITY_DEVELOPMENT, /**< everybody who is not blocked is let in; nothing is remembered */
  KM_SECURITY_SIGNED, /**< let in on first use, and remembered so; a key that changed is another
                                peer. Who was trusted up to a date is refused after it */
  KM_SECURITY_SECURE, /**< configured, trusted by hand, or recommended by as many trusted peers
                                as the threshold says; all others wait for approval. The default */
  KM_SECURITY_STRICT  /**< configured or trusted by hand only, others are refused and not kept;
                                revocations of trusted peers count at once; the identity must be
                                sealed or readable by its owner alone */
} km_security_level;

/** What a peer is to us. */
typedef enum km_trust_state {
  KM_TRUST_UNKNOWN, /**< never seen, or forgotten */
  KM_TRUST_PENDING, /**< asked to be let in, waits for approval */
  KM_TRUST_TRUSTED,
  KM_TRUST_BLOCKED /**< refused whatever else says; by hand or by a revocation */
} km_trust_state;

/** Where it comes from. */
typedef enum km_trust_origin {
  KM_TRUST_BY_HAND,
  KM_TRUST_BY_CONFIG,
  KM_TRUST_BY_FIRST_USE,
  KM_TRUST_BY_APPROVAL,
  KM_TRUST_BY_RECOMMENDATION,
  KM_TRUST_BY_REVOCATION
} km_trust_origin;

#define KM_PEER_NAME_MAX 64  /**< bytes of UTF-8 without control characters, without the NUL */
#define KM_PEER_NOTE_MAX 256 /**< the same */

/** What is known of a peer's trust. Texts are valid during the callback or until the next call. */
typedef struct km_trust_info {
  km_id id;
  km_trust_state state;
  km_trust_origin origin;
  const char *name;        /**< may be "" */
  const char *note;        /**< may be "" */
  int64_t since;           /**< UNIX seconds */
  int64_t expires;         /**< UNIX seconds; 0 = never. An expired peer counts as unknown */
  int64_t last_seen;       /**< of a pending peer: its last request; 0 = never */
  uint32_t recommended_by; /**< trusted peers that recommend it now */
} km_trust_info;

typedef void (*km_trust_fn)(void *ctx, const km_trust_info *info);

/** Trusts a peer. `name` and `note` may be NULL: left as they are, but the note of another decision
 *  goes. `expires` in UNIX seconds, 0 = never. 0, KM_ERR_INVALID (a text too long or unclean, a
 *  date in the past, our own id), KM_ERR_NO_SPACE, KM_ERR_STORE or KM_ERR_NOMEM. */
KM_EXPORT KM_NODISCARD int km_trust_add(km_store *store, const km_id *id, const char *name,
                                        const char *note, int64_t expires, km_errinfo *err);
/** Blocks it: it is refused until km_trust_add or km_trust_forget. Errors as km_trust_add. */
KM_EXPORT KM_NODISCARD int km_trust_block(km_store *store, const km_id *id, const char *note,
                                          km_errinfo *err);
/** The same with the origin KM_TRUST_BY_CONFIG, so that who keeps a list of blocked peers in a
 *  configuration finds those that are only of that list. km_trust_block makes it a person's. */
KM_EXPORT KM_NODISCARD int km_trust_block_by_config(km_store *store, const km_id *id,
                                                    const char *note, km_errinfo *err);
/** Forgets what is known of it, a request included. 0, KM_ERR_NOT_FOUND, KM_ERR_STORE. */
KM_EXPORT KM_NODISCARD int km_trust_forget(km_store *store, const km_id *id, km_errinfo *err);
/** 0 or KM_ERR_NOT_FOUND, KM_ERR_STORE. */
KM_EXPORT KM_NODISCARD int km_trust_get(km_store *store, const km_id *id, km_trust_info *ret,
                                        km_errinfo *err);
/** All peers known, or those in `state` when it is not KM_TRUST_UNKNOWN; by name, then id. The
 *  number, or KM_ERR_STORE, KM_ERR_NOMEM. */
KM_EXPORT KM_NODISCARD int64_t km_trust_list(km_store *store, km_trust_state state, km_trust_fn fn,
                                             void *ctx, km_errinfo *err);
/** Lets a pending peer in. 0, KM_ERR_NOT_FOUND (it is not pending), KM_ERR_STORE. */
KM_EXPORT KM_NODISCARD int km_trust_approve(km_store *store, const km_id *id, km_errinfo *err);
/** Refuses a pending peer: it is blocked. 0, KM_ERR_NOT_FOUND, KM_ERR_STORE. */
KM_EXPORT KM_NODISCARD int km_trust_deny(km_store *store, const km_id *id, km_errinfo *err);

/**
 * Recommends a peer to all others: a signed statement that spreads through the mesh. Nodes at level
 * secure let in whom enough of the peers that they trust themselves recommend (depth 1: a peer that
 * is trusted by recommendation cannot recommend).
 * @param name     may be NULL
 * @param expires  UNIX seconds, 0 = in 90 days, or with the last of our earlier recommendations of
 *   that peer; not before that one, since who kept it could bring it back
 * @return 0, KM_ERR_INVALID (our own id, a bad text or date), KM_ERR_LIMIT (256 statements are in
 *   force), KM_ERR_STORE or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_trust_recommend(km_store *store, const km_id *id, const char *name,
                                              int64_t expires, km_errinfo *err);
/** Takes our recommendations back, by another statement; once more does no harm. 0,
 *  KM_ERR_NOT_FOUND (there is none), KM_ERR_STORE or KM_ERR_NOMEM. */
KM_EXPORT KM_NODISCARD int km_trust_withdraw(km_store *store, const km_id *id, km_errinfo *err);
/**
 * Revokes a peer: blocks it here (km_trust_block), takes our recommendation back, and tells all
 * others by a signed statement; those that accept revocations block it too.
 * @param reason  may be NULL; up to KM_PEER_NOTE_MAX bytes
 * @return 0, KM_ERR_INVALID (our own id, a bad text), KM_ERR_LIMIT (256 statements are in force: it
 *   is blocked here, but others are not told), KM_ERR_STORE or KM_ERR_NOMEM
 */
KM_EXPORT KM_NODISCARD int km_trust_revoke(km_store *store, const km_id *id, const char *reason,
                                           km_errinfo *err);
/**
 * Tells all others our name by a signed statement, so that they can show it beside our id.
 * @param name  1 to KM_PEER_NAME_MAX bytes
 */
KM_EXPORT KM_NODISCARD int km_trust_announce(km_store *store, const char *name, km_errinfo *err);

/** "development", "signed", "secure", "strict". Static. */
KM_EXPORT const char *km_security_level_name(km_security_level level);
/** 0 or KM_ERR_INVALID. */
KM_EXPORT KM_NODISCARD int km_security_level_parse(km_security_level *ret, const char *text);

KM_END_DECLS

#endif /* KEYMESH_TRUST_H */
