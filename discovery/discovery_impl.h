/* What the sources in this folder see of their km_discovery. */
#ifndef KM_DISCOVERY_DISCOVERY_IMPL_H
#define KM_DISCOVERY_DISCOVERY_IMPL_H

#include <keymesh/discovery.h>

#include "base/env.h"
#include "base/io/loop_io.h"
#include "discovery/state_io.h"

const km_env *km_discovery_env(const km_discovery *d); /* with its logger */
km_loop *km_discovery_loop(const km_discovery *d);
const km_secret_key *km_discovery_key(const km_discovery *d); /* NULL: none */
km_discovery_state *km_discovery_get_state(km_discovery *d);
bool km_discovery_has(const km_discovery *d, const char *name); /* a source of this name */

#endif /* KM_DISCOVERY_DISCOVERY_IMPL_H */
