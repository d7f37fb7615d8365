/* Peers of a configuration, found out: ids behind names, fingerprints compared. Pure. */
#ifndef KM_CMD_NODE_PROJECT_RESOLVE_PEERS_H
#define KM_CMD_NODE_PROJECT_RESOLVE_PEERS_H

#include "cmd/node/project/certs.h"
#include "cmd/node/project/config.h"

/* One peer. A name that nobody knows is no error: has_id stays false. KM_ERR_INVALID: the
 * fingerprint is of another key, or the peer is there twice. */
KM_NODISCARD int project_resolve_peer(project_file *f, size_t index, const certs *c,
                                      km_errinfo *err);
/* All of them, and what the whitelist says about certificates that are known. */
KM_NODISCARD int project_resolve(project_file *f, const certs *c, km_errinfo *err);

#endif /* KM_CMD_NODE_PROJECT_RESOLVE_PEERS_H */
