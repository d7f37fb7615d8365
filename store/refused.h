/* Items of a share that a peer has and that we refused for their author or size. In the next
 * synchronization with this peer they count as ours, so that they do not travel again. What finds
 * no room here is refused each time anew. Pure. */
#ifndef KM_STORE_REFUSED_H
#define KM_STORE_REFUSED_H

#include "store/reconcile.h"

#define KM_REFUSED_MAX 8192      /* items */
#define KM_REFUSED_GROUPS_MAX 64 /* of one share and one author each */

typedef struct km_refused km_refused;

KM_NODISCARD int km_refused_new(km_refused **ret, const km_env *env); /* 0 or KM_ERR_NOMEM */
void km_refused_free(km_refused *r);                                  /* NULL does nothing */

/* `author` NULL: whoever wrote it. */
void km_refused_add(km_refused *r, const char *share, const km_item *item, const km_id *author);
/* The peer does not have it any more. */
void km_refused_drop(km_refused *r, const char *share, const km_item *item);

typedef bool (*km_refused_may_write)(void *ctx, const char *share, const km_id *author);
/* Those of a share, in order and without repeats, valid until the next call; what may be written
 * now is forgotten before. The number, or KM_ERR_NOMEM. */
KM_NODISCARD int64_t km_refused_list(km_refused *r, const char *share,
                                     km_refused_may_write may_write, void *ctx,
                                     const km_item **ret);

#endif /* KM_STORE_REFUSED_H */
