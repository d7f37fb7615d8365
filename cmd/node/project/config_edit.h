/* Peers put into the text of a keymesh.yaml, or taken out of it, whose comments and order stay.
 * What was made is read again: were anything else changed by it, nothing is changed. Pure. */
#ifndef KM_CMD_NODE_PROJECT_CONFIG_EDIT_H
#define KM_CMD_NODE_PROJECT_CONFIG_EDIT_H

#include <keymesh/mesh.h>

/* An entry of `peers`, each line behind `indent`. Of `addr` the addresses and relays; `size` and
 * `dial` are not looked at. Free with km_env_free; NULL: no memory. */
char *config_peer_entry(const km_mesh_peer *peer, const char *indent);

/* The text with that entry behind the others. 0, KM_ERR_INVALID (`peers` is written in a way that
 * has to be changed by hand) or KM_ERR_NOMEM. */
KM_NODISCARD int config_add_entry(char **ret, const char *name, const char *text, size_t len,
                                  const km_mesh_peer *peer, km_errinfo *err);
/* The text without the entry at `index`. The same. */
KM_NODISCARD int config_remove_entry(char **ret, const char *name, const char *text, size_t len,
                                     size_t index, km_errinfo *err);

#endif /* KM_CMD_NODE_PROJECT_CONFIG_EDIT_H */
