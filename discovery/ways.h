/* The ways to reach a peer as text: "IP:PORT" and relay urls, separated by blanks. Pure. */
#ifndef KM_DISCOVERY_WAYS_H
#define KM_DISCOVERY_WAYS_H

#include <keymesh/addr.h>
#include <stdbool.h>

/* The next word of *at, which is moved behind it: its length, 0 at the end. Blanks are ' ', '\t'
 * and '\r'. */
size_t km_ways_word(const char **at, const char *end, const char **ret);
/* One word: with "://" in it a relay's url. 0, KM_ERR_BAD_ADDR, KM_ERR_BAD_RELAY_URL, KM_ERR_LIMIT
 * or KM_ERR_NOMEM. */
KM_NODISCARD int km_ways_add(km_addr *addr, const char *word, size_t len, km_errinfo *err);
/* All words; those that cannot be read, or are too many, are left out. */
void km_ways_read(km_addr *addr, const char *text);
/* All ways, addresses first, NUL-terminated; those that do not fit any more are left out. */
void km_ways_write(const km_addr *addr, char *buf, size_t cap);
/* Adds the ways of `from`, as far as there is room. */
void km_ways_merge(km_addr *addr, const km_addr *from);

#endif /* KM_DISCOVERY_WAYS_H */
