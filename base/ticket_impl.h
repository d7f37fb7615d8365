/* Parsing a ticket with an environment of its own. */
#ifndef KM_BASE_TICKET_IMPL_H
#define KM_BASE_TICKET_IMPL_H

#include <keymesh/ticket.h>

#include "base/env.h"

KM_NODISCARD int km_ticket_parse_in(km_addr **ret, const km_env *env, const char *text, size_t len,
                                    km_errinfo *err);

#endif /* KM_BASE_TICKET_IMPL_H */
