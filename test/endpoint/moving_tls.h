/* What stands for TLS in a connection of moving.h, of whose sides the user data of ngtcp2 are. */
#ifndef KM_TEST_ENDPOINT_MOVING_TLS_H
#define KM_TEST_ENDPOINT_MOVING_TLS_H

#include "test/endpoint/moving.h"

/* Clears the others. */
void moving_tls_fill(ngtcp2_callbacks *cb);

#endif /* KM_TEST_ENDPOINT_MOVING_TLS_H */
