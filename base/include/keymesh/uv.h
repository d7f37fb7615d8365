/**
 * @file keymesh/uv.h
 * Puts KeyMesh on a libuv loop of yours. The only public header that names libuv; not included by
 * keymesh/keymesh.h.
 */
#ifndef KEYMESH_UV_H
#define KEYMESH_UV_H

#include <uv.h>

#include <keymesh/loop.h>

KM_BEGIN_DECLS

/**
 * Wraps a libuv loop that stays yours: you run it, you close it. km_loop_run and its kin must not
 * be called on the wrapper. Free the wrapper with km_loop_free before you close the uv loop, and
 * run the uv loop once more after that so that its handles can close.
 * @return 0, KM_ERR_NOMEM or KM_ERR_SYSTEM
 */
KM_EXPORT KM_NODISCARD int km_loop_from_uv(km_loop **ret, uv_loop_t *uv);

/** The libuv loop below, to put handles of your own on it. Owned by `loop`. */
KM_EXPORT uv_loop_t *km_loop_uv(const km_loop *loop);

KM_END_DECLS

#endif /* KEYMESH_UV_H */
