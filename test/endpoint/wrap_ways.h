/* Places where tests get between the library and what is between two endpoints, by the linker's
 * --wrap, so that the product has no door for it: datagrams on their way into the kernel, batches
 * on theirs to a path, disco messages before they are sealed, what is known of the lives of NAT
 * mappings. */
#ifndef KM_TEST_ENDPOINT_WRAP_WAYS_H
#define KM_TEST_ENDPOINT_WRAP_WAYS_H

#include "holepunch/disco.h"
#include "test/endpoint/lab.h"

/* Asked about every datagram of every endpoint of this process; those that it says yes to are lost.
 * What goes through relays is none. NULL: nothing is lost. */
typedef bool (*ways_lost_fn)(void *ctx, const km_udp_addr *to, const uint8_t *data, size_t len);
void ways_lose(ways_lost_fn lost, void *ctx);

/* Sees every disco message of every endpoint of this process before it is sealed, and may change
 * it. NULL: nobody does. */
typedef void (*ways_disco_fn)(void *ctx, const km_id *from, const km_id *to, km_disco_message *msg);
void ways_watch_disco(ways_disco_fn watch, void *ctx);

/* All mappings of all NATs are about to end, whatever was learnt of them. */
void ways_expire(bool on);
/* How often this was said since then. */
unsigned ways_expired(void);

/* Every path has a connection id of its own. How often packets of several were sent together since
 * this was asked last. */
unsigned ways_mixed(void);

#endif /* KM_TEST_ENDPOINT_WRAP_WAYS_H */
