# Reconciliation and synchronization.
km_add_test(store_refused_test SOURCES refused_test.c)
km_add_test(store_reconcile_test SOURCES reconcile_test.c)
km_add_test(store_reconcile_bytes_test SOURCES reconcile_bytes_test.c)
km_add_test(store_sync_test SOURCES sync_test.c sim_pair.c)
km_add_test(store_sync_frames_test SOURCES sync_frames_test.c)
km_add_test(store_sync_sim_test SOURCES sync_sim_test.c sim_mesh.c sim_pair.c
  LABELS sim TIMEOUT 300)

km_add_fuzzer(fuzz_reconcile fuzz_reconcile.c CORPUS corpus/reconcile)
km_add_fuzzer(fuzz_sync fuzz_sync.c CORPUS corpus/sync)
