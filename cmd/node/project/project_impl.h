/* What the commands of this folder know of a project beside project.h. */
#ifndef KM_CMD_NODE_PROJECT_PROJECT_IMPL_H
#define KM_CMD_NODE_PROJECT_PROJECT_IMPL_H

#include "cmd/node/project/certs.h"
#include "cmd/node/project/config.h"

/* As project_load, but peers are not resolved: nothing is compared with certificates. */
KM_NODISCARD int project_read(project_file **ret, const char *path, km_errinfo *err);
/* The certificates that were imported; none when there is no such file. */
KM_NODISCARD int project_certs(const project *p, certs *ret, km_errinfo *err);

#endif /* KM_CMD_NODE_PROJECT_PROJECT_IMPL_H */
