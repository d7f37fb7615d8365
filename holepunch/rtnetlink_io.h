/* Asks the kernel by rtnetlink. Linux only. */
#ifndef KM_HOLEPUNCH_RTNETLINK_IO_H
#define KM_HOLEPUNCH_RTNETLINK_IO_H

#include "base/env.h"
#include "holepunch/rtnetlink.h"

/* Calls `fn` with every message of a dump. The kernel answers at once, nothing is waited for.
 * 0; KM_ERR_AGAIN: things changed meanwhile, again and again: what `fn` saw is of several moments;
 * KM_ERR_NOMEM; or what errno says: netlink is not to be had here. After a failed try `fn` first
 * hears KM_RTNL_OTHER with `interrupted`: forget what was told and start anew. */
KM_NODISCARD int km_rtnl_dump(const km_env *env, km_rtnl_what what,
                              void (*fn)(void *ctx, const km_rtnl_msg *msg), void *ctx,
                              km_errinfo *err);

/* A socket that hears of changes of links, addresses and routes; -1 with errno. */
int km_rtnl_listen(void);

typedef enum km_rtnl_heard {
  KM_RTNL_NOTHING, /* nothing, or nothing of concern */
  KM_RTNL_CHANGED, /* links, addresses or default routes changed, or messages were lost */
  KM_RTNL_BROKEN   /* the socket is of no use any more */
} km_rtnl_heard;

/* Takes what there is to be read from it. */
km_rtnl_heard km_rtnl_hear(int fd);

#endif /* KM_HOLEPUNCH_RTNETLINK_IO_H */
