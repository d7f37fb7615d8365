/* One timer of a link for what its services wait for. */
#include "endpoint/mesh/mesh_impl.h"

static void serve(km_timer_node *node) {
  km_link *l = KM_LIST_ITEM(node, km_link, service);
  km_ts now = km_loop_now(l->mesh->loop);
  km_push_tick(l, now);
  km_sync_streams_tick(l, now);
  km_link_service_set(l);
}

void km_link_service_set(km_link *l) {
  km_ts push = km_push_next(l), syncs = km_sync_streams_next(l);
  l->service.fire = serve;
  km_timer_heap_set(&l->mesh->timers, &l->service, push < syncs ? push : syncs);
  km_mesh_wake(l->mesh);
}
