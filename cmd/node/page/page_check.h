/* Who may ask for the status page, judged by the words of the request. Pure. */
#ifndef KM_CMD_NODE_PAGE_PAGE_CHECK_H
#define KM_CMD_NODE_PAGE_PAGE_CHECK_H

#include <keymesh/addr.h>
#include <stdbool.h>

#include "base/env.h"
#include "base/token_bucket.h"

bool page_is_loopback(const km_udp_addr *addr); /* mapped IPv4 too */

/* Whether the Host field of a request that came in at `local` names us: localhost, a loopback
 * address, the address it came to, or `configured`, each with our port. Any other name may be one
 * that its owner points here while a page of his is open (DNS rebinding). */
bool page_host_is_ours(const char *field, const km_udp_addr *local, const char *configured);
/* Whether an Origin field says that the page asking was served under that Host. */
bool page_origin_is(const char *origin, const char *host_field);

/* --- the token ------------------------------------------------------------------------------- */

#define PAGE_COOKIE_CAP 65 /* of a cookie's value: 64 hex digits */

typedef struct page_token {
  uint8_t digest[32];
  char cookie[PAGE_COOKIE_CAP]; /* what a browser gets in its place, across restarts */
} page_token;

void page_token_init(page_token *t, const char *token);
/* Both take a time that does not depend on what is right. */
bool page_token_is(const page_token *t, const char *token);
bool page_cookie_is(const page_token *t, const char *cookie);

#define PAGE_GUESS_SLOTS 256
#define PAGE_GUESS_BURST 10

/* Wrong tokens: a few, then one a second for a source (IPv4 address or IPv6 /64). */
typedef struct page_guesses {
  km_token_bucket slots[PAGE_GUESS_SLOTS];
  uint8_t key[16]; /* so that nobody can choose the slot of another */
} page_guesses;

void page_guesses_init(page_guesses *g, const km_env *env, km_ts now);
/* Whether a token of that source is looked at. */
bool page_guesses_may(const page_guesses *g, const km_udp_addr *source, km_ts now);
void page_guesses_wrong(page_guesses *g, const km_udp_addr *source, km_ts now);

#endif /* KM_CMD_NODE_PAGE_PAGE_CHECK_H */
