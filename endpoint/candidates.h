/* What a dial was told by others than its caller: which ways, by whom, how far it is believed.
 *
 * The rule. What the caller gave counts most, then where the peer was reached before, then what the
 * peer signed; the rest are claims, which anybody may make (DNS, mDNS without signatures). Where
 * there is no room, what counts more takes the place of the worst that has not answered. Of claims
 * 16 addresses and 2 relays are tried at a time, shared fairly by the sources, and within a source
 * by its answers; 32 of one source in all, 8 relays in all; each is sent 24 packets at most before
 * it answers. What made room, or answered wrongly, does not come back. After three wrong ones the
 * rest of that answer goes too, after eight all claims. A look-up after the handshake begins anew,
 * and what was known before makes room first.
 *
 * Pure: it looks at a mixed path and changes nothing there. */
#ifndef KM_ENDPOINT_CANDIDATES_H
#define KM_ENDPOINT_CANDIDATES_H

#include "base/env.h"
#include "magicsock/magicsock.h"

#include <keymesh/discovery.h>

#define KM_CLAIMS_AT_ONCE 16
#define KM_CLAIMED_RELAYS_AT_ONCE 2
#define KM_CLAIMS_OF_SOURCE 32
#define KM_CLAIMED_RELAYS_MAX 8
#define KM_CLAIM_PACKETS 24
#define KM_CLAIMS_WRONG_OF_ANSWER 3
#define KM_CLAIMS_WRONG_MAX 8
#define KM_CANDIDATES_MAX_TOLD 128 /* remembered, with those that are out */

typedef enum km_rank { KM_RANK_CLAIMED, KM_RANK_SIGNED, KM_RANK_WORKED, KM_RANK_GIVEN } km_rank;

typedef struct km_told {
  km_path_key key;
  km_path *waits; /* a claimed relay that is not tried yet: one reference; or NULL */
  char *url;     /* a claimed relay that the connection does without, for when it cannot; or NULL */
  km_ts since;   /* when it was taken in */
  uint32_t left; /* of its packets, while it is in no mixed path */
  uint16_t answer;
  uint8_t rank, source;
  bool out, wrong, old;
} km_told;

typedef struct km_candidates {
  km_told *at;
  size_t count, cap;
  char sources[KM_DISCOVERY_MAX_SOURCES][17];
  uint16_t taken[KM_DISCOVERY_MAX_SOURCES]; /* claims, of each source */
  uint8_t source_count;
  uint8_t relays_taken;
  uint8_t claims_wrong, mutes; /* claims that answered wrongly, and of these who said no more */
  uint16_t answer;             /* of the last one */
} km_candidates;

km_rank km_rank_of_found(const km_found *found);
/* The entries of one answer begin: who said it, and as what. */
km_told km_candidates_answer(km_candidates *c, const km_found *found);
/* NULL: nobody but the caller named it. */
km_told *km_candidates_find(const km_candidates *c, const km_path_key *key);
/* Its candidate in a mixed path, through whatever socket; NULL: it has none. */
km_path *km_candidates_path(const km_path *mixed, const km_told *told);
/* Valid until the next one is added. NULL: no room, no memory. */
km_told *km_candidates_add(km_candidates *c, const km_env *env, const km_told *told);
void km_candidates_drop(km_candidates *c, const km_env *env, km_told *told);
void km_candidates_clear(km_candidates *c, const km_env *env);

/* Whether one more of the kind may be taken in at all. */
bool km_candidates_may_take(const km_candidates *c, const km_told *fresh, km_way way);
/* Whether something has to leave `mixed` for it, and what: NULL: nothing can. */
bool km_candidates_are_full(const km_candidates *c, const km_path *mixed, const km_told *fresh,
                            km_way way);
km_told *km_candidates_victim(const km_candidates *c, const km_path *mixed, const km_told *fresh,
                              km_way way);
/* One answered wrongly, or began to (`mute`) and said no more. */
void km_candidates_wrong(km_candidates *c, km_told *told, bool mute);
/* Whether it has to go with those that did. */
bool km_candidates_is_tainted(const km_candidates *c, const km_told *told);
/* Another look-up begins: nothing is out any more, and all that was known is old. */
void km_candidates_age(km_candidates *c);

#endif /* KM_ENDPOINT_CANDIDATES_H */
