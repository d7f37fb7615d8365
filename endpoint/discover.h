/* An endpoint and its km_discovery: dials ask where the peer is, and take answers in while they
 * come; the endpoint tells where it is itself. */
#ifndef KM_ENDPOINT_DISCOVER_H
#define KM_ENDPOINT_DISCOVER_H

#include "endpoint/conn_impl.h"

/* A dial begins: asks, where the endpoint has somebody to ask. 0, KM_ERR_LIMIT or KM_ERR_NOMEM. */
KM_NODISCARD int km_discover_begin(km_conn *conn, km_errinfo *err);
/* Asks once more: none of the known ways works. */
void km_discover_again(km_conn *conn);
void km_discover_end(km_conn *conn);
/* A dial without a single way to try, which others are looking for. */
bool km_discover_is_waited_for(const km_conn *conn);
/* A path to a peer that was dialled works: that is remembered. */
void km_discover_worked(const km_conn *conn);

/* Where the endpoint can be reached may have changed: that is told at the end of the turn. */
void km_endpoint_publish_soon(km_endpoint *ep);
void km_endpoint_publish(km_endpoint *ep);

#endif /* KM_ENDPOINT_DISCOVER_H */
