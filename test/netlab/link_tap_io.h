/* TAP devices: an end of the emulated link, in any network namespace. */
#ifndef KM_TEST_NETLAB_LINK_TAP_IO_H
#define KM_TEST_NETLAB_LINK_TAP_IO_H

#include <keymesh/error.h>

/* Makes an interface that is up and lives as long as the descriptor. `where` is its name, or
 * NAMESPACE-FILE:NAME. Non-blocking. Returns the descriptor or a KM_ERR_*. */
KM_NODISCARD int tap_open(const char *where, int mtu, km_errinfo *err);

#endif /* KM_TEST_NETLAB_LINK_TAP_IO_H */
